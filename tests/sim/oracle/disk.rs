//! What must be on the disk, and what must not: at the start, while uploads are under way, and when all have gone.
//!
//! The disk judges each call by itself (`tests/sim/disk/`); here is what takes more than that to know.

use std::sync::Arc;

use rawline::Wire;
use rawline::limits::PARTIALS_KEPT;
use rawline::transport::codec::files::{NO_DIGEST, Version};
use rawline::transport::files::store::{Done, Job, Store};
use rawline::transport::files::upload::Put;

use crate::sim::client::{Client, Talk};
use crate::sim::disk::{PARTIAL, upload_called};
use crate::sim::world::{Socket, State};

impl State {
    /// The server has opened its directory: what was left over is gone, unless it can be resumed still, or may not be touched.
    pub fn judge_start(&mut self, left_before: &[(String, u64)]) {
        if self.shelf.disk_fails {
            return;
        }
        let left = self.disk.left_over();
        for (name, age) in left_before {
            let stays = !self.shelf.writable || name.starts_with(PARTIAL) && *age <= PARTIALS_KEPT.as_secs();
            if stays != left.iter().any(|(other, ..)| other == name) {
                self.breaks("files", format!("{name} was {age} s old at the start: it is to stay: {stays}"));
            }
        }
    }

    /// Looks at what a turn has done to the disk.
    pub fn judge_uploads(&mut self) {
        if let Some((rule, how)) = self.disk.wrong() {
            self.breaks(rule, how);
        }
        self.judge_told();
        let uploads = self.disk.temporaries() as u64;
        if uploads > 0 {
            // What somebody has left is a helper's until it is written and removed.
            let left = |(socket, client): (&Socket, &Client)| {
                client.wire == Wire::Files
                    && (!socket.is_open() || socket.fin || socket.rst || socket.deaf || client.doomed)
            };
            let left = self.sockets.iter().zip(&self.clients).filter(|&pair| left(pair)).count() as u64;
            if uploads > self.most(|limits| limits.max_uploads as u64) + left {
                self.breaks("limits", format!("{uploads} uploads are under way"));
            }
        }
    }

    /// What clients are told that the disk has done, it has.
    fn judge_told(&mut self) {
        if self.shelf.told.have_news()
            && let Some(deed) = self.disk.undone(&self.shelf.told)
        {
            self.breaks(
                "files",
                format!("a client was told of this, and the disk has not done it: {deed:?}"),
            );
        }
    }

    /// Who is told that there was no space, or that the disk failed, is told what was so.
    fn judge_statuses(&mut self) {
        let (happened, mut told) = (self.disk.unstored(), [0; 2]);
        for client in &self.clients {
            if let Talk::Files(files) = &client.talk {
                told = [0, 1].map(|why| told[why] + files.unstored[why]);
            }
        }
        if told[0] > happened[0] || told[1] > happened[1] {
            let how =
                format!("for want of space, and otherwise, {happened:?} calls failed, and {told:?} uploads");
            self.breaks("files", how);
        }
    }

    /// All have gone: files are whole, and hold what was stored last; nothing hidden is there but what can be resumed.
    pub fn judge_disk(&mut self) {
        self.judge_statuses();
        self.judge_told();
        let contents = self.disk.contents();
        let left = self.disk.left_over();
        for (name, bytes) in &contents {
            if let Some((digest, size)) = upload_called(name) {
                let is_whole = bytes.len() as u64 == size && !self.shelf.was_left(digest);
                let is_sound = self.shelf.is_begun(digest, bytes)
                    && !is_whole
                    && !bytes.is_empty()
                    && self.disk.is_synced(name);
                let is_left = left.iter().any(|(left, ..)| left == name) && !self.disk.is_stranded(name);
                if !self.shelf.disk_fails && is_left && !is_sound {
                    let stored = bytes.len();
                    self.breaks("files", format!("{name} is kept with {stored} bytes, and is of no use"));
                }
            } else if name.starts_with('.') {
                if self.shelf.writable
                    && left.iter().any(|(left, ..)| left == name)
                    && !self.disk.is_stranded(name)
                {
                    self.breaks("files", format!("{name} is left over"));
                }
            } else if !self.shelf.is_whole(name, bytes) {
                self.breaks("files", format!("{name:?} is torn: {} bytes", bytes.len()));
            }
        }
        for index in 0..self.clients.len() {
            let client = &self.clients[index];
            let socket = &self.sockets[index];
            let Talk::Files(files) = &client.talk else { continue };
            if client.doomed
                || socket.rst
                || self.stopping.is_some()
                || files.awaits().is_some()
                || !client.out.is_empty()
            {
                continue;
            }
            let found = files.certain().find_map(|(name, content)| {
                let bytes = contents.iter().find(|file| file.0 == name).map(|file| &file.1);
                let is_right = match (content, bytes) {
                    (None, None) => true,
                    (Some(content), Some(bytes)) => content.bytes() == *bytes,
                    _ => false,
                };
                (!is_right).then(|| name.to_owned())
            });
            if let Some(name) = found {
                self.breaks("files", format!("{name:?} does not hold what was stored last"));
            }
        }
    }

    /// No upload is under way: all the space that the disk has can be promised to one, and not a byte more; unless what
    /// broke off is given up for it, one after another.
    pub fn judge_space(&mut self, store: &Arc<Store>) {
        let reserve = self.limits.disk_reserve as u64;
        let Some(free) = self.disk.free().checked_sub(reserve) else { return };
        let begin = |size| {
            let put = Put { version: Version::One, name: "the last one".to_owned(), size, digest: NO_DIGEST };
            store.run(Job::Begin(put)).filter(|done| matches!(done, Done::Begun(_)))
        };
        let mut begun = vec![begin(free)];
        if begun[0].is_none() {
            self.breaks("leftovers", format!("{free} bytes are free, and promised to nobody who is there"));
        }
        self.disk.is_needed();
        let mut kept = self.disk.left_over();
        kept.retain(|(name, size, _)| name.starts_with(PARTIAL) && *size > 0);
        let mut promised = free;
        for before in kept {
            let one_more = self.disk.free() - reserve - promised + 1;
            begun.push(begin(one_more));
            promised += one_more;
            if begun.last().is_none_or(Option::is_none) {
                self.breaks("files", format!("{} could be given up for an upload", before.0));
            }
        }
        let one_more = self.disk.free() - reserve - promised + 1;
        if self.broken.is_none() && begin(one_more).is_some() {
            self.breaks("files", "space is promised twice");
        }
        if let Some((rule, how)) = self.disk.wrong() {
            self.breaks(rule, how);
        }
    }
}
