//! Messages to a user or a connection on whichever node, and to everybody.

use nexios::prelude::*;
use nexios::testing::TestClient;
use nexios::{AppHandle, backplane::Memory};

use super::{Setup, eventually, have_met};

#[tokio::test]
async fn a_handler_writes_to_users_by_the_apps_handle() {
    async fn private(mut websocket: WebSocket, app: AppHandle) -> nexios::Result {
        let user = websocket.query_params().get("user").unwrap_or_default().to_owned();
        websocket.authenticate(nexios::auth::Identity::new(user))?;
        websocket.accept().await?;
        websocket.send_text(app.address_of(websocket.id()).to_string()).await?;
        loop {
            let (to, text): (String, String) = websocket.receive_json().await?;
            app.send_to_user(&to, text);
        }
    }
    let memory = Memory::new();
    let [a, b] = [(); 2].map(|()| TestClient::new(App::new().websocket_route("/", private).backplane(memory.node())));
    let (mut ann, mut bob) = (a.connect("/?user=ann").await.unwrap(), b.connect("/?user=bob").await.unwrap());
    let address = ann.receive_text().await.unwrap();
    let address: nexios::backplane::ConnectionAddress = address.parse().unwrap();
    assert_eq!(address.node(), a.handle().backplane().unwrap().node);
    bob.receive_text().await.unwrap();
    have_met(&a.handle(), &b.handle()).await;
    ann.send_json(&("bob", "hello")).await.unwrap();
    assert_eq!(bob.receive_text().await.unwrap(), "hello");
}

#[tokio::test]
async fn everybody_is_on_all_nodes() {
    let (_memory, [a, b]) = Setup::new().nodes();
    have_met(&a.handle, &b.handle).await;
    let (mut ann, mut bob) = (a.connect().await, b.connect().await);
    a.groups.broadcast("to all").await.unwrap();
    assert_eq!(ann.texts(1).await, ["to all"]);
    assert_eq!(bob.texts(1).await, ["to all"]);
    ann.silence().await;
}

#[tokio::test]
async fn a_user_is_reached_on_all_nodes() {
    let (_memory, [a, b]) = Setup::new().nodes();
    have_met(&a.handle, &b.handle).await;
    let (mut here, mut there) = (a.connect_to("/?user=ann").await, b.connect_to("/?user=ann").await);
    let mut bob = b.connect_to("/?user=bob").await;
    // The handlers have authenticated them once they answer.
    here.join("room").await;
    there.join("room").await;
    bob.join("room").await;
    assert_eq!(a.handle.send_to_user("ann", "psst"), 1);
    assert_eq!(here.texts(1).await, ["psst"]);
    assert_eq!(there.texts(1).await, ["psst"]);
    bob.silence().await;
}

#[tokio::test]
async fn a_connection_is_reached_on_another_node() {
    let (_memory, [a, b]) = Setup::new().nodes();
    have_met(&a.handle, &b.handle).await;
    let (mut bob, mut other) = (b.member("room").await, b.member("room").await);
    let id = b.groups.group("room").members().await.unwrap().iter().map(Sender::id).min().unwrap();
    let address = b.handle.address_of(id);
    let text = address.to_string();
    a.handle.send_to_connection(text.parse().unwrap(), "only you");
    assert_eq!(bob.texts(1).await, ["only you"]);
    other.silence().await;
    // On its own node, too.
    b.handle.send_to_connection(address, "again");
    assert_eq!(bob.texts(1).await, ["again"]);
}

#[tokio::test]
async fn a_user_is_closed_on_all_nodes() {
    let (_memory, [a, b]) = Setup::new().nodes();
    have_met(&a.handle, &b.handle).await;
    let (mut here, mut there) = (a.connect_to("/?user=ann").await, b.connect_to("/?user=ann").await);
    let mut bob = b.connect_to("/?user=bob").await;
    here.join("room").await;
    there.join("room").await;
    bob.join("room").await;
    assert_eq!(a.handle.close_user("ann", 4001, "signed out"), 1);
    for client in [&mut here, &mut there] {
        let Err(Error::Disconnect(end)) = client.0.receive().await else { panic!("still open") };
        assert_eq!(end.code(), 4001);
        assert_eq!(end.reason(), "signed out");
    }
    eventually("only bob is left", async || b.handle.connection_count() == 1).await;
}
