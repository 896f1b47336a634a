//! What is asked of the kernel: nothing for nothing, and no sleep while there is something to do.
//!
//! A server that reads a socket of which nothing was reported, or tries one again that just took nothing, burns system
//! calls; one that sleeps on output or on input is late, even if whatever wakes it up next makes it good.

use super::client::Talk;
use super::faults::Fault;
use super::world::State;

impl State {
    /// Time is about to pass: whatever can leave must have left, and whatever can be read must be watched.
    pub fn judge_sleep(&mut self) {
        let found = (0..self.clients.len()).find_map(|index| {
            let (client, socket) = (&self.clients[index], &self.sockets[index]);
            let interest = socket.interest()?;
            if socket.rst || socket.deaf {
                return None;
            }
            // What is known to hang in its outbox. What a JSON client is told may have to wait behind a batch.
            let due = match &client.talk {
                Talk::Line(line) => line.told,
                Talk::Echo(_) => socket.read,
                Talk::Rpc(_) | Talk::Files(_) => 0,
            };
            if due > socket.written && !interest.write {
                let waits = due - socket.written;
                return Some(format!("the server sleeps, and {waits} bytes for client {index} do not leave"));
            }
            if let Some(what) = self.is_forgotten(index) {
                return Some(format!("the server sleeps, and {what}"));
            }
            let is_drained = socket.server_fin && !interest.read && !socket.has_read_all();
            is_drained.then(|| format!("client {index} was refused, and the rest of its bytes is not read"))
        });
        if let Some(how) = found {
            self.breaks("sleep", how);
        }
    }

    /// What a file client has asked and is not answered, although nobody works on it: nothing more comes of it by itself.
    fn is_forgotten(&self, index: usize) -> Option<String> {
        let (client, socket) = (&self.clients[index], &self.sockets[index]);
        let Talk::Files(files) = &client.talk else { return None };
        let is_ours = socket.has_read_all() && socket.outbox.is_empty() && !socket.waits_to_write();
        if !is_ours || socket.server_fin || client.doomed || self.jobs > 0 || self.told_to_stop.is_some() {
            return None;
        }
        // One upload may wait for another's place.
        let what = files.awaits().and(files.is_owed(socket.read))?;
        (self.disk.uploads() == 0).then(|| format!("{what} (client {index})"))
    }

    /// A read of this client's socket.
    pub fn judge_read(&mut self, index: usize) {
        // At a stop those are asked whose socket nobody has watched; one whose peer is gone is watched no more.
        let is_watched = self.sockets[index].interest().is_some();
        if !self.sockets[index].is_reported && is_watched && self.told_to_stop.is_none() {
            self.breaks("calls", format!("client {index} is read, and nothing was reported of it"));
        }
    }

    /// A write to this client's socket.
    pub fn judge_write(&mut self, index: usize) {
        let socket = &self.sockets[index];
        // Before somebody is cut for what he has not read he gets a last try.
        let least = self.regimes.iter().map(|limits| limits.out_hard as u64).min().unwrap_or(0);
        let is_last_try = self.most_due(index).is_none_or(|due| due > socket.written + least);
        if socket.is_blocked && !is_last_try {
            self.breaks("calls", format!("client {index} takes nothing, and is tried again at once"));
        }
    }

    /// Whether a write may have left something behind although the socket had room, so that nobody tries before the next event.
    pub fn writes_fall_short(&self) -> bool {
        use Fault::{Cut, Meanwhile, ShortWrite, WriteAgain};
        [ShortWrite, WriteAgain, Cut, Meanwhile].iter().any(|&kind| self.faults.has(kind))
    }
}
