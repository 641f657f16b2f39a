//! Installs what the steps need on Debian, and says what is missing where it cannot.

pub(crate) mod cargo_tool;
pub(crate) mod chromium;
mod debian;
pub(crate) mod engines;
pub(crate) mod fuzzer;
pub(crate) mod network;
pub(crate) mod node;
pub(crate) mod openssl;
pub(crate) mod python;
pub(crate) mod valgrind;
