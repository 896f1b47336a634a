//! How a file client judges what it is told: each answer stands for a command of its own, and is whole, right and allowed.

use std::collections::{BTreeSet, VecDeque};

use super::shelf::{Content, Shelf, is_given, is_good};
use super::{Announced, Awaited, FileTalk, Own};
use crate::sim::client::{Broken, Scene, broken};
use crate::sim::deeds::Deed;
use crate::sim::disk::BORN;

impl FileTalk {
    pub fn receive(&mut self, bytes: &[u8], scene: &mut Scene<'_>) -> Result<(), Broken> {
        self.buffer.extend_from_slice(bytes);
        while let Some((awaited, view, _)) = self.awaited.front().cloned() {
            let Some(used) = self.answer(&awaited, &view, scene)? else { return Ok(()) };
            if scene.is_too_late && !self.is_late && !matches!(awaited, Awaited::Unknown(_)) {
                return broken("stop", format!("{awaited:?} is done behind the stop"));
            }
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
                self.obeyed += u64::from(!matches!(awaited, Awaited::Unknown(_) | Awaited::Stored(..)));
                if status != 0 && !matches!(awaited, Awaited::Unknown(_)) {
                    self.refusals.push(status);
                }
                if let (Awaited::GoAhead(name, content, announced), 0) = (awaited, status) {
                    let have =
                        u64::from_be_bytes(bytes[at.at - 8..at.at].try_into().expect("eight")) as usize;
                    let stored = Awaited::Stored(name.clone(), *content, *announced);
                    self.awaited.insert(1, (stored, self.own.clone(), self.awaited[0].2));
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
        let is_full = shelf.is_tight && status == 5 && matches!(awaited, Awaited::GoAhead(..));
        let disk_failed = shelf.disk_fails && matches!(status, 5 | 9) || is_full;
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
                    let (Some(size), Some(mtime)) = (at.u64(), at.u64()) else { return Ok(false) };
                    let Some(&[has_digest]) = at.take(1) else { return Ok(false) };
                    let digest = if has_digest == 1 { at.take(32) } else { Some(&[][..]) };
                    let Some(digest) = digest else { return Ok(false) };
                    let name = names.last().expect("it was just put there");
                    let digest = Some(digest).filter(|digest| !digest.is_empty());
                    if !is_time(mtime) || !self.may_hold(view, name, size, digest, shelf) {
                        return wrong(&format!(
                            "{name:?} is said to be {size} bytes, {digest:?}, of {mtime}"
                        ));
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
                let Some(mtime) = at.u64() else { return Ok(false) };
                let Some(follows) = at.u64() else { return Ok(false) };
                if !is_time(mtime) {
                    return wrong(&format!("it was never {mtime}"));
                }
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
                    } else if shelf.changes(name) {
                        if must_be { &[9] } else { &[1, 9] }
                    } else if must_be {
                        &[]
                    } else {
                        &[1]
                    });
                }
                let (Some(size), Some(mtime)) = (at.u64(), at.u64()) else { return Ok(false) };
                let Some(digest) = at.take(32) else { return Ok(false) };
                if !is_time(mtime) {
                    return wrong(&format!("it was never {mtime}"));
                }
                if !self.may_hold(view, name, size, Some(digest), shelf) {
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
                if self.is_nowhere(view, name) {
                    return wrong("it is not there");
                }
                shelf.told.add(Deed::Removed(name.clone()));
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
                    } else if status == 6 {
                        let Some(partial) = announced.partial(name, *content) else {
                            return wrong("nobody can work on it");
                        };
                        shelf.told.add(Deed::Busy(partial));
                        Ok(true)
                    } else {
                        refused(&[])
                    };
                }
                if content.size > shelf.max_upload_bytes {
                    return wrong("it is too large");
                }
                let Some(have) = at.u64() else { return Ok(false) };
                if !is_good(name) || !shelf.writable || have > content.size as u64 {
                    return wrong(&format!("go ahead, {have}"));
                }
                if let Some(partial) = announced.partial(name, *content) {
                    shelf.told.add(Deed::Begun(partial, have));
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
                if status == 8 && (*announced == Announced::Wrong || shelf.spoilt.contains(&content.id)) {
                    self.is_putting = false;
                    if *announced == Announced::Digest && !shelf.disk_fails {
                        // What was wrong is gone.
                        shelf.spoilt.remove(&content.id);
                    }
                    return Ok(true);
                }
                if status != 0 {
                    self.is_putting = false;
                    self.changed(name, Some(*content), false);
                    // The rest of the bytes may be on its way still: then the connection ends.
                    self.may_be_closed = true;
                    self.unstored[usize::from(status != 5)] += 1;
                    return refused(&[]);
                }
                let Some(digest) = at.take(32) else { return Ok(false) };
                if *announced == Announced::Wrong || !content.has_digest(digest) {
                    return wrong("it has another digest");
                }
                shelf.told.add(Deed::Stored(name.clone()));
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

    /// Whether a file of this size, and with this digest if one is said, may be there under this name.
    fn may_hold(&self, view: &Own, name: &str, size: u64, digest: Option<&[u8]>, shelf: &Shelf) -> bool {
        match view.get(name) {
            Some(may) => may.iter().flatten().any(|content| content.is_said(size, digest)),
            None => !self.is_own(name) && shelf.is_known(name, size, digest),
        }
    }

    /// Whether a name of its own stands for nothing, as far as it knows.
    fn is_nowhere(&self, view: &Own, name: &str) -> bool {
        self.is_own(name) && view.get(name).is_none_or(|may| may[..] == [None])
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
            None if self.is_own(name) => None,
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

    /// Of a file of which it has got a part, and will not get the rest: how that is not what the file began with.
    pub fn got_wrong_part(&self, shelf: &Shelf) -> Option<String> {
        let (awaited, ..) = self.awaited.front()?;
        let (name, offset, header) = match awaited {
            Awaited::GetOne(name) => (name, 0, 8),
            // A head without a text, two sizes and a time.
            Awaited::GetTwo(name, offset, _) if self.buffer.get(1) == Some(&0) => {
                (name, *offset as usize, 28)
            }
            _ => return None,
        };
        let got = self.buffer.get(header..)?;
        let all = shelf.known.get(name).map(Vec::as_slice).unwrap_or_default();
        let begins =
            |content: &Content| content.bytes().get(offset..).is_some_and(|rest| rest.starts_with(got));
        (!got.is_empty() && !all.iter().any(begins))
            .then(|| format!("client {} got {} bytes of {name:?} that it never held", self.who, got.len()))
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

/// Whether something may have been written then, in seconds since 1970: the clock is set by hours at most.
fn is_time(mtime: u64) -> bool {
    mtime.abs_diff(BORN) < 30 * 24 * 3600
}

/// Whether a client that knows this much must find the name.
fn must_be(view: &Own, name: &str, shelf: &Shelf) -> bool {
    if is_given(name) {
        return shelf.known.contains_key(name) && !shelf.deletes;
    }
    view.get(name).is_some_and(|may| !may.contains(&None))
}
