//! How one connection is served in its turn: read, frame, dispatch, within budgets.
//!
//! Owns no state of its own. A connection is served until its ring holds no complete request and its socket is
//! empty, or a budget is used up, or it must wait: for its peer to read answers, or for a late answer.

use std::io::IoSliceMut;

use super::EventLoop;
use crate::api::{Closed, ConnId, Fault, Line, Peer, Service};
use crate::limits::{POOLED_INPUTS, SMALL_RING};
use crate::transport::codec::jsonrpc::framer::{Input, Step};
use crate::transport::codec::line::LineStep;
use crate::transport::connection::{Codec, Phase};
use crate::transport::dispatch::Outcome;
use crate::transport::files::session::Session;
use crate::transport::io::{Io, IoFault};

/// Why a connection's dispatch came to an end.
enum Served {
    /// No complete request is there.
    Dry,
    /// A deferred call is out.
    Waiting,
    /// The turn's budget is used up; there is more to do.
    Budget,
    /// It ended, or is paused until its answers are read.
    Stopped,
}

impl<I: Io, S: Service> EventLoop<I, S> {
    /// Reads and dispatches one connection, within its budgets: it may say `share` bytes to the room, and finish what it
    /// has begun.
    pub(super) fn serve(&mut self, id: ConnId, share: usize) {
        let Some(conn) = self.hub.conns.get_mut(id) else { return };
        let read_chunk = self.hub.limits.read_chunk;
        let mut input = conn
            .input
            .take()
            .unwrap_or_else(|| self.inputs.pop().unwrap_or_else(|| Box::new(Input::new(read_chunk))));
        let mut requests = self.hub.limits.max_requests_per_turn;
        let mut bytes = self.hub.limits.max_read_per_turn;
        let budget = requests;
        let most_said = self.hub.fanout() + share;
        if input.ring.capacity() < read_chunk {
            input.ring.resize(read_chunk);
        }
        let is_waited_for = loop {
            match self.dispatch(id, &mut input, &mut requests, most_said) {
                Served::Dry if self.read(id, &mut input, &mut bytes) => {}
                Served::Dry => break true,
                // A deferred call is out: bytes may still arrive, up to the ring's size.
                Served::Waiting => {
                    while self.read(id, &mut input, &mut bytes) {}
                    break false;
                }
                Served::Budget => {
                    self.enqueue(id);
                    break false;
                }
                Served::Stopped => break false,
            }
        };
        // How long the peer may take for the rest of what it has begun; our own delays do not count.
        input.since = match input.since {
            _ if !is_waited_for => None,
            Some(since) if requests == budget => Some(since),
            _ => Some(self.hub.now.0),
        };
        if let Some(conn) = self.hub.conns.get_mut(id)
            && conn.phase == Phase::Open
            && !input.is_idle()
        {
            if is_waited_for && input.ring.len() < SMALL_RING {
                // Whoever drips has the memory of what he sent, not of what he could send.
                input.ring.resize(SMALL_RING);
            }
            conn.input = Some(input);
        } else if self.inputs.len() < POOLED_INPUTS && input.ring.capacity() == read_chunk {
            input.clear();
            self.inputs.push(input);
        }
        self.see_whether_late(id);
    }

    /// Dispatches what the ring holds.
    fn dispatch(&mut self, id: ConnId, input: &mut Input, requests: &mut usize, most_said: usize) -> Served {
        loop {
            let full = self.hub.is_full() || self.hub.fanout() >= most_said;
            let Some(conn) = self.hub.conns.get_mut(id) else { return Served::Stopped };
            if conn.phase != Phase::Open {
                return Served::Stopped;
            }
            if conn.is_waiting() {
                return Served::Waiting;
            }
            // Whatever has woken it: it goes on when its answers are at `out_low`.
            if conn.paused {
                return Served::Stopped;
            }
            if conn.outbox.unsent_answers() > self.hub.limits.out_high {
                conn.paused = true;
                self.hub.counters.out_high += 1;
                return Served::Stopped;
            }
            if *requests == 0 || full {
                self.hub.counters.max_requests_per_turn += u64::from(*requests == 0);
                return Served::Budget;
            }
            let late = conn.late;
            let done = match conn.codec {
                _ if conn.job.is_some() => {
                    let outcome = self.dispatcher.resume(&mut self.hub, id, late);
                    self.settle(id, outcome);
                    true
                }
                Codec::JsonRpc { .. } => self.json(id, input),
                Codec::Line { .. } => self.line(id, input),
                Codec::Echo => self.echo(id, input),
                Codec::Files(_) => self.file_command(id, input),
            };
            self.grant();
            if !done {
                return self.dry(id, input);
            }
            *requests -= 1;
        }
    }

    /// The next thing in a JSON connection's ring; `false` when there is none.
    fn json(&mut self, id: ConnId, input: &mut Input) -> bool {
        let Some(conn) = self.hub.conns.get_mut(id) else { return false };
        let Codec::JsonRpc { framer, .. } = &mut conn.codec else { return false };
        let late = conn.late;
        let step = framer.next(input, &self.hub.limits);
        let framing = framer.framing();
        if conn.outbox.encoding().framing != framing {
            self.hub.set_framing(id, framing);
        }
        match step {
            Step::Dry => return false,
            Step::Lf => self.hub.raw(id, b"\n"),
            Step::Broken(fault) => self.hub.complain(id, &fault),
            Step::Refused(fault, why) => {
                self.hub.complain(id, &fault);
                self.refuse(id, why);
            }
            Step::Text(length) => {
                let bytes = input.ring.front(length, &mut self.scratch);
                let text = std::str::from_utf8(bytes).expect("the scanner accepts UTF-8 only");
                self.hub.counters.frames_in += 1;
                let outcome = self.dispatcher.text(&mut self.hub, id, text, late);
                input.ring.consume(length);
                self.settle(id, outcome);
            }
        }
        true
    }

