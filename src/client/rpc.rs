//! JSON-RPC 2.0 from the client's side: a call and its answer, and the pushes that come unasked.
//!
//! Owns the bytes that have come from the server and the numbers of its calls; borrows the connection. It uses the
//! server's own framing, so texts may come back to back or one a line, cut anywhere. A text from the server stays
//! the text that it is: nothing is decoded but what an error says. Never prints. Called by `rawline rpc`.

use std::fmt;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use super::watch::{Key, Watcher};
use super::{after, json};
use crate::config::show_time;
use crate::limits::{DEPTH_CEILING, Limits};
use crate::log;
use crate::transport::codec::jsonrpc::framer::{Framer, Input, Step};
use crate::transport::codec::jsonrpc::walk;
use crate::transport::io::Interest;
use crate::transport::sys::{Errno, socket};

/// The longest text that is taken from a server, in bytes.
const LONGEST: usize = 64 * 1024 * 1024;

/// A connection on which calls are made, one after another.
pub struct Session<'fd> {
    server: &'fd OwnedFd,
    watcher: Watcher<'fd>,
    key: Key,
    input: Input,
    framer: Framer,
    limits: Limits,
    calls: u64,
}

/// What a text from the server is to us.
#[derive(Debug, PartialEq, Eq)]
enum Message<'a> {
    /// The result of our call.
    Result(&'a str),
    /// Our call was refused.
    Error(Refusal),
    /// It comes unasked.
    Push,
    /// Nothing that a server says.
    Other,
}

/// An error that the server answered: `error -32601: Method not found (there is no method "x")`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// As it was written.
    pub code: String,
    /// Its text.
    pub message: String,
    /// More about it: a string as it reads, anything else as JSON.
    pub data: Option<String>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error {}: {}", self.code, self.message)?;
        match &self.data {
            Some(data) => write!(f, " ({data})"),
            None => Ok(()),
        }
    }
}

/// Why there is no result.
#[derive(Debug)]
pub enum CallError {
    /// The server answered with an error.
    Refused(Refusal),
    /// The server said nothing that answers the call for so long.
    TimedOut(Duration),
    /// The server ended its stream before it answered.
    Closed,
    /// The connection broke: the errno.
    Broken(i32),
    /// What the server said is no JSON-RPC: the reason, or the text itself.
    Nonsense(String),
    /// Whoever is told of pushes could not take one.
    Output(io::Error),
    /// There is no poller to be had.
    System(io::Error),
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refusal) => refusal.fmt(f),
            Self::TimedOut(time) => write!(f, "the server has not answered within {}", show_time(*time)),
            Self::Closed => f.write_str("the server closed the connection without an answer"),
            Self::Broken(errno) => write!(f, "the connection broke: {}", Errno::from_raw(*errno).desc()),
            Self::Nonsense(what) => write!(f, "the server does not speak JSON-RPC 2.0: {what}"),
            Self::Output(error) => write!(f, "the output cannot be written: {error}"),
            Self::System(error) => write!(f, "the system refuses: {error}"),
        }
    }
}

impl std::error::Error for CallError {}

impl<'fd> Session<'fd> {
    /// A session on a connection that [`dial`](super::dial) made, and on which nothing was said yet.
    ///
    /// # Errors
    /// [`CallError::System`].
    pub fn new(server: &'fd OwnedFd) -> Result<Self, CallError> {
        let mut watcher = Watcher::new().map_err(CallError::System)?;
        let key = watcher.add(server.as_fd());
        let limits = Limits { max_message_bytes: LONGEST, max_depth: DEPTH_CEILING, ..Limits::default() };
        Ok(Self {
            server,
            watcher,
            key,
            input: Input::new(limits.read_chunk),
            framer: Framer::default(),
            limits,
            calls: 0,
        })
    }

