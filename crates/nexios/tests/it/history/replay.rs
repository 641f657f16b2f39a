//! A client that comes back is told what it has missed, and then goes on live.

use nexios::Limit;
use nexios::NotRecovered::AlreadyMember;
use nexios::prelude::*;
use nexios::testing::TestClient;

use super::room::{Report, Rooms, Visitor, at};
use crate::serving::within;

/// With so many others there, which decides whether what is published is put together.
const CROWDS: [usize; 3] = [0, 3, 20];

async fn crowd(rooms: &Rooms, size: usize) -> Vec<Visitor> {
    let mut crowd = Vec::new();
    for _ in 0..size {
        crowd.push(rooms.visit("/a").await);
    }
    crowd
}

#[tokio::test]
async fn exactly_what_was_missed_is_replayed_and_then_it_goes_on_live() {
    for others in CROWDS {
        let rooms = Rooms::keeping(History::new());
        let mut crowd = crowd(&rooms, others).await;
        rooms.say("a", 0..30).await;
        for offset in [0, 1, 17, 29, 30] {
            let end = rooms.position("a").await;
            let mut visitor = rooms.visit(&format!("/a?since={}", at(end, offset))).await;
            let missed: Vec<_> = (offset as usize..end.offset() as usize).collect();
            assert_eq!(visitor.numbers(), missed);
            let expected = Report { recovered: true, position: Some(end), replayed: missed.len(), reason: None };
            assert_eq!(visitor.joined, expected);
            let next = end.offset() as usize;
            rooms.say("a", next..next + 3).await;
            visitor.hears(next..next + 3).await;
        }
        for member in &mut crowd {
            member.hears(0..45).await;
        }
    }
}

/// What was published in this turn of the runtime, and is not distributed yet, comes once: from the history.
#[tokio::test]
async fn what_is_put_off_comes_neither_twice_nor_not_at_all() {
    async fn rejoin(mut websocket: WebSocket, groups: Groups) -> nexios::Result {
        websocket.accept().await?;
        let group = groups.group("a");
        group.send_text("0").await?;
        let position = group.history(None, 0).await?.position;
        for round in 0..20 {
            group.send_text((round * 3 + 1).to_string()).await?;
            group.send_text((round * 3 + 2).to_string()).await?;
            group.join_since(&websocket, at(position, round * 3 + 1)).await?;
            group.send_text((round * 3 + 3).to_string()).await?;
            group.leave(&websocket).await?;
        }
        websocket.receive().await.map(drop)
    }
    async fn member(mut websocket: WebSocket, groups: Groups) -> nexios::Result {
        websocket.accept().await?;
        groups.group("a").join(&websocket).await?;
        websocket.send_text("joined").await?;
        websocket.receive().await.map(drop)
    }
    for others in CROWDS {
        let each = GroupsConfig::new().each(GroupConfig::new().history(History::new()));
        let app = App::new().groups_config(each).websocket_route("/", rejoin).websocket_route("/member", member);
        let client = TestClient::new(app);
        let mut crowd = Vec::new();
        for _ in 0..others {
            let mut websocket = client.connect("/member").await.unwrap();
            websocket.receive_text().await.unwrap();
            crowd.push(websocket);
        }
        let mut websocket = client.connect("/").await.unwrap();
        for number in 1..=60 {
            assert_eq!(within(websocket.receive_text()).await.unwrap(), number.to_string());
        }
        for member in &mut crowd {
            for number in 0..=60 {
                assert_eq!(within(member.receive_text()).await.unwrap(), number.to_string());
            }
        }
    }
}

#[tokio::test]
async fn without_a_position_it_is_a_join_like_any_other() {
    let rooms = Rooms::keeping(History::new());
    rooms.say("a", 0..10).await;
    let mut visitor = rooms.visit("/a").await;
    let expected = Report { recovered: true, position: Some(rooms.position("a").await), replayed: 0, reason: None };
    assert_eq!((visitor.numbers(), &visitor.joined), (vec![], &expected));
    rooms.say("a", 10..12).await;
    visitor.hears(10..12).await;
}

#[tokio::test]
async fn a_newcomer_can_have_the_newest() {
    let rooms = Rooms::keeping(History::new().messages(50));
    rooms.say("a", 0..100).await;
    for newest in [0, 1, 10, 50, 51, usize::MAX] {
        let mut visitor = rooms.visit(&format!("/a?newest={newest}")).await;
        let expected: Vec<_> = (100 - newest.min(50)..100).collect();
        assert_eq!((visitor.numbers(), visitor.joined.replayed), (expected, newest.min(50)));
        assert!(visitor.joined.recovered);
        drop(visitor.websocket.close(1000, "").await);
    }
}

#[tokio::test]
async fn a_position_stands_before_the_newest() {
    let rooms = Rooms::keeping(History::new());
    rooms.say("a", 0..20).await;
    let since = at(rooms.position("a").await, 15);
    let visitor = rooms.visit(&format!("/a?since={since}&newest=10")).await;
    assert_eq!(visitor.numbers(), [15, 16, 17, 18, 19]);
}

