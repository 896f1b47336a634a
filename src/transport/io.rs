//! The seam between the server and the kernel: traits [`Io`] and [`Disk`], and the words in which they speak.
//!
//! Everything that the event loop asks of the outside world goes through the one, the clock included, and what its
//! helpers ask of the shared directory through the other. So a simulator can stand in for the kernel, and one seed
//! replays a whole run. The kernel itself is `sys/os.rs`. A failed call is an [`IoFault`] here, which ends a
//! connection and never the loop.

use std::io::{IoSlice, IoSliceMut};
use std::ops::Add;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use crate::api::{Closed, Peer};

/// Milliseconds on a monotonic clock whose zero is when the loop was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Millis(pub u64);

impl Add<Duration> for Millis {
    type Output = Millis;

    fn add(self, rest: Duration) -> Millis {
        Millis(self.0.saturating_add(u64::try_from(rest.as_millis()).unwrap_or(u64::MAX)))
    }
}

/// What the loop gets back with a readiness event, to know whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Token(pub u64);

/// The readiness we want to hear of. `NONE` keeps a descriptor registered; hangups are reported all the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interest {
    /// Bytes (or connections) have arrived, or the peer has sent its FIN.
    pub read: bool,
    /// The socket takes bytes again.
    pub write: bool,
}

impl Interest {
    /// Only hangups.
    pub const NONE: Self = Self { read: false, write: false };
    /// Reading.
    pub const READ: Self = Self { read: true, write: false };
    /// Writing.
    pub const WRITE: Self = Self { read: false, write: true };
    /// Both.
    pub const BOTH: Self = Self { read: true, write: true };
}

/// One report of readiness: hints. The truth is what the next call on the descriptor says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// Whose.
    pub token: Token,
    /// A read will not block: bytes, EOF or an error are there.
    pub readable: bool,
    /// A write will not block.
    pub writable: bool,
    /// Both directions are shut, or the socket has an error. Cannot be masked.
    pub hangup: bool,
}

/// Why a call on a socket moved no bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IoFault {
    /// EAGAIN: nothing to read, or no room to write; readiness will tell.
    WouldBlock,
    /// ECONNRESET, EPIPE and the like: the peer is gone.
    Reset,
    /// ETIMEDOUT, EHOSTUNREACH and the like: the kernel has tried for long enough to reach the peer.
    Unreachable,
    /// ENOBUFS or ENOMEM: the kernel has no memory for this socket now.
    NoMemory,
    /// Anything else: the errno, for the log.
    Other(i32),
}

/// Why a connection ends whose socket failed.
impl From<IoFault> for Closed {
    fn from(fault: IoFault) -> Self {
        match fault {
            IoFault::NoMemory => Self::NoMemory,
            IoFault::Unreachable => Self::Unreachable,
            IoFault::WouldBlock | IoFault::Reset | IoFault::Other(_) => Self::Reset,
        }
    }
}

/// Why `accept` brought no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcceptFault {
    /// EAGAIN: the queue is empty.
    WouldBlock,
    /// ECONNABORTED, EPROTO and the like: that peer left before it was accepted; ask again.
    Aborted,
    /// EMFILE or ENFILE: no descriptor is free.
    NoDescriptors,
    /// ENOBUFS or ENOMEM.
    NoMemory,
    /// Anything else: the errno, for the log.
    Other(i32),
}

/// Why a file could not be opened, read, written or renamed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskFault {
    /// ENOENT: no such file.
    NotFound,
    /// A directory, a symbolic link, a FIFO, a device: nothing that is shared.
    NotRegular,
    /// EEXIST: the name is taken.
    Exists,
    /// EWOULDBLOCK: somebody has locked it.
    Busy,
    /// ENOSPC, EDQUOT, EFBIG.
    NoSpace,
    /// EACCES, EPERM, EROFS.
    Denied,
    /// Anything else, EIO before all: the errno, for the log.
    Other(i32),
}

/// What is known of a regular file without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Meta {
    /// Bytes.
    pub size: u64,
    /// When it was last written: seconds since 1970, and nanoseconds.
    pub mtime: (i64, i64),
    /// Its number in its file system.
    pub inode: u64,
}

/// A signal to the process. The first two ask it to stop; the others come only to those who ask for them: to a daemon the
/// next two, to a program on a terminal all but the second of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGINT: Ctrl-C.
    Interrupt,
    /// SIGTERM.
    Terminate,
    /// SIGHUP: read the configuration again. At a terminal: it is gone, so this asks to stop too.
    HangUp,
    /// SIGUSR1: say how it goes.
    User1,
    /// SIGWINCH: the terminal has another size.
    Resize,
    /// SIGTSTP: somebody asks to be suspended.
    Suspend,
    /// SIGCONT: it goes on after having been stopped.
    Continue,
}

/// Wakes a waiting loop from any thread. Cheap to clone; waking twice is waking once.
#[derive(Clone)]
pub struct Waker(Arc<dyn Fn() + Send + Sync>);

impl Waker {
    /// A waker that calls `wake`, which must make the current or next `wait` return.
    pub fn new(wake: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Arc::new(wake))
    }

    /// Makes the current or next `wait` return.
    pub fn wake(&self) {
        (self.0)();
    }
}

/// What the event loop asks of the kernel. EINTR never comes out of it: a real form retries.
///
/// Descriptors are plain numbers here, since a simulator has its own. The loop owns them: whoever
/// accepts a descriptor closes it, by `close` or `abort`, exactly once, after `remove`.
pub trait Io {
    /// The time; the loop asks once a turn.
    fn now(&mut self) -> Millis;

