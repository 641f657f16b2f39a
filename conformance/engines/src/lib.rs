//! Redis and NATS servers for tests: each on a port of its own, with data of its own, and gone with its value.
//!
//! The programs are Debian's `redis-server` and `nats-server`; `cargo xtask` installs them.
//!
//! ```no_run
//! use nexios_engines::Engine;
//!
//! let mut redis = Engine::redis();
//! println!("{}", redis.url()); // redis://127.0.0.1:17012
//! redis.freeze();
//! redis.thaw();
//! redis.kill();
//! redis.restart();
//! ```
//!
//! Everything here is for tests: what goes wrong is a panic that says what, with the server's log.

mod engine;
mod folder;
mod port;
mod program;
mod setup;

pub use engine::Engine;
pub use port::free_port;
pub use setup::Setup;
