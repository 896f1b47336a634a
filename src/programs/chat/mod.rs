//! `rawline chat`: a seat in the chat, for a person at a terminal or for a program in a pipe.
//!
//! Chooses one of the two [`Face`]s and puts it in front of the library's loop, which owns everything there is to wait
//! for. A face decides what is said and shown, and never waits. Called by `main`.
//!
//! ```text
//! keys ─► editor ─► row ─┐
//!                        ├─► screen (terminal.rs)      seat ◄─► link ◄─► session (library)
//! news ─► look ─► lines ─┘   or plain output (pipe.rs)
//! ```

mod command;
mod editor;
mod keys;
mod look;
mod pipe;
mod screen;
mod terminal;

use std::env;
use std::io::{self, IsTerminal};

use rawline::client::chat::{self, Broken, Face, Link, LinkError, Plan, Seat, json_rpc, lines};

use super::{failed, unreachable};
use crate::Failure;
use crate::cli::chat::{Chat, Colour};
use look::Look;

/// To go on, or how it ended.
type Outcome = chat::Outcome<Failure>;

/// Runs it to its end.
///
/// # Errors
/// No connection, or something was not said.
pub fn run(chat: Chat) -> Result<(), Failure> {
    let (stdin, stdout) = (io::stdin().is_terminal(), io::stdout().is_terminal());
    let can_draw = stdout && env::var_os("TERM").is_some_and(|term| term != "dumb");
    let colour = match chat.colour {
        Colour::Always => true,
        Colour::Never => false,
        Colour::Auto => can_draw && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
    };
    let look = Look { colour, timestamps: chat.timestamps };

    let session = match (chat.line, chat.json) {
        (true, _) => lines,
        (false, true) => || json_rpc(true),
        (false, false) => || json_rpc(false),
    };
    let plan = Plan { to: chat.to, timeout: chat.timeout, reconnect: chat.reconnect, session };
    let mut link = Link::new(plan).map_err(|error| unreachable(&error))?;
    let seat = Seat::new().map_err(Failure::system)?;
    let mut face: Box<dyn Face<Error = Failure>> = if stdin && can_draw && !chat.json {
        let to = link.to().to_string();
        Box::new(terminal::Terminal::new(look, chat.name, &to).map_err(Failure::system)?)
    } else {
        let is_person = stdin && !chat.json;
        Box::new(pipe::Pipe::new(look, chat.json, is_person, chat.name).map_err(Failure::system)?)
    };
    seat.run(&mut link, &mut *face)
}

impl From<Broken> for Failure {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::Input(error) => failed(format!("the input cannot be read: {error}")),
            Broken::Output(error) => failed(format!("the output cannot be written: {error}")),
            Broken::System(error) => Self::system(error),
        }
    }
}

/// What has ended the connection for good.
fn hopeless(error: LinkError) -> Failure {
    match error {
        LinkError::Unreachable(error) => unreachable(&error),
        other => failed(other.to_string()),
    }
}

fn lost(why: &str) -> Failure {
    failed(format!("the connection is lost: {why}"))
}

/// As much of a message as tells which it is.
fn shown(text: &str) -> String {
    const SHOWN: usize = 60;
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.into(),
    }
}