    /// Calls `method` with `params`, an object or array that [`json::check`] has accepted, and gives the text of
    /// its result. Pushes that come meanwhile are handed to `push`, as they are. `patience` is for all of it.
    ///
    /// # Errors
    /// The call is refused, or there is no answer. Only after [`CallError::Refused`] the session can go on.
    pub fn call(
        &mut self,
        method: &str,
        params: Option<&str>,
        patience: Duration,
        mut push: impl FnMut(&str) -> io::Result<()>,
    ) -> Result<String, CallError> {
        self.calls += 1;
        let id = self.calls.to_string();
        let request = request(method, params, &id);
        let (mut unsent, deadline) = (request.as_bytes(), after(patience));
        loop {
            self.watcher.want(self.key, Some(Interest { read: true, write: !unsent.is_empty() }));
            self.watcher.wait(Some(deadline)).map_err(CallError::System)?;
            if self.watcher.ready(self.key).write && !unsent.is_empty() {
                match socket::write(self.server.as_raw_fd(), &[IoSlice::new(unsent)]) {
                    Ok(count) => unsent = &unsent[count..],
                    Err(Errno::EAGAIN) => {}
                    // The server has left. What it said before can still be read.
                    Err(_) => unsent = &[],
                }
            }
            let open = self.fill()?;
            while let Some(text) = self.next()? {
                match classify(&text, &id) {
                    Message::Result(result) => return Ok(result.into()),
                    Message::Error(refusal) => return Err(CallError::Refused(refusal)),
                    Message::Push => push(&text).map_err(CallError::Output)?,
                    Message::Other => return Err(CallError::Nonsense(log::quoted(&text).to_string())),
                }
            }
            if !open {
                return Err(CallError::Closed);
            }
            if Instant::now() >= deadline {
                return Err(CallError::TimedOut(patience));
            }
        }
    }

    /// Hands every push to `push`, as it is, until the server ends its stream or nobody reads `output` any more.
    ///
    /// # Errors
    /// The connection breaks, or `push` fails.
    pub fn listen(
        mut self,
        output: BorrowedFd<'fd>,
        mut push: impl FnMut(&str) -> io::Result<()>,
    ) -> Result<(), CallError> {
        let output = self.watcher.add(output);
        self.watcher.want(output, Some(Interest::NONE));
        self.watcher.want(self.key, Some(Interest::READ));
        loop {
            // What came with the answer to a call is here already.
            while let Some(text) = self.next()? {
                match classify(&text, "") {
                    Message::Push => push(&text).map_err(CallError::Output)?,
                    Message::Error(refusal) => return Err(CallError::Refused(refusal)),
                    _ => return Err(CallError::Nonsense(log::quoted(&text).to_string())),
                }
            }
            self.watcher.wait(None).map_err(CallError::System)?;
            if self.watcher.ready(output).hangup || !self.fill()? {
                return Ok(());
            }
        }
    }

    /// Reads what is there, if something is; whether the server may say more.
    fn fill(&mut self) -> Result<bool, CallError> {
        if !self.watcher.ready(self.key).read {
            return Ok(true);
        }
        let ring = &mut self.input.ring;
        if ring.len() == ring.capacity() {
            ring.resize(ring.capacity() * 2);
        }
        match socket::read(self.server.as_raw_fd(), &mut ring.free(usize::MAX)) {
            Ok(0) => Ok(false),
            Ok(count) => {
                ring.commit(count);
                Ok(true)
            }
            Err(Errno::EAGAIN) => Ok(true),
            Err(error) => Err(CallError::Broken(error as i32)),
        }
    }

    /// Takes out the next text that has come whole.
    fn next(&mut self) -> Result<Option<String>, CallError> {
        loop {
            return match self.framer.next(&mut self.input, &self.limits) {
                Step::Dry => Ok(None),
                Step::Lf => continue,
                Step::Text(length) => {
                    let mut scratch = Vec::new();
                    let text = self.input.ring.front(length, &mut scratch);
                    let text = std::str::from_utf8(text).expect("the scanner took it").into();
                    self.input.ring.consume(length);
                    Ok(Some(text))
                }
                Step::Broken(fault) | Step::Refused(fault, _) => {
                    let why = fault.detail.unwrap_or_else(|| "it sends something that is no JSON".into());
                    Err(CallError::Nonsense(why))
                }
            };
        }
    }
}

