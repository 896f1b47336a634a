//! SIGINT and SIGTERM, which ask a process to stop, SIGPIPE, which must never end it, those with which an operator
//! asks a daemon for something, and the signals of a terminal: its size, its end, job control.
//!
//! The same handler on every system: it writes the signal down and rings a poller's bell, so the loop
//! hears of it as of anything else, in its next turn. The second that asks to stop ends the process at once, in
//! the handler, so it works even when the loop is stuck. Called by `OsIo`.
//!
//! Only what is async-signal-safe happens in the handler: atomics, one system call, `_exit`.
//! signal-safety(7).

use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, Ordering};

use libc::c_int;
use nix::Result;
use nix::errno::Errno;
use nix::sys::signal::{self as nix_signal, SaFlags, SigAction, SigHandler, SigSet, Signal as Number};
use nix::unistd::Pid;

use super::{Poll, Poller, terminal};
use crate::transport::io::Signal;

/// The descriptor to ring; -1 until somebody catches signals.
static BELL: AtomicI32 = AtomicI32::new(-1);
/// The signals that nobody has taken yet: for each the bit of its number, which is below 32 for all of ours.
static PENDING: AtomicU32 = AtomicU32::new(0);
/// Those that ask to stop, in the same form.
static STOPS: AtomicU32 = AtomicU32::new(0);
/// Whether one of those has come: the next is the last.
static STOPPING: AtomicBool = AtomicBool::new(false);

/// From now on SIGINT and SIGTERM are kept for [`take`] and ring `bell`, and SIGPIPE is ignored. They
/// belong to the process: where several pollers ask, the last one is rung. sigaction(2).
///
/// # Errors
/// None that a kernel is known to give.
pub fn catch(bell: Arc<OwnedFd>) -> Result<()> {
    install(bell, &STOP, &[])
}

/// The same, and for a daemon also SIGHUP and SIGUSR1, as often as they come.
///
/// # Errors
/// None that a kernel is known to give.
pub fn catch_operator(bell: Arc<OwnedFd>) -> Result<()> {
    install(bell, &STOP, &[Number::SIGHUP, Number::SIGUSR1])
}

/// The same as [`catch`], and for a program on a terminal also SIGHUP, which asks to stop, SIGWINCH, SIGTSTP and SIGCONT.
///
/// # Errors
/// None that a kernel is known to give.
pub fn catch_terminal(bell: Arc<OwnedFd>) -> Result<()> {
    install(
        bell,
        &[Number::SIGINT, Number::SIGTERM, Number::SIGHUP],
        &[Number::SIGWINCH, Number::SIGTSTP, Number::SIGCONT],
    )
}

/// What asks every process to stop.
const STOP: [Number; 2] = [Number::SIGINT, Number::SIGTERM];

/// Stops this process and the others of its job, as Ctrl-Z does where nobody catches it, and comes back when they are
/// continued; or at once, where no shell is there to continue them.
///
/// # Errors
/// None that a kernel is known to give.
pub fn suspend() -> Result<()> {
    let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    // SAFETY: neither action runs code that is not async-signal-safe.
    unsafe {
        let caught = nix_signal::sigaction(Number::SIGTSTP, &default)?;
        let stopped = nix_signal::kill(Pid::from_raw(0), Number::SIGTSTP);
        nix_signal::sigaction(Number::SIGTSTP, &caught)?;
        stopped
    }
}

fn install(bell: Arc<OwnedFd>, stops: &[Number], others: &[Number]) -> Result<()> {
    BELL.store(bell.as_raw_fd(), Ordering::SeqCst);
    STOPS.store(stops.iter().fold(0, |bits, &number| bits | bit(number as c_int)), Ordering::SeqCst);
    // A handler may run at any time from now on, so this descriptor is never closed.
    mem::forget(bell);
    // All are masked in the handler, so the second waits until the first is written down.
    let all: SigSet = stops.iter().chain(others).copied().collect();
    // Helper threads in a slow system call do not see EINTR (SA_RESTART); waits of a poller always do.
    let caught = SigAction::new(SigHandler::Handler(on_signal), SaFlags::SA_RESTART, all);
    let ignored = SigAction::new(SigHandler::SigIgn, SaFlags::empty(), SigSet::empty());
    // SAFETY: the handler does only what is async-signal-safe.
    unsafe {
        nix_signal::sigaction(Number::SIGPIPE, &ignored)?;
        for &number in stops.iter().chain(others) {
            nix_signal::sigaction(number, &caught)?;
        }
    }
    Ok(())
}

