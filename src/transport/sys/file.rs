//! Reading and writing descriptors that are not ours: standard input and output, whatever they are.
//!
//! They may be a file, a pipe, a terminal, a socket or a device, and other processes may share them, so their
//! flags are never changed: most of them block. Readiness is what keeps a program from blocking here: one read
//! after it was told, or one write of at most [`AT_ONCE`] bytes. EINTR is retried. Called by the clients.
//!
//! read(2), write(2), pipe(7), fstat(2).

use std::io::IoSliceMut;
use std::os::fd::BorrowedFd;

use nix::Result;
use nix::errno::Errno;
use nix::sys::stat::{SFlag, fstat};
use nix::sys::uio;
use nix::unistd;

/// Bytes that a descriptor takes without blocking once it is reported writable. A pipe promises no more.
pub const AT_ONCE: usize = libc::PIPE_BUF;

/// What a read of a terminal says that is gone: EIO.
pub const GONE: i32 = libc::EIO;

/// What epoll and kqueue say of devices that they cannot watch, like /dev/null, and that are always ready.
pub const UNWATCHABLE: [i32; 3] = [libc::EPERM, libc::EINVAL, libc::ENODEV];

/// Reads into the first slice, then the second; 0 is EOF.
///
/// # Errors
/// EAGAIN: somebody has made it non-blocking, and nothing is there. EIO, EISDIR, ...
pub fn read(fd: BorrowedFd<'_>, into: &mut [IoSliceMut<'_>; 2]) -> Result<usize> {
    retry(|| uio::readv(fd, into))
}

/// Writes some of `bytes`; a write of more than [`AT_ONCE`] may block.
///
/// # Errors
/// EAGAIN: somebody has made it non-blocking, and it is full. EPIPE: nobody reads it any more. ENOSPC, EIO, ...
pub fn write(fd: BorrowedFd<'_>, bytes: &[u8]) -> Result<usize> {
    retry(|| unistd::write(fd, bytes))
}

/// Whether it is something on a disk, which is always ready: epoll refuses to watch it, and kqueue would never
/// tell of its end.
pub fn is_on_disk(fd: BorrowedFd<'_>) -> bool {
    let kind = |status: libc::stat| SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT;
    fstat(fd).is_ok_and(|status| [SFlag::S_IFREG, SFlag::S_IFDIR, SFlag::S_IFBLK].contains(&kind(status)))
}

fn retry(mut call: impl FnMut() -> Result<usize>) -> Result<usize> {
    loop {
        match call() {
            Err(Errno::EINTR) => {}
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn only_what_is_on_a_disk_is_on_disk() {
        let (reader, writer) = std::io::pipe().unwrap();
        assert!(!is_on_disk(reader.as_fd()) && !is_on_disk(writer.as_fd()));
        assert!(!is_on_disk(File::open("/dev/null").unwrap().as_fd()));
        assert!(is_on_disk(File::open("/").unwrap().as_fd()));
        assert!(is_on_disk(File::open(std::env::current_exe().unwrap()).unwrap().as_fd()));
    }

    #[test]
    fn bytes_go_through_a_pipe_and_its_ends_are_told() {
        let (reader, writer) = std::io::pipe().unwrap();
        assert_eq!(write(writer.as_fd(), b"abcd"), Ok(4));
        let (mut first, mut second) = ([0; 3], [0; 3]);
        let mut slices = [IoSliceMut::new(&mut first), IoSliceMut::new(&mut second)];
        assert_eq!(read(reader.as_fd(), &mut slices), Ok(4));
        drop(writer);
        assert_eq!(read(reader.as_fd(), &mut slices), Ok(0));
        assert_eq!((&first, &second[..1]), (b"abc", &b"d"[..]));
        let (reader, writer) = std::io::pipe().unwrap();
        let _closes_are_the_last = super::super::STARTING_A_PROCESS.read().unwrap();
        drop(reader);
        assert_eq!(write(writer.as_fd(), b"x"), Err(Errno::EPIPE));
    }
}
