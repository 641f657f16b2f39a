//! A token in a query: `application/x-www-form-urlencoded`, as browsers make it (URL Standard §5).

use std::borrow::Cow;

/// The first parameter of this name that is a token. [`Params`](crate::Params) shows what is no UTF-8 with replacement
/// characters; a token that was not read exactly is none.
pub(super) fn token(query: &str, name: &str) -> Option<Box<str>> {
    query.split('&').find_map(|pair| {
        let (found, value) = pair.split_once('=')?;
        if decode(found)? != name {
            return None;
        }
        decode(value).filter(|value| !value.is_empty()).map(Box::from)
    })
}

fn decode(text: &str) -> Option<Cow<'_, str>> {
    if !has_whole_escapes(text.as_bytes()) {
        return None;
    }
    if !text.contains('+') {
        return percent_encoding::percent_decode_str(text).decode_utf8().ok();
    }
    let text = text.replace('+', " ");
    let decoded = percent_encoding::percent_decode_str(&text).decode_utf8().ok()?;
    Some(Cow::Owned(decoded.into_owned()))
}

/// RFC 3986 §2.1: behind `%` come two hexadecimal digits.
fn has_whole_escapes(text: &[u8]) -> bool {
    let mut rest = text;
    while let Some(at) = rest.iter().position(|&byte| byte == b'%') {
        match &rest[at + 1..] {
            [high, low, behind @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => rest = behind,
            _ => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_in_a_query_is_decoded_or_none() {
        let check = |query, expected| assert_eq!(token(query, "token").as_deref(), expected, "{query:?}");
        check("token=abc", Some("abc"));
        check("a=1&token=a%2Bb%3D&token=c", Some("a+b="));
        check("token=a+b", Some("a b"));
        check("t%6Fken=x", Some("x"));
        check("token=%C3%BC+", Some("ü "));
        check("token=a=b", Some("a=b"));
        for none in ["", "token", "token=", "&&=&", "Token=x", "token=%", "token=%2", "token=%zz", "token=a%2%42"] {
            check(none, None);
        }
        for no_utf8 in ["token=%FF", "token=%C3", "token=a%ED%A0%80"] {
            check(no_utf8, None);
        }
        check("%=1&%ff=2&token=%ff&token=&token=x", Some("x"));
    }
}
