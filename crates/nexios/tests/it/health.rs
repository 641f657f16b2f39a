//! `/healthz` and `/readyz`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nexios::prelude::*;
use nexios::testing::TestClient;
use tower::ServiceExt;

async fn body(response: axum::response::Response) -> String {
    let bytes = axum::body::to_bytes(response.into_body(), 1024).await.unwrap();
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Asks the app itself: what a server does with its HTTP connections while it goes down is not this.
async fn check(router: &axum::Router, path: &str, status: u16, text: &str) {
    let request = http::Request::get(path).body(axum::body::Body::empty()).unwrap();
    let response = router.clone().oneshot(request).await.unwrap();
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
    let app = App::new().health_checks().websocket_route("/", wait);
    let (handle, router): (_, axum::Router) = (app.handle(), app.into_router());
    check(&router, "/healthz", 200, "ok\n").await;
    check(&router, "/readyz", 200, "ready\n").await;
    assert!(!handle.is_shutting_down());
    handle.shutdown();
    assert!(handle.is_shutting_down());
    check(&router, "/healthz", 200, "ok\n").await;
    check(&router, "/readyz", 503, "shutting down\n").await;
}

#[tokio::test]
async fn a_check_that_fails_says_why_until_it_is_well_again() {
    let is_well = Arc::new(AtomicBool::new(false));
    let database = Arc::clone(&is_well);
    let app = App::new()
        .health_checks()
        .readiness("database", move || if database.load(Ordering::Relaxed) { Ok(()) } else { Err("gone".to_owned()) })
        .readiness("cache", || Ok(()));
    let (handle, router): (_, axum::Router) = (app.handle(), app.into_router());
    check(&router, "/readyz", 503, "database: gone\n").await;
    check(&router, "/healthz", 200, "ok\n").await;
    is_well.store(true, Ordering::Relaxed);
    check(&router, "/readyz", 200, "ready\n").await;
    is_well.store(false, Ordering::Relaxed);
    handle.shutdown();
    check(&router, "/readyz", 503, "shutting down\ndatabase: gone\n").await;
}

#[tokio::test]
async fn a_check_that_panics_has_failed() {
    let app = App::new().health_checks().readiness("broken", || panic!("as asked"));
    check(&app.into_router(), "/readyz", 503, "broken: panicked\n").await;
}

#[tokio::test]
async fn nobody_is_told_who_did_not_ask_for_it() {
    let client = TestClient::new(App::new().websocket_route("/", wait));
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(client.get(path).await.unwrap().status(), 404, "{path}");
    }
}
