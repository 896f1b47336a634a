//! A kernel in which everything that can go wrong does, as one seed says: `World` is the server's [`Io`].
//!
//! Sockets are queues of bytes with room for so many, time is a calendar of what happens next, and nothing else is a
//! source of chance. While the server waits, clients act, helpers work and faults strike. A call that no kernel would
//! allow (a closed descriptor read, a registration that is not there) breaks the rule "kernel".

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::io::{IoSlice, IoSliceMut};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rawline::api::{Completer, Peer};
use rawline::transport::io::{AcceptFault, Event, Interest, Io, IoFault, Millis, Signal, Token, Waker};
use rawline::transport::workers::{Helpers, Lane, Task};
use rawline::{Limits, Wire};

use super::client::files::Shelf;
use super::client::rpc::Abuse;
use super::client::{Broken, Client, Ending, Scene, Stage, Talk};
use super::disk::SimDisk;
use super::faults::{Fault, Faults};
use super::rng::Rng;
use super::room::Room;

/// The wires, each with a listener whose descriptor is 3 and up.
pub const WIRES: [Wire; 4] = [Wire::JsonRpc, Wire::Line, Wire::Echo, Wire::Files];
const LISTENER: RawFd = 3;
const FIRST: RawFd = LISTENER + WIRES.len() as RawFd;
/// The port of client 0.
pub const PORT: u16 = 10_000;
/// Turns in which nothing moves and no time passes, before that is called spinning.
const IDLE_TURNS: u32 = 400;

/// What is in the calendar.
enum Happening {
    /// A client acts.
    Client(usize),
    /// A helper does its job.
    Task(Task),
    /// The waker is heard.
    Wake,
    /// A deferred call is answered.
    Late(Completer, u64),
    /// SIGTERM.
    Stop,
    /// The network gives a connection up.
    Cut(usize),
}

/// What stands in the calendar: when, in which order, what.
struct Entry(u64, u64, Happening);

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        (self.0, self.1) == (other.0, other.1)
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.0, self.1).cmp(&(other.0, other.1))
    }
}

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
    pub turned_away: bool,
    pub ended: bool,
    reads_this_turn: usize,
}

#[derive(Default)]
struct Listener {
    queue: VecDeque<usize>,
    watched: Option<(Token, Interest)>,
    is_closed: bool,
    /// When it last found nothing to accept with.
    starved: Option<u64>,
}

/// Everything that one run is made of.
pub struct State {
    pub rng: Rng,
    /// Microseconds.
    pub now: u64,
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
    buffer: (usize, usize),
    signal: Option<Signal>,
    pub stopping: Option<u64>,
    /// Nothing will ever happen again.
    pub asleep: bool,
    pub jumps: u64,
    pub broken: Option<Broken>,
    pub trace: u64,
    pub turns: u64,
    pub calls: u64,
    moved: bool,
    idle: (u32, u64),
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
            faults,
            limits,
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
            buffer,
            signal: None,
            stopping: None,
            asleep: false,
            jumps: 0,
            broken: None,
            trace: 0xcbf2_9ce4_8422_2325,
            turns: 0,
            calls: 0,
            moved: false,
            idle: (0, 0),
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

    /// A new client, who connects at this time.
    pub fn add(&mut self, client: Client, at: u64) {
        self.clients.push(client);
        let least = match self.clients.last().map(|client| client.wire) {
            // Much goes over these.
            Some(Wire::Echo | Wire::Files) => 2_000,
            _ => 1,
        };
        let room = (self.buffer.0.max(least), self.buffer.1.max(least));
        if room.0.min(room.1) < 200
            && let Some(client) = self.clients.last_mut()
        {
            // Much in small pieces takes its time anyway.
            client.pace = (client.pace.0.min(300), client.pace.1.min(300));
        }
        self.sockets.push(Socket { room, ..Socket::default() });
        self.hears.push(false);
        let index = self.clients.len() - 1;
        self.clients[index].scheduled = true;
        self.enter(at, Happening::Client(index));
    }

