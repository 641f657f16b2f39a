//! Pings, and what counts as an answer (RFC 6455 §5.5.2).

use std::time::Duration;

use crate::config::Config;

/// Counts time in the deadlines that have passed, so that it never needs to ask for the hour.
#[derive(Debug)]
pub(super) struct Keepalive {
    /// Something arrived since the last ping.
    pub(super) heard: bool,
    /// Something was written since the last ping.
    pub(super) wrote: bool,
    since_ping: Duration,
    /// How long a ping has been waiting for its answer.
    unanswered: Option<Duration>,
    wait: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Check {
    Wait,
    SendPing,
    PeerIsGone,
}

impl Keepalive {
    /// `None`: no pings are wanted.
    pub(super) fn new(config: &Config) -> Option<Self> {
        let wait = config.ping_interval?;
        Some(Self { heard: false, wrote: false, since_ping: Duration::ZERO, unanswered: None, wait })
    }

    /// How long until the next [`check`](Self::check).
    pub(super) fn wait(&self) -> Duration {
        self.wait
    }

    /// The wait is over. `alive`: the peer gave a sign of life since the last check.
    pub(super) fn check(&mut self, config: &Config, alive: bool) -> Check {
        let interval = config.ping_interval.unwrap_or(Duration::MAX);
        self.since_ping += self.wait;
        self.unanswered = if alive { None } else { self.unanswered.map(|silence| silence + self.wait) };
        if self.unanswered.is_some_and(|silence| silence >= config.ping_timeout) {
            return Check::PeerIsGone;
        }
        let ping = self.since_ping >= interval;
        if ping {
            self.since_ping = Duration::ZERO;
            self.unanswered.get_or_insert(Duration::ZERO);
            (self.heard, self.wrote) = (false, false);
        }
        let until_timeout =
            self.unanswered.map_or(Duration::MAX, |silence| config.ping_timeout.saturating_sub(silence));
        self.wait = interval.saturating_sub(self.since_ping).min(until_timeout);
        if ping { Check::SendPing } else { Check::Wait }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The seconds at which pings leave and the peer is given up, for a peer that is silent after `answers` answers.
    fn check(interval: u64, timeout: u64, answers: usize) -> (Vec<u64>, Option<u64>) {
        let config =
            Config::new().ping_interval(Duration::from_secs(interval)).ping_timeout(Duration::from_secs(timeout));
        let mut keepalive = Keepalive::new(&config).unwrap();
        let (mut now, mut pings) = (Duration::ZERO, Vec::new());
        for _ in 0..100 {
            now += keepalive.wait();
            let alive = pings.len() <= answers;
            match keepalive.check(&config, alive) {
                Check::Wait => {}
                Check::SendPing => pings.push(now.as_secs()),
                Check::PeerIsGone => return (pings, Some(now.as_secs())),
            }
        }
        (pings, None)
    }

    #[test]
    fn a_silent_peer_is_given_up_one_timeout_after_the_unanswered_ping() {
        assert_eq!(check(20, 20, 0), (vec![20], Some(40)));
        assert_eq!(check(20, 5, 1), (vec![20, 40], Some(45)));
        assert_eq!(check(5, 20, 0), (vec![5, 10, 15, 20], Some(25)));
    }

    #[test]
    fn a_peer_that_answers_is_pinged_at_every_interval() {
        let (pings, gone) = check(20, 20, 1_000);
        assert_eq!(gone, None);
        assert!(pings.iter().zip(1..).all(|(at, n)| *at == 20 * n));
    }
}
