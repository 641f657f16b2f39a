//! A chat as one would put it on the internet: limits, origins, tokens that expire and can be revoked, TLS, metrics,
//! health checks, and an orderly end. Run it, in one line each:
//!
//! ```sh
//! export JWT_SECRET=$(openssl rand -hex 32) ADMIN_SECRET=$(openssl rand -hex 32)
//! cargo run --example production
//! curl http://127.0.0.1:8000/readyz
//! curl http://127.0.0.1:8000/metrics
//! curl -X POST -H "authorization: Bearer $ADMIN_SECRET" http://127.0.0.1:8000/admin/sign-out/ann
//! ```
//!
//! A client connects to `/chat/ROOM?token=…` with a token (HS256) of a user (`sub`) that expires (`exp`) and says when it was
//! issued (`iat`). Two files, `TLS_CERTIFICATE` and `TLS_KEY`, make it TLS; `ORIGINS` are the pages that may connect,
//! separated by commas; `PROXIES` the addresses of proxies before it. What the metrics mean is told in `docs/operating.md`.

#[path = "production/admin.rs"]
mod admin;
#[path = "production/signed_out.rs"]
mod signed_out;
#[cfg(test)]
#[path = "production/tests.rs"]
mod tests;

use std::env;
use std::time::Duration;

use axum::routing::post;
use nexios::auth::{Identity, Jwt, TokenSource};
use nexios::prelude::*;
use nexios::{Origins, OverRate, Rate, ServerConfig, Tls};

use admin::Admin;
use signed_out::{SignedOut, not_signed_out};

/// A room that remembers what was said, and shows who is there.
async fn chat(
    mut websocket: WebSocket,
    Path(room): Path<String>,
    identity: Identity,
    groups: Groups,
) -> nexios::Result {
    let since = since(websocket.query_params().get("since").unwrap_or_default());
    websocket.accept().await?;
    let room = groups.group(&room);
    let joined = room.join_with(&websocket, Join::new().user(identity.user()).since(since).notices()).await?;
    websocket.send_json(&joined).await?;
    loop {
        let text = websocket.receive_text().await?;
        room.send_json(&serde_json::json!({ "from": identity.user(), "text": &*text })).await?;
    }
}

/// Where a client that comes back had been; without a text it was never here. What is no position is taken for one of a
/// stream that is gone: the client is told `"recovered":false`, and begins anew.
fn since(text: &str) -> Option<Position> {
    (!text.is_empty()).then(|| text.parse().unwrap_or(Position::new(0, 0)))
}

/// The program's settings, by their names.
struct Settings<F>(F);

impl<F: Fn(&str) -> Option<String>> Settings<F> {
    fn get(&self, name: &str) -> Option<String> {
        (self.0)(name).filter(|value| !value.is_empty())
    }

    fn needed(&self, name: &str) -> nexios::Result<String> {
        self.get(name).ok_or_else(|| Error::other(format!("{name} is not set")))
    }

    fn list(&self, name: &str) -> Vec<String> {
        let text = self.get(name).unwrap_or_default();
        text.split(',').map(|one| one.trim().to_owned()).filter(|one| !one.is_empty()).collect()
    }

    /// With one of the two it would serve without TLS, which is not what was asked for.
    fn tls(&self) -> nexios::Result<Option<Tls>> {
        match (self.get("TLS_CERTIFICATE"), self.get("TLS_KEY")) {
            (Some(certificate), Some(key)) => Ok(Some(Tls::from_files(certificate, key)?)),
            (None, None) => Ok(None),
            (Some(_), None) => Err(Error::other("TLS_CERTIFICATE is set and TLS_KEY is not")),
            (None, Some(_)) => Err(Error::other("TLS_KEY is set and TLS_CERTIFICATE is not")),
        }
    }

    fn jwt(&self) -> nexios::Result<Jwt> {
        let secret = self.needed("JWT_SECRET")?;
        if secret.len() < 32 {
            return Err(Error::other("JWT_SECRET has less than 32 bytes: it could be found out from any token"));
        }
        Ok(Jwt::hs256(secret).from(TokenSource::bearer()).from(TokenSource::query("token")))
    }
}

fn app(settings: &Settings<impl Fn(&str) -> Option<String>>) -> nexios::Result<App<SignedOut>> {
    // Of one connection.
    let mut config = Config::new()
        .message_size(64 * 1024)
        .message_timeout(Duration::from_secs(10))
        .message_rate(Rate::per_second(20).burst(60))
        .byte_rate(Rate::per_second(256 * 1024))
        .over_rate(OverRate::Wait)
        .groups_per_connection(8)
        .compression(Compression::shared());
    if let origins @ [_, ..] = &settings.list("ORIGINS")[..] {
        config = config.origins(Origins::only(origins).or_absent());
    }
    // Of all of them.
    let server = ServerConfig::new()
        .connections(50_000)
        .connections_per_address(200)
        .accept_rate(Rate::per_second(2_000).burst(10_000))
        .trusted_proxies(settings.list("PROXIES"))
        .drain_delay(Duration::from_secs(2))
        .drain_deadline(Duration::from_secs(20))
        .reconnect_within(Duration::from_secs(30));
    let history = History::new().messages(200).age(Duration::from_hours(1)).with_positions();
    let groups = GroupsConfig::new().each(GroupConfig::new().history(history).slow_consumer(SlowConsumer::DropOldest));

    let signed_out = SignedOut::default();
    let mut app = App::with_state(signed_out.clone())
        .websocket_route("/chat/{room}", chat)
        .add_ws_middleware(settings.jwt()?)
        .add_ws_middleware(not_signed_out)
        .config(config)
        .server_config(server)
        .groups_config(groups)
        .health_checks()
        .metrics("/metrics");
    let admin = Admin::new(&settings.needed("ADMIN_SECRET")?, app.handle(), signed_out)?;
    let route = post(move |user, from, token| admin.sign_out(user, from, token));
    app = app.http(axum::Router::new().route("/admin/sign-out/{user}", route));
    if let Some(tls) = settings.tls()? {
        app = app.tls(tls);
    }
    Ok(app)
}

fn main() -> nexios::Result {
    app(&Settings(|name: &str| env::var(name).ok()))?.run()
}
