//! An app and its tests, without a port: `cargo test --example testing`. (`cargo run --example testing` talks to the app
//! in the same way and prints what comes back.)

use nexios::prelude::*;
use nexios::testing::TestClient;

fn app() -> App {
    App::new().websocket_route("/rooms/{room}", greet)
}

async fn greet(mut websocket: WebSocket, Path(room): Path<String>) -> nexios::Result {
    if room == "cellar" {
        return websocket.close(1008, "nobody goes there").await;
    }
    websocket.accept().await?;
    let name = websocket.receive_text().await?;
    websocket.send_text(format!("welcome to the {room}, {name}")).await?;
    websocket.close(4000, "that was all").await
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> nexios::Result {
    let mut websocket = TestClient::new(app()).connect("/rooms/kitchen").await?;
    websocket.send_text("Ada").await?;
    println!("{}", websocket.receive_text().await?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_guest_is_welcomed_by_name() {
        let mut websocket = TestClient::new(app()).connect("/rooms/kitchen").await.unwrap();
        websocket.send_text("Ada").await.unwrap();
        assert_eq!(websocket.receive_text().await.unwrap(), "welcome to the kitchen, Ada");
    }

    #[tokio::test]
    async fn the_room_says_why_it_closes() {
        let mut websocket = TestClient::new(app()).connect("/rooms/kitchen").await.unwrap();
        websocket.send_text("Ada").await.unwrap();
        websocket.receive_text().await.unwrap();
        let error = websocket.receive().await.unwrap_err();
        let end = error.disconnect().unwrap();
        assert_eq!((end.code(), end.reason()), (CloseCode::from(4000), "that was all"));
    }

    #[tokio::test]
    async fn the_cellar_is_refused() {
        let error = TestClient::new(app()).connect("/rooms/cellar").await.unwrap_err();
        assert!(error.to_string().contains("403"), "{error}");
    }

    #[tokio::test]
    async fn a_browser_that_comes_without_a_handshake_is_told_to_upgrade() {
        let response = TestClient::new(app()).get("/rooms/kitchen").await.unwrap();
        assert_eq!(response.status(), 426);
    }
}
