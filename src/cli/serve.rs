//! The command line of a build with the feature `cli`: clap, fed from the table of options.
//!
//! clap finds flags, suggests near ones and lays out `--help`. It never judges a value: that is done
//! where values of the environment and the file are judged too, so a mistake reads the same everywhere.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgMatches, value_parser};
use rawline::config::options::{Field, Group, OPTIONS, Opt};
use rawline::config::{Config, Flags, nearest};

use super::{Command, introduction};
use crate::{Failure, USAGE};

/// What the arguments, the program's name first, ask for.
///
/// # Errors
/// An unknown command or flag, with a suggestion if one is near, or a flag without its value.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, Failure> {
    match command().try_get_matches_from(arguments) {
        Ok(matches) => Ok(match matches.subcommand() {
            Some((_, serve)) => Command::Serve(flags(serve)),
            None => Command::Print(introduction()),
        }),
        Err(error) => match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Ok(Command::Print(error.to_string())),
            _ => Err(Failure { exit: USAGE, message: one_line(&error) }),
        },
    }
}

fn command() -> clap::Command {
    clap::Command::new("rawline")
        .version(env!("RAWLINE_VERSION"))
        .about("A chat, JSON-RPC, file and echo server on raw epoll and kqueue")
        .max_term_width(110)
        .subcommand(serve())
}

fn serve() -> clap::Command {
    let file = Arg::new("config")
        .long("config")
        .value_name("FILE")
        .value_parser(value_parser!(PathBuf))
        .help("Reads options from this file, as described below.\n[env: RAWLINE_CONFIG]");
    clap::Command::new("serve")
        .about("Runs the server until SIGINT or SIGTERM")
        .next_line_help(true)
        .arg(file)
        .args(OPTIONS.iter().map(argument))
        .after_help(EXPLANATION)
}

const EXPLANATION: &str = "\
ADDR is HOST:PORT, [IPV6]:PORT, :PORT (all IPv4 interfaces), unix:PATH or off; port 0 takes a free port. \
SIZE is bytes (65536) or a whole number of KiB, MiB or GiB (64KiB). TIME is a whole number of ms, s or m (500ms, 10s, 2m), or 0.

A flag wins over its environment variable, that over the file, that over the default. The file has a line \
for each option, named like the flag with underscores; words, sizes and times stand in quotes:

    # rawline.conf
    rpc = \"127.0.0.1:65432\"
    max_message_bytes = \"64KiB\"
    max_depth = 64
    require_join = true

Exit codes: 0 stopped as asked; 1 failed while running; 2 bad command line; 69 an address is taken or not \
there; 70 a bug in rawline; 77 no permission; 78 bad configuration.";

fn argument(opt: &'static Opt) -> Arg {
    let argument = Arg::new(opt.name)
        .long(opt.name)
        .value_name(opt.placeholder())
        .help_heading(heading(opt.group))
        .help(help(opt));
    match opt.field {
        // With the equals sign only, or `--allow-remote serve` would be ambiguous.
        Field::Switch(_) => argument.num_args(0..=1).require_equals(true).default_missing_value("true"),
        _ => argument,
    }
}

fn heading(group: Group) -> &'static str {
    match group {
        Group::Addresses => "Addresses",
        Group::Chat => "Chat",
        Group::Limits => "Limits",
        Group::Log => "Log",
    }
}

fn help(opt: &Opt) -> StyledStr {
    let default = opt.show(&Config::default());
    let range = opt.range().map_or(String::new(), |range| format!("[{range}] "));
    format!("{}\n{range}[default: {default}] [env: {}]", opt.help, opt.variable()).into()
}

fn flags(matches: &ArgMatches) -> Flags {
    let value = |opt: &Opt| matches.get_one::<String>(opt.name).cloned();
    Flags {
        file: matches.get_one("config").cloned(),
        values: OPTIONS.iter().filter_map(|opt| Some((opt.name, value(opt)?))).collect(),
    }
}

