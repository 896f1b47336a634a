//! The configuration file: lines of `key = value`.
//!
//! A value is a string in double quotes (with TOML's escapes) or in single quotes (as it stands), an integer
//! of decimal digits, `true` or `false`; `#` begins a comment. Every file accepted here is a valid TOML file
//! with the same meaning, so editors know how to colour it; the reverse is not promised: there are no
//! tables, arrays, floats or dates. This file knows no option: what the keys mean is said in `options.rs`.
//! Called by [`Config::load`](super::Config::load).

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

/// One `key = value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Counted from 1.
    pub line: usize,
    /// As written.
    pub key: String,
    /// As meant.
    pub value: Value,
}

/// The right side of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A string, without quotes and escapes.
    Text(String),
    /// At most `i64::MAX`, as in TOML.
    Integer(u64),
    /// `true` or `false`.
    Bool(bool),
}

impl Value {
    /// The value as the command line would give it: options read text, whatever the source.
    pub fn into_text(self) -> String {
        match self {
            Self::Text(text) => text,
            Self::Integer(number) => number.to_string(),
            Self::Bool(switch) => switch.to_string(),
        }
    }
}

/// What is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileError {
    /// Counted from 1; `None` when the file could not be read at all.
    pub line: Option<usize>,
    /// A sentence.
    pub problem: String,
}

/// More than this is no configuration but a mistake, such as the name of a device.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// The entries of the file at `path` and its mistakes, in order.
pub fn read(path: &Path) -> Vec<Result<Entry, FileError>> {
    let mut bytes = Vec::new();
    let result = File::open(path).and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes));
    let whole = |problem: String| vec![Err(FileError { line: None, problem })];
    match result {
        Err(error) => whole(match error.kind() {
            ErrorKind::NotFound => "there is no such file".into(),
            ErrorKind::IsADirectory => "this is a directory; give the file inside it".into(),
            ErrorKind::PermissionDenied => "this user may not read it".into(),
            _ => format!("it cannot be read: {error}"),
        }),
        Ok(_) if bytes.len() as u64 > MAX_FILE_BYTES => {
            whole("it is larger than 1 MiB, which no configuration is".into())
        }
        Ok(_) => parse(&bytes),
    }
}

/// The entries of a file's content, in order. A line that is no UTF-8, no entry, or repeats a key is a mistake, and
/// those behind it are read all the same.
pub fn parse(content: &[u8]) -> Vec<Result<Entry, FileError>> {
    let mut lines_of: BTreeMap<&str, usize> = BTreeMap::new();
    let mut entries = Vec::new();
    for (line, bytes) in (1..).zip(content.split_inclusive(|&byte| byte == b'\n')) {
        let bytes = bytes.strip_suffix(b"\r\n").or_else(|| bytes.strip_suffix(b"\n")).unwrap_or(bytes);
        let read = str::from_utf8(bytes).map_err(|_| "this is not UTF-8".into()).and_then(entry);
        entries.push(match read {
            Ok(None) => continue,
            Ok(Some((key, value))) => match lines_of.insert(key, line) {
                None => Ok(Entry { line, key: key.into(), value }),
                Some(first) => {
                    let problem = format!("{key} is given again, after line {first}: remove one");
                    Err(FileError { line: Some(line), problem })
                }
            },
            Err(problem) => Err(FileError { line: Some(line), problem }),
        });
    }
    entries
}

/// The entry on a line, if there is one.
fn entry(line: &str) -> Result<Option<(&str, Value)>, String> {
    let line = line.trim_matches(BLANK);
    if is_end(line)? {
        return Ok(None);
    }
    if line.starts_with('[') {
        return Err("there are no sections here: write key = value lines only".into());
    }
    let (key, rest) = line.split_at(line.find(|c| !is_key(c)).unwrap_or(line.len()));
    if key.is_empty() {
        return Err("this is no key = value line, and no comment, which begins with #".into());
    }
    let Some(rest) = rest.trim_start_matches(BLANK).strip_prefix('=') else {
        return Err(format!("{key} is not followed by = and a value"));
    };
    let (value, rest) = value(key, rest.trim_start_matches(BLANK))?;
    let rest = rest.trim_start_matches(BLANK);
    if !is_end(rest)? {
        return Err(format!("there is more after the value of {key}: {rest:?}"));
    }
    Ok(Some((key, value)))
}

