//! The chat: one room for all who speak, whatever they speak.
//!
//! Owns the room, the rules and their texts: joining, speaking and leaving are decided here, once. How that looks as
//! a JSON-RPC method is in `rpc.rs`, as a line with its commands in `line.rs`. Knows no socket and no encoding.

mod line;
mod rpc;
#[cfg(test)]
mod tests;

use serde::Serialize;

use crate::api::{Closed, ConnId, Effects, Fault, Line, Param, Peer, Route, Service, Stats, Wire};
use crate::log;
use crate::service::name;
use crate::service::room::Room;

const TAKEN: i32 = -32021;
const EMPTY: i32 = -32022;
const TOO_LONG: i32 = -32023;
const NOT_JOINED: i32 = -32024;
const NOT_ADMIN: i32 = -32025;

/// What an operator can choose.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Refuse a name in use, instead of making another of it.
    pub reject_duplicate_names: bool,
    /// Only joined users speak and hear.
    pub require_join: bool,
    /// Write message bodies to the log.
    pub log_bodies: bool,
    /// Tell the room of files that were stored.
    pub announce_uploads: bool,
    /// Whoever is on this machine is no administrator either.
    pub no_local_admin: bool,
    /// The longest name, in Unicode scalar values.
    pub max_username_chars: usize,
    /// The longest message, in Unicode scalar values.
    pub max_message_chars: usize,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            reject_duplicate_names: false,
            require_join: false,
            log_bodies: false,
            announce_uploads: false,
            no_local_admin: false,
            max_username_chars: 50,
            max_message_chars: 1000,
        }
    }
}

/// The chat behind all services.
#[derive(Default)]
pub struct Chat {
    rules: Rules,
    room: Room,
    /// Names and messages that were refused for their length.
    long_names: u64,
    long_messages: u64,
}

/// To add a method, write a handler in `rpc.rs` and its row here.
impl Service for Chat {
    const ROUTES: &'static [Route<Self>] = &[
        Route::new("join_chat", &[Param::text("username").optional()], rpc::join),
        Route::new("send_message", &[Param::text("message").optional()], rpc::send).guarded(Chat::may_speak),
        Route::new("get_users", &[Param::text("format").optional()], rpc::users),
        Route::new("leave_chat", &[], rpc::leave),
        Route::new("set_heartbeat", &[Param::number("seconds")], rpc::set_heartbeat),
        Route::new("ping", &[], rpc::ping),
        Route::new("get_stats", &[Param::text("format").optional()], rpc::stats),
    ];

    fn opened(&mut self, conn: ConnId, _peer: Peer, wire: Wire, fx: &mut Effects) {
        match wire {
            // Line users hear the room when they have a name.
            Wire::Line => line::greet(conn, fx),
            _ if !self.rules.require_join => fx.subscribe(conn),
            _ => {}
        }
    }

    fn line(&mut self, conn: ConnId, peer: Peer, line: Line<'_>, fx: &mut Effects) {
        self.hear_line(conn, peer, line, fx);
    }

    fn uploaded(&mut self, name: &str, bytes: u64, fx: &mut Effects) {
        if self.rules.announce_uploads {
            let message = format_args!("File uploaded: {name} ({bytes} bytes)");
            fx.announce(None, "system", &Said { message, username: "SYSTEM" }, message);
        }
    }

    fn is_sound(&self) -> bool {
        self.room.is_sound()
    }

    fn count(&self, stats: &mut Stats) {
        stats.gauge("users", self.room.len() as u64, "Users in the room: those who have joined.");
        stats.gauge("rooms", 1, "Rooms of the chat.");
        stats.limited("max_username_chars", self.long_names, "A name was refused: too long.");
        stats.limited("max_message_chars", self.long_messages, "A message was refused: too long.");
    }

    fn closed(&mut self, conn: ConnId, _peer: Peer, why: Closed, fx: &mut Effects) {
        if let Some(name) = self.room.leave(conn)
            && why != Closed::Shutdown
        {
            system(fx, conn, format_args!("{name} has left the chat!"));
        }
    }
}

impl Chat {
    /// An empty room.
    pub fn new(rules: Rules) -> Self {
        Self { rules, ..Self::default() }
    }

