//! Query and path parameters.

use std::fmt::{self, Write};

/// Names with values, in their order: from [`query_params`](crate::WebSocket::query_params) and
/// [`path_params`](crate::WebSocket::path_params).
///
/// Looking is linear: requests have a handful.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Params {
    /// Of each name and each value: how many bytes it has, a colon, and the text. One allocation for all, and none
    /// without any.
    packed: Box<str>,
}

impl Params {
    /// Decodes `a=1&b=two+words%21`. What is no valid escape stays as it is; bytes that are no UTF-8 become U+FFFD.
    pub(crate) fn from_query(query: &str) -> Self {
        query
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                (decode(name), decode(value))
            })
            .collect()
    }

    /// The first value under this name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(other, _)| *other == name).map(|(_, value)| value)
    }

    /// All values under this name, in their order.
    pub fn get_all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.iter().filter(move |(other, _)| *other == name).map(|(_, value)| value)
    }

    /// All names and values, in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let mut rest = &*self.packed;
        std::iter::from_fn(move || Some((take(&mut rest)?, take(&mut rest)?)))
    }

    /// How many pairs there are.
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// True without any.
    pub fn is_empty(&self) -> bool {
        self.packed.is_empty()
    }
}

impl<N: AsRef<str>, V: AsRef<str>> FromIterator<(N, V)> for Params {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        let mut packed = String::new();
        for (name, value) in pairs {
            put(&mut packed, name.as_ref());
            put(&mut packed, value.as_ref());
        }
        Self { packed: packed.into() }
    }
}

// Values may be secrets: a token in the query has no business in a log.
impl fmt::Debug for Params {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(|(name, _)| name)).finish()
    }
}

fn put(packed: &mut String, text: &str) {
    // Writing to a `String` cannot fail.
    let _ = write!(packed, "{}:{text}", text.len());
}

fn take<'a>(rest: &mut &'a str) -> Option<&'a str> {
    let (length, behind) = rest.split_once(':')?;
    let (text, behind) = behind.split_at_checked(length.parse().ok()?)?;
    *rest = behind;
    Some(text)
}

fn decode(text: &str) -> Box<str> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        match (first, tail) {
            (b'+', _) => bytes.push(b' '),
            (b'%', [high, low, after @ ..]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                bytes.push(hex(*high) << 4 | hex(*low));
                rest = after;
            }
            _ => bytes.push(*first),
        }
    }
    String::from_utf8_lossy(&bytes).into()
}

fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_decoded_as_forms_are() {
        let params = Params::from_query("token=a%2Bb&name=J%C3%BCrgen+M&empty=&flag&token=2&&bad=%zz%");
        assert_eq!(params.get("token"), Some("a+b"));
        assert_eq!(params.get("name"), Some("Jürgen M"));
        assert_eq!(params.get("empty"), Some(""));
        assert_eq!(params.get("flag"), Some(""));
        assert_eq!(params.get("bad"), Some("%zz%"));
        assert_eq!(params.get("none"), None);
        assert_eq!(params.get_all("token").collect::<Vec<_>>(), ["a+b", "2"]);
        assert_eq!(params.len(), 6);
    }

    #[test]
    fn pairs_come_back_whatever_is_in_them() {
        let pairs = [("", ""), (":", "3:a:b"), ("room", "Küche / 7:"), ("room", "2"), ("12", "\0\n")];
        let params: Params = pairs.into_iter().collect();
        assert!(params.iter().eq(pairs));
        assert_eq!(params.len(), 5);
        assert!(!params.is_empty());
        let none: Params = std::iter::empty::<(&str, &str)>().collect();
        assert!(none.is_empty() && none == Params::default());
        assert_eq!((none.len(), none.iter().next()), (0, None));
    }

    #[test]
    fn a_value_is_not_shown_by_debug() {
        let params = Params::from_query("token=SECRET");
        assert!(!format!("{params:?}").contains("SECRET"));
    }
}
