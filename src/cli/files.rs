//! `rawline ls`, `rawline get`, `rawline put`: their arguments.
//!
//! Owns what the three have in common, and which arguments go together. Connects to nothing and opens no file: see
//! `programs/files/`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches, value_parser};
use rawline::config::{Config, Endpoint};

use super::Command;
use super::commands::{address, read_timeout, timeout};

/// The server, and how to talk to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Where it is.
    pub to: Endpoint,
    /// Only version 1 of the protocol.
    pub v1: bool,
    /// Objects instead of lines.
    pub json: bool,
    /// For connecting, and for silence of the server.
    pub timeout: Duration,
}

/// `rawline ls`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ls {
    /// Of which server.
    pub server: Server,
    /// With digests, which the server may have to compute.
    pub digest: bool,
}

/// `rawline get`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Get {
    /// From which server.
    pub server: Server,
    /// What to fetch; at least one.
    pub names: Vec<String>,
    /// Where to: a file, a directory, or `-`.
    pub output: Option<PathBuf>,
}

/// `rawline put`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Put {
    /// To which server.
    pub server: Server,
    /// What to store, `-` for standard input; at least one.
    pub files: Vec<PathBuf>,
    /// What it is to be called.
    pub name: Option<String>,
}

/// What clap is to know of `ls`.
pub fn ls_command() -> clap::Command {
    common(clap::Command::new("ls").about("Lists the files that a server shares"))
        .arg(flag(
            "digest",
            "Prints the SHA-256 of each file, as sha256sum does. The server may have to read them for it.",
        ))
        .after_help(
            "\
Each line has the size in bytes, when the file was last changed (UTC), and the name.

    rawline ls
    rawline ls --to files.example.org:65434
    rawline ls --json | jq -r 'select(.size > 1000000).name'
    rawline ls --digest > SHA256SUMS; sha256sum -c SHA256SUMS",
        )
}

/// What clap is to know of `get`.
pub fn get_command() -> clap::Command {
    common(clap::Command::new("get").about("Fetches files from a server"))
        .arg(
            Arg::new("NAME")
                .value_name("NAME")
                .num_args(1..)
                .required(true)
                .help("What to fetch, as `rawline ls` shows it."),
        )
        .arg(
            Arg::new("output")
                .short('o')
                .long("output")
                .value_name("FILE")
                .value_parser(value_parser!(PathBuf))
                .help("Where to: a file, an existing directory, or - for standard output. [default: NAME, here]"),
        )
        .after_help(
            "\
What arrives is written to a hidden file beside it, .NAME.*.part, which gets its name when it is whole: an old file \
is replaced by a whole new one, or not at all. If the connection breaks, give the same command again: it goes on where \
it stopped, unless the file has changed on the server, and then compares the digest with the server's.

    rawline get a.iso b.iso
    rawline get a.iso -o /tmp/
    rawline get backup.tar -o - | tar x
    rawline get a.iso b.iso | sha256sum -c
    rawline get a.iso || rawline get a.iso

Standard output has the SHA-256 of each file, as sha256sum prints it; with -o - it has the bytes, and standard \
error the digest. With several names the others are fetched when one fails, and the exit code is that of the first that \
failed. After 1 and 75 the same command goes on.",
        )
}

/// What clap is to know of `put`.
pub fn put_command() -> clap::Command {
    common(clap::Command::new("put").about("Stores files on a server"))
        .arg(
            Arg::new("FILE")
                .value_name("FILE")
                .num_args(1..)
                .required(true)
                .value_parser(value_parser!(PathBuf))
                .help("What to store; - is standard input, which needs --as."),
        )
        .arg(
            Arg::new("as")
                .long("as")
                .value_name("NAME")
                .help("What it is to be called there. [default: as here, without the directory]"),
        )
        .after_help(
            "\
The server must have been started with --files-writable. When the command ends with 0, the file is on the server's disk \
under its name; until then everybody there sees the old one. If the connection breaks, give the same command again within a \
day: it goes on where it stopped.

    rawline put a.iso b.iso
    rawline put build.log --as build-42.log
    tar c src | rawline put - --as src.tar

A file is read twice: for its digest, by which the server knows an upload again, and to be sent. Standard input that \
is no file is kept in a temporary file first, because its size must be announced. Standard output has the SHA-256 of each \
file, as sha256sum prints it. With several files the others are stored when one fails, and the exit code is that of the \
first that failed. After 1 and 75 the same command goes on.",
        )
}