    /// How long ago `now` was asked last, for a histogram: nothing is decided by it. A kernel without such a clock says zero.
    fn since_now(&mut self) -> Duration {
        Duration::ZERO
    }

    /// Waits until something is ready, the waker was used, a signal came, or `timeout` passed (`None`: for ever).
    /// Replaces what is in `events`. The waker's own event is not among them.
    fn wait(&mut self, events: &mut Vec<Event>, timeout: Option<Duration>);

    /// A handle that ends `wait` from any thread.
    fn waker(&self) -> Waker;

    /// A signal that has come since the last question.
    fn signal(&mut self) -> Option<Signal>;

    /// Takes one connection from a listener's queue: non-blocking, close-on-exec, with the options of
    /// an accepted socket (TCP_NODELAY, keepalive).
    fn accept(&mut self, listener: RawFd) -> Result<(RawFd, Peer), AcceptFault>;

    /// Gives up the descriptor that is kept to `accept` one connection when no other is left; whether there was one.
    fn give_up_spare(&mut self) -> bool {
        false
    }

    /// Keeps one again.
    fn keep_spare(&mut self) {}

    /// Registers a descriptor, level-triggered.
    fn add(&mut self, fd: RawFd, token: Token, interest: Interest) -> Result<(), IoFault>;

    /// Changes what a registered descriptor is watched for.
    fn modify(&mut self, fd: RawFd, token: Token, from: Interest, to: Interest) -> Result<(), IoFault>;

    /// Ends the registration; called before every close.
    fn remove(&mut self, fd: RawFd, interest: Interest);

    /// Ends the registration of a descriptor that stays open: nothing is reported of it, not even a hangup.
    fn forget(&mut self, fd: RawFd, interest: Interest);

    /// Reads into the first slice, then the second; 0 is EOF. At least one slice is not empty.
    fn read(&mut self, fd: RawFd, into: &mut [IoSliceMut<'_>; 2]) -> Result<usize, IoFault>;

    /// Writes the slices in order, as much as the socket takes; never raises SIGPIPE.
    fn write(&mut self, fd: RawFd, from: &[IoSlice<'_>]) -> Result<usize, IoFault>;

    /// Writes `head`, then up to `count` (at least 1) bytes of `file` from `offset` on, as much as the socket takes of
    /// both; never raises SIGPIPE. 0: the head is empty, and the file ends before the offset.
    fn send_file(
        &mut self,
        fd: RawFd,
        head: &[u8],
        file: BorrowedFd<'_>,
        offset: u64,
        count: usize,
    ) -> Result<usize, IoFault>;

    /// Lets only full segments leave until it is taken back, which sends what is left: for a file that goes in many bites,
    /// whose ends would each make a small segment. A hint.
    fn cork(&mut self, fd: RawFd, on: bool);

    /// Whether these bytes of a file can be sent without a wait for the disk.
    fn is_cached(&mut self, file: BorrowedFd<'_>, offset: u64, count: usize) -> bool;

    /// Sends FIN: nothing more will be written.
    fn shutdown_write(&mut self, fd: RawFd);

    /// Closes in good order: what was written is still delivered.
    fn close(&mut self, fd: RawFd);

    /// Cuts: RST to the peer (SO_LINGER 0), what was not yet delivered is thrown away.
    fn abort(&mut self, fd: RawFd);
}

/// What helper threads ask of the kernel: one directory and the regular files in it. Any of it may wait for a disk.
///
/// Names have no slash. EINTR never comes out of it.
pub trait Disk: Send + Sync {
    /// Opens a regular file for reading.
    fn open_file(&self, name: &str) -> Result<(OwnedFd, Meta), DiskFault>;

    /// What a name stands for.
    fn meta(&self, name: &str) -> Result<Meta, DiskFault>;

    /// What an open file is.
    fn meta_of(&self, file: BorrowedFd<'_>) -> Result<Meta, DiskFault>;

    /// All names, in no order, whatever they stand for.
    fn names(&self) -> Result<Vec<Vec<u8>>, DiskFault>;

    /// Makes a new file that only this user may open, for reading and writing, and locks it.
    fn create(&self, name: &str) -> Result<OwnedFd, DiskFault>;

    /// Opens a file that was left over, for reading and writing, and locks it.
    fn resume(&self, name: &str) -> Result<(OwnedFd, Meta), DiskFault>;

    /// Gives a finished file its name, in place of what had it before; file and name survive a power cut from now on.
    fn publish(&self, file: BorrowedFd<'_>, from: &str, to: &str) -> Result<Meta, DiskFault>;

    /// Removes a name.
    fn remove(&self, name: &str) -> Result<(), DiskFault>;

    /// Bytes that can still be stored.
    fn free_bytes(&self) -> Result<u64, DiskFault>;

    /// Reads into the whole of `into`, or as far as the file goes.
    fn read_at(&self, file: BorrowedFd<'_>, into: &mut [u8], offset: u64) -> Result<usize, DiskFault>;

    /// Writes all of `from`.
    fn write_at(&self, file: BorrowedFd<'_>, from: &[u8], offset: u64) -> Result<(), DiskFault>;

    /// Brings what was written to the disk.
    fn sync(&self, file: BorrowedFd<'_>) -> Result<(), DiskFault>;

    /// Says that this range is wanted soon.
    fn advise(&self, file: BorrowedFd<'_>, offset: u64, count: usize);

    /// The clock on the wall, which file systems keep times by: since 1970.
    fn clock(&self) -> Duration;

    /// How long ago a file was last written; zero if that is in the future.
    fn age(&self, meta: &Meta) -> Duration {
        self.clock().saturating_sub(Duration::from_secs(meta.mtime.0.try_into().unwrap_or(0)))
    }
}
