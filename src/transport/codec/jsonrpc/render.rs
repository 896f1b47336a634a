//! How answers and pushes look on the wire: two dialects, two framings.
//!
//! Owns the envelopes of docs/protocol.md and nothing else: never parses, never knows who receives. Everything is
//! written as UTF-8 first; for a bare client the piece is then rewritten in ASCII, which is a rewriting
//! of characters alone, since outside of strings JSON is ASCII.

use std::io::Write;

use super::request::Dialect;
use crate::api::Fault;

/// How objects are kept apart, mirrored from the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// Objects back to back, ASCII only, not one byte of white space: until the client ends a request with LF.
    Bare,
    /// Every object ends in one LF, UTF-8 as it is.
    Lines,
    /// No objects: the lines of the line chat.
    Text,
}

/// Dialect and framing: what a broadcast is rendered in, once for all receivers of the same encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Encoding {
    /// Seed objects or JSON-RPC 2.0.
    pub dialect: Dialect,
    /// Bare or lines.
    pub framing: Framing,
}

/// How many encodings there are.
pub const ENCODINGS: usize = 5;

impl Encoding {
    /// What a connection speaks before it has said anything.
    pub const FIRST: Self = Self { dialect: Dialect::Seed, framing: Framing::Bare };

    /// All of them, each at its index.
    pub const ALL: [Self; ENCODINGS] = [
        Self::FIRST,
        Self { dialect: Dialect::Seed, framing: Framing::Lines },
        Self { dialect: Dialect::V2, framing: Framing::Bare },
        Self { dialect: Dialect::V2, framing: Framing::Lines },
        Self::TEXT,
    ];

    /// What line users read.
    pub const TEXT: Self = Self { dialect: Dialect::Seed, framing: Framing::Text };

    /// Its place in [`Encoding::ALL`].
    pub fn index(self) -> usize {
        match (self.dialect, self.framing) {
            (_, Framing::Text) => 4,
            (dialect, framing) => {
                usize::from(dialect == Dialect::V2) * 2 + usize::from(framing == Framing::Lines)
            }
        }
    }
}

/// Appends a whole answer: `result` or fault in the envelope of its dialect, then framed.
pub fn answer(out: &mut Vec<u8>, encoding: Encoding, id: Option<&str>, result: Result<&str, &Fault>) {
    let start = out.len();
    envelope(out, encoding.dialect, id, result);
    frame(out, start, encoding.framing);
}

/// Appends a push for a JSON client: `{"type":KIND,...}` or a notification. `params` is a JSON object.
pub fn push(out: &mut Vec<u8>, encoding: Encoding, kind: &str, params: &str) {
    let start = out.len();
    match encoding.dialect {
        Dialect::Seed => {
            out.extend_from_slice(b"{\"type\":\"");
            out.extend_from_slice(kind.as_bytes());
            out.extend_from_slice(if params == "{}" { b"\"" } else { b"\"," });
            out.extend_from_slice(&params.as_bytes()[1..]);
        }
        Dialect::V2 => {
            out.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"method\":\"");
            out.extend_from_slice(kind.as_bytes());
            out.extend_from_slice(b"\",\"params\":");
            out.extend_from_slice(params.as_bytes());
            out.push(b'}');
        }
    }
    frame(out, start, encoding.framing);
}

/// Appends an answer without framing: also the elements of a batch's array.
pub fn envelope(out: &mut Vec<u8>, dialect: Dialect, id: Option<&str>, result: Result<&str, &Fault>) {
    match (dialect, result) {
        (Dialect::Seed, Ok(result)) if result.starts_with('{') => {
            out.extend_from_slice(result.as_bytes());
            insert_id(out, id, result == "{}");
        }
        // A bare number or string would run into its neighbour, so it gets an object around it.
        (Dialect::Seed, Ok(result)) => {
            out.extend_from_slice(b"{\"result\":");
            out.extend_from_slice(result.as_bytes());
            out.push(b'}');
            insert_id(out, id, false);
        }
        (Dialect::Seed, Err(fault)) => {
            if fault.rule {
                out.extend_from_slice(b"{\"status\":\"error\",\"message\":");
                string(out, &fault.message);
            } else {
                out.extend_from_slice(b"{\"error\":");
                string(out, &fault.message);
                number(out, b",\"code\":", fault.code);
            }
            out.push(b'}');
            insert_id(out, id, false);
        }
        (Dialect::V2, Ok(result)) => {
            out.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"result\":");
            out.extend_from_slice(result.as_bytes());
            close_v2(out, id);
        }
        (Dialect::V2, Err(fault)) => {
            number(out, b"{\"jsonrpc\":\"2.0\",\"error\":{\"code\":", fault.code);
            out.extend_from_slice(b",\"message\":");
            string(out, &fault.message);
            if let Some(detail) = &fault.detail {
                out.extend_from_slice(b",\"data\":");
                string(out, detail);
            }
            out.push(b'}');
            close_v2(out, id);
        }
    }
}

