//! A program with two versions of the library. Its arguments say which of them recovers faults, in
//! which order.

mod new {
    use sharemap as library;
    include!("exercise.rs");
}

mod old {
    use sharemap_old as library;
    include!("exercise.rs");
}

fn main() {
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "old" => old::ours(),
            "new" => new::ours(),
            "both" => std::thread::scope(|scope| {
                for _ in 0..2 {
                    scope.spawn(old::ours);
                    scope.spawn(new::ours);
                }
            }),
            // SAFETY: not sound: the fault is meant to kill the process.
            "foreign" => unsafe {
                std::hint::black_box(std::ptr::null::<u8>()).read_volatile();
            },
            _ => panic!("{argument}"),
        }
    }
    println!("recovered");
}
