//! `rawline ls`, `rawline get` and `rawline put`: what they share.
//!
//! Here a connection is made in the best version that the server speaks, several names are worked through, and troubles get
//! their exit codes. One that fails does not keep the others from being tried. Called by the three.

pub mod get;
pub mod ls;
mod progress;
pub mod put;

use std::collections::VecDeque;
use std::io::{self, IsTerminal, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use rawline::client::files::{Digest, FileError, Session, Version, good_name, hex, rate, speaks_two};
use rawline::client::json::for_terminal;
use rawline::client::text::harmless;
use rawline::log;
use serde::Serialize;

use self::progress::Progress;
use super::{connect, print};
use crate::Failure;
use crate::cli::files::Server;
use crate::exit::{FAILED, LOCAL_FILE, PROTOCOL, REFUSED, SILENT, USAGE};

/// Why something was not done for one name.
enum Trouble {
    /// This failed; whether the connection is of no use any more.
    Failed { failure: Failure, code: Option<u8>, over: bool },
    /// Nobody reads the output any more.
    Enough,
}

impl Trouble {
    /// A file on this side; `over`: in the middle of a transfer.
    fn local(path: &Path, cannot: &str, error: &io::Error, over: bool) -> Self {
        let message = format!("{} cannot be {cannot}: {error}", path.display());
        Self::Failed { failure: Failure { exit: LOCAL_FILE, message }, code: None, over }
    }

    /// Something else on this side; the connection is not used again.
    fn stopped(failure: Failure) -> Self {
        Self::Failed { failure, code: None, over: true }
    }

    /// The message with a name before it, unless it begins with that already, and something behind it if the connection is over.
    fn explained(self, before: &str, if_over: &str) -> Self {
        match self {
            Self::Failed { mut failure, code, over } => {
                let behind = if over && [FAILED, SILENT].contains(&failure.exit) { if_over } else { "" };
                let said = failure.message;
                let is_named = said.strip_prefix(before).is_some_and(|rest| rest.starts_with(' '));
                let before = if is_named { String::new() } else { format!("{before}: ") };
                failure.message = format!("{before}{said}{behind}");
                Self::Failed { failure, code, over }
            }
            enough => enough,
        }
    }
}

impl From<FileError> for Trouble {
    fn from(error: FileError) -> Self {
        let code = match error {
            FileError::Refused(code, _) => Some(code),
            _ => None,
        };
        Self::Failed { over: code.is_none(), code, failure: error.into() }
    }
}

impl From<FileError> for Failure {
    fn from(error: FileError) -> Self {
        let exit = match error {
            FileError::Refused(..) => REFUSED,
            FileError::Silent(_) => SILENT,
            FileError::Nonsense(_) => PROTOCOL,
            FileError::Closed | FileError::Broken(_) | FileError::System(_) => FAILED,
        };
        Self { exit, message: error.to_string() }
    }
}

/// A connection, and the version that is spoken on it: the second, unless the server does not know it.
fn open(server: &Server, known: Option<Version>) -> Result<(OwnedFd, Version), Failure> {
    let connection = connect(&server.to, server.timeout)?;
    if let Some(version) = known.or(server.v1.then_some(Version::One)) {
        return Ok((connection, version));
    }
    if speaks_two(&connection, server.timeout)? {
        return Ok((connection, Version::Two));
    }
    if !server.json {
        tell("the server does not speak version 2: nothing can be resumed, and refusals have no reasons");
    }
    Ok((connect(&server.to, server.timeout)?, Version::One))
}

/// What was not done; the status is version 2's.
#[derive(Serialize)]
struct Failed<'a> {
    name: &'a str,
    error: &'a str,
    status: Option<u8>,
}

/// Does `work` for each of the names, over one connection for as long as that can be used.
///
/// # Errors
/// There is no connection; or the first that failed, after each was told of on its own line.
fn each<T>(
    server: &Server,
    names: Vec<T>,
    name: impl Fn(&T) -> String,
    mut work: impl FnMut(&mut Session<'_>, &T) -> Result<(), Trouble>,
) -> Result<(), Failure> {
    let (mut names, mut version, mut first) = (VecDeque::from(names), None, None);
    'connection: while !names.is_empty() {
        let (connection, spoken) = match open(server, version) {
            Ok(opened) => opened,
            Err(failure) => {
                tell(&failure.message);
                return Err(said(first.unwrap_or(failure.exit)));
            }
        };
        version = Some(spoken);
        let mut session = Session::new(&connection, spoken, server.timeout)?;
        while let Some(next) = names.pop_front() {
            match work(&mut session, &next) {
                Ok(()) => {}
                Err(Trouble::Enough) => return Ok(()),
                Err(Trouble::Failed { failure, code, over }) => {
                    if server.json {
                        print_object(&Failed { name: &name(&next), error: &failure.message, status: code })?;
                    }
                    tell(&failure.message);
                    first.get_or_insert(failure.exit);
                    if over {
                        continue 'connection;
                    }
                }
            }
        }
    }
    first.map_or(Ok(()), |exit| Err(said(exit)))
}

