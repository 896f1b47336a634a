//! The shared directory, as helper threads work on it: lists, opens, digests, removal.
//!
//! Owns the directory, the cache of digests and the account of promised space; `upload.rs` holds the way of an
//! upload. Everything here may wait for a disk, so only helpers call it, by [`Store::run`]: a [`Job`] goes in, what came
//! of it goes back to the loop as a [`Done`]. Never touches a socket.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::Share;
use super::digest::{self, Hasher};
use super::upload::{Put, Space, Upload};
use crate::limits::{DIGESTS_KEPT, HASH_SLICE, LIST_BYTES, Limits, WARM_CHUNK};
use crate::transport::codec::files::{self, Digest, Entry, NO_DIGEST, Status, Version, good_name};
use crate::transport::io::{Disk, DiskFault, Meta};
use crate::transport::sys::dir::Dir;

/// Work for a helper.
pub enum Job {
    /// Which files are there?
    List(Version),
    /// Open this one.
    Open(String),
    /// What is known of this one?
    Stat(String),
    /// Go on reading this one for its digest.
    Hash(Box<Hashing>),
    /// Remove this one.
    Delete(String),
    /// Begin this upload.
    Begin(Put),
    /// Go on reading what was there of this upload, for its digest.
    CatchUp(Box<Upload>),
    /// Write so many bytes of the buffer; the last ones?
    Write(Box<Upload>, Vec<u8>, usize, bool),
    /// The client has gone: write these bytes, and keep what can be resumed.
    Leave(Box<Upload>, Vec<u8>),
    /// Bring these bytes of a file into memory.
    Warm(Arc<OwnedFd>, u64, usize),
    /// Close this file: if its name is gone, that frees its blocks, which may take a while.
    Close(Arc<OwnedFd>),
}

/// What came of it.
pub enum Done {
    /// The whole answer to LIST.
    Listed(Vec<u8>),
    /// An open file.
    Opened(OwnedFd, Meta),
    /// Size, time and digest.
    Known(Meta, Digest),
    /// There is more to read.
    Hashing(Box<Hashing>),
    /// It is removed.
    Deleted,
    /// An upload that can be written to, or must catch up first.
    Begun(Box<Upload>),
    /// Written; here is the buffer back.
    Written(Box<Upload>, Vec<u8>),
    /// The upload has its name, and is safe on the disk.
    Stored {
        /// What it is called now.
        name: String,
        /// Its size.
        size: u64,
        /// Its digest, if that is known.
        digest: Digest,
    },
    /// So far the file is in memory.
    Warmed(u64),
    /// It could not be done.
    Failed(Refusal),
}

/// Why something could not be done, as version 2 says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// For programs.
    pub status: Status,
    /// For people.
    pub text: String,
}

impl Refusal {
    /// One with this text.
    pub fn new(status: Status, text: impl Into<String>) -> Self {
        Self { status, text: text.into() }
    }
}

impl From<DiskFault> for Refusal {
    fn from(fault: DiskFault) -> Self {
        match fault {
            DiskFault::NotFound => Self::new(Status::NotFound, "no such file"),
            DiskFault::NotRegular => Self::new(Status::NotFound, "no regular file"),
            DiskFault::Busy | DiskFault::Exists => Self::new(Status::Busy, "this upload is under way"),
            DiskFault::NoSpace => Self::new(Status::NoSpace, "no space left"),
            DiskFault::Denied => Self::new(Status::Io, "permission denied"),
            DiskFault::Other(errno) => Self::new(Status::Io, format!("the disk failed (errno {errno})")),
        }
    }
}

/// A file that is being read for its digest, a slice at a time: so a helper is soon free for others, and who hangs up
/// is not read for any longer.
pub struct Hashing {
    file: OwnedFd,
    meta: Meta,
    read: u64,
    hasher: Hasher,
}

/// The shared directory.
pub struct Store {
    /// The directory.
    pub dir: Box<dyn Disk>,
    /// What the operator allows.
    pub share: Share,
    /// Bytes that stay free.
    reserve: AtomicU64,
    pub(super) space: Mutex<Space>,
    digests: Mutex<BTreeMap<Meta, Digest>>,
}

impl Store {
    /// Opens the directory and removes what was left over there by a server that died.
    ///
    /// # Errors
    /// Of open(2): there is no such directory, or it is not ours to read.
    pub fn open(share: Share, limits: &Limits) -> std::io::Result<Arc<Self>> {
        let dir = Dir::open(&share.directory)?;
        Ok(Self::on(Box::new(dir), share, limits))
    }

    /// The same on any disk: the share's `directory` is not looked at.
    pub fn on(dir: Box<dyn Disk>, share: Share, limits: &Limits) -> Arc<Self> {
        let store = Arc::new(Self {
            dir,
            share,
            reserve: AtomicU64::new(limits.disk_reserve as u64),
            space: Mutex::default(),
            digests: Mutex::default(),
        });
        if store.share.writable {
            store.sweep();
        }
        store
    }

