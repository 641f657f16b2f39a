//! A peer that sends faster than it may waits, or is closed.

use std::sync::PoisonError;
use std::time::{Duration, Instant};

use super::driver::Driver;
use super::wheel::{Deadline, Purpose};
use crate::config::Config;
use crate::disconnect::Cause;
use crate::rate::{Bucket, OverRate, Rate};
use crate::server::SharedBucket;

/// From this burst on a half of it is handed out at once.
const LARGE: u32 = 4_096;

/// What a peer may send before anybody looks at a clock. All that a message costs is a subtraction, also of a peer without a
/// rate: it costs less than to ask for one. Large bursts are handed out by halves, so that a connection which sends less than
/// that has no bucket.
#[derive(Debug)]
pub(super) struct Allowance {
    /// Messages and control frames.
    messages: i32,
    bytes: i32,
}

/// What a peer that has used up its allowance may still send.
#[derive(Debug)]
pub(super) struct Rates {
    messages: Option<Ration>,
    bytes: Option<Ration>,
    /// Messages of all connections from the peer's address.
    shared: Option<SharedBucket>,
    /// The peer is not read until then.
    resume: Option<Deadline>,
}

/// A rate of which a piece is handed out at a time; without one it is asked each time.
#[derive(Debug)]
struct Ration {
    bucket: Bucket,
    piece: u32,
}

fn piece(rate: Rate) -> u32 {
    if rate.at_once() < LARGE { 0 } else { rate.at_once() / 2 }
}

fn whole(n: u32) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}

impl Allowance {
    /// Messages that count for others as well are not handed out.
    pub(super) fn new(config: &Config, is_shared: bool) -> Self {
        let of = |rate: Option<Rate>| rate.map_or(i32::MAX, |rate| whole(piece(rate)));
        Self { messages: if is_shared { 0 } else { of(config.message_rate) }, bytes: of(config.byte_rate) }
    }

    #[inline]
    pub(super) fn message_came(&mut self) {
        self.messages -= 1;
    }

    #[inline]
    pub(super) fn bytes_came(&mut self, n: usize) {
        self.bytes = self.bytes.saturating_sub(i32::try_from(n).unwrap_or(i32::MAX));
    }

    #[inline]
    fn is_used_up(&self) -> bool {
        self.messages <= 0 || self.bytes <= 0
    }
}

impl Ration {
    fn new(rate: Rate, piece: u32, now: Instant) -> Self {
        Self { bucket: Bucket::new(rate.burst(rate.at_once() - piece), now), piece }
    }
}

impl Rates {
    pub(super) fn new(config: &Config, shared: Option<SharedBucket>) -> Self {
        let now = Instant::now();
        let messages = |rate: Rate| Ration::new(rate, if shared.is_some() { 0 } else { piece(rate) }, now);
        let messages = config.message_rate.map(messages);
        let bytes = config.byte_rate.map(|rate| Ration::new(rate, piece(rate), now));
        Self { messages, bytes, shared, resume: None }
    }

    /// Whether the peer waits because of its rate.
    pub(super) fn are_exceeded(&self) -> bool {
        self.resume.is_some()
    }

    /// Hands out more of what is used up.
    fn refill(&mut self, allowance: &mut Allowance) -> Result<(), Duration> {
        let now = Instant::now();
        let mut waits = [Ok(()), Ok(()), Ok(())];
        if allowance.messages <= 0 {
            if let Some(shared) = &self.shared {
                let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
                waits[0] = hand_out(&mut shared, 0, allowance.messages, now).map(drop);
            }
            let others = if self.shared.is_some() { Ok(0) } else { Ok(i32::MAX) };
            let own = self.messages.as_mut();
            let own = own.map_or(others, |own| hand_out(&mut own.bucket, own.piece, allowance.messages, now));
            allowance.messages = own.unwrap_or(0);
            waits[1] = own.map(drop);
        }
        if allowance.bytes <= 0 {
            let own = self.bytes.as_mut();
            let own = own.map_or(Ok(i32::MAX), |own| hand_out(&mut own.bucket, own.piece, allowance.bytes, now));
            allowance.bytes = own.unwrap_or(0);
            waits[2] = own.map(drop);
        }
        waits.into_iter().filter_map(Result::err).max().map_or(Ok(()), Err)
    }
}

