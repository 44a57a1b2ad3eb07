//! Two versions of the library in one program, in either order.

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
            // SAFETY: none: the process is to die of it.
            "foreign" => unsafe {
                std::hint::black_box(std::ptr::null::<u8>()).read_volatile();
            },
            _ => panic!("{argument}"),
        }
    }
    println!("recovered");
}
