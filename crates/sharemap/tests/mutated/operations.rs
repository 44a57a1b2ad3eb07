//! Every operation that returns by itself, timed.

use std::cell::Cell;
use std::time::{Duration, Instant};

use sharemap::inspect::Inspection;
use sharemap::{Error, Location, LockError, Shared, SharedOptions, ViewMut};

use crate::all::All;
use crate::few::{Few, Job};
use crate::image::Shown;
use crate::random::Random;

/// The timeout of every bounded wait.
const SHORT: Duration = Duration::from_millis(1);
/// The seconds after which the kernel kills the process, because an operation hangs.
const HUNG: u32 = 20;

/// The size of the record that a process fills, and the offsets of its fields.
pub const RECORD: usize = 256;
pub const OPERATIONS: usize = 0;
pub const SLOWEST_NS: usize = 8;
pub const NOW: usize = 64;
pub const SLOWEST: usize = 112;
pub const OUTCOME: usize = 160;
pub const TEXT: usize = 48;

/// The time that counts for an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// The elapsed time.
    Elapsed,
    /// The elapsed time without the time in which the process was ready but had no processor.
    /// Querying that takes longer than most operations.
    Own,
}

/// Returns how long this single-threaded process has been ready without a processor, or zero if the
/// system does not report it.
fn waited_for_a_processor() -> Duration {
    let text = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    let waited = text.split_ascii_whitespace().nth(1).and_then(|number| number.parse().ok());
    Duration::from_nanos(waited.unwrap_or(0))
}

/// Times operations. Writes the current and the slowest operation to a record, which the parent
/// process reads.
pub struct Clock<'a> {
    record: ViewMut<'a, u8>,
    measure: Measure,
    count: Cell<u64>,
    slowest: Cell<u64>,
}

impl<'a> Clock<'a> {
    pub fn new(record: ViewMut<'a, u8>, measure: Measure) -> Self {
        record.fill(0).unwrap();
        Self { record, measure, count: Cell::new(0), slowest: Cell::new(0) }
    }

    fn write(&self, at: usize, text: &str) {
        let mut bytes = [0; TEXT];
        let len = text.len().min(TEXT);
        bytes[..len].copy_from_slice(&text.as_bytes()[..len]);
        self.record.write_at(at, &bytes).unwrap();
    }

    /// Times an operation, including the drops at its end. Its result does not matter.
    fn time<R>(&self, name: &str, operation: impl FnOnce() -> R) -> R {
        self.write(NOW, name);
        // SAFETY: takes only a number.
        #[allow(unsafe_code, reason = "the kernel ends what hangs")]
        unsafe {
            libc::alarm(HUNG)
        };
        let waited = || match self.measure {
            Measure::Elapsed => Duration::ZERO,
            Measure::Own => waited_for_a_processor(),
        };
        let (begun, before) = (Instant::now(), waited());
        let result = operation();
        let took = begun.elapsed().saturating_sub(waited().saturating_sub(before));
        let took = took.as_nanos() as u64;
        self.count.set(self.count.get() + 1);
        self.record.write_at(OPERATIONS, &self.count.get().to_le_bytes()).unwrap();
        if took > self.slowest.get() {
            self.slowest.set(took);
            self.record.write_at(SLOWEST_NS, &took.to_le_bytes()).unwrap();
            self.write(SLOWEST, name);
        }
        result
    }

    /// Returns a clock that records nothing, for operations inside a timed one.
    fn silent(&self) -> Self {
        let slowest = Cell::new(u64::MAX);
        Self { record: self.record, measure: Measure::Elapsed, count: Cell::new(0), slowest }
    }

    /// Times an operation and discards its result.
    fn run<R>(&self, name: &str, operation: impl FnOnce() -> R) {
        self.time(name, || drop(operation()));
    }
}

/// Unwraps the guard, and marks the value consistent after the death of an owner.
macro_rules! had {
    ($result:expr) => {
        match $result {
            Ok(guard) => guard,
            Err(LockError::OwnerDied(dead)) => dead.mark_consistent(),
            Err(LockError::Failed(error)) => return Err(error),
        }
    };
}

fn options(random: &mut Random) -> SharedOptions {
    let options = SharedOptions::new().open_timeout(SHORT);
    if random.one_in(2) { options.accept_unclean() } else { options }
}

