//! A disk made of vectors, with a directory of its own, that fails when it is told to.
//!
//! An open file is one end of a socket pair, since whoever has opened it closes a real descriptor: the other end tells
//! whether he has. The bytes are here.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use rawline::transport::io::{Disk, DiskFault, Meta};

use super::faults::{Fault, Faults};
use super::rng::Rng;

const EIO: i32 = 5;
const EMFILE: i32 = 24;

/// The disk; clones are the same one.
#[derive(Clone)]
pub struct SimDisk(Arc<Mutex<State>>);

struct State {
    rng: Rng,
    faults: Faults,
    /// Seconds since 1970, which may jump.
    clock: u64,
    names: BTreeMap<String, usize>,
    files: Vec<File>,
    open: BTreeMap<RawFd, Open>,
    /// So many files were opened so far.
    opened: u64,
    free: u64,
    /// Names that were to be removed, and could not be.
    stranded: BTreeSet<String>,
    /// Files that got their name, for good.
    published: u64,
}

struct File {
    bytes: Vec<u8>,
    mtime: u64,
    /// By whoever opened it as this number. Descriptors are given out again, and other seeds take some, too.
    locked: Option<u64>,
}

struct Open {
    file: usize,
    number: u64,
    other_end: UnixStream,
}

impl SimDisk {
    pub fn new(rng: Rng, faults: Faults, free: u64) -> Self {
        Self(Arc::new(Mutex::new(State {
            rng,
            faults,
            clock: 1_700_000_000,
            names: BTreeMap::new(),
            files: Vec::new(),
            open: BTreeMap::new(),
            opened: 0,
            free,
            stranded: BTreeSet::new(),
            published: 0,
        })))
    }

    /// Puts a file there before the server starts.
    pub fn put(&self, name: &str, bytes: Vec<u8>) {
        let mut state = self.state();
        let file = state.new_file(name);
        state.files[file].bytes = bytes;
    }

    /// What a client of an open file would be sent.
    pub fn bytes(&self, fd: RawFd, offset: u64, count: usize) -> Vec<u8> {
        let state = self.state();
        let bytes = &state.files[state.open[&fd].file].bytes;
        let from = bytes.len().min(offset as usize);
        bytes[from..bytes.len().min(from + count)].to_vec()
    }

    /// Every name with what stands under it.
    pub fn contents(&self) -> Vec<(String, Vec<u8>)> {
        let state = self.state();
        state.names.iter().map(|(name, &file)| (name.clone(), state.files[file].bytes.clone())).collect()
    }

    /// Whether this name was to be removed, and could not be.
    pub fn is_stranded(&self, name: &str) -> bool {
        self.state().stranded.contains(name)
    }

    /// Uploads under way that cannot be resumed.
    pub fn temporaries(&self) -> usize {
        let state = self.state();
        let names = state.names.range(".rawline-tmp-".to_owned()..".rawline-tmp.".to_owned());
        names.filter(|(name, _)| !state.stranded.contains(*name)).count()
    }

    /// How many uploads have got their name.
    pub fn published(&self) -> u64 {
        self.state().published
    }

    /// Bytes that are free.
    pub fn free(&self) -> u64 {
        self.state().free()
    }

    /// How many files are open.
    pub fn open_files(&self) -> usize {
        let mut state = self.state();
        let open: Vec<RawFd> = state.open.keys().copied().collect();
        open.into_iter().filter(|&fd| state.is_open(fd)).count()
    }

    pub fn pass(&self, seconds: i64) {
        let mut state = self.state();
        state.clock = state.clock.saturating_add_signed(seconds);
    }

    pub fn cease_faults(&self) {
        self.state().faults.cease();
    }

    pub fn counts(&self) -> Vec<u64> {
        self.state().faults.counts.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("nobody panics here")
    }
}

impl State {
    fn new_file(&mut self, name: &str) -> usize {
        self.files.push(File { bytes: Vec::new(), mtime: self.clock, locked: None });
        self.names.insert(name.to_owned(), self.files.len() - 1);
        self.files.len() - 1
    }

    fn find(&self, name: &str) -> Result<usize, DiskFault> {
        self.names.get(name).copied().ok_or(DiskFault::NotFound)
    }

    fn meta(&self, file: usize) -> Meta {
        let it = &self.files[file];
        Meta { size: it.bytes.len() as u64, mtime: (it.mtime as i64, 0), inode: file as u64 }
    }

    fn free(&self) -> u64 {
        let used: u64 = self.names.values().map(|&file| self.files[file].bytes.len() as u64).sum();
        self.free.saturating_sub(used)
    }

    fn of(&self, fd: BorrowedFd<'_>) -> usize {
        self.open[&fd.as_raw_fd()].file
    }

    fn is_open(&mut self, fd: RawFd) -> bool {
        let Some(open) = self.open.get_mut(&fd) else { return false };
        // EOF: the end that was given out is closed.
        let is_open = open.other_end.read(&mut [0]).is_err();
        if !is_open {
            self.open.remove(&fd);
        }
        is_open
    }

    fn open(&mut self, file: usize) -> Result<OwnedFd, DiskFault> {
        let (given, other_end) = UnixStream::pair().expect("a socket pair");
        other_end.set_nonblocking(true).expect("a socket");
        let given = OwnedFd::from(given);
        self.opened += 1;
        self.open.insert(given.as_raw_fd(), Open { file, number: self.opened, other_end });
        Ok(given)
    }

