//! Connections that come and go at any moment while others publish: nothing is lost for those who stay, and nothing is
//! left of those who went.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nexios::AppHandle;
use nexios::prelude::*;
use nexios::testing::TestClient;
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio::runtime::Handle;

use crate::presence::bare;
use crate::serving::serve;
use crate::wire::{Wire, upgrade_request};

const STAYERS: usize = 12;
const PUBLISHERS: usize = 3;
const ROOMS: usize = 4;
const VISITORS: usize = 150;
const AT_ONCE: usize = 64;
const THREADS: usize = 4;

/// How many connections come and go, if somebody says so:
/// `NEXIOS_CHURN=100000 cargo test --release -p nexios --test it churn -- --nocapture --test-threads 1` for many, which
/// also looks at the process's memory and descriptors.
fn asked_for() -> Option<usize> {
    std::env::var("NEXIOS_CHURN").ok().map(|cycles| cycles.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn those_who_stay_hear_everything_once_in_one_order_and_nothing_is_left_of_those_who_go() {
    let app = app();
    let (groups, handle) = (app.groups(), app.handle());
    let client = TestClient::new(app);
    churn(Door::InProcess(client), &groups, &handle, asked_for().unwrap_or(1_200)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_same_over_sockets_some_of_which_are_reset() {
    let app = app();
    let groups = app.groups();
    let server = serve(app).await;
    churn(Door::Sockets(server.address), &groups, &server.handle, asked_for().unwrap_or(600)).await;
    server.handle.shutdown();
    server.serving.await.unwrap().unwrap();
}

// ---- the app

/// All of it at once: a stream with positions, users who are waited for for a moment, histories that grow old in no time.
fn app() -> App {
    let moment = Duration::from_millis(10);
    let short = GroupConfig::new().grace(moment).history(History::new().messages(3).age(moment));
    let all = GroupConfig::new().grace(moment).history(History::new().messages(300).age(moment * 50).with_positions());
    let config = GroupsConfig::new().each(short).by_name(move |name| (name == "all").then(|| all.clone()));
    App::new().groups_config(config).websocket_route("/", member)
}

/// Joins a group of its own, a room, and the group of all, and echoes.
async fn member(mut websocket: WebSocket, groups: Groups) -> nexios::Result {
    websocket.accept().await?;
    let query = websocket.query_params();
    let user = query.get("user").unwrap_or_default().to_owned();
    let room = groups.group(format!("room {}", query.get("room").unwrap_or_default()));
    let since = query.get("since").and_then(|text| text.parse::<Position>().ok());
    let own = groups.group(format!("own {user} {}", websocket.id()));
    own.join_with(&websocket, Join::new().user(&user)).await?;
    own.send_text("own").await?;
    room.join(&websocket).await?;
    let join = Join::new().user(&user).info(&user)?.since(since).notices();
    let joined = groups.group("all").join_with(&websocket, join).await?;
    websocket.send_json(&joined).await?;
    loop {
        let text = websocket.receive_text().await?;
        if text == "leave" {
            groups.group("all").leave(&websocket).await?;
            room.leave(&websocket).await?;
        }
        websocket.send_text(text).await?;
    }
}

/// What members of the group of all are told.
#[derive(Deserialize)]
struct Told {
    position: Option<Position>,
    /// Publisher and number, or none for its last word.
    data: Option<(usize, Option<usize>)>,
    event: Option<String>,
    user: Option<String>,
    present: Option<Vec<Someone>>,
    recovered: Option<bool>,
}

#[derive(Deserialize)]
struct Someone {
    user: String,
}

#[derive(Clone)]
enum Door {
    InProcess(TestClient),
    Sockets(SocketAddr),
}

impl Door {
    async fn connect(&self, path: &str) -> nexios::Result<WebSocket> {
        match self {
            Self::InProcess(client) => client.connect(path).await,
            Self::Sockets(address) => nexios::client::connect(format!("ws://{address}{path}")).await,
        }
    }
}

// ---- those who come and go

/// What those who come and go have seen together.
#[derive(Debug, Default)]
struct Seen {
    /// Where one of the newest messages was.
    newest: Mutex<Option<Position>>,
    /// How many got as far as to be members, and to get what they had missed.
    joined: AtomicUsize,
    recovered: AtomicUsize,
}

/// Comes, and goes at a point that nobody foresees.
async fn come_and_go(door: Door, seen: Arc<Seen>) {
    // Some stay until they have done everything.
    let patience = Duration::from_micros(if fastrand::u8(..4) == 0 { 5_000_000 } else { fastrand::u64(..4_000) });
    let since = seen.newest.lock().unwrap().filter(|_| fastrand::bool());
    let (user, room) = (fastrand::usize(..VISITORS), fastrand::usize(..ROOMS));
    let since_text = since.map(|since| since.to_string()).unwrap_or_default();
    let path = format!("/?user=v{user}&room={room}&since={since_text}");
    if let Door::Sockets(address) = door
        && fastrand::u8(..4) == 0
    {
        let Ok(stream) = TcpStream::connect(address).await else { return };
        let mut wire = Wire::new(stream);
        wire.send(upgrade_request(&path)).await;
        tokio::time::sleep(patience.min(Duration::from_millis(4))).await;
        return wire.abort();
    }
    // Being cut in the middle is one of the ways to go.
    let _: Result<nexios::Result, _> = tokio::time::timeout(patience, visit(&door, &path, since, &seen)).await;
}

async fn visit(door: &Door, path: &str, since: Option<Position>, seen: &Seen) -> nexios::Result {
    let mut websocket = door.connect(path).await?;
    let (mut first, mut last) = (None, None);
    let mut hellos = fastrand::usize(0..5);
    loop {
        let text = bare(&websocket.receive_text().await?);
        if text == "hello" && hellos > 0 {
            hellos -= 1;
            websocket.send_text("hello").await?;
        } else if text == "hello" {
            break;
        }
        if !text.starts_with('{') {
            continue;
        }
        let told: Told = serde_json::from_str(&text).unwrap();
        let position = told.position.filter(|_| told.data.is_some());
        if let Some(position) = position {
            assert!(last.is_none_or(|last| position.offset() == last + 1), "a gap behind {last:?}: {position}");
            last = Some(position.offset());
            first = first.or(last);
            *seen.newest.lock().unwrap() = Some(position);
        }
        if let Some(recovered) = told.recovered {
            let start = since.filter(|_| recovered).or(told.position).unwrap().offset();
            assert!(first.is_none_or(|first| first == start + 1), "from {since:?}: {text}, but {first:?} came");
            last = last.or(Some(start));
            seen.joined.fetch_add(1, Ordering::Relaxed);
            seen.recovered.fetch_add(usize::from(recovered && since.is_some()), Ordering::Relaxed);
            websocket.send_text("hello").await?;
        }
    }
    match fastrand::u8(..3) {
        0 => websocket.close(1000, "").await,
        1 => websocket.send_text("leave").await,
        _ => Ok(()),
    }
}

// ---- those who stay

/// What a stayer has heard, kept small: it hears for as long as the test takes.
#[derive(Default)]
struct Heard {
    /// The next number of each publisher in the group of all and in the room.
    of_all: [usize; PUBLISHERS],
    of_room: [usize; PUBLISHERS],
    last_words: usize,
    offset: u64,
    /// In which order.
    order_of_all: DefaultHasher,
    order_of_room: DefaultHasher,
    there: HashSet<String>,
}

async fn stay((mut stayer, mut heard): (WebSocket, Heard), room: usize) -> (WebSocket, Heard) {
    let room = format!("room {room} ");
    while heard.last_words < PUBLISHERS {
        let text = bare(&stayer.receive_text().await.unwrap());
        match text.strip_prefix(&room) {
            Some(numbers) => heard.in_room(numbers),
            None => heard.of_all(&text),
        }
    }
    (stayer, heard)
}

impl Heard {
    fn in_room(&mut self, numbers: &str) {
        let (publisher, number) = numbers.split_once(' ').unwrap();
        let next = &mut self.of_room[publisher.parse::<usize>().unwrap()];
        assert_eq!(number, next.to_string(), "of publisher {publisher} in the room");
        *next += 1;
        numbers.hash(&mut self.order_of_room);
    }

    fn of_all(&mut self, text: &str) {
        let told: Told = serde_json::from_str(text).unwrap();
        if let (Some(position), Some((publisher, number))) = (told.position, told.data) {
            self.offset += 1;
            assert_eq!(position.offset(), self.offset);
            (publisher, number).hash(&mut self.order_of_all);
            match number {
                None => self.last_words += 1,
                Some(number) => {
                    assert_eq!(number, self.of_all[publisher], "of publisher {publisher}");
                    self.of_all[publisher] += 1;
                }
            }
        } else if let Some(user) = told.user {
            let is_news = match told.event.as_deref() {
                Some("join") => self.there.insert(user),
                Some("leave") => self.there.remove(&user),
                _ => false,
            };
            assert!(is_news, "{text}");
        } else {
            let present = told.present.unwrap_or_else(|| panic!("{text}"));
            self.there = present.into_iter().map(|one| one.user).collect();
        }
    }
}

/// Nothing is published yet.
async fn become_a_stayer(door: &Door, number: usize) -> (WebSocket, Heard) {
    let path = format!("/?user=s{number}&room={}", number % ROOMS);
    let (mut stayer, mut heard) = (door.connect(&path).await.unwrap(), Heard::default());
    assert_eq!(stayer.receive_text().await.unwrap(), "own");
    heard.of_all(&stayer.receive_text().await.unwrap());
    assert_eq!(heard.there.len(), number + 1);
    let joined = stayer.receive_text().await.unwrap();
    assert!(joined.starts_with(r#"{"recovered":true"#), "{joined}");
    (stayer, heard)
}

/// Numbers its messages until all is over; returns how many there were in the group of all.
async fn publish(groups: Groups, publisher: usize, over: Arc<AtomicBool>) -> usize {
    let (all, mut number) = (groups.group("all"), 0);
    while !over.load(Ordering::Relaxed) {
        let room = number % ROOMS;
        all.send_json(&(publisher, Some(number))).await.unwrap();
        let text = format!("room {room} {publisher} {}", number / ROOMS);
        groups.group(format!("room {room}")).send_text(text).await.unwrap();
        number += 1;
        if number % 2 == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    all.send_json(&(publisher, None::<usize>)).await.unwrap();
    number
}

// ---- the test

async fn churn(door: Door, groups: &Groups, handle: &AppHandle, cycles: usize) {
    let began = Instant::now();
    let before = Held::now();
    let mut stayers = Vec::new();
    for number in 0..STAYERS {
        stayers.push(become_a_stayer(&door, number).await);
    }
    let stayers = stayers.into_iter().enumerate().map(|(number, stayer)| tokio::spawn(stay(stayer, number % ROOMS)));
    let stayers: Vec<_> = stayers.collect();
    let over = Arc::new(AtomicBool::new(false));
    let publishers = (0..PUBLISHERS).map(|publisher| publish(groups.clone(), publisher, Arc::clone(&over)));
    let publishers: Vec<_> = publishers.map(tokio::spawn).collect();

    let seen = Arc::<Seen>::default();
    come_and_go_often(&door, &seen, cycles / 4).await;
    let warm = Held::now();
    come_and_go_often(&door, &seen, cycles - cycles / 4).await;
    wait_until(STAYERS, || handle.connection_count()).await;
    // Those who may be back are given up, and old histories are let go of.
    wait_until(1 + ROOMS + STAYERS, || groups.len()).await;
    let all = groups.group("all");
    while all.presence().await.unwrap().len() > STAYERS {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let after = Held::now();

    over.store(true, Ordering::Relaxed);
    let mut published = [0; PUBLISHERS];
    for (published, publisher) in published.iter_mut().zip(publishers) {
        *published = publisher.await.unwrap();
    }
    let (mut left, mut heard) = (Vec::new(), Vec::new());
    for stayer in stayers {
        let (stayer, one) = tokio::time::timeout(Duration::from_mins(1), stayer).await.unwrap().unwrap();
        left.push(stayer);
        heard.push(one);
    }
    check(&heard, published);
    assert!(seen.joined.load(Ordering::Relaxed) >= cycles / 8, "too few of them got as far: {seen:?}");

    drop(left);
    wait_until(0, || handle.connection_count()).await;
    wait_until(0, || groups.len()).await;
    let stats = groups.stats();
    assert_eq!((stats.groups, stats.members, stats.history_bytes, stats.queued_bytes), (0, 0, 0, 0), "{stats:?}");
    assert_eq!((stats.dropped, stats.slow_consumers), (0, 0), "{stats:?}");
    // Each thread keeps the task that looks after its connections' deadlines.
    wait_until(0, || Held::now().tasks.saturating_sub(before.tasks + THREADS)).await;
    if asked_for().is_some() {
        let end = Held::now();
        report(&format!(
            "{cycles} cycles in {:.1?}, {seen:?}\n{stats:?}\nbefore {before:?}\nwarm   {warm:?}\nafter  {after:?}\nend    {end:?}",
            began.elapsed()
        ));
        assert!(end.memory_kib <= warm.memory_kib + 16 * 1024, "memory grew");
        assert!(end.descriptors <= before.descriptors, "descriptors were left open");
    }
}

#[expect(clippy::print_stderr, reason = "whoever asked for many cycles wants to see the figures")]
fn report(figures: &str) {
    eprintln!("{figures}");
}

async fn come_and_go_often(door: &Door, seen: &Arc<Seen>, cycles: usize) {
    let mut visits = tokio::task::JoinSet::new();
    for _ in 0..cycles {
        if visits.len() >= AT_ONCE {
            visits.join_next().await.unwrap().unwrap();
        }
        visits.spawn(come_and_go(door.clone(), Arc::clone(seen)));
    }
    while let Some(visit) = visits.join_next().await {
        visit.unwrap();
    }
}

fn check(heard: &[Heard], published: [usize; PUBLISHERS]) {
    let stayers: HashSet<_> = (0..STAYERS).map(|number| format!("s{number}")).collect();
    for (number, one) in heard.iter().enumerate() {
        let room = number % ROOMS;
        assert_eq!(one.of_all, published, "once each");
        // A publisher goes from room to room.
        let in_room = published.map(|published| (published + ROOMS - 1 - room) / ROOMS);
        assert_eq!(one.of_room, in_room, "once each in room {room}");
        assert_eq!(one.order_of_all.finish(), heard[0].order_of_all.finish(), "all hear the same order");
        assert_eq!(one.order_of_room.finish(), heard[room].order_of_room.finish(), "and so do those of a room");
        // Who came later was told of by a notice, who was there before by the list.
        assert_eq!(one.there, stayers, "they know who is there");
    }
}

/// What this process, and this test's runtime, hold.
#[derive(Debug)]
struct Held {
    memory_kib: usize,
    descriptors: usize,
    tasks: usize,
}

impl Held {
    fn now() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let memory =
            status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next()?.parse().ok());
        let descriptors = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
        let tasks = Handle::current().metrics().num_alive_tasks();
        Self { memory_kib: memory.unwrap_or(0), descriptors, tasks }
    }
}

async fn wait_until(wanted: usize, count: impl Fn() -> usize) {
    for _ in 0..1_000 {
        if count() == wanted {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{} instead of {wanted} after 10 s", count());
}
