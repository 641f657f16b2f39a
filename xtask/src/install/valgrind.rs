//! Debian's valgrind.

use crate::install::debian;
use crate::step::Problem;

pub(crate) fn present() -> Result<(), Problem> {
    debian::ensure("valgrind", &["valgrind"], || debian::runs("valgrind", &["--version"]))
}
