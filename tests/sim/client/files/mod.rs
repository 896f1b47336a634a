//! A file client, in both versions: what it stores, and what it asks for.
//!
//! A client has names of its own, of which it knows what they must hold, and shares others, of which it knows what they
//! may hold. Contents can be told by their bytes, so a torn file is seen by whoever gets it. `shelf.rs` is what all of them
//! know together, `answers.rs` how one judges what it is told.

mod answers;
pub mod shelf;

use std::collections::{BTreeMap, VecDeque};

use rawline::transport::codec::files::{Digest, NO_DIGEST};
use rawline::transport::files::digest;

use super::Scene;
use crate::sim::room::Who;
use shelf::{Content, Shelf, is_good, partial};

/// What a client says of the digest of what it stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Announced {
    Nothing,
    Digest,
    /// Another one.
    Wrong,
}

impl Announced {
    /// The digest that it says.
    fn digest(self, content: Content) -> Digest {
        let mut digest = if self == Announced::Nothing { NO_DIGEST } else { content.digest() };
        digest[7] ^= u8::from(self == Announced::Wrong);
        digest
    }

    /// The hidden name under which this upload comes in, if it has one that can be known.
    fn partial(self, name: &str, content: Content) -> Option<String> {
        (self != Announced::Nothing).then(|| partial(name, content.size, &self.digest(content)))
    }
}

/// An answer that must come.
#[derive(Clone, Debug)]
enum Awaited {
    ListOne,
    ListTwo,
    GetOne(String),
    GetTwo(String, u64, u64),
    Stat(String),
    Delete(String),
    GoAhead(String, Content, Announced),
    Stored(String, Content, Announced),
    Unknown(u8),
}

/// What names of its own may hold.
type Own = BTreeMap<String, Vec<Option<Content>>>;

pub struct FileTalk {
    who: Who,
    pub todo: usize,
    /// 0: version 1; 1: version 2; 2: both.
    pub versions: u8,
    /// It stores nothing, and reads only this.
    pub only_reads: Option<&'static str>,
    /// It stops in the middle of an upload, and does nothing more.
    pub breaks_off: bool,
    pub has_broken_off: bool,
    /// Answers that must come, what it knew of its own names when it asked, and how many bytes it had said then.
    awaited: VecDeque<(Awaited, Own, u64)>,
    own: Own,
    /// Version 2's bytes, once the server wants them.
    body: Vec<u8>,
    pub is_putting: bool,
    buffer: Vec<u8>,
    /// It may be closed for something that it asked.
    pub may_be_closed: bool,
    /// It must be: there are no words for what it asked.
    pub must_be_closed: bool,
    pub is_late: bool,
    pub has_ended: bool,
    /// The statuses with which it was refused something, in version 2.
    pub refusals: Vec<u8>,
    /// How often what it sent was not stored, for want of space, and since the disk failed otherwise.
    pub unstored: [u64; 2],
    /// Commands of version 2 that were answered.
    pub obeyed: u64,
}

impl FileTalk {
    pub fn new(who: Who, todo: usize, versions: u8, breaks_off: bool) -> Self {
        Self {
            who,
            todo,
            versions,
            only_reads: None,
            breaks_off,
            has_broken_off: false,
            awaited: VecDeque::new(),
            own: BTreeMap::new(),
            body: Vec::new(),
            is_putting: false,
            buffer: Vec::new(),
            may_be_closed: false,
            must_be_closed: false,
            is_late: false,
            has_ended: false,
            refusals: Vec::new(),
            unstored: [0; 2],
            obeyed: 0,
        }
    }

    /// Whether the server waits for bytes that it has promised.
    pub fn owes_body(&self) -> bool {
        !self.body.is_empty()
    }

    pub fn has_said_all(&self) -> bool {
        self.has_ended || self.todo == 0 && self.body.is_empty() && !self.is_putting
    }

    pub fn say(&mut self, scene: &mut Scene<'_>, out: &mut VecDeque<u8>) -> bool {
        if !self.body.is_empty() {
            out.extend(std::mem::take(&mut self.body));
            return true;
        }
        if self.todo == 0 || self.is_putting || self.has_ended || self.awaited.len() > 5 {
            return false;
        }
        self.todo -= 1;
        let two = self.versions == 1 || self.versions == 2 && scene.rng.one_in(2);
        let name = self.only_reads.map_or_else(|| self.name(scene), str::to_owned);
        // What breaks off is an upload.
        let kind = match self.only_reads {
            Some(_) => 0,
            None if self.breaks_off && self.todo == 0 => 11,
            None => scene.rng.range(0, 11),
        };
        match kind {
            0..=2 if two => self.get_two(scene, &name, out),
            0..=2 => {
                out.push_back(2);
                out.extend(field(&name));
                self.ask(Awaited::GetOne(name));
            }
            3 => {
                out.push_back(if two { 0x11 } else { 1 });
                self.may_be_closed |= !two && scene.shelf.disk_fails;
                self.ask(if two { Awaited::ListTwo } else { Awaited::ListOne });
            }
            4 if two => {
                out.push_back(0x14);
                short_name(out, &name);
                self.ask(Awaited::Stat(name));
            }
            5 | 7 if two => {
                // What it has stored is there, most likely.
                let stored: Vec<&String> = self.own.keys().collect();
                let name = match &stored[..] {
                    [_, ..] if scene.rng.one_in(2) => (*scene.rng.pick(&stored)).clone(),
                    _ => name,
                };
                out.push_back(0x15);
                short_name(out, &name);
                let view = self.own.clone();
                if scene.shelf.writable && scene.shelf.deletes {
                    self.changed(&name, None, !scene.shelf.disk_fails);
                }
                self.awaited.push_back((Awaited::Delete(name), view, u64::MAX));
            }
            6 if two && self.todo == 0 => {
                out.push_back(0x1e);
                self.ask(Awaited::Unknown(0x1e));
                self.ends_it();
            }
            6 if self.todo == 0 => {
                out.push_back(0x77);
                self.ends_it();
            }
            _ if two => self.put_two(scene, name, out),
            _ => self.put_one(scene, name, out),
        }
        true
    }