    pub fn late(&mut self, completer: Completer, number: u64) {
        let delay = *self.rng.pick(&[0, 100, 3_000, 200_000]);
        self.enter(self.now + delay, Happening::Late(completer, number));
    }

    /// SIGTERM comes at this time.
    pub fn stop_at(&mut self, at: u64) {
        self.enter(at, Happening::Stop);
        self.asleep = false;
    }

    /// Lets a client act soon.
    pub fn rouse(&mut self, index: usize) {
        let client = &mut self.clients[index];
        if !client.scheduled && client.stage != Stage::Gone {
            client.scheduled = true;
            let (low, high) = client.pace;
            let at = self.now + self.rng.range(low, high);
            self.enter(at, Happening::Client(index));
        }
    }

    /// Everybody goes now, in whatever way.
    pub fn everybody_goes(&mut self) {
        self.ceasing = true;
        self.asleep = false;
        for index in 0..self.clients.len() {
            let ending = *self.rng.pick(&[Ending::HalfClose, Ending::Close, Ending::Reset]);
            let client = &mut self.clients[index];
            if client.stage != Stage::Gone {
                client.ending = if client.reads() { ending } else { Ending::Reset };
                client.out.clear();
                client.pace = (1, 2_000);
                self.rouse(index);
            }
        }
    }

