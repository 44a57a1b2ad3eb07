#![allow(unsafe_code, clippy::undocumented_unsafe_blocks)]
use sharemap::Mapping;
use std::time::Instant;
fn raw(path: &std::ffi::CStr) -> u8 { unsafe {
    let fd = libc::open(path.as_ptr(), libc::O_RDONLY|libc::O_CLOEXEC);
    let mut st: libc::stat = std::mem::zeroed();
    libc::fstat(fd, &mut st);
    let p = libc::mmap(std::ptr::null_mut(), st.st_size as usize, libc::PROT_READ, libc::MAP_SHARED, fd, 0);
    let v = if TOUCH.load(std::sync::atomic::Ordering::Relaxed) { *(p as *const u8) } else {0};
    libc::munmap(p, st.st_size as usize); libc::close(fd); v } }
static TOUCH: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(true);
fn ours(path: &str) -> u8 { let m = Mapping::open(path).unwrap(); if TOUCH.load(std::sync::atomic::Ordering::Relaxed) { m.bytes().get(0).unwrap() } else {0} }
fn main() {
    let path = "/tmp/zz_scratch.bin"; std::fs::write(path, vec![1u8; 4096]).unwrap();
    let c = std::ffi::CString::new(path).unwrap();
    if std::env::args().nth(1).as_deref() == Some("once") { ours(path); eprintln!("-----"); ours(path); return; }
    for touch in [true, false] { TOUCH.store(touch, std::sync::atomic::Ordering::Relaxed);
    let mut rs = vec![]; let mut ro = vec![];
    for _ in 0..60 { let n = 3000;
        let t = Instant::now(); for _ in 0..n { std::hint::black_box(raw(&c)); } let a = t.elapsed().as_nanos() as f64 / n as f64;
        let t = Instant::now(); for _ in 0..n { std::hint::black_box(ours(path)); } let b = t.elapsed().as_nanos() as f64 / n as f64;
        rs.push(a); ro.push(b); }
    rs.sort_by(f64::total_cmp); ro.sort_by(f64::total_cmp);
    println!("touch {touch}: raw {:.0} ours {:.0} ratio {:.3}", rs[30], ro[30], ro[30]/rs[30]); }
}
