//! How the loop drives file connections: commands to helpers, what they found to the socket, uploads to the disk.
//!
//! Owns no state of its own: a connection's is its `Session`, what all share is `Files`. Nothing here waits for a
//! disk. Files are sent in bites, in turn, so that neither a chat nor another download waits for a long one.

use super::EventLoop;
use crate::api::{Closed, ConnId, Service};
use crate::limits::{FILE_BITE, FILE_BYTES_PER_TURN, LIST_BYTES};
use crate::log;
use crate::transport::codec::files::{self, Command, MAX_REQUEST, Request, Status, Step, Version};
use crate::transport::codec::jsonrpc::framer::Input;
use crate::transport::connection::Phase;
use crate::transport::files::session::{Asked, Receiving, Sent, Session, State};
use crate::transport::files::store::{Done, Job, Refusal};
use crate::transport::files::upload::Put;
use crate::transport::io::Io;

impl<I: Io, S: Service> EventLoop<I, S> {
    /// Takes the next thing out of a file connection's ring; `false` when there is nothing to take.
    pub(super) fn file_command(&mut self, id: ConnId, input: &mut Input) -> bool {
        let Some(files) = &self.files else {
            // Nothing is shared, and still somebody listens: a library user's mistake.
            self.end(id, Closed::Broken, Phase::Over(false));
            return false;
        };
        let Some(session) = self.hub.conns.get_mut(id).and_then(|conn| conn.session_mut()) else {
            return false;
        };
        match &mut session.state {
            State::Command => {
                let available = input.ring.len().min(MAX_REQUEST);
                let bytes = input.ring.front(available, &mut self.scratch);
                match files::decode(bytes, files.store.share.byte_order) {
                    Step::Dry => return false,
                    Step::Request(request, length, skip) => {
                        input.ring.consume(length);
                        self.obey(id, request, skip);
                    }
                    Step::Unknown(opcode) => self.reject_opcode(id, opcode),
                }
                true
            }
            State::Skip(left) => {
                let n = usize::try_from(*left).unwrap_or(usize::MAX).min(input.ring.len());
                input.ring.consume(n);
                *left -= n as u64;
                if *left == 0 {
                    session.state = State::Command;
                    return true;
                }
                n > 0
            }
            State::Upload(receiving) => {
                let mut moved = false;
                while let Some(room) = receiving.room() {
                    let bytes = input.ring.run(0);
                    let n = bytes.len().min(room.len());
                    if n == 0 {
                        break;
                    }
                    room[..n].copy_from_slice(&bytes[..n]);
                    input.ring.consume(n);
                    receiving.arrived(n);
                    moved = true;
                }
                self.write_upload(id) || moved
            }
            State::Queued(_) | State::Asked(_) => false,
        }
    }

    /// Begins what a client asks for, or says why not.
    fn obey(&mut self, id: ConnId, request: Request, skip: u64) {
        let Some(files) = &mut self.files else { return };
        let Some(conn) = self.hub.conns.get_mut(id) else { return };
        self.hub.counters.frames_in += 1;
        let Request { version, command, name, offset, length, digest } = request;
        let asked = Asked { version, command, offset, length };
        let (share, most) = (&files.store.share, self.hub.limits.max_upload_bytes as u64);
        let refused = match (command, &name) {
            _ if conn.late => Some((Status::ShuttingDown, "the server is shutting down")),
            (_, None) => Some((Status::BadName, "the name is bad")),
            (Command::Put, _) if !share.writable => Some((Status::ReadOnly, "files cannot be stored here")),
            (Command::Put, _) if length > most => {
                self.hub.counters.max_upload_bytes += 1;
                Some((Status::TooLarge, "larger than max_upload_bytes"))
            }
            (Command::Delete, _) if !(share.writable && share.delete) => {
                Some((Status::ReadOnly, "files cannot be removed here"))
            }
            _ => None,
        };
        let Some(session) = conn.session_mut() else { return };
        if let Some((status, text)) = refused {
            self.answer_refusal(id, asked, &Refusal::new(status, text));
            if skip > 0
                && let Some(session) = self.hub.conns.get_mut(id).and_then(|conn| conn.session_mut())
            {
                session.state = State::Skip(skip);
            }
            return;
        }
        let name = name.unwrap_or_default();
        session.state = State::Asked(asked);
        let job = match command {
            Command::List => Job::List(version),
            Command::Get => Job::Open(name),
            Command::Stat => Job::Stat(name),
            Command::Delete => Job::Delete(name),
            Command::Put => {
                let put = Put { version, name, size: length, digest };
                if files.uploading >= self.hub.limits.max_uploads {
                    self.hub.counters.max_uploads += 1;
                    session.state = State::Queued(put);
                    files.waiting.push_back(id);
                    return;
                }
                files.uploading += 1;
                session.has_place = true;
                Job::Begin(put)
            }
        };
        files.submit(id, job);
    }

