//! The file service when the world misbehaves: calls that fail (injected by strace), peers that reset in every state, a
//! second server in the same directory.
//!
//! What must hold is always the same: the old file is whole, nothing stray is left, no descriptor leaks, and the server
//! goes on.

#![cfg(target_os = "linux")]

#[path = "common/client.rs"]
mod client;
#[path = "common/daemon.rs"]
mod daemon;
#[path = "common/share.rs"]
mod share;

use std::net::Shutdown;
use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use std::time::Instant;

use nix::sys::signal::Signal;
use nix::sys::socket::{setsockopt, sockopt};
use share::{Share, Wire, field, get, get2, noise, put2, request, sha256};

const MIB: usize = 1 << 20;
const NONE: [u8; 32] = [0; 32];

/// A share whose daemon has calls fail as this says, in the words of strace; `None`, and a line that says so, where
/// strace may not trace.
fn under(test: &str, injection: &str) -> Option<Share> {
    let can_trace = Command::new("strace").args(["-o", "/dev/null", "true"]).stderr(Stdio::null()).status();
    if !can_trace.is_ok_and(|status| status.success()) {
        println!("skipped: strace is missing, or may not trace here");
        return None;
    }
    let inject = format!("inject={injection}");
    let strace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", &inject];
    let directory = share::directory(test);
    std::fs::write(directory.join("a"), b"old").unwrap();
    Some(Share::under(&strace, directory, &["files_writable=true", "disk_reserve=0"]))
}

/// Stores `a` anew; the status of the last answer.
fn store(share: &Share) -> u8 {
    let mut wire = share.connect();
    wire.send(put2("a", 5, NONE));
    let first = wire.head();
    if first.1 != 0 {
        return first.1;
    }
    assert_eq!(wire.number(), 0);
    wire.send(b"hello");
    wire.head().1
}

#[test]
fn a_call_that_fails_fails_the_upload_and_nothing_else() {
    for (test, injection, status) in [
        ("eio", "fsync:error=EIO", 9),
        ("enospc", "pwrite64:error=ENOSPC", 5),
        ("edquot", "pwrite64:error=EDQUOT", 5),
        ("rename", "renameat:error=EIO", 9),
        ("rename2", "renameat2,renameat:error=ENOSPC", 5),
        ("chmod", "fchmod:error=EPERM", 9),
        ("statfs", "fstatfs:error=EIO", 9),
    ] {
        let Some(share) = under(test, injection) else { return };
        assert_eq!(store(&share), status, "{injection}");
        share.await_names(&["a"]);
        assert_eq!(share.read("a"), b"old", "{injection}");
        // And the next one is told the same: nothing is stuck.
        assert_eq!(store(&share), status, "{injection}");
    }
}

