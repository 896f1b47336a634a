//! The command line of a build with the feature `cli`: one clap command with all the others in it.
//!
//! Owns what they have in common: the list, the search for the one that was asked for, how a mistake reads, and
//! the man page and completions, which are made from the same list. What a command takes is said in the
//! command's own file, as `command()` for clap and `read()` back. Called by `main`.

use std::ffi::OsString;
use std::time::Duration;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgMatches};
use clap_complete::{Shell, generate};
use rawline::config::options::{OPTIONS, Opt};
use rawline::config::{Endpoint, nearest, time};

use super::{Command, chat, config, echo, explain, files, introduction, lab, manual, rpc, serve, stats};
use crate::Failure;
use crate::exit::{self, USAGE};

/// What the arguments, the program's name first, ask for.
///
/// # Errors
/// An unknown command or flag, with a suggestion if one is near; a flag without its value; a value that
/// the command cannot take.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, Failure> {
    let arguments: Vec<_> = arguments.into_iter().collect();
    let matches = match command().try_get_matches_from(&arguments) {
        Ok(matches) => matches,
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            return Ok(Command::Print(error.to_string()));
        }
        Err(error) => return Err(usage(one_line(&error, &arguments))),
    };
    match matches.subcommand() {
        None => Ok(Command::Print(introduction())),
        Some(("serve", matches)) => Ok(serve::read(matches)),
        Some(("config", matches)) => Ok(config::read(matches)),
        Some(("chat", matches)) => chat::read(matches).map_err(usage),
        Some(("explain", matches)) => explain::read(matches).map_err(usage),
        Some(("echo", matches)) => echo::read(matches).map_err(usage),
        Some(("rpc", matches)) => rpc::read(matches).map_err(usage),
        Some(("stats", matches)) => stats::read(matches).map_err(usage),
        Some(("ls", matches)) => files::read_ls(matches).map_err(usage),
        Some(("get", matches)) => files::read_get(matches).map_err(usage),
        Some(("put", matches)) => files::read_put(matches).map_err(usage),
        Some(("exit-codes", _)) => Ok(Command::Print(exit::page())),
        Some(("lab", matches)) => lab::read(matches).map_err(usage),
        Some(("man", _)) => Ok(Command::Print(manual::page(command()))),
        Some(("completions", matches)) => Ok(Command::Print(completions(matches))),
        Some((other, _)) => unreachable!("clap knows no command {other}"),
    }
}

fn usage(message: String) -> Failure {
    Failure { exit: USAGE, message }
}

/// All commands, in the order of `--help`.
pub fn command() -> clap::Command {
    clap::Command::new("rawline")
        .version(env!("RAWLINE_VERSION"))
        .about("A chat, JSON-RPC, file and echo server on raw epoll and kqueue")
        .max_term_width(110)
        .subcommand(serve::command())
        .subcommand(config::command())
        .subcommand(chat::command())
        .subcommand(rpc::command())
        .subcommand(echo::command())
        .subcommand(explain::command())
        .subcommand(stats::command())
        .subcommand(files::ls_command())
        .subcommand(files::get_command())
        .subcommand(files::put_command())
        .subcommand(lab::command())
        .subcommand(clap::Command::new("man").about(
            "Prints the manual page: `rawline man | man -l -` shows it, \
             `rawline man > rawline.1` makes the file to install",
        ))
        .subcommand(
            clap::Command::new("completions")
                .about("Prints what lets a shell complete rawline's commands and flags")
                .arg(
                    Arg::new("shell")
                        .value_name("SHELL")
                        .required(true)
                        .value_parser(["bash", "zsh", "fish"])
                        .help("Whose."),
                )
                .after_help(INSTALLING),
        )
        .mut_subcommands(|sub| {
            let codes = exit::codes_of(sub.get_name());
            with_codes(sub, &codes)
        })
        .subcommand(
            clap::Command::new("exit-codes")
                .about("Lists what every exit code means")
                .after_help(exit::page()),
        )
        .after_help(EXAMPLES)
}

/// Every command and every part of one says how it ends.
fn with_codes(command: clap::Command, codes: &str) -> clap::Command {
    let more = command.get_after_help().map(|help| format!("{help}\n\n")).unwrap_or_default();
    command.after_help(more + codes).mut_subcommands(|sub| with_codes(sub, codes))
}

const INSTALLING: &str = "\
To have them from the next shell on:

    rawline completions bash > ~/.local/share/bash-completion/completions/rawline
    rawline completions zsh  > ~/.zfunc/_rawline       (with fpath+=~/.zfunc before compinit)
    rawline completions fish > ~/.config/fish/completions/rawline.fish";

const EXAMPLES: &str = "\
Try it, the first in a terminal of its own:

    rawline serve
    rawline chat --name Alice
    rawline rpc get_users
    rawline rpc join_chat '{\"username\":\"Alice\"}' --watch
    rawline echo hello
    rawline ls
    rawline stats

