//! How long a peer may keep a stream of bytes waiting: its least data rate.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use crate::deadline::deadline_after;

use super::data_rate::MinDataRate;

/// The longest time that a peer may wait for by what it took or sent before. A slow reader's socket takes bytes in
/// steps as large as the kernel's buffers, so a step must buy some time; but not hours.
const LONGEST_CREDIT: Duration = Duration::from_mins(1);

/// The time at which a duration from now is over.
pub(super) fn after(duration: Duration) -> Instant {
    deadline_after(Instant::now(), duration)
}

/// The credit of one stream: waiting for the peer spends it, each byte that moves adds to it.
///
/// Waiting is only what lies between [`poll_late`](Self::poll_late) and [`moved`](Self::moved) or
/// [`pause`](Self::pause): the application's own time costs nothing.
#[derive(Debug)]
pub(super) struct Pace {
    rate: Option<MinDataRate>,
    credit: Duration,
    /// Since when the peer is waited for, and the alarm for the end of its credit.
    waiting: Option<Instant>,
    alarm: Option<Pin<Box<Sleep>>>,
}

impl Pace {
    pub(super) fn new(rate: Option<MinDataRate>) -> Self {
        let credit = rate.map_or(Duration::ZERO, |rate| rate.grace);
        Self { rate, credit, waiting: None, alarm: None }
    }

    /// Another request or answer has begun: it has its own grace.
    pub(super) fn begin(&mut self) {
        self.pause();
        self.credit = self.credit.max(self.rate.map_or(Duration::ZERO, |rate| rate.grace));
    }

    /// The peer took or sent so many bytes.
    pub(super) fn moved(&mut self, bytes: usize) {
        let Some(rate) = self.rate else { return };
        self.pause();
        let most = rate.grace.max(LONGEST_CREDIT);
        if self.credit < most {
            self.credit = self.credit.saturating_add(rate.time_for(bytes)).min(most);
        }
    }

    /// The peer is not waited for any more.
    pub(super) fn pause(&mut self) {
        if let Some(since) = self.waiting.take() {
            self.credit = self.credit.saturating_sub(since.elapsed());
        }
    }

    /// The peer is waited for; ready once its credit is used up.
    pub(super) fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.rate.is_none_or(MinDataRate::is_nothing) {
            return Poll::Pending;
        }
        if self.credit.is_zero() {
            return Poll::Ready(());
        }
        if self.waiting.is_none() {
            self.waiting = Some(Instant::now());
            let end = after(self.credit);
            match &mut self.alarm {
                Some(alarm) => alarm.as_mut().reset(end),
                None => self.alarm = Some(Box::pin(sleep_until(end))),
            }
        }
        self.alarm.as_mut().map_or(Poll::Pending, |alarm| alarm.as_mut().poll(cx))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use futures_util::FutureExt;

    use super::*;

    fn pace(rate: u32, grace: u64) -> Pace {
        Pace::new(Some(MinDataRate::per_second(rate).grace(Duration::from_secs(grace))))
    }

    /// How long it takes until a peer that does nothing is late.
    async fn seconds_until_late(pace: &mut Pace) -> u64 {
        let began = Instant::now();
        poll_fn(|cx| pace.poll_late(cx)).await;
        began.elapsed().as_secs()
    }

    fn is_late(pace: &mut Pace) -> bool {
        poll_fn(|cx| pace.poll_late(cx)).now_or_never().is_some()
    }

    async fn wait(seconds: u64) {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_does_nothing_is_late_after_the_grace() {
        assert_eq!(seconds_until_late(&mut pace(240, 5)).await, 5);
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_at_the_rate_is_never_late_and_one_below_it_is() {
        let mut kept = pace(240, 5);
        for _ in 0..1_000 {
            assert!(!is_late(&mut kept));
            wait(1).await;
            kept.moved(240);
        }
        let mut below = pace(240, 5);
        let began = Instant::now();
        while !is_late(&mut below) {
            wait(1).await;
            if is_late(&mut below) {
                break;
            }
            below.moved(120);
        }
        assert!((9..=11).contains(&began.elapsed().as_secs()), "half of the rate halves the time that is missing");
    }

    #[tokio::test(start_paused = true)]
    async fn what_came_fast_buys_a_minute_at_the_most() {
        let mut pace = pace(240, 5);
        pace.moved(100 << 20);
        assert_eq!(seconds_until_late(&mut pace).await, 60);
    }

    #[tokio::test(start_paused = true)]
    async fn time_in_which_the_peer_is_not_waited_for_costs_nothing() {
        let mut pace = pace(240, 5);
        assert!(!is_late(&mut pace));
        wait(2).await;
        pace.pause();
        wait(3_600).await;
        assert_eq!(seconds_until_late(&mut pace).await, 3);
        pace.begin();
        assert_eq!(seconds_until_late(&mut pace).await, 5);
    }

    #[tokio::test(start_paused = true)]
    async fn no_rate_a_rate_of_nothing_and_a_grace_without_end_are_never_late() {
        for mut pace in
            [Pace::new(None), pace(0, 0), Pace::new(Some(MinDataRate::per_second(u32::MAX).grace(Duration::MAX)))]
        {
            for _ in 0..3 {
                assert!(!is_late(&mut pace));
                wait(1_000_000).await;
                pace.moved(1);
            }
        }
        assert!(is_late(&mut pace(1, 0)), "without a grace the first wait is too long");
    }
}
