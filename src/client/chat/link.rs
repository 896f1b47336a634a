//! The connection to the server, again and again.
//!
//! Owns the socket, the session that speaks on it, and the decision when to dial anew. Tells what happens as
//! [`Event`]s; never blocks, except that the system's resolver may, once, at the start. Knows no
//! terminal. Called by the loop of the client, and by its [`Face`](super::Face) for what that wants to say.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use super::{Garbage, News, Session};
use crate::client::after;
use crate::client::backoff::Backoff;
use crate::client::dial::{Dial, DialError, Progress};
use crate::config::{Address, Endpoint, show_time};
use crate::transport::io::{Interest, Io, IoFault, Token};
use crate::transport::sys::OsIo;

/// The token of the socket, of whichever there is.
pub(super) const SOCKET: Token = Token(1);

/// Bytes read at once, and how often in one turn: a flood must not keep keys from being seen.
const READ_BYTES: usize = 64 * 1024;
const READS_PER_TURN: usize = 4;

/// What has happened to the connection, or on it.
#[derive(Debug)]
pub enum Event {
    /// The server has told something.
    News(News),
    /// The connection is gone, or did not come about again.
    Lost {
        /// Why.
        why: String,
        /// Messages that may have arrived or not.
        unconfirmed: Vec<String>,
        /// When the next attempt is; `None`: there will be none.
        again: Option<Duration>,
        /// Whether this is worth telling: not the same as the last time.
        is_news: bool,
    },
    /// It is of no use to go on.
    Failed(LinkError),
}

/// Why it is of no use to go on.
#[derive(Debug)]
pub enum LinkError {
    /// The first connection did not come about.
    Unreachable(DialError),
    /// At the other end is no chat.
    Garbage(Garbage),
    /// The system will not watch a socket.
    System(io::Error),
}

impl fmt::Display for LinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(error) => error.fmt(f),
            Self::Garbage(garbage) => garbage.fmt(f),
            Self::System(error) => write!(f, "the system refuses: {error}"),
        }
    }
}

impl std::error::Error for LinkError {}

/// How to connect.
pub struct Plan {
    /// Where.
    pub to: Endpoint,
    /// How long to wait for each address, and for the server to take us in.
    pub timeout: Duration,
    /// Whether to try again when a connection is lost.
    pub reconnect: bool,
    /// Makes the session for a new connection.
    pub session: fn() -> Box<dyn Session>,
}

/// The connection, with whatever session speaks on it now.
pub struct Link {
    plan: Plan,
    addresses: Vec<Address>,
    state: State,
    backoff: Backoff,
    last_pause: Duration,
    was_connected: bool,
    /// What the server owes us before we are in the room must be here by then.
    owed_by: Option<Instant>,
    events: VecDeque<Event>,
}

enum State {
    Dialing(Dial),
    Up(Up),
    Waiting(Instant),
    /// For good.
    Down,
}

struct Up {
    socket: OwnedFd,
    session: Box<dyn Session>,
    interest: Interest,
    place: Place,
}

/// How far the server has let us in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Outside,
    AskedForName,
    Joined,
}

impl Link {
    /// Finds the addresses, which may take the resolver's time. The connection is made in the turns of the loop.
    ///
    /// # Errors
    /// There is no address.
    pub fn new(plan: Plan) -> Result<Self, DialError> {
        let addresses = plan.to.addresses().map_err(|why| DialError::NoAddress {
            endpoint: plan.to.clone(),
            why: format!("its host cannot be resolved ({why})"),
        })?;
        let dial = Dial::to(&plan.to, addresses.clone(), plan.timeout);
        Ok(Self {
            plan,
            addresses,
            state: State::Dialing(dial),
            backoff: Backoff::default(),
            last_pause: Duration::ZERO,
            was_connected: false,
            owed_by: None,
            events: VecDeque::new(),
        })
    }

