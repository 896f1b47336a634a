//! What a wait reports, and what is known when a turn is over: readiness in the poller's shape, spurious and cut; turns that
//! move nothing; a server that sleeps for good.

use rawline::transport::io::{Event, Interest, Token};

use super::State;
use crate::sim::client::Talk;
use crate::sim::faults::Fault;

/// No deadline but that of a heartbeat is longer, in microseconds.
const LONGEST_TIMEOUT: u64 = 100_000_000;
/// Turns in which nothing moves and no time passes, before that is called spinning.
const IDLE_TURNS: u32 = 400;
/// The wheel's, in microseconds.
const TICK: u64 = 10_000;

impl State {
    /// What the poller would report.
    pub(super) fn collect(&mut self, events: &mut Vec<Event>) {
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
            // Linux tells of room only when a third of it is free.
            let has_room = socket.outbox.len() <= socket.room.1 * 2 / 3;
            let writable = interest.write && (has_room || socket.rst);
            // A Unix socket whose peer has closed says so before its bytes are read.
            let is_gone = socket.deaf && self.faults.has(Fault::Unix);
            if is_gone && !socket.inbox.is_empty() {
                self.faults.happened(Fault::Unix);
            }
            let hangup = socket.rst || socket.fin && socket.server_fin || is_gone;
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

    /// The server learns of these.
    pub(super) fn report(&mut self, events: &[Event]) {
        let stale = events.iter().filter(|event| self.graves.contains(&event.token));
        self.seen.stale += stale.count() as u64;
        for &index in self.fds.iter().flatten() {
            let socket = &mut self.sockets[index];
            let Some((token, _)) = socket.watched else { continue };
            for event in events.iter().filter(|event| event.token == token) {
                socket.is_reported |= event.readable || event.hangup;
                socket.is_blocked &= !event.writable;
            }
        }
    }

    /// Whether nothing has happened for so long but signs of life that nothing will any more.
    pub(super) fn only_pulses(&self) -> bool {
        let beats = self.clients.iter().filter_map(|client| match &client.talk {
            Talk::Rpc(rpc) => Some(rpc.heartbeat * 1_000_000),
            _ => None,
        });
        let longest = LONGEST_TIMEOUT + 3 * beats.max().unwrap_or(0);
        let tasks = || self.tasks.lock().expect("nobody panics here").len();
        self.steward.files().pulse.is_some() && self.now > self.stirred.0 + longest && tasks() == 0
    }

    /// A turn is over: what it came to, and nothing of the next one.
    pub(super) fn look_back(&mut self) {
        if self.calls != self.stirred.1 {
            self.stirred = (self.now, self.calls);
        }
        let came_to = self.turn_came_to();
        self.seen.add(came_to);
        self.judge_cuts();
        self.has_ends = false;
        self.seen.meter_then = self.seen.meter;
        self.seen.call("wait");
        self.most_said = [0, self.most_said[0]];
        (self.said_this_turn, self.said_of_ends) = (0, 0);
        for socket in &mut self.sockets {
            socket.was_flushed = socket.read == socket.written;
            if socket.was_flushed {
                socket.whole = socket.read;
            }
            (socket.reads_this_turn, socket.read_calls_this_turn, socket.requests_this_turn) = (0, 0, 0);
            socket.heard_this_turn = 0;
        }
    }

    pub(super) fn watch_for_spinning(&mut self) {
        if self.moved || self.now > self.idle.1 + 100_000 {
            self.idle = (0, self.now);
        } else {
            self.idle.0 += 1;
        }
        let (wakes, last) = self.wakes;
        if self.moved || self.now > last + 3 * TICK {
            self.wakes = (0, self.now);
        } else if self.now > last + TICK / 2 {
            self.wakes = (wakes + 1, self.now);
        }
        self.moved = false;
        if self.idle.0 > IDLE_TURNS {
            self.breaks(
                "busy",
                format!("{IDLE_TURNS} turns within {} us moved nothing", self.now - self.idle.1),
            );
        }
        // Each of them may have a deadline that has moved since the wheel was told.
        let open = self.fds.iter().flatten().count();
        if self.wakes.0 > 60 + 2 * open as u32 {
            let wakes = self.wakes.0;
            self.breaks("busy", format!("the server was woken {wakes} times, tick by tick, for nothing"));
        }
    }

    pub(super) fn trace_of(&self, events: &[Event]) -> u64 {
        events.iter().fold(0, |hash, event| {
            let flags =
                u64::from(event.readable) + 2 * u64::from(event.writable) + 4 * u64::from(event.hangup);
            (hash ^ event.token.0 ^ flags << 60).wrapping_mul(0x0000_0100_0000_01b3)
        })
    }

    /// Nothing is in the calendar, nobody is ready and the server has no deadline. Faults may have hidden an event,
    /// so they must have let it be for a while.
    pub(super) fn asleep_for_good(&mut self) -> bool {
        let mut events = Vec::new();
        self.collect(&mut events);
        events.is_empty() && self.tasks.lock().expect("nobody panics here").is_empty()
    }
}
