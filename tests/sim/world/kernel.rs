//! The kernel as the server sees it: [`Io`] on queues of bytes, and the faults of its calls.
//!
//! A call that no kernel would allow (a closed descriptor read, a registration that is not there) breaks the rule
//! "kernel".

use std::cmp::Reverse;
use std::io::{IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rawline::Wire;
use rawline::api::Peer;
use rawline::transport::io::{AcceptFault, Event, Interest, Io, IoFault, Millis, Signal, Token, Waker};

use super::{FIRST, LISTENER, PORT, State, World};
use crate::sim::faults::Fault;

impl State {
    fn socket(&mut self, fd: RawFd, call: &str) -> Option<usize> {
        let index = self.fds.get(fd as usize).copied().flatten();
        if index.is_none() {
            self.breaks("kernel", format!("{call} on descriptor {fd}, which is not open"));
        }
        self.calls += 1;
        index
    }

    fn release(&mut self, fd: RawFd, cut: bool) {
        self.seen.call(if cut { "abort" } else { "close" });
        self.note(7, fd as u64, u64::from(cut));
        self.progress();
        if let Some(listener) = self.listeners.get_mut((fd - LISTENER) as usize) {
            let (watched, was_closed) =
                (listener.watched.is_some(), std::mem::replace(&mut listener.is_closed, true));
            let waiting: Vec<usize> = listener.queue.drain(..).collect();
            for index in waiting {
                self.sockets[index].ended = true;
                self.reset(index);
            }
            if watched || was_closed {
                self.breaks("kernel", "a listener is closed twice, or while it is watched");
            }
            return;
        }
        let Some(index) = self.socket(fd, "close") else { return };
        self.fds[fd as usize] = None;
        let socket = &mut self.sockets[index];
        if let Some((token, _)) = socket.watched.take() {
            self.breaks("kernel", format!("descriptor {fd} ({token:?}) is closed while it is watched"));
        }
        let socket = &mut self.sockets[index];
        socket.fd = None;
        (socket.is_closed, socket.was_cut) = (true, cut);
        let unread = !socket.inbox.is_empty();
        if cut || unread || socket.rst {
            // RST: what was not delivered may be lost.
            (socket.has_lost, socket.was_behind) = (true, !socket.outbox.is_empty());
            socket.outbox.clear();
        }
        self.see_end(index, cut);
        self.judge_close(index, cut, unread);
        self.rouse(index);
    }

    /// How long a listener must rest that found nothing to accept with so often, in microseconds: 10 ms, then twice as
    /// long each time.
    fn rest_of(&self, at: usize) -> u64 {
        let rests = self.listeners[at].rests.clamp(1, 20) - 1;
        (10_000 << rests).min(self.limits.accept_backoff.as_micros() as u64)
    }

    /// A listener rests no longer than that, if somebody waits.
    fn judge_rests(&mut self) {
        for at in 0..self.listeners.len() {
            let rest = self.rest_of(at);
            let listener = &mut self.listeners[at];
            let is_awake = !listener.queue.is_empty()
                && !listener.is_closed
                && listener.starved.is_some_and(|since| self.now > since + rest);
            listener.overdue = listener.overdue.filter(|_| is_awake).or(is_awake.then_some(self.now));
            let is_late = listener.overdue.is_some_and(|since| self.now > since + 200_000);
            if is_late && self.jumps == 0 && !self.faults.has(Fault::WatchMemory) {
                self.breaks("rest", format!("listener {at} rests for too long"));
            }
        }
    }

    fn scan_for_reads(&mut self, index: usize, n: usize) {
        let most = self.most(|limits| limits.max_read_per_turn as u64);
        let piece = self.most(|limits| limits.read_chunk as u64);
        let socket = &mut self.sockets[index];
        // What is thrown away is read in whole pieces.
        let most = if socket.server_fin { most.max(piece) } else { most } as usize;
        socket.reads_this_turn += n;
        socket.read_calls_this_turn += 1;
        if socket.reads_this_turn > most && self.clients[index].wire != Wire::Files {
            let n = self.sockets[index].reads_this_turn;
            self.breaks("fair", format!("{n} bytes of one client were read in one turn"));
        }
    }

    fn give(&mut self, index: usize, from: &[&[u8]], call: &str) -> Result<usize, IoFault> {
        let room = self.sockets[index].room.1.saturating_sub(self.sockets[index].outbox.len());
        let all: usize = from.iter().map(|piece| piece.len()).sum();
        if all == 0 {
            self.breaks("kernel", format!("{call} writes nothing"));
            return Err(IoFault::WouldBlock);
        }
        if self.sockets[index].server_fin {
            self.breaks("kernel", format!("{call} writes behind FIN"));
        }
        self.judge_write(index);
        if self.faults.strike(&mut self.rng, Fault::SocketMemory) {
            self.sockets[index].starved = true;
            self.clients[index].doomed = true;
            return Err(IoFault::NoMemory);
        }
        if self.faults.strike(&mut self.rng, Fault::ResetOnWrite) {
            self.reset(index);
        }
        let socket = &mut self.sockets[index];
        if socket.rst {
            return Err(socket.fault());
        }
        if socket.deaf && self.faults.has(Fault::Unix) {
            // EPIPE: no RST will come later.
            socket.is_broken = true;
            self.clients[index].doomed = true;
            return Err(IoFault::Reset);
        }
        if socket.deaf {
            // Taken, and answered with RST.
            socket.rst = true;
            socket.inbox.clear();
            self.seen.meter.bytes_out += all as u64;
            self.progress();
            return Ok(all);
        }
        if room == 0 || self.faults.strike(&mut self.rng, Fault::WriteAgain) {
            self.sockets[index].is_blocked = true;
            return Err(IoFault::WouldBlock);
        }
        let mut n = all.min(room);
        if self.faults.strike(&mut self.rng, Fault::ShortWrite) {
            n = self.rng.size(1, n);
        }
        let socket = &mut self.sockets[index];
        let mut left = n;
        for piece in from {
            let take = piece.len().min(left);
            socket.outbox.extend(&piece[..take]);
            left -= take;
        }
        socket.written += n as u64;
        socket.is_blocked = n < all;
        self.seen.meter.bytes_out += n as u64;
        socket.took = self.now;
        self.progress();
        if self.clients[index].reads() {
            self.rouse(index);
        }
        Ok(n)
    }
}

/// What counts as one address: of IPv6 its first half, which whoever has one has all of.
fn network(host: IpAddr) -> IpAddr {
    match host.to_canonical() {
        IpAddr::V6(host) => Ipv6Addr::from(u128::from(host) >> 64 << 64).into(),
        host => host,
    }
}

impl Io for World {
    fn now(&mut self) -> Millis {
        let mut state = self.0.borrow_mut();
        state.seen.meter.clock = state.now / 1000;
        state.turn_began = state.now;
        Millis(state.seen.meter.clock)
    }

    /// What a turn does takes its time, all of it at its end.
    fn since_now(&mut self) -> Duration {
        let mut state = self.0.borrow_mut();
        let state = &mut *state;
        state.now += state.rng.range(1, 40);
        let took = state.now - state.turn_began;
        state.seen.turns.add(took);
        Duration::from_micros(took)
    }

    fn wait(&mut self, events: &mut Vec<Event>, timeout: Option<Duration>) {
        let mut state = self.0.borrow_mut();
        let state = &mut *state;
        state.turns += 1;
        events.clear();
        state.judge_turn();
        state.rung = false;
        state.judge_rests();
        state.judge_pulse(timeout);
        state.look_back();
        state.watch_for_spinning();
        state.judge_downloads(timeout);
        if state.jumps < 3 && state.faults.strike(&mut state.rng, Fault::ClockJump) {
            let jump = *state.rng.pick(&[50_000, 5_000_000, 70_000_000, 4_000_000_000]);
            state.now += jump;
            state.jumps += 1;
            // What was due in that time comes now.
            state.stirred.0 = state.now;
            let back = state.rng.range(0, 100_000) as i64 - 50_000;
            state.disk.set_clock(back);
        }
        let deadline = timeout.map(|timeout| state.now + timeout.as_micros() as u64);
        loop {
            state.run_calendar();
            if state.broken.is_some() {
                return;
            }
            if !state.signals.is_empty() && timeout != Some(Duration::ZERO) && state.rng.one_in(2) {
                // It ended the sleep before anything was looked at.
                break;
            }
            state.collect(events);
            if !events.is_empty() || std::mem::take(&mut state.woken) || !state.signals.is_empty() {
                break;
            }
            if deadline.is_some_and(|deadline| deadline <= state.now) {
                break;
            }
            if state.faults.strike(&mut state.rng, Fault::Interrupted) {
                state.progress();
                break;
            }
            let next = state.calendar.peek().map(|Reverse(entry)| entry.0);
            if next.is_none() && state.only_pulses() {
                state.asleep = true;
                break;
            }
            match next.into_iter().chain(deadline).min() {
                Some(at) => {
                    if at > state.now {
                        state.judge_sleep();
                    }
                    state.now = state.now.max(at);
                }
                None if state.asleep_for_good() => {
                    state.asleep = true;
                    break;
                }
                None => {}
            }
        }
        if state.faults.strike(&mut state.rng, Fault::Late) {
            // Somebody else had the processor.
            state.now += state.rng.range(5_000, 45_000);
        }
        state.report(events);
        if state.faults.strike(&mut state.rng, Fault::Meanwhile) {
            for _ in 0..3 {
                let index = state.rng.size(0, state.clients.len() - 1);
                if state.sockets[index].is_open() {
                    state.act(index);
                }
            }
        }
        let n = events.len() as u64;
        state.note(1, n, state.trace_of(events));
    }

    fn waker(&self) -> Waker {
        let bell = Arc::clone(&self.0.borrow().bell);
        Waker::new(move || bell.store(true, Ordering::SeqCst))
    }

    fn signal(&mut self) -> Option<Signal> {
        let mut state = self.0.borrow_mut();
        let state = &mut *state;
        // The loop asks for the next one right behind what it did about the last one.
        let taken = state.steward.files().taken.take();
        if let Some(taken) = taken {
            state.faults.happened(if taken.is_some() { Fault::Reload } else { Fault::BadReload });
            if let Some(limits) = taken {
                state.limits = limits.clone();
                state.disk.reserve(limits.disk_reserve);
                state.regimes.push(limits);
                state.reloaded = state.now;
            }
        }
        let signal = state.signals.pop_front();
        if signal.is_none() {
            // Next it reads its letters.
            state.read_mail();
        }
        if signal == Some(Signal::Terminate) {
            state.told_to_stop.get_or_insert(state.turns);
        }
        signal
    }

    fn accept(&mut self, listener: RawFd) -> Result<(RawFd, Peer), AcceptFault> {
        let mut state = self.0.borrow_mut();
        let state = &mut *state;
        state.calls += 1;
        state.seen.call("accept");
        let at = (listener - LISTENER) as usize;
        if state.listeners[at].is_closed {
            state.breaks("kernel", "a closed listener accepts");
        }
        if !state.spare_is_free
            && let Some(starved) = state.listeners[at].starved
            && state.now + 1_000 < starved + state.rest_of(at)
        {
            state.breaks("rest", "a listener without descriptors was asked again at once");
        }
        for (kind, fault) in [
            (Fault::Emfile, AcceptFault::NoDescriptors),
            (Fault::AcceptMemory, AcceptFault::NoMemory),
            (Fault::Aborted, AcceptFault::Aborted),
        ] {
            if !state.spare_is_free
                && !state.listeners[at].queue.is_empty()
                && state.faults.strike(&mut state.rng, kind)
            {
                if fault == AcceptFault::Aborted {
                    let gone = state.listeners[at].queue.pop_front().expect("it is not empty");
                    state.sockets[gone].ended = true;
                    state.reset(gone);
                    state.progress();
                } else {
                    state.listeners[at].starved = Some(state.now);
                    state.listeners[at].rests += 1;
                    state.seen.rests += 1;
                }
                state.note(2, at as u64, kind as u64);
                return Err(fault);
            }
        }
        if !state.spare_is_free {
            state.listeners[at].starved = None;
        }
        let Some(index) = state.listeners[at].queue.pop_front() else { return Err(AcceptFault::WouldBlock) };
        if !state.spare_is_free {
            state.listeners[at].rests = 0;
        }
        if state.told_to_stop.is_some() {
            state.breaks("stop", "somebody is accepted behind the stop");
        }
        let fd = match (FIRST as usize..state.fds.len()).find(|&fd| state.fds[fd].is_none()) {
            Some(fd) => fd,
            None => {
                state.fds.push(None);
                state.fds.len() - 1
            }
        };
        state.given.resize(state.given.len().max(fd + 1), false);
        if std::mem::replace(&mut state.given[fd], true) {
            state.faults.happened(Fault::Reuse);
        }
        state.fds[fd] = Some(index);
        state.note(2, at as u64, fd as u64);
        state.progress();
        state.seen.accepted += 1;
        let host = state.clients[index].host;
        let (mut open, mut of_host) = (0, 0);
        for &other in state.fds.iter().flatten() {
            open += 1;
            of_host += u32::from(network(state.clients[other].host) == network(host));
        }
        let elsewhere = if host.to_canonical().is_loopback() { 0 } else { 64 };
        let most = state.limits.max_connections_per_ip.unwrap_or(elsewhere);
        // In the order in which it is looked at.
        let full = [state.spare_is_free, open > state.limits.max_connections, most > 0 && of_host > most];
        let full = full.iter().position(|&is_full| is_full);
        if let Some(what) = full {
            state.seen.full[what] += 1;
            state.faults.counts[Fault::Full as usize] += u64::from(what > 0);
        }
        let socket = &mut state.sockets[index];
        socket.fd = Some(fd as RawFd);
        socket.accepted = Some(state.now);
        socket.turned_away = full.is_some();
        socket.heard = state.now;
        socket.took = state.now;
        let address = SocketAddr::from((host, PORT + index as u16));
        Ok((fd as RawFd, address.into()))
    }

    fn add(&mut self, fd: RawFd, token: Token, interest: Interest) -> Result<(), IoFault> {
        let mut state = self.0.borrow_mut();
        let state = &mut *state;
        state.seen.call("add");
        if (LISTENER..FIRST).contains(&fd) {
            if state.faults.strike(&mut state.rng, Fault::WatchMemory) {
                return Err(IoFault::NoMemory);
            }
            state.listeners[(fd - LISTENER) as usize].watched = Some((token, interest));
            return Ok(());
        }
        let Some(index) = state.socket(fd, "add") else { return Err(IoFault::Other(9)) };
        state.note(3, fd as u64, token.0);
        if state.faults.strike(&mut state.rng, Fault::WatchMemory) {
            state.sockets[index].starved = true;
            state.clients[index].doomed = true;
            state.seen.unwatched += 1;
            return Err(IoFault::NoMemory);
        }
        state.sockets[index].was_watched = true;
        if state.sockets[index].watched.replace((token, interest)).is_some() {
            state.breaks("kernel", format!("descriptor {fd} is added twice"));
        }
        Ok(())
    }

    fn modify(&mut self, fd: RawFd, token: Token, from: Interest, to: Interest) -> Result<(), IoFault> {
        let mut state = self.0.borrow_mut();
        let state = &mut *state;
        state.seen.call("modify");
        state.note(4, fd as u64, u64::from(to.read) * 2 + u64::from(to.write));
        if (LISTENER..FIRST).contains(&fd) {
            if state.faults.strike(&mut state.rng, Fault::WatchMemory) {
                return Err(IoFault::NoMemory);
            }
            state.listeners[(fd - LISTENER) as usize].watched = Some((token, to));
            return Ok(());
        }
        let Some(index) = state.socket(fd, "modify") else { return Err(IoFault::Other(9)) };
        if state.sockets[index].watched != Some((token, from)) {
            let watched = state.sockets[index].watched;
            state.breaks("kernel", format!("descriptor {fd} is watched for {watched:?}, not {from:?}"));
        }
        if to.write && !from.write && !state.sockets[index].is_blocked {
            state.breaks("kernel", format!("client {index} has room, and its room is waited for"));
        }
        if from == to {
            state.breaks("kernel", format!("descriptor {fd} is modified for nothing"));
        }
        if state.faults.strike(&mut state.rng, Fault::WatchMemory) {
            state.sockets[index].starved = true;
            state.clients[index].doomed = true;
            return Err(IoFault::NoMemory);
        }
        let socket = &state.sockets[index];
        let waits = socket.read.saturating_sub(socket.written);
        if to.read
            && !from.read
            && state.clients[index].wire == Wire::Echo
            && waits
                > state.most(|limits| limits.out_low as u64) + state.most(|limits| limits.read_chunk as u64)
        {
            state.breaks("queues", format!("echo {index} is read again, and {waits} bytes wait for it"));
        }
        state.see_pause(index, from, to);
        state.progress();
        state.sockets[index].told = false;
        state.sockets[index].watched = Some((token, to));
        Ok(())
    }

    fn forget(&mut self, fd: RawFd, _: Interest) {
        let mut state = self.0.borrow_mut();
        state.seen.call("modify");
        let Some(index) = state.socket(fd, "forget") else { return };
        // The connection stays, so no event of it is a stale one.
        if state.sockets[index].watched.take().is_none() {
            state.breaks("kernel", format!("descriptor {fd} is forgotten and was not watched"));
        }
    }

    fn remove(&mut self, fd: RawFd, _: Interest) {
        let mut state = self.0.borrow_mut();
        let watched = if (LISTENER..FIRST).contains(&fd) {
            state.listeners[(fd - LISTENER) as usize].watched.take()
        } else {
            let Some(index) = state.socket(fd, "remove") else { return };
            state.sockets[index].watched.take()
        };
        match watched {
            Some((token, _)) if fd >= FIRST => {
                state.graves.push(token);
                if state.graves.len() > 20 {
                    state.graves.remove(0);
                }
            }
            Some(_) => {}
            None => state.breaks("kernel", format!("descriptor {fd} is removed and was not watched")),
        }
    }

    fn read(&mut self, fd: RawFd, into: &mut [IoSliceMut<'_>; 2]) -> Result<usize, IoFault> {
        let mut state = self.0.borrow_mut();
        let state = &mut *state;
        state.seen.call("read");
        let Some(index) = state.socket(fd, "read") else { return Err(IoFault::Other(9)) };
        state.judge_read(index);
        if into[0].is_empty() && into[1].is_empty() {
            state.breaks("kernel", "a read has no room");
            return Err(IoFault::WouldBlock);
        }
        if state.faults.strike(&mut state.rng, Fault::SocketMemory) {
            state.sockets[index].starved = true;
            state.clients[index].doomed = true;
            return Err(IoFault::NoMemory);
        }
        if state.faults.strike(&mut state.rng, Fault::ResetOnRead) {
            state.reset(index);
        }
        let socket = &mut state.sockets[index];
        if socket.rst {
            return Err(socket.fault());
        }
        if socket.inbox.is_empty() {
            socket.is_reported = false;
            if socket.fin {
                socket.has_ended = true;
                state.progress();
                state.note(5, fd as u64, 0);
                return Ok(0);
            }
            socket.is_drained = true;
            return Err(IoFault::WouldBlock);
        }
        // Of a peer who is gone nothing can be reported that is not there.
        let is_watched = state.sockets[index].watched.is_some();
        if is_watched && state.faults.strike(&mut state.rng, Fault::ReadAgain) {
            state.sockets[index].is_reported = false;
            state.sockets[index].is_drained = true;
            state.progress();
            return Err(IoFault::WouldBlock);
        }
        let mut most = state.sockets[index].inbox.len().min(into[0].len() + into[1].len());
        if state.faults.strike(&mut state.rng, Fault::ShortRead) {
            most = state.rng.size(1, most);
        }
        let socket = &mut state.sockets[index];
        let mut n = 0;
        for part in into.iter_mut() {
            let take = part.len().min(most - n);
            let (front, back) = socket.inbox.as_slices();
            let first = take.min(front.len());
            part[..first].copy_from_slice(&front[..first]);
            part[first..take].copy_from_slice(&back[..take - first]);
            socket.inbox.drain(..take);
            n += take;
        }
        let fills = n == into[0].len() + into[1].len();
        let is_fresh = std::mem::replace(&mut socket.is_drained, !fills) && matches!(into[0][0], b'{' | b'[');
        if let Some(rpc) = state.clients[index].rpc() {
            rpc.is_read(socket.read, socket.read + n as u64, is_fresh);
        }
        socket.is_reported = fills;
        socket.heard = state.now;
        socket.unread = (!socket.inbox.is_empty()).then_some(state.now);
        socket.read += n as u64;
        let is_drained = socket.server_fin;
        socket.drained += if is_drained { n as u64 } else { 0 };
        state.seen.meter.bytes_in += n as u64;
        let ends = &mut state.clients[index].ends;
        while ends.front().is_some_and(|&end| end <= socket.read) {
            ends.pop_front();
            socket.began = None;
        }
        let is_inside = ends.front().is_some_and(|_| true);
        if is_inside {
            socket.began.get_or_insert(state.now);
        }
        let drained = state.sockets[index].drained;
        if is_drained {
            state.seen.drained += n as u64;
            state.seen.overfull_drains += u64::from(drained > state.limits.drain_max as u64);
        } else if n == state.limits.read_chunk {
            state.seen.full_reads[usize::from(state.clients[index].wire == Wire::Files)] += 1;
        }
        if drained
            > state.most(|limits| limits.drain_max as u64) + state.most(|limits| limits.read_chunk as u64)
        {
            state.breaks("queues", format!("{drained} bytes of client {index} were read behind FIN"));
        }
        state.scan_for_reads(index, n);
        state.note(5, fd as u64, n as u64);
        state.progress();
        state.rouse(index);
        Ok(n)
    }

    fn write(&mut self, fd: RawFd, from: &[IoSlice<'_>]) -> Result<usize, IoFault> {
        let mut state = self.0.borrow_mut();
        state.seen.call("write");
        let Some(index) = state.socket(fd, "write") else { return Err(IoFault::Other(9)) };
        let pieces: Vec<&[u8]> = from.iter().map(|slice| &**slice).collect();
        let given = state.give(index, &pieces, "write");
        state.note(6, fd as u64, given.map_or(u64::MAX, |n| n as u64));
        given
    }

    fn send_file(
        &mut self,
        fd: RawFd,
        head: &[u8],
        file: BorrowedFd<'_>,
        offset: u64,
        count: usize,
    ) -> Result<usize, IoFault> {
        let mut state = self.0.borrow_mut();
        state.seen.call("send_file");
        let Some(index) = state.socket(fd, "sendfile") else { return Err(IoFault::Other(9)) };
        state.meddle(file.as_raw_fd());
        state.judge_bite(index, file.as_raw_fd(), offset, count);
        // No more than the socket may take is copied.
        let bytes = state.disk.bytes(file.as_raw_fd(), offset, count.min(state.sockets[index].room.1));
        if head.is_empty() && bytes.is_empty() {
            return Ok(0);
        }
        let given = state.give(index, &[head, &bytes], "sendfile");
        state.count_bite(index, given.unwrap_or(0), head.len() + count);
        state.note(8, fd as u64, given.map_or(u64::MAX, |n| n as u64));
        given
    }

    fn is_cached(&mut self, file: BorrowedFd<'_>, offset: u64, count: usize) -> bool {
        let mut state = self.0.borrow_mut();
        let state = &mut *state;
        state.seen.call("is_cached");
        let (fd, end) = (file.as_raw_fd(), offset + count as u64);
        let is_cached = !state.faults.strike(&mut state.rng, Fault::ColdFile);
        if is_cached {
            state.disk.warm(fd, end);
        }
        is_cached
    }

    fn shutdown_write(&mut self, fd: RawFd) {
        let mut state = self.0.borrow_mut();
        state.seen.call("shutdown");
        let Some(index) = state.socket(fd, "shutdown") else { return };
        state.progress();
        state.sockets[index].refused = Some(state.now);
        if std::mem::replace(&mut state.sockets[index].server_fin, true) {
            state.breaks("kernel", "FIN is sent twice");
        }
        state.rouse(index);
    }

    fn give_up_spare(&mut self) -> bool {
        let mut state = self.0.borrow_mut();
        state.spare_is_free = std::mem::take(&mut state.has_spare);
        state.spare_is_free
    }

    fn keep_spare(&mut self) {
        let mut state = self.0.borrow_mut();
        (state.has_spare, state.spare_is_free) = (true, false);
    }

    fn cork(&mut self, fd: RawFd, on: bool) {
        let mut state = self.0.borrow_mut();
        state.seen.call("cork");
        if let Some(index) = state.socket(fd, "cork") {
            let was_corked = std::mem::replace(&mut state.sockets[index].corked, on);
            if was_corked == on {
                state.breaks("kernel", format!("the socket of client {index} is corked already: {on}"));
            }
        }
    }

    fn close(&mut self, fd: RawFd) {
        self.0.borrow_mut().release(fd, false);
    }

    fn abort(&mut self, fd: RawFd) {
        self.0.borrow_mut().release(fd, true);
    }
}
