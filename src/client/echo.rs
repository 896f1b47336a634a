//! The two ways to use an echo server: [`exchange`] a text for its echo, or [`pipe`] a stream through it.
//!
//! Owns the connection and what is in flight: two rings, never more, so whoever is slow slows down whoever
//! is before him, around the whole circle. Either side may end first. Never looks at what the bytes are, so
//! `pipe` does for any server that reads to the end and answers. Called by `rawline echo`.

use std::fmt;
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;

use super::after;
use super::watch::Watcher;
use crate::transport::io::Interest;
use crate::transport::ring::Ring;
use crate::transport::sys::{file, socket};

/// Bytes on their way in one direction.
const RING: usize = 128 * 1024;

/// A ring is filled again when it has room for this much, so that neither end works in small change.
const ROOM: usize = RING / 2;

/// Bytes beyond its text that an exchange still reads, to show how the answer is wrong.
const EXTRA: usize = 64 * 1024;

/// How it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tally {
    /// Bytes that the system has taken for the server.
    pub sent: u64,
    /// Bytes that came back.
    pub received: u64,
    /// Why it is over.
    pub end: End,
}

/// Why it is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Everything was sent, and the server has ended its stream.
    Complete,
    /// The server has ended its stream although not everything was sent.
    ServerLeft,
    /// The connection broke: the errno.
    Broken(i32),
    /// Everything was sent, and then nothing came for too long.
    Silent,
    /// Nobody reads the output any more.
    OutputClosed,
}

/// A side of [`pipe`] that is not the server has failed.
#[derive(Debug)]
pub enum PipeError {
    /// The input cannot be read.
    Input(io::Error),
    /// The output cannot be written, for another reason than that nobody reads it.
    Output(io::Error),
    /// There is no poller to be had.
    System(io::Error),
}

impl fmt::Display for PipeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Input(error) => write!(f, "the input cannot be read: {error}"),
            Self::Output(error) => write!(f, "the output cannot be written: {error}"),
            Self::System(error) => write!(f, "the system refuses: {error}"),
        }
    }
}

impl std::error::Error for PipeError {}

/// Sends `text`, half-closes, and gives what came back, at most a little more than was sent. `patience` is
/// how long nothing at all may happen.
///
/// # Errors
/// There is no poller to be had.
pub fn exchange(server: &OwnedFd, text: &[u8], patience: Duration) -> io::Result<(Vec<u8>, Tally)> {
    let mut watcher = Watcher::new()?;
    let key = watcher.add(server.as_fd());
    let (mut sent, mut closed, mut came) = (0, false, Vec::new());
    let mut deadline = after(patience);
    let end = loop {
        if sent == text.len() && !closed {
            socket::shutdown_write(server.as_raw_fd());
            closed = true;
        }
        watcher.want(key, Some(if closed { Interest::READ } else { Interest::BOTH }));
        watcher.wait(Some(deadline))?;
        let ready = watcher.ready(key);
        let before = (sent, came.len());
        if ready.write && !closed {
            match socket::write(server.as_raw_fd(), &[IoSlice::new(&text[sent..])]) {
                Ok(count) => sent += count,
                Err(Errno::EAGAIN) => {}
                // What the server said before it left can still be read.
                Err(_) => closed = true,
            }
        }
        if ready.read {
            let mut buffer = [0; 16 * 1024];
            let (whole, rest) = (IoSliceMut::new(&mut buffer), IoSliceMut::new(&mut []));
            match socket::read(server.as_raw_fd(), &mut [whole, rest]) {
                Ok(0) => break if sent == text.len() { End::Complete } else { End::ServerLeft },
                Ok(count) => came.extend_from_slice(&buffer[..count]),
                Err(Errno::EAGAIN) => {}
                Err(error) => break End::Broken(error as i32),
            }
        }
        if came.len() > text.len() + EXTRA {
            break End::Complete;
        }
        if (sent, came.len()) != before {
            deadline = after(patience);
        } else if Instant::now() >= deadline {
            break End::Silent;
        }
    };
    let tally = Tally { sent: sent as u64, received: came.len() as u64, end };
    Ok((came, tally))
}

