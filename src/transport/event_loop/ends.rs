//! How connections end, one by one or all together, and what deadlines do.
//!
//! Owns the rules of ending: the service hears of it once, when the connection can say nothing more; what is to
//! be sent still leaves; only `reap` closes. A stop closes the listeners, answers what has arrived, and ends
//! when everything has left, or the grace is over.

use std::io::IoSliceMut;
use std::time::Duration;

use super::EventLoop;
use crate::api::{Closed, ConnId, Fault, Service, Wire};
use crate::limits::{EVENTS_PER_WAIT, Limits};
use crate::log;
use crate::transport::connection::{Codec, Due, Phase};
use crate::transport::files::session::Session;
use crate::transport::hub::Asked;
use crate::transport::io::{Io, IoFault, Millis};

/// A stop is under way.
pub(super) struct Stopping {
    deadline: Millis,
    /// What had arrived when it began is still answered: so many more waits that do not sleep report everyone
    /// whose socket held something.
    sweeps: usize,
    /// When all is quiet, so many more of them: who has asked meanwhile is told that it is too late, and does not find a
    /// connection that was reset over his question.
    last_looks: usize,
    /// The last turn left nothing to do.
    is_quiet: bool,
}

impl Stopping {
    /// When the loop must look again.
    pub fn wake_at(&self, now: Millis) -> Millis {
        if self.sweeps > 0 || self.is_quiet { now } else { self.deadline }
    }
}

impl<I: Io, S: Service> EventLoop<I, S> {
    /// Grants what services have asked of the loop itself.
    pub(super) fn grant(&mut self) {
        while !self.hub.asked.is_empty() {
            match self.hub.asked.remove(0) {
                Asked::Stop if self.stopping.is_none() => {
                    let deadline = self.hub.now + self.hub.limits.shutdown_grace;
                    let waits = self.hub.conns.len().div_ceil(EVENTS_PER_WAIT).max(1);
                    // One is counted at the end of this turn.
                    self.stopping =
                        Some(Stopping { deadline, sweeps: 1 + waits, last_looks: waits, is_quiet: false });
                    self.close_listeners();
                    self.tell_stopping();
                }
                Asked::Stop => {}
                Asked::Close(id) => self.end(id, Closed::Service, Phase::Flushing),
                Asked::Heartbeat(id, seconds) => {
                    if let Some(conn) = self.hub.conns.get_mut(id)
                        && let Codec::JsonRpc { heartbeat, next_ping, .. } = &mut conn.codec
                    {
                        *heartbeat = u16::try_from(seconds).unwrap_or(u16::MAX);
                        *next_ping = self.hub.now + Duration::from_secs((*heartbeat).into());
                        self.hub.touch(id);
                    }
                }
            }
        }
    }

    /// The connection can say nothing more: the service hears of it, once.
    pub(super) fn end(&mut self, id: ConnId, why: Closed, next: Phase) {
        let Some(conn) = self.hub.conns.get_mut(id) else { return };
        if matches!(conn.phase, Phase::Over(_)) || conn.phase == next {
            return;
        }
        let was_open = conn.phase == Phase::Open;
        conn.phase = next;
        conn.heard = self.hub.now;
        conn.job = None;
        if matches!(next, Phase::Over(_)) {
            self.over.push(id);
        }
        if was_open {
            let (peer, wire) = (conn.peer, conn.codec.wire());
            // Who is cut is told nothing, so the operator is.
            let level = if next == Phase::Over(true) { log::Level::Info } else { log::Level::Debug };
            log::event(level, "transport", format_args!("{id} {peer}: {why}"));
            self.wheel.cancel(id.index);
            self.hub.unsubscribe(id);
            let why = if self.stopping.is_some() { Closed::Shutdown } else { why };
            self.hub.counters.closed[why as usize] += 1;
            if wire == Wire::Files {
                self.leave_files(id, next);
            }
            if wire.reaches_the_service() {
                self.dispatcher.closed(&mut self.hub, id, peer, why);
            }
        }
        self.hub.touch(id);
    }

    /// The error was said; now FIN follows it, and the input is drained, since closing with unread input would
    /// send RST and could destroy the error on its way.
    pub(super) fn refuse(&mut self, id: ConnId, why: Closed) {
        self.end(id, why, Phase::Refused);
    }

    /// Takes those that have flushed to the next phase of their end.
    pub(super) fn move_on(&mut self, id: ConnId) {
        let Some(conn) = self.hub.conns.get_mut(id) else { return };
        if conn.has_unsent() {
            return;
        }
        match conn.phase {
            Phase::Flushing => self.end(id, Closed::Peer, Phase::Over(false)),
            Phase::Refused => {
                self.io.shutdown_write(conn.fd);
                conn.phase = Phase::Draining;
                conn.heard = self.hub.now;
            }
            Phase::Open | Phase::Draining | Phase::Over(_) => {}
        }
    }

