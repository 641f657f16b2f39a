//! Handlers that fail: what the peer, the log, `on_error` and the neighbours see.

use std::error::Error as StdError;
use std::fmt;
use std::sync::{Arc, Mutex};

use nexios::prelude::*;
use nexios::testing::TestClient;
use tracing::Level;

use crate::logs::Logs;
use crate::outcome::{code, ending};
use crate::programs::echo;
use crate::serving::{serve, wait_for_connections, within};
use crate::wire::{close, text};

/// The texts of the errors that `on_error` has seen.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<String>>>);

impl Seen {
    fn watch<S: Clone + Send + Sync + 'static>(&self, app: App<S>) -> App<S> {
        let seen = self.clone();
        app.on_error(move |error| seen.0.lock().unwrap().push(error.to_string()))
    }

    fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

fn app<F, R, E>(handler: F) -> App
where
    F: FnOnce(WebSocket) -> R + Clone + Send + Sync + 'static,
    R: Future<Output = Result<(), E>> + Send + 'static,
    E: Into<nexios::BoxError> + 'static,
{
    App::new().websocket_route("/ws", handler)
}

#[tokio::test]
async fn a_panic_ends_its_own_connection_and_no_other() {
    async fn fragile(mut websocket: WebSocket) -> nexios::Result {
        websocket.accept().await?;
        loop {
            let text = websocket.receive_text().await?;
            assert!(text != "panic", "as you wish");
            websocket.send_text(text).await?;
        }
    }
    let client = TestClient::new(App::new().websocket_route("/ws", fragile));
    let mut bystander = client.connect("/ws").await.unwrap();
    for _ in 0..50 {
        let mut victim = client.connect("/ws").await.unwrap();
        victim.send_text("panic").await.unwrap();
        assert_eq!(within(async { code(victim.receive().await) }).await, 1011);
        bystander.send_text("unharmed").await.unwrap();
        assert_eq!(bystander.receive_text().await.unwrap(), "unharmed");
    }
    wait_for_connections(&client.handle(), 1).await;
}

#[tokio::test]
async fn a_panic_is_logged_with_its_route_and_message_and_on_error_sees_it_as_a_panic() {
    let (logs, _guard) = Logs::capture();
    let seen = Arc::new(Mutex::new(None));
    let watch = Arc::clone(&seen);
    let app = App::new()
        .websocket_route("/rooms/{room}", async |mut websocket: WebSocket| -> nexios::Result {
            websocket.accept().await.unwrap();
            panic!("no such {}", "room");
        })
        .on_error(move |error| {
            if let Error::Panic(panic) = error {
                *watch.lock().unwrap() = Some(panic.message().to_owned());
            }
        });
    let client = TestClient::new(app);
    let mut websocket = client.connect("/rooms/7").await.unwrap();
    assert_eq!(code(websocket.receive().await), 1011);
    assert_eq!(seen.lock().unwrap().as_deref(), Some("no such room"));
    let lines = logs.at(Level::ERROR);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("/rooms/{room}") && lines[0].contains("no such room"), "{lines:?}");
}

#[tokio::test]
async fn an_error_is_logged_once_with_its_route_and_on_error_sees_it() {
    let (logs, _guard) = Logs::capture();
    let seen = Seen::default();
    let client = TestClient::new(seen.watch(app(async |mut websocket: WebSocket| {
        websocket.accept().await?;
        Err(Error::other("the database\nis gone"))
    })));
    let mut websocket = client.connect("/ws").await.unwrap();
    assert_eq!(code(websocket.receive().await), 1011);
    assert_eq!(seen.all(), ["the database\nis gone"]);
    let lines = logs.at(Level::ERROR);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("/ws") && lines[0].contains("the database"), "{lines:?}");
    assert!(!lines[0].contains('\n'), "{lines:?}");
}

#[tokio::test]
async fn an_error_before_accept_is_logged_as_well() {
    let (logs, _guard) = Logs::capture();
    let seen = Seen::default();
    let client = TestClient::new(seen.watch(app(async |_: WebSocket| Err("never accepted"))));
    assert_eq!(crate::outcome::status(client.connect("/ws").await), 403);
    assert_eq!(seen.all(), ["never accepted"]);
    assert_eq!(logs.at(Level::ERROR).len(), 1);
}

/// An application's own error, with a disconnect somewhere below.
#[derive(Debug)]
struct Lobby(Error);

impl fmt::Display for Lobby {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("in the lobby")
    }
}

impl StdError for Lobby {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&self.0)
    }
}

#[tokio::test]
async fn a_disconnect_inside_any_error_is_a_normal_end() {
    let (logs, _guard) = Logs::capture();
    let seen = Seen::default();
    let app = seen.watch(
        App::new()
            .websocket_route("/anyhow", async |mut websocket: WebSocket| -> anyhow::Result<()> {
                websocket.accept().await?;
                loop {
                    anyhow::Context::context(websocket.receive().await, "while reading")?;
                }
            })
            .websocket_route("/own", async |mut websocket: WebSocket| -> Result<(), Lobby> {
                websocket.accept().await.map_err(Lobby)?;
                loop {
                    websocket.receive().await.map_err(Lobby)?;
                }
            })
            .websocket_route(
                "/boxed",
                async |mut websocket: WebSocket| -> Result<(), Box<dyn StdError + Send + Sync>> {
                    websocket.accept().await?;
                    loop {
                        websocket.receive().await.map_err(|error| Box::new(Lobby(error)))?;
                    }
                },
            )
            .websocket_route("/io", async |mut websocket: WebSocket| -> std::io::Result<()> {
                websocket.accept().await.map_err(std::io::Error::other)?;
                loop {
                    websocket.receive().await.map_err(std::io::Error::other)?;
                }
            }),
    );
    let client = TestClient::new(app);
    for path in ["/anyhow", "/own", "/boxed", "/io"] {
        let mut websocket = client.connect(path).await.unwrap();
        websocket.close(1001, "").await.unwrap();
        wait_for_connections(&client.handle(), 0).await;
        assert_eq!(seen.all(), Vec::<String>::new(), "{path}");
    }
    assert_eq!(logs.at(Level::WARN), Vec::<String>::new());
}

