//! The two Lua scripts that write and read streams.

use redis::{Cmd, Pipeline, Value};

/// The scripts, each with its SHA-1, by which the server knows it.
pub(crate) struct Scripts {
    append: Script,
    read: Script,
}

struct Script {
    text: String,
    hash: String,
}

/// The kind of an attempt to call scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Attempt {
    /// To a server on which the scripts were loaded.
    First,
    /// To a server that may have lost the scripts.
    WithScripts,
    /// To the server to which a slot migrates, which may never have loaded them ("ASK redirection" in the Redis Cluster
    /// Specification).
    Asking,
}

impl Scripts {
    pub(crate) fn new() -> Self {
        Self {
            append: Script::new(include_str!("scripts/append.lua")),
            read: Script::new(include_str!("scripts/read.lua")),
        }
    }

    /// Loads the scripts on a server.
    pub(crate) fn load(&self, pipeline: &mut Pipeline) {
        for script in [&self.append, &self.read] {
            pipeline.cmd("SCRIPT").arg("LOAD").arg(&script.text);
        }
    }

    /// Calls with the commands that an attempt needs in addition.
    pub(crate) fn pipeline(&self, attempt: Attempt, calls: impl IntoIterator<Item = Cmd>) -> Pipeline {
        let mut pipeline = Pipeline::new();
        if attempt != Attempt::First {
            self.load(&mut pipeline);
        }
        for call in calls {
            if attempt == Attempt::Asking {
                pipeline.cmd("ASKING");
            }
            pipeline.add_command(call);
        }
        pipeline
    }

    /// A call of the append script without its arguments, which have about `size` bytes.
    pub(crate) fn append(&self, key: &str, size: usize) -> Cmd {
        self.append.call(key, size)
    }

    /// A call of the read script without its arguments.
    pub(crate) fn read(&self, key: &str) -> Cmd {
        self.read.call(key, 0)
    }
}

impl Attempt {
    /// Selects the replies to the calls from the replies to a pipeline.
    pub(crate) fn call_replies(self, replies: Vec<Value>) -> impl Iterator<Item = Value> {
        let (before, step) = match self {
            Self::First => (0, 1),
            Self::WithScripts => (2, 1),
            Self::Asking => (3, 2),
        };
        replies.into_iter().skip(before).step_by(step)
    }
}

impl Script {
    fn new(text: &str) -> Self {
        let text = format!("{}{text}", include_str!("scripts/stream.lua"));
        let hash = redis::Script::new(&text).get_hash().to_owned();
        Self { text, hash }
    }

    fn call(&self, key: &str, size: usize) -> Cmd {
        let mut command = Cmd::with_capacity(16, size + key.len() + 256);
        command.arg("EVALSHA").arg(&self.hash).arg(1).arg(key);
        command
    }
}
