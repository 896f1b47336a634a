//! What happens when: clients act, helpers work, late answers and signals come, the network cuts.
//!
//! Time is a calendar and nothing else. Two things that are due at once happen in the order in which they were entered.

use std::cmp::Reverse;
use std::sync::atomic::Ordering;

use rawline::transport::io::Signal;
use rawline::transport::workers::{Lane, Task};
use rawline::{Limits, Wire};

use super::{Socket, State, WIRES};
use crate::sim::client::rpc::Abuse;
use crate::sim::client::{Client, Ending, Scene, Stage, Talk};
use crate::sim::faults::Fault;
use crate::sim::mail::{Letter, Promise};

/// What is in the calendar.
pub(super) enum Happening {
    /// A client acts.
    Client(usize),
    /// A helper does its job.
    Task(Task),
    /// The waker is heard.
    Wake,
    /// A deferred call is answered.
    Late(Promise),
    /// Somebody outside writes to the server.
    Post,
    /// SIGTERM.
    Stop,
    /// SIGHUP, and what the operator's file says then.
    HangUp(Option<Box<Limits>>),
    /// The network gives a connection up.
    Cut(usize),
}

/// What stands in the calendar: when, in which order, what.
pub(super) struct Entry(pub(super) u64, u64, Happening);

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

impl State {
    /// A new client, who connects at this time.
    pub fn add(&mut self, client: Client, at: u64) {
        self.clients.push(client);
        let least = match self.clients.last().map(|client| client.wire) {
            // Much goes over these.
            Some(Wire::Echo | Wire::Files) => 2_000,
            _ => 1,
        };
        let room = (self.buffer.0.max(least), self.buffer.1.max(least));
        if let Some(client) = self.clients.last_mut() {
            let is_quick = client.gulp >= 65_536 && room.1 >= 4096;
            if let Some(rpc) = client.rpc() {
                rpc.is_greedy = is_quick;
            }
        }
        if room.0.min(room.1) < 200
            && let Some(client) = self.clients.last_mut()
            && !client.lingers
        {
            // Much in small pieces takes its time anyway. Of some one wants to see how they take an error.
            client.pace = (client.pace.0.min(300), client.pace.1.min(300));
        }
        self.sockets.push(Socket { room, ..Socket::default() });
        self.hears.push(false);
        self.ids.push(None);
        let index = self.clients.len() - 1;
        self.clients[index].scheduled = true;
        self.enter(at, Happening::Client(index));
    }

    /// A call was deferred: it is answered at once, or after a while.
    pub fn promise(&mut self, promise: Promise) {
        // Some take longer than a client may be silent.
        let long = (2 * self.limits.idle_timeout.as_micros() as u64).max(200_000);
        match *self.rng.pick(&[None, Some(0), Some(100), Some(3_000), Some(200_000), Some(long)]) {
            None => self.keep(promise),
            Some(delay) => self.enter(self.now + delay, Happening::Late(promise)),
        }
    }

    /// Somebody outside writes at this time.
    pub fn post_at(&mut self, at: u64) {
        self.enter(at, Happening::Post);
    }

    /// SIGTERM comes at this time.
    pub fn stop_at(&mut self, at: u64) {
        self.enter(at, Happening::Stop);
        self.asleep = false;
    }

    /// SIGHUP comes at this time, and the operator's file says this.
    pub fn reload_at(&mut self, at: u64, limits: Option<Limits>) {
        self.enter(at, Happening::HangUp(limits.map(Box::new)));
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
        self.jobs += usize::from(matches!(happening, Happening::Task(_) | Happening::Wake));
        self.calendar.push(Reverse(Entry(at, self.entries, happening)));
    }

