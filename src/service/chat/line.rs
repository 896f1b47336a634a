//! The chat as lines of text, for people with nothing but `nc` or `telnet`.
//!
//! Owns the prompt, the commands and their texts. A line user is in the room from the moment he has a name; rules are
//! the chat's, and a line that breaks one is answered with its text.

use super::Chat;
use crate::api::{ConnId, Effects, Peer};

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
    pub(super) fn hear_line(&mut self, conn: ConnId, peer: Peer, line: &str, fx: &mut Effects) {
        if self.room.name_of(conn).is_none() {
            return self.take_name(conn, peer, line, fx);
        }
        let line = line.trim();
        match line.strip_prefix('/') {
            None if line.is_empty() => {}
            None => self.say_line(conn, peer, line, fx),
            Some(text) if text.starts_with('/') => self.say_line(conn, peer, text, fx),
            Some(command) => self.obey(conn, command, fx),
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
                let names: Vec<&str> = self.room.users().map(|(name, _)| name).collect();
                fx.line(conn, format_args!("Online users ({}): {}", names.len(), names.join(", ")));
            }
            "ping" => fx.line(conn, format_args!("PONG")),
            "quit" => fx.close(conn),
            "help" => HELP.iter().for_each(|line| fx.line(conn, format_args!("{line}"))),
            unknown => {
                let word: String =
                    unknown.split_whitespace().next().unwrap_or_default().chars().take(32).collect();
                fx.line(conn, format_args!("Unknown command /{word}. /help lists commands."));
            }
        }
    }
}
