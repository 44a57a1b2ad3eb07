//! The golden channel.

use sharemap::channel::Spsc;

use super::*;

const LEN: usize = 704 + 127 + 1024 + 16;

/// Creates the channel: six messages were sent, and three were received.
fn make(path: &Path) {
    let small = SharedOptions::new().participants(1).lanes(2);
    let channel: Spsc<u32> = small.create_new_channel(Location::file(path), 4).unwrap();
    let (mut sender, mut receiver) = (channel.sender().unwrap(), channel.receiver().unwrap());
    for number in 0x11..=0x16 {
        sender.send(&number).unwrap();
        if number >= 0x14 {
            receiver.recv().unwrap();
        }
    }
}

#[test]
fn the_library_writes_the_documented_channel() {
    need_atomics!();
    let directory = TempDir::new();
    let path = directory.join("made");
    make(&path);
    let image = image(&path);
    let made = listing(&image);
    let documented = documented_as("golden channel", image.len());
    assert!(made == listing(&documented), "FORMAT.md should have\n{made}");
    assert_eq!(image.len(), LEN);
    assert_eq!(image[40..56], fnv("spsc<u32>"));
}

#[test]
fn the_library_uses_the_documented_channel() {
    need_atomics!();
    let directory = TempDir::new();
    let path = directory.file("documented", documented_as("golden channel", LEN));
    let channel = Spsc::<u32>::open(Location::file(&path)).unwrap();
    let stats = channel.stats().unwrap();
    assert_eq!((stats.capacity, stats.sent, stats.received, stats.depth), (4, 6, 3, 3));
    let (mut receiver, mut sender) = (channel.receiver().unwrap(), channel.sender().unwrap());
    sender.send(&0x17).unwrap();
    assert!(!sender.try_send(&0).unwrap());
    drop(sender);
    let left: Vec<u32> = receiver.iter().collect::<Result<_, _>>().unwrap();
    assert_eq!(left, [0x14, 0x15, 0x16, 0x17]);
}
