//! The `openssl` program, which makes certificates.

use crate::install::debian;
use crate::step::Problem;

pub(crate) fn present() -> Result<(), Problem> {
    debian::ensure("openssl", &["openssl"], || debian::runs("openssl", &["version"]))
}