/// The next piece, once what was sent beyond the last one is paid for.
fn hand_out(bucket: &mut Bucket, piece: u32, left: i32, now: Instant) -> Result<i32, Duration> {
    bucket.take(usize::try_from(left.unsigned_abs()).unwrap_or(usize::MAX));
    bucket.check(now)?;
    Ok(whole(bucket.take_up_to(piece)))
}

impl Driver {
    /// Whether the peer may be listened to now. If not, the task is woken when it may, or the connection is closing.
    #[inline]
    pub(super) fn is_within_rates(&mut self) -> bool {
        !self.allowance.is_used_up() || self.check_rates()
    }

    #[cold]
    fn check_rates(&mut self) -> bool {
        // A connection that is closing has other deadlines, and nobody gets what it says.
        if self.closing.is_some() {
            return true;
        }
        let link = &self.link;
        let rates = self.rates.get_or_insert_with(|| Box::new(Rates::new(link.config(), None)));
        let Err(wait) = rates.refill(&mut self.allowance) else {
            rates.resume = None;
            return true;
        };
        match self.link.config().over_rate {
            OverRate::Wait => {
                // The old one goes first: both may fall into the same slot.
                rates.resume = None;
                rates.resume = Some(Deadline::new(&self.link, Purpose::Resume, wait));
                false
            }
            OverRate::Close => {
                let frame = self.link.close_frame(Cause::RateExceeded, "rate exceeded");
                self.give_up(Cause::RateExceeded, frame);
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(config: &Config, messages: usize) -> Result<usize, usize> {
        let mut allowance = Allowance::new(config, false);
        let mut rates = Rates::new(config, None);
        for n in 0..messages {
            if allowance.is_used_up() && rates.refill(&mut allowance).is_err() {
                return Err(n);
            }
            allowance.message_came();
        }
        Ok(messages)
    }

    #[test]
    fn a_burst_is_a_burst_whether_it_is_handed_out_in_pieces_or_one_by_one() {
        for burst in [0, 1, 3, 4_095, 4_096, 10_001] {
            let config = Config::new().message_rate(Rate::per_second(0).burst(burst));
            assert_eq!(allowed(&config, 20_000), Err(burst as usize), "{burst}");
        }
        assert_eq!(allowed(&Config::new().message_rate(None), 20_000), Ok(20_000));
    }

    #[test]
    fn what_is_sent_beyond_a_piece_is_paid_for() {
        let config = Config::new().byte_rate(Rate::per_second(0).burst(10_000));
        let (mut allowance, mut rates) = (Allowance::new(&config, false), Rates::new(&config, None));
        allowance.bytes_came(9_000);
        assert!(rates.refill(&mut allowance).is_ok());
        allowance.bytes_came(999);
        assert!(!allowance.is_used_up());
        allowance.bytes_came(1);
        assert!(rates.refill(&mut allowance).is_err());
    }

    #[test]
    fn connections_of_one_address_share_its_rate() {
        let config = Config::new();
        let bucket = Bucket::new(Rate::per_second(0).burst(5), Instant::now());
        let shared = SharedBucket::new(bucket.into());
        let mut all =
            [0, 1].map(|_| (Allowance::new(&config, true), Rates::new(&config, Some(SharedBucket::clone(&shared)))));
        let mut came = 0;
        for n in 0..20 {
            let (allowance, rates) = &mut all[n % 2];
            if !allowance.is_used_up() || rates.refill(allowance).is_ok() {
                allowance.message_came();
                came += 1;
            }
        }
        // One message of each is known to its own connection only, until that asks again.
        assert!((5..=6).contains(&came), "{came}");
    }
}