    fn enter(&mut self, at: u64, happening: Happening) {
        self.entries += 1;
        self.calendar.push(Reverse(Entry(at, self.entries, happening)));
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

    /// Does what is due.
    fn run_calendar(&mut self) {
        let tasks = std::mem::take(&mut *self.tasks.lock().expect("nobody panics here"));
        for (lane, task) in tasks {
            let mut delay = self.rng.range(1, 300);
            if self.faults.strike(&mut self.rng, Fault::SlowDisk) {
                delay = self.rng.range(300, 100_000);
            }
            if lane == Lane::Slow && self.faults.strike(&mut self.rng, Fault::SlowSync) {
                delay = self.rng.range(100_000, 8_000_000);
            }
            self.enter(self.now + delay, Happening::Task(task));
        }
        while self.calendar.peek().is_some_and(|Reverse(entry)| entry.0 <= self.now) {
            let Some(Reverse(Entry(.., happening))) = self.calendar.pop() else { return };
            match happening {
                Happening::Client(index) => {
                    self.clients[index].scheduled = false;
                    self.act(index);
                }
                Happening::Task(task) => task(),
                Happening::Wake => self.woken = true,
                Happening::Late(completer, number) => {
                    completer.answer(&serde_json::json!({ "late": number }))
                }
                Happening::Stop => {
                    self.signal = Some(Signal::Terminate);
                    self.stopping = Some(self.now);
                }
                Happening::Cut(index) => self.reset(index),
            }
            if self.bell.swap(false, Ordering::SeqCst) {
                if self.faults.strike(&mut self.rng, Fault::SlowMail) {
                    let at = self.now + self.rng.range(1, 50_000);
                    self.enter(at, Happening::Wake);
                } else {
                    self.woken = true;
                }
            }
        }
    }

    /// RST, from the client or from the network.
    fn reset(&mut self, index: usize) {
        let socket = &mut self.sockets[index];
        if !socket.is_closed && !socket.rst {
            socket.rst = true;
            socket.inbox.clear();
            socket.outbox.clear();
        }
        self.clients[index].stage = Stage::Gone;
    }

    /// One client does what it has to do.
    fn act(&mut self, index: usize) {
        let State { clients, sockets, rng, limits, shelf, stopping, .. } = self;
        let (client, socket) = (&mut clients[index], &mut sockets[index]);
        let mut scene = Scene { rng, limits, shelf, stopping: stopping.is_some() };
        let mut again = false;
        match client.stage {
            Stage::Gone => return,
            Stage::Before => {
                client.stage = Stage::Open;
                let listener =
                    &mut self.listeners[WIRES.iter().position(|&wire| wire == client.wire).expect("all")];
                if listener.is_closed || self.ceasing {
                    client.stage = Stage::Gone;
                    socket.ended = true;
                    return;
                }
                listener.queue.push_back(index);
                if self.faults.strike(&mut self.rng, Fault::Reset) {
                    let at = self.now + self.rng.range(0, 500_000);
                    self.enter(at, Happening::Cut(index));
                }
                self.rouse(index);
                return;
            }
            Stage::Open | Stage::Finished => {}
        }
        if socket.rst {
            client.stage = Stage::Gone;
            return;
        }
        // It reads.
        let n = socket.outbox.len().min(client.gulp);
        if n > 0 {
            let n = scene.rng.size(1, n);
            let bytes: Vec<u8> = socket.outbox.drain(..n).collect();
            if let Err(broken) = client.hear(&bytes, &mut scene) {
                self.broken.get_or_insert(broken);
                return;
            }
            again |= !socket.outbox.is_empty();
        }
        if socket.outbox.is_empty() && (socket.server_fin || socket.is_closed) && client.reads() {
            client.eof = true;
        }
        if socket.is_closed {
            if client.eof || !client.reads() {
                client.stage = Stage::Gone;
            } else {
                self.rouse(index);
            }
            return;
        }
        // It speaks.
        if client.stage == Stage::Open && !client.eof {
            while client.out.len() < client.chunk && !self.ceasing && client.say(&mut scene) {
                let is_whole =
                    !matches!(&client.talk, Talk::Rpc(rpc) if rpc.todo == 0 && rpc.abuse == Abuse::Stall);
                let end = if is_whole { client.sent + client.out.len() as u64 } else { u64::MAX };
                client.ends.push_back(end);
            }
            let room = socket.room.0.saturating_sub(socket.inbox.len());
            let n = client.out.len().min(client.chunk).min(room);
            if n > 0 {
                let mut n = scene.rng.size(1, n);
                if let Ending::ResetAfter(limit) = client.ending {
                    n = n.min((limit.saturating_sub(client.sent)) as usize);
                }
                socket.inbox.extend(client.out.drain(..n));
                client.sent += n as u64;
                again |= n > 0 && (!client.out.is_empty() || !client.has_said_all());
            }
        }
        // It goes.
        let said_all = client.has_said_all() || self.ceasing || client.eof;
        let got_all = client.awaits().is_none() || self.ceasing;
        match client.ending {
            Ending::Stay if client.eof => client.ending = Ending::Close,
            Ending::HalfClose if said_all && client.stage == Stage::Open => {
                client.stage = Stage::Finished;
                socket.fin = true;
            }
            Ending::Close if said_all && got_all || client.eof => {
                client.stage = Stage::Gone;
                socket.fin = true;
                socket.deaf = true;
                if !socket.outbox.is_empty() {
                    self.reset(index);
                }
                return;
            }
            Ending::Reset if said_all => return self.reset(index),
            Ending::ResetAfter(limit) if client.sent >= limit || said_all => return self.reset(index),
            _ => {}
        }
        if client.eof && client.stage == Stage::Open {
            again = true;
        }
        if again {
            self.rouse(index);
        }
    }

    /// What the poller would report.
    fn collect(&mut self, events: &mut Vec<Event>) {
        let kqueue = self.faults.has(Fault::Kqueue);
        for listener in &self.listeners {
            if let Some((token, Interest { read: true, .. })) = listener.watched
                && !listener.queue.is_empty()
            {
                events.push(Event { token, readable: true, writable: false, hangup: false });
            }
        }
        for &index in self.fds.iter().flatten() {
            let socket = &mut self.sockets[index];
            let Some((token, interest)) = socket.watched else { continue };
            let readable = interest.read && (!socket.inbox.is_empty() || socket.fin || socket.rst);
            let writable = interest.write && (socket.outbox.len() < socket.room.1 || socket.rst);
            let hangup = socket.rst || socket.fin && socket.server_fin;
            let event = Event { token, readable, writable, hangup };
            if kqueue {
                self.faults.happened(Fault::Kqueue);
                let nothing = Event { readable: false, writable: false, hangup: false, ..event };
                if readable {
                    events.push(Event { readable: true, ..nothing });
                }
                if writable {
                    events.push(Event { writable: true, hangup: socket.rst, ..nothing });
                }
                if interest == Interest::NONE && hangup && !std::mem::replace(&mut socket.told, true) {
                    events.push(Event { hangup: true, ..nothing });
                }
            } else if readable || writable || hangup {
                events.push(event);
            }
        }
        if self.faults.strike(&mut self.rng, Fault::Spurious) {
            self.progress();
            let watched: Vec<(Token, Interest)> =
                self.fds.iter().flatten().filter_map(|&index| self.sockets[index].watched).collect();
            if !watched.is_empty() {
                let (token, interest) = *self.rng.pick(&watched);
                if interest != Interest::NONE {
                    events.push(Event {
                        token,
                        readable: interest.read,
                        writable: interest.write,
                        hangup: false,
                    });
                }
            } else if let Some((token, _)) = self.listeners[0].watched {
                events.push(Event { token, readable: true, writable: false, hangup: false });
            }
        }
        if !self.graves.is_empty() && self.faults.strike(&mut self.rng, Fault::Stale) {
            self.progress();
            let token = *self.rng.pick(&self.graves);
            let hangup = self.rng.one_in(2);
            events.push(Event { token, readable: true, writable: true, hangup });
        }
        self.rng.shuffle(events);
        if events.len() > 1 && self.faults.strike(&mut self.rng, Fault::Cut) {
            let most = self.rng.size(1, events.len() - 1);
            events.truncate(most);
        }
    }

    fn watch_for_spinning(&mut self) {
        if self.moved || self.now > self.idle.1 + 100_000 {
            self.idle = (0, self.now);
        } else {
            self.idle.0 += 1;
        }
        self.moved = false;
        if self.idle.0 > IDLE_TURNS {
            self.breaks(
                "busy",
                format!("{IDLE_TURNS} turns within {} us moved nothing", self.now - self.idle.1),
            );
        }
    }

    fn socket(&mut self, fd: RawFd, call: &str) -> Option<usize> {
        let index = self.fds.get(fd as usize).copied().flatten();
        if index.is_none() {
            self.breaks("kernel", format!("{call} on descriptor {fd}, which is not open"));
        }
        self.calls += 1;
        index
    }

    fn release(&mut self, fd: RawFd, cut: bool) {
        self.note(7, fd as u64, u64::from(cut));
        self.progress();
        if let Some(listener) = self.listeners.get_mut((fd - LISTENER) as usize) {
            let (watched, was_closed) =
                (listener.watched.is_some(), std::mem::replace(&mut listener.is_closed, true));
            let waiting: Vec<usize> = listener.queue.drain(..).collect();
            for index in waiting {
                self.sockets[index].ended = true;
                self.reset(index);
            }
            if watched || was_closed {
                self.breaks("kernel", "a listener is closed twice, or while it is watched");
            }
            return;
        }
        let Some(index) = self.socket(fd, "close") else { return };
        self.fds[fd as usize] = None;
        let socket = &mut self.sockets[index];
        if let Some((token, _)) = socket.watched.take() {
            self.breaks("kernel", format!("descriptor {fd} ({token:?}) is closed while it is watched"));
        }
        let socket = &mut self.sockets[index];
        socket.fd = None;
        (socket.is_closed, socket.was_cut) = (true, cut);
        let unread = !socket.inbox.is_empty();
        if cut || unread || socket.rst {
            // RST: what was not delivered may be lost.
            socket.outbox.clear();
        }
        self.judge_close(index, cut, unread);
        self.rouse(index);
    }

    fn scan_for_reads(&mut self, index: usize, n: usize) {
        let most = self.limits.max_read_per_turn.max(16 * 1024) + 16 * 1024;
        let socket = &mut self.sockets[index];
        socket.reads_this_turn += n;
        if socket.reads_this_turn > most && self.clients[index].wire != Wire::Files {
            let n = self.sockets[index].reads_this_turn;
            self.breaks("fair", format!("{n} bytes of one client were read in one turn"));
        }
    }

    fn give(&mut self, index: usize, from: &[&[u8]], call: &str) -> Result<usize, IoFault> {
        let room = self.sockets[index].room.1.saturating_sub(self.sockets[index].outbox.len());
        let all: usize = from.iter().map(|piece| piece.len()).sum();
        if all == 0 {
            self.breaks("kernel", format!("{call} writes nothing"));
            return Err(IoFault::WouldBlock);
        }
        if self.sockets[index].server_fin {
            self.breaks("kernel", format!("{call} writes behind FIN"));
        }
        if self.faults.strike(&mut self.rng, Fault::SocketMemory) {
            self.sockets[index].starved = true;
            self.clients[index].doomed = true;
            return Err(IoFault::NoMemory);
        }
        let socket = &mut self.sockets[index];
        if socket.rst {
            return Err(IoFault::Reset);
        }
        if socket.deaf {
            // Taken, and answered with RST.
            socket.rst = true;
            socket.inbox.clear();
            self.progress();
            return Ok(all);
        }
        if room == 0 || self.faults.strike(&mut self.rng, Fault::WriteAgain) {
            return Err(IoFault::WouldBlock);
        }
        let mut n = all.min(room);
        if self.faults.strike(&mut self.rng, Fault::ShortWrite) {
            n = self.rng.size(1, n);
        }
        let socket = &mut self.sockets[index];
        let mut left = n;
        for piece in from {
            let take = piece.len().min(left);
            socket.outbox.extend(&piece[..take]);
            left -= take;
        }
        socket.written += n as u64;
        socket.took = self.now;
        self.progress();
        if self.clients[index].reads() {
            self.rouse(index);
        }
        Ok(n)
    }
}

impl Io for World {
    fn now(&mut self) -> Millis {
        let state = self.0.borrow();
        Millis(state.now / 1000)
    }

