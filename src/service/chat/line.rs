//! The chat as lines of text, for people with nothing but `nc` or `telnet`.
//!
//! Owns the prompt, the commands and their texts. A line user is in the room from the moment he has a name; rules are
//! the chat's, and a line that breaks one is answered with its text.

use super::Chat;
use crate::api::{ConnId, Effects, Line, Peer};

const HELP: &[&str] = &[
    "/users  who is here",
    "/ping   answers PONG",
    "/quit   leaves",
    "/help   this list",
    "//text  says /text; everything else is said as it is",
];

/// The server speaks first.
pub(super) fn greet(conn: ConnId, fx: &mut Effects) {
    fx.prompt(conn, format_args!("Enter your name : "));
}

impl Chat {
    pub(super) fn hear_line(&mut self, conn: ConnId, peer: Peer, line: Line<'_>, fx: &mut Effects) {
        let is_named = self.room.name_of(conn).is_some();
        match line {
            Line::TooLong(most) => {
                fx.line(conn, format_args!("Line too long: more than {most} bytes were dropped"));
                if !is_named {
                    greet(conn, fx);
                }
            }
            Line::Text(line) if is_named => self.hear_named(conn, peer, line.trim(), fx),
            // Who has thought better of it need not give a name.
            Line::Text(line) if line.trim() == "/quit" => fx.close(conn),
            Line::Text(line) => self.take_name(conn, peer, line, fx),
        }
    }

    fn hear_named(&mut self, conn: ConnId, peer: Peer, line: &str, fx: &mut Effects) {
        match line.strip_prefix('/') {
            None if line.is_empty() => {}
            None => self.say_line(conn, peer, line, fx),
            Some(text) if text.starts_with('/') => self.say_line(conn, peer, text, fx),
            Some(command) => self.obey(conn, command.split_whitespace().next().unwrap_or_default(), fx),
        }
    }

    fn take_name(&mut self, conn: ConnId, peer: Peer, line: &str, fx: &mut Effects) {
        let asked = Some(line).filter(|line| !line.trim().is_empty());
        match self.join(conn, peer, asked, fx) {
            Ok((name, _)) => {
                fx.subscribe(conn);
                fx.line(conn, format_args!("Welcome to the chat, {name}! /help lists commands."));
            }
            Err(fault) => {
                fx.line(conn, format_args!("{}", fault.message));
                greet(conn, fx);
            }
        }
    }

    fn say_line(&mut self, conn: ConnId, peer: Peer, text: &str, fx: &mut Effects) {
        if let Err(fault) = self.say(conn, peer, text, fx) {
            fx.line(conn, format_args!("{}", fault.message));
        }
    }

    fn obey(&mut self, conn: ConnId, command: &str, fx: &mut Effects) {
        match command {
            "users" => {
                let names: Vec<&str> = self.room.users().map(|(_, name)| name).collect();
                fx.line(conn, format_args!("Online users ({}): {}", names.len(), names.join(", ")));
            }
            "ping" => fx.line(conn, format_args!("PONG")),
            "quit" => fx.close(conn),
            "help" => HELP.iter().for_each(|line| fx.line(conn, format_args!("{line}"))),
            unknown => {
                let word: String = unknown.chars().take(32).collect();
                fx.line(conn, format_args!("Unknown command /{word}. /help lists commands."));
            }
        }
    }
}
