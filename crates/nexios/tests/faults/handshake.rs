//! Section A: the handshake, and HTTP.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::{Attack, Client, KIB, MIB, Victim, cpu, request, text};

const MARKER: &str = "GET /marker HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// The status of the answer to bytes that the server may stop reading half-way.
fn status(victim: &Victim, bytes: &[u8]) -> Option<u16> {
    let mut client = Client::connect(victim.address);
    client.push(bytes);
    client.try_head().map(|head| head.status)
}

// Row 1.
#[test]
fn a_header_line_of_a_mebibyte_answers_431() {
    let attack = Attack::new("1", "a header line of 1 MiB").holds_at_most(MIB).burns_at_most(cpu(20));
    attack.run(|victim| {
        let long = request("/ws", &[&format!("X: {}", "x".repeat(MIB as usize))]);
        assert_eq!(status(victim, long.as_bytes()), Some(431));
        ("431".to_owned(), ())
    });
}

// Row 1.
#[test]
fn a_head_that_comes_byte_by_byte_is_not_parsed_again_for_each() {
    let attack = Attack::new("1", "a head of nearly 16 KiB in single bytes").holds_at_most(MIB);
    // Each byte wakes the server, which costs 8 µs.
    attack.burns_at_most(cpu(1_000)).run(|victim| {
        let mut client = Client::connect(victim.address);
        let long = request("/ws", &[&format!("X: {}", "x".repeat(15 * 1024))]);
        let (first, second) = long.as_bytes().split_at(long.len() / 2);
        let [first, second] = [first, second].map(|half| bytes_cost(victim, &mut client, half));
        assert_eq!(client.head().status, 101);
        // Who parses all again at each read pays three times as much for the second half.
        assert!(second < first * 3 / 2 + cpu(20), "{first:?} for the first half, {second:?} for the second");
        (format!("101; {} ms for the first half, {} ms for the second", first.as_millis(), second.as_millis()), ())
    });
}

/// The CPU time for these bytes, each of which is read by itself.
fn bytes_cost(victim: &Victim, client: &mut Client, bytes: &[u8]) -> Duration {
    let (before, sleeps) = (victim.cpu(), victim.sleeps());
    for byte in bytes {
        client.send([*byte]);
        let sent = Instant::now();
        while sent.elapsed() < Duration::from_micros(15) {
            thread::yield_now();
        }
    }
    let (cost, sleeps) = (victim.cpu_since(before), victim.sleeps() - sleeps);
    assert!(sleeps > bytes.len() / 4, "{} bytes came in about {sleeps} reads", bytes.len());
    cost
}

// Issue 13, (02).
#[test]
fn heads_that_are_kept_stay_within_the_budget() {
    let attack =
        Attack::new("(02)", "4,000 connections with heads of 15 KiB, with 32 MiB for all together").on("budget");
    // The budget, and what a connection costs besides. The allocator keeps freed heads: no more than the budget, for the next.
    attack.holds_at_most(80 * MIB).leaves_at_most(48 * MIB).burns_at_most(cpu(8_000)).run(|victim| {
        let long = request("/ws", &[&format!("X: {}", "x".repeat(15 * 1024))]);
        let (mut kept, mut refused) = (Vec::new(), 0);
        for _ in 0..4_000 {
            let mut client = Client::connect(victim.address);
            client.send(&long);
            match client.head().status {
                101 => kept.push(client),
                503 => refused += 1,
                other => panic!("answered with {other}"),
            }
        }
        // 32 MiB are 2,180 heads of 15 KiB.
        assert!((1_800..2_400).contains(&kept.len()), "{} are kept", kept.len());
        (format!("{} kept, {refused} told 503", kept.len()), kept)
    });
}