    /// Version 1 has no words for a refusal: a GET is told that there are no bytes, a small PUT is read and thrown
    /// away, and everything else ends the connection.
    fn answer_refusal(&mut self, id: ConnId, asked: Asked, refusal: &Refusal) {
        let drain_max = self.hub.limits.drain_max as u64;
        self.hub.counters.file_refusals += 1;
        self.give_place_back(id);
        let order = self.files.as_ref().map(|files| files.store.share.byte_order).unwrap_or_default();
        let Some(session) = self.hub.conns.get_mut(id).and_then(|conn| conn.session_mut()) else { return };
        session.state = State::Command;
        match (asked.version, asked.command) {
            (Version::Two, command) => {
                files::head(&mut session.out, command as u8, refusal.status, &refusal.text);
            }
            (Version::One, _) if refusal.status == Status::ShuttingDown => {
                return self.give_up(id, &refusal.text);
            }
            (Version::One, Command::Get) => files::size(&mut session.out, order, 0),
            (Version::One, Command::Put) if asked.length <= drain_max => {
                session.state = State::Skip(asked.length);
                log::debug("files", format_args!("{id}: PUT refused: {}", refusal.text));
                return self.enqueue(id);
            }
            (Version::One, _) => return self.give_up(id, &refusal.text),
        }
        self.queue_sender(id);
    }

    fn reject_opcode(&mut self, id: ConnId, opcode: u8) {
        if let Some(session) = self.hub.conns.get_mut(id).and_then(|conn| conn.session_mut())
            && (0x10..=0x1f).contains(&opcode)
        {
            files::head(&mut session.out, opcode, Status::UnknownCommand, "unknown command");
            self.refuse(id, Closed::BadFrame);
            return self.queue_sender(id);
        }
        self.give_up(id, "unknown command");
    }

    /// Closes a connection that cannot be told why.
    fn give_up(&mut self, id: ConnId, why: &str) {
        if let Some(conn) = self.hub.conns.get(id) {
            log::info("files", format_args!("{id} {}: closed: {why}", conn.peer));
        }
        self.end(id, Closed::Broken, Phase::Over(false));
    }

