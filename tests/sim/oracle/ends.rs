//! How connections end: for what reason, and with what left behind.

use rawline::Limits;
use rawline::api::{Closed, ConnId, Peer};
use rawline::transport::io::Interest;

use crate::sim::bounds::DRAIN_TIME;
use crate::sim::client::rpc::Abuse;
use crate::sim::client::{TIMEOUTS, Talk};
use crate::sim::faults::Fault;
use crate::sim::tricks::farewell;
use crate::sim::world::State;

impl State {
    pub fn closed(&mut self, conn: ConnId, peer: Peer, why: Closed) {
        let Some(index) = self.client_of(peer) else { return };
        let seat = self.seats.get(conn.index()).copied().flatten();
        if seat != Some(index) {
            return self.breaks("end", format!("client {index} ends twice, or never began: {why}"));
        }
        if why == Closed::TotalOut && self.waited.is_empty() {
            self.waited = self.told_and_waiting();
        }
        self.seats[conn.index()] = None;
        self.hears[index] = false;
        let who = self.clients[index].who;
        self.seen.ended[why as usize] += 1;
        let had_a_name = self.room.name_of(who).is_some();
        let said = self.said_this_turn;
        if let Some(notice) = self.room.leave(who)
            && why != Closed::Shutdown
        {
            self.system(index, &notice);
        }
        if had_a_name && why == Closed::NameTimeout || self.told_to_stop.is_some() && why != Closed::Shutdown
        {
            self.breaks("reason", format!("client {index} ended for another reason than this: {why}"));
        }
        self.said_of_ends += self.said_this_turn - said;
        let socket = &mut self.sockets[index];
        (socket.why, socket.ended_at) = (Some(why), self.now);
        self.has_ends = true;
        if why == Closed::TotalOut {
            let due = self.most_due(index).unwrap_or(u64::MAX);
            self.cuts.push((index, due.saturating_sub(self.sockets[index].written)));
        }
        self.judge_end(index, why);
        if let Some(farewell) = farewell(why) {
            self.clients[index].expect(&farewell);
        }
    }

