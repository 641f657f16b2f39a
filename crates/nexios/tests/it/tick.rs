//! Groups of many: what is published in one turn of the runtime is distributed at its end, and order is kept all the same.

use nexios::prelude::*;
use nexios::testing::TestClient;

use crate::serving::within;

/// More than a group that is sent to at once has.
const MANY: usize = 40;

/// Joins the groups `a` and `b`, and says what was sent to it.
async fn member(mut websocket: WebSocket, groups: Groups) -> nexios::Result {
    websocket.accept().await?;
    groups.group("a").join(&websocket).await?;
    groups.group("b").join(&websocket).await?;
    websocket.send_text("joined").await?;
    loop {
        websocket.receive().await?;
    }
}

/// Many members of both groups.
struct Crowd {
    client: TestClient,
    groups: Groups,
    members: Vec<WebSocket>,
}

impl Crowd {
    async fn of(app: App) -> Self {
        let app = app.websocket_route("/", member);
        let groups = app.groups();
        let client = TestClient::new(app);
        let mut members = Vec::new();
        for _ in 0..MANY {
            members.push(join(&client).await);
        }
        Self { client, groups, members }
    }
}

async fn join(client: &TestClient) -> WebSocket {
    let mut websocket = client.connect("/").await.unwrap();
    assert_eq!(websocket.receive_text().await.unwrap(), "joined");
    websocket
}

/// The texts that a member receives up to and including `last`.
async fn heard(member: &mut WebSocket, last: &str) -> Vec<String> {
    let mut texts = Vec::new();
    loop {
        let text = within(member.receive_text()).await.unwrap().to_string();
        texts.push(text.clone());
        if text == last {
            return texts;
        }
    }
}

#[tokio::test]
async fn a_message_to_one_member_comes_behind_what_was_published_before() {
    let mut crowd = Crowd::of(App::new()).await;
    let senders = crowd.groups.group("a").members().await.unwrap();
    crowd.groups.group("a").send_text("published").await.unwrap();
    for sender in &senders {
        sender.send_text("direct").await.unwrap();
    }
    for member in &mut crowd.members {
        assert_eq!(heard(member, "direct").await, ["published", "direct"]);
    }
}

#[tokio::test]
async fn groups_are_heard_in_the_order_of_publishing() {
    let mut crowd = Crowd::of(App::new()).await;
    let (a, b) = (crowd.groups.group("a"), crowd.groups.group("b"));
    let mut expected = Vec::new();
    for i in 0..20 {
        // Runs of several to one group, and single ones.
        let group = if i % 5 < 3 { &a } else { &b };
        group.send_text(format!("{i}")).await.unwrap();
        expected.push(format!("{i}"));
    }
    for member in &mut crowd.members {
        assert_eq!(heard(member, "19").await, expected);
    }
}

#[tokio::test]
async fn a_close_comes_behind_what_was_published_before() {
    let mut crowd = Crowd::of(App::new()).await;
    let senders = crowd.groups.group("a").members().await.unwrap();
    crowd.groups.group("a").send_text("last words").await.unwrap();
    for sender in &senders {
        sender.close(4000, "over").await.unwrap();
    }
    for member in &mut crowd.members {
        assert_eq!(member.receive_text().await.unwrap(), "last words");
        let error = member.receive_text().await.unwrap_err();
        assert!(matches!(&error, Error::Disconnect(end) if end.code() == 4000), "{error:?}");
    }
}

#[tokio::test]
async fn a_shutdown_comes_behind_what_was_published_before() {
    let mut crowd = Crowd::of(App::new()).await;
    crowd.groups.group("a").send_text("last words").await.unwrap();
    crowd.client.handle().shutdown();
    for member in &mut crowd.members {
        assert_eq!(member.receive_text().await.unwrap(), "last words");
        let error = member.receive_text().await.unwrap_err();
        assert!(matches!(&error, Error::Disconnect(end) if end.code() == 1001), "{error:?}");
    }
}

/// Publishes, joins, publishes, leaves and publishes within one turn.
async fn comes_and_goes(mut websocket: WebSocket, groups: Groups) -> nexios::Result {
    let group = groups.group("a");
    websocket.accept().await?;
    group.send_text("before").await?;
    group.join(&websocket).await?;
    group.send_text("inside").await?;
    group.send_text_except(&websocket, "others").await?;
    group.leave(&websocket).await?;
    group.send_text("after").await?;
    websocket.send_text("end").await?;
    websocket.receive().await?;
    Ok(())
}

#[tokio::test]
async fn a_member_hears_what_was_published_while_it_was_one() {
    let mut crowd = Crowd::of(App::new().websocket_route("/guest", comes_and_goes)).await;
    let mut guest = crowd.client.connect("/guest").await.unwrap();
    assert_eq!(heard(&mut guest, "end").await, ["inside", "end"]);
    for member in &mut crowd.members {
        assert_eq!(heard(member, "after").await, ["before", "inside", "others", "after"]);
    }
}

