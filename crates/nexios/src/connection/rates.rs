//! A peer that sends faster than it may waits, or is closed.

use std::time::{Duration, Instant};

use nexios_proto::{CloseCode, CloseFrame};

use super::driver::Driver;
use super::wheel::{Deadline, Purpose};
use crate::config::Config;
use crate::disconnect::Cause;
use crate::rate::{Bucket, OverRate};

/// What a peer may still send. Only connections whose route has a rate have it, and ask for the time.
#[derive(Debug)]
pub(super) struct Rates {
    messages: Option<Bucket>,
    bytes: Option<Bucket>,
    /// The peer is not read until then.
    resume: Option<Deadline>,
}

impl Rates {
    pub(super) fn new(config: &Config) -> Option<Box<Self>> {
        if config.message_rate.is_none() && config.byte_rate.is_none() {
            return None;
        }
        let now = Instant::now();
        let bucket = |rate: Option<_>| rate.map(|rate| Bucket::new(rate, now));
        Some(Box::new(Self { messages: bucket(config.message_rate), bytes: bucket(config.byte_rate), resume: None }))
    }

    pub(super) fn message_came(&mut self) {
        self.messages.iter_mut().for_each(|bucket| bucket.take(1));
    }

    pub(super) fn bytes_came(&mut self, n: usize) {
        self.bytes.iter_mut().for_each(|bucket| bucket.take(n));
    }

    /// Whether the peer waits because of its rate.
    pub(super) fn are_exceeded(&self) -> bool {
        self.resume.is_some()
    }

    fn check(&mut self) -> Result<(), Duration> {
        let now = Instant::now();
        let waits =
            [&mut self.messages, &mut self.bytes].into_iter().flatten().filter_map(|bucket| bucket.check(now).err());
        waits.max().map_or(Ok(()), Err)
    }
}

impl Driver {
    /// Whether the peer may be listened to now. If not, the task is woken when it may, or the connection is closing.
    #[inline]
    pub(super) fn is_within_rates(&mut self) -> bool {
        self.rates.is_none() || self.check_rates()
    }

    fn check_rates(&mut self) -> bool {
        let Some(rates) = &mut self.rates else { return true };
        // A connection that is closing has other deadlines, and nobody gets what it says.
        if self.closing.is_some() {
            return true;
        }
        let Err(wait) = rates.check() else {
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
                self.give_up(Cause::RateExceeded, CloseFrame::new(CloseCode::POLICY_VIOLATION, "rate exceeded"));
                true
            }
        }
    }
}