/// Performs every operation on an object, from opening to unlinking. Records as the outcome whether
/// it opened, or the kind of error.
pub fn everything<T: Shown>(clock: &Clock<'_>, location: &Location, random: &mut Random) {
    look(clock, location);
    let options = options(random);
    clock.run("open_read_only", || {
        let shared = options.open_read_only::<T>(location)?;
        T::use_all(&clock.silent(), &shared);
        sharemap::Result::Ok(())
    });
    let mut outcome = "opened".to_owned();
    match clock.time("open", || options.open::<T>(location)) {
        Ok(shared) => {
            T::use_all(clock, &shared);
            look(clock, location);
            // Opens the object a second time, after the first session detached with its locks still
            // announced.
            clock.run("drop", || drop(shared));
            clock.run("reopen", || options.open::<T>(location).map(drop));
        }
        Err(error) => outcome = format!("{:?}", error.kind()),
    }
    clock.write(OUTCOME, &outcome);
    clock.run("open_or_create", || options.open_or_create(location, T::first).map(drop));
    clock.run("create_new", || options.create_new(location, T::first).map(drop));
    clock.run("unlink", || Shared::<T>::unlink(location));
}

/// Performs every inspection.
fn look(clock: &Clock<'_>, location: &Location) {
    let Ok(look) = clock.time("inspect", || Inspection::open(location)) else { return };
    clock.run("facts", || look.facts());
    clock.run("state", || look.state());
    clock.run("is_clean", || look.is_clean());
    clock.run("attachments", || look.attachments());
    clock.run("is_of_this_boot", || look.is_of_this_boot());
    clock.run("has_creator", || look.has_creator());
    clock.run("has_readers", || look.has_readers());
    clock.run("is_unattached", || look.is_unattached());
    clock.run("participants", || look.participants());
    clock.run("lanes", || look.lanes());
    clock.run("locks", || look.locks());
}

/// Runs each operation, which may fail with any error.
macro_rules! each {
    ($clock:ident: $($name:literal => $body:expr;)*) => { $(
        $clock.run($name, || -> Result<(), Error> {
            $body;
            Ok(())
        });
    )* };
}

