//! The run: events in the order of their time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use fastrand::Rng;

use super::queue::Queue;
use super::{Case, Plan};

/// Time after which a client that has not reconnected counts as lost.
const END: Duration = Duration::from_mins(10);
/// Rates are counted in tenths of a second.
const TENTH: Duration = Duration::from_millis(100);

/// The result of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// When each client that came back was served again, in order.
    pub back: Vec<Duration>,
    /// SYNs and their repetitions in the busiest tenth of a second, on all nodes, times ten.
    pub most_attempts: usize,
    /// Handshakes completed in the busiest tenth of a second, on all nodes, times ten.
    pub most_handshakes: usize,
    /// SYNs that a full backlog dropped.
    pub dropped: usize,
    /// Attempts that clients gave up.
    pub timed_out: usize,
    /// Handshakes done for clients that had given up.
    pub wasted: usize,
    /// Attempts that met the lost node.
    pub misled: usize,
    /// The most attempts of one client.
    pub most_of_one: u32,
    /// Clients that were not recovered because the engine took too long.
    pub unrecovered: usize,
    /// The longest that a recovery would have taken.
    pub longest_recovery: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    /// A client begins an attempt.
    Attempt,
    /// A SYN reaches a core; how many times it was sent before.
    Syn(u32),
    /// A handshake is done.
    Done,
}

#[derive(Clone, Copy, Debug, Default)]
struct Client {
    attempts: u32,
    /// When it gives up what is under way.
    until: Duration,
}

struct World<'a> {
    plan: &'a Plan,
    case: &'a Case,
    chance: Rng,
    clients: Vec<Client>,
    cores: Vec<Queue>,
    engine: Queue,
    /// Time, client, and what; the number of the event keeps equals in order.
    events: BinaryHeap<Reverse<(Duration, usize, What)>>,
    outcome: Outcome,
    attempts: Vec<usize>,
    handshakes: Vec<usize>,
}

/// Loses a node, and follows its clients until the last one is back.
pub fn run(plan: &Plan, case: &Case) -> Outcome {
    let mut world = World {
        plan,
        case,
        chance: Rng::with_seed(plan.seed),
        clients: vec![Client::default(); plan.lost()],
        cores: vec![Queue::default(); plan.nodes.saturating_sub(1).max(1) * plan.cores.max(1)],
        engine: Queue::default(),
        events: BinaryHeap::with_capacity(plan.lost()),
        outcome: Outcome::default(),
        attempts: Vec::new(),
        handshakes: Vec::new(),
    };
    for client in 0..world.clients.len() {
        let noticed = case.loss.noticed(&mut world.chance) + world.way();
        let pause = if case.loss.tells_when() { Duration::ZERO } else { world.pause(client) };
        world.plan_for(noticed + pause, client, What::Attempt);
    }
    while let Some(Reverse((now, client, what))) = world.events.pop()
        && now < END
    {
        match what {
            What::Attempt => world.attempt(now, client),
            What::Syn(sent) => world.syn(now, client, sent),
            What::Done => world.done(now, client),
        }
    }
    world.end()
}

