//! What was published to a group, for those who come later and for those who come back.

mod bounds;
mod envelope;
mod paging;
mod quotas;
mod races;
mod replay;
mod room;
mod together;
mod unrecovered;
