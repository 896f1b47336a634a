//! The loop: one thread, one turn after another, each turn a list of steps.
//!
//! Owns the order of things: who is read, dispatched, flushed and closed when. Bytes are the framer's and the
//! outbox's, requests the dispatcher's, system calls those of [`Io`]. Generic over `Io`, so the whole server runs
//! on a simulated kernel, and over the service, so a library user runs his own.
//!
//! What holds at the end of every turn: every connection with output had one write; every descriptor that
//! was to be closed is closed, and nowhere else is one closed; the kernel watches each connection for exactly
//! what its state wants.

use std::collections::VecDeque;
use std::io::IoSliceMut;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::Duration;

use crate::api::{Closed, ConnId, Fault, Peer, RouteError, Service};
use crate::limits::{
    ACCEPT_REST_MAX, ACCEPT_REST_MIN, ACCEPTS_PER_TURN, DRAIN_TIME, EVENTS_PER_WAIT, Limits, POOLED_INPUTS,
    READ_CHUNK,
};
use crate::log;
use crate::transport::codec::jsonrpc::framer::{Input, Step};
use crate::transport::codec::jsonrpc::render::{self, Encoding};
use crate::transport::connection::{Connection, Phase};
use crate::transport::dispatch::{Dispatcher, Outcome};
use crate::transport::hub::Hub;
use crate::transport::io::{AcceptFault, Event, Interest, Io, IoFault, Millis, Token};
use crate::transport::mailbox::{Handle, Letter, Mailbox};
use crate::transport::timer::Wheel;

/// Tokens from here on name listeners; below are slab indices, with the generation in the upper half.
const LISTENERS: u32 = u32::MAX - 64;

/// The server's loop on a kernel `I`, serving `S`.
pub struct EventLoop<I: Io, S: Service> {
    io: I,
    hub: Hub,
    dispatcher: Dispatcher<S>,
    mailbox: Arc<Mailbox>,
    listeners: Vec<Listener>,
    wheel: Wheel,
    now: Millis,
    /// Connections with something to read or dispatch, first come first served.
    runnable: VecDeque<ConnId>,
    /// Ended in this turn: closed in `reap`.
    over: Vec<ConnId>,
    stopping: Option<Stopping>,
    /// Rings and scanners that no connection needs now.
    #[expect(clippy::vec_box, reason = "a connection keeps the box: idle, it has eight bytes for its input")]
    inputs: Vec<Box<Input>>,
    /// Where a message that wraps in its ring is put together, and drained input is thrown.
    scratch: Vec<u8>,
    events: Vec<Event>,
    touched: Vec<ConnId>,
    lost: Vec<(ConnId, Closed)>,
    fired: Vec<u32>,
}

struct Listener {
    fd: RawFd,
    /// It found no descriptor or memory: until when it rests, and how long the next rest is.
    rest: Option<Millis>,
    next_rest: Duration,
}

/// The first signal has come.
struct Stopping {
    deadline: Millis,
    /// What had arrived by then is still answered: so many more waits that do not sleep report everyone whose
    /// socket held something.
    sweeps: usize,
}

impl<I: Io, S: Service> EventLoop<I, S> {
    /// A loop without listeners.
    ///
    /// # Errors
    /// When the service's table of routes is not sound.
    pub fn new(io: I, service: S, limits: Limits) -> Result<Self, RouteError> {
        let mailbox = Mailbox::new(io.waker());
        Self::with_mailbox(io, service, limits, mailbox)
    }

    /// The same, with a mailbox that has been handed out before.
    pub(crate) fn with_mailbox(
        mut io: I,
        service: S,
        limits: Limits,
        mailbox: Arc<Mailbox>,
    ) -> Result<Self, RouteError> {
        let now = io.now();
        let mail: Arc<Mailbox> = Arc::clone(&mailbox);
        Ok(Self {
            io,
            hub: Hub::new(limits),
            dispatcher: Dispatcher::new(service, mail)?,
            mailbox,
            listeners: Vec::new(),
            wheel: Wheel::new(now),
            now,
            runnable: VecDeque::new(),
            over: Vec::new(),
            stopping: None,
            inputs: Vec::new(),
            scratch: vec![0; READ_CHUNK],
            events: Vec::with_capacity(EVENTS_PER_WAIT),
            touched: Vec::new(),
            lost: Vec::new(),
            fired: Vec::new(),
        })
    }

