//! Behind nginx: what it changes, and what it does not.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream};

use crate::child::{Child, missing};
use crate::peer::{BINARY, CLOSE, Peer, TEXT};
use crate::server::Server;
use crate::waiting::{PATIENCE, block_on, wait_until, within};

/// nginx in front of a server.
pub(crate) struct Proxied {
    server: Server,
    pub(crate) address: SocketAddr,
    nginx: Child,
    folder: PathBuf,
}

impl Proxied {
    /// With further lines in the location's block.
    pub(crate) fn start(options: &str, lines: &str) -> Self {
        Self::start_in(folder(), options, "", lines)
    }

    /// The same with a certificate of its own.
    fn start_with_tls(options: &str, lines: &str) -> Self {
        let folder = folder();
        let mut command = Command::new("openssl");
        let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "key.pem"];
        let certificate = ["-subj", "/CN=localhost", "-days", "2", "-out", "certificate.pem"];
        let made = command.args(["req", "-x509"]).args(key).args(certificate).current_dir(&folder).output();
        let made = made.unwrap_or_else(|_| missing("openssl", "openssl"));
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let tls = "ssl_certificate certificate.pem; ssl_certificate_key key.pem;";
        Self::start_in(folder, options, tls, lines)
    }

    fn start_in(folder: PathBuf, options: &str, tls: &str, lines: &str) -> Self {
        let server = Server::start(options);
        // Taken by nobody a moment ago: nginx has no way to choose one by itself and tell.
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
        std::fs::write(folder.join("nginx.conf"), configuration(address, server.address, tls, lines)).unwrap();
        let mut command = Command::new("nginx");
        command.arg("-p").arg(&folder).arg("-c").arg(folder.join("nginx.conf")).args(["-e", "stderr"]);
        let nginx = match Child::try_start(&mut command) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => missing("nginx", "nginx-light"),
            nginx => nginx.unwrap(),
        };
        wait_until(PATIENCE, "nginx listens", || std::net::TcpStream::connect(address).is_ok());
        Self { server, address, nginx, folder }
    }

    async fn connect(&self, path: &str) -> Peer {
        self.connect_with(path, &[]).await
    }

    async fn connect_with(&self, path: &str, headers: &[&str]) -> Peer {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let peer = within(Peer::upgrade(stream, path, headers)).await;
        peer.unwrap_or_else(|error| panic!("{error}\n{:#?}\n{:#?}", self.nginx.log(), self.server.log()))
    }
}

