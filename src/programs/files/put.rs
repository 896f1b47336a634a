//! `rawline put`: files to a server, until they are safe on its disk.
//!
//! Version 2 knows an upload again by its digest, so a file is read for that first, and then from where the server
//! has it. What has no size, like a pipe, is kept in a file without a name until it has one.

use std::fs::{self, File};
use std::io::{self, Seek};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rawline::client::files::{Digest, FileError, Flow, Hasher, Session, Version};

use super::super::failed;
use super::progress::Progress;
use super::{Done, Trouble, each, must_be_good, print_object};
use crate::Failure;
use crate::cli::files::Put;
use crate::exit::USAGE;

/// Bytes that are sent at once.
const CHUNK: usize = 256 * 1024;

/// Runs it to its end.
///
/// # Errors
/// The first file that could not be stored, after all were tried.
pub fn run(put: Put) -> Result<(), Failure> {
    let Put { server, files, name } = put;
    let named: Vec<_> = files
        .into_iter()
        .map(|path| {
            let name = match &name {
                Some(name) => name.clone(),
                None => match path.file_name().and_then(|name| name.to_str()) {
                    Some(name) => name.to_owned(),
                    None => {
                        let message =
                            format!("{}: what is it to be called there? Say --as NAME", path.display());
                        return Err(Failure { exit: USAGE, message });
                    }
                },
            };
            must_be_good(&name)?;
            Ok((path, name))
        })
        .collect::<Result<_, _>>()?;
    let json = server.json;
    each(
        &server,
        named,
        |(_, name)| name.clone(),
        |session, (path, name)| {
            let goes_on = match session.version() {
                Version::Two => ": the same command again goes on from there",
                Version::One => " (it may have refused the file, which version 1 cannot say)",
            };
            store(session, path, name, json).map_err(|trouble| trouble.explained(name, goes_on))
        },
    )
}

/// A file on this side, or the part of it that is to be sent.
struct Source {
    file: File,
    begin: u64,
    size: u64,
}

fn store(session: &mut Session<'_>, path: &Path, name: &str, json: bool) -> Result<(), Trouble> {
    let source = Source::open(path).map_err(|error| unread(path, &error, false))?;
    let digest = match session.version() {
        Version::Two => source.digest().map_err(|error| unread(path, &error, false))?,
        // It cannot be announced, so the file is read only once.
        Version::One => None,
    };
    let had = session.put(name, source.size, digest)?;
    let mut progress = Progress::start(name, had, source.size, !json);
    let (mut buffer, mut at, mut hasher) = (vec![0; CHUNK], had, Hasher::default());
    while at < source.size {
        let count = source.read(&mut buffer, at).map_err(|error| unread(path, &error, true))?;
        if count == 0 {
            return Err(unread(path, &io::Error::other("it became shorter while it was sent"), true));
        }
        if session.version() == Version::One {
            hasher.update(&buffer[..count]);
        }
        if session.write(&buffer[..count])? == Flow::Over {
            break;
        }
        at += count as u64;
        progress.moved(count);
    }
    let theirs = session.stored(name)?;
    if at < source.size {
        return Err(FileError::Nonsense("it has stored what it was not sent").into());
    }
    let digest = digest.or_else(|| hasher.finish());
    if theirs.is_some() && theirs != digest {
        let message = "the server has stored other bytes than were sent";
        return Err(Trouble::Failed { failure: failed(message.into()), code: None, over: false });
    }
    let file = path.to_string_lossy();
    let done = Done::new(name, &file, source.size, &progress, digest.as_ref());
    drop(progress);
    if json {
        return print_object(&done).map(drop).map_err(Trouble::stopped);
    }
    done.tell(false)
}

impl Source {
    fn open(path: &Path) -> io::Result<Self> {
        let mut file = match path == Path::new("-") {
            true => File::from(io::stdin().as_fd().try_clone_to_owned()?),
            false => File::open(path)?,
        };
        let meta = file.metadata()?;
        if meta.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        if !meta.is_file() {
            file = spooled(file)?;
        }
        // Somebody may have read the beginning of standard input.
        let begin = file.stream_position()?;
        let size = file.metadata()?.len().saturating_sub(begin);
        Ok(Self { file, begin, size })
    }

    fn read(&self, into: &mut [u8], at: u64) -> io::Result<usize> {
        let most = usize::try_from(self.size - at).map_or(into.len(), |rest| rest.min(into.len()));
        loop {
            match self.file.read_at(&mut into[..most], self.begin + at) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => return read,
            }
        }
    }

    fn digest(&self) -> io::Result<Option<Digest>> {
        let (mut hasher, mut buffer, mut at) = (Hasher::default(), vec![0; CHUNK], 0);
        while at < self.size {
            match self.read(&mut buffer, at)? {
                0 => return Err(io::Error::other("it became shorter while it was read")),
                count => {
                    hasher.update(&buffer[..count]);
                    at += count as u64;
                }
            }
        }
        Ok(hasher.finish())
    }
}

/// All that comes, in a file that has no name any more and is gone when it is closed.
fn spooled(mut from: File) -> io::Result<File> {
    let directory = std::env::temp_dir();
    let mut number = 0;
    loop {
        let path: PathBuf = directory.join(format!(".rawline-put-{}-{number}", std::process::id()));
        let options = File::options().read(true).write(true).create_new(true).mode(0o600).clone();
        match options.open(&path) {
            Ok(mut file) => {
                fs::remove_file(&path)?;
                io::copy(&mut from, &mut file)?;
                file.rewind()?;
                return Ok(file);
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
            Err(error) => return Err(error),
        }
    }
}

fn unread(path: &Path, error: &io::Error, over: bool) -> Trouble {
    Trouble::local(path, "read", error, over)
}
