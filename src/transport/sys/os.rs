//! [`OsIo`], the kernel as [`Io`] asks for it, and [`Dir`] as a [`Disk`]: every method is the call of this folder that it
//! is named after.
//!
//! `errno` ends here: it becomes an [`IoFault`], an [`AcceptFault`] or a [`DiskFault`], and nothing above this
//! folder sees a number that it would have to look up. Here is also the one monotonic clock of the server.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;

use super::dir::{self, Dir};
use super::{Poll, Poller, sendfile, signal, socket};
use crate::api::Peer;
use crate::transport::io::{
    AcceptFault, Disk, DiskFault, Event, Interest, Io, IoFault, Meta, Millis, Signal, Token, Waker,
};

/// The kernel's form of [`Io`].
pub struct OsIo {
    poller: Poller,
    start: Instant,
    asked: Instant,
    /// It can be closed to make room for another: a second name of the bell.
    spare: Option<OwnedFd>,
    unix_peers: u64,
    catches_signals: bool,
    cork: bool,
}

impl OsIo {
    /// A poller of its own, and a clock that begins now.
    ///
    /// # Errors
    /// EMFILE, ENFILE, ENOMEM: there is no poller to be had.
    pub fn new() -> io::Result<Self> {
        let start = Instant::now();
        let poller = Poller::new()?;
        Ok(Self {
            spare: poller.bell().try_clone().ok(),
            poller,
            start,
            asked: start,
            unix_peers: 0,
            catches_signals: false,
            cork: true,
        })
    }

    /// Whether what is said before the bytes of a file leaves together with them.
    pub fn set_cork(&mut self, cork: bool) {
        self.cork = cork;
    }

    /// From now on SIGINT and SIGTERM end `wait` and come out of `signal`; a second one ends the process with
    /// 128 + its number. SIGPIPE is ignored. For one loop of a process: signals belong to all of it.
    ///
    /// # Errors
    /// What sigaction(2) says.
    pub fn catch_signals(&mut self) -> io::Result<()> {
        signal::catch(self.poller.bell())?;
        self.catches_signals = true;
        Ok(())
    }

    /// The same for a daemon, which also hears of SIGHUP and SIGUSR1.
    ///
    /// # Errors
    /// What sigaction(2) says.
    pub fn catch_operator_signals(&mut self) -> io::Result<()> {
        signal::catch_operator(self.poller.bell())?;
        self.catches_signals = true;
        Ok(())
    }

    /// The same for a program on a terminal, which also hears of the terminal's size and end and of job control:
    /// every [`Signal`] but SIGUSR1.
    ///
    /// # Errors
    /// What sigaction(2) says.
    pub fn catch_terminal_signals(&mut self) -> io::Result<()> {
        signal::catch_terminal(self.poller.bell())?;
        self.catches_signals = true;
        Ok(())
    }
}

impl Io for OsIo {
    fn now(&mut self) -> Millis {
        self.asked = Instant::now();
        Millis::default() + self.asked.duration_since(self.start)
    }

    fn since_now(&mut self) -> Duration {
        self.asked.elapsed()
    }

    fn wait(&mut self, events: &mut Vec<Event>, timeout: Option<Duration>) {
        self.poller.wait(events, timeout).expect("a wait fails only by a bug of ours");
    }

    fn waker(&self) -> Waker {
        let bell = self.poller.bell();
        Waker::new(move || Poller::ring(bell.as_fd()))
    }

    fn signal(&mut self) -> Option<Signal> {
        if self.catches_signals { signal::take() } else { None }
    }

    fn accept(&mut self, listener: RawFd) -> Result<(RawFd, Peer), AcceptFault> {
        let (accepted, address) = socket::accept(listener)?;
        let peer = address.map_or_else(
            || {
                self.unix_peers += 1;
                Peer::unix(self.unix_peers)
            },
            Peer::from,
        );
        Ok((accepted.into_raw_fd(), peer))
    }

    fn give_up_spare(&mut self) -> bool {
        self.spare.take().is_some()
    }

    fn keep_spare(&mut self) {
        // If a helper thread was quicker, the next call may find one.
        self.spare = self.spare.take().or_else(|| self.poller.bell().try_clone().ok());
    }

    fn add(&mut self, fd: RawFd, token: Token, interest: Interest) -> Result<(), IoFault> {
        Ok(self.poller.add(fd, token, interest)?)
    }

    fn modify(&mut self, fd: RawFd, token: Token, from: Interest, to: Interest) -> Result<(), IoFault> {
        Ok(self.poller.modify(fd, token, from, to)?)
    }

