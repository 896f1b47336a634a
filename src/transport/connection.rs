//! What the server keeps for one connection.
//!
//! Owns a connection's state and the questions that are answered from it alone: what readiness it wants, whether
//! it may be dispatched. The hub keeps these in its slab; the event loop changes them. An idle connection is this
//! struct and nothing else: no ring, no backlog, no job.

use std::os::fd::RawFd;

use crate::api::{Peer, Wire};
use crate::transport::codec::jsonrpc::framer::{Framer, Input};
use crate::transport::codec::jsonrpc::render::Encoding;
use crate::transport::codec::line::LineFramer;
use crate::transport::files::session::Session;
use crate::transport::io::{Interest, Millis};
use crate::transport::job::Job;
use crate::transport::outbox::Outbox;

/// One accepted socket.
pub struct Connection {
    /// Its descriptor.
    pub fd: RawFd,
    /// What the kernel watches it for.
    pub interest: Interest,
    /// Where it is in its life.
    pub phase: Phase,
    /// The kernel has bytes, EOF or an error for us.
    pub readable: bool,
    /// The kernel takes bytes again.
    pub writable: bool,
    /// The last read left the socket empty.
    pub drained: bool,
    /// The peer has sent FIN.
    pub eof: bool,
    /// Its unsent answers went above `out_high` and are not yet at `out_low`.
    pub paused: bool,
    /// The server is stopping, and all that had arrived by then is answered: what comes now is refused.
    pub late: bool,
    /// It stands in the run queue.
    pub queued: bool,
    /// It stands in the dirty list.
    pub dirty: bool,
    /// What it speaks, and where in its bytes it is.
    pub codec: Codec,
    /// Seconds between pings, if it asked for them; 0: it did not.
    pub heartbeat: u32,
    /// When bytes last came from it.
    pub heard: Millis,
    /// Its place among the hub's members, while it is subscribed.
    pub place: u32,
    /// Bytes thrown away since it was refused.
    pub discarded: u32,
    /// What it is to be sent.
    pub outbox: Outbox,
    /// Ring and scanner, while there are unconsumed bytes.
    pub input: Option<Box<Input>>,
    /// A request that is not yet answered: a deferred call, or a batch under way.
    pub job: Option<Box<Job>>,
    /// Who is at the other end.
    pub peer: Peer,
}

/// The state of a connection's codec between reads.
pub enum Codec {
    /// JSON texts.
    JsonRpc(Framer),
    /// Lines.
    Line(LineFramer),
    /// Nothing to know.
    Echo,
    /// Files: which command is under way.
    Files(Box<Session>),
}

impl Codec {
    /// The state of a connection that has said nothing.
    pub fn new(wire: Wire) -> Self {
        match wire {
            Wire::JsonRpc => Self::JsonRpc(Framer::default()),
            Wire::Line => Self::Line(LineFramer::default()),
            Wire::Echo => Self::Echo,
            Wire::Files => Self::Files(Box::default()),
        }
    }

    /// What it speaks.
    pub fn wire(&self) -> Wire {
        match self {
            Self::JsonRpc(_) => Wire::JsonRpc,
            Self::Line(_) => Wire::Line,
            Self::Echo => Wire::Echo,
            Self::Files(_) => Wire::Files,
        }
    }
}

/// The life of a connection. The service hears of its end when it leaves `Open`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Requests are read and answered.
    Open,
    /// Nothing more is read; closed when everything has left.
    Flushing,
    /// Refused: when everything has left, FIN is sent and the input is drained.
    Refused,
    /// FIN was sent after a refusal; input is read and thrown away.
    Draining,
    /// To be closed in this turn: `true` for a cut (RST).
    Over(bool),
}

impl Connection {
    /// A connection just accepted.
    pub fn new(fd: RawFd, peer: Peer, wire: Wire, now: Millis) -> Self {
        Self {
            fd,
            interest: Interest::READ,
            phase: Phase::Open,
            readable: false,
            writable: true,
            drained: true,
            eof: false,
            paused: false,
            late: false,
            queued: false,
            dirty: false,
            codec: Codec::new(wire),
            heartbeat: 0,
            heard: now,
            place: 0,
            discarded: 0,
            outbox: Outbox::new(if wire == Wire::Line { Encoding::TEXT } else { Encoding::FIRST }),
            input: None,
            job: None,
            peer,
        }
    }

    /// The readiness to ask for: derived from the state, told to the kernel once a turn.
    pub fn wanted(&self) -> Interest {
        let read = match self.phase {
            Phase::Open => !self.eof && !self.paused && self.has_room(),
            Phase::Draining => true,
            Phase::Flushing | Phase::Refused | Phase::Over(_) => false,
        };
        let blocked = self.outbox.is_blocked() || self.session().is_some_and(|session| session.blocked);
        Interest { read, write: blocked }
    }

    /// Whether its ring can take more bytes. One that is full of an unfinished text has grown by now, so
    /// a full ring holds requests that wait.
    pub fn has_room(&self) -> bool {
        self.input.as_ref().is_none_or(|input| input.ring.len() < input.ring.capacity())
    }

    /// Whether nothing of what it has sent waits to be served, as far as we have been told.
    pub fn is_caught_up(&self) -> bool {
        let is_busy = self.session().is_some_and(|session| !session.is_idle());
        self.phase != Phase::Open || !(self.queued || self.paused || self.job.is_some() || is_busy)
    }

    /// Whether a call must be answered elsewhere before the next request is looked at.
    pub fn is_waiting(&self) -> bool {
        self.job.as_ref().is_some_and(|job| job.is_waiting())
            || self.session().is_some_and(Session::must_wait)
    }

    /// Whether something is still to leave: it is in a backlog, or a file.
    pub fn has_unsent(&self) -> bool {
        self.outbox.is_blocked() || self.session().is_some_and(Session::has_output)
    }

    /// The state of a file connection.
    pub fn session(&self) -> Option<&Session> {
        match &self.codec {
            Codec::Files(session) => Some(session),
            _ => None,
        }
    }

    /// The state of a file connection.
    pub fn session_mut(&mut self) -> Option<&mut Session> {
        match &mut self.codec {
            Codec::Files(session) => Some(session),
            _ => None,
        }
    }
}
