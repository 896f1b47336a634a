//! Connecting: to the first address of an endpoint that answers, with a timeout for each.
//!
//! Owns the socket that is being connected, and gives it away when it is. Every connect is non-blocking and every
//! timeout is a deadline that somebody's poller waits for; a socket option never limits time here. A
//! [`Dial`] is driven from outside, so an interactive client does it inside its own loop; [`connect`] is
//! the same with a loop of its own, for programs that have nothing else to do meanwhile. Only the system's
//! resolver may block: an endpoint with a name should not be dialled where that hurts.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};
use std::{fmt, io};

use crate::config::{Address, Endpoint};
use crate::transport::io::{Interest, Token};
use crate::transport::sys::{Errno, Poll, Poller, socket};

/// How long to leave a Unix-domain listener alone whose queue is full: there is no event that tells of room.
const RETRY: Duration = Duration::from_millis(20);

/// A connection in the making.
///
/// Call [`progress`](Self::progress) at once, and then whenever [`fd`](Self::fd) is reported writable or hung up,
/// or [`deadline`](Self::deadline) has passed; calling it at any other time does no harm.
#[derive(Debug)]
pub struct Dial {
    endpoint: Endpoint,
    timeout: Duration,
    /// Not yet tried.
    next: VecDeque<Address>,
    attempt: Option<Attempt>,
    failed: Vec<Failed>,
}

/// The address that is being tried.
#[derive(Debug)]
struct Attempt {
    address: Address,
    /// When it is given up.
    until: Instant,
    state: State,
}

#[derive(Debug)]
enum State {
    Connecting(OwnedFd),
    /// The listener's queue was full: not before this.
    Resting(Instant),
}

/// What a call of [`Dial::progress`] has brought.
#[derive(Debug)]
pub enum Progress {
    /// There is a new descriptor to watch, for writing: [`Dial::fd`]. The one before it is closed. Every descriptor
    /// is told of by this before it is connected.
    Watch,
    /// Nothing new. [`Dial::deadline`] may have moved.
    Pending,
    /// It stands. This is the descriptor of the latest `Watch`, non-blocking, and may still be watched.
    Connected(OwnedFd),
    /// No address is left. The dial is over.
    Failed(DialError),
}

impl Dial {
    /// Finds the addresses of `endpoint`, which may ask the system's resolver and wait for it; connects to
    /// none yet. `timeout` is for each address. A host of `0.0.0.0` or `[::]`, as in `:65432`, is this machine.
    ///
    /// # Errors
    /// [`DialError::NoAddress`].
    pub fn start(endpoint: &Endpoint, timeout: Duration) -> Result<Self, DialError> {
        let none = |why: String| DialError::NoAddress { endpoint: endpoint.clone(), why };
        match endpoint {
            Endpoint::Off => return Err(none("it is no address: write HOST:PORT or unix:PATH".into())),
            Endpoint::Tcp { port: 0, .. } => return Err(none("nobody listens on port 0".into())),
            _ => {}
        }
        let found =
            endpoint.addresses().map_err(|why| none(format!("its host cannot be resolved ({why})")))?;
        Ok(Self::to(endpoint, found, timeout))
    }

    /// A dial of these addresses, whatever the resolver would say; `endpoint` is what errors call them.
    pub fn to(endpoint: &Endpoint, addresses: Vec<Address>, timeout: Duration) -> Self {
        Self {
            endpoint: endpoint.clone(),
            timeout: timeout.min(super::LONGEST),
            next: addresses.into_iter().map(reachable).collect(),
            attempt: None,
            failed: Vec::new(),
        }
    }

