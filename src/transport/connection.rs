//! What the server keeps for one connection.
//!
//! Owns a connection's state and the questions that are answered from it alone: what readiness it wants, whether
//! it may be dispatched. The hub keeps these in its slab; the event loop changes them. An idle connection is this
//! struct and nothing else: no ring, no backlog, no job.

use std::mem::offset_of;
use std::os::fd::RawFd;
use std::time::Duration;

use crate::api::{Closed, Peer, Wire};
use crate::limits::{DRAIN_TIME, Limits};
use crate::transport::codec::jsonrpc::framer::{Framer, Input};
use crate::transport::codec::jsonrpc::render::Encoding;
use crate::transport::codec::line::LineFramer;
use crate::transport::files::session::Session;
use crate::transport::io::{Interest, Millis};
use crate::transport::job::Job;
use crate::transport::outbox::Outbox;
use crate::transport::rate::Rate;

/// One accepted socket. Two cache lines: a broadcast touches the first only, one request both.
#[repr(C, align(64))]
pub struct Connection {
    /// What it is to be sent.
    pub outbox: Outbox,
    /// Its descriptor.
    pub fd: RawFd,
    /// Its place among the hub's members, while it is subscribed.
    pub place: u32,
    /// Where it is in its life.
    pub phase: Phase,
    /// What the kernel watches it for.
    pub interest: Interest,
    /// The kernel has bytes, EOF or an error for us.
    pub readable: bool,
    /// The kernel takes bytes again.
    pub writable: bool,
    /// The last read left the socket empty.
    pub drained: bool,
    /// The peer has sent FIN.
    pub eof: bool,
    /// The kernel has said that the peer is gone, and is not asked again: what is left is read to its end.
    pub gone: bool,
    /// Its unsent answers went above `out_high` and are not yet at `out_low`.
    pub paused: bool,
    /// The server is stopping, and all that had arrived by then is answered: what comes now is refused.
    pub late: bool,
    /// It stands in the run queue.
    pub queued: bool,
    /// It stands in the dirty list.
    pub dirty: bool,
    /// What it has spent of its rate: see `rate.rs`.
    pub rate: Rate,
    /// What it speaks, and where in its bytes it is.
    pub codec: Codec,
    /// Ring and scanner, while there are unconsumed bytes.
    pub input: Option<Box<Input>>,
    /// A request that is not yet answered: a deferred call, or a batch under way.
    pub job: Option<Box<Job>>,
    /// When bytes last came from it, a file went to it, or a step of its end was done.
    pub heard: Millis,
    /// Bytes thrown away since it was refused.
    pub discarded: u32,
    /// Who is at the other end.
    pub peer: Peer,
}

/// The state of a connection's codec between reads.
pub enum Codec {
    /// JSON texts.
    JsonRpc {
        /// Where in a text it is.
        framer: Framer,
        /// Seconds between pings, if it asked for them; 0: it did not.
        heartbeat: u16,
        /// When the next one is due.
        next_ping: Millis,
    },
    /// Lines.
    Line {
        /// Where in a line it is.
        framer: LineFramer,
        /// When it connected.
        since: Millis,
    },
    /// Nothing to know.
    Echo,
    /// Files: which command is under way.
    Files(Box<Session>),
}

impl Codec {
    /// The state of a connection that has said nothing.
    pub fn new(wire: Wire, now: Millis) -> Self {
        match wire {
            Wire::JsonRpc => {
                Self::JsonRpc { framer: Framer::default(), heartbeat: 0, next_ping: Millis::default() }
            }
            Wire::Line => Self::Line { framer: LineFramer::default(), since: now },
            Wire::Echo => Self::Echo,
            Wire::Files => Self::Files(Box::default()),
        }
    }

    /// What it speaks.
    pub fn wire(&self) -> Wire {
        match self {
            Self::JsonRpc { .. } => Wire::JsonRpc,
            Self::Line { .. } => Wire::Line,
            Self::Echo => Wire::Echo,
            Self::Files(_) => Wire::Files,
        }
    }
}

/// What is to happen when a deadline has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// It has taken too long, for this reason.
    End(Closed),
    /// It wants a ping.
    Ping,
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

