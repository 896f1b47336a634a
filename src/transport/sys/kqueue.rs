//! The poller on kqueue: macOS and the BSDs. Twin of `epoll.rs`: same functions, same order.
//!
//! Owns the kqueue descriptor, its bell (a user event of the same queue) and the buffer that the kernel
//! writes events into. Never owns the descriptors that it watches, and never reads or writes them. Asks
//! nothing by operating system, so it runs wherever there is a kqueue. Called by `OsIo`.
//!
//! kqueue(2). The `data` of a ready event, said to be the bytes to read or the room to write, is never
//! used: each system computes it in its own way.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;
use std::{mem, ptr};

use nix::Result;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};

use super::{BELL, Poll, whole_millis};
use crate::limits::EVENTS_PER_WAIT;
use crate::transport::io::{Event, Interest, Token};

/// The poller of this system.
pub struct Poller {
    queue: Arc<OwnedFd>,
    ready: Vec<libc::kevent>,
}

impl Poll for Poller {
    fn new() -> Result<Self> {
        // SAFETY: takes no pointer.
        let queue = own(unsafe { libc::kqueue() })?;
        fcntl(&queue, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
        control(&queue, &mut [user_event(libc::EV_ADD | libc::EV_CLEAR, 0)])?;
        Ok(Self { queue: Arc::new(queue), ready: Vec::with_capacity(EVENTS_PER_WAIT) })
    }

    fn add(&self, fd: RawFd, token: Token, interest: Interest) -> Result<()> {
        debug_assert_ne!(token, BELL);
        self.change(fd, token, UNWATCHED, filters(interest))
    }

    fn modify(&self, fd: RawFd, token: Token, from: Interest, to: Interest) -> Result<()> {
        self.change(fd, token, filters(from), filters(to))
    }

    fn remove(&self, fd: RawFd, interest: Interest) {
        // Left to close(2), which drops the registration: a system call saved per connection. Where the
        // builder asked for kqueue by name it may be an emulation, which does not see a close.
        if cfg!(rawline_poller = "kqueue") {
            let _ = self.change(fd, BELL, filters(interest), UNWATCHED);
        }
    }

    fn forget(&self, fd: RawFd, interest: Interest) -> Result<()> {
        self.change(fd, BELL, filters(interest), UNWATCHED)
    }

    fn wait(&mut self, events: &mut Vec<Event>, timeout: Option<Duration>) -> Result<()> {
        events.clear();
        let timeout = timeout.map(whole_millis).map(|ms| libc::timespec {
            tv_sec: (ms / 1_000).into(),
            tv_nsec: (ms % 1_000 * 1_000_000).into(),
        });
        let timeout = timeout.as_ref().map_or(ptr::null(), ptr::from_ref);
        self.ready.clear();
        // SAFETY: the buffer is ours and has room for EVENTS_PER_WAIT events; the timeout outlives the call.
        let count = unsafe {
            let (queue, ready) = (self.queue.as_raw_fd(), self.ready.as_mut_ptr());
            libc::kevent(queue, ptr::null(), 0, ready, EVENTS_PER_WAIT as libc::c_int, timeout)
        };
        match Errno::result(count) {
            // SAFETY: the kernel has written this many events, and any bits make an event.
            Ok(count) => unsafe { self.ready.set_len(count as usize) },
            Err(Errno::EINTR) => return Ok(()),
            Err(error) => return Err(error),
        }
        events.extend(self.ready.iter().filter_map(event));
        Ok(())
    }

    fn bell(&self) -> Arc<OwnedFd> {
        Arc::clone(&self.queue)
    }

    fn ring(bell: BorrowedFd<'_>) {
        let trigger = user_event(0, libc::NOTE_TRIGGER);
        // It has nothing to fail on: the event was registered when the queue was made.
        // SAFETY: the kernel reads one change and, having no room for events, does not wait.
        unsafe { libc::kevent(bell.as_raw_fd(), &trigger, 1, ptr::null_mut(), 0, ptr::null()) };
    }
}

/// The flags with which each filter of a descriptor is registered; `None`: it is not.
type Filters = [(i16, Option<u16>); 2];

const UNWATCHED: Filters = [(libc::EVFILT_READ, None), (libc::EVFILT_WRITE, None)];

/// The write filter tells hangups. Where nothing is wanted it is there for them alone, edge-triggered:
/// that flag comes back with its events, and what they say about writing is left out. (Level-triggered with
/// a NOTE_LOWAT out of reach would be silent, but macOS lowers that to the size of the buffer.)
fn filters(interest: Interest) -> Filters {
    let read = interest.read.then_some(0);
    let write = match interest {
        Interest::NONE => Some(libc::EV_CLEAR),
        _ => interest.write.then_some(0),
    };
    [(libc::EVFILT_READ, read), (libc::EVFILT_WRITE, write)]
}

/// EV_EOF on the read filter is only the peer's FIN or an error, which read tells. On the write filter
/// nothing can be sent any more: the peer is gone (or we have shut our own side, and then do not watch it).
fn event(ready: &libc::kevent) -> Option<Event> {
    let (token, flags) = (Token(ready.udata as usize as u64), ready.flags);
    let write = ready.filter == libc::EVFILT_WRITE;
    let event = Event {
        token,
        readable: ready.filter == libc::EVFILT_READ,
        writable: write && flags & libc::EV_CLEAR == 0,
        hangup: flags & libc::EV_ERROR != 0 || write && flags & libc::EV_EOF != 0,
    };
    (token != BELL && (event.readable || event.writable || event.hangup)).then_some(event)
}

impl Poller {
    /// A filter whose flags change is deleted first: EV_ADD on one that exists would keep its EV_CLEAR.
    fn change(&self, fd: RawFd, token: Token, from: Filters, to: Filters) -> Result<()> {
        let mut changes = [change(fd, 0, 0, token); 4];
        let mut count = 0;
        for ((filter, from), (_, to)) in from.into_iter().zip(to) {
            let delete = from.map(|_| libc::EV_DELETE);
            let add = to.map(|flags| libc::EV_ADD | flags);
            for flags in [delete, add].into_iter().flatten().filter(|_| from != to) {
                changes[count] = change(fd, filter, flags, token);
                count += 1;
            }
        }
        control(&self.queue, &mut changes[..count])
    }
}

fn user_event(flags: u16, fflags: u32) -> libc::kevent {
    libc::kevent { fflags, ..change(0, libc::EVFILT_USER, flags, BELL) }
}

fn change(fd: RawFd, filter: i16, flags: u16, token: Token) -> libc::kevent {
    const { assert!(size_of::<usize>() == size_of::<u64>(), "udata holds a whole token") };
    // SAFETY: zeros make a kevent: its fields, which are not the same on each system, are numbers and a pointer.
    let nothing: libc::kevent = unsafe { mem::zeroed() };
    libc::kevent { ident: fd as usize, filter, flags, udata: token.0 as usize as *mut _, ..nothing }
}

/// Makes all changes in one call and returns the first error.
fn control(queue: &OwnedFd, changes: &mut [libc::kevent]) -> Result<()> {
    if changes.is_empty() {
        return Ok(());
    }
    // Each change gets a receipt, so that one which fails does not keep the others from being made, and
    // no ready event is taken.
    changes.iter_mut().for_each(|change| change.flags |= libc::EV_RECEIPT);
    let at_once = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    let (list, count) = (changes.as_mut_ptr(), changes.len() as libc::c_int);
    // SAFETY: the list is good for as many events as changes; kevent(2) allows it to be both.
    let done = unsafe { libc::kevent(queue.as_raw_fd(), list, count, list, count, &at_once) };
    match Errno::result(done) {
        Ok(_) => {}
        // By the manual all changes have been made.
        Err(Errno::EINTR) => return Ok(()),
        Err(error) => return Err(error),
    }
    for receipt in changes {
        match receipt.data as i32 {
            // ENOENT: a filter that was to be deleted is gone already. No other change fails so.
            0 | libc::ENOENT => {}
            error => return Err(Errno::from_raw(error)),
        }
    }
    Ok(())
}

fn own(fd: RawFd) -> Result<OwnedFd> {
    Errno::result(fd)?;
    // SAFETY: the kernel has just made it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
