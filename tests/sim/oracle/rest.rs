//! What must be so when nothing more can happen: at rest, behind a stop, and when all have gone.

use rawline::api::Closed;

use crate::sim::client::{Scene, Stage, Talk};
use crate::sim::faults::Fault;
use crate::sim::world::State;

impl State {
    /// Who does not read is cut, sooner or later, if the room goes on without him.
    fn judge_deaf(&mut self, index: usize) {
        let (client, socket) = (&self.clients[index], &self.sockets[index]);
        let waits = match &client.talk {
            Talk::Rpc(rpc) => rpc.due.0.saturating_sub(socket.written),
            Talk::Line(line) => line.told.saturating_sub(socket.written + line.answered),
            Talk::Files(_) if socket.waits_to_write() => {
                return self.breaks("queues", format!("client {index} takes no answer and was not cut"));
            }
            Talk::Echo(_) | Talk::Files(_) => 0,
        };
        if waits > 0 && self.hears[index] && !socket.is_closed && !socket.rst && !socket.deaf {
            self.breaks(
                "queues",
                format!("client {index} does not read, {waits} bytes wait for it, and it was not cut"),
            );
        }
    }

    /// Nothing more can happen: everybody who reads must have got all that was for him.
    pub fn judge_rest(&mut self) {
        let (now, timeout) = (self.now, self.limits.name_timeout.as_micros() as u64);
        for index in 0..self.clients.len() {
            let (client, socket) = (&self.clients[index], &self.sockets[index]);
            if let Some(why) = socket.why
                && socket.is_open()
            {
                return self.breaks("progress", format!("client {index} has ended, and stays: {why}"));
            }
            if !client.reads() && self.stopping.is_none() {
                self.judge_deaf(index);
                continue;
            }
            if client.doomed || !client.reads() || socket.rst || socket.deaf || socket.ended {
                continue;
            }
            if socket.corked && socket.is_open() {
                return self.breaks("progress", format!("the socket of client {index} is left corked"));
            }
            if client.stage == Stage::Before || socket.accepted.is_none() {
                if self.stopping.is_none() {
                    return self.breaks("progress", format!("client {index} was never accepted"));
                }
                continue;
            }
            let has_left = matches!(client.stage, Stage::Gone) && !client.eof;
            if has_left || self.stopping.is_some() {
                continue;
            }
            let is_mute = matches!(&client.talk, Talk::Line(line) if line.is_mute);
            if is_mute && !socket.is_closed && now - socket.accepted.unwrap_or(now) > timeout + 1_000_000 {
                return self.breaks("progress", format!("line user {index} has no name and is still there"));
            }
            if !self.limits.idle_timeout.is_zero() && !socket.is_closed {
                return self.breaks("progress", format!("client {index} is idle and still there"));
            }
            if let Some(what) = client.awaits() {
                return self.breaks("progress", format!("{what} (client {index}, {:?})", client.wire));
            }
            if !client.out.is_empty() && !socket.is_closed {
                return self.breaks(
                    "progress",
                    format!("client {index} has {} bytes that nobody reads", client.out.len()),
                );
            }
            if client.stage == Stage::Finished && !client.eof {
                return self.breaks("progress", format!("client {index} has sent FIN and is still there"));
            }
            let is_refused = match &client.talk {
                Talk::Rpc(rpc) => rpc.may_be_refused && rpc.todo == 0,
                Talk::Files(files) => files.must_be_closed,
                Talk::Line(_) | Talk::Echo(_) => false,
            };
            if is_refused && !client.eof {
                return self
                    .breaks("progress", format!("client {index} was to be refused and is still there"));
            }
            if let Talk::Rpc(rpc) = &client.talk
                && rpc.heartbeat > 0
                && !socket.is_closed
            {
                return self.breaks("heartbeat", format!("client {index} is silent and was not cut"));
            }
        }
    }