    /// Serves a listening socket, whose descriptor the loop owns from now on.
    ///
    /// # Errors
    /// When the kernel refuses to watch it.
    pub fn listen(&mut self, fd: RawFd) -> Result<(), IoFault> {
        let index = LISTENERS + self.listeners.len() as u32;
        self.io.add(fd, Token(index.into()), Interest::READ)?;
        self.listeners.push(Listener { fd, rest: None, next_rest: ACCEPT_REST_MIN });
        Ok(())
    }

    /// Asks this loop for things, from any thread.
    pub fn handle(&self) -> Handle {
        Handle::new(Arc::clone(&self.mailbox))
    }

    /// The kernel it runs on.
    pub fn io(&mut self) -> &mut I {
        &mut self.io
    }

    /// Runs until it is stopped, and gives the service back.
    pub fn run(mut self) -> S {
        while self.turn() {}
        self.dispatcher.into_service()
    }

    /// One turn. Says whether there is to be another.
    pub fn turn(&mut self) -> bool {
        self.wait();
        self.sort_events();
        self.read_mail();
        self.run_connections();
        self.expire_timers();
        self.flush();
        self.reap();
        self.rearm();
        !self.is_finished()
    }

    /// Sleeps until there is something to do, unless there already is.
    fn wait(&mut self) {
        let timeout = self.timeout();
        let mut events = std::mem::take(&mut self.events);
        self.io.wait(&mut events, timeout);
        self.events = events;
        self.now = self.io.now();
    }

    fn timeout(&self) -> Option<Duration> {
        // Frames in our rings are invisible to the kernel, and so is output made while closing.
        if !self.runnable.is_empty() || self.hub.has_output() || self.mailbox.has_letters() {
            return Some(Duration::ZERO);
        }
        let until = |deadline: Millis| Duration::from_millis(deadline.0.saturating_sub(self.now.0));
        let stopping = match &self.stopping {
            Some(Stopping { sweeps: 1.., .. }) => Some(Duration::ZERO),
            Some(Stopping { deadline, .. }) => Some(until(*deadline)),
            None => None,
        };
        let rests = self.listeners.iter().filter_map(|listener| listener.rest).map(until).min();
        [stopping, rests, self.wheel.timeout(self.now)].into_iter().flatten().min()
    }

    /// Sorts readiness into what it is for. Nothing is closed here, so every token of the batch is still whose
    /// it was, or of an older generation.
    fn sort_events(&mut self) {
        let events = std::mem::take(&mut self.events);
        for event in &events {
            let (generation, index) = ((event.token.0 >> 32) as u32, event.token.0 as u32);
            if index >= LISTENERS {
                self.accept((index - LISTENERS) as usize);
            } else {
                self.ready(ConnId::new(index, generation), *event);
            }
        }
        self.events = events;
    }

    fn ready(&mut self, id: ConnId, event: Event) {
        let Some(conn) = self.hub.conns.get_mut(id) else { return };
        if event.hangup && conn.interest == Interest::NONE {
            // It cannot be masked, and there is nothing we want of this socket that would clear it.
            return self.end(id, Closed::Reset, Phase::Over(false));
        }
        conn.writable |= event.writable;
        conn.readable |= event.readable || event.hangup;
        let readable = conn.readable;
        if event.writable {
            self.hub.touch(id);
        }
        if readable {
            self.enqueue(id);
        }
    }

    fn enqueue(&mut self, id: ConnId) {
        if let Some(conn) = self.hub.conns.get_mut(id)
            && !std::mem::replace(&mut conn.queued, true)
        {
            self.runnable.push_back(id);
        }
    }

    // --- accept ---

    fn accept(&mut self, index: usize) {
        let Some(&Listener { fd, rest: None, .. }) = self.listeners.get(index) else { return };
        for _ in 0..ACCEPTS_PER_TURN {
            match self.io.accept(fd) {
                Ok((fd, peer)) => {
                    self.listeners[index].next_rest = ACCEPT_REST_MIN;
                    self.admit(fd, peer);
                }
                Err(AcceptFault::WouldBlock) => return,
                Err(AcceptFault::Aborted) => {}
                Err(fault) => return self.rest_listener(index, fault),
            }
        }
    }

