//! permessage-deflate (RFC 7692): what is agreed on, what is sent compressed and how, what may arrive.

mod broadcast;
mod client_role;
mod concurrency;
mod memory;
mod negotiation;
mod order;
mod payload;
mod peer;
mod receiving;
mod sending;
