//! The samples as a picture: one strip for each figure.

use std::fmt::Write as _;

use super::samples::Sample;

const WIDTH: f64 = 800.0;
const HEIGHT: f64 = 130.0;
const LEFT: f64 = 70.0;
const TOP: f64 = 28.0;
const GAP: f64 = 44.0;
/// More points than that cannot be seen.
const POINTS: usize = 800;

/// A figure's title, and how it is read from a sample.
type Strip = (&'static str, fn(&Sample) -> f64);

const STRIPS: [Strip; 4] = [
    ("resident memory, MiB", |sample| sample.memory as f64 / 1024.0),
    ("connections", |sample| sample.connections as f64),
    ("descriptors", |sample| sample.descriptors as f64),
    ("bytes queued for peers that do not read, MiB", |sample| sample.queued_bytes as f64 / (1024.0 * 1024.0)),
];

/// An SVG file's text.
pub(super) fn svg(samples: &[Sample]) -> String {
    let end = samples.last().map_or(1.0, |sample| sample.at.as_secs_f64()).max(1.0);
    let (width, height) = (LEFT + WIDTH + 20.0, TOP + (HEIGHT + GAP) * STRIPS.len() as f64);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n"
    );
    for (number, strip) in STRIPS.iter().enumerate() {
        draw(&mut out, samples, *strip, TOP + (HEIGHT + GAP) * number as f64, end);
    }
    out + "</svg>\n"
}

/// Writing to a String cannot fail.
fn draw(out: &mut String, samples: &[Sample], (title, value): Strip, top: f64, end: f64) {
    let most = round_up(samples.iter().map(value).fold(0.0, f64::max));
    let bottom = top + HEIGHT;
    let _ = writeln!(out, "<text x=\"{LEFT}\" y=\"{}\" font-weight=\"bold\">{title}</text>", top - 8.0);
    for part in 0..=2 {
        let share = f64::from(part) / 2.0;
        let y = bottom - share * HEIGHT;
        let _ = writeln!(
            out,
            "<path d=\"M{LEFT} {y:.1}h{WIDTH}\" stroke=\"#ccc\"/><text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            LEFT - 6.0,
            y + 4.0,
            most * share
        );
    }
    for part in 0..=6 {
        let share = f64::from(part) / 6.0;
        let _ = writeln!(
            out,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"#555\">{:.1} min</text>",
            LEFT + share * WIDTH,
            bottom + 16.0,
            end * share / 60.0
        );
    }
    let mut path = String::new();
    for sample in samples.iter().step_by(samples.len().div_ceil(POINTS).max(1)) {
        let x = LEFT + sample.at.as_secs_f64() / end * WIDTH;
        let y = bottom - value(sample) / most * HEIGHT;
        let _ = write!(path, "{x:.1},{y:.1} ");
    }
    let _ = writeln!(out, "<polyline points=\"{}\" fill=\"none\" stroke=\"#1565c0\"/>", path.trim_end());
}

/// The next of 1, 2, 5, 10, 20, 50 and so on.
fn round_up(value: f64) -> f64 {
    let power = 10_f64.powf(value.max(1.0).log10().floor());
    [1.0, 2.0, 5.0, 10.0].map(|step| step * power).into_iter().find(|step| *step >= value).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_ends_at_a_round_number() {
        for (value, expected) in [(0.0, 1.0), (1.5, 2.0), (10.0, 10.0), (31.0, 50.0), (72_000.0, 100_000.0)] {
            assert!((round_up(value) - expected).abs() < 1e-9, "{value}");
        }
    }
}
