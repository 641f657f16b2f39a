//! Over TLS, with the certificate authorities of the machine.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;

use nexios::testing::backplane::{self, Happening, TestNode};
use nexios_engines::{Setup, free_port};
use nexios_redis::Redis;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

/// Where the test that runs in a process of its own finds the server.
const URL: &str = "NEXIOS_REDIS_TLS_URL";

#[test]
fn servers_are_reached_over_tls_and_strangers_are_not_trusted() {
    let folder = std::env::temp_dir().join(format!("nexios-redis-tls-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder");
    let path = |name: &str| folder.join(name).into_os_string();
    let write = |name: &str, text: String| fs::write(folder.join(name), text).expect("a file");
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().expect("a key")).expect("an authority");
    let key = KeyPair::generate().expect("a key");
    let certificate =
        CertificateParams::new(["localhost".to_owned()]).and_then(|names| names.signed_by(&key, &authority));
    write("authority.pem", authority.pem());
    write("server.pem", certificate.expect("a certificate").pem());
    write("key.pem", key.serialize_pem());
    let port = free_port(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let words = ["--tls-port", &port.to_string(), "--tls-auth-clients", "no"];
    let engine = Setup::redis().arguments(words).argument("--tls-cert-file").argument(path("server.pem"));
    let engine = engine.argument("--tls-key-file").argument(path("key.pem"));
    let _engine = engine.argument("--tls-ca-cert-file").argument(path("authority.pem")).start();

    let run = |test: &str, authority: Option<std::ffi::OsString>| {
        // The authorities are read from the environment, which a process has only one of.
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.args(["--exact", test]).env(URL, format!("rediss://localhost:{port}"));
        command.envs(authority.map(|file| ("SSL_CERT_FILE", file)));
        let output = command.output().expect("this program");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    };
    run("tls::trusted", Some(path("authority.pem")));
    run("tls::not_trusted", None);
    fs::remove_dir_all(&folder).expect("a folder");
}

#[tokio::test]
async fn trusted() {
    let Ok(url) = std::env::var(URL) else { return };
    backplane::check_only("place", |prefix| Redis::connect(&url).prefix(prefix.as_str())).await;
}

#[tokio::test]
async fn not_trusted() {
    let Ok(url) = std::env::var(URL) else { return };
    let node = TestNode::start(Redis::connect(url)).await.expect("a start");
    // A program that has two, and leaves it open, would meet a panic.
    assert!(rustls::crypto::CryptoProvider::get_default().is_some(), "the provider of cryptography is chosen");
    let is_told = |h: &Happening| matches!(h, Happening::Disconnected(reason) if reason.contains("certificate"));
    node.wait_until("disconnected", |happened| happened.iter().any(is_told)).await;
    assert!(!node.happened().iter().any(|h| matches!(h, Happening::Connected)));
}
