//! An app with panics in it, wherever an app can have one.

use nexios::prelude::*;
use nexios::{Asker, GroupsConfig};
use serde::{Serialize, Serializer};

use super::served::ROOM;

/// Groups in which something panics are called by what it is.
const JOIN: &str = "join";
const LEAVE: &str = "leave";
const POLICY: &str = "policy";

pub(super) fn groups_config() -> GroupsConfig {
    GroupsConfig::new()
        .policy(Fragile)
        .on_join(|event| assert_ne!(event.group(), JOIN, "as asked"))
        .on_leave(|event| assert_ne!(event.group(), LEAVE, "as asked"))
}

struct Fragile;

impl GroupPolicy for Fragile {
    fn may_publish(&self, _: &Asker, group: &str) -> bool {
        assert_ne!(group, POLICY, "as asked");
        true
    }
}

struct PanicsWhenDropped;

impl Drop for PanicsWhenDropped {
    fn drop(&mut self) {
        panic!("as asked");
    }
}

struct PanicsWhenSent;

impl Serialize for PanicsWhenSent {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        panic!("as asked");
    }
}

/// Joins the room and another group, waits for a message, and panics in the place that its client asks for.
pub(super) async fn fragile(mut websocket: WebSocket, groups: Groups, Path(place): Path<String>) -> nexios::Result {
    assert_ne!(place, "connect", "as asked");
    websocket.accept().await?;
    let room = groups.group(ROOM);
    room.join(&websocket).await?;
    let own = groups.group(&*place);
    own.join(&websocket).await?;
    let _guard = (place == "drop").then(|| PanicsWhenDropped);
    websocket.receive_text().await?;
    match &*place {
        "message" => panic!("as asked"),
        "broadcast" => room.send_json(&PanicsWhenSent).await?,
        POLICY => own.send_text("x").await?,
        "task" => drop(tokio::spawn(async { panic!("as asked") }).await),
        _ => {}
    }
    own.leave(&websocket).await
}
