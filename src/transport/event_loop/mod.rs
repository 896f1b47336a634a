//! The loop: one thread, one turn after another, each turn a list of steps.
//!
//! Owns the order of things: who is read, dispatched, flushed and closed when. Bytes are the framers' and the
//! outbox's, requests the dispatcher's, system calls those of [`Io`]. Generic over `Io`, so the whole server runs
//! on a simulated kernel, and over the service, so a library user runs his own. The steps are in this file;
//! `accept.rs`, `serve.rs` and `ends.rs` hold the longer ones.
//!
//! What holds at the end of every turn: every connection with output had one write; every descriptor that
//! was to be closed is closed, and nowhere else is one closed; the kernel watches each connection for exactly
//! what its state wants.

mod accept;
mod ends;
mod files;
mod operator;
mod serve;

use std::collections::VecDeque;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::Duration;

use crate::api::{Closed, ConnId, Directory, RouteError, Service, Stats, Wire};
use crate::limits::{EVENTS_PER_WAIT, Limits};
use crate::transport::addresses::Addresses;
use crate::transport::codec::jsonrpc::framer::Input;
use crate::transport::connection::Phase;
use crate::transport::dispatch::Dispatcher;
use crate::transport::files::Files;
use crate::transport::files::store::Store;
use crate::transport::hub::{Asked, Hub};
use crate::transport::io::{Event, Interest, Io, IoFault, Millis, Token};
use crate::transport::mailbox::{Handle, Letter, Mailbox};
use crate::transport::metered::Metered;
use crate::transport::timer::Wheel;
use crate::transport::workers::Helpers;

use accept::Listener;
use ends::Stopping;
use operator::Attended;

/// Tokens from here on name listeners; below are slab indices, with the generation in the upper half.
const LISTENERS: u32 = u32::MAX - 64;

