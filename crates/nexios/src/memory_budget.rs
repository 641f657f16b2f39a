//! The memory that an app holds for its peers, counted for all of them together.

use std::sync::{Arc, OnceLock};

use nexios_proto::Limit;

use crate::sync::atomic::{AtomicUsize, Ordering};

/// Size of a connection's own compressor in bytes: measured, 268 KiB of tables and the window among it.
const COMPRESSOR: usize = 370 * 1024;

/// Memory budget of an app ([`ServerConfig::buffered_bytes`](crate::ServerConfig::buffered_bytes)): everything that a peer
/// can make the app hold is reserved here, and compressors of connections' own beside it.
#[derive(Debug)]
pub(crate) struct Budget {
    limit: Limit,
    held: AtomicUsize,
    holders: AtomicUsize,
    /// Of what is held, that of shares.
    shared: AtomicUsize,
    compressors: AtomicUsize,
}

/// Bytes of the budget that one holder uses; dropping it gives them back.
#[derive(Debug)]
pub(crate) struct Reservation {
    budget: Arc<Budget>,
    bytes: usize,
}

/// Room for a compressor of a connection's own.
#[derive(Debug)]
pub(crate) struct CompressorPlace(Arc<Budget>);

/// Without a limit.
impl Default for Budget {
    fn default() -> Self {
        Self::new(Limit::Unlimited)
    }
}

impl Budget {
    pub(crate) fn new(limit: Limit) -> Self {
        Self {
            limit,
            held: AtomicUsize::new(0),
            holders: AtomicUsize::new(0),
            shared: AtomicUsize::new(0),
            compressors: AtomicUsize::new(0),
        }
    }

    /// Bytes that are held now.
    pub(crate) fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// Reserves memory for something new, or `None` when the budget has no room for it: the caller refuses the work.
    pub(crate) fn reserve(self: &Arc<Self>, bytes: usize) -> Option<Reservation> {
        let held = self.held.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        self.holders.fetch_add(1, Ordering::Relaxed);
        let reservation = Reservation { budget: Arc::clone(self), bytes };
        self.limit.allows(held).then_some(reservation)
    }

    /// A reservation of no bytes yet, for what is already there and is counted afterwards.
    pub(crate) fn holder(self: &Arc<Self>) -> Reservation {
        self.holders.fetch_add(1, Ordering::Relaxed);
        Reservation { budget: Arc::clone(self), bytes: 0 }
    }

    /// Whether there is room for as much as this, which is not reserved.
    pub(crate) fn has_room_for(&self, bytes: usize) -> bool {
        self.limit.allows(self.held().saturating_add(bytes))
    }

    /// Room for one more compressor, as long as all of them take no more than half of the budget.
    pub(crate) fn place_for_compressor(self: &Arc<Self>) -> Option<CompressorPlace> {
        let place = CompressorPlace(Arc::clone(self));
        let compressors = self.compressors.fetch_add(1, Ordering::Relaxed) + 1;
        (compressors.saturating_mul(COMPRESSOR) <= self.half()).then_some(place)
    }

    fn half(&self) -> usize {
        match self.limit {
            Limit::At(limit) => limit / 2,
            Limit::Unlimited => usize::MAX,
        }
    }

    /// The budget is exceeded, and a holder of this many bytes holds at least the average.
    pub(crate) fn is_exceeded_by(&self, bytes: usize) -> bool {
        let held = self.held();
        // Of what single holders have: a share is held by many.
        let by_holders = held.saturating_sub(self.shared.load(Ordering::Relaxed));
        !self.limit.allows(held) && bytes >= by_holders / self.holders.load(Ordering::Relaxed).max(1)
    }
}

impl Reservation {
    /// Bytes that are reserved.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Counts another number of bytes, whether there is room for them or not: for what is held already.
    pub(crate) fn set(&mut self, bytes: usize) {
        self.budget.held.fetch_add(bytes, Ordering::Relaxed);
        self.budget.held.fetch_sub(self.bytes, Ordering::Relaxed);
        self.bytes = bytes;
    }

