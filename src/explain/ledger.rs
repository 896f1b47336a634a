//! A kernel's calls, written down one by one: what was asked, of whom, and what came of it.
//!
//! [`Recorder`] wraps any [`Io`], and never sleeps: a wait returns when nothing is ready for a moment. So whoever drives the
//! loop can see that nothing more will happen. Called by the server's loop; read by whoever explains.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{BorrowedFd, RawFd};
use std::rc::Rc;
use std::time::Duration;

use crate::api::Peer;
use crate::transport::io::{AcceptFault, Event, Interest, Io, IoFault, Millis, Signal, Token, Waker};

/// How long a wait that would sleep looks whether something comes after all. A loopback delivers at once; a busy machine may
/// be late.
const MOMENT: Duration = Duration::from_millis(20);

/// One system call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// As strace names it.
    pub call: &'static str,
    /// Whose connection it was, counted from 0 in the order of their coming; the listener's is nobody's.
    pub client: Option<usize>,
    /// Bytes that there was room for, or that were to be sent.
    pub offered: usize,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// So many bytes moved.
    Bytes(usize),
    /// There was nothing, or no room.
    Again,
    /// It is done.
    Done,
    /// It failed.
    Failed(String),
}

/// The calls so far, shared between the recorder and whoever reads them. Waits are only counted.
#[derive(Clone, Default)]
pub struct Ledger {
    entries: Rc<RefCell<Vec<Entry>>>,
    waits: Rc<Cell<usize>>,
}

impl Ledger {
    /// How many calls, without waits.
    pub fn len(&self) -> usize {
        self.entries.borrow().len()
    }

    /// Whether there was none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The calls, oldest first.
    pub fn entries(&self) -> Vec<Entry> {
        self.entries.borrow().clone()
    }

    /// How often the loop asked whether anything is ready.
    pub fn waits(&self) -> usize {
        self.waits.get()
    }

    /// What was written down until now, and begins anew.
    pub fn take(&self) -> Self {
        let entries = std::mem::take(&mut *self.entries.borrow_mut());
        Self { entries: Rc::new(entries.into()), waits: Rc::new(Cell::new(self.waits.take())) }
    }
}

/// An `Io`, and its ledger.
pub struct Recorder<I> {
    io: I,
    ledger: Ledger,
    /// Whose descriptor it is.
    clients: BTreeMap<RawFd, usize>,
    accepted: usize,
}

impl<I: Io> Recorder<I> {
    /// Writes into `ledger` what is asked of `io`.
    pub fn new(io: I, ledger: &Ledger) -> Self {
        Self { io, ledger: ledger.clone(), clients: BTreeMap::new(), accepted: 0 }
    }

    fn note(&self, call: &'static str, fd: RawFd, offered: usize, outcome: Outcome) {
        let client = self.clients.get(&fd).copied();
        self.ledger.entries.borrow_mut().push(Entry { call, client, offered, outcome });
    }

    fn moved(&self, call: &'static str, fd: RawFd, offered: usize, moved: &Result<usize, IoFault>) {
        let outcome = match moved {
            Ok(bytes) => Outcome::Bytes(*bytes),
            Err(IoFault::WouldBlock) => Outcome::Again,
            Err(fault) => Outcome::Failed(format!("{fault:?}")),
        };
        self.note(call, fd, offered, outcome);
    }

    fn watched(&self, fd: RawFd, watched: &Result<(), IoFault>) {
        let outcome = match watched {
            Ok(()) => Outcome::Done,
            Err(fault) => Outcome::Failed(format!("{fault:?}")),
        };
        self.note(if cfg!(poller = "epoll") { "epoll_ctl" } else { "kevent" }, fd, 0, outcome);
    }
}

impl<I: Io> Io for Recorder<I> {
    fn now(&mut self) -> Millis {
        self.io.now()
    }

    fn since_now(&mut self) -> Duration {
        self.io.since_now()
    }

    fn wait(&mut self, events: &mut Vec<Event>, timeout: Option<Duration>) {
        self.ledger.waits.set(self.ledger.waits.get() + 1);
        self.io.wait(events, Some(timeout.map_or(MOMENT, |timeout| timeout.min(MOMENT))));
    }

    fn waker(&self) -> Waker {
        self.io.waker()
    }

    fn signal(&mut self) -> Option<Signal> {
        self.io.signal()
    }

    fn accept(&mut self, listener: RawFd) -> Result<(RawFd, Peer), AcceptFault> {
        let accepted = self.io.accept(listener);
        let outcome = match &accepted {
            Ok((fd, _)) => {
                self.clients.insert(*fd, self.accepted);
                self.accepted += 1;
                Outcome::Done
            }
            Err(AcceptFault::WouldBlock) => Outcome::Again,
            Err(fault) => Outcome::Failed(format!("{fault:?}")),
        };
        self.note("accept4", listener, 0, outcome);
        accepted
    }

    fn give_up_spare(&mut self) -> bool {
        self.io.give_up_spare()
    }

    fn keep_spare(&mut self) {
        self.io.keep_spare();
    }

    fn add(&mut self, fd: RawFd, token: Token, interest: Interest) -> Result<(), IoFault> {
        let added = self.io.add(fd, token, interest);
        self.watched(fd, &added);
        added
    }

    fn modify(&mut self, fd: RawFd, token: Token, from: Interest, to: Interest) -> Result<(), IoFault> {
        let modified = self.io.modify(fd, token, from, to);
        self.watched(fd, &modified);
        modified
    }

    fn remove(&mut self, fd: RawFd, interest: Interest) {
        self.io.remove(fd, interest);
    }

    fn forget(&mut self, fd: RawFd, interest: Interest) {
        self.io.forget(fd, interest);
        self.watched(fd, &Ok(()));
    }

    fn read(&mut self, fd: RawFd, into: &mut [IoSliceMut<'_>; 2]) -> Result<usize, IoFault> {
        let (call, room) =
            (if into[1].is_empty() { "recvfrom" } else { "readv" }, into[0].len() + into[1].len());
        let read = self.io.read(fd, into);
        self.moved(call, fd, room, &read);
        read
    }

    fn write(&mut self, fd: RawFd, from: &[IoSlice<'_>]) -> Result<usize, IoFault> {
        let call = if from.len() == 1 { "sendto" } else { "sendmsg" };
        let written = self.io.write(fd, from);
        self.moved(call, fd, from.iter().map(|slice| slice.len()).sum(), &written);
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
        let sent = self.io.send_file(fd, head, file, offset, count);
        self.moved("sendfile", fd, head.len() + count, &sent);
        sent
    }

    fn cork(&mut self, fd: RawFd, on: bool) {
        self.io.cork(fd, on);
        self.note("setsockopt", fd, 0, Outcome::Done);
    }

    fn is_cached(&mut self, file: BorrowedFd<'_>, offset: u64, count: usize) -> bool {
        self.io.is_cached(file, offset, count)
    }

    fn shutdown_write(&mut self, fd: RawFd) {
        self.io.shutdown_write(fd);
        self.note("shutdown", fd, 0, Outcome::Done);
    }

    fn close(&mut self, fd: RawFd) {
        self.io.close(fd);
        self.note("close", fd, 0, Outcome::Done);
        self.clients.remove(&fd);
    }

    fn abort(&mut self, fd: RawFd) {
        self.io.abort(fd);
        self.note("setsockopt", fd, 0, Outcome::Done);
        self.note("close", fd, 0, Outcome::Done);
        self.clients.remove(&fd);
    }
}
