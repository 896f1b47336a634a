//! Everything that knows people: the chat, its room and the rules for names.
//!
//! Never knows a byte of the wire, a socket or the time: it speaks the words of [`crate::api`] and nothing else.

pub mod chat;
pub mod name;
pub mod room;
