//! `rawline echo`: its arguments, and how an address is told from a text.
//!
//! One word is an address when it can be one, otherwise a text; with two, the first is the address. A word
//! that looks like an address and is none is a mistake, not a text. Connects to nothing: see `programs/echo.rs`.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches, value_parser};
use rawline::config::{Config, Endpoint};

use super::Command;
use super::commands::{address, read_timeout, timeout};

/// What to echo, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Echo {
    /// The server.
    pub to: Endpoint,
    /// What is sent; `None`: standard input.
    pub text: Option<Vec<u8>>,
    /// For connecting, and for silence of the server.
    pub timeout: Duration,
}

/// What clap is to know of it.
pub fn command() -> clap::Command {
    let word =
        |name, what: String| Arg::new(name).value_name(name).value_parser(value_parser!(OsString)).help(what);
    let standard = Config::default().echo;
    clap::Command::new("echo")
        .about("Sends a text, or standard input, to an echo server and prints what comes back")
        .arg(word("ADDRESS", format!("The server, one word: HOST:PORT or unix:PATH. [default: {standard}]")))
        .arg(word("TEXT", "What to send. Without it standard input is sent, to its end.".into()))
        .arg(
            Arg::new("hello")
                .long("hello")
                .action(ArgAction::SetTrue)
                .conflicts_with("TEXT")
                .help("Sends `Hello, world`."),
        )
        .arg(timeout(
            "How long connecting to one address may take, and how long the server may say nothing when \
             everything has been sent: 500ms, 10s, 2m.",
        ))
        .after_help(EXPLANATION)
}

const EXPLANATION: &str = "\
A single word is the ADDRESS if it has the form of one, HOST:PORT or unix:PATH, and otherwise the TEXT. To send a \
text that looks like an address, name the address too.

    rawline echo hello                        prints hello
    rawline echo 127.0.0.1:65435 12:30        prints 12:30
    rawline echo                              each line you type comes back; Ctrl-D ends
    rawline echo < in > out                   any number of bytes, exactly as they are
    tar c . | rawline echo | tar t            in the middle of a pipe";

/// What the user asks for. The error is a sentence.
pub fn read(matches: &ArgMatches) -> Result<Command, String> {
    let word = |name| matches.get_one::<OsString>(name).map(OsString::as_os_str);
    let (first, second) = (word("ADDRESS"), word("TEXT"));
    let (to, text) = match (first, second) {
        (None, _) => (None, None),
        (Some(word), None) if matches.get_flag("hello") => (Some(must_be_address(word)?), None),
        (Some(word), None) => one_word(word)?,
        (Some(word), Some(text)) => (Some(must_be_address(word)?), Some(text)),
    };
    let text = match matches.get_flag("hello") {
        true => Some(&b"Hello, world"[..]),
        false => text.map(OsStr::as_bytes),
    };
    Ok(Command::Echo(Echo {
        to: to.unwrap_or(Config::default().echo),
        text: text.map(Into::into),
        timeout: read_timeout(matches)?,
    }))
}

fn must_be_address(word: &OsStr) -> Result<Endpoint, String> {
    address(&word.to_string_lossy()).map_err(|why| {
        format!("{why} (the first of two words is the address; quote a text of several words)")
    })
}

/// An address, a text, or a mistake.
fn one_word(word: &OsStr) -> Result<(Option<Endpoint>, Option<&OsStr>), String> {
    let text = word.to_string_lossy();
    let has_port = text
        .rsplit_once(':')
        .is_some_and(|(_, port)| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()));
    let looks_like_one = text.starts_with("unix:") || has_port && !text.contains(char::is_whitespace);
    if !looks_like_one {
        return Ok((None, Some(word)));
    }
    match address(&text) {
        Ok(to) => Ok((Some(to), None)),
        Err(why) => Err(format!("{why} (to send it as a text, name the address too)")),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::super::parse;
    use super::*;

    fn run(words: &[&str]) -> Result<(String, Option<String>), String> {
        let arguments = ["rawline", "echo"].iter().chain(words).map(Into::into);
        match parse(arguments) {
            Ok(Command::Echo(echo)) => {
                Ok((echo.to.to_string(), echo.text.map(|text| String::from_utf8(text).unwrap())))
            }
            Ok(other) => panic!("{other:?}"),
            Err(failure) => {
                assert_eq!(failure.exit, crate::exit::USAGE);
                Err(failure.message)
            }
        }
    }

    #[test]
    fn one_word_is_an_address_if_it_can_be_and_otherwise_a_text() {
        let standard = "127.0.0.1:65435";
        for (words, to, text) in [
            (&[][..], standard, None),
            (&["hello"], standard, Some("hello")),
            (&["localhost"], standard, Some("localhost")),
            (&["off"], standard, Some("off")),
            (&["at 12:30"], standard, Some("at 12:30")),
            (&["a:b"], standard, Some("a:b")),
            (&["::"], standard, Some("::")),
            (&[""], standard, Some("")),
            (&["localhost:7"], "localhost:7", None),
            (&["[::1]:7"], "[::1]:7", None),
            (&["unix:/run/x"], "unix:/run/x", None),
            (&["localhost:7", "12:30"], "localhost:7", Some("12:30")),
            (&["--hello"], standard, Some("Hello, world")),
            (&["--hello", "unix:x"], "unix:x", Some("Hello, world")),
            (&["--", "-x"], standard, Some("-x")),
        ] {
            assert_eq!(run(words), Ok((to.into(), text.map(Into::into))), "{words:?}");
        }
    }

    #[test]
    fn a_word_that_is_no_address_is_told_why() {
        const QUOTE: &str = " (the first of two words is the address; quote a text of several words)";
        const NAME: &str = " (to send it as a text, name the address too)";
        for (words, message, hint) in [
            (&["hello", "world"][..], "\"hello\" has no port: write hello:PORT", QUOTE),
            (&["127.0.0.1", "7"], "\"127.0.0.1\" has no port: write 127.0.0.1:PORT", QUOTE),
            (&["7", "x"], "\"7\" has no host: write 127.0.0.1:7", QUOTE),
            (&["off", "x"], "\"off\" has no port: write off:PORT", QUOTE),
            (&["", "x"], "the address is empty: write HOST:PORT or unix:PATH", QUOTE),
            (&["--hello", "x"], "\"x\" has no port: write x:PORT", QUOTE),
            (&["http://x:1"], "\"http://x:1\": \"http://x\" is no host name", NAME),
            (&["x:0"], "\"x:0\": nobody listens on port 0", NAME),
            (&["unix:"], "\"unix:\": the path is empty", NAME),
            (&["--timeout", "0", "x"], "--timeout: 0 is out of range: 1ms to 60m", ""),
            (&["--timeout=5", "x"], "--timeout: \"5\" has no unit: write 5ms, 5s or 5m", ""),
        ] {
            assert_eq!(run(words), Err(format!("{message}{hint}")), "{words:?}");
        }
        assert!(run(&["a:1", "b", "c"]).unwrap_err().ends_with("; `rawline echo --help` explains it"));
        assert!(run(&["a:1", "b", "--hello"]).is_err());
    }

    #[test]
    fn a_text_need_not_be_text() {
        let word = OsString::from_vec(vec![0xff, b'x']);
        let Ok(Command::Echo(echo)) = parse(["rawline".into(), "echo".into(), word]) else { panic!() };
        assert_eq!((echo.text.as_deref(), echo.timeout), (Some(&b"\xffx"[..]), Duration::from_secs(10)));
    }
}
