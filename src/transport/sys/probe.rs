//! What only the inspection lab asks of the kernel: to hold segments back, to lose them, to count them, and to
//! end its processes with it.
//!
//! Owns nothing. Nothing of the server calls it. tcp(7), socket(7).

use std::os::fd::{AsFd, AsRawFd};
use std::process::Command;

use libc::c_int;
use nix::Result;
use nix::errno::Errno;

#[cfg(any(target_os = "linux", target_os = "android"))]
const CORK: c_int = libc::TCP_CORK;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const CORK: c_int = libc::TCP_NOPUSH;

/// Holds back what does not fill a segment, until it is let go. TCP_CORK; TCP_NOPUSH on BSD.
///
/// # Errors
/// ENOPROTOOPT: no TCP socket.
pub fn cork(socket: impl AsFd, on: bool) -> Result<()> {
    set(&socket, libc::IPPROTO_TCP, CORK, on.into())
}

/// How a TCP connection fares. All are counts of segments, but `ssthresh`'s 2^31 - 1 means that there is none.
#[cfg(target_os = "linux")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpInfo {
    /// The congestion window.
    pub cwnd: u32,
    /// Where slow start ends.
    pub ssthresh: u32,
    /// Sent and not acknowledged.
    pub unacked: u32,
    /// Sent again, since the connection began.
    pub retransmitted: u32,
    /// With payload, since the connection began.
    pub data_sent: u32,
}

/// Switches delayed acknowledgement on (`false`) or off for the time being. TCP_QUICKACK.
///
/// # Errors
/// ENOPROTOOPT: no TCP socket.
#[cfg(target_os = "linux")]
pub fn quick_ack(socket: impl AsFd, on: bool) -> Result<()> {
    set(&socket, libc::IPPROTO_TCP, libc::TCP_QUICKACK, on.into())
}

/// The largest segment that this socket will send, to be said before it connects. TCP_MAXSEG.
///
/// # Errors
/// EINVAL: out of range.
#[cfg(target_os = "linux")]
pub fn max_segment(socket: impl AsFd, bytes: u16) -> Result<()> {
    set(&socket, libc::IPPROTO_TCP, libc::TCP_MAXSEG, bytes.into())
}

/// Makes a socket deaf: whatever arrives for it is thrown away before TCP sees it, acknowledgements too. To its
/// peer that is a cut cable. A classic filter of one instruction, "accept 0 bytes". Any user may have it, as long
/// as the kernel has memory for compiled filters (net.core.bpf_jit_limit); beyond that only root.
///
/// # Errors
/// ENOMEM; EPERM.
#[cfg(target_os = "linux")]
pub fn deafen(socket: impl AsFd) -> Result<()> {
    let mut nothing = [libc::sock_filter { code: 0x06, jt: 0, jf: 0, k: 0 }]; // BPF_RET | BPF_K
    let program = libc::sock_fprog { len: 1, filter: nothing.as_mut_ptr() };
    let size = size_of_val(&program).try_into().expect("a few bytes");
    let (fd, program) = (socket.as_fd().as_raw_fd(), &raw const program);
    // SAFETY: the kernel reads the program and its one instruction, which live until it returns.
    let done =
        unsafe { libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, program.cast(), size) };
    Errno::result(done).map(drop)
}

/// Lets a deaf socket hear again.
///
/// # Errors
/// ENOENT: it was not deaf.
#[cfg(target_os = "linux")]
pub fn hear(socket: impl AsFd) -> Result<()> {
    set(&socket, libc::SOL_SOCKET, libc::SO_DETACH_FILTER, 0)
}

/// TCP_INFO.
///
/// # Errors
/// ENOPROTOOPT: no TCP socket.
#[cfg(target_os = "linux")]
pub fn tcp_info(socket: impl AsFd) -> Result<TcpInfo> {
    // Of struct tcp_info, linux/tcp.h: not every libc has all of it, and the kernel only ever appends.
    let mut raw = [0_u32; 60];
    let mut length = size_of_val(&raw).try_into().expect("a few bytes");
    // SAFETY: the kernel writes at most `length` bytes, which is the size of the array.
    let done = unsafe {
        let (fd, raw) = (socket.as_fd().as_raw_fd(), raw.as_mut_ptr().cast());
        libc::getsockopt(fd, libc::IPPROTO_TCP, libc::TCP_INFO, raw, &mut length)
    };
    Errno::result(done)?;
    Ok(TcpInfo {
        unacked: raw[6],
        ssthresh: raw[19],
        cwnd: raw[20],
        retransmitted: raw[25],
        data_sent: raw[39],
    })
}

/// A process of this command is killed when the thread ends that started it, however that ends; what runs for another
/// user, as behind sudo, is not. PR_SET_PDEATHSIG of prctl(2). Where there is no such thing it stays for its user to end.
pub fn end_with_parent(command: &mut Command) {
    #[cfg(target_os = "linux")]
    {
        use std::os::unix::process::CommandExt;
        let parent = nix::unistd::getpid();
        let ask = move || {
            // SAFETY: a number goes in.
            Errno::result(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) })?;
            // It may have ended before it was asked.
            if nix::unistd::getppid() == parent { Ok(()) } else { Err(Errno::ESRCH.into()) }
        };
        // SAFETY: between fork and exec it makes two system calls and allocates nothing.
        unsafe { command.pre_exec(ask) };
    }
    #[cfg(not(target_os = "linux"))]
    let _ = command;
}

fn set(socket: &impl AsFd, level: c_int, option: c_int, value: c_int) -> Result<()> {
    let size = size_of_val(&value).try_into().expect("a few bytes");
    let (fd, value) = (socket.as_fd().as_raw_fd(), &raw const value);
    // SAFETY: the kernel reads one int.
    Errno::result(unsafe { libc::setsockopt(fd, level, option, value.cast(), size) }).map(drop)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_deaf_socket_acknowledges_nothing_and_hears_again() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (theirs, _) = listener.accept().unwrap();
        deafen(&theirs).unwrap();
        ours.write_all(b"x").unwrap();
        assert_eq!(tcp_info(&ours).unwrap().unacked, 1);
        hear(&theirs).unwrap();
        let mut byte = [0];
        std::io::Read::read_exact(&mut &theirs, &mut byte).unwrap();
        let after = tcp_info(&ours).unwrap();
        assert!(after.retransmitted >= 1 && after.data_sent >= 2, "{after:?}");
    }

    #[test]
    fn a_cork_holds_segments_back() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        cork(&ours, true).unwrap();
        for _ in 0..3 {
            ours.write_all(b"x").unwrap();
        }
        assert_eq!(tcp_info(&ours).unwrap().data_sent, 0);
        cork(&ours, false).unwrap();
        assert_eq!(tcp_info(&ours).unwrap().data_sent, 1);
    }
}
