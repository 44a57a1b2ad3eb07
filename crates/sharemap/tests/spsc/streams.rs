//! A channel of bytes as a stream.

use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};

use sharemap::Error;

use super::*;

fn stream(capacity: usize) -> (Spsc<u8>, SpscSender<u8>, SpscReceiver<u8>) {
    let channel = Spsc::create_new(Location::anonymous(), capacity).unwrap();
    let (sender, receiver) = (channel.sender().unwrap(), channel.receiver().unwrap());
    (channel, sender, receiver)
}

/// Bytes arrive as they were written, in pieces of any length, up to the end of the file.
#[test]
fn copies_arrive() {
    need_atomics!();
    let bytes = crate::common::pattern(300_000);
    for capacity in [1, 64, 4096, 1 << 19] {
        // One byte at a time is slow, whatever does it.
        let bytes = &bytes[..bytes.len().min(5000 * capacity)];
        let (_channel, mut sender, mut receiver) = stream(capacity);
        let received = thread::scope(|scope| {
            let writing = scope.spawn(move || io::copy(&mut &bytes[..], &mut sender).unwrap());
            let mut received = Vec::new();
            assert_eq!(io::copy(&mut receiver, &mut received).unwrap(), bytes.len() as u64);
            assert_eq!(writing.join().unwrap(), bytes.len() as u64);
            received
        });
        assert!(received == bytes, "through {capacity} bytes");
        assert_eq!(receiver.read(&mut [0; 4]).unwrap(), 0, "the end stays");
    }
}

/// Pieces that are longer than the channel, and reads that are, too.
#[test]
fn long_pieces_arrive() {
    need_atomics!();
    let bytes = crate::common::pattern(100_000);
    for capacity in [2, 100, 3000] {
        let bytes = &bytes[..bytes.len().min(5000 * capacity)];
        let (_channel, mut sender, mut receiver) = stream(capacity);
        thread::scope(|scope| {
            scope.spawn(move || {
                sender.write_all(bytes).unwrap();
                sender.flush().unwrap();
                // Dropped here: the end of the file.
            });
            let mut exact = vec![0; bytes.len() / 2];
            receiver.read_exact(&mut exact).unwrap();
            assert!(exact == bytes[..exact.len()]);
            let mut rest = Vec::new();
            receiver.read_to_end(&mut rest).unwrap();
            assert!(rest == bytes[exact.len()..]);
        });
    }
}

#[test]
fn lines_arrive() {
    need_atomics!();
    let (_channel, sender, receiver) = stream(50);
    let line = |number: usize| format!("line {number} of {}", "long ".repeat(number % 30));
    thread::scope(|scope| {
        scope.spawn(move || {
            let mut writer = BufWriter::with_capacity(77, sender);
            (0..500).for_each(|number| writeln!(writer, "{}", line(number)).unwrap());
        });
        let mut count = 0;
        for (number, read) in BufReader::with_capacity(33, receiver).lines().enumerate() {
            assert_eq!(read.unwrap(), line(number));
            count += 1;
        }
        assert_eq!(count, 500);
    });
}

/// A write takes what fits, a read what is there, and neither waits for what need not be waited for.
#[test]
fn pieces_are_taken_as_they_fit() {
    need_atomics!();
    let (channel, mut sender, mut receiver) = stream(8);
    assert_eq!(sender.write(&[]).unwrap(), 0);
    assert_eq!(receiver.read(&mut []).unwrap(), 0);
    assert_eq!(sender.write(b"0123456").unwrap(), 7);
    let mut bytes = [0; 20];
    assert_eq!(receiver.read(&mut bytes[..5]).unwrap(), 5);
    // Up to the last slot, then from the first on.
    assert_eq!(sender.write(b"789abcd").unwrap(), 1);
    assert_eq!(sender.write(b"89abcd").unwrap(), 5);
    assert_eq!(sender.write(&[]).unwrap(), 0, "full, and nothing to write");
    assert_eq!(receiver.read(&mut bytes).unwrap(), 8);
    assert_eq!(&bytes[..8], b"56789abc");
    sender.write_all(b"12345678").unwrap();
    drop(receiver);
    let error = sender.write(b"9").unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    assert_eq!(Error::from(error).kind(), ErrorKind::Closed);
    let mut receiver = channel.receiver().unwrap();
    drop(sender);
    let mut text = String::new();
    assert_eq!(receiver.read_to_string(&mut text).unwrap(), 8);
    assert_eq!(text, "12345678");
    // The next sender continues the stream.
    channel.sender().unwrap().write_all(b"more").unwrap();
    assert_eq!(receiver.read_to_string(&mut text).unwrap(), 4);
    assert_eq!(text, "12345678more");
    channel.cancel();
    let _sender = channel.sender().unwrap();
    let error = receiver.read(&mut bytes).unwrap_err();
    assert_eq!(Error::from(error).kind(), ErrorKind::Cancelled);
}