// Rows 2 and 3.
#[test]
fn too_many_header_lines_answer_431_whatever_their_names() {
    let attack = Attack::new("2, 3", "5,000 headers; 200,000 of one name").holds_at_most(MIB).burns_at_most(cpu(20));
    attack.run(|victim| {
        let many: Vec<_> = (0..5_000).map(|n| format!("X-{n}: a")).collect();
        let many = request("/ws", &many.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(status(victim, many.as_bytes()), Some(431));
        let repeated = request("/ws", &vec!["X: aaaa"; 200_000]);
        assert_eq!(status(victim, repeated.as_bytes()), Some(431));
        ("431".to_owned(), ())
    });
}

// Row 4.
#[test]
fn the_time_for_a_header_grows_with_its_length_and_no_faster() {
    let values = [
        ("Sec-WebSocket-Protocol", ","),
        ("Sec-WebSocket-Protocol", "a,"),
        ("Sec-WebSocket-Protocol", "\t"),
        ("Sec-WebSocket-Extensions", ","),
        ("Sec-WebSocket-Extensions", "a;"),
        ("Sec-WebSocket-Extensions", "a=\"\\\\"),
        ("Sec-WebSocket-Extensions", "permessage-deflate; x,"),
        ("Sec-WebSocket-Extensions", "permessage-deflate; server_max_window_bits=\"1"),
        ("Cookie", "a=b;"),
    ];
    Attack::new("4", "headers of 1 to 12 KiB that are hard to parse").holds_at_most(2 * MIB).run(|victim| {
        let mut slowest = Duration::ZERO;
        for (name, piece) in values {
            let [short, long] = [1, 12].map(|kib| handshakes_cost(victim, name, piece, kib * 1024));
            // 12 times the length may cost 12 times as much, and each handshake costs something.
            assert!(long < short * 12 + cpu(10), "{name}: {piece:?}: {short:?}, and {long:?} for 12 times its length");
            slowest = slowest.max(long / HANDSHAKES);
        }
        (format!("at most {} µs of CPU for 12 KiB", slowest.as_micros()), ())
    });
}

const HANDSHAKES: u32 = 10;

fn handshakes_cost(victim: &Victim, name: &str, piece: &str, len: usize) -> Duration {
    let header = format!("{name}: x{}", piece.repeat(len / piece.len()));
    let before = victim.cpu();
    for path in ["/protocols", "/deflate"] {
        for _ in 0..HANDSHAKES / 2 {
            Client::upgrade_with(victim.address, path, &[&header]);
        }
    }
    victim.cpu_since(before)
}

// Row 5.
#[test]
fn every_malformed_header_is_answered_and_none_ends_the_connection_without_a_word() {
    const NAMES: [&str; 14] = [
        "Host",
        "Upgrade",
        "Connection",
        "Sec-WebSocket-Key",
        "Sec-WebSocket-Version",
        "Sec-WebSocket-Protocol",
        "Sec-WebSocket-Extensions",
        "Origin",
        "Cookie",
        "X-Forwarded-For",
        "Forwarded",
        "Content-Length",
        "Transfer-Encoding",
        "Expect",
    ];
    Attack::new("5", "5,000 handshakes with a malformed header each").holds_at_most(2 * MIB).run(|victim| {
        let mut random = fastrand::Rng::with_seed(5);
        let mut answers = BTreeMap::new();
        for n in 0..5_000 {
            let name = NAMES[n % NAMES.len()];
            let bytes = malform(name, n / NAMES.len(), &mut random);
            let mut client = Client::connect(victim.address);
            client.send(&bytes);
            let head =
                client.try_head().unwrap_or_else(|| panic!("no answer to {:?}", String::from_utf8_lossy(&bytes)));
            assert!((400..500).contains(&head.status) || head.status == 101, "{name}: {}", head.text);
            *answers.entry(head.status).or_insert(0) += 1;
        }
        let answers: Vec<_> = answers.into_iter().map(|(status, times)| format!("{times} x {status}")).collect();
        (answers.join(", "), ())
    });
}

/// A handshake in which this header's line is another one.
fn malform(name: &str, way: usize, random: &mut fastrand::Rng) -> Vec<u8> {
    let noise = |random: &mut fastrand::Rng, len: usize| -> Vec<u8> {
        // No line may end early: then it would be another header that is malformed.
        std::iter::repeat_with(|| random.u8(..)).filter(|byte| !b"\r\n".contains(byte)).take(len).collect()
    };
    let value = match way {
        0 => Vec::new(),
        1 => b" \t ".to_vec(),
        2 => "\u{e9}\u{65e5}".as_bytes().to_vec(),
        3 => b"a\0b".to_vec(),
        4 => vec![b'x'; 4 * 1024],
        5 => vec![b','; 4 * 1024],
        6 => b"\xFF".to_vec(),
        7 => b"[::1".to_vec(),
        8 => b"a:99999999".to_vec(),
        9 => b"for=\"[".to_vec(),
        10 => b"1.2.3.4, , unknown, _x:1".to_vec(),
        _ => {
            let len = random.usize(0..40);
            noise(random, len)
        }
    };
    let good = request("/ws", &[]);
    let (first, rest) = good.split_once("\r\n").unwrap();
    let others = rest.lines().filter(|line| random.bool() || !line.to_lowercase().starts_with(&name.to_lowercase()));
    let mut bytes = [first.as_bytes(), b"\r\n", name.as_bytes(), b": ", &value, b"\r\n"].concat();
    for line in others.filter(|line| !line.is_empty()) {
        bytes.extend_from_slice(line.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"\r\n");
    bytes
}

// Row 9.
#[test]
fn what_a_handler_puts_into_its_answer_cannot_begin_another_line() {
    let evil = "a%0d%0aSet-Cookie:%20a=b";
    Attack::new("9", "CR, LF and NUL in a header, its name, and the subprotocol").run(|victim| {
        for query in ["header", "name", "subprotocol"] {
            for value in [evil, "a%0aSet-Cookie:b", "a%0dSet-Cookie:b", "a%00b"] {
                let offer = format!("Sec-WebSocket-Protocol: {value}");
                let mut client = Client::connect(victim.address);
                client.send(request(&format!("/reflect?{query}={value}"), &[&offer]));
                let answer = String::from_utf8_lossy(&client.rest()).to_lowercase();
                assert!(!answer.contains("set-cookie") && !answer.contains('\0'), "{query}: {answer}");
                assert!(answer.starts_with("http/1.1 4") || answer.starts_with("http/1.1 5"), "{query}: {answer}");
            }
        }
        ("refused, nothing of it is sent".to_owned(), ())
    });
}

// Row 10.
#[cfg(feature = "logging")]
#[test]
fn what_a_request_says_stands_in_one_line_of_the_log_and_its_query_nowhere() {
    Attack::new("10", "escape sequences, line ends and a token in the URL").run(|victim| {
        let secrets = ["Authorization: Bearer SECRET", "Cookie: session=SECRET"];
        let (mut client, _) = Client::upgrade_with(victim.address, "/missing/%1b[2J%0aFAKE?token=SECRET", &secrets);
        assert_eq!(client.close_code(), 1011);
        let nowhere = request("/%1b[2J%0aFAKE?token=SECRET", &secrets);
        assert_eq!(status(victim, nowhere.as_bytes()), Some(404));
        let log = victim.log();
        assert!(log.iter().any(|line| line.contains("no page")), "{log:?}");
        for line in &log {
            let is_clean = !line.contains("SECRET") && !line.contains('\u{1b}') && !line.starts_with("FAKE");
            assert!(is_clean, "{line:?}");
        }
        (format!("{} lines, all clean", log.len()), ())
    });
}

/// Sends a request that must be refused, and another one behind it, which must not be answered: whatever is read here as
/// the second request, a proxy in front may have read otherwise.
fn refuse(victim: &Victim, what: &str, refused: &[u8], statuses: &[u16]) {
    let mut client = Client::connect(victim.address);
    client.send([refused, MARKER.as_bytes()].concat());
    let head = client.try_head();
    let status = head.as_ref().map(|head| head.status);
    assert!(status.is_some_and(|status| statuses.contains(&status)), "{what}: {head:?}");
    let rest = String::from_utf8_lossy(&client.rest()).into_owned();
    assert!(!rest.contains("the marker"), "{what}: {head:?} and then {rest}");
}

// Row 11.
#[test]
fn an_upgrade_with_a_body_is_refused_and_nothing_of_the_body_is_a_request() {
    Attack::new("11", "upgrades with Content-Length and Transfer-Encoding").run(|victim| {
        let len = format!("Content-Length: {}", MARKER.len());
        for headers in [
            &[&*len][..],
            &["Transfer-Encoding: chunked"],
            &[&*len, "Transfer-Encoding: chunked"],
            &["Content-Length: x"],
        ] {
            refuse(victim, "a body", request("/ws", headers).as_bytes(), &[400]);
        }
        ("400, closed".to_owned(), ())
    });
}

// Row 12.
#[test]
fn a_lax_upgrade_is_refused_and_the_connection_ended() {
    let good = request("/ws", &[]);
    let without = |line: &str| good.replace(&format!("{line}\r\n"), "");
    let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
    let version = "Sec-WebSocket-Version: 13";
    let cases = [
        ("version 8", good.replace(version, "Sec-WebSocket-Version: 8"), 426),
        ("version 7 without an upgrade", without("Upgrade: websocket").replace("13", "7"), 426),
        ("two versions", good.replace(version, "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Version: 8"), 400),
        ("no connection header", without("Connection: Upgrade"), 400),
        ("a key of 15 bytes", good.replace(key, "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAA"), 400),
        ("two keys", good.replace(key, &format!("{key}\r\n{key}")), 400),
        ("no key", without(key), 400),
        ("no host", without("Host: localhost"), 400),
        ("two hosts", good.replace("Host: localhost", "Host: localhost\r\nHost: other"), 400),
        ("http/1.0", good.replace("HTTP/1.1", "HTTP/1.0"), 400),
        ("post", good.replacen("GET", "POST", 1), 405),
    ];
    Attack::new("12", "wrong versions, keys, hosts and methods").run(|victim| {
        for (what, refused, status) in &cases {
            refuse(victim, what, refused.as_bytes(), &[*status]);
        }
        (format!("{} refused, each connection ended", cases.len()), ())
    });
}

// Row 14: more than the connection keeps of what its handler has no time for.
#[test]
fn frames_in_the_same_segment_as_the_request_are_all_answered() {
    const FRAMES: usize = 2_000;
    Attack::new("14", "2,000 messages in one write with the request").holds_at_most(MIB).run(|victim| {
        let mut client = Client::connect(victim.address);
        client.send([request("/ws", &[]).into_bytes(), text("early").repeat(FRAMES)].concat());
        assert_eq!(client.head().status, 101);
        for _ in 0..FRAMES {
            assert_eq!(client.text(), "early");
        }
        (format!("all answered, {} KiB", FRAMES as u64 * 11 / KIB), client)
    });
}