    /// Where it leads.
    pub fn to(&self) -> &Endpoint {
        &self.plan.to
    }

    /// Whether we are in the room.
    pub fn is_joined(&self) -> bool {
        matches!(&self.state, State::Up(Up { place: Place::Joined, .. }))
    }

    /// Whether the server waits for a name.
    pub fn wants_name(&self) -> bool {
        matches!(&self.state, State::Up(Up { place: Place::AskedForName, .. }))
    }

    /// Gives the name that the server waits for.
    pub fn join(&mut self, name: Option<&str>) {
        if let State::Up(up) = &mut self.state {
            up.session.join(name);
            up.place = Place::Outside;
            self.owed_by = Some(after(self.plan.timeout));
        }
    }

    /// What can be said to the room; `None` when we are not in it.
    pub fn room(&mut self) -> Option<&mut dyn Session> {
        match &mut self.state {
            State::Up(Up { place: Place::Joined, session, .. }) => Some(&mut **session),
            _ => None,
        }
    }

    /// Whether all requests are answered and all answers heard. Several may come at once, and the last of them
    /// may be the one that matters.
    pub fn is_quiet(&self) -> bool {
        let unanswered = if let State::Up(up) = &self.state { up.session.unanswered() } else { 0 };
        unanswered == 0 && self.events.is_empty()
    }

