//! What an operator relies on.

use axum::body::Body;
use axum::http::Request;
use nexios::client::ConnectError;
use nexios::testing::TestClient;

use super::*;

/// A token of `ann` (HS256, valid until the year 2100) that does not say when it was issued.
const OF_ANN: &str = concat!(
    "/chat/lounge?token=",
    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.",
    "eyJzdWIiOiJhbm4iLCJleHAiOjQxMDI0NDQ4MDB9.",
    "QUBG8ORn79WF-qLlBM0DYBJAepMsIRX3NJGSMMdYxBo"
);

fn with(name: &str, value: &str) -> nexios::Result<App<SignedOut>> {
    let secrets = [("JWT_SECRET", "0123456789abcdef0123456789abcdef"), ("ADMIN_SECRET", "let-me-in")];
    let find = |wanted: &str| {
        let own = (name == wanted).then_some(value);
        let usual = secrets.iter().find(|(known, _)| *known == wanted).map(|(_, value)| *value);
        own.or(usual).map(str::to_owned)
    };
    app(&Settings(find))
}

async fn sign_out(client: &TestClient, secret: &str) -> u16 {
    let request = Request::post("/admin/sign-out/ann").header("authorization", format!("Bearer {secret}"));
    client.http(request.body(Body::empty()).unwrap()).await.unwrap().status().as_u16()
}

async fn refusal(client: &TestClient, path: &str) -> u16 {
    match client.connect(path).await {
        Err(Error::Connect(ConnectError::Refused(response))) => response.status().as_u16(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn half_of_tls_and_weak_secrets_are_errors_at_start() {
    for (name, value, why) in [
        ("TLS_CERTIFICATE", "certificate.pem", "TLS_KEY is not"),
        ("TLS_KEY", "key.pem", "TLS_CERTIFICATE is not"),
        ("JWT_SECRET", "short", "32 bytes"),
        ("JWT_SECRET", "", "JWT_SECRET is not set"),
        ("ADMIN_SECRET", "", "ADMIN_SECRET is not set"),
        ("ADMIN_SECRET", "two words", "letters, digits"),
    ] {
        let error = with(name, value).unwrap_err().to_string();
        assert!(error.contains(why), "{name}={value}: {error}");
    }
}

#[tokio::test]
async fn a_token_is_dead_after_sign_out() {
    let client = TestClient::new(with("", "").unwrap());
    let mut websocket = client.connect(OF_ANN).await.unwrap();
    websocket.receive().await.unwrap();
    assert_eq!(sign_out(&client, "let-me-in").await, 200);
    let end = loop {
        match websocket.receive().await {
            Ok(_) => {}
            Err(error) => break error.disconnect().cloned().expect("an ending"),
        }
    };
    assert_eq!((u16::from(end.code()), end.reason()), (3000, "signed out"));
    assert_eq!(refusal(&client, OF_ANN).await, 401);
    assert_eq!(refusal(&client, "/chat/lounge").await, 401);
}

#[tokio::test]
async fn wrong_secrets_are_refused_and_limited() {
    let client = TestClient::new(with("", "").unwrap());
    for _ in 0..5 {
        assert_eq!(sign_out(&client, "wrong").await, 401);
    }
    assert_eq!(sign_out(&client, "wrong").await, 429);
    assert_eq!(sign_out(&client, "let-me-in").await, 429);
    // Nothing was signed out by them.
    client.connect(OF_ANN).await.unwrap();
}

#[tokio::test]
async fn a_position_that_is_none_begins_anew() {
    let client = TestClient::new(with("", "").unwrap());
    for (since, recovered) in [("", true), ("&since=", true), ("&since=nonsense", false), ("&since=7", false)] {
        let mut websocket = client.connect(&format!("{OF_ANN}{since}")).await.unwrap();
        // The list of those who are there comes first.
        let joined = loop {
            let text = websocket.receive_text().await.unwrap();
            if let Some(rest) = text.split("\"recovered\":").nth(1) {
                break rest.starts_with("true");
            }
        };
        assert_eq!(joined, recovered, "{since}");
    }
}
