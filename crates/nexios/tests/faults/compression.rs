//! Section C: compression.

use crate::harness::{
    Attack, BINARY, Client, FIN, KIB, MIB, RSV1, TEXT, Victim, bomb, cpu, deflated, is_text, raw_frame, text,
};

const OFFER: &str = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits";

fn agreed(victim: &Victim, path: &str) -> Client {
    let (client, head) = Client::upgrade_with(victim.address, path, &[OFFER]);
    assert!(head.text.contains("permessage-deflate"), "{}", head.text);
    client
}

// Row 29.
#[test]
fn a_bomb_of_a_gibibyte_costs_no_more_than_the_limit_on_messages() {
    let attack = Attack::new("29", "1 GiB in 1 MiB of deflate, to an echo");
    attack.holds_at_most(2 * MIB).burns_at_most(cpu(100)).run(|victim| {
        let mut client = agreed(victim, "/deflate");
        client.push(&raw_frame(FIN | RSV1 | BINARY, &bomb()));
        assert_eq!(client.close_code(), 1009);
        ("closed 1009".to_owned(), ())
    });
}

// Row 29: before anybody has logged in.
#[test]
fn a_bomb_to_a_handler_that_does_not_receive_yet_costs_no_more_either() {
    let attack = Attack::new("29", "the same in fragments of 1,000 bytes, to a handler that does not receive");
    attack.holds_at_most(2 * MIB).burns_at_most(cpu(100)).run(|victim| {
        let mut client = agreed(victim, "/deaf");
        let bomb = bomb();
        let mut first = RSV1 | BINARY;
        for piece in bomb.chunks(1000) {
            if !client.try_send(raw_frame(std::mem::take(&mut first), piece)) {
                break;
            }
        }
        assert_eq!(client.close_code(), 1009);
        ("closed 1009".to_owned(), ())
    });
}

// Row 30.
#[test]
fn data_that_is_no_deflate_closes_1007_and_an_offer_that_cannot_be_agreed_to_is_declined() {
    let whole = deflated("some words that will come again, some words".as_bytes());
    let broken = (0..100).map(|seed| corrupt(&whole, seed));
    let cases: Vec<_> = broken.chain([whole[..whole.len() / 2].to_vec()]).collect();
    Attack::new("30", "corrupt and truncated deflate, windows of 7 and 16 bits").holds_at_most(4 * MIB).run(|victim| {
        for path in ["/deflate", "/shared"] {
            let mut clients: Vec<_> = cases.iter().map(|_| agreed(victim, path)).collect();
            for (client, payload) in clients.iter_mut().zip(&cases) {
                client.send(raw_frame(FIN | RSV1 | TEXT, payload));
            }
            for (client, payload) in clients.iter_mut().zip(&cases) {
                assert_eq!(client.close_code(), 1007, "{payload:?}");
            }
        }
        for bits in [7, 16, 4_294_967_305_u64] {
            let offer = format!("Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits={bits}");
            let (mut client, head) = Client::upgrade_with(victim.address, "/deflate", &[&offer]);
            assert!(!head.text.to_lowercase().contains("sec-websocket-extensions"), "{}", head.text);
            client.send(text("plain"));
            assert_eq!(client.text(), "plain");
        }
        (format!("closed {} connections: 1007; offers declined", 2 * cases.len()), ())
    });
}

/// Breaks some bytes so that flate2 agrees that it is broken, or that it is no UTF-8.
fn corrupt(payload: &[u8], seed: u64) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    loop {
        let mut broken = payload.to_vec();
        for _ in 0..random.usize(1..5) {
            let at = random.usize(..broken.len());
            broken[at] = random.u8(..);
        }
        if !is_text(&broken) {
            return broken;
        }
    }
}

// Row 31: 200 connections instead of 2,000, ten times.
#[test]
fn what_compressed_connections_took_is_used_again_when_they_are_gone_however_they_end() {
    let attack = Attack::new("31", "10 times 200 connections with deflate, half of them reset");
    // A connection has 300 KiB, in pieces that glibc keeps for the next ones: what counts is that there is no growth.
    attack.leaves_at_most(100 * MIB).run(|victim| {
        let before = victim.memory();
        let rounds: Vec<_> = (0..10)
            .map(|_| {
                let clients = visit(victim, 200);
                let together = victim.memory() - before;
                leave(clients);
                together
            })
            .collect();
        let (first, last) = (rounds[..5].iter().max().unwrap(), rounds[5..].iter().max().unwrap());
        assert!(*last <= first + first / 10, "{rounds:?}");
        let each = rounds[0] / 200 / KIB;
        (format!("{each} KiB for each; {} KiB together at first, {} at last", first / KIB, last / KIB), ())
    });
}

/// Each connection sends a message that its window keeps, and has it back compressed.
fn visit(victim: &Victim, connections: usize) -> Vec<Client> {
    let message = deflated("the same words again and again, ".repeat(64).as_bytes());
    let mut clients: Vec<_> = (0..connections).map(|_| agreed(victim, "/deflate")).collect();
    for client in &mut clients {
        client.send(raw_frame(FIN | RSV1 | TEXT, &message));
        assert_eq!(client.frame().unwrap().first, FIN | RSV1 | TEXT);
    }
    clients
}

/// Half of them end with a reset, a quarter in the middle of a message.
fn leave(clients: Vec<Client>) {
    for (n, mut client) in clients.into_iter().enumerate() {
        if n % 4 < 2 {
            client.send(raw_frame(RSV1 | TEXT, b"\xF2\x48"));
        }
        if n % 2 == 0 { client.abort() } else { drop(client) }
    }
}
