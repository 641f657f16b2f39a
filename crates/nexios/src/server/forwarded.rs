//! The header `Forwarded` (RFC 7239): its elements, from the nearest proxy's on, and their parameters.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};

/// The elements of one line, the last one first; empty ones are no elements (RFC 9110 §5.6.1.2).
///
/// A line is read from its end, because that is what a trusted proxy has written: its quotes are closed, and a comma in
/// them separates nothing. Whatever a client began before it, such as a quotation without an end, cannot swallow it.
pub(super) fn elements(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(line);
    let split = move || {
        let line = rest?;
        let comma = last_comma(line);
        rest = comma.map(|at| &line[..at]);
        Some(line[comma.map_or(0, |at| at + 1)..].trim_ascii())
    };
    std::iter::from_fn(split).filter(|element| !element.is_empty())
}

/// The last comma outside of quotes, of which the last one closes a quotation.
fn last_comma(line: &[u8]) -> Option<usize> {
    let mut is_quoted = false;
    for (at, byte) in line.iter().enumerate().rev() {
        match byte {
            b'"' if !is_quoted => is_quoted = true,
            b'"' => is_quoted = is_escaped(&line[..at]),
            b',' if !is_quoted => return Some(at),
            _ => {}
        }
    }
    None
}

/// Whether what follows these bytes of a quotation is a `quoted-pair` (RFC 9110 §5.6.4): an odd number of backslashes.
fn is_escaped(before: &[u8]) -> bool {
    before.iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1
}

/// The value of a parameter of an element (RFC 7239 §4), without its quotes. `None` also where the element is malformed, or
/// has the parameter twice.
pub(super) fn parameter<'a>(element: &'a [u8], name: &[u8]) -> Option<Cow<'a, [u8]>> {
    let (mut rest, mut found) = (element, None);
    loop {
        rest = rest.trim_ascii_start();
        if !rest.is_empty() && !rest.starts_with(b";") {
            let equals = rest.iter().position(|byte| *byte == b'=')?;
            let (key, behind) = (rest[..equals].trim_ascii(), rest[equals + 1..].trim_ascii_start());
            let (value, behind) = value(behind)?;
            rest = behind.trim_ascii_start();
            if key.eq_ignore_ascii_case(name) && found.replace(value).is_some() {
                return None;
            }
        }
        match rest.split_first() {
            None => return found,
            Some((b';', behind)) => rest = behind,
            Some(_) => return None,
        }
    }
}

/// A quoted string, or all up to the pair's end; and what follows it.
fn value(text: &[u8]) -> Option<(Cow<'_, [u8]>, &[u8])> {
    let Some(quoted) = text.strip_prefix(b"\"") else {
        // Also what should have been quoted, such as `[2001:db8::1]`.
        let end = text.iter().position(|byte| b";\" \t".contains(byte)).unwrap_or(text.len());
        return Some((Cow::Borrowed(&text[..end]), &text[end..]));
    };
    let end = (0..quoted.len()).find(|at| quoted[*at] == b'"' && !is_escaped(&quoted[..*at]))?;
    let (inner, behind) = (&quoted[..end], &quoted[end + 1..]);
    Some((if inner.contains(&b'\\') { Cow::Owned(unescaped(inner)) } else { Cow::Borrowed(inner) }, behind))
}

fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut bytes = text.iter();
    let mut plain = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        plain.extend(if *byte == b'\\' { bytes.next() } else { Some(byte) });
    }
    plain
}

/// `192.0.2.1`, `[2001:db8::1]`, each with a port or an obfuscated one (`:_x`); an IPv6 address also bare (RFC 7239 §6).
/// `unknown` and obfuscated identifiers are no addresses.
pub(super) fn node(text: &[u8]) -> Option<IpAddr> {
    let text = str::from_utf8(text).ok()?;
    let whole = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    let with_obfuscated_port = || {
        let (address, port) = text.rsplit_once(":_")?;
        let is_port =
            !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
        let bare = address.strip_prefix('[').map_or(Some(address), |inner| inner.strip_suffix(']'));
        bare.filter(|_| is_port)?.parse().ok()
    };
    let address: IpAddr = text.parse().ok().or_else(whole).or_else(with_port).or_else(with_obfuscated_port)?;
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_come_from_the_end_and_commas_in_quotes_separate_nothing() {
        let check = |line: &str, expected: &[&str]| {
            let found: Vec<_> = elements(line.as_bytes()).map(|element| str::from_utf8(element).unwrap()).collect();
            assert_eq!(found, expected, "{line}");
        };
        check("", &[]);
        check(" , ,", &[]);
        check("for=a, for=b", &["for=b", "for=a"]);
        check(r#"for=a;by="x,y", for=b"#, &["for=b", r#"for=a;by="x,y""#]);
        check(r#"for=a, for=b;host="x\",y""#, &[r#"for=b;host="x\",y""#, "for=a"]);
        check(r#"for=a, for=b;host="x,\\""#, &[r#"for=b;host="x,\\""#, "for=a"]);
        // A client's quotation that has no end.
        check(r#"x=", for=b;host="a,b""#, &[r#"for=b;host="a,b""#, r#"x=""#]);
        check(r#"x="\, for=b"#, &["for=b", r#"x="\"#]);
    }

    #[test]
    fn a_parameter_is_a_token_or_a_quoted_string_and_is_there_once() {
        let check = |element: &str, expected: Option<&str>| {
            let found = parameter(element.as_bytes(), b"for");
            assert_eq!(found.as_deref(), expected.map(str::as_bytes), "{element}");
        };
        check("for=a", Some("a"));
        check("FOR = \"a\" ; by=b", Some("a"));
        check(";;by=b;for=a;", Some("a"));
        check(r#"host="for=x;y";for=a"#, Some("a"));
        check(r#"for="a\"b\\c""#, Some(r#"a"b\c"#));
        check("by=a", None);
        check("", None);
        check("for", None);
        check("for=a;for=b", None);
        check("for=\"a", None);
        check("for=\"a\"b", None);
        check("for=a b", None);
        check("for=a;junk", None);
    }

    #[test]
    fn a_node_is_an_address_with_or_without_a_port() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(node(text.as_bytes()), expected.map(|address| address.parse().unwrap()), "{text}");
        };
        check("192.0.2.1", Some("192.0.2.1"));
        check("192.0.2.1:80", Some("192.0.2.1"));
        check("192.0.2.1:_port", Some("192.0.2.1"));
        check("[2001:db8::1]:443", Some("2001:db8::1"));
        check("[2001:db8::1]:_p.q-r", Some("2001:db8::1"));
        check("2001:db8::1", Some("2001:db8::1"));
        check("[::ffff:192.0.2.1]", Some("192.0.2.1"));
        for bad in
            ["unknown", "_hidden", "_hidden:80", "", "192.0.2.1:", "192.0.2.1:_", "192.0.2.1:_a b", "[::1", "[]:1"]
        {
            check(bad, None);
        }
    }
}
