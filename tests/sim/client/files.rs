//! A file client, in both versions: what it stores, and what it may find.
//!
//! A client has names of its own, of which it knows what they must hold, and shares others, of which it knows what they
//! may hold. Contents can be told by their bytes, so a torn file is seen by whoever gets it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use rawline::transport::codec::files::{Digest, NO_DIGEST};
use rawline::transport::files::digest::{self, Hasher};

use super::{Broken, Scene, broken};
use crate::sim::rng::Rng;
use crate::sim::room::Who;

/// What a file holds: the bytes follow from the number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Content {
    pub id: u64,
    pub size: usize,
}

impl Content {
    pub fn bytes(self) -> Vec<u8> {
        let mut rng = Rng::new(self.id);
        let mut bytes = Vec::with_capacity(self.size + 8);
        while bytes.len() < self.size {
            bytes.extend_from_slice(&rng.next().to_le_bytes());
        }
        bytes.truncate(self.size);
        bytes
    }

    /// What `sha256sum` would say; without the feature that computes it, a number that nobody checks.
    fn digest(self) -> Digest {
        let mut hasher = Hasher::default();
        hasher.update(&self.bytes());
        hasher.finish().unwrap_or_else(|| {
            let mut digest = [1; 32];
            digest[..8].copy_from_slice(&self.id.to_le_bytes());
            digest
        })
    }

    /// What the server may say that the digest is: that, or that it does not know.
    fn has_digest(self, digest: &[u8]) -> bool {
        *digest == NO_DIGEST || digest::KNOWN && *digest == self.digest()
    }
}

/// What a client says of the digest of what it stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Announced {
    Nothing,
    Digest,
    /// Another one.
    Wrong,
}

/// What all file clients know together.
#[derive(Default)]
pub struct Shelf {
    /// Everything that was ever announced under a name, or was there from the start.
    pub known: BTreeMap<String, Vec<Content>>,
    /// Uploads that began with a digest, so that they can be resumed.
    pub begun: Vec<(String, Content)>,
    /// Those of them that somebody broke off, and how many of all were resumed.
    pub broken_off: Vec<(String, Content)>,
    pub resumed: u64,
    pub max_upload_bytes: usize,
    pub writable: bool,
    pub deletes: bool,
    pub disk_fails: bool,
    pub little_endian: bool,
    numbers: u64,
}

impl Shelf {
    pub fn content(&mut self, rng: &mut Rng, size: usize) -> Content {
        self.numbers += 1;
        Content { id: rng.next() ^ self.numbers, size }
    }

    /// Whether something of this size and digest, if that is said, was ever announced under this name.
    fn is_known(&self, name: &str, size: u64, digest: &[u8]) -> bool {
        let all = self.known.get(name).map(Vec::as_slice).unwrap_or_default();
        all.iter().any(|content| content.size as u64 == size && content.has_digest(digest))
    }

    /// Whether these bytes are whole under this name.
    pub fn is_whole(&self, name: &str, bytes: &[u8]) -> bool {
        self.known.get(name).is_some_and(|all| {
            all.iter().any(|content| content.size == bytes.len() && content.bytes() == bytes)
        })
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
    versions: u8,
    /// It stops in the middle of an upload, and does nothing more.
    pub breaks_off: bool,
    pub has_broken_off: bool,
    /// Answers that must come, and what it knew of its own names when it asked.
    awaited: VecDeque<(Awaited, Own)>,
    own: Own,
    /// Version 2's bytes, once the server wants them.
    body: Vec<u8>,
    pub is_putting: bool,
    buffer: Vec<u8>,
    /// It may be closed for something that it asked.
    pub may_be_closed: bool,
    pub is_late: bool,
    pub has_ended: bool,
}

impl FileTalk {
    pub fn new(who: Who, todo: usize, versions: u8, breaks_off: bool) -> Self {
        Self {
            who,
            todo,
            versions,
            breaks_off,
            has_broken_off: false,
            awaited: VecDeque::new(),
            own: BTreeMap::new(),
            body: Vec::new(),
            is_putting: false,
            buffer: Vec::new(),
            may_be_closed: false,
            is_late: false,
            has_ended: false,
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
        let name = self.name(scene);
        // What breaks off is an upload.
        let kind = if self.breaks_off && self.todo == 0 { 11 } else { scene.rng.range(0, 11) };
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
            5 if two => {
                out.push_back(0x15);
                short_name(out, &name);
                let view = self.own.clone();
                if scene.shelf.writable && scene.shelf.deletes {
                    self.changed(&name, None, !scene.shelf.disk_fails);
                }
                self.awaited.push_back((Awaited::Delete(name), view));
            }
            6 if two && self.todo == 0 => {
                out.push_back(0x1e);
                self.ask(Awaited::Unknown(0x1e));
                self.may_be_closed = true;
                self.has_ended = true;
            }
            6 if self.todo == 0 => {
                out.push_back(0x77);
                self.may_be_closed = true;
                self.has_ended = true;
            }
            _ if two => self.put_two(scene, name, out),
            _ => self.put_one(scene, name, out),
        }
        true
    }

