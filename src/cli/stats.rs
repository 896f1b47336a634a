//! `rawline stats`: its arguments.
//!
//! Connects to nothing: `programs/stats` asks the server, and knows the forms.

use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches};
use rawline::config::{Config, Endpoint};

use super::Command;
use super::commands::{address, read_timeout, timeout};

/// Whose statistics, and in which form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stats {
    /// The server.
    pub of: Endpoint,
    /// What they look like.
    pub form: Form,
    /// For connecting, and then for the answer.
    pub timeout: Duration,
}

/// What statistics look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// For people.
    Table,
    /// One object.
    Json,
    /// Prometheus's text.
    Prometheus,
}

/// What clap is to know of it.
pub fn command() -> clap::Command {
    clap::Command::new("stats")
        .about("Shows what a server has counted: connections, bytes, limits that were reached, system calls")
        .arg(Arg::new("ADDRESS").value_name("ADDRESS").help(format!(
            "The server's JSON-RPC address, one word: HOST:PORT or unix:PATH. [default: {}]",
            Config::default().rpc
        )))
        .arg(
            Arg::new("json")
                .long("json")
                .action(ArgAction::SetTrue)
                .help("Prints one object: a number for each name."),
        )
        .arg(
            Arg::new("prometheus")
                .long("prometheus")
                .action(ArgAction::SetTrue)
                .conflicts_with("json")
                .help("Prints Prometheus's text format, with units in seconds and bytes."),
        )
        .arg(timeout(
            "How long connecting to one address may take, and then how long the answer: 500ms, 10s, 2m.",
        ))
        .after_help(EXPLANATION)
}

const EXPLANATION: &str = "\
Counters are of the time since the server was started. A server shows them to clients on its own machine only, and with \
--no-local-admin to nobody; SIGUSR1 then still writes them to its log.

    rawline stats
    watch rawline stats
    rawline stats --json | jq .limited
    rawline stats --prometheus > /var/lib/node_exporter/rawline.prom";

/// What the user asks for. The error is a sentence.
pub fn read(matches: &ArgMatches) -> Result<Command, String> {
    Ok(Command::Stats(Stats {
        of: match matches.get_one::<String>("ADDRESS") {
            Some(of) => address(of)?,
            None => Config::default().rpc,
        },
        form: match (matches.get_flag("json"), matches.get_flag("prometheus")) {
            (true, _) => Form::Json,
            (_, true) => Form::Prometheus,
            _ => Form::Table,
        },
        timeout: read_timeout(matches)?,
    }))
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;

    fn run(words: &[&str]) -> Result<Stats, String> {
        match parse(["rawline", "stats"].iter().chain(words).map(Into::into)) {
            Ok(Command::Stats(stats)) => Ok(stats),
            Ok(other) => panic!("{other:?}"),
            Err(failure) => Err(failure.message),
        }
    }

    #[test]
    fn address_and_form_are_read() {
        let stats =
            Stats { of: Endpoint::loopback(65432), form: Form::Table, timeout: Duration::from_secs(10) };
        assert_eq!(run(&[]), Ok(stats.clone()));
        assert_eq!(
            run(&["unix:/x", "--json", "--timeout", "2s"]),
            Ok(Stats { of: "unix:/x".parse().unwrap(), form: Form::Json, timeout: Duration::from_secs(2) })
        );
        assert_eq!(run(&["--prometheus"]), Ok(Stats { form: Form::Prometheus, ..stats }));
    }

    #[test]
    fn mistakes_are_told() {
        assert_eq!(run(&["7000"]), Err("\"7000\" has no host: write 127.0.0.1:7000".into()));
        assert!(run(&["--json", "--prometheus"]).unwrap_err().contains("cannot be used with"));
    }
}
