//! Where the bytes of a download go until they are a file: a hidden part beside it, which gets its name when it is whole.
//!
//! Owns the part: it is locked while somebody writes to it, and its name says of which file it is a part, so a later
//! download of the same file goes on where this one ended, and one of another file never does. Nobody ever sees
//! half a file under the name that was asked for. Never talks to a server.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::transport::files::digest::Hasher;
use crate::transport::sys::dir;

/// Bytes of the target's name in the name of its part: all of them, unless that would be too long.
const STEM: usize = 200;

/// A download on its way to a name.
pub struct Landing {
    target: PathBuf,
    part: PathBuf,
    file: File,
    had: u64,
    /// What has arrived stays for the next try.
    keeps: bool,
}

impl Landing {
    /// Whether something is left of an earlier download to this name.
    pub fn is_begun(target: &Path) -> bool {
        !parts(target).is_empty()
    }

    /// Opens the part of the file that the server calls `name` and describes by `size` and `mtime`, with what is there of it
    /// already. Without a description nobody can tell next time whether it is still the same file: then it
    /// begins anew, and what breaks off leaves nothing.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`]: somebody else is fetching it. [`io::ErrorKind::IsADirectory`]. No permission, ...
    pub fn open(target: &Path, name: &str, described: Option<(u64, i64)>) -> io::Result<Self> {
        // Known now rather than when all has arrived.
        if target.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        let described_as = match described {
            Some((size, mtime)) => format!("{name}\n{size}\n{mtime}"),
            None => format!("{name}\n{}", std::process::id()),
        };
        // FNV-1a.
        let hash = described_as.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        let mut part_name = stem(target).to_vec();
        part_name.extend_from_slice(format!("{hash:016x}.part").as_bytes());
        let part = directory(target).join(OsStr::from_bytes(&part_name));
        loop {
            let mut file = File::options().read(true).write(true).create(true).truncate(false).open(&part)?;
            dir::lock(&file).map_err(io::Error::from)?;
            let meta = file.metadata()?;
            // Its last owner may have given it its name before we had the lock.
            let found = fs::symlink_metadata(&part);
            if found.as_ref().is_ok_and(|found| !found.is_file()) {
                return Err(io::Error::other(format!("{} is in the way", part.display())));
            }
            if found.is_ok_and(|found| found.ino() == meta.ino()) {
                let is_part = described.is_some_and(|(size, _)| meta.len() <= size);
                if !is_part {
                    file.set_len(0)?;
                }
                let had = file.seek(SeekFrom::End(0))?;
                return Ok(Self { target: target.into(), part, file, had, keeps: described.is_some() });
            }
        }
    }

    /// Bytes that need not be fetched again.
    pub fn had(&self) -> u64 {
        self.had
    }

    /// Reads those bytes, for the digest of the whole.
    ///
    /// # Errors
    /// Of the disk.
    pub fn hash(&mut self, hasher: &mut Hasher) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(0))?;
        let mut buffer = vec![0; 256 * 1024];
        let mut left = self.had;
        while left > 0 {
            let most = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
            self.file.read_exact(&mut buffer[..most])?;
            hasher.update(&buffer[..most]);
            left -= most as u64;
        }
        Ok(())
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// No space; the disk.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)
    }

    /// It is whole: it gets its name, when it is safe on the disk. Parts of what the name stood for before go.
    ///
    /// # Errors
    /// The disk; the name is a directory's.
    pub fn finish(mut self) -> io::Result<()> {
        self.file.sync_data()?;
        fs::rename(&self.part, &self.target)?;
        self.keeps = true;
        for part in parts(&self.target) {
            if File::open(&part).is_ok_and(|file| dir::lock(&file).is_ok()) {
                let _ = fs::remove_file(part);
            }
        }
        Ok(())
    }

    /// It is of no use: nothing of it stays.
    pub fn discard(mut self) {
        self.keeps = false;
    }
}