    /// What it says now is answered with an end.
    fn ends_it(&mut self) {
        (self.may_be_closed, self.must_be_closed, self.has_ended) = (true, true, true);
    }

    fn ask(&mut self, awaited: Awaited) {
        self.awaited.push_back((awaited, self.own.clone(), u64::MAX));
    }

    /// Whether it waits for this file, or for the rest of it.
    pub fn is_getting(&self, name: &str) -> bool {
        let is_it = |awaited: &Awaited| matches!(awaited, Awaited::GetOne(it) | Awaited::GetTwo(it, ..) if it == name);
        self.awaited.iter().any(|(awaited, ..)| is_it(awaited))
    }

    /// Whether the server has asked for the bytes of an upload, and waits for them.
    pub fn is_sending(&self) -> bool {
        matches!(self.awaited.front(), Some((Awaited::Stored(..), ..)))
    }

    /// What it asked last ends behind so many bytes.
    pub fn ends_at(&mut self, said: u64) {
        self.awaited
            .iter_mut()
            .rev()
            .take_while(|asked| asked.2 == u64::MAX)
            .for_each(|asked| asked.2 = said);
    }

    /// What it asked with its first `said` bytes and is not answered.
    pub fn is_owed(&self, said: u64) -> Option<String> {
        let owed = self.awaited.iter().find(|asked| asked.2 <= said).filter(|_| !self.has_broken_off);
        owed.map(|(what, ..)| format!("{what:?} was not answered"))
    }

    /// Whether it has asked for what nobody knows with its first `said` bytes, and was not told so.
    pub fn is_untold(&self, said: u64) -> bool {
        matches!(self.awaited.front(), Some((Awaited::Unknown(_), _, end)) if *end <= said)
    }

    fn name(&self, scene: &mut Scene<'_>) -> String {
        match scene.rng.range(0, 9) {
            0 => match scene.rng.range(0, 5) {
                n @ 0..=2 => "n".repeat(254 + n as usize),
                _ => scene.rng.pick(&[".hidden", "a/b", "new\nline", ""]).to_string(),
            },
            1 | 2 => format!("shared {}", scene.rng.range(0, 2)),
            3 => format!("given {}", scene.rng.range(0, 3)),
            _ => format!("ö{} {}", self.who, scene.rng.range(0, 2)),
        }
    }

    fn is_own(&self, name: &str) -> bool {
        name.starts_with(&format!("ö{} ", self.who))
    }

    fn size(scene: &mut Scene<'_>) -> usize {
        let most = scene.limits.max_upload_bytes;
        if most < 100_000 && scene.rng.one_in(6) {
            return most + scene.rng.size(0, 2) - 1;
        }
        match scene.rng.range(0, 99) {
            0..=5 => 0,
            6..=60 => scene.rng.size(1, 3000),
            61..=90 => scene.rng.size(1, 40_000),
            // Around the size of the buffers that uploads go through.
            91..=96 => 128 * 1024 + scene.rng.size(0, 2) - 1,
            97 | 98 => scene.rng.size(250_000, 400_000),
            _ => scene.rng.size(500_000, 900_000),
        }
    }

    fn put_one(&mut self, scene: &mut Scene<'_>, name: String, out: &mut VecDeque<u8>) {
        let mut size = Self::size(scene);
        let is_bad = !is_good(&name) || name.starts_with("given");
        let name = if name.starts_with("given") { ".given".to_owned() } else { name };
        let is_too_large = size > scene.limits.max_upload_bytes;
        let refused = is_bad || !scene.shelf.writable || is_too_large;
        if refused && size > scene.limits.drain_max && (is_too_large || scene.rng.one_in(8)) {
            // More than is read for nothing: there are no words for that.
            self.ends_it();
        } else if refused {
            size = size.min(scene.limits.drain_max);
        }
        let content = scene.shelf.content(scene.rng, size);
        out.push_back(3);
        out.extend(field(&name));
        out.extend(if scene.shelf.little_endian {
            (size as u64).to_le_bytes()
        } else {
            (size as u64).to_be_bytes()
        });
        if !refused {
            self.announce(scene.shelf, &name, content);
            let is_refused_aloud = scene.shelf.is_tight && size > scene.limits.drain_max;
            self.may_be_closed |= scene.shelf.disk_fails || is_refused_aloud;
            self.changed(&name, Some(content), !scene.shelf.disk_fails && !scene.shelf.is_tight);
        }
        self.send_body(scene, &name, content, 0, out);
    }

