//! Query and path parameters.

use std::fmt;

/// Names with values, in their order: from [`query_params`](crate::WebSocket::query_params) and
/// [`path_params`](crate::WebSocket::path_params).
///
/// Looking is linear: requests have a handful.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Params {
    pairs: Box<[(Box<str>, Box<str>)]>,
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
        self.pairs.iter().map(|(name, value)| (&**name, &**value))
    }

    /// How many pairs there are.
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// True without any.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }
}

impl<N: Into<Box<str>>, V: Into<Box<str>>> FromIterator<(N, V)> for Params {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        Self { pairs: pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect() }
    }
}

// Values may be secrets: a token in the query has no business in a log.
impl fmt::Debug for Params {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(|(name, _)| name)).finish()
    }
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
    fn a_value_is_not_shown_by_debug() {
        let params = Params::from_query("token=SECRET");
        assert!(!format!("{params:?}").contains("SECRET"));
    }
}