#[test]
fn a_disk_that_goes_on_failing_does_not_fill_the_log() {
    let Some(mut share) = under("log", "fsync:error=EIO") else { return };
    let began = Instant::now();
    (0..30).for_each(|_| assert_eq!(store(&share), 9));
    let seconds = began.elapsed().as_secs() as usize;
    share.daemon.signal(Signal::SIGTERM);
    let (exit, _, log) = share.daemon.wait();
    let told = log.matches(r#""a" cannot be stored: the disk failed (errno 5)"#).count();
    assert!(exit == 0 && (1..=seconds + 2).contains(&told), "{told} times in {seconds} s:\n{log}");
}

#[test]
fn an_interrupted_call_is_made_again() {
    let injection = "pwrite64,fsync,sendfile,preadv2,flock:error=EINTR:when=1+2";
    let Some(share) = under("eintr", injection) else { return };
    assert_eq!(store(&share), 0);
    share.write("big", &noise(5 * MIB));
    let mut wire = share.connect();
    wire.send(get("big"));
    assert_eq!(wire.number(), 5 * MIB as u64);
    assert!(wire.take(5 * MIB) == noise(5 * MIB));
    wire.send(request(0x14, "big"));
    assert_eq!((wire.head().1, wire.number(), wire.number() > 0), (0, 5 * MIB as u64, true));
    assert_eq!(wire.take(32), sha256(&noise(5 * MIB)));
}

#[test]
fn a_disk_that_fails_to_read_ends_the_download_and_no_other() {
    let Some(share) = under("sendfile", "sendfile:error=EIO:when=2") else { return };
    share.write("big", &noise(5 * MIB));
    let mut wire = share.connect();
    wire.send(get("big"));
    assert_eq!(wire.number(), 5 * MIB as u64);
    assert!(wire.rest().len() < 5 * MIB);
    let mut wire = share.connect();
    wire.send(get("big"));
    assert_eq!(wire.number(), 5 * MIB as u64);
    assert!(wire.take(5 * MIB) == noise(5 * MIB));
}

#[test]
fn a_kernel_without_openat2_is_as_safe() {
    for (test, error) in [("enosys", "ENOSYS"), ("eperm", "EPERM")] {
        let Some(share) = under(test, &format!("openat2:error={error}")) else { return };
        std::os::unix::fs::symlink("a", share.path("link")).unwrap();
        std::fs::create_dir(share.path("folder")).unwrap();
        let mut wire = share.connect();
        wire.send(get("a"));
        assert_eq!(wire.take(11), b"\0\0\0\0\0\0\0\x03old");
        for name in ["link", "folder", "../a", "nobody"] {
            wire.send(get(name));
            assert_eq!(wire.number(), 0, "{name}");
        }
    }
}

/// Ends it with RST.
fn reset(wire: Wire) {
    let linger = nix::libc::linger { l_onoff: 1, l_linger: 0 };
    setsockopt(&wire.stream.as_fd(), sockopt::Linger, &linger).unwrap();
}

#[test]
fn a_reset_in_any_state_gives_everything_back() {
    let share = Share::new("reset", &["files_writable=true", "max_uploads=2"]);
    share.write("big", &vec![7; 64 * MIB]);
    share.write("a", b"old");
    share.daemon.still_answers();
    let before = share.daemon.descriptors();
    for round in 0..3 {
        reset(share.connect());
        // Inside a request, also a name that is skipped, and behind one whose answer nobody reads.
        for bytes in [&[2, b'a'][..], &[0x12, 0xff], &[0x14, 0xff, 0xff, b'x'], &[1], &[0x11]] {
            let mut wire = share.connect();
            wire.send(bytes);
            reset(wire);
        }
        // While a digest is computed, an upload begins, its bytes come, and it waits for a place.
        let mut stat = share.connect();
        stat.send(request(0x14, "a"));
        let mut begun = share.connect();
        begun.send(put2("a", 10, NONE));
        let mut half = share.connect();
        half.send(put2("b", 1_000_000, [round + 1; 32]));
        assert_eq!((half.head().1, half.number()), (0, 0));
        half.send(vec![7; 300_000]);
        let mut waits = share.connect();
        waits.send(put2("c", 1, NONE));
        let mut waits_on = share.connect();
        waits_on.send(put2("d", 0, NONE));
        for wire in [stat, waits, half, begun] {
            reset(wire);
        }
        // Whoever waited behind them has its turn.
        assert_eq!((waits_on.head().1, waits_on.number()), (0, 0));
        assert_eq!(waits_on.head().1, 0);
        assert_eq!(waits_on.take(32).len(), 32);
        drop(waits_on);
        // In the middle of a download, read or not.
        for read in [0, 8, 3 * MIB] {
            let mut wire = share.connect();
            wire.send(get("big"));
            wire.take(read);
            reset(wire);
        }
        let mut ranged = share.connect();
        ranged.send(get2("big", 1, 0));
        assert_eq!(ranged.head().1, 0);
        reset(ranged);
    }
    share.daemon.await_descriptors(before);
    let names: Vec<_> =
        share.names().into_iter().filter(|name| !name.starts_with(".rawline-part-")).collect();
    assert_eq!(names, ["a", "big", "d"], "no temporary file, no torn one");
    assert_eq!(share.read("a"), b"old");
}

#[test]
fn a_client_that_half_closes_gets_its_answer() {
    let share = Share::new("half-close", &["files_writable=true"]);
    share.write("big", &noise(5 * MIB));
    let mut wire = share.connect();
    wire.send([get("big"), request(0x14, "big")].concat());
    wire.stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(wire.number(), 5 * MIB as u64);
    assert!(wire.take(5 * MIB) == noise(5 * MIB));
    assert_eq!((wire.head().1, wire.number()), (0, 5 * MIB as u64));
    assert_eq!(wire.rest().len(), 8 + 32, "and then the end");
    // In an upload the end of the stream comes too early: it is over, and what it had is kept to be resumed.
    let digest = [7; 32];
    let mut wire = share.connect();
    wire.send(put2("b", 1_000_000, digest));
    assert_eq!((wire.head().1, wire.number()), (0, 0));
    wire.send(vec![1; 300_000]);
    wire.stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(wire.rest(), b"");
    // What a helper had not taken over by then is sent again.
    let have = share.resume("b", 1_000_000, digest).1;
    assert!((1..=300_000).contains(&have), "{have}");
}

#[test]
fn a_second_server_does_not_sweep_what_the_first_is_writing() {
    let share = Share::new("shared-twice", &["files_writable=true"]);
    let mut wire = share.connect();
    wire.send([&[3][..], &field("a"), &5u64.to_be_bytes(), b"hel"].concat());
    share.await_temporary();
    std::fs::write(share.path(".rawline-tmp-1-1"), b"left over").unwrap();
    let second = Share::at(share.directory.clone(), &["files_writable=true"]);
    assert!(!share.names().contains(&".rawline-tmp-1-1".into()), "what nobody holds is gone");
    wire.send(b"lo");
    wire.send([1]);
    assert_eq!(wire.take(4), 1u32.to_be_bytes());
    assert_eq!(second.read("a"), b"hello");
}