    /// Does what is due.
    pub(super) fn run_calendar(&mut self) {
        self.disk.tell(self.now);
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
            self.stirred.0 = self.now;
            self.jobs -= usize::from(matches!(happening, Happening::Task(_) | Happening::Wake));
            match happening {
                Happening::Client(index) => {
                    self.clients[index].scheduled = false;
                    self.act(index);
                }
                Happening::Task(task) => {
                    self.progress();
                    let before = self.disk.published();
                    task();
                    let stored = self.disk.published() - before;
                    self.mail.extend((0..stored).map(|_| Letter::Stored));
                }
                Happening::Wake => self.woken = true,
                Happening::Late(promise) => {
                    self.keep(promise);
                    self.judge_bell();
                }
                Happening::Post => {
                    self.post();
                    self.judge_bell();
                }
                Happening::Stop => {
                    // Some have said something just before.
                    for index in 0..self.clients.len() {
                        let is_there = self.sockets[index].is_open() && !self.ceasing;
                        if is_there && self.rng.one_in(2) {
                            self.act(index);
                        }
                    }
                    self.signals.push_back(Signal::Terminate);
                    if self.stopping.is_some() {
                        // Somebody is impatient.
                        continue;
                    }
                    self.stopping = Some(self.now);
                    if self.rng.one_in(4) {
                        let again = self.rng.range(0, 6_000_000);
                        self.enter(self.now + again, Happening::Stop);
                    }
                    for (client, socket) in self.clients.iter_mut().zip(&self.sockets) {
                        let fin = u64::from(socket.fin && client.wire != Wire::Echo);
                        client.owed = if socket.is_open() && !socket.rst { client.sent + fin } else { 0 };
                    }
                    if !self.ceasing {
                        self.faults.happened(Fault::Stop);
                    }
                }
                Happening::HangUp(limits) => {
                    self.signals.push_back(Signal::HangUp);
                    self.steward.files().next.push_back(limits.map(|limits| *limits));
                }
                Happening::Cut(index) => {
                    let is_silent = self.faults.strike(&mut self.rng, Fault::Unreachable);
                    self.sockets[index].unreachable = is_silent && !self.sockets[index].rst;
                    self.faults.counts[Fault::Reset as usize] += u64::from(!is_silent);
                    self.reset(index);
                }
            }
            if self.bell.swap(false, Ordering::SeqCst) {
                self.rung = true;
                if self.faults.strike(&mut self.rng, Fault::SlowMail) {
                    let at = self.now + self.rng.range(1, 50_000);
                    self.enter(at, Happening::Wake);
                } else {
                    self.woken = true;
                }
            }
        }
    }

    /// A letter has come.
    fn judge_bell(&mut self) {
        if !self.rung && !self.bell.load(Ordering::SeqCst) {
            self.breaks("progress", "a letter comes, and nobody wakes the server");
        }
    }

    /// RST, from the client or from the network.
    pub(super) fn reset(&mut self, index: usize) {
        let socket = &mut self.sockets[index];
        if !socket.is_closed && !socket.rst {
            socket.rst = true;
            socket.inbox.clear();
            socket.outbox.clear();
        }
        self.clients[index].stage = Stage::Gone;
    }

    /// One client does what it has to do.
    pub(super) fn act(&mut self, index: usize) {
        let State { clients, sockets, rng, limits, shelf, stopping, .. } = self;
        let (client, socket) = (&mut clients[index], &mut sockets[index]);
        let (stopping, turned_away) = (stopping.is_some(), socket.turned_away);
        let is_too_late = client.is_too_late;
        let mut scene = Scene { rng, limits, shelf, stopping, is_too_late, turned_away };
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
                if self.rng.chance(self.faults.rate(Fault::Reset)) {
                    let soon = *self.rng.pick(&[1_000, 30_000, 500_000]);
                    let at = self.now + self.rng.range(0, soon);
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
            let (front, back) = socket.outbox.as_slices();
            let first = n.min(front.len());
            let bytes = [&front[..first], &back[..n - first]].concat();
            socket.outbox.drain(..n);
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
                // A line user may say one more behind his last.
                self.seen.said += 1 + u64::from(client.wire == Wire::Line);
                // What ends with the connection is whole when FIN is there, which counts as a byte.
                let ends_with_fin = match &client.talk {
                    Talk::Rpc(rpc) => rpc.todo == 0 && rpc.abuse == Abuse::Half,
                    Talk::Line(line) => line.todo == 0 && line.ends_without_lf,
                    Talk::Echo(_) | Talk::Files(_) => false,
                };
                client.ends_at(end.saturating_add(ends_with_fin.into()));
            }
            let room = socket.room.0.saturating_sub(socket.inbox.len());
            let n = client.out.len().min(client.chunk).min(room);
            if n > 0 {
                let mut n = scene.rng.size(1, n);
                if let Ending::ResetAfter(limit) = client.ending {
                    n = n.min((limit.saturating_sub(client.sent)) as usize);
                }
                let (front, back) = client.out.as_slices();
                let first = n.min(front.len());
                socket.inbox.extend(&front[..first]);
                socket.inbox.extend(&back[..n - first]);
                client.out.drain(..n);
                socket.unread.get_or_insert(self.now);
                self.acts += 1;
                if self.stop_behind == Some(self.acts) {
                    self.calendar.push(Reverse(Entry(self.now, self.entries, Happening::Stop)));
                }
                client.sent += n as u64;
                again |= n > 0 && (!client.out.is_empty() || !client.has_said_all());
            }
        }
        // It goes.
        let said_all = client.has_said_all() || self.ceasing || client.eof;
        match client.ending {
            Ending::Stay if client.eof && !client.lingers => client.ending = Ending::Close,
            Ending::HalfClose if said_all && client.stage == Stage::Open => {
                client.stage = Stage::Finished;
                socket.fin = true;
            }
            // Over a Unix socket nothing is lost by going at once, but what it would have been told.
            Ending::Close
                if client.eof
                    || said_all
                        && (self.ceasing || self.faults.has(Fault::Unix) || client.awaits().is_none()) =>
            {
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
        if client.eof && client.stage == Stage::Open && !client.lingers {
            again = true;
        }
        if again {
            self.rouse(index);
        }
    }
}
