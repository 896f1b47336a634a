//! `rawline get`: files from a server, each whole or not at all.
//!
//! Asks, and gives what comes to a [`Landing`], or to standard output. In version 2 it goes on where an earlier try broke
//! off; what was put together from several tries is compared with the server's digest before it gets its name.

use std::fs::{self, File};
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use rawline::client::files::{Found, Hasher, Landing, Session, Version};

use super::super::{failed, print};
use super::progress::Progress;
use super::{Done, Trouble, each, must_be_good, print_object};
use crate::Failure;
use crate::cli::files::Get;
use crate::exit::USAGE;

/// Bytes that are read at once.
const CHUNK: usize = 256 * 1024;

/// Runs it to its end.
///
/// # Errors
/// The first name that could not be fetched, after all were tried.
pub fn run(get: Get) -> Result<(), Failure> {
    let Get { server, names, output } = get;
    for name in &names {
        must_be_good(name)?;
    }
    let output = output.as_deref();
    let into_one = output.filter(|output| *output != Path::new("-") && names.len() > 1 && !output.is_dir());
    if let Some(output) = into_one {
        let message =
            format!("-o: {} is no directory, and several files do not go into one", output.display());
        return Err(Failure { exit: USAGE, message });
    }
    let json = server.json;
    if json && output == Some(Path::new("-")) {
        return Err(Failure {
            exit: USAGE,
            message: "--json: with -o - standard output has the bytes".into(),
        });
    }
    each(&server, names, Clone::clone, |session, name| {
        let target = match output {
            None => Target::File(name.into()),
            Some(path) if path == Path::new("-") => Target::Stdout,
            Some(path) if path.is_dir() => Target::File(path.join(name)),
            Some(path) => match fs::metadata(path) {
                // A device or a FIFO is written to; to replace it would be no service to anybody.
                Ok(meta) if !meta.is_file() => Target::Stream(path.into()),
                _ => Target::File(path.into()),
            },
        };
        let goes_on = match (&target, session.version()) {
            (Target::File(_), Version::Two) => ": the same command again goes on from there",
            _ => "",
        };
        fetch(session, name, &target, json).map_err(|trouble| trouble.explained(name, goes_on))
    })
}

/// Where a file goes.
enum Target {
    File(PathBuf),
    Stream(PathBuf),
    Stdout,
}

fn fetch(session: &mut Session<'_>, name: &str, target: &Target, json: bool) -> Result<(), Trouble> {
    let mut hasher = Hasher::default();
    let (found, mut sink) = match target {
        Target::File(path) => land(session, name, path)?,
        Target::Stream(path) => {
            let found = session.get(name, 0, 0)?;
            let file = File::options().write(true).open(path).map_err(|error| unwritten(path, &error))?;
            (found, Sink::Stream(file))
        }
        Target::Stdout => (session.get(name, 0, 0)?, Sink::Stdout),
    };
    let had = found.size - found.length;
    if let (Sink::File(landing), Target::File(path)) = (&mut sink, target)
        && had > 0
    {
        landing.hash(&mut hasher).map_err(|error| unwritten(path, &error))?;
    }
    let is_shown = matches!(target, Target::Stdout) && io::stdout().is_terminal();
    let mut progress = Progress::start(name, had, found.size, !json && !is_shown);
    let mut buffer = vec![0; CHUNK];
    loop {
        let count = session.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        hasher.update(&buffer[..count]);
        sink.write(&buffer[..count], target)?;
        progress.moved(count);
    }
    let digest = hasher.finish();
    if let (Sink::File(landing), Target::File(path)) = (sink, target) {
        if had > 0 && session.stat(name)?.digest.is_some_and(|theirs| Some(theirs) != digest) {
            landing.discard();
            let message =
                "what came in several parts is not what the server has, and was thrown away: get it again";
            return Err(Trouble::Failed { failure: failed(message.into()), code: None, over: false });
        }
        landing.finish().map_err(|error| unwritten(path, &error))?;
    }
    let file = match target {
        Target::File(path) | Target::Stream(path) => path.to_string_lossy(),
        Target::Stdout => "-".into(),
    };
    let done = Done::new(name, &file, found.size, &progress, digest.as_ref());
    drop(progress);
    if json {
        return print_object(&done).map(drop).map_err(Trouble::stopped);
    }
    done.tell(matches!(target, Target::Stdout))
}

/// Where the bytes are written.
enum Sink {
    File(Landing),
    Stream(File),
    Stdout,
}

impl Sink {
    fn write(&mut self, bytes: &[u8], target: &Target) -> Result<(), Trouble> {
        let written = match self {
            Self::File(landing) => landing.write(bytes),
            Self::Stream(file) => file.write_all(bytes),
            Self::Stdout => match print(bytes).map_err(Trouble::stopped)? {
                true => Ok(()),
                false => return Err(Trouble::Enough),
            },
        };
        written.map_err(|error| match target {
            Target::File(path) | Target::Stream(path) => unwritten(path, &error),
            Target::Stdout => Trouble::stopped(Failure::system(error)),
        })
    }
}

/// Asks for what is missing of a file: all of it, unless an earlier try has left a part.
fn land(session: &mut Session<'_>, name: &str, path: &Path) -> Result<(Found, Sink), Trouble> {
    let open = |found: Found| {
        let described = found.mtime.map(|mtime| (found.size, mtime));
        Landing::open(path, name, described).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => {
                unwritten(path, &io::Error::other("another rawline is fetching it at this moment"))
            }
            _ => unwritten(path, &error),
        })
    };
    if session.version() == Version::One || !Landing::is_begun(path) {
        let found = session.get(name, 0, 0)?;
        let landing = open(found)?;
        if landing.had() == 0 {
            return Ok((found, Sink::File(landing)));
        }
        // It was begun by somebody else, between the two lines above: the next try goes on with it.
        return Err(unwritten(path, &io::Error::other("another rawline was fetching it until this moment")));
    }
    // One byte, to see of which file.
    let first = session.get(name, 0, 1)?;
    while session.read(&mut [0; 1])? > 0 {}
    let landing = open(first)?;
    let found = session.get(name, landing.had(), 0)?;
    if (found.size, found.mtime) != (first.size, first.mtime) || found.length != found.size - landing.had() {
        let message = "the file has changed on the server at this moment: get it again";
        return Err(Trouble::stopped(failed(message.into())));
    }
    Ok((found, Sink::File(landing)))
}

fn unwritten(path: &Path, error: &io::Error) -> Trouble {
    Trouble::local(path, "written", error, true)
}
