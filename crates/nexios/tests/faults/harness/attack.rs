//! What is done for each attack, and what every one has to pass: the process lives; a fresh connection echoes within
//! 1 s; memory and descriptors return; no CPU is burnt once the attacker is idle; a bystander is answered meanwhile.

use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::bystander::{Bystander, Felt, echo};
use super::victim::Victim;
use super::{KIB, MIB, table};

/// One attack at a time: what is measured is its own.
static ALONE: Mutex<()> = Mutex::new(());

/// How long the server is watched for burning CPU, and how much it may: its timers tick.
const IDLE: Duration = Duration::from_millis(100);
const IDLE_CPU: Duration = Duration::from_millis(2);

/// Within this memory and descriptors are back.
const RETURN: Duration = Duration::from_secs(2);

/// What memory may be left behind: the allocator keeps some of what was freed.
const LEFT_BEHIND: u64 = MIB;

/// The bystander's 99th percentile, and how much more of it a machine explains that is late by itself.
const BYSTANDER: Duration = Duration::from_millis(if cfg!(debug_assertions) { 500 } else { 250 });
const LATENESS: u32 = 10;

/// CPU time that a release build may take. Without optimisation it is some ten times as much, and only an order of growth
/// is checked.
pub(crate) const fn cpu(milliseconds: u64) -> Duration {
    Duration::from_millis(if cfg!(debug_assertions) { milliseconds * 10 } else { milliseconds })
}

pub(crate) struct Attack {
    rows: &'static str,
    what: String,
    profile: &'static str,
    held: Option<u64>,
    cpu: Option<Duration>,
    left_behind: u64,
    repeats: bool,
    panics: bool,
}

/// What was measured.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) rows: &'static str,
    pub(crate) what: String,
    /// What was resident at most, beyond what was before, in KiB.
    pub(crate) held: u64,
    /// What was still resident at the end, likewise.
    pub(crate) left_behind: i64,
    /// Of the whole process, the bystander's echoes included.
    pub(crate) cpu: Duration,
    pub(crate) bystander: Felt,
    pub(crate) outcome: String,
}

impl Attack {
    /// The rows of the list, and what is done.
    pub(crate) fn new(rows: &'static str, what: impl Into<String>) -> Self {
        Self {
            rows,
            what: what.into(),
            profile: "plain",
            held: None,
            cpu: None,
            left_behind: LEFT_BEHIND,
            repeats: false,
            panics: false,
        }
    }

    /// Which of the apps in `served.rs` is attacked, instead of `plain`.
    pub(crate) fn on(mut self, profile: &'static str) -> Self {
        self.profile = profile;
        self
    }

    /// The most memory that it may take meanwhile, in bytes.
    pub(crate) fn holds_at_most(mut self, bytes: u64) -> Self {
        self.held = Some(bytes);
        self
    }

    /// The most CPU time that it may take.
    pub(crate) fn burns_at_most(mut self, cpu: Duration) -> Self {
        self.cpu = Some(cpu);
        self
    }

    /// What memory may be left behind, in bytes, if it is not 1 MiB: with the reason beside the call.
    pub(crate) fn leaves_at_most(mut self, bytes: u64) -> Self {
        self.left_behind = bytes;
        self
    }

    /// The allocator keeps a good part of what many connections had, for others: so the attack comes five times, and what
    /// counts as left behind is what the last two added.
    pub(crate) fn repeats(mut self) -> Self {
        self.repeats = true;
        self
    }

    /// The app is there to panic.
    pub(crate) fn panics(mut self) -> Self {
        self.panics = true;
        self
    }

    /// Attacks, and checks everything. The attack returns what came of it and what it leaves open: idle from then on.
    #[track_caller]
    pub(crate) fn run<L>(self, attack: impl Fn(&Victim) -> (String, L)) {
        let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let mut victim = Victim::start(self.profile);
        let bystander = Bystander::begin(victim.address);
        let (memory, descriptors) = (victim.memory(), victim.descriptors());
        let cpu = victim.cpu();
        victim.forget_peak();

        let (outcome, left_open) = attack(&victim);
        let (mut bystander, felt) = bystander.end();
        let during = Record {
            rows: self.rows,
            what: self.what.clone(),
            held: victim.peak().saturating_sub(memory) / KIB,
            left_behind: 0,
            cpu: victim.cpu_since(cpu),
            bystander: felt,
            outcome,
        };

        assert!(victim.is_alive(), "the process has ended: {:?}", victim.log());
        // Before what a panic leaves behind: to print one, the process loads its own symbols.
        let panics: Vec<_> = victim.log().into_iter().filter(|line| line.contains("panicked")).collect();
        assert!(panics.is_empty() || self.panics, "the server panicked: {panics:?}");
        self.assert_idle(&victim, "while the attacker is idle");
        let fresh = victim.echo();
        assert!(fresh < Duration::from_secs(1), "a fresh connection took {fresh:?}");
        // Before the repetitions: it answers no pings meanwhile, and they may take longer than the server waits.
        echo(&mut bystander);
        drop(left_open);
        let left_behind = self.left_behind(&victim, memory, &attack);
        let after = Record { left_behind: left_behind / KIB.cast_signed(), ..during };
        table::append(&after);
        let all_closed = wait_until(RETURN, || victim.descriptors() <= descriptors);
        assert!(all_closed, "{} descriptors, not {descriptors}", victim.descriptors());
        assert!(after.left_behind <= (self.left_behind / KIB).cast_signed(), "memory did not return: {after:?}");
        self.assert_idle(&victim, "after the attack");
        victim.echo();
        self.assert_bounds(&after);
    }

    /// What memory an attack leaves behind that began at that much, in bytes.
    fn left_behind<L>(&self, victim: &Victim, before: u64, attack: &impl Fn(&Victim) -> (String, L)) -> i64 {
        let before = if self.repeats {
            drop(attack(victim));
            drop(attack(victim));
            let before = victim.settled_memory();
            drop(attack(victim));
            drop(attack(victim));
            before
        } else {
            before
        };
        wait_until(RETURN, || victim.memory() <= before + self.left_behind);
        victim.memory().cast_signed() - before.cast_signed()
    }

    fn assert_idle(&self, victim: &Victim, when: &str) {
        // What is under way comes to its end first: the last bytes, and what is put off for 100 ms.
        let mut burnt = Duration::ZERO;
        let is_idle = wait_until(RETURN, || {
            let before = victim.cpu();
            thread::sleep(IDLE);
            burnt = victim.cpu_since(before);
            burnt <= IDLE_CPU
        });
        assert!(is_idle, "row {}: {burnt:?} of CPU in {IDLE:?} {when}", self.rows);
    }

    fn assert_bounds(&self, record: &Record) {
        let Felt { waits, late } = record.bystander;
        let most = BYSTANDER + late.p99 * LATENESS;
        assert!(waits.p99 <= most, "a bystander waited for {:?} (p99), at most {most:?}: {record:?}", waits.p99);
        if let Some(held) = self.held {
            assert!(record.held * KIB <= held, "{} KiB were held, at most {}: {record:?}", record.held, held / KIB);
        }
        if let Some(cpu) = self.cpu {
            assert!(record.cpu <= cpu, "{:?} of CPU, at most {cpu:?}: {record:?}", record.cpu);
        }
    }
}

/// Tries until it is so; false when it was not by then.
fn wait_until(patience: Duration, mut is_so: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + patience;
    loop {
        if is_so() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        thread::sleep(Duration::from_millis(5));
    }
}
