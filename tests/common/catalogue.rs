//! A disk that is all names: so many empty files, none of which can be opened.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

use rawline::transport::io::{Disk, DiskFault, Meta};

/// A directory with so many files, `00000` and on.
pub struct Catalogue {
    pub files: usize,
    /// What a look at the last of them comes to, if it fails.
    pub last: Result<(), DiskFault>,
}

type Answer<T> = Result<T, DiskFault>;

impl Disk for Catalogue {
    fn names(&self) -> Answer<Vec<Vec<u8>>> {
        Ok((0..self.files).map(|n| format!("{n:05}").into_bytes()).collect())
    }

    fn meta(&self, name: &str) -> Answer<Meta> {
        if name.parse() == Ok(self.files - 1) {
            self.last?;
        }
        Ok(Meta { size: 0, mtime: (0, 0), inode: 0 })
    }

    fn open_file(&self, _: &str) -> Answer<(OwnedFd, Meta)> {
        Err(DiskFault::NotFound)
    }

    fn meta_of(&self, _: BorrowedFd<'_>) -> Answer<Meta> {
        Err(DiskFault::NotFound)
    }

    fn create(&self, _: &str) -> Answer<OwnedFd> {
        Err(DiskFault::NotFound)
    }

    fn resume(&self, _: &str) -> Answer<(OwnedFd, Meta)> {
        Err(DiskFault::NotFound)
    }

    fn publish(&self, _: BorrowedFd<'_>, _: &str, _: &str) -> Answer<Meta> {
        Err(DiskFault::NotFound)
    }

    fn remove(&self, _: &str) -> Answer<()> {
        Err(DiskFault::NotFound)
    }

    fn free_bytes(&self) -> Answer<u64> {
        Ok(0)
    }

    fn read_at(&self, _: BorrowedFd<'_>, _: &mut [u8], _: u64) -> Answer<usize> {
        Err(DiskFault::NotFound)
    }

    fn write_at(&self, _: BorrowedFd<'_>, _: &[u8], _: u64) -> Answer<()> {
        Err(DiskFault::NotFound)
    }

    fn sync(&self, _: BorrowedFd<'_>) -> Answer<()> {
        Ok(())
    }

    fn advise(&self, _: BorrowedFd<'_>, _: u64, _: usize) {}

    fn clock(&self) -> Duration {
        Duration::ZERO
    }
}
