//! The check finds what is wrong.

use std::time::{Duration, Instant};

use nexios::Position;

use crate::check::{Because, Seen, Segment, Stream, check};
use crate::ledger::{Entries, Outage, Publication};

const SECOND: Duration = Duration::from_secs(1);

/// Ten messages of one publisher, one a second.
fn entries(start: Instant) -> Entries {
    let publications = (1..=10).map(|number| Publication {
        group: "h1".into(),
        publisher: 7,
        number,
        node: 0,
        sent: start + SECOND * number,
        said: Some(start + SECOND * number),
        is_passed_on: false,
    });
    Entries { publications: publications.collect(), ..Entries::new(start) }
}

fn segment(begin: Instant, because: Because, numbers: &[u32]) -> Segment {
    let seen = numbers.iter().map(|number| Seen {
        publisher: 7,
        number: *number,
        position: Some(Position::new(1, u64::from(*number))),
    });
    Segment { begin, because, seen: seen.collect() }
}

fn wrong(entries: &Entries, segments: Vec<Segment>) -> String {
    check(entries, &[Stream { client: 1, group: "h1".into(), segments }]).join("\n")
}

#[test]
fn what_is_whole_is_not_wrong() {
    let start = Instant::now();
    let all = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10];
    assert_eq!(wrong(&entries(start), vec![segment(start, Because::Joined, &all)]), "");
    assert_eq!(wrong(&entries(start), vec![segment(start + 5 * SECOND, Because::Joined, &all[5..])]), "");
}

#[test]
fn gaps_doubles_and_disorder_are_found() {
    let start = Instant::now();
    for (numbers, expected) in [
        (&[1, 2, 4, 5, 6, 7, 8, 9, 10][..], "1 are missing, from 7/3 "),
        (&[1, 2, 3, 4, 5, 6, 7, 8, 9], "1 are missing, from 7/10 "),
        (&[], "10 are missing"),
        (&[1, 2, 3, 4, 5, 5, 6, 7, 8, 9, 10], "7/5 is double"),
        (&[1, 3, 2, 4, 5, 6, 7, 8, 9, 10], "7/2 is out of order"),
    ] {
        let text = wrong(&entries(start), vec![segment(start, Because::Joined, numbers)]);
        assert!(text.contains(expected), "{numbers:?}: {text}");
    }
}

#[test]
fn a_flag_excuses_a_gap_if_there_is_a_reason_for_it() {
    let start = Instant::now();
    let segments =
        vec![segment(start, Because::Joined, &[1, 2, 3]), segment(start + 6 * SECOND, Because::Gap, &[7, 8, 9, 10])];
    assert!(wrong(&entries(start), segments.clone()).contains("Gap for no reason"));
    let outage = Outage { what: "frozen".into(), from: start + 3 * SECOND, to: Some(start + 6 * SECOND) };
    let entries = Entries { outages: vec![outage], ..entries(start) };
    assert_eq!(wrong(&entries, segments), "");
}

#[test]
fn what_a_node_took_with_it_need_not_arrive() {
    let start = Instant::now();
    let mut entries = Entries { kills: vec![(0, start + 11 * SECOND)], ..entries(start) };
    let segments = vec![segment(start, Because::Joined, &[1, 2, 3])];
    assert_eq!(wrong(&entries, segments.clone()), "");
    entries.publications[4].is_passed_on = true;
    assert!(wrong(&entries, segments).contains("2 are missing, from 7/4 "), "what it had passed on must");
}

#[test]
fn two_orders_are_found() {
    let start = Instant::now();
    let mut entries = entries(start);
    for publication in &mut entries.publications {
        (publication.publisher, publication.number) = (publication.number, 1);
    }
    let stream = |client: usize, order: &[u32]| {
        let seen = order.iter().map(|publisher| Seen {
            publisher: *publisher,
            number: 1,
            position: Some(Position::new(client as u64, u64::from(*publisher))),
        });
        let segment = Segment { begin: start + 20 * SECOND, because: Because::Joined, seen: seen.collect() };
        Stream { client, group: "h1".into(), segments: vec![segment] }
    };
    let same = [stream(1, &[1, 2, 3, 4]), stream(2, &[1, 2, 4])];
    assert_eq!(check(&entries, &same), [""; 0]);
    let other = [stream(1, &[1, 2, 3, 4]), stream(2, &[1, 3, 4]), stream(3, &[1, 3, 2])];
    assert!(check(&entries, &other).join("\n").contains("in different orders"));
}
