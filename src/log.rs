//! The log: one event is one line on stderr, written with one `write`.
//!
//! `2026-11-21T02:27:35.123Z INFO  transport  message`: time (UTC), level, component, message; or the same four as members
//! of one JSON object, whose keys stay what they are. Nothing that a client sent can start a second line or reach the operator's terminal as a control sequence, because every
//! message is escaped here. A level that is off costs one relaxed load: `format_args!` formats nothing before
//! it is written. The log never fails and never panics: a stderr that is gone is nobody's error.
//!
//! Everybody calls it; it calls nobody.

use std::fmt::{self, Write as _};
use std::io::{self, Write as _};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How much an event matters. Later levels include the earlier ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Level {
    /// Something that should work does not.
    Error,
    /// Something to look at before it becomes an error.
    Warn,
    /// What an operator wants to see of a healthy day.
    Info,
    /// Every connection and decision.
    Debug,
}

/// How an event is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Format {
    /// For people.
    Text,
    /// `{"time":"…","level":"info","component":"chat","message":"…"}`, for programs.
    Json,
}

static LEVEL: AtomicU8 = AtomicU8::new(Level::Info as u8);
static IS_JSON: AtomicBool = AtomicBool::new(false);
static VALUE_MAX: AtomicUsize = AtomicUsize::new(256);
static VALUES_CUT: AtomicUsize = AtomicUsize::new(0);

/// Logs events of `level` and those that matter more. It is `Info` until somebody says otherwise.
pub fn set_level(level: Level) {
    LEVEL.store(level as u8, Ordering::Relaxed);
}

/// Writes events in this form. It is `Text` until somebody says otherwise.
pub fn set_format(format: Format) {
    IS_JSON.store(format == Format::Json, Ordering::Relaxed);
}

/// Cuts what a client sent at so many bytes. It is 256 until somebody says otherwise.
pub fn set_value_max(bytes: usize) {
    VALUE_MAX.store(bytes, Ordering::Relaxed);
}

/// How often that was done since the process began.
pub fn values_cut() -> usize {
    VALUES_CUT.load(Ordering::Relaxed)
}

/// How events are written now.
pub fn format() -> Format {
    if IS_JSON.load(Ordering::Relaxed) { Format::Json } else { Format::Text }
}

/// Whether an event of `level` would be logged.
pub fn enabled(level: Level) -> bool {
    level as u8 <= LEVEL.load(Ordering::Relaxed)
}

/// Something that should work does not: `log::error("io", format_args!("..."))`.
pub fn error(component: &'static str, message: fmt::Arguments<'_>) {
    event(Level::Error, component, message);
}

/// Something to look at before it becomes an error.
pub fn warn(component: &'static str, message: fmt::Arguments<'_>) {
    event(Level::Warn, component, message);
}

/// What an operator wants to see of a healthy day.
pub fn info(component: &'static str, message: fmt::Arguments<'_>) {
    event(Level::Info, component, message);
}

/// What the operator has just asked for: he reads it at every level.
pub fn requested(component: &'static str, message: fmt::Arguments<'_>) {
    write(Level::Info, component, message);
}

/// Every connection and decision.
pub fn debug(component: &'static str, message: fmt::Arguments<'_>) {
    event(Level::Debug, component, message);
}

/// What a client sent, for a message: a JSON string of at most [so many](set_value_max) bytes, with `...` behind it when it was
/// cut.
pub fn quoted(text: &str) -> impl fmt::Display {
    Quoted(text)
}

/// `message` made fit for one line of a terminal: control, line-separating and bidirectional-control
/// characters are written as escapes (`\n`, `\u{1b}`).
pub fn escaped(message: impl fmt::Display) -> impl fmt::Display {
    Escaped(message)
}

/// Something of this importance.
pub fn event(level: Level, component: &str, message: fmt::Arguments<'_>) {
    if enabled(level) {
        write(level, component, message);
    }
}

fn write(level: Level, component: &str, message: fmt::Arguments<'_>) {
    let line = line(format(), SystemTime::now(), level, component, message);
    // stderr is unbuffered: one call, one write. Nowhere is left to report that it failed.
    let _ = io::stderr().write_all(line.as_bytes());
}

