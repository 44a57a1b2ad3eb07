//! Peers that need a process of their own: a child that runs so many operations when asked, and
//! says how long that took. It runs on the CPU of its parent, which waits meanwhile.

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use crate::measure::{Reason, why};
use crate::peers::fault;

/// A child that serves one peer.
pub struct Served {
    child: Child,
    requests: Option<ChildStdin>,
    answers: ChildStdout,
}

impl Served {
    /// Starts this program again as the peer of that name.
    pub fn start(peer: &str) -> Result<Self, Reason> {
        let program = std::env::current_exe().map_err(why)?;
        let mut child = Command::new(program)
            .args(["serve", peer])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(why)?;
        let requests = child.stdin.take();
        let answers = child.stdout.take().ok_or("the peer has no output")?;
        Ok(Self { child, requests, answers })
    }

    /// Time for so many operations there.
    pub fn run(&mut self, repeats: u64) -> Result<Duration, Reason> {
        let requests = self.requests.as_mut().ok_or("the peer has no input")?;
        requests.write_all(&repeats.to_le_bytes()).map_err(why)?;
        let mut answer = [0; 8];
        let read = self.answers.read_exact(&mut answer);
        read.map_err(|error| format!("the peer's process ended: {error}"))?;
        Ok(Duration::from_nanos(u64::from_le_bytes(answer)))
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // The end of its input is what ends it.
        drop(self.requests.take());
        let _ = self.child.wait();
    }
}

/// The child's side: answers until its input ends.
pub fn serve(words: &[String]) -> Result<(), Reason> {
    let mut operation = match words {
        [peer] if peer == fault::NAME => fault::prepare()?,
        _ => return Err("no such peer".into()),
    };
    let mut request = [0; 8];
    while std::io::stdin().read_exact(&mut request).is_ok() {
        let took = operation(u64::from_le_bytes(request));
        let nanoseconds = took.as_nanos() as u64;
        let mut out = std::io::stdout();
        out.write_all(&nanoseconds.to_le_bytes()).and_then(|()| out.flush()).map_err(why)?;
    }
    Ok(())
}
