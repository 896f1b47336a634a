//! What a handler answers and asks for: values, drained by the transport after the call.
//!
//! Effects own what they hold. Texts are ranges of one arena, which is used again for the next call, so a handler
//! costs no allocation per push once the arena has grown.

use std::fmt;
use std::io::Write;
use std::ops::Range;

use serde::Serialize;

use super::{ConnId, Fault, Ticket};

/// What a handler answers.
#[derive(Debug, PartialEq, Eq)]
pub enum Reply {
    /// This result, at once.
    Now(Out),
    /// Whatever the [`Completer`](super::Completer) of this ticket will say.
    Later(Ticket),
}

impl Reply {
    /// A result that never changes, already rendered as JSON: costs no formatting.
    pub const fn fixed(json: &'static str) -> Self {
        Reply::Now(Out(OutIs::Fixed(json)))
    }
}

/// A rendered result: JSON text, in UTF-8, fixed or in the arena of the [`Effects`] it was made with.
#[derive(Debug, PartialEq, Eq)]
pub struct Out(OutIs);

#[derive(Debug, PartialEq, Eq)]
enum OutIs {
    Fixed(&'static str),
    Arena(Range<usize>),
}

/// What a handler wants to happen, in order. Push-only for handlers; the transport drains it after the
/// call and uses it again. Effects own what they hold: texts are ranges of one arena.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Effects {
    arena: Vec<u8>,
    list: Vec<Effect>,
}

/// One wish. Texts are ranges of the arena of the [`Effects`] it stands in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Push to one connection, behind everything it was already sent.
    Send {
        /// The receiver.
        to: ConnId,
        /// What it gets.
        push: Push,
    },
    /// Push to every subscribed connection, except one.
    Broadcast {
        /// The one left out: usually who caused it.
        except: Option<ConnId>,
        /// What they get.
        push: Push,
    },
    /// The connection hears broadcasts from now on.
    Subscribe(ConnId),
    /// The connection hears no more broadcasts.
    Unsubscribe(ConnId),
    /// Text for one line user.
    Text {
        /// The receiver.
        to: ConnId,
        /// What it gets; control characters do not reach it.
        text: Range<usize>,
        /// Whether LF follows. A prompt has none.
        ends: bool,
    },
    /// End this connection when everything has left.
    Close(ConnId),
    /// Push a ping to this connection once a period, and cut it when nothing comes back in two.
    Heartbeat {
        /// The connection.
        conn: ConnId,
        /// The period; zero ends it.
        seconds: u32,
    },
    /// Stop the server, as the first SIGTERM does.
    Stop,
}

/// A message that nobody asked for: `{"type":KIND,...}` or a JSON-RPC 2.0 notification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Push {
    pub(crate) kind: &'static str,
    pub(crate) params: Range<usize>,
    /// What line users read instead; empty: they do not get it.
    pub(crate) line: Range<usize>,
}

impl Effects {
    /// No effects.
    pub const fn new() -> Self {
        Self { arena: Vec::new(), list: Vec::new() }
    }

    /// Renders a result: `return fx.reply(&value)`.
    ///
    /// # Errors
    /// -32603 when serde cannot write it (a map whose keys are no strings, say).
    pub fn reply<T: Serialize + ?Sized>(&mut self, result: &T) -> Result<Reply, Fault> {
        let start = self.arena.len();
        serde_json::to_writer(&mut self.arena, result).map_err(|error| Fault::internal(error.to_string()))?;
        Ok(Reply::Now(Out(OutIs::Arena(start..self.arena.len()))))
    }

