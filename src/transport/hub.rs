//! Who is connected, and what each of them is still to be sent.
//!
//! Owns the slab of connections, the list of subscribers and the turn's output. Applies the effects that
//! services ask for and flushes what they came to: at most one write per connection and turn. Never reads a
//! socket, never calls a service. The dispatcher fills it, the event loop drains it.

use crate::api::{Closed, ConnId, Directory, Effect, Effects, Fault, Peer, Push, Stats};
use crate::limits::{ANSWERS_PER_TURN, Limits};
use crate::transport::backlog::Kind;
use crate::transport::codec::jsonrpc::render::{self, Encoding, Framing};
use crate::transport::codec::jsonrpc::request::Dialect;
use crate::transport::codec::line;
use crate::transport::connection::{Codec, Connection, Phase};
use crate::transport::counters::Counters;
use crate::transport::io::{Io, Millis};
use crate::transport::outbox::Turn;
use crate::transport::slab::Slab;

/// A wish that output does not grant: the loop does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Stop the server.
    Stop,
    /// End this connection when everything has left.
    Close(ConnId),
    /// Ping this connection every so many seconds; 0: no more.
    Heartbeat(ConnId, u32),
}

/// Connections and their output.
pub struct Hub {
    /// All connections.
    pub conns: Slab<Connection>,
    /// The maximums in force.
    pub limits: Limits,
    /// The time of this turn.
    pub now: Millis,
    /// What services asked of the loop itself, oldest first.
    pub asked: Vec<Asked>,
    /// What has happened so far.
    pub counters: Counters,
    turn: Turn,
    /// The last turn has said as much to the room as one turn may.
    was_full: bool,
    /// Slab indices of the subscribed, for a fan-out in memory order.
    members: Vec<u32>,
    /// Connections touched in this turn: to be flushed, and their interest told to the kernel.
    dirty: Vec<ConnId>,
}

impl Hub {
    /// Nobody is connected.
    pub fn new(limits: Limits, now: Millis) -> Self {
        Self {
            conns: Slab::default(),
            limits,
            now,
            asked: Vec::new(),
            counters: Counters::default(),
            turn: Turn::default(),
            was_full: false,
            members: Vec::new(),
            dirty: Vec::new(),
        }
    }

    /// Whether this turn has made all the output that one turn may make: dispatch waits for the next.
    pub fn is_full(&self) -> bool {
        self.turn.fanout() >= self.limits.max_fanout_per_turn || self.turn.own_bytes() >= ANSWERS_PER_TURN
    }

    /// Bytes of broadcasts in this turn, for each who hears them.
    pub fn fanout(&self) -> usize {
        self.turn.fanout()
    }

    /// What one of so many who wait to be served may say to the room in its turn: as much as all of them together, but
    /// behind a full turn an equal part. Who has little to ask then waits for a turn and not for all that others have to
    /// say.
    pub fn share(&self, waiting: usize) -> usize {
        let most = self.limits.max_fanout_per_turn;
        if self.was_full { most / waiting.max(1) } else { most }
    }

    /// Whether there is output that no flush has seen yet.
    pub fn has_output(&self) -> bool {
        self.turn.fanout() > 0 || self.turn.own_bytes() > 0
    }

    /// Puts the connection on the list of those to be flushed and told to the kernel.
    pub fn touch(&mut self, id: ConnId) {
        if let Some(conn) = self.conns.get_mut(id)
            && !std::mem::replace(&mut conn.dirty, true)
        {
            self.dirty.push(id);
        }
    }

    /// The connections touched since the last call, for the loop to tell the kernel about.
    pub fn take_touched(&mut self, into: &mut Vec<ConnId>) {
        into.clear();
        std::mem::swap(&mut self.dirty, into);
    }

    /// Appends an answer in the dialect of its request and the framing of its connection.
    pub fn answer(
        &mut self,
        id: ConnId,
        dialect: Dialect,
        request: Option<&str>,
        result: Result<&str, &Fault>,
    ) {
        if let Err(fault) = result {
            self.counters.fault(fault);
        }
        self.own(id, Kind::Answer, |out, Encoding { framing, .. }| {
            render::answer(out, Encoding { dialect, framing }, request, result);
        });
    }

    /// Appends the whole answer of a batch, rendered but not framed; the pushes that waited follow it.
    pub fn answer_batch(&mut self, id: ConnId, answers: &[u8]) {
        if !answers.is_empty() {
            self.own(id, Kind::Answer, |out, Encoding { framing, .. }| {
                let start = out.len();
                out.extend_from_slice(answers);
                render::frame(out, start, framing);
            });
        }
        if let Some(conn) = self.conns.get_mut(id) {
            self.turn.release(&mut conn.outbox);
        }
    }

