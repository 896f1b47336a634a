//! A kernel without queues: it takes whatever is written, counts it, and gives one client's words to the loop.
//!
//! For what is counted or timed: it never allocates while the loop runs, and costs next to nothing. What clients
//! get is not kept; `world.rs` is for that.

use std::io::{IoSlice, IoSliceMut};
use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, RawFd};
use std::rc::Rc;
use std::time::Duration;

use rawline::transport::event_loop::EventLoop;
use rawline::transport::io::{AcceptFault, Event, Interest, Io, IoFault, Millis, Signal, Token, Waker};
use rawline::{Limits, Peer, Service, Wire};

const LISTENER: RawFd = 0;

/// Clients have the descriptors from 1 on.
#[derive(Default)]
pub struct Null {
    /// By descriptor.
    tokens: Vec<Token>,
    /// Clients that wait to be accepted.
    waiting: usize,
    /// Who speaks, and what of it has not been read.
    speaker: RawFd,
    words: Rc<[u8]>,
    read: usize,
    /// Calls of write, and the bytes they took.
    pub writes: usize,
    pub bytes: usize,
}

/// A server with so many clients on a null kernel.
pub fn server<S: Service>(service: S, clients: usize) -> EventLoop<Null, S> {
    let limits = Limits { max_connections: clients, ..Limits::default() };
    let io = Null { waiting: clients, ..Null::default() };
    let mut server = EventLoop::new(io, service, limits).expect("the table is sound");
    server.listen(Wire::JsonRpc, LISTENER).expect("a null kernel watches everything");
    while server.io().waiting > 0 {
        server.turn();
    }
    server
}

impl Null {
    /// In the next turn `client` says this, all at once.
    pub fn say(&mut self, client: RawFd, words: &Rc<[u8]>) {
        (self.speaker, self.words, self.read) = (client, Rc::clone(words), 0);
    }
}

impl Io for Null {
    fn now(&mut self) -> Millis {
        Millis(0)
    }

    fn wait(&mut self, events: &mut Vec<Event>, _: Option<Duration>) {
        events.clear();
        let ready = |token| Event { token, readable: true, writable: false, hangup: false };
        if self.waiting > 0 {
            events.push(ready(self.tokens[LISTENER as usize]));
        }
        if self.read < self.words.len() {
            events.push(ready(self.tokens[self.speaker as usize]));
        }
    }

    fn waker(&self) -> Waker {
        Waker::new(|| {})
    }

    fn signal(&mut self) -> Option<Signal> {
        None
    }

    fn accept(&mut self, _: RawFd) -> Result<(RawFd, Peer), AcceptFault> {
        self.waiting = self.waiting.checked_sub(1).ok_or(AcceptFault::WouldBlock)?;
        let fd = self.tokens.len();
        Ok((fd as RawFd, SocketAddr::from(([127, 0, 0, 1], fd as u16)).into()))
    }

    fn add(&mut self, fd: RawFd, token: Token, _: Interest) -> Result<(), IoFault> {
        assert_eq!(fd as usize, self.tokens.len(), "descriptors are given out in order");
        self.tokens.push(token);
        Ok(())
    }

    fn modify(&mut self, _: RawFd, _: Token, _: Interest, _: Interest) -> Result<(), IoFault> {
        unreachable!("a kernel that takes everything is never asked when it takes more")
    }

    fn remove(&mut self, _: RawFd, _: Interest) {}

    fn forget(&mut self, _: RawFd, _: Interest) {
        unreachable!("nobody hangs up")
    }

    fn read(&mut self, fd: RawFd, into: &mut [IoSliceMut<'_>; 2]) -> Result<usize, IoFault> {
        assert_eq!(fd, self.speaker, "only the speaker is ready");
        let before = self.read;
        for part in into {
            let unread = &self.words[self.read..];
            let n = unread.len().min(part.len());
            part[..n].copy_from_slice(&unread[..n]);
            self.read += n;
        }
        if self.read == before { Err(IoFault::WouldBlock) } else { Ok(self.read - before) }
    }

    fn write(&mut self, _: RawFd, from: &[IoSlice<'_>]) -> Result<usize, IoFault> {
        let n = from.iter().map(|slice| slice.len()).sum();
        self.writes += 1;
        self.bytes += n;
        Ok(n)
    }

    fn send_file(
        &mut self,
        _: RawFd,
        _: &[u8],
        _: BorrowedFd<'_>,
        _: u64,
        _: usize,
    ) -> Result<usize, IoFault> {
        unreachable!("nothing is shared")
    }

    fn cork(&mut self, _: RawFd, _: bool) {
        unreachable!("nothing is shared")
    }

    fn is_cached(&mut self, _: BorrowedFd<'_>, _: u64, _: usize) -> bool {
        unreachable!("nothing is shared")
    }

    fn shutdown_write(&mut self, _: RawFd) {}

    fn close(&mut self, _: RawFd) {}

    fn abort(&mut self, _: RawFd) {}
}
