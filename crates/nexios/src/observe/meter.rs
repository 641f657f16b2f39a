//! What each route counts, when [`App::metrics`](crate::App::metrics) was asked for.
//!
//! What happens for each message goes to a part of its own for each thread, so that no two of them share a cache line.
//! What is rare goes through a lock.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use http::StatusCode;

use super::histogram::{Bounds, Histogram};
use super::scrape;
use super::tally::{self, Tally};
use crate::Error;
use crate::disconnect::{Cause, EndedBy, WebSocketDisconnect};

/// Threads share a part when there are more.
const PARTS: usize = 16;

/// The buckets of `nexios_handler_seconds`.
pub(super) const HANDLER: Bounds<15> = [
    Duration::from_micros(10),
    Duration::from_micros(100),
    Duration::from_millis(1),
    Duration::from_micros(2_500),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(25),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_millis(2_500),
    Duration::from_secs(5),
    Duration::from_secs(10),
];

/// The buckets of `nexios_connection_seconds`.
pub(super) const CONNECTION: Bounds<9> = [
    Duration::from_millis(100),
    Duration::from_secs(1),
    Duration::from_secs(10),
    Duration::from_mins(1),
    Duration::from_mins(10),
    Duration::from_hours(1),
    Duration::from_hours(6),
    Duration::from_hours(24),
    Duration::from_hours(7 * 24),
];

/// Where a connection is counted: nowhere, unless its app was asked to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Meter(Option<&'static RouteMeter>);

/// All connections of this process under one route.
#[derive(Debug)]
pub(super) struct RouteMeter {
    pub(super) route: &'static str,
    pub(super) parts: [Part; PARTS],
    /// Messages.
    pub(super) dropped: AtomicU64,
    pub(super) durations: Histogram<9>,
    rare: Mutex<Rare>,
}

/// One thread's share.
#[derive(Debug)]
#[repr(align(128))]
pub(super) struct Part {
    pub(super) received: AtomicU64,
    pub(super) sent: AtomicU64,
    pub(super) read: AtomicU64,
    pub(super) written: AtomicU64,
    pub(super) handler: Histogram<15>,
}

/// What was counted that does not happen for each message.
#[derive(Clone, Debug, Default)]
pub(super) struct Rare {
    /// By their outcome.
    pub(super) handshakes: BTreeMap<Outcome, u64>,
    pub(super) ends: BTreeMap<End, u64>,
    /// By their kind.
    pub(super) failures: BTreeMap<&'static str, u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Outcome {
    Answered(u16),
    /// The client was gone before it was answered.
    Left,
}

/// How a connection ended, in words and numbers of which there are few: a peer may choose between 2,000 close codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct End {
    pub(super) cause: &'static str,
    pub(super) by: &'static str,
    pub(super) code: Code,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Code {
    Exact(u16),
    /// A code of a library's or an application's (RFC 6455 §7.4.2), which the peer chose: its thousands.
    Range(u16),
}

/// Every route that was ever counted. They are leaked: there are as many as the program has declared.
static ALL: Mutex<Vec<&'static RouteMeter>> = Mutex::new(Vec::new());

/// Errors of `accept(2)` that are not one connection's own.
pub(super) static ACCEPT_ERRORS: AtomicU64 = AtomicU64::new(0);

pub(crate) fn accept_failed() {
    ACCEPT_ERRORS.fetch_add(1, Ordering::Relaxed);
}

/// Connections that were refused before a request was read, by the reason.
static REFUSED: Mutex<BTreeMap<&'static str, u64>> = Mutex::new(BTreeMap::new());

pub(crate) fn connection_refused(why: &'static str) {
    *lock(&REFUSED).entry(why).or_default() += 1;
}

pub(super) fn refused() -> BTreeMap<&'static str, u64> {
    lock(&REFUSED).clone()
}

pub(super) fn all() -> Vec<&'static RouteMeter> {
    lock(&ALL).clone()
}

