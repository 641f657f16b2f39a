//! The same over a real socket, which takes as much as the kernel likes.

use nexios::SlowConsumer::{Conflate, DropNewest, DropOldest};
use nexios::prelude::*;

use super::stage::{assert_rising, label, numbered};
use crate::serving::serve;

const MESSAGES: usize = 400;

async fn member(mut websocket: WebSocket, groups: Groups) -> nexios::Result {
    websocket.accept().await?;
    groups.group("a").join(&websocket).await?;
    websocket.send_text("joined").await?;
    websocket.receive().await.map(drop)
}

/// 25 MB for who does not read, then what comes once it reads.
#[tokio::test]
async fn who_reads_again_goes_on_where_its_groups_choice_says() {
    for choice in [DropNewest, DropOldest, Conflate] {
        let each = GroupsConfig::new().each(GroupConfig::new().slow_consumer(choice));
        let app = App::new().groups_config(each).websocket_route("/", member);
        let groups = app.groups();
        let server = serve(app).await;
        let mut wire = server.upgrade("/").await;
        assert_eq!(wire.text().await, "joined");
        for number in 0..MESSAGES {
            let text = numbered("a", number, 64 * 1024);
            groups.group("a").send_keyed((number % 3).to_string(), text).await.unwrap();
            assert!(groups.stats().queued_bytes <= 1024 * 1024, "{choice:?}");
        }
        let dropped = groups.stats().dropped as usize;
        let mut came = Vec::new();
        while came.len() < MESSAGES - dropped {
            came.push(label(&wire.frame().await.unwrap()).1);
        }
        groups.group("a").send_text(numbered("a", MESSAGES, 100)).await.unwrap();
        assert_eq!(label(&wire.frame().await.unwrap()).1, MESSAGES, "{choice:?}");
        assert_rising(&came);
        assert!(dropped > 50, "{choice:?}: the kernel took {} messages of 64 KiB", came.len());
        match choice {
            DropNewest => assert!(came.iter().copied().eq(0..came.len()), "{came:?}"),
            _ => assert!(came.ends_with(&[MESSAGES - 3, MESSAGES - 2, MESSAGES - 1]), "{choice:?}: {came:?}"),
        }
    }
}
