//! Questions to a peer, and what becomes of its answers.

use std::time::Duration;

use futures_util::future::join_all;
use nexios::prelude::*;
use nexios::testing::TestClient;
use nexios::{Refusal, RequestError};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::outcome::{code, ending};
use crate::programs::app;
use crate::serving::{pause, pipe, serve, wait_for_connections, within};
use crate::wire::{close, text};

const SOON: Duration = Duration::from_secs(5);

/// A connection whose handler receives until the end: its client, its sender, and what its handler was given.
struct Pair {
    client: WebSocket,
    sender: Sender,
    given: mpsc::UnboundedReceiver<Message>,
}

impl Pair {
    async fn new() -> Self {
        let (app, mut senders, given) = receiving();
        let client = TestClient::new(app).connect("/ws").await.unwrap();
        Self { client, sender: senders.recv().await.unwrap(), given }
    }

    /// Asks from another task.
    fn ask<T>(&self, data: impl Into<Value>) -> JoinHandle<Result<T, RequestError>>
    where
        T: serde::de::DeserializeOwned + Send + 'static,
    {
        let (sender, data) = (self.sender.clone(), data.into());
        tokio::spawn(async move { sender.request(&data, SOON).await })
    }

    /// What is given to the handler next.
    async fn given(&mut self) -> Message {
        within(self.given.recv()).await.unwrap()
    }

    /// Fails when the handler is given anything before this mark.
    async fn given_nothing(&mut self) {
        self.client.send_text("mark").await.unwrap();
        assert_eq!(self.given().await, Message::from("mark"));
    }
}

fn receiving() -> (App, mpsc::UnboundedReceiver<Sender>, mpsc::UnboundedReceiver<Message>) {
    let (senders, see_senders) = mpsc::unbounded_channel();
    let (given, see_given) = mpsc::unbounded_channel();
    let app = app(async move |mut websocket: WebSocket| {
        websocket.accept().await?;
        let _ = senders.send(websocket.sender());
        loop {
            let _ = given.send(websocket.receive().await?);
        }
    });
    (app, see_senders, see_given)
}

async fn connect<F, R>(handler: F) -> WebSocket
where
    F: FnOnce(WebSocket) -> R + Clone + Send + Sync + 'static,
    R: Future<Output = nexios::Result> + Send + 'static,
{
    TestClient::new(app(handler)).connect("/ws").await.unwrap()
}

/// The id and the data of the question that a client is asked.
async fn question(client: &mut WebSocket) -> (u64, Value) {
    let question: Value = within(client.receive_json()).await.unwrap();
    (question["request"].as_u64().unwrap(), question["data"].clone())
}

/// A peer that answers every question with its data, until the end.
async fn echo_answers(mut client: WebSocket) {
    while let Ok(question) = client.receive_json::<Value>().await {
        let answer = json!({ "answer": question["request"], "data": question["data"] });
        client.send_json(&answer).await.unwrap();
    }
}

