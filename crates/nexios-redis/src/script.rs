//! The two scripts that streams are written and read with.

use redis::{Cmd, Pipeline, Script, Value};

/// The scripts, each with its name on the server (a hash of its text).
pub(crate) struct Scripts {
    append: Named,
    read: Named,
}

struct Named {
    text: String,
    hash: String,
}

/// How calls of scripts are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Attempt {
    /// To a server that has learned the scripts.
    First,
    /// To one that has perhaps forgotten them.
    WithScripts,
    /// To the server that a slot is moving to, which may never have heard of them ("ASK redirection" in the Redis Cluster
    /// Specification).
    Asking,
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

    /// Calls with what has to go before them.
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

    /// A call of the script that appends, without its arguments, which have about this many bytes.
    pub(crate) fn append(&self, key: &str, size: usize) -> Cmd {
        self.append.call(key, size)
    }

    /// A call of the script that reads, without its arguments.
    pub(crate) fn read(&self, key: &str) -> Cmd {
        self.read.call(key, 0)
    }
}

impl Attempt {
    /// Of all answers to a pipeline those to its calls.
    pub(crate) fn answers(self, answers: Vec<Value>) -> impl Iterator<Item = Value> {
        let (before, step) = match self {
            Self::First => (0, 1),
            Self::WithScripts => (2, 1),
            Self::Asking => (3, 2),
        };
        answers.into_iter().skip(before).step_by(step)
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