fn request(method: &str, params: Option<&str>, id: &str) -> String {
    let method = serde_json::to_string(method).expect("a string is JSON");
    let params = params.map_or(String::new(), |params| format!(r#","params":{params}"#));
    // The line feed asks the server for one object a line.
    format!("{{\"jsonrpc\":\"2.0\",\"method\":{method}{params},\"id\":{id}}}\n")
}

/// What `text`, a valid JSON text, is to a client whose call has this id.
fn classify<'a>(text: &'a str, id: &str) -> Message<'a> {
    if !text.starts_with('{') {
        return Message::Other;
    }
    let Some(method_or_type) = member(text, "method").or_else(|| member(text, "type")) else {
        let ours = member(text, "id");
        if let Some(error) = member(text, "error") {
            // Without an id, or with null, the server did not get as far as to know whom it answers.
            return match ours.is_none_or(|ours| ours == id || ours == "null") {
                true => Message::Error(refusal(text, error)),
                false => Message::Other,
            };
        }
        return match member(text, "result") {
            Some(result) if ours == Some(id) => Message::Result(result),
            _ => Message::Other,
        };
    };
    // A request would have an id. Before our first text the server pushes in its oldest dialect, by type.
    let push = method_or_type.starts_with('"') && member(text, "id").is_none();
    if push { Message::Push } else { Message::Other }
}

/// The error object of JSON-RPC 2.0, or the text and code of the older dialect, in which a server refuses a
/// connection that has not said anything.
fn refusal(text: &str, error: &str) -> Refusal {
    let of = if error.starts_with('{') { error } else { text };
    let code = member(of, "code").unwrap_or("without a code").into();
    let message = if error.starts_with('{') { member(error, "message") } else { Some(error) };
    let message = message.map_or_else(|| "without a message".into(), as_text);
    Refusal { code, message, data: member(of, "data").filter(|data| *data != "null").map(as_text) }
}

/// A string as it reads, anything else as JSON.
fn as_text(value: &str) -> String {
    serde_json::from_str(value).unwrap_or_else(|_| json::compact(value))
}

/// The value of a member whose key is written without escapes, as every server writes these.
fn member<'a>(object: &'a str, name: &str) -> Option<&'a str> {
    let quoted = |key: &str| key.get(1..key.len() - 1) == Some(name);
    walk::members(object).find(|(key, _)| quoted(key)).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_one_line_and_keep_the_params() {
        assert_eq!(
            request("a\"b", Some("[1.0]"), "7"),
            "{\"jsonrpc\":\"2.0\",\"method\":\"a\\\"b\",\"params\":[1.0],\"id\":7}\n"
        );
        assert_eq!(request("ping", None, "1"), "{\"jsonrpc\":\"2.0\",\"method\":\"ping\",\"id\":1}\n");
    }

    #[test]
    fn every_kind_of_message_is_told() {
        let error = |code: &str, message: &str, data: Option<&str>| {
            let data = data.map(Into::into);
            Message::Error(Refusal { code: code.into(), message: message.into(), data })
        };
        for (text, message) in [
            (r#"{"jsonrpc":"2.0","result":{"a": 1.0},"id":1}"#, Message::Result(r#"{"a": 1.0}"#)),
            (r#"{"jsonrpc":"2.0","result":null,"id":1}"#, Message::Result("null")),
            (r#"{"jsonrpc":"2.0","result":5,"id":2}"#, Message::Other),
            (
                r#"{"jsonrpc":"2.0","error":{"code":-32601,"message":"No\u0021","data":"so"},"id":1}"#,
                error("-32601", "No!", Some("so")),
            ),
            (
                r#"{"jsonrpc":"2.0","error":{"code":5,"message":"x","data":{"a": 1}},"id":null}"#,
                error("5", "x", Some(r#"{"a":1}"#)),
            ),
            (r#"{"jsonrpc":"2.0","error":{"code":5,"message":"x"},"id":9}"#, Message::Other),
            (
                r#"{"error":"Too many connections","code":-32000}"#,
                error("-32000", "Too many connections", None),
            ),
            (r#"{"error":{},"id":1}"#, error("without a code", "without a message", None)),
            (r#"{"jsonrpc":"2.0","method":"chat","params":{"message":"hi"}}"#, Message::Push),
            (r#"{"type":"system","message":"x","username":"SYSTEM"}"#, Message::Push),
            // An echo server.
            (r#"{"jsonrpc":"2.0","method":"ping","id":1}"#, Message::Other),
            (r#"{"status":"success"}"#, Message::Other),
            ("[]", Message::Other),
            ("{}", Message::Other),
        ] {
            assert_eq!(classify(text, "1"), message, "{text}");
        }
        assert_eq!(
            Refusal { code: "-1".into(), message: "No".into(), data: Some("so".into()) }.to_string(),
            "error -1: No (so)"
        );
    }
}
