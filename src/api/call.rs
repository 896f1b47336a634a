//! One request as its handler sees it, and the promise to answer it later.

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{ConnId, Fault, Kind, MAX_PARAMS, Param, Peer, Stats};

/// Who else is connected, and what was counted: the transport, as a call may see it.
pub trait Directory {
    /// Visits every open connection, in no particular order.
    fn visit(&self, each: &mut dyn FnMut(ConnId, Peer));

    /// Where an open connection comes from.
    fn peer_of(&self, conn: ConnId) -> Option<Peer>;

    /// All counters, as of the end of the last turn.
    fn stats(&self) -> Stats;
}

/// Where a late answer goes: the transport's mailbox.
pub trait Complete: Send + Sync {
    /// Hands over the answer to the call that `ticket` names; it is dropped if that connection is gone.
    fn complete(&self, ticket: Ticket, answer: Result<String, Fault>);
}

/// One request, borrowed from the connection's ring for as long as the handler runs.
pub struct Call<'a> {
    /// Who called.
    pub conn: ConnId,
    /// Where from.
    pub peer: Peer,
    pub(crate) args: [Option<&'a str>; MAX_PARAMS],
    pub(crate) params: &'a [Param],
    pub(crate) ticket: u32,
    pub(crate) directory: &'a dyn Directory,
    pub(crate) mail: &'a Arc<dyn Complete>,
}

#[cfg(test)]
impl<'a> Call<'a> {
    /// A call out of nowhere, for tests of handlers: `args` are raw JSON, by the position of their rules.
    /// Nobody is open, every id has come from 127.0.0.1 and port 5000 + its index, and late answers are thrown away.
    pub(crate) fn for_test(conn: ConnId, peer: Peer, params: &'a [Param], args: &[&'a str]) -> Self {
        struct Nowhere;
        impl Directory for Nowhere {
            fn visit(&self, _: &mut dyn FnMut(ConnId, Peer)) {}
            fn peer_of(&self, conn: ConnId) -> Option<Peer> {
                Some(std::net::SocketAddr::from(([127, 0, 0, 1], 5000 + conn.index as u16)).into())
            }
            fn stats(&self) -> Stats {
                Stats { samples: Vec::new(), turn_time: Default::default() }
            }
        }
        impl Complete for Nowhere {
            fn complete(&self, _: Ticket, _: Result<String, Fault>) {}
        }
        static MAIL: std::sync::LazyLock<Arc<dyn Complete>> = std::sync::LazyLock::new(|| Arc::new(Nowhere));
        let mut given = [None; MAX_PARAMS];
        for (slot, arg) in given.iter_mut().zip(args) {
            *slot = Some(*arg);
        }
        Self { conn, peer, args: given, params, ticket: 0, directory: &Nowhere, mail: &MAIL }
    }
}

impl<'a> Call<'a> {
    /// The string at position `n` of the row's parameters, without its escapes; `None` if it was left out.
    ///
    /// # Panics
    /// If the row does not say that parameter `n` is a [`Kind::Text`].
    pub fn text(&self, n: usize) -> Option<Cow<'a, str>> {
        assert!(self.params[n].kind == Kind::Text, "parameter {:?} is not a text", self.params[n].name);
        self.args[n].map(unquote)
    }

    /// The parameter at position `n`, as whatever serde makes of it; left out counts as `null`.
    ///
    /// # Errors
    /// -32602 when it is no `T`.
    pub fn arg<T: Deserialize<'a>>(&self, n: usize) -> Result<T, Fault> {
        serde_json::from_str(self.args[n].unwrap_or("null"))
            .map_err(|error| Fault::invalid_params(format!("{}: {error}", self.params[n].name)))
    }

    /// Every open connection, this one included.
    pub fn connections(&self) -> Vec<(ConnId, Peer)> {
        let mut all = Vec::new();
        self.directory.visit(&mut |conn, peer| all.push((conn, peer)));
        all
    }

    /// Where an open connection comes from.
    pub fn peer_of(&self, conn: ConnId) -> Option<Peer> {
        self.directory.peer_of(conn)
    }

    /// What the server has counted since it began.
    pub fn stats(&self) -> Stats {
        self.directory.stats()
    }

    /// Promises an answer for later: return the first half as [`Reply::Later`](super::Reply::Later), move the second to the
    /// thread that will know the answer. Until then this connection dispatches nothing more, so
    /// answers keep the order of their requests; others are served.
    pub fn defer(&self) -> (Ticket, Completer) {
        let ticket = Ticket { conn: self.conn, number: self.ticket };
        (ticket, Completer { mail: Arc::clone(self.mail), ticket: Some(ticket) })
    }
}

/// A JSON string, as it stands in a text that the scanner has accepted, without quotes and escapes.
pub(crate) fn unquote(raw: &str) -> Cow<'_, str> {
    let inner = &raw[1..raw.len() - 1];
    // Without an early end, so that the compiler looks at many bytes at once; most strings are short.
    if inner.bytes().fold(false, |any, byte| any | (byte == b'\\')) {
        Cow::Owned(serde_json::from_str(raw).expect("the scanner accepted this string"))
    } else {
        Cow::Borrowed(inner)
    }
}

/// Names a call whose answer comes later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    pub(crate) conn: ConnId,
    pub(crate) number: u32,
}

/// The duty to answer a deferred call, from any thread. Dropped without an answer (a helper that
/// panicked), it answers -32603, so no client waits for ever.
pub struct Completer {
    mail: Arc<dyn Complete>,
    ticket: Option<Ticket>,
}

impl Completer {
    /// Answers with `result`, any value that serde can write.
    pub fn answer<T: Serialize + ?Sized>(mut self, result: &T) {
        let answer = serde_json::to_string(result).map_err(|error| Fault::internal(error.to_string()));
        self.finish(answer);
    }

    /// Answers with an error.
    pub fn fail(mut self, fault: Fault) {
        self.finish(Err(fault));
    }

    fn finish(&mut self, answer: Result<String, Fault>) {
        if let Some(ticket) = self.ticket.take() {
            self.mail.complete(ticket, answer);
        }
    }
}

impl Drop for Completer {
    fn drop(&mut self) {
        self.finish(Err(Fault::internal("the helper gave no answer".into())));
    }
}
