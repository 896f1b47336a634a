//! A disk made of vectors, with a directory of its own, that fails when it is told to.
//!
//! It sees what is done to uploads that can be resumed (`partials.rs`), and to its space, so it judges that at once.
//! `looks.rs` is what others see of it.
//!
//! An open file is one end of a socket pair, since whoever has opened it closes a real descriptor: the other end tells
//! whether he has. The bytes are here.

mod looks;
mod partials;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rawline::transport::io::{Disk, DiskFault, Meta};

use super::deeds::{Deed, Deeds};
use super::faults::{Fault, Faults};
use super::rng::Rng;
pub use partials::upload_called;

const EIO: i32 = 5;
const EMFILE: i32 = 24;

/// When all begins, in seconds since 1970.
pub const BORN: u64 = 1_700_000_000;
/// More than anybody needs.
const PLENTY: u64 = 1 << 40;
/// How uploads under way are called that cannot be resumed, and those that can.
const TEMPORARY: &str = ".rawline-tmp-";
pub const PARTIAL: &str = ".rawline-part-";
/// Who holds a lock that is another server's.
const ANOTHER: (RawFd, u64) = (-1, 0);

/// The disk; clones are the same one.
#[derive(Clone)]
pub struct SimDisk(Arc<Mutex<State>>);

struct State {
    rng: Rng,
    faults: Faults,
    /// Seconds since 1970, which may jump: now, and when all began.
    clock: u64,
    born: u64,
    names: BTreeMap<String, usize>,
    files: Vec<File>,
    open: BTreeMap<RawFd, Open>,
    /// So many files were opened so far.
    opened: u64,
    free: u64,
    /// The least that uploads had to leave free so far.
    reserve: u64,
    /// Calls of it may have failed.
    fails: bool,
    /// What was done that must not be: which rule that breaks, and how.
    wrong: Option<(&'static str, String)>,
    /// Names that were to be removed, and could not be.
    stranded: BTreeSet<String>,
    /// Files that got their name, for good.
    published: u64,
    deeds: Deeds,
    /// Times that what came of an upload was not stored, for want of space, and for anything else.
    unstored: [u64; 2],
}

struct File {
    bytes: Vec<u8>,
    /// So many of them are safe from a power cut.
    synced: usize,
    mtime: u64,
    /// By whoever opened it as this number, and his descriptor. Those are given out again, and other seeds take some, too.
    locked: Option<(RawFd, u64)>,
}

struct Open {
    file: usize,
    number: u64,
    other_end: UnixStream,
    /// It is in memory up to here.
    warm: u64,
}

impl SimDisk {
    /// A disk with this much room, or with as much as anybody needs.
    pub fn new(rng: Rng, faults: Faults, free: Option<u64>, reserve: usize) -> Self {
        let fails = faults.fail_the_disk() || faults.fail_at.is_some();
        Self(Arc::new(Mutex::new(State {
            rng,
            faults,
            clock: BORN,
            born: BORN,
            names: BTreeMap::new(),
            files: Vec::new(),
            open: BTreeMap::new(),
            opened: 0,
            free: free.unwrap_or(PLENTY),
            reserve: reserve as u64,
            fails,
            wrong: None,
            stranded: BTreeSet::new(),
            published: 0,
            deeds: Deeds::default(),
            unstored: [0; 2],
        })))
    }

    /// Puts a file there before the server starts.
    pub fn put(&self, name: &str, bytes: Vec<u8>) {
        let mut state = self.state();
        let file = state.new_file(name);
        state.files[file].bytes = bytes;
    }

    /// Puts something hidden there that was written so many seconds ago; another server may work on it.
    pub fn leave(&self, name: &str, bytes: Vec<u8>, age: u64, is_held: bool) {
        self.put(name, bytes);
        let mut state = self.state();
        let file = state.names[name];
        state.files[file].mtime -= age;
        state.files[file].synced = state.files[file].bytes.len();
        state.files[file].locked = is_held.then_some(ANOTHER);
    }

