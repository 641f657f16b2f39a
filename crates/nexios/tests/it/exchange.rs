//! What a handler sends and receives in its own turn takes a shorter way than what others send: nobody can tell.

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use nexios::prelude::*;
use nexios::testing::TestClient;
use tokio::sync::mpsc;

use crate::serving::within;

async fn connect<T: 'static>(handler: impl nexios::Handler<T, ()>) -> WebSocket {
    TestClient::new(App::new().websocket_route("/", handler)).connect("/").await.unwrap()
}

async fn texts(websocket: &mut WebSocket, count: usize) -> Vec<String> {
    let mut texts = Vec::new();
    for _ in 0..count {
        texts.push(within(websocket.receive_text()).await.unwrap().to_string());
    }
    texts
}

#[tokio::test]
async fn the_socket_and_its_own_sender_are_heard_in_turn() {
    let mut client = connect(async |mut websocket: WebSocket| {
        websocket.accept().await?;
        let sender = websocket.sender();
        for round in 0..3 {
            websocket.send_text(format!("{round} a")).await?;
            sender.send_text(format!("{round} b")).await?;
            websocket.send_text(format!("{round} c")).await?;
            sender.try_send(format!("{round} d")).unwrap();
            websocket.receive_text().await?;
        }
        Ok::<(), Error>(())
    })
    .await;
    for round in 0..3 {
        let expected: Vec<_> = ["a", "b", "c", "d"].iter().map(|step| format!("{round} {step}")).collect();
        assert_eq!(texts(&mut client, 4).await, expected);
        client.send_text("on").await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_was_sent_because_of_a_message_comes_behind_it() {
    const ROUNDS: usize = 2_000;

    /// The handler and a task of another thread send by turns; each waits for the other's word, not for the peer.
    async fn handler(mut websocket: WebSocket) -> nexios::Result {
        websocket.accept().await?;
        let sender = websocket.sender();
        let (to_task, mut at_task) = mpsc::unbounded_channel();
        let (to_handler, mut at_handler) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Some(number) = at_task.recv().await {
                sender.send_text(format!("{number} task")).await.unwrap();
                to_handler.send(()).unwrap();
            }
        });
        for number in 0..ROUNDS {
            websocket.send_text(format!("{number} handler")).await?;
            to_task.send(number).unwrap();
            // Within this turn, if the other thread is quick.
            let mut tries = 0;
            while at_handler.try_recv().is_err() {
                tries += 1;
                if tries % 10_000 == 0 {
                    tokio::task::yield_now().await;
                }
            }
        }
        websocket.receive_text().await?;
        Ok(())
    }

    let mut client = connect(handler).await;
    for number in 0..ROUNDS {
        assert_eq!(texts(&mut client, 2).await, [format!("{number} handler"), format!("{number} task")]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_task_spawned_after_a_send_is_heard_after_it() {
    let mut client = connect(async |mut websocket: WebSocket| {
        websocket.accept().await?;
        loop {
            let text = websocket.receive_text().await?;
            websocket.send_text(text).await?;
            let sender = websocket.sender();
            tokio::spawn(async move { sender.send_text("after").await });
            // The runtime may run it on another thread while this turn goes on.
            std::thread::sleep(std::time::Duration::from_micros(200));
        }
        #[expect(unreachable_code, reason = "names the error's type")]
        Ok::<(), Error>(())
    })
    .await;
    for round in 0..200 {
        client.send_text(format!("{round}")).await.unwrap();
        assert_eq!(texts(&mut client, 2).await, [format!("{round}"), "after".to_owned()]);
    }
}

#[tokio::test]
async fn a_socket_that_moves_between_tasks_receives_in_each() {
    let mut client = connect(async |mut websocket: WebSocket| {
        websocket.accept().await?;
        let text = websocket.receive_text().await?;
        websocket.send_text(text).await?;
        let mut websocket = tokio::spawn(async move {
            let text = websocket.receive_text().await.unwrap();
            websocket.send_text(format!("{text} in a task")).await.unwrap();
            websocket
        })
        .await
        .map_err(Error::other)?;
        let text = websocket.receive_text().await?;
        websocket.send_text(format!("{text} back again")).await?;
        websocket.receive_text().await.map(drop)
    })
    .await;
    for expected in ["1", "2 in a task", "3 back again"] {
        client.send_text(&expected[..1]).await.unwrap();
        assert_eq!(texts(&mut client, 1).await, [expected]);
    }
}

#[tokio::test]
async fn a_receive_under_a_waker_of_somebody_elses_is_woken() {
    let mut client = connect(async |mut websocket: WebSocket| {
        websocket.accept().await?;
        for _ in 0..20 {
            // It polls what is in it only when that was woken.
            let mut receives: FuturesUnordered<_> = [websocket.receive_text()].into_iter().collect();
            let text = receives.next().await.unwrap()?;
            drop(receives);
            websocket.send_text(text).await?;
        }
        Ok::<(), Error>(())
    })
    .await;
    for round in 0..20 {
        client.send_text(format!("{round}")).await.unwrap();
        assert_eq!(texts(&mut client, 1).await, [format!("{round}")]);
    }
}

#[tokio::test]
async fn a_message_that_comes_while_the_handler_waits_for_something_else_too_is_not_lost() {
    let mut client = connect(async |mut websocket: WebSocket| {
        websocket.accept().await?;
        let mut heard = 0;
        while heard < 100 {
            tokio::select! {
                biased;
                // Wins as often as not, and abandons the receive.
                () = tokio::task::yield_now() => {}
                text = websocket.receive_text() => {
                    websocket.send_text(text?).await?;
                    heard += 1;
                }
            }
        }
        Ok::<(), Error>(())
    })
    .await;
    for round in 0..100 {
        client.send_text(format!("{round}")).await.unwrap();
        if round % 3 == 0 {
            tokio::task::yield_now().await;
        }
    }
    let expected: Vec<_> = (0..100).map(|round| format!("{round}")).collect();
    assert_eq!(texts(&mut client, 100).await, expected);
}

#[tokio::test]
async fn more_than_a_turn_may_send_at_once_arrives_whole_and_in_order() {
    let mut client = connect(async |mut websocket: WebSocket| {
        websocket.accept().await?;
        for number in 0..400 {
            // Small ones, and some that are sent from where they are.
            let size = if number % 10 == 0 { 10_000 } else { 500 };
            websocket.send_text(format!("{number} {}", "x".repeat(size))).await?;
        }
        websocket.receive_text().await.map(drop)
    })
    .await;
    for number in 0..400 {
        let text = within(client.receive_text()).await.unwrap();
        assert!(text.starts_with(&format!("{number} ")), "{number}: {:.20}", &*text);
    }
}
