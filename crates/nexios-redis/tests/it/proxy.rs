//! Something between the node and the servers that can go wrong.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Passes bytes on to a server, until it is told otherwise.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    target: Arc<Mutex<SocketAddr>>,
    generation: watch::Sender<(u64, Ends)>,
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
        let to = Arc::clone(&target);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = *to.lock().expect("no poison");
                tokio::spawn(pass(client, server, receiver.clone()));
            }
        });
        Self { address, target, generation }
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
}

async fn pass(mut client: TcpStream, server: SocketAddr, mut generation: watch::Receiver<(u64, Ends)>) {
    generation.mark_unchanged();
    let Ok(mut server) = TcpStream::connect(server).await else { return };
    let ends = tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut client, &mut server) => return,
        changed = generation.changed() => changed.map(|()| generation.borrow().1),
    };
    if matches!(ends, Ok(Ends::Silent)) {
        // The server notices, the node does not.
        drop(server);
        std::future::pending::<()>().await;
    }
}