/// What [`take`] knows, those that ask to stop first.
const KNOWN: [(Number, Signal); 7] = [
    (Number::SIGINT, Signal::Interrupt),
    (Number::SIGTERM, Signal::Terminate),
    (Number::SIGHUP, Signal::HangUp),
    (Number::SIGUSR1, Signal::User1),
    (Number::SIGWINCH, Signal::Resize),
    (Number::SIGTSTP, Signal::Suspend),
    (Number::SIGCONT, Signal::Continue),
];

/// A signal that has come, once. Ask until there is none: one wait may end for several.
pub fn take() -> Option<Signal> {
    KNOWN.into_iter().find_map(|(number, signal)| {
        let bit = bit(number as c_int);
        (PENDING.fetch_and(!bit, Ordering::SeqCst) & bit != 0).then_some(signal)
    })
}

impl Signal {
    /// Its number, which is part of the exit code of a process that it ends: 128 + number.
    pub fn number(self) -> u8 {
        let (number, _) =
            KNOWN.into_iter().find(|(_, signal)| *signal == self).expect("all of them are known");
        number as u8
    }
}

fn bit(number: c_int) -> u32 {
    1 << number
}

extern "C" fn on_signal(number: c_int) {
    let asks_to_stop = STOPS.load(Ordering::SeqCst) & bit(number) != 0;
    if asks_to_stop && STOPPING.swap(true, Ordering::SeqCst) {
        terminal::restore();
        // SAFETY: ends the process without unwinding, flushing or atexit handlers.
        unsafe { libc::_exit(128 + number) }
    }
    // The code that was interrupted may be about to read errno.
    let errno = Errno::last_raw();
    PENDING.fetch_or(bit(number), Ordering::SeqCst);
    // SAFETY: `install` stored it before it installed this handler, and it is never closed.
    Poller::ring(unsafe { BorrowedFd::borrow_raw(BELL.load(Ordering::SeqCst)) });
    Errno::set_raw(errno);
}

/// Signals belong to a whole process, so these tests run this test binary again and send them to it.
#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};

    use nix::sys::signal::kill;

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
        match role.as_str() {
            "sits at a terminal" => catch_terminal(poller.bell()).unwrap(),
            "has an operator" => catch_operator(poller.bell()).unwrap(),
            _ => catch(poller.bell()).unwrap(),
        }
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
            "sits at a terminal" => {
                // Those of a terminal ask for nothing: the second, SIGHUP, is the first that asks to stop.
                while take() != Some(Signal::HangUp) {
                    poller.wait(&mut Vec::new(), None).unwrap();
                }
                say("HangUp");
                std::process::exit(0)
            }
            // None of these is the second that asks to stop.
            "has an operator" => {
                for asked in [Signal::User1, Signal::HangUp, Signal::User1, Signal::Terminate] {
                    say("next");
                    while take() != Some(asked) {
                        poller.wait(&mut Vec::new(), None).unwrap();
                    }
                }
                std::process::exit(0)
            }
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
    fn the_signals_of_a_terminal_are_told_and_end_nothing() {
        for (number, name) in
            [(Number::SIGWINCH, "Resize"), (Number::SIGTSTP, "Suspend"), (Number::SIGCONT, "Continue")]
        {
            let mut process = Process::start("sits at a terminal");
            process.send(number);
            process.hear(name);
            process.send(Number::SIGHUP);
            process.hear("HangUp");
            assert_eq!(process.end().code(), Some(0));
        }
    }

    #[test]
    fn an_operator_may_ask_again_and_again() {
        let mut process = Process::start("has an operator");
        process.send(Number::SIGHUP);
        process.hear("HangUp");
        for number in [Number::SIGUSR1, Number::SIGHUP, Number::SIGUSR1, Number::SIGTERM] {
            process.hear("next");
            process.send(number);
        }
        assert_eq!(process.end().code(), Some(0));
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