    /// Appends an error that belongs to no request, in the dialect of the connection's latest one.
    pub fn complain(&mut self, id: ConnId, fault: &Fault) {
        if let Some(conn) = self.conns.get(id) {
            let dialect = conn.outbox.encoding().dialect;
            self.answer(id, dialect, None, Err(fault));
        }
    }

    /// Pushes wait from here on, until the batch that has begun is answered.
    pub fn hold(&mut self, id: ConnId) {
        if let Some(conn) = self.conns.get_mut(id) {
            self.turn.hold(&mut conn.outbox);
        }
    }

    /// The connection has shown which dialect it speaks: its pushes follow.
    pub fn set_dialect(&mut self, id: ConnId, dialect: Dialect) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        let encoding = conn.outbox.encoding();
        if encoding.dialect != dialect {
            self.turn.set_encoding(&mut conn.outbox, Encoding { dialect, ..encoding });
        }
    }

    /// The connection has shown how it ends its requests: what it is sent follows.
    pub fn set_framing(&mut self, id: ConnId, framing: Framing) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        let encoding = conn.outbox.encoding();
        if encoding.framing != framing {
            self.turn.set_encoding(&mut conn.outbox, Encoding { framing, ..encoding });
        }
    }

    /// Does what a service asked for, in order.
    pub fn apply(&mut self, fx: &Effects) {
        for effect in fx.list() {
            match effect {
                Effect::Send { to, push } => {
                    self.own(*to, Kind::Push, |out, encoding| push_in(out, encoding, fx, push));
                }
                Effect::Broadcast { except, push } => {
                    let except = except.and_then(|id| self.conns.get_mut(id)).map(|conn| &mut conn.outbox);
                    let write = |log: &mut Vec<u8>, encoding| push_in(log, encoding, fx, push);
                    self.counters.deliveries += self.turn.broadcast(except, write);
                }
                Effect::Text { to, text, ends } => {
                    self.own(*to, Kind::Answer, |out, _| line::render(out, fx.text_of(text), *ends));
                }
                Effect::Subscribe(id) => self.subscribe(*id),
                Effect::Unsubscribe(id) => self.unsubscribe(*id),
                Effect::Close(id) => self.asked.push(Asked::Close(*id)),
                Effect::Heartbeat { conn, seconds } => self.asked.push(Asked::Heartbeat(*conn, *seconds)),
                Effect::Stop => self.asked.push(Asked::Stop),
            }
        }
    }

    /// The connection hears no more broadcasts.
    pub fn unsubscribe(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get_mut(id).filter(|conn| conn.outbox.is_subscribed()) else { return };
        self.turn.subscribe(&mut conn.outbox, false);
        let place = conn.place;
        self.members.swap_remove(place as usize);
        if let Some(&moved) = self.members.get(place as usize)
            && let Some((_, moved)) = self.conns.at(moved)
        {
            moved.place = place;
        }
        // What it was to hear until now hangs in its outbox.
        self.touch(id);
    }

    /// Sends what this turn came to. Connections whose socket failed, and slow consumers, go to `lost`.
    pub fn flush(&mut self, io: &mut impl Io, lost: &mut Vec<(ConnId, Closed)>) {
        let fanout = self.turn.fanout() > 0;
        self.was_full = self.turn.fanout() >= self.limits.max_fanout_per_turn;
        self.counters.max_fanout_per_turn += u64::from(self.was_full);
        if fanout {
            for place in 0..self.members.len() {
                let Some((id, conn)) = self.conns.at(self.members[place]) else { continue };
                flush_one(&mut self.turn, conn, id, io, self.now, &self.limits, lost);
                if conn.outbox.is_blocked() && !std::mem::replace(&mut conn.dirty, true) {
                    self.dirty.push(id);
                }
            }
        }
        for &id in &self.dirty {
            if let Some(conn) = self.conns.get_mut(id)
                && !(fanout && conn.outbox.is_subscribed())
            {
                flush_one(&mut self.turn, conn, id, io, self.now, &self.limits, lost);
            }
        }
        self.turn.reset();
        if self.turn.kept() > self.limits.total_out_bytes {
            self.free_memory(lost);
        }
    }

    /// All backlogs together are too large: who holds most goes first.
    fn free_memory(&mut self, lost: &mut Vec<(ConnId, Closed)>) {
        let mut holders: Vec<_> = self
            .conns
            .iter()
            .filter(|(_, conn)| !conn.outbox.has_nothing_left() && !matches!(conn.phase, Phase::Over(_)))
            .map(|(id, conn)| (conn.outbox.unsent_answers() + conn.outbox.unsent_pushes(), id))
            .collect();
        holders.sort_unstable();
        while self.turn.kept() > self.limits.total_out_bytes
            && let Some((_, id)) = holders.pop()
        {
            if let Some(conn) = self.conns.get_mut(id) {
                conn.outbox.discard();
                lost.push((id, Closed::TotalOut));
            }
        }
    }

    /// Takes a token of the connection's rate; whether there was one.
    pub fn may_ask(&mut self, id: ConnId) -> bool {
        let Some(conn) = self.conns.get_mut(id) else { return true };
        let may = conn.rate.take(self.now, &self.limits);
        self.counters.rate_messages += u64::from(!may);
        may
    }

    fn subscribe(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        if conn.phase == Phase::Open && !conn.outbox.is_subscribed() {
            self.turn.subscribe(&mut conn.outbox, true);
            conn.place = self.members.len() as u32;
            self.members.push(id.index);
        }
    }

    /// Sends bytes as they are: those of an echo, or a text of the transport's own.
    pub fn raw(&mut self, id: ConnId, bytes: &[u8]) {
        self.own(id, Kind::Answer, |out, _| out.extend_from_slice(bytes));
    }

    /// Pushes a ping to a connection that asked for a heartbeat.
    pub fn ping(&mut self, id: ConnId) {
        self.own(id, Kind::Push, |out, encoding| render::push(out, encoding, "ping", "{}"));
    }

    fn own(&mut self, id: ConnId, kind: Kind, write: impl FnOnce(&mut Vec<u8>, Encoding)) {
        // Whatever is asked for one who has ended: nothing follows the server's FIN.
        let can_be_told = |conn: &&mut Connection| !matches!(conn.phase, Phase::Draining | Phase::Over(_));
        let Some(conn) = self.conns.get_mut(id).filter(can_be_told) else { return };
        let encoding = conn.outbox.encoding();
        self.turn.own(&mut conn.outbox, kind, |out| write(out, encoding));
        self.counters.frames_out += 1;
        if let (Kind::Answer, Codec::JsonRpc { framer, .. }) = (kind, &mut conn.codec) {
            framer.answered();
        }
        if !std::mem::replace(&mut conn.dirty, true) {
            self.dirty.push(id);
        }
    }
}

