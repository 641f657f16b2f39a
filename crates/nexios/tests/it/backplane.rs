//! The backplane of one process is one.

use nexios::backplane::Memory;
use nexios::testing::backplane;

#[tokio::test]
async fn memory_does_what_every_backplane_must_do() {
    let memory = Memory::new();
    backplane::check(|prefix| memory.node().prefix(prefix)).await;
}
