//! A request that is not answered in the turn it was dispatched in.
//!
//! Owns what is kept of it meanwhile: what a late answer must echo, and how far a batch has come. A connection has at
//! most one job, and dispatches nothing else until it is done. The dispatcher makes jobs and goes on with them.

use crate::api::{Fault, Ticket};
use crate::limits::BATCH_ANSWER_BYTES;
use crate::transport::codec::jsonrpc::render;
use crate::transport::codec::jsonrpc::request::{Dialect, Request};

/// What a connection has under way: a deferred call, a batch, or a deferred call within a batch.
pub struct Job {
    /// The batch, if it is one.
    pub batch: Option<Batch>,
    /// The deferred call, while it is not answered.
    pub waiting: Option<Waiting>,
}

impl Job {
    /// Whether it waits for an answer from elsewhere.
    pub fn is_waiting(&self) -> bool {
        self.waiting.is_some()
    }
}

/// A deferred call.
pub struct Waiting {
    /// The number of its ticket.
    pub number: u32,
    /// How the request spoke.
    pub dialect: Dialect,
    /// What its answer echoes.
    pub id: Option<String>,
    /// Whether it gets no answer.
    pub silent: bool,
}

impl Waiting {
    /// What is kept of a request that `ticket` will answer.
    pub fn new(ticket: Ticket, request: &Request<'_>) -> Self {
        Self {
            number: ticket.number,
            dialect: request.dialect,
            id: request.id.map(str::to_owned),
            silent: request.is_notification(),
        }
    }
}

/// Bytes that an answer takes beside its id and its result, or a few less.
const ENVELOPE: usize = 48;

/// A batch under way. It owns its text, so the ring goes on, and it can pause between any two elements.
pub struct Batch {
    /// The array.
    pub text: String,
    /// How far the walk over it has come, in bytes.
    pub offset: usize,
    /// The answers so far, without the bracket that closes them.
    pub answers: Vec<u8>,
    /// The answers have reached their bound: no further request is begun.
    pub is_full: bool,
}

impl Batch {
    /// A batch of which nothing is answered.
    pub fn new(text: &str) -> Self {
        Self { text: text.to_owned(), offset: 0, answers: Vec::new(), is_full: false }
    }

    /// Appends one answer, or that it is too large: then those behind it are not begun. Whether it was.
    pub fn answer(&mut self, id: Option<&str>, result: Result<&str, &Fault>) -> bool {
        let too_large = Fault::answer_too_large();
        let result = match result {
            // Looked at before it is copied, so that no answer makes room for itself here.
            Ok(text)
                if self.is_full
                    || self.answers.len() + ENVELOPE + id.map_or(0, str::len) + text.len()
                        > BATCH_ANSWER_BYTES =>
            {
                self.is_full = true;
                Err(&too_large)
            }
            result => result,
        };
        self.answers.push(if self.answers.is_empty() { b'[' } else { b',' });
        render::envelope(&mut self.answers, Dialect::V2, id, result);
        result == Err(&too_large)
    }
}
