//! Section B: frames.

use std::thread;
use std::time::{Duration, Instant};

use crate::harness::{
    Attack, BINARY, CLOSE, CONTINUATION, Client, FIN, MIB, PING, RSV1, TEXT, Victim, announced, close, cpu, frame,
    raw_frame, text,
};

/// What is wrong, the bytes, and the code that the server closes with.
type Case = (&'static str, Vec<u8>, u16);

/// Sends each on a connection of its own, behind a good message; all must be closed with their codes, and nothing but the
/// good message be answered.
fn refuse(victim: &Victim, path: &str, cases: &[Case]) -> (String, ()) {
    let mut clients: Vec<_> = cases.iter().map(|_| Client::upgrade(victim.address, path)).collect();
    for (client, (what, bytes, _)) in clients.iter_mut().zip(cases) {
        client.send(text("good"));
        assert_eq!(client.text(), "good", "{what}");
        client.send(bytes);
    }
    // The server listens to each for another 100 ms: all at once.
    for (client, (what, _, code)) in clients.iter_mut().zip(cases) {
        assert_eq!(client.close_code(), *code, "{what}");
    }
    let mut codes: Vec<_> = cases.iter().map(|(.., code)| code.to_string()).collect();
    codes.sort_unstable();
    codes.dedup();
    (format!("closed {} connections: {}", cases.len(), codes.join(", ")), ())
}

fn announces_too_much() -> Vec<Case> {
    vec![
        ("2^62 bytes", announced(FIN | BINARY, 1 << 62), 1009),
        ("1 GiB", announced(FIN | BINARY, 1 << 30), 1009),
        ("1 byte too many", announced(FIN | TEXT, MIB + 1), 1009),
        ("1 GiB in a second fragment", [raw_frame(TEXT, b"x"), announced(CONTINUATION, 1 << 30)].concat(), 1009),
    ]
}

fn unknown_opcodes() -> Vec<Case> {
    let opcodes = (0x3..=0x7).chain(0xB..=0xF);
    opcodes.map(|opcode| ("an unknown opcode", announced(FIN | opcode, (1 << 63) - 1), 1002)).collect()
}

fn impossible_lengths() -> Vec<Case> {
    let header = |second: u8, length: &[u8]| [&[FIN | BINARY, second], length, &[1, 2, 3, 4]].concat();
    vec![
        ("the top bit", announced(FIN | BINARY, 1 << 63), 1002),
        ("all bits", announced(FIN | BINARY, u64::MAX), 1002),
        ("7 bytes in 16 bits", header(0x80 | 0x7E, &7_u16.to_be_bytes()), 1002),
        ("7 bytes in 64 bits", header(0x80 | 0x7F, &7_u64.to_be_bytes()), 1002),
    ]
}

fn unmasked() -> Vec<Case> {
    // Each ends where the mask bit is: no further byte may be waited for.
    vec![
        ("a text", vec![FIN | TEXT, 5], 1002),
        ("an empty text", vec![FIN | TEXT, 0], 1002),
        ("a ping", vec![FIN | PING, 0], 1002),
        ("a long one", vec![FIN | BINARY, 127], 1002),
    ]
}

fn reserved_bits() -> Vec<Case> {
    let with = |bits: u8| [FIN | bits | TEXT, 0x80, 0, 0, 0, 0].to_vec();
    vec![
        ("rsv1 without an extension", with(0x40), 1002),
        ("rsv2", with(0x20), 1002),
        ("rsv3", with(0x10), 1002),
        ("rsv1 on a ping", frame(RSV1 | PING, b""), 1002),
        ("opcode 3", frame(0x3, b""), 1002),
    ]
}

fn compressed_where_it_must_not_be() -> Vec<Case> {
    vec![
        ("a ping", raw_frame(FIN | RSV1 | PING, b""), 1002),
        ("a close", raw_frame(FIN | RSV1 | CLOSE, b""), 1002),
        ("a continuation", [raw_frame(TEXT, b"x"), raw_frame(FIN | RSV1 | CONTINUATION, b"x")].concat(), 1002),
    ]
}

fn control_frames() -> Vec<Case> {
    vec![
        ("a ping of 126 bytes", frame(PING, [b'x'; 126]), 1002),
        ("a ping of 2^62 bytes", announced(FIN | PING, 1 << 62), 1002),
        ("a ping in fragments", raw_frame(PING, b"x"), 1002),
        ("a close in fragments", raw_frame(CLOSE, b""), 1002),
    ]
}

fn fragments() -> Vec<Case> {
    vec![
        ("a continuation of nothing", raw_frame(CONTINUATION, b"x"), 1002),
        ("a last continuation of nothing", frame(CONTINUATION, b"x"), 1002),
        ("a text inside a text", [raw_frame(TEXT, b"x"), frame(TEXT, b"y")].concat(), 1002),
        ("a binary inside a text", [raw_frame(TEXT, b"x"), raw_frame(BINARY, b"y")].concat(), 1002),
    ]
}

fn hopeless_text() -> Vec<Case> {
    // None of them is finished: no later byte could make them good.
    let unfinished = |bytes: &[u8]| [announced(TEXT, 100), raw_frame(0, bytes).split_off(6)].concat();
    vec![
        ("0xFF", unfinished(b"good\xFF"), 1007),
        ("an overlong slash", unfinished(b"good\xC0"), 1007),
        ("a surrogate", unfinished(b"good\xED\xA0"), 1007),
        ("beyond U+10FFFF", unfinished(b"good\xF4\x90"), 1007),
        ("a character whose second half is missing", frame(TEXT, b"good\xCE"), 1007),
        ("in two fragments", [raw_frame(TEXT, b"\xCE"), raw_frame(CONTINUATION, b"x")].concat(), 1007),
    ]
}

fn bad_closes() -> Vec<Case> {
    let mut cases = vec![
        ("one byte", frame(CLOSE, b"x"), 1002),
        ("bad utf-8", close(1000, b"\xFF"), 1007),
        ("half a character", close(1000, b"\xCE"), 1007),
    ];
    let codes = [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535];
    cases.extend(codes.map(|code| ("a code that must not be sent", close(code, b""), 1002)));
    cases
}

// Row 15.
#[test]
fn a_length_that_is_only_announced_takes_no_memory_and_closes_1009() {
    let attack = Attack::new("15", "frames of 1 GiB and 2^62 bytes announced").holds_at_most(MIB);
    attack.run(|victim| refuse(victim, "/ws", &announces_too_much()));
}

// Row 16.
#[test]
fn an_unknown_opcode_is_refused_before_its_length_is_looked_at() {
    let attack = Attack::new("16", "unknown opcodes with a length of 8 EiB").holds_at_most(MIB);
    attack.run(|victim| {
        refuse(victim, "/unlimited", &unknown_opcodes());
        refuse(victim, "/ws", &unknown_opcodes())
    });
}

// Row 17.
#[test]
fn a_length_with_its_top_bit_set_or_in_a_longer_form_closes_1002() {
    let attack = Attack::new("17", "lengths of 2^63 and more, and in too long a form").holds_at_most(MIB);
    attack.run(|victim| refuse(victim, "/ws", &impossible_lengths()));
}

// Row 18: the whole set where nothing is limited, and what is then not refused is held, at no cost.
#[test]
fn without_limits_all_that_breaks_the_protocol_is_still_refused_and_what_was_announced_costs_nothing() {
    let attack =
        Attack::new("18", "all of this section with every limit off, 2^63 - 1 bytes announced").holds_at_most(MIB);
    attack.run(|victim| {
        let sets = [
            impossible_lengths(),
            unknown_opcodes(),
            unmasked(),
            reserved_bits(),
            control_frames(),
            fragments(),
            hopeless_text(),
            bad_closes(),
        ];
        let (outcome, ()) = refuse(victim, "/unlimited", &sets.concat());
        let most = (1 << 63) - 1;
        let held = [
            announced(FIN | BINARY, most),
            [raw_frame(BINARY, b"0123456789"), announced(CONTINUATION, most), b"x".to_vec()].concat(),
            [announced(FIN | TEXT, 1 << 30), b"7".to_vec()].concat(),
        ];
        let held = held.map(|bytes| {
            let mut client = Client::upgrade(victim.address, "/unlimited");
            client.send(bytes);
            client
        });
        (format!("{outcome}; 3 announcements held"), held)
    });
}

// Row 19.
#[test]
fn an_unmasked_frame_closes_1002_without_waiting_for_more() {
    Attack::new("19", "unmasked frames, two bytes of each").run(|victim| refuse(victim, "/ws", &unmasked()));
}

// Row 20.
#[test]
fn reserved_bits_and_compressed_control_frames_close_1002() {
    Attack::new("20", "reserved bits and opcodes, RSV1 on control frames and continuations").run(|victim| {
        refuse(victim, "/ws", &reserved_bits());
        for (what, bytes, code) in compressed_where_it_must_not_be() {
            let (mut client, head) =
                Client::upgrade_with(victim.address, "/deflate", &["Sec-WebSocket-Extensions: permessage-deflate"]);
            assert!(head.text.contains("permessage-deflate"), "{}", head.text);
            client.send(bytes);
            assert_eq!(client.close_code(), code, "{what}");
        }
        refuse(victim, "/deflate", &reserved_bits())
    });
}

// Row 21.
#[test]
fn control_frames_that_are_long_or_in_fragments_close_1002() {
    Attack::new("21", "control frames in fragments, or of more than 125 bytes")
        .run(|victim| refuse(victim, "/ws", &control_frames()));
}

// Row 22.
#[test]
fn fragments_out_of_order_close_1002_and_nothing_of_them_is_delivered() {
    Attack::new("22", "continuations of nothing, messages inside messages")
        .run(|victim| refuse(victim, "/ws", &fragments()));
}

// Row 23.
#[test]
fn a_flood_of_tiny_fragments_closes_1008_and_costs_its_payload_where_their_number_is_not_limited() {
    const FRAGMENTS: usize = 200_000;
    let attack = Attack::new("23", "200,000 fragments of 1 byte").holds_at_most(MIB);
    attack.run(|victim| {
        let flood = [raw_frame(TEXT, b"x"), raw_frame(CONTINUATION, b"x").repeat(FRAGMENTS - 2)].concat();
        let mut client = Client::upgrade(victim.address, "/ws");
        client.push(&flood);
        assert_eq!(client.close_code(), 1008);
        let mut client = Client::upgrade(victim.address, "/unlimited");
        client.send(&flood);
        client.send(frame(CONTINUATION, b"x"));
        assert_eq!(client.text(), "x".repeat(FRAGMENTS));
        ("closed 1008; without a limit one message of 200,000 bytes".to_owned(), ())
    });
}

// Row 24.
#[test]
fn empty_fragments_are_counted_and_each_costs_the_same() {
    const FRAGMENTS: usize = 300_000;
    Attack::new("24", "300,000 empty fragments").holds_at_most(MIB).run(|victim| {
        let flood = [raw_frame(TEXT, b""), raw_frame(CONTINUATION, b"").repeat(FRAGMENTS)].concat();
        let mut client = Client::upgrade(victim.address, "/ws");
        client.push(&flood);
        assert_eq!(client.close_code(), 1008);
        let mut client = Client::upgrade(victim.address, "/unlimited");
        let costs: Vec<_> = flood
            .chunks(flood.len().div_ceil(3).next_multiple_of(6))
            .map(|third| cost(victim, &mut client, third))
            .collect();
        assert!(costs[2] < costs[0] * 2 + cpu(10), "fragments become dearer: {costs:?}");
        client.send(frame(CONTINUATION, b"whole"));
        assert_eq!(client.text(), "whole");
        (
            format!(
                "closed 1008; without a limit {} ns for each fragment",
                costs.iter().sum::<Duration>().as_nanos() / FRAGMENTS as u128
            ),
            (),
        )
    });
}

/// The CPU time for fragments of one message, the pong to a ping between them included.
fn cost(victim: &Victim, client: &mut Client, fragments: &[u8]) -> Duration {
    let before = victim.cpu();
    client.send(fragments);
    client.send(frame(PING, b"is it read?"));
    assert_eq!(client.frame().unwrap().payload, b"is it read?");
    victim.cpu_since(before)
}

// Row 25: the deadline is 500 ms instead of a minute.
#[test]
fn a_message_that_never_ends_is_closed_at_its_deadline_though_its_peer_is_alive() {
    Attack::new("25", "a message that grows by a byte each 20 ms, by fragments or inside of one").run(|victim| {
        for (begins, goes_on) in [
            (raw_frame(BINARY, b"x"), raw_frame(CONTINUATION, b"x")),
            ([announced(BINARY, 1_000), b"x".to_vec()].concat(), b"x".to_vec()),
        ] {
            let mut client = Client::upgrade(victim.address, "/impatient");
            let began = Instant::now();
            client.send(begins);
            while began.elapsed() < Duration::from_millis(400) {
                thread::sleep(Duration::from_millis(20));
                client.send(&goes_on);
            }
            assert_eq!(client.close_code(), 4408);
            let took = began.elapsed();
            assert!(took < Duration::from_secs(2), "{took:?}");
        }
        ("closed 4408".to_owned(), ())
    });
}

// Row 25: what is unfinished in the whole process.
#[test]
fn unfinished_messages_of_all_connections_together_stay_within_their_budget() {
    let attack = Attack::new("25", "150 unfinished messages of 1 MB, with 32 MiB for all together").on("budget");
    // As much again, and half of it, is what an allocator loses to buffers that grow: five times the attack takes no more.
    attack.holds_at_most(80 * MIB).leaves_at_most(32 * MIB).run(|victim| {
        let unfinished = [announced(FIN | BINARY, 1_000_000), vec![0; 999_999]].concat();
        let mut clients: Vec<_> = (0..150).map(|_| Client::upgrade(victim.address, "/ws")).collect();
        for client in &mut clients {
            client.push(&unfinished);
        }
        // The last byte of each: those that were closed do not hear it.
        let answers = clients.iter_mut().filter_map(|client| client.try_send([0]).then(|| client.frame()).flatten());
        let (closed, echoed): (Vec<_>, Vec<_>) = answers.partition(|answer| answer.opcode() == CLOSE);
        assert!(closed.iter().all(|answer| answer.close_code() == 1013), "{closed:?}");
        assert!((1..=33).contains(&echoed.len()), "{} messages had room", echoed.len());
        (format!("{} were finished, {} closed 1013", echoed.len(), closed.len()), clients)
    });
}

// Row 26.
#[test]
fn text_that_cannot_become_valid_closes_1007_before_it_is_finished() {
    Attack::new("26", "invalid UTF-8 in unfinished frames, and split over fragments").run(|victim| {
        let split = [raw_frame(TEXT, b"\xCE"), raw_frame(CONTINUATION, b""), frame(CONTINUATION, b"\xBA")].concat();
        let mut client = Client::upgrade(victim.address, "/ws");
        client.send(split);
        assert_eq!(client.text(), "κ");
        refuse(victim, "/ws", &hopeless_text())
    });
}

// Row 27.
#[test]
fn bad_close_frames_are_answered_with_their_code_and_nothing_behind_a_good_one_is_handled() {
    Attack::new("27", "bad close frames, messages behind a close, a reason that is too long").run(|victim| {
        for code in [1000, 1001, 1003, 1007, 1014, 3000, 4999] {
            let mut client = Client::upgrade(victim.address, "/ws");
            client.send([close(code, b"bye"), text("behind it")].concat());
            assert_eq!(client.close_code(), code);
        }
        let mut client = Client::upgrade(victim.address, "/brief");
        let reason = client.frame().unwrap().payload.split_off(2);
        assert_eq!(String::from_utf8(reason).unwrap(), "ü".repeat(61));
        refuse(victim, "/ws", &bad_closes())
    });
}

// Row 28.
#[test]
fn a_closing_handshake_that_the_client_does_not_finish_ends_all_the_same() {
    Attack::new("28", "the client closes and keeps TCP open; never answers a close; never reads").run(|victim| {
        let mut silent: Vec<_> = (0..20).map(|_| Client::upgrade(victim.address, "/brief")).collect();
        let began = Instant::now();
        let mut closes = Client::upgrade(victim.address, "/ws");
        closes.send(close(1000, b""));
        assert_eq!(closes.frame().unwrap().close_code(), 1000);
        assert_eq!(closes.frame(), None, "the server ends TCP when both close frames are there");
        for client in &mut silent {
            assert!(client.ends_within(Duration::from_secs(2)), "a client that does not answer a close frame is kept");
        }
        assert!(began.elapsed() >= Duration::from_millis(250), "nobody was waited for");
        // The other ends of all are still open here.
        ("TCP ended by the server at once, and after close_timeout".to_owned(), (silent, closes))
    });
}
