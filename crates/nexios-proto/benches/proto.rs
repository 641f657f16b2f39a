//! The path of a byte: masks, frames, UTF-8, and with the feature `deflate` its compression.
//!
//! `cargo bench -p nexios-proto --features deflate`

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use nexios_proto::{Connection, Limits, MaskKey, Message, Role, Utf8Bytes, encode};

const SIZES: [usize; 2] = [64, 16 * 1024];

fn key() -> MaskKey {
    MaskKey::from([0x37, 0xfa, 0x21, 0x3d])
}

fn sample(size: usize) -> Message {
    Message::from("abcdefgh".repeat(size / 8))
}

fn mask(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("mask");
    for size in SIZES {
        let mut bytes = vec![7; size];
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
            bencher.iter(|| key().apply(black_box(&mut bytes), 1));
        });
    }
}

/// A masked text message in one frame, as a server gets it from a browser.
fn parse(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("parse");
    for size in SIZES {
        let mut connection = Connection::new(Role::Server, Limits::new());
        let mut frame = Vec::new();
        encode::message(&sample(size), Some(key()), &mut frame);
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
            bencher.iter(|| connection.receive(black_box(&mut frame)));
        });
    }
}

fn encode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("encode");
    for (role, key) in [("server", None), ("client", Some(key()))] {
        for size in SIZES {
            let message = sample(size);
            let mut out = Vec::new();
            group.throughput(Throughput::Bytes(size as u64));
            group.bench_function(BenchmarkId::new(role, size), |bencher| {
                bencher.iter(|| {
                    out.clear();
                    encode::message(black_box(&message), key, &mut out);
                });
            });
        }
    }
}

fn utf8(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("utf8");
    for (name, word) in [("ascii", "abcdefghijkl"), ("mixed", "abc – 世 ")] {
        let text = word.repeat(16 * 1024 / word.len());
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(name, |bencher| {
            let bytes = bytes::Bytes::from(text.clone());
            bencher.iter(|| Utf8Bytes::try_from(black_box(&bytes).clone()));
        });
    }
}

#[cfg(feature = "deflate")]
mod compression {
    use std::hint::black_box;

    use criterion::{BenchmarkId, Criterion, Throughput};
    use nexios_proto::{Compressor, Connection, Limits, Role, encode, handshake::deflate::DeflateParams};

    const SIZES: [usize; 2] = [1024, 4096];

    /// Messages of about this size, all alike and none the same, as a dashboard or a chat sends.
    fn messages(size: usize) -> Vec<String> {
        let mut random = 7_u64;
        let mut next = |below: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % below
        };
        let mut message = || {
            let mut json = String::from("{\"type\":\"snapshot\",\"members\":[");
            while json.len() < size - 2 {
                let (id, score, seen) = (next(1_000_000), next(10_000), next(1_000_000_000));
                let state = ["online", "away", "offline"][usize::try_from(next(3)).unwrap_or_default()];
                let member =
                    format!("{{\"id\":{id},\"name\":\"user {score}\",\"state\":\"{state}\",\"seen\":{seen}}},");
                json.push_str(&member);
            }
            json.truncate(size - 2);
            json + "]}"
        };
        (0..64).map(|_| message()).collect()
    }

    pub(crate) fn deflate(criterion: &mut Criterion) {
        let mut group = criterion.benchmark_group("deflate");
        for size in SIZES {
            let messages = messages(size);
            group.throughput(Throughput::Bytes(size as u64));
            for level in [1, 2, 3, 6] {
                for (kind, resets) in [("reset", true), ("takeover", false)] {
                    let mut compressor = Compressor::new(level, 15);
                    let (mut out, mut turn) = (Vec::new(), messages.iter().cycle());
                    group.bench_function(BenchmarkId::new(format!("level {level} {kind}"), size), |bencher| {
                        bencher.iter(|| {
                            out.clear();
                            let payload = turn.next().map_or("", String::as_str);
                            compressor.compress(black_box(payload).as_bytes(), &mut out);
                            if resets {
                                compressor.reset();
                            }
                        });
                    });
                }
            }
        }
    }

    pub(crate) fn inflate(criterion: &mut Criterion) {
        let mut group = criterion.benchmark_group("inflate");
        for size in SIZES {
            group.throughput(Throughput::Bytes(size as u64));
            for (kind, resets) in [("reset", true), ("takeover", false)] {
                let mut compressor = Compressor::new(6, 15);
                let mut frame = |message: String| {
                    let (mut payload, mut frame) = (Vec::new(), Vec::new());
                    compressor.compress(message.as_bytes(), &mut payload);
                    if resets {
                        compressor.reset();
                    }
                    encode::compressed(true, &payload, Some(super::key()), &mut frame);
                    frame
                };
                let mut frames: Vec<_> = messages(size).into_iter().map(&mut frame).collect();
                let params = DeflateParams {
                    server_no_context_takeover: resets,
                    client_no_context_takeover: resets,
                    server_max_window_bits: 15,
                    client_max_window_bits: 15,
                };
                let mut connection = Connection::with_deflate(Role::Server, Limits::new(), params);
                let mut turn = frames.len() - 1;
                group.bench_function(BenchmarkId::new(kind, size), |bencher| {
                    bencher.iter(|| {
                        turn = (turn + 1) % frames.len();
                        connection.receive(black_box(&mut frames[turn]))
                    });
                });
            }
        }
    }
}

#[cfg(feature = "deflate")]
criterion_group!(benches, mask, parse, encode, utf8, compression::deflate, compression::inflate);
#[cfg(not(feature = "deflate"))]
criterion_group!(benches, mask, parse, encode, utf8);
criterion_main!(benches);
