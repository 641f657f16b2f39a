//! Who is behind a connection: until when, and who closes it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use nexios::auth::Identity;
use nexios::prelude::*;
use nexios::testing::TestClient;
use nexios::{Asker, GroupError};
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

use crate::outcome::ending;
use crate::serving::{pause, serve, wait_for_connections, within};

fn alice() -> Identity {
    Identity::new("alice")
}

fn after(seconds: f64) -> SystemTime {
    SystemTime::now() + Duration::from_secs_f64(seconds)
}

/// Authenticates as the query says, before `accept` or after it, then echoes.
async fn handler(mut websocket: WebSocket) -> nexios::Result {
    let user = websocket.query_params().get("user").map(str::to_owned);
    let seconds = websocket.query_params().get("for").map(|seconds| after(seconds.parse().unwrap()));
    let identity = user.map(|user| Identity::new(user).expires_at(seconds));
    let (early, late) =
        if websocket.query_params().get("late").is_some() { (None, identity) } else { (identity, None) };
    if let Some(identity) = early {
        websocket.authenticate(identity)?;
    }
    websocket.accept().await?;
    if let Some(identity) = late {
        websocket.authenticate(identity)?;
    }
    loop {
        let text = websocket.receive_text().await?;
        if let Some(seconds) = text.strip_prefix("refresh ") {
            websocket.authenticate(alice().expires_at(after(seconds.parse().unwrap())))?;
        } else if let Some(user) = text.strip_prefix("become ") {
            websocket.authenticate(Identity::new(user))?;
        }
        websocket.send_json(&websocket.identity().map(|identity| identity.user().to_owned())).await?;
    }
}

fn app() -> App {
    App::new().websocket_route("/ws", handler)
}

async fn whoami(websocket: &mut WebSocket) -> Option<String> {
    websocket.send_text("whoami").await.unwrap();
    websocket.receive_json().await.unwrap()
}

