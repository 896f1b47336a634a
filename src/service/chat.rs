//! The chat: its methods, its rules and its texts.
//!
//! Owns the one room. Knows no socket and no encoding: a handler answers with a value and asks for pushes as
//! effects. To add a method, write a handler and its row in [`Service::ROUTES`].

use serde::Serialize;

use crate::api::{Call, Closed, ConnId, Effects, Fault, Param, Peer, Reply, Route, Service};
use crate::log;
use crate::service::name;
use crate::service::room::Room;

/// The longest message, in characters after trimming.
pub const MAX_MESSAGE_CHARS: usize = 1000;

const TAKEN: i32 = -32021;
const EMPTY: i32 = -32022;
const TOO_LONG: i32 = -32023;
const NOT_JOINED: i32 = -32024;

/// What an operator can choose.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rules {
    /// Refuse a name in use, instead of making another of it.
    pub reject_duplicate_names: bool,
    /// Only joined users speak and hear.
    pub require_join: bool,
    /// Write message bodies to the log.
    pub log_bodies: bool,
}

/// The chat behind all services.
#[derive(Default)]
pub struct Chat {
    rules: Rules,
    room: Room,
}

impl Chat {
    /// An empty room.
    pub fn new(rules: Rules) -> Self {
        Self { rules, room: Room::default() }
    }
}

impl Service for Chat {
    const ROUTES: &'static [Route<Self>] = &[
        Route::new("join_chat", &[Param::text("username").optional()], join),
        Route::new("send_message", &[Param::text("message").optional()], send).guarded(may_speak),
        Route::new("get_users", &[Param::text("format").optional()], users),
        Route::new("leave_chat", &[], leave),
        Route::new("ping", &[], ping),
    ];

    fn opened(&mut self, conn: ConnId, _peer: Peer, fx: &mut Effects) {
        if !self.rules.require_join {
            fx.subscribe(conn);
        }
    }

    fn closed(&mut self, conn: ConnId, _peer: Peer, why: Closed, fx: &mut Effects) {
        if let Some(name) = self.room.leave(conn)
            && why != Closed::Shutdown
        {
            system(fx, Some(conn), format_args!("{name} has left the chat!"));
        }
    }
}

/// A push of the room.
#[derive(Serialize)]
struct Said<'a, M: Serialize> {
    message: M,
    username: &'a str,
}

fn join(chat: &mut Chat, call: Call<'_>, fx: &mut Effects) -> Result<Reply, Fault> {
    let asked = call.text(0);
    let name = match &asked {
        Some(asked) => name::check(asked)?.to_owned(),
        None => name::made_up(call.peer.number()),
    };
    let name = chat.free_name(name, &call)?;
    if chat.room.name_of(call.conn).is_none_or(|old| **old != *name) {
        if let Some(old) = chat.room.leave(call.conn) {
            system(fx, Some(call.conn), format_args!("{old} has left the chat!"));
        }
        chat.room.join(call.conn, call.peer, &name);
        if chat.rules.require_join {
            fx.subscribe(call.conn);
        }
        system(fx, Some(call.conn), format_args!("{name} has joined the chat!"));
        let welcome = Said { message: format_args!("Welcome to the chat, {name}!"), username: "SYSTEM" };
        fx.send(call.conn, "system", &welcome);
    }
    #[derive(Serialize)]
    struct Joined<'a> {
        status: &'a str,
        message: std::fmt::Arguments<'a>,
    }
    let joined = Joined { status: "success", message: format_args!("Joined chat as {name}") };
    Ok(fx.reply_with(|out| {
        serde_json::to_writer(&mut *out, &joined).expect("a vector takes everything");
        // The list is rendered already: it goes in front of the closing brace.
        out.pop();
        out.extend_from_slice(b",\"users\":[");
        out.extend_from_slice(chat.room.names_json().as_bytes());
        out.extend_from_slice(b"]}");
    }))
}

