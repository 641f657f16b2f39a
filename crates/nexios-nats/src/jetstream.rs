//! JetStream: the streams that hold histories, as one connection sees them.

mod api;
mod channel_reader;
mod history;
mod prepare;
mod publish_dedup;
mod streams;

pub(crate) use api::{Ack, ApiError, parse};
#[cfg(test)]
pub(crate) use history::ids;
pub(crate) use history::read;
pub(crate) use prepare::{PreparedStream, prepare};
pub(crate) use publish_dedup::PublishDedup;
pub(crate) use streams::Streams;
