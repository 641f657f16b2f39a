//! Metrics: what an operator reads after what connections did. A recorder is the process's, and so is what it shows: each
//! test has routes of its own.

mod counts;
mod ends;
mod exposition;
mod scrape;
