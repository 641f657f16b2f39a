//! A rate for each address, in bounded memory.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::admission::Address;
use crate::rate::{Bucket, Rate};

/// Addresses are spread over this many locks.
const SHARDS: usize = 16;

/// The most addresses of a shard that are remembered, 100 bytes each: 32,768 in all take some 3 MiB. Whoever has more (an
/// IPv6 network of 48 bits has twice as many of 64) is slowed down by the rates for all alone.
const ADDRESSES: usize = 2_048;

/// How often a full shard is searched for those who have been silent.
const SWEEP: Duration = Duration::from_secs(1);

/// What is left of one address's rate. Those who hold it keep it from being forgotten.
pub(crate) type SharedBucket = Arc<Mutex<Bucket>>;

/// The buckets of all addresses that were heard of lately.
#[derive(Debug)]
pub(super) struct RateTable {
    rate: Rate,
    counts_loopback: bool,
    shards: [Mutex<Shard>; SHARDS],
}

/// Keyed by what clients choose, in part: the hasher has a random key.
#[derive(Debug, Default)]
struct Shard {
    buckets: HashMap<Address, SharedBucket>,
    swept: Option<Instant>,
}

impl RateTable {
    /// A rate that is a default is not loopback's: what comes from there is a proxy of this machine.
    pub(super) fn new(rate: Rate, counts_loopback: bool) -> Self {
        Self { rate, counts_loopback, shards: Default::default() }
    }

    /// An address's bucket, unless the rate does not count for it.
    pub(super) fn bucket(&self, ip: IpAddr) -> Option<SharedBucket> {
        if !self.counts_loopback && ip.to_canonical().is_loopback() {
            return None;
        }
        let (address, now) = (Address::from(ip), Instant::now());
        let mut shard = lock(&self.shards[address.shard(SHARDS)]);
        if let Some(bucket) = shard.buckets.get(&address) {
            return Some(Arc::clone(bucket));
        }
        shard.make_room(now);
        let bucket = SharedBucket::new(Mutex::new(Bucket::new(self.rate, now)));
        shard.buckets.insert(address, Arc::clone(&bucket));
        Some(bucket)
    }

    /// Whether one more is within an address's rate. Nothing is remembered of whoever was not counted before.
    pub(super) fn check(&self, ip: IpAddr) -> bool {
        let address = Address::from(ip);
        let bucket = lock(&self.shards[address.shard(SHARDS)]).buckets.get(&address).map(Arc::clone);
        bucket.is_none_or(|bucket| lock(&bucket).check(Instant::now()).is_ok())
    }

    /// Counts one more, if it is within the address's rate.
    pub(super) fn take(&self, ip: IpAddr) -> bool {
        let Some(bucket) = self.bucket(ip) else { return true };
        let mut bucket = lock(&bucket);
        let is_within = bucket.check(Instant::now()).is_ok();
        if is_within {
            bucket.take(1);
        }
        is_within
    }
}

impl Shard {
    fn make_room(&mut self, now: Instant) {
        if self.buckets.len() < ADDRESSES {
            return;
        }
        if self.swept.is_none_or(|swept| now.saturating_duration_since(swept) >= SWEEP) {
            self.swept = Some(now);
            // What is full says nothing that a new one does not.
            self.buckets.retain(|_, bucket| Arc::strong_count(bucket) > 1 || !lock(bucket).is_full(now));
        }
        if self.buckets.len() >= ADDRESSES {
            let unused = self.buckets.iter().find(|(_, bucket)| Arc::strong_count(bucket) == 1);
            if let Some(address) = unused.map(|(address, _)| *address) {
                self.buckets.remove(&address);
            }
        }
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::*;

    impl RateTable {
        fn len(&self) -> usize {
            self.shards.iter().map(|shard| lock(shard).buckets.len()).sum()
        }
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn each_address_has_a_rate_of_its_own_and_an_ipv6_network_of_64_bits_one() {
        let table = RateTable::new(Rate::per_second(1).burst(2), false);
        let taken = |address: &str| (0..5).filter(|_| table.take(ip(address))).count();
        assert_eq!(taken("192.0.2.1"), 2);
        assert_eq!(taken("192.0.2.2"), 2);
        assert_eq!(taken("::ffff:192.0.2.2"), 0);
        assert_eq!(taken("2001:db8:0:1::1"), 2);
        assert_eq!(taken("2001:db8:0:1:ffff::2"), 0);
        assert_eq!(taken("2001:db8:0:2::1"), 2);
        for loopback in ["127.0.0.1", "::1", "::ffff:127.0.0.9"] {
            assert_eq!(taken(loopback), 5, "{loopback}");
        }
        assert!(!table.check(ip("192.0.2.1")));
        let before = table.len();
        assert!(table.check(ip("192.0.2.3")));
        assert_eq!(table.len(), before);
    }

    #[test]
    fn a_network_of_48_bits_fills_the_table_and_no_more() {
        let table = RateTable::new(Rate::per_second(0).burst(2), true);
        let held = table.bucket(ip("192.0.2.1")).unwrap();
        lock(&held).take(2);
        for network in 0..70_000_u128 {
            table.take(Ipv6Addr::from_bits((0x2001_0db8_u128 << 96) | (network << 64)).into());
        }
        assert!(table.len() <= SHARDS * ADDRESSES, "{}", table.len());
        // Whoever is connected is not forgotten for it.
        assert!(!table.take(ip("192.0.2.1")));
    }
}
