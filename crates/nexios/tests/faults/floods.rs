//! Section D: floods, backpressure, limits.

use std::thread;
use std::time::{Duration, Instant};

use crate::harness::{Attack, BINARY, Client, KIB, MIB, PING, PONG, Victim, Waits, close, cpu, frame, request, text};

// Row 33.
#[test]
fn a_ping_flood_of_a_peer_that_does_not_read_is_held_back_and_answered_whole_once_it_reads() {
    const PINGS: usize = 400_000;
    Attack::new("33", "400,000 pings of 100 bytes, no pong read").holds_at_most(2 * MIB).run(|victim| {
        let mut client = Client::upgrade(victim.address, "/ws");
        let flood = frame(PING, [b'x'; 100]).repeat(PINGS);
        let taken = client.push(&flood);
        assert!(taken < flood.len(), "nothing held the sender back");
        let mut writer = client.stream.try_clone().unwrap();
        thread::scope(|scope| {
            scope.spawn(|| std::io::Write::write_all(&mut writer, &flood[taken..]).unwrap());
            for _ in 0..PINGS {
                let pong = client.frame().unwrap();
                assert_eq!((pong.opcode(), pong.payload.len()), (PONG, 100));
            }
        });
        (format!("read {} KiB, then no more; all answered when the peer read", taken as u64 / KIB), client)
    });
}

// Row 34: an echo to a peer that does not read.
#[test]
fn an_echo_to_a_peer_that_does_not_read_waits_and_its_peer_is_held_back() {
    let attack = Attack::new("34", "256 MiB to an echo, nothing read").holds_at_most(2 * MIB);
    attack.run(|victim| {
        let mut client = Client::upgrade(victim.address, "/ws");
        let message = frame(BINARY, vec![0; 16 * 1024]).repeat(64);
        let mut taken = 0;
        for _ in 0..256 {
            let sent = client.push(&message);
            taken += sent;
            if sent < message.len() {
                break;
            }
        }
        assert!(taken < 64 * message.len(), "nothing held the sender back");
        (format!("took {} KiB, sockets' buffers included", taken as u64 / KIB), client)
    });
}

// Rows 34 and 35: 8 MiB instead of 100 MB, which is still more than the queue and the sockets take.
#[test]
fn a_member_that_does_not_read_is_closed_and_delays_none_of_fifty_others() {
    let attack = Attack::new("34, 35", "8 MiB to a room of 50 who read and one who does not").holds_at_most(8 * MIB);
    attack.repeats().run(|victim| {
        let mut publisher = Client::upgrade(victim.address, "/publisher");
        // What a machine is late by comes and goes; what a member does to others, it does each time.
        let mut rounds = Vec::new();
        let is_fair = |[alone, beside]: [Waits; 2]| beside.p99 < Duration::from_millis(50).max(alone.p99 * 2);
        while !rounds.last().is_some_and(|round| is_fair(*round)) {
            assert!(rounds.len() < 5, "without the stalled member, and with it: {rounds:?}");
            rounds.push(stall_one(victim, &mut publisher));
        }
        let [alone, beside] = rounds[rounds.len() - 1];
        let (with, without) = (beside.p99.as_micros(), alone.p99.as_micros());
        (format!("the 50 had all, p99 {with} µs, without the one {without} µs; the one was closed"), publisher)
    });
}

/// How old messages were that 50 members read, by themselves and beside one who does not read.
fn stall_one(victim: &Victim, publisher: &mut Client) -> [Waits; 2] {
    let alone = publish_to_fifty(victim, publisher);
    wait_for_members(publisher, |members| members == 0);
    let stalled = Client::upgrade(victim.address, "/member");
    socket2::SockRef::from(&stalled.stream).set_recv_buffer_size(16 * 1024).unwrap();
    let beside = publish_to_fifty(victim, publisher);
    wait_for_members(publisher, |members| members == 0);
    [alone, beside]
}

/// 256 messages of 32 KiB to 50 members who read; returns how old they were on arrival.
fn publish_to_fifty(victim: &Victim, publisher: &mut Client) -> Waits {
    const READERS: usize = 50;
    const MESSAGES: usize = 256;
    let began = Instant::now();
    let read = |client| thread::spawn(move || read(client, MESSAGES, began));
    let readers: Vec<_> = (0..READERS).map(|_| read(Client::upgrade(victim.address, "/member"))).collect();
    wait_for_members(publisher, |members| members >= READERS);
    for _ in 0..MESSAGES {
        let mut message = vec![0; 32 * 1024];
        message[..8].copy_from_slice(&(began.elapsed().as_nanos() as u64).to_be_bytes());
        publisher.send(frame(BINARY, message));
        thread::sleep(Duration::from_millis(5));
    }
    let waits: Vec<_> = readers.into_iter().flat_map(|reader| reader.join().unwrap()).collect();
    assert_eq!(waits.len(), READERS * MESSAGES);
    Waits::of(waits)
}