const BLANK: [char; 2] = [' ', '\t'];

fn is_key(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '-'
}

/// What TOML forbids in strings and comments. (The C1 controls are allowed there.)
fn is_forbidden(c: char) -> bool {
    c != '\t' && (c < ' ' || c == '\u{7f}')
}

/// Nothing more on the line, or only a comment.
fn is_end(rest: &str) -> Result<bool, String> {
    match rest.strip_prefix('#') {
        Some(comment) => match comment.find(is_forbidden) {
            Some(_) => Err("there is a control character in the comment: remove it".into()),
            None => Ok(true),
        },
        None => Ok(rest.is_empty()),
    }
}

/// The value that `rest` begins with, and what follows it.
fn value<'a>(key: &str, rest: &'a str) -> Result<(Value, &'a str), String> {
    if let Some(rest) = rest.strip_prefix('"') {
        return basic(key, rest);
    }
    if let Some(rest) = rest.strip_prefix('\'') {
        let (text, rest) = rest.split_once('\'').ok_or_else(|| unclosed(key))?;
        return match text.find(is_forbidden) {
            Some(_) => {
                Err(format!("there is a control character in the value of {key}: use \"...\" and \\u"))
            }
            None => Ok((Value::Text(text.into()), rest)),
        };
    }
    let (word, rest) = rest.split_at(rest.find([' ', '\t', '#']).unwrap_or(rest.len()));
    let value = match word {
        "" => return Err(format!("{key} has no value")),
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        number if number.bytes().all(|b| b.is_ascii_digit() || b == b'_') => integer(number)?,
        word => return Err(format!("{word} needs quotes: {key} = {word:?}")),
    };
    Ok((value, rest))
}

fn integer(word: &str) -> Result<Value, String> {
    if word.split('_').any(str::is_empty) {
        return Err(format!("{word}: an underscore stands between two digits"));
    }
    if word.starts_with('0') && word != "0" {
        return Err(format!("{word}: a number does not begin with 0"));
    }
    match word.replace('_', "").parse::<i64>() {
        Ok(number) => Ok(Value::Integer(number.unsigned_abs())),
        Err(_) => Err(format!("{word} is too large a number")),
    }
}

/// A string in double quotes whose first quote is behind us.
fn basic<'a>(key: &str, rest: &'a str) -> Result<(Value, &'a str), String> {
    let mut text = String::new();
    let mut chars = rest.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => return Ok((Value::Text(text), chars.as_str())),
            '\\' => text.push(escape(&mut chars)?),
            c if is_forbidden(c) => {
                return Err(format!("there is a control character in the value of {key}: write it as \\u"));
            }
            c => text.push(c),
        }
    }
    Err(unclosed(key))
}

fn escape(chars: &mut std::str::Chars<'_>) -> Result<char, String> {
    let digits = match chars.next() {
        Some('b') => return Ok('\u{8}'),
        Some('t') => return Ok('\t'),
        Some('n') => return Ok('\n'),
        Some('f') => return Ok('\u{c}'),
        Some('r') => return Ok('\r'),
        Some(c @ ('"' | '\\')) => return Ok(c),
        Some('u') => 4,
        Some('U') => 8,
        Some(c) => return Err(format!("\\{} is no escape: write \\\\ for a backslash", c.escape_default())),
        None => return Err("the line ends inside an escape".into()),
    };
    let code: String = chars.by_ref().take(digits).collect();
    let is_hex = code.len() == digits && code.bytes().all(|b| b.is_ascii_hexdigit());
    u32::from_str_radix(&code, 16)
        .ok()
        .filter(|_| is_hex)
        .and_then(char::from_u32)
        .ok_or_else(|| format!("\\u takes 4 and \\U takes 8 hexadecimal digits of a character, not {code:?}"))
}

