//! What every backplane must do.

use nexios_engines::Engine;
use nexios_nats::Nats;

#[tokio::test]
async fn it_does_what_every_backplane_must_do() {
    let engine = Engine::nats();
    let url = engine.url();
    nexios::testing::backplane::check(|prefix| Nats::connect(&url).prefix(prefix.as_str())).await;
}