    /// Joins under the name asked for, or a made-up one. The name it came to, and whether that is news: a rename
    /// is told as leaving and joining, the same name again is told nobody.
    fn join(
        &mut self,
        conn: ConnId,
        peer: Peer,
        asked: Option<&str>,
        fx: &mut Effects,
    ) -> Result<(String, bool), Fault> {
        let name = match asked {
            Some(asked) => name::check(asked, self.rules.max_username_chars)
                .inspect_err(|fault| self.long_names += u64::from(*fault == name::too_long()))?
                .to_owned(),
            None => name::made_up(peer.number()),
        };
        let name = self.free_name(name, conn, peer)?;
        if self.room.name_of(conn).is_some_and(|old| **old == *name) {
            return Ok((name, false));
        }
        if let Some(old) = self.room.leave(conn) {
            system(fx, conn, format_args!("{old} has left the chat!"));
        }
        self.room.join(conn, &name);
        if self.rules.require_join {
            fx.subscribe(conn);
        }
        system(fx, conn, format_args!("{name} has joined the chat!"));
        Ok((name, true))
    }

    /// Says something to all others.
    fn say(&mut self, conn: ConnId, peer: Peer, text: &str, fx: &mut Effects) -> Result<(), Fault> {
        let message = text.trim();
        if message.is_empty() {
            return Err(Fault::rule(EMPTY, "Message cannot be empty"));
        }
        // A character is at least a byte: most messages need no count.
        let most = self.rules.max_message_chars;
        if message.len() > most && message.chars().count() > most {
            self.long_messages += 1;
            return Err(Fault::rule(TOO_LONG, "Message too long"));
        }
        let made_up;
        let username = match self.room.name_of(conn) {
            Some(name) => &**name,
            None => {
                made_up = name::made_up(peer.number());
                &made_up
            }
        };
        if self.rules.log_bodies {
            log::info("chat", format_args!("{} says {}", log::quoted(username), log::quoted(message)));
        }
        fx.announce(Some(conn), "chat", &Said { message, username }, format_args!("{username}: {message}"));
        Ok(())
    }

    /// Leaves, if it had joined; the connection then equals one that never did.
    fn leave(&mut self, conn: ConnId, fx: &mut Effects) {
        if let Some(name) = self.room.leave(conn) {
            system(fx, conn, format_args!("{name} has left the chat!"));
            if self.rules.require_join {
                fx.unsubscribe(conn);
            }
        }
    }

    /// With `require_join`, only the joined speak.
    fn may_speak(&self, conn: ConnId) -> Result<(), Fault> {
        if self.rules.require_join && self.room.name_of(conn).is_none() {
            return Err(Fault::rule(NOT_JOINED, "Join the chat first"));
        }
        Ok(())
    }

    /// Only those on this machine are shown statistics, if anybody is.
    fn may_administer(&self, peer: Peer) -> Result<(), Fault> {
        if self.rules.no_local_admin {
            return Err(Fault::rule(NOT_ADMIN, "Statistics are switched off"));
        }
        if !peer.is_local() {
            return Err(Fault::rule(NOT_ADMIN, "Statistics are for the server's own machine only"));
        }
        Ok(())
    }

    /// The name that a connection gets when it asks for `name`: its own counts as free.
    fn free_name(&self, name: String, conn: ConnId, peer: Peer) -> Result<String, Fault> {
        let number = peer.number();
        let is_taken = |name: &str| self.room.holder(name).is_some_and(|holder| holder != conn);
        if !is_taken(&name) && !name::is_made_up_for_another(&name, number) {
            return Ok(name);
        }
        if self.rules.reject_duplicate_names {
            return Err(Fault::rule(TAKEN, "Username already taken"));
        }
        let with_suffix = |suffix: String| name::with_suffix(&name, &suffix, self.rules.max_username_chars);
        let first = with_suffix(format!("_{number}"));
        let more = (2..).map(|n: u64| with_suffix(format!("_{number}_{n}")));
        Ok(std::iter::once(first)
            .chain(more)
            .find(|name| !is_taken(name))
            .expect("there are more names than users"))
    }
}

/// A push of the room.
#[derive(Serialize)]
struct Said<'a, M: Serialize> {
    message: M,
    username: &'a str,
}

/// Tells all but `except` what has happened.
fn system(fx: &mut Effects, except: ConnId, message: std::fmt::Arguments<'_>) {
    fx.announce(Some(except), "system", &Said { message, username: "SYSTEM" }, message);
}
