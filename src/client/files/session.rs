//! The commands of the file wire and their answers, in either version, one at a time.
//!
//! Owns what stands between a command and the end of its answer: how many bytes of a file are still to come or to go. What
//! version 1 cannot say is said with what it can: a list tells an empty file from none, and the answer to a list
//! tells that the upload before it is over. `docs/protocol.md` has every byte. Never touches a local file.

use std::os::fd::OwnedFd;
use std::time::Duration;

use super::FileError;
use super::stream::{Sent, Stream};
use crate::transport::codec::files::{Command, Digest, NO_DIGEST, Status, Version};

/// A list of more files is none that a server sends.
const MOST_FILES: u32 = 1 << 20;

/// How long a server may take to answer what needs no disk. One that never heard of version 2 may say nothing.
const PROBE: Duration = Duration::from_secs(3);

/// A connection on which commands are given, one after another.
pub struct Session<'fd> {
    stream: Stream<'fd>,
    version: Version,
    /// Bytes of the file that are still to come.
    coming: u64,
}

/// A file in a list. Version 1 tells the name only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// As the server gave it: not yet known to be a good one.
    pub name: String,
    /// Bytes, and seconds since 1970.
    pub size_and_mtime: Option<(u64, i64)>,
    /// If the server knew it.
    pub digest: Option<Digest>,
}

/// What a server knows of one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Bytes.
    pub size: u64,
    /// Seconds since 1970.
    pub mtime: i64,
    /// `None` of a server that was built without SHA-256.
    pub digest: Option<Digest>,
}

/// A file that is being fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Bytes of the whole file.
    pub size: u64,
    /// Seconds since 1970; `None` in version 1.
    pub mtime: Option<i64>,
    /// Bytes that follow.
    pub length: u64,
}

/// Whether an upload goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// It does.
    On,
    /// The server has said something early: [`Session::stored`] tells what.
    Over,
}

/// Finds out whether the server on a fresh connection speaks version 2: asks for a file without a name, which version 2
/// refuses and goes on. A server that knows only version 1 closes, or says nothing; the connection is of no use then.
///
/// # Errors
/// The server speaks another protocol altogether.
pub fn speaks_two(server: &OwnedFd, patience: Duration) -> Result<bool, FileError> {
    let mut session = Session::new(server, Version::Two, patience.min(PROBE))?;
    match session.ask(Command::Stat, "", &[]).and_then(|()| session.answer(Command::Stat)) {
        Ok(()) => Err(FileError::Nonsense("it knows a file without a name")),
        Err(FileError::Refused(..)) => Ok(true),
        Err(FileError::Closed | FileError::Broken(_) | FileError::Silent(_)) => Ok(false),
        Err(error) => Err(error),
    }
}

impl<'fd> Session<'fd> {
    /// A session on a connection that [`dial`](crate::client::dial) made. `patience` is how long the server may neither
    /// say nor take anything.
    ///
    /// # Errors
    /// [`FileError::System`].
    pub fn new(server: &'fd OwnedFd, version: Version, patience: Duration) -> Result<Self, FileError> {
        Ok(Self { stream: Stream::new(server, patience)?, version, coming: 0 })
    }

    /// What is spoken.
    pub fn version(&self) -> Version {
        self.version
    }

    /// What the server shares.
    ///
    /// # Errors
    /// See [`FileError`]; this is so of all commands.
    pub fn list(&mut self) -> Result<Vec<Listed>, FileError> {
        if self.version == Version::One {
            self.stream.send(&[1])?;
            let count = self.count()?;
            return (0..count).map(|_| self.listed_in_one()).collect();
        }
        self.stream.send(&[Command::List as u8])?;
        self.answer(Command::List)?;
        let count = self.count()?;
        (0..count).map(|_| self.listed_in_two()).collect()
    }

    fn count(&mut self) -> Result<u32, FileError> {
        match u32::from_be_bytes(self.array()?) {
            count if count <= MOST_FILES => Ok(count),
            _ => Err(FileError::Nonsense("its list is longer than any")),
        }
    }

    fn listed_in_one(&mut self) -> Result<Listed, FileError> {
        let field = self.stream.take(256)?;
        let end = field.iter().position(|&byte| byte == 0).unwrap_or(field.len());
        let name = String::from_utf8_lossy(&field[..end]).into_owned();
        Ok(Listed { name, size_and_mtime: None, digest: None })
    }

    fn listed_in_two(&mut self) -> Result<Listed, FileError> {
        let length = u16::from_be_bytes(self.array()?);
        let name = String::from_utf8_lossy(self.stream.take(length.into())?).into_owned();
        let size_and_mtime = Some((self.number()?, self.number()? as i64));
        let digest = match self.array()? {
            [0] => None,
            [_] => Some(self.array()?),
        };
        Ok(Listed { name, size_and_mtime, digest })
    }

    /// Size, time and digest of a file. Only version 2 can ask.
    ///
    /// # Errors
    /// See [`FileError`].
    pub fn stat(&mut self, name: &str) -> Result<Stat, FileError> {
        self.ask(Command::Stat, name, &[])?;
        self.answer(Command::Stat)?;
        let (size, mtime) = (self.number()?, self.number()? as i64);
        Ok(Stat { size, mtime, digest: self.digest()? })
    }

