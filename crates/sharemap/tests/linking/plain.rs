//! A program with one copy of the library. It recovers faults, in threads too if an argument is
//! `threads`, and then dies of a foreign fault if an argument is `foreign`.

mod copy {
    use sharemap as library;
    include!("exercise.rs");
}

fn main() {
    copy::ours();
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "threads" => std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(copy::ours);
                }
            }),
            "foreign" => foreign(),
            _ => panic!("{argument}"),
        }
    }
    println!("recovered");
}

fn foreign() {
    // SAFETY: not sound: the fault is meant to kill the process.
    unsafe { std::hint::black_box(std::ptr::null::<u8>()).read_volatile() };
}
