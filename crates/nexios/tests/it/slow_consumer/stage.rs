//! A server in the same process, peers that read when they are told to, and handlers that do what they are told to.

use std::time::Duration;

use hyper_util::rt::TokioIo;
use nexios::prelude::*;
use nexios::{AppHandle, GroupStats, WebSocketDisconnect};
use tokio::io::{AsyncWriteExt, DuplexStream};
use tokio::sync::{mpsc, oneshot};
use tower::ServiceExt;

use crate::serving::{pause, within};
use crate::wire::{BINARY, CLOSE, Frame, Wire, request};

/// What a pipe takes of what a peer does not read: less than any message here.
pub(super) const PIPE: usize = 64;

pub(super) struct Stage {
    router: axum::Router,
    pub(super) groups: Groups,
    pub(super) handle: AppHandle,
    arrivals: mpsc::UnboundedReceiver<Backstage>,
}

/// A peer, and the other end of its connection.
pub(super) struct Peer {
    pub(super) wire: Wire<DuplexStream>,
    pub(super) sender: Sender,
    orders: mpsc::UnboundedSender<Order>,
    end: oneshot::Receiver<WebSocketDisconnect>,
    groups: Groups,
}

struct Backstage {
    sender: Sender,
    orders: mpsc::UnboundedSender<Order>,
    end: oneshot::Receiver<WebSocketDisconnect>,
}

/// What a handler is to do.
#[derive(Debug)]
pub(super) enum Order {
    Say(Vec<Message>),
    Join(String, Join, oneshot::Sender<nexios::Joined>),
    Leave(String),
    Close(u16),
    Return,
    Fail,
}

/// Joins the groups that the query names, `/?groups=a,b`, and obeys.
async fn perform(
    mut websocket: WebSocket,
    groups: Groups,
    arrivals: mpsc::UnboundedSender<Backstage>,
) -> nexios::Result {
    websocket.accept().await?;
    let names = websocket.query_params().get("groups").unwrap_or_default().to_owned();
    for name in names.split(',').filter(|name| !name.is_empty()) {
        groups.group(name).join(&websocket).await?;
    }
    let (orders, mut given) = mpsc::unbounded_channel();
    let (ended, end) = oneshot::channel();
    arrivals.send(Backstage { sender: websocket.sender(), orders, end }).map_err(Error::other)?;
    let result = obey(&mut websocket, &groups, &mut given).await;
    if let Err(Error::Disconnect(end)) = &result {
        // The test need not ask.
        let _ = ended.send(end.clone());
    }
    result
}

async fn obey(
    websocket: &mut WebSocket,
    groups: &Groups,
    orders: &mut mpsc::UnboundedReceiver<Order>,
) -> nexios::Result {
    loop {
        tokio::select! {
            Some(order) = orders.recv() => match order {
                Order::Say(messages) => {
                    for message in messages {
                        websocket.send(message).await?;
                    }
                }
                Order::Join(name, join, joined) => {
                    let result = groups.group(name).join_with(websocket, join).await?;
                    joined.send(result).unwrap();
                }
                Order::Leave(name) => groups.group(name).leave(websocket).await?,
                Order::Close(code) => websocket.close(code, "as told").await?,
                Order::Return => return Ok(()),
                Order::Fail => return Err(Error::other("as told")),
            },
            received = websocket.receive() => drop(received?),
        }
    }
}

impl Stage {
    pub(super) fn new(config: Config, groups: GroupsConfig) -> Self {
        Self::with_small(config, Config::new(), groups)
    }

    /// With a second route, `/small`.
    pub(super) fn with_small(config: Config, small: Config, groups: GroupsConfig) -> Self {
        let (arrived, arrivals) = mpsc::unbounded_channel();
        let handler = async move |websocket: WebSocket, groups: Groups| perform(websocket, groups, arrived).await;
        let small = WebSocketRoute::new("/small", handler.clone()).config(small);
        let app = App::new().config(config).groups_config(groups);
        let app = app.websocket_route("/", handler).add_ws_route(small);
        let (groups, handle) = (app.groups(), app.handle());
        Self { router: app.into_router(), groups, handle, arrivals }
    }

    /// Every group has this choice, and every connection this queue.
    pub(super) fn of_groups(choice: SlowConsumer, queue: usize) -> Self {
        let config = GroupsConfig::new().each(GroupConfig::new().slow_consumer(choice));
        Self::new(Config::new().outbound_queue(queue), config)
    }

    /// A member of these groups, separated by commas, on a pipe that takes so many bytes while nobody reads.
    pub(super) async fn join_on(&mut self, groups: &str, pipe: usize, headers: &[&str]) -> Peer {
        self.join_at(&format!("/?groups={groups}"), pipe, headers).await
    }