    /// Whether this connection may end for this reason.
    fn judge_end(&mut self, index: usize, why: Closed) {
        let (now, stopping, hard) = (self.now, self.stopping.is_some(), self.limits.out_hard as u64);
        let (jumps, reloaded) = (self.jumps, self.reloaded);
        let timeout = self.limits.name_timeout.as_micros() as u64;
        let Limits { message_timeout, idle_timeout, write_timeout, out_soft, out_soft_seconds, .. } =
            self.limits;
        let [message, idle, write, soft] = [message_timeout, idle_timeout, write_timeout, out_soft_seconds]
            .map(|time| time.as_micros() as u64);
        let (soft, total) = ((out_soft as u64, soft), self.limits.total_out_bytes);
        let lived = now - self.sockets[index].accepted.unwrap_or(now);
        let pushes = match &self.clients[index].talk {
            Talk::Rpc(rpc) => rpc.unsent_pushes(self.sockets[index].outbox.iter().copied(), lived),
            Talk::Line(line) => {
                line.due().saturating_sub(self.sockets[index].written).min(line.told - line.answered)
            }
            Talk::Echo(_) | Talk::Files(_) => 0,
        };
        let makes_short = [Fault::ShortWrite, Fault::WriteAgain].iter().any(|&kind| self.faults.has(kind));
        let falls_short = self.writes_fall_short();
        let State { clients, sockets, .. } = self;
        let (client, socket) = (&mut clients[index], &mut sockets[index]);
        let is_right = match (why, &client.talk) {
            (Closed::Shutdown, _) => stopping,
            (Closed::Peer, _) if !socket.fin => false,
            (Closed::Peer, Talk::Rpc(rpc)) => rpc.has_been_heard() || stopping,
            (Closed::Peer, Talk::Line(line)) => line.plan.is_empty() || line.is_limited || stopping,
            (Closed::Peer, _) => true,
            (Closed::Reset, _) => {
                // Of whom nothing is wanted no call says more.
                let is_watched = socket.interest().is_some_and(|interest| interest != Interest::NONE);
                socket.is_broken || socket.rst && !(socket.unreachable && is_watched)
            }
            (Closed::Unreachable, _) => socket.unreachable,
            (Closed::NoMemory, _) => socket.starved,
            (Closed::Service, Talk::Line(line)) => line.has_quit,
            (Closed::NameTimeout, Talk::Line(_)) => {
                // No earlier than promised; late by a tick and what a turn takes, unless the clock has jumped.
                let due = (socket.accepted.unwrap_or(now) + timeout).max(reloaded);
                lived >= timeout - 1_000 && (now < due + 200_000 || jumps > 0)
            }
            (Closed::Heartbeat, Talk::Rpc(rpc)) => {
                // Whoever reads at once has seen the ping in between.
                let is_quick = client.pace.1 <= 3_000 && client.gulp >= 65_536 && socket.outbox.is_empty();
                let was_pinged = rpc.pings > rpc.pings_before || !is_quick || jumps > 0;
                was_pinged && rpc.heartbeat > 0 && now - socket.heard >= rpc.heartbeat * 2_000_000 - 1_000
            }
            (Closed::TooLarge | Closed::TooDeep, Talk::Rpc(rpc)) => rpc.may_be_refused,
            (Closed::Panicked, Talk::Rpc(rpc)) => rpc.may_panic,
            (Closed::MessageTimeout, _) => {
                // It is the client who is slow, not us who do not read.
                let is_read = socket.unread.is_none_or(|since| now < since + 200_000)
                    && !matches!(&client.talk, Talk::Files(files) if files.is_sending());
                jumps > 0 || is_read && socket.began.is_some_and(|began| now >= began + message - 1_000)
            }
            (Closed::IdleTimeout, talk) => {
                // While it waits for us, nobody waits for it.
                let is_heard = match talk {
                    Talk::Rpc(rpc) => {
                        let is_silent = rpc.deferred == 0 && now >= rpc.answered_late + idle - 1_000;
                        is_silent && rpc.has_been_heard()
                    }
                    Talk::Line(line) => line.plan.is_empty() || line.is_limited,
                    Talk::Echo(_) | Talk::Files(_) => true,
                };
                (is_heard || jumps > 0) && idle > 0 && now >= socket.heard + idle - 1_000
            }
            (Closed::WriteTimeout, _) => {
                let is_full = falls_short || socket.is_blocked;
                pushes > 0 && now >= socket.took + write - 1_000 && is_full
            }
            (Closed::OutSoft, _) => {
                // What would be left if it were given as much as it takes now.
                let takes = if falls_short || socket.is_blocked {
                    0
                } else {
                    socket.room.1.saturating_sub(socket.outbox.len())
                };
                pushes > soft.0 + takes as u64 && lived >= soft.1 - 1_000
            }
            (Closed::TotalOut, talk) => talk.due() > socket.written && total < 1_000_000,
            // It is judged only behind a try to write.
            (Closed::SlowConsumer, _) => {
                let is_held = matches!(&client.talk, Talk::Rpc(rpc) if rpc.has_a_batch());
                pushes > hard && (makes_short || is_held || socket.outbox.len() >= socket.room.1)
            }
            _ => false,
        };
        let is_sudden = match why {
            Closed::SlowConsumer
            | Closed::Heartbeat
            | Closed::Reset
            | Closed::Unreachable
            | Closed::NoMemory
            | Closed::NameTimeout
            | Closed::WriteTimeout
            | Closed::OutSoft
            | Closed::TotalOut => true,
            Closed::MessageTimeout | Closed::IdleTimeout => {
                let is_idle = why == Closed::IdleTimeout;
                client.is_told_so(if is_idle { &TIMEOUTS[1..] } else { &TIMEOUTS[..1] });
                !matches!(&client.talk, Talk::Rpc(rpc) if rpc.abuse == Abuse::Stall)
                    || jumps > 0
                    || client.pace.1 > 3_000
                    || client.gulp < 100
                    || socket.room.1 < 300
            }
            // Who is slow to take the error may be closed without it.
            Closed::TooLarge | Closed::TooDeep | Closed::Panicked => {
                jumps > 0 || client.pace.1 > 3_000 || client.gulp < 100 || socket.room.1 < 300
            }
            Closed::Shutdown => {
                client.is_told_so(&TIMEOUTS);
                false
            }
            _ => false,
        };
        client.doomed |= is_sudden;
        if !is_right {
            let lived = lived / 1000;
            self.breaks(
                "reason",
                format!("client {index} ended after {lived} ms, and nothing was wrong: {why}"),
            );
        }
    }

