//! The harness notices what it is there for: each fault of a server makes an attack fail.

use super::{Attack, Client};

/// Attacks a route that has this fault. It stands for no row of the list, and in no table.
fn attack(fault: &str) {
    let path = format!("/faulty/{fault}");
    let attack = Attack::new("", fault).holds_at_most(8 << 20);
    attack.run(|victim| (String::new(), Client::upgrade(victim.address, &path)));
}

#[test]
#[should_panic(expected = "memory did not return")]
fn memory_that_does_not_return_is_noticed() {
    attack("leaks-memory");
}

#[test]
#[should_panic(expected = "KiB were held")]
fn memory_that_was_held_is_noticed_though_it_returns() {
    attack("hoards-memory");
}

#[test]
#[should_panic(expected = "descriptors, not")]
fn a_descriptor_that_stays_open_is_noticed() {
    attack("leaks-descriptors");
}

#[test]
#[should_panic(expected = "while the attacker is idle")]
fn cpu_that_is_burnt_for_an_idle_attacker_is_noticed() {
    attack("burns-cpu");
}

#[test]
#[should_panic(expected = "a bystander waited")]
fn a_bystander_who_waits_is_noticed() {
    attack("stalls-its-thread");
}

#[test]
#[should_panic(expected = "the server panicked")]
fn a_panic_is_noticed_though_the_process_lives() {
    attack("panics");
}

#[test]
#[should_panic(expected = "harmed")]
fn the_end_of_the_process_is_noticed() {
    attack("ends");
}
