//! The contract of a poller, as tests: what [`Poll`] promises, one behaviour each, generic over the
//! poller. The list at the end runs them all for the poller of this build; a twin passes when it passes
//! on its own system.
//!
//! What must not happen is asked with a timeout of zero, after the cause: delivery between two local
//! sockets is synchronous, so there is nothing to sleep for.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, IntoRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};

use super::{Poll, Poller, STARTING_A_PROCESS, kernel_limits, socket, whole_millis};
use crate::limits::EVENTS_PER_WAIT;
use crate::transport::io::{Event, Interest, Token};

const OURS: Token = Token(7);

/// How long a test waits for what must happen before it fails.
const PATIENCE: Duration = Duration::from_secs(10);

/// A poller that watches one end of a Unix-domain pair as [`OURS`], and both ends.
fn watch<P: Poll>(interest: Interest) -> (P, UnixStream, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    theirs.set_nonblocking(true).unwrap();
    let poller = P::new().unwrap();
    poller.add(ours.as_raw_fd(), OURS, interest).unwrap();
    (poller, ours, theirs)
}

/// What a wait of no length brings.
fn at_once(poller: &mut impl Poll) -> Vec<Event> {
    let mut events = vec![Event { token: Token(0), readable: true, writable: true, hangup: true }];
    poller.wait(&mut events, Some(Duration::ZERO)).unwrap();
    events
}

/// The next batch that is not empty.
fn next(poller: &mut impl Poll) -> Vec<Event> {
    let begin = Instant::now();
    let mut events = Vec::new();
    while events.is_empty() {
        let rest = PATIENCE.checked_sub(begin.elapsed()).expect("nothing became ready");
        poller.wait(&mut events, Some(rest)).unwrap();
    }
    events
}

/// Whether the next batch says it of [`OURS`], in one event or another.
fn next_says(poller: &mut impl Poll, what: fn(&Event) -> bool) -> bool {
    next(poller).iter().any(|event| event.token == OURS && what(event))
}

fn ring<P: Poll>(poller: &P) {
    P::ring(poller.bell().as_fd());
}

/// Writes until the socket takes no more.
fn fill(mut stream: &UnixStream) {
    while stream.write(&[0; 4096]).is_ok() {}
}

/// Reads until nothing is left.
fn drain(mut stream: &UnixStream) {
    while stream.read(&mut [0; 4096]).is_ok() {}
}

fn bytes_make_a_socket_readable<P: Poll>() {
    let (mut poller, _ours, mut theirs) = watch::<P>(Interest::READ);
    assert_eq!(at_once(&mut poller), [], "and what was in the vector before is gone");
    theirs.write_all(b"x").unwrap();
    assert_eq!(next(&mut poller), [Event { token: OURS, readable: true, writable: false, hangup: false }]);
}

fn readiness_is_level_triggered<P: Poll>() {
    let (mut poller, mut ours, mut theirs) = watch::<P>(Interest::READ);
    theirs.write_all(b"xy").unwrap();
    assert!(next_says(&mut poller, |event| event.readable));
    assert!(next_says(&mut poller, |event| event.readable), "told again: nothing was read");
    ours.read_exact(&mut [0]).unwrap();
    assert!(next_says(&mut poller, |event| event.readable), "told again: not everything was read");
    ours.read_exact(&mut [0]).unwrap();
    assert_eq!(at_once(&mut poller), []);
}

fn writability_is_told_only_when_asked<P: Poll>() {
    let (mut poller, ours, _theirs) = watch::<P>(Interest::READ);
    assert_eq!(at_once(&mut poller), []);
    poller.modify(ours.as_raw_fd(), OURS, Interest::READ, Interest::BOTH).unwrap();
    assert_eq!(next(&mut poller), [Event { token: OURS, readable: false, writable: true, hangup: false }]);
    assert!(next_says(&mut poller, |event| event.writable), "level-triggered as well");
}

fn room_makes_a_full_socket_writable<P: Poll>() {
    let (mut poller, ours, theirs) = watch::<P>(Interest::WRITE);
    fill(&ours);
    assert_eq!(at_once(&mut poller), []);
    drain(&theirs);
    assert!(next_says(&mut poller, |event| event.writable));
}

