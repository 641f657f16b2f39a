//! Publications: made, numbered, and known until all have heard them.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::Pace;
use super::dialect::Dialect;
use crate::Result;

/// Of every publication.
const LENGTH: usize = 64;

/// One that publishes: what is under way, the oldest first.
pub(super) struct Publisher {
    index: usize,
    pace: Pace,
    /// When each was sent, and how many have not heard it yet.
    under_way: VecDeque<(Instant, usize)>,
    /// Number of messages that all subscribers have received.
    complete: u64,
    next_at: Instant,
}

impl Publisher {
    /// Those that publish in steps of time do so one after the other.
    pub(super) fn all(count: usize, pace: Pace, now: Instant) -> Vec<Self> {
        let next_at = |index: u32| match pace {
            Pace::PerSecond(rate) => now + Duration::from_secs(1) / rate * index / u32::try_from(count).unwrap_or(1),
            Pace::UnderWay(_) => now,
        };
        let publisher = |index: usize| Publisher {
            index,
            pace,
            under_way: VecDeque::new(),
            complete: 0,
            next_at: next_at(u32::try_from(index).unwrap_or(0)),
        };
        (0..count).map(publisher).collect()
    }

    /// When it may have something to publish without having heard anything.
    pub(super) fn next_at(&self) -> Option<Instant> {
        matches!(self.pace, Pace::PerSecond(_)).then_some(self.next_at)
    }

    /// The frames that are due.
    pub(super) fn due(&mut self, now: Instant, dialect: Dialect, subscribers: usize, out: &mut Vec<u8>) {
        loop {
            match self.pace {
                Pace::PerSecond(rate) if self.next_at <= now => self.next_at += Duration::from_secs(1) / rate,
                Pace::UnderWay(most) if self.under_way.len() < most => {}
                Pace::PerSecond(_) | Pace::UnderWay(_) => return,
            }
            let number = self.complete + self.under_way.len() as u64;
            let text = format!("{:02} {number:010} ", self.index);
            out.extend(dialect.publication(&format!("{text:x<LENGTH$}")));
            self.under_way.push_back((now, subscribers));
        }
    }

    /// A subscriber has heard this number; when it was sent, and whether all have heard it now.
    pub(super) fn heard(&mut self, number: u64) -> Result<(Instant, bool)> {
        let place = number.checked_sub(self.complete).and_then(|place| usize::try_from(place).ok());
        let (sent, left) = place.and_then(|place| self.under_way.get_mut(place)).ok_or("nobody has published this")?;
        *left = left.checked_sub(1).ok_or("a publication came to somebody twice")?;
        let (sent, is_complete) = (*sent, *left == 0);
        while self.under_way.front().is_some_and(|(_, left)| *left == 0) {
            self.under_way.pop_front();
            self.complete += 1;
        }
        Ok((sent, is_complete))
    }
}

/// Whose publication this is, and its number.
pub(super) fn read(text: &str) -> Result<(usize, u64)> {
    let mut words = text.split(' ');
    let mut word = || words.next().ok_or("a publication without its number");
    let numbers = (word()?.parse()?, word()?.parse()?);
    if text.len() == LENGTH { Ok(numbers) } else { Err("a publication of another length".into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn publications_are_numbered_and_heard_once_by_each() {
        let now = Instant::now();
        let mut publisher = Publisher::all(1, Pace::UnderWay(2), now).remove(0);
        let mut out = Vec::new();
        publisher.due(now, Dialect::Plain, 2, &mut out);
        assert_eq!(out.len(), 2 * (2 + 4 + LENGTH));
        assert!(!publisher.heard(1).unwrap().1);
        assert!(publisher.heard(1).unwrap().1);
        assert!(publisher.heard(1).is_err(), "twice");
        assert!(publisher.heard(2).is_err(), "not yet published");
        assert!(!publisher.heard(0).unwrap().1);
        assert!(publisher.heard(0).unwrap().1);
        out.clear();
        publisher.due(now, Dialect::Plain, 2, &mut out);
        assert!(publisher.heard(2).is_ok() && publisher.heard(3).is_ok());
    }

    #[test]
    fn a_publication_tells_whose_it_is() {
        let text = format!("{:x<64}", "07 0000000012 ");
        assert_eq!(read(&text).unwrap(), (7, 12));
        assert!(read("07 0000000012").is_err());
    }
}
