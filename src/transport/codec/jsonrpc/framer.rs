//! Where a JSON text ends and the next begins, and what the client shows us by its line feeds.
//!
//! Owns the two or three bits of framing state that a connection keeps while it is idle ([`Framer`]) and the
//! larger state of a text that is under way ([`Input`]: ring and scanner). Knows no sockets and parses nothing.
//! The event loop asks [`Framer::next`] until the ring is dry.
//!
//! Two rules of the wire live here. A client that ends a request (or a broken text) with LF gets LF from then
//! on; if the answer left before its LF arrived, that one LF is owed and sent at once. After a broken text
//! nothing is answered until an LF has passed, or until a read that found the socket empty before it begins
//! with `{` or `[`: so there is one error per broken line, and none for its remains.

use memchr::memchr;

use super::render::Framing;
use super::scanner::{Scan, Scanner};
use crate::api::Fault;
use crate::limits::{Limits, READ_CHUNK};
use crate::transport::ring::Ring;

/// What a connection holds while bytes of it are unconsumed; lent by a pool.
pub struct Input {
    /// Bytes that have arrived.
    pub ring: Ring,
    /// The line chat's line so far.
    pub line: Vec<u8>,
    scanner: Scanner,
    /// How many bytes of the text at the ring's front the scanner has seen.
    scanned: usize,
}

impl Default for Input {
    fn default() -> Self {
        Self { ring: Ring::new(READ_CHUNK), line: Vec::new(), scanner: Scanner::new(1), scanned: 0 }
    }
}

impl Input {
    /// Whether it holds nothing that a connection would miss.
    pub fn is_idle(&self) -> bool {
        self.ring.is_empty() && self.line.is_empty()
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.ring.consume(self.ring.len());
        self.line.clear();
    }
}

/// The framing state of a connection, kept while it is idle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Framer {
    place: Place,
    framing: Framing,
    /// Only white space has come since a text ended: an LF now would be that text's.
    ended: bool,
    /// The latest text was answered before its LF came.
    owes_lf: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Between two texts.
    Between,
    /// Inside a text; the scanner knows where.
    Inside,
    /// Behind a broken text, waiting for LF.
    Skipping,
}

/// What comes next in a connection's bytes.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing until more bytes arrive.
    Dry,
    /// The ring's first so many bytes are a complete, valid JSON text. The caller consumes them.
    Text(usize),
    /// Send one LF: the one owed to an answer that left without.
    Lf,
    /// Send this error, and go on.
    Broken(Fault),
    /// Send this error, and refuse the connection.
    Refused(Fault),
}

/// The state of a connection that has said nothing.
impl Default for Framer {
    fn default() -> Self {
        Self { place: Place::Between, framing: Framing::Bare, ended: false, owes_lf: false }
    }
}

impl Framer {
    /// How this client's objects are framed, as far as it has shown.
    pub fn framing(&self) -> Framing {
        self.framing
    }

    /// Whether a text has begun and not ended.
    pub fn is_inside(&self) -> bool {
        self.place == Place::Inside
    }

    /// The latest text was answered, in the framing known then.
    pub fn answered(&mut self) {
        self.owes_lf = self.framing == Framing::Bare;
    }

    /// A read that found the socket empty before it has brought bytes, beginning with `first`: the
    /// remains of a broken text end here, if this looks like a new one.
    pub fn fresh_read(&mut self, first: u8) {
        if self.place == Place::Skipping && matches!(first, b'{' | b'[') {
            self.place = Place::Between;
        }
    }

    /// Advances to the next thing to do.
    pub fn next(&mut self, input: &mut Input, limits: &Limits) -> Step {
        loop {
            let step = match self.place {
                Place::Between => self.between(input, limits),
                Place::Inside => self.inside(input, limits),
                Place::Skipping => self.skip(input),
            };
            if let Some(step) = step {
                return step;
            }
        }
    }