    /// The next line of a line user; `false` when there is none.
    fn line(&mut self, id: ConnId, input: &mut Input) -> bool {
        let max = self.hub.limits.max_line_bytes;
        let Some(conn) = self.hub.conns.get_mut(id) else { return false };
        let (peer, eof, late) = (conn.peer, conn.eof, conn.late);
        let Codec::Line { framer, .. } = &mut conn.codec else { return false };
        let step = match framer.next(input, max) {
            LineStep::Dry if eof => framer.finish(input),
            step => step,
        };
        match step {
            LineStep::Dry => return false,
            _ if late => self.hub.raw(id, b"The server is shutting down\n"),
            _ if !self.hub.may_ask(id) => self.hub.raw(id, b"Too fast: this line was not read\n"),
            LineStep::TooLong => {
                self.hub.counters.max_line_bytes += 1;
                self.tell_line(id, peer, Line::TooLong(max));
            }
            LineStep::Line => self.tell_line(id, peer, Line::Text(&String::from_utf8_lossy(&input.line))),
        }
        input.line.clear();
        true
    }

    fn tell_line(&mut self, id: ConnId, peer: Peer, line: Line<'_>) {
        self.hub.counters.frames_in += 1;
        let outcome = self.dispatcher.line(&mut self.hub, id, peer, line);
        self.settle(id, outcome);
    }

    /// Sends back what an echo's ring holds; `false` when it holds nothing.
    fn echo(&mut self, id: ConnId, input: &mut Input) -> bool {
        let bytes = input.ring.run(0);
        if bytes.is_empty() {
            return false;
        }
        self.hub.raw(id, bytes);
        let length = bytes.len();
        input.ring.consume(length);
        true
    }

    /// The ring holds nothing complete.
    fn dry(&mut self, id: ConnId, input: &mut Input) -> Served {
        let Some(conn) = self.hub.conns.get_mut(id) else { return Served::Stopped };
        if conn.eof {
            if let Codec::JsonRpc { framer, .. } = &conn.codec
                && framer.is_inside()
            {
                let at = input.ring.len();
                self.hub.complain(id, &Fault::parse_error(format!("the text ends unfinished at byte {at}")));
            }
            self.end(id, Closed::Peer, Phase::Flushing);
            return Served::Stopped;
        }
        // A text of `max_message_bytes` fits, and is complete or too long by then.
        let ceiling = self.hub.limits.max_message_bytes.max(self.hub.limits.read_chunk);
        let capacity = input.ring.capacity();
        if input.ring.len() == capacity && capacity < ceiling {
            input.ring.resize((capacity * 2).min(ceiling));
        }
        Served::Dry
    }

    pub(super) fn settle(&mut self, id: ConnId, outcome: Outcome) {
        if outcome == Outcome::Panicked {
            // Its input may not all be read: to close now could destroy the answer.
            self.refuse(id, Closed::Panicked);
        }
    }

    /// Reads once into the ring; whether there is anything new to look at.
    fn read(&mut self, id: ConnId, input: &mut Input, bytes: &mut usize) -> bool {
        let Some(conn) = self.hub.conns.get_mut(id) else { return false };
        if !conn.readable || conn.eof || conn.phase != Phase::Open {
            return false;
        }
        if *bytes == 0 {
            self.hub.counters.max_read_per_turn += 1;
            self.enqueue(id);
            return false;
        }
        let was_empty = input.ring.is_empty();
        // The bytes of an upload go straight to where a helper will find them.
        let fd = conn.fd;
        let body = conn.session_mut().filter(|_| was_empty).and_then(Session::room);
        let is_body = body.is_some();
        let mut free = match body {
            Some(room) => [IoSliceMut::new(room), IoSliceMut::new(&mut [])],
            None => input.ring.free((*bytes).min(self.hub.limits.read_chunk)),
        };
        let room = free[0].len() + free[1].len();
        if room == 0 {
            return false;
        }
        match self.io.read(fd, &mut free) {
            Ok(0) => {
                (conn.eof, conn.readable) = (true, false);
                true
            }
            Ok(n) => {
                match conn.session_mut() {
                    Some(session) if is_body => session.arrived(n),
                    _ => {
                        input.ring.commit(n);
                        self.hub.counters.read_chunk += u64::from(n == self.hub.limits.read_chunk);
                    }
                }
                *bytes = bytes.saturating_sub(n);
                if let Codec::JsonRpc { framer, .. } = &mut conn.codec
                    && was_empty
                    && conn.drained
                {
                    framer.fresh_read(input.ring.run(0)[0]);
                }
                conn.heard = self.hub.now;
                // A short read has emptied the socket: to ask once more would cost a call to learn that. At a stop it is
                // asked: a connection behind whose bytes FIN waits is not yet caught up. So is one that nobody watches.
                conn.drained = n < room;
                conn.readable = !conn.drained || self.stopping.is_some() || conn.gone;
                true
            }
            Err(IoFault::WouldBlock) => {
                (conn.drained, conn.readable) = (true, false);
                false
            }
            Err(fault) => {
                self.end(id, fault.into(), Phase::Over(false));
                false
            }
        }
    }
}
