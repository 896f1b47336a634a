//! What the calls that send files must heed: how much at once, to whom first, nothing that the disk is waited for, and a cork
//! for what takes more than one bite.

use std::os::fd::RawFd;
use std::time::Duration;

use rawline::limits::{FILE_BITE, FILE_BYTES_PER_TURN};

use super::State;
use crate::sim::faults::Fault;

impl State {
    /// So many bytes of a file are to be sent.
    pub(super) fn judge_bite(&mut self, index: usize, file: RawFd, offset: u64, count: usize) {
        let end = self.disk.size(file).min(offset + count as u64);
        if count == 0 {
            self.breaks("kernel", format!("nothing of a file is sent to client {index}"));
        }
        if self.disk.warm_until(file).is_some_and(|warm| warm < end) {
            self.breaks("kernel", "a file is sent, and nobody knows whether the disk is waited for");
        }
        self.judge_cork(index, file, offset, end);
        let passed = self.passed_over(index);
        if passed.is_some() || count > FILE_BITE {
            self.breaks("fair", format!("client {index} gets {count} bytes, and passes over {passed:?}"));
        }
    }

    /// What is left of a file is to be sent from here to there: more than a bite needs a cork before the first.
    fn judge_cork(&mut self, index: usize, file: RawFd, offset: u64, end: u64) {
        let number = self.disk.number(file);
        let socket = &mut self.sockets[index];
        let first = socket.bare.filter(|bare| bare.0 == number).map_or(offset, |bare| bare.1);
        socket.bare = (!socket.corked).then_some((number, first));
        if socket.bare.is_some() && end.saturating_sub(first) > FILE_BITE as u64 {
            let sent = end - first;
            self.breaks(
                "kernel",
                format!("client {index} is sent {sent} bytes of a file, and is not corked"),
            );
        }
    }

    /// Who has been given all he asked for, wants more of his file and has got none while this one got two bites.
    fn passed_over(&self, index: usize) -> Option<usize> {
        let (before, _) = self.sockets[index].bites;
        (0..self.sockets.len())
            .find(|&other| other != index && self.wants_more(other) && self.sockets[other].bites.1 < before)
    }

    /// Whether more of a file could be sent to this one.
    fn wants_more(&self, index: usize) -> bool {
        let socket = &self.sockets[index];
        // One that waits for a cold place wants nothing of the socket.
        let is_in_memory = !self.faults.has(Fault::ColdFile);
        socket.corked && socket.took_all && socket.is_open() && !socket.rst && !socket.deaf && is_in_memory
    }

    /// So many bytes were taken of those that were offered.
    pub(super) fn count_bite(&mut self, index: usize, n: usize, offered: usize) {
        let socket = &mut self.sockets[index];
        if n > 0 {
            self.bites += 1;
            socket.bites = (socket.bites.1, self.bites);
        }
        (socket.is_blocked, socket.took_all) = (n < offered, n == offered);
        self.file_bytes_this_turn += n;
        // What stands before the bytes of a file is short.
        if self.file_bytes_this_turn > FILE_BYTES_PER_TURN + 64 * self.sockets.len() {
            let n = self.file_bytes_this_turn;
            self.breaks("fair", format!("{n} bytes of files were sent in one turn"));
        }
    }

    /// A turn is over, and the server would sleep for so long.
    pub(super) fn judge_downloads(&mut self, timeout: Option<Duration>) {
        self.file_bytes_this_turn = 0;
        let is_asleep = timeout != Some(Duration::ZERO);
        if is_asleep && let Some(index) = (0..self.sockets.len()).find(|&index| self.wants_more(index)) {
            self.breaks(
                "progress",
                format!("the server sleeps, and could send client {index} more of its file"),
            );
        }
    }
}