    /// A helper has done something for this connection, if that is still there.
    pub(super) fn file_done(&mut self, id: ConnId, done: Done) {
        let Some(files) = &mut self.files else { return };
        match &done {
            Done::Stored { name, size, .. } => self.dispatcher.uploaded(&mut self.hub, name, *size),
            Done::Failed(refusal) if refusal.status == Status::NoSpace => self.hub.counters.disk_reserve += 1,
            _ => {}
        }
        let conn = self.hub.conns.get_mut(id).filter(|conn| conn.phase == Phase::Open);
        let session = conn.and_then(|conn| {
            // While a helper was at work, or the place another's, nobody waited for the client.
            conn.heard = self.hub.now;
            conn.session_mut()
        });
        let Some(session) = session else {
            // It has gone meanwhile: its upload is left to be resumed, or removed, and a file is closed.
            match done {
                Done::Begun(upload) | Done::Written(upload, _) => {
                    files.submit(id, Job::Leave(upload, Vec::new()));
                }
                _ => {}
            }
            return;
        };
        match (done, &mut session.state) {
            (Done::Warmed(until), _) => {
                session.warmed(until);
                return self.queue_sender(id);
            }
            (Done::Hashing(hashing), _) => return files.submit(id, Job::Hash(hashing)),
            (Done::Begun(upload), _) if upload.is_behind() => return files.submit(id, Job::CatchUp(upload)),
            (Done::Listed(answer), &mut State::Asked(asked)) => {
                if files.listed + answer.len() > LIST_BYTES {
                    let refusal = Refusal::new(Status::Busy, "others have not read their lists yet");
                    return self.answer_refusal(id, asked, &refusal);
                }
                files.listed += answer.len();
                session.listed = answer.len();
                session.out = answer;
                session.state = State::Command;
            }
            (Done::Opened(file, meta), &mut State::Asked(asked)) => {
                if asked.offset > meta.size {
                    let refusal = Refusal::new(Status::BadOffset, "beyond the end of the file");
                    files.submit(id, Job::Close(file.into()));
                    return self.answer_refusal(id, asked, &refusal);
                }
                let rest = meta.size - asked.offset;
                let length = if asked.length == 0 { rest } else { rest.min(asked.length) };
                match asked.version {
                    Version::One => files::size(&mut session.out, files.store.share.byte_order, length),
                    Version::Two => files::got(&mut session.out, meta.size, meta.mtime.0, length),
                }
                if length > 0 {
                    session.attach(file, asked.offset, length);
                }
                session.state = State::Command;
            }
            (Done::Known(meta, digest), _) => {
                files::stat(&mut session.out, meta.size, meta.mtime.0, &digest);
                session.state = State::Command;
            }
            (Done::Deleted, _) => {
                files::head(&mut session.out, Command::Delete as u8, Status::Ok, "");
                session.state = State::Command;
            }
            (Done::Begun(upload), &mut State::Asked(asked)) => {
                if asked.version == Version::Two {
                    files::go_ahead(&mut session.out, upload.stored());
                }
                session.state = State::Upload(Receiving::new(asked.version, upload));
                // One that has nothing to send is finished at once.
                self.write_upload(id);
                self.enqueue(id);
            }
            (Done::Written(upload, buffer), State::Upload(receiving)) => {
                receiving.give_back(upload, buffer);
                self.write_upload(id);
                return self.enqueue(id);
            }
            (Done::Stored { digest, .. }, State::Upload(receiving)) => {
                if receiving.version == Version::Two {
                    files::stored(&mut session.out, &digest);
                }
                session.state = State::Command;
                self.give_place_back(id);
            }
            (Done::Failed(refusal), &mut State::Asked(asked)) => {
                return self.answer_refusal(id, asked, &refusal);
            }
            (Done::Failed(refusal), State::Upload(receiving)) => {
                let (version, is_unfinished) = (receiving.version, receiving.is_unfinished());
                session.state = State::Command;
                self.give_place_back(id);
                return self.upload_failed(id, version, is_unfinished, &refusal);
            }
            // Nothing else was asked of a helper.
            (_, _) => return self.give_up(id, "a helper answered what nobody asked"),
        }
        self.queue_sender(id);
        self.enqueue(id);
    }

    /// An upload that had begun could not be finished.
    fn upload_failed(&mut self, id: ConnId, version: Version, is_unfinished: bool, refusal: &Refusal) {
        self.hub.counters.file_refusals += 1;
        if version == Version::One {
            return self.give_up(id, &refusal.text);
        }
        if let Some(session) = self.hub.conns.get_mut(id).and_then(|conn| conn.session_mut()) {
            files::head(&mut session.out, Command::Put as u8, refusal.status, &refusal.text);
        }
        if is_unfinished {
            // Its bytes still come: the answer must not be destroyed by a reset.
            self.refuse(id, Closed::Broken);
        }
        self.queue_sender(id);
        self.enqueue(id);
    }

    /// Hands a helper what has arrived of an upload, unless it is at work on what came before; whether it did.
    fn write_upload(&mut self, id: ConnId) -> bool {
        if let Some(files) = &self.files
            && let Some(session) = self.hub.conns.get_mut(id).and_then(|conn| conn.session_mut())
            && let State::Upload(receiving) = &mut session.state
            && let Some((upload, buffer, filled, last)) = receiving.take()
        {
            files.submit(id, Job::Write(upload, buffer, filled, last));
            return true;
        }
        false
    }

