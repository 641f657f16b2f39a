//! What members tell of themselves is held within the app's memory budget.

use std::time::Duration;

use nexios::prelude::*;
use nexios::testing::TestClient;
use nexios::{GroupError, Limit, ServerConfig};

use crate::outcome::code;
use crate::serving::{wait_for_connections, within};

/// Joins groups of its own with an info of so many bytes until it may not; tells how many it were.
async fn hoard(mut websocket: WebSocket, Path(name): Path<String>, groups: Groups) -> nexios::Result {
    websocket.accept().await?;
    let info = "i".repeat(3_900);
    let mut joined = 0;
    let error = loop {
        let join = Join::new().user(&name).info(&info)?;
        match groups.group(format!("{name} {joined}")).join_with(&websocket, join).await {
            Ok(_) => joined += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, Error::Group(GroupError::Overloaded)), "{error}");
    websocket.send_text(joined.to_string()).await?;
    loop {
        match &*websocket.receive_text().await? {
            "update" => {
                let group = groups.group(format!("{name} 0"));
                let error = group.set_info(&websocket, &"j".repeat(3_999)).await.unwrap_err();
                websocket.send_text(format!("{:?}", matches!(error, Error::Group(GroupError::Overloaded)))).await?;
            }
            "publish" => groups.group(format!("{name} 0")).send_text("what is there goes on").await?,
            "leave" => {
                groups.group(format!("{name} 0")).leave(&websocket).await?;
                let join = Join::new().user(&name).info(&info)?;
                groups.group(format!("{name} 0")).join_with(&websocket, join).await?;
                websocket.send_text("joined again").await?;
            }
            _ => return Err(error),
        }
    }
}

fn client(budget: usize) -> (TestClient, Groups) {
    let app = App::new()
        .config(Config::new().groups_per_connection(Limit::Unlimited))
        .server_config(ServerConfig::new().buffered_bytes(budget))
        .groups_config(GroupsConfig::new().each(GroupConfig::new().grace(Duration::from_millis(200))))
        .websocket_route("/{name}", hoard);
    let groups = app.groups();
    (TestClient::new(app), groups)
}

async fn joined(socket: &mut WebSocket) -> usize {
    within(socket.receive_text()).await.unwrap().parse().unwrap()
}

#[tokio::test]
async fn at_half_of_the_budget_a_join_is_refused_and_who_is_there_goes_on() {
    const BUDGET: usize = 4 << 20;
    let (client, groups) = client(BUDGET);
    let mut first = client.connect("/first").await.unwrap();
    let held = joined(&mut first).await;
    assert!((BUDGET / 2 / 6_200..=BUDGET / 2 / 3_900).contains(&held), "{held} groups");
    let mut second = client.connect("/second").await.unwrap();
    assert_eq!(joined(&mut second).await, 0, "there is no room for others either");
    for (command, answer) in [("update", "true"), ("publish", "what is there goes on"), ("leave", "joined again")] {
        first.send_text(command).await.unwrap();
        assert_eq!(within(first.receive_text()).await.unwrap(), answer);
    }
    second.send_text("end").await.unwrap();
    assert_eq!(code(within(second.receive()).await), 1013, "what a handler lets out");
    drop(first);
    wait_for_connections(&client.handle(), 0).await;
    // Users who are waited for hold what they told until their grace is over.
    let mut third = client.connect("/third").await.unwrap();
    assert!(joined(&mut third).await < held / 4, "what connections took is free");
    drop(third);
    for _ in 0..500 {
        if groups.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let mut fourth = client.connect("/fourth").await.unwrap();
    assert_eq!(joined(&mut fourth).await, held, "all of it was given back");
}
