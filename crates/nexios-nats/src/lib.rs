#![doc = include_str!("../README.md")]

mod api;
mod delivery;
mod doubles;
mod driver;
mod history;
mod link;
mod names;
mod nats;
mod publish;
mod seen;
mod settings;
mod streams;
mod tls;

pub use nats::{Nats, Storage};
