//! Debian's Chromium.

use std::path::Path;

use crate::install::debian;
use crate::step::Problem;

/// The scripts that drive it name the same place.
const PROGRAM: &str = "/usr/bin/chromium";

pub(crate) fn present() -> Result<(), Problem> {
    // Without a font package the screenshots would have boxes for letters.
    debian::ensure("chromium", &["chromium", "fonts-liberation"], || Path::new(PROGRAM).exists())
}
