//! The terminal of a program that a person sits in front of: raw mode, and back, and its size.
//!
//! Owns the modes that the terminal had before, and gives them back however the process ends: [`restore`] is
//! async-signal-safe, so even a handler that is about to end the process can call it. Never reads keys
//! and never draws. Called by the chat client and by the signal handler.
//!
//! termios(3), tty_ioctl(4).

use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use nix::Result;
use nix::errno::Errno;

pub use super::signal::suspend;

/// How to put things right: which terminal, its modes, and what to write to it.
struct Before {
    fd: RawFd,
    modes: libc::termios,
    farewell: &'static [u8],
}

/// What [`restore`] has to do; null while the terminal is as it was found.
static BEFORE: AtomicPtr<Before> = AtomicPtr::new(ptr::null_mut());

/// Gives every key to the program, as it is pressed and unseen: no echo, no line editing, no signals from keys, no
/// translation of CR. Output stays as it was. [`restore`] writes `farewell`, which undoes what was switched on by
/// escape sequences, and brings the old modes back. Calling it again is good when somebody else may have changed
/// the modes meanwhile: those of the first call stay the old ones.
///
/// # Errors
/// ENOTTY: `terminal` is none. EIO: it is gone.
pub fn enter_raw(terminal: BorrowedFd<'static>, farewell: &'static [u8]) -> Result<()> {
    let fd = terminal.as_raw_fd();
    let mut modes = MaybeUninit::uninit();
    // SAFETY: the kernel fills it in, or the call fails.
    let modes: libc::termios = unsafe {
        Errno::result(libc::tcgetattr(fd, modes.as_mut_ptr()))?;
        modes.assume_init()
    };
    let mut raw = modes;
    raw.c_iflag &= !(libc::ICRNL | libc::INLCR | libc::IGNCR | libc::ISTRIP | libc::IXON | libc::BRKINT);
    raw.c_lflag &= !(libc::ICANON | libc::ECHO | libc::ECHONL | libc::ISIG | libc::IEXTEN);
    raw.c_cc[libc::VMIN] = 1;
    raw.c_cc[libc::VTIME] = 0;
    if BEFORE.load(Ordering::SeqCst).is_null() {
        // Leaked: a signal handler may look at it at any time. It happens once per start and suspension.
        BEFORE.store(Box::into_raw(Box::new(Before { fd, modes, farewell })), Ordering::SeqCst);
    }
    // SAFETY: the modes are a whole termios.
    Errno::result(unsafe { libc::tcsetattr(fd, libc::TCSADRAIN, &raw) }).map(drop)
}

/// Makes the terminal what it was before [`enter_raw`]; nothing, if it is that already. Async-signal-safe.
pub fn restore() {
    let before = BEFORE.swap(ptr::null_mut(), Ordering::SeqCst);
    if before.is_null() {
        return;
    }
    // SAFETY: `enter_raw` made it, and it is never freed. Both calls are async-signal-safe and only read from it.
    unsafe {
        let Before { fd, modes, farewell } = &*before;
        libc::write(*fd, farewell.as_ptr().cast(), farewell.len());
        libc::tcsetattr(*fd, libc::TCSANOW, modes);
    }
}

/// Columns and rows; `None` where it does not say.
pub fn size(terminal: BorrowedFd<'_>) -> Option<(usize, usize)> {
    // SAFETY: zeros make a winsize, and the kernel fills it in.
    let size = unsafe {
        let mut size: libc::winsize = std::mem::zeroed();
        Errno::result(libc::ioctl(terminal.as_raw_fd(), libc::TIOCGWINSZ, &mut size)).ok()?;
        size
    };
    (size.ws_col > 0 && size.ws_row > 0).then_some((size.ws_col.into(), size.ws_row.into()))
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn what_is_no_terminal_has_no_size_and_no_modes() {
        let file: &'static File = Box::leak(Box::new(File::open("/dev/null").unwrap()));
        assert_eq!(size(file.as_fd()), None);
        assert_eq!(enter_raw(file.as_fd(), b""), Err(Errno::ENOTTY));
        restore();
    }
}
