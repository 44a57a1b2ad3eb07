//! The child of a [`Served`](super::served::Served) side.

use std::io::{Read, Write};
use std::path::Path;

use crate::peers::served::Operation;
use crate::peers::{churn, count, fault};
use crate::reason::{Reason, why};

/// Runs operations in the child on request, until the end of its input.
pub fn serve(words: &[String]) -> Result<(), Reason> {
    let mut operation: Operation = match words {
        [peer] if peer == fault::NAME => fault::prepare()?,
        [peer, path] => churn::prepare(peer, Path::new(path))?,
        [peer, path, pause] => {
            let pause = pause.parse().map_err(why)?;
            count::prepare(peer, Path::new(path), pause)?
        }
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
