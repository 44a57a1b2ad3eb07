//! Loop devices, which take privileges.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

/// A loop device over a file, detached when the value is dropped.
pub struct LoopDevice {
    device: File,
    path: PathBuf,
}

impl LoopDevice {
    pub fn over(backing: &Path) -> io::Result<Self> {
        const LOOP_CTL_GET_FREE: u64 = 0x4C82;
        const LOOP_SET_FD: u64 = 0x4C00;
        let open = |path: &Path| File::options().read(true).write(true).open(path);
        let backing = open(backing)?;
        let control = open(Path::new("/dev/loop-control"))?;
        // SAFETY: takes and returns only numbers.
        let number = unsafe { libc::ioctl(control.as_raw_fd(), LOOP_CTL_GET_FREE as _) };
        if number < 0 {
            return Err(io::Error::last_os_error());
        }
        let path = PathBuf::from(format!("/dev/loop{number}"));
        let device = open(&path)?;
        // SAFETY: takes two open descriptors.
        if unsafe { libc::ioctl(device.as_raw_fd(), LOOP_SET_FD as _, backing.as_raw_fd()) } < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { device, path })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        const LOOP_CLR_FD: u64 = 0x4C01;
        // SAFETY: takes only a number.
        unsafe { libc::ioctl(self.device.as_raw_fd(), LOOP_CLR_FD as _) };
    }
}
