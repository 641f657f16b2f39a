//! Groups of too many to be told of one by one: what a join costs there, and what members know of each other.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use nexios::prelude::*;
use nexios::testing::TestClient;
use serde_json::Value;
use tokio::time::sleep;

use crate::serving::within;

/// Joins the room as it is told by the path, and leaves at its client's word.
async fn member(mut websocket: WebSocket, Path(user): Path<String>, groups: Groups) -> nexios::Result {
    websocket.accept().await?;
    let (room, watches) = (groups.group("room"), websocket.query_params().get("notices").is_some());
    let info = websocket.query_params().get("info").map(str::to_owned);
    let mut join = Join::new().user(&user);
    if let Some(info) = info {
        join = join.info(&info)?;
    }
    room.join_with(&websocket, if watches { join.notices() } else { join }).await?;
    loop {
        match &*websocket.receive_text().await? {
            "leave" => room.leave(&websocket).await?,
            text => websocket.send_text(text.to_owned()).await?,
        }
    }
}

fn room(config: GroupConfig) -> (TestClient, Group) {
    let config = config.grace(Duration::ZERO);
    let app = App::new().groups_config(GroupsConfig::new().each(config)).websocket_route("/{user}", member);
    let group = app.groups().group("room");
    (TestClient::new(app), group)
}

/// What a client knows by the notices alone, as the documentation of `Join::notices` tells it.
#[derive(Debug, Default)]
struct Known {
    users: BTreeSet<String>,
    count: usize,
    is_complete: bool,
    /// How many notices came.
    told: usize,
}

impl Known {
    fn take(&mut self, notice: &Value) {
        let user = || notice["user"].as_str().unwrap().to_owned();
        self.told += 1;
        match notice["event"].as_str().unwrap() {
            "present" => {
                let listed = notice["present"].as_array().cloned().unwrap_or_default();
                self.users = listed.iter().map(|one| one["user"].as_str().unwrap().to_owned()).collect();
                self.count = notice["count"].as_u64().unwrap().try_into().unwrap();
                self.is_complete = notice["more"].is_null();
                assert!(self.is_complete || notice["more"] == true, "{notice}");
                assert!(!self.is_complete || self.users.len() == self.count, "{notice}");
            }
            "join" => {
                assert!(self.is_complete && self.users.insert(user()), "twice, or in a crowd: {notice}");
                self.count += 1;
            }
            "leave" => {
                assert!(self.is_complete && self.users.remove(&user()), "twice, or in a crowd: {notice}");
                self.count -= 1;
            }
            other => panic!("{other}"),
        }
    }

