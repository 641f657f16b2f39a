//! What becomes of messages for a peer that does not read: each policy, who else notices, and what memory it takes.
//!
//! The peers are raw clients on narrow pipes in the same process, so that it is known to the byte what waits.

mod bound;
mod choice;
mod close;
mod compressed;
mod conflate;
mod crowd;
mod drop_newest;
mod drop_oldest;
mod ending;
mod neighbours;
mod offered;
mod random;
mod replay;
mod socket;
mod stage;
