//! The slots of a Redis cluster, and their masters.

use redis::Value;

use crate::address::Server;

/// Number of slots of a cluster (Redis Cluster Specification, "Key distribution model").
const SLOTS: u16 = 16_384;

/// The slot of a hash tag (the text in braces of a name, or a name without braces): CRC16 (XMODEM).
pub(crate) fn slot(tag: &str) -> u16 {
    let crc = tag.bytes().fold(0_u16, |crc, byte| {
        (0..8).fold(crc ^ u16::from(byte) << 8, |crc, _| if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x1021 })
    });
    crc % SLOTS
}

/// The masters of a cluster and their slots.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SlotMap {
    /// First and last slot, and an index into `masters`; in the order of the slots.
    ranges: Vec<(u16, u16, usize)>,
    masters: Vec<Server>,
}

impl SlotMap {
    /// Parses a reply to `CLUSTER SLOTS` by the server `asked`, which may leave out its own host.
    pub(crate) fn parse(reply: &Value, asked: &Server) -> Option<Self> {
        let ranges: Vec<_> = array(reply)?.iter().map(|range| self::range(range, asked)).collect::<Option<_>>()?;
        // Members may list them in different orders, and the assignment of channels depends on the order.
        let mut masters: Vec<Server> = ranges.iter().map(|(_, _, master)| master.clone()).collect();
        masters.sort_unstable();
        masters.dedup();
        let index = |(first, last, master)| Some((first, last, masters.binary_search(&master).ok()?));
        let mut ranges: Vec<_> = ranges.into_iter().map(index).collect::<Option<_>>()?;
        ranges.sort_unstable();
        if masters.is_empty() { None } else { Some(Self { ranges, masters }) }
    }

    /// All masters that have slots.
    pub(crate) fn masters(&self) -> &[Server] {
        &self.masters
    }

    /// The master of a slot, if there is one.
    pub(crate) fn master(&self, slot: u16) -> Option<&Server> {
        let at = self.ranges.partition_point(|(_, last, _)| *last < slot);
        let (first, _, master) = self.ranges.get(at)?;
        if *first <= slot { self.masters.get(*master) } else { None }
    }
}

/// The first and the last slot, and their master.
fn range(range: &Value, asked: &Server) -> Option<(u16, u16, Server)> {
    let [first, last, master, ..] = array(range)? else { return None };
    let [host, port, ..] = array(master)? else { return None };
    let host = text(host).filter(|host| !host.is_empty() && *host != "?").unwrap_or(&asked.host);
    let server = Server { host: host.to_owned(), port: u16::try_from(number(port)?).ok()? };
    Some((slot_number(first)?, slot_number(last)?, server))
}

fn array(value: &Value) -> Option<&[Value]> {
    match value {
        Value::Array(values) => Some(values),
        _ => None,
    }
}

fn text(value: &Value) -> Option<&str> {
    match value {
        Value::BulkString(bytes) => str::from_utf8(bytes).ok(),
        Value::SimpleString(text) => Some(text),
        _ => None,
    }
}

fn number(value: &Value) -> Option<i64> {
    match value {
        Value::Int(number) => Some(*number),
        _ => None,
    }
}

fn slot_number(value: &Value) -> Option<u16> {
    u16::try_from(number(value)?).ok().filter(|slot| *slot < SLOTS)
}

#[cfg(test)]
mod tests {
    use super::{SLOTS, Server, SlotMap, Value, slot};

    fn node(host: &str, port: i64) -> Value {
        Value::Array(vec![Value::BulkString(host.into()), Value::Int(port), Value::BulkString(b"id".to_vec())])
    }

    fn range(first: i64, last: i64, node: Value) -> Value {
        Value::Array(vec![Value::Int(first), Value::Int(last), node])
    }

    #[test]
    fn slots_are_those_of_the_specification() {
        assert_eq!(slot("123456789"), 0x31c3 % SLOTS);
        assert_eq!(slot("foo"), 12182);
        assert_eq!(slot("bar"), 5061);
    }

    #[test]
    fn the_order_of_the_reply_does_not_matter() {
        let asked = Server { host: "a".to_owned(), port: 9 };
        let mut ranges = [range(0, 99, node("b", 2)), range(100, 200, node("a", 3)), range(300, 400, node("b", 1))];
        let map = SlotMap::parse(&Value::Array(ranges.to_vec()), &asked);
        assert_eq!(map.as_ref().map(|map| map.masters().len()), Some(3));
        for _ in 0..3 {
            ranges.rotate_left(1);
            assert_eq!(SlotMap::parse(&Value::Array(ranges.to_vec()), &asked), map);
        }
    }

    #[test]
    fn a_slot_has_a_master_or_none() {
        let answer = Value::Array(vec![
            range(8000, 16383, node("b", 2)),
            range(0, 99, node("", 1)),
            range(100, 200, node("b", 2)),
        ]);
        let asked = Server { host: "a".to_owned(), port: 9 };
        let map = SlotMap::parse(&answer, &asked).expect("a map");
        let master = |slot| map.master(slot).map(ToString::to_string);
        assert_eq!(master(0).as_deref(), Some("a:1"));
        assert_eq!(master(99).as_deref(), Some("a:1"));
        assert_eq!(master(100).as_deref(), Some("b:2"));
        assert_eq!(master(201), None);
        assert_eq!(master(16383).as_deref(), Some("b:2"));
        assert_eq!(map.masters().len(), 2);
    }

    #[test]
    fn a_malformed_reply_has_no_map() {
        let asked = Server { host: "a".to_owned(), port: 9 };
        for value in [Value::Nil, Value::Array(vec![]), Value::Array(vec![Value::Int(1)])] {
            assert_eq!(SlotMap::parse(&value, &asked), None);
        }
    }
}
