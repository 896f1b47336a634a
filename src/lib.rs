//! rawline: a chat, JSON-RPC and echo server on raw epoll and kqueue, with no async runtime.
//!
//! This page is the map of the house. A byte goes
//!
//! ```text
//! kernel ──wait──► event loop ──read──► ring ──framer──► dispatch ──fn──► service
//!   ▲                                                                       │ effects
//!   └─────── send ◄── flush ◄── outbox ◄── hub ◄──────────── apply ◄────────┘
//! ```
//!
//! What a connection speaks is its listener's [`Wire`]: JSON-RPC goes through `dispatch` to a row of the service's table,
//! a line of the line chat to [`Service::line`], and an echo's bytes turn around behind the ring.
//!
//! - [`api`]: the only words that both layers speak. Begin here to build a server of your own: implement
//!   [`Service`] and hand it to [`Server::run`]; `examples/calculator.rs` does it in under sixty lines.
//! - [`transport`]: all that knows bytes and time. [`transport::event_loop`] reads as a list of steps.
//! - [`service`]: all that knows people: the chat, for JSON users and line users in one room.
//! - [`explain`]: what a request costs, in system calls.
//! - [`client`]: the other end of the wire, on the same poller and the same codecs.
//! - `lab`: exercises in what all of this looks like from outside (feature `cli`).
//! - [`limits`]: every maximum; [`memory`]: what they come to; [`config`]: the one table of options; [`log`]: lines to stderr.
//!
//! Who knows whom: transport and service both know `api` and never each other.

pub mod api;
pub mod client;
pub mod config;
pub mod explain;
#[cfg(feature = "cli")]
pub mod lab;
pub mod limits;
pub mod log;
pub mod memory;
pub mod service;
pub mod transport;

pub use api::{
    Call, Closed, Completer, ConnId, Effects, Fault, Kind, Line, Operator, Param, Peer, Reply, Route,
    RouteError, Service, Stats, Ticket, Wire,
};
pub use limits::Limits;
pub use transport::mailbox::{Handle, MailboxFull};
pub use transport::server::{Server, StartError};
