//! A kernel of queues that never says no: every write is taken whole, every byte is there when it was sent, time stands still.
//!
//! On it the server shows what it means to do. It keeps the contract of [`Io`] for sockets; files it has none.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::io::{self, IoSlice, IoSliceMut};
use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, RawFd};
use std::rc::Rc;
use std::time::Duration;

use super::Clients;
use crate::api::Peer;
use crate::transport::io::{AcceptFault, Event, Interest, Io, IoFault, Millis, Signal, Token, Waker};

/// The listener's descriptor; clients come after it.
pub const LISTENER: RawFd = 3;

#[derive(Default)]
struct Socket {
    inbox: VecDeque<u8>,
    sent: usize,
    watched: Option<(Token, Interest)>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<RawFd>,
    sockets: BTreeMap<RawFd, Socket>,
    listening: Option<Token>,
}

/// The kernel, shared between the loop and the clients.
#[derive(Clone, Default)]
pub struct Ideal(Rc<RefCell<State>>);

impl Clients for Ideal {
    fn connect(&mut self) -> io::Result<()> {
        let mut state = self.0.borrow_mut();
        let fd = LISTENER + 1 + state.sockets.len() as RawFd;
        state.sockets.insert(fd, Socket::default());
        state.waiting.push_back(fd);
        Ok(())
    }

    fn send(&mut self, client: usize, bytes: &[u8]) -> io::Result<()> {
        let fd = LISTENER + 1 + client as RawFd;
        if let Some(socket) = self.0.borrow_mut().sockets.get_mut(&fd) {
            socket.inbox.extend(bytes);
        }
        Ok(())
    }

    fn go_on(&mut self) -> io::Result<usize> {
        let mut state = self.0.borrow_mut();
        Ok(state.sockets.values_mut().map(|socket| std::mem::take(&mut socket.sent)).sum())
    }
}

impl State {
    fn socket(&mut self, fd: RawFd) -> Result<&mut Socket, IoFault> {
        self.sockets.get_mut(&fd).ok_or(IoFault::Reset)
    }
}

impl Io for Ideal {
    fn now(&mut self) -> Millis {
        Millis::default()
    }

    fn wait(&mut self, events: &mut Vec<Event>, _: Option<Duration>) {
        events.clear();
        let state = self.0.borrow();
        let event = |token, readable, writable| Event { token, readable, writable, hangup: false };
        if let Some(token) = state.listening.filter(|_| !state.waiting.is_empty()) {
            events.push(event(token, true, false));
        }
        for socket in state.sockets.values() {
            if let Some((token, interest)) = socket.watched {
                let readable = interest.read && !socket.inbox.is_empty();
                if readable || interest.write {
                    events.push(event(token, readable, interest.write));
                }
            }
        }
    }

    fn waker(&self) -> Waker {
        Waker::new(|| {})
    }

    fn signal(&mut self) -> Option<Signal> {
        None
    }

    fn accept(&mut self, _: RawFd) -> Result<(RawFd, Peer), AcceptFault> {
        let fd = self.0.borrow_mut().waiting.pop_front().ok_or(AcceptFault::WouldBlock)?;
        Ok((fd, SocketAddr::from(([127, 0, 0, 1], 40_000 + fd as u16)).into()))
    }

    fn add(&mut self, fd: RawFd, token: Token, interest: Interest) -> Result<(), IoFault> {
        let mut state = self.0.borrow_mut();
        if fd == LISTENER {
            state.listening = Some(token);
        } else {
            state.socket(fd)?.watched = Some((token, interest));
        }
        Ok(())
    }

    fn modify(&mut self, fd: RawFd, token: Token, _: Interest, to: Interest) -> Result<(), IoFault> {
        if fd != LISTENER {
            self.0.borrow_mut().socket(fd)?.watched = Some((token, to));
        }
        Ok(())
    }

    fn remove(&mut self, fd: RawFd, _: Interest) {
        if let Ok(socket) = self.0.borrow_mut().socket(fd) {
            socket.watched = None;
        }
    }

    fn forget(&mut self, fd: RawFd, interest: Interest) {
        self.remove(fd, interest);
    }

    fn read(&mut self, fd: RawFd, into: &mut [IoSliceMut<'_>; 2]) -> Result<usize, IoFault> {
        let mut state = self.0.borrow_mut();
        let socket = state.socket(fd)?;
        let mut n = 0;
        for part in into {
            let take = part.len().min(socket.inbox.len());
            part.iter_mut().zip(socket.inbox.drain(..take)).for_each(|(to, from)| *to = from);
            n += take;
        }
        if n == 0 { Err(IoFault::WouldBlock) } else { Ok(n) }
    }

    fn write(&mut self, fd: RawFd, from: &[IoSlice<'_>]) -> Result<usize, IoFault> {
        let n = from.iter().map(|slice| slice.len()).sum();
        self.0.borrow_mut().socket(fd)?.sent += n;
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
        Err(IoFault::Reset)
    }

    fn cork(&mut self, _: RawFd, _: bool) {}

    fn is_cached(&mut self, _: BorrowedFd<'_>, _: u64, _: usize) -> bool {
        true
    }

    fn shutdown_write(&mut self, _: RawFd) {}

    fn close(&mut self, fd: RawFd) {
        // The number is not given out again, so the clients stay counted.
        if let Ok(socket) = self.0.borrow_mut().socket(fd) {
            socket.inbox.clear();
        }
    }

    fn abort(&mut self, fd: RawFd) {
        self.close(fd);
    }
}
