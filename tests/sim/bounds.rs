//! What must stay within bounds while the server runs, and what must be back at nothing when all have gone.
//!
//! Bounds are looked at when a turn is over. What waits for a client is counted from what it was told and what the kernel
//! took of it, so it is never more than what the server keeps.

use rawline::transport::backlog::PIECE;
use rawline::{Limits, Stats, Wire};

use super::client::rpc::Rpc;
use super::client::{Client, Talk};
use super::faults::Fault;
use super::world::{Socket, State};

/// What the wheel and a turn may add to a deadline, in microseconds.
const LATE: u64 = 1_000_000;
/// How long something may take that waits for nothing, however late the turns come, in microseconds.
const AT_ONCE: u64 = 250_000;
/// How long the rest of what a refused client says is read, in microseconds.
pub const DRAIN_TIME: u64 = 2_000_000;

/// What may lie in the kernel's way between a bound and what is seen of it: one turn's worth of everything.
const SLACK: u64 = 64 * 1024;

/// Notices of who has left that may be said between two cuts, in bytes.
const NOTICES: u64 = 4_000;

/// Whether the server has reason to believe that somebody reads this.
fn is_there(socket: &Socket) -> bool {
    socket.is_open() && !socket.rst && !socket.deaf && !socket.starved
}

impl State {
    /// The largest value that a limit had so far.
    pub fn most(&self, limit: impl Fn(&Limits) -> u64) -> u64 {
        self.regimes.iter().map(limit).max().unwrap_or(0)
    }

    /// Looks at what a turn has left behind.
    pub fn judge_turn(&mut self) {
        self.judge_bounds();
        // As many turns as the server takes to learn of everything that had arrived when it was told to stop.
        if self.told_to_stop.is_some_and(|told| self.turns > told + 20) {
            for (client, socket) in self.clients.iter_mut().zip(&self.sockets) {
                let may_wait = match &client.talk {
                    // Version 1 does not say when something is stored, and of an upload that broke off nobody says anything.
                    Talk::Files(files) => files.versions != 1 || files.has_broken_off,
                    // Nor does one that may be too fast, or is answered later, expect an answer to his notifications.
                    Talk::Rpc(rpc) => !rpc.plan.is_empty() || rpc.deferred > 0,
                    Talk::Line(_) | Talk::Echo(_) => false,
                };
                client.is_too_late |= socket.has_read_all() && client.awaits().is_none() && !may_wait;
            }
        }
        // What waits was let in under any of the limits so far.
        let most = |limit: fn(&Limits) -> usize| self.regimes.iter().map(limit).max().unwrap_or(0) as u64;
        let bound = most(|limits| limits.out_hard) + most(|limits| limits.max_fanout_per_turn) + SLACK;
        let answers = most(|limits| limits.out_high) + 2 * most(|limits| limits.max_read_per_turn) + 20_000;
        let mut worst = None;
        for index in 0..self.clients.len() {
            let socket = &self.sockets[index];
            if socket.turned_away && !socket.is_closed {
                return self.breaks("limits", format!("there is no room for client {index}, and it stays"));
            }
            if socket.is_closed || socket.rst || socket.accepted.is_none() {
                continue;
            }
            let (waits, most) = match &self.clients[index].talk {
                Talk::Rpc(rpc) if self.hears[index] => (rpc.due.0.saturating_sub(socket.written), bound),
                Talk::Line(line) if self.hears[index] => (line.told.saturating_sub(socket.written), bound),
                Talk::Echo(_) => (socket.read - socket.written.min(socket.read), answers),
                _ => continue,
            };
            if waits > most {
                worst = Some((index, waits, most));
            }
        }
        if let Some((index, waits, most)) = worst {
            self.breaks(
                "queues",
                format!("{waits} bytes wait for client {index}; its limits come to {most}"),
            );
        }
    }

    /// Looks at who is slow, and at what all have together.
    fn judge_bounds(&mut self) {
        self.judge_slow();
        self.judge_pings();
        self.judge_silence();
        self.judge_uploads();
        self.judge_gone();
    }

    /// What somebody left behind who is gone is read at once, and then the end of it: unless an answer to it is awaited, the
    /// disk is at work, or it may wait for a place to upload.
    fn judge_gone(&mut self) {
        let is_unix = self.faults.has(Fault::Unix);
        let places = self.regimes.iter().map(|limits| limits.max_uploads).min().unwrap_or(0);
        let is_free = self.jobs == 0 && self.disk.uploads() < places;
        for (index, (client, socket)) in self.clients.iter().zip(&mut self.sockets).enumerate() {
            let may_wait = match &client.talk {
                Talk::Rpc(rpc) => rpc.deferred > 0,
                Talk::Files(_) => !is_free,
                Talk::Line(_) | Talk::Echo(_) => false,
            };
            let is_gone = socket.is_open() && (socket.rst || socket.deaf && is_unix) && !may_wait;
            socket.gone = socket.gone.filter(|_| is_gone).or(is_gone.then_some(self.now));
            if let Some(since) = socket.gone
                && self.now > since.max(socket.heard) + AT_ONCE
                && self.jumps == 0
            {
                let how = format!("client {index} is gone, and nothing is read of it");
                return self.breaks("progress", how);
            }
        }
    }

