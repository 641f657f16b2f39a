//! A chat as one would put it on the internet: limits, origins, tokens that expire and can be revoked, TLS, metrics,
//! health checks, and an orderly end. Run it, in one line each:
//!
//! ```sh
//! export JWT_SECRET=0123456789abcdef0123456789abcdef ADMIN_SECRET=let-me-in
//! cargo run --example production
//! curl http://127.0.0.1:8000/readyz
//! curl http://127.0.0.1:8000/metrics
//! curl -X POST -H "authorization: Bearer let-me-in" http://127.0.0.1:8000/admin/sign-out/ann
//! ```
//!
//! A client connects to `/chat/ROOM?token=…` with a token (HS256) of a user (`sub`) that expires (`exp`). Two files,
//! `TLS_CERTIFICATE` and `TLS_KEY`, make it TLS; `ORIGINS` are the pages that may connect, separated by commas; `PROXIES` the
//! addresses of proxies before it. What the metrics mean is told in `docs/operating.md`.

use std::env;
use std::time::Duration;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::routing::post;
use nexios::auth::{Identity, Jwt, TokenSource, secret_eq};
use nexios::prelude::*;
use nexios::{AppHandle, Origins, OverRate, Rate, ServerConfig, Tls};

/// A room that remembers what was said, and shows who is there.
async fn chat(
    mut websocket: WebSocket,
    Path(room): Path<String>,
    Query(since): Query<Since>,
    identity: Identity,
    groups: Groups,
) -> nexios::Result {
    websocket.accept().await?;
    let room = groups.group(&room);
    let joined = room.join_with(&websocket, Join::new().user(identity.user()).since(since.since).notices()).await?;
    websocket.send_json(&joined).await?;
    loop {
        let text = websocket.receive_text().await?;
        room.send_json(&serde_json::json!({ "from": identity.user(), "text": &*text })).await?;
    }
}

/// Where a client that comes back had been.
#[derive(serde::Deserialize)]
struct Since {
    since: Option<Position>,
}

/// Closes all connections of a user. Whoever gives out tokens has to give this one no new token.
async fn sign_out(Path(user): Path<String>, headers: HeaderMap, admin: Admin) -> (StatusCode, String) {
    let token = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    if !token.is_some_and(|token| secret_eq(token, &admin.secret)) {
        return (StatusCode::UNAUTHORIZED, String::new());
    }
    let closed = admin.handle.close_user(&user, 3000, "signed out");
    (StatusCode::OK, format!("{closed} connections closed\n"))
}

#[derive(Clone)]
struct Admin {
    secret: String,
    handle: AppHandle,
}

fn setting(name: &str) -> nexios::Result<String> {
    env::var(name).map_err(|_| Error::other(format!("{name} is not set")))
}

fn list(name: &str) -> Vec<String> {
    let text = env::var(name).unwrap_or_default();
    text.split(',').map(|one| one.trim().to_owned()).filter(|one| !one.is_empty()).collect()
}

fn main() -> nexios::Result {
    let jwt = Jwt::hs256(setting("JWT_SECRET")?).from(TokenSource::bearer()).from(TokenSource::query("token"));
    // Of one connection.
    let mut config = Config::new()
        .message_size(64 * 1024)
        .message_timeout(Duration::from_secs(10))
        .message_rate(Rate::per_second(20).burst(60))
        .byte_rate(Rate::per_second(256 * 1024))
        .over_rate(OverRate::Wait)
        .groups_per_connection(8)
        .compression(Compression::shared());
    if let origins @ [_, ..] = &list("ORIGINS")[..] {
        config = config.origins(Origins::only(origins).or_absent());
    }
    // Of all of them.
    let server = ServerConfig::new()
        .connections(50_000)
        .connections_per_address(200)
        .accept_rate(Rate::per_second(2_000).burst(10_000))
        .trusted_proxies(list("PROXIES"))
        .drain_delay(Duration::from_secs(2))
        .drain_deadline(Duration::from_secs(20))
        .reconnect_within(Duration::from_secs(30));
    let history = History::new().messages(200).age(Duration::from_hours(1)).with_positions();
    let groups = GroupsConfig::new().each(GroupConfig::new().history(history).slow_consumer(SlowConsumer::DropOldest));

    let mut app = App::new()
        .websocket_route("/chat/{room}", chat)
        .add_ws_middleware(jwt)
        .config(config)
        .server_config(server)
        .groups_config(groups)
        .health_checks()
        .metrics("/metrics");
    let admin = Admin { secret: setting("ADMIN_SECRET")?, handle: app.handle() };
    let route = post(move |user, headers| sign_out(user, headers, admin));
    app = app.http(axum::Router::new().route("/admin/sign-out/{user}", route));
    if let (Ok(certificate), Ok(key)) = (setting("TLS_CERTIFICATE"), setting("TLS_KEY")) {
        app = app.tls(Tls::from_files(certificate, key)?);
    }
    app.run()
}