impl Meter {
    pub(crate) fn of_route(route: &str, is_metered: bool) -> Self {
        Self(is_metered.then(|| RouteMeter::named(route)))
    }

    pub(super) fn is(self, other: &RouteMeter) -> bool {
        self.0.is_some_and(|meter| std::ptr::eq(meter, other))
    }

    /// A handshake has begun.
    pub(crate) fn handshake(self) -> Handshake {
        if self.0.is_some() {
            scrape::keep_up();
        }
        Handshake { meter: self, outcome: Outcome::Left }
    }

    /// The end of a poll of a connection's task: what was counted during it is this route's.
    #[inline]
    pub(crate) fn end_poll(self) {
        let tally = Tally::take();
        if let Some(meter) = self.0 {
            meter.add(tally);
        }
    }

    /// A message was queued for a connection, from outside of its handler's turn.
    #[inline]
    pub(crate) fn sent(self) {
        if let Some(meter) = self.0 {
            meter.part().sent.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Messages were dropped because their receiver did not keep up.
    #[inline]
    pub(crate) fn dropped(self, messages: u64) {
        if let Some(meter) = self.0.filter(|_| messages > 0) {
            meter.dropped.fetch_add(messages, Ordering::Relaxed);
        }
    }

    pub(crate) fn handler_failed(self, cause: Cause, error: &Error) {
        let Some(meter) = self.0 else { return };
        let kind = match (cause, error) {
            (_, Error::Panic(_)) => "panic",
            (Cause::UnexpectedMessage | Cause::Forbidden, _) => "refused",
            _ => "error",
        };
        *meter.rare().failures.entry(kind).or_default() += 1;
    }

    /// A connection that was open has ended.
    pub(crate) fn ended(self, watch: &Watch, end: &WebSocketDisconnect) {
        let Some(meter) = self.0 else { return };
        meter.durations.record(&CONNECTION, watch.age());
        *meter.rare().ends.entry(End::of(end)).or_default() += 1;
    }
}

impl RouteMeter {
    fn named(route: &str) -> &'static Self {
        let mut all = lock(&ALL);
        if let Some(meter) = all.iter().find(|meter| meter.route == route) {
            return meter;
        }
        let meter: &'static Self = Box::leak(Box::new(Self {
            route: String::from(route).leak(),
            parts: [const { Part::new() }; PARTS],
            dropped: AtomicU64::new(0),
            durations: Histogram::new(),
            rare: Mutex::default(),
        }));
        all.push(meter);
        meter
    }

    /// This thread's.
    #[inline]
    fn part(&self) -> &Part {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        thread_local! {
            static OWN: Cell<usize> = const { Cell::new(usize::MAX) };
        }
        let mut own = OWN.get();
        if own == usize::MAX {
            own = NEXT.fetch_add(1, Ordering::Relaxed) % PARTS;
            OWN.set(own);
        }
        &self.parts[own % PARTS]
    }

    #[inline]
    fn add(&self, tally: Tally) {
        let part = self.part();
        let counts = [
            (&part.received, u64::from(tally.received)),
            (&part.sent, u64::from(tally.sent)),
            (&part.read, tally.read),
            (&part.written, tally.written),
        ];
        for (total, count) in counts {
            if count > 0 {
                total.fetch_add(count, Ordering::Relaxed);
            }
        }
    }

    pub(super) fn rare(&self) -> MutexGuard<'_, Rare> {
        lock(&self.rare)
    }
}

impl Part {
    const fn new() -> Self {
        Self {
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            read: AtomicU64::new(0),
            written: AtomicU64::new(0),
            handler: Histogram::new(),
        }
    }
}

/// A handshake that is counted once its outcome is known, and else when it is dropped with its request.
#[derive(Debug)]
pub(crate) struct Handshake {
    meter: Meter,
    outcome: Outcome,
}

