//! Connections whose `WebSocket` and senders live on other threads than their task: no wake may be lost.

use std::time::Duration;

use nexios::prelude::*;

use crate::outcome::code;
use crate::serving::serve;

/// Longer than [`crate::serving::within`]: other programs may be using the machine's cores.
async fn in_time<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("a wake was lost")
}

/// An app whose handler runs `work` in a task of its own, on whichever thread.
fn moved<F, R>(work: F) -> App
where
    F: FnOnce(WebSocket) -> R + Clone + Send + Sync + 'static,
    R: Future<Output = nexios::Result> + Send + 'static,
{
    App::new().websocket_route("/ws", async move |mut websocket: WebSocket| -> nexios::Result {
        websocket.accept().await?;
        tokio::spawn(work(websocket)).await.map_err(Error::other)?
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn thousands_of_round_trips_go_through() {
    let server = serve(moved(async |mut websocket: WebSocket| {
        loop {
            let message = websocket.receive().await?;
            websocket.send(message).await?;
        }
    }))
    .await;
    let mut clients = Vec::new();
    for _ in 0..4 {
        let mut websocket = nexios::client::connect(server.url("/ws")).await.unwrap();
        clients.push(tokio::spawn(async move {
            for i in 0..2_000_u32 {
                websocket.send_json(&i).await.unwrap();
                assert_eq!(websocket.receive_json::<u32>().await.unwrap(), i);
            }
            websocket.close(1000, "").await.unwrap();
        }));
    }
    for client in clients {
        in_time(client).await.unwrap();
    }
    server.wait_for_connections(0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_stream_of_large_messages_goes_through_whoever_is_faster() {
    let server = serve(moved(async |mut websocket: WebSocket| {
        for i in 0..500_u32 {
            let mut bytes = vec![0; 32 * 1024];
            bytes[..4].copy_from_slice(&i.to_be_bytes());
            websocket.send_bytes(bytes).await?;
        }
        Ok(())
    }))
    .await;
    for slow in [false, true] {
        let mut websocket = nexios::client::connect(server.url("/ws")).await.unwrap();
        let receive_all = async {
            for i in 0..500_u32 {
                assert_eq!(websocket.receive_bytes().await.unwrap()[..4], i.to_be_bytes());
                if slow && i % 50 == 0 {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
            assert_eq!(code(websocket.receive().await), 1000);
        };
        in_time(receive_all).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_stream_of_small_messages_goes_through_whoever_is_faster() {
    let server = serve(moved(async |mut websocket: WebSocket| {
        for i in 0..5_000_u32 {
            let text = websocket.receive_text().await?;
            assert_eq!(text.trim(), i.to_string());
            if i % 500 == 0 {
                tokio::time::sleep(Duration::from_millis(3)).await;
            }
        }
        websocket.send_text("complete").await
    }))
    .await;
    let mut websocket = nexios::client::connect(server.url("/ws")).await.unwrap();
    let send_all = async {
        for i in 0..5_000_u32 {
            websocket.send_text(format!("{i:500}")).await.unwrap();
        }
        assert_eq!(websocket.receive_text().await.unwrap(), "complete");
    };
    in_time(send_all).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn many_senders_of_one_connection_are_interleaved_but_each_keeps_its_order() {
    let app = App::new().websocket_route("/ws", async |mut websocket: WebSocket| -> nexios::Result {
        websocket.accept().await?;
        let mut tasks = tokio::task::JoinSet::new();
        for task in 0..4_u32 {
            let sender = websocket.sender();
            tasks.spawn(async move {
                for i in 0..1_000_u32 {
                    sender.ready().await?;
                    sender.send_json(&(task, i)).await?;
                }
                Ok::<_, Error>(())
            });
        }
        while let Some(result) = tasks.join_next().await {
            result.map_err(Error::other)??;
        }
        Ok(())
    });
    let server = serve(app).await;
    let mut websocket = nexios::client::connect(server.url("/ws")).await.unwrap();
    let receive_all = async {
        let mut next = [0; 4];
        for _ in 0..4_000 {
            let (task, i) = websocket.receive_json::<(usize, u32)>().await.unwrap();
            assert_eq!(next[task], i, "task {task}");
            next[task] += 1;
        }
        assert_eq!(code(websocket.receive().await), 1000);
    };
    in_time(receive_all).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn closes_from_both_sides_at_once_end_for_both() {
    let server = serve(moved(async |mut websocket: WebSocket| {
        tokio::time::sleep(Duration::from_micros(300)).await;
        let _ = websocket.close(4000, "server").await;
        Ok(())
    }))
    .await;
    let rounds = async {
        for i in 0..200 {
            let mut websocket = nexios::client::connect(server.url("/ws")).await.unwrap();
            tokio::time::sleep(Duration::from_micros(i * 3)).await;
            let _ = websocket.close(4001, "client").await;
            assert!([4000, 4001].contains(&code(websocket.receive().await)));
        }
    };
    in_time(rounds).await;
    server.wait_for_connections(0).await;
}
