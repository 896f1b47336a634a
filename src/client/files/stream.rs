//! A connection to a file server as two streams of bytes, with an end to every wait.
//!
//! Owns the bytes that came and were not asked for yet; borrows the connection, which does not block. Knows nothing of
//! commands. Called by `session.rs`.

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use super::FileError;
use crate::client::after;
use crate::client::watch::{Key, Watcher};
use crate::transport::io::Interest;
use crate::transport::sys::{Errno, socket};

/// Bytes that one read asks for.
const READ: usize = 64 * 1024;

/// The connection.
pub(super) struct Stream<'fd> {
    server: &'fd OwnedFd,
    watcher: Watcher<'fd>,
    key: Key,
    patience: Duration,
    came: Vec<u8>,
    /// Of these, so many were taken.
    taken: usize,
}

/// What became of a try to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// All of it has left.
    All,
    /// The server says something before it has everything: it wants no more.
    Interrupted,
}

impl<'fd> Stream<'fd> {
    /// `patience` is how long the server may neither say nor take anything.
    pub(super) fn new(server: &'fd OwnedFd, patience: Duration) -> Result<Self, FileError> {
        let mut watcher = Watcher::new().map_err(FileError::System)?;
        let key = watcher.add(server.as_fd());
        Ok(Self { server, watcher, key, patience, came: Vec::new(), taken: 0 })
    }

    /// Exactly so many bytes.
    pub(super) fn take(&mut self, count: usize) -> Result<&[u8], FileError> {
        while self.came.len() - self.taken < count {
            self.came.drain(..self.taken);
            self.taken = 0;
            let had = self.came.len();
            self.came.resize(had + READ.max(count - had), 0);
            let mut came = std::mem::take(&mut self.came);
            let read = self.receive(&mut came[had..]);
            came.truncate(had + read.as_ref().copied().unwrap_or(0));
            self.came = came;
            if read? == 0 {
                return Err(FileError::Closed);
            }
        }
        self.taken += count;
        Ok(&self.came[self.taken - count..self.taken])
    }

    /// At least one byte, and at most what `into` holds; 0 is the end of the stream.
    pub(super) fn read(&mut self, into: &mut [u8]) -> Result<usize, FileError> {
        let here = &self.came[self.taken..];
        if here.is_empty() {
            return self.receive(into);
        }
        let count = here.len().min(into.len());
        into[..count].copy_from_slice(&here[..count]);
        self.taken += count;
        Ok(count)
    }

    fn receive(&mut self, into: &mut [u8]) -> Result<usize, FileError> {
        let deadline = after(self.patience);
        loop {
            match socket::read(
                self.server.as_raw_fd(),
                &mut [IoSliceMut::new(into), IoSliceMut::new(&mut [])],
            ) {
                Err(Errno::EAGAIN) => self.wait(Interest::READ, deadline)?,
                read => return read.map_err(|errno| FileError::Broken(errno as i32)),
            }
        }
    }

    /// Sends all of it, unless the server has something to say first.
    pub(super) fn send(&mut self, mut bytes: &[u8]) -> Result<Sent, FileError> {
        let mut deadline = after(self.patience);
        while !bytes.is_empty() {
            self.wait(Interest::BOTH, deadline)?;
            if self.watcher.ready(self.key).read {
                return Ok(Sent::Interrupted);
            }
            match socket::write(self.server.as_raw_fd(), &[IoSlice::new(bytes)]) {
                Ok(count) => {
                    bytes = &bytes[count..];
                    deadline = after(self.patience);
                }
                Err(Errno::EAGAIN) => {}
                // What the server said before it left can still be read; the read tells how it left.
                Err(_) => return Ok(Sent::Interrupted),
            }
        }
        Ok(Sent::All)
    }

    /// May come back early, with nothing.
    fn wait(&mut self, interest: Interest, deadline: Instant) -> Result<(), FileError> {
        self.watcher.want(self.key, Some(interest));
        self.watcher.wait(Some(deadline)).map_err(FileError::System)?;
        let ready = self.watcher.ready(self.key);
        if !(ready.read || ready.write) && Instant::now() >= deadline {
            return Err(FileError::Silent(self.patience));
        }
        Ok(())
    }
}
