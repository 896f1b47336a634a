//! JSON texts as people write and read them: where a mistake is, and three ways to lay a text out.
//!
//! Owns nothing and decodes nothing: a number keeps its digits and an object its order, because a text stays a text.
//! [`check`] is the server's own scanner, so what passes here is not refused there for its syntax. The
//! layouts take valid JSON only; other text gives nonsense. Called by `rawline rpc`.

use std::fmt::{self, Write as _};

use crate::limits::DEPTH_CEILING;
use crate::log;
use crate::transport::codec::jsonrpc::scanner::{Scan, Scanner};

/// Characters shown on each side of a mistake.
const SHOWN: usize = 24;

/// What is wrong with a text, and where: `expected ':' after a key at line 1, column 8: {"key" -->1}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// What should be otherwise.
    pub why: String,
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// What stands before it, cut.
    pub before: String,
    /// What stands there, cut.
    pub after: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { why, line, column, before, after } = self;
        write!(f, "{why} at line {line}, column {column}: {before}-->{after}")
    }
}

impl std::error::Error for Mistake {}

/// The one JSON object or array in `text`, without the white space around it.
///
/// # Errors
/// The first byte that spoils it.
pub fn check(text: &[u8]) -> Result<&str, Mistake> {
    let from = text.iter().position(|byte| !byte.is_ascii_whitespace()).unwrap_or(text.len());
    let (at, why) = match Scanner::new(DEPTH_CEILING).scan(&text[from..]) {
        Scan::Done { used } => {
            let end = from + used;
            match text[end..].iter().position(|byte| !byte.is_ascii_whitespace()) {
                None => return Ok(std::str::from_utf8(&text[from..end]).expect("the scanner took it")),
                Some(more) => (end + more, "something follows the JSON text".into()),
            }
        }
        Scan::More if from == text.len() => (from, "there is no JSON text".into()),
        Scan::More => (text.len(), "the JSON text ends too early".into()),
        Scan::Bad { at, why } => (from + at, why.to_string()),
        Scan::TooDeep { at } => (from + at, format!("nested deeper than {DEPTH_CEILING}")),
    };
    let (before, after) = (String::from_utf8_lossy(&text[..at]), String::from_utf8_lossy(&text[at..]));
    let line_start = before.rfind('\n').map_or(0, |lf| lf + 1);
    Err(Mistake {
        why,
        line: before.matches('\n').count() + 1,
        column: before[line_start..].chars().count() + 1,
        before: tail(&before),
        after: head(&after),
    })
}

fn head(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((cut, _)) => format!("{}...", &text[..cut]),
        None => text.into(),
    }
}

fn tail(text: &str) -> String {
    match text.char_indices().rev().nth(SHOWN) {
        Some((cut, first)) => format!("...{}", &text[cut + first.len_utf8()..]),
        None => text.into(),
    }
}

/// Without a space that is not inside a string: one line.
pub fn compact(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut inside = Inside::default();
    out.extend(text.chars().filter(|&c| inside.string(c) || !c.is_ascii_whitespace()));
    out
}

/// One member or element a line, indented by two spaces for each level; `{}` and `[]` stay together.
pub fn pretty(text: &str) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    let (mut inside, mut depth, mut opened) = (Inside::default(), 0, false);
    let line = |out: &mut String, depth: usize| {
        out.push('\n');
        (0..depth).for_each(|_| out.push_str("  "));
    };
    for c in text.chars() {
        let in_string = inside.string(c);
        if !in_string && c.is_ascii_whitespace() {
            continue;
        }
        let closes = !in_string && matches!(c, '}' | ']');
        if closes {
            depth -= 1;
        }
        if opened != closes && (opened || closes) {
            line(&mut out, depth);
        }
        out.push(c);
        opened = !in_string && matches!(c, '{' | '[');
        match c {
            _ if in_string => {}
            '{' | '[' => depth += 1,
            ',' => line(&mut out, depth),
            ':' => out.push(' '),
            _ => {}
        }
    }
    out
}

