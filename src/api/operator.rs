//! What a running server tells whoever runs it: signals that ask for something, that it is alive, that it stops.
//!
//! The loop calls these between two steps of a turn, on its own thread, so nothing here may wait.

use std::time::Duration;

use super::Stats;
use crate::limits::Limits;

/// Who stands beside a server while it runs.
pub trait Operator: Send {
    /// SIGHUP: the limits to go on with; `None` keeps those in force. Timeouts hold as if
    /// they had always been so, everything else for what comes next: nobody is ended because there are more connections
    /// than they allow.
    fn reload(&mut self) -> Option<Limits>;

    /// SIGUSR1: what was counted so far.
    fn report(&mut self, stats: Stats);

    /// How often [`alive`](Self::alive) is to be called; asked once, at the start. The default is never.
    fn pulse(&self) -> Option<Duration> {
        None
    }

    /// The loop still turns, with so many connections.
    fn alive(&mut self, _connections: usize) {}

    /// A stop has begun, with so many connections. Called once.
    fn stopping(&mut self, _connections: usize) {}
}