    /// Reserves more, or changes nothing and returns false when the budget has no room for it.
    pub(crate) fn try_grow(&mut self, by: usize) -> bool {
        let held = self.budget.held.fetch_add(by, Ordering::Relaxed).saturating_add(by);
        let has_room = self.budget.limit.allows(held);
        if has_room {
            self.bytes += by;
        } else {
            self.budget.held.fetch_sub(by, Ordering::Relaxed);
        }
        has_room
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.held.fetch_sub(self.bytes, Ordering::Relaxed);
        self.budget.holders.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A part of the budget that many things of one kind take together, at most half of all.
#[derive(Debug, Default)]
pub(crate) struct Share {
    budget: OnceLock<Arc<Budget>>,
    held: AtomicUsize,
}

/// Bytes of a share, given back unless they are [taken](Self::take).
#[derive(Debug)]
pub(crate) struct Taken<'a> {
    share: &'a Share,
    bytes: usize,
}

impl Share {
    /// From now on it is counted in this budget.
    pub(crate) fn account_to(&self, budget: &Arc<Budget>) {
        if self.budget.set(Arc::clone(budget)).is_ok() {
            self.count_in_budget(0, self.held.load(Ordering::Relaxed));
        }
    }

    /// Takes bytes for something new; `None` when there is no room for it.
    pub(crate) fn try_take(&self, bytes: usize) -> Option<Taken<'_>> {
        let held = self.held.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        self.count_in_budget(0, bytes);
        let taken = Taken { share: self, bytes };
        let has_room = |budget: &Arc<Budget>| held <= budget.half() && budget.limit.allows(budget.held());
        self.budget.get().is_none_or(has_room).then_some(taken)
    }

    /// Counts another number of bytes for something that is there, whether there is room for them or not.
    pub(crate) fn settle(&self, counted: &mut usize, bytes: usize) {
        if *counted != bytes {
            self.held.fetch_add(bytes, Ordering::Relaxed);
            self.held.fetch_sub(*counted, Ordering::Relaxed);
            self.count_in_budget(*counted, bytes);
            *counted = bytes;
        }
    }

    pub(crate) fn give_back(&self, bytes: usize) {
        self.held.fetch_sub(bytes, Ordering::Relaxed);
        self.count_in_budget(bytes, 0);
    }

    fn count_in_budget(&self, before: usize, now: usize) {
        let Some(budget) = self.budget.get() else { return };
        for count in [&budget.held, &budget.shared] {
            count.fetch_add(now, Ordering::Relaxed);
            count.fetch_sub(before, Ordering::Relaxed);
        }
    }
}

impl Taken<'_> {
    /// Keeps them; from now on it is the caller who gives them back.
    pub(crate) fn take(mut self) -> usize {
        std::mem::take(&mut self.bytes)
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.share.give_back(self.bytes);
        }
    }
}

impl Drop for CompressorPlace {
    fn drop(&mut self) {
        self.0.compressors.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_reserved_is_given_back_by_dropping_it() {
        let budget = Arc::new(Budget::new(Limit::At(100)));
        let mut one = budget.reserve(60).unwrap();
        assert!(budget.reserve(41).is_none(), "there is room for 40");
        assert_eq!(budget.held(), 60, "what was refused is not held");
        assert!(one.try_grow(40) && !one.try_grow(1));
        assert_eq!((one.bytes(), budget.held()), (100, 100));
        drop(one);
        assert_eq!((budget.held(), budget.holders.load(Ordering::Relaxed)), (0, 0));
    }

    #[test]
    fn over_the_budget_whoever_holds_less_than_the_average_is_spared() {
        let budget = Arc::new(Budget::new(Limit::At(100)));
        let (mut large, mut small) = (budget.holder(), budget.holder());
        large.set(110);
        small.set(10);
        assert!(budget.is_exceeded_by(large.bytes()));
        assert!(!budget.is_exceeded_by(small.bytes()));
    }
}
