//! JSON Web Tokens: which pass, and what those are told that do not.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use nexios::auth::{Claims, Identity, Jwt, JwtError, Token, TokenSource};
use nexios::prelude::*;
use nexios::testing::{TestClient, TestRequest};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::time::Instant;
use tracing::Level;

use crate::logs::Logs;
use crate::outcome::{ending, refusal};
use crate::serving::pause;

const SECRET: [u8; 32] = *b"a secret of 32 bytes for testing";
// Signed once with keys that were thrown away: user alice, until the year 2100.
const RS256_KEY: &str = include_str!("jwt/rs256_public.pem");
const RS256_TOKEN: &str = include_str!("jwt/rs256_token.txt");
const ES256_KEY: &str = include_str!("jwt/es256_public.pem");
const ES256_TOKEN: &str = include_str!("jwt/es256_token.txt");
const ES384_KEY: &str = include_str!("jwt/es384_public.pem");

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// RFC 2104.
fn hmac(key: &[u8], message: &[u8]) -> Vec<u8> {
    let mut block = [0; 64];
    if key.len() > 64 {
        block[..32].copy_from_slice(&Sha256::digest(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let pad = |byte: u8| block.map(|key| key ^ byte);
    let inner = Sha256::new().chain_update(pad(0x36)).chain_update(message).finalize();
    Sha256::new().chain_update(pad(0x5c)).chain_update(inner).finalize().to_vec()
}

fn sign(header: &Value, claims: &Value, secret: &[u8]) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", part(header), part(claims));
    let signature = URL_SAFE_NO_PAD.encode(hmac(secret, message.as_bytes()));
    format!("{message}.{signature}")
}

fn hs256(claims: &Value) -> String {
    sign(&json!({"alg": "HS256", "typ": "JWT"}), claims, &SECRET)
}

fn verify(jwt: &Jwt, token: &str) -> Result<String, JwtError> {
    jwt.verify(&Token::new(token)).map(|claims| claims.subject().to_owned())
}

#[track_caller]
fn passes(jwt: &Jwt, claims: &Value) {
    assert_eq!(verify(jwt, &hs256(claims)).as_deref(), Ok("alice"), "{claims}");
}

#[track_caller]
fn fails(jwt: &Jwt, claims: &Value) {
    assert!(matches!(verify(jwt, &hs256(claims)), Err(JwtError::Invalid(_))), "{claims}");
}

#[test]
fn a_token_passes_with_a_user_and_time_left() {
    let jwt = Jwt::hs256(SECRET);
    passes(&jwt, &json!({"sub": "alice", "exp": now() + 60}));
    passes(&jwt, &json!({"sub": "alice", "exp": now() + 60, "nbf": now() - 60, "iss": "anybody"}));
    fails(&jwt, &json!({"exp": now() + 60}));
    fails(&jwt, &json!({"sub": "", "exp": now() + 60}));
    fails(&jwt, &json!({"sub": 7, "exp": now() + 60}));
    fails(&jwt, &json!({"sub": "alice"}));
    fails(&jwt, &json!({"sub": "alice", "exp": "tomorrow"}));
    fails(&jwt, &json!({"sub": "alice", "exp": now() + 60, "nbf": now() + 30}));
    fails(&jwt, &json!({"sub": "alice", "exp": now() + 60, "nbf": "x"}));
    fails(&jwt, &json!({"sub": "alice", "exp": now() + 60, "aud": "somebody"}));
    fails(&jwt, &json!(["sub", "alice"]));
    assert_eq!(verify(&jwt, &hs256(&json!({"sub": "alice", "exp": now() - 1}))), Err(JwtError::Expired));
    // Times that nobody can express neither pass for the past nor panic.
    for exp in [json!(u64::MAX), json!(1e300), json!(-1), json!(-1e300)] {
        let _ = verify(&jwt.clone().leeway(Duration::MAX), &hs256(&json!({"sub": "alice", "exp": exp})));
    }
}

#[test]
fn issuer_audience_and_leeway_are_settings() {
    let jwt = Jwt::hs256(SECRET).issuer("us").audience("chat").leeway(Duration::from_secs(30));
    let token =
        |issuer: &str, audience: Value, exp: u64| json!({"sub": "alice", "iss": issuer, "aud": audience, "exp": exp});
    passes(&jwt, &token("us", json!("chat"), now() + 60));
    passes(&jwt, &token("us", json!(["mail", "chat"]), now() - 20));
    fails(&jwt, &token("them", json!("chat"), now() + 60));
    fails(&jwt, &token("us", json!("mail"), now() + 60));
    fails(&jwt, &token("us", json!([]), now() + 60));
    fails(&jwt, &json!({"sub": "alice", "exp": now() + 60}));
    let claims = jwt.verify(&Token::new(hs256(&token("us", json!("chat"), 1_000 + now())))).unwrap();
    let left = claims.identity().expiry().unwrap().duration_since(SystemTime::now()).unwrap().as_secs();
    assert!((1_025..=1_030).contains(&left), "{left}");
}

#[test]
fn what_a_token_says_of_its_algorithm_decides_nothing() {
    let claims = json!({"sub": "alice", "exp": now() + 60});
    let jwt = Jwt::hs256(SECRET);
    let [header, payload, signature] =
        hs256(&claims).split('.').map(str::to_owned).collect::<Vec<_>>().try_into().unwrap();
    for algorithm in ["none", "None", "NONE", "nOnE", "", "HS384", "HS512", "RS256", "ES256", "EdDSA", "XX"] {
        let none = URL_SAFE_NO_PAD.encode(json!({"alg": algorithm}).to_string());
        for signature in ["", &signature] {
            assert!(verify(&jwt, &format!("{none}.{payload}.{signature}")).is_err(), "{algorithm}");
        }
        let signed = sign(&json!({"alg": algorithm}), &claims, &SECRET);
        assert!(verify(&jwt, &signed).is_err(), "{algorithm}");
    }
    for bad in [
        String::new(),
        ".".to_owned(),
        "..".to_owned(),
        "a.b.c".to_owned(),
        format!("{header}.{payload}"),
        format!("{header}.{payload}."),
        format!("{header}.{payload}.{signature}.{signature}"),
        format!("{header}.{payload}.{}", URL_SAFE_NO_PAD.encode([0; 32])),
        format!(
            "{header}.{}.{signature}",
            URL_SAFE_NO_PAD.encode(json!({"sub": "root", "exp": now() + 60}).to_string())
        ),
        sign(&json!({"alg": "HS256"}), &claims, b"another secret of 32 bytes there"),
    ] {
        assert!(matches!(verify(&jwt, &bad), Err(JwtError::Invalid(_))), "{bad}");
    }
}

#[test]
fn a_header_that_asks_for_what_must_be_understood_is_refused() {
    let claims = json!({"sub": "alice", "exp": now() + 60});
    let jwt = Jwt::hs256(SECRET);
    // RFC 7515 §4.1.11: an extension that is not understood; and lists that no token may have.
    for crit in [json!(["exp"]), json!(["b64"]), json!(["http://example.com/x"]), json!([]), json!(null), json!("exp")]
    {
        let header = json!({"alg": "HS256", "crit": crit, "exp": 1, "b64": false, "http://example.com/x": true});
        let error = verify(&jwt, &sign(&header, &claims, &SECRET)).unwrap_err();
        assert!(error.to_string().contains("crit"), "{crit}: {error}");
    }
    // What may be ignored is.
    let header =
        json!({"alg": "HS256", "typ": "at+jwt", "kid": "1", "jku": "https://evil.example/keys", "x": {"y": 1}});
    assert_eq!(verify(&jwt, &sign(&header, &claims, &SECRET)).as_deref(), Ok("alice"));
}

#[test]
fn a_token_is_read_in_one_way_only() {
    let jwt = Jwt::hs256(SECRET);
    let token = alice(60);
    let signed = |header: &str, payload: &str| {
        let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(hmac(&SECRET, message.as_bytes())))
    };
    let payload = json!({"sub": "alice", "exp": now() + 60}).to_string();
    verify(&jwt, &signed(r#"{"alg":"HS256"}"#, &payload)).unwrap();
    for bad in [
        signed(r#"{"alg":"none","alg":"HS256"}"#, &payload),
        signed(r#"{"alg":"HS256","crit":[],"crit":[]}"#, &payload),
        signed(r#"["HS256"]"#, &payload),
        signed(r#"{"typ":"JWT"}"#, &payload),
        signed(r#"{"alg":"HS256"}"#, &format!("{payload}x")),
        signed(r#"{"alg":"HS256"}"#, ""),
        format!("{token}="),
        format!(" {token}"),
        format!("{token}\n"),
        token.replacen('.', "=.", 1),
        format!("{token}.{token}"),
    ] {
        assert!(matches!(verify(&jwt, &bad), Err(JwtError::Invalid(_))), "{bad}");
    }
}

#[test]
fn claims_of_another_type_are_none() {
    let jwt = Jwt::hs256(SECRET).issuer("us");
    for issuer in [json!(null), json!(7), json!({}), json!(["them"]), json!([])] {
        fails(&jwt, &json!({"sub": "alice", "exp": now() + 60, "iss": issuer}));
    }
    passes(&jwt, &json!({"sub": "alice", "exp": now() + 60, "iss": ["them", "us"]}));
    for audience in [json!(7), json!({}), json!([]), json!("")] {
        fails(&Jwt::hs256(SECRET), &json!({"sub": "alice", "exp": now() + 60, "aud": audience}));
    }
    fails(&Jwt::hs256(SECRET).audience("chat"), &json!({"sub": "alice", "exp": now() + 60, "aud": 7}));
    fails(&Jwt::hs256(SECRET), &json!({"sub": "alice", "exp": null}));
}

#[test]
fn a_public_key_is_no_shared_secret() {
    for (jwt, key, token) in [
        (Jwt::rs256_pem(RS256_KEY).unwrap(), RS256_KEY, RS256_TOKEN),
        (Jwt::es256_pem(ES256_KEY).unwrap(), ES256_KEY, ES256_TOKEN),
    ] {
        assert_eq!(verify(&jwt, token.trim()).as_deref(), Ok("alice"));
        assert!(verify(&jwt, &token.trim().replacen('.', ".e", 1)).is_err());
        // What everybody knows, used as the secret of another algorithm.
        let claims = json!({"sub": "alice", "exp": now() + 60});
        for secret in [key, key.trim()] {
            for algorithm in ["HS256", "RS256", "ES256"] {
                assert!(verify(&jwt, &sign(&json!({"alg": algorithm}), &claims, secret.as_bytes())).is_err());
            }
        }
    }
    let rs256 = Jwt::rs256_pem(RS256_KEY).unwrap();
    assert!(verify(&rs256, ES256_TOKEN.trim()).is_err());
}

#[test]
fn what_is_no_key_is_refused_with_a_reason() {
    let private = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    let error = Jwt::rs256_pem(private).unwrap_err().to_string();
    assert!(error.contains("private"), "{error}");
    for bad in ["", "nonsense", ES256_KEY] {
        Jwt::rs256_pem(bad).unwrap_err();
    }
    for bad in ["", "nonsense", RS256_KEY, ES384_KEY] {
        Jwt::es256_pem(bad).unwrap_err();
    }
}

#[test]
#[should_panic(expected = "at least 32 bytes, not 6")]
fn a_short_secret_is_a_mistake_of_the_program() {
    let _ = Jwt::hs256("secret");
}

/// Tells the user, its role, and what the middleware has left.
async fn whoami(mut websocket: WebSocket, claims: Claims, identity: Identity) -> nexios::Result {
    assert_eq!(claims.subject(), identity.user());
    assert_eq!(websocket.identity().as_ref(), Some(&identity));
    websocket.accept().await?;
    websocket.send_json(&(identity.user(), claims.get::<String>("role"))).await?;
    websocket.receive().await.map(drop)
}

fn client(jwt: Jwt) -> TestClient {
    TestClient::new(App::new().add_ws_middleware(jwt).websocket_route("/ws", whoami))
}

fn alice(seconds: u64) -> String {
    hs256(&json!({"sub": "alice", "role": "admin", "exp": now() + seconds}))
}

#[tokio::test]
async fn the_middleware_authenticates_and_leaves_the_claims() {
    let sources = [TokenSource::bearer(), TokenSource::query("token"), TokenSource::subprotocol_after("bearer")];
    let client = client(sources.into_iter().fold(Jwt::hs256(SECRET), Jwt::from));
    let token = alice(60);
    for request in [
        client.request("/ws").header("authorization", format!("Bearer {token}")),
        client.request(&format!("/ws?token={token}")),
        client.request("/ws").subprotocol("bearer").subprotocol(&token),
    ] {
        let mut websocket = request.connect().await.unwrap();
        let (user, role): (String, Option<String>) = websocket.receive_json().await.unwrap();
        assert_eq!((user.as_str(), role.as_deref()), ("alice", Some("admin")));
        assert_eq!(client.handle().close_user("alice", 4001, ""), 1);
        assert_eq!(u16::from(ending(websocket.receive().await).code()), 4001);
    }
}

async fn refused(request: TestRequest) -> (u16, String, String) {
    let response = refusal(request.connect().await);
    let challenge = response.headers()["www-authenticate"].to_str().unwrap().to_owned();
    (response.status().as_u16(), challenge, String::from_utf8(response.body().to_vec()).unwrap())
}

#[tokio::test]
async fn without_a_valid_token_it_answers_401_and_no_more_than_needed() {
    let (logs, _guard) = Logs::capture();
    let client = client(Jwt::hs256(SECRET));
    let with = |token: &str| client.request("/ws").header("authorization", format!("Bearer {token}"));
    let (status, challenge, body) = refused(client.request("/ws")).await;
    assert_eq!((status, challenge.as_str(), body.as_str()), (401, "Bearer realm=\"websocket\"", "a token is needed\n"));
    let expired = hs256(&json!({"sub": "alice", "exp": now() - 10}));
    let (status, challenge, body) = refused(with(&expired)).await;
    assert_eq!((status, body.as_str()), (401, "the token has expired\n"));
    assert!(challenge.contains("invalid_token") && challenge.contains("expired"), "{challenge}");
    let others = hs256(&json!({"sub": "alice", "exp": now() + 10, "aud": "SOMEBODY"}));
    for bad in ["nonsense", &others] {
        let (status, challenge, body) = refused(with(bad)).await;
        assert_eq!((status, body.as_str()), (401, "the token is not valid\n"));
        assert_eq!(challenge, "Bearer error=\"invalid_token\"");
        let lines = logs.at(Level::TRACE).join("\n");
        assert!(!lines.contains(bad) && !lines.contains("SOMEBODY"), "{lines}");
    }
    assert!(logs.at(Level::DEBUG).concat().contains("another audience"));
    // The query is none of its sources.
    assert_eq!(refused(client.request(&format!("/ws?token={}", alice(60)))).await.0, 401);
}

#[tokio::test]
async fn a_connection_ends_with_its_token_after_2_to_3_seconds() {
    let client = client(Jwt::hs256(SECRET));
    let began = Instant::now();
    let exp = now() + 2;
    let token = hs256(&json!({"sub": "alice", "exp": exp}));
    let mut websocket =
        client.request("/ws").header("authorization", format!("Bearer {token}")).connect().await.unwrap();
    let _: Value = websocket.receive_json().await.unwrap();
    assert_eq!(u16::from(ending(websocket.receive().await).code()), 3000);
    assert!(now() >= exp, "not early");
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_refreshed_token_keeps_the_connection_open() {
    let jwt = Jwt::hs256(SECRET);
    let verifier = jwt.clone();
    let app = App::new().add_ws_middleware(jwt).websocket_route(
        "/ws",
        async move |mut websocket: WebSocket| -> nexios::Result {
            websocket.accept().await?;
            loop {
                let token = Token::new(websocket.receive_text().await?.to_string());
                let claims = verifier.verify(&token).map_err(Error::other)?;
                websocket.authenticate(claims.identity())?;
            }
        },
    );
    let client = TestClient::new(app);
    let request = client.request("/ws").header("authorization", format!("Bearer {}", alice(10)));
    let mut websocket = request.connect().await.unwrap();
    pause(5_000).await;
    websocket.send_text(alice(100)).await.unwrap();
    pause(50_000).await;
    assert!(websocket.sender().is_open());
    assert_eq!(u16::from(ending(websocket.receive().await).code()), 3000);
}

#[test]
fn neither_secret_nor_claims_are_shown() {
    let jwt = Jwt::hs256(SECRET);
    let claims = jwt.verify(&Token::new(hs256(&json!({"sub": "a", "exp": now() + 9, "card": "1234"})))).unwrap();
    let shown = format!("{jwt:?} {claims:?}");
    assert!(shown.contains("card") && !shown.contains("1234") && !shown.contains("97, 32, 115"), "{shown}");
    assert_eq!(claims.decode::<Value>().unwrap()["card"], "1234");
    claims.decode::<Vec<u8>>().unwrap_err();
}