    fn remove(&mut self, fd: RawFd, interest: Interest) {
        self.poller.remove(fd, interest);
    }

    fn forget(&mut self, fd: RawFd, interest: Interest) {
        self.poller.forget(fd, interest).expect("it fails only by a bug of ours");
    }

    fn read(&mut self, fd: RawFd, into: &mut [IoSliceMut<'_>; 2]) -> Result<usize, IoFault> {
        Ok(socket::read(fd, into)?)
    }

    fn write(&mut self, fd: RawFd, from: &[IoSlice<'_>]) -> Result<usize, IoFault> {
        Ok(socket::write(fd, from)?)
    }

    fn send_file(
        &mut self,
        fd: RawFd,
        head: &[u8],
        file: BorrowedFd<'_>,
        offset: u64,
        count: usize,
    ) -> Result<usize, IoFault> {
        Ok(sendfile::send_file(fd, head, self.cork, file, offset, count)?)
    }

    fn cork(&mut self, fd: RawFd, on: bool) {
        if self.cork {
            sendfile::cork(fd, on);
        }
    }

    fn is_cached(&mut self, file: BorrowedFd<'_>, offset: u64, count: usize) -> bool {
        sendfile::is_cached(file, offset, count)
    }

    fn shutdown_write(&mut self, fd: RawFd) {
        socket::shutdown_write(fd);
    }

    fn close(&mut self, fd: RawFd) {
        socket::close(fd);
    }

    fn abort(&mut self, fd: RawFd) {
        socket::abort(fd);
    }
}

impl Disk for Dir {
    fn open_file(&self, name: &str) -> Result<(OwnedFd, Meta), DiskFault> {
        Ok(self.open_file(name)?)
    }

    fn meta(&self, name: &str) -> Result<Meta, DiskFault> {
        Ok(self.meta(name)?)
    }

    fn meta_of(&self, file: BorrowedFd<'_>) -> Result<Meta, DiskFault> {
        Ok(dir::meta(file)?)
    }

    fn names(&self) -> Result<Vec<Vec<u8>>, DiskFault> {
        Ok(self.names()?)
    }

    fn create(&self, name: &str) -> Result<OwnedFd, DiskFault> {
        Ok(self.create(name)?)
    }

    fn resume(&self, name: &str) -> Result<(OwnedFd, Meta), DiskFault> {
        Ok(self.resume(name)?)
    }

    fn publish(&self, file: BorrowedFd<'_>, from: &str, to: &str) -> Result<Meta, DiskFault> {
        Ok(self.publish(file, from, to)?)
    }

    fn remove(&self, name: &str) -> Result<(), DiskFault> {
        Ok(self.remove(name)?)
    }

    fn free_bytes(&self) -> Result<u64, DiskFault> {
        Ok(self.free_bytes()?)
    }

    fn read_at(&self, file: BorrowedFd<'_>, into: &mut [u8], offset: u64) -> Result<usize, DiskFault> {
        Ok(dir::read_at(file, into, offset)?)
    }

    fn write_at(&self, file: BorrowedFd<'_>, from: &[u8], offset: u64) -> Result<(), DiskFault> {
        Ok(dir::write_at(file, from, offset)?)
    }

    fn sync(&self, file: BorrowedFd<'_>) -> Result<(), DiskFault> {
        Ok(dir::sync(file)?)
    }

    fn advise(&self, file: BorrowedFd<'_>, offset: u64, count: usize) {
        dir::advise(file, offset, count);
    }

    fn clock(&self) -> Duration {
        dir::clock()
    }
}

impl From<Errno> for IoFault {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::EAGAIN => Self::WouldBlock,
            // The peer sent RST, or we wrote after it did.
            Errno::ECONNRESET | Errno::EPIPE | Errno::ECONNABORTED | Errno::ENOTCONN => Self::Reset,
            // Keepalive or retransmission gave up, by itself or because a router said why.
            Errno::ETIMEDOUT
            | Errno::EHOSTUNREACH
            | Errno::EHOSTDOWN
            | Errno::ENETUNREACH
            | Errno::ENETDOWN
            | Errno::ENETRESET => Self::Unreachable,
            // ENOSPC: epoll's max_user_watches, which bounds the kernel memory of registrations.
            Errno::ENOBUFS | Errno::ENOMEM | Errno::ENOSPC => Self::NoMemory,
            other => Self::Other(other as i32),
        }
    }
}

