//! From a file to a socket without a copy: sendfile(2), in the three forms that systems have given it, and the
//! question whether the file's pages are in memory.
//!
//! Owns nothing. Never waits for the socket, but would wait for the disk: whoever calls asks [`is_cached`] before, and
//! lets a helper read what is not. EINTR is handled here. Called by `OsIo`.

use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

use nix::Result;
use nix::errno::Errno;
#[cfg(any(target_os = "linux", target_os = "android"))]
use nix::sys::statfs::{TMPFS_MAGIC, fstatfs};

/// Sends `head`, then up to `count` bytes of `file` from `offset` on, as much as the socket takes; says how many bytes
/// of both together it took. 0: `head` is empty and the file ends before `offset`. `count` is at least 1. With
/// `cork` head and file leave in the same segments; without, the head leaves by itself. sendfile(2).
///
/// # Errors
/// EAGAIN: no room. EPIPE, ECONNRESET, ETIMEDOUT, ...: the connection is over. EIO: the disk. ENOBUFS, ENOMEM.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub fn send_file(
    socket: RawFd,
    head: &[u8],
    cork: bool,
    file: BorrowedFd<'_>,
    offset: u64,
    count: usize,
) -> Result<usize> {
    let mut sent = 0;
    if !head.is_empty() {
        // MSG_MORE: a full segment leaves at once, the rest waits for what sendfile appends to it.
        let more = if cork { libc::MSG_MORE } else { 0 };
        // SAFETY: the slice can be read for its whole length.
        sent = retry(|| unsafe {
            libc::send(socket, head.as_ptr().cast(), head.len(), libc::MSG_NOSIGNAL | more)
        })?;
        if sent < head.len() {
            return Ok(sent);
        }
    }
    let mut at = i64::try_from(offset).map_err(|_| Errno::EOVERFLOW)?;
    // SIGPIPE cannot be refused here call by call; the daemon ignores it, as the contract of `Io` says.
    // SAFETY: the kernel reads and writes one offset, and it is ours.
    match retry(|| unsafe { libc::sendfile64(socket, file.as_raw_fd(), &mut at, count) }) {
        Ok(n) => Ok(sent + n),
        Err(Errno::EAGAIN) if sent > 0 => Ok(sent),
        Err(error) => Err(error),
    }
}

/// As above. The head goes along as the call's own header.
#[cfg(any(target_vendor = "apple", target_os = "freebsd", target_os = "dragonfly"))]
pub fn send_file(
    socket: RawFd,
    head: &[u8],
    cork: bool,
    file: BorrowedFd<'_>,
    offset: u64,
    count: usize,
) -> Result<usize> {
    if !cork && !head.is_empty() {
        return super::socket::write(socket, &[std::io::IoSlice::new(head)]);
    }
    let mut part = libc::iovec { iov_base: head.as_ptr().cast_mut().cast(), iov_len: head.len() };
    let mut header =
        libc::sf_hdtr { headers: &mut part, hdr_cnt: 1, trailers: std::ptr::null_mut(), trl_cnt: 0 };
    let header = if head.is_empty() { std::ptr::null_mut() } else { &raw mut header };
    let at = libc::off_t::try_from(offset).map_err(|_| Errno::EOVERFLOW)?;
    loop {
        let mut sent = count as libc::off_t;
        #[cfg(target_vendor = "apple")]
        // SAFETY: `sent` and the header are ours; the header is only read.
        let result = unsafe { libc::sendfile(file.as_raw_fd(), socket, at, &mut sent, header, 0) };
        #[cfg(not(target_vendor = "apple"))]
        // SAFETY: as above.
        let result = unsafe { libc::sendfile(file.as_raw_fd(), socket, at, count, header, &mut sent, 0) };
        return match Errno::result(result) {
            Ok(_) => Ok(sent as usize),
            // Both say how much had left before they stopped.
            Err(Errno::EAGAIN | Errno::EINTR) if sent > 0 && sent as usize != count => Ok(sent as usize),
            Err(Errno::EINTR) => continue,
            Err(error) => Err(error),
        };
    }
}

/// As above, by way of a buffer: OpenBSD and NetBSD have no sendfile.
#[cfg(not(any(
    target_os = "linux",
    target_os = "android",
    target_vendor = "apple",
    target_os = "freebsd",
    target_os = "dragonfly"
)))]
pub fn send_file(
    socket: RawFd,
    head: &[u8],
    _cork: bool,
    file: BorrowedFd<'_>,
    offset: u64,
    count: usize,
) -> Result<usize> {
    use std::io::IoSlice;
    let mut buffer = vec![0; count.min(64 * 1024)];
    let read = super::dir::read_at(file, &mut buffer, offset)?;
    if head.is_empty() && read == 0 {
        return Ok(0);
    }
    super::socket::write(socket, &[IoSlice::new(head), IoSlice::new(&buffer[..read])])
}

/// Lets only full segments leave until it is taken back, which sends the rest. Without it every call of sendfile ends in a
/// small segment. TCP_CORK in tcp(7).
#[cfg(any(target_os = "linux", target_os = "android"))]
pub fn cork(socket: RawFd, on: bool) {
    let on = libc::c_int::from(on);
    // SAFETY: the kernel reads one int, and it is ours. It fails on a Unix-domain socket, which has no segments.
    unsafe {
        libc::setsockopt(
            socket,
            libc::IPPROTO_TCP,
            libc::TCP_CORK,
            (&raw const on).cast(),
            size_of_val(&on) as u32,
        )
    };
}

