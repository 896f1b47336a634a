//! One directory and the regular files in it: opening, naming, storing, removing. Nothing outside can be reached.
//!
//! Owns the directory's descriptor. Files are opened beneath it and never through a symbolic link: by openat2(2) where
//! the kernel has it, by openat(2) with O_NOFOLLOW elsewhere, which is as safe for names without a slash. What was opened
//! is looked at before it is believed: only regular files come out. Every call here may wait for a disk, so only
//! helper threads make them. Temporary files are locked with flock(2) while somebody works on them; the lock ends with
//! its process, so what has no lock was left over.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, SystemTime};

use libc::off_t;
use nix::NixPath;
use nix::Result;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, renameat};
use nix::sys::stat::{FileStat, Mode, SFlag, fchmod, fstat, fstatat, umask};
use nix::sys::statvfs::fstatvfs;
use nix::sys::uio::{pread, pwrite};
use nix::unistd::{UnlinkatFlags, fsync, unlinkat};

use crate::transport::io::Meta;

/// A directory.
pub struct Dir {
    fd: OwnedFd,
    beneath: bool,
    /// What a stored file's mode is: all may read and write it, but for what the umask takes away.
    mode: Mode,
}

impl Dir {
    /// Opens the directory at `path`. To be called before threads are started: the umask cannot be read without
    /// being changed for a moment. open(2), umask(2).
    ///
    /// # Errors
    /// ENOENT, ENOTDIR, EACCES, ...
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let fd = nix::fcntl::open(path, flags, Mode::empty())?;
        let mask = umask(Mode::empty());
        umask(mask);
        let mode = Mode::from_bits_truncate(0o666) & !mask;
        let mut dir = Self { fd, beneath: true, mode };
        // ENOSYS before Linux 5.6; EPERM where a sandbox does not know the call.
        dir.beneath = !matches!(dir.open_beneath(c"."), Err(Errno::ENOSYS | Errno::EPERM));
        Ok(dir)
    }

    /// The same directory, on a kernel without openat2.
    #[cfg(test)]
    pub fn without_openat2(self) -> Self {
        Self { beneath: false, ..self }
    }

    /// Opens a regular file for reading. It does not wait for a FIFO's writer, and a device is not disturbed any
    /// further. openat2(2), openat(2).
    ///
    /// # Errors
    /// ENOENT; ELOOP, EXDEV: a symbolic link; EISDIR: something else that is no regular file; EACCES, ...
    pub fn open_file(&self, name: &str) -> Result<(OwnedFd, Meta)> {
        let file = if self.beneath {
            name.with_nix_path(|name| self.open_beneath(name))??
        } else {
            openat(&self.fd, name, OPEN_FLAGS, Mode::empty())?
        };
        let meta = meta(&file)?;
        Ok((file, meta))
    }

    /// What a name stands for; a symbolic link is not followed. fstatat(2).
    ///
    /// # Errors
    /// ENOENT; EISDIR: no regular file; ...
    pub fn meta(&self, name: &str) -> Result<Meta> {
        regular(&fstatat(&self.fd, name, AtFlags::AT_SYMLINK_NOFOLLOW)?)
    }

    /// All names in the directory but `.` and `..`, in no order, whatever they stand for. readdir(3).
    ///
    /// # Errors
    /// EIO, EMFILE, ...
    pub fn names(&self) -> Result<Vec<Vec<u8>>> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let mut dir = nix::dir::Dir::openat(&self.fd, ".", flags, Mode::empty())?;
        let names = dir.iter().map(|entry| Ok(entry?.file_name().to_bytes().to_vec()));
        names.filter(|name| !matches!(name.as_deref(), Ok(b"." | b".."))).collect()
    }

    /// Makes a new file that only this user may open (mode 0600), for reading and writing, locked. open(2).
    ///
    /// # Errors
    /// EEXIST, EACCES, EROFS, ENOSPC, EDQUOT, ...
    pub fn create(&self, name: &str) -> Result<OwnedFd> {
        let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let file = openat(&self.fd, name, flags, Mode::from_bits_truncate(0o600))?;
        lock(&file)?;
        Ok(file)
    }

    /// Opens a temporary file that was left over, for reading and writing, and locks it.
    ///
    /// # Errors
    /// ENOENT; EWOULDBLOCK: somebody works on it; EISDIR: it is none of ours.
    pub fn resume(&self, name: &str) -> Result<(OwnedFd, Meta)> {
        let flags = OFlag::O_RDWR | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let file = openat(&self.fd, name, flags, Mode::empty())?;
        lock(&file)?;
        // Its last owner may have renamed or removed it before we had the lock.
        let meta = meta(&file)?;
        if self.meta(name).map(|found| found.inode) != Ok(meta.inode) {
            return Err(Errno::ENOENT);
        }
        Ok((file, meta))
    }

    /// Gives a finished file its mode and its name, replacing what had the name before, so that it survives a power cut:
    /// file, name and directory are on the disk when this returns. fsync(2), rename(2).
    ///
    /// # Errors
    /// EIO, ENOSPC, EDQUOT; EISDIR: the name is a directory's.
    pub fn publish(&self, file: BorrowedFd<'_>, from: &str, to: &str) -> Result<Meta> {
        fchmod(file, self.mode)?;
        retry(|| fsync(file))?;
        renameat(&self.fd, from, &self.fd, to)?;
        retry(|| fsync(&self.fd))?;
        meta(file)
    }

    /// Removes a name. unlink(2).
    ///
    /// # Errors
    /// ENOENT, EACCES, EROFS, EISDIR, ...
    pub fn remove(&self, name: &str) -> Result<()> {
        unlinkat(&self.fd, name, UnlinkatFlags::NoRemoveDir)
    }

    /// Bytes that this user can still store in this file system. fstatvfs(3).
    ///
    /// # Errors
    /// EIO, ...
    pub fn free_bytes(&self) -> Result<u64> {
        let disk = fstatvfs(&self.fd)?;
        #[allow(clippy::unnecessary_cast, reason = "their width differs by system")]
        Ok((disk.blocks_available() as u64).saturating_mul(disk.fragment_size() as u64))
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn open_beneath(&self, name: &CStr) -> Result<OwnedFd> {
        use nix::fcntl::{OpenHow, ResolveFlag, openat2};
        let resolve = ResolveFlag::RESOLVE_BENEATH
            | ResolveFlag::RESOLVE_NO_SYMLINKS
            | ResolveFlag::RESOLVE_NO_MAGICLINKS;
        // EAGAIN: a rename elsewhere made it impossible to say whether the name led outside.
        for _ in 0..100 {
            match openat2(&self.fd, name, OpenHow::new().flags(OPEN_FLAGS).resolve(resolve)) {
                Err(Errno::EAGAIN | Errno::EINTR) => {}
                opened => return opened,
            }
        }
        Err(Errno::EAGAIN)
    }

    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    fn open_beneath(&self, _name: &CStr) -> Result<OwnedFd> {
        Err(Errno::ENOSYS)
    }
}