    /// Whether this descriptor may be closed now.
    pub fn judge_close(&mut self, index: usize, cut: bool, unread: bool) {
        let (jumps, stopping, now) = (self.jumps, self.stopping.is_some(), self.now);
        let idle = self.limits.file_idle_timeout.as_micros() as u64;
        let is_punctual = !self.faults.has(Fault::Late);
        let drain_max = self.regimes.iter().map(|limits| limits.drain_max as u64).min().unwrap_or(0);
        // Whoever has more than that unsent may be cut, refused or not; of all together the largest.
        let far = |limits: &Limits| match limits.total_out_bytes {
            ..1_000_000 => 0,
            _ => limits.out_soft.min(limits.out_hard) as u64,
        };
        let far = self.regimes.iter().map(far).min().unwrap_or(0);
        let (client, socket) = (&mut self.clients[index], &mut self.sockets[index]);
        let seated = self.seats.iter().flatten().any(|&seat| seat == index);
        if seated {
            self.breaks("end", format!("client {index} is closed, and the service has not heard of it"));
            return;
        }
        if socket.turned_away {
            client.doomed = true;
            return;
        }
        if !socket.opened && !socket.starved && matches!(client.talk, Talk::Rpc(_) | Talk::Line(_)) {
            return self
                .breaks("limits", format!("there is room for client {index}, and it was turned away"));
        }
        // It may have been too late for limits that have changed since. Whoever waits for us is never too late.
        let is_owed = matches!(&client.talk, Talk::Files(files) if files.is_owed(socket.read).is_some())
            && socket.outbox.is_empty()
            && !socket.was_behind;
        let is_late = self.regimes.iter().any(|limits| {
            let silence = limits.idle_timeout.as_micros() as u64;
            silence > 0 && now >= socket.heard + silence - 1_000 && !is_owed
        }) || cut && self.limits.total_out_bytes < 1_000_000 && socket.read > socket.written;
        client.doomed |= is_late && matches!(client.talk, Talk::Echo(_) | Talk::Files(_));
        let unsent = client.talk.due().saturating_sub(socket.written);
        // One whose turns come late may not get rid of everything in the time that it has for a refused client.
        let has_passed = socket.why.is_some() && now >= socket.ended_at + DRAIN_TIME - 1_000;
        client.doomed |= !is_punctual && unsent > 0 && has_passed;
        let excused = socket.rst || socket.starved || socket.deaf || stopping || is_late;
        let manner = match socket.why {
            Some(
                Closed::SlowConsumer
                | Closed::TotalOut
                | Closed::OutSoft
                | Closed::WriteTimeout
                | Closed::Heartbeat,
            ) if !cut => Some("it was not cut, and may have half of a frame"),
            Some(
                Closed::TooLarge
                | Closed::TooDeep
                | Closed::Panicked
                | Closed::MessageTimeout
                | Closed::IdleTimeout,
            ) if !socket.server_fin
                && !excused
                && !cut
                && jumps == 0
                && now < socket.ended_at + DRAIN_TIME - 1_000 =>
            {
                Some("it had no time to take the error")
            }
            Some(Closed::TooLarge | Closed::TooDeep | Closed::Panicked)
                if excused || client.doomed || jumps > 0 || cut && unsent > far =>
            {
                None
            }
            Some(Closed::TooLarge | Closed::TooDeep | Closed::Panicked)
                if !socket.server_fin && is_punctual =>
            {
                Some("no FIN followed the error")
            }
            Some(Closed::TooLarge | Closed::TooDeep | Closed::Panicked)
                if unread && !cut && client.out.is_empty() && socket.drained == 0 && unsent == 0 =>
            {
                Some("what follows the error was not read, so the error may be lost")
            }
            _ if excused || jumps > 0 => None,
            _ if cut && socket.server_fin => Some("it was cut behind the error, which may be lost"),
            _ if socket.refused.is_some_and(|since| now < since + DRAIN_TIME - 1_000)
                && !socket.fin
                && socket.drained < drain_max =>
            {
                Some("the rest of what it says was not waited for")
            }
            _ => None,
        };
        let wrong = match &client.talk {
            _ if excused => None,
            Talk::Echo(_) => {
                let all_back = socket.fin && !unread && socket.written == socket.read;
                (!all_back).then_some("an echo was closed before all came back")
            }
            Talk::Files(files) => {
                let is_done = socket.fin && !unread;
                // It is the client who is slow, not we.
                let owes = files.has_broken_off || files.owes_body() || !client.out.is_empty();
                let is_silent = now - socket.heard.max(socket.took) >= idle - 1_000;
                let is_idle = cut && is_silent && (owes || socket.was_behind);
                // The disk failed, and the rest of the upload was more than is thrown away.
                let has_failed = files.is_putting && self.shelf.disk_fails;
                let because = is_done || is_idle || has_failed || files.may_be_closed || jumps > 0;
                let is_untold = files.is_untold(socket.read) && socket.outbox.is_empty();
                if is_untold && !is_idle && !client.doomed && !self.shelf.disk_fails && jumps == 0 {
                    Some("an unknown command of version 2 ended it without a word")
                } else {
                    (!because).then_some("a file connection was closed for nothing")
                }
            }
            Talk::Rpc(_) | Talk::Line(_) => None,
        };
        client.doomed |= unread && (!excused || is_late) || cut || jumps > 0;
        if matches!(&client.talk, Talk::Files(files) if cut || files.may_be_closed || !socket.fin || unread) {
            client.doomed = true;
        }
        if let Some(what) = wrong.or(manner) {
            self.breaks("reason", format!("client {index}: {what}"));
        }
    }
}