    /// An upload is over: the next one that waits begins.
    fn give_place_back(&mut self, id: ConnId) {
        let Some(files) = &mut self.files else { return };
        let Some(session) = self.hub.conns.get_mut(id).and_then(|conn| conn.session_mut()) else { return };
        if !std::mem::take(&mut session.has_place) {
            return;
        }
        files.uploading -= 1;
        while let Some(next) = files.waiting.pop_front() {
            let conn = self.hub.conns.get_mut(next).filter(|conn| conn.phase == Phase::Open);
            let Some(session) = conn.and_then(|conn| conn.session_mut()) else { continue };
            let State::Queued(put) = std::mem::take(&mut session.state) else { continue };
            session.state = State::Asked(Asked {
                version: put.version,
                command: Command::Put,
                offset: 0,
                length: put.size,
            });
            session.has_place = true;
            files.uploading += 1;
            files.submit(next, Job::Begin(put));
            return;
        }
    }

    /// The connection says nothing more: what it was uploading is left to a helper. An answer may still be sent.
    pub(super) fn leave_files(&mut self, id: ConnId, next: Phase) {
        self.give_place_back(id);
        let Some(files) = &self.files else { return };
        let Some(session) = self.hub.conns.get_mut(id).and_then(|conn| conn.session_mut()) else { return };
        if let State::Upload(receiving) = std::mem::take(&mut session.state)
            && let Some((upload, rest)) = receiving.abandon()
        {
            files.submit(id, Job::Leave(upload, rest));
        }
        if matches!(next, Phase::Over(_)) {
            if let Some(file) = session.take_file() {
                files.submit(id, Job::Close(file));
            }
            session.out.clear();
        }
    }

    /// Puts a connection in line to send, unless its socket is full: then the kernel says when.
    pub(super) fn queue_sender(&mut self, id: ConnId) {
        if let Some(session) = self.hub.conns.get_mut(id).and_then(|conn| conn.session_mut())
            && !session.blocked
            && !std::mem::replace(&mut session.queued, true)
        {
            self.senders.push_back(id);
        }
    }

    /// A bite for everybody who has something to send, until the turn's bytes are used up: the rest comes first in the
    /// next turn.
    pub(super) fn send_files(&mut self) {
        let mut budget = FILE_BYTES_PER_TURN;
        for _ in 0..self.senders.len() {
            if budget == 0 {
                return;
            }
            if self.round == 0 {
                self.begin_round();
            }
            self.round -= 1;
            let Some(id) = self.senders.pop_front() else { return };
            budget -= self.send_file(id, budget.min(FILE_BITE)).min(budget);
        }
    }

    /// Everybody in line gets a bite before anybody gets a second. Those who are at the same place of a file stand together:
    /// the second finds in the processor's cache what the first has just touched.
    fn begin_round(&mut self) {
        let conns = &self.hub.conns;
        let place = |id: &ConnId| conns.get(*id).and_then(|conn| conn.session()).map(Session::place);
        self.senders.make_contiguous().sort_by_key(place);
        self.round = self.senders.len();
    }

    fn send_file(&mut self, id: ConnId, most: usize) -> usize {
        let (Some(files), Some(conn)) = (&mut self.files, self.hub.conns.get_mut(id)) else { return 0 };
        let (fd, is_over) = (conn.fd, matches!(conn.phase, Phase::Over(_)));
        let Some(session) = conn.session_mut() else { return 0 };
        session.queued = false;
        if is_over {
            return 0;
        }
        let (sent, then) = match session.send(&mut self.io, fd, most) {
            Ok(sent) => sent,
            Err(fault) => {
                log::debug("files", format_args!("{id}: {fault:?}"));
                self.end(id, fault.into(), Phase::Over(false));
                return 0;
            }
        };
        match then {
            Sent::All => {
                files.listed -= std::mem::take(&mut session.listed);
                if let Some(file) = session.take_file() {
                    files.submit(id, Job::Close(file));
                }
                self.enqueue(id);
            }
            Sent::More => {
                session.queued = true;
                self.senders.push_back(id);
            }
            Sent::Blocked => session.blocked = true,
            Sent::Warming => {}
            Sent::Cold(file, offset, count) => files.submit(id, Job::Warm(file, offset, count)),
            Sent::Shrunk => self.give_up(id, "the file has become shorter while it was sent"),
        }
        if sent > 0
            && let Some(conn) = self.hub.conns.get_mut(id)
        {
            conn.heard = self.hub.now;
        }
        self.hub.touch(id);
        sent
    }
}
