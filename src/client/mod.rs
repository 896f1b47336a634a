//! The other end of the wire: what a program that talks to a server needs.
//!
//! [`dial`] makes a connection without ever blocking, [`echo`] sends bytes through one, [`rpc`] makes calls on one
//! and hears its pushes, [`chat`] is a conversation with the room, [`files`] fetches and stores; [`json`] checks what goes out and lays out
//! what came, [`text`] makes what strangers wrote harmless, [`backoff`] says when to try again. Everything here runs
//! on the poller, the rings and the codecs of the server, owns one connection and no thread, and never prints
//! and never exits: the programs of the binary do.

pub mod backoff;
pub mod chat;
pub mod dial;
pub mod echo;
pub mod files;
pub mod json;
pub mod rpc;
pub mod text;
mod watch;

pub use crate::transport::sys::{terminal, wall_clock};

use std::time::{Duration, Instant};

/// Nothing is waited for longer, so that every deadline is a time that exists.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// The time in `wait` from now.
fn after(wait: Duration) -> Instant {
    Instant::now() + wait.min(LONGEST)
}