    /// Bytes that uploads leave free from now on.
    pub fn set_reserve(&self, bytes: usize) {
        self.reserve.store(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn reserve(&self) -> u64 {
        self.reserve.load(Ordering::Relaxed)
    }

    /// Does a job. `None`: nobody waits for what comes of it.
    pub fn run(self: &Arc<Self>, job: Job) -> Option<Done> {
        let done = match job {
            Job::List(version) => self.list(version).map(Done::Listed),
            Job::Open(name) => self.open_file(&name).map(|(file, meta)| Done::Opened(file, meta)),
            Job::Stat(name) => self.stat(&name),
            Job::Hash(hashing) => self.hash(hashing),
            Job::Delete(name) => self.delete(&name),
            Job::Begin(put) => Upload::begin(self, put).map(Done::Begun),
            Job::CatchUp(upload) => upload.catch_up().map(Done::Begun),
            Job::Write(upload, buffer, filled, false) => {
                upload.write(&buffer[..filled]).map(|upload| Done::Written(upload, buffer))
            }
            Job::Write(upload, buffer, filled, true) => {
                let (name, size) = (upload.name().to_owned(), upload.size());
                let stored = upload.write(&buffer[..filled]).and_then(|upload| upload.finish());
                stored.map(|digest| Done::Stored { name, size, digest })
            }
            Job::Leave(upload, rest) => {
                upload.leave(&rest);
                return None;
            }
            Job::Warm(file, offset, count) => Ok(Done::Warmed(self.warm(&file, offset, count))),
            Job::Close(_) => return None,
        };
        Some(done.unwrap_or_else(Done::Failed))
    }

    fn open_file(&self, name: &str) -> Result<(OwnedFd, Meta), Refusal> {
        Ok(self.dir.open_file(name)?)
    }

    /// The answer to LIST. Files that vanish meanwhile, and what is no regular file, are left out. A disk that fails is told:
    /// a list that is not whole must not look like one that is.
    fn list(&self, version: Version) -> Result<Vec<u8>, Refusal> {
        let mut entries = Vec::new();
        let mut bytes = 0;
        for name in self.dir.names()? {
            let Some(name) = good_name(&name) else { continue };
            let meta = match self.dir.meta(name) {
                Ok(meta) => meta,
                Err(DiskFault::Other(errno)) => return Err(DiskFault::Other(errno).into()),
                Err(_) => continue,
            };
            bytes += 256;
            if bytes > LIST_BYTES {
                return Err(Refusal::new(Status::TooLarge, "too many files for a list"));
            }
            let digest = self.digest_of(&meta);
            entries.push(Entry { name: name.into(), size: meta.size, mtime: meta.mtime.0, digest });
        }
        entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        let mut out = Vec::new();
        files::list(&mut out, version, self.share.byte_order, &entries);
        Ok(out)
    }

    fn stat(&self, name: &str) -> Result<Done, Refusal> {
        let (file, meta) = self.dir.open_file(name)?;
        match self.digest_of(&meta) {
            Some(digest) => Ok(Done::Known(meta, digest)),
            None if !digest::KNOWN => Ok(Done::Known(meta, NO_DIGEST)),
            None => Ok(Done::Hashing(Box::new(Hashing { file, meta, read: 0, hasher: Hasher::default() }))),
        }
    }

    fn hash(&self, mut hashing: Box<Hashing>) -> Result<Done, Refusal> {
        let end = hashing.meta.size.min(hashing.read + HASH_SLICE as u64);
        let Hashing { file, read, hasher, .. } = &mut *hashing;
        self.read_through(file, *read, end, hasher)?;
        *read = end;
        if end < hashing.meta.size {
            return Ok(Done::Hashing(hashing));
        }
        let Hashing { file, meta, hasher, .. } = *hashing;
        if self.dir.meta_of(file.as_fd())? != meta {
            return Err(Refusal::new(Status::Io, "the file changed while it was read"));
        }
        let digest = hasher.finish().unwrap_or(NO_DIGEST);
        // What was written a moment ago may be written again within the same tick of the file system's clock.
        if self.dir.age(&meta) >= Duration::from_secs(2) {
            self.remember(meta, digest);
        }
        Ok(Done::Known(meta, digest))
    }

    fn delete(&self, name: &str) -> Result<Done, Refusal> {
        self.dir.meta(name)?;
        self.dir.remove(name)?;
        Ok(Done::Deleted)
    }

    /// A digest that is known without reading. A file that was written to has another time.
    fn digest_of(&self, meta: &Meta) -> Option<Digest> {
        lock(&self.digests).get(meta).copied()
    }

    /// Keeps a digest for the next who asks.
    pub(super) fn remember(&self, meta: Meta, digest: Digest) {
        if digest == NO_DIGEST {
            return;
        }
        let mut digests = lock(&self.digests);
        if digests.len() >= DIGESTS_KEPT {
            digests.pop_first();
        }
        digests.insert(meta, digest);
    }

    /// Reads a range of a file for its digest.
    ///
    /// # Errors
    /// When it is shorter than that, or the disk fails.
    pub(super) fn read_through(
        &self,
        file: &OwnedFd,
        from: u64,
        to: u64,
        hasher: &mut Hasher,
    ) -> Result<(), Refusal> {
        let mut buffer = vec![0; WARM_CHUNK];
        let mut at = from;
        while at < to {
            let most = usize::try_from(to - at).map_or(WARM_CHUNK, |rest| rest.min(WARM_CHUNK));
            let read = self.dir.read_at(file.as_fd(), &mut buffer[..most], at)?;
            if read == 0 {
                return Err(Refusal::new(Status::Io, "the file changed while it was read"));
            }
            hasher.update(&buffer[..read]);
            at += read as u64;
        }
        Ok(())
    }

    /// Reads a range, so that sendfile finds it in memory, and lets the disk begin with what follows it.
    fn warm(&self, file: &OwnedFd, offset: u64, count: usize) -> u64 {
        let end = offset + count as u64;
        self.dir.advise(file.as_fd(), end, count);
        let mut buffer = vec![0; WARM_CHUNK];
        let mut at = offset;
        while at < end {
            // A short file or a broken disk: sendfile will say so.
            match self.dir.read_at(file.as_fd(), &mut buffer, at) {
                Ok(n) if n > 0 => at += n as u64,
                _ => break,
            }
        }
        end
    }
}

/// Nothing can panic while it is held but an allocation, which leaves what it guards whole.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
