//! `rawline config`: shows what is in force, tells every mistake, writes a file to begin with.
//!
//! What a configuration is and how it is written is the library's; here are the streams, the file and the exit codes. It
//! starts no server.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{self, ErrorKind, Write};
use std::path::Path;

use rawline::config::options::OPTIONS;
use rawline::config::{self, AddressError, Loaded, report, template};
use rawline::log;

use super::{failed, print};
use crate::Failure;
use crate::cli::config::Config;
use crate::exit::{CONFIGURATION, UNAVAILABLE, USAGE};

/// Runs it to its end.
///
/// # Errors
/// Mistakes in the configuration, or a file that cannot be written.
pub fn run(
    asked: Config,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<(), Failure> {
    match asked {
        Config::Show { flags, json } => {
            let loaded = config::Config::load(flags, environment)?;
            warn(&loaded.warnings);
            let text = if json { report::json(&loaded) } else { report::table(&loaded) };
            print(text.as_bytes()).map(drop)
        }
        Config::Check(flags) => check(flags, environment),
        Config::Init { path, .. } if path.as_os_str() == "-" => print(template::text().as_bytes()).map(drop),
        Config::Init { path, force } => write(&path, force),
    }
}

fn check(
    flags: config::Flags,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<(), Failure> {
    let (told, exit) = match config::Config::load(flags, environment) {
        Ok(loaded) => {
            warn(&loaded.warnings);
            let errors: Vec<_> = loaded.config.listeners().into_iter().filter_map(Result::err).collect();
            let is_reach_only = errors.iter().all(|error| matches!(error, AddressError::Unresolved { .. }));
            let told: Vec<_> = errors.iter().map(|error| placed(&loaded, error)).collect();
            (told, if is_reach_only { UNAVAILABLE } else { CONFIGURATION })
        }
        Err(error) => {
            let told = error.mistakes.iter().map(ToString::to_string).collect();
            (told, if error.is_usage() { USAGE } else { CONFIGURATION })
        }
    };
    let Some((last, others)) = told.split_last() else {
        return print(b"no mistakes\n").map(drop);
    };
    for mistake in others {
        complain(mistake);
    }
    Err(Failure { exit, message: last.clone() })
}

/// What is wrong with an address, behind the place where it was written.
fn placed(loaded: &Loaded, error: &AddressError) -> String {
    let index = OPTIONS.iter().position(|opt| opt.name == error.option()).expect("it names an option");
    match &loaded.origins[index] {
        config::Origin::Default => error.to_string(),
        origin => format!("{}: {error}", origin.place(&OPTIONS[index])),
    }
}

fn warn(warnings: &[String]) {
    for warning in warnings {
        complain(&format!("warning: {warning}"));
    }
}

fn complain(what: &str) {
    let _ = io::stderr().write_all(format!("rawline: {}\n", log::escaped(what)).as_bytes());
}

fn write(path: &Path, force: bool) -> Result<(), Failure> {
    let mut how = OpenOptions::new();
    how.write(true).truncate(force).create(force).create_new(!force);
    let written = how.open(path).and_then(|mut file| file.write_all(template::text().as_bytes()));
    let name = path.display();
    match written {
        Ok(()) => {
            let said = format!("{name} holds every option: take the # away from those you change");
            print(format!("{}\n", log::escaped(said)).as_bytes()).map(drop)
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            Err(failed(format!("{name} is there already: name another file, or overwrite it with --force")))
        }
        Err(error) => Err(failed(format!("{name} cannot be written: {error}"))),
    }
}
