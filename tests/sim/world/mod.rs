//! The world of one run: a kernel in which everything that can go wrong does, as one seed says, and time.
//!
//! Owns the state that all of it shares. Sockets are queues of bytes with room for so many, time is a calendar of what
//! happens next, and nothing else is a source of chance. While the server waits, clients act, helpers work and faults
//! strike. `kernel.rs` is what the server's calls do, `readiness.rs` what its waits report, `downloads.rs` what those calls
//! must heed that send files, `calendar.rs` what happens when.

mod calendar;
mod downloads;
mod kernel;
mod readiness;

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::os::fd::RawFd;
use std::rc::Rc;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use rawline::api::{Closed, ConnId};
use rawline::transport::io::{Interest, IoFault, Signal, Token};
use rawline::transport::workers::{Helpers, Lane, Task};
use rawline::{Handle, Limits, Wire};

use super::client::files::shelf::Shelf;
use super::client::{Broken, Client};
use super::disk::SimDisk;
use super::faults::{Fault, Faults};
use super::figures::Seen;
use super::mail::Letter;
use super::rng::Rng;
use super::room::Room;
use super::steward::Steward;
use calendar::Entry;

/// The wires, each with a listener whose descriptor is 3 and up.
pub const WIRES: [Wire; 4] = [Wire::JsonRpc, Wire::Line, Wire::Echo, Wire::Files];
const LISTENER: RawFd = 3;
const FIRST: RawFd = LISTENER + WIRES.len() as RawFd;
/// The port of client 0.
pub const PORT: u16 = 10_000;

/// The server's end of a connection; there is one for each client.
#[derive(Default)]
pub struct Socket {
    fd: Option<RawFd>,
    /// Bytes that fit into its two buffers: from the client, to the client.
    pub room: (usize, usize),
    inbox: VecDeque<u8>,
    pub outbox: VecDeque<u8>,
    pub fin: bool,
    pub rst: bool,
    /// Not by an RST: the kernel has given it up.
    pub unreachable: bool,
    /// The peer has closed: what is written to it brings RST.
    pub deaf: bool,
    pub server_fin: bool,
    watched: Option<(Token, Interest)>,
    /// kqueue tells of a hangup once.
    told: bool,
    pub accepted: Option<u64>,
    /// When the server last read something of it.
    pub heard: u64,
    /// Bytes that the kernel took from the server.
    pub written: u64,
    pub read: u64,
    /// When it last took something.
    pub took: u64,
    /// When the server read the first byte of a message of which it has not read the last.
    pub began: Option<u64>,
    /// A call on it failed for want of memory.
    pub starved: bool,
    pub is_closed: bool,
    pub was_cut: bool,
    /// There was no room for it.
    pub turned_away: bool,
    /// The service was told of it.
    pub opened: bool,
    pub ended: bool,
    /// It was closed in a way that may destroy what was under way to the client.
    pub has_lost: bool,
    /// And something was.
    pub was_behind: bool,
    /// The server has read its FIN.
    pub has_ended: bool,
    /// The kernel has watched it.
    pub was_watched: bool,
    /// The server does not read it, for what it has not taken.
    pub is_paused: bool,
    /// Since when there have been bytes for the server that it does not read.
    pub unread: Option<u64>,
    /// Since when it has been above `out_soft`.
    pub behind: Option<u64>,
    /// Since when something has been there for it to take.
    pub waits: Option<u64>,
    /// Since when its peer has been gone, with nothing to wait for.
    pub gone: Option<u64>,
    /// Why the service was told that it ends, and when.
    pub why: Option<Closed>,
    pub ended_at: u64,
    /// Bytes of it that were read behind the server's FIN.
    pub drained: u64,
    /// Readiness to read was reported, and no read has emptied it since.
    pub is_reported: bool,
    /// As far as the server can know, its latest read has emptied it.
    is_drained: bool,
    /// It took less than it was given, and no readiness to write was reported since.
    pub is_blocked: bool,
    /// A write has found that the peer is gone.
    pub is_broken: bool,
    /// When the server has sent FIN.
    pub refused: Option<u64>,
    /// Only full segments leave.
    pub corked: bool,
    /// The open file of which it was sent some uncorked, and from where on.
    bare: Option<(u64, u64)>,
    /// Which bites of files its last two were, counted over all, and whether the last one was taken whole.
    bites: (u64, u64),
    took_all: bool,
    pub reads_this_turn: usize,
    pub read_calls_this_turn: usize,
    /// It had taken everything when the last turn was over.
    pub was_flushed: bool,
    /// So much had been read of it when it last had taken everything.
    pub whole: u64,
    pub heard_this_turn: u64,
    pub requests_this_turn: usize,
}

impl Socket {
    /// Whether the server has a descriptor for it.
    pub fn is_open(&self) -> bool {
        self.fd.is_some()
    }

