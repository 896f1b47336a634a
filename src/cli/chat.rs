//! The arguments of `rawline chat`.
//!
//! Owns their names, their help and their defaults; what they mean is done by the program of that name. Called by the
//! command line.

use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches, Command as Clap};
use rawline::config::{Config, Endpoint};

use super::Command;
use super::commands::{address, read_timeout, timeout};

/// What the user asked of the chat client.
#[derive(Debug, PartialEq, Eq)]
pub struct Chat {
    /// The server.
    pub to: Endpoint,
    /// What to be called; `None`: ask, or let the server choose.
    pub name: Option<String>,
    /// The line protocol instead of JSON-RPC.
    pub line: bool,
    /// Objects instead of lines.
    pub json: bool,
    /// The time before each line.
    pub timestamps: bool,
    /// When to use colours.
    pub colour: Colour,
    /// Whether to try again when the connection is lost.
    pub reconnect: bool,
    /// How long to wait for the server.
    pub timeout: Duration,
}

/// When to use colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    /// On a terminal, unless NO_COLOR is set.
    Auto,
    /// Even in a pipe.
    Always,
    /// Not at all.
    Never,
}

/// For clap.
pub fn command() -> Clap {
    let flag = |name: &'static str, help: &'static str| {
        Arg::new(name).long(name).action(ArgAction::SetTrue).help(help)
    };
    Clap::new("chat")
        .about("Joins the chat: on a terminal to talk, in a pipe to send lines")
        .arg(Arg::new("ADDRESS").value_name("ADDRESS").help(format!(
            "HOST:PORT or unix:PATH [default: {}, with --line {}]",
            Config::default().rpc,
            Config::default().line
        )))
        .arg(Arg::new("name").long("name").value_name("NAME").help(
            "What to be called [default: on a terminal you are asked, else the server chooses]",
        ))
        .arg(flag("line", "Speaks the line protocol instead of JSON-RPC"))
        .arg(
            flag("json", "Prints every object that arrives, one a line, for programs; lines of input are messages")
                .conflicts_with_all(["line", "timestamps"]),
        )
        .arg(flag("timestamps", "Shows the time before each line"))
        .arg(
            Arg::new("color")
                .long("color")
                .value_name("WHEN")
                .value_parser(["auto", "always", "never"])
                .default_value("auto")
                .help("Colours: auto is on a terminal, unless NO_COLOR is set"),
        )
        .arg(flag("no-reconnect", "Ends when the connection is lost, instead of trying again"))
        .arg(timeout("How long to wait for a connection, to each address, and for the server to let us in: 500ms, 10s, 2m."))
        .after_help(EXPLANATION)
}

const EXPLANATION: &str = "\
On a terminal, /help lists the commands. In a pipe every line of the input is a message; when it ends and all of it is \
answered, so does the program:

    rawline chat --name Alice
    echo \"the build is green\" | rawline chat --name bot
    tail -f /dev/null | rawline chat --json --name logger > chat.jsonl";

/// What clap has found.
///
/// # Errors
/// A sentence: the address or the time is none.
pub fn read(matches: &ArgMatches) -> Result<Command, String> {
    let text = |name| matches.get_one::<String>(name).cloned();
    let line = matches.get_flag("line");
    let to = match text("ADDRESS") {
        Some(text) => address(&text)?,
        None if line => Config::default().line,
        None => Config::default().rpc,
    };
    Ok(Command::Chat(Chat {
        to,
        name: text("name"),
        line,
        json: matches.get_flag("json"),
        timestamps: matches.get_flag("timestamps"),
        colour: match text("color").as_deref() {
            Some("always") => Colour::Always,
            Some("never") => Colour::Never,
            _ => Colour::Auto,
        },
        reconnect: !matches.get_flag("no-reconnect"),
        timeout: read_timeout(matches)?,
    }))
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;

    fn run(arguments: &str) -> Result<Chat, String> {
        match parse(arguments.split(' ').map(Into::into)) {
            Ok(Command::Chat(chat)) => Ok(chat),
            Ok(other) => panic!("{other:?}"),
            Err(failure) => {
                assert_eq!(failure.exit, crate::exit::USAGE);
                Err(failure.message)
            }
        }
    }

    #[test]
    fn each_protocol_has_its_address() {
        assert_eq!(run("rawline chat").unwrap().to, Config::default().rpc);
        assert_eq!(run("rawline chat --line").unwrap().to, Config::default().line);
        assert_eq!(run("rawline chat --line unix:/run/x").unwrap().to.to_string(), "unix:/run/x");
        assert!(run("rawline chat localhost").unwrap_err().contains("write localhost:PORT"));
    }

    #[test]
    fn flags_arrive() {
        let chat = run("rawline chat h:1 --name Ann --timestamps --color never --no-reconnect --timeout 2s");
        let expected = Chat {
            to: "h:1".parse().unwrap(),
            name: Some("Ann".into()),
            line: false,
            json: false,
            timestamps: true,
            colour: Colour::Never,
            reconnect: false,
            timeout: Duration::from_secs(2),
        };
        assert_eq!(chat, Ok(expected));
        assert_eq!(run("rawline chat").unwrap().colour, Colour::Auto);
        assert!(run("rawline chat").unwrap().reconnect);
    }

    #[test]
    fn what_contradicts_itself_is_a_mistake() {
        assert!(run("rawline chat --json --line").is_err());
        assert!(run("rawline chat --json --timestamps").is_err());
        assert!(run("rawline chat --color sometimes").is_err());
    }
}
