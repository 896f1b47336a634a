//! The other end of the wire: what a program that talks to a server needs.
//!
//! [`dial`] makes a connection without ever blocking. [`chat`] is a conversation with the chat, as JSON-RPC or as
//! lines; [`backoff`] says when to try again; [`text`] makes what strangers wrote harmless. Everything here
//! runs on the poller, the rings and the codecs of the server, owns one connection and no thread, and never
//! prints: the programs of the binary do.

pub mod backoff;
pub mod chat;
pub mod dial;
pub mod text;