    fn admit(&mut self, fd: RawFd, peer: Peer) {
        if self.hub.conns.len() >= self.hub.limits.max_connections {
            let mut text = Vec::new();
            render::answer(&mut text, Encoding::FIRST, None, Err(&Fault::too_many_connections()));
            // One try: whoever does not take it finds a closed connection, which says as much.
            let _ = self.io.write(fd, &[std::io::IoSlice::new(&text)]);
            self.io.close(fd);
            return;
        }
        let id = self.hub.conns.insert(Connection::new(fd, peer));
        if self.io.add(fd, token(id), Interest::READ).is_err() {
            self.hub.conns.remove(id);
            self.io.abort(fd);
            return;
        }
        log::debug("transport", format_args!("{id} accepted from {peer}"));
        self.dispatcher.opened(&mut self.hub, id, peer);
    }

    /// Without descriptors or memory the queue stays full and the listener ready: asked again at once, it
    /// would spin. So it is not watched for a while.
    fn rest_listener(&mut self, index: usize, fault: AcceptFault) {
        let listener = &mut self.listeners[index];
        log::warn(
            "transport",
            format_args!("accept: {fault:?}; the listener rests {:?}", listener.next_rest),
        );
        listener.rest = Some(self.now + listener.next_rest);
        listener.next_rest = (listener.next_rest * 2).min(ACCEPT_REST_MAX);
        let token = Token((LISTENERS + index as u32).into());
        // If it stays watched after all, the next event finds it resting.
        let _ = self.io.modify(listener.fd, token, Interest::READ, Interest::NONE);
    }

    // --- mail ---

    fn read_mail(&mut self) {
        if let Some(signal) = self.io.signal() {
            log::info("transport", format_args!("{signal:?}: stopping"));
            self.hub.stop_asked = true;
        }
        if self.mailbox.has_letters() {
            for letter in self.mailbox.take() {
                match letter {
                    Letter::Answer(ticket, answer) => {
                        if let Some(id) = self.dispatcher.complete(&mut self.hub, ticket, &answer) {
                            self.enqueue(id);
                        }
                    }
                    Letter::Effects(fx) => self.hub.apply(&fx),
                    Letter::Stop => self.hub.stop_asked = true,
                }
            }
        }
    }

    // --- read, route, apply ---

    /// Serves those who wait to be served, until all have had their turn or the turn's output is full.
    fn run_connections(&mut self) {
        for _ in 0..self.runnable.len() {
            if self.hub.is_full() {
                return;
            }
            let Some(id) = self.runnable.pop_front() else { return };
            let Some(conn) = self.hub.conns.get_mut(id) else { continue };
            conn.queued = false;
            match conn.phase {
                Phase::Open => self.serve(id),
                Phase::Draining => self.drain(id),
                Phase::Flushing | Phase::Refused | Phase::Over(_) => {}
            }
            self.hub.touch(id);
        }
    }

    /// Reads and dispatches one connection, within its budgets.
    fn serve(&mut self, id: ConnId) {
        let Some(conn) = self.hub.conns.get_mut(id) else { return };
        let mut input = conn.input.take().unwrap_or_else(|| self.inputs.pop().unwrap_or_default());
        let mut requests = self.hub.limits.max_requests_per_turn;
        let mut bytes = self.hub.limits.max_read_per_turn;
        loop {
            match self.dispatch(id, &mut input, &mut requests) {
                Served::Dry if self.read(id, &mut input, &mut bytes) => {}
                Served::Dry => break,
                // A deferred call is out: bytes may still arrive, up to the ring's size.
                Served::Waiting => {
                    while self.read(id, &mut input, &mut bytes) {}
                    break;
                }
                Served::Budget => {
                    self.enqueue(id);
                    break;
                }
                Served::Stopped => break,
            }
        }
        if let Some(conn) = self.hub.conns.get_mut(id)
            && conn.phase == Phase::Open
            && !input.ring.is_empty()
        {
            conn.input = Some(input);
        } else if self.inputs.len() < POOLED_INPUTS && input.ring.capacity() == READ_CHUNK {
            input.ring.consume(input.ring.len());
            self.inputs.push(input);
        }
        self.see_whether_late(id);
    }