    /// Throws away the input of a refused connection.
    pub(super) fn drain(&mut self, id: ConnId) {
        let Limits { drain_max: most, read_chunk, max_read_per_turn, .. } = self.hub.limits;
        self.scratch.resize(read_chunk, 0);
        // No more than others may read in a turn; the socket is still watched for the rest.
        for _ in 0..(max_read_per_turn / read_chunk).max(1) {
            let Some(conn) = self.hub.conns.get_mut(id).filter(|conn| conn.readable) else { return };
            match self.io.read(conn.fd, &mut [IoSliceMut::new(&mut self.scratch), IoSliceMut::new(&mut [])]) {
                Ok(n) if n > 0 => {
                    // A short read has emptied the socket.
                    conn.readable = n == read_chunk;
                    conn.discarded += n as u32;
                    self.hub.counters.drained += n as u64;
                    if conn.discarded as usize > most {
                        self.hub.counters.drain_max += 1;
                        return self.end(id, Closed::BadFrame, Phase::Over(false));
                    }
                }
                Err(IoFault::WouldBlock) => conn.readable = false,
                _ => return self.end(id, Closed::BadFrame, Phase::Over(false)),
            }
        }
    }

    /// Tells the wheel when time alone will change something for this connection.
    pub(super) fn watch_time(&mut self, id: ConnId) {
        if let Some(conn) = self.hub.conns.get(id)
            && let Some((at, _)) = conn.deadline(&self.hub.limits)
        {
            self.wheel.set(id.index, at);
        }
    }

    /// The wheel's deadline of a connection has passed. It may have moved since, or another one has come.
    pub(super) fn deadline(&mut self, id: ConnId) {
        let Some(conn) = self.hub.conns.get_mut(id) else { return };
        let due = conn.deadline(&self.hub.limits).filter(|(at, _)| *at <= self.hub.now);
        match due {
            Some((_, Due::Ping)) => self.beat(id),
            // Its socket takes bytes again: it is judged behind the flush.
            Some((_, Due::End(Closed::WriteTimeout | Closed::OutSoft))) if conn.writable => {}
            Some((_, Due::End(Closed::Stalled))) if conn.session().is_some_and(Session::is_served) => {
                // It is us who are slow.
                conn.heard = self.hub.now;
            }
            Some((_, Due::End(why))) => self.too_late(id, why),
            None => {}
        }
        self.watch_time(id);
    }

    /// What becomes of those who take too long.
    fn too_late(&mut self, id: ConnId, why: Closed) {
        let Some(conn) = self.hub.conns.get(id) else { return };
        let (phase, wire) = (conn.phase, conn.codec.wire());
        match (why, wire) {
            _ if phase != Phase::Open => {
                self.hub.counters.ended_by_force += 1;
                self.end(id, why, Phase::Over(phase == Phase::Flushing));
            }
            (Closed::MessageTimeout | Closed::IdleTimeout, Wire::JsonRpc) => {
                self.hub.complain(id, &Fault::timeout(why.to_string()));
                self.refuse(id, why);
            }
            (Closed::MessageTimeout | Closed::IdleTimeout, Wire::Line) => {
                self.hub.raw(id, format!("Closed: {why}\n").as_bytes());
                self.refuse(id, why);
            }
            (Closed::NameTimeout | Closed::IdleTimeout, _) => self.end(id, why, Phase::Flushing),
            (_, _) => self.end(id, why, Phase::Over(true)),
        }
    }

    /// A ping is due, or nothing came back on the last two.
    fn beat(&mut self, id: ConnId) {
        let Some(conn) = self.hub.conns.get_mut(id) else { return };
        // A ping would wait until its batch is answered, and so would the sign of life for it.
        let is_held = conn.outbox.is_held();
        if !is_held && conn.has_missed_heartbeats(self.hub.now) {
            return self.end(id, Closed::Heartbeat, Phase::Over(true));
        }
        if let Codec::JsonRpc { heartbeat, next_ping, .. } = &mut conn.codec {
            *next_ping = self.hub.now + Duration::from_secs((*heartbeat).into());
            if !is_held {
                self.hub.ping(id);
            }
        }
    }

    /// Once everybody who had something to say when the stop was asked for is known, what a connection says
    /// after all of that was served is too late.
    pub(super) fn see_whether_late(&mut self, id: ConnId) {
        if matches!(self.stopping, Some(Stopping { sweeps: 0, .. }))
            && let Some(conn) = self.hub.conns.get_mut(id)
        {
            conn.late |= conn.is_caught_up();
        }
    }

    /// Whether the loop has stopped; ends what is left then.
    pub(super) fn is_finished(&mut self) -> bool {
        let Some(Stopping { deadline, sweeps, .. }) = &mut self.stopping else { return false };
        let is_last_sweep = *sweeps == 1;
        *sweeps = sweeps.saturating_sub(1);
        let (is_overdue, is_sweeping) = (self.hub.now >= *deadline, *sweeps > 0);
        let all: Vec<ConnId> = self.hub.conns.iter().map(|(id, _)| id).collect();
        if is_last_sweep {
            all.iter().for_each(|&id| self.see_whether_late(id));
        }
        let busy = is_sweeping
            || !self.runnable.is_empty()
            || self.hub.has_output()
            || self
                .hub
                .conns
                .iter()
                .any(|(_, conn)| !conn.is_caught_up() || !conn.outbox.is_empty() || conn.has_unsent());
        if let Some(stopping) = &mut self.stopping
            && !is_overdue
        {
            stopping.is_quiet = !busy;
            let is_last = stopping.last_looks == 0;
            stopping.last_looks -= usize::from(!busy && !is_last);
            if busy || !is_last {
                return false;
            }
        }
        for id in all {
            let conn = self.hub.conns.get(id);
            let is_cut = conn.is_some_and(|conn| !conn.is_caught_up() || conn.has_unsent());
            self.hub.counters.shutdown_grace += u64::from(is_cut);
            self.end(id, Closed::Shutdown, Phase::Over(false));
        }
        self.reap();
        true
    }
}
