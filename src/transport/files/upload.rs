//! The way of an upload: a hidden temporary file, its bytes, and at the end its name.
//!
//! Owns the temporary file from [`Upload::begin`] on. Whoever drops an upload removes it, unless it has got its name or
//! can be resumed: so nothing torn and nothing stray is left, whatever happens, short of the death of the process; what
//! that leaves has no lock any more, and the next start sweeps it. Space is checked, and promised, before the first
//! byte is written. Called by helper threads only.

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use super::digest::{self, Hasher};
use super::store::{Refusal, Store, lock};
use crate::limits::{HASH_SLICE, PARTIALS_KEPT};
use crate::log;
use crate::transport::codec::files::{Digest, NO_DIGEST, Status, Version};
use crate::transport::io::{DiskFault, Meta};

/// Temporary files that mean nothing when their upload is over. Good names do not begin with a dot.
const TEMPORARY: &str = ".rawline-tmp-";
/// Temporary files that can be resumed.
const PARTIAL: &str = ".rawline-part-";

/// What a client announces.
#[derive(Clone, Debug)]
pub struct Put {
    /// What it asked in; version 1 cannot resume.
    pub version: Version,
    /// A good name.
    pub name: String,
    /// Bytes of the whole file.
    pub size: u64,
    /// Its digest, or [`NO_DIGEST`].
    pub digest: Digest,
}

impl Put {
    /// The name of what is kept of this very upload, if it can be told from others. The digest and the size say what
    /// it is; the name is only hashed in, since both together may be too long for a name.
    fn partial(&self) -> Option<String> {
        if self.version == Version::One || self.digest == NO_DIGEST {
            return None;
        }
        let digest: String = self.digest.iter().map(|byte| format!("{byte:02x}")).collect();
        // FNV-1a.
        let name = self.name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        Some(format!("{PARTIAL}{digest}-{:x}-{name:016x}", self.size))
    }
}

/// The account of the disk's space, shared by all uploads.
#[derive(Default)]
pub struct Space {
    /// Bytes that were announced and have not been written yet.
    promised: u64,
    /// Numbers temporary files.
    numbers: u64,
    /// When partials were last looked through: seconds since 1970.
    swept: u64,
    /// When the log was last told of a disk that fails: seconds since 1970.
    told: u64,
}

/// An upload under way.
pub struct Upload {
    store: Arc<Store>,
    put: Put,
    file: OwnedFd,
    temporary: String,
    /// It can be resumed if it breaks off.
    is_partial: bool,
    /// Bytes that are stored.
    stored: u64,
    /// Bytes of them that the digest has seen.
    hashed: u64,
    hasher: Hasher,
    /// Bytes that were set aside for it and are not written yet.
    promised: u64,
    /// Whoever drops it leaves the file alone: it has a name, or is kept for resuming.
    stays: bool,
}

impl Upload {
    /// Opens the temporary file, and makes sure there is room.
    ///
    /// # Errors
    /// The name is a directory's; no space; this very upload is under way; the disk.
    pub fn begin(store: &Arc<Store>, put: Put) -> Result<Box<Self>, Refusal> {
        match store.dir.meta(&put.name) {
            Ok(_) | Err(DiskFault::NotFound) => {}
            Err(DiskFault::NotRegular) => {
                return Err(Refusal::new(Status::BadName, "no regular file has this name"));
            }
            Err(fault) => return Err(fault.into()),
        }
        let partial = put.partial();
        let is_partial = partial.is_some();
        let (temporary, file, stored) = match partial {
            Some(name) => {
                let (file, stored) = open_partial(store, &name, put.size)?;
                (name, file, stored)
            }
            None => create_temporary(store)?,
        };
        let mut upload = Box::new(Self {
            store: Arc::clone(store),
            put,
            file,
            temporary,
            is_partial,
            stored,
            hashed: 0,
            hasher: Hasher::default(),
            promised: 0,
            // What was there before stays if there is no room for the rest now.
            stays: stored > 0,
        });
        let rest = upload.put.size - stored;
        store.promise(rest)?;
        (upload.promised, upload.stays) = (rest, false);
        Ok(upload)
    }

    /// Bytes that need not be sent again.
    pub fn stored(&self) -> u64 {
        self.stored
    }

    /// Bytes of the whole file.
    pub fn size(&self) -> u64 {
        self.put.size
    }

    /// What it will be called.
    pub fn name(&self) -> &str {
        &self.put.name
    }

    /// Whether there are bytes, stored before, that the digest has not seen.
    pub fn is_behind(&self) -> bool {
        digest::KNOWN && self.hashed < self.stored
    }

    /// Reads some of them.
    ///
    /// # Errors
    /// The disk.
    pub fn catch_up(mut self: Box<Self>) -> Result<Box<Self>, Refusal> {
        let end = self.stored.min(self.hashed + HASH_SLICE as u64);
        let Self { store, file, hashed, hasher, .. } = &mut *self;
        store.read_through(file, *hashed, end, hasher)?;
        *hashed = end;
        Ok(self)
    }

    /// Writes what arrived.
    ///
    /// # Errors
    /// No space; the disk. The upload is over then.
    pub fn write(mut self: Box<Self>, bytes: &[u8]) -> Result<Box<Self>, Refusal> {
        if let Err(fault) = self.store.dir.write_at(self.file.as_fd(), bytes, self.stored) {
            return Err(self.failed(fault));
        }
        self.stored += bytes.len() as u64;
        // Version 1 cannot say a digest, so nobody pays for one.
        if self.put.version == Version::Two {
            self.hasher.update(bytes);
            self.hashed = self.stored;
        }
        self.promised -= bytes.len() as u64;
        lock(&self.store.space).promised -= bytes.len() as u64;
        Ok(self)
    }