    fn between(&mut self, input: &mut Input, limits: &Limits) -> Option<Step> {
        let run = input.ring.run(0);
        if run.is_empty() {
            return Some(Step::Dry);
        }
        let Some(at) = run.iter().position(|byte| !matches!(byte, b' ' | b'\t' | b'\r')) else {
            let spaces = run.len();
            input.ring.consume(spaces);
            return None;
        };
        match run[at] {
            b'\n' => {
                input.ring.consume(at + 1);
                let ends_text = std::mem::take(&mut self.ended);
                if ends_text { self.line_ended() } else { None }
            }
            b'{' | b'[' => {
                input.ring.consume(at);
                (input.scanner, input.scanned) = (Scanner::new(limits.max_depth), 0);
                *self = Self { place: Place::Inside, framing: self.framing, ended: false, owes_lf: false };
                None
            }
            _ => {
                (self.ended, self.owes_lf) = (false, false);
                Some(Step::Broken(self.broken(input, at, Fault::not_json_rpc())))
            }
        }
    }

    fn inside(&mut self, input: &mut Input, limits: &Limits) -> Option<Step> {
        let run = input.ring.run(input.scanned);
        if run.is_empty() {
            return Some(Step::Dry);
        }
        let piece = &run[..run.len().min(limits.max_message_bytes - input.scanned)];
        let fault = match input.scanner.scan(piece) {
            Scan::Done { used } => {
                let length = input.scanned + used;
                (self.place, self.ended) = (Place::Between, true);
                if lf_follows(&input.ring, length) {
                    self.framing = Framing::Lines;
                }
                return Some(Step::Text(length));
            }
            Scan::More => {
                input.scanned += piece.len();
                if input.scanned < limits.max_message_bytes {
                    return None;
                }
                Fault::invalid_request(format!(
                    "longer than max_message_bytes ({})",
                    limits.max_message_bytes
                ))
            }
            Scan::TooDeep { .. } => {
                Fault::parse_error(format!("nested deeper than max_depth ({})", limits.max_depth))
            }
            Scan::Bad { at, why } => {
                let at = input.scanned + at;
                let fault = Fault::parse_error(format!("{why} at byte {at}"));
                return Some(Step::Broken(self.broken(input, at, fault)));
            }
        };
        let everything = input.ring.len();
        input.ring.consume(everything);
        self.place = Place::Skipping;
        Some(Step::Refused(fault))
    }

    fn skip(&mut self, input: &mut Input) -> Option<Step> {
        let run = input.ring.run(0);
        if run.is_empty() {
            return Some(Step::Dry);
        }
        let Some(at) = memchr(b'\n', run) else {
            let rest = run.len();
            input.ring.consume(rest);
            return None;
        };
        input.ring.consume(at + 1);
        self.place = Place::Between;
        self.line_ended()
    }

    /// The text at the front is broken at `at`: drops it, up to its LF if that is here already.
    fn broken(&mut self, input: &mut Input, at: usize, fault: Fault) -> Fault {
        input.ring.consume(at);
        (self.place, self.owes_lf) = (Place::Skipping, false);
        while self.place == Place::Skipping && !input.ring.is_empty() {
            self.skip(input);
        }
        fault
    }

    /// An LF has come behind a text, broken or not.
    fn line_ended(&mut self) -> Option<Step> {
        self.framing = Framing::Lines;
        std::mem::take(&mut self.owes_lf).then_some(Step::Lf)
    }
}

/// Whether the bytes from `at` on are white space with an LF in it, as far as they have arrived.
fn lf_follows(ring: &Ring, mut at: usize) -> bool {
    loop {
        let run = ring.run(at);
        match run.iter().position(|byte| !matches!(byte, b' ' | b'\t' | b'\r')) {
            Some(next) => return run[next] == b'\n',
            None if run.is_empty() => return false,
            None => at += run.len(),
        }
    }
}