    fn lock(&mut self, file: usize, fd: &OwnedFd) -> Result<(), DiskFault> {
        let holder = self.files[file].locked;
        let holder = self.open.iter().find(|(_, open)| Some(open.number) == holder).map(|(fd, _)| *fd);
        if holder.is_some_and(|holder| self.is_open(holder)) {
            return Err(DiskFault::Busy);
        }
        self.files[file].locked = Some(self.open[&fd.as_raw_fd()].number);
        Ok(())
    }

    fn fail(&mut self, kind: Fault) -> Result<(), DiskFault> {
        let fault = match kind {
            Fault::NoSpace => DiskFault::NoSpace,
            Fault::FailingCreate => DiskFault::Other(EMFILE),
            _ => DiskFault::Other(EIO),
        };
        if self.faults.strike(&mut self.rng, kind) { Err(fault) } else { Ok(()) }
    }
}

impl Disk for SimDisk {
    fn open_file(&self, name: &str) -> Result<(OwnedFd, Meta), DiskFault> {
        let mut state = self.state();
        state.fail(Fault::FailingOpen)?;
        let file = state.find(name)?;
        Ok((state.open(file)?, state.meta(file)))
    }

    fn meta(&self, name: &str) -> Result<Meta, DiskFault> {
        let mut state = self.state();
        state.fail(Fault::FailingMeta)?;
        Ok(state.meta(state.find(name)?))
    }

    fn meta_of(&self, file: BorrowedFd<'_>) -> Result<Meta, DiskFault> {
        let mut state = self.state();
        state.fail(Fault::FailingMeta)?;
        Ok(state.meta(state.of(file)))
    }

    fn names(&self) -> Result<Vec<Vec<u8>>, DiskFault> {
        let mut state = self.state();
        state.fail(Fault::DiskError)?;
        let mut names: Vec<Vec<u8>> = state.names.keys().map(|name| name.as_bytes().to_vec()).collect();
        let State { rng, .. } = &mut *state;
        rng.shuffle(&mut names);
        Ok(names)
    }

    fn create(&self, name: &str) -> Result<OwnedFd, DiskFault> {
        let mut state = self.state();
        state.fail(Fault::NoSpace)?;
        state.fail(Fault::FailingCreate)?;
        if state.names.contains_key(name) {
            return Err(DiskFault::Exists);
        }
        let file = state.new_file(name);
        let fd = state.open(file)?;
        state.lock(file, &fd)?;
        Ok(fd)
    }

    fn resume(&self, name: &str) -> Result<(OwnedFd, Meta), DiskFault> {
        let mut state = self.state();
        state.fail(Fault::FailingOpen)?;
        let file = state.find(name)?;
        let fd = state.open(file)?;
        state.lock(file, &fd)?;
        Ok((fd, state.meta(file)))
    }

    fn publish(&self, file: BorrowedFd<'_>, from: &str, to: &str) -> Result<Meta, DiskFault> {
        let mut state = self.state();
        state.fail(Fault::FailingSync)?;
        state.fail(Fault::FailingRename)?;
        let file = state.of(file);
        assert_eq!(state.names.remove(from), Some(file), "what is published has its name");
        state.names.insert(to.to_owned(), file);
        // The directory's fsync: the name is there, but nobody can promise it.
        state.fail(Fault::FailingSync)?;
        state.published += 1;
        Ok(state.meta(file))
    }

    fn remove(&self, name: &str) -> Result<(), DiskFault> {
        let mut state = self.state();
        if let Err(fault) = state.fail(Fault::FailingRemove) {
            if state.names.contains_key(name) {
                state.stranded.insert(name.to_owned());
            }
            return Err(fault);
        }
        state.names.remove(name).map(drop).ok_or(DiskFault::NotFound)
    }

    fn free_bytes(&self) -> Result<u64, DiskFault> {
        let mut state = self.state();
        state.fail(Fault::FailingMeta)?;
        Ok(state.free())
    }

    fn read_at(&self, file: BorrowedFd<'_>, into: &mut [u8], offset: u64) -> Result<usize, DiskFault> {
        let mut state = self.state();
        state.fail(Fault::DiskError)?;
        let bytes = &state.files[state.of(file)].bytes;
        let from = bytes.len().min(offset as usize);
        let n = into.len().min(bytes.len() - from);
        into[..n].copy_from_slice(&bytes[from..from + n]);
        Ok(n)
    }

    fn write_at(&self, file: BorrowedFd<'_>, from: &[u8], offset: u64) -> Result<(), DiskFault> {
        let mut state = self.state();
        let (file, clock) = (state.of(file), state.clock);
        let failed = if from.is_empty() {
            Ok(())
        } else {
            state.fail(Fault::NoSpace).and_then(|()| state.fail(Fault::DiskError))
        };
        // Some of it is written before it fails.
        let n = if failed.is_err() { from.len() / 2 } else { from.len() };
        let end = offset as usize + n;
        let it = &mut state.files[file];
        it.mtime = clock;
        if it.bytes.len() < end {
            it.bytes.resize(end, 0);
        }
        it.bytes[offset as usize..end].copy_from_slice(&from[..n]);
        failed
    }

    fn sync(&self, _: BorrowedFd<'_>) -> Result<(), DiskFault> {
        self.state().fail(Fault::FailingSync)
    }

    fn advise(&self, _: BorrowedFd<'_>, _: u64, _: usize) {}

    fn clock(&self) -> Duration {
        Duration::from_secs(self.state().clock)
    }
}