/// An object on a line of its own.
fn print_object(object: &impl Serialize) -> Result<bool, Failure> {
    let line = serde_json::to_string(object).expect("strings and numbers are JSON");
    let line = if io::stdout().is_terminal() { for_terminal(&line) } else { line };
    print(format!("{line}\n").as_bytes())
}

/// A transfer that is over.
#[derive(Serialize)]
struct Done<'a> {
    /// What the server calls it.
    name: &'a str,
    /// What it is called here; `-`: a standard stream.
    file: &'a str,
    size: u64,
    /// Bytes that an earlier try had moved.
    from: u64,
    bytes: u64,
    seconds: f64,
    sha256: Option<String>,
}

impl<'a> Done<'a> {
    fn new(name: &'a str, file: &'a str, size: u64, progress: &Progress, digest: Option<&Digest>) -> Self {
        let (bytes, took) = progress.moved_in();
        let (from, sha256) = (size.saturating_sub(bytes), digest.map(hex));
        Self { name, file, size, from, bytes, seconds: took.as_secs_f64(), sha256 }
    }

    /// As a person reads it: digest and rate.
    fn tell(&self, stdout_has_the_bytes: bool) -> Result<(), Trouble> {
        let sum = self.sha256.as_deref().map_or(String::new(), |sum| sum_line(sum, self.file));
        let time = Duration::from_secs_f64(self.seconds);
        let from = if self.from > 0 { format!(", from byte {} on", self.from) } else { String::new() };
        let name = log::escaped(self.name);
        let (size, rate) = (size_text(self.bytes), size_text(rate(self.bytes, time)));
        let account = format!("{name}: {size} in {}, {rate}/s{from}\n", seconds_text(time));
        let (out, err) = match stdout_has_the_bytes {
            true => (String::new(), sum + &account),
            false => (sum, account),
        };
        print(out.as_bytes()).map_err(Trouble::stopped)?;
        let _ = io::stderr().write_all(err.as_bytes());
        Ok(())
    }
}

/// A failure that was told of already.
fn said(exit: u8) -> Failure {
    Failure { exit, message: String::new() }
}

/// A line on standard error.
fn tell(message: &str) {
    let line = format!("rawline: {}\n", log::escaped(message));
    let _ = io::stderr().write_all(line.as_bytes());
}

/// Whether any server can have a file of this name.
fn must_be_good(name: &str) -> Result<(), Failure> {
    match good_name(name.as_bytes()) {
        Some(_) => Ok(()),
        None => Err(Failure {
            exit: USAGE,
            message: format!(
                "{name:?} is no name of a shared file: it has 1 to 255 bytes, does not begin with a dot, and holds \
                 neither / nor control characters"
            ),
        }),
    }
}

/// A line as `sha256sum` writes it: it escapes names in which a line could end.
fn sum_line(digest: &str, name: &str) -> String {
    let escaped = name.replace('\\', "\\\\").replace('\n', "\\n").replace('\r', "\\r");
    let mark = if escaped == name { "" } else { "\\" };
    format!("{mark}{digest}  {}\n", on_terminal(&escaped))
}

/// What a stranger wrote, as it can be shown where standard output goes.
fn on_terminal(text: &str) -> String {
    if io::stdout().is_terminal() { harmless(text).into_owned() } else { text.into() }
}

/// `1.2 GiB`.
fn size_text(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let unit = (bytes.ilog2() / 10).min(6);
    let tenths = (u128::from(bytes) * 10) >> (10 * unit);
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit as usize - 1])
}

/// `0.12s`, `61s`.
fn seconds_text(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    if seconds < 10.0 { format!("{seconds:.2}s") } else { format!("{seconds:.0}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_at_a_glance() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            (1 << 30, "1.0 GiB"),
            ((5 << 30) - 1, "4.9 GiB"),
            (u64::MAX, "15.9 EiB"),
        ] {
            assert_eq!(size_text(bytes), text);
        }
    }

    #[test]
    fn sums_can_be_checked() {
        let zeros = "0".repeat(64);
        assert_eq!(sum_line(&zeros, "a b"), format!("{zeros}  a b\n"));
        assert_eq!(sum_line(&zeros, "a\\b"), format!("\\{zeros}  a\\\\b\n"));
    }
}