#[tokio::test]
async fn an_identity_is_known_whether_it_came_before_accept_or_after_it() {
    let client = TestClient::new(app());
    for (path, expected) in [("/ws?user=alice", Some("alice")), ("/ws?user=alice&late", Some("alice")), ("/ws", None)] {
        let mut websocket = client.connect(path).await.unwrap();
        assert_eq!(whoami(&mut websocket).await.as_deref(), expected, "{path}");
        assert_eq!(client.handle().connections_of("alice").len(), usize::from(expected.is_some()), "{path}");
        websocket.close(1000, "").await.unwrap();
        wait_for_connections(&client.handle(), 0).await;
        assert!(client.handle().connections_of("alice").is_empty(), "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_ends_when_its_identity_expires() {
    let client = TestClient::new(app());
    for path in ["/ws?user=alice&for=2", "/ws?user=alice&for=2&late"] {
        let began = Instant::now();
        let mut websocket = client.connect(path).await.unwrap();
        let end = ending(websocket.receive().await);
        assert_eq!((u16::from(end.code()), end.reason()), (3000, "credentials expired"));
        let elapsed = began.elapsed().as_secs_f64();
        assert!((1.9..2.2).contains(&elapsed), "{path}: {elapsed}");
        wait_for_connections(&client.handle(), 0).await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_handler_learns_that_it_expired() {
    let (seen, mut see) = mpsc::unbounded_channel();
    let app = App::new().websocket_route("/ws", async move |mut websocket: WebSocket| -> nexios::Result {
        websocket.authenticate(alice().expires_at(after(1.0)))?;
        websocket.accept().await?;
        let end = ending(websocket.receive().await);
        let again = ending(websocket.authenticate(alice()));
        seen.send((end, again, websocket.identity())).unwrap();
        Ok(())
    });
    let _websocket = TestClient::new(app).connect("/ws").await.unwrap();
    let (end, again, identity) = see.recv().await.unwrap();
    assert_eq!((end.cause(), end.ended_by()), (Cause::Expired, EndedBy::Local));
    assert_eq!(again.cause(), Cause::Expired);
    assert_eq!(identity.unwrap().user(), "alice", "who it was is still known");
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_refreshed_over_the_connection_renews_it() {
    let client = TestClient::new(app());
    let mut websocket = client.connect("/ws?user=alice&for=2").await.unwrap();
    for _ in 0..5 {
        pause(1_500).await;
        websocket.send_text("refresh 2").await.unwrap();
        assert_eq!(websocket.receive_json::<Option<String>>().await.unwrap().as_deref(), Some("alice"));
        assert_eq!(client.handle().connections_of("alice").len(), 1);
    }
    let began = Instant::now();
    assert_eq!(u16::from(ending(websocket.receive().await).code()), 3000);
    assert!((1.9..2.2).contains(&began.elapsed().as_secs_f64()), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn an_expiry_that_has_passed_closes_at_once() {
    let client = TestClient::new(app());
    let mut websocket = client.connect("/ws?user=alice&for=0").await.unwrap();
    let began = Instant::now();
    assert_eq!(u16::from(ending(websocket.receive().await).code()), 3000);
    assert!(began.elapsed() < Duration::from_millis(200));
}

#[tokio::test(start_paused = true)]
async fn whoever_does_not_authenticate_in_time_is_closed() {
    let config = Config::new().authentication_timeout(Duration::from_secs(5));
    let client = TestClient::new(app().config(config));
    let began = Instant::now();
    let mut nobody = client.connect("/ws").await.unwrap();
    let mut early = client.connect("/ws?user=alice").await.unwrap();
    let mut late = client.connect("/ws").await.unwrap();
    late.send_text("become bob").await.unwrap();
    assert_eq!(late.receive_text().await.unwrap(), "\"bob\"");
    let end = ending(nobody.receive().await);
    assert_eq!((u16::from(end.code()), end.reason()), (4401, "authentication timeout"));
    assert!((4.9..5.3).contains(&began.elapsed().as_secs_f64()), "{:?}", began.elapsed());
    pause(60_000).await;
    assert_eq!(whoami(&mut early).await.as_deref(), Some("alice"));
    assert_eq!(whoami(&mut late).await.as_deref(), Some("bob"));
}

#[tokio::test]
async fn a_revoked_user_loses_every_connection_and_nobody_else_does() {
    let client = TestClient::new(app());
    let mut alices = Vec::new();
    for path in ["/ws?user=alice", "/ws?user=alice&late", "/ws?user=alice&for=60"] {
        let mut websocket = client.connect(path).await.unwrap();
        whoami(&mut websocket).await;
        alices.push(websocket);
    }
    let mut bob = client.connect("/ws?user=bob").await.unwrap();
    let mut nobody = client.connect("/ws").await.unwrap();
    let handle = client.handle();
    let senders = handle.connections_of("alice");
    assert_eq!(senders.len(), 3);
    assert_eq!(handle.close_user("alice", 4001, "logged out"), 3);
    assert_eq!(handle.close_user("alice", 4001, "again"), 0);
    for mut websocket in alices {
        let end = ending(within(websocket.receive()).await);
        assert_eq!((u16::from(end.code()), end.reason()), (4001, "logged out"));
    }
    for sender in senders {
        assert_eq!(within(sender.closed()).await.cause(), Cause::Revoked);
    }
    assert!(handle.connections_of("alice").is_empty());
    assert_eq!(handle.close_user("nobody knows them", 4001, ""), 0);
    assert_eq!(whoami(&mut bob).await.as_deref(), Some("bob"));
    assert_eq!(whoami(&mut nobody).await, None);
}

#[tokio::test]
async fn a_connection_that_changes_hands_is_its_last_users() {
    let client = TestClient::new(app());
    let mut websocket = client.connect("/ws?user=alice").await.unwrap();
    websocket.send_text("become bob").await.unwrap();
    assert_eq!(websocket.receive_text().await.unwrap(), "\"bob\"");
    let handle = client.handle();
    assert_eq!((handle.connections_of("alice").len(), handle.connections_of("bob").len()), (0, 1));
    assert_eq!(handle.close_user("alice", 4001, ""), 0);
    assert_eq!(handle.close_user("bob", 4001, ""), 1);
    assert_eq!(u16::from(ending(within(websocket.receive()).await).code()), 4001);
}

#[tokio::test]
async fn a_handshake_under_way_is_revoked_as_well() {
    let (go, entered) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (wait, enter) = (Arc::clone(&go), Arc::clone(&entered));
    let app = App::new().websocket_route("/ws", async move |mut websocket: WebSocket| -> nexios::Result {
        websocket.authenticate(alice())?;
        enter.notify_one();
        wait.notified().await;
        websocket.accept().await?;
        let message = websocket.receive().await;
        assert_eq!(ending(message).cause(), Cause::Revoked);
        Ok(())
    });
    let client = TestClient::new(app);
    let handle = client.handle();
    let connecting = tokio::spawn(async move { client.connect("/ws").await });
    within(entered.notified()).await;
    assert_eq!(handle.close_user("alice", 4001, "logged out"), 1);
    go.notify_one();
    let mut websocket = within(connecting).await.unwrap().unwrap();
    websocket.send_text("too late").await.ok();
    assert_eq!(u16::from(ending(within(websocket.receive()).await).code()), 4001);
}

#[tokio::test]
async fn a_peer_that_ignores_its_close_is_not_listened_to() {
    let (seen, mut see) = mpsc::unbounded_channel();
    let app = App::new().websocket_route("/ws", async move |mut websocket: WebSocket| -> nexios::Result {
        websocket.authenticate(alice())?;
        websocket.accept().await?;
        loop {
            seen.send(websocket.receive_text().await.map_err(|error| error.to_string())).unwrap();
        }
    });
    let server = serve(app).await;
    let mut wire = server.upgrade("/ws").await;
    wire.send(crate::wire::text("before")).await;
    assert_eq!(within(see.recv()).await.unwrap().unwrap(), "before");
    assert_eq!(server.handle.close_user("alice", 4001, ""), 1);
    assert_eq!(within(wire.read_frame()).await.unwrap().into_close().0, 4001);
    for _ in 0..10 {
        wire.send(crate::wire::text("after")).await;
        pause(10).await;
    }
    let said = see.try_recv();
    assert!(said.as_ref().map_or(true, Result::is_err), "{said:?}");
}

#[tokio::test]
async fn a_refused_or_failed_handshake_is_nobodys_connection() {
    let app = App::new().websocket_route("/ws", async |mut websocket: WebSocket| -> nexios::Result {
        websocket.authenticate(alice().expires_at(after(60.0)))?;
        match websocket.query_params().get("how") {
            Some("reject") => websocket.reject(StatusCode::FORBIDDEN).await,
            Some("panic") => panic!("as it is told"),
            _ => Err(Error::other("as it is told")),
        }
    });
    let client = TestClient::new(app);
    for how in ["reject", "panic", "error"] {
        client.connect(&format!("/ws?how={how}")).await.unwrap_err();
        wait_for_connections(&client.handle(), 0).await;
        assert!(client.handle().connections_of("alice").is_empty(), "{how}");
    }
}

#[tokio::test]
async fn what_middleware_has_found_out_an_extractor_takes() {
    let app = App::new()
        .websocket_route("/ws", async |mut websocket: WebSocket, identity: Identity| -> nexios::Result {
            // Middleware may have accepted before.
            let _ = websocket.accept().await;
            let later: Identity = websocket.extract(&()).await.unwrap();
            assert_eq!(later, identity);
            websocket.send_text(identity.user()).await
        })
        .add_ws_middleware(async |mut websocket: WebSocket, next: Next| -> nexios::Result {
            match websocket.query_params().get("user").map(Identity::new) {
                Some(identity) => websocket.authenticate(identity)?,
                None if websocket.query_params().get("accept").is_some() => {
                    websocket.accept().await?;
                    websocket.authenticate(alice())?;
                }
                None => {}
            }
            next.run(websocket).await
        });
    let client = TestClient::new(app);
    for path in ["/ws?user=alice", "/ws?accept"] {
        assert_eq!(client.connect(path).await.unwrap().receive_text().await.unwrap(), "alice");
    }
    assert_eq!(crate::outcome::status(client.connect("/ws").await), 401);
}

struct OwnGroupOnly;

impl GroupPolicy for OwnGroupOnly {
    fn may_join(&self, asker: &Asker, group: &str) -> bool {
        asker.get::<Identity>().is_some_and(|identity| identity.user() == group)
    }
}

#[tokio::test]
async fn a_policy_sees_who_asks() {
    let app = App::new().groups_config(GroupsConfig::new().policy(OwnGroupOnly)).websocket_route(
        "/ws",
        async |mut websocket: WebSocket| -> nexios::Result {
            websocket.accept().await?;
            let mut joined = Vec::new();
            for user in [None, Some("alice"), Some("bob")] {
                if let Some(user) = user {
                    websocket.authenticate(Identity::new(user))?;
                }
                let result = websocket.groups().group("alice").join(&websocket).await;
                let forbidden = matches!(result, Err(Error::Group(GroupError::Forbidden { .. })));
                assert!(forbidden || result.is_ok());
                joined.push(!forbidden);
                let _ = websocket.groups().group("alice").leave(&websocket).await;
            }
            websocket.send_json(&joined).await
        },
    );
    let mut websocket = TestClient::new(app).connect("/ws").await.unwrap();
    assert_eq!(websocket.receive_json::<Vec<bool>>().await.unwrap(), [false, true, false]);
}