/// Performs the operations of every kind of lock.
pub fn all(clock: &Clock<'_>, shared: &Shared<All>) {
    let ((mutex, lock, elements, table), (permits, signal, barrier, condvar), (event, auto, once)) =
        &**shared;
    each! { clock:
        "mutex.is_poisoned" => mutex.is_poisoned()?;
        "mutex.is_locked" => mutex.is_locked()?;
        "mutex.try_lock" => had!(mutex.try_lock())[0] ^= 1;
        "mutex.lock_timeout" => had!(mutex.lock_timeout(SHORT))[1] ^= 1;
        "mutex.lock_timeout, unlock" => had!(mutex.lock_timeout(SHORT)).unlock()?;
        "elements.try_lock" => had!(elements.try_lock()).view().fill(1)?;
        "elements.lock_timeout" => had!(elements.lock_timeout(SHORT)).view().to_vec()?;
        "mutex.lock_or_recover_timeout" => mutex.lock_or_recover_timeout(SHORT, |it| it[0] = 0)?[2] ^= 1;
        "mutex.lock_poisoned_timeout" => drop(mutex.lock_poisoned_timeout(SHORT)?);
        "mutex.lock_poisoned_timeout, accept" => drop(mutex.lock_poisoned_timeout(SHORT)?.mark_consistent());
        "elements.lock_or_recover_timeout" => drop(elements.lock_or_recover_timeout(SHORT, |_| Ok(()))?);
        "elements.lock_poisoned_timeout" => drop(elements.lock_poisoned_timeout(SHORT)?);
        "elements.peek" => elements.view_unlocked().to_vec()?;
        "lock.is_poisoned" => lock.is_poisoned()?;
        "lock.try_read" => drop(had!(lock.try_read()));
        "lock.read_timeout" => drop(had!(lock.read_timeout(SHORT)));
        "lock.read_timeout, twice" => {
            let one = had!(lock.read_timeout(SHORT));
            drop((had!(lock.read_timeout(SHORT)), one));
        };
        "lock.try_write" => had!(lock.try_write())[0] ^= 1;
        "lock.write_timeout" => had!(lock.write_timeout(SHORT))[2] ^= 1;
        "lock.try_upgradable, upgrade_timeout" => {
            let upgradable = had!(lock.try_upgradable());
            upgradable.upgrade_timeout(SHORT).map_err(|(_, error)| error)?.unlock()?;
        };
        "lock.upgradable_timeout" => drop(had!(lock.upgradable_timeout(SHORT)));
        "lock.read_or_recover_timeout" => drop(lock.read_or_recover_timeout(SHORT, |_| ())?);
        "lock.write_or_recover_timeout" => drop(lock.write_or_recover_timeout(SHORT, |_| ())?);
        "lock.read_poisoned_timeout" => drop(lock.read_poisoned_timeout(SHORT)?);
        "lock.write_poisoned_timeout" => drop(lock.write_poisoned_timeout(SHORT)?.mark_consistent());
        "table.read_poisoned_timeout" => drop(table.read_poisoned_timeout(SHORT)?);
        "table.write_poisoned_timeout" => drop(table.write_poisoned_timeout(SHORT)?.mark_consistent());
        "table.peek" => table.view_unlocked().to_vec()?;
        "table.try_read" => had!(table.try_read()).view().get(49)?;
        "table.read_timeout" => had!(table.read_timeout(SHORT)).view().get(49)?;
        "table.try_write" => had!(table.try_write()).view().fill(2)?;
        "table.write_timeout" => had!(table.write_timeout(SHORT)).view().fill(3)?;
        "table.try_upgradable" => drop(had!(table.try_upgradable()));
        "table.upgradable_timeout, upgrade_timeout" => {
            let upgradable = had!(table.upgradable_timeout(SHORT));
            upgradable.upgrade_timeout(SHORT).map_err(|(_, error)| error)?.unlock()?;
        };
        "permits.available" => permits.available()?;
        "permits.try_acquire" => drop(permits.try_acquire()?);
        "permits.acquire_timeout" => {
            let one = permits.acquire_timeout(SHORT)?;
            drop((permits.acquire_timeout(SHORT), permits.acquire_timeout(SHORT), one));
        };
        "signal.count" => signal.count()?;
        "signal.try_wait" => signal.try_wait()?;
        "signal.post" => signal.post()?;
        "signal.post_many" => signal.post_many(1 << 31)?;
        "signal.wait_timeout" => signal.wait_timeout(SHORT)?;
        "barrier.join, wait_timeout" => {
            let member = barrier.join()?;
            member.wait_timeout(SHORT)?;
        };
        "barrier.restart" => barrier.restart()?;
        "condvar.notify_one" => condvar.notify_one()?;
        "condvar.notify_all" => condvar.notify_all()?;
        "condvar.wait_timeout_while" => {
            let guard = had!(mutex.lock_timeout(SHORT));
            drop(condvar.wait_timeout_while(guard, SHORT, |_| true));
        };
        "condvar.wait_timeout_while, of elements" => {
            let guard = had!(elements.lock_timeout(SHORT));
            drop(condvar.wait_timeout_while(guard, SHORT, |_| true));
        };
        "condvar.wait_timeout" => {
            let guard = had!(mutex.lock_timeout(SHORT));
            drop(condvar.wait_timeout(guard, SHORT));
        };
        "event.is_set" => event.is_set()?;
        "event.try_wait" => event.try_wait()?;
        "event.wait_timeout" => event.wait_timeout(SHORT)?;
        "event.set" => event.set()?;
        "event.reset" => event.reset()?;
        "auto.wait_timeout" => auto.wait_timeout(SHORT)?;
        "auto.set, try_wait" => {
            auto.set()?;
            auto.try_wait()?;
        };
        "once.is_done" => once.is_done()?;
        "once.call_timeout" => once.call_timeout(SHORT, |_| sharemap::Result::Ok(()))?;
        "all at once" => {
            let held = (had!(mutex.try_lock()), had!(lock.try_read()), permits.try_acquire()?);
            drop((had!(elements.try_lock()), held));
        };
    }
    // The forgotten guard stays announced until the process ends.
    clock.run("mutex.try_lock, forgotten", || mutex.try_lock().map(std::mem::forget).is_ok());
}

/// Performs the operations of the locks in `Few`.
pub fn few(clock: &Clock<'_>, shared: &Shared<Few>) {
    each! { clock:
        "count.try_lock" => *had!(shared.count().try_lock()) ^= 1;
        "count.lock_timeout" => *had!(shared.count().lock_timeout(SHORT)) ^= 1;
        "job.try_lock" => had!(shared.job().try_lock())[0] = Job::Some;
        "job.lock_timeout" => had!(shared.job().lock_timeout(SHORT))[7] = Job::None;
        "ready.notify_all" => shared.ready().notify_all()?;
        "ready.wait_timeout_while" => {
            let guard = had!(shared.count().lock_timeout(SHORT));
            drop(shared.ready().wait_timeout_while(guard, SHORT, |_| true));
        };
    }
}