fn line(
    format: Format,
    now: SystemTime,
    level: Level,
    component: &str,
    message: fmt::Arguments<'_>,
) -> String {
    let time = Utc(now.duration_since(UNIX_EPOCH).unwrap_or_default());
    let name = match level {
        Level::Error => "error",
        Level::Warn => "warn",
        Level::Info => "info",
        Level::Debug => "debug",
    };
    match format {
        // The level is upper case and padded, so that messages line up under each other.
        Format::Text => {
            format!("{time} {:<5} {component:<9}  {}\n", name.to_ascii_uppercase(), Escaped(message))
        }
        Format::Json => {
            let mut line = format!(
                "{{\"time\":\"{time}\",\"level\":\"{name}\",\"component\":\"{component}\",\"message\":\""
            );
            message.to_string().chars().for_each(|c| push_json(&mut line, c));
            line + "\"}\n"
        }
    }
}

/// Time since 1970, shown as `2026-11-21T02:27:35.123Z`.
struct Utc(Duration);

impl fmt::Display for Utc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let (year, month, day) = date((seconds / 86_400).cast_signed());
        let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
        let milli = self.0.subsec_millis();
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
    }
}

/// A time in seconds since 1970, in UTC, as a person reads it: `2026-11-21 02:27:35`.
pub fn utc(seconds: i64) -> impl fmt::Display {
    let (year, month, day) = date(seconds.div_euclid(86_400));
    let seconds = seconds.rem_euclid(86_400);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
}

/// The Gregorian date of a day counted from 1970-01-01. Years begin in March here, so that the leap day is
/// the last of its year; 400 such years are 146,097 days, and 153 days are five months in a fixed pattern.
/// What was before that year is its first day.
fn date(day: i64) -> (u64, u64, u64) {
    let day = u64::try_from(day + 719_468).unwrap_or(0); // from 0000-03-01
    let (era, day) = (day / 146_097, day % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let march_based = (5 * day + 2) / 153;
    let month = if march_based < 10 { march_based + 3 } else { march_based - 9 };
    (400 * era + year + u64::from(month <= 2), month, day - (153 * march_based + 2) / 5 + 1)
}

struct Escaped<T>(T);

impl<T: fmt::Display> fmt::Display for Escaped<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(Escaper(f), "{}", self.0)
    }
}

struct Escaper<'a, 'b>(&'a mut fmt::Formatter<'b>);

impl fmt::Write for Escaper<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for part in text.split_inclusive(is_unsafe) {
            match part.chars().next_back().filter(|&c| is_unsafe(c)) {
                Some(c) => {
                    write!(self.0, "{}{}", &part[..part.len() - c.len_utf8()], c.escape_default())?;
                }
                None => self.0.write_str(part)?,
            }
        }
        Ok(())
    }
}

/// Whether a terminal or a pager could take `c` as a command, a new line or a change of direction.
pub(crate) fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let most = VALUE_MAX.load(Ordering::Relaxed);
        let mut json = String::from('"');
        for c in self.0.chars() {
            let before = json.len();
            push_json(&mut json, c);
            // The quotation mark in front does not count.
            if json.len() > 1 + most {
                json.truncate(before);
                VALUES_CUT.fetch_add(1, Ordering::Relaxed);
                return write!(f, "{json}\"...");
            }
        }
        write!(f, "{json}\"")
    }
}