/// Frames what was written from `start` on.
pub fn frame(out: &mut Vec<u8>, start: usize, framing: Framing) {
    match framing {
        Framing::Lines | Framing::Text => out.push(b'\n'),
        Framing::Bare if out[start..].is_ascii() => {}
        Framing::Bare => {
            let text = String::from_utf8(out.split_off(start)).expect("answers are rendered as UTF-8");
            ascii(out, &text);
        }
    }
}

/// Rewrites JSON text with every character above U+007F as `\uXXXX`, above U+FFFF as a surrogate pair.
fn ascii(out: &mut Vec<u8>, json: &str) {
    for character in json.chars() {
        if character.is_ascii() {
            out.push(character as u8);
        } else {
            for unit in character.encode_utf16(&mut [0; 2]) {
                write!(out, "\\u{unit:04x}").expect("a vector takes everything");
            }
        }
    }
}

/// Puts `"id":ID` in front of the closing brace that was just written.
fn insert_id(out: &mut Vec<u8>, id: Option<&str>, empty: bool) {
    if let Some(id) = id {
        out.pop();
        out.extend_from_slice(if empty { b"\"id\":" } else { b",\"id\":" });
        out.extend_from_slice(id.as_bytes());
        out.push(b'}');
    }
}

fn close_v2(out: &mut Vec<u8>, id: Option<&str>) {
    out.extend_from_slice(b",\"id\":");
    out.extend_from_slice(id.unwrap_or("null").as_bytes());
    out.push(b'}');
}

fn string(out: &mut Vec<u8>, text: &str) {
    // Without an early end, so that the compiler looks at many bytes at once.
    let escapes =
        text.bytes().fold(false, |any, byte| any | (byte < 0x20) | (byte == b'"') | (byte == b'\\'));
    if !escapes {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    } else {
        serde_json::to_writer(out, text).expect("a vector takes everything");
    }
}

fn number(out: &mut Vec<u8>, before: &[u8], code: i32) {
    out.extend_from_slice(before);
    serde_json::to_writer(out, &code).expect("a vector takes everything");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(encoding: usize, id: Option<&str>, result: Result<&str, &Fault>) -> String {
        let mut out = Vec::new();
        answer(&mut out, Encoding::ALL[encoding], id, result);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn encodings_stand_at_their_index() {
        for (index, encoding) in Encoding::ALL.into_iter().enumerate() {
            assert_eq!(encoding.index(), index);
        }
    }

    #[test]
    fn results_in_every_dialect() {
        assert_eq!(answered(0, None, Ok(r#"{"a":1}"#)), r#"{"a":1}"#);
        assert_eq!(answered(1, Some("7"), Ok(r#"{"a":1}"#)), "{\"a\":1,\"id\":7}\n");
        assert_eq!(answered(0, Some("\"x\""), Ok("{}")), r#"{"id":"x"}"#);
        assert_eq!(answered(0, None, Ok("3")), r#"{"result":3}"#);
        assert_eq!(answered(3, Some("7"), Ok("3")), "{\"jsonrpc\":\"2.0\",\"result\":3,\"id\":7}\n");
    }

    #[test]
    fn faults_in_every_dialect() {
        let rule = Fault::rule(-32022, "Message cannot be empty");
        let protocol = Fault::invalid_params("x must be \"y\"".into());
        assert_eq!(
            answered(0, None, Err(&rule)),
            r#"{"status":"error","message":"Message cannot be empty"}"#
        );
        assert_eq!(
            answered(0, Some("1"), Err(&protocol)),
            r#"{"error":"Invalid params","code":-32602,"id":1}"#
        );
        assert_eq!(
            answered(2, Some("1"), Err(&rule)),
            r#"{"jsonrpc":"2.0","error":{"code":-32022,"message":"Message cannot be empty"},"id":1}"#
        );
        assert_eq!(
            answered(2, None, Err(&protocol)),
            r#"{"jsonrpc":"2.0","error":{"code":-32602,"message":"Invalid params","data":"x must be \"y\""},"id":null}"#
        );
    }

    #[test]
    fn bare_is_ascii_and_lines_are_utf8() {
        assert_eq!(answered(0, None, Ok(r#"{"a":"é😀\n"}"#)), r#"{"a":"\u00e9\ud83d\ude00\n"}"#);
        assert_eq!(answered(1, None, Ok(r#"{"a":"é😀"}"#)), "{\"a\":\"é😀\"}\n");
    }

    #[test]
    fn pushes_in_both_dialects() {
        for (encoding, kind, params, expected) in [
            (0, "chat", r#"{"m":"é"}"#, r#"{"type":"chat","m":"\u00e9"}"#),
            (1, "ping", "{}", "{\"type\":\"ping\"}\n"),
            (2, "chat", r#"{"m":1}"#, r#"{"jsonrpc":"2.0","method":"chat","params":{"m":1}}"#),
            (3, "ping", "{}", "{\"jsonrpc\":\"2.0\",\"method\":\"ping\",\"params\":{}}\n"),
        ] {
            let mut out = b"before".to_vec();
            push(&mut out, Encoding::ALL[encoding], kind, params);
            assert_eq!(String::from_utf8(out).unwrap(), format!("before{expected}"));
        }
    }
}