fn unclosed(key: &str) -> String {
    format!("the value of {key} has no closing quote on its line")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn one(line: &str) -> Result<Value, String> {
        match parse(line.as_bytes()).remove(0) {
            Ok(entry) => Ok(entry.value),
            Err(error) => Err(error.problem),
        }
    }

    /// All entries, or the first mistake.
    fn all(content: &[u8]) -> Result<Vec<Entry>, FileError> {
        parse(content).into_iter().collect()
    }

    fn text(value: &str) -> Result<Value, String> {
        Ok(Value::Text(value.into()))
    }

    #[test]
    fn values_of_every_kind() {
        assert_eq!(one("a = 'C:\\x' # why"), text("C:\\x"));
        assert_eq!(one(r#"a = "q\"b\\s\b\t\n\f\r""#), text("q\"b\\s\u{8}\t\n\u{c}\r"));
        assert_eq!(one(r#"a = "\u00e9\U0001F600é""#), text("é😀é"));
        assert_eq!(one("a = \"x # y\"#z"), text("x # y"));
        assert_eq!(one("\ta=''\t"), text(""));
        assert_eq!(one("a-b_9 = 65_536"), Ok(Value::Integer(65_536)));
        assert_eq!(one("a = 0#"), Ok(Value::Integer(0)));
        assert_eq!(one("a = 9223372036854775807"), Ok(Value::Integer(i64::MAX as u64)));
        assert_eq!(one("a = true"), Ok(Value::Bool(true)));
        assert_eq!(one("a = false"), Ok(Value::Bool(false)));
    }

    #[test]
    fn values_as_text() {
        assert_eq!(Value::Integer(65_536).into_text(), "65536");
        assert_eq!(Value::Bool(true).into_text(), "true");
        assert_eq!(Value::Text("64KiB".into()).into_text(), "64KiB");
    }

    #[test]
    fn lines_are_counted_and_blank_ones_skipped() {
        let entries = all(b"# rawline\r\n\r\n  \t\na = 1\r\nb = 'x'").unwrap();
        assert_eq!(
            entries.iter().map(|e| (e.line, e.key.as_str())).collect::<Vec<_>>(),
            [(4, "a"), (5, "b")]
        );
        assert_eq!(all(b""), Ok(vec![]));
    }

    #[test]
    fn every_mistake_says_what_to_write() {
        for (line, message) in [
            ("a = 64KiB", "64KiB needs quotes: a = \"64KiB\""),
            ("a = -5", "-5 needs quotes: a = \"-5\""),
            ("a", "a is not followed by = and a value"),
            ("a b = 1", "a is not followed by = and a value"),
            ("a.b = 1", "a is not followed by = and a value"),
            ("a =", "a has no value"),
            ("a = # x", "a has no value"),
            ("= 1", "this is no key = value line, and no comment, which begins with #"),
            ("\"a\" = 1", "this is no key = value line, and no comment, which begins with #"),
            ("[limits]", "there are no sections here: write key = value lines only"),
            ("a = 'x", "the value of a has no closing quote on its line"),
            ("a = \"x", "the value of a has no closing quote on its line"),
            ("a = \"x\\", "the line ends inside an escape"),
            ("a = \"\\d\"", "\\d is no escape: write \\\\ for a backslash"),
            (
                "a = \"\\u12\"",
                "\\u takes 4 and \\U takes 8 hexadecimal digits of a character, not \"12\\\"\"",
            ),
            (
                "a = \"\\ud800\"",
                "\\u takes 4 and \\U takes 8 hexadecimal digits of a character, not \"d800\"",
            ),
            ("a = 'x' y", "there is more after the value of a: \"y\""),
            ("a = \"\"\"x\"\"\"", "there is more after the value of a: \"\\\"x\\\"\\\"\\\"\""),
            ("a = 007", "007: a number does not begin with 0"),
            ("a = 1__0", "1__0: an underscore stands between two digits"),
            ("a = 1_", "1_: an underscore stands between two digits"),
            ("a = 9223372036854775808", "9223372036854775808 is too large a number"),
            ("a = '\u{1b}'", "there is a control character in the value of a: use \"...\" and \\u"),
            ("a = \"\u{7f}\"", "there is a control character in the value of a: write it as \\u"),
            ("a = 1 # \u{1}", "there is a control character in the comment: remove it"),
        ] {
            assert_eq!(one(line), Err(message.into()), "{line}");
        }
    }

    #[test]
    fn mistakes_carry_their_line() {
        let refused = |line, problem: &str| Err(FileError { line: Some(line), problem: problem.into() });
        assert_eq!(all(b"a = 1\n\nb"), refused(3, "b is not followed by = and a value"));
        assert_eq!(all(b"a = 1\nb = 2\na = 1"), refused(3, "a is given again, after line 1: remove one"));
        assert_eq!(all(b"a = 1\n# \xff"), refused(2, "this is not UTF-8"));
    }

    #[test]
    fn a_mistake_does_not_hide_what_follows() {
        let read = parse(b"a = x\nb = 1\n[c]\nb = 2\nb = 3");
        let seen: Vec<_> = read
            .iter()
            .map(|read| match read {
                Ok(entry) => (entry.line, entry.key.as_str()),
                Err(error) => (error.line.unwrap(), "?"),
            })
            .collect();
        assert_eq!(seen, [(1, "?"), (2, "b"), (3, "?"), (4, "?"), (5, "?")]);
    }

    #[test]
    fn files_that_cannot_be_read() {
        let whole = |problem: &str| vec![Err(FileError { line: None, problem: problem.into() })];
        let folder = std::env::temp_dir();
        assert_eq!(read(&folder), whole("this is a directory; give the file inside it"));
        assert_eq!(read(&folder.join("no/such/rawline.conf")), whole("there is no such file"));
        assert_eq!(read(Path::new("/dev/zero")), whole("it is larger than 1 MiB, which no configuration is"));
    }

    /// Lines that are nearly right, so that both verdicts are frequent.
    fn line() -> impl Strategy<Value = String> {
        let value = prop_oneof![
            Just("true".to_string()),
            "[0-9_]{1,5}",
            "[0-9]{17,20}",
            "\"([a-z# é\\t]|\\\\[btnfr\"\\\\]|\\\\u[0-9a-f]{4}|\\\\U000[0-9a-f]{5})*\"",
            "\"\\PC*\"",
            "'\\PC*'",
            "[\"'\\\\#a-z0-9 \\x00-\\x20\\x7f-\\u{9f}]*",
        ];
        let comment = prop_oneof![Just(String::new()), "[ \\t]*#[ -~\\t]*", "[ \\t\\r]*", "#[^\\n]*"];
        let entry = ("[ \\t]{0,2}[a-f_-]{1,2}[ \\t]{0,2}=[ \\t]{0,2}", value, comment)
            .prop_map(|(key, value, comment)| format!("{key}{value}{comment}"));
        prop_oneof![8 => entry, 1 => "[ \\t]*(#.*)?", 1 => ".{0,8}"]
    }

    proptest! {
        #[test]
        fn what_is_accepted_is_toml_with_the_same_values(lines in prop::collection::vec(line(), 0..4)) {
            let content = lines.join("\n");
            if let Ok(entries) = all(content.as_bytes()) {
                let toml: toml::Table = toml::from_str(&content).expect(&content);
                prop_assert_eq!(toml.len(), entries.len());
                for entry in entries {
                    let expected = match entry.value {
                        Value::Text(text) => toml::Value::String(text),
                        Value::Integer(number) => toml::Value::Integer(number as i64),
                        Value::Bool(switch) => toml::Value::Boolean(switch),
                    };
                    prop_assert_eq!(&toml[&entry.key], &expected);
                }
            }
        }

        #[test]
        fn nothing_makes_it_panic(content in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = parse(&content);
        }

        #[test]
        fn json_strings_are_values(value in "\\PC*") {
            // JSON's escapes are a subset of TOML's, but for \/, which serde_json does not write.
            let line = format!("a = {}", serde_json::to_string(&value).unwrap());
            prop_assert_eq!(one(&line), Ok(Value::Text(value)));
        }
    }
}