    /// Dispatches what the ring holds.
    fn dispatch(&mut self, id: ConnId, input: &mut Input, requests: &mut usize) -> Served {
        loop {
            let full = self.hub.is_full();
            let Some(conn) = self.hub.conns.get_mut(id) else { return Served::Stopped };
            if conn.phase != Phase::Open {
                return Served::Stopped;
            }
            if conn.is_waiting() {
                return Served::Waiting;
            }
            if conn.outbox.unsent_answers() > self.hub.limits.out_high {
                conn.paused = true;
                return Served::Stopped;
            }
            if *requests == 0 || full {
                return Served::Budget;
            }
            *requests -= 1;
            let late = conn.late;
            if conn.job.is_some() {
                let outcome = self.dispatcher.resume(&mut self.hub, id, late);
                self.settle(id, outcome);
                continue;
            }
            let step = conn.framer.next(input, &self.hub.limits);
            let encoding = Encoding { framing: conn.framer.framing(), ..conn.outbox.encoding() };
            self.hub.set_encoding(id, encoding);
            match step {
                Step::Dry => {
                    *requests += 1;
                    return self.dry(id, input);
                }
                Step::Lf => self.hub.late_lf(id),
                Step::Broken(fault) => self.hub.complain(id, &fault),
                Step::Refused(fault) => {
                    self.hub.complain(id, &fault);
                    self.refuse(id, Closed::BadFrame);
                }
                Step::Text(length) => {
                    let bytes = input.ring.front(length, &mut self.scratch);
                    let text = std::str::from_utf8(bytes).expect("the scanner accepts UTF-8 only");
                    let outcome = self.dispatcher.text(&mut self.hub, id, text, late);
                    input.ring.consume(length);
                    self.settle(id, outcome);
                }
            }
        }
    }

    /// The ring holds no complete text.
    fn dry(&mut self, id: ConnId, input: &mut Input) -> Served {
        let ceiling = self.ring_ceiling();
        let Some(conn) = self.hub.conns.get_mut(id) else { return Served::Stopped };
        if conn.eof {
            if conn.framer.is_inside() {
                let at = input.ring.len();
                self.hub.complain(id, &Fault::parse_error(format!("the text ends unfinished at byte {at}")));
            }
            self.end(id, Closed::Peer, Phase::Flushing);
            return Served::Stopped;
        }
        let capacity = input.ring.capacity();
        if input.ring.len() == capacity && capacity < ceiling {
            input.ring.grow((capacity * 2).min(ceiling));
        }
        Served::Dry
    }

    fn settle(&mut self, id: ConnId, outcome: Outcome) {
        if outcome == Outcome::Panicked {
            self.end(id, Closed::Panicked, Phase::Flushing);
        }
    }

    /// Reads once into the ring; whether more may be there and may be read in this turn.
    fn read(&mut self, id: ConnId, input: &mut Input, bytes: &mut usize) -> bool {
        let Some(conn) = self.hub.conns.get_mut(id) else { return false };
        if !conn.readable || conn.eof || conn.phase != Phase::Open || *bytes == 0 {
            if conn.readable && *bytes == 0 {
                self.enqueue(id);
            }
            return false;
        }
        let was_empty = input.ring.is_empty();
        let mut free = input.ring.free((*bytes).min(READ_CHUNK));
        let room = free[0].len() + free[1].len();
        if room == 0 {
            return false;
        }
        match self.io.read(conn.fd, &mut free) {
            Ok(0) => {
                (conn.eof, conn.readable) = (true, false);
                true
            }
            Ok(n) => {
                input.ring.commit(n);
                *bytes -= n;
                if was_empty && conn.drained {
                    conn.framer.fresh_read(input.ring.run(0)[0]);
                }
                // A short read has emptied the socket: to ask once more would cost a call to learn that.
                conn.drained = n < room;
                conn.readable = !conn.drained;
                true
            }
            Err(IoFault::WouldBlock) => {
                (conn.drained, conn.readable) = (true, false);
                false
            }
            Err(fault) => {
                let why = if fault == IoFault::NoMemory { Closed::NoMemory } else { Closed::Reset };
                self.end(id, why, Phase::Over(false));
                false
            }
        }
    }

