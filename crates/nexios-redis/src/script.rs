//! The two scripts that streams are written and read with.

use redis::{Cmd, Pipeline, Script};

/// The scripts, each with its name on the server (a hash of its text).
pub(crate) struct Scripts {
    append: Named,
    read: Named,
}

struct Named {
    text: String,
    hash: String,
}

impl Scripts {
    pub(crate) fn new() -> Self {
        Self {
            append: Named::new(include_str!("scripts/append.lua")),
            read: Named::new(include_str!("scripts/read.lua")),
        }
    }

    /// Has a server learn them.
    pub(crate) fn load(&self, pipeline: &mut Pipeline) {
        for script in [&self.append, &self.read] {
            pipeline.cmd("SCRIPT").arg("LOAD").arg(&script.text);
        }
    }

    /// A call of the script that appends, without its arguments, which have about this many bytes.
    pub(crate) fn append(&self, key: &str, size: usize) -> Cmd {
        self.append.call(key, size)
    }

    /// A call of the script that reads, without its arguments.
    pub(crate) fn read(&self, key: &str) -> Cmd {
        self.read.call(key, 0)
    }
}

impl Named {
    fn new(text: &str) -> Self {
        let text = format!("{}{text}", include_str!("scripts/stream.lua"));
        let hash = Script::new(&text).get_hash().to_owned();
        Self { text, hash }
    }

    fn call(&self, key: &str, size: usize) -> Cmd {
        let mut command = Cmd::with_capacity(16, size + key.len() + 256);
        command.arg("EVALSHA").arg(&self.hash).arg(1).arg(key);
        command
    }
}