fn both_directions_are_told<P: Poll>() {
    let (mut poller, _ours, mut theirs) = watch::<P>(Interest::BOTH);
    theirs.write_all(b"x").unwrap();
    // In one event or in two of one batch.
    let events = next(&mut poller);
    assert!(events.iter().any(|event| event.readable) && events.iter().any(|event| event.writable));
}

fn no_interest_is_silent<P: Poll>() {
    let (mut poller, _ours, mut theirs) = watch::<P>(Interest::NONE);
    assert_eq!(at_once(&mut poller), [], "it could be written");
    theirs.write_all(b"x").unwrap();
    assert_eq!(at_once(&mut poller), [], "it could be read");
    theirs.shutdown(Shutdown::Write).unwrap();
    assert_eq!(at_once(&mut poller), [], "it could be read to its end");
}

fn no_interest_still_hears_a_hangup<P: Poll>() {
    let (mut poller, _ours, theirs) = watch::<P>(Interest::NONE);
    drop(theirs);
    assert!(next_says(&mut poller, |event| event.hangup));
}

fn interest_is_taken_away_and_given_back<P: Poll>() {
    let (mut poller, ours, mut theirs) = watch::<P>(Interest::READ);
    theirs.write_all(b"x").unwrap();
    let all = [Interest::NONE, Interest::READ, Interest::WRITE, Interest::BOTH];
    let mut from = Interest::READ;
    // Every step from one interest to another, both ways.
    for to in all.into_iter().flat_map(|to| all.into_iter().flat_map(move |via| [via, to])) {
        poller.modify(ours.as_raw_fd(), OURS, from, to).unwrap();
        let events = at_once(&mut poller);
        assert_eq!(events.iter().any(|event| event.readable), to.read, "{from:?} to {to:?}");
        assert_eq!(events.iter().any(|event| event.writable), to.write, "{from:?} to {to:?}");
        assert!(events.iter().all(|event| !event.hangup), "{from:?} to {to:?}");
        from = to;
    }
}

fn a_token_comes_back_whole<P: Poll>() {
    for token in [Token(0), Token(1 << 32), Token(u64::MAX - 1)] {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let mut poller = P::new().unwrap();
        poller.add(ours.as_raw_fd(), token, Interest::WRITE).unwrap();
        assert_eq!(next(&mut poller)[0].token, token);
    }
}

fn an_end_of_stream_is_readable_and_no_hangup<P: Poll>() {
    let (mut poller, mut ours, theirs) = watch::<P>(Interest::READ);
    theirs.shutdown(Shutdown::Write).unwrap();
    assert_eq!(next(&mut poller), [Event { token: OURS, readable: true, writable: false, hangup: false }]);
    assert_eq!(ours.read(&mut [0]).unwrap(), 0);
}

fn a_reset_is_a_hangup<P: Poll>() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    for interest in [Interest::NONE, Interest::WRITE, Interest::BOTH] {
        let theirs = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (ours, _) = listener.accept().unwrap();
        let mut poller = P::new().unwrap();
        poller.add(ours.as_raw_fd(), OURS, interest).unwrap();
        socket::abort(theirs.into_raw_fd());
        while !next_says(&mut poller, |event| event.hangup) {}
    }
}

fn a_reset_is_readable<P: Poll>() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let theirs = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (mut ours, _) = listener.accept().unwrap();
    let mut poller = P::new().unwrap();
    poller.add(ours.as_raw_fd(), OURS, Interest::READ).unwrap();
    socket::abort(theirs.into_raw_fd());
    assert!(next_says(&mut poller, |event| event.readable));
    assert_eq!(ours.read(&mut [0]).unwrap_err().raw_os_error(), Some(Errno::ECONNRESET as i32));
}

fn a_connection_makes_a_listener_readable<P: Poll>() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut poller = P::new().unwrap();
    poller.add(listener.as_raw_fd(), OURS, Interest::READ).unwrap();
    assert_eq!(at_once(&mut poller), []);
    let _theirs = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    assert!(next_says(&mut poller, |event| event.readable));
}