    /// A result that `write` renders itself, for answers put together from parts that are JSON already.
    /// What it writes must be one valid JSON value.
    pub fn reply_with(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Reply {
        let start = self.arena.len();
        write(&mut self.arena);
        Reply::Now(Out(OutIs::Arena(start..self.arena.len())))
    }

    /// Pushes `params` to one connection. `kind` is the push's type (seed) or method (2.0).
    ///
    /// # Panics
    /// If `params` does not serialize to an object.
    pub fn send<T: Serialize + ?Sized>(&mut self, to: ConnId, kind: &'static str, params: &T) {
        let push = self.push(kind, params);
        self.list.push(Effect::Send { to, push });
    }

    /// Pushes `params` to all subscribed connections but `except`.
    ///
    /// # Panics
    /// If `params` does not serialize to an object.
    pub fn broadcast<T: Serialize + ?Sized>(
        &mut self,
        except: Option<ConnId>,
        kind: &'static str,
        params: &T,
    ) {
        let push = self.push(kind, params);
        self.list.push(Effect::Broadcast { except, push });
    }

    /// The same, with what line users read instead: one line, without its end.
    ///
    /// # Panics
    /// If `params` does not serialize to an object.
    pub fn announce<T: Serialize + ?Sized>(
        &mut self,
        except: Option<ConnId>,
        kind: &'static str,
        params: &T,
        line: fmt::Arguments<'_>,
    ) {
        let mut push = self.push(kind, params);
        push.line = self.text(line);
        self.list.push(Effect::Broadcast { except, push });
    }

    /// Sends one line to a line user.
    pub fn line(&mut self, to: ConnId, line: fmt::Arguments<'_>) {
        let text = self.text(line);
        self.list.push(Effect::Text { to, text, ends: true });
    }

    /// Sends text without a line end to a line user.
    pub fn prompt(&mut self, to: ConnId, prompt: fmt::Arguments<'_>) {
        let text = self.text(prompt);
        self.list.push(Effect::Text { to, text, ends: false });
    }

    /// Ends `conn` when everything has left.
    pub fn close(&mut self, conn: ConnId) {
        self.list.push(Effect::Close(conn));
    }

    /// Pushes `ping` to `conn` every so many seconds from now on, and cuts it when nothing comes back in two
    /// such periods. Zero ends that.
    pub fn heartbeat(&mut self, conn: ConnId, seconds: u32) {
        self.list.push(Effect::Heartbeat { conn, seconds });
    }

    /// Lets `conn` hear broadcasts.
    pub fn subscribe(&mut self, conn: ConnId) {
        self.list.push(Effect::Subscribe(conn));
    }

    /// Lets `conn` hear no more broadcasts.
    pub fn unsubscribe(&mut self, conn: ConnId) {
        self.list.push(Effect::Unsubscribe(conn));
    }

    /// Stops the server as the first SIGTERM does: what is complete is answered, then `run` returns.
    pub fn stop(&mut self) {
        self.list.push(Effect::Stop);
    }

    fn push<T: Serialize + ?Sized>(&mut self, kind: &'static str, params: &T) -> Push {
        let start = self.arena.len();
        serde_json::to_writer(&mut self.arena, params).expect("a push can be written as JSON");
        assert!(self.arena[start..].starts_with(b"{"), "the parameters of a push are an object");
        Push { kind, params: start..self.arena.len(), line: 0..0 }
    }

    fn text(&mut self, text: fmt::Arguments<'_>) -> Range<usize> {
        let start = self.arena.len();
        self.arena.write_fmt(text).expect("a vector takes everything");
        start..self.arena.len()
    }

    /// The wishes, in order.
    pub fn list(&self) -> &[Effect] {
        &self.list
    }

    /// The JSON object that a push carries.
    pub fn params(&self, push: &Push) -> &str {
        as_text(&self.arena[push.params.clone()])
    }

    /// What line users read of a push, unless they do not get it.
    pub fn line_of(&self, push: &Push) -> Option<&str> {
        (!push.line.is_empty()).then(|| as_text(&self.arena[push.line.clone()]))
    }

    /// The text of an [`Effect::Text`].
    pub fn text_of(&self, text: &Range<usize>) -> &str {
        as_text(&self.arena[text.clone()])
    }

    /// The JSON text of a result.
    pub fn result<'a>(&'a self, out: &'a Out) -> &'a str {
        match &out.0 {
            OutIs::Fixed(text) => text,
            OutIs::Arena(range) => as_text(&self.arena[range.clone()]),
        }
    }

    /// Forgets everything, keeps a modest amount of memory for the next call.
    pub(crate) fn clear(&mut self) {
        self.list.clear();
        self.arena.clear();
        self.arena.shrink_to(crate::limits::KEEP_SCRATCH);
    }
}

fn as_text(json: &[u8]) -> &str {
    std::str::from_utf8(json).expect("serde_json and fmt write UTF-8")
}
