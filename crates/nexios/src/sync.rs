//! Locks and atomics of what threads race for, so that a model can decide who runs when.
//!
//! They are the standard library's. With `--cfg nexios_model`, unit tests get shuttle's, which look the same: each use is
//! a point where another simulated thread may go on (`cargo xtask model`, `groups/model.rs`). What is never held over
//! another of these may stay the standard library's, and `Arc` and `OnceLock` do.

#[cfg(not(all(test, nexios_model)))]
pub(crate) use std::{
    sync::{Mutex, MutexGuard, atomic},
    thread_local,
};

#[cfg(all(test, nexios_model))]
pub(crate) use shuttle::{
    sync::{Mutex, MutexGuard, atomic},
    thread_local,
};

/// A value that all threads share; in a model, those of one execution.
#[cfg(not(all(test, nexios_model)))]
macro_rules! shared_static {
    ($(#[$attribute:meta])* static $name:ident: $type:ty = $value:expr;) => {
        $(#[$attribute])* static $name: $type = $value;
    };
}

#[cfg(all(test, nexios_model))]
macro_rules! shared_static {
    ($(#[$attribute:meta])* static $name:ident: $type:ty = $value:expr;) => {
        shuttle::lazy_static! { $(#[$attribute])* static ref $name: $type = $value; }
    };
}

pub(crate) use shared_static;
