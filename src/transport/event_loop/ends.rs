//! How connections end, one by one or all together, and what deadlines do.
//!
//! Owns the rules of ending: the service hears of it once, when the connection can say nothing more; what is to
//! be sent still leaves; only `reap` closes. A stop closes the listeners, answers what has arrived, and ends
//! when everything has left, or the grace is over.

use std::io::IoSliceMut;
use std::time::Duration;

use super::EventLoop;
use crate::api::{Closed, ConnId, Service, Wire};
use crate::limits::{DRAIN_TIME, EVENTS_PER_WAIT, READ_CHUNK};
use crate::log;
use crate::transport::connection::Phase;
use crate::transport::hub::Asked;
use crate::transport::io::{Io, IoFault, Millis};

/// A stop is under way.
pub(super) struct Stopping {
    deadline: Millis,
    /// What had arrived when it began is still answered: so many more waits that do not sleep report everyone
    /// whose socket held something.
    sweeps: usize,
}

impl Stopping {
    /// When the loop must look again.
    pub fn wake_at(&self, now: Millis) -> Millis {
        if self.sweeps > 0 { now } else { self.deadline }
    }
}

impl<I: Io, S: Service> EventLoop<I, S> {
    /// Grants what services have asked of the loop itself.
    pub(super) fn grant(&mut self) {
        while !self.hub.asked.is_empty() {
            match self.hub.asked.remove(0) {
                Asked::Stop if self.stopping.is_none() => {
                    let deadline = self.now + self.hub.limits.shutdown_grace;
                    let waits = self.hub.conns.len().div_ceil(EVENTS_PER_WAIT).max(1);
                    // One is counted at the end of this turn.
                    self.stopping = Some(Stopping { deadline, sweeps: 1 + waits });
                    self.close_listeners();
                    self.tell_stopping();
                }
                Asked::Stop => {}
                Asked::Close(id) => self.end(id, Closed::Service, Phase::Flushing),
                Asked::Heartbeat(id, seconds) => {
                    if let Some(conn) = self.hub.conns.get_mut(id)
                        && conn.codec.wire() == Wire::JsonRpc
                        && conn.phase == Phase::Open
                    {
                        conn.heartbeat = seconds;
                        self.set_heartbeat(id, seconds);
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
        conn.job = None;
        if matches!(next, Phase::Over(_)) {
            self.over.push(id);
        }
        if was_open {
            let (peer, wire) = (conn.peer, conn.codec.wire());
            log::debug("transport", format_args!("{id} {peer}: {why}"));
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
        self.wheel.set(id.index, self.now + DRAIN_TIME);
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
                self.wheel.set(id.index, self.now + DRAIN_TIME);
            }
            Phase::Open | Phase::Draining | Phase::Over(_) => {}
        }
    }

    /// Throws away the input of a refused connection.
    pub(super) fn drain(&mut self, id: ConnId) {
        let most = self.hub.limits.drain_max;
        self.scratch.resize(READ_CHUNK, 0);
        // No more than others may read in a turn; the socket is still watched for the rest.
        for _ in 0..(self.hub.limits.max_read_per_turn / READ_CHUNK).max(1) {
            let Some(conn) = self.hub.conns.get_mut(id) else { return };
            match self.io.read(conn.fd, &mut [IoSliceMut::new(&mut self.scratch), IoSliceMut::new(&mut [])]) {
                Ok(n) if n > 0 => {
                    conn.discarded += n as u32;
                    self.hub.counters.drained += n as u64;
                    if conn.discarded as usize > most {
                        self.hub.counters.drain_max += 1;
                        return self.end(id, Closed::BadFrame, Phase::Over(false));
                    }
                }
                Err(IoFault::WouldBlock) => return,
                _ => return self.end(id, Closed::BadFrame, Phase::Over(false)),
            }
        }
    }

    /// The deadline of a connection has passed: which one it was, its state tells.
    pub(super) fn deadline(&mut self, id: ConnId) {
        let Some(conn) = self.hub.conns.get_mut(id) else { return };
        match (conn.phase, conn.codec.wire()) {
            (Phase::Open, Wire::Line) if !conn.outbox.is_subscribed() => {
                self.end(id, Closed::NameTimeout, Phase::Flushing);
            }
            (Phase::Open, Wire::JsonRpc) if conn.heartbeat > 0 => {
                let (period, heard) = (conn.heartbeat, conn.heard);
                if self.now >= heard + Duration::from_secs(2 * u64::from(period)) {
                    return self.end(id, Closed::Heartbeat, Phase::Over(true));
                }
                self.hub.ping(id);
                self.set_heartbeat(id, period);
            }
            (Phase::Open, Wire::Files) => self.see_whether_stalled(id),
            (Phase::Open, _) => {}
            (_, _) => self.end(id, Closed::BadFrame, Phase::Over(false)),
        }
    }

    fn set_heartbeat(&mut self, id: ConnId, seconds: u32) {
        match seconds {
            0 => self.wheel.cancel(id.index),
            seconds => self.wheel.set(id.index, self.now + Duration::from_secs(seconds.into())),
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
        let Some(Stopping { deadline, sweeps }) = &mut self.stopping else { return false };
        let is_last_sweep = *sweeps == 1;
        *sweeps = sweeps.saturating_sub(1);
        let (is_overdue, is_sweeping) = (self.now >= *deadline, *sweeps > 0);
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
        if busy && !is_overdue {
            return false;
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