const OPEN_FLAGS: OFlag =
    OFlag::O_RDONLY.union(OFlag::O_NONBLOCK).union(OFlag::O_CLOEXEC).union(OFlag::O_NOFOLLOW);

/// What an open file is. fstat(2).
///
/// # Errors
/// EISDIR: no regular file. EIO, ...
pub fn meta(file: impl AsFd) -> Result<Meta> {
    regular(&fstat(file)?)
}

/// Reads into the whole of `into`, or as far as the file goes. pread(2).
///
/// # Errors
/// EIO, ...
pub fn read_at(file: BorrowedFd<'_>, into: &mut [u8], offset: u64) -> Result<usize> {
    let mut read = 0;
    while read < into.len() {
        match retry(|| pread(file, &mut into[read..], at(offset, read)?))? {
            0 => break,
            n => read += n,
        }
    }
    Ok(read)
}

/// Writes all of `from`. pwrite(2).
///
/// # Errors
/// ENOSPC, EDQUOT, EFBIG, EIO, ...
pub fn write_at(file: BorrowedFd<'_>, from: &[u8], offset: u64) -> Result<()> {
    let mut written = 0;
    while written < from.len() {
        written += retry(|| pwrite(file, &from[written..], at(offset, written)?))?;
    }
    Ok(())
}

/// Brings what was written to the disk. fsync(2).
///
/// # Errors
/// EIO, ENOSPC, EDQUOT.
pub fn sync(file: BorrowedFd<'_>) -> Result<()> {
    retry(|| fsync(file))
}

/// Tells the kernel that this range is wanted soon, so that its disk works while we do something else.
/// posix_fadvise(2); nothing where there is none.
pub fn advise(file: BorrowedFd<'_>, offset: u64, count: usize) {
    #[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
    {
        use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
        let _ = posix_fadvise(file, offset as off_t, count as off_t, PosixFadviseAdvice::POSIX_FADV_WILLNEED);
    }
    #[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
    let _ = (file, offset, count);
}

/// The clock on the wall, which file systems keep times by: since 1970.
pub fn clock() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

fn at(offset: u64, more: usize) -> Result<off_t> {
    offset.checked_add(more as u64).and_then(|at| off_t::try_from(at).ok()).ok_or(Errno::EFBIG)
}

#[allow(clippy::unnecessary_cast, clippy::useless_conversion, reason = "widths differ by system")]
fn regular(stat: &FileStat) -> Result<Meta> {
    if stat.st_mode & SFlag::S_IFMT.bits() != SFlag::S_IFREG.bits() {
        return Err(Errno::EISDIR);
    }
    Ok(Meta {
        size: stat.st_size as u64,
        mtime: (stat.st_mtime.into(), stat.st_mtime_nsec as i64),
        inode: stat.st_ino as u64,
    })
}

