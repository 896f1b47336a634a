//! One file connection: where it is between a command's first byte and its answer's last.
//!
//! Owns the answer on its way out, the open download and the buffers of an upload. Knows which bytes it may take and which
//! it must send next, and never calls a helper: the loop does, in `event_loop/files.rs`.

use std::io::IoSlice;
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::sync::Arc;

use super::upload::{Put, Upload};
use crate::limits::{FILE_BITE, UPLOAD_CHUNK, WARM_WINDOW};
use crate::transport::codec::files::{Command, Version};
use crate::transport::io::{Io, IoFault};

/// Bites end at multiples of this, if they can: a page of most systems.
const PAGE: u64 = 4096;

/// One connection of the file service.
#[derive(Default)]
pub struct Session {
    /// Which command is under way.
    pub state: State,
    /// Answers that have not left.
    pub out: Vec<u8>,
    sent: usize,
    /// How much of them is a list, while any of it has not left.
    pub listed: usize,
    /// The file that follows them.
    pub download: Option<Download>,
    /// The socket took less than it was offered.
    pub blocked: bool,
    /// It stands in the list of those that send.
    pub queued: bool,
    /// It has a place among the uploads.
    pub has_place: bool,
}

/// What a connection is doing.
#[derive(Default)]
pub enum State {
    /// Nothing, or reading a command, or sending its answer.
    #[default]
    Command,
    /// Reading bytes that nobody wants: so many more.
    Skip(u64),
    /// A PUT waits for a place.
    Queued(Put),
    /// A helper works on a command.
    Asked(Asked),
    /// The bytes of an upload come in.
    Upload(Receiving),
}

/// A command that a helper works on.
#[derive(Clone, Copy)]
pub struct Asked {
    /// How to answer it.
    pub version: Version,
    /// Which it is.
    pub command: Command,
    /// GET: from where on, and how much.
    pub offset: u64,
    /// GET: how much. PUT: of how many bytes.
    pub length: u64,
}

/// An upload whose bytes come in. What arrives goes into one buffer while a helper writes the other.
pub struct Receiving {
    /// How to answer it.
    pub version: Version,
    /// The upload, unless a helper has it.
    pub upload: Option<Box<Upload>>,
    /// Bytes that have not arrived.
    left: u64,
    buffer: Vec<u8>,
    filled: usize,
    spare: Vec<u8>,
}

/// A file that is being sent.
pub struct Download {
    file: Arc<OwnedFd>,
    offset: u64,
    end: u64,
    /// A helper has read the file up to here.
    warm_until: u64,
    /// A helper is reading.
    warming: bool,
    /// Its socket is corked, since one bite is not all of it.
    corked: bool,
}

/// What became of a try to send.
pub enum Sent {
    /// Everything has left.
    All,
    /// There is more, and the socket would take it.
    More,
    /// The socket is full.
    Blocked,
    /// A helper is reading what comes next.
    Warming,
    /// What comes next must be read from the disk first: by a helper.
    Cold(Arc<OwnedFd>, u64, usize),
    /// The file is shorter than it was.
    Shrunk,
}

impl Session {
    /// Hangs a file behind the answer.
    pub fn attach(&mut self, file: OwnedFd, offset: u64, length: u64) {
        let end = offset + length;
        self.download = Some(Download {
            file: Arc::new(file),
            offset,
            end,
            warm_until: 0,
            warming: false,
            corked: false,
        });
    }

    /// Whether something is still to be sent.
    pub fn has_output(&self) -> bool {
        self.sent < self.out.len() || self.download.is_some()
    }

    /// Whether the next command must wait: for a helper, for a place, or until the answer has left.
    pub fn must_wait(&self) -> bool {
        match &self.state {
            State::Command | State::Skip(_) => self.has_output(),
            State::Queued(_) | State::Asked(_) => true,
            State::Upload(receiving) => {
                receiving.upload.is_none()
                    && (receiving.left == 0 || receiving.filled == receiving.buffer.len())
            }
        }
    }

    /// Whether it is us who are slow: a helper works for this connection, or it waits for a place.
    pub fn is_served(&self) -> bool {
        self.download.as_ref().is_some_and(|download| download.warming)
            || match &self.state {
                State::Command | State::Skip(_) => false,
                State::Queued(_) | State::Asked(_) => true,
                State::Upload(receiving) => receiving.upload.is_none(),
            }
    }

    /// Whether it is between two commands, as far as is known here.
    pub fn is_idle(&self) -> bool {
        matches!(self.state, State::Command) && !self.has_output()
    }

    /// Where the bytes of an upload go, if any are awaited.
    pub fn room(&mut self) -> Option<&mut [u8]> {
        match &mut self.state {
            State::Upload(receiving) => receiving.room(),
            _ => None,
        }
    }

    /// So many bytes were put into the room.
    pub fn arrived(&mut self, n: usize) {
        if let State::Upload(receiving) = &mut self.state {
            receiving.arrived(n);
        }
    }

