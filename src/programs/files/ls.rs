//! `rawline ls`: what a server shares.
//!
//! One line a file. Names that no server may have are left out and counted; the others are made harmless for a terminal
//! and go into a pipe as they are.

use rawline::client::files::{FileError, Listed, Session, good_name, hex};
use rawline::log;
use serde::Serialize;

use super::super::print;
use super::{on_terminal, open, print_object, sum_line, tell};
use crate::Failure;
use crate::cli::files::Ls;
use crate::exit::REFUSED;

/// Runs it to its end.
///
/// # Errors
/// No connection, or no list.
pub fn run(ls: Ls) -> Result<(), Failure> {
    let (connection, version) = open(&ls.server, None)?;
    let mut session = Session::new(&connection, version, ls.server.timeout)?;
    let mut files = session.list()?;
    let all = files.len();
    files.retain(|file| good_name(file.name.as_bytes()).is_some());
    if files.len() < all {
        tell(&format!("{} names that could harm are left out", all - files.len()));
    }
    if ls.digest {
        return digests(&mut session, &files, ls.server.json);
    }
    let width = files.iter().filter_map(|file| file.size_and_mtime).map(|(size, _)| size).max();
    let width = width.map_or(0, |largest| largest.to_string().len());
    if ls.server.json {
        for file in &files {
            if !print_object(&Shared::new(file))? {
                break;
            }
        }
        return Ok(());
    }
    let lines: String = files.iter().map(|file| line(file, width)).collect();
    print(lines.as_bytes()).map(drop)
}

fn line(file: &Listed, width: usize) -> String {
    let name = on_terminal(&file.name);
    match file.size_and_mtime {
        Some((size, mtime)) => format!("{size:>width$}  {}  {name}\n", log::utc(mtime)),
        None => format!("{name}\n"),
    }
}

/// A file of the list, for programs.
#[derive(Serialize)]
struct Shared<'a> {
    name: &'a str,
    size: Option<u64>,
    mtime: Option<i64>,
    sha256: Option<String>,
}

impl<'a> Shared<'a> {
    fn new(file: &'a Listed) -> Self {
        let (size, mtime) = file.size_and_mtime.unzip();
        Self { name: &file.name, size, mtime, sha256: file.digest.as_ref().map(hex) }
    }
}

/// Asks for the digest of each, and prints it as soon as it is known.
fn digests(session: &mut Session<'_>, files: &[Listed], json: bool) -> Result<(), Failure> {
    for file in files {
        let stat = match session.stat(&file.name) {
            Err(FileError::Refused(_, why)) => {
                // It went away meanwhile, or was changed while it was read.
                tell(&format!("{}: {why}", file.name));
                continue;
            }
            stat => stat?,
        };
        let Some(digest) = stat.digest else {
            let message = "the server was built without SHA-256 (cargo feature digest)".into();
            return Err(Failure { exit: REFUSED, message });
        };
        let known =
            Listed { size_and_mtime: Some((stat.size, stat.mtime)), digest: stat.digest, ..file.clone() };
        let is_read = match json {
            true => print_object(&Shared::new(&known))?,
            false => print(sum_line(&hex(&digest), &file.name).as_bytes())?,
        };
        if !is_read {
            return Ok(());
        }
    }
    Ok(())
}
