//! `rawline rpc`: its arguments.
//!
//! Connects to nothing and reads nothing: whether the parameters are JSON is found out in `programs/rpc.rs`,
//! because they may come from standard input.

use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches};
use rawline::config::{Config, Endpoint};

use super::Command;
use super::commands::{address, read_timeout, timeout};

/// A call, and where it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rpc {
    /// The server.
    pub to: Endpoint,
    /// Its name.
    pub method: String,
    /// As they were written, or `-` for standard input.
    pub params: Option<String>,
    /// Whether to go on and print pushes.
    pub watch: bool,
    /// For connecting, and then for the answer.
    pub timeout: Duration,
}

/// What clap is to know of it.
pub fn command() -> clap::Command {
    clap::Command::new("rpc")
        .about("Makes a JSON-RPC call and prints its result")
        .arg(Arg::new("METHOD").value_name("METHOD").required(true).help("What to call."))
        .arg(
            Arg::new("JSON")
                .value_name("JSON")
                .allow_hyphen_values(true)
                .help("Its parameters, an object or an array; - reads them from standard input."),
        )
        .arg(Arg::new("to").long("to").value_name("ADDRESS").help(format!(
            "The server, one word: HOST:PORT or unix:PATH. [default: {}]",
            Config::default().rpc
        )))
        .arg(Arg::new("watch").long("watch").action(ArgAction::SetTrue).help(
            "Prints what the server sends unasked, one object a line, until Ctrl-C or until the server ends.",
        ))
        .arg(timeout(
            "How long connecting to one address may take, and then how long the answer: 500ms, 10s, 2m.",
        ))
        .after_help(EXPLANATION)
}

const EXPLANATION: &str = "\
The result goes to standard output, laid out for reading on a terminal and on one line in a pipe; an error that the \
server answers goes to standard error.

    rawline rpc get_users
    rawline rpc send_message '{\"message\":\"hello\"}'
    rawline rpc get_users | jq .count
    rawline rpc join_chat '{\"username\":\"Watcher\"}' --watch";

/// What the user asks for. The error is a sentence.
pub fn read(matches: &ArgMatches) -> Result<Command, String> {
    let text = |name| matches.get_one::<String>(name).cloned();
    Ok(Command::Rpc(Rpc {
        to: match text("to") {
            Some(to) => address(&to).map_err(|why| format!("--to: {why}"))?,
            None => Config::default().rpc,
        },
        method: text("METHOD").expect("it is required"),
        params: text("JSON"),
        watch: matches.get_flag("watch"),
        timeout: read_timeout(matches)?,
    }))
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;

    fn run(words: &[&str]) -> Result<Rpc, String> {
        match parse(["rawline", "rpc"].iter().chain(words).map(Into::into)) {
            Ok(Command::Rpc(rpc)) => Ok(rpc),
            Ok(other) => panic!("{other:?}"),
            Err(failure) => Err(failure.message),
        }
    }

    #[test]
    fn a_call_is_read() {
        let rpc = Rpc {
            to: Endpoint::loopback(65432),
            method: "ping".into(),
            params: None,
            watch: false,
            timeout: Duration::from_secs(10),
        };
        assert_eq!(run(&["ping"]), Ok(rpc.clone()));
        assert_eq!(run(&["ping", "-"]), Ok(Rpc { params: Some("-".into()), ..rpc.clone() }));
        assert_eq!(
            run(&["ping", "{}", "--to", "unix:/x", "--watch", "--timeout", "500ms"]),
            Ok(Rpc {
                to: "unix:/x".parse().unwrap(),
                params: Some("{}".into()),
                watch: true,
                timeout: Duration::from_millis(500),
                ..rpc
            })
        );
    }

    #[test]
    fn mistakes_are_told() {
        assert_eq!(
            run(&["ping", "--to", "localhost"]),
            Err("--to: \"localhost\" has no port: write localhost:PORT".into())
        );
        let message = run(&[]).unwrap_err();
        assert!(message.contains("<METHOD>") && message.contains("`rawline rpc --help`"), "{message}");
    }
}
