//! The tasks of the second processes of the tour.

use super::edit::NUMBERS;
use super::peer::Action;
use super::{file_lock, greeting, large_blocks, named_map, owner_died, signals};
use crate::failure::{Failure, complain};
use crate::output::tell;
use crate::system;
use sharemap::{Mapping, MappingMut};
use std::error::Error;
use std::fs::OpenOptions;
use std::io;
use std::path::{Path, PathBuf};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    action: Action,
    file: PathBuf,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let path = &args.file;
    let result = match args.action {
        Action::WriteNumbers => write_numbers(path),
        Action::ReadNumbers => read_numbers(path),
        Action::CutInHalf => cut_in_half(path),
        Action::ReadRaw => read_raw(path),
        Action::ScanMapping => large_blocks::scan_mapping(path, sharemap::MapOptions::new()),
        Action::ScanPopulated => {
            large_blocks::scan_mapping(path, sharemap::MapOptions::new().populate())
        }
        Action::ScanRead => large_blocks::scan_read(path),
        Action::TouchFew => large_blocks::touch_few(path),
        Action::ReadInTurns => file_lock::read_in_turns(path),
        Action::HoldLock => file_lock::hold(path, say_and_wait),
        Action::ReadBySignal => signals::read_by_signal(path),
        Action::CountUnderLock => owner_died::count(path),
        Action::DieWithLock => owner_died::hold(path, say_and_wait),
        Action::FillMap => named_map::fill(path),
        Action::ReadMap => named_map::read(path),
        Action::InsertUntilKilled => named_map::insert_until_killed(path),
        Action::AnswerByName => greeting::answer_by_name(path),
        Action::AnswerByDescriptor => greeting::answer_by_descriptor(),
    };
    result.map_err(|error| {
        complain(error);
        Failure::Reported
    })
}

type Result0 = Result<(), Box<dyn Error>>;

fn write_numbers(path: &Path) -> Result0 {
    let map = MappingMut::create(path, (NUMBERS * size_of::<i32>()) as u64)?;
    let numbers = map.view::<i32>()?;
    for i in 0..NUMBERS {
        numbers.set(i, 2 * i as i32)?;
    }
    map.close()?;
    Ok(())
}

/// Prints how many numbers are right, and the error at the first index past the end.
fn read_numbers(path: &Path) -> Result0 {
    let map = Mapping::open(path)?;
    let numbers = map.view::<i32>()?;
    let mut right = 0;
    for (i, number) in numbers.iter().enumerate() {
        right += usize::from(number? == 2 * i as i32);
    }
    tell(right)?;
    match numbers.get(NUMBERS) {
        Ok(number) => tell(format!("there is a number {number} at index {NUMBERS}"))?,
        Err(error) => tell(error)?,
    }
    Ok(())
}

fn cut_in_half(path: &Path) -> Result0 {
    let file = OpenOptions::new().write(true).open(path)?;
    say_and_wait()?;
    match file.set_len(file.metadata()?.len() / 2) {
        Ok(()) => tell("done")?,
        // The caller recognizes the error by its number.
        Err(error) => {
            tell(format!("refused {} {error}", error.raw_os_error().unwrap_or_default()))?;
        }
    }
    Ok(())
}

fn read_raw(path: &Path) -> Result0 {
    let mut waited = Ok(());
    let sum = system::read_raw(path, || waited = say_and_wait())?;
    waited?;
    tell(sum)?;
    Ok(())
}

/// Reports to the caller that the setup is complete, and waits until the caller says to continue.
fn say_and_wait() -> io::Result<()> {
    tell("ready")?;
    io::stdin().read_line(&mut String::new()).map(|_| ())
}