/// A character inside a JSON string. What a terminal would obey is an escape there too.
fn push_json(json: &mut String, c: char) {
    match c {
        '"' | '\\' => json.extend(['\\', c]),
        '\n' => json.push_str("\\n"),
        '\r' => json.push_str("\\r"),
        '\t' => json.push_str("\\t"),
        // All of them are below U+10000: one escape each.
        c if is_unsafe(c) => json.push_str(&format!("\\u{:04x}", u32::from(c))),
        c => json.push(c),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64, milli: u32) -> String {
        Utc(Duration::new(seconds, milli * 1_000_000)).to_string()
    }

    #[test]
    fn a_line_has_time_level_component_and_message() {
        let now = UNIX_EPOCH + Duration::from_millis(1_795_228_055_123);
        assert_eq!(
            line(Format::Text, now, Level::Info, "transport", format_args!("{} opened", 7)),
            "2026-11-21T02:27:35.123Z INFO  transport  7 opened\n"
        );
        assert_eq!(
            line(Format::Text, UNIX_EPOCH, Level::Error, "chat", format_args!("no")),
            "1970-01-01T00:00:00.000Z ERROR chat       no\n"
        );
    }

    #[test]
    fn dates_know_leap_years() {
        assert_eq!(at(951_782_400, 0), "2000-02-29T00:00:00.000Z");
        assert_eq!(at(951_868_800, 1), "2000-03-01T00:00:00.001Z");
        assert_eq!(at(1_709_251_199, 999), "2024-02-29T23:59:59.999Z");
        assert_eq!(at(4_107_542_400, 0), "2100-03-01T00:00:00.000Z");
        assert_eq!(at(4_107_456_000, 0), "2100-02-28T00:00:00.000Z");
    }

    #[test]
    fn dates_agree_with_counting_days() {
        let (mut year, mut month, mut day) = (1970, 1, 1);
        for n in 0..200 * 366 {
            assert_eq!(date(n), (year, month, day));
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let last = match month {
                2 => 28 + u64::from(leap),
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            (year, month, day) = match (month, day) {
                (12, 31) => (year + 1, 1, 1),
                (_, d) if d == last => (year, month + 1, 1),
                _ => (year, month, day + 1),
            };
        }
    }

    #[test]
    fn what_a_terminal_would_obey_is_escaped() {
        assert_eq!(escaped("a\nb\r\tc").to_string(), r"a\nb\r\tc");
        assert_eq!(escaped("\u{1b}[31m\u{7f}\u{9b}\0").to_string(), r"\u{1b}[31m\u{7f}\u{9b}\u{0}");
        assert_eq!(
            escaped("\u{202e}x\u{2066}\u{200f}\u{61c}").to_string(),
            r"\u{202e}x\u{2066}\u{200f}\u{61c}"
        );
        assert_eq!(escaped("a\u{2028}b\u{2029}").to_string(), r"a\u{2028}b\u{2029}");
        assert_eq!(escaped("héllo 😀 \\ \"").to_string(), "héllo 😀 \\ \"");
    }

    #[test]
    fn a_logged_message_stays_on_its_line() {
        let line = line(Format::Text, UNIX_EPOCH, Level::Warn, "chat", format_args!("{}", "x\nERROR forged"));
        assert_eq!(line, "1970-01-01T00:00:00.000Z WARN  chat       x\\nERROR forged\n");
    }

    #[test]
    fn an_object_has_the_same_four_in_this_order() {
        let now = UNIX_EPOCH + Duration::from_millis(1_795_228_055_123);
        let message = "\"7\" \\ says\n\u{1b}[31m\u{202e}\t\r\u{0}\u{85}é😀";
        let line = line(Format::Json, now, Level::Warn, "chat", format_args!("{message}"));
        assert!(line.starts_with(
            r#"{"time":"2026-11-21T02:27:35.123Z","level":"warn","component":"chat","message":"\"7\" "#
        ));
        assert!(line.ends_with("\"}\n") && !line.trim_end_matches('\n').contains(is_unsafe), "{line}");
        let read: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(read["message"], message);
        assert_eq!(read.as_object().unwrap().len(), 4);
    }

    #[test]
    fn quoted_text_is_json() {
        for text in ["", "plain", "a\"b\\c", "\n\r\t\0\u{1b}\u{7f}\u{85}\u{202e}\u{2028}", "é😀"] {
            let json = quoted(text).to_string();
            assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text, "{json}");
            assert!(!json.contains(is_unsafe), "{json}");
        }
    }

    #[test]
    fn quoted_text_is_cut_at_256_bytes() {
        let whole = "x".repeat(256);
        assert_eq!(quoted(&whole).to_string(), format!("\"{whole}\""));
        assert_eq!(quoted(&format!("{whole}y")).to_string(), format!("\"{whole}\"..."));
        // Neither a character nor an escape is split.
        assert_eq!(quoted(&"é".repeat(200)).to_string(), format!("\"{}\"...", "é".repeat(128)));
        assert_eq!(quoted(&"\0".repeat(200)).to_string(), format!("\"{}\"...", "\\u0000".repeat(42)));
    }

    #[test]
    fn the_level_decides() {
        // The one test that moves the level, because all of them share it.
        for (set, expected) in
            [(Level::Error, [true, false, false, false]), (Level::Debug, [true, true, true, true])]
        {
            set_level(set);
            let levels = [Level::Error, Level::Warn, Level::Info, Level::Debug];
            assert_eq!(levels.map(enabled), expected);
        }
        set_level(Level::Info);
        assert!(enabled(Level::Info) && !enabled(Level::Debug));
    }
}