impl Drop for Landing {
    fn drop(&mut self) {
        let is_empty = || self.file.metadata().is_ok_and(|meta| meta.len() == 0);
        if !self.keeps || self.part.exists() && is_empty() {
            let _ = fs::remove_file(&self.part);
        }
    }
}

fn directory(target: &Path) -> PathBuf {
    match target.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.into(),
        _ => ".".into(),
    }
}

/// How the names of a target's parts begin.
fn stem(target: &Path) -> Vec<u8> {
    let name = target.file_name().unwrap_or_default().as_bytes();
    let mut end = name.len().min(STEM);
    // Not in the middle of a character: some file systems take UTF-8 only.
    while end < name.len() && name[end] & 0xc0 == 0x80 {
        end -= 1;
    }
    [b".", &name[..end], b"."].concat()
}

/// What is left of downloads to this name.
fn parts(target: &Path) -> Vec<PathBuf> {
    let stem = stem(target);
    let is_part = |name: &OsStr| {
        let hash = name.as_bytes().strip_prefix(&stem[..]).and_then(|rest| rest.strip_suffix(b".part"));
        hash.is_some_and(|hash| hash.len() == 16 && hash.iter().all(u8::is_ascii_hexdigit))
    };
    let entries = fs::read_dir(directory(target)).into_iter().flatten().flatten();
    entries.filter(|entry| is_part(&entry.file_name())).map(|entry| entry.path()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory of its own.
    struct Folder(PathBuf);

    impl Folder {
        fn new(test: &str) -> Self {
            let path = std::env::temp_dir().join(format!("rawline-{}-landing-{test}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn names(&self) -> Vec<String> {
            let entries = fs::read_dir(&self.0).unwrap();
            let mut names: Vec<_> =
                entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
            names.sort();
            names
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn what_breaks_off_goes_on_if_it_is_the_same_file() {
        let folder = Folder::new("resume");
        let target = folder.0.join("a");
        fs::write(&target, b"old").unwrap();
        assert!(!Landing::is_begun(&target));
        let mut landing = Landing::open(&target, "a", Some((6, 1))).unwrap();
        landing.write(b"new").unwrap();
        let busy = Landing::open(&target, "a", Some((6, 1))).err().unwrap();
        assert_eq!(busy.kind(), io::ErrorKind::WouldBlock);
        drop(landing);
        assert!(Landing::is_begun(&target));
        assert_eq!(fs::read(&target).unwrap(), b"old");
        // Another size, another time: another file.
        assert_eq!(Landing::open(&target, "a", Some((7, 1))).unwrap().had(), 0);
        assert_eq!(Landing::open(&target, "a", Some((6, 2))).unwrap().had(), 0);
        let mut stale = Landing::open(&target, "a", Some((6, 3))).unwrap();
        stale.write(b"x").unwrap();
        drop(stale);
        let mut landing = Landing::open(&target, "a", Some((6, 1))).unwrap();
        assert_eq!(landing.had(), 3);
        landing.hash(&mut Hasher::default()).unwrap();
        landing.write(b"est").unwrap();
        landing.finish().unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"newest");
        assert_eq!(folder.names(), ["a"], "the part of what it was before is gone too");
    }

    #[test]
    fn what_nobody_can_go_on_with_is_not_kept() {
        let folder = Folder::new("anew");
        let target = folder.0.join("é".repeat(127));
        let mut landing = Landing::open(&target, "a", None).unwrap();
        landing.write(b"new").unwrap();
        drop(landing);
        let mut wrong = Landing::open(&target, "a", Some((9, 1))).unwrap();
        wrong.write(b"new").unwrap();
        wrong.discard();
        drop(Landing::open(&target, "a", Some((9, 1))).unwrap());
        assert!(folder.names().is_empty(), "{:?}", folder.names());
        fs::create_dir(&target).unwrap();
        let error = Landing::open(&target, "a", None).err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::IsADirectory);
    }
}