impl Handshake {
    pub(crate) fn answered(mut self, status: StatusCode) {
        self.outcome = Outcome::Answered(status.as_u16());
    }
}

impl Drop for Handshake {
    fn drop(&mut self) {
        if let Some(meter) = self.meter.0 {
            *meter.rare().handshakes.entry(self.outcome).or_default() += 1;
        }
    }
}

impl End {
    fn of(end: &WebSocketDisconnect) -> Self {
        let by = match end.ended_by() {
            EndedBy::Peer => "peer",
            EndedBy::Local => "server",
        };
        let code = u16::from(end.code());
        let code = if end.ended_by() == EndedBy::Peer && code >= 3_000 {
            Code::Range(code / 1_000)
        } else {
            Code::Exact(code)
        };
        Self { cause: end.cause().as_str(), by, code }
    }
}

/// A connection's times, in 16 bytes.
#[derive(Debug)]
pub(crate) struct Watch {
    /// When its handler took the message that it is busy with, in nanoseconds since the clock began; or 0.
    taken: AtomicU64,
    /// When the connection began, in tenths of a second since the clock began: those last for 13 years.
    began: u32,
}

/// A handler has asked for its next message: when, if anybody wants to know; or 0.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked(u64);

impl Watch {
    pub(crate) fn new(meter: Meter) -> Self {
        let began = if meter.0.is_some() { tenths(now()) } else { 0 };
        Self { taken: AtomicU64::new(0), began }
    }

    fn age(&self) -> Duration {
        let tenths = tenths(now()).saturating_sub(self.began);
        Duration::from_millis(u64::from(tenths) * 100)
    }

    /// The handler asks for a message: it is done with the one before.
    #[inline]
    pub(crate) fn asked(&self, meter: Meter) -> Asked {
        let Some(meter) = meter.0 else { return Asked(0) };
        let taken = self.taken.load(Ordering::Relaxed);
        if taken == 0 {
            return Asked(0);
        }
        self.taken.store(0, Ordering::Relaxed);
        let now = now();
        meter.part().handler.record(&HANDLER, Duration::from_nanos(now.saturating_sub(taken)));
        Asked(now)
    }

    /// The handler has a message. The clock is not asked again for one that was there already.
    #[inline]
    pub(crate) fn took(&self, meter: Meter, asked: Asked) {
        if meter.0.is_none() {
            return;
        }
        let kept = tally::take_clock();
        let known = if asked.0 == 0 { kept } else { asked.0 };
        self.taken.store(if known == 0 { now() } else { known }, Ordering::Relaxed);
    }
}

impl Asked {
    /// There is none yet, but perhaps in the same poll of its task.
    #[inline]
    pub(crate) fn waits(self) {
        if self.0 != 0 {
            tally::keep_clock(self.0);
        }
    }
}

/// Messages that are queued for one connection after another, counted together for those of one route.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    meter: Meter,
    messages: u32,
}

impl Sent {
    #[inline]
    pub(crate) fn add(&mut self, meter: Meter, messages: u32) {
        let same = match (self.meter.0, meter.0) {
            (Some(one), Some(other)) => std::ptr::eq(one, other),
            (None, None) => return,
            _ => false,
        };
        if !same {
            self.flush();
            self.meter = meter;
        }
        self.messages += messages;
    }

    fn flush(&mut self) {
        if let Some(meter) = self.meter.0 {
            meter.part().sent.fetch_add(u64::from(self.messages), Ordering::Relaxed);
        }
        self.messages = 0;
    }
}

impl Drop for Sent {
    fn drop(&mut self) {
        self.flush();
    }
}

/// Nanoseconds since the clock began; never 0.
#[inline]
fn now() -> u64 {
    static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);
    u64::try_from(BEGAN.elapsed().as_nanos()).unwrap_or(u64::MAX).max(1)
}

fn tenths(now: u64) -> u32 {
    u32::try_from(now / 100_000_000).unwrap_or(u32::MAX)
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
