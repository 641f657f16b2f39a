//! A temporary folder.

use std::fs;
use std::path::{Path, PathBuf};

/// Is there until it is dropped.
#[derive(Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        let name = format!("nexios-engine-{}-{:016x}", std::process::id(), fastrand::u64(..));
        let folder = Self(std::env::temp_dir().join(name));
        folder.create();
        folder
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Throws everything in it away.
    pub(crate) fn empty(&self) {
        // What cannot be removed is seen by the server that finds it.
        let _ = fs::remove_dir_all(&self.0);
        self.create();
    }

    fn create(&self) {
        fs::create_dir_all(&self.0).unwrap_or_else(|error| panic!("{}: {error}", self.0.display()));
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
