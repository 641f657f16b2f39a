//! Lookup of header values.

/// The values of all lines with this name, without the white space around them (RFC 9110 §5.5).
pub(super) fn values<'a, H>(headers: H, name: &'static str) -> impl Iterator<Item = &'a [u8]>
where
    H: Iterator<Item = (&'a str, &'a [u8])>,
{
    headers.filter(move |(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim_ascii())
}

/// The value of a header that must not be repeated.
pub(super) enum Single<'a> {
    Missing,
    Once(&'a [u8]),
    Repeated,
}

pub(super) fn single<'a, H>(headers: H, name: &'static str) -> Single<'a>
where
    H: Iterator<Item = (&'a str, &'a [u8])>,
{
    let mut values = values(headers, name);
    match (values.next(), values.next()) {
        (None, _) => Single::Missing,
        (Some(value), None) => Single::Once(value),
        (Some(_), Some(_)) => Single::Repeated,
    }
}

/// The elements of a list over all lines with this name, in order, without empty ones (RFC 9110 §5.6.1).
pub(super) fn elements<'a, H>(headers: H, name: &'static str) -> impl Iterator<Item = &'a [u8]>
where
    H: Iterator<Item = (&'a str, &'a [u8])>,
{
    values(headers, name)
        .flat_map(|value| value.split(|&byte| byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|element| !element.is_empty())
}

/// Returns true if a list has this element, without regard to case.
pub(super) fn lists<'a, H>(headers: H, name: &'static str, element: &str) -> bool
where
    H: Iterator<Item = (&'a str, &'a [u8])>,
{
    elements(headers, name).any(|found| found.eq_ignore_ascii_case(element.as_bytes()))
}
