//! Lets two processes take turns with two counting semaphores: one writes a line, and the other
//! answers. This program starts itself as the other process.
//!
//! `cargo run --example taking_turns`

use std::process::{Child, Command};
use std::time::Duration;

use sharemap::{CountingSemaphore, ErrorKind, Mutex, Shared, SharedType};

/// The longest wait. A counting semaphore has no owner, so the death of the process that was to post
/// is not detected.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Default, SharedType)]
struct Talk {
    said: Mutex<[u8; 24]>,
    asked: CountingSemaphore,
    answered: CountingSemaphore,
}

fn main() -> sharemap::Result<()> {
    match std::env::args().nth(1) {
        Some(name) => answer(&*Shared::<Talk>::open(name.as_str())?),
        None => {
            let name = format!("example-turns-{}", std::process::id());
            let talk = Shared::create_new(name.as_str(), Talk::default)?;
            let other = Command::new(std::env::current_exe()?).arg(&name).spawn();
            let asked = other.map(|other| ask(&talk, other));
            Shared::<Talk>::unlink(name.as_str())?;
            asked?
        }
    }
}

fn ask(talk: &TalkHandle, mut other: Child) -> sharemap::Result<()> {
    for question in ["ready?", "how far?", "done?"] {
        say(talk, question)?;
        talk.asked().post()?;
        match talk.answered().wait_timeout(PATIENCE) {
            Err(error) if error.kind() == ErrorKind::Timeout => {
                other.kill()?;
                other.wait()?;
                return Err(error);
            }
            waited => waited?,
        }
        println!("{question:<8} {}", heard(talk)?);
    }
    assert!(other.wait()?.success());
    Ok(())
}

fn answer(talk: &TalkHandle) -> sharemap::Result<()> {
    for answer in ["yes", "half way", "yes"] {
        talk.asked().wait_timeout(PATIENCE)?;
        let answer = format!("{answer} (to \"{}\")", heard(talk)?);
        say(talk, &answer)?;
        talk.answered().post()?;
    }
    Ok(())
}

fn say(talk: &TalkHandle, text: &str) -> sharemap::Result<()> {
    let mut said = talk.said().lock()?;
    *said = [b' '; 24];
    let len = text.len().min(said.len());
    said[..len].copy_from_slice(&text.as_bytes()[..len]);
    Ok(())
}

fn heard(talk: &TalkHandle) -> sharemap::Result<String> {
    let said = *talk.said().lock()?;
    Ok(String::from_utf8_lossy(&said).trim_end().to_owned())
}