    pub(super) async fn join_at(&mut self, path: &str, pipe: usize, headers: &[&str]) -> Peer {
        let (ours, theirs) = tokio::io::duplex(pipe);
        let router = self.router.clone();
        let service = hyper::service::service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
            router.clone().oneshot(request.map(axum::body::Body::new))
        });
        let http = hyper::server::conn::http1::Builder::new();
        tokio::spawn(http.serve_connection(TokioIo::new(theirs), service).with_upgrades());
        let mut wire = Wire::new(ours);
        wire.send(request(path, headers)).await;
        let head = wire.head().await;
        assert_eq!(head.status, 101, "{}", head.text);
        let Backstage { sender, orders, end } = within(self.arrivals.recv()).await.unwrap();
        Peer { wire, sender, orders, end, groups: self.groups.clone() }
    }

    pub(super) async fn join(&mut self, groups: &str) -> Peer {
        self.join_on(groups, PIPE, &[]).await
    }

    /// A member that the socket takes no more for: a message of the handler's is half written.
    pub(super) async fn join_stalled(&mut self, groups: &str) -> Peer {
        let peer = self.join(groups).await;
        peer.stall().await;
        peer
    }

    pub(super) async fn stats(&self, group: &str) -> GroupStats {
        self.groups.group(group).stats().await.unwrap()
    }
}

impl Peer {
    pub(super) fn order(&self, order: Order) {
        assert!(self.orders.send(order).is_ok(), "the handler is gone");
    }

    /// Has the handler send a message that is larger than the pipe: `stall 0`.
    pub(super) async fn stall(&self) {
        self.order(Order::Say(vec![numbered("stall", 0, 2 * PIPE).into()]));
        pause(5).await;
        assert!(self.groups.stats().queued_bytes > 0, "nothing is half written");
    }

    /// Has the handler join a group.
    pub(super) async fn join(&self, group: &str, join: Join) -> nexios::Joined {
        let (joined, result) = oneshot::channel();
        self.order(Order::Join(group.to_owned(), join, joined));
        within(result).await.expect("the handler could not join")
    }

    /// Reads until nothing waits any more on the server's side. Of several connections, all others must be read by then.
    pub(super) async fn read_all(&mut self) -> Vec<Frame> {
        loop {
            // What does not wait there is in the pipe.
            let is_all_here = self.groups.stats().queued_bytes == 0;
            let patience = Duration::from_millis(if is_all_here { 0 } else { 2 });
            let read = tokio::time::timeout(patience, self.wire.fill()).await;
            if read != Ok(true) && is_all_here {
                return self.wire.frames_at_hand();
            }
        }
    }

    /// As [`read_all`](Self::read_all): the numbers of what came from each source.
    pub(super) async fn heard(&mut self) -> Vec<(String, usize)> {
        self.read_all().await.iter().map(label).collect()
    }

    /// Reads to the Close frame, answers it, and returns what came before.
    pub(super) async fn heard_until_close(&mut self) -> (Vec<(String, usize)>, u16) {
        let mut heard = Vec::new();
        loop {
            let frame = self.wire.frame().await.expect("the connection ended without a close frame");
            if frame.opcode == CLOSE {
                let (code, _) = frame.into_close();
                // It was the answer to ours, perhaps, and the pipe is closed.
                let _ = self.wire.stream.write_all(&crate::wire::close(code, "")).await;
                return (heard, code);
            }
            heard.push(label(&frame));
        }
    }

    /// How the connection ended, seen by its handler.
    pub(super) async fn end(&mut self) -> WebSocketDisconnect {
        within(&mut self.end).await.expect("the handler did not end with a disconnect")
    }
}

/// A text of `len` bytes that says from whom it is, and which one it is.
pub(super) fn numbered(source: &str, number: usize, len: usize) -> String {
    let mut text = format!("{source} {number} ");
    while text.len() < len {
        text.push('.');
    }
    text
}

pub(super) fn label(frame: &Frame) -> (String, usize) {
    assert!(frame.fin && !frame.compressed && frame.opcode < BINARY + 1, "{frame:?}");
    read_label(&frame.payload)
}

pub(super) fn read_label(text: &[u8]) -> (String, usize) {
    let text = std::str::from_utf8(text).unwrap();
    let mut words = text.split(' ');
    let label = (words.next().unwrap().to_owned(), words.next().unwrap().parse().unwrap());
    assert!(words.next().unwrap().bytes().all(|byte| byte == b'.'), "changed: {text}");
    label
}

/// What came from one source, in the order of coming.
pub(super) fn of<'a>(heard: &'a [(String, usize)], source: &'a str) -> Vec<usize> {
    heard.iter().filter(|(from, _)| from == source).map(|(_, number)| *number).collect()
}

/// Publishes `source 0`, `source 1` … to the group that has the source's name.
pub(super) async fn publish(groups: &Groups, source: &str, numbers: std::ops::Range<usize>, len: usize) {
    let group = groups.group(source);
    for number in numbers {
        group.send_text(numbered(source, number, len)).await.unwrap();
    }
}

#[track_caller]
pub(super) fn assert_rising(numbers: &[usize]) {
    assert!(numbers.is_sorted_by(|a, b| a < b), "out of order, or twice: {numbers:?}");
}