impl World<'_> {
    fn plan_for(&mut self, at: Duration, client: usize, what: What) {
        self.events.push(Reverse((at, client, what)));
    }

    /// Half a round trip.
    fn way(&mut self) -> Duration {
        self.plan.round_trip.mul_f64(0.25 + self.chance.f64() / 2.0)
    }

    fn pause(&mut self, client: usize) -> Duration {
        self.case.pauses.before(self.clients[client].attempts, &mut self.chance)
    }

    fn attempt(&mut self, now: Duration, client: usize) {
        let until = now + self.plan.patience;
        self.clients[client].until = until;
        let misled = !self.case.loss.is_announced()
            && now < self.plan.unnoticed
            && self.chance.usize(..self.plan.nodes) == self.plan.nodes - 1;
        if misled {
            self.outcome.misled += 1;
            let told = now + self.way() + self.way();
            self.fail(told, client);
        } else {
            let arrives = now + self.way();
            self.plan_for(arrives, client, What::Syn(0));
        }
    }

    fn fail(&mut self, now: Duration, client: usize) {
        self.clients[client].attempts += 1;
        let pause = self.pause(client);
        self.plan_for(now + pause, client, What::Attempt);
    }

    fn syn(&mut self, now: Duration, client: usize, sent: u32) {
        count(&mut self.attempts, now);
        let (work, until) = (self.plan.handshake, self.clients[client].until);
        let core = self.chance.usize(..self.cores.len());
        match self.cores[core].take(now, work, self.plan.backlog) {
            Some(done) if done <= until => self.plan_for(done, client, What::Done),
            Some(_) => {
                self.outcome.wasted += 1;
                self.give_up(until, client);
            }
            None => {
                self.outcome.dropped += 1;
                // RFC 6298 §2: the first timeout is 1 s, and doubles with each (§5.5).
                let again = now + Duration::from_secs(1 << sent.min(6));
                if again < until {
                    self.plan_for(again, client, What::Syn(sent + 1));
                } else {
                    self.give_up(until, client);
                }
            }
        }
    }

    fn give_up(&mut self, at: Duration, client: usize) {
        self.outcome.timed_out += 1;
        self.fail(at, client);
    }

    fn done(&mut self, now: Duration, client: usize) {
        count(&mut self.handshakes, now);
        let recovered = self.engine.take(now, self.plan.recovery, usize::MAX).unwrap_or(now);
        let took = recovered.saturating_sub(now);
        self.outcome.longest_recovery = self.outcome.longest_recovery.max(took);
        if took > self.plan.engine_timeout {
            self.outcome.unrecovered += 1;
        }
        let told = now + took.min(self.plan.engine_timeout) + self.way();
        self.outcome.back.push(told);
        self.outcome.most_of_one = self.outcome.most_of_one.max(self.clients[client].attempts + 1);
    }

    fn end(mut self) -> Outcome {
        self.outcome.back.sort_unstable();
        self.outcome.most_attempts = 10 * self.attempts.iter().max().unwrap_or(&0);
        self.outcome.most_handshakes = 10 * self.handshakes.iter().max().unwrap_or(&0);
        self.outcome
    }
}

fn count(tenths: &mut Vec<usize>, now: Duration) {
    let tenth = usize::try_from(now.as_millis() / TENTH.as_millis()).unwrap_or(usize::MAX);
    if tenths.len() <= tenth {
        tenths.resize(tenth + 1, 0);
    }
    tenths[tenth] += 1;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storm::{Loss, Pauses};

    const SECOND: Duration = Duration::from_secs(1);

    fn small() -> Plan {
        Plan { connections: 20_000, ..Plan::default() }
    }

    fn case(pauses: Pauses) -> Case {
        Case { name: "", loss: Loss::Killed, pauses }
    }

    #[test]
    fn all_clients_come_back_and_the_same_seed_gives_the_same_run() {
        let case = case(Pauses::FullJitter(SECOND, 30 * SECOND));
        let outcome = run(&small(), &case);
        assert_eq!(outcome.back.len(), 1_000);
        assert_eq!(outcome, run(&small(), &case));
        assert_ne!(outcome, run(&Plan { seed: 2, ..small() }, &case));
        assert_eq!((outcome.dropped, outcome.timed_out, outcome.unrecovered), (0, 0, 0));
    }

    #[test]
    fn a_full_backlog_drops_and_the_kernel_tries_again() {
        let plan = Plan { backlog: 1, nodes: 2, cores: 1, connections: 2_000, ..small() };
        let outcome = run(&plan, &case(Pauses::Fixed(SECOND)));
        assert!(outcome.dropped > 0, "{outcome:?}");
        assert_eq!(outcome.back.len(), 1_000);
        assert!(outcome.back.last().is_some_and(|last| *last > SECOND), "{outcome:?}");
    }

    #[test]
    fn work_for_those_who_gave_up_is_wasted() {
        let plan = Plan { nodes: 2, cores: 1, connections: 2_000, handshake: Duration::from_millis(20), ..small() };
        let outcome = run(&plan, &case(Pauses::FullJitter(SECOND, 30 * SECOND)));
        assert!(outcome.wasted > 0, "{outcome:?}");
        assert_eq!(outcome.back.len(), 1_000);
    }

    #[test]
    fn a_slow_engine_leaves_clients_unrecovered_but_none_waits_longer_than_its_timeout() {
        let plan = Plan { recovery: Duration::from_millis(10), unnoticed: Duration::ZERO, ..small() };
        let outcome = run(&plan, &case(Pauses::Fixed(SECOND)));
        assert!((700..=900).contains(&outcome.unrecovered), "{}", outcome.unrecovered);
        assert!(outcome.back.last().is_some_and(|last| *last < 3 * SECOND));
    }
}