    /// Compares, syncs and renames.
    ///
    /// # Errors
    /// The digest is another than the one announced; no space; the disk.
    pub fn finish(mut self) -> Result<Digest, Refusal> {
        let hasher = std::mem::take(&mut self.hasher);
        let digest = match self.put.version {
            Version::Two => hasher.finish().unwrap_or(NO_DIGEST),
            Version::One => NO_DIGEST,
        };
        let announced = self.put.digest;
        if digest != NO_DIGEST && announced != NO_DIGEST && digest != announced {
            return Err(Refusal::new(Status::DigestMismatch, "the bytes do not have the announced digest"));
        }
        match self.store.dir.publish(self.file.as_fd(), &self.temporary, &self.put.name) {
            Ok(meta) => {
                self.stays = true;
                self.store.remember(meta, digest);
                Ok(digest)
            }
            Err(fault) => Err(self.failed(fault)),
        }
    }

    fn failed(&self, fault: DiskFault) -> Refusal {
        let refusal = Refusal::from(fault);
        let now = self.store.dir.clock().as_secs();
        // A full disk fails every upload: once a second is enough to know.
        if std::mem::replace(&mut lock(&self.store.space).told, now) == now {
            return refusal;
        }
        log::warn(
            "files",
            format_args!("{} cannot be stored: {}", log::quoted(&self.put.name), refusal.text),
        );
        refusal
    }

    /// Its client has gone: what came last is written too, if all this can be resumed.
    pub fn leave(self: Box<Self>, rest: &[u8]) {
        if self.is_partial
            && let Ok(mut upload) = self.write(rest)
            && upload.stored > 0
            && upload.store.dir.sync(upload.file.as_fd()).is_ok()
        {
            upload.stays = true;
        }
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        lock(&self.store.space).promised -= self.promised;
        if !self.stays {
            let _ = self.store.dir.remove(&self.temporary);
        }
    }
}

/// The partial of this name with the bytes it holds, or a new and empty one.
fn open_partial(store: &Store, name: &str, size: u64) -> Result<(OwnedFd, u64), Refusal> {
    match store.dir.resume(name) {
        Ok((file, Meta { size: stored, .. })) if stored <= size => return Ok((file, stored)),
        Ok(_) => store.dir.remove(name)?,
        Err(DiskFault::NotFound) => {}
        Err(fault) => return Err(fault.into()),
    }
    Ok((store.dir.create(name)?, 0))
}

fn create_temporary(store: &Store) -> Result<(String, OwnedFd, u64), Refusal> {
    loop {
        let number = {
            let mut space = lock(&store.space);
            space.numbers += 1;
            space.numbers
        };
        let name = format!("{TEMPORARY}{}-{number}", std::process::id());
        match store.dir.create(&name) {
            Ok(file) => return Ok((name, file, 0)),
            // Left over by a process that had our number.
            Err(DiskFault::Exists) => {}
            Err(fault) => return Err(fault.into()),
        }
    }
}

impl Store {
    /// Sets bytes aside for an upload. Partials are given up for it, oldest first.
    fn promise(&self, bytes: u64) -> Result<(), Refusal> {
        let mut space = lock(&self.space);
        let mut partials = None;
        let now = self.dir.clock().as_secs();
        if now.abs_diff(space.swept) > 3600 {
            space.swept = now;
            self.sweep();
        }
        loop {
            let needed = bytes.saturating_add(space.promised).saturating_add(self.reserve());
            if needed <= self.dir.free_bytes()? {
                space.promised += bytes;
                return Ok(());
            }
            let partials = partials.get_or_insert_with(|| self.partials());
            let Some((_, name)) = partials.pop_front() else {
                return Err(Refusal::new(Status::NoSpace, "no space left"));
            };
            self.remove_left_over(&name);
        }
    }

    /// Removes what was left over: temporary files at once, partials when they are old. Those that somebody works on
    /// are locked, also by another server that shares this directory.
    pub(super) fn sweep(&self) {
        for name in self.dir.names().unwrap_or_default() {
            let Ok(name) = String::from_utf8(name) else { continue };
            let is_old = || self.dir.meta(&name).is_ok_and(|meta| self.dir.age(&meta) > PARTIALS_KEPT);
            // Without digests nobody could tell whether a partial survived a power cut whole.
            if name.starts_with(TEMPORARY) || name.starts_with(PARTIAL) && (!digest::KNOWN || is_old()) {
                self.remove_left_over(&name);
            }
        }
    }

    /// What can be resumed, oldest first.
    fn partials(&self) -> VecDeque<(Meta, String)> {
        let names = self.dir.names().unwrap_or_default().into_iter();
        let ours =
            names.filter_map(|name| String::from_utf8(name).ok()).filter(|name| name.starts_with(PARTIAL));
        let mut partials: Vec<_> = ours.filter_map(|name| Some((self.dir.meta(&name).ok()?, name))).collect();
        partials.sort_by_key(|(meta, _)| meta.mtime);
        partials.into()
    }

    fn remove_left_over(&self, name: &str) {
        if self.dir.resume(name).is_ok() {
            let _ = self.dir.remove(name);
        }
    }
}
