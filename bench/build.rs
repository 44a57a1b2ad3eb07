//! Tells the program which compiler compiled it, because budgets of instructions depend on that.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let compiler = std::env::var_os("RUSTC").expect("cargo names the compiler");
    let version = Command::new(compiler).arg("--version").output().expect("the compiler runs");
    let version = String::from_utf8_lossy(&version.stdout);
    println!("cargo::rustc-env=SHAREMAP_RUSTC_VERSION={}", version.trim());
}
