//! The poller on epoll: Linux. Twin of `kqueue.rs`: same functions, same order.
//!
//! Owns the epoll descriptor, its bell (an eventfd) and the buffer that the kernel writes events into.
//! Never owns the descriptors that it watches, and never reads or writes them. Called by `OsIo`.
//!
//! epoll(7), epoll_ctl(2), epoll_wait(2), eventfd(2).

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::Arc;
use std::time::Duration;

use nix::Result;
use nix::errno::Errno;

use super::{BELL, Poll, whole_millis};
use crate::limits::EVENTS_PER_WAIT;
use crate::transport::io::{Event, Interest, Token};

/// The poller of this system.
pub struct Poller {
    queue: OwnedFd,
    bell: Arc<OwnedFd>,
    ready: Vec<libc::epoll_event>,
}

impl Poll for Poller {
    fn new() -> Result<Self> {
        // SAFETY: takes no pointer.
        let queue = own(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        // SAFETY: takes no pointer.
        let bell = own(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) })?;
        // Every write to an eventfd is an edge, even when it was readable before.
        control(&queue, libc::EPOLL_CTL_ADD, bell.as_raw_fd(), BELL, libc::EPOLLIN | libc::EPOLLET)?;
        Ok(Self { queue, bell: Arc::new(bell), ready: Vec::with_capacity(EVENTS_PER_WAIT) })
    }

    fn add(&self, fd: RawFd, token: Token, interest: Interest) -> Result<()> {
        debug_assert_ne!(token, BELL);
        control(&self.queue, libc::EPOLL_CTL_ADD, fd, token, mask(interest))
    }

    fn modify(&self, fd: RawFd, token: Token, _from: Interest, to: Interest) -> Result<()> {
        control(&self.queue, libc::EPOLL_CTL_MOD, fd, token, mask(to))
    }

    fn remove(&self, _fd: RawFd, _interest: Interest) {
        // Left to close(2), which drops the registration: a system call saved per connection.
    }

    fn forget(&self, fd: RawFd, _interest: Interest) -> Result<()> {
        control(&self.queue, libc::EPOLL_CTL_DEL, fd, BELL, 0)
    }

    fn wait(&mut self, events: &mut Vec<Event>, timeout: Option<Duration>) -> Result<()> {
        events.clear();
        let timeout = timeout.map_or(-1, whole_millis);
        self.ready.clear();
        // SAFETY: the buffer is ours and has room for EVENTS_PER_WAIT events.
        let count = unsafe {
            let capacity = EVENTS_PER_WAIT as libc::c_int;
            libc::epoll_wait(self.queue.as_raw_fd(), self.ready.as_mut_ptr(), capacity, timeout)
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
        Arc::clone(&self.bell)
    }

    fn ring(bell: BorrowedFd<'_>) {
        let one: u64 = 1;
        // It fails only when the counter is full, after 2^64 rings: the bell has surely been heard.
        // SAFETY: the pointer is good for the eight bytes that an eventfd takes.
        unsafe { libc::write(bell.as_raw_fd(), ptr::from_ref(&one).cast(), size_of_val(&one)) };
    }
}

/// EPOLLHUP and EPOLLERR come unasked. EPOLLRDHUP is not asked for: a FIN makes a socket readable, and
/// read tells.
fn mask(interest: Interest) -> libc::c_int {
    let read = if interest.read { libc::EPOLLIN } else { 0 };
    let write = if interest.write { libc::EPOLLOUT } else { 0 };
    read | write
}

fn event(ready: &libc::epoll_event) -> Option<Event> {
    // Copied: the kernel's struct is packed on x86-64.
    let (token, flags) = (Token(ready.u64), ready.events as libc::c_int);
    (token != BELL).then_some(Event {
        token,
        readable: flags & libc::EPOLLIN != 0,
        writable: flags & libc::EPOLLOUT != 0,
        hangup: flags & (libc::EPOLLHUP | libc::EPOLLERR) != 0,
    })
}

fn control(
    queue: &OwnedFd,
    operation: libc::c_int,
    fd: RawFd,
    token: Token,
    flags: libc::c_int,
) -> Result<()> {
    let mut event = libc::epoll_event { events: flags as u32, u64: token.0 };
    // SAFETY: the kernel copies the event.
    Errno::result(unsafe { libc::epoll_ctl(queue.as_raw_fd(), operation, fd, &mut event) }).map(drop)
}

fn own(fd: RawFd) -> Result<OwnedFd> {
    Errno::result(fd)?;
    // SAFETY: the kernel has just made it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