fn send(chat: &mut Chat, call: Call<'_>, fx: &mut Effects) -> Result<Reply, Fault> {
    let text = call.text(0).unwrap_or_default();
    let message = text.trim();
    if message.is_empty() {
        return Err(Fault::rule(EMPTY, "Message cannot be empty"));
    }
    // A character is at most four bytes: most messages need no count.
    if message.len() > MAX_MESSAGE_CHARS && message.chars().count() > MAX_MESSAGE_CHARS {
        return Err(Fault::rule(TOO_LONG, "Message too long"));
    }
    let made_up;
    let username = match chat.room.name_of(call.conn) {
        Some(name) => &**name,
        None => {
            made_up = name::made_up(call.peer.number());
            &made_up
        }
    };
    if chat.rules.log_bodies {
        log::info("chat", format_args!("{} says {}", log::quoted(username), log::quoted(message)));
    }
    fx.broadcast(Some(call.conn), "chat", &Said { message, username });
    Ok(Reply::fixed(r#"{"status":"success","message":"Message sent successfully"}"#))
}

fn users(chat: &mut Chat, call: Call<'_>, fx: &mut Effects) -> Result<Reply, Fault> {
    let count = chat.room.len();
    match call.text(0).as_deref() {
        Some("simple") => Ok(fx.reply_with(|out| {
            out.extend_from_slice(b"{\"status\":\"success\",\"users\":[");
            out.extend_from_slice(chat.room.names_json().as_bytes());
            out.extend_from_slice(format!("],\"count\":{count}}}").as_bytes());
        })),
        None | Some("full") => {
            #[derive(Serialize)]
            struct User<'a> {
                username: &'a str,
                address: String,
            }
            #[derive(Serialize)]
            struct Users<'a> {
                status: &'a str,
                message: &'a str,
                users: Vec<User<'a>>,
                count: usize,
            }
            let user = |(username, peer): (_, Peer)| User { username, address: peer.to_string() };
            let users = chat.room.users().map(user).collect();
            fx.reply(&Users { status: "success", message: "Users retrieved successfully", users, count })
        }
        Some(_) => Err(Fault::invalid_params("format must be \"full\" or \"simple\"".into())),
    }
}

fn leave(chat: &mut Chat, call: Call<'_>, fx: &mut Effects) -> Result<Reply, Fault> {
    if let Some(name) = chat.room.leave(call.conn) {
        system(fx, Some(call.conn), format_args!("{name} has left the chat!"));
        if chat.rules.require_join {
            fx.unsubscribe(call.conn);
        }
    }
    Ok(Reply::fixed(r#"{"status":"success","message":"Left chat successfully"}"#))
}

fn ping(_: &mut Chat, _: Call<'_>, _: &mut Effects) -> Result<Reply, Fault> {
    Ok(Reply::fixed(r#"{"status":"success","message":"pong"}"#))
}

/// With `require_join`, only the joined speak.
fn may_speak(chat: &Chat, conn: ConnId) -> Result<(), Fault> {
    if chat.rules.require_join && chat.room.name_of(conn).is_none() {
        return Err(Fault::rule(NOT_JOINED, "Join the chat first"));
    }
    Ok(())
}

impl Chat {
    /// The name that the caller gets when he asks for `name`: his own counts as free.
    fn free_name(&self, name: String, call: &Call<'_>) -> Result<String, Fault> {
        let number = call.peer.number();
        let is_taken = |name: &str| self.room.holder(name).is_some_and(|holder| holder != call.conn);
        if !is_taken(&name) && !name::is_made_up_for_another(&name, number) {
            return Ok(name);
        }
        if self.rules.reject_duplicate_names {
            return Err(Fault::rule(TAKEN, "Username already taken"));
        }
        let first = name::with_suffix(&name, &format!("_{number}"));
        let more = (2..).map(|n: u64| name::with_suffix(&name, &format!("_{number}_{n}")));
        Ok(std::iter::once(first)
            .chain(more)
            .find(|name| !is_taken(name))
            .expect("there are more names than users"))
    }
}

fn system(fx: &mut Effects, except: Option<ConnId>, message: std::fmt::Arguments<'_>) {
    fx.broadcast(except, "system", &Said { message, username: "SYSTEM" });
}