    /// Takes all that was sent so far.
    async fn read(&mut self, client: &mut WebSocket) {
        client.send_text("{}").await.unwrap();
        loop {
            let text = within(client.receive_text()).await.unwrap();
            if text == "{}" {
                return;
            }
            self.take(&serde_json::from_str(&text).unwrap());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn of_a_crowd_the_number_is_told_and_once_it_is_none_the_whole_list() {
    let (client, group) = room(GroupConfig::new().listed(40));
    let mut watcher = client.connect("/watcher?notices").await.unwrap();
    let mut known = Known::default();
    let mut others = Vec::new();
    for i in 0..39 {
        others.push(client.connect(&format!("/user{i}")).await.unwrap());
    }
    sleep(Duration::from_secs(1)).await;
    known.read(&mut watcher).await;
    assert!(known.is_complete && known.users.len() == 40 && known.told == 40, "{known:?}");
    for i in 39..300 {
        others.push(client.connect(&format!("/user{i}")).await.unwrap());
    }
    sleep(Duration::from_secs(3)).await;
    known.told = 0;
    let mut newcomer = client.connect("/newcomer?notices").await.unwrap();
    sleep(Duration::from_secs(3)).await;
    known.read(&mut watcher).await;
    assert!(!known.is_complete && known.count == 302 && known.told <= 6, "{known:?}");
    let mut of_newcomer = Known::default();
    let first: Value = serde_json::from_str(&within(newcomer.receive_text()).await.unwrap()).unwrap();
    assert_eq!(first["present"].as_array().unwrap().len(), 100, "a first page");
    of_newcomer.take(&first);
    of_newcomer.read(&mut newcomer).await;
    assert!(!of_newcomer.is_complete && of_newcomer.count == 302 && of_newcomer.told <= 3, "{of_newcomer:?}");
    for other in others.drain(10..) {
        other.sender().send_text("leave").await.unwrap();
        drop(other);
    }
    while group.len().await.unwrap() > 12 {
        sleep(Duration::from_millis(10)).await;
    }
    sleep(Duration::from_secs(2)).await;
    for (client, known) in [(&mut watcher, &mut known), (&mut newcomer, &mut of_newcomer)] {
        known.read(client).await;
        assert!(known.is_complete && known.users.len() == 12, "{known:?}");
    }
    others.push(client.connect("/again").await.unwrap());
    sleep(Duration::from_secs(1)).await;
    known.read(&mut watcher).await;
    assert!(known.users.contains("again") && known.users.len() == 13);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_joins_in_a_storm_knows_in_the_end_who_is_there() {
    let (client, group) = room(GroupConfig::new().listed(60));
    let mut tasks = tokio::task::JoinSet::new();
    for visitor in 0..8 {
        let client = client.clone();
        tasks.spawn(async move {
            let mut stay = Vec::new();
            for i in 0..30 {
                let notices = if i % 3 == 0 { "?notices" } else { "" };
                let member = client.connect(&format!("/{visitor}.{i}{notices}")).await.unwrap();
                if i % 2 == 0 {
                    stay.push((member, Known::default(), !notices.is_empty()));
                } else {
                    drop(member);
                }
            }
            // Of 120 who stayed, 40 are left: it was a crowd for a while.
            stay.drain(5..);
            stay
        });
    }
    let mut stay = Vec::new();
    while let Some(stayed) = tasks.join_next().await {
        stay.extend(stayed.unwrap());
    }
    for _ in 0..500 {
        if group.len().await.unwrap() == stay.len() {
            break;
        }
        sleep(Duration::from_millis(10)).await;
    }
    let there: BTreeSet<_> =
        group.presence().await.unwrap().into_iter().map(|one| one.user.unwrap().to_string()).collect();
    assert_eq!(there.len(), stay.len());
    let mut late = client.connect("/late?notices").await.unwrap();
    sleep(Duration::from_millis(1_500)).await;
    for (client, known, _) in stay.iter_mut().filter(|(.., watches)| *watches) {
        known.read(client).await;
        let told: BTreeSet<_> = known.users.iter().filter(|user| *user != "late").cloned().collect();
        if known.is_complete {
            assert_eq!(told, there);
        } else {
            assert_eq!(known.count, there.len() + 1, "{known:?}");
        }
    }
    let mut known = Known::default();
    known.read(&mut late).await;
    assert_eq!(known.count, there.len() + 1);
}

#[tokio::test(start_paused = true)]
async fn what_members_tell_in_kilobytes_makes_a_crowd_of_fewer() {
    let (client, _group) = room(GroupConfig::new());
    let mut watcher = client.connect("/watcher?notices").await.unwrap();
    let (mut known, info) = (Known::default(), "i".repeat(3_900));
    let mut others = Vec::new();
    let mut sent = 0;
    for i in 0..400 {
        others.push(client.connect(&format!("/user{i}?info={info}")).await.unwrap());
        if i % 50 == 49 {
            sleep(Duration::from_secs(1)).await;
            known.read(&mut watcher).await;
            sent = known.told;
        }
    }
    assert!(
        !known.is_complete && known.count == 401 && (100..200).contains(&sent),
        "512 KiB are 134 of them: {known:?}"
    );
    let mut newcomer = client.connect("/newcomer?notices").await.unwrap();
    let first = within(newcomer.receive_text()).await.unwrap();
    let read: Value = serde_json::from_str(&first).unwrap();
    assert!(first.len() < 17 * 1024 && read["more"] == true && read["count"].as_u64() > Some(350), "{}", first.len());
}

/// With `NEXIOS_CROWD=50000` and in a release build this is the target of the release notes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_that_joins_one_group_with_notices_does_not_delay_a_bystander() {
    let members = std::env::var("NEXIOS_CROWD").ok().and_then(|text| text.parse().ok()).unwrap_or(1_500_usize);
    let (client, group) = room(GroupConfig::new());
    let mut bystander = client.connect("/bystander").await.unwrap();
    let storm = tokio::spawn(async move {
        let (mut there, began) = (Vec::new(), Instant::now());
        for i in 0..members {
            let mut member = client.connect(&format!("/user{i}?notices")).await.unwrap();
            there.push(tokio::spawn(async move { while member.receive().await.is_ok() {} }));
            // 5,000 a second, if the machine can.
            let due = began + Duration::from_micros(200) * u32::try_from(i).unwrap();
            sleep(due.saturating_duration_since(Instant::now())).await;
        }
        (there, began.elapsed())
    });
    let mut waits = Vec::new();
    while !storm.is_finished() {
        let asked = Instant::now();
        bystander.send_text("?").await.unwrap();
        bystander.receive_text().await.unwrap();
        waits.push(asked.elapsed());
        sleep(Duration::from_millis(1)).await;
    }
    let (_there, took) = storm.await.unwrap();
    assert_eq!(group.len().await.unwrap(), members + 1);
    waits.sort_unstable();
    let p99 = waits[waits.len() * 99 / 100];
    println!("{members} joined within {took:?}; a bystander's p99 of {} was {p99:?}", waits.len());
    let most = if cfg!(debug_assertions) { 500 } else { 100 };
    assert!(p99 < Duration::from_millis(most), "{p99:?}");
}