    /// Asks for a file from `offset` on, `length` bytes of it at most, 0 for all; [`read`](Self::read) brings them. In
    /// version 1 both are 0.
    ///
    /// # Errors
    /// See [`FileError`].
    pub fn get(&mut self, name: &str, offset: u64, length: u64) -> Result<Found, FileError> {
        if self.version == Version::One {
            return self.get_in_one(name);
        }
        let range = [offset.to_be_bytes(), length.to_be_bytes()].concat();
        self.ask(Command::Get, name, &range)?;
        self.answer(Command::Get)?;
        let (size, mtime, length) = (self.number()?, self.number()? as i64, self.number()?);
        self.coming = length;
        Ok(Found { size, mtime: Some(mtime), length })
    }

    fn get_in_one(&mut self, name: &str) -> Result<Found, FileError> {
        self.stream.send(&[&[2][..], &field(name)].concat())?;
        let size = self.number()?;
        if size == 0 && !self.list()?.iter().any(|listed| listed.name == name) {
            return Err(FileError::Refused(Status::NotFound as u8, "no such file".into()));
        }
        self.coming = size;
        Ok(Found { size, mtime: None, length: size })
    }

    /// The next bytes of the file that was asked for, at least one; 0 when all have come.
    ///
    /// # Errors
    /// [`FileError::Closed`] when they end too early.
    pub fn read(&mut self, into: &mut [u8]) -> Result<usize, FileError> {
        let most = usize::try_from(self.coming).map_or(into.len(), |coming| coming.min(into.len()));
        if most == 0 {
            return Ok(0);
        }
        match self.stream.read(&mut into[..most])? {
            0 => Err(FileError::Closed),
            count => {
                self.coming -= count as u64;
                Ok(count)
            }
        }
    }

    /// Announces an upload of `size` bytes; how many of the first the server has already. Then all others are to be given
    /// to [`write`](Self::write), and [`stored`](Self::stored) tells how it went.
    ///
    /// # Errors
    /// See [`FileError`].
    pub fn put(&mut self, name: &str, size: u64, digest: Option<Digest>) -> Result<u64, FileError> {
        if self.version == Version::One {
            self.stream.send(&[&[3][..], &field(name), &size.to_be_bytes()].concat())?;
            return Ok(0);
        }
        let digest = digest.unwrap_or(NO_DIGEST);
        self.ask(Command::Put, name, &[&size.to_be_bytes()[..], &digest].concat())?;
        self.answer(Command::Put)?;
        match self.number()? {
            have if have <= size => Ok(have),
            _ => Err(FileError::Nonsense("it has more of the file than there is")),
        }
    }

    /// Sends the next bytes of an upload.
    ///
    /// # Errors
    /// See [`FileError`].
    pub fn write(&mut self, bytes: &[u8]) -> Result<Flow, FileError> {
        Ok(match self.stream.send(bytes)? {
            Sent::All => Flow::On,
            Sent::Interrupted => Flow::Over,
        })
    }

    /// Waits until the upload is safe on the server's disk, and gives the digest of what it stored there, if it knows.
    /// In version 1 all that can be known is that the server went on, and has a file of this name.
    ///
    /// # Errors
    /// It is not stored.
    pub fn stored(&mut self, name: &str) -> Result<Option<Digest>, FileError> {
        if self.version == Version::One {
            return match self.list()?.iter().any(|listed| listed.name == name) {
                true => Ok(None),
                false => {
                    Err(FileError::Refused(0, "the server has not stored it, and cannot say why".into()))
                }
            };
        }
        self.answer(Command::Put)?;
        self.digest()
    }

    fn ask(&mut self, command: Command, name: &str, tail: &[u8]) -> Result<(), FileError> {
        let length = (name.len() as u16).to_be_bytes();
        self.stream.send(&[&[command as u8], &length[..], name.as_bytes(), tail].concat())?;
        Ok(())
    }

    /// How every answer of version 2 begins.
    fn answer(&mut self, command: Command) -> Result<(), FileError> {
        let [opcode, status, high, low] = self.array()?;
        if opcode != command as u8 {
            return Err(FileError::Nonsense("it answers what nobody asked"));
        }
        let length = u16::from_be_bytes([high, low]);
        let text = String::from_utf8_lossy(self.stream.take(length.into())?).into_owned();
        match status {
            0 => Ok(()),
            status if text.is_empty() => {
                Err(FileError::Refused(status, format!("refused with status {status}")))
            }
            status => Err(FileError::Refused(status, text)),
        }
    }

    fn digest(&mut self) -> Result<Option<Digest>, FileError> {
        Ok(Some(self.array()?).filter(|digest| *digest != NO_DIGEST))
    }

    fn number(&mut self) -> Result<u64, FileError> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], FileError> {
        Ok(self.stream.take(N)?.try_into().expect("so many were taken"))
    }
}

/// A name as version 1 writes it; it has at most 255 bytes.
fn field(name: &str) -> [u8; 256] {
    let mut field = [0; 256];
    field[..name.len()].copy_from_slice(name.as_bytes());
    field
}