    /// Whether the server has read all that has come.
    pub fn has_read_all(&self) -> bool {
        self.is_open() && self.inbox.is_empty()
    }

    /// What the server watches it for, if it is open.
    pub fn interest(&self) -> Option<Interest> {
        self.watched.map(|(_, interest)| interest).filter(|_| self.is_open())
    }

    /// What a call on it fails with.
    fn fault(&self) -> IoFault {
        if self.unreachable { IoFault::Unreachable } else { IoFault::Reset }
    }

    /// Whether the server has more for it than it takes.
    pub fn waits_to_write(&self) -> bool {
        self.interest().is_some_and(|interest| interest.write)
    }
}

#[derive(Default)]
struct Listener {
    queue: VecDeque<usize>,
    watched: Option<(Token, Interest)>,
    is_closed: bool,
    /// When it last found nothing to accept with.
    starved: Option<u64>,
    /// How often it did since it last accepted somebody.
    rests: u32,
    /// Since when somebody waits for it, and its rest is over.
    overdue: Option<u64>,
}

/// Everything that one run is made of.
pub struct State {
    pub rng: Rng,
    /// Microseconds; and what they were when the server last looked at the clock.
    pub now: u64,
    turn_began: u64,
    pub faults: Faults,
    pub limits: Limits,
    pub rules: rawline::service::chat::Rules,
    pub clients: Vec<Client>,
    pub sockets: Vec<Socket>,
    listeners: Vec<Listener>,
    /// Whose socket a descriptor is.
    fds: Vec<Option<usize>>,
    given: Vec<bool>,
    graves: Vec<Token>,
    calendar: BinaryHeap<Reverse<Entry>>,
    entries: u64,
    woken: bool,
    bell: Arc<AtomicBool>,
    tasks: Arc<Mutex<Vec<(Lane, Task)>>>,
    pub disk: SimDisk,
    pub room: Room,
    pub shelf: Shelf,
    /// Which client a connection's index belongs to, as the service was told.
    pub seats: Vec<Option<usize>>,
    pub hears: Vec<bool>,
    /// What the service called each client, also if it has gone.
    pub ids: Vec<Option<ConnId>>,
    /// How somebody outside asks for things, what lies in the server's mailbox, and how often something was wished.
    pub handle: Option<Handle>,
    pub mail: VecDeque<Letter>,
    pub wishes: u64,
    /// Bytes that fit into a socket: from the client, to the client.
    pub buffer: (usize, usize),
    signals: VecDeque<Signal>,
    pub steward: Steward,
    /// All limits that were in force, and since when the last ones have been.
    pub regimes: Vec<Limits>,
    pub reloaded: u64,
    pub stopping: Option<u64>,
    /// The turn in which the server was told.
    pub told_to_stop: Option<u64>,
    /// Times that a client has said something, and behind how many of them SIGTERM comes.
    acts: u64,
    pub stop_behind: Option<u64>,
    /// Behind so many times that a socket is no longer read.
    pub stop_at_pause: Option<u64>,
    /// Nothing will ever happen again.
    pub asleep: bool,
    pub jumps: u64,
    pub seen: Seen,
    /// When something last happened but a sign of life, and the calls by then.
    stirred: (u64, u64),
    /// When the server last gave one, in milliseconds.
    pub sign: u64,
    /// Who was cut in this turn since all together had too much, and how much of it was his, at most.
    pub cuts: Vec<(usize, u64)>,
    /// What each was known not to have taken then.
    pub waited: Vec<u64>,
    /// Some connection has ended in this turn.
    pub has_ends: bool,
    /// Files of which the room was told that they are stored.
    pub stored: u64,
    pub broken: Option<Broken>,
    pub trace: u64,
    pub turns: u64,
    pub calls: u64,
    /// Something rang for the server since it waits.
    rung: bool,
    /// Bytes of chat that were said in this turn, as one who hears them gets them.
    pub said_this_turn: u64,
    /// Work of helpers, and news of it, that the calendar holds.
    pub jobs: usize,
    /// Bites of files so far, and bytes of files in this turn.
    bites: u64,
    file_bytes_this_turn: usize,
    /// The most that this can have been for anybody, and the same of the turn before; how much of it was said of ends.
    pub most_said: [u64; 2],
    pub said_of_ends: u64,
    moved: bool,
    idle: (u32, u64),
    /// Turns in a row that moved nothing and followed each other by a tick or two, and when the last one was.
    wakes: (u32, u64),
    ceasing: bool,
    /// The descriptor kept for the time when there is no other: kept, or free for one accept.
    has_spare: bool,
    spare_is_free: bool,
}

/// The kernel, shared by the loop, the service and whoever looks on.
#[derive(Clone)]
pub struct World(pub Rc<RefCell<State>>);

