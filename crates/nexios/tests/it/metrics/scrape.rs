//! Reads `/metrics` as Prometheus does, and more strictly.

use std::collections::{BTreeMap, BTreeSet};

use crate::serving::{Running, pause};
use crate::wire::Wire;

/// The samples of one scrape, by their names with their labels as they stand there.
pub(super) struct Scrape {
    pub(super) samples: BTreeMap<String, f64>,
    pub(super) text: String,
}

pub(super) async fn get(server: &Running, path: &str) -> (u16, String) {
    let mut wire = Wire::connect(server.address).await;
    wire.send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")).await;
    let head = wire.head().await;
    let body = String::from_utf8(wire.rest().await).unwrap();
    let body = if head.text.contains("chunked") { dechunk(&body) } else { body };
    (head.status, body)
}

fn dechunk(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        whole.push_str(&rest[..size]);
        body = &rest[size + 2..];
    }
    whole
}

pub(super) async fn scrape(server: &Running) -> Scrape {
    let (status, text) = get(server, "/metrics").await;
    assert_eq!(status, 200, "{text}");
    Scrape::parse(text)
}

/// Scrapes until a sample has this value.
pub(super) async fn scrape_until(server: &Running, sample: &str, value: f64) -> Scrape {
    for _ in 0..300 {
        let scrape = scrape(server).await;
        if scrape.samples.get(sample) == Some(&value) {
            return scrape;
        }
        pause(10).await;
    }
    let scrape = scrape(server).await;
    panic!("{sample} is {:?}, not {value}\n{}", scrape.samples.get(sample), scrape.text);
}

impl Scrape {
    /// The text format 0.0.4: each family has its HELP and TYPE once, before all of its samples.
    fn parse(text: String) -> Self {
        let (mut samples, mut kinds, mut helped) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
        let mut family = String::new();
        assert!(text.ends_with('\n'));
        for line in text.lines().filter(|line| !line.is_empty()) {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, words) = help.split_once(' ').unwrap();
                assert!(!words.is_empty() && helped.insert(name.to_owned()), "{line}");
            } else if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').unwrap();
                assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
                assert!(kinds.insert(name.to_owned(), kind.to_owned()).is_none(), "twice: {line}");
                name.clone_into(&mut family);
            } else {
                let (series, value) = line.rsplit_once(' ').unwrap();
                let name = series.split('{').next().unwrap();
                let of_histogram = kinds[&family] == "histogram"
                    && ["_bucket", "_sum", "_count"].iter().any(|end| name == format!("{family}{end}"));
                assert!(name == family || of_histogram, "{line} among {family}");
                check_labels(series);
                let value = value.parse().unwrap_or_else(|_| panic!("no number: {line}"));
                assert!(samples.insert(series.to_owned(), value).is_none(), "twice: {line}");
            }
        }
        let ours = kinds.keys().filter(|name| name.starts_with("nexios_"));
        ours.for_each(|name| assert!(helped.contains(name), "{name} has no HELP"));
        Self { samples, text }
    }

    /// A sample's value; 0 when it is not there.
    pub(super) fn value(&self, sample: &str) -> f64 {
        self.samples.get(sample).copied().unwrap_or(0.0)
    }

    #[track_caller]
    pub(super) fn check(&self, sample: &str, expected: f64) {
        let value = self.value(sample);
        assert!((value - expected).abs() < f64::EPSILON, "{sample} is {value}, not {expected}\n{}", self.text);
    }
}

fn check_labels(series: &str) {
    let Some((name, labels)) = series.split_once('{') else { return };
    assert!(name.chars().all(|char| char.is_ascii_alphanumeric() || char == '_'), "{series}");
    let labels = labels.strip_suffix('}').unwrap();
    for label in labels.split(',') {
        let (key, value) = label.split_once('=').unwrap();
        assert!(key.chars().all(|char| char.is_ascii_lowercase()), "{series}");
        assert!(value.len() >= 2 && value.starts_with('"') && value.ends_with('"'), "{series}");
    }
}