    /// Who stays behind for too long is cut, and so is who takes nothing at all.
    fn judge_slow(&mut self) {
        let patience = self.most(|limits| limits.write_timeout.as_micros() as u64);
        let soft = self.most(|limits| limits.out_soft as u64);
        let time = self.most(|limits| limits.out_soft_seconds.as_micros() as u64);
        for index in 0..self.clients.len() {
            let socket = &mut self.sockets[index];
            let waits = match &self.clients[index].talk {
                // What it is told waits for the end of its batch, and that for us.
                Talk::Rpc(rpc) if rpc.deferred > 0 && rpc.has_a_batch() => 0,
                Talk::Rpc(rpc) => rpc.due.0.saturating_sub(socket.written),
                Talk::Line(line) => line.told.saturating_sub(socket.written + line.answered),
                Talk::Echo(_) | Talk::Files(_) => 0,
            };
            let is_served = self.hears[index] && !socket.rst && !socket.deaf;
            let hold = |since: &mut Option<u64>, holds: bool| {
                *since = since.filter(|_| holds).or(holds.then_some(self.now));
                *since
            };
            let behind = hold(&mut socket.behind, is_served && waits > soft);
            let unmoved = hold(&mut socket.waits, is_served && waits > 0).map(|since| since.max(socket.took));
            let is_over =
                |since: Option<u64>, time: u64| since.is_some_and(|since| self.now > since + time + LATE);
            if (is_over(behind, time) || is_over(unmoved, patience)) && self.jumps == 0 {
                let how = format!("{waits} bytes have waited for client {index} for too long");
                return self.breaks("queues", how);
            }
        }
    }

    /// Who takes too long is gone: with the rest of a line, with anything at all, or with FIN behind a refusal.
    fn judge_silence(&mut self) {
        let message = self.most(|limits| limits.message_timeout.as_micros() as u64);
        let idle = self.regimes.iter().map(|limits| limits.idle_timeout.as_micros() as u64);
        let (least, idle) = idle.fold((u64::MAX, 0), |(least, most), idle| (least.min(idle), most.max(idle)));
        if self.jumps > 0 {
            return;
        }
        for index in 0..self.clients.len() {
            let (client, socket) = (&self.clients[index], &self.sockets[index]);
            let has_passed = |since: u64, time: u64| self.now > since + time + LATE;
            if !socket.is_open() || socket.rst {
                continue;
            }
            // While it waited for us it was not waited for.
            let (is_served, served_at) = match &client.talk {
                Talk::Rpc(rpc) => (rpc.deferred == 0, rpc.answered_late),
                Talk::Line(_) => (true, 0),
                Talk::Echo(_) | Talk::Files(_) => (false, 0),
            };
            let is_alone = socket.has_read_all() && socket.why.is_none() && is_served;
            let what = if socket.refused.is_some_and(|since| has_passed(since, DRAIN_TIME)) {
                "was refused"
            } else if is_alone
                && socket.began.is_some_and(|since| match &client.talk {
                    Talk::Line(line) => line.told <= socket.written && has_passed(since, message),
                    // Nor while it did not take its answers, or others filled the turn.
                    Talk::Rpc(rpc) => {
                        let since = since.max(socket.took).max(served_at);
                        rpc.is_inside_a_text(socket.read) && has_passed(since, message)
                    }
                    Talk::Echo(_) | Talk::Files(_) => false,
                })
            {
                "says something that does not end"
            } else if is_alone
                && least > 0
                && has_passed(socket.heard.max(self.reloaded).max(served_at), idle)
                && client.awaits().is_none()
            {
                "is idle"
            } else {
                continue;
            };
            return self.breaks("progress", format!("client {index} {what} and is still there"));
        }
    }

    /// Pings are as far apart as they were asked for, and who is silent for more than three of them is gone.
    fn judge_pings(&mut self) {
        // What it asked may have waited in the server until its answers were read.
        let asked_at = |rpc: &Rpc| rpc.pinged_since.map_or(0, |(since, _)| since).max(rpc.answered_late);
        for (client, socket) in self.clients.iter().zip(&self.sockets) {
            if let Talk::Rpc(rpc) = &client.talk
                && rpc.heartbeat > 0
                && rpc.deferred == 0
                && self.jumps == 0
                && socket.is_open()
                && socket.why.is_none()
                && self.now > asked_at(rpc).max(socket.heard) + rpc.heartbeat * 3_000_000 + LATE / 2
            {
                let how = format!("client {} is silent and still there", client.who);
                return self.breaks("heartbeat", how);
            }
            if let Talk::Rpc(rpc) = &client.talk
                && let Some((since, seconds)) = rpc.pinged_since
                && self.now + 1_000 < since + rpc.pings * seconds * 1_000_000
            {
                let how = format!("client {} has got {} pings too early", client.who, rpc.pings);
                return self.breaks("heartbeat", how);
            }
        }
    }