    /// The server has stopped: what had arrived by then is answered, unless something came between.
    pub fn judge_stop(&mut self) {
        // These make a server believe that nothing had arrived.
        let blinds = [Fault::ReadAgain, Fault::Cut].iter().any(|&kind| self.faults.has(kind));
        if blinds || self.jumps > 0 {
            return;
        }
        if let Some(last) = self.sockets.iter().position(|socket| socket.requests_this_turn > 0) {
            let what = "is heard in the last turn; nobody looked who had asked meanwhile";
            return self.breaks("stop", format!("client {last} {what}"));
        }
        for index in 0..self.clients.len() {
            let bytes: Vec<u8> = self.sockets[index].outbox.drain(..).collect();
            let State { clients, sockets, rng, limits, shelf, .. } = self;
            let (client, socket) = (&mut clients[index], &mut sockets[index]);
            let is_quick = client.pace.1 <= 3_000 && client.gulp >= 100 && socket.room.1 >= 300;
            if client.owed == 0 || client.doomed || socket.rst || socket.deaf || socket.has_lost || !is_quick
            {
                continue;
            }
            let mut scene = Scene {
                rng,
                limits,
                shelf,
                stopping: true,
                is_too_late: client.is_too_late,
                turned_away: false,
            };
            if !bytes.is_empty()
                && let Err(broken) = client.hear(&bytes, &mut scene)
            {
                self.broken.get_or_insert(broken);
                return;
            }
            let owed = match &client.talk {
                Talk::Rpc(rpc) => rpc.is_owed(client.owed),
                Talk::Line(line) => line.is_owed(client.owed),
                Talk::Echo(_) if socket.written < client.owed => {
                    Some(format!("{} of {} bytes came back", socket.written, client.owed))
                }
                Talk::Files(files) => files.is_owed(client.owed).filter(|_| !shelf.disk_fails),
                Talk::Echo(_) => None,
            };
            if let Some(owed) = owed {
                return self.breaks("stop", format!("client {index} had asked before the stop: {owed}"));
            }
        }
    }

    /// Those from this one on came when nothing went wrong any more.
    pub fn judge_newcomers(&mut self, first: usize) {
        for index in first..self.clients.len() {
            let (client, socket) = (&self.clients[index], &self.sockets[index]);
            // Who is closed for what it asked, gives no name, or asked for a heartbeat and is silent, is not lost.
            let may_end = match &client.talk {
                Talk::Rpc(rpc) => rpc.heartbeat > 0,
                Talk::Line(_) => matches!(socket.why, Some(Closed::Service | Closed::NameTimeout)),
                Talk::Files(_) => true,
                Talk::Echo(_) => false,
            };
            let is_lost = client.doomed && !may_end || socket.rst || socket.turned_away;
            if is_lost || socket.accepted.is_none() {
                return self.breaks("alive", format!("client {index} came late and was not served"));
            }
        }
    }

    /// Everybody has gone: nothing may be left.
    pub fn judge_leftovers(&mut self) {
        let open =
            self.sockets.iter().filter(|socket| socket.accepted.is_some() && !socket.is_closed).count();
        if open > 0 {
            let who: Vec<usize> = (0..self.sockets.len())
                .filter(|&index| self.sockets[index].accepted.is_some() && !self.sockets[index].is_closed)
                .collect();
            self.breaks("leftovers", format!("{open} connections are open, and all have gone: {who:?}"));
        }
        if !self.room.users.is_empty() {
            self.breaks("leftovers", format!("the room holds {:?}", self.room.users));
        }
        if self.seats.iter().flatten().next().is_some() {
            self.breaks("end", "the service has not heard of every end");
        }
        let files = self.disk.open_files();
        if files > 0 {
            self.breaks("leftovers", format!("{files} files are open"));
        }
        if self.stored != self.disk.published() {
            let (told, published) = (self.stored, self.disk.published());
            self.breaks("files", format!("{published} files were stored, and {told} were told of"));
        }
        self.judge_parts();
        self.judge_disk();
    }
}