/// The server's loop on a kernel `I`, serving `S`.
pub struct EventLoop<I: Io, S: Service> {
    io: Metered<I>,
    hub: Hub,
    dispatcher: Dispatcher<S>,
    mailbox: Arc<Mailbox>,
    listeners: Vec<Listener>,
    addresses: Addresses,
    wheel: Wheel,
    /// Connections with something to read or dispatch, first come first served.
    runnable: VecDeque<ConnId>,
    /// The file service, where there is one.
    files: Option<Files>,
    /// File connections with something to send, first come first served.
    senders: VecDeque<ConnId>,
    /// So many of the first of them have their turn before anybody has a second.
    round: usize,
    /// Ended in this turn: closed in `reap`.
    over: Vec<ConnId>,
    stopping: Option<Stopping>,
    operator: Option<Attended>,
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
        io: I,
        service: S,
        limits: Limits,
        mailbox: Arc<Mailbox>,
    ) -> Result<Self, RouteError> {
        let mut io = Metered::new(io);
        let now = io.now();
        let mail: Arc<Mailbox> = Arc::clone(&mailbox);
        Ok(Self {
            io,
            hub: Hub::new(limits, now),
            dispatcher: Dispatcher::new(service, mail)?,
            mailbox,
            listeners: Vec::new(),
            addresses: Addresses::default(),
            wheel: Wheel::new(now),
            runnable: VecDeque::new(),
            files: None,
            senders: VecDeque::new(),
            round: 0,
            over: Vec::new(),
            stopping: None,
            operator: None,
            inputs: Vec::new(),
            scratch: Vec::new(),
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
    pub fn listen(&mut self, wire: Wire, fd: RawFd) -> Result<(), IoFault> {
        let index = LISTENERS + self.listeners.len() as u32;
        self.io.add(fd, Token(index.into()), Interest::READ)?;
        self.listeners.push(Listener::new(wire, fd));
        Ok(())
    }

    /// Shares a directory with the clients of [`Wire::Files`]. What may wait for its disk is done by `helpers`.
    pub fn share(&mut self, store: Arc<Store>, helpers: Helpers) {
        let mailbox = Arc::clone(&self.mailbox);
        self.files = Some(Files::new(store, helpers, move |id, done| mailbox.done(id, done)));
    }

    /// Asks this loop for things, from any thread.
    pub fn handle(&self) -> Handle {
        Handle::new(Arc::clone(&self.mailbox))
    }

    /// What it has counted, as of the end of the last turn.
    pub fn stats(&self) -> Stats {
        let mut stats = self.hub.stats();
        self.dispatcher.service().count(&mut stats);
        stats
    }

    /// The kernel it runs on.
    pub fn io(&mut self) -> &mut I {
        &mut self.io.io
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
        self.send_files();
        self.reap();
        self.rearm();
        !self.is_finished()
    }

    /// Sleeps until there is something to do, unless there already is.
    fn wait(&mut self) {
        let timeout = self.timeout();
        // The second reading of the clock in a turn: without it a turn could not be told from the sleep behind it.
        self.hub.counters.turn_time.add(self.io.since_now().as_micros() as u64);
        self.hub.counters.metering = self.io.metering;
        self.hub.counters.pooled_bytes = (self.inputs.len() * self.hub.limits.read_chunk) as u64;
        self.hub.counters.list_bytes = self.files.as_ref().map_or(0, |files| files.listed as u64);
        let mut events = std::mem::take(&mut self.events);
        self.io.wait(&mut events, timeout);
        self.events = events;
        self.hub.now = self.io.now();
    }

    fn timeout(&self) -> Option<Duration> {
        // Frames in our rings are invisible to the kernel, and so is output made while closing.
        if !self.runnable.is_empty()
            || !self.senders.is_empty()
            || self.hub.has_output()
            || self.mailbox.has_letters()
        {
            return Some(Duration::ZERO);
        }
        let until = |deadline: Millis| Duration::from_millis(deadline.0.saturating_sub(self.hub.now.0));
        let stopping = self.stopping.as_ref().map(|stopping| until(stopping.wake_at(self.hub.now)));
        let rests = self.listeners.iter().filter_map(Listener::rests_until).map(until).min();
        let life = self.operator.as_ref().and_then(Attended::wake_at).map(until);
        [stopping, rests, life, self.wheel.timeout(self.hub.now)].into_iter().flatten().min()
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
        let Some(conn) = self.hub.conns.get_mut(id) else {
            self.hub.counters.stale_events += 1;
            return;
        };
        if event.hangup && conn.interest == Interest::NONE && !conn.gone {
            // It cannot be masked, and there is nothing we want of this socket that would clear it.
            if conn.phase != Phase::Open || conn.is_caught_up() {
                return self.end(id, Closed::Reset, Phase::Over(false));
            }
            // What it has said still has its turn: a Unix socket tells of the end before its bytes are read. It would be
            // told again in every turn until then, so it is watched no more.
            (conn.gone, conn.readable) = (true, !conn.eof);
            return self.io.forget(conn.fd, Interest::NONE);
        }
        conn.writable |= event.writable;
        conn.readable |= event.readable || event.hangup;
        let readable = conn.readable;
        if event.writable {
            let session = conn.session_mut();
            let sends_a_file = session.is_some_and(|session| {
                session.blocked = false;
                session.has_output()
            });
            self.hub.touch(id);
            if sends_a_file {
                self.queue_sender(id);
            }
        }
        if readable {
            self.enqueue(id);
        }
    }

    /// Puts the connection in line to be served.
    fn enqueue(&mut self, id: ConnId) {
        if let Some(conn) = self.hub.conns.get_mut(id)
            && !std::mem::replace(&mut conn.queued, true)
        {
            match &conn.job {
                // A batch that is under way goes on before another begins: one text, one set of answers is in memory.
                Some(job) if !job.is_waiting() => self.runnable.push_front(id),
                _ => self.runnable.push_back(id),
            }
        }
    }

    fn read_mail(&mut self) {
        self.obey_signals();
        if self.mailbox.has_letters() {
            for letter in self.mailbox.take() {
                match letter {
                    Letter::Answer(ticket, answer) => {
                        if let Some(id) = self.dispatcher.complete(&mut self.hub, ticket, &answer) {
                            if let Some(conn) = self.hub.conns.get_mut(id) {
                                // While it waited for us, nobody waited for it.
                                conn.heard = self.hub.now;
                            }
                            self.enqueue(id);
                        }
                    }
                    Letter::File(id, done) => self.file_done(id, done),
                    Letter::Effects(fx) => self.hub.apply(&fx),
                    Letter::Stop => self.hub.asked.push(Asked::Stop),
                }
            }
        }
        self.grant();
    }

    /// Serves those who wait to be served, until all have had their turn or the turn's output is full.
    fn run_connections(&mut self) {
        let share = self.hub.share(self.runnable.len());
        for _ in 0..self.runnable.len() {
            if self.hub.is_full() {
                return;
            }
            let Some(id) = self.runnable.pop_front() else { return };
            let Some(conn) = self.hub.conns.get_mut(id) else { continue };
            conn.queued = false;
            match conn.phase {
                Phase::Open => self.serve(id, share),
                Phase::Draining => self.drain(id),
                Phase::Flushing | Phase::Refused | Phase::Over(_) => {}
            }
            self.hub.touch(id);
        }
    }

    fn expire_timers(&mut self) {
        let mut fired = std::mem::take(&mut self.fired);
        self.wheel.expire(self.hub.now, &mut fired);
        for index in fired.drain(..) {
            if let Some((id, _)) = self.hub.conns.at(index) {
                self.deadline(id);
            }
        }
        self.fired = fired;
        self.wake_listeners();
        self.show_life();
    }

    fn flush(&mut self) {
        let mut lost = std::mem::take(&mut self.lost);
        self.hub.flush(&mut self.io, &mut lost);
        for (id, why) in lost.drain(..) {
            // A cut: after part of a frame nothing but its rest may be sent, so nothing is sent at all.
            let is_slow = matches!(why, Closed::SlowConsumer | Closed::OutSoft | Closed::TotalOut);
            self.end(id, why, Phase::Over(is_slow));
        }
        self.lost = lost;
    }

    /// The one place where descriptors are closed: no number is given out anew while the batch of
    /// events that may name it is being worked on.
    fn reap(&mut self) {
        while let Some(id) = self.over.pop() {
            let Some(conn) = self.hub.conns.remove(id) else { continue };
            self.hub.counters.open[conn.codec.wire() as usize] -= 1;
            self.wheel.cancel(id.index);
            self.addresses.leave(conn.peer);
            if !conn.gone {
                self.io.remove(conn.fd, conn.interest);
            }
            if let (Some(files), Some(session)) = (&mut self.files, conn.session()) {
                files.listed -= session.listed;
            }
            match conn.phase {
                Phase::Over(true) => self.io.abort(conn.fd),
                _ => self.io.close(conn.fd),
            }
        }
    }

    /// Moves on those that have flushed, and tells the kernel and the wheel what has changed.
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
            if conn.paused && conn.outbox.unsent_answers() <= self.hub.limits.out_low {
                conn.paused = false;
                self.hub.counters.out_low += 1;
                // Nobody has watched its socket. If this is the end, it is asked now for what it holds.
                conn.readable |= self.stopping.is_some();
                self.enqueue(id);
            }
            self.move_on(id);
            let Some(conn) = self.hub.conns.get_mut(id) else { continue };
            let (from, to) = (conn.interest, conn.wanted());
            if from != to && !matches!(conn.phase, Phase::Over(_)) {
                conn.interest = to;
                if self.io.modify(conn.fd, token(id), from, to).is_err() {
                    self.end(id, Closed::NoMemory, Phase::Over(false));
                }
            }
            self.watch_time(id);
        }
        self.touched = touched;
        self.reap();
    }
}

fn token(id: ConnId) -> Token {
    Token(u64::from(id.generation) << 32 | u64::from(id.index))
}