    fn wait(&mut self, events: &mut Vec<Event>, timeout: Option<Duration>) {
        let mut state = self.0.borrow_mut();
        let state = &mut *state;
        state.turns += 1;
        events.clear();
        state.judge_turn();
        state.watch_for_spinning();
        state.now += state.rng.range(1, 40);
        if state.jumps < 3 && state.faults.strike(&mut state.rng, Fault::ClockJump) {
            let jump = *state.rng.pick(&[50_000, 5_000_000, 70_000_000, 4_000_000_000]);
            state.now += jump;
            state.jumps += 1;
            let back = state.rng.range(0, 100_000) as i64 - 50_000;
            state.disk.pass(back);
        }
        let deadline = timeout.map(|timeout| state.now + timeout.as_micros() as u64);
        loop {
            state.run_calendar();
            if state.broken.is_some() {
                return;
            }
            state.collect(events);
            if !events.is_empty() || std::mem::take(&mut state.woken) || state.signal.is_some() {
                break;
            }
            if deadline.is_some_and(|deadline| deadline <= state.now) {
                break;
            }
            if state.faults.strike(&mut state.rng, Fault::Interrupted) {
                state.progress();
                break;
            }
            let next = state.calendar.peek().map(|Reverse(entry)| entry.0);
            match next.into_iter().chain(deadline).min() {
                Some(at) => state.now = state.now.max(at),
                None if state.asleep_for_good() => {
                    state.asleep = true;
                    break;
                }
                None => {}
            }
        }
        let n = events.len() as u64;
        state.note(1, n, state.trace_of(events));
        for index in 0..state.sockets.len() {
            state.sockets[index].reads_this_turn = 0;
        }
    }