fn a_removed_descriptor_is_never_heard_of_again<P: Poll>() {
    let _closes_are_the_last = STARTING_A_PROCESS.read().unwrap();
    for interest in [Interest::NONE, Interest::READ, Interest::BOTH] {
        let (mut poller, ours, mut theirs) = watch::<P>(interest);
        theirs.write_all(b"x").unwrap();
        poller.remove(ours.as_raw_fd(), interest);
        let fd = ours.as_raw_fd();
        drop(ours);
        assert_eq!(at_once(&mut poller), []);
        // Whoever gets the number next starts afresh.
        let (again, _peer) = UnixStream::pair().unwrap();
        if again.as_raw_fd() == fd {
            assert_eq!(at_once(&mut poller), []);
            poller.add(fd, OURS, Interest::WRITE).unwrap();
            assert!(next_says(&mut poller, |event| event.writable));
        }
    }
}

fn a_forgotten_descriptor_is_silent_until_it_is_added_again<P: Poll>() {
    for interest in [Interest::NONE, Interest::READ, Interest::BOTH] {
        let (mut poller, ours, theirs) = watch::<P>(interest);
        theirs.shutdown(Shutdown::Both).unwrap();
        poller.forget(ours.as_raw_fd(), interest).unwrap();
        assert_eq!(at_once(&mut poller), [], "not even a hangup");
        poller.add(ours.as_raw_fd(), OURS, Interest::READ).unwrap();
        assert!(next_says(&mut poller, |event| event.readable));
    }
}

fn a_bell_rung_before_the_wait_ends_it<P: Poll>() {
    let mut poller = P::new().unwrap();
    ring(&poller);
    let mut events = vec![Event { token: OURS, readable: true, writable: true, hangup: true }];
    poller.wait(&mut events, None).unwrap();
    assert_eq!(events, [], "the bell has no event");
}

fn a_bell_rung_from_another_thread_ends_the_wait<P: Poll>() {
    const ROUNDS: usize = 100;
    let mut poller = P::new().unwrap();
    let (bell, start) = (poller.bell(), Barrier::new(2));
    thread::scope(|threads| {
        threads.spawn(|| {
            for _ in 0..ROUNDS {
                // Sometimes it comes before the wait and sometimes during it.
                start.wait();
                P::ring(bell.as_fd());
            }
        });
        for _ in 0..ROUNDS {
            start.wait();
            poller.wait(&mut Vec::new(), None).unwrap();
        }
    });
}

fn a_bell_rung_twice_wakes_once<P: Poll>() {
    let mut poller = P::new().unwrap();
    ring(&poller);
    ring(&poller);
    poller.wait(&mut Vec::new(), None).unwrap();
    let (begin, timeout) = (Instant::now(), Duration::from_millis(20));
    poller.wait(&mut Vec::new(), Some(timeout)).unwrap();
    assert!(begin.elapsed() >= timeout, "a bell that was heard is silent, though nobody read it");
    ring(&poller);
    poller.wait(&mut Vec::new(), None).unwrap();
}

fn a_bell_outlives_its_poller<P: Poll>() {
    let poller = P::new().unwrap();
    let bell = poller.bell();
    drop(poller);
    P::ring(bell.as_fd());
    fcntl(&*bell, FcntlArg::F_GETFD).expect("it is still open");
}

fn a_bell_does_not_hide_a_socket<P: Poll>() {
    let (mut poller, _ours, mut theirs) = watch::<P>(Interest::READ);
    theirs.write_all(b"x").unwrap();
    ring(&poller);
    assert_eq!(next(&mut poller), [Event { token: OURS, readable: true, writable: false, hangup: false }]);
}

fn a_timeout_of_zero_does_not_wait<P: Poll>() {
    let mut poller = P::new().unwrap();
    let begin = Instant::now();
    assert_eq!(at_once(&mut poller), []);
    assert!(begin.elapsed() < PATIENCE);
}

