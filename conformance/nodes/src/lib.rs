//! A small app, of which several nodes are run: what its clients tell it is published to groups, and each client is in
//! one.
//!
//! Groups whose names begin with `h` have a history with positions, others have none.

use std::time::Duration;

use nexios::prelude::*;
use nexios::{AppHandle, Backplane, BackplaneConfig};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// Timeout of the engine, short because the storm delays it all the time.
pub const TIMEOUT: Duration = Duration::from_millis(500);

/// After how long a node that was killed counts as gone.
pub const NODE_TTL: Duration = Duration::from_secs(3);

/// A command of a client to its node, as JSON.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Command {
    /// To become a member: answered with `{"joined":…}`, behind what is replayed.
    Join {
        /// Of this group.
        group: String,
        /// As this user.
        user: String,
        /// Having seen everything up to here.
        since: Option<Position>,
    },
    /// To publish: answered with `{"said":true,"waiting":0}`, or false when it was refused. What waits is in bytes:
    /// with 0, the engine has all that was published on this node.
    Say {
        /// To this group.
        to: String,
        /// This.
        text: String,
    },
    /// To say how many connections and users are in a group, on all nodes: answered with `{"connections":…,"users":…}`.
    Count(String),
}

/// The app on an engine.
pub fn app(backplane: impl Backplane) -> App {
    let history = || GroupConfig::new().history(History::new().messages(2000).bytes(4 * 1024 * 1024).with_positions());
    let groups = GroupsConfig::new()
        .each(GroupConfig::new().grace(Duration::from_millis(500)))
        .by_name(move |name| name.starts_with('h').then(history));
    let app = App::new();
    let handle = app.handle();
    app.websocket_route("/", move |websocket, groups| obey(websocket, groups, handle.clone()))
        .health_checks()
        .groups_config(groups)
        .backplane(backplane)
        .backplane_config(BackplaneConfig::new().timeout(TIMEOUT).node_ttl(NODE_TTL))
}

async fn obey(mut websocket: WebSocket, groups: Groups, handle: AppHandle) -> nexios::Result {
    websocket.accept().await?;
    loop {
        match websocket.receive_json().await? {
            Command::Join { group, user, since } => {
                let join = Join::new().user(user).since(since);
                // Members of a group without positions are told of gaps when they ask for notices.
                let join = if group.starts_with('h') { join } else { join.notices() };
                let joined = groups.group(group).join_with(&websocket, join).await?;
                websocket.send_json(&json!({"joined": joined})).await?;
            }
            Command::Say { to, text } => {
                let said = groups.group(to).send_text(text).await.is_ok();
                let waiting = handle.backplane().map(|status| status.outbox_bytes);
                websocket.send_json(&json!({"said": said, "waiting": waiting})).await?;
            }
            Command::Count(group) => {
                let group = groups.group(group);
                let (connections, users) = (group.len().await?, group.presence().await?.len());
                websocket.send_json(&json!({"connections": connections, "users": users})).await?;
            }
        }
    }
}
