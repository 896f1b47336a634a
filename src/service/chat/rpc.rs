//! The chat as JSON-RPC methods: what a request asks for, and what its answer looks like.
//!
//! Owns the shapes of the answers. Rules are the chat's; parameters were checked by the rows.

use serde::Serialize;

use super::{Chat, Said};
use crate::api::{Call, Effects, Fault, Reply, Service, Stats};

/// The longest time between two pings that can be asked for, in seconds: a day.
const MAX_HEARTBEAT: f64 = 86_400.0;

pub(super) fn join(chat: &mut Chat, call: Call<'_>, fx: &mut Effects) -> Result<Reply, Fault> {
    let (name, is_news) = chat.join(call.conn, call.peer, call.text(0).as_deref(), fx)?;
    if is_news {
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

pub(super) fn send(chat: &mut Chat, call: Call<'_>, fx: &mut Effects) -> Result<Reply, Fault> {
    chat.say(call.conn, call.peer, &call.text(0).unwrap_or_default(), fx)?;
    Ok(Reply::fixed(r#"{"status":"success","message":"Message sent successfully"}"#))
}

pub(super) fn users(chat: &mut Chat, call: Call<'_>, fx: &mut Effects) -> Result<Reply, Fault> {
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
            let address = |conn| call.peer_of(conn).map(|peer| peer.to_string()).unwrap_or_default();
            let user = |(conn, username)| User { username, address: address(conn) };
            let users = chat.room.users().map(user).collect();
            fx.reply(&Users { status: "success", message: "Users retrieved successfully", users, count })
        }
        Some(_) => Err(Fault::invalid_params("format must be \"full\" or \"simple\"".into())),
    }
}

pub(super) fn leave(chat: &mut Chat, call: Call<'_>, fx: &mut Effects) -> Result<Reply, Fault> {
    chat.leave(call.conn, fx);
    Ok(Reply::fixed(r#"{"status":"success","message":"Left chat successfully"}"#))
}

pub(super) fn set_heartbeat(_: &mut Chat, call: Call<'_>, fx: &mut Effects) -> Result<Reply, Fault> {
    let seconds: f64 = call.arg(0)?;
    if seconds.fract() != 0.0 || !(0.0..=MAX_HEARTBEAT).contains(&seconds) {
        return Err(Fault::invalid_params(format!(
            "seconds must be a whole number from 0 to {MAX_HEARTBEAT}"
        )));
    }
    let seconds = seconds as u32;
    fx.heartbeat(call.conn, seconds);
    #[derive(Serialize)]
    struct Set<'a> {
        status: &'a str,
        message: String,
        seconds: u32,
    }
    let message = match seconds {
        0 => "Heartbeat is off".into(),
        1 => "Heartbeat every second".into(),
        more => format!("Heartbeat every {more} seconds"),
    };
    fx.reply(&Set { status: "success", message, seconds })
}

pub(super) fn ping(_: &mut Chat, _: Call<'_>, _: &mut Effects) -> Result<Reply, Fault> {
    Ok(Reply::fixed(r#"{"status":"success","message":"pong"}"#))
}

pub(super) fn stats(chat: &mut Chat, call: Call<'_>, fx: &mut Effects) -> Result<Reply, Fault> {
    chat.may_administer(call.peer)?;
    let mut stats = call.stats();
    chat.count(&mut stats);
    #[derive(Serialize)]
    struct Answer<'a, T: Serialize> {
        status: &'a str,
        message: &'a str,
        version: &'a str,
        stats: T,
    }
    fn answer<T: Serialize>(fx: &mut Effects, stats: T) -> Result<Reply, Fault> {
        let (status, message) = ("success", "Statistics retrieved successfully");
        fx.reply(&Answer { status, message, version: env!("RAWLINE_VERSION"), stats })
    }
    match call.text(0).as_deref() {
        None | Some("simple") => answer(fx, stats.by_name()),
        Some("full") => answer::<Stats>(fx, stats),
        Some(_) => Err(Fault::invalid_params("format must be \"simple\" or \"full\"".into())),
    }
}
