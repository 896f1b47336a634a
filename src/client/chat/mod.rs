//! A conversation with the chat: what a person wants to say goes in, what there is to show comes out.
//!
//! [`Session`] is what both protocols can do, [`json_rpc`] and [`lines`] are the two. Sans-IO: bytes that have
//! arrived are given to [`Session::receive`], bytes to send are taken from [`Session::output`]. [`Link`] owns the
//! socket that they travel on, and dials anew when it is lost; [`Seat`] is the loop around it, and a [`Face`] what a
//! person or a program sees of all that. Nothing here is made harmless yet: that is done where it is printed.

mod json;
mod line;
mod link;
mod seat;

use std::fmt;

pub use link::{Event, Link, LinkError, Plan};
pub use seat::{Broken, Face, Outcome, Seat, write_whole};

pub use crate::transport::io::Signal;

/// What there is to know since the last question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// The server wants to know our name: [`Session::join`] is what to do now.
    NameWanted,
    /// The room knows us by this name.
    Joined(String),
    /// The room will not have us under that name, because of this. Ask for another one.
    NameRefused(String),
    /// Somebody said something.
    Chat {
        /// Who.
        name: String,
        /// What.
        text: String,
    },
    /// The room tells what has happened.
    System(String),
    /// Who is in the room.
    Users(Vec<String>),
    /// Our message is in the room, in this place among those of others.
    Said(String),
    /// Our message is not.
    NotSaid {
        /// The message.
        text: String,
        /// The rule that it breaks.
        why: String,
    },
    /// The server complains, about nothing in particular.
    Trouble(String),
    /// An object that arrived, as it arrived; behind it comes the news that it brought, if any. Only from a
    /// [`json_rpc`] session that was asked to keep them.
    Object(String),
}

/// What arrived is not what this protocol sends. The connection is of no more use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Garbage(pub String);

impl fmt::Display for Garbage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Garbage {}

/// One side of a connection to the chat: ours.
pub trait Session {
    /// Takes bytes that have arrived, in pieces of any size.
    ///
    /// # Errors
    /// They are not of this protocol.
    fn receive(&mut self, bytes: &[u8]) -> Result<(), Garbage>;

    /// What the bytes so far have brought, one by one.
    fn next(&mut self) -> Option<News>;

    /// Bytes to send. Whoever sends them takes them out.
    fn output(&mut self) -> &mut Vec<u8>;

    /// Asks for a name; without one the server makes one up.
    fn join(&mut self, name: Option<&str>);

    /// Says `text`, which is one line. Only when joined.
    fn say(&mut self, text: &str);

    /// Asks who is there. Only when joined.
    fn ask_users(&mut self);

    /// Requests whose answers have not come.
    fn unanswered(&self) -> usize;

    /// The messages among them, for when the connection is lost: nobody knows whether they arrived.
    fn unconfirmed(&mut self) -> Vec<String>;
}

/// JSON-RPC 2.0, framed by LF. With `keep_objects` every object that arrives is also news, as it is.
pub fn json_rpc(keep_objects: bool) -> Box<dyn Session> {
    Box::new(json::Json::new(keep_objects))
}

/// The line protocol.
pub fn lines() -> Box<dyn Session> {
    Box::<line::Line>::default()
}
