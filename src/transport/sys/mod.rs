//! System calls: the one folder that holds `unsafe` and knows errno. Everything above it goes through
//! trait `Io` of `transport/io.rs`, whose form for the kernel is [`OsIo`]: it gives errors the names of the server.
//!
//! [`Poll`] states the contract of a poller; `epoll.rs` and `kqueue.rs` are twins that keep it, and
//! `contract.rs` is the test suite that holds both to it. build.rs chooses one by `cfg(poller)`; what
//! differs by operating system rather than by poller (accept4, SO_NOSIGPIPE, the names of keepalive) is
//! chosen by target in the file that needs it.
//!
//! Descriptors are plain numbers here. The event loop owns them: it closes each exactly once, by
//! [`socket::close`] or [`socket::abort`], after [`Poll::remove`].

use std::os::fd::{BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use libc::c_int;
use nix::Result;

use super::io::{Event, Interest, Token};

#[cfg(test)]
mod contract;
pub mod dir;
#[cfg(poller = "epoll")]
mod epoll;
pub mod file;
pub mod kernel_limits;
#[cfg(poller = "kqueue")]
mod kqueue;
pub mod notify;
mod os;
#[cfg(feature = "cli")]
pub mod probe;
pub mod sendfile;
pub mod signal;
pub mod socket;
pub mod terminal;
pub mod wall_clock;

/// The system's own name for what went wrong, for those who have to tell a person.
pub use nix::errno::Errno;

#[cfg(poller = "epoll")]
pub use epoll::Poller;
#[cfg(poller = "kqueue")]
pub use kqueue::Poller;
pub use os::OsIo;

/// What every poller does. Readiness is level-triggered: it is told again in every wait until the cause
/// is gone. Only the bell is edge-triggered, and therefore never needs to be read.
///
/// EINTR never comes out of a poller.
pub trait Poll: Sized {
    /// A poller that watches nothing but its own bell. Close-on-exec.
    ///
    /// # Errors
    /// EMFILE, ENFILE: no descriptor is free. ENOMEM.
    fn new() -> Result<Self>;

    /// Watches `fd`. `token` comes back with its events and must not be `u64::MAX`, which is the bell's.
    ///
    /// # Errors
    /// ENOMEM; ENOSPC: over `/proc/sys/fs/epoll/max_user_watches`. Any other is a bug: EEXIST, EBADF, ...
    fn add(&self, fd: RawFd, token: Token, interest: Interest) -> Result<()>;

    /// Changes what `fd` is watched for. `token` is the one that it was added with, `from` what it was
    /// watched for until now.
    ///
    /// # Errors
    /// ENOMEM. Any other is a bug: ENOENT, EBADF, ...
    fn modify(&self, fd: RawFd, token: Token, from: Interest, to: Interest) -> Result<()>;

    /// Ends the watch; called right before `fd` is closed, and only then. Closing a descriptor that was
    /// never duplicated ends it as well, on epoll and on kqueue, so a poller may leave it to the kernel.
    /// (A fork duplicates it until the child's exec: a late event is known by the generation in its token.)
    fn remove(&self, fd: RawFd, interest: Interest);

    /// Ends the watch of a descriptor that stays open, as the standard three do. It can be added again.
    ///
    /// # Errors
    /// Only by a bug: ENOENT, EBADF, ...
    fn forget(&self, fd: RawFd, interest: Interest) -> Result<()>;

    /// Waits until something is ready, the bell was rung or `timeout` has passed (`None`: for ever), and
    /// replaces what is in `events`, with at most `EVENTS_PER_WAIT`. The bell's own event is not among them.
    ///
    /// It may come back early and with nothing: after a signal (EINTR), after the bell, and after 24
    /// days. It never comes back early because a timeout was rounded: that is
    /// done upwards.
    ///
    /// One descriptor may come twice in a batch, once readable and once writable: kqueue reports each
    /// filter on its own, and nothing is won by merging hints.
    ///
    /// # Errors
    /// Only by a bug: EBADF, EFAULT, EINVAL.
    fn wait(&mut self, events: &mut Vec<Event>, timeout: Option<Duration>) -> Result<()>;

    /// The descriptor that [`Poll::ring`] takes. It stays open for as long as somebody holds it, so a
    /// late ring never reaches a descriptor that was reused.
    fn bell(&self) -> Arc<OwnedFd>;

    /// Makes the current or the next [`Poll::wait`] return; twice is once. From any thread, and from a
    /// signal handler: one system call, no lock, no memory.
    fn ring(bell: BorrowedFd<'_>);
}

/// The token of the bell.
const BELL: Token = Token(u64::MAX);

/// A timeout in whole milliseconds, rounded up: rounded down, a wait would end just before its deadline
/// and the loop would spin until it is reached. At most `c_int::MAX`, 24 days, which every kernel takes.
fn whole_millis(timeout: Duration) -> c_int {
    timeout.as_nanos().div_ceil(1_000_000).try_into().unwrap_or(c_int::MAX)
}

/// Held for writing while a test starts a process, and for reading by tests for which a close must be
/// the last: between fork and exec a child has a copy of every descriptor, close-on-exec or not.
#[cfg(test)]
pub(crate) static STARTING_A_PROCESS: std::sync::RwLock<()> = std::sync::RwLock::new(());