    /// What all have not taken yet stays below its limit, and is no less than what is known of it.
    pub fn judge_memory(&mut self, stats: &Stats) {
        let (out, most) = (stats.get("out_bytes", None), self.most(|limits| limits.total_out_bytes as u64));
        if out.is_none_or(|out| out > most) {
            self.breaks("queues", format!("{out:?} bytes wait for all together, and {most} may"));
        }
        // What is said of an end is made behind the flush.
        let waits = self.known_to_wait();
        if out.is_none_or(|out| out < waits) && !self.has_ends {
            self.breaks("queues", format!("{out:?} bytes wait for all together, and {waits} are known of"));
        }
    }

    /// Bytes that are surely kept for somebody: echoes are each one's own, of what all are told the one who has taken least
    /// of it counts.
    fn known_to_wait(&self) -> u64 {
        let pairs = self.clients.iter().zip(&self.sockets).filter(|(_, socket)| is_there(socket));
        let echoed = pairs.map(|(client, socket)| self.echo_waits(client, socket)).sum::<u64>();
        self.told_and_waiting().into_iter().max().unwrap_or(0) + echoed
    }

    /// All that this client is to be sent, at most, and what it has got of it. `None`: what is said to one who is too fast, or
    /// too late, is known when he has got it.
    pub fn most_due(&self, index: usize) -> Option<u64> {
        let talk = &self.clients[index].talk;
        let is_limited = matches!(talk, Talk::Rpc(rpc) if rpc.is_limited);
        (!is_limited && self.told_to_stop.is_none()).then(|| talk.due())
    }

    /// No more than each has not taken of what it was told.
    pub fn told_and_waiting(&self) -> Vec<u64> {
        let waits = |(client, socket): (&Client, &Socket)| match &client.talk {
            Talk::Rpc(rpc) if is_there(socket) => rpc.due.0.saturating_sub(socket.written),
            Talk::Line(line) if is_there(socket) => line.told.saturating_sub(socket.written),
            _ => 0,
        };
        self.clients.iter().zip(&self.sockets).map(waits).collect()
    }

    /// Bytes of an echo that have surely left its ring, and wait for it.
    fn echo_waits(&self, client: &Client, socket: &Socket) -> u64 {
        let ring = self.most(|limits| limits.read_chunk as u64);
        let is_echo = client.wire == Wire::Echo;
        if is_echo { socket.read.saturating_sub(socket.written + ring) } else { 0 }
    }

    /// Who was cut in this turn, since all together had too much, had no less than whoever stays; and without the last one
    /// it would still have been too much.
    pub fn judge_cuts(&mut self) {
        let Some(&(last, least)) = self.cuts.iter().min_by_key(|(_, held)| held) else { return };
        let open = || self.clients.iter().zip(&self.sockets).filter(|(_, socket)| socket.is_open());
        let is_cut = |index: usize| self.cuts.iter().any(|&(cut, _)| cut == index);
        let stays = |&(index, _): &(usize, &u64)| self.sockets[index].is_open() && !is_cut(index);
        let told =
            self.waited.iter().enumerate().filter(stays).map(|(_, waits)| waits.saturating_sub(NOTICES));
        let echoed = open().map(|(client, socket)| self.echo_waits(client, socket));
        let most = told.chain(echoed).max().unwrap_or(0);
        // At most so much memory: what was appended since it had taken everything, or two pieces that are begun; a vector
        // that grows is up to twice as long as what it holds.
        let memory = |socket: &Socket| {
            let waits = socket.read - socket.written;
            2 * (socket.read - socket.whole).min(waits + 2 * PIECE as u64) + 2_000
        };
        let all: u64 = open().map(|(_, socket)| memory(socket)).sum::<u64>() + memory(&self.sockets[last]);
        let total = self.regimes.iter().map(|limits| limits.total_out_bytes as u64).min().unwrap_or(0);
        let is_known = self.clients.iter().all(|client| client.wire == Wire::Echo);
        self.cuts.clear();
        self.waited.clear();
        if least < most {
            self.breaks("queues", format!("client {last} was cut for {least} bytes, and another has {most}"));
        }
        if is_known && all <= total {
            let how = format!("client {last} was cut, and no more than {all} bytes were kept for all");
            self.breaks("queues", how);
        }
    }

    /// All have gone, and the server keeps nothing for anybody.
    pub fn judge_emptiness(&mut self, stats: &Stats) {
        let out = stats.get("out_bytes", None);
        if out != Some(0) {
            self.breaks("leftovers", format!("all have gone, and out_bytes is {out:?}"));
        }
    }
}