/// Nothing: TCP_NOPUSH does not send the rest on every system when it is taken back, and sendfile fills segments there.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub fn cork(_socket: RawFd, _on: bool) {}

/// Bytes between two looks of [`is_cached`]. What has been read is in memory in long runs, so few holes are smaller; one
/// that is overlooked costs a wait for the disk, not a wrong byte.
#[cfg(any(target_os = "linux", target_os = "android"))]
const LOOK_EVERY: usize = 1024 * 1024;

/// Whether these bytes of a file can be sent without waiting for the disk, as far as the kernel tells: by preadv2(2) with
/// RWF_NOWAIT, and of file systems that do not know that flag by cachestat(2). Where it tells nothing, the answer is no.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub fn is_cached(file: BorrowedFd<'_>, offset: u64, count: usize) -> bool {
    let last = count.saturating_sub(1);
    for step in (0..last).step_by(LOOK_EVERY).chain([last]) {
        let mut byte = 0u8;
        let into = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
        let at = (offset + step as u64) as libc::off64_t;
        // SAFETY: the kernel writes one byte, and it is ours.
        match retry(|| unsafe { libc::preadv2(file.as_raw_fd(), &into, 1, at, libc::RWF_NOWAIT) }) {
            Ok(_) => {}
            Err(Errno::EOPNOTSUPP) => return is_in_memory(file) || has_no_holes(file, offset, count),
            Err(_) => return false,
        }
    }
    true
}

/// Whether there is no disk behind it, as of a tmpfs.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn is_in_memory(file: BorrowedFd<'_>) -> bool {
    fstatfs(file).is_ok_and(|system| system.filesystem_type() == TMPFS_MAGIC)
}

/// Whether all pages of this range are in the cache. It costs more than a few looks, since each page is counted.
/// cachestat(2); before Linux 6.5 nobody knows.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn has_no_holes(file: BorrowedFd<'_>, offset: u64, count: usize) -> bool {
    #[repr(C)]
    struct Range {
        offset: u64,
        length: u64,
    }
    #[repr(C)]
    #[derive(Default)]
    struct Pages {
        cached: u64,
        dirty: u64,
        writeback: u64,
        evicted: u64,
        recently_evicted: u64,
    }
    /// The same on nearly every architecture; on others there is no such call, which says that nobody knows.
    const CACHESTAT: libc::c_long = 451;
    let (range, mut pages) = (Range { offset, length: count.max(1) as u64 }, Pages::default());
    // SAFETY: the kernel reads the range and writes the pages, which have its layout.
    let told = unsafe { libc::syscall(CACHESTAT, file.as_raw_fd(), &range, &mut pages, 0) };
    // SAFETY: takes no pointer.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    let page = u64::try_from(page).unwrap_or(0).max(1);
    told == 0 && pages.cached > (offset + range.length - 1) / page - offset / page
}

/// As above.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub fn is_cached(_file: BorrowedFd<'_>, _offset: u64, _count: usize) -> bool {
    false
}

/// Repeats a call for as long as it is interrupted.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn retry(mut call: impl FnMut() -> isize) -> Result<usize> {
    loop {
        match Errno::result(call()) {
            Ok(result) => return Ok(result as usize),
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::io::Read;
    use std::os::fd::{AsFd, AsRawFd};
    use std::os::unix::net::UnixStream;

    use super::*;

    fn sample(test: &str, content: &[u8]) -> File {
        let path = std::env::temp_dir().join(format!("rawline-{}-{test}", std::process::id()));
        fs::write(&path, content).unwrap();
        let file = File::open(&path).unwrap();
        fs::remove_file(&path).unwrap();
        file
    }

    #[test]
    fn head_and_file_arrive_in_order_and_the_end_is_zero() {
        let file = sample("sendfile", b"0123456789");
        for cork in [true, false] {
            let (ours, mut theirs) = UnixStream::pair().unwrap();
            let send = |head: &[u8], offset, count| {
                send_file(ours.as_raw_fd(), head, cork, file.as_fd(), offset, count).unwrap()
            };
            let first = send(b"head", 2, 3);
            let rest = if first == 4 { send(b"", 2, 3) } else { first - 4 };
            assert_eq!(rest, 3);
            let mut got = [0; 7];
            theirs.read_exact(&mut got).unwrap();
            assert_eq!(&got, b"head234");
            assert_eq!(send(b"", 8, 100), 2, "no more than there is");
            assert_eq!(send(b"", 10, 100), 0);
            assert_eq!(send(b"", 1 << 40, 100), 0);
        }
    }

    #[test]
    fn a_full_socket_takes_a_part_and_then_would_block() {
        let file = sample("sendfile-full", &vec![7; 4 << 20]);
        let (ours, _theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let send = |offset| send_file(ours.as_raw_fd(), b"", true, file.as_fd(), offset, 4 << 20);
        let mut sent = 0;
        let error = loop {
            match send(sent as u64) {
                Ok(n) => sent += n,
                Err(error) => break error,
            }
        };
        assert!(sent > 0 && sent < 4 << 20);
        assert_eq!(error, Errno::EAGAIN);
    }

    #[test]
    fn what_was_just_written_is_in_memory_where_the_kernel_tells() {
        let file = sample("cached", &vec![7; 1 << 20]);
        if is_cached(file.as_fd(), 0, 1) {
            assert!(is_cached(file.as_fd(), 0, 1 << 20));
        }
        if has_no_holes(file.as_fd(), 0, 1) {
            assert!(has_no_holes(file.as_fd(), 5, (1 << 20) - 5));
            assert!(!has_no_holes(file.as_fd(), 1 << 20, 4096), "beyond the end there is no page");
        }
    }
}