`rawline COMMAND --help` explains a command with its exit codes.";

fn completions(matches: &ArgMatches) -> String {
    let shell: Shell =
        matches.get_one::<String>("shell").expect("it is required").parse().expect("clap checked");
    let mut script = Vec::new();
    generate(shell, &mut command(), "rawline", &mut script);
    String::from_utf8(script).expect("scripts are text")
}

/// The flag that every client has.
pub fn timeout(help: &'static str) -> Arg {
    Arg::new("timeout").long("timeout").value_name("TIME").default_value("10s").help(help)
}

/// The value of `--timeout`.
pub fn read_timeout(matches: &ArgMatches) -> Result<Duration, String> {
    let text = matches.get_one::<String>("timeout").expect("it has a default");
    match time(text) {
        Ok(time) if (Duration::from_millis(1)..=Duration::from_secs(3600)).contains(&time) => Ok(time),
        Ok(_) => Err(format!("--timeout: {text} is out of range: 1ms to 60m")),
        Err(why) => Err(format!("--timeout: {why}")),
    }
}

/// Where a client connects to: one word, HOST:PORT or unix:PATH. The error is a sentence.
pub fn address(text: &str) -> Result<Endpoint, String> {
    // An endpoint is where a server listens, so it takes more than a client can connect to.
    match text {
        "" => return Err("the address is empty: write HOST:PORT or unix:PATH".into()),
        "off" => return Err("\"off\" has no port: write off:PORT".into()),
        digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            return Err(format!("{text:?} has no host: write 127.0.0.1:{text}"));
        }
        _ => {}
    }
    match text.parse()? {
        Endpoint::Tcp { port: 0, .. } => Err(format!("{text:?}: nobody listens on port 0")),
        endpoint => Ok(endpoint),
    }
}

/// clap's report of a mistake without its usage lines: what is wrong, the suggestion, where to read more.
fn one_line(error: &clap::Error, arguments: &[OsString]) -> String {
    let report = error.to_string();
    let report = report.strip_prefix("error: ").unwrap_or(&report);
    let lines = report.lines().map(str::trim).take_while(|line| !line.starts_with("Usage:"));
    let mut said: Vec<_> =
        lines.filter(|line| !line.is_empty() && !line.starts_with("For more")).map(String::from).collect();
    let all = command();
    // Before the command there is no flag with a value, so it is the first word that is one; `config show` is two.
    let mut asked = vec![&all];
    for word in arguments.iter().skip(1) {
        asked.extend(asked[asked.len() - 1].find_subcommand(word));
    }
    let path: Vec<_> = asked.iter().map(|command| command.get_name()).collect();
    let takes_options = asked[asked.len() - 1].get_arguments().any(|arg| arg.get_id() == "config");
    // clap's measure finds no short names: to it `--rcp` is not near `--rpc`.
    if let (1, Some(ContextValue::String(flag))) = (said.len(), error.get(ContextKind::InvalidArg))
        && error.kind() == ErrorKind::UnknownArgument
        && (path.len() == 1 || takes_options)
        && let Some(near) = nearest(flag, OPTIONS.iter().map(Opt::flag))
    {
        said.push(match near == *flag {
            true => format!("tip: 'serve {flag}' exists"),
            false => format!("tip: a similar argument exists: '{near}'"),
        });
    }
    let more = match path.len() {
        1 => "`rawline --help` lists the commands".into(),
        _ => format!("`{} --help` explains it", path.join(" ")),
    };
    format!("{}; {more}", said.join("; "))
}

#[cfg(test)]
mod tests {
    use rawline::config::{Config, Flags};

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
    fn mistakes_are_one_line_with_a_suggestion() {
        for (arguments, message) in [
            (
                "rawline serve --rcp off",
                "unexpected argument '--rcp' found; tip: a similar argument exists: '--rpc'; \
                 `rawline serve --help` explains it",
            ),
            (
                "rawline serve --max_depth 5",
                "unexpected argument '--max_depth' found; tip: a similar argument exists: '--max-depth'; \
                 `rawline serve --help` explains it",
            ),
            (
                "rawline serve --colour",
                "unexpected argument '--colour' found; `rawline serve --help` explains it",
            ),
            (
                "rawline --rpc off",
                "unexpected argument '--rpc' found; tip: 'serve --rpc' exists; \
                 `rawline --help` lists the commands",
            ),
            (
                "rawline srve",
                "unrecognized subcommand 'srve'; tip: a similar subcommand exists: 'serve'; \
                 `rawline --help` lists the commands",
            ),
            (
                "rawline serve --rpc",
                "a value is required for '--rpc <ADDR>' but none was supplied; \
                 `rawline serve --help` explains it",
            ),
            (
                "rawline serve --rpc off --rpc off",
                "the argument '--rpc <ADDR>' cannot be used multiple times; \
                 `rawline serve --help` explains it",
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
