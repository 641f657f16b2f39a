//! Section F: failures of the app itself. Those of networks and processes are in `tests/network`.

use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use crate::harness::{Attack, BINARY, Client, MIB, close, frame, request, text};

/// Where the app of `harness/fragile.rs` panics, and what its client sees: a status instead of the upgrade, or a close code.
const PLACES: [(&str, u16); 8] = [
    ("connect", 403),
    ("message", 1011),
    ("broadcast", 1011),
    ("policy", 1011),
    ("drop", 1011),
    ("task", 1000),
    ("join", 1000),
    ("leave", 1000),
];

// Row 50.
#[test]
fn a_thousand_panics_wherever_an_app_can_have_them_harm_none_of_fifty_others() {
    const ROUNDS: usize = 125;
    let attack = Attack::new("50", "1,000 panics: in a handler, its broadcast, its drop, a policy, hooks, a task");
    attack.on("fragile").panics().repeats().holds_at_most(4 * MIB).run(|victim| {
        let mut members: Vec<_> = (0..50).map(|_| Client::upgrade(victim.address, "/member")).collect();
        let mut publisher = Client::upgrade(victim.address, "/publisher");
        wait_for(&mut publisher, "50");
        for round in 0..ROUNDS {
            for (place, outcome) in PLACES {
                assert_eq!(panic_in(victim.address, place), outcome, "{place}");
            }
            publisher.send(frame(BINARY, round.to_string()));
        }
        wait_for(&mut publisher, "50");
        for member in &mut members {
            for round in 0..ROUNDS {
                assert_eq!(member.message().payload, round.to_string().as_bytes());
            }
            member.send(close(1000, ""));
            assert_eq!(member.close_code(), 1000);
        }
        wait_for(&mut publisher, "0");
        let mut asking = Client::upgrade(victim.address, "/joins");
        asking.send(text("?"));
        assert_eq!(asking.text(), "0 0 0", "a group is left");
        (format!("{} panics, 50 members heard everything", ROUNDS * PLACES.len()), (publisher, asking))
    });
}

/// The status of a refusal, or the close code.
fn panic_in(address: SocketAddr, place: &str) -> u16 {
    let mut client = Client::connect(address);
    client.send(request(&format!("/fragile/{place}"), &[]));
    let head = client.head();
    if head.status != 101 {
        return head.status;
    }
    client.send(text("now"));
    client.close_code()
}

/// Until so many are in the room.
fn wait_for(publisher: &mut Client, members: &str) {
    for _ in 0..500 {
        publisher.send(frame(BINARY, ""));
        if publisher.text() == members {
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("there are not {members} members");
}
