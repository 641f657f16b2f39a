//! The opening handshake, both halves.

mod client;
mod deflate;
mod extension;
mod server;

/// Header lines as they come from an HTTP library.
type Lines = Vec<(&'static str, &'static str)>;

fn headers<'a>(lines: &'a [(&'static str, &'static str)]) -> impl Iterator<Item = (&'a str, &'a [u8])> + Clone {
    lines.iter().map(|(name, value)| (*name, value.as_bytes()))
}

/// The lines with one replaced, or taken out.
fn with(lines: &Lines, name: &str, value: Option<&'static str>) -> Lines {
    let replaced = lines.iter().map(|&(found, old)| (found, if found == name { value } else { Some(old) }));
    replaced.filter_map(|(found, value)| Some((found, value?))).collect()
}

/// The lines and one more.
fn and(lines: &Lines, name: &'static str, value: &'static str) -> Lines {
    let mut lines = lines.clone();
    lines.push((name, value));
    lines
}
