//! Stream sockets: listening, accepting, connecting, and the two calls that move bytes. TCP and Unix-domain.
//!
//! Owns nothing: what it opens is the caller's, and the calls of the hot path take plain descriptors. Never
//! waits: every socket is non-blocking, and EINTR is retried here. Never raises SIGPIPE. Every socket is
//! close-on-exec. Called by `OsIo`, for listeners by whoever starts the server, and for connections by the
//! clients' `Dial`.
//!
//! Options of an accepted TCP socket are set on its listener, because Linux and FreeBSD let it inherit them:
//! a connection costs one accept4 and nothing else. macOS does not promise it, and there they are set again.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;
use std::{fs, mem, ptr};

use libc::c_int;
use nix::Result;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrLike, SockaddrStorage, UnixAddr, bind, connect, getpeername,
    getsockname, getsockopt, setsockopt, socket, sockopt,
};

/// What the kernel is told about TCP connections. tcp(7), socket(7).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketOptions {
    /// SO_SNDBUF in bytes; 0 leaves it to the kernel, which tunes it by what the way there takes.
    pub sndbuf: usize,
    /// SO_RCVBUF in bytes; 0 leaves it to the kernel.
    pub rcvbuf: usize,
    /// TCP_NODELAY.
    pub nodelay: bool,
    /// Seconds of silence after which the kernel asks a peer whether it is there, ...
    pub keepalive_idle: u32,
    /// ... seconds between two such questions, ...
    pub keepalive_interval: u32,
    /// ... and how many go unanswered before the connection is given up (ETIMEDOUT).
    pub keepalive_count: u32,
    /// TCP_USER_TIMEOUT in milliseconds; 0: none. It aborts a living peer that takes nothing, so not for all wires.
    pub user_timeout: u32,
    /// TCP_CONGESTION. `None`: the system's; on a loopback listener reno in place of one that paces.
    pub congestion: Option<String>,
}

impl Default for SocketOptions {
    fn default() -> Self {
        Self {
            sndbuf: 0,
            rcvbuf: 0,
            nodelay: true,
            keepalive_idle: 60,
            keepalive_interval: 10,
            keepalive_count: 3,
            user_timeout: 0,
            congestion: None,
        }
    }
}

/// The most slices that one call takes; more is EMSGSIZE. IOV_MAX has this value on every system.
const MAX_SLICES: usize = 1024;

/// A TCP listener: non-blocking, SO_REUSEADDR, and the options that its connections will have. An IPv6
/// listener takes IPv6 only, so `[::]` and `0.0.0.0` live side by side on one port. `backlog` is the number of
/// connections that may wait to be accepted; the kernel caps it. Port 0 lets the kernel choose: see
/// [`local_addr`]. socket(7), tcp(7), ipv6(7), listen(2).
///
/// # Errors
/// EADDRINUSE, EADDRNOTAVAIL, EACCES (a port below 1024), EAFNOSUPPORT (no IPv6), EMFILE, ENFILE.
pub fn listen_tcp(address: SocketAddr, backlog: c_int, options: &SocketOptions) -> io::Result<OwnedFd> {
    let listener = stream(if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 })?;
    setsockopt(&listener, sockopt::ReuseAddr, &true)?;
    if address.is_ipv6() {
        setsockopt(&listener, sockopt::Ipv6V6Only, &true)?;
    }
    set_tcp_options(&listener, options)?;
    set_congestion(&listener, options.congestion.as_deref(), address.ip().is_loopback())?;
    bind(listener.as_raw_fd(), &SockaddrStorage::from(address))?;
    listen(&listener, backlog)?;
    Ok(listener)
}

/// A Unix-domain listener that only this user may connect to (mode 0600). A socket file on which nobody
/// listens, left by a server that died, is replaced; any other file is left alone. The file is not
/// removed when the listener is closed. unix(7).
///
/// # Errors
/// EADDRINUSE when a server listens there or the path is something else than a socket; ENAMETOOLONG over
/// about 100 bytes; what the file system says: EACCES, ENOENT, EROFS, ...
pub fn listen_unix(path: &Path, backlog: c_int) -> io::Result<OwnedFd> {
    let address = UnixAddr::new(path)?;
    remove_stale(path, &address)?;
    let listener = stream(AddressFamily::Unix)?;
    bind(listener.as_raw_fd(), &address)?;
    // Until listen, a connect is refused: nobody can slip in before the mode is set.
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    listen(&listener, backlog)?;
    Ok(listener)
}

/// The address that a TCP socket is bound to. getsockname(2).
///
/// # Errors
/// EAFNOSUPPORT for a Unix-domain socket.
pub fn local_addr(socket: &OwnedFd) -> io::Result<SocketAddr> {
    let address = address_of(|address, length| {
        // SAFETY: the kernel writes at most `length` bytes, which is the size of the address.
        unsafe { libc::getsockname(socket.as_raw_fd(), address, length) }
    });
    match address? {
        (_, Address::Internet(address)) => Ok(address),
        _ => Err(Errno::EAFNOSUPPORT.into()),
    }
}