/// Reads stamped messages; returns how old each was, and ends the connection.
fn read(mut client: Client, messages: usize, began: Instant) -> Vec<Duration> {
    let waits = (0..messages).map(|_| {
        let payload = client.message().payload;
        let sent = Duration::from_nanos(u64::from_be_bytes(payload[..8].try_into().unwrap()));
        began.elapsed().saturating_sub(sent)
    });
    waits.collect()
}

fn wait_for_members(publisher: &mut Client, is_enough: impl Fn(usize) -> bool) {
    let deadline = Instant::now() + Duration::from_secs(8);
    loop {
        publisher.send(frame(BINARY, b""));
        let members = publisher.text().parse().unwrap();
        if is_enough(members) {
            return;
        }
        assert!(Instant::now() < deadline, "{members} members");
        thread::sleep(Duration::from_millis(10));
    }
}

// Row 36.
#[test]
fn joins_beyond_the_limit_are_refused_and_leaving_all_leaves_nothing() {
    const JOINS: usize = 100_000;
    let attack = Attack::new("36", "100,000 joins with names of 200 bytes on one connection").holds_at_most(MIB);
    attack.run(|victim| {
        let mut client = Client::upgrade(victim.address, "/joins");
        let names: Vec<_> = (0..JOINS).map(|n| format!("{n:0>200}")).collect();
        for name in &names {
            client.send(text(&format!("+{name}")));
        }
        client.send(text("?"));
        assert_eq!(client.text(), "128 99872 128");
        for name in &names[..128] {
            client.send(text(&format!("-{name}")));
        }
        client.send(text("?"));
        assert_eq!(client.text(), "128 99872 0");
        client.send(text(&format!("+{}", "x".repeat(201))));
        client.send(text("?"));
        assert_eq!(client.text(), "128 99873 0", "a name of 201 bytes");
        ("128 granted, 99,872 refused; no group when all were left".to_owned(), client)
    });
}

// Row 37.
#[test]
fn messages_to_a_handler_that_is_slower_wait_in_tcp_and_not_in_tasks() {
    let attack = Attack::new("37", "1,000,000 messages of 20 bytes to a handler that takes 10 ms for each");
    attack.holds_at_most(MIB).run(|victim| {
        let threads = victim.threads();
        let mut client = Client::upgrade(victim.address, "/slow");
        let flood = text("twenty bytes of text").repeat(1_000_000);
        let taken = client.push(&flood);
        assert!(taken < flood.len(), "nothing held the sender back");
        assert_eq!(victim.threads(), threads);
        // What it has not read hides the reset from it, until its next ping.
        client.abort();
        (format!("took {} KiB, sockets' buffers included", taken as u64 / KIB), ())
    });
}

// Row 38: 50,000 rooms and messages instead of 1 M and 10 M, for a bound of 8 MiB instead of 64.
#[test]
fn histories_of_ever_more_rooms_stay_within_their_bound() {
    let attack = Attack::new("38", "50,000 rooms with a message each, one room with 50,000").on("histories");
    // What histories hold, they go on holding: that is what they are for. As much again for what an allocator loses
    // between what comes and goes; three times the rooms take no more.
    attack.holds_at_most(16 * MIB).leaves_at_most(16 * MIB).run(|victim| {
        let mut client = Client::upgrade(victim.address, "/archive");
        for room in 0..50_000 {
            client.send(text(&format!("room {room}")));
        }
        client.send(text("one room").repeat(50_000));
        client.send(text("?one room"));
        assert_eq!(client.text(), "100");
        ("within the bound of 8 MiB; 100 messages of the one room".to_owned(), client)
    });
}

// Row 41.
#[test]
fn resets_at_any_point_of_a_connection_end_nothing_but_themselves() {
    Attack::new("41", "500 resets each: at once, in a request, behind it, in a frame").repeats().run(|victim| {
        let whole = request("/ws", &[]);
        let frame = [whole.as_bytes(), &text("half a frame")[..9]].concat();
        for bytes in [&b""[..], &whole.as_bytes()[..60], whole.as_bytes(), &frame] {
            for _ in 0..500 {
                let mut client = Client::connect(victim.address);
                client.send(bytes);
                client.abort();
            }
            victim.echo();
        }
        ("2,000 resets".to_owned(), ())
    });
}