fn a_timeout_is_never_cut_short<P: Poll>() {
    let mut poller = P::new().unwrap();
    for timeout in [1, 999, 1_000, 1_001, 5_700].map(Duration::from_micros) {
        let begin = Instant::now();
        poller.wait(&mut Vec::new(), Some(timeout)).unwrap();
        let waited = begin.elapsed();
        assert!(waited >= Duration::from_millis(timeout.as_micros().div_ceil(1_000) as u64), "{waited:?}");
    }
}

fn an_endless_timeout_is_taken<P: Poll>() {
    let mut poller = P::new().unwrap();
    for timeout in [Some(Duration::MAX), Some(Duration::from_secs(u64::from(u32::MAX))), None] {
        ring(&poller);
        poller.wait(&mut Vec::new(), timeout).unwrap();
    }
}

fn more_than_a_batch_comes_in_several<P: Poll>() {
    const MANY: usize = EVENTS_PER_WAIT + 76;
    kernel_limits::raise_descriptor_limit().unwrap();
    let (mut poller, ours, mut theirs) = watch::<P>(Interest::NONE);
    theirs.write_all(b"x").unwrap();
    let all: Vec<_> = (0..MANY).map(|_| ours.try_clone().unwrap()).collect();
    for (index, one) in all.iter().enumerate() {
        poller.add(one.as_raw_fd(), Token(index as u64), Interest::READ).unwrap();
    }
    let mut seen = HashSet::new();
    while seen.len() < MANY {
        let events = next(&mut poller);
        assert!(events.len() <= EVENTS_PER_WAIT);
        for event in events.iter().filter(|event| event.readable) {
            assert!(
                seen.insert(event.token),
                "a descriptor is there once in a batch, and then asked no more"
            );
            let fd = all[event.token.0 as usize].as_raw_fd();
            poller.modify(fd, event.token, Interest::READ, Interest::NONE).unwrap();
        }
    }
}

fn its_descriptors_are_closed_on_exec<P: Poll>() {
    let poller = P::new().unwrap();
    let flags = fcntl(&*poller.bell(), FcntlArg::F_GETFD).unwrap();
    assert_eq!(FdFlag::from_bits_truncate(flags), FdFlag::FD_CLOEXEC);
}

fn bugs_are_errors<P: Poll>() {
    let poller = P::new().unwrap();
    assert_eq!(poller.add(RawFd::MAX, OURS, Interest::READ), Err(Errno::EBADF));
}

#[test]
fn timeouts_are_rounded_up_to_whole_milliseconds() {
    let of = |nanos| whole_millis(Duration::from_nanos(nanos));
    assert_eq!([of(0), of(1), of(999_999), of(1_000_000), of(1_000_001)], [0, 1, 1, 1, 2]);
    assert_eq!(whole_millis(Duration::from_secs(86_400 * 365)), i32::MAX);
    assert_eq!(whole_millis(Duration::MAX), i32::MAX);
}

/// Runs each behaviour for the poller of this build.
macro_rules! hold {
    ($($behaviour:ident)*) => {
        mod of_this_build {
            $(#[test] fn $behaviour() { super::$behaviour::<super::Poller>() })*
        }
    };
}

hold! {
    bytes_make_a_socket_readable
    readiness_is_level_triggered
    writability_is_told_only_when_asked
    room_makes_a_full_socket_writable
    both_directions_are_told
    no_interest_is_silent
    no_interest_still_hears_a_hangup
    interest_is_taken_away_and_given_back
    a_token_comes_back_whole
    an_end_of_stream_is_readable_and_no_hangup
    a_reset_is_a_hangup
    a_reset_is_readable
    a_connection_makes_a_listener_readable
    a_removed_descriptor_is_never_heard_of_again
    a_forgotten_descriptor_is_silent_until_it_is_added_again
    a_bell_rung_before_the_wait_ends_it
    a_bell_rung_from_another_thread_ends_the_wait
    a_bell_rung_twice_wakes_once
    a_bell_outlives_its_poller
    a_bell_does_not_hide_a_socket
    a_timeout_of_zero_does_not_wait
    a_timeout_is_never_cut_short
    an_endless_timeout_is_taken
    more_than_a_batch_comes_in_several
    its_descriptors_are_closed_on_exec
    bugs_are_errors
}