#[tokio::test]
async fn a_wrong_type_or_malformed_json_keeps_its_close_code_inside_any_error() {
    let app = App::new()
        .websocket_route("/type", async |mut websocket: WebSocket| -> anyhow::Result<()> {
            websocket.accept().await?;
            anyhow::Context::context(websocket.receive_text().await, "the first message")?;
            Ok(())
        })
        .websocket_route("/json", async |mut websocket: WebSocket| -> Result<(), Lobby> {
            websocket.accept().await.map_err(Lobby)?;
            websocket.receive_json::<u8>().await.map_err(Lobby)?;
            Ok(())
        });
    let client = TestClient::new(app);
    let mut websocket = client.connect("/type").await.unwrap();
    websocket.send_bytes(vec![0]).await.unwrap();
    assert_eq!(code(websocket.receive().await), 1003);
    let mut websocket = client.connect("/json").await.unwrap();
    websocket.send_text("not json").await.unwrap();
    assert_eq!(code(websocket.receive().await), 1007);
}

#[tokio::test]
async fn a_value_that_has_no_json_form_is_the_servers_fault_1011() {
    let seen = Seen::default();
    let client = TestClient::new(seen.watch(app(async |mut websocket: WebSocket| {
        websocket.accept().await?;
        let no_json = std::collections::HashMap::from([((1, 2), "a key that is no string")]);
        websocket.send_json(&no_json).await
    })));
    let mut websocket = client.connect("/ws").await.unwrap();
    assert_eq!(code(websocket.receive().await), 1011);
    assert_eq!(seen.all().len(), 1);
}

#[tokio::test]
async fn the_applications_own_json_error_is_the_servers_fault_1011() {
    let client = TestClient::new(app(async |mut websocket: WebSocket| -> anyhow::Result<()> {
        websocket.accept().await?;
        let _: u8 = serde_json::from_str("a broken settings file")?;
        Ok(())
    }));
    let mut websocket = client.connect("/ws").await.unwrap();
    assert_eq!(code(websocket.receive().await), 1011);
}

#[tokio::test]
async fn a_handler_may_return_nothing_or_any_kind_of_error() {
    let app = App::new()
        .websocket_route("/unit", async |mut websocket: WebSocket| {
            websocket.accept().await.unwrap();
        })
        .websocket_route("/text", async |mut websocket: WebSocket| -> Result<(), String> {
            websocket.accept().await.map_err(|error| error.to_string())?;
            Err("a text is enough".to_owned())
        })
        .websocket_route("/io", async |mut websocket: WebSocket| -> nexios::Result {
            websocket.accept().await?;
            Err(std::io::Error::other("disk"))?;
            Ok(())
        })
        .websocket_route("/boxed", async |mut websocket: WebSocket| -> nexios::Result {
            websocket.accept().await?;
            let error: Box<dyn StdError + Send + Sync> = "boxed".into();
            Err(error)?;
            Ok(())
        })
        .websocket_route("/anyhow", async |mut websocket: WebSocket| -> anyhow::Result<()> {
            websocket.accept().await?;
            anyhow::bail!("anyhow");
        });
    let client = TestClient::new(app);
    for (path, expected) in [("/unit", 1000), ("/text", 1011), ("/io", 1011), ("/boxed", 1011), ("/anyhow", 1011)] {
        let mut websocket = client.connect(path).await.unwrap();
        assert_eq!(code(websocket.receive().await), expected, "{path}");
    }
}

#[tokio::test]
async fn a_hook_that_panics_takes_nobody_along() {
    let server = serve(
        App::new()
            .websocket_route("/fails", async |mut websocket: WebSocket| -> nexios::Result {
                websocket.accept().await?;
                Err(Error::other("first"))
            })
            .websocket_route("/echo", echo)
            .on_error(|_| panic!("the hook itself")),
    )
    .await;
    let mut bystander = server.upgrade("/echo").await;
    let mut victim = server.upgrade("/fails").await;
    // The hook changes nothing for the peer.
    assert_eq!(victim.close_frame().await.0, 1011);
    victim.send(close(1011, "")).await;
    assert_eq!(victim.frame().await, None);
    bystander.send(text("alive")).await;
    assert_eq!(bystander.text().await, "alive");
    server.wait_for_connections(1).await;
}

#[tokio::test]
async fn the_disconnect_is_the_source_of_its_error() {
    let client = TestClient::new(app(async |mut websocket: WebSocket| websocket.accept().await));
    let mut websocket = client.connect("/ws").await.unwrap();
    let error = websocket.receive().await.unwrap_err();
    let source = error.source().expect("no source").downcast_ref::<WebSocketDisconnect>();
    assert_eq!(source, error.disconnect());
    let Error::Disconnect(end) = error else { panic!() };
    let _: &dyn StdError = &end;
    assert_eq!(end.code(), CloseCode::NORMAL);
    assert_eq!(ending(websocket.receive().await), end);
}