    fn ask(&mut self, awaited: Awaited) {
        self.awaited.push_back((awaited, self.own.clone()));
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
        if is_too_large && size > scene.limits.drain_max {
            // More than is read for nothing: there are no words for that.
            (self.may_be_closed, self.has_ended) = (true, true);
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
            self.may_be_closed |= scene.shelf.disk_fails;
            self.changed(&name, Some(content), !scene.shelf.disk_fails);
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
        let mut digest = if announced == Announced::Nothing { NO_DIGEST } else { content.digest() };
        digest[7] ^= u8::from(announced == Announced::Wrong);
        out.extend(digest);
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

    pub fn receive(&mut self, bytes: &[u8], scene: &mut Scene<'_>) -> Result<(), Broken> {
        self.buffer.extend_from_slice(bytes);
        while let Some((awaited, view)) = self.awaited.front().cloned() {
            let Some(used) = self.answer(&awaited, &view, scene)? else { return Ok(()) };
            self.buffer.drain(..used);
            self.awaited.pop_front();
        }
        if self.buffer.is_empty() || self.is_late {
            Ok(())
        } else {
            broken(
                "files",
                format!("client {} got {} bytes that it did not ask for", self.who, self.buffer.len()),
            )
        }
    }

    /// How many bytes the answer has, once it is whole.
    fn answer(
        &mut self,
        awaited: &Awaited,
        view: &Own,
        scene: &mut Scene<'_>,
    ) -> Result<Option<usize>, Broken> {
        let bytes = std::mem::take(&mut self.buffer);
        let used = self.judge(&bytes, awaited, view, scene);
        self.buffer = bytes;
        used
    }

    fn judge(
        &mut self,
        bytes: &[u8],
        awaited: &Awaited,
        view: &Own,
        scene: &mut Scene<'_>,
    ) -> Result<Option<usize>, Broken> {
        let shelf = &mut *scene.shelf;
        let mut at = Reader { bytes, at: 0, little: false };
        match awaited {
            Awaited::ListOne => {
                at.little = shelf.little_endian;
                let Some(count) = at.u32() else { return Ok(None) };
                let mut names = Vec::new();
                for _ in 0..count {
                    let Some(field) = at.take(256) else { return Ok(None) };
                    let end = field.iter().position(|&byte| byte == 0).unwrap_or(256);
                    if field[end..].iter().any(|&byte| byte != 0) {
                        return broken("files", "a name in a list has bytes behind its end");
                    }
                    names.push(String::from_utf8_lossy(&field[..end]).into_owned());
                }
                self.judge_list(&names, view, shelf)?;
            }
            Awaited::GetOne(name) => {
                at.little = shelf.little_endian;
                let Some(size) = at.u64() else { return Ok(None) };
                if size > bytes.len() as u64 - 8 {
                    if size > 40_000_000 {
                        return broken("files", format!("the size of {name:?} is said to be {size}"));
                    }
                    return Ok(None);
                }
                let Some(content) = at.take(size as usize) else { return Ok(None) };
                self.judge_content(name, (0, 0, None), content, view, shelf)?;
            }
            _ => {
                let Some(&[opcode, status]) = at.take(2).and_then(|two| two.first_chunk()) else {
                    return Ok(None);
                };
                let Some(text) = at.u16() else { return Ok(None) };
                let Some(text) = at.take(usize::from(text)) else { return Ok(None) };
                let text = String::from_utf8_lossy(text).into_owned();
                if (status == 0) != text.is_empty() {
                    return broken("files", format!("status {status} with the text {text:?}"));
                }
                if status == 11 && scene.stopping {
                    self.is_late = true;
                    self.is_putting = false;
                    return Ok(Some(at.at));
                }
                if !self.judge_two(awaited, view, (opcode, status, &text), &mut at, shelf)? {
                    return Ok(None);
                }
                if let (Awaited::GoAhead(name, content, announced), 0) = (awaited, status) {
                    let have =
                        u64::from_be_bytes(bytes[at.at - 8..at.at].try_into().expect("eight")) as usize;
                    let stored = Awaited::Stored(name.clone(), *content, *announced);
                    self.awaited.insert(1, (stored, self.own.clone()));
                    let mut body = VecDeque::new();
                    self.send_body(scene, name, *content, have, &mut body);
                    if self.has_broken_off && *announced == Announced::Digest {
                        scene.shelf.broken_off.push((name.clone(), *content));
                    }
                    self.body = body.into();
                }
            }
        }
        Ok(Some(at.at))
    }

    /// An answer of version 2, behind its text; whether it is whole.
    fn judge_two(
        &mut self,
        awaited: &Awaited,
        view: &Own,
        (opcode, status, text): (u8, u8, &str),
        at: &mut Reader<'_>,
        shelf: &mut Shelf,
    ) -> Result<bool, Broken> {
        let disk_failed = shelf.disk_fails && matches!(status, 5 | 9);
        let wrong = |what: &str| {
            broken("files", format!("{awaited:?} was answered {opcode:#x} {status} {text:?}: {what}"))
        };
        let refused =
            |allowed: &[u8]| if allowed.contains(&status) || disk_failed { Ok(true) } else { wrong("why?") };
        match awaited {
            Awaited::ListTwo => {
                if opcode != 0x11 {
                    return wrong("opcode");
                }
                if status != 0 {
                    return refused(&[]);
                }
                let Some(count) = at.u32() else { return Ok(false) };
                let mut names = Vec::new();
                for _ in 0..count {
                    let Some(length) = at.u16() else { return Ok(false) };
                    let Some(name) = at.take(usize::from(length)) else { return Ok(false) };
                    names.push(String::from_utf8_lossy(name).into_owned());
                    let Some(rest) = at.take(17) else { return Ok(false) };
                    let size = u64::from_be_bytes(rest[..8].try_into().expect("eight"));
                    let name = names.last().expect("it was just put there");
                    if rest[16] == 1 {
                        let Some(digest) = at.take(32) else { return Ok(false) };
                        if !shelf.is_known(name, size, digest) {
                            return wrong(&format!("{name:?} has not this digest"));
                        }
                    }
                }
                self.judge_list(&names, view, shelf)?;
            }
            Awaited::GetTwo(name, offset, length) => {
                if opcode != 0x12 {
                    return wrong("opcode");
                }
                if status != 0 {
                    if status == 7 {
                        let known = shelf.known.get(name).map(Vec::as_slice).unwrap_or_default();
                        let is_beyond = |content: &Content| (content.size as u64) < *offset;
                        let own = view.get(name).map(|own| own.iter().flatten().any(is_beyond));
                        return if own.unwrap_or_else(|| known.iter().any(is_beyond)) {
                            Ok(true)
                        } else {
                            wrong("it begins within the file")
                        };
                    }
                    let must_be = must_be(view, name, shelf);
                    return refused(if !is_good(name) {
                        &[2]
                    } else if must_be {
                        &[]
                    } else {
                        &[1]
                    });
                }
                let Some(size) = at.u64() else { return Ok(false) };
                let Some(_mtime) = at.u64() else { return Ok(false) };
                let Some(follows) = at.u64() else { return Ok(false) };
                if *offset > size
                    || follows != if *length == 0 { size - offset } else { (size - offset).min(*length) }
                {
                    return wrong(&format!("{follows} bytes of {size} follow"));
                }
                let Some(content) = at.take(follows as usize) else { return Ok(false) };
                self.judge_content(name, (*offset, follows, Some(size)), content, view, shelf)?;
            }
            Awaited::Stat(name) => {
                if opcode != 0x14 {
                    return wrong("opcode");
                }
                if status != 0 {
                    let must_be = must_be(view, name, shelf);
                    return refused(if !is_good(name) {
                        &[2]
                    } else if must_be {
                        &[]
                    } else {
                        &[1]
                    });
                }
                let Some(size) = at.u64() else { return Ok(false) };
                let Some(rest) = at.take(40) else { return Ok(false) };
                if !shelf.is_known(name, size, &rest[8..]) {
                    return wrong("nobody has stored this");
                }
            }
            Awaited::Delete(name) => {
                if opcode != 0x15 {
                    return wrong("opcode");
                }
                let allowed = shelf.writable && shelf.deletes;
                let must_be = must_be(view, name, shelf);
                if status != 0 {
                    return match (is_good(name), allowed, must_be) {
                        (false, _, _) => refused(&[2]),
                        (_, false, _) => refused(&[3]),
                        (_, _, true) => refused(&[]),
                        (_, _, false) => refused(&[1]),
                    };
                }
                if !allowed {
                    return wrong("it may not");
                }
            }
            Awaited::GoAhead(name, content, announced) => {
                if opcode != 0x13 {
                    return wrong("opcode");
                }
                if status != 0 {
                    self.is_putting = false;
                    return if !is_good(name) {
                        refused(&[2])
                    } else if !shelf.writable {
                        refused(&[3])
                    } else if content.size > shelf.max_upload_bytes {
                        refused(&[4])
                    } else {
                        refused(if name.starts_with("shared") { &[6] } else { &[] })
                    };
                }
                if content.size > shelf.max_upload_bytes {
                    return wrong("it is too large");
                }
                let Some(have) = at.u64() else { return Ok(false) };
                if !is_good(name) || !shelf.writable || have > content.size as u64 {
                    return wrong(&format!("go ahead, {have}"));
                }
                if have > 0 {
                    shelf.resumed += 1;
                    let begun = shelf.begun.iter().filter(|begun| (&begun.0, &begun.1) == (name, content));
                    if *announced != Announced::Digest || begun.count() < 2 {
                        return wrong(&format!("nobody ever sent {have} bytes of this"));
                    }
                }
            }
            Awaited::Stored(name, content, announced) => {
                if opcode != 0x13 {
                    return wrong("opcode");
                }
                if status == 8 && *announced == Announced::Wrong {
                    self.is_putting = false;
                    return Ok(true);
                }
                if status != 0 {
                    self.is_putting = false;
                    self.changed(name, Some(*content), false);
                    // The rest of the bytes may be on its way still: then the connection ends.
                    self.may_be_closed = true;
                    return refused(&[]);
                }
                let Some(digest) = at.take(32) else { return Ok(false) };
                if *announced == Announced::Wrong || !content.has_digest(digest) {
                    return wrong("it has another digest");
                }
                self.is_putting = false;
                self.changed(name, Some(*content), true);
            }
            Awaited::Unknown(expected) => {
                if opcode != *expected || status != 10 {
                    return wrong("it is unknown");
                }
            }
            Awaited::ListOne | Awaited::GetOne(_) => {}
        }
        Ok(true)
    }

    fn judge_list(&self, names: &[String], view: &Own, shelf: &Shelf) -> Result<(), Broken> {
        let set: BTreeSet<&str> = names.iter().map(String::as_str).collect();
        if set.len() != names.len() || !set.iter().zip(names).all(|(a, b)| a == b) {
            return broken("files", format!("a list is not sorted: {names:?}"));
        }
        if let Some(name) = names.iter().find(|name| !is_good(name) || !shelf.known.contains_key(*name)) {
            return broken("files", format!("a list shows {name:?}, which nobody has stored"));
        }
        let mut mine = view.keys().map(String::as_str).chain(shelf.known.keys().map(String::as_str));
        let missing = mine.find(|name| must_be(view, name, shelf) && !set.contains(name));
        if let Some(name) = missing {
            return broken("files", format!("a list does not show {name:?}"));
        }
        let gone = view.iter().find(|(name, may)| may[..] == [None] && set.contains(name.as_str()));
        if let Some((name, _)) = gone {
            return broken("files", format!("a list shows {name:?}, which is removed"));
        }
        Ok(())
    }

    /// Bytes of a file: from which offset on, how many, and of how many in all if that was said.
    fn judge_content(
        &mut self,
        name: &str,
        (offset, length, size): (u64, u64, Option<u64>),
        got: &[u8],
        view: &Own,
        shelf: &Shelf,
    ) -> Result<(), Broken> {
        if size.is_none() && got.is_empty() {
            // Version 1 says the same of an empty file, of none, and of one that cannot be read.
            let may_be_empty = !must_be(view, name, shelf)
                || shelf.disk_fails
                || view.get(name).is_some_and(|may| may.iter().flatten().any(|content| content.size == 0));
            let is_empty_gift =
                shelf.known.get(name).is_some_and(|all| all.iter().any(|content| content.size == 0));
            return if may_be_empty || is_empty_gift {
                Ok(())
            } else {
                broken("files", format!("{name:?} should be there, and is not"))
            };
        }
        let fits = |content: &Content| {
            size.is_none_or(|size| size == content.size as u64) && {
                let bytes = content.bytes();
                let from = offset as usize;
                let end = if size.is_none() { bytes.len() } else { from + length as usize };
                bytes.get(from..end) == Some(got)
            }
        };
        let all = shelf.known.get(name).map(Vec::as_slice).unwrap_or_default();
        let found = match view.get(name) {
            Some(may) => may.iter().flatten().find(|content| fits(content)).copied(),
            None => all.iter().find(|content| fits(content)).copied(),
        };
        let Some(found) = found else {
            return broken("files", format!("{name:?} holds what nobody stored, or only a part of it"));
        };
        if let Some(may) = self.own.get_mut(name)
            && view.get(name) == Some(may)
            && offset == 0
            && got.len() == found.size
        {
            *may = vec![Some(found)];
        }
        Ok(())
    }

    /// What must be under its own names at the end.
    pub fn certain(&self) -> impl Iterator<Item = (&str, Option<Content>)> {
        self.own.iter().filter(|(_, may)| may.len() == 1).map(|(name, may)| (name.as_str(), may[0]))
    }

    pub fn awaits(&self) -> Option<String> {
        if self.is_late || self.has_broken_off {
            return None;
        }
        let (first, _) = self.awaited.front()?;
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

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    little: bool,
}

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let piece = self.bytes.get(self.at..self.at + n)?;
        self.at += n;
        Some(piece)
    }

    fn u16(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes(self.take(2)?.try_into().expect("two")))
    }

    fn u32(&mut self) -> Option<u32> {
        let bytes = self.take(4)?.try_into().expect("four");
        Some(if self.little { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) })
    }

    fn u64(&mut self) -> Option<u64> {
        let bytes = self.take(8)?.try_into().expect("eight");
        Some(if self.little { u64::from_le_bytes(bytes) } else { u64::from_be_bytes(bytes) })
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

fn is_good(name: &str) -> bool {
    (1..256).contains(&name.len())
        && !name.starts_with('.')
        && !name.contains(|c: char| c == '/' || c.is_control())
}

/// Whether a client that knows this much must find the name.
fn must_be(view: &Own, name: &str, shelf: &Shelf) -> bool {
    if name.starts_with("given") {
        return shelf.known.contains_key(name) && !shelf.deletes;
    }
    view.get(name).is_some_and(|may| !may.contains(&None))
}
