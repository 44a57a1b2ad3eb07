//! One copy of the library, linked as the test asks: faults of ours, then a foreign one if told.

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
    // SAFETY: none: the process is to die of it.
    unsafe { std::hint::black_box(std::ptr::null::<u8>()).read_volatile() };
}
