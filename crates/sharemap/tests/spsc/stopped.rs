//! A stopped process is alive, and keeps its ends.

#![allow(unsafe_code, reason = "sends signals")]

use super::*;
use crate::peer::Peer;
use crate::told::start;

fn signal(peer: &Peer, signal: i32) {
    let process = peer.id() as i32;
    // SAFETY: a child of this process, which is waited for only until it stops.
    unsafe {
        assert_eq!(libc::kill(process, signal), 0);
        if signal == libc::SIGSTOP {
            let stopped = libc::waitpid(process, std::ptr::null_mut(), libc::WUNTRACED);
            assert_eq!(stopped, process);
        }
    }
}

#[test]
fn ends_of_a_stopped_process_stay_claimed() {
    need_atomics!();
    let name = Unique::new("stopped");
    let channel = Spsc::<u64>::create_new(&name, 2).unwrap();
    let mut peer = start(&name.text);
    assert_eq!(peer.ask("sender"), "()");
    assert_eq!(peer.ask("send 1"), "()");
    let mut receiver = channel.receiver().unwrap();
    signal(&peer, libc::SIGSTOP);
    assert_eq!(receiver.recv().unwrap(), 1);
    for _ in 0..5 {
        fails(ErrorKind::Timeout, receiver.recv_timeout(SHORT));
        assert_eq!(receiver.try_recv().unwrap(), None);
        fails(ErrorKind::Busy, channel.sender());
    }
    assert!(!receiver.is_closed().unwrap());
    assert_eq!(channel.stats().unwrap().senders, 1);
    signal(&peer, libc::SIGCONT);
    assert_eq!(peer.ask("send 2"), "()");
    assert_eq!(receiver.recv().unwrap(), 2);
    assert_eq!(peer.ask("leave"), "()");
    drop(receiver);
    // A stopped receiver, beside a sender that waits for room.
    assert_eq!(peer.ask("receiver"), "()");
    let mut sender = channel.sender().unwrap();
    sender.send_many(&[3, 4]).unwrap();
    signal(&peer, libc::SIGSTOP);
    for _ in 0..5 {
        fails(ErrorKind::Timeout, sender.send_timeout(&5, SHORT));
        fails(ErrorKind::Busy, channel.receiver());
    }
    assert!(!sender.is_closed().unwrap());
    thread::scope(|scope| {
        let before = channel.stats().unwrap().send_waits;
        let waiting = scope.spawn(|| sender.send(&5));
        until("a sender that sleeps", || channel.stats().unwrap().send_waits > before);
        signal(&peer, libc::SIGCONT);
        assert_eq!(peer.ask("recv"), "3");
        waiting.join().unwrap().unwrap();
    });
    assert_eq!((peer.ask("recv"), peer.ask("recv")), ("4".to_owned(), "5".to_owned()));
    // A stopped process that is killed is dead.
    signal(&peer, libc::SIGSTOP);
    peer.kill();
    drop(channel.receiver().unwrap());
}
