#![doc = include_str!("../README.md")]

mod backoff;
mod connection;
mod driver;
mod high_watermark;
mod jetstream;
mod names;
mod nats;
mod publish;
mod reorder;
mod settings;
mod subscription;

pub use nats::Nats;
pub use settings::Storage;