fn flag(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).action(ArgAction::SetTrue).help(help)
}

fn common(command: clap::Command) -> clap::Command {
    command
        .arg(Arg::new("to").long("to").value_name("ADDRESS").help(format!(
            "The server, one word: HOST:PORT or unix:PATH. [default: {}]",
            Config::default().files_listen
        )))
        .arg(flag(
            "v1",
            "Speaks version 1 only, without asking: no resuming, no reasons. By default version 2 is tried first.",
        ))
        .arg(flag("json", "Prints one JSON object a line, for programs."))
        .arg(
            timeout(
                "How long connecting to one address may take, and how long the server may neither say nor take \
                 anything, which includes the time its disk needs: 10s, 2m.",
            )
            .default_value("60s"),
        )
}

/// What the user asks for. The error is a sentence; this is so of the next two as well.
pub fn read_ls(matches: &ArgMatches) -> Result<Command, String> {
    let ls = Ls { server: server(matches)?, digest: matches.get_flag("digest") };
    if ls.digest && ls.server.v1 {
        return Err("--digest: version 1 has no digests".into());
    }
    Ok(Command::Ls(ls))
}

/// What the user asks for.
pub fn read_get(matches: &ArgMatches) -> Result<Command, String> {
    Ok(Command::Get(Get {
        server: server(matches)?,
        names: all(matches, "NAME"),
        output: matches.get_one::<PathBuf>("output").cloned(),
    }))
}

/// What the user asks for.
pub fn read_put(matches: &ArgMatches) -> Result<Command, String> {
    let put = Put {
        server: server(matches)?,
        files: all(matches, "FILE"),
        name: matches.get_one::<String>("as").cloned(),
    };
    let dash = OsString::from("-");
    match (put.files.iter().any(|file| *file == dash), put.files.len(), &put.name) {
        (_, 2.., Some(_)) => Err("--as: one name does not do for several files".into()),
        (true, _, None) => Err("standard input has no name: say --as NAME".into()),
        _ => Ok(Command::Put(put)),
    }
}

fn all<T: Clone + Send + Sync + 'static>(matches: &ArgMatches, name: &str) -> Vec<T> {
    matches.get_many::<T>(name).into_iter().flatten().cloned().collect()
}

fn server(matches: &ArgMatches) -> Result<Server, String> {
    Ok(Server {
        to: match matches.get_one::<String>("to") {
            Some(to) => address(to).map_err(|why| format!("--to: {why}"))?,
            None => Config::default().files_listen,
        },
        v1: matches.get_flag("v1"),
        json: matches.get_flag("json"),
        timeout: read_timeout(matches)?,
    })
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;

    fn run(words: &str) -> Result<Command, String> {
        parse(words.split(' ').map(Into::into)).map_err(|failure| {
            assert_eq!(failure.exit, crate::exit::USAGE);
            failure.message
        })
    }

    fn standard() -> Server {
        Server { to: Endpoint::loopback(65434), v1: false, json: false, timeout: Duration::from_secs(60) }
    }

    #[test]
    fn arguments_arrive() {
        assert_eq!(run("rawline ls"), Ok(Command::Ls(Ls { server: standard(), digest: false })));
        let server =
            Server { to: "unix:/x".parse().unwrap(), v1: true, json: true, timeout: Duration::from_secs(2) };
        assert_eq!(
            run("rawline get --to unix:/x --v1 --json --timeout 2s a b -o c"),
            Ok(Command::Get(Get { server, names: vec!["a".into(), "b".into()], output: Some("c".into()) }))
        );
        assert_eq!(
            run("rawline put - --as x"),
            Ok(Command::Put(Put { server: standard(), files: vec!["-".into()], name: Some("x".into()) }))
        );
        assert_eq!(
            run("rawline put a b"),
            Ok(Command::Put(Put { server: standard(), files: vec!["a".into(), "b".into()], name: None }))
        );
    }

    #[test]
    fn what_does_not_go_together_is_a_mistake() {
        assert_eq!(run("rawline put -"), Err("standard input has no name: say --as NAME".into()));
        assert_eq!(run("rawline put a b --as c"), Err("--as: one name does not do for several files".into()));
        assert_eq!(run("rawline ls --v1 --digest"), Err("--digest: version 1 has no digests".into()));
        assert!(run("rawline get").unwrap_err().contains("<NAME>"));
        assert!(run("rawline get a --to b").unwrap_err().starts_with("--to: \"b\" has no port"));
    }
}
