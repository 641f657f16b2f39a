//! Tries the client against a server with the routes of `interop_server`:
//! `cargo run --release --example interop_client -- ws://127.0.0.1:9001` (`cargo xtask interop` does so with Python and Node).
//!
//! `NEXIOS_COMPRESSION` is `off` (the default), `shared` or `dedicated`.

use std::process::ExitCode;
use std::time::Duration;

use nexios::client::{Connect, ConnectError};
use nexios::prelude::*;
use serde_json::{Value, json};

const MIB: usize = 1 << 20;
const COMPRESSION: &str = "NEXIOS_COMPRESSION";

async fn text_comes_back_unchanged(server: &str) -> anyhow::Result<()> {
    let mut websocket = connect(format!("{server}/echo")).await?;
    for text in ["", "hello", "grüße, 世界, 🙂", &"ä".repeat(MIB / 2)] {
        websocket.send_text(text).await?;
        anyhow::ensure!(websocket.receive_text().await? == text, "{} bytes differ", text.len());
    }
    Ok(())
}

async fn binary_comes_back_unchanged(server: &str) -> anyhow::Result<()> {
    let mut websocket = connect(format!("{server}/echo")).await?;
    for size in [0, 1, 125, 126, 65_535, 65_536, MIB] {
        let sent: Vec<u8> = (0..=u8::MAX).cycle().take(size).collect();
        websocket.send_bytes(sent.clone()).await?;
        anyhow::ensure!(websocket.receive_bytes().await? == sent, "{size} bytes differ");
    }
    Ok(())
}

async fn many_messages_keep_their_order(server: &str) -> anyhow::Result<()> {
    let mut websocket = connect(format!("{server}/echo")).await?;
    for n in 0..1000 {
        websocket.send_text(n.to_string()).await?;
    }
    for n in 0..1000 {
        anyhow::ensure!(websocket.receive_text().await? == n.to_string(), "{n} is missing");
    }
    Ok(())
}

async fn json_is_sent_and_received(server: &str) -> anyhow::Result<()> {
    let mut websocket = connect(format!("{server}/json")).await?;
    let sent = json!({ "name": "Zoë", "tags": [1, 2.5, null, true] });
    websocket.send_json(&sent).await?;
    let received: Value = websocket.receive_json().await?;
    anyhow::ensure!(received == json!({ "received": sent }), "{received}");
    Ok(())
}

async fn the_code_and_reason_of_the_server_arrive(server: &str) -> anyhow::Result<()> {
    for (code, reason) in [(1000, "done"), (1008, "Unauthorized"), (4321, "later")] {
        let mut websocket = connect(format!("{server}/close?code={code}&reason={reason}")).await?;
        let end = ending(&mut websocket).await?;
        anyhow::ensure!(end.code() == CloseCode::from(code) && end.reason() == reason, "{end}");
        anyhow::ensure!(end.ended_by() == EndedBy::Peer, "{end}");
    }
    Ok(())
}

async fn the_server_sends_the_code_of_the_client_back(server: &str) -> anyhow::Result<()> {
    for code in [1000, 1001, 3000, 4999] {
        let mut websocket = connect(format!("{server}/echo")).await?;
        websocket.close(code, "bye").await?;
        let end = ending(&mut websocket).await?;
        let answer = end.received().map(nexios::CloseFrame::code);
        anyhow::ensure!(answer == Some(CloseCode::from(code)), "{end}: {answer:?}");
    }
    Ok(())
}

async fn the_subprotocol_of_the_server_is_known(server: &str) -> anyhow::Result<()> {
    let offer = Connect::new(format!("{server}/subprotocol")).subprotocol("v1.nexios").subprotocol("v2.nexios");
    let websocket = offer.connect().await?;
    let selected: Vec<&str> = websocket.subprotocols().collect();
    anyhow::ensure!(selected == ["v2.nexios"], "{selected:?}");
    Ok(())
}

async fn a_refusal_brings_status_and_body(server: &str) -> anyhow::Result<()> {
    for (path, status, body) in [("/refuse", 403, ""), ("/reject", 401, "no token"), ("/nowhere", 404, "")] {
        let Err(Error::Connect(ConnectError::Refused(response))) = connect(format!("{server}{path}")).await else {
            anyhow::bail!("{path} did not refuse");
        };
        anyhow::ensure!(response.status() == status && response.body() == body, "{path}: {response:?}");
    }
    Ok(())
}

async fn similar_messages_come_back_unchanged(server: &str) -> anyhow::Result<()> {
    let mut websocket = connect(format!("{server}/echo")).await?;
    for n in 0..200 {
        let sent = format!(r#"{{"n":{n}}}"#).repeat(500);
        websocket.send_text(sent.as_str()).await?;
        anyhow::ensure!(websocket.receive_text().await? == sent, "message {n} differs");
    }
    Ok(())
}

async fn what_was_asked_for_is_agreed_on(server: &str) -> anyhow::Result<()> {
    let websocket = connect(format!("{server}/echo")).await?;
    let answer = websocket.headers().get("sec-websocket-extensions").map(|value| value.to_str()).transpose()?;
    let alone = ["server_no_context_takeover", "client_no_context_takeover"].map(|one| answer.map(|a| a.contains(one)));
    let expected = match std::env::var(COMPRESSION).as_deref() {
        Ok("shared") => Some(true),
        Ok("dedicated") => Some(false),
        _ => None,
    };
    anyhow::ensure!(alone == [expected; 2], "{answer:?}");
    Ok(())
}

async fn connect(url: String) -> nexios::Result<WebSocket> {
    let word = std::env::var(COMPRESSION).unwrap_or_else(|_| "off".to_owned());
    let compression = word.parse().map_err(|error| Error::other(format!("{COMPRESSION}: {error}")))?;
    Connect::new(url).config(Config::new().compression(compression)).connect().await
}

async fn ending(websocket: &mut WebSocket) -> anyhow::Result<WebSocketDisconnect> {
    match websocket.receive().await {
        Err(Error::Disconnect(end)) => Ok(end),
        other => anyhow::bail!("not an ending: {other:?}"),
    }
}

/// Runs each check with a deadline of its own and counts those that failed.
macro_rules! run_checks {
    ($server:expr, $($check:ident),+ $(,)?) => {{
        let mut failed = 0;
        $(
            let result = tokio::time::timeout(Duration::from_secs(30), $check($server)).await;
            let name = stringify!($check).replace('_', " ");
            match result.map_err(anyhow::Error::from).flatten() {
                Ok(()) => println!("ok {name}"),
                Err(error) => {
                    println!("FAIL {name}: {error:#}");
                    failed += 1;
                }
            }
        )+
        failed
    }};
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let Some(server) = std::env::args().nth(1) else {
        println!("usage: interop_client ws://HOST:PORT");
        return ExitCode::from(2);
    };
    let failed = run_checks!(
        &server,
        text_comes_back_unchanged,
        binary_comes_back_unchanged,
        many_messages_keep_their_order,
        json_is_sent_and_received,
        the_code_and_reason_of_the_server_arrive,
        the_server_sends_the_code_of_the_client_back,
        the_subprotocol_of_the_server_is_known,
        a_refusal_brings_status_and_body,
        similar_messages_come_back_unchanged,
        what_was_asked_for_is_agreed_on,
    );
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