/// Sends all of `input` to the server, half-closes, and writes all that comes back to `output`, byte for byte,
/// until the server ends its stream. The input may be endless and idle for any time; `patience` is how long
/// the server may say nothing when all has been sent and the output has taken everything.
///
/// # Errors
/// The input or the output fails. What happens to the connection is no error but an [`End`].
pub fn pipe(
    server: &OwnedFd,
    input: BorrowedFd<'_>,
    output: BorrowedFd<'_>,
    patience: Duration,
) -> Result<Tally, PipeError> {
    let mut watcher = Watcher::new().map_err(PipeError::System)?;
    let (from, to, both) = (watcher.add(input), watcher.add(output), watcher.add(server.as_fd()));
    let server = server.as_raw_fd();
    let (mut up, mut down) = (Ring::new(RING), Ring::new(RING));
    let mut tally = Tally { sent: 0, received: 0, end: End::Complete };
    // Whether there is more to come from the input, from the server, and whether the server takes more.
    let (mut reads_input, mut reads_server, mut writes_server) = (true, true, true);
    let mut heard = Instant::now();
    loop {
        if writes_server && !reads_input && up.is_empty() {
            socket::shutdown_write(server);
            writes_server = false;
            heard = Instant::now();
        }
        if !reads_server && down.is_empty() {
            return Ok(tally);
        }
        let has_room = |ring: &Ring| ring.capacity() - ring.len() >= ROOM;
        watcher.want(from, (reads_input && has_room(&up)).then_some(Interest::READ));
        // A reader that is gone is worth knowing of even when there is nothing for him.
        watcher.want(to, Some(if down.is_empty() { Interest::NONE } else { Interest::WRITE }));
        let interest =
            Interest { read: reads_server && has_room(&down), write: writes_server && !up.is_empty() };
        watcher.want(both, (interest != Interest::NONE).then_some(interest));
        let waits_for_server = !writes_server && down.is_empty();
        let until = waits_for_server.then(|| after(patience.saturating_sub(heard.elapsed())));
        watcher.wait(until).map_err(PipeError::System)?;

        if reads_input && watcher.ready(from).read {
            match file::read(input, &mut up.free(usize::MAX)) {
                Ok(0) => reads_input = false,
                Ok(count) => up.commit(count),
                Err(Errno::EAGAIN) => {}
                Err(error) => return Err(PipeError::Input(error.into())),
            }
        }
        // Tried without asking: mostly there is room, and what was just read is on its way.
        if writes_server && !up.is_empty() {
            let first = up.run(0);
            match socket::write(server, &[IoSlice::new(first), IoSlice::new(up.run(first.len()))]) {
                Ok(count) => {
                    up.consume(count);
                    tally.sent += count as u64;
                }
                Err(Errno::EAGAIN) => {}
                // What the server said before it left can still be read; the read tells how it left.
                Err(_) => {
                    (writes_server, reads_input) = (false, false);
                    tally.end = End::ServerLeft;
                    heard = Instant::now();
                }
            }
        }
        if interest.read && watcher.ready(both).read {
            match socket::read(server, &mut down.free(usize::MAX)) {
                Ok(0) => {
                    reads_server = false;
                    if reads_input || !up.is_empty() {
                        tally.end = End::ServerLeft;
                    }
                }
                Ok(count) => {
                    down.commit(count);
                    tally.received += count as u64;
                    heard = Instant::now();
                }
                Err(Errno::EAGAIN) => {}
                Err(error) => {
                    reads_server = false;
                    tally.end = End::Broken(error as i32);
                }
            }
            // Nobody is left to send to.
            (reads_input, writes_server) = (reads_input && reads_server, writes_server && reads_server);
        } else if waits_for_server && heard.elapsed() >= patience {
            return Ok(Tally { end: End::Silent, ..tally });
        }
        let told = watcher.ready(to);
        if told.hangup {
            return Ok(Tally { end: End::OutputClosed, ..tally });
        }
        if told.write && !down.is_empty() {
            let first = down.run(0);
            match file::write(output, &first[..first.len().min(watcher.at_once(to))]) {
                Ok(count) => {
                    down.consume(count);
                    // While the output was slow, the server was not listened to.
                    heard = Instant::now();
                }
                Err(Errno::EAGAIN) => {}
                Err(Errno::EPIPE) => return Ok(Tally { end: End::OutputClosed, ..tally }),
                Err(error) => return Err(PipeError::Output(error.into())),
            }
        }
    }
}
