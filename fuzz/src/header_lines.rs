//! Header lines as an HTTP library would hand them over, from arbitrary bytes.

/// Names and values. A name is ASCII and is not empty, a value has no line break: an HTTP library sees to that.
pub type Lines<'a> = Vec<(&'a str, &'a [u8])>;

/// The lines of `name:value` in these bytes; others are passed over.
pub fn lines(bytes: &[u8]) -> Lines<'_> {
    bytes.split(|&byte| byte == b'\n').filter_map(line).collect()
}

fn line(line: &[u8]) -> Option<(&str, &[u8])> {
    let colon = line.iter().position(|&byte| byte == b':')?;
    let name = std::str::from_utf8(&line[..colon]).ok()?;
    (!name.is_empty() && name.is_ascii()).then_some((name, &line[colon + 1..]))
}

pub fn iter<'a>(lines: &'a Lines<'a>) -> impl Iterator<Item = (&'a str, &'a [u8])> + Clone {
    lines.iter().copied()
}

/// The values of all lines with this name.
pub fn values<'a>(lines: &'a Lines<'a>, name: &'static str) -> impl Iterator<Item = &'a [u8]> {
    iter(lines).filter(move |(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim_ascii())
}
