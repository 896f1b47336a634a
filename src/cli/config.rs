//! `rawline config`: its three commands and their arguments.
//!
//! `show` and `check` take every flag of `serve`, so that what they say holds for that command line; their `--help` does
//! not repeat them. Reads nothing: see `programs/config.rs`.

use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, value_parser};
use rawline::config::Flags;

use super::{Command, serve};

/// What is asked about the configuration.
#[derive(Debug, PartialEq, Eq)]
pub enum Config {
    /// Every value, and where it is from.
    Show {
        /// As `serve` would get them.
        flags: Flags,
        /// For a program.
        json: bool,
    },
    /// Whether `serve` would take it.
    Check(Flags),
    /// A file with every option.
    Init {
        /// `-` is standard output.
        path: PathBuf,
        /// Whether a file that is there may be lost.
        force: bool,
    },
}

/// What clap is to know of it.
pub fn command() -> clap::Command {
    clap::Command::new("config")
        .about("Shows, checks or begins a configuration")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(
            clap::Command::new("show")
                .about("Prints every value in force and where it is from")
                .arg(
                    Arg::new("json")
                        .long("json")
                        .action(ArgAction::SetTrue)
                        .help("Prints one JSON object: each key with its value, origin and place."),
                )
                .args(serve::arguments().map(hidden))
                .after_help(SHOW),
        )
        .subcommand(
            clap::Command::new("check")
                .about("Tells every mistake, each with its file and line; starts nothing")
                .arg(
                    Arg::new("FILE")
                        .value_name("FILE")
                        .value_parser(value_parser!(PathBuf))
                        .conflicts_with("config")
                        .help("The file to check [default: the one that `serve` would read]"),
                )
                .args(serve::arguments().map(hidden))
                .after_help(CHECK),
        )
        .subcommand(
            clap::Command::new("init")
                .about("Writes a file with every option, its default, unit and reason, all commented out")
                .arg(
                    Arg::new("FILE")
                        .value_name("FILE")
                        .default_value("rawline.conf")
                        .value_parser(value_parser!(PathBuf))
                        .help("The file to write; - prints it."),
                )
                .arg(
                    Arg::new("force")
                        .long("force")
                        .action(ArgAction::SetTrue)
                        .help("Overwrites a file that is there."),
                ),
        )
}

const SHOW: &str = "\
Every flag of `rawline serve` can be given too: what is printed is what that command line would get.

    rawline config show
    rawline config show --config rawline.conf --max-depth 32
    rawline config show --json | jq '.max_depth.value'

The origin is default, FILE:LINE, the name of an environment variable, or that of a flag.";

const CHECK: &str = "\
Every flag of `rawline serve` can be given too, and the environment counts as it does there. Host names are resolved; no \
port is opened and no directory touched.

    rawline config check rawline.conf && systemctl reload rawline";

/// What every flag of `serve` is to other commands.
fn hidden(argument: Arg) -> Arg {
    argument.hide(true)
}

/// What the user asks for.
pub fn read(matches: &ArgMatches) -> Command {
    Command::Config(match matches.subcommand() {
        Some(("show", matches)) => {
            Config::Show { flags: serve::flags(matches), json: matches.get_flag("json") }
        }
        Some(("check", matches)) => {
            let flags = serve::flags(matches);
            Config::Check(Flags { file: matches.get_one("FILE").cloned().or(flags.file), ..flags })
        }
        Some(("init", matches)) => Config::Init {
            path: matches.get_one::<PathBuf>("FILE").expect("it has a default").clone(),
            force: matches.get_flag("force"),
        },
        other => unreachable!("clap knows no {other:?}"),
    })
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;

    fn run(arguments: &str) -> Result<Config, String> {
        match parse(arguments.split(' ').map(Into::into)) {
            Ok(Command::Config(config)) => Ok(config),
            Ok(other) => panic!("{other:?}"),
            Err(failure) => Err(failure.message),
        }
    }

    #[test]
    fn the_flags_of_serve_are_taken() {
        let flags = Flags { file: Some("a".into()), values: vec![("max-depth", "5".into())] };
        assert_eq!(
            run("rawline config show --json --config a --max-depth 5"),
            Ok(Config::Show { flags: flags.clone(), json: true })
        );
        assert_eq!(run("rawline config check a --max-depth 5"), Ok(Config::Check(flags.clone())));
        assert_eq!(run("rawline config check --config a --max-depth 5"), Ok(Config::Check(flags)));
        assert!(run("rawline config check a --config b").is_err());
    }

    #[test]
    fn the_file_to_write_has_a_name() {
        assert_eq!(
            run("rawline config init"),
            Ok(Config::Init { path: "rawline.conf".into(), force: false })
        );
        assert_eq!(run("rawline config init - --force"), Ok(Config::Init { path: "-".into(), force: true }));
    }

    #[test]
    fn mistakes_get_a_suggestion_here_too() {
        for (arguments, message) in [
            (
                "rawline config show --rcp off",
                "unexpected argument '--rcp' found; tip: a similar argument exists: '--rpc'; \
                 `rawline config show --help` explains it",
            ),
            (
                "rawline config chekc",
                "unrecognized subcommand 'chekc'; tip: a similar subcommand exists: 'check'; \
                 `rawline config --help` explains it",
            ),
        ] {
            assert_eq!(run(arguments), Err(message.into()));
        }
    }
}