    /// Sends at most `most` bytes of the file, and what stands before them; says how many bytes left in all.
    ///
    /// # Errors
    /// Of the socket; a full one is none. EIO of the disk comes out here as well.
    pub fn send(&mut self, io: &mut impl Io, fd: RawFd, most: usize) -> Result<(usize, Sent), IoFault> {
        let head = &self.out[self.sent..];
        let mut wanted = head.len();
        let taken = if let Some(download) = &mut self.download {
            if download.warming {
                return Ok((0, Sent::Warming));
            }
            let rest = usize::try_from(download.end - download.offset).unwrap_or(usize::MAX);
            let count = rest.min(bite(download.offset, most.min(FILE_BITE)));
            if !download.is_warm(io, count, rest.min(WARM_WINDOW)) {
                download.warming = true;
                let file = Arc::clone(&download.file);
                return Ok((0, Sent::Cold(file, download.offset, rest.min(WARM_WINDOW))));
            }
            wanted += count;
            if rest > FILE_BITE && !download.corked {
                io.cork(fd, true);
                download.corked = true;
            }
            io.send_file(fd, head, download.file.as_fd(), download.offset, count)
        } else if head.is_empty() {
            return Ok((0, Sent::All));
        } else {
            io.write(fd, &[IoSlice::new(head)])
        };
        let n = match taken {
            Err(IoFault::WouldBlock) => return Ok((0, Sent::Blocked)),
            taken => taken?,
        };
        if n == 0 {
            return Ok((0, Sent::Shrunk));
        }
        let of_head = n.min(head.len());
        self.sent += of_head;
        if self.sent == self.out.len() {
            self.out = Vec::new();
            self.sent = 0;
        }
        if let Some(download) = &mut self.download {
            download.offset += (n - of_head) as u64;
            if download.offset < download.end {
                // A short count is a full socket, or a file that shrinks: the next try tells.
                return Ok((n, if n < wanted { Sent::Blocked } else { Sent::More }));
            }
            if download.corked {
                io.cork(fd, false);
            }
        }
        Ok((n, if self.out.is_empty() { Sent::All } else { Sent::Blocked }))
    }

    /// How far in its file it is; 0 if there is none. Two files are not told apart: those who are at the same place of the
    /// same one are neighbours all the same, or nearly so.
    pub fn place(&self) -> u64 {
        self.download.as_ref().map_or(0, |download| download.offset)
    }

    /// A helper has read the file up to here.
    pub fn warmed(&mut self, until: u64) {
        if let Some(download) = &mut self.download {
            (download.warming, download.warm_until) = (false, until);
        }
    }

    /// Takes the file that was sent, to be closed.
    pub fn take_file(&mut self) -> Option<Arc<OwnedFd>> {
        self.download.take().map(|download| download.file)
    }
}

/// At most `most` bytes from `offset` on, ending where a page ends if they can: what begins in the middle of a page stays
/// there, bite after bite, once a socket has taken a part of one.
fn bite(offset: u64, most: usize) -> usize {
    let over = (offset + most as u64) % PAGE;
    if over < most as u64 { most - over as usize } else { most }
}

impl Download {
    /// Whether the next bite can be sent without a wait for the disk. One look is for several bites, if all of them are in
    /// memory.
    fn is_warm(&mut self, io: &mut impl Io, bite: usize, window: usize) -> bool {
        if self.offset + bite as u64 <= self.warm_until {
            return true;
        }
        if io.is_cached(self.file.as_fd(), self.offset, window) {
            self.warm_until = self.offset + window as u64;
            return true;
        }
        bite < window && io.is_cached(self.file.as_fd(), self.offset, bite)
    }
}

impl Receiving {
    /// The go-ahead was given.
    pub fn new(version: Version, upload: Box<Upload>) -> Self {
        let left = upload.size() - upload.stored();
        let room = usize::try_from(left).map_or(UPLOAD_CHUNK, |left| left.min(UPLOAD_CHUNK));
        let buffer = vec![0; room];
        Self { version, upload: Some(upload), left, buffer, filled: 0, spare: Vec::new() }
    }

    /// Whether the client has bytes to send that have not arrived.
    pub fn is_unfinished(&self) -> bool {
        self.left > 0
    }

    /// Where the next bytes go; `None` when none are awaited, or the helper is behind.
    pub fn room(&mut self) -> Option<&mut [u8]> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX);
        let end = self.buffer.len().min(self.filled.saturating_add(most));
        Some(&mut self.buffer[self.filled..end]).filter(|room| !room.is_empty())
    }

    /// So many bytes were put there.
    pub fn arrived(&mut self, n: usize) {
        self.filled += n;
        self.left -= n as u64;
    }

    /// What a helper is to write now, if there is anything and it is not at work already: the upload, the bytes,
    /// how many they are, and whether they are the last.
    pub fn take(&mut self) -> Option<(Box<Upload>, Vec<u8>, usize, bool)> {
        if self.filled == 0 && self.left > 0 {
            return None;
        }
        let upload = self.upload.take()?;
        if self.spare.is_empty() && self.left > 0 {
            self.spare = vec![0; self.buffer.len()];
        }
        let full = std::mem::replace(&mut self.buffer, std::mem::take(&mut self.spare));
        Some((upload, full, std::mem::take(&mut self.filled), self.left == 0))
    }

    /// They are written; here is the buffer back.
    pub fn give_back(&mut self, upload: Box<Upload>, buffer: Vec<u8>) {
        self.upload = Some(upload);
        self.spare = buffer;
    }

    /// The connection is over: the upload, unless a helper has it, and the bytes it has not seen.
    pub fn abandon(mut self) -> Option<(Box<Upload>, Vec<u8>)> {
        self.buffer.truncate(self.filled);
        Some((self.upload?, self.buffer))
    }
}
