//! Somebody else who works in the shared directory: he makes files shorter while they are sent.
//!
//! Nobody notices but those who are getting such a file: they are cut, unless they have got all they were promised, and
//! what they have got is the beginning of what the file was.

use std::os::fd::RawFd;

use super::client::Talk;
use super::client::files::shelf::{Content, is_given};
use super::faults::Fault;
use super::world::State;

impl State {
    /// The next bytes of this file are about to be sent.
    pub fn meddle(&mut self, file: RawFd) {
        if !self.rng.chance(self.faults.rate(Fault::ShorterFile)) {
            return;
        }
        // Of what clients have stored they know what it must hold.
        let Some(name) = self.disk.name(file).filter(|name| is_given(name)) else { return };
        let Some(&Content { id, size }) = self.shelf.known.get(&name).and_then(|all| all.last()) else {
            return;
        };
        if size == 0 {
            return;
        }
        let size = self.rng.size(0, size - 1);
        self.disk.shorten(&name, size);
        self.shelf.shorten(&name, Content { id, size });
        for client in &mut self.clients {
            if let Talk::Files(files) = &mut client.talk {
                files.may_be_closed |= files.is_getting(&name);
            }
        }
        self.faults.happened(Fault::ShorterFile);
    }

    /// All have gone: whoever has got a part of a file has got its beginning.
    pub fn judge_parts(&mut self) {
        let torn = self.clients.iter().find_map(|client| match &client.talk {
            Talk::Files(files) => files.got_wrong_part(&self.shelf),
            _ => None,
        });
        if let Some(how) = torn {
            self.breaks("files", how);
        }
    }
}
