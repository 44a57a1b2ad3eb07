//! Loads and unloads plugins, and has its own copy of the library.
//!
//! Each argument is a step: `open:N:PATH` loads a plugin as `N`, `ours:N` has its copy recover faults,
//! `close:N` unloads it, `own` has the host's copy recover faults, `foreign` faults outside of the
//! library and kills the process.

use std::collections::HashMap;
use std::ffi::{CString, c_void};

mod copy {
    use sharemap as library;
    include!("exercise.rs");
}

fn main() {
    let mut plugins = HashMap::<String, *mut c_void>::new();
    for argument in std::env::args().skip(1) {
        let mut words = argument.splitn(3, ':');
        let (what, name) = (words.next().unwrap(), words.next().unwrap_or_default());
        // SAFETY: the paths are the test's plugins, and `plugin_ours` has this signature. The
        // dereference of null is meant to kill the process.
        unsafe {
            match what {
                "open" => {
                    let path = CString::new(words.next().unwrap()).unwrap();
                    let plugin = libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL);
                    assert!(!plugin.is_null(), "{path:?} cannot be loaded");
                    plugins.insert(name.to_string(), plugin);
                }
                "ours" => {
                    let symbol = libc::dlsym(plugins[name], c"plugin_ours".as_ptr());
                    assert!(!symbol.is_null());
                    let ours: extern "C" fn() -> i32 = std::mem::transmute(symbol);
                    assert_eq!(ours(), 0, "faults of {name}");
                }
                "close" => assert_eq!(libc::dlclose(plugins.remove(name).unwrap()), 0),
                "own" => copy::ours(),
                "foreign" => {
                    std::hint::black_box(std::ptr::null::<u8>()).read_volatile();
                }
                _ => panic!("{argument}"),
            }
        }
    }
    println!("recovered");
}
