//! SIGINT and SIGTERM, which ask the server to stop, and SIGPIPE, which must never end it.
//!
//! The same handler on every system: it writes the signal down and rings a poller's bell, so the loop
//! hears of it as of anything else, in its next turn. A second one ends the process at once, in the
//! handler, so it works even when the loop is stuck. Called by `OsIo`.
//!
//! Only what is async-signal-safe happens in the handler: atomics, one system call, `_exit`.
//! signal-safety(7).

use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use libc::c_int;
use nix::Result;
use nix::errno::Errno;
use nix::sys::signal::{self as nix_signal, SaFlags, SigAction, SigHandler, SigSet};

use super::{Poll, Poller};
use crate::transport::io::Signal;

/// The descriptor to ring; -1 until somebody catches signals.
static BELL: AtomicI32 = AtomicI32::new(-1);
/// The number of a signal that nobody has taken yet, or 0.
static PENDING: AtomicI32 = AtomicI32::new(0);
/// Whether one has come: the next is the last.
static STOPPING: AtomicBool = AtomicBool::new(false);

/// From now on SIGINT and SIGTERM are kept for [`take`] and ring `bell`, and SIGPIPE is ignored. They
/// belong to the process: where several pollers ask, the last one is rung. sigaction(2).
///
/// # Errors
/// None that a kernel is known to give.
pub fn catch(bell: Arc<OwnedFd>) -> Result<()> {
    BELL.store(bell.as_raw_fd(), Ordering::SeqCst);
    // A handler may run at any time from now on, so this descriptor is never closed.
    mem::forget(bell);
    // Both are masked in the handler, so the second waits until the first is written down.
    let mut both = SigSet::empty();
    both.add(nix_signal::SIGINT);
    both.add(nix_signal::SIGTERM);
    // Helper threads in a slow system call do not see EINTR (SA_RESTART); waits of a poller always do.
    let caught = SigAction::new(SigHandler::Handler(on_signal), SaFlags::SA_RESTART, both);
    let ignored = SigAction::new(SigHandler::SigIgn, SaFlags::empty(), SigSet::empty());
    // SAFETY: the handler does only what is async-signal-safe.
    unsafe {
        nix_signal::sigaction(nix_signal::SIGPIPE, &ignored)?;
        nix_signal::sigaction(nix_signal::SIGINT, &caught)?;
        nix_signal::sigaction(nix_signal::SIGTERM, &caught)?;
    }
    Ok(())
}

/// The signal that has come, once.
pub fn take() -> Option<Signal> {
    match PENDING.swap(0, Ordering::SeqCst) {
        libc::SIGINT => Some(Signal::Interrupt),
        libc::SIGTERM => Some(Signal::Terminate),
        _ => None,
    }
}

extern "C" fn on_signal(number: c_int) {
    if STOPPING.swap(true, Ordering::SeqCst) {
        // SAFETY: ends the process without unwinding, flushing or atexit handlers.
        unsafe { libc::_exit(128 + number) }
    }
    // The code that was interrupted may be about to read errno.
    let errno = Errno::last_raw();
    PENDING.store(number, Ordering::SeqCst);
    // SAFETY: `catch` stored it before it installed this handler, and it is never closed.
    Poller::ring(unsafe { BorrowedFd::borrow_raw(BELL.load(Ordering::SeqCst)) });
    Errno::set_raw(errno);
}

/// Signals belong to a whole process, so these tests run this test binary again and send them to it.
#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};

    use nix::sys::signal::{Signal as Number, kill};
    use nix::unistd::Pid;

    use super::super::STARTING_A_PROCESS;
    use super::*;

    /// Set in the process that is sent signals: what it does after the first.
    const ROLE: &str = "RAWLINE_TEST_SIGNALS";
    const NAME: &str = "transport::sys::signal::tests::the_process_that_is_sent_signals";

    struct Process {
        child: Child,
        lines: std::io::Lines<BufReader<ChildStdout>>,
    }

    impl Process {
        /// Runs `the_process_that_is_sent_signals` and returns when its handlers are installed.
        fn start(role: &str) -> Self {
            let _no_other_test_closes = STARTING_A_PROCESS.write().unwrap();
            let mut child = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "--nocapture"])
                .arg(NAME)
                .env(ROLE, role)
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let lines = BufReader::new(child.stdout.take().unwrap()).lines();
            let mut process = Self { child, lines };
            process.hear("ready");
            process
        }

        fn send(&self, number: Number) {
            kill(Pid::from_raw(self.child.id().try_into().unwrap()), number).unwrap();
        }

        fn hear(&mut self, word: &str) {
            let heard = self.lines.by_ref().any(|line| line.unwrap() == word);
            assert!(heard, "the process ended and never said {word:?}");
        }

        fn end(mut self) -> ExitStatus {
            self.child.wait().unwrap()
        }
    }

    #[test]
    fn the_process_that_is_sent_signals() {
        let Ok(role) = std::env::var(ROLE) else { return };
        let say = |word: &str| {
            // The test harness may have left the line open.
            println!("\n{word}");
            std::io::stdout().flush().unwrap();
        };
        let mut poller = Poller::new().unwrap();
        catch(poller.bell()).unwrap();
        assert_eq!(take(), None);
        say("ready");
        let signal = loop {
            poller.wait(&mut Vec::new(), None).unwrap();
            if let Some(signal) = take() {
                break signal;
            }
        };
        assert_eq!(take(), None, "a signal is told once");
        say(&format!("{signal:?}"));
        match role.as_str() {
            "stops" => std::process::exit(0),
            "is stuck" => loop {
                std::thread::park();
            },
            other => panic!("no such role: {other}"),
        }
    }

    #[test]
    fn a_signal_ends_the_wait_and_is_told_once() {
        for (number, name) in [(Number::SIGINT, "Interrupt"), (Number::SIGTERM, "Terminate")] {
            let mut process = Process::start("stops");
            process.send(number);
            process.hear(name);
            assert_eq!(process.end().code(), Some(0));
        }
    }

    #[test]
    fn a_second_signal_ends_a_process_whose_loop_is_stuck() {
        for (first, second) in [(Number::SIGINT, Number::SIGTERM), (Number::SIGTERM, Number::SIGINT)] {
            let mut process = Process::start("is stuck");
            process.send(first);
            process.hear(if first == Number::SIGINT { "Interrupt" } else { "Terminate" });
            process.send(second);
            let status = process.end();
            assert_eq!((status.code(), status.signal()), (Some(128 + second as i32), None));
        }
    }

    #[test]
    fn sigpipe_is_survived() {
        let mut process = Process::start("stops");
        process.send(Number::SIGPIPE);
        process.send(Number::SIGTERM);
        process.hear("Terminate");
        assert_eq!(process.end().code(), Some(0));
    }
}