impl Directory for Hub {
    fn visit(&self, each: &mut dyn FnMut(ConnId, Peer)) {
        // Those that the service knows.
        let open = |conn: &Connection| conn.phase == Phase::Open && conn.codec.wire().reaches_the_service();
        for (id, conn) in self.conns.iter().filter(|(_, conn)| open(conn)) {
            each(id, conn.peer);
        }
    }

    fn peer_of(&self, conn: ConnId) -> Option<Peer> {
        self.conns.get(conn).map(|conn| conn.peer)
    }

    fn stats(&self) -> Stats {
        self.counters.stats(&[
            ("connections", self.conns.len() as u64, "Open connections."),
            ("listeners", self.members.len() as u64, "Connections that hear the chat."),
            ("out_bytes", self.turn.kept() as u64, "Memory of what clients have not taken yet, in bytes."),
        ])
    }
}

/// Renders a push for connections of this encoding. Line users get its text, or nothing.
fn push_in(out: &mut Vec<u8>, encoding: Encoding, fx: &Effects, push: &Push) {
    if encoding == Encoding::TEXT {
        if let Some(text) = fx.line_of(push) {
            line::render(out, text, true);
        }
    } else {
        render::push(out, encoding, push.kind, fx.params(push));
    }
}

fn flush_one(
    turn: &mut Turn,
    conn: &mut Connection,
    id: ConnId,
    io: &mut impl Io,
    now: Millis,
    limits: &Limits,
    lost: &mut Vec<(ConnId, Closed)>,
) {
    if matches!(conn.phase, Phase::Over(_)) {
        return;
    }
    let fd = conn.fd;
    let Limits { out_soft, out_hard, .. } = *limits;
    let mut sent = turn.flush(&mut conn.outbox, conn.writable, now, |slices| io.write(fd, slices));
    if sent.is_ok() && conn.outbox.has_nothing_left() {
        conn.writable = true;
        return;
    }
    if sent.is_ok() && conn.outbox.unsent_pushes() > out_hard && !conn.writable {
        // The bound is judged only after an attempt to write.
        sent = conn.outbox.retry(now, |slices| io.write(fd, slices));
    }
    match sent {
        Ok(()) if conn.outbox.unsent_pushes() > out_hard => lost.push((id, Closed::SlowConsumer)),
        Ok(()) => {
            conn.writable = !conn.outbox.is_blocked();
            conn.outbox.judge_soft(conn.outbox.unsent_pushes() > out_soft, now);
            // The wheel leaves this to us where the socket has just taken something.
            if conn.outbox.soft_since().is_some_and(|since| now >= since + limits.out_soft_seconds) {
                lost.push((id, Closed::OutSoft));
            }
        }
        Err(fault) => {
            conn.outbox.discard();
            lost.push((id, fault.into()));
        }
    }
}
