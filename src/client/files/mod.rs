//! The file wire from the client's side: what is there, fetch it, store it.
//!
//! [`Session`] speaks both versions over one connection; [`Landing`] is where the bytes of a download go on this side until
//! they are a file; [`Meter`] says how fast it goes and how long it will take. Nothing here prints. Called by
//! `rawline ls`, `rawline get` and `rawline put`.

mod landing;
mod meter;
mod session;
mod stream;

use std::time::Duration;
use std::{fmt, io};

use crate::config::show_time;
use crate::transport::sys::Errno;

pub use crate::transport::codec::files::{Digest, MAX_NAME, NO_DIGEST, Version, good_name};
pub use crate::transport::files::digest::Hasher;
pub use landing::Landing;
pub use meter::{Meter, Reading, rate};
pub use session::{Flow, Found, Listed, Session, Stat, speaks_two};

/// Why a command was not done.
#[derive(Debug)]
pub enum FileError {
    /// The server says no: version 2's status, and its text. The session can go on.
    Refused(u8, String),
    /// The server has ended its stream.
    Closed,
    /// The connection broke: the errno.
    Broken(i32),
    /// The server neither said nor took anything for so long.
    Silent(Duration),
    /// What the server said is no answer.
    Nonsense(&'static str),
    /// There is no poller to be had.
    System(io::Error),
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(_, text) => f.write_str(text),
            Self::Closed => f.write_str("the server closed the connection"),
            Self::Broken(errno) => write!(f, "the connection broke: {}", Errno::from_raw(*errno).desc()),
            Self::Silent(time) => write!(f, "the server fell silent for {}", show_time(*time)),
            Self::Nonsense(what) => write!(f, "the server does not speak the file protocol: {what}"),
            Self::System(error) => write!(f, "the system refuses: {error}"),
        }
    }
}

impl std::error::Error for FileError {}

/// A digest as `sha256sum` prints it.
pub fn hex(digest: &Digest) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
