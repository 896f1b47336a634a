//! `rawline serve`: its flags, which come from the table of options, and what `--help` says of them.
//!
//! clap finds flags and lays out `--help`. It never judges a value: that is done where values of the
//! environment and the file are judged too, so a mistake reads the same everywhere. Called by `commands.rs`.

use std::path::PathBuf;

use clap::builder::StyledStr;
use clap::{Arg, ArgAction, ArgMatches, value_parser};
use rawline::config::options::{Field, OPTIONS, Opt};
use rawline::config::{Config, Flags};

use super::Command;

/// What clap is to know of it.
pub fn command() -> clap::Command {
    clap::Command::new("serve")
        .about("Runs the server until SIGINT or SIGTERM")
        .next_line_help(true)
        .args(arguments())
        .arg(
            Arg::new("print-limits")
                .long("print-limits")
                .action(ArgAction::SetTrue)
                .help("Prints every limit and the most memory that they allow, and starts nothing."),
        )
        .after_help(EXPLANATION)
}

/// The flags that make a configuration.
pub fn arguments() -> impl Iterator<Item = Arg> {
    let file = Arg::new("config")
        .long("config")
        .value_name("FILE")
        .value_parser(value_parser!(PathBuf))
        .help("Reads options from this file, as described below.\n[env: RAWLINE_CONFIG]");
    [file].into_iter().chain(OPTIONS.iter().map(argument))
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

SIGTERM and SIGINT stop the server in good order, the second one at once. SIGHUP reads the configuration again and \
takes the limits and the log level; if anything is wrong, nothing changes. SIGUSR1 writes statistics to the log.";

fn argument(opt: &'static Opt) -> Arg {
    let argument = Arg::new(opt.name)
        .long(opt.name)
        .value_name(opt.placeholder())
        .help_heading(opt.group.heading())
        .help(help(opt));
    match opt.field {
        // With the equals sign only, or `--allow-remote serve` would be ambiguous.
        Field::Switch(_) => argument.num_args(0..=1).require_equals(true).default_missing_value("true"),
        _ => argument,
    }
}

fn help(opt: &Opt) -> StyledStr {
    let default = opt.show(&Config::default());
    let range = opt.range().map_or(String::new(), |range| format!("[{range}] "));
    format!("{}\n{range}[default: {default}] [env: {}]", opt.help, opt.variable()).into()
}

/// What the user asks for.
pub fn read(matches: &ArgMatches) -> Command {
    match matches.get_flag("print-limits") {
        true => Command::PrintLimits(flags(matches)),
        false => Command::Serve(flags(matches)),
    }
}

/// What those flags say.
pub fn flags(matches: &ArgMatches) -> Flags {
    let value = |opt: &Opt| matches.get_one::<String>(opt.name).cloned();
    Flags {
        file: matches.get_one("config").cloned(),
        values: OPTIONS.iter().filter_map(|opt| Some((opt.name, value(opt)?))).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_in_the_help_is_one() {
        let lines = EXPLANATION.lines().filter_map(|line| line.strip_prefix("    "));
        let content = lines.collect::<Vec<_>>().join("\n");
        let entries: Vec<_> =
            rawline::config::file::parse(content.as_bytes()).into_iter().map(Result::unwrap).collect();
        assert_eq!(entries.len(), 4);
        for entry in entries {
            let opt = OPTIONS.iter().find(|opt| opt.key() == entry.key).unwrap();
            opt.set(&mut Config::default(), &entry.value.into_text()).unwrap();
        }
    }
}