impl From<Errno> for DiskFault {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::ENOENT => Self::NotFound,
            // ELOOP, EXDEV: a symbolic link (EMLINK on FreeBSD). ENXIO: a socket. EISDIR: see `sys::dir`.
            Errno::ELOOP | Errno::EXDEV | Errno::EMLINK | Errno::ENXIO | Errno::EISDIR | Errno::ENOTDIR => {
                Self::NotRegular
            }
            Errno::EEXIST => Self::Exists,
            Errno::EWOULDBLOCK => Self::Busy,
            Errno::ENOSPC | Errno::EDQUOT | Errno::EFBIG => Self::NoSpace,
            Errno::EACCES | Errno::EPERM | Errno::EROFS => Self::Denied,
            other => Self::Other(other as i32),
        }
    }
}

impl From<Errno> for AcceptFault {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::EAGAIN => Self::WouldBlock,
            Errno::ECONNABORTED | Errno::EPROTO => Self::Aborted,
            // A firewall's rule forbids this connection.
            Errno::EPERM => Self::Aborted,
            // Linux passes on what has already happened to the connection; accept(2) says to ask again.
            Errno::ENETDOWN
            | Errno::ENOPROTOOPT
            | Errno::EHOSTDOWN
            | Errno::EHOSTUNREACH
            | Errno::EOPNOTSUPP
            | Errno::ENETUNREACH => Self::Aborted,
            #[cfg(any(target_os = "linux", target_os = "android"))]
            Errno::ENONET => Self::Aborted,
            Errno::EMFILE | Errno::ENFILE => Self::NoDescriptors,
            Errno::ENOBUFS | Errno::ENOMEM => Self::NoMemory,
            other => Self::Other(other as i32),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn who_left_before_he_was_accepted_is_no_fault_of_the_listener() {
        for (errno, fault) in [
            (Errno::EAGAIN, AcceptFault::WouldBlock),
            (Errno::ECONNABORTED, AcceptFault::Aborted),
            (Errno::EPROTO, AcceptFault::Aborted),
            (Errno::EMFILE, AcceptFault::NoDescriptors),
            (Errno::ENFILE, AcceptFault::NoDescriptors),
            (Errno::ENOBUFS, AcceptFault::NoMemory),
            (Errno::ENOMEM, AcceptFault::NoMemory),
        ] {
            assert_eq!(AcceptFault::from(errno), fault);
        }
        for errno in [Errno::ENOBUFS, Errno::ENOMEM, Errno::ENOSPC] {
            assert_eq!(IoFault::from(errno), IoFault::NoMemory);
        }
    }

    #[test]
    fn the_clock_begins_at_zero_and_never_goes_back() {
        let mut io = OsIo::new().unwrap();
        let first = io.now();
        assert!(first < Millis(60_000));
        io.wait(&mut Vec::new(), Some(Duration::from_millis(3)));
        assert!(io.now() >= first + Duration::from_millis(3));
    }

    #[test]
    fn a_waker_ends_a_wait_from_any_thread_and_outlives_the_loop() {
        let mut io = OsIo::new().unwrap();
        let waker = io.waker();
        let again = waker.clone();
        std::thread::spawn(move || again.wake());
        io.wait(&mut Vec::new(), None);
        drop(io);
        waker.wake();
    }

    #[test]
    fn peers_have_an_address_or_a_number() {
        let mut io = OsIo::new().unwrap();
        let tcp = socket::listen_tcp("127.0.0.1:0".parse().unwrap(), 16, &socket::SocketOptions::default())
            .unwrap();
        let theirs = TcpStream::connect(socket::local_addr(&tcp).unwrap()).unwrap();
        io.add(tcp.as_raw_fd(), Token(1), Interest::READ).unwrap();
        io.wait(&mut Vec::new(), None);
        let (fd, peer) = io.accept(tcp.as_raw_fd()).unwrap();
        assert_eq!(peer, theirs.local_addr().unwrap().into());
        io.close(fd);
        assert_eq!(io.accept(tcp.as_raw_fd()), Err(AcceptFault::WouldBlock));

        let path = std::env::temp_dir().join(format!("rawline-{}-peers", std::process::id()));
        let unix = socket::listen_unix(&path, 16).unwrap();
        for number in 1..=2 {
            let _theirs = UnixStream::connect(&path).unwrap();
            let (fd, peer) = io.accept(unix.as_raw_fd()).unwrap();
            assert_eq!(peer, Peer::unix(number));
            io.close(fd);
        }
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_signal_is_only_told_to_the_loop_that_catches_signals() {
        assert_eq!(OsIo::new().unwrap().signal(), None);
    }
}