    fn waker(&self) -> Waker {
        let bell = Arc::clone(&self.0.borrow().bell);
        Waker::new(move || bell.store(true, Ordering::SeqCst))
    }

    fn signal(&mut self) -> Option<Signal> {
        self.0.borrow_mut().signal.take()
    }

    fn accept(&mut self, listener: RawFd) -> Result<(RawFd, Peer), AcceptFault> {
        let mut state = self.0.borrow_mut();
        let state = &mut *state;
        state.calls += 1;
        let at = (listener - LISTENER) as usize;
        if state.listeners[at].is_closed {
            state.breaks("kernel", "a closed listener accepts");
        }
        if !state.spare_is_free
            && let Some(starved) = state.listeners[at].starved
            && state.now < starved + 9_000
        {
            state.breaks("rest", "a listener without descriptors was asked again at once");
        }
        for (kind, fault) in [
            (Fault::Emfile, AcceptFault::NoDescriptors),
            (Fault::AcceptMemory, AcceptFault::NoMemory),
            (Fault::Aborted, AcceptFault::Aborted),
        ] {
            if !state.spare_is_free
                && !state.listeners[at].queue.is_empty()
                && state.faults.strike(&mut state.rng, kind)
            {
                if fault == AcceptFault::Aborted {
                    let gone = state.listeners[at].queue.pop_front().expect("it is not empty");
                    state.sockets[gone].ended = true;
                    state.reset(gone);
                    state.progress();
                } else {
                    state.listeners[at].starved = Some(state.now);
                }
                state.note(2, at as u64, kind as u64);
                return Err(fault);
            }
        }
        if !state.spare_is_free {
            state.listeners[at].starved = None;
        }
        let Some(index) = state.listeners[at].queue.pop_front() else { return Err(AcceptFault::WouldBlock) };
        let fd = match (FIRST as usize..state.fds.len()).find(|&fd| state.fds[fd].is_none()) {
            Some(fd) => fd,
            None => {
                state.fds.push(None);
                state.fds.len() - 1
            }
        };
        state.given.resize(state.given.len().max(fd + 1), false);
        if std::mem::replace(&mut state.given[fd], true) {
            state.faults.happened(Fault::Reuse);
        }
        state.fds[fd] = Some(index);
        state.note(2, at as u64, fd as u64);
        state.progress();
        let open = state.fds.iter().flatten().count();
        let socket = &mut state.sockets[index];
        socket.fd = Some(fd as RawFd);
        socket.accepted = Some(state.now);
        socket.turned_away = open > state.limits.max_connections || state.spare_is_free;
        socket.heard = state.now;
        socket.took = state.now;
        let address = SocketAddr::from(([127, 0, 0, 1], PORT + index as u16));
        Ok((fd as RawFd, address.into()))
    }

