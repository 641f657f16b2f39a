//! The servers do what their values are told.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, and so do the functions that serve it")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use nexios_engines::{Engine, Setup};

/// Sends a line and returns what comes back, up to 1,000 bytes; nothing after a second of silence.
fn ask(engine: &Engine, line: &str) -> String {
    let mut stream = TcpStream::connect(engine.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    stream.write_all(line.as_bytes()).unwrap();
    let mut buffer = [0; 1000];
    let length = stream.read(&mut buffer).unwrap_or(0);
    String::from_utf8_lossy(&buffer[..length]).into_owned()
}

#[test]
fn redis_keeps_its_data_over_a_kill_and_not_over_an_empty_restart() {
    let mut redis = Engine::redis();
    let port = redis.port();
    assert_eq!(ask(&redis, "SET key value\r\n"), "+OK\r\n");
    redis.kill();
    assert!(TcpStream::connect(redis.address()).is_err());
    redis.restart();
    assert_eq!(ask(&redis, "GET key\r\n"), "$5\r\nvalue\r\n");
    redis.restart_empty();
    assert_eq!(ask(&redis, "GET key\r\n"), "$-1\r\n");
    assert_eq!(redis.port(), port);
}

#[test]
fn a_frozen_server_does_not_answer_until_it_is_thawed() {
    let redis = Engine::redis();
    redis.freeze();
    assert_eq!(ask(&redis, "PING\r\n"), "");
    redis.thaw();
    assert_eq!(ask(&redis, "PING\r\n"), "+PONG\r\n");
}

#[test]
fn nats_has_jetstream() {
    let mut nats = Engine::nats();
    assert!(ask(&nats, "").contains(r#""jetstream":true"#));
    nats.restart();
    assert!(ask(&nats, "").contains(r#""jetstream":true"#));
    assert!(nats.url().starts_with("nats://127.0.0.1:"));
}

#[test]
fn a_server_has_the_arguments_that_it_was_given() {
    let redis = Setup::redis().arguments(["--requirepass", "secret"]).start();
    assert!(ask(&redis, "GET key\r\n").starts_with("-NOAUTH"));
}

#[test]
fn a_dropped_server_is_gone_with_its_data() {
    let redis = Engine::redis();
    let (address, data) = (redis.address(), redis.data());
    assert!(data.exists());
    drop(redis);
    assert!(TcpStream::connect(address).is_err());
    assert!(!data.exists());
}
