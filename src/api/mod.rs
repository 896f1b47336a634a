//! The words that both layers speak: the transport, which knows bytes and time, and a service, which
//! knows people. Neither names the other; both name what is in here.
//!
//! A service is a state type with a static table of [`Route`]s. A handler gets its state, the [`Call`]
//! (which may borrow from the connection's ring) and the [`Effects`] it may ask for. It cannot touch a
//! socket: effects are values, drained by the transport after the call, and tests compare them with `==`.

mod call;
mod effects;
mod fault;
mod operator;
mod peer;
mod route;
mod stats;

pub(crate) use call::unquote;
pub use call::{Call, Complete, Completer, Directory, Ticket};
pub use effects::{Effect, Effects, Out, Push, Reply};
pub use fault::Fault;
pub use operator::Operator;
pub use peer::{Closed, ConnId, Peer, Wire};
pub use route::{Guard, Handler, Kind, MAX_PARAMS, Param, Route, RouteError};
pub use stats::{Histogram, SHARES, Sample, Stats};

/// A line from a [`Wire::Line`] connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line<'a> {
    /// The text: without its end, as UTF-8, without telnet's negotiation.
    Text(&'a str),
    /// It was longer than so many bytes (`max_line_bytes`), and was dropped.
    TooLong(usize),
}

/// What a library user writes: a state type, its methods, and what it does when connections come and go.
///
/// The table is checked once, at start: see [`RouteError`].
pub trait Service: Sized + 'static {
    /// The methods, a row each. Order does not matter.
    const ROUTES: &'static [Route<Self>];

    /// A connection was accepted. The default subscribes it to broadcasts.
    fn opened(&mut self, conn: ConnId, _peer: Peer, _wire: Wire, fx: &mut Effects) {
        fx.subscribe(conn);
    }

    /// A line came from a [`Wire::Line`] connection. The default ignores it.
    fn line(&mut self, _conn: ConnId, _peer: Peer, _line: Line<'_>, _fx: &mut Effects) {}

    /// A client of [`Wire::Files`] has stored a file, which is safe on the disk now. `bytes` is its size. The default
    /// ignores it.
    fn uploaded(&mut self, _name: &str, _bytes: u64, _fx: &mut Effects) {}

    /// Whether all that it keeps fits together. Asked after one of its functions has panicked, which may have left something
    /// half done: if not, the server ends with a panic of its own rather than go on. The default trusts that it is.
    fn is_sound(&self) -> bool {
        true
    }

    /// Adds what the service itself can count, with [`Stats::gauge`] and [`Stats::limited`], to what an operator is shown.
    /// The default adds nothing.
    fn count(&self, _stats: &mut Stats) {}

    /// A connection can say nothing more: called exactly once for each `opened`, before its descriptor
    /// is closed. It no longer hears broadcasts.
    fn closed(&mut self, _conn: ConnId, _peer: Peer, _why: Closed, _fx: &mut Effects) {}
}