impl World {
    pub fn new(
        mut rng: Rng,
        faults: Faults,
        limits: Limits,
        rules: rawline::service::chat::Rules,
        disk: SimDisk,
    ) -> Self {
        let buffer = (*rng.pick(&[9, 60, 300, 4096, 65_536]), *rng.pick(&[20, 100, 300, 4096, 65_536]));
        Self(Rc::new(RefCell::new(State {
            rng,
            now: 0,
            turn_began: 0,
            faults,
            rules,
            clients: Vec::new(),
            sockets: Vec::new(),
            listeners: WIRES.iter().map(|_| Listener::default()).collect(),
            fds: vec![None; FIRST as usize],
            given: Vec::new(),
            graves: Vec::new(),
            calendar: BinaryHeap::new(),
            entries: 0,
            woken: false,
            bell: Arc::default(),
            tasks: Arc::default(),
            disk,
            room: Room { reject_duplicates: rules.reject_duplicate_names, ..Room::default() },
            shelf: Shelf::default(),
            seats: Vec::new(),
            hears: Vec::new(),
            ids: Vec::new(),
            handle: None,
            mail: VecDeque::new(),
            wishes: 0,
            buffer,
            signals: VecDeque::new(),
            steward: Steward::default(),
            limits: limits.clone(),
            regimes: vec![limits],
            reloaded: 0,
            stopping: None,
            told_to_stop: None,
            acts: 0,
            stop_behind: None,
            stop_at_pause: None,
            asleep: false,
            jumps: 0,
            seen: Seen::default(),
            stirred: (0, 0),
            sign: 0,
            cuts: Vec::new(),
            waited: Vec::new(),
            has_ends: false,
            stored: 0,
            broken: None,
            trace: 0xcbf2_9ce4_8422_2325,
            turns: 0,
            calls: 0,
            rung: false,
            said_this_turn: 0,
            jobs: 0,
            bites: 0,
            file_bytes_this_turn: 0,
            most_said: [0; 2],
            said_of_ends: 0,
            moved: false,
            idle: (0, 0),
            wakes: (0, 0),
            ceasing: false,
            has_spare: true,
            spare_is_free: false,
        })))
    }

    /// The descriptor of a wire's listener.
    pub fn listener(wire: Wire) -> RawFd {
        LISTENER + WIRES.iter().position(|&other| other == wire).expect("all are there") as RawFd
    }

    /// Hands that take the loop's jobs and do them when the calendar says so.
    pub fn helpers(&self) -> Helpers {
        let tasks = Arc::clone(&self.0.borrow().tasks);
        Helpers::Given(Arc::new(move |lane, task| {
            tasks.lock().expect("nobody panics here").push((lane, task))
        }))
    }
}

impl State {
    /// A rule is broken; the first one counts.
    pub fn breaks(&mut self, rule: &'static str, how: impl Into<String>) {
        if self.broken.is_none() {
            self.broken = Some(Broken { rule, how: how.into() });
        }
    }

    /// How many descriptors of connections there were at once, at most.
    pub fn peak(&self) -> usize {
        self.fds.len() - FIRST as usize
    }

    pub fn note(&mut self, what: u64, fd: u64, result: u64) {
        for word in [what, fd, result, self.now] {
            self.trace = (self.trace ^ word).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(5);
        }
    }

    /// Something moved, or a fault has made it look so.
    fn progress(&mut self) {
        self.moved = true;
    }

    /// Everybody who is connected, for whoever looks for a bug.
    pub fn describe(&self) -> String {
        let mut out =
            format!("at {} us, turn {}, {:?}, {:?}\n", self.now, self.turns, self.limits, self.rules);
        for (kind, count) in Fault::ALL.iter().zip(&self.faults.counts).filter(|pair| *pair.1 > 0) {
            out += &format!("  {count} x {}\n", kind.name());
        }
        for (index, (client, socket)) in self.clients.iter().zip(&self.sockets).enumerate() {
            let Client { wire, stage, ending, pace, chunk, gulp, doomed, eof, sent, .. } = client;
            out += &format!(
                "  client {index} {wire} {stage:?} {ending:?} pace {pace:?} chunk {chunk} gulp {gulp} doomed {doomed} eof {eof} sent {sent} to send {}; \
                 inbox {} outbox {} fin {} rst {} deaf {} server fin {} watched {:?} read {} written {} closed {} cut {} awaits {:?}\n",
                client.out.len(),
                socket.inbox.len(),
                socket.outbox.len(),
                socket.fin,
                socket.rst,
                socket.deaf,
                socket.server_fin,
                socket.watched.map(|watched| watched.1),
                socket.read,
                socket.written,
                socket.is_closed,
                socket.was_cut,
                client.awaits(),
            );
        }
        out
    }
}
