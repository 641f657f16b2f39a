//! Something between the node and the servers that can go wrong.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Passes bytes on to a server, until it is told otherwise.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    target: Arc<Mutex<SocketAddr>>,
    generation: watch::Sender<(u64, Ends)>,
    manners: Arc<Manners>,
}

/// What is done to what the server says.
#[derive(Default)]
struct Manners {
    is_old: AtomicBool,
    is_slow: AtomicBool,
}

/// What becomes of the connections that there are.
#[derive(Clone, Copy, Debug)]
enum Ends {
    /// They are closed.
    Closed,
    /// They stay open, and nothing comes through any more.
    Silent,
}

impl Proxy {
    pub(crate) async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let target = Arc::new(Mutex::new(server));
        let (generation, receiver) = watch::channel((0, Ends::Closed));
        let manners = Arc::new(Manners::default());
        let (to, how) = (Arc::clone(&target), Arc::clone(&manners));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = *to.lock().expect("no poison");
                tokio::spawn(pass(client, server, receiver.clone(), Arc::clone(&how)));
            }
        });
        Self { address, target, generation, manners }
    }

    /// New connections go to this server; those that there are stay.
    pub(crate) fn redirect(&self, server: SocketAddr) {
        *self.target.lock().expect("no poison") = server;
    }

    /// New connections go to this server, and the others end.
    pub(crate) fn switch(&self, server: SocketAddr) {
        self.redirect(server);
        self.generation.send_modify(|(generation, ends)| (*generation, *ends) = (*generation + 1, Ends::Closed));
    }

    /// The connections that there are die without a word.
    pub(crate) fn silence(&self) {
        self.generation.send_modify(|(generation, ends)| (*generation, *ends) = (*generation + 1, Ends::Silent));
    }

    /// The server says that it is a Redis 6, or again what it is.
    pub(crate) fn make_old(&self, is_old: bool) {
        self.manners.is_old.store(is_old, Ordering::Relaxed);
    }

    /// What the server says comes with 1 MiB in a second.
    pub(crate) fn make_slow(&self) {
        self.manners.is_slow.store(true, Ordering::Relaxed);
    }
}

async fn pass(
    client: TcpStream,
    server: SocketAddr,
    mut generation: watch::Receiver<(u64, Ends)>,
    manners: Arc<Manners>,
) {
    generation.mark_unchanged();
    let Ok(server) = TcpStream::connect(server).await else { return };
    let (mut said, mut to_server) = server.into_split();
    let (mut asked, mut to_client) = client.into_split();
    let ends = tokio::select! {
        _ = copy(&mut asked, &mut to_server) => return,
        () = manners.copy(&mut said, &mut to_client) => return,
        changed = generation.changed() => changed.map(|()| generation.borrow().1),
    };
    if matches!(ends, Ok(Ends::Silent)) {
        // The server notices, the node does not.
        drop((said, to_server));
        std::future::pending::<()>().await;
    }
}

impl Manners {
    async fn copy(&self, from: &mut OwnedReadHalf, to: &mut OwnedWriteHalf) {
        let mut buffer = vec![0; 16 * 1024];
        while let Ok(count @ 1..) = from.read(&mut buffer).await {
            let said = &mut buffer[..count];
            if self.is_old.load(Ordering::Relaxed) {
                make_old(said);
            }
            if to.write_all(said).await.is_err() {
                return;
            }
            if self.is_slow.load(Ordering::Relaxed) {
                tokio::time::sleep(Duration::from_secs(1) * u32::try_from(count).expect("few bytes") / (1 << 20)).await;
            }
        }
    }
}

fn make_old(said: &mut [u8]) {
    let version = b"redis_version:";
    let at = said.windows(version.len()).position(|window| window == version);
    if let Some(major) = at.and_then(|at| said.get_mut(at + version.len())) {
        *major = b'6';
    }
}
