//! Everything that knows bytes and time: the poller, sockets, rings, framing, dispatch, output, timers.
//!
//! Never knows what a method means. [`event_loop`] is the place to begin: a turn is a list of steps, and each step
//! leads to the file that does it.

pub mod addresses;
pub mod backlog;
pub mod codec;
pub mod connection;
pub mod counters;
pub mod dispatch;
pub mod event_loop;
pub mod files;
pub mod hub;
pub mod io;
pub mod job;
pub mod mailbox;
pub mod metered;
pub mod outbox;
pub mod panics;
pub mod rate;
pub mod ring;
pub mod server;
pub mod slab;
pub(crate) mod sys;
pub mod timer;
pub mod workers;