/// Publishes three messages of which the second is not for itself, and goes on without waiting for anything.
async fn publisher(mut websocket: WebSocket, groups: Groups) -> nexios::Result {
    let group = groups.group("a");
    websocket.accept().await?;
    group.join(&websocket).await?;
    group.send_text("1").await?;
    group.send_text_except(&websocket, "2").await?;
    group.send_text("3").await?;
    websocket.receive().await?;
    Ok(())
}

#[tokio::test]
async fn who_is_left_out_of_one_message_hears_the_others() {
    let mut crowd = Crowd::of(App::new().websocket_route("/publisher", publisher)).await;
    let mut publisher = crowd.client.connect("/publisher").await.unwrap();
    assert_eq!(heard(&mut publisher, "3").await, ["1", "3"]);
    for member in &mut crowd.members {
        assert_eq!(heard(member, "3").await, ["1", "2", "3"]);
    }
}

#[test]
fn a_runtime_that_ends_leaves_nothing_undone_to_the_next_one_of_its_thread() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime().block_on(async {
        let crowd = Crowd::of(App::new()).await;
        // The runtime ends before its turn does.
        crowd.groups.group("a").send_text("never heard").await.unwrap();
    });
    runtime().block_on(async {
        let mut crowd = Crowd::of(App::new()).await;
        crowd.groups.group("a").send_text("heard").await.unwrap();
        for member in &mut crowd.members {
            assert_eq!(heard(member, "heard").await, ["heard"]);
        }
    });
}

#[test]
fn without_a_runtime_a_publication_is_distributed_at_once() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut crowd = runtime.block_on(Crowd::of(App::new()));
    // This thread belongs to no runtime.
    let group = crowd.groups.group("a");
    futures_util::FutureExt::now_or_never(group.send_text("heard")).unwrap().unwrap();
    runtime.block_on(async {
        for member in &mut crowd.members {
            assert_eq!(heard(member, "heard").await, ["heard"]);
        }
    });
}

#[tokio::test]
async fn publications_beyond_a_batch_go_out_without_a_turn_of_the_runtime() {
    let mut crowd = Crowd::of(App::new()).await;
    let group = crowd.groups.group("a");
    let big = "x".repeat(3_000);
    // More than a member's queue would hold of what is put off, were there no end to it.
    for _ in 0..200 {
        group.send_text(big.as_str()).await.unwrap();
    }
    group.send_text("end").await.unwrap();
    for member in &mut crowd.members {
        assert_eq!(heard(member, "end").await.len(), 201);
    }
}

#[tokio::test]
async fn publishers_on_many_threads_are_each_heard_in_order() {
    let mut crowd = Crowd::of(App::new()).await;
    let publishers: Vec<_> = (0..3)
        .map(|publisher| {
            let group = crowd.groups.group("a");
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                runtime.block_on(async {
                    for i in 0..300 {
                        group.send_text(format!("{publisher} {i}")).await.unwrap();
                        if i % 7 == 0 {
                            tokio::task::yield_now().await;
                        }
                    }
                });
            })
        })
        .collect();
    let mut order: Option<Vec<String>> = None;
    for member in &mut crowd.members {
        let mut texts = Vec::new();
        while texts.len() < 900 {
            texts.push(within(member.receive_text()).await.unwrap().to_string());
        }
        for publisher in 0..3 {
            let of_one = texts.iter().filter(|text| text.starts_with(&format!("{publisher} ")));
            let expected: Vec<_> = (0..300).map(|i| format!("{publisher} {i}")).collect();
            assert!(of_one.eq(&expected), "publisher {publisher} is heard out of order");
        }
        assert_eq!(*order.get_or_insert_with(|| texts.clone()), texts, "all members hear the same order");
    }
    for publisher in publishers {
        publisher.join().unwrap();
    }
}

#[test]
fn a_thread_that_ends_with_a_runtime_of_its_own_takes_connections_along_quietly() {
    use std::cell::RefCell;

    thread_local! {
        static HELD: RefCell<Option<(tokio::runtime::Runtime, Crowd)>> = const { RefCell::new(None) };
    }

    let thread = std::thread::spawn(|| {
        // Made before the values of Nexios, and so dropped behind them.
        HELD.with_borrow(|held| assert!(held.is_none()));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let crowd = runtime.block_on(async {
            let crowd = Crowd::of(App::new()).await;
            crowd.groups.group("a").send_text("never heard").await.unwrap();
            crowd
        });
        HELD.set(Some((runtime, crowd)));
    });
    assert!(thread.join().is_ok());
}
