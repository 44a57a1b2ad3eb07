//! Step 12: two programs share a block of memory, by name and by descriptor.

use super::interrupt;
use super::peer::{Action, Peer};
use super::scene::{Outcome, Scene, Step, expect};
use crate::output::tell;
use sharemap::SharedMemory;
use std::path::Path;

pub(super) const STEP: Step = Step {
    name: "greet",
    title: "Two programs share a block, by its name and by its descriptor",
    run,
};

/// The environment variable that tells the second program which descriptor it inherits.
const VARIABLE: &str = "SHAREMAP_TOUR_BLOCK";
/// The offset of the answer.
const ANSWER: usize = 2048;

fn run(scene: &mut Scene<'_>) -> Outcome {
    let name = interrupt::object("greet");
    let named = SharedMemory::create_new(&*name, 4096)?;
    say(&named, 0, &greeting())?;
    let path = Path::new(&*name);
    let second = Peer::start(Action::AnswerByName, path)?;
    scene.did(format!(
        "program 1 created {}; program 2 (process {}) opens it",
        &*name,
        second.id()
    ));
    judge(scene, &named, second)?;
    SharedMemory::unlink(&*name)?;

    let nameless = SharedMemory::anonymous(4096)?;
    say(&nameless, 0, &greeting())?;
    let second = Peer::start_with(Action::AnswerByDescriptor, path, |command| {
        nameless.pass_to(command, VARIABLE)
    })?;
    let id = second.id();
    scene.did(format!(
        "program 1 created memory without a name; program 2 (process {id}) inherits it"
    ));
    judge(scene, &nameless, second)
}

/// Checks what the second program read and what it wrote.
fn judge(scene: &mut Scene<'_>, block: &SharedMemory, second: Peer) -> Outcome {
    let expected = answer(second.id());
    let lines = second.end_well()?;
    let read = lines.first().cloned().unwrap_or_default();
    scene.saw(format!("program 2 read \"{read}\""));
    expect(read == greeting(), "program 2 should have read the greeting")?;
    let answered = hear(block, ANSWER)?;
    scene.saw(format!("program 1 read \"{answered}\""));
    expect(answered == expected, "program 1 should have read the answer")
}

fn greeting() -> String {
    "Good morning, program 2!".into()
}

fn answer(process: u32) -> String {
    format!("Good morning from process {process}!")
}

/// Writes a text and its length at `at`.
fn say(block: &SharedMemory, at: usize, text: &str) -> sharemap::Result<()> {
    block.bytes().write_at(at + 4, text.as_bytes())?;
    block.view_at::<u32>(at, 1)?.set(0, text.len() as u32)
}

/// Reads the text at `at`.
fn hear(block: &SharedMemory, at: usize) -> Result<String, Box<dyn std::error::Error>> {
    let len = block.view_at::<u32>(at, 1)?.get(0)? as usize;
    let bytes = block.view_at::<u8>(at + 4, len)?.to_vec()?;
    Ok(String::from_utf8(bytes)?)
}

/// Runs as the second program, with the block of this name.
pub(super) fn answer_by_name(name: &Path) -> Outcome {
    let name = name.to_str().ok_or("the name is not UTF-8")?;
    reply(&SharedMemory::open(name)?)
}

/// Runs as the second program, with an inherited block.
pub(super) fn answer_by_descriptor() -> Outcome {
    reply(&SharedMemory::from_inherited(VARIABLE)?)
}

fn reply(block: &SharedMemory) -> Outcome {
    tell(hear(block, 0)?)?;
    say(block, ANSWER, &answer(std::process::id()))?;
    Ok(())
}