    fn add(&mut self, fd: RawFd, token: Token, interest: Interest) -> Result<(), IoFault> {
        let mut state = self.0.borrow_mut();
        let state = &mut *state;
        if (LISTENER..FIRST).contains(&fd) {
            if state.faults.strike(&mut state.rng, Fault::WatchMemory) {
                return Err(IoFault::NoMemory);
            }
            state.listeners[(fd - LISTENER) as usize].watched = Some((token, interest));
            return Ok(());
        }
        let Some(index) = state.socket(fd, "add") else { return Err(IoFault::Other(9)) };
        state.note(3, fd as u64, token.0);
        if state.faults.strike(&mut state.rng, Fault::WatchMemory) {
            state.sockets[index].starved = true;
            state.clients[index].doomed = true;
            return Err(IoFault::NoMemory);
        }
        if state.sockets[index].watched.replace((token, interest)).is_some() {
            state.breaks("kernel", format!("descriptor {fd} is added twice"));
        }
        Ok(())
    }

    fn modify(&mut self, fd: RawFd, token: Token, from: Interest, to: Interest) -> Result<(), IoFault> {
        let mut state = self.0.borrow_mut();
        let state = &mut *state;
        state.note(4, fd as u64, u64::from(to.read) * 2 + u64::from(to.write));
        if (LISTENER..FIRST).contains(&fd) {
            if state.faults.strike(&mut state.rng, Fault::WatchMemory) {
                return Err(IoFault::NoMemory);
            }
            state.listeners[(fd - LISTENER) as usize].watched = Some((token, to));
            return Ok(());
        }
        let Some(index) = state.socket(fd, "modify") else { return Err(IoFault::Other(9)) };
        if state.sockets[index].watched != Some((token, from)) {
            let watched = state.sockets[index].watched;
            state.breaks("kernel", format!("descriptor {fd} is watched for {watched:?}, not {from:?}"));
        }
        if from == to {
            state.breaks("kernel", format!("descriptor {fd} is modified for nothing"));
        }
        if state.faults.strike(&mut state.rng, Fault::WatchMemory) {
            state.sockets[index].starved = true;
            state.clients[index].doomed = true;
            return Err(IoFault::NoMemory);
        }
        state.progress();
        state.sockets[index].told = false;
        state.sockets[index].watched = Some((token, to));
        Ok(())
    }