// Row 42: 25,000 names of each kind.
#[test]
fn names_that_collide_under_a_hash_without_a_key_cost_no_more_than_others() {
    const NAMES: usize = 25_000;
    let (plain, colliding) = ((0..NAMES).map(|n| format!("{n:016}")).collect::<Vec<_>>(), colliding_names(NAMES));
    Attack::new("42", "25,000 rooms whose names collide under FxHash").repeats().run(|victim| {
        let plain = join_all(victim, &plain);
        let colliding = join_all(victim, &colliding);
        assert!(colliding < plain * 2 + cpu(20), "{colliding:?}, others {plain:?}");
        (format!("{} ms of CPU; others {} ms", colliding.as_millis(), plain.as_millis()), ())
    });
}

/// The CPU time for being in all these groups.
fn join_all(victim: &Victim, names: &[String]) -> Duration {
    let mut client = Client::upgrade(victim.address, "/unlimited-joins");
    let joins: Vec<u8> = names.iter().flat_map(|name| text(&format!("+{name}"))).collect();
    let before = victim.cpu();
    client.send(joins);
    client.send(text("?"));
    assert_eq!(client.text(), format!("{0} 0 {0}", names.len()));
    let cost = victim.cpu_since(before);
    client.send(close(1000, b""));
    assert_eq!(client.close_code(), 1000);
    cost
}

/// Texts of 16 bytes with one hash under rustc's `FxHasher`: the hash of two words `a`, `b` is
/// `(((a * K) rotated by 5) ^ b) * K`, so that for each `a` there is a `b`.
fn colliding_names(wanted: usize) -> Vec<String> {
    const K: u64 = 0x517c_c1b7_2722_0a95;
    let mut random = fastrand::Rng::with_seed(42);
    let mut names = std::collections::BTreeSet::new();
    while names.len() < wanted {
        let a = u64::from_le_bytes(std::array::from_fn(|_| random.u8(b' '..b'~')));
        let b = a.wrapping_mul(K).rotate_left(5) ^ 0x0123_4567_89AB_CDEF;
        let bytes = [a.to_le_bytes(), b.to_le_bytes()].concat();
        names.extend(bytes.is_ascii().then(|| String::from_utf8(bytes).unwrap()));
    }
    names.into_iter().collect()
}

// Row 43.
#[test]
fn hostile_json_closes_its_own_connection_with_a_code_that_says_why() {
    let say = |what: &str| format!(r#"{{"event":"say","what":{what}}}"#);
    let deep = say(&"[".repeat(100_000));
    let long = say(&format!("\"{}\"", "x".repeat(MIB as usize - 100)));
    let cases: Vec<(&str, Vec<u8>, u16)> = vec![
        ("100,000 brackets", text(&deep), 1007),
        ("100,000 brackets, closed", text(&say(&("[".repeat(100_000) + &"]".repeat(100_000)))), 1007),
        ("100,000 objects", text(&say(&r#"{"a":"#.repeat(100_000))), 1007),
        ("a number that is none", text(&say("1e999999")), 1007),
        ("a lone surrogate", text(&say(r#""\ud800""#)), 1007),
        ("a control character", text(&say("\"\0\"")), 1007),
        ("an unknown event", text(r#"{"event":"constructor"}"#), 1007),
        ("an event twice", text(r#"{"event":"say","event":"say","what":1}"#), 1007),
        ("no object", text("7"), 1007),
        ("nothing", text(""), 1007),
        ("binary", frame(BINARY, say("1")), 1003),
    ];
    Attack::new("43", "deep, huge, malformed and unexpected JSON").holds_at_most(8 * MIB).repeats().run(|victim| {
        for (what, bytes, code) in &cases {
            let mut client = Client::upgrade(victim.address, "/json");
            client.send(bytes);
            assert_eq!(client.close_code(), *code, "{what}");
        }
        let mut client = Client::upgrade(victim.address, "/json");
        for (good, answer) in
            [(&long, &long), (&say(r#"{"__proto__":1,"a":1,"a":2}"#), &say(r#"{"__proto__":1,"a":2}"#))]
        {
            client.send(text(good));
            assert_eq!(&client.text(), answer);
        }
        (format!("closed {} connections: 1003, 1007; 1 MiB of string is answered", cases.len()), client)
    });
}
