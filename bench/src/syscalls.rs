//! The server's system calls, counted by `strace`.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStderr, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::Result;

/// Calls by name.
pub type Calls = BTreeMap<String, u64>;

/// A running `strace -c`.
#[derive(Debug)]
pub struct Tracer {
    strace: Child,
    output: BufReader<ChildStderr>,
}

impl Tracer {
    /// Attaches to all threads of a process, and returns once it has.
    pub fn attach(pid: u32) -> Result<Self> {
        let mut strace = Command::new("strace")
            .args(["-f", "-c", "-p", &pid.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("strace: {error}"))?;
        let mut output = BufReader::new(strace.stderr.take().ok_or("strace without output")?);
        let mut line = String::new();
        output.read_line(&mut line)?;
        if line.contains("attached") { Ok(Tracer { strace, output }) } else { Err(format!("strace: {line}").into()) }
    }

    /// Detaches and reads the table.
    pub fn finish(mut self) -> Result<Calls> {
        let pid = i32::try_from(self.strace.id()).ok().and_then(Pid::from_raw).ok_or("no process id")?;
        kill_process(pid, Signal::INT)?;
        let mut table = String::new();
        self.output.read_to_string(&mut table)?;
        self.strace.wait()?;
        Ok(parse(&table))
    }
}

/// Lines are `% time, seconds, usecs/call, calls, [errors,] syscall`.
fn parse(table: &str) -> Calls {
    table
        .lines()
        .filter_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let (name, calls) = (*words.last()?, words.get(3)?.parse().ok()?);
            (name != "total" && words.len() >= 5).then(|| (name.to_owned(), calls))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_with_and_without_errors_is_read() {
        let table = "strace: Process 7 detached\n% time     seconds  usecs/call     calls    errors syscall\n\
                     ------ ----------- ----------- --------- --------- ----------------\n\
                     60.00    0.000600           1       600           sendto\n 40.00    0.000400           1       400        10 recvfrom\n\
                     ------ ----------- ----------- --------- --------- ----------------\n100.00    0.001000           1      1000        10 total\n";
        let expected = Calls::from([("sendto".to_owned(), 600), ("recvfrom".to_owned(), 400)]);
        assert_eq!(parse(table), expected);
    }
}