    fn remove(&mut self, fd: RawFd, _: Interest) {
        let mut state = self.0.borrow_mut();
        let watched = if (LISTENER..FIRST).contains(&fd) {
            state.listeners[(fd - LISTENER) as usize].watched.take()
        } else {
            let Some(index) = state.socket(fd, "remove") else { return };
            state.sockets[index].watched.take()
        };
        match watched {
            Some((token, _)) if fd >= FIRST => {
                state.graves.push(token);
                if state.graves.len() > 20 {
                    state.graves.remove(0);
                }
            }
            Some(_) => {}
            None => state.breaks("kernel", format!("descriptor {fd} is removed and was not watched")),
        }
    }

    fn read(&mut self, fd: RawFd, into: &mut [IoSliceMut<'_>; 2]) -> Result<usize, IoFault> {
        let mut state = self.0.borrow_mut();
        let state = &mut *state;
        let Some(index) = state.socket(fd, "read") else { return Err(IoFault::Other(9)) };
        if into[0].is_empty() && into[1].is_empty() {
            state.breaks("kernel", "a read has no room");
            return Err(IoFault::WouldBlock);
        }
        if state.faults.strike(&mut state.rng, Fault::SocketMemory) {
            state.sockets[index].starved = true;
            state.clients[index].doomed = true;
            return Err(IoFault::NoMemory);
        }
        let socket = &mut state.sockets[index];
        if socket.rst {
            return Err(IoFault::Reset);
        }
        if socket.inbox.is_empty() {
            if socket.fin {
                state.progress();
                state.note(5, fd as u64, 0);
                return Ok(0);
            }
            return Err(IoFault::WouldBlock);
        }
        if state.faults.strike(&mut state.rng, Fault::ReadAgain) {
            state.progress();
            return Err(IoFault::WouldBlock);
        }
        let mut most = state.sockets[index].inbox.len().min(into[0].len() + into[1].len());
        if state.faults.strike(&mut state.rng, Fault::ShortRead) {
            most = state.rng.size(1, most);
        }
        let socket = &mut state.sockets[index];
        let mut n = 0;
        for part in into.iter_mut() {
            let take = part.len().min(most - n);
            let (front, back) = socket.inbox.as_slices();
            let first = take.min(front.len());
            part[..first].copy_from_slice(&front[..first]);
            part[first..take].copy_from_slice(&back[..take - first]);
            socket.inbox.drain(..take);
            n += take;
        }
        socket.heard = state.now;
        socket.read += n as u64;
        let ends = &mut state.clients[index].ends;
        while ends.front().is_some_and(|&end| end <= socket.read) {
            ends.pop_front();
            socket.began = None;
        }
        let is_inside = ends.front().is_some_and(|_| true);
        if is_inside {
            socket.began.get_or_insert(state.now);
        }
        state.scan_for_reads(index, n);
        state.note(5, fd as u64, n as u64);
        state.progress();
        state.rouse(index);
        Ok(n)
    }

    fn write(&mut self, fd: RawFd, from: &[IoSlice<'_>]) -> Result<usize, IoFault> {
        let mut state = self.0.borrow_mut();
        let Some(index) = state.socket(fd, "write") else { return Err(IoFault::Other(9)) };
        let pieces: Vec<&[u8]> = from.iter().map(|slice| &**slice).collect();
        let given = state.give(index, &pieces, "write");
        state.note(6, fd as u64, given.map_or(u64::MAX, |n| n as u64));
        given
    }

    fn send_file(
        &mut self,
        fd: RawFd,
        head: &[u8],
        file: BorrowedFd<'_>,
        offset: u64,
        count: usize,
    ) -> Result<usize, IoFault> {
        let mut state = self.0.borrow_mut();
        let Some(index) = state.socket(fd, "sendfile") else { return Err(IoFault::Other(9)) };
        // No more than the socket may take is copied.
        let bytes = state.disk.bytes(file.as_raw_fd(), offset, count.min(state.sockets[index].room.1));
        if head.is_empty() && bytes.is_empty() {
            return Ok(0);
        }
        let given = state.give(index, &[head, &bytes], "sendfile");
        state.note(8, fd as u64, given.map_or(u64::MAX, |n| n as u64));
        given
    }

    fn is_cached(&mut self, _: BorrowedFd<'_>, _: u64, _: usize) -> bool {
        let mut state = self.0.borrow_mut();
        let state = &mut *state;
        !state.faults.strike(&mut state.rng, Fault::ColdFile)
    }

    fn shutdown_write(&mut self, fd: RawFd) {
        let mut state = self.0.borrow_mut();
        let Some(index) = state.socket(fd, "shutdown") else { return };
        state.progress();
        if std::mem::replace(&mut state.sockets[index].server_fin, true) {
            state.breaks("kernel", "FIN is sent twice");
        }
        state.rouse(index);
    }

    fn give_up_spare(&mut self) -> bool {
        let mut state = self.0.borrow_mut();
        state.spare_is_free = std::mem::take(&mut state.has_spare);
        state.spare_is_free
    }

    fn keep_spare(&mut self) {
        let mut state = self.0.borrow_mut();
        (state.has_spare, state.spare_is_free) = (true, false);
    }

    fn cork(&mut self, _: RawFd, _: bool) {}

    fn close(&mut self, fd: RawFd) {
        self.0.borrow_mut().release(fd, false);
    }

    fn abort(&mut self, fd: RawFd) {
        self.0.borrow_mut().release(fd, true);
    }
}

impl State {
    fn trace_of(&self, events: &[Event]) -> u64 {
        events.iter().fold(0, |hash, event| {
            let flags =
                u64::from(event.readable) + 2 * u64::from(event.writable) + 4 * u64::from(event.hangup);
            (hash ^ event.token.0 ^ flags << 60).wrapping_mul(0x0000_0100_0000_01b3)
        })
    }

    /// Nothing is in the calendar, nobody is ready and the server has no deadline. Faults may have hidden an event,
    /// so they must have let it be for a while.
    fn asleep_for_good(&mut self) -> bool {
        let mut events = Vec::new();
        self.collect(&mut events);
        events.is_empty() && self.tasks.lock().expect("nobody panics here").is_empty()
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