    /// What a client of an open file would be sent.
    pub fn bytes(&self, fd: RawFd, offset: u64, count: usize) -> Vec<u8> {
        let state = self.state();
        let bytes = &state.files[state.open[&fd].file].bytes;
        let from = bytes.len().min(offset as usize);
        bytes[from..bytes.len().min(from + count)].to_vec()
    }

    /// What an open file is called, if it still is.
    pub fn name(&self, fd: RawFd) -> Option<String> {
        let state = self.state();
        let file = state.open[&fd].file;
        state.names.iter().find(|name| *name.1 == file).map(|name| name.0.clone())
    }

    /// Somebody makes a file shorter.
    pub fn shorten(&self, name: &str, size: usize) {
        let mut state = self.state();
        let (file, clock) = (state.names[name], state.clock);
        state.files[file].bytes.truncate(size);
        state.files[file].mtime = clock;
    }

    /// Uploads must leave so much free from now on.
    pub fn reserve(&self, bytes: usize) {
        let mut state = self.state();
        state.reserve = state.reserve.min(bytes as u64);
    }

    /// From now on somebody may need all the room there is.
    pub fn is_needed(&self) {
        let mut state = self.state();
        state.free = state.free.min(PLENTY - 1);
    }

    /// Up to where an open file is in memory; on a disk that fails nobody knows.
    pub fn warm_until(&self, fd: RawFd) -> Option<u64> {
        let state = self.state();
        (!state.fails).then(|| state.open[&fd].warm)
    }

    /// It is in memory up to there.
    pub fn warm(&self, fd: RawFd, until: u64) {
        self.state().warm(fd, until);
    }

    /// How long an open file is.
    pub fn size(&self, fd: RawFd) -> u64 {
        let state = self.state();
        state.files[state.open[&fd].file].bytes.len() as u64
    }

    /// Which of all opened files this is.
    pub fn number(&self, fd: RawFd) -> u64 {
        self.state().open[&fd].number
    }

    /// Somebody sets the clock on the wall by so many seconds.
    pub fn set_clock(&self, seconds: i64) {
        let mut state = self.state();
        state.born = state.born.saturating_add_signed(seconds);
    }

    /// So many microseconds have passed since the beginning.
    pub fn tell(&self, now: u64) {
        let mut state = self.state();
        state.clock = state.born + now / 1_000_000;
    }

    pub fn cease_faults(&self) {
        self.state().faults.cease();
    }

    pub fn counts(&self) -> Vec<u64> {
        self.state().faults.counts.clone()
    }

    /// Also behind a panic of a call: what is dropped on its way still calls.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn new_file(&mut self, name: &str) -> usize {
        self.files.push(File { bytes: Vec::new(), synced: 0, mtime: self.clock, locked: None });
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

    fn age(&self, file: usize) -> Duration {
        Duration::from_secs(self.clock.saturating_sub(self.files[file].mtime))
    }

    fn is_anothers(&self, file: usize) -> bool {
        self.files[file].locked == Some(ANOTHER)
    }

    /// Whether somebody works on it.
    fn is_held(&mut self, file: usize) -> bool {
        let Some(holder @ (fd, number)) = self.files[file].locked else { return false };
        holder == ANOTHER || self.is_open(fd) && self.open[&fd].number == number
    }

    fn warm(&mut self, fd: RawFd, until: u64) {
        if let Some(open) = self.open.get_mut(&fd) {
            open.warm = open.warm.max(until);
        }
    }

    fn wrong(&mut self, rule: &'static str, how: String) {
        self.wrong.get_or_insert((rule, how));
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
        self.open.insert(given.as_raw_fd(), Open { file, number: self.opened, other_end, warm: 0 });
        Ok(given)
    }