/// The same text with every character that could command a terminal, or turn its lines around, as an escape.
/// It stays the same JSON.
pub fn for_terminal(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            // The line feeds of a pretty text; those inside strings are escapes already.
            '\n' => out.push(c),
            // All of them are below U+10000: one escape each.
            c if log::is_unsafe(c) => {
                write!(out, "\\u{:04x}", u32::from(c)).expect("a string takes everything");
            }
            c => out.push(c),
        }
    }
    out
}

/// Whether a walk over the characters of a valid text is inside a string.
#[derive(Default)]
struct Inside {
    string: bool,
    escaped: bool,
}

impl Inside {
    /// Whether `c`, the next character, belongs to a string, its quotation marks included.
    fn string(&mut self, c: char) -> bool {
        let before = self.string;
        if self.escaped {
            self.escaped = false;
        } else if c == '\\' {
            self.escaped = before;
        } else if c == '"' {
            self.string = !before;
        }
        before || self.string
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_comes_out_as_it_is_without_its_margins() {
        assert_eq!(check(b" \n{\"a\" : 1.50}\t"), Ok("{\"a\" : 1.50}"));
        assert_eq!(check("[\"ä\"]".as_bytes()), Ok("[\"ä\"]"));
    }

    #[test]
    fn a_mistake_is_shown_where_it_is() {
        for (text, message) in [
            (&br#"{"key" 1}"#[..], r#"expected ':' after a key at line 1, column 8: {"key" -->1}"#),
            (br#"{'a':1}"#, r#"expected a key in double quotes at line 1, column 2: {-->'a':1}"#),
            (b"", "there is no JSON text at line 1, column 1: -->"),
            (b" ", "there is no JSON text at line 1, column 2:  -->"),
            (b"[1", "the JSON text ends too early at line 1, column 3: [1-->"),
            (b"5", "expected '{' or '[' at line 1, column 1: -->5"),
            (b"{}{}", "something follows the JSON text at line 1, column 3: {}-->{}"),
            (b"[\n  1,\n  tru]", "expected true, false or null at line 3, column 6: [\n  1,\n  tru-->]"),
            (b"[\"\xff\"]", "invalid UTF-8 at line 1, column 3: [\"-->\u{fffd}\"]"),
            (
                br#"["a long text that nobody wants to read again", x, "and another one behind it"]"#,
                r#"expected a value at line 1, column 49: ...y wants to read again", -->x, "and another one behi..."#,
            ),
        ] {
            let mistake = check(text).unwrap_err().to_string();
            assert_eq!(mistake, message, "{}", String::from_utf8_lossy(text));
        }
        let deep = "[".repeat(DEPTH_CEILING + 1);
        assert!(check(deep.as_bytes()).unwrap_err().why.starts_with("nested deeper than"));
    }

    #[test]
    fn layouts_keep_digits_order_and_strings() {
        let text =
            r#" { "z" : [ 1.0e400 , 2 ] , "a" : { } , "s" : "a \" { , : \\" , "e" : [ ] , "n" : null } "#;
        let short = r#"{"z":[1.0e400,2],"a":{},"s":"a \" { , : \\","e":[],"n":null}"#;
        assert_eq!(compact(text), short);
        let long = "{\n  \"z\": [\n    1.0e400,\n    2\n  ],\n  \"a\": {},\n  \"s\": \"a \\\" { , : \\\\\",\n  \"e\": [],\n  \"n\": null\n}";
        assert_eq!(pretty(text), long);
        assert_eq!(compact(&pretty(text)), short);
        for (text, laid_out) in [("{}", "{}"), ("[]", "[]"), ("5", "5"), ("[[]]", "[\n  []\n]")] {
            assert_eq!(pretty(text), laid_out);
        }
    }

    #[test]
    fn a_terminal_gets_no_commands() {
        let text = "[\n  \"\u{9b}2J\u{202e}\u{7f}ü\"\n]";
        assert_eq!(for_terminal(text), "[\n  \"\\u009b2J\\u202e\\u007fü\"\n]");
        let value: serde_json::Value = serde_json::from_str(&for_terminal(text)).unwrap();
        assert_eq!(value, serde_json::from_str::<serde_json::Value>(text).unwrap());
    }
}