#[tokio::test]
async fn of_the_newest_no_more_comes_than_the_queue_has_room_for() {
    let each = GroupsConfig::new().each(GroupConfig::new().history(History::new()));
    let rooms = Rooms::with(each, Config::new().outbound_queue(4096));
    for number in 0..20 {
        rooms.groups.group("a").send_text(format!("{number:0500}")).await.unwrap();
    }
    let mut visitor = rooms.visit("/a?newest=20").await;
    assert_eq!(visitor.numbers(), (12..20).collect::<Vec<_>>(), "504 bytes for each");
    assert_eq!((visitor.joined.recovered, visitor.joined.replayed), (true, 8));
    rooms.say("a", 20..21).await;
    visitor.hears(20..21).await;
}

#[tokio::test]
async fn one_whom_a_message_was_not_for_finds_it_in_the_history() {
    let rooms = Rooms::keeping(History::new());
    let mut speaker = rooms.visit("/a").await;
    let mut listener = rooms.visit("/a").await;
    for number in 0..3 {
        speaker.websocket.send_text(number.to_string()).await.unwrap();
    }
    listener.hears(0..3).await;
    rooms.say("a", 3..4).await;
    speaker.hears(3..4).await;
    assert_eq!(rooms.kept("a").await, ["0", "1", "2", "3"]);
    let end = rooms.position("a").await;
    assert_eq!(end.offset(), 4);
    let back = rooms.visit(&format!("/a?since={}", at(end, 1))).await;
    assert_eq!(back.numbers(), [1, 2, 3]);
}

#[tokio::test]
async fn members_that_compress_are_replayed_the_same() {
    let long = |number: usize| format!("{}{number}", "0".repeat(3000));
    for compression in [Compression::off(), Compression::shared(), Compression::dedicated()] {
        let config = Config::new().compression(compression.threshold(0));
        for back in [config.clone(), Config::new()] {
            let each = GroupsConfig::new().each(GroupConfig::new().history(History::new()));
            let rooms = Rooms::with(each, config.clone());
            // Nobody compresses yet. Then somebody does.
            for number in 0..10 {
                rooms.groups.group("a").send_text(long(number)).await.unwrap();
            }
            let first = rooms.client.request("/a").config(config.clone()).connect().await.unwrap();
            let mut first = Visitor::arrive(first).await;
            for number in 10..20 {
                rooms.groups.group("a").send_text(long(number)).await.unwrap();
                assert_eq!(within(first.websocket.receive_text()).await.unwrap(), long(number));
            }
            let since = at(rooms.position("a").await, 5);
            let back = rooms.client.request(&format!("/a?since={since}")).config(back).connect().await.unwrap();
            let mut back = Visitor::arrive(back).await;
            assert_eq!(back.numbers(), (5..20).collect::<Vec<_>>());
            for number in 20..25 {
                rooms.groups.group("a").send_text(long(number)).await.unwrap();
                for websocket in [&mut back.websocket, &mut first.websocket] {
                    assert_eq!(within(websocket.receive_text()).await.unwrap(), long(number));
                }
            }
            assert_eq!(rooms.kept("a").await, (0..25).map(long).collect::<Vec<_>>());
        }
    }
}

/// What a join frees of old messages is room for others, whether it succeeds or not.
#[tokio::test]
async fn a_join_that_comes_to_nothing_does_not_use_up_the_room_of_all_histories() {
    const AGE: std::time::Duration = std::time::Duration::from_millis(20);
    async fn handler(mut websocket: WebSocket, groups: Groups) -> nexios::Result {
        websocket.accept().await?;
        let already = websocket.query_params().get("already").is_some();
        let (mine, group) = (groups.group("mine"), groups.group("a"));
        if already { &group } else { &mine }.join(&websocket).await?;
        for _ in 0..20 {
            group.send_text("x".repeat(1000)).await?;
            // Nobody else has a turn meanwhile.
            std::thread::sleep(AGE);
            if already {
                let joined = group.join_since(&websocket, None).await?;
                assert_eq!(joined.reason, Some(AlreadyMember));
            } else {
                group.join(&websocket).await.unwrap_err();
            }
        }
        group.send_text("y".repeat(1000)).await?;
        let page = group.history(None, 10).await?;
        websocket.send_json(&page.publications.len()).await
    }
    for path in ["/?already", "/"] {
        let history = GroupConfig::new().history(History::new().age(AGE));
        let app = App::new()
            .groups_config(GroupsConfig::new().each(history).histories(10_000))
            .config(Config::new().groups_per_connection(Limit::At(1)))
            .websocket_route("/", handler);
        let client = TestClient::new(app);
        let mut websocket = client.connect(path).await.unwrap();
        let kept = loop {
            if let Ok(kept) = within(websocket.receive_text()).await.unwrap().parse::<usize>() {
                break kept;
            }
        };
        assert_eq!(kept, 1, "{path}");
    }
}
