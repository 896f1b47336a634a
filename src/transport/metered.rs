//! A kernel that counts what is asked of it: how often, of which kind, and how many bytes went through.
//!
//! Wraps any [`Io`] and changes nothing. So no caller has to remember to count, and a simulated kernel is counted in the
//! same way as the real one. The loop owns one and copies its numbers once a turn.

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{BorrowedFd, RawFd};
use std::time::Duration;

use crate::api::Peer;
use crate::transport::io::{AcceptFault, Event, Interest, Io, IoFault, Millis, Signal, Token, Waker};

/// The kinds of calls, as they are shown. `modify` may be two changes on kqueue; `remove` costs epoll nothing and is not
/// counted; `abort` sets an option and closes.
pub const CALLS: [&str; 12] = [
    "wait",
    "accept",
    "add",
    "modify",
    "read",
    "write",
    "send_file",
    "cork",
    "is_cached",
    "shutdown",
    "close",
    "abort",
];

#[derive(Clone, Copy)]
enum Kind {
    Wait,
    Accept,
    Add,
    Modify,
    Read,
    Write,
    SendFile,
    Cork,
    IsCached,
    Shutdown,
    Close,
    Abort,
}

/// What was counted.
#[derive(Clone, Copy, Default)]
pub struct Metering {
    /// What the clock said last.
    pub now: Millis,
    /// Bytes read from sockets.
    pub bytes_in: u64,
    /// Bytes that sockets took.
    pub bytes_out: u64,
    /// In the order of [`CALLS`]. A call that was interrupted and made again counts once.
    pub calls: [u64; CALLS.len()],
}

/// An `Io` and its meter.
pub struct Metered<I> {
    /// The kernel.
    pub io: I,
    /// What was counted so far.
    pub metering: Metering,
}

impl<I: Io> Metered<I> {
    /// Nothing is counted yet.
    pub fn new(io: I) -> Self {
        Self { io, metering: Metering::default() }
    }

    fn count(&mut self, kind: Kind) -> &mut I {
        self.metering.calls[kind as usize] += 1;
        &mut self.io
    }
}

impl<I: Io> Io for Metered<I> {
    fn now(&mut self) -> Millis {
        self.metering.now = self.io.now();
        self.metering.now
    }

    fn since_now(&mut self) -> Duration {
        self.io.since_now()
    }

    fn wait(&mut self, events: &mut Vec<Event>, timeout: Option<Duration>) {
        self.count(Kind::Wait).wait(events, timeout);
    }

    fn waker(&self) -> Waker {
        self.io.waker()
    }

    fn signal(&mut self) -> Option<Signal> {
        self.io.signal()
    }

    fn accept(&mut self, listener: RawFd) -> Result<(RawFd, Peer), AcceptFault> {
        self.count(Kind::Accept).accept(listener)
    }

    fn give_up_spare(&mut self) -> bool {
        self.io.give_up_spare()
    }

    fn keep_spare(&mut self) {
        self.io.keep_spare();
    }

    fn add(&mut self, fd: RawFd, token: Token, interest: Interest) -> Result<(), IoFault> {
        self.count(Kind::Add).add(fd, token, interest)
    }

    fn modify(&mut self, fd: RawFd, token: Token, from: Interest, to: Interest) -> Result<(), IoFault> {
        self.count(Kind::Modify).modify(fd, token, from, to)
    }

    fn remove(&mut self, fd: RawFd, interest: Interest) {
        self.io.remove(fd, interest);
    }

    fn forget(&mut self, fd: RawFd, interest: Interest) {
        self.count(Kind::Modify).forget(fd, interest);
    }

    fn read(&mut self, fd: RawFd, into: &mut [IoSliceMut<'_>; 2]) -> Result<usize, IoFault> {
        let read = self.count(Kind::Read).read(fd, into);
        self.metering.bytes_in += read.unwrap_or(0) as u64;
        read
    }

    fn write(&mut self, fd: RawFd, from: &[IoSlice<'_>]) -> Result<usize, IoFault> {
        let written = self.count(Kind::Write).write(fd, from);
        self.metering.bytes_out += written.unwrap_or(0) as u64;
        written
    }

    fn send_file(
        &mut self,
        fd: RawFd,
        head: &[u8],
        file: BorrowedFd<'_>,
        offset: u64,
        count: usize,
    ) -> Result<usize, IoFault> {
        let sent = self.count(Kind::SendFile).send_file(fd, head, file, offset, count);
        self.metering.bytes_out += sent.unwrap_or(0) as u64;
        sent
    }

    fn cork(&mut self, fd: RawFd, on: bool) {
        self.count(Kind::Cork).cork(fd, on);
    }

    fn is_cached(&mut self, file: BorrowedFd<'_>, offset: u64, count: usize) -> bool {
        self.count(Kind::IsCached).is_cached(file, offset, count)
    }

    fn shutdown_write(&mut self, fd: RawFd) {
        self.count(Kind::Shutdown).shutdown_write(fd);
    }

    fn close(&mut self, fd: RawFd) {
        self.count(Kind::Close).close(fd);
    }

    fn abort(&mut self, fd: RawFd) {
        self.count(Kind::Abort).abort(fd);
    }
}
