//! `/healthz` and `/readyz`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nexios::prelude::*;
use nexios::testing::TestClient;

use crate::outcome::body;

async fn check(client: &TestClient, path: &str, status: u16, text: &str) {
    let response = client.get(path).await.unwrap();
    assert_eq!(response.status(), status, "{path}");
    assert_eq!(response.headers()["cache-control"], "no-store", "{path}");
    assert_eq!(body(response).await, text, "{path}");
}

async fn wait(mut websocket: WebSocket) -> nexios::Result {
    websocket.accept().await?;
    websocket.receive().await.map(drop)
}

#[tokio::test]
async fn a_server_is_ready_until_it_goes_down_and_alive_even_then() {
    let client = TestClient::new(App::new().health_checks().websocket_route("/", wait));
    let _socket = client.connect("/").await.unwrap();
    check(&client, "/healthz", 200, "ok\n").await;
    check(&client, "/readyz", 200, "ready\n").await;
    assert!(!client.handle().is_shutting_down());
    client.handle().shutdown();
    assert!(client.handle().is_shutting_down());
    check(&client, "/healthz", 200, "ok\n").await;
    check(&client, "/readyz", 503, "shutting down\n").await;
}

#[tokio::test]
async fn a_check_that_fails_says_why_until_it_is_well_again() {
    let is_well = Arc::new(AtomicBool::new(false));
    let database = Arc::clone(&is_well);
    let app = App::new()
        .health_checks()
        .readiness("database", move || if database.load(Ordering::Relaxed) { Ok(()) } else { Err("gone".to_owned()) })
        .readiness("cache", || Ok(()));
    let client = TestClient::new(app);
    check(&client, "/readyz", 503, "database: gone\n").await;
    check(&client, "/healthz", 200, "ok\n").await;
    is_well.store(true, Ordering::Relaxed);
    check(&client, "/readyz", 200, "ready\n").await;
    is_well.store(false, Ordering::Relaxed);
    client.handle().shutdown();
    check(&client, "/readyz", 503, "shutting down\ndatabase: gone\n").await;
}

#[tokio::test]
async fn a_check_that_panics_has_failed() {
    let app = App::new().health_checks().readiness("broken", || panic!("as asked"));
    check(&TestClient::new(app), "/readyz", 503, "broken: panicked\n").await;
}

#[tokio::test]
async fn nobody_is_told_who_did_not_ask_for_it() {
    let client = TestClient::new(App::new().websocket_route("/", wait));
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(client.get(path).await.unwrap().status(), 404, "{path}");
    }
}