    // --- ends ---

    /// The connection can say nothing more: the service hears of it, once.
    fn end(&mut self, id: ConnId, why: Closed, next: Phase) {
        let Some(conn) = self.hub.conns.get_mut(id).filter(|conn| !matches!(conn.phase, Phase::Over(_)))
        else {
            return;
        };
        let was_open = conn.phase == Phase::Open;
        conn.phase = next;
        conn.job = None;
        if matches!(next, Phase::Over(_)) {
            self.over.push(id);
        }
        if was_open {
            let peer = conn.peer;
            log::debug("transport", format_args!("{id} {peer}: {why}"));
            self.hub.unsubscribe(id);
            let why = if self.stopping.is_some() { Closed::Shutdown } else { why };
            self.dispatcher.closed(&mut self.hub, id, peer, why);
        }
        self.hub.touch(id);
    }

    /// The error was said; now FIN follows it, and the input is drained, since closing with unread input would
    /// send RST and could destroy the error on its way.
    fn refuse(&mut self, id: ConnId, why: Closed) {
        self.end(id, why, Phase::Refused);
        self.wheel.set(id.index, self.now + DRAIN_TIME);
    }

    fn drain(&mut self, id: ConnId) {
        let most = self.hub.limits.drain_max;
        self.scratch.resize(READ_CHUNK, 0);
        for _ in 0..(self.hub.limits.max_read_per_turn / READ_CHUNK).max(1) {
            let Some(conn) = self.hub.conns.get_mut(id) else { return };
            match self.io.read(conn.fd, &mut [IoSliceMut::new(&mut self.scratch), IoSliceMut::new(&mut [])]) {
                Ok(n) if n > 0 && conn.discarded as usize + n <= most => conn.discarded += n as u32,
                Err(IoFault::WouldBlock) => return,
                _ => return self.end(id, Closed::BadFrame, Phase::Over(false)),
            }
        }
        // More may be there: the socket is still watched for it.
    }

    // --- timers, flush, reap, rearm ---

    fn expire_timers(&mut self) {
        let mut fired = std::mem::take(&mut self.fired);
        self.wheel.expire(self.now, &mut fired);
        for index in fired.drain(..) {
            if let Some((id, _)) = self.hub.conns.at(index) {
                // The one timer there is today: a refused connection has had its time.
                self.end(id, Closed::BadFrame, Phase::Over(false));
            }
        }
        self.fired = fired;
        for index in 0..self.listeners.len() {
            let listener = &mut self.listeners[index];
            if listener.rest.is_some_and(|until| until <= self.now) {
                listener.rest = None;
                let token = Token((LISTENERS + index as u32).into());
                if self.io.modify(listener.fd, token, Interest::NONE, Interest::READ).is_err() {
                    listener.rest = Some(self.now + listener.next_rest);
                }
            }
        }
    }

    fn flush(&mut self) {
        let mut lost = std::mem::take(&mut self.lost);
        self.hub.flush(&mut self.io, &mut lost);
        for (id, why) in lost.drain(..) {
            // A cut: after part of a frame nothing but its rest may be sent, so nothing is sent at all.
            self.end(id, why, Phase::Over(why == Closed::SlowConsumer));
        }
        self.lost = lost;
    }

    /// The one place where descriptors are closed: no number is given out anew while the batch of
    /// events that may name it is being worked on.
    fn reap(&mut self) {
        if self.hub.stop_asked && self.stopping.is_none() {
            self.begin_stop();
        }
        while let Some(id) = self.over.pop() {
            let Some(conn) = self.hub.conns.remove(id) else { continue };
            self.wheel.cancel(id.index);
            self.io.remove(conn.fd, conn.interest);
            match conn.phase {
                Phase::Over(true) => self.io.abort(conn.fd),
                _ => self.io.close(conn.fd),
            }
        }
    }

