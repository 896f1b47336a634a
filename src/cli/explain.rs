//! The arguments of `rawline explain`.
//!
//! Reads standard input only if it is named; what is done with the request is said in `programs/explain.rs`.

use clap::{Arg, ArgAction, ArgMatches};
use rawline::Wire;

use super::Command;

/// What is to be explained, and how it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explain {
    /// As it was written, or `-` for standard input.
    pub request: String,
    /// Requests that come before it.
    pub before: Vec<String>,
    /// What the client speaks.
    pub wire: Wire,
    /// How many are connected.
    pub clients: usize,
    /// For a program.
    pub json: bool,
}

/// What clap is to know of it.
pub fn command() -> clap::Command {
    let flag = |name: &'static str, help: &'static str| {
        Arg::new(name).long(name).action(ArgAction::SetTrue).help(help)
    };
    clap::Command::new("explain")
        .about("Says which system calls a request makes on the server, makes it, and counts them")
        .arg(Arg::new("REQUEST").value_name("REQUEST").required(true).allow_hyphen_values(true).help(
            "What a client sends, in one piece, with a line feed behind it; - reads it from standard input.",
        ))
        .arg(Arg::new("clients").long("clients").value_name("N").default_value("2").help(
            "How many are connected, the one who asks included; from 3 on a table shows how the cost grows.",
        ))
        .arg(
            Arg::new("before")
                .long("before")
                .value_name("REQUEST")
                .action(ArgAction::Append)
                .help("Sent first, and not counted: to join, say. Can be given again and again."),
        )
        .arg(flag("line", "A line of the line chat; everybody has given a name.").conflicts_with("echo"))
        .arg(flag("echo", "Bytes for the echo service, without a line feed behind them."))
        .arg(flag("json", "Prints one JSON object."))
        .after_help(EXPLANATION)
}

const EXPLANATION: &str = "\
Nothing needs to run: it starts a server of its own, twice. On a kernel that never says no it predicts, on this one it \
measures. Where the two differ, the kernel's answer is the reason.

    rawline explain '{\"method\":\"ping\"}'
    rawline explain '{\"method\":\"send_message\",\"params\":[\"hi\"]}' --clients 100
    rawline explain '{\"method\":\"get_users\"}' --before '{\"method\":\"join_chat\",\"params\":[\"Ann\"]}'
    rawline explain --line 'hello, everybody' --clients 5

Waits stand apart, and so do lines of the log and whatever the allocator asks for: docs/syscalls.md lists every call.";

/// The most clients: both ends of each are descriptors of this process.
const MOST_CLIENTS: usize = 4000;

/// What the user asks for. The error is a sentence.
pub fn read(matches: &ArgMatches) -> Result<Command, String> {
    let text = |name| matches.get_one::<String>(name).cloned();
    let clients = text("clients").expect("it has a default");
    let wire = match (matches.get_flag("line"), matches.get_flag("echo")) {
        (true, _) => Wire::Line,
        (_, true) => Wire::Echo,
        (..) => Wire::JsonRpc,
    };
    Ok(Command::Explain(Explain {
        request: text("REQUEST").expect("it is required"),
        before: matches.get_many::<String>("before").unwrap_or_default().cloned().collect(),
        wire,
        clients: clients
            .parse()
            .ok()
            .filter(|clients| (1..=MOST_CLIENTS).contains(clients))
            .ok_or_else(|| format!("--clients: {clients:?} is no number from 1 to {MOST_CLIENTS}"))?,
        json: matches.get_flag("json"),
    }))
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;

    fn run(words: &[&str]) -> Result<Explain, String> {
        match parse(["rawline", "explain"].iter().chain(words).map(Into::into)) {
            Ok(Command::Explain(explain)) => Ok(explain),
            Ok(other) => panic!("{other:?}"),
            Err(failure) => Err(failure.message),
        }
    }

    #[test]
    fn a_request_is_read() {
        let plain =
            Explain { request: "{}".into(), before: vec![], wire: Wire::JsonRpc, clients: 2, json: false };
        assert_eq!(run(&["{}"]), Ok(plain.clone()));
        assert_eq!(
            run(&["--line", "-x", "--clients", "7", "--before", "a", "--before", "b", "--json"]),
            Ok(Explain {
                request: "-x".into(),
                before: vec!["a".into(), "b".into()],
                wire: Wire::Line,
                clients: 7,
                json: true
            })
        );
    }

    #[test]
    fn mistakes_are_told() {
        assert_eq!(
            run(&["{}", "--clients", "0"]),
            Err("--clients: \"0\" is no number from 1 to 4000".into())
        );
        assert!(run(&["{}", "--line", "--echo"]).is_err() && run(&[]).is_err());
    }
}