/// clap's report of a mistake without its usage lines: what is wrong, the suggestion, where to read more.
fn one_line(error: &clap::Error) -> String {
    let report = error.to_string();
    let report = report.strip_prefix("error: ").unwrap_or(&report);
    let lines = report.lines().map(str::trim).take_while(|line| !line.starts_with("Usage:"));
    let mut said: Vec<_> =
        lines.filter(|line| !line.is_empty() && !line.starts_with("For more")).map(String::from).collect();
    // clap's measure finds no short names: to it `--rcp` is not near `--rpc`.
    if let (1, Some(ContextValue::String(flag))) = (said.len(), error.get(ContextKind::InvalidArg))
        && error.kind() == ErrorKind::UnknownArgument
        && let Some(near) = nearest(flag, OPTIONS.iter().map(Opt::flag))
    {
        said.push(match near == *flag {
            true => format!("tip: 'serve {flag}' exists"),
            false => format!("tip: a similar argument exists: '{near}'"),
        });
    }
    format!("{}; `rawline serve --help` lists the flags", said.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(arguments: &str) -> Result<Command, Failure> {
        parse(arguments.split(' ').map(Into::into))
    }

    fn values(arguments: &str) -> Vec<(&'static str, String)> {
        match run(arguments).unwrap() {
            Command::Serve(flags) => flags.values,
            other => panic!("{other:?}"),
        }
    }

    fn printed(arguments: &str) -> String {
        match run(arguments).unwrap() {
            Command::Print(text) => text,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn clap_finds_no_fault_with_the_table() {
        command().debug_assert();
    }

    #[test]
    fn flags_arrive_with_their_values() {
        assert_eq!(
            values("rawline serve --rpc :0 --max-depth=9"),
            [("rpc", ":0".into()), ("max-depth", "9".into())]
        );
        let Command::Serve(flags) = run("rawline serve --config a.conf").unwrap() else { panic!() };
        assert_eq!(flags, Flags { file: Some("a.conf".into()), values: vec![] });
    }

    #[test]
    fn a_switch_needs_no_value_and_takes_one() {
        assert_eq!(
            values("rawline serve --allow-remote --require-join=false"),
            [("allow-remote", "true".into()), ("require-join", "false".into())]
        );
        assert!(run("rawline serve --allow-remote false").is_err());
    }

    #[test]
    fn help_shows_every_option_with_default_and_variable() {
        let help = printed("rawline serve --help");
        // However clap breaks the lines.
        let words = help.split_whitespace().collect::<Vec<_>>().join(" ");
        for opt in OPTIONS {
            assert!(help.contains(&format!("      --{}", opt.name)), "{}", opt.name);
            let tail = format!("[default: {}] [env: {}]", opt.show(&Config::default()), opt.variable());
            assert!(words.contains(opt.help) && words.contains(&tail), "{}", opt.name);
        }
        for heading in ["Addresses:", "Chat:", "Limits:", "Log:"] {
            assert!(help.contains(&format!("\n{heading}\n")), "{heading}");
        }
        assert!(printed("rawline help serve").contains("--max-message-bytes"));
    }

    #[test]
    fn the_file_in_the_help_is_one() {
        let lines = EXPLANATION.lines().filter_map(|line| line.strip_prefix("    "));
        let content = lines.collect::<Vec<_>>().join("\n");
        let entries = rawline::config::file::parse(content.as_bytes()).unwrap();
        assert_eq!(entries.len(), 4);
        for entry in entries {
            let opt = OPTIONS.iter().find(|opt| opt.key() == entry.key).unwrap();
            opt.set(&mut Config::default(), &entry.value.into_text()).unwrap();
        }
    }

    #[test]
    fn mistakes_are_one_line_with_a_suggestion() {
        for (arguments, message) in [
            (
                "rawline serve --rcp off",
                "unexpected argument '--rcp' found; tip: a similar argument exists: '--rpc'; \
                 `rawline serve --help` lists the flags",
            ),
            (
                "rawline serve --max_depth 5",
                "unexpected argument '--max_depth' found; tip: a similar argument exists: '--max-depth'; \
                 `rawline serve --help` lists the flags",
            ),
            (
                "rawline serve --colour",
                "unexpected argument '--colour' found; `rawline serve --help` lists the flags",
            ),
            (
                "rawline --rpc off",
                "unexpected argument '--rpc' found; tip: 'serve --rpc' exists; \
                 `rawline serve --help` lists the flags",
            ),
            (
                "rawline srve",
                "unrecognized subcommand 'srve'; tip: a similar subcommand exists: 'serve'; \
                 `rawline serve --help` lists the flags",
            ),
            (
                "rawline serve --rpc",
                "a value is required for '--rpc <ADDR>' but none was supplied; \
                 `rawline serve --help` lists the flags",
            ),
            (
                "rawline serve --rpc off --rpc off",
                "the argument '--rpc <ADDR>' cannot be used multiple times; \
                 `rawline serve --help` lists the flags",
            ),
        ] {
            let failure = run(arguments).unwrap_err();
            assert_eq!((failure.exit, failure.message.as_str()), (USAGE, message), "{arguments}");
        }
    }

    #[test]
    fn the_version_is_that_of_the_build() {
        assert_eq!(printed("rawline --version"), concat!("rawline ", env!("RAWLINE_VERSION"), "\n"));
    }
}