    fn lock(&mut self, file: usize, fd: &OwnedFd) -> Result<(), DiskFault> {
        if self.is_held(file) {
            return Err(DiskFault::Busy);
        }
        self.files[file].locked = Some((fd.as_raw_fd(), self.open[&fd.as_raw_fd()].number));
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

    fn fail_to_store(&mut self, kind: Fault) -> Result<(), DiskFault> {
        let stored = self.fail(kind);
        self.unstored[usize::from(kind != Fault::NoSpace)] += u64::from(stored.is_err());
        stored
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
        state.deeds.add(Deed::Begun(name.to_owned(), 0));
        Ok(fd)
    }

    fn resume(&self, name: &str) -> Result<(OwnedFd, Meta), DiskFault> {
        let mut state = self.state();
        state.fail(Fault::FailingOpen)?;
        let file = state.find(name)?;
        let fd = state.open(file)?;
        if let Err(fault) = state.lock(file, &fd) {
            state.deeds.add(Deed::Busy(name.to_owned()));
            return Err(fault);
        }
        let meta = state.meta(file);
        state.deeds.add(Deed::Begun(name.to_owned(), meta.size));
        Ok((fd, meta))
    }

    fn publish(&self, file: BorrowedFd<'_>, from: &str, to: &str) -> Result<Meta, DiskFault> {
        let mut state = self.state();
        state.fail_to_store(Fault::FailingSync)?;
        state.fail_to_store(Fault::FailingRename)?;
        let file = state.of(file);
        if state.names.get(from) != Some(&file) {
            state.wrong("files", format!("{from} is to become {to:?}, and is not there any more"));
            return Err(DiskFault::NotFound);
        }
        state.names.remove(from);
        state.names.insert(to.to_owned(), file);
        // The directory's fsync: the name is there, but nobody can promise it.
        state.fail_to_store(Fault::FailingSync)?;
        state.published += 1;
        state.deeds.add(Deed::Stored(to.to_owned()));
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
        match state.names.remove(name) {
            Some(file) => {
                state.judge_removal(name, file);
                state.deeds.add(Deed::Removed(name.to_owned()));
                Ok(())
            }
            None => {
                if !state.fails {
                    state.wrong("kernel", format!("{name:?} is removed, and is not there"));
                }
                Err(DiskFault::NotFound)
            }
        }
    }

    fn free_bytes(&self) -> Result<u64, DiskFault> {
        let mut state = self.state();
        state.fail(Fault::FailingMeta)?;
        state.judge_sweep();
        Ok(state.free())
    }

    fn read_at(&self, file: BorrowedFd<'_>, into: &mut [u8], offset: u64) -> Result<usize, DiskFault> {
        let mut state = self.state();
        let state = &mut *state;
        state.fail(Fault::DiskError)?;
        let bytes = &state.files[state.open[&file.as_raw_fd()].file].bytes;
        let from = bytes.len().min(offset as usize);
        let mut n = into.len().min(bytes.len() - from);
        if n > 1 && state.faults.strike(&mut state.rng, Fault::ShortDiskRead) {
            n = state.rng.range(1, n as u64 - 1) as usize;
        }
        into[..n].copy_from_slice(&bytes[from..from + n]);
        state.warm(file.as_raw_fd(), offset + n as u64);
        Ok(n)
    }

    fn write_at(&self, file: BorrowedFd<'_>, from: &[u8], offset: u64) -> Result<(), DiskFault> {
        let mut state = self.state();
        let (file, clock) = (state.of(file), state.clock);
        let failed = if from.is_empty() {
            Ok(())
        } else {
            state.fail_to_store(Fault::NoSpace).and_then(|()| state.fail_to_store(Fault::DiskError))
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
        if n > 0 && state.free() < state.reserve {
            let (free, reserve) = (state.free(), state.reserve);
            state
                .wrong("limits", format!("an upload leaves {free} bytes free, and {reserve} are to stay so"));
        }
        failed
    }

    fn sync(&self, file: BorrowedFd<'_>) -> Result<(), DiskFault> {
        let mut state = self.state();
        state.fail(Fault::FailingSync)?;
        let file = state.of(file);
        state.files[file].synced = state.files[file].bytes.len();
        Ok(())
    }

    fn advise(&self, _: BorrowedFd<'_>, _: u64, _: usize) {}

    fn clock(&self) -> Duration {
        Duration::from_secs(self.state().clock)
    }
}
