//! A minimal fault handler that recovers: it redirects the register with the bad address to valid
//! memory and returns to the same instruction.

use crate::peers::served::Operation;
use crate::reason::Reason;

/// The name of this peer.
pub const NAME: &str = "redirecting handler";

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub use here::prepare;

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub fn prepare() -> Result<Operation, Reason> {
    Err("the handler is written for x86-64 and aarch64".into())
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod here {
    use std::arch::asm;
    use std::ffi::{c_int, c_void};
    use std::time::Instant;

    use super::{Operation, Reason};
    use crate::peers::raw::{RawMap, Write};
    use crate::samples;

    static SCRATCH: u64 = 0;

    extern "C" fn redirect(_: c_int, _: *mut libc::siginfo_t, context: *mut c_void) {
        let scratch = &raw const SCRATCH;
        let context = context.cast::<libc::ucontext_t>();
        // SAFETY: the kernel passes the context of this signal, and the faulting load below keeps
        // its address in this register.
        // address in this register.
        unsafe {
            #[cfg(target_arch = "x86_64")]
            {
                (*context).uc_mcontext.gregs[libc::REG_RSI as usize] = scratch as i64;
            }
            #[cfg(target_arch = "aarch64")]
            {
                (*context).uc_mcontext.regs[1] = scratch as u64;
            }
        }
    }

    /// Performs the load that faults.
    #[inline(never)]
    fn load(address: *const u64) -> u64 {
        let value;
        // SAFETY: reads eight bytes at the address, or of the scratch word if the address faults.
        unsafe {
            #[cfg(target_arch = "x86_64")]
            asm!("mov {}, [rsi]", out(reg) value, inout("rsi") address => _, options(nostack));
            #[cfg(target_arch = "aarch64")]
            asm!("ldr {}, [x1]", out(reg) value, inout("x1") address => _, options(nostack));
        }
        value
    }

    /// Maps two pages over an object of one page and installs the handler.
    pub fn prepare() -> Result<Operation, Reason> {
        let file = samples::in_memory(4096)?;
        let map = RawMap::new(&file, 2 * 4096, Write::No, 0)?;
        // SAFETY: plain integers and pointers, for which zeros are values.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = redirect as extern "C" fn(_, _, _) as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        for signal in [libc::SIGBUS, libc::SIGSEGV] {
            // SAFETY: the handler only changes the context.
            if unsafe { libc::sigaction(signal, &action, std::ptr::null_mut()) } != 0 {
                return Err(format!("sigaction: {}", std::io::Error::last_os_error()));
            }
        }
        Ok(Box::new(move |repeats| {
            let beyond = map.base().wrapping_add(4096).cast_const().cast();
            let start = Instant::now();
            for _ in 0..repeats {
                std::hint::black_box(load(beyond));
            }
            start.elapsed()
        }))
    }
}
