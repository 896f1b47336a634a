//! How a service manager hears of a daemon: datagrams to its socket, or a descriptor that it has handed down.
//!
//! Knows how to reach it, not what is said. Nothing here waits for the other side. Called by the binary, through
//! `transport::server`.
//!
//! sd_notify(3), unix(7), fcntl(2), clock_gettime(2).

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, sendto, socket};
use nix::time::{ClockId, clock_gettime};

/// The socket of a service manager, by its name in NOTIFY_SOCKET.
pub struct NotifySocket {
    fd: OwnedFd,
    to: UnixAddr,
}

impl NotifySocket {
    /// `name` is an absolute path, or on Linux `@` and a name that is in no file system.
    ///
    /// # Errors
    /// EINVAL, ENAMETOOLONG: it is neither. EMFILE, ENFILE, ENOMEM.
    pub fn open(name: &OsStr) -> io::Result<Self> {
        let to = match name.as_bytes() {
            [b'/', ..] => UnixAddr::new(Path::new(name))?,
            #[cfg(any(target_os = "linux", target_os = "android"))]
            [b'@', rest @ ..] if !rest.is_empty() => UnixAddr::new_abstract(rest)?,
            _ => return Err(Errno::EINVAL.into()),
        };
        let fd = socket(AddressFamily::Unix, SockType::Datagram, SockFlag::empty(), None)?;
        fcntl(&fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
        Ok(Self { fd, to })
    }

    /// Sends one message, whole or not at all.
    ///
    /// # Errors
    /// EAGAIN, ENOBUFS: its queue is full. ECONNREFUSED, ENOENT: nobody is there any more.
    pub fn send(&self, message: &str) -> io::Result<()> {
        loop {
            match sendto(self.fd.as_raw_fd(), message.as_bytes(), &self.to, MsgFlags::MSG_DONTWAIT) {
                Ok(_) => return Ok(()),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

/// Takes over a descriptor that this process was started with, to write to it.
///
/// To be called before anything is opened: a number that is free then may be somebody else's later.
///
/// # Errors
/// EBADF: it is not open, or not for writing. EINVAL: it is one of the standard three, which stay what they are.
pub fn inherited(fd: RawFd) -> io::Result<OwnedFd> {
    if (0..=2).contains(&fd) {
        return Err(Errno::EINVAL.into());
    }
    if fd < 0 {
        return Err(Errno::EBADF.into());
    }
    // SAFETY: fcntl(2) says EBADF of what is not open; nothing is done with it before it has said otherwise.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    let flags = OFlag::from_bits_truncate(fcntl(borrowed, FcntlArg::F_GETFL)?);
    if flags & OFlag::O_ACCMODE == OFlag::O_RDONLY {
        return Err(Errno::EBADF.into());
    }
    fcntl(borrowed, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    // SAFETY: it is open, and whoever started this process meant it for us: nobody else in here knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Microseconds on CLOCK_MONOTONIC, which all processes of a machine share: a service manager compares them with its own.
pub fn monotonic_us() -> u64 {
    // It fails only for a clock that does not exist.
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map(std::time::Duration::from).unwrap_or_default();
    now.as_micros() as u64
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read;
    use std::os::fd::IntoRawFd;
    use std::os::unix::net::UnixDatagram;

    use super::*;

    #[test]
    fn a_message_arrives_by_path_and_one_to_nobody_is_an_error() {
        let path = std::env::temp_dir().join(format!("rawline-notify-{}", std::process::id()));
        let manager = UnixDatagram::bind(&path).unwrap();
        let socket = NotifySocket::open(path.as_os_str()).unwrap();
        socket.send("READY=1\nSTATUS=x").unwrap();
        let mut message = [0; 64];
        let n = manager.recv(&mut message).unwrap();
        assert_eq!(&message[..n], b"READY=1\nSTATUS=x");
        drop(manager);
        assert!(socket.send("WATCHDOG=1").is_err());
        std::fs::remove_file(path).unwrap();
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_message_arrives_by_abstract_name() {
        use std::os::linux::net::SocketAddrExt;
        let name = format!("rawline-notify-{}", std::process::id());
        let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
        let manager = UnixDatagram::bind_addr(&address).unwrap();
        NotifySocket::open(OsStr::new(&format!("@{name}"))).unwrap().send("x").unwrap();
        assert_eq!(manager.recv(&mut [0; 8]).unwrap(), 1);
    }

    #[test]
    fn a_full_queue_is_no_reason_to_wait() {
        let path = std::env::temp_dir().join(format!("rawline-notify-full-{}", std::process::id()));
        let _manager = UnixDatagram::bind(&path).unwrap();
        let socket = NotifySocket::open(path.as_os_str()).unwrap();
        let refused = (0..1_000_000).find_map(|_| socket.send("x").err()).expect("a queue has an end");
        // FreeBSD and macOS say ENOBUFS.
        let errno = refused.raw_os_error().unwrap();
        assert!([libc::EAGAIN, libc::ENOBUFS].contains(&errno), "{refused}");
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for name in ["", "@", "relative", "vsock:2:1234"] {
            assert_eq!(
                NotifySocket::open(OsStr::new(name)).err().unwrap().raw_os_error(),
                Some(libc::EINVAL)
            );
        }
    }

    #[test]
    fn only_an_open_descriptor_for_writing_is_inherited() {
        let error = |fd| inherited(fd).unwrap_err().raw_os_error();
        assert_eq!(error(-1), Some(libc::EBADF));
        assert_eq!(error(1_000_000), Some(libc::EBADF));
        assert_eq!(error(1), Some(libc::EINVAL));
        let (mut reader, writer) = std::io::pipe().unwrap();
        assert_eq!(error(reader.as_raw_fd()), Some(libc::EBADF));
        let _closes_are_the_last = super::super::STARTING_A_PROCESS.read().unwrap();
        let mut writer = File::from(inherited(writer.into_raw_fd()).unwrap());
        std::io::Write::write_all(&mut writer, b"READY\n").unwrap();
        drop(writer);
        let mut heard = String::new();
        reader.read_to_string(&mut heard).unwrap();
        assert_eq!(heard, "READY\n");
    }

    #[test]
    fn the_clock_is_that_of_the_machine() {
        let first = monotonic_us();
        assert!(first > 0 && monotonic_us() >= first);
    }
}