    /// Moves on those that have flushed, and tells the kernel what has changed.
    fn rearm(&mut self) {
        let mut touched = std::mem::take(&mut self.touched);
        self.hub.take_touched(&mut touched);
        for id in touched.drain(..) {
            let Some(conn) = self.hub.conns.get_mut(id) else { continue };
            conn.dirty = false;
            if !conn.outbox.is_flushed() {
                // Output made while closing others: the next turn's.
                self.hub.touch(id);
                continue;
            }
            match conn.phase {
                Phase::Flushing if !conn.outbox.is_blocked() => {
                    self.end(id, Closed::Peer, Phase::Over(false));
                    continue;
                }
                Phase::Refused if !conn.outbox.is_blocked() => {
                    self.io.shutdown_write(conn.fd);
                    conn.phase = Phase::Draining;
                    self.wheel.set(id.index, self.now + DRAIN_TIME);
                }
                _ => {}
            }
            if conn.paused && conn.outbox.unsent_answers() <= self.hub.limits.out_low {
                conn.paused = false;
                // Nobody has watched its socket. If this is the end, it is asked now for what it holds.
                conn.readable |= self.stopping.is_some();
                self.enqueue(id);
            }
            let Some(conn) = self.hub.conns.get_mut(id) else { continue };
            let (from, to) = (conn.interest, conn.wanted());
            if from != to {
                conn.interest = to;
                if self.io.modify(conn.fd, token(id), from, to).is_err() {
                    self.end(id, Closed::NoMemory, Phase::Over(false));
                }
            }
        }
        self.touched = touched;
        if !self.over.is_empty() {
            self.reap();
        }
    }

    // --- stop ---

    fn begin_stop(&mut self) {
        let waits = self.hub.conns.len().div_ceil(EVENTS_PER_WAIT).max(1);
        let deadline = self.now + self.hub.limits.shutdown_grace;
        // One is counted at the end of this turn.
        self.stopping = Some(Stopping { deadline, sweeps: 1 + waits });
        for listener in self.listeners.drain(..) {
            let interest = if listener.rest.is_some() { Interest::NONE } else { Interest::READ };
            self.io.remove(listener.fd, interest);
            self.io.close(listener.fd);
        }
    }

    /// Once everybody who had something to say when the stop was asked for is known, what a connection says
    /// after all of that was served is too late.
    fn see_whether_late(&mut self, id: ConnId) {
        if matches!(self.stopping, Some(Stopping { sweeps: 0, .. }))
            && let Some(conn) = self.hub.conns.get_mut(id)
        {
            conn.late |= conn.is_caught_up();
        }
    }

    fn is_finished(&mut self) -> bool {
        let Some(Stopping { deadline, sweeps }) = &mut self.stopping else { return false };
        let is_last_sweep = *sweeps == 1;
        *sweeps = sweeps.saturating_sub(1);
        let (is_overdue, is_sweeping) = (self.now >= *deadline, *sweeps > 0);
        if is_last_sweep {
            let all: Vec<ConnId> = self.hub.conns.iter().map(|(id, _)| id).collect();
            all.into_iter().for_each(|id| self.see_whether_late(id));
        }
        let busy = is_sweeping
            || !self.runnable.is_empty()
            || self.hub.has_output()
            || self.hub.conns.iter().any(|(_, conn)| !conn.is_caught_up() || !conn.outbox.is_empty());
        if busy && !is_overdue {
            return false;
        }
        let left: Vec<ConnId> = self.hub.conns.iter().map(|(id, _)| id).collect();
        for id in left {
            self.end(id, Closed::Shutdown, Phase::Over(false));
        }
        self.reap();
        true
    }

    /// The size up to which rings grow: a text of `max_message_bytes` fits, and is complete or over by then.
    fn ring_ceiling(&self) -> usize {
        self.hub.limits.max_message_bytes.max(READ_CHUNK)
    }
}

/// Why a connection's dispatch came to an end.
enum Served {
    /// No complete text is there.
    Dry,
    /// A deferred call is out.
    Waiting,
    /// The turn's budget is used up; there is more to do.
    Budget,
    /// It ended, or is paused until its answers are read.
    Stopped,
}

fn token(id: ConnId) -> Token {
    Token(u64::from(id.generation) << 32 | u64::from(id.index))
}
