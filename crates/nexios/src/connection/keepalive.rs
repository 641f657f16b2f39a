//! Pings, and what counts as an answer (RFC 6455 §5.5.2).

use std::num::NonZero;
use std::time::Duration;

use crate::config::Config;
use crate::sender::ConnectionId;

/// Counts time in the deadlines that have passed, so that it never needs to ask for the hour. In milliseconds, because an
/// idle connection consists of little else.
#[derive(Debug)]
pub(super) struct Keepalive {
    since_ping: Millis,
    /// How long a ping has been waiting for its answer.
    unanswered: Option<NonZero<Millis>>,
    wait: Millis,
    /// Something arrived since the last ping.
    pub(super) heard: bool,
    /// Something was written since the last ping.
    pub(super) wrote: bool,
    /// The answer is overdue, and is looked for once more.
    pub(super) is_doubted: bool,
}

/// Up to 49 days.
type Millis = u32;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Check {
    Wait,
    SendPing,
    PeerIsGone,
}

impl Keepalive {
    /// `None`: no pings are wanted.
    ///
    /// The first ping comes after a half to a whole interval, by the connection's number: those who came all at once are
    /// not pinged all at once.
    pub(super) fn new(config: &Config, id: ConnectionId) -> Option<Self> {
        let half = millis(config.ping_interval?) / 2;
        // Neighbours are far from each other: the fractional part of multiples of the golden ratio (Knuth, TAOCP 3, §6.4).
        let spread = id.as_u64().wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        let early = Millis::try_from((spread * u64::from(half)) >> 32).unwrap_or(0);
        Self::with_first_ping(config, early)
    }

    fn with_first_ping(config: &Config, early: Millis) -> Option<Self> {
        let interval = millis(config.ping_interval?);
        let wait = interval - early;
        Some(Self { since_ping: early, unanswered: None, wait, heard: false, wrote: false, is_doubted: false })
    }

    /// How long until the next [`check`](Self::check).
    pub(super) fn wait(&self) -> Duration {
        Duration::from_millis(self.wait.into())
    }

    /// A ping waits for its answer.
    pub(super) fn is_unanswered(&self) -> bool {
        self.unanswered.is_some()
    }

    /// The wait is over. `alive`: the peer gave a sign of life since the last check.
    pub(super) fn check(&mut self, config: &Config, alive: bool) -> Check {
        let interval = config.ping_interval.map_or(Millis::MAX, millis);
        let timeout = millis(config.ping_timeout);
        self.since_ping = self.since_ping.saturating_add(self.wait);
        // The silence is counted from one, so that a ping that has just left is told from none.
        self.unanswered = self.unanswered.filter(|_| !alive).map(|silence| silence.saturating_add(self.wait));
        if self.unanswered.is_some_and(|silence| silence.get() > timeout) {
            return Check::PeerIsGone;
        }
        let ping = self.since_ping >= interval;
        if ping {
            self.since_ping = 0;
            self.unanswered.get_or_insert(NonZero::<Millis>::MIN);
            (self.heard, self.wrote) = (false, false);
        }
        let until_timeout =
            self.unanswered.map_or(Millis::MAX, |silence| timeout.saturating_add(1).saturating_sub(silence.get()));
        self.wait = (interval - self.since_ping).min(until_timeout);
        if ping { Check::SendPing } else { Check::Wait }
    }
}

/// At least one, so that time goes on; at most a number that can be counted on from.
fn millis(duration: Duration) -> Millis {
    Millis::try_from(duration.as_millis()).unwrap_or(Millis::MAX).clamp(1, Millis::MAX - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The seconds at which pings leave and the peer is given up, for a peer that is silent after `answers` answers.
    fn check(interval: u64, timeout: u64, answers: usize) -> (Vec<u64>, Option<u64>) {
        let config =
            Config::new().ping_interval(Duration::from_secs(interval)).ping_timeout(Duration::from_secs(timeout));
        let mut keepalive = Keepalive::with_first_ping(&config, 0).unwrap();
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
    fn first_pings_are_spread_over_half_an_interval() {
        let config = Config::new().ping_interval(Duration::from_secs(20));
        let mut seconds = [0; 20];
        for n in 1..=10_000 {
            let wait = Keepalive::new(&config, ConnectionId::new(n)).unwrap().wait();
            seconds[usize::try_from(wait.as_millis().div_ceil(1_000)).unwrap() - 1] += 1;
        }
        assert!(seconds[..10].iter().all(|pings| *pings == 0), "{seconds:?}");
        assert!(seconds[10..].iter().all(|pings| (900..1_100).contains(pings)), "{seconds:?}");
    }

    #[test]
    fn a_peer_that_answers_is_pinged_at_every_interval() {
        let (pings, gone) = check(20, 20, 1_000);
        assert_eq!(gone, None);
        assert!(pings.iter().zip(1..).all(|(at, n)| *at == 20 * n));
    }
}