    /// What this name holds from now on, for sure or perhaps.
    fn changed(&mut self, name: &str, content: Option<Content>, for_sure: bool) {
        if self.is_own(name) {
            let may = self.own.entry(name.to_owned()).or_insert_with(|| vec![None]);
            if for_sure {
                may.clear();
            }
            may.push(content);
        }
    }

    fn announce(&mut self, shelf: &mut Shelf, name: &str, content: Content) {
        shelf.known.entry(name.to_owned()).or_default().push(content);
    }

    fn send_body(
        &mut self,
        scene: &mut Scene<'_>,
        name: &str,
        content: Content,
        from: usize,
        out: &mut VecDeque<u8>,
    ) {
        let mut bytes = content.bytes();
        if self.breaks_off && self.todo == 0 && bytes.len() > from {
            bytes.truncate(from + scene.rng.size(0, bytes.len() - from - 1));
            self.has_broken_off = true;
            self.has_ended = true;
            self.may_be_closed = true;
            if let Some(may) = self.own.get_mut(name) {
                // It was not stored after all.
                may.retain(|may| *may != Some(content));
                if may.is_empty() {
                    self.own.remove(name);
                }
            }
        }
        out.extend(&bytes[from..]);
    }

    fn get_two(&mut self, scene: &mut Scene<'_>, name: &str, out: &mut VecDeque<u8>) {
        let offset = if scene.rng.one_in(2) { 0 } else { scene.rng.range(0, 3000) };
        let length = if scene.rng.one_in(2) { 0 } else { scene.rng.range(1, 5000) };
        out.push_back(0x12);
        short_name(out, name);
        out.extend(offset.to_be_bytes());
        out.extend(length.to_be_bytes());
        self.ask(Awaited::GetTwo(name.to_owned(), offset, length));
    }

    fn put_two(&mut self, scene: &mut Scene<'_>, name: String, out: &mut VecDeque<u8>) {
        let mut name = if name.starts_with("given") { "shared 0".to_owned() } else { name };
        if self.breaks_off && self.todo == 0 {
            // Somebody else may go on with it.
            name = "shared 0".to_owned();
        }
        let size = Self::size(scene);
        let mut content = scene.shelf.content(scene.rng, size);
        let mut announced =
            *scene.rng.pick(&[Announced::Nothing, Announced::Digest, Announced::Digest, Announced::Digest]);
        if scene.rng.one_in(15) && digest::KNOWN {
            announced = Announced::Wrong;
        }
        let others = match &scene.shelf.broken_off[..] {
            [] => &scene.shelf.begun[..],
            broken_off => broken_off,
        };
        if !others.is_empty() && scene.rng.one_in(2) {
            let (whose, what) = scene.rng.pick(others).clone();
            if whose.starts_with("shared") {
                (name, content, announced) = (whose, what, Announced::Digest);
            }
        }
        out.push_back(0x13);
        short_name(out, &name);
        out.extend((content.size as u64).to_be_bytes());
        let digest = announced.digest(content);
        out.extend(digest);
        scene.shelf.begins(&digest, content);
        let is_small = content.size <= scene.limits.max_upload_bytes;
        if is_good(&name) && announced != Announced::Wrong && is_small {
            self.announce(scene.shelf, &name, content);
        }
        if is_good(&name) && announced == Announced::Digest && is_small {
            scene.shelf.begun.push((name.clone(), content));
        }
        self.is_putting = true;
        self.ask(Awaited::GoAhead(name, content, announced));
    }

    pub fn certain(&self) -> impl Iterator<Item = (&str, Option<Content>)> {
        self.own.iter().filter(|(_, may)| may.len() == 1).map(|(name, may)| (name.as_str(), may[0]))
    }

    pub fn awaits(&self) -> Option<String> {
        if self.is_late || self.has_broken_off {
            return None;
        }
        let (first, ..) = self.awaited.front()?;
        Some(format!(
            "client {}: {first:?} and {} more are not answered; {} bytes have come, todo {}, may be closed {}, has ended {}",
            self.who,
            self.awaited.len() - 1,
            self.buffer.len(),
            self.todo,
            self.may_be_closed,
            self.has_ended
        ))
    }
}

fn field(name: &str) -> [u8; 256] {
    let mut field = [0; 256];
    field[..name.len()].copy_from_slice(name.as_bytes());
    field
}

fn short_name(out: &mut VecDeque<u8>, name: &str) {
    out.extend((name.len() as u16).to_be_bytes());
    out.extend(name.as_bytes());
}