    /// When [`turn`](Self::turn) has something to do even if nothing becomes ready.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match &self.state {
            // Before its first turn it is due at once.
            State::Dialing(dial) => Some(dial.deadline().unwrap_or_else(Instant::now)),
            State::Up(_) => self.owed_by,
            State::Waiting(until) => Some(*until),
            State::Down => None,
        }
    }

    /// What has happened, one by one.
    pub(super) fn next(&mut self) -> Option<Event> {
        let event = self.events.pop_front()?;
        if let (Event::News(news), State::Up(up)) = (&event, &mut self.state) {
            match news {
                News::NameWanted | News::NameRefused(_) => up.place = Place::AskedForName,
                News::Joined(_) => {
                    up.place = Place::Joined;
                    self.backoff.reset();
                    self.last_pause = Duration::ZERO;
                }
                _ => return Some(event),
            }
            self.owed_by = None;
        }
        Some(event)
    }

    /// Does what is due, and reads if `ready`.
    pub(super) fn turn(&mut self, io: &mut OsIo, ready: bool) {
        let now = Instant::now();
        match &mut self.state {
            State::Waiting(until) if now >= *until => {
                let dial = Dial::to(&self.plan.to, self.addresses.clone(), self.plan.timeout);
                self.state = State::Dialing(dial);
                self.dial(io, now);
            }
            State::Dialing(_) => self.dial(io, now),
            State::Up(_) if ready => self.read(io),
            State::Up(_) if self.owed_by.is_some_and(|owed| now >= owed) => {
                let time = show_time(self.plan.timeout);
                self.lost(format!("the server did not answer within {time}"));
            }
            _ => {}
        }
    }

    /// Sends what the session has to say.
    pub(super) fn flush(&mut self, io: &mut OsIo) {
        let State::Up(up) = &mut self.state else { return };
        let fd = up.socket.as_raw_fd();
        let output = up.session.output();
        let mut fault = None;
        while !output.is_empty() && fault.is_none() {
            match io.write(fd, &[IoSlice::new(output)]) {
                Ok(sent) => drop(output.drain(..sent)),
                Err(error) => fault = Some(error),
            }
        }
        let wanted = if output.is_empty() { Interest::READ } else { Interest::BOTH };
        match fault {
            None | Some(IoFault::WouldBlock) => {}
            Some(fault) => {
                // The server may have said why before it left.
                self.read(io);
                return self.lost(describe(fault));
            }
        }
        if up.interest != wanted {
            match io.modify(fd, SOCKET, up.interest, wanted) {
                Ok(()) => up.interest = wanted,
                Err(fault) => self.lost(describe(fault)),
            }
        }
    }

    fn dial(&mut self, io: &mut OsIo, now: Instant) {
        let State::Dialing(dial) = &mut self.state else { return };
        match dial.progress(now) {
            Progress::Pending => {}
            Progress::Watch => {
                let fd = dial.fd().expect("it was just told of").as_raw_fd();
                if let Err(fault) = io.add(fd, SOCKET, Interest::WRITE) {
                    self.fail(LinkError::System(error_of(fault)));
                }
            }
            Progress::Connected(socket) => {
                let (session, interest) = ((self.plan.session)(), Interest::WRITE);
                self.state = State::Up(Up { socket, session, interest, place: Place::Outside });
                self.was_connected = true;
                self.owed_by = Some(after(self.plan.timeout));
                // A session may have news before anything has arrived.
                self.tell();
            }
            Progress::Failed(error) if !self.was_connected => {
                self.fail(LinkError::Unreachable(error));
            }
            Progress::Failed(error) => self.lost(reason(&error)),
        }
    }

    fn read(&mut self, io: &mut OsIo) {
        let mut bytes = vec![0; READ_BYTES];
        for _ in 0..READS_PER_TURN {
            let State::Up(up) = &mut self.state else { return };
            let slices = &mut [IoSliceMut::new(&mut bytes), IoSliceMut::new(&mut [])];
            match io.read(up.socket.as_raw_fd(), slices) {
                Ok(0) => return self.lost("the server closed it".into()),
                Ok(count) => {
                    let garbage = up.session.receive(&bytes[..count]).err();
                    self.tell();
                    if let Some(garbage) = garbage {
                        return self.fail(LinkError::Garbage(garbage));
                    }
                }
                Err(IoFault::WouldBlock) => return,
                Err(fault) => return self.lost(describe(fault)),
            }
        }
    }

    fn tell(&mut self) {
        if let State::Up(up) = &mut self.state {
            self.events.extend(std::iter::from_fn(|| up.session.next()).map(Event::News));
        }
    }

    fn lost(&mut self, why: String) {
        let unconfirmed = match &mut self.state {
            State::Up(up) => up.session.unconfirmed(),
            State::Dialing(_) => Vec::new(),
            State::Waiting(_) | State::Down => return,
        };
        self.owed_by = None;
        let again = self.plan.reconnect.then(|| self.backoff.pause());
        // The socket closes here, which ends its watch.
        self.state = match again {
            Some(pause) => State::Waiting(Instant::now() + pause),
            None => State::Down,
        };
        let is_news = again.is_none_or(|pause| pause * 2 > self.last_pause * 3) || !unconfirmed.is_empty();
        self.last_pause = again.unwrap_or_default().max(self.last_pause);
        self.events.push_back(Event::Lost { why, unconfirmed, again, is_news });
    }

    fn fail(&mut self, error: LinkError) {
        self.state = State::Down;
        self.events.push_back(Event::Failed(error));
    }
}

/// Why a dial failed, in few words if all its addresses say the same.
fn reason(error: &DialError) -> String {
    if error.is_refused() { "nobody listens there".into() } else { error.to_string() }
}

fn describe(fault: IoFault) -> String {
    match fault {
        IoFault::Reset | IoFault::Unreachable => "the network or the server cut it".into(),
        fault => error_of(fault).to_string(),
    }
}

pub(super) fn error_of(fault: IoFault) -> io::Error {
    match fault {
        IoFault::Reset => io::ErrorKind::ConnectionReset.into(),
        IoFault::Unreachable => io::ErrorKind::TimedOut.into(),
        IoFault::NoMemory => io::ErrorKind::OutOfMemory.into(),
        IoFault::WouldBlock => io::ErrorKind::WouldBlock.into(),
        IoFault::Other(errno) => io::Error::from_raw_os_error(errno),
    }
}
