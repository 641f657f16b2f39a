//! Nobody is judged by bytes that the socket was not offered: apps that run, with sockets of the system.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread::JoinHandle;
use std::time::Duration;

use nexios::AppHandle;
use nexios::prelude::*;

use crate::serving::{pause, within};
use crate::wire::{Wire, request, text};

const BOUND: usize = 128 * 1024;
/// Messages of one turn, five bounds together: less than a socket of the system takes.
const MESSAGES: usize = 60;
/// The same for members of other threads, which are offered it in one piece.
const FEWER: usize = 20;
const SIZE: usize = 10_000;

struct Running {
    address: SocketAddr,
    handle: AppHandle,
    thread: Option<JoinHandle<nexios::Result>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.handle.shutdown();
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn message(number: usize) -> String {
    format!("{number} {}", "m".repeat(SIZE))
}

/// Joins the group, and publishes as many messages as it is told to without a pause, or with one after each.
async fn member(mut websocket: WebSocket, groups: Groups) -> nexios::Result {
    websocket.accept().await?;
    let group = groups.group("crowd");
    group.join(&websocket).await?;
    websocket.send_text("joined").await?;
    loop {
        let order = websocket.receive_text().await?;
        let (how, count) = order.split_once(' ').unwrap_or_default();
        let count: usize = count.parse().unwrap_or(0);
        let publish_all = async {
            for number in 0..count {
                group.send_text_except(&websocket, message(number)).await?;
                if how == "slowly" {
                    pause(1).await;
                }
            }
            Ok::<_, Error>(())
        };
        if how == "at-once" {
            tokio::task::unconstrained(publish_all).await?;
        } else {
            publish_all.await?;
        }
    }
}

fn run(choice: SlowConsumer, workers: usize) -> Running {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let config = Config::new().outbound_queue(BOUND).slow_consumer(choice);
    let app = App::new().websocket_route("/", member).config(config).workers(workers).bind(format!("127.0.0.1:{port}"));
    let handle = app.handle();
    let thread = Some(std::thread::spawn(move || app.run()));
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    for _ in 0..200 {
        if TcpStream::connect(address).is_ok() {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Running { address, handle, thread }
}

async fn join(running: &Running) -> Wire<tokio::net::TcpStream> {
    let mut wire = Wire::connect(running.address).await;
    wire.send(request("/", &[])).await;
    assert_eq!(wire.head().await.status, 101);
    assert_eq!(wire.text().await, "joined");
    wire
}

async fn check_burst(choice: SlowConsumer, members: usize, workers: usize, messages: usize) {
    let running = run(choice, workers);
    let mut publisher = join(&running).await;
    let mut readers = Vec::new();
    for _ in 0..members {
        let mut wire = join(&running).await;
        readers.push(tokio::spawn(async move {
            for number in 0..messages {
                let text = wire.text().await;
                assert!(text.starts_with(&format!("{number} ")), "{number}: {}", &text[..text.len().min(20)]);
            }
            wire
        }));
    }
    publisher.send(text(&format!("at-once {messages}"))).await;
    let mut wires = Vec::new();
    for reader in readers {
        wires.push(within(reader).await.expect("a member that reads missed something"));
    }
}

#[tokio::test]
async fn whoever_reads_gets_a_burst_of_many_bounds_whole_whatever_the_choice() {
    for choice in [SlowConsumer::Close, SlowConsumer::DropNewest, SlowConsumer::DropOldest, SlowConsumer::Conflate] {
        check_burst(choice, 4, 1, MESSAGES).await;
        check_burst(choice, 20, 1, MESSAGES).await;
    }
}

#[tokio::test]
async fn members_of_other_workers_get_it_as_well() {
    check_burst(SlowConsumer::Close, 4, 2, FEWER).await;
    check_burst(SlowConsumer::Close, 20, 2, FEWER).await;
}

#[tokio::test]
async fn whoever_is_closed_and_reads_slowly_gets_the_close_frame() {
    let running = run(SlowConsumer::Close, 1);
    let mut silent = join(&running).await;
    let mut publisher = join(&running).await;
    publisher.send(text("slowly 1000")).await;
    pause(1500).await;
    assert_eq!(running.handle.connection_count(), 2, "it is closing, and not cut off");
    let (mut came, mut closed) = (0, None);
    while closed.is_none() {
        let frame = within(silent.frame()).await.expect("the end of the file before a Close frame");
        if frame.opcode == crate::wire::CLOSE {
            closed = Some(frame.into_close());
        } else {
            came += 1;
        }
        // Some 7 s in all: longer than the closing deadline of 5 s.
        pause(25).await;
    }
    let (code, reason) = closed.unwrap();
    assert_eq!((code, reason.as_str()), (4430, "slow consumer"));
    assert!((10..1000).contains(&came), "{came}");
}