    /// The descriptor to watch for writing; `None` while there is none.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        match &self.attempt.as_ref()?.state {
            State::Connecting(socket) => Some(socket.as_fd()),
            State::Resting(_) => None,
        }
    }

    /// When to call [`progress`](Self::progress) at the latest; `None` before its first call, which is due.
    pub fn deadline(&self) -> Option<Instant> {
        let attempt = self.attempt.as_ref()?;
        Some(match attempt.state {
            State::Connecting(_) => attempt.until,
            State::Resting(rest) => rest.min(attempt.until),
        })
    }

    /// Looks how things stand at `now`, and goes on to the next address if the present one has failed.
    pub fn progress(&mut self, now: Instant) -> Progress {
        loop {
            let Some(attempt) = self.attempt.take() else {
                let Some(address) = self.next.pop_front() else {
                    let (endpoint, tried) = (self.endpoint.clone(), std::mem::take(&mut self.failed));
                    return Progress::Failed(DialError::Unreachable { endpoint, tried });
                };
                let until = now + self.timeout;
                self.attempt = Some(Attempt { address, until, state: State::Resting(now) });
                continue;
            };
            if let Some(progress) = self.step(attempt, now) {
                return progress;
            }
        }
    }

    /// Advances one attempt; `None` when it has failed.
    fn step(&mut self, attempt: Attempt, now: Instant) -> Option<Progress> {
        let Attempt { address, until, state } = attempt;
        let next = match state {
            State::Resting(rest) if now < rest => Ok((State::Resting(rest), Progress::Pending)),
            State::Resting(_) => match begin(&address) {
                Ok(socket) => Ok((State::Connecting(socket), Progress::Watch)),
                Err(Errno::EAGAIN) => Ok((State::Resting(now + RETRY), Progress::Pending)),
                Err(error) => Err(error),
            },
            State::Connecting(socket) => match socket::is_connected(&socket) {
                Ok(true) => return Some(Progress::Connected(socket)),
                Ok(false) => Ok((State::Connecting(socket), Progress::Pending)),
                Err(error) => Err(error),
            },
        };
        let why = match next {
            Err(error) => Reason::Refused(error as i32),
            Ok(_) if now >= until => Reason::TimedOut(self.timeout),
            Ok((state, progress)) => {
                self.attempt = Some(Attempt { address, until, state });
                return Some(progress);
            }
        };
        self.failed.push(Failed { address, why });
        None
    }
}

fn begin(address: &Address) -> Result<OwnedFd, Errno> {
    match address {
        Address::Tcp(address) => socket::connect_tcp(*address),
        Address::Unix(path) => socket::connect_unix(path),
    }
}

/// "All interfaces" is where a server listens; seen from a client that is this machine.
fn reachable(address: Address) -> Address {
    match address {
        Address::Tcp(mut to) if to.ip().is_unspecified() => {
            to.set_ip(if to.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() });
            Address::Tcp(to)
        }
        other => other,
    }
}

/// Connects to the first address of `endpoint` that answers and waits for it, `timeout` for each address.
/// The socket is non-blocking and close-on-exec.
///
/// # Errors
/// Every address that was tried, and why it failed; or why there is none to try.
pub fn connect(endpoint: &Endpoint, timeout: Duration) -> Result<OwnedFd, DialError> {
    drive(Dial::start(endpoint, timeout)?)
}

/// Drives a dial to its end.
///
/// # Errors
/// See [`connect`].
pub fn drive(mut dial: Dial) -> Result<OwnedFd, DialError> {
    let mut poller = Poller::new().map_err(system)?;
    let mut events = Vec::new();
    loop {
        let now = Instant::now();
        match dial.progress(now) {
            Progress::Connected(socket) => return Ok(socket),
            Progress::Failed(error) => return Err(error),
            // The descriptor before it is closed, which has ended its watch.
            Progress::Watch => {
                let fd = dial.fd().expect("it was just told of").as_raw_fd();
                poller.add(fd, Token(0), Interest::WRITE).map_err(system)?;
            }
            Progress::Pending => {}
        }
        let rest = dial.deadline().map(|deadline| deadline.saturating_duration_since(now));
        poller.wait(&mut events, rest).map_err(system)?;
    }
}

fn system(error: Errno) -> DialError {
    DialError::System(error.into())
}

/// Why there is no connection.
#[derive(Debug)]
pub enum DialError {
    /// There is nothing to connect to.
    NoAddress {
        /// As it was written.
        endpoint: Endpoint,
        /// The end of a sentence.
        why: String,
    },
    /// No address answered.
    Unreachable {
        /// As it was written.
        endpoint: Endpoint,
        /// Every address, in the order in which they were tried.
        tried: Vec<Failed>,
    },
    /// The system gave no poller, or no memory to watch a socket.
    System(io::Error),
}

