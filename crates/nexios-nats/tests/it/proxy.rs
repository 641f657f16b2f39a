//! A connection that stops carrying anything, without a word to either side.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, tcp};
use tokio::sync::{Notify, watch};

/// Stands before a server.
pub(crate) struct Proxy {
    address: SocketAddr,
    is_silent: Arc<watch::Sender<bool>>,
    accepted: Arc<AtomicUsize>,
    cut: Arc<Notify>,
}

impl Proxy {
    pub(crate) async fn before(server: SocketAddr) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("bind");
        let address = listener.local_addr().expect("address");
        let is_silent = Arc::new(watch::Sender::new(false));
        let (accepted, cut) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
        let (silence, count, cuts) = (is_silent.clone(), accepted.clone(), cut.clone());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::Relaxed);
                let Ok(server) = TcpStream::connect(server).await else { continue };
                let (from_client, to_client) = client.into_split();
                let (from_server, to_server) = server.into_split();
                let (up, down) = (silence.subscribe(), silence.subscribe());
                let cuts = cuts.clone();
                tokio::spawn(async move {
                    tokio::select! {
                        ((), ()) = async { tokio::join!(carry(from_client, to_server, up), carry(from_server, to_client, down)) } => {}
                        () = cuts.notified() => {}
                    }
                });
            }
        });
        Self { address, is_silent, accepted, cut }
    }

    /// How many connections there were.
    pub(crate) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Ends the connections that are there.
    pub(crate) fn cut(&self) {
        self.cut.notify_waiters();
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://{}", self.address)
    }

    /// From now on, or no longer, connections that are there carry nothing; new ones are accepted.
    pub(crate) fn silence(&self, is_silent: bool) {
        self.is_silent.send_replace(is_silent);
    }
}

async fn carry(mut from: tcp::OwnedReadHalf, mut to: tcp::OwnedWriteHalf, mut is_silent: watch::Receiver<bool>) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        // What comes in silence is lost for good: this connection never carries anything again.
        if *is_silent.borrow_and_update() {
            return std::future::pending().await;
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