const _: () = assert!(size_of::<Option<Connection>>() == 128, "an idle connection is two cache lines");
const _: () = assert!(offset_of!(Connection, dirty) < 64, "a broadcast touches the first");

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
            gone: false,
            paused: false,
            late: false,
            queued: false,
            dirty: false,
            codec: Codec::new(wire, now),
            heard: now,
            place: 0,
            discarded: 0,
            rate: Rate::new(now),
            outbox: Outbox::new(if wire == Wire::Line { Encoding::TEXT } else { Encoding::FIRST }),
            input: None,
            job: None,
            peer,
        }
    }

    /// The readiness to ask for: derived from the state, told to the kernel once a turn.
    pub fn wanted(&self) -> Interest {
        if self.gone {
            return Interest::NONE;
        }
        let read = match self.phase {
            Phase::Open => !self.eof && !self.paused && self.has_room(),
            Phase::Draining => true,
            Phase::Flushing | Phase::Refused | Phase::Over(_) => false,
        };
        let blocked = self.outbox.is_blocked() || self.session().is_some_and(|session| session.blocked);
        Interest { read, write: blocked }
    }

    /// The next moment at which time alone changes something, and what that is. Derived from the state; told to the
    /// wheel where the interest is told to the kernel.
    pub fn deadline(&self, limits: &Limits) -> Option<(Millis, Due)> {
        let dues = match self.phase {
            Phase::Open => [self.patience(limits), self.silence(limits), self.slowness(limits)],
            Phase::Flushing if self.session().is_some() => {
                [Some((self.heard + limits.file_idle_timeout, Due::End(Closed::Stalled))), None, None]
            }
            Phase::Flushing => [None, None, self.slowness(limits)],
            Phase::Refused | Phase::Draining => {
                [Some((self.heard + DRAIN_TIME, Due::End(Closed::BadFrame))), None, None]
            }
            Phase::Over(_) => [None; 3],
        };
        dues.into_iter().flatten().min_by_key(|(at, _)| *at)
    }

    /// How long we wait for the rest of something that has begun.
    fn patience(&self, limits: &Limits) -> Option<(Millis, Due)> {
        let is_inside = self.session().is_none_or(|session| session.is_idle());
        let message = self.input.as_ref().filter(|_| is_inside).and_then(|input| {
            Some((Millis(input.since?) + limits.message_timeout, Due::End(Closed::MessageTimeout)))
        });
        let other = match &self.codec {
            Codec::Line { since, .. } if !self.outbox.is_subscribed() => {
                Some((*since + limits.name_timeout, Due::End(Closed::NameTimeout)))
            }
            Codec::Files(session) if self.input.is_some() || !session.is_idle() => {
                Some((self.heard + limits.file_idle_timeout, Due::End(Closed::Stalled)))
            }
            _ => None,
        };
        [message, other].into_iter().flatten().min_by_key(|(at, _)| *at)
    }

    /// How long it may say nothing.
    fn silence(&self, limits: &Limits) -> Option<(Millis, Due)> {
        let idle = (!limits.idle_timeout.is_zero() && self.is_caught_up())
            .then(|| (self.heard + limits.idle_timeout, Due::End(Closed::IdleTimeout)));
        let heartbeat = match self.codec {
            Codec::JsonRpc { heartbeat: 1.., next_ping, .. } => Some((next_ping, Due::Ping)),
            _ => None,
        };
        [idle, heartbeat].into_iter().flatten().min_by_key(|(at, _)| *at)
    }

    /// How long it may take nothing of what others said, or stay far behind; after its end, of anything.
    fn slowness(&self, limits: &Limits) -> Option<(Millis, Due)> {
        let moved = self.outbox.moved().filter(|_| self.codec.wire().reaches_the_service())?;
        let is_waited_for = self.phase != Phase::Open || self.outbox.unsent_pushes() > 0;
        let write = is_waited_for.then(|| (moved + limits.write_timeout, Due::End(Closed::WriteTimeout)));
        let soft = self
            .outbox
            .soft_since()
            .map(|since| (since + limits.out_soft_seconds, Due::End(Closed::OutSoft)));
        [write, soft].into_iter().flatten().min_by_key(|(at, _)| *at)
    }

    /// Whether nothing came from it in two periods of its heartbeat.
    pub fn has_missed_heartbeats(&self, now: Millis) -> bool {
        match self.codec {
            Codec::JsonRpc { heartbeat: seconds @ 1.., .. } => {
                now >= self.heard + Duration::from_secs(2 * u64::from(seconds))
            }
            _ => false,
        }
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
