#![doc = include_str!("../README.md")]

mod api;
mod complaint;
mod delivery;
mod doubles;
mod driver;
mod history;
mod link;
mod names;
mod nats;
mod order;
mod pauses;
mod prepare;
mod publish;
mod questions;
mod seen;
mod settings;
mod source;
mod state;
mod streams;
mod tls;

pub use nats::{Nats, Storage};