/// An address that did not answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// Which.
    pub address: Address,
    /// Why.
    pub why: Reason,
}

/// Why an address did not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Nothing came back for so long.
    TimedOut(Duration),
    /// The system said no: the errno.
    Refused(i32),
}

impl DialError {
    /// Whether nobody listens at any of the addresses: the server has not been started, or listens elsewhere.
    pub fn is_refused(&self) -> bool {
        const NOBODY: [Reason; 2] =
            [Reason::Refused(Errno::ECONNREFUSED as i32), Reason::Refused(Errno::ENOENT as i32)];
        matches!(self, Self::Unreachable { tried, .. } if tried.iter().all(|failed| NOBODY.contains(&failed.why)))
    }
}

/// `cannot connect to localhost:7: [::1]:7: Connection refused; 127.0.0.1:7: no answer within 10s`.
impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAddress { endpoint, why } => write!(f, "cannot connect to {endpoint}: {why}"),
            Self::System(error) => write!(f, "cannot connect: the system refuses: {error}"),
            Self::Unreachable { endpoint, tried } => {
                write!(f, "cannot connect to {endpoint}")?;
                let only_itself =
                    matches!(&tried[..], [only] if only.address.to_string() == endpoint.to_string());
                for (index, Failed { address, why }) in tried.iter().enumerate() {
                    f.write_str(if index == 0 { ": " } else { "; " })?;
                    if !only_itself {
                        write!(f, "{address}: ")?;
                    }
                    why.fmt(f)?;
                }
                Ok(())
            }
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TimedOut(time) => write!(f, "no answer within {}", crate::config::show_time(*time)),
            Self::Refused(errno) => f.write_str(Errno::from_raw(*errno).desc()),
        }
    }
}