/// Takes the lock of a file, which ends when the file is closed. flock(2).
///
/// # Errors
/// EWOULDBLOCK: somebody has it.
pub fn lock(file: impl AsFd) -> Result<()> {
    let file = file.as_fd().as_raw_fd();
    // SAFETY: takes no pointer.
    retry(|| Errno::result(unsafe { libc::flock(file, libc::LOCK_EX | libc::LOCK_NB) })).map(drop)
}

fn retry<T>(mut call: impl FnMut() -> Result<T>) -> Result<T> {
    loop {
        match call() {
            Err(Errno::EINTR) => {}
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    use super::*;
    use crate::transport::io::Disk;

    /// Two openings of a directory with one file: with openat2 where there is one, and without.
    fn both(test: &str) -> (PathBuf, [Dir; 2]) {
        let path = std::env::temp_dir().join(format!("rawline-{}-{test}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        fs::write(path.join("a"), b"hello").unwrap();
        (path.clone(), [Dir::open(&path).unwrap(), Dir::open(&path).unwrap().without_openat2()])
    }

    #[test]
    fn only_regular_files_come_out_on_both_paths() {
        let (path, dirs) = both("dir-kinds");
        fs::create_dir(path.join("folder")).unwrap();
        symlink("a", path.join("inner")).unwrap();
        symlink("/etc/passwd", path.join("outer")).unwrap();
        nix::unistd::mkfifo(&path.join("fifo"), Mode::from_bits_truncate(0o600)).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(path.join("socket")).unwrap();
        for dir in &dirs {
            let (file, meta) = dir.open_file("a").unwrap();
            assert_eq!((meta.size, dir.meta("a")), (5, Ok(meta)));
            let mut bytes = [0; 9];
            assert_eq!(read_at(file.as_fd(), &mut bytes, 1), Ok(4));
            assert_eq!(&bytes[..4], b"ello");
            assert_eq!(dir.open_file("nobody").unwrap_err(), Errno::ENOENT);
            for name in ["folder", "inner", "outer", "fifo", "socket"] {
                let error = dir.open_file(name).unwrap_err();
                let expected = [Errno::EISDIR, Errno::ELOOP, Errno::EMLINK, Errno::ENXIO];
                assert!(expected.contains(&error), "{name}: {error}");
                assert_eq!(dir.meta(name), Err(Errno::EISDIR), "{name}");
            }
            let mut names = dir.names().unwrap();
            names.sort();
            assert_eq!(names, [&b"a"[..], b"fifo", b"folder", b"inner", b"outer", b"socket"]);
        }
        #[cfg(any(target_os = "linux", target_os = "android"))]
        if dirs[0].beneath {
            // Names with a slash never come here; if one did, it would not lead outside.
            assert_eq!(dirs[0].open_file("../../etc/passwd").unwrap_err(), Errno::EXDEV);
            assert_eq!(dirs[0].open_file("/etc/passwd").unwrap_err(), Errno::EXDEV);
        }
        fs::remove_dir_all(path).unwrap();
    }

    #[test]
    fn a_temporary_file_is_private_locked_and_gets_its_name_whole() {
        use std::os::unix::fs::PermissionsExt;
        let (path, [dir, _]) = both("dir-store");
        let file = dir.create(".tmp").unwrap();
        assert_eq!(fs::metadata(path.join(".tmp")).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(dir.create(".tmp").unwrap_err(), Errno::EEXIST);
        assert_eq!(dir.resume(".tmp").unwrap_err(), Errno::EWOULDBLOCK, "somebody works on it");
        write_at(file.as_fd(), b"new", 0).unwrap();
        write_at(file.as_fd(), b"er", 3).unwrap();
        let meta = dir.publish(file.as_fd(), ".tmp", "a").unwrap();
        assert_eq!((meta.size, fs::read(path.join("a")).unwrap()), (5, b"newer".to_vec()));
        let mode = fs::metadata(path.join("a")).unwrap().permissions().mode();
        assert_eq!((mode & 0o700, mode & 0o111), (0o600, 0), "as any other file's");
        drop(file);
        let left = dir.create(".left").unwrap();
        drop(left);
        let (left, meta) = dir.resume(".left").unwrap();
        assert_eq!(meta.size, 0);
        assert!(Disk::age(&dir, &meta) < Duration::from_secs(60));
        fs::create_dir(path.join("folder")).unwrap();
        assert_eq!(dir.publish(left.as_fd(), ".left", "folder").unwrap_err(), Errno::EISDIR);
        dir.remove(".left").unwrap();
        assert!(dir.free_bytes().unwrap() > 0);
        fs::remove_dir_all(path).unwrap();
    }
}