#[tokio::test]
async fn the_answer_comes_back_to_who_asked() {
    let mut pair = Pair::new().await;
    let asked = pair.ask::<Vec<u32>>(json!({ "op": "sizes" }));
    let text = pair.client.receive_text().await.unwrap();
    let id: u64 = text.strip_prefix(r#"{"request":"#).unwrap().split(',').next().unwrap().parse().unwrap();
    assert_eq!(text, format!(r#"{{"request":{id},"data":{{"op":"sizes"}}}}"#));
    pair.client.send_json(&json!({ "answer": id, "data": [1, 2] })).await.unwrap();
    assert_eq!(within(asked).await.unwrap().unwrap(), [1, 2]);
    pair.given_nothing().await;
}

#[tokio::test]
async fn ids_cannot_be_foretold_and_are_numbers_that_javascript_reads() {
    let mut pair = Pair::new().await;
    let _asked: Vec<_> = (0..100).map(|number| pair.ask::<u32>(number)).collect();
    let mut ids = Vec::new();
    for _ in 0..100 {
        ids.push(question(&mut pair.client).await.0);
    }
    assert!(ids.iter().all(|id| (1..1 << 53).contains(id)), "{ids:?}");
    assert!(ids.iter().filter(|id| **id > 1 << 48).count() > 80, "they use all of it: {ids:?}");
    assert!(!ids.is_sorted());
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 100);
}

#[tokio::test]
async fn only_the_connection_that_was_asked_can_answer() {
    let (app, mut senders, mut given) = receiving();
    let client = TestClient::new(app);
    let mut asked = client.connect("/ws").await.unwrap();
    let sender = senders.recv().await.unwrap();
    let other = client.connect("/ws").await.unwrap();
    let mut other = Pair { client: other, sender: senders.recv().await.unwrap(), given: mpsc::unbounded_channel().1 };
    // It was asked something, too.
    let _other_asked = other.ask::<Value>("?");
    question(&mut other.client).await;
    let answer = tokio::spawn(async move { sender.request::<String>("your name?", SOON).await });
    let (id, _) = question(&mut asked).await;
    for form in [json!({ "answer": id, "data": "admin" }), json!({ "refusal": id })] {
        other.client.send_json(&form).await.unwrap();
        let given = within(given.recv()).await.unwrap();
        assert_eq!(serde_json::from_str::<Value>(given.as_text().unwrap()).unwrap(), form, "it is an ordinary message");
    }
    assert!(!answer.is_finished());
    asked.send_json(&json!({ "answer": id, "data": "Ada" })).await.unwrap();
    assert_eq!(within(answer).await.unwrap().unwrap(), "Ada");
}

#[tokio::test]
async fn from_its_first_question_on_no_members_text_looks_like_one() {
    let (senders, mut see) = mpsc::unbounded_channel();
    let app = app(async move |mut websocket: WebSocket| {
        websocket.accept().await?;
        let room = websocket.groups().group("room");
        room.join(&websocket).await?;
        let _ = senders.send(websocket.sender());
        loop {
            let text = websocket.receive_text().await?;
            room.send_text_except(&websocket, text).await?;
        }
    });
    let client = TestClient::new(app);
    let mut ada = client.connect("/ws").await.unwrap();
    let sender = see.recv().await.unwrap();
    let mut mallory = client.connect("/ws").await.unwrap();
    see.recv().await.unwrap();
    let forged = r#"{"request":1,"data":"your password?"}"#;
    mallory.send_text("hello").await.unwrap();
    assert_eq!(within(ada.receive_text()).await.unwrap(), "hello", "nobody has asked anything");
    let asked = tokio::spawn(async move { sender.request::<String>("your name?", SOON).await });
    let (id, _) = question(&mut ada).await;
    mallory.send_text(forged).await.unwrap();
    let told: Value = within(ada.receive_json()).await.unwrap();
    assert_eq!(told, json!({ "group": "room", "data": forged }));
    ada.send_json(&json!({ "answer": id, "data": "Ada" })).await.unwrap();
    assert_eq!(within(asked).await.unwrap().unwrap(), "Ada");
    ada.send_text("hi").await.unwrap();
    assert_eq!(within(mallory.receive_text()).await.unwrap(), "hi", "who was not asked gets it as it is");
}

#[tokio::test]
async fn a_handler_asks_its_own_peer_while_it_does_not_receive() {
    let mut client = connect(async |mut websocket: WebSocket| {
        websocket.accept().await?;
        let (sender, mut sum) = (websocket.sender(), 0);
        for round in 0..3 {
            sum += sender.request::<u32>(&round, SOON).await?;
        }
        websocket.send_json(&sum).await?;
        assert_eq!(websocket.receive_text().await?, "read ahead");
        websocket.send_text("done").await
    })
    .await;
    client.send_text("read ahead").await.unwrap();
    for round in 0..3 {
        let (id, asked) = question(&mut client).await;
        assert_eq!(asked, round);
        client.send_json(&json!({ "answer": id, "data": 10 + round })).await.unwrap();
    }
    assert_eq!(within(client.receive_text()).await.unwrap(), "33");
    assert_eq!(within(client.receive_text()).await.unwrap(), "done");
}

#[tokio::test]
async fn a_handler_that_receives_sees_only_other_messages() {
    let mut pair = Pair::new().await;
    let asked = pair.ask::<u32>("n");
    let (id, _) = question(&mut pair.client).await;
    pair.client.send_text("before").await.unwrap();
    pair.client.send_json(&json!({ "answer": id, "data": 7 })).await.unwrap();
    pair.client.send_text("after").await.unwrap();
    assert_eq!(pair.given().await, Message::from("before"));
    assert_eq!(pair.given().await, Message::from("after"));
    assert_eq!(within(asked).await.unwrap().unwrap(), 7);
    pair.given_nothing().await;
}

#[tokio::test]
async fn a_handler_may_ask_and_receive_at_once() {
    let mut client = connect(async |mut websocket: WebSocket| {
        websocket.accept().await?;
        let sender = websocket.sender();
        let mut asking = std::pin::pin!(sender.request::<String>("who?", SOON));
        loop {
            tokio::select! {
                text = websocket.receive_text() => sender.send_text(format!("got {}", text?)).await?,
                name = &mut asking => return sender.send_text(format!("it is {}", name?)).await,
            }
        }
    })
    .await;
    let (id, _) = question(&mut client).await;
    for word in ["one", "two"] {
        client.send_text(word).await.unwrap();
        assert_eq!(within(client.receive_text()).await.unwrap(), format!("got {word}"));
    }
    client.send_json(&json!({ "answer": id, "data": "Ada" })).await.unwrap();
    assert_eq!(within(client.receive_text()).await.unwrap(), "it is Ada");
}

#[tokio::test]
async fn questions_are_answered_in_any_order() {
    let mut pair = Pair::new().await;
    let asked: Vec<_> = (0..20).map(|number| pair.ask::<u64>(number)).collect();
    let mut questions = Vec::new();
    for _ in 0..20 {
        questions.push(question(&mut pair.client).await);
    }
    for (id, number) in questions.into_iter().rev() {
        let data = number.as_u64().unwrap() * 10;
        pair.client.send_json(&json!({ "answer": id, "data": data })).await.unwrap();
    }
    for (number, asked) in (0_u64..).zip(asked) {
        assert_eq!(within(asked).await.unwrap().unwrap(), number * 10);
    }
}

#[tokio::test]
async fn an_answer_may_be_spaced_and_ordered_in_any_way() {
    let mut pair = Pair::new().await;
    let forms = [
        r#"{"answer":ID,"data":"x"}"#,
        r#"{"data":"x","answer":ID}"#,
        " \t\r\n{ \"data\" :\n \"x\" ,\t\"answer\" : ID }\r\n",
        r#"{"type":"reply","answer":ID,"nested":{"answer":0,"data":[]},"data":"x"}"#,
        r#"{"answer":ID,"refusal":null,"data":"x"}"#,
    ];
    for form in forms {
        let asked = pair.ask::<String>("?");
        let (id, _) = question(&mut pair.client).await;
        pair.client.send_text(form.replace("ID", &id.to_string())).await.unwrap();
        assert_eq!(within(asked).await.unwrap().unwrap(), "x", "{form}");
    }
    for form in [r#"{"answer":ID}"#, r#"{"answer":ID,"data":null}"#] {
        let asked = pair.ask::<()>("?");
        let (id, _) = question(&mut pair.client).await;
        pair.client.send_text(form.replace("ID", &id.to_string())).await.unwrap();
        within(asked).await.unwrap().unwrap();
    }
    pair.given_nothing().await;
}

#[tokio::test]
async fn what_is_no_answer_goes_to_the_handler() {
    let mut pair = Pair::new().await;
    let asked = pair.ask::<u32>("?");
    let (id, _) = question(&mut pair.client).await;
    let others = [
        // Never given.
        r#"{"answer":0,"data":1}"#,
        r#"{"answer":NEXT,"data":1}"#,
        r#"{"refusal":NEXT,"data":1}"#,
        r#"{"answer":18446744073709551615}"#,
        r#"{"answer":18446744073709551617}"#,
        r#"{"answer":100000000000000000000000000000000000000001}"#,
        // No id.
        r#"{"answer":-ID}"#,
        r#"{"answer":ID.0}"#,
        r#"{"answer":IDe0}"#,
        r#"{"answer":"ID"}"#,
        r#"{"answer":[ID]}"#,
        r#"{"answer":true}"#,
        r#"{"answer":null}"#,
        // Another shape, or none.
        r#"{"answer":ID,"refusal":ID}"#,
        r#"{"answer":ID,"answer":ID}"#,
        r#"{"nested":{"answer":ID}}"#,
        r#"[{"answer":ID}]"#,
        r#"[1,null,"\"answer\""]"#,
        r#"{"answer":ID} {"answer":ID}"#,
        r#"{"answer":ID"#,
        r#"{"answer":0ID}"#,
        r#""answer""#,
        r#"{"request":1,"data":"the other way round"}"#,
        "\u{a0}{\"answer\":ID}",
        "",
    ];
    for other in others {
        let other = other.replace("NEXT", &(id + 1).to_string()).replace("ID", &id.to_string());
        pair.client.send_text(other.clone()).await.unwrap();
        assert_eq!(pair.given().await, Message::from(other));
    }
    assert!(!asked.is_finished());
    pair.client.send_json(&json!({ "answer": id, "data": 1 })).await.unwrap();
    assert_eq!(within(asked).await.unwrap().unwrap(), 1);
}

#[tokio::test]
async fn a_binary_message_is_never_an_answer() {
    let mut pair = Pair::new().await;
    let asked = pair.ask::<u32>("?");
    let (id, _) = question(&mut pair.client).await;
    let answer = json!({ "answer": id, "data": 7 }).to_string();
    pair.client.send_bytes(answer.clone()).await.unwrap();
    assert_eq!(pair.given().await, Message::Binary(answer.clone().into()));
    pair.client.send_text(answer).await.unwrap();
    assert_eq!(within(asked).await.unwrap().unwrap(), 7);
}

#[tokio::test]
async fn a_connection_that_never_asks_may_use_the_same_words() {
    let mut pair = Pair::new().await;
    for text in [r#"{"answer":1,"data":7}"#, r#"{"refusal":1}"#] {
        pair.client.send_text(text).await.unwrap();
        assert_eq!(pair.given().await, Message::from(text));
    }
}

#[tokio::test]
async fn an_answer_may_be_as_large_as_a_message() {
    let pair = Pair::new().await;
    let data = "x".repeat(700 * 1024);
    let asked = pair.ask::<String>(data.as_str());
    tokio::spawn(echo_answers(pair.client));
    assert!(within(asked).await.unwrap().unwrap() == data);
}

#[tokio::test(start_paused = true)]
async fn after_a_timeout_a_late_answer_is_dropped_and_the_next_question_is_answered() {
    let mut pair = Pair::new().await;
    let began = tokio::time::Instant::now();
    let asked = pair.sender.request::<u32>("slow", Duration::from_secs(2)).await;
    assert!(matches!(asked, Err(RequestError::Timeout)), "{asked:?}");
    assert_eq!(began.elapsed().as_secs(), 2);
    let (slow, _) = question(&mut pair.client).await;
    pair.client.send_json(&json!({ "answer": slow, "data": 1 })).await.unwrap();
    pair.given_nothing().await;
    let asked = pair.ask::<u32>("quick");
    let (quick, _) = question(&mut pair.client).await;
    pair.client.send_json(&json!({ "answer": slow, "data": 1 })).await.unwrap();
    pair.client.send_json(&json!({ "answer": quick, "data": 2 })).await.unwrap();
    assert_eq!(asked.await.unwrap().unwrap(), 2);
    pair.client.send_json(&json!({ "answer": quick, "data": 3 })).await.unwrap();
    pair.given_nothing().await;
}

#[tokio::test]
async fn a_refusal_carries_its_reason() {
    fn refused(result: Result<u32, RequestError>) -> Refusal {
        match result {
            Err(RequestError::Refused(refusal)) => refusal,
            other => panic!("{other:?}"),
        }
    }
    let mut pair = Pair::new().await;
    let asked = pair.ask("?");
    let (id, _) = question(&mut pair.client).await;
    pair.client.send_json(&json!({ "refusal": id, "data": { "why": "busy" } })).await.unwrap();
    let refusal = refused(within(asked).await.unwrap());
    assert_eq!(refusal.json::<Value>().unwrap(), json!({ "why": "busy" }));
    assert_eq!((refusal.as_str(), refusal.to_string()), (r#"{"why":"busy"}"#, r#"{"why":"busy"}"#.to_owned()));
    assert!(refusal.json::<u32>().unwrap_err().is_data());
    assert_eq!(RequestError::Refused(refusal).to_string(), r#"the peer refused: {"why":"busy"}"#);

    let asked = pair.ask("?");
    let (id, _) = question(&mut pair.client).await;
    pair.client.send_json(&json!({ "refusal": id })).await.unwrap();
    assert_eq!(refused(within(asked).await.unwrap()).as_str(), "null");
    pair.given_nothing().await;
}

#[tokio::test]
async fn an_error_shows_the_beginning_of_a_long_refusal() {
    let mut pair = Pair::new().await;
    let asked = pair.ask::<u32>("?");
    let (id, _) = question(&mut pair.client).await;
    pair.client.send_json(&json!({ "refusal": id, "data": "é".repeat(10_000) })).await.unwrap();
    let error = within(asked).await.unwrap().unwrap_err();
    assert_eq!(error.to_string().chars().count(), "the peer refused: ".len() + 200);
}

#[tokio::test]
async fn an_answer_of_another_type_is_a_json_error_and_closes_1007() {
    let mut pair = Pair::new().await;
    let asked = pair.ask::<u32>("?");
    let (id, _) = question(&mut pair.client).await;
    pair.client.send_json(&json!({ "answer": id, "data": "seven" })).await.unwrap();
    let error = within(asked).await.unwrap().unwrap_err();
    assert!(matches!(&error, RequestError::Json(json) if json.is_received() && json.is_data()), "{error:?}");

    let mut client = connect(async |mut websocket: WebSocket| {
        websocket.accept().await?;
        websocket.sender().request::<u32>("?", SOON).await?;
        Ok(())
    })
    .await;
    let (id, _) = question(&mut client).await;
    client.send_json(&json!({ "answer": id })).await.unwrap();
    assert_eq!(code(within(client.receive()).await), 1007);
}

#[tokio::test]
async fn a_question_that_is_no_json_is_never_sent() {
    let mut pair = Pair::new().await;
    let unwritable = std::collections::HashMap::from([((1, 2), 3)]);
    let error = pair.sender.request::<u32>(&unwritable, SOON).await.unwrap_err();
    assert!(matches!(&error, RequestError::Json(json) if !json.is_received()), "{error:?}");
    pair.sender.send_text("next").await.unwrap();
    assert_eq!(pair.client.receive_text().await.unwrap(), "next");
}

#[tokio::test]
async fn a_refusal_or_a_timeout_that_a_handler_lets_out_closes_1011() {
    for answer in [r#"{"refusal":ID}"#, "no answer"] {
        let mut client = connect(async |mut websocket: WebSocket| {
            websocket.accept().await?;
            websocket.sender().request::<u32>("?", Duration::from_millis(100)).await?;
            Ok(())
        })
        .await;
        let (id, _) = question(&mut client).await;
        client.send_text(answer.replace("ID", &id.to_string())).await.unwrap();
        assert_eq!(code(within(client.receive()).await), 1011, "{answer}");
    }
}

#[tokio::test]
async fn the_end_of_the_connection_ends_the_wait() {
    let mut pair = Pair::new().await;
    let asked = [pair.ask::<u32>("a"), pair.ask("b")];
    question(&mut pair.client).await;
    pair.client.close(4001, "no time").await.unwrap();
    for asked in asked {
        match within(asked).await.unwrap() {
            Err(RequestError::Disconnect(end)) => assert_eq!((u16::from(end.code()), end.reason()), (4001, "no time")),
            other => panic!("{other:?}"),
        }
    }
    let error = Error::from(pair.sender.request::<u32>("too late", SOON).await.unwrap_err());
    assert!(matches!(error, Error::Request(RequestError::Disconnect(_))), "{error:?}");
    assert_eq!(error.disconnect().unwrap().code(), 4001);
}

#[tokio::test]
async fn a_lost_connection_ends_the_wait() {
    let (app, mut senders, _given) = receiving();
    let server = serve(app).await;
    for reset in [true, false] {
        let mut wire = server.upgrade("/ws").await;
        let sender = within(senders.recv()).await.unwrap();
        let asked = tokio::spawn(async move { sender.request::<u32>("?", SOON).await });
        wire.text().await;
        if reset {
            wire.abort();
        } else {
            drop(wire);
        }
        match within(asked).await.unwrap() {
            Err(RequestError::Disconnect(end)) => assert_eq!(end.cause(), Cause::ConnectionLost),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_handler_whose_peer_leaves_while_it_asks_has_ended_normally() {
    let (seen, mut see) = mpsc::unbounded_channel();
    let app = app(async |mut websocket: WebSocket| {
        websocket.accept().await?;
        websocket.sender().request::<u32>("?", SOON).await?;
        Ok(())
    });
    let client = TestClient::new(app.on_error(move |error| seen.send(error.to_string()).unwrap()));
    let mut websocket = client.connect("/ws").await.unwrap();
    question(&mut websocket).await;
    websocket.close(1000, "").await.unwrap();
    assert_eq!(ending(within(websocket.receive()).await).ended_by(), EndedBy::Local);
    wait_for_connections(&client.handle(), 0).await;
    assert!(see.try_recv().is_err(), "a peer that leaves is no error");
}

#[tokio::test]
async fn before_accept_nothing_can_be_asked() {
    let mut client = connect(async |mut websocket: WebSocket| {
        let early = websocket.sender().request::<u32>("?", SOON).await;
        assert!(matches!(early, Err(RequestError::State(_))), "{early:?}");
        websocket.accept().await?;
        websocket.sender().request::<()>("!", SOON).await?;
        websocket.send_text("answered").await
    })
    .await;
    let (id, asked) = question(&mut client).await;
    assert_eq!(asked, "!");
    client.send_json(&json!({ "answer": id })).await.unwrap();
    assert_eq!(within(client.receive_text()).await.unwrap(), "answered");
}

#[tokio::test]
async fn an_answer_that_arrives_during_the_closing_handshake_counts() {
    let (app, mut senders, mut given) = receiving();
    let (mut wire, _) = pipe(app);
    wire.handshake("/ws").await;
    let sender = within(senders.recv()).await.unwrap();
    let [answered, unanswered] = ["a", "b"].map(|data| {
        let sender = sender.clone();
        tokio::spawn(async move { sender.request::<u32>(data, SOON).await })
    });
    let first: Value = serde_json::from_str(&wire.text().await).unwrap();
    let second: Value = serde_json::from_str(&wire.text().await).unwrap();
    assert_eq!((&first["data"], &second["data"]), (&json!("a"), &json!("b")));
    sender.close(4002, "").await.unwrap();
    assert_eq!(wire.close_frame().await.0, 4002);
    let late = sender.request::<u32>("c", SOON).await;
    assert!(matches!(&late, Err(RequestError::Disconnect(end)) if end.code() == 4002), "{late:?}");
    wire.send(text(&json!({ "answer": first["request"], "data": 7 }).to_string())).await;
    assert_eq!(within(answered).await.unwrap().unwrap(), 7);
    assert!(!unanswered.is_finished());
    wire.send(close(4002, "")).await;
    let unanswered = within(unanswered).await.unwrap();
    assert!(matches!(&unanswered, Err(RequestError::Disconnect(end)) if end.code() == 4002), "{unanswered:?}");
    assert!(given.try_recv().is_err());
}

#[tokio::test]
async fn a_thousand_questions_wait_and_dropping_one_frees_its_place() {
    let mut pair = Pair::new().await;
    let mut asked: Vec<_> = (0..1_000).map(|number| pair.ask::<u32>(number)).collect();
    let mut ids = std::collections::HashMap::new();
    for _ in 0..1_000 {
        let (id, number) = question(&mut pair.client).await;
        ids.insert(number.as_u64().unwrap(), id);
    }
    let error = pair.sender.request::<u32>("one more", SOON).await.unwrap_err();
    assert!(matches!(error, RequestError::TooMany { limit: 1_000 }), "{error:?}");
    let dropped = asked.swap_remove(499);
    dropped.abort();
    assert!(dropped.await.unwrap_err().is_cancelled());
    let next = pair.ask::<u32>("next");
    let (id, _) = question(&mut pair.client).await;
    let error = pair.sender.request::<u32>("one more", SOON).await.unwrap_err();
    assert!(matches!(error, RequestError::TooMany { .. }), "{error:?}");
    pair.client.send_json(&json!({ "answer": id, "data": 5 })).await.unwrap();
    assert_eq!(within(next).await.unwrap().unwrap(), 5);
    // The answer to what was dropped is nobody's.
    pair.client.send_json(&json!({ "answer": ids[&499], "data": 5 })).await.unwrap();
    pair.given_nothing().await;
}

#[tokio::test]
async fn a_question_that_finds_no_room_closes_a_slow_consumer() {
    let (app, mut senders, _given) = receiving();
    let (mut wire, _) = pipe(app);
    wire.handshake("/ws").await;
    let sender = within(senders.recv()).await.unwrap();
    while sender.try_send(vec![0; 32 * 1024]).is_ok() {
        tokio::task::yield_now().await;
    }
    let error = within(sender.request::<u32>(&"x".repeat(64 * 1024), SOON)).await.unwrap_err();
    assert!(
        matches!(&error, RequestError::Disconnect(end) if end.cause() == Cause::SlowConsumer),
        "the queue was full: {error:?}"
    );
}

#[tokio::test]
async fn an_answer_behind_more_than_is_read_ahead_waits_for_the_handler() {
    let (go_on, wait) = tokio::sync::oneshot::channel::<()>();
    let wait = std::sync::Arc::new(tokio::sync::Mutex::new(Some(wait)));
    let (senders, mut see) = mpsc::unbounded_channel();
    let mut client = connect(async move |mut websocket: WebSocket| {
        websocket.accept().await?;
        senders.send(websocket.sender()).unwrap();
        let wait = wait.lock().await.take().unwrap();
        wait.await.unwrap();
        loop {
            websocket.receive().await?;
        }
    })
    .await;
    let sender = see.recv().await.unwrap();
    let asked = tokio::spawn(async move { sender.request::<u32>("?", SOON).await });
    let (id, _) = question(&mut client).await;
    client.send_bytes(vec![0; 80 * 1024]).await.unwrap();
    client.send_json(&json!({ "answer": id, "data": 7 })).await.unwrap();
    pause(50).await;
    assert!(!asked.is_finished());
    go_on.send(()).unwrap();
    assert_eq!(within(asked).await.unwrap().unwrap(), 7);
}

#[tokio::test]
async fn a_client_asks_its_server() {
    let client = connect(async |mut websocket: WebSocket| {
        websocket.accept().await?;
        echo_answers(websocket).await;
        Ok(())
    })
    .await;
    let sender = client.sender();
    assert_eq!(within(sender.request::<Value>(&json!({ "n": 1 }), SOON)).await.unwrap(), json!({ "n": 1 }));
    drop(client);
    within(sender.closed()).await;
    let end = within(sender.request::<u32>("?", SOON)).await.unwrap_err();
    assert!(matches!(end, RequestError::Disconnect(_)), "{end:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn no_answer_is_lost_between_threads() {
    let (app, mut senders, mut given) = receiving();
    let server = serve(app).await;
    let mut asking = Vec::new();
    for connection in 0..4_u64 {
        tokio::spawn(echo_answers(nexios::client::connect(server.url("/ws")).await.unwrap()));
        let sender = within(senders.recv()).await.unwrap();
        for task in 0..8_u64 {
            let sender = sender.clone();
            asking.push(tokio::spawn(async move {
                for round in 0..200 {
                    let data = connection * 1_000_000 + task * 1_000 + round;
                    assert_eq!(sender.request::<u64>(&data, Duration::from_secs(20)).await.unwrap(), data);
                }
            }));
        }
    }
    for result in join_all(asking).await {
        result.unwrap();
    }
    assert!(given.try_recv().is_err(), "an answer went to the handler");
}