/// Takes one connection from a listener's queue, with its peer's address, in one system call where there
/// is accept4. `None`: a Unix-domain peer, which has no address. accept(2).
///
/// # Errors
/// EAGAIN: the queue is empty. EMFILE, ENFILE, ENOBUFS, ENOMEM; and, since Linux passes on what has
/// already happened to the connection, the errors of its network.
pub fn accept(listener: RawFd) -> Result<(OwnedFd, Option<SocketAddr>)> {
    let (fd, peer) = address_of(|address, length| accept_cloexec(listener, address, length))?;
    // SAFETY: the kernel has just made it for us.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    match peer {
        Address::Internet(address) => {
            finish_accepted(&socket, Some(listener))?;
            Ok((socket, Some(address)))
        }
        Address::Unix => {
            finish_accepted(&socket, None)?;
            Ok((socket, None))
        }
        // macOS gives no address with a connection that was reset in the queue.
        Address::Unknown => Err(Errno::ECONNABORTED),
    }
}

/// Begins to connect to a TCP listener, with the options that the server's own connections have. The socket
/// becomes writable when the attempt is over: [`is_connected`] tells how. connect(2), tcp(7).
///
/// # Errors
/// What is known at once: ENETUNREACH, EADDRNOTAVAIL (no port is free), EAFNOSUPPORT (no IPv6), EMFILE, ENFILE,
/// on some systems ECONNREFUSED.
pub fn connect_tcp(address: SocketAddr) -> Result<OwnedFd> {
    let socket = stream(if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 })?;
    set_tcp_options(&socket, &SocketOptions::default())?;
    begin(socket, &SockaddrStorage::from(address))
}

/// Begins to connect to a Unix-domain listener; otherwise like [`connect_tcp`]. unix(7).
///
/// # Errors
/// ENOENT, ECONNREFUSED: nobody listens. EACCES. ENAMETOOLONG over about 100 bytes. EAGAIN: the listener's
/// queue is full, and Linux lets nobody wait in line: try again later, with a new socket.
pub fn connect_unix(path: &Path) -> Result<OwnedFd> {
    begin(stream(AddressFamily::Unix)?, &UnixAddr::new(path)?)
}

/// Whether a socket that began to connect is connected; `false`: it is still under way. SO_ERROR in socket(7),
/// getpeername(2).
///
/// # Errors
/// Why it will never be: ECONNREFUSED, ETIMEDOUT, EHOSTUNREACH, ... A socket that reached itself, which the
/// kernel allows when it picks the very port that nobody listens on, counts as refused.
pub fn is_connected(socket: &OwnedFd) -> Result<bool> {
    let error = getsockopt(socket, sockopt::SocketError)?;
    if error != 0 {
        return Err(Errno::from_raw(error));
    }
    let peer: SockaddrStorage = match getpeername(socket.as_raw_fd()) {
        Ok(peer) => peer,
        Err(Errno::ENOTCONN) => return Ok(false),
        // macOS: it was connected, and has been reset since.
        Err(Errno::EINVAL) => return Err(Errno::ECONNRESET),
        Err(error) => return Err(error),
    };
    let internet = matches!(peer.family(), Some(AddressFamily::Inet | AddressFamily::Inet6));
    if internet && getsockname::<SockaddrStorage>(socket.as_raw_fd())? == peer {
        return Err(Errno::ECONNREFUSED);
    }
    Ok(true)
}

fn begin(socket: OwnedFd, to: &impl SockaddrLike) -> Result<OwnedFd> {
    #[cfg(target_vendor = "apple")]
    set_no_sigpipe(&socket)?;
    match connect(socket.as_raw_fd(), to) {
        // An interrupted connect goes on by itself, like any other of a non-blocking socket.
        Ok(()) | Err(Errno::EINPROGRESS | Errno::EINTR) => Ok(socket),
        Err(error) => Err(error),
    }
}