impl Drop for Proxied {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// One that is removed with its `Proxied`.
fn folder() -> PathBuf {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let folder = std::env::temp_dir().join(format!("nexios-nginx-{}-{number}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// As nginx's documentation has it, in a single process.
fn configuration(listen: SocketAddr, server: SocketAddr, tls: &str, lines: &str) -> String {
    let ssl = if tls.is_empty() { "" } else { "ssl" };
    format!(
        "daemon off; master_process off; pid nginx.pid; error_log stderr warn;
         events {{ worker_connections 2000; }}
         http {{
             access_log off;
             client_body_temp_path t1; proxy_temp_path t2; fastcgi_temp_path t3; uwsgi_temp_path t4; scgi_temp_path t5;
             server {{
                 listen {listen} {ssl}; {tls}
                 location / {{
                     proxy_pass http://{server};
                     proxy_http_version 1.1;
                     proxy_set_header Upgrade $http_upgrade;
                     proxy_set_header Connection \"upgrade\";
                     proxy_set_header Host $http_host;
                     proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
                     {lines}
                 }}
             }}
         }}\n"
    )
}

#[test]
fn messages_of_all_sizes_pass_through_nginx() {
    let proxied = Proxied::start("", "");
    block_on(async {
        let mut peer = proxied.connect("/echo").await;
        for size in [0, 1, 125, 126, 65_535, 65_536, 1_000_000] {
            let payload = vec![b'n'; size];
            // nginx's buffers are small: it is read while it is written.
            peer.send(BINARY, &payload).await.unwrap();
            let frame = within(peer.next()).await.unwrap();
            assert_eq!((frame.opcode(), frame.payload.len()), (BINARY, size));
        }
    });
}

#[test]
fn a_subprotocol_and_compression_are_agreed_on_through_nginx() {
    let proxied = Proxied::start("", "");
    block_on(async {
        let headers = ["Sec-WebSocket-Protocol: chat, other", "Sec-WebSocket-Extensions: permessage-deflate"];
        let mut peer = proxied.connect_with("/chat", &headers).await;
        assert!(peer.head.contains("sec-websocket-protocol: chat\r\n"), "{}", peer.head);
        assert!(peer.head.contains("sec-websocket-extensions: permessage-deflate"), "{}", peer.head);
        peer.send(TEXT, "compress this, please: ".repeat(100)).await.unwrap();
        let frame = within(peer.next()).await.unwrap();
        // FIN, RSV1 (RFC 7692 §6), text.
        assert_eq!(frame.first, 0xC1);
        assert!(frame.payload.len() < 200, "{} bytes", frame.payload.len());
    });
}

#[test]
fn close_codes_pass_through_nginx_in_both_directions() {
    let proxied = Proxied::start("", "");
    block_on(async {
        let mut peer = proxied.connect("/echo").await;
        let mut close = 4321_u16.to_be_bytes().to_vec();
        close.extend_from_slice(b"bye");
        peer.send(CLOSE, &close).await.unwrap();
        assert_eq!(within(peer.next()).await.unwrap().into_close().0, 4321);

        let mut peer = proxied.connect("/echo").await;
        // A reserved opcode: the server fails the connection (RFC 6455 §5.2).
        peer.send(0x3, "").await.unwrap();
        assert_eq!(within(peer.closed()).await.unwrap().0, 1002);
    });
}

#[test]
fn a_refusal_passes_through_nginx_with_its_status() {
    let proxied = Proxied::start("", "");
    block_on(async {
        let stream = TcpStream::connect(proxied.address).await.unwrap();
        let refused = within(Peer::upgrade(stream, "/nowhere", &[])).await.err().unwrap().to_string();
        assert!(refused.starts_with("http/1.1 404"), "{refused}");
    });
}

#[test]
fn a_client_behind_nginx_is_known_by_its_own_address_whatever_it_claims() {
    let proxied = Proxied::start("", "");
    block_on(async {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(([127, 0, 0, 7], 0).into()).unwrap();
        let stream = socket.connect(proxied.address).await.unwrap();
        // nginx appends the address that it sees.
        let mut peer = Peer::upgrade(stream, "/who", &["X-Forwarded-For: 203.0.113.9"]).await.unwrap();
        assert_eq!(peer.text().await, "127.0.0.7");
    });
}

#[test]
fn behind_nginx_which_speaks_tls_a_page_of_the_same_origin_may_connect_and_others_may_not() {
    let proxied = Proxied::start_with_tls("", "proxy_set_header X-Forwarded-Proto $scheme;");
    let host = format!("localhost:{}", proxied.address.port());
    block_on(async {
        for (origin, expected) in [
            (format!("https://{host}"), "101"),
            (format!("HTTPS://LOCALHOST:{}", proxied.address.port()), "101"),
            (format!("http://{host}"), "403"),
            ("https://localhost".to_owned(), "403"),
            (format!("https://{host}.evil.example"), "403"),
            ("null".to_owned(), "403"),
        ] {
            let headers = [&*format!("Origin: {origin}"), "Cookie: session=1"];
            let status = match within(Peer::upgrade_as(&host, over_tls(proxied.address), "/echo", &headers)).await {
                Ok(mut peer) => {
                    peer.echo("over TLS").await.unwrap();
                    "101".to_owned()
                }
                Err(error) => error.to_string().split(' ').nth(1).unwrap_or_default().to_owned(),
            };
            assert_eq!(status, expected, "{origin}");
        }
    });
}

/// A client that others wrote.
fn over_tls(server: SocketAddr) -> impl AsyncRead + AsyncWrite + Unpin {
    let mut command = tokio::process::Command::new("openssl");
    command.args(["s_client", "-quiet", "-connect", &server.to_string()]).kill_on_drop(true);
    let process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let mut process = process.unwrap_or_else(|_| missing("openssl", "openssl"));
    let ends = tokio::io::join(process.stdout.take().unwrap(), process.stdin.take().unwrap());
    // It ends with its input.
    tokio::spawn(async move { process.wait().await });
    ends
}

#[test]
fn pings_keep_a_connection_that_is_idle_longer_than_nginx_would_let_it() {
    let proxied = Proxied::start("ping_interval=500", "proxy_read_timeout 1s; proxy_send_timeout 1s;");
    block_on(async {
        let mut peer = proxied.connect("/echo").await;
        // It answers pings, and hears nothing else.
        let silence = tokio::time::timeout(Duration::from_secs(4), peer.next()).await;
        assert!(silence.is_err(), "{silence:?}");
        peer.echo("still here").await.unwrap();
    });
}

#[test]
fn without_pings_nginx_ends_an_idle_connection_and_the_server_knows_that_it_was_lost() {
    let proxied = Proxied::start("", "proxy_read_timeout 1s;");
    block_on(async {
        let mut watcher = Peer::connect(proxied.server.address, "/room?user=watcher").await.unwrap();
        assert!(watcher.text().await.contains("present"));
        let began = Instant::now();
        let mut peer = proxied.connect("/room?user=idle").await;
        while within(peer.next()).await.is_ok() {}
        assert!(began.elapsed() > Duration::from_millis(900), "{:?}", began.elapsed());
        let mut told = Vec::new();
        while !told.contains(&r#"{"group":"room","data":"idle ended: ConnectionLost"}"#.to_owned()) {
            assert!(told.len() < 4, "{told:?}");
            told.push(watcher.text().await);
        }
    });
}

#[test]
fn a_shutdown_reaches_clients_behind_nginx_as_1001() {
    let mut proxied = Proxied::start("", "");
    block_on(async {
        let mut peers = Vec::new();
        for _ in 0..20 {
            peers.push(proxied.connect("/echo").await);
        }
        proxied.server.signal(Signal::TERM);
        for peer in &mut peers {
            assert_eq!(within(peer.closed()).await.unwrap().0, 1001);
        }
    });
    assert_eq!(proxied.server.child.ended(PATIENCE).code(), Some(0));
}