impl std::error::Error for DialError {}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::path::PathBuf;

    use super::*;
    use crate::transport::sys::STARTING_A_PROCESS;

    const PATIENCE: Duration = Duration::from_secs(10);

    fn listener() -> (OwnedFd, SocketAddr) {
        let listener =
            socket::listen_tcp("127.0.0.1:0".parse().unwrap(), 16, &socket::SocketOptions::default())
                .unwrap();
        let address = socket::local_addr(&listener).unwrap();
        (listener, address)
    }

    /// An address where nobody listens.
    fn nobody() -> Address {
        Address::Tcp(listener().1)
    }

    fn named() -> Endpoint {
        Endpoint::Tcp { host: "chat.test".into(), port: 7 }
    }

    #[test]
    fn addresses_are_tried_in_turn_until_one_answers() {
        let _closes_are_the_last = STARTING_A_PROCESS.read().unwrap();
        let (kept, address) = listener();
        let dial = Dial::to(&named(), vec![nobody(), nobody(), Address::Tcp(address)], PATIENCE);
        let ours = drive(dial).unwrap();
        assert_eq!(socket::accept(kept.as_raw_fd()).unwrap().1, socket::local_addr(&ours).ok());
    }

    #[test]
    fn the_error_names_every_address_and_why() {
        let _closes_are_the_last = STARTING_A_PROCESS.read().unwrap();
        let (one, two) = (nobody(), Address::Unix("/no/such/socket".into()));
        let error = drive(Dial::to(&named(), vec![one.clone(), two], PATIENCE)).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "cannot connect to chat.test:7: {one}: Connection refused; unix:/no/such/socket: No such file \
                 or directory"
            )
        );
        assert!(error.is_refused());
        let endpoint: Endpoint = one.to_string().parse().unwrap();
        let error = connect(&endpoint, PATIENCE).unwrap_err();
        assert_eq!(error.to_string(), format!("cannot connect to {one}: Connection refused"));
    }

    #[test]
    fn what_is_no_address_is_never_dialled() {
        for (endpoint, message) in [
            ("off", "cannot connect to off: it is no address: write HOST:PORT or unix:PATH"),
            ("127.0.0.1:0", "cannot connect to 127.0.0.1:0: nobody listens on port 0"),
        ] {
            let error = Dial::start(&endpoint.parse().unwrap(), PATIENCE).unwrap_err();
            assert_eq!(error.to_string(), message);
            assert!(!error.is_refused());
        }
        let error = Dial::start(&"a..b:1".parse().unwrap(), PATIENCE).unwrap_err().to_string();
        assert!(error.starts_with("cannot connect to a..b:1: its host cannot be resolved ("), "{error}");
    }

    #[test]
    fn all_interfaces_are_this_machine() {
        let (kept, address) = listener();
        let _ours = connect(&format!(":{}", address.port()).parse().unwrap(), PATIENCE).unwrap();
        socket::accept(kept.as_raw_fd()).unwrap();
    }

    #[test]
    fn a_timeout_is_a_deadline_that_the_caller_keeps() {
        let _closes_are_the_last = STARTING_A_PROCESS.read().unwrap();
        // Time is an argument, so nothing is waited for: the attempt is over when `now` says so.
        let (_kept, silent) = full();
        let mut dial = Dial::to(&named(), vec![silent.clone(), nobody()], PATIENCE);
        assert!(dial.deadline().is_none());
        let start = Instant::now();
        assert!(matches!(dial.progress(start), Progress::Watch));
        let deadline = dial.deadline().unwrap();
        assert_eq!(deadline, start + PATIENCE);
        assert!(dial.fd().is_some());
        assert!(matches!(dial.progress(deadline - Duration::from_millis(1)), Progress::Pending));
        // Over to the next address, with a time of its own.
        assert!(matches!(dial.progress(deadline), Progress::Watch));
        assert_eq!(dial.deadline().unwrap(), deadline + PATIENCE);
        let error = drive(dial).unwrap_err();
        let message = error.to_string();
        assert!(message.contains(&format!(": {silent}: no answer within 10s; ")), "{message}");
        assert!(!error.is_refused());
    }

    #[test]
    fn the_blocking_form_gives_up_in_time() {
        let (_kept, silent) = full();
        let begin = Instant::now();
        let error = connect(&silent.to_string().parse().unwrap(), Duration::from_millis(50)).unwrap_err();
        assert!(begin.elapsed() >= Duration::from_millis(50));
        assert_eq!(error.to_string(), format!("cannot connect to {silent}: no answer within 50ms"));
    }

    /// A listener whose queue is full, so that no further connection gets an answer; and what keeps it so.
    fn full() -> (Vec<OwnedFd>, Address) {
        let listener =
            socket::listen_tcp("127.0.0.1:0".parse().unwrap(), 0, &socket::SocketOptions::default()).unwrap();
        let address = socket::local_addr(&listener).unwrap();
        let (mut kept, endpoint) = (vec![listener], address.to_string().parse().unwrap());
        while let Ok(socket) = connect(&endpoint, Duration::from_millis(100)) {
            kept.push(socket);
            assert!(kept.len() < 64, "the queue never fills");
        }
        (kept, Address::Tcp(address))
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_unix_listener_with_a_full_queue_is_asked_again() {
        let path: PathBuf = std::env::temp_dir().join(format!("rawline-{}-dial-queue", std::process::id()));
        let listener = socket::listen_unix(&path, 1).unwrap();
        let mut queued = Vec::new();
        while let Ok(socket) = socket::connect_unix(&path) {
            queued.push(socket);
        }
        let mut dial = Dial::start(&Endpoint::Unix(path.clone()), PATIENCE).unwrap();
        let start = Instant::now();
        assert!(matches!(dial.progress(start), Progress::Pending));
        assert!(dial.fd().is_none(), "nothing tells of room");
        assert_eq!(dial.deadline(), Some(start + RETRY));
        while socket::accept(listener.as_raw_fd()).is_ok() {}
        assert!(matches!(dial.progress(start + RETRY), Progress::Watch));
        assert!(matches!(dial.progress(start + RETRY), Progress::Connected(_)));
        std::fs::remove_file(path).unwrap();
    }
}