/// Reads into the first slice, then the second; 0 is EOF. At least one is not empty. recv(2), readv(2).
///
/// # Errors
/// EAGAIN: nothing is there. ECONNRESET, ETIMEDOUT, ...: the connection is over.
pub fn read(fd: RawFd, into: &mut [IoSliceMut<'_>; 2]) -> Result<usize> {
    let [first, second] = into;
    if second.is_empty() {
        // SAFETY: the slice is ours to write for its whole length.
        return retry(|| unsafe { libc::recv(fd, first.as_mut_ptr().cast(), first.len(), 0) });
    }
    // SAFETY: an IoSliceMut is an iovec by the promise of std, and these two are ours to write.
    retry(|| unsafe { libc::readv(fd, into.as_ptr().cast(), 2) })
}

/// Writes the slices in order, as much of them as the socket takes, and never raises SIGPIPE: writev
/// cannot promise that, so several slices go by sendmsg. Looks at 1024 slices. send(2), sendmsg(2).
///
/// # Errors
/// EAGAIN: no room. EPIPE, ECONNRESET, ETIMEDOUT, ...: the connection is over. ENOBUFS, ENOMEM.
pub fn write(fd: RawFd, from: &[IoSlice<'_>]) -> Result<usize> {
    if let [only] = from {
        // SAFETY: the slice can be read for its whole length.
        return retry(|| unsafe { libc::send(fd, only.as_ptr().cast(), only.len(), SEND_FLAGS) });
    }
    // SAFETY: zeros make a msghdr: its fields, which are not the same on each system, are numbers and pointers.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_iov = from.as_ptr().cast_mut().cast();
    message.msg_iovlen = from.len().min(MAX_SLICES) as _;
    // SAFETY: an IoSlice is an iovec by the promise of std; sendmsg only reads.
    retry(|| unsafe { libc::sendmsg(fd, &message, SEND_FLAGS) })
}

/// Sends FIN: nothing more will be written. A peer that is gone already (ENOTCONN) has no need of it.
/// shutdown(2).
pub fn shutdown_write(fd: RawFd) {
    // SAFETY: takes no pointer.
    unsafe { libc::shutdown(fd, libc::SHUT_WR) };
}

/// Closes in good order: what was written is still delivered. EINTR is not retried, since the descriptor
/// is free by then. close(2).
pub fn close(fd: RawFd) {
    // SAFETY: by the contract of `Io`, the caller owned it and does not use it again.
    drop(unsafe { OwnedFd::from_raw_fd(fd) });
}

/// Cuts: a TCP peer gets RST, and what was not yet delivered is thrown away. A Unix-domain peer sees the
/// end of the stream. SO_LINGER in socket(7).
pub fn abort(fd: RawFd) {
    // SAFETY: by the contract of `Io`, the caller owned it and does not use it again.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    // It fails only on a connection that is over (EINVAL on macOS), where nothing is left to cut.
    let _ = setsockopt(&socket, sockopt::Linger, &libc::linger { l_onoff: 1, l_linger: 0 });
}

fn listen(socket: &OwnedFd, backlog: c_int) -> Result<()> {
    // nix::listen refuses what is over SOMAXCONN, but the kernel may have been set to take more.
    // SAFETY: takes no pointer.
    Errno::result(unsafe { libc::listen(socket.as_raw_fd(), backlog) }).map(drop)
}

/// Options that the connections of this listener have, or that this connection has.
fn set_tcp_options(socket: &impl AsFd, options: &SocketOptions) -> Result<()> {
    // Before listen and connect, or the window's scale is settled without them.
    if options.sndbuf > 0 {
        setsockopt(socket, sockopt::SndBuf, &options.sndbuf)?;
    }
    if options.rcvbuf > 0 {
        setsockopt(socket, sockopt::RcvBuf, &options.rcvbuf)?;
    }
    // A turn's answers are written in one call: there is nothing to wait for and put together.
    setsockopt(socket, sockopt::TcpNoDelay, &options.nodelay)?;
    #[cfg(any(target_os = "linux", target_os = "android"))]
    if options.user_timeout > 0 {
        setsockopt(socket, sockopt::TcpUserTimeout, &options.user_timeout)?;
    }
    let (idle, interval, count) =
        (options.keepalive_idle, options.keepalive_interval, options.keepalive_count);
    setsockopt(socket, sockopt::KeepAlive, &true)?;
    #[cfg(not(target_vendor = "apple"))]
    setsockopt(socket, sockopt::TcpKeepIdle, &idle)?;
    #[cfg(target_vendor = "apple")]
    setsockopt(socket, sockopt::TcpKeepAlive, &idle)?;
    setsockopt(socket, sockopt::TcpKeepInterval, &interval)?;
    setsockopt(socket, sockopt::TcpKeepCount, &count)
}

/// Chooses the congestion control of a listener's connections.
///
/// # Errors
/// The one that was asked for is not there, or this user may not have it.
#[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
fn set_congestion(listener: &OwnedFd, asked: Option<&str>, is_loopback: bool) -> io::Result<()> {
    match asked {
        Some(name) => setsockopt(listener, sockopt::TcpCongestion, &name.into()).map_err(|error| {
            let text = format!("the congestion control {name:?} is not there or not allowed ({error})");
            io::Error::new(io::ErrorKind::InvalidInput, text)
        }),
        None => {
            // bbr sends every segment by a timer, which on the way to ourselves costs a multiple and wins nothing.
            // Whoever may not have reno, which everybody may, keeps what he has.
            let paces = getsockopt(listener, sockopt::TcpCongestion)
                .is_ok_and(|name| name.as_encoded_bytes().split(|&byte| byte == 0).next() == Some(b"bbr"));
            if is_loopback && paces {
                let _ = setsockopt(listener, sockopt::TcpCongestion, &"reno".into());
            }
            Ok(())
        }
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
fn set_congestion(_listener: &OwnedFd, asked: Option<&str>, _is_loopback: bool) -> io::Result<()> {
    match asked {
        None => Ok(()),
        Some(_) => {
            Err(io::Error::new(io::ErrorKind::InvalidInput, "congestion can only be auto on this system"))
        }
    }
}

/// Removes a socket file on which nobody listens: connect is refused there.
fn remove_stale(path: &Path, address: &UnixAddr) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
        Ok(found) if !found.file_type().is_socket() => return Err(Errno::EADDRINUSE.into()),
        Ok(_) => {}
    }
    let probe = stream(AddressFamily::Unix)?;
    match connect(probe.as_raw_fd(), address) {
        Err(Errno::ECONNREFUSED) => fs::remove_file(path),
        // EAGAIN: somebody listens, with a full queue.
        Ok(()) | Err(Errno::EAGAIN | Errno::EINPROGRESS) => Err(Errno::EADDRINUSE.into()),
        Err(error) => Err(error.into()),
    }
}

/// Who a socket address names.
enum Address {
    Internet(SocketAddr),
    Unix,
    Unknown,
}

/// Makes a call that fills in an address, until it is not interrupted.
fn address_of(
    mut call: impl FnMut(*mut libc::sockaddr, *mut libc::socklen_t) -> c_int,
) -> Result<(c_int, Address)> {
    // SAFETY: zeros make a sockaddr_storage, of no family.
    let mut storage: libc::sockaddr_storage = unsafe { mem::zeroed() };
    let mut length = size_of_val(&storage) as libc::socklen_t;
    let result = retry(|| call(ptr::from_mut(&mut storage).cast(), &mut length) as isize)?;
    Ok((result as c_int, decode(&storage)))
}

fn decode(storage: &libc::sockaddr_storage) -> Address {
    let storage_ptr = ptr::from_ref(storage);
    match c_int::from(storage.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says which struct is in the storage, which is large and aligned enough for all.
            let found = unsafe { &*storage_ptr.cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from_bits(u32::from_be(found.sin_addr.s_addr));
            Address::Internet(SocketAddrV4::new(ip, u16::from_be(found.sin_port)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: as above.
            let found = unsafe { &*storage_ptr.cast::<libc::sockaddr_in6>() };
            let (ip, port) = (Ipv6Addr::from(found.sin6_addr.s6_addr), u16::from_be(found.sin6_port));
            Address::Internet(SocketAddrV6::new(ip, port, found.sin6_flowinfo, found.sin6_scope_id).into())
        }
        libc::AF_UNIX => Address::Unix,
        _ => Address::Unknown,
    }
}

/// Repeats a call for as long as it is interrupted.
fn retry(mut call: impl FnMut() -> isize) -> Result<usize> {
    loop {
        match Errno::result(call()) {
            Ok(result) => return Ok(result as usize),
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error),
        }
    }
}

// What differs by operating system.

#[cfg(not(target_vendor = "apple"))]
const SEND_FLAGS: c_int = libc::MSG_NOSIGNAL;
/// SO_NOSIGPIPE is set on the socket instead: MSG_NOSIGNAL is too young there.
#[cfg(target_vendor = "apple")]
const SEND_FLAGS: c_int = 0;

/// A socket, non-blocking and close-on-exec.
#[cfg(not(target_vendor = "apple"))]
fn stream(family: AddressFamily) -> Result<OwnedFd> {
    socket(family, SockType::Stream, SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC, None)
}

#[cfg(target_vendor = "apple")]
fn stream(family: AddressFamily) -> Result<OwnedFd> {
    let socket = socket(family, SockType::Stream, SockFlag::empty(), None)?;
    set_flags(&socket)?;
    Ok(socket)
}

#[cfg(not(target_vendor = "apple"))]
fn accept_cloexec(listener: RawFd, address: *mut libc::sockaddr, length: *mut libc::socklen_t) -> c_int {
    // SAFETY: `address_of` gives an address and its size.
    unsafe { libc::accept4(listener, address, length, libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC) }
}

#[cfg(target_vendor = "apple")]
fn accept_cloexec(listener: RawFd, address: *mut libc::sockaddr, length: *mut libc::socklen_t) -> c_int {
    // SAFETY: `address_of` gives an address and its size.
    unsafe { libc::accept(listener, address, length) }
}

/// What accept4 and the listener have not done for an accepted socket: nothing.
#[cfg(not(target_vendor = "apple"))]
fn finish_accepted(_socket: &OwnedFd, _listener: Option<RawFd>) -> Result<()> {
    Ok(())
}

#[cfg(target_vendor = "apple")]
fn finish_accepted(socket: &OwnedFd, listener: Option<RawFd>) -> Result<()> {
    set_flags(socket)?;
    let options = set_no_sigpipe(socket).and_then(|()| match listener {
        Some(listener) => set_tcp_options(socket, &tcp_options_of(listener)?),
        None => Ok(()),
    });
    match options {
        // The peer has reset the connection since.
        Err(Errno::EINVAL) => Err(Errno::ECONNABORTED),
        options => options,
    }
}

/// What the listener was told.
#[cfg(target_vendor = "apple")]
fn tcp_options_of(listener: RawFd) -> Result<SocketOptions> {
    // SAFETY: it is open: it was accepted from a moment ago.
    let listener = unsafe { std::os::fd::BorrowedFd::borrow_raw(listener) };
    Ok(SocketOptions {
        nodelay: getsockopt(&listener, sockopt::TcpNoDelay)?,
        keepalive_idle: getsockopt(&listener, sockopt::TcpKeepAlive)?,
        keepalive_interval: getsockopt(&listener, sockopt::TcpKeepInterval)?,
        keepalive_count: getsockopt(&listener, sockopt::TcpKeepCount)?,
        ..SocketOptions::default()
    })
}

#[cfg(target_vendor = "apple")]
fn set_flags(socket: &OwnedFd) -> Result<()> {
    use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
    fcntl(socket, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    fcntl(socket, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).map(drop)
}

#[cfg(target_vendor = "apple")]
fn set_no_sigpipe(socket: &OwnedFd) -> Result<()> {
    let on: c_int = 1;
    // SAFETY: the pointer is good for the size that is given.
    Errno::result(unsafe {
        let (value, size) = (ptr::from_ref(&on).cast(), size_of_val(&on) as libc::socklen_t);
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_NOSIGPIPE, value, size)
    })
    .map(drop)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;
    use std::os::fd::{AsFd, IntoRawFd};
    use std::os::unix::fs::MetadataExt;
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::path::PathBuf;
    use std::process;
    use std::time::Duration;

    use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
    use nix::sys::signal::{SIGPIPE, SigHandler, signal};

    use super::super::{Poll, Poller, STARTING_A_PROCESS};
    use super::*;
    use crate::transport::io::{Interest, IoFault, Token};

    /// A listener on the loopback, and a connection to it from both ends.
    fn connected(address: &str) -> (OwnedFd, OwnedFd, TcpStream) {
        let listener = listen_tcp(address.parse().unwrap(), 16, &SocketOptions::default()).unwrap();
        let theirs = TcpStream::connect(local_addr(&listener).unwrap()).unwrap();
        let (ours, peer) = accept_next(&listener);
        assert_eq!(peer, Some(theirs.local_addr().unwrap()));
        (listener, ours, theirs)
    }

    fn accept_next(listener: &OwnedFd) -> (OwnedFd, Option<SocketAddr>) {
        until_ready(listener, Interest::READ);
        accept(listener.as_raw_fd()).unwrap()
    }

    fn until_ready(fd: &impl AsRawFd, interest: Interest) {
        let mut poller = Poller::new().unwrap();
        poller.add(fd.as_raw_fd(), Token(0), interest).unwrap();
        let mut events = Vec::new();
        poller.wait(&mut events, Some(Duration::from_secs(60))).unwrap();
        assert_ne!(events, [], "it never became ready");
    }

    /// A path of its own for each test.
    fn path(test: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("rawline-{}-{test}", process::id()));
        let _ = fs::remove_file(&path);
        path
    }

    fn assert_nonblocking_and_cloexec(fd: impl AsFd) {
        let status = OFlag::from_bits_retain(fcntl(&fd, FcntlArg::F_GETFL).unwrap());
        assert!(status.contains(OFlag::O_NONBLOCK));
        let flags = FdFlag::from_bits_retain(fcntl(&fd, FcntlArg::F_GETFD).unwrap());
        assert!(flags.contains(FdFlag::FD_CLOEXEC));
    }

    fn read_one(fd: &OwnedFd, first: &mut [u8], second: &mut [u8]) -> Result<usize> {
        read(fd.as_raw_fd(), &mut [IoSliceMut::new(first), IoSliceMut::new(second)])
    }

    #[test]
    fn an_accepted_connection_has_the_options_of_its_listener() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let (listener, ours, _theirs) = connected(address);
            assert!(getsockopt(&listener, sockopt::ReuseAddr).unwrap());
            assert!(getsockopt(&ours, sockopt::TcpNoDelay).unwrap());
            assert!(getsockopt(&ours, sockopt::KeepAlive).unwrap());
            #[cfg(not(target_vendor = "apple"))]
            assert_eq!(getsockopt(&ours, sockopt::TcpKeepIdle).unwrap(), 60);
            #[cfg(target_vendor = "apple")]
            assert_eq!(getsockopt(&ours, sockopt::TcpKeepAlive).unwrap(), 60);
            assert_eq!(getsockopt(&ours, sockopt::TcpKeepInterval).unwrap(), 10);
            assert_eq!(getsockopt(&ours, sockopt::TcpKeepCount).unwrap(), 3);
            assert_nonblocking_and_cloexec(&listener);
            assert_nonblocking_and_cloexec(&ours);
        }
    }

    #[test]
    fn options_reach_the_connections() {
        let options = SocketOptions {
            sndbuf: 64 * 1024,
            rcvbuf: 32 * 1024,
            nodelay: false,
            keepalive_idle: 7,
            keepalive_interval: 3,
            keepalive_count: 2,
            user_timeout: 5000,
            congestion: None,
        };
        let listener = listen_tcp("127.0.0.1:0".parse().unwrap(), 16, &options).unwrap();
        let _theirs = TcpStream::connect(local_addr(&listener).unwrap()).unwrap();
        let (ours, _) = accept_next(&listener);
        assert!(!getsockopt(&ours, sockopt::TcpNoDelay).unwrap());
        assert_eq!(getsockopt(&ours, sockopt::TcpKeepInterval).unwrap(), 3);
        assert_eq!(getsockopt(&ours, sockopt::TcpKeepCount).unwrap(), 2);
        #[cfg(any(target_os = "linux", target_os = "android"))]
        {
            // Linux doubles what it is asked for, to have room for its own.
            assert_eq!(getsockopt(&ours, sockopt::SndBuf).unwrap(), 2 * 64 * 1024);
            assert_eq!(getsockopt(&ours, sockopt::RcvBuf).unwrap(), 2 * 32 * 1024);
            assert_eq!(getsockopt(&ours, sockopt::TcpUserTimeout).unwrap(), 5000);
            let name = getsockopt(&ours, sockopt::TcpCongestion).unwrap();
            assert!(!name.as_encoded_bytes().starts_with(b"bbr"), "{name:?} paces on loopback");
        }
        let unknown = SocketOptions { congestion: Some("nonsense".into()), ..SocketOptions::default() };
        let error = listen_tcp("127.0.0.1:0".parse().unwrap(), 16, &unknown).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{error}");
    }

    /// By keepalive where nothing was said, by TCP_USER_TIMEOUT where something was and nobody acknowledged it.
    #[test]
    #[cfg(all(target_os = "linux", feature = "cli"))]
    fn a_peer_whose_cable_is_cut_is_given_up() {
        let patient = SocketOptions::default();
        let keepalive = SocketOptions {
            keepalive_idle: 1,
            keepalive_interval: 1,
            keepalive_count: 1,
            user_timeout: 0,
            ..patient.clone()
        };
        for (options, word) in [(keepalive, ""), (SocketOptions { user_timeout: 500, ..patient }, "hello?")] {
            let listener = listen_tcp("127.0.0.1:0".parse().unwrap(), 16, &options).unwrap();
            let theirs = TcpStream::connect(local_addr(&listener).unwrap()).unwrap();
            let (ours, _) = accept_next(&listener);
            crate::transport::sys::probe::deafen(&theirs).unwrap();
            if !word.is_empty() {
                write(ours.as_raw_fd(), &[IoSlice::new(word.as_bytes())]).unwrap();
            }
            until_ready(&ours, Interest::READ);
            let fault = read_one(&ours, &mut [0], &mut []).unwrap_err();
            assert_eq!((fault, IoFault::from(fault)), (Errno::ETIMEDOUT, IoFault::Unreachable), "{word}");
        }
    }

    #[test]
    fn both_families_listen_on_one_port() {
        let four = listen_tcp("0.0.0.0:0".parse().unwrap(), 1, &SocketOptions::default()).unwrap();
        let port = local_addr(&four).unwrap().port();
        let six = listen_tcp(format!("[::]:{port}").parse().unwrap(), 1, &SocketOptions::default()).unwrap();
        assert_eq!(local_addr(&six).unwrap(), format!("[::]:{port}").parse().unwrap());
        let taken = listen_tcp(format!("0.0.0.0:{port}").parse().unwrap(), 1, &SocketOptions::default());
        assert_eq!(taken.unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn a_port_is_free_again_although_connections_linger() {
        let _closes_are_the_last = STARTING_A_PROCESS.read().unwrap();
        let (listener, ours, theirs) = connected("127.0.0.1:0");
        let address = local_addr(&listener).unwrap();
        // The end that closes first stays in TIME_WAIT for a minute.
        drop((ours, theirs, listener));
        listen_tcp(address, 1, &SocketOptions::default()).unwrap();
    }

    #[test]
    fn a_connection_has_the_options_of_the_server_s_own() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let listener = listen_tcp(address.parse().unwrap(), 16, &SocketOptions::default()).unwrap();
            let ours = connect_tcp(local_addr(&listener).unwrap()).unwrap();
            until_ready(&ours, Interest::WRITE);
            assert_eq!(is_connected(&ours), Ok(true));
            assert!(getsockopt(&ours, sockopt::TcpNoDelay).unwrap());
            assert!(getsockopt(&ours, sockopt::KeepAlive).unwrap());
            assert_nonblocking_and_cloexec(&ours);
            let (_theirs, peer) = accept_next(&listener);
            assert_eq!(peer, Some(local_addr(&ours).unwrap()));
        }
    }

    #[test]
    fn a_port_without_a_listener_refuses() {
        let _closes_are_the_last = STARTING_A_PROCESS.read().unwrap();
        let listener = listen_tcp("127.0.0.1:0".parse().unwrap(), 1, &SocketOptions::default()).unwrap();
        let address = local_addr(&listener).unwrap();
        drop(listener);
        let error = connect_tcp(address).and_then(|socket| {
            until_ready(&socket, Interest::WRITE);
            is_connected(&socket)
        });
        assert_eq!(error, Err(Errno::ECONNREFUSED));
    }

    #[test]
    fn a_socket_that_reaches_itself_is_refused() {
        let socket = stream(AddressFamily::Inet).unwrap();
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        bind(socket.as_raw_fd(), &SockaddrStorage::from(any)).unwrap();
        let itself = local_addr(&socket).unwrap();
        let socket = begin(socket, &SockaddrStorage::from(itself)).unwrap();
        until_ready(&socket, Interest::WRITE);
        assert_eq!(is_connected(&socket), Err(Errno::ECONNREFUSED));
    }

    #[test]
    fn nobody_is_connected_to_a_full_queue() {
        // Connections that are never accepted: at some point the kernel takes no more.
        let listener = listen_tcp("127.0.0.1:0".parse().unwrap(), 0, &SocketOptions::default()).unwrap();
        let address = local_addr(&listener).unwrap();
        let mut poller = Poller::new().unwrap();
        let mut kept = Vec::new();
        let waiting = loop {
            let socket = connect_tcp(address).unwrap();
            poller.add(socket.as_raw_fd(), Token(kept.len() as u64), Interest::WRITE).unwrap();
            let (mut events, last) = (Vec::new(), Token(kept.len() as u64));
            poller.wait(&mut events, Some(Duration::from_millis(100))).unwrap();
            if !events.iter().any(|event| event.token == last) {
                break socket;
            }
            poller.modify(socket.as_raw_fd(), last, Interest::WRITE, Interest::NONE).unwrap();
            kept.push(socket);
            assert!(kept.len() < 64, "the queue never fills");
        };
        assert_eq!(is_connected(&waiting), Ok(false));
    }

    #[test]
    fn unix_connections_are_refused_for_their_reasons() {
        let _closes_are_the_last = STARTING_A_PROCESS.read().unwrap();
        let path = path("dial");
        assert_eq!(connect_unix(&path).unwrap_err(), Errno::ENOENT);
        let listener = listen_unix(&path, 1).unwrap();
        let mut kept = Vec::new();
        let error = loop {
            match connect_unix(&path) {
                Ok(socket) => {
                    assert_eq!(is_connected(&socket), Ok(true));
                    assert_nonblocking_and_cloexec(&socket);
                    kept.push(socket);
                }
                Err(error) => break error,
            }
            assert!(kept.len() < 64, "the queue never fills");
        };
        // The BSDs refuse what Linux asks to try again.
        assert!(matches!(error, Errno::EAGAIN | Errno::ECONNREFUSED), "{error}");
        drop((kept, listener));
        assert_eq!(connect_unix(&path).unwrap_err(), Errno::ECONNREFUSED);
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn an_empty_queue_would_block() {
        let listener = listen_tcp("127.0.0.1:0".parse().unwrap(), 1, &SocketOptions::default()).unwrap();
        assert_eq!(accept(listener.as_raw_fd()).unwrap_err(), Errno::EAGAIN);
    }

    #[test]
    fn bytes_fill_the_first_slice_and_then_the_second() {
        let (_listener, ours, mut theirs) = connected("127.0.0.1:0");
        let (mut first, mut second) = ([0; 3], [0; 5]);
        assert_eq!(read_one(&ours, &mut first, &mut second), Err(Errno::EAGAIN));
        theirs.write_all(b"abcdef").unwrap();
        until_ready(&ours, Interest::READ);
        assert_eq!(read_one(&ours, &mut first, &mut second), Ok(6));
        assert_eq!((&first, &second[..3]), (b"abc", &b"def"[..]));
        theirs.write_all(b"gh").unwrap();
        until_ready(&ours, Interest::READ);
        assert_eq!(read_one(&ours, &mut first, &mut []), Ok(2));
        assert_eq!(&first[..2], b"gh");
        drop(theirs);
        until_ready(&ours, Interest::READ);
        assert_eq!(read_one(&ours, &mut first, &mut second), Ok(0), "EOF");
    }

    #[test]
    fn slices_are_written_in_order_however_many() {
        let (_listener, ours, mut theirs) = connected("127.0.0.1:0");
        assert_eq!(write(ours.as_raw_fd(), &[IoSlice::new(b"one ")]), Ok(4));
        let three = [IoSlice::new(b"two "), IoSlice::new(b""), IoSlice::new(b"three")];
        assert_eq!(write(ours.as_raw_fd(), &three), Ok(9));
        let many = vec![IoSlice::new(b"."); MAX_SLICES + 1];
        assert_eq!(write(ours.as_raw_fd(), &many), Ok(MAX_SLICES), "the rest is for the next call");
        shutdown_write(ours.as_raw_fd());
        let mut text = String::new();
        theirs.read_to_string(&mut text).unwrap();
        assert_eq!(text, format!("one two three{}", ".".repeat(MAX_SLICES)));
    }

    #[test]
    fn after_a_short_write_the_socket_would_block() {
        let (_listener, ours, mut theirs) = connected("127.0.0.1:0");
        let large = vec![7; 64 << 20];
        for slices in [&[IoSlice::new(&large)][..], &[IoSlice::new(&large), IoSlice::new(&large)]] {
            let mut sent = 0;
            let error = loop {
                match write(ours.as_raw_fd(), slices) {
                    Ok(count) => sent += count,
                    Err(error) => break error,
                }
            };
            assert_eq!(IoFault::from(error), IoFault::WouldBlock);
            assert!(0 < sent && sent < large.len());
            theirs.read_exact(&mut vec![0; sent]).unwrap();
            until_ready(&ours, Interest::WRITE);
        }
    }

    #[test]
    fn writing_to_a_peer_that_is_gone_is_a_fault_and_no_signal() {
        // Rust programs ignore SIGPIPE; with its default action, it would end this one.
        // SAFETY: installs no handler.
        let before = unsafe { signal(SIGPIPE, SigHandler::SigDfl) }.unwrap();
        for slices in [&[IoSlice::new(b"x")][..], &[IoSlice::new(b"x"), IoSlice::new(b"y")]] {
            let (_listener, ours, theirs) = connected("127.0.0.1:0");
            abort(theirs.into_raw_fd());
            until_ready(&ours, Interest::READ);
            // The first call takes the error of the socket, the second finds it shut: EPIPE.
            for _ in 0..2 {
                assert_eq!(write(ours.as_raw_fd(), slices).map_err(IoFault::from), Err(IoFault::Reset));
            }
        }
        // SAFETY: as above.
        unsafe { signal(SIGPIPE, before) }.unwrap();
    }

    #[test]
    fn abort_resets_and_close_does_not() {
        let (_listener, ours, mut theirs) = connected("127.0.0.1:0");
        abort(ours.into_raw_fd());
        assert_eq!(theirs.read(&mut [0]).unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        let (_listener, ours, mut theirs) = connected("127.0.0.1:0");
        assert_eq!(write(ours.as_raw_fd(), &[IoSlice::new(b"x")]), Ok(1));
        close(ours.into_raw_fd());
        assert_eq!(theirs.read_to_end(&mut Vec::new()).unwrap(), 1);
    }

    #[test]
    fn a_peer_that_left_before_it_was_accepted_is_no_error_of_the_listener() {
        let listener = listen_tcp("127.0.0.1:0".parse().unwrap(), 16, &SocketOptions::default()).unwrap();
        let address = local_addr(&listener).unwrap();
        abort(TcpStream::connect(address).unwrap().into_raw_fd());
        let kept = TcpStream::connect(address).unwrap();
        // Linux hands out the first as well, FreeBSD drops it or says ECONNABORTED.
        let mut peers = Vec::new();
        while peers.last() != Some(&kept.local_addr().unwrap()) {
            until_ready(&listener, Interest::READ);
            match accept(listener.as_raw_fd()) {
                Ok((_, peer)) => peers.extend(peer),
                Err(error) => assert_eq!(error, Errno::ECONNABORTED),
            }
        }
        assert!(peers.len() <= 2);
    }

    #[test]
    fn a_unix_listener_is_for_its_user_only() {
        let path = path("mode");
        let listener = listen_unix(&path, 16).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_nonblocking_and_cloexec(&listener);
        assert!(local_addr(&listener).is_err());
        let mut theirs = UnixStream::connect(&path).unwrap();
        let (ours, peer) = accept_next(&listener);
        assert_eq!(peer, None);
        assert_nonblocking_and_cloexec(&ours);
        assert_eq!(write(ours.as_raw_fd(), &[IoSlice::new(b"x")]), Ok(1));
        abort(ours.into_raw_fd());
        assert_eq!(theirs.read_to_end(&mut Vec::new()).unwrap(), 1);
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_stale_socket_file_is_replaced_and_a_live_one_is_not() {
        let _closes_are_the_last = STARTING_A_PROCESS.read().unwrap();
        let path = path("stale");
        drop(UnixListener::bind(&path).unwrap());
        let first = listen_unix(&path, 1).unwrap();
        let queued: Vec<_> = [(); 8].into_iter().map_while(|()| try_connect(&path)).collect();
        assert!(!queued.is_empty());
        let second = listen_unix(&path, 1);
        assert_eq!(second.unwrap_err().kind(), io::ErrorKind::AddrInUse, "its queue is full");
        drop(queued);
        while accept(first.as_raw_fd()).is_ok() {}
        assert_eq!(listen_unix(&path, 1).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(first);
        listen_unix(&path, 1).unwrap();
        fs::remove_file(&path).unwrap();
    }

    fn try_connect(path: &Path) -> Option<OwnedFd> {
        let socket = stream(AddressFamily::Unix).unwrap();
        connect(socket.as_raw_fd(), &UnixAddr::new(path).unwrap()).is_ok().then_some(socket)
    }

    #[test]
    fn a_file_that_is_no_socket_is_never_removed() {
        let path = path("file");
        fs::write(&path, "precious").unwrap();
        assert_eq!(listen_unix(&path, 1).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        assert_eq!(fs::read(&path).unwrap(), b"precious");
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/dev/null", &path).unwrap();
        assert_eq!(listen_unix(&path, 1).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        fs::remove_file(&path).unwrap();
    }
}
