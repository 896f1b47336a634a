//! Finds the end of one JSON text while its bytes arrive, and whether it is valid.
//!
//! Owns the position in the grammar, nothing else: it keeps no byte of the text. It never allocates, never
//! recurses and never goes back, so a text costs linear time however it is cut, byte by byte too.
//! What it accepts is exactly RFC 8259 in well-formed UTF-8, without lone surrogates, for texts that begin
//! with a bracket; a text that can no longer become that is refused at the first byte that makes it so.
//! Called by the JSON-RPC framing with whatever the ring got; what it accepted is read by [`walk`](super::walk).

use std::fmt;

use super::swar;
use crate::limits::DEPTH_CEILING;

/// An incremental validator for one JSON text.
///
/// After anything but [`Scan::More`] it stands at the beginning of a new text.
#[derive(Clone, Debug)]
pub struct Scanner {
    /// The open containers, the innermost in the lowest bit: 1 is an object, 0 an array.
    stack: u128,
    depth: u8,
    max_depth: u8,
    /// Whether the string being read, or read last, is a key.
    in_key: bool,
    /// How many more bytes the state takes: of a character, or digits of an escape.
    left: u8,
    /// Between which two bytes the next one of a character must be.
    next: (u8, u8),
    /// The index in [`WORDS`] of the next letter.
    letter: u8,
    state: State,
}

const _: () = assert!(size_of::<Scanner>() <= 64, "every connection holds one");

/// What [`Scanner::scan`] found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scan {
    /// Valid so far, all of this piece; the text goes on.
    More,
    /// The text is complete.
    Done {
        /// How many bytes of this piece belong to it, its last bracket included.
        used: usize,
    },
    /// Nothing that could follow makes this valid JSON.
    Bad {
        /// The index in this piece of the byte that spoils it.
        at: usize,
        /// What is wrong with it.
        why: Broken,
    },
    /// Nested deeper than `max_depth`.
    TooDeep {
        /// The index in this piece of the bracket that goes too far.
        at: usize,
    },
}

/// Why a text is not JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// It does not begin with a bracket.
    Start,
    /// Something else than a value stands where a value must.
    Value,
    /// Something else than a string stands where a key must.
    Key,
    /// No colon after a key.
    Colon,
    /// Neither comma nor closing brace after a member.
    Member,
    /// Neither comma nor closing bracket after an element.
    Element,
    /// A word that is not `true`, `false` or `null`.
    Word,
    /// A number with a leading zero, or without a digit where one must stand.
    Number,
    /// A control character that is not escaped.
    Control,
    /// An escape that JSON does not have.
    Escape,
    /// One half of a surrogate pair.
    Surrogate,
    /// Bytes that are not UTF-8.
    Utf8,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Start => "expected '{' or '['",
            Self::Value => "expected a value",
            Self::Key => "expected a key in double quotes",
            Self::Colon => "expected ':' after a key",
            Self::Member => "expected ',' or '}' after a member",
            Self::Element => "expected ',' or ']' after an element",
            Self::Word => "expected true, false or null",
            Self::Number => "a malformed number",
            Self::Control => "a control character in a string",
            Self::Escape => "an unknown escape in a string",
            Self::Surrogate => "a lone surrogate",
            Self::Utf8 => "invalid UTF-8",
        })
    }
}

/// What the next byte may be. A bare byte itself, so that it stays in a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The first bracket.
    Start,
    /// A value.
    Value,
    /// A value, or the end of an array that is empty.
    FirstElement,
    /// A key.
    Key,
    /// A key, or the end of an object that is empty.
    FirstKey,
    /// The colon after a key.
    Colon,
    /// Whatever follows a value.
    After,
    /// Anything inside a string.
    Text,
    /// What follows a backslash.
    Escape,
    /// The first digit after `\u`.
    Hex,
    /// The second digit after `\ud`, which decides about surrogates.
    HexD,
    /// More digits of an escape.
    HexTail,
    /// More digits of a high surrogate.
    High,
    /// The backslash of the low surrogate, which must follow a high one.
    LowBackslash,
    /// Its `u`.
    LowU,
    /// Its `d`.
    LowD,
    /// Its second digit, `c` to `f`.
    LowHex,
    /// More bytes of a character.
    Utf8,
    /// The next letter of a word.
    Word,
    /// A digit, after `-`.
    Minus,
    /// The end of the number `0`, a fraction or an exponent.
    Zero,
    /// More of the digits before the point.
    Int,
    /// A digit, after the point.
    Point,
    /// More of the digits after the point.
    Fraction,
    /// A sign or a digit, after `e`.
    Exponent,
    /// A digit, after the sign of the exponent.
    Sign,
    /// More of the digits of the exponent.
    Power,
}

/// Why a text ends, for better or worse.
enum Stop {
    Done,
    Bad(Broken),
    TooDeep,
}

type Step = Result<State, Stop>;

/// The words, each ended by a space.
const WORDS: &[u8] = b"true false null ";

impl Scanner {
    /// A scanner at the beginning of a text that may hold `max_depth` open containers at once.
    ///
    /// # Panics
    /// If `max_depth` is over [`DEPTH_CEILING`].
    pub fn new(max_depth: usize) -> Self {
        assert!(max_depth <= DEPTH_CEILING, "max_depth is at most {DEPTH_CEILING}");
        Self {
            stack: 0,
            depth: 0,
            max_depth: max_depth as u8,
            in_key: false,
            left: 0,
            next: (0, 0),
            letter: 0,
            state: State::Start,
        }
    }

    /// Reads the next piece of the text: any number of bytes, cut anywhere.
    pub fn scan(&mut self, bytes: &[u8]) -> Scan {
        // In registers while it goes byte by byte.
        let mut state = self.state;
        let mut at = 0;
        // Most texts begin with a key.
        if let (State::Start, [b'{', b'"', ..]) = (state, bytes)
            && self.open(b'{').is_ok()
        {
            self.in_key = true;
            (state, at) = (State::Text, 2);
        }
        let end = loop {
            if matches!(state, State::Text) {
                at += plain(&bytes[at..]);
                // The usual seams between strings and containers, in one step instead of three.
                match bytes[at..] {
                    [b'"', b':', b'"', ..] if self.in_key => {
                        self.in_key = false;
                        at += 3;
                        continue;
                    }
                    [b'"', b',', b'"', ..] if !self.in_key => {
                        self.in_key = self.is_in_object();
                        at += 3;
                        continue;
                    }
                    [b'"', b':', bracket @ (b'{' | b'['), ..] if self.in_key => {
                        if let Ok(inside) = self.open(bracket) {
                            state = inside;
                            at += 3;
                        }
                    }
                    _ => {}
                }
            }
            let Some(&byte) = bytes.get(at) else {
                self.state = state;
                return Scan::More;
            };
            match self.step(state, byte) {
                Ok(next) => state = next,
                Err(Stop::Done) => break Scan::Done { used: at + 1 },
                Err(Stop::Bad(why)) => break Scan::Bad { at, why },
                Err(Stop::TooDeep) => break Scan::TooDeep { at },
            }
            at += 1;
        };
        *self = Self::new(self.max_depth.into());
        end
    }

    /// The state behind `byte`, which comes in `state`.
    #[inline(always)]
    fn step(&mut self, state: State, byte: u8) -> Step {
        match state {
            State::Start => match byte {
                b'{' | b'[' => self.open(byte),
                _ => bad(Broken::Start),
            },
            State::Value => self.value(state, byte),
            State::FirstElement if byte == b']' => self.close(),
            State::FirstElement => self.value(state, byte),
            State::FirstKey if byte == b'}' => self.close(),
            State::FirstKey | State::Key => match byte {
                b'"' => {
                    self.in_key = true;
                    Ok(State::Text)
                }
                b' ' | b'\t' | b'\n' | b'\r' => Ok(state),
                _ => bad(Broken::Key),
            },
            State::Colon => match byte {
                b':' => Ok(State::Value),
                b' ' | b'\t' | b'\n' | b'\r' => Ok(State::Colon),
                _ => bad(Broken::Colon),
            },
            State::After => self.after(byte),

            State::Text => match byte {
                b'"' if self.in_key => Ok(State::Colon),
                b'"' => Ok(State::After),
                b'\\' => Ok(State::Escape),
                0..=0x1f => bad(Broken::Control),
                0x20..=0x7f => Ok(State::Text),
                0x80..=0xff => self.lead(byte),
            },
            State::Utf8 => {
                if byte < self.next.0 || byte > self.next.1 {
                    return bad(Broken::Utf8);
                }
                self.next = (0x80, 0xbf);
                self.take_one(state, State::Text)
            }

            State::Escape => match byte {
                b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Ok(State::Text),
                b'u' => Ok(State::Hex),
                _ => bad(Broken::Escape),
            },
            State::Hex if matches!(byte, b'd' | b'D') => Ok(State::HexD),
            State::Hex => self.digits(byte, 3, State::HexTail),
            State::HexD => match byte {
                b'8' | b'9' | b'a' | b'b' | b'A' | b'B' => self.digits(byte, 2, State::High),
                b'c'..=b'f' | b'C'..=b'F' => bad(Broken::Surrogate),
                _ => self.digits(byte, 2, State::HexTail),
            },
            State::HexTail | State::High if !byte.is_ascii_hexdigit() => bad(Broken::Escape),
            State::HexTail => self.take_one(state, State::Text),
            State::High => self.take_one(state, State::LowBackslash),
            State::LowBackslash if byte == b'\\' => Ok(State::LowU),
            State::LowU if byte == b'u' => Ok(State::LowD),
            State::LowD if matches!(byte, b'd' | b'D') => Ok(State::LowHex),
            State::LowHex if matches!(byte, b'c'..=b'f' | b'C'..=b'F') => {
                self.digits(byte, 2, State::HexTail)
            }
            State::LowBackslash | State::LowU | State::LowD | State::LowHex => bad(Broken::Surrogate),

            State::Word => {
                if byte != WORDS[usize::from(self.letter)] {
                    return bad(Broken::Word);
                }
                self.letter += 1;
                Ok(if WORDS[usize::from(self.letter)] == b' ' { State::After } else { State::Word })
            }

            State::Minus => match byte {
                b'0' => Ok(State::Zero),
                b'1'..=b'9' => Ok(State::Int),
                _ => bad(Broken::Number),
            },
            // Only the byte behind a number ends it.
            State::Zero | State::Int => match byte {
                b'0'..=b'9' if matches!(state, State::Zero) => bad(Broken::Number),
                b'0'..=b'9' => Ok(State::Int),
                b'.' => Ok(State::Point),
                b'e' | b'E' => Ok(State::Exponent),
                _ => self.after(byte),
            },
            State::Point | State::Fraction => match byte {
                b'0'..=b'9' => Ok(State::Fraction),
                _ if matches!(state, State::Point) => bad(Broken::Number),
                b'e' | b'E' => Ok(State::Exponent),
                _ => self.after(byte),
            },
            State::Exponent if matches!(byte, b'+' | b'-') => Ok(State::Sign),
            State::Exponent | State::Sign | State::Power => match byte {
                b'0'..=b'9' => Ok(State::Power),
                _ if matches!(state, State::Power) => self.after(byte),
                _ => bad(Broken::Number),
            },
        }
    }

    #[inline(always)]
    fn value(&mut self, state: State, byte: u8) -> Step {
        match byte {
            b'"' => {
                self.in_key = false;
                Ok(State::Text)
            }
            b'{' | b'[' => self.open(byte),
            b'-' => Ok(State::Minus),
            b'0' => Ok(State::Zero),
            b'1'..=b'9' => Ok(State::Int),
            // The first letter is read: these are the indices of the second.
            b't' => self.word(1),
            b'f' => self.word(6),
            b'n' => self.word(12),
            b' ' | b'\t' | b'\n' | b'\r' => Ok(state),
            _ => bad(Broken::Value),
        }
    }

    #[inline(always)]
    fn after(&mut self, byte: u8) -> Step {
        let in_object = self.is_in_object();
        match byte {
            b',' if in_object => Ok(State::Key),
            b',' => Ok(State::Value),
            b'}' if in_object => self.close(),
            b']' if !in_object => self.close(),
            b' ' | b'\t' | b'\n' | b'\r' => Ok(State::After),
            _ => bad(if in_object { Broken::Member } else { Broken::Element }),
        }
    }

    fn is_in_object(&self) -> bool {
        self.stack & 1 == 1
    }

    fn open(&mut self, bracket: u8) -> Step {
        if self.depth == self.max_depth {
            return Err(Stop::TooDeep);
        }
        let object = bracket == b'{';
        self.depth += 1;
        self.stack = self.stack << 1 | u128::from(object);
        Ok(if object { State::FirstKey } else { State::FirstElement })
    }

    fn close(&mut self) -> Step {
        self.depth -= 1;
        self.stack >>= 1;
        if self.depth == 0 { Err(Stop::Done) } else { Ok(State::After) }
    }

    fn word(&mut self, letter: u8) -> Step {
        self.letter = letter;
        Ok(State::Word)
    }

    /// `next` and so many digits more, if `byte` is one itself.
    fn digits(&mut self, byte: u8, left: u8, next: State) -> Step {
        self.left = left;
        if byte.is_ascii_hexdigit() { Ok(next) } else { bad(Broken::Escape) }
    }

    /// One of those that are left is taken: `then`, if it was the last.
    #[inline(always)]
    fn take_one(&mut self, same: State, then: State) -> Step {
        self.left -= 1;
        Ok(if self.left == 0 { then } else { same })
    }

    /// What must follow the first byte of a character beyond ASCII: The Unicode Standard, table 3-7.
    fn lead(&mut self, byte: u8) -> Step {
        (self.left, self.next) = match byte {
            0xc2..=0xdf => (1, (0x80, 0xbf)),
            0xe0 => (2, (0xa0, 0xbf)),
            0xed => (2, (0x80, 0x9f)),
            0xe1..=0xef => (2, (0x80, 0xbf)),
            0xf0 => (3, (0x90, 0xbf)),
            0xf1..=0xf3 => (3, (0x80, 0xbf)),
            0xf4 => (3, (0x80, 0x8f)),
            _ => return bad(Broken::Utf8),
        };
        Ok(State::Utf8)
    }
}

const fn bad(why: Broken) -> Step {
    Err(Stop::Bad(why))
}

/// How many bytes at the beginning of `bytes`, inside a string, leave the scanner inside that string: plain
/// ASCII, and the characters beyond it that are whole. It may stop early; [`Scanner::step`] knows all.
#[inline]
fn plain(bytes: &[u8]) -> usize {
    let mut at = 0;
    loop {
        for eight in bytes[at..].as_chunks().0 {
            let special = swar::special(u64::from_le_bytes(*eight));
            at += swar::first(special).unwrap_or(8);
            if special != 0 {
                break;
            }
        }
        match bytes.get(at) {
            // One of the last seven.
            Some(0x20 | 0x21 | 0x23..=0x5b | 0x5d..=0x7f) => at += 1,
            Some(0xc2..=0xf0) => match characters(&bytes[at..]) {
                0 => return at,
                length => at += length,
            },
            _ => return at,
        }
    }
}

/// The length of the whole characters beyond ASCII at the beginning of `bytes`: one is mostly followed by another.
fn characters(bytes: &[u8]) -> usize {
    let mut at = 0;
    loop {
        match bytes[at..] {
            [0xc2..=0xdf, 0x80..=0xbf, ..] => at += 2,
            [0xe0, 0xa0..=0xbf, 0x80..=0xbf, ..] => at += 3,
            [0xed, 0x80..=0x9f, 0x80..=0xbf, ..] => at += 3,
            [0xe1..=0xec | 0xee | 0xef, 0x80..=0xbf, 0x80..=0xbf, ..] => at += 3,
            [0xf0, 0x90..=0xbf, 0x80..=0xbf, 0x80..=0xbf, ..] => at += 4,
            _ => return at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(text: impl AsRef<[u8]>) -> Scan {
        Scanner::new(8).scan(text.as_ref())
    }

    /// That everything before `marker`, a `^`, is sound and what follows it is broken for that reason.
    #[track_caller]
    fn bad_at(text: &[u8], expected: Broken) {
        let at = text.iter().position(|byte| *byte == b'^').expect("a mark");
        let text = [&text[..at], &text[at + 1..]].concat();
        assert_eq!(scan(&text[..at]), Scan::More, "{}", text.escape_ascii());
        assert_eq!(scan(&text), Scan::Bad { at, why: expected }, "{}", text.escape_ascii());
    }

    #[track_caller]
    fn done(text: impl AsRef<[u8]>) {
        let text = text.as_ref();
        assert_eq!(scan(text), Scan::Done { used: text.len() }, "{}", text.escape_ascii());
    }

    #[test]
    fn accepts_what_is_json() {
        for text in [
            "{}",
            "[]",
            "[ ]",
            "{\r\n}",
            "[[],{},\t[{}]]",
            r#"{"a":1,"b" : [true , false,null],"c":{"d":"e"}}"#,
            "[0,-0,1,-10,0.5,1e9,1E+9,1e-9,0e0,123.456e789,1e999]",
            r#"["\"\\\/\b\f\n\r\t\u0000\uD7ff\ue000\uFFFF"]"#,
            r#"["\ud83d\ude00\uDBFF\uDFFF"]"#,
            "[\"\u{7f}\u{80}\u{7ff}\u{800}\u{d7ff}\u{e000}\u{ffff}\u{10000}\u{10ffff}\u{2028}\"]",
        ] {
            done(text);
        }
    }

    #[test]
    fn stops_behind_the_last_bracket() {
        assert_eq!(scan("{}{"), Scan::Done { used: 2 });
        assert_eq!(scan("[1]\n]"), Scan::Done { used: 3 });
    }

    #[test]
    fn goes_on_with_the_next_text() {
        let mut scanner = Scanner::new(8);
        assert_eq!(scanner.scan(b"[[1]"), Scan::More);
        assert_eq!(scanner.scan(b"]{}"), Scan::Done { used: 1 });
        assert_eq!(scanner.scan(b"{}"), Scan::Done { used: 2 });
        assert_eq!(scanner.scan(b"[[}"), Scan::Bad { at: 2, why: Broken::Value });
        assert_eq!(scanner.scan(b"[]"), Scan::Done { used: 2 });
    }

    #[test]
    fn an_empty_piece_changes_nothing() {
        let mut scanner = Scanner::new(8);
        for piece in ["", "[", "", "\"", "", "\"", "", "]"] {
            assert_eq!(
                scanner.scan(piece.as_bytes()),
                if piece == "]" { Scan::Done { used: 1 } } else { Scan::More }
            );
        }
    }

    #[test]
    fn grammar() {
        bad_at(br#"{"jsonrpc": "2.0", "method": "foobar, "^params": "bar", "baz]"#, Broken::Member);
        bad_at(b"^x", Broken::Start);
        bad_at(b"^ []", Broken::Start);
        bad_at(b"^\"\"", Broken::Start);
        bad_at(b"[^}", Broken::Value);
        bad_at(b"[1,^]", Broken::Value);
        bad_at(b"[^,", Broken::Value);
        bad_at(b"[^\x0b", Broken::Value);
        bad_at(b"[^\x0c", Broken::Value);
        bad_at(b"[^\xc2\xa0", Broken::Value);
        bad_at(b"[^\xef\xbb\xbf", Broken::Value);
        bad_at(b"[^'", Broken::Value);
        bad_at(b"[^/* */", Broken::Value);
        bad_at(b"[^+1", Broken::Value);
        bad_at(b"[^.5", Broken::Value);
        bad_at(b"[^NaN", Broken::Value);
        bad_at(b"[^True", Broken::Value);
        bad_at(b"{^]", Broken::Key);
        bad_at(b"{^a", Broken::Key);
        bad_at(b"{^,", Broken::Key);
        bad_at(b"{\"a\":1,^}", Broken::Key);
        bad_at(b"{\"a\"^,", Broken::Colon);
        bad_at(b"{\"a\" ^}", Broken::Colon);
        bad_at(b"{\"a\":^}", Broken::Value);
        bad_at(b"{\"a\":1^]", Broken::Member);
        bad_at(b"{\"a\":[]^:", Broken::Member);
        bad_at(b"[1 ^2", Broken::Element);
        bad_at(b"[\"\"^}", Broken::Element);
        bad_at(b"[nul^ ", Broken::Word);
        bad_at(b"[t^e", Broken::Word);
        bad_at(b"[f^]", Broken::Word);
        bad_at(b"[true^r", Broken::Element);
    }

    #[test]
    fn numbers() {
        for (text, why) in [
            (&b"[0^1"[..], Broken::Number),
            (b"[-0^0", Broken::Number),
            (b"[-^]", Broken::Number),
            (b"[-^a", Broken::Number),
            (b"[1.^]", Broken::Number),
            (b"[1.^e", Broken::Number),
            (b"[1e^]", Broken::Number),
            (b"[1e^.", Broken::Number),
            (b"[1e+^-", Broken::Number),
            (b"[1e+^]", Broken::Number),
            (b"[1.5^.", Broken::Element),
            (b"[1e5^e", Broken::Element),
            (b"[0^x10", Broken::Element),
            (b"[1^}", Broken::Element),
        ] {
            bad_at(text, why);
        }
    }

    #[test]
    fn strings() {
        for control in 0..0x20_u8 {
            bad_at(&[b"[\"12345678", &b"^"[..], &[control]].concat(), Broken::Control);
            bad_at(&[b"[\"", &b"^"[..], &[control]].concat(), Broken::Control);
        }
        for escape in (0..=0xff_u8).filter(|byte| !b"\"\\/bfnrtu^".contains(byte)) {
            bad_at(&[b"[\"\\", &b"^"[..], &[escape]].concat(), Broken::Escape);
        }
        bad_at(br#"["\u^x"#, Broken::Escape);
        bad_at(br#"["\u0^g"#, Broken::Escape);
        bad_at(br#"["\u00^""#, Broken::Escape);
        bad_at(br#"["\u000^ "#, Broken::Escape);
    }

    #[test]
    fn surrogates() {
        bad_at(br#"["\ud^c00"#, Broken::Surrogate);
        bad_at(br#"["\uD^F00"#, Broken::Surrogate);
        bad_at(br#"["\ud^x"#, Broken::Escape);
        bad_at(br#"["\ud8^x"#, Broken::Escape);
        bad_at(br#"["\ud83d^""#, Broken::Surrogate);
        bad_at(br#"["\ud83d\^n"#, Broken::Surrogate);
        bad_at(br#"["\ud83d\u^0"#, Broken::Surrogate);
        bad_at(br#"["\ud83d\ud^8"#, Broken::Surrogate);
        bad_at(br#"["\ud83d\udc^x"#, Broken::Escape);
    }

    #[test]
    fn utf8_breaks_at_the_byte_that_breaks_it() {
        for text in [
            &b"[\"^\x80"[..],
            b"[\"^\xbf",
            b"[\"^\xc0\x80",
            b"[\"^\xc1\xbf",
            b"[\"\xc2^\x7f",
            b"[\"\xc2^\"",
            b"[\"\xdf^\xc0",
            b"[\"\xe0^\x9f\xbf",
            b"[\"\xe0\xa0^\x7f",
            b"[\"\xed^\xa0\x80",
            b"[\"\xe1\x80^\xc0",
            b"[\"\xf0^\x8f\xbf\xbf",
            b"[\"\xf0\x9f\x98^\"",
            b"[\"\xf4^\x90\x80\x80",
            b"[\"^\xf5\x80\x80\x80",
            b"[\"^\xff",
        ] {
            bad_at(text, Broken::Utf8);
        }
    }

    /// Against the standard library, over every sequence of up to two bytes and the third's edges.
    #[test]
    fn utf8_agrees_with_std() {
        for one in 0x80..=0xff_u8 {
            for two in 0..=0xff {
                for rest in
                    [&[][..], b"\x80", b"\xbf", b"\x7f", b"\xc0", b"\x80\x80", b"\xbf\xbf", b"\x80\x7f"]
                {
                    let text = [b"[\"", &[one, two][..], rest, b"\"]"].concat();
                    let valid = std::str::from_utf8(&text).is_ok() && !matches!(two, 0..0x20 | b'"' | b'\\');
                    assert_eq!(
                        scan(&text) == Scan::Done { used: text.len() },
                        valid,
                        "{}",
                        text.escape_ascii()
                    );
                }
            }
        }
    }

    #[test]
    fn depth() {
        for max in [0, 1, 2, 63, 64, 65, DEPTH_CEILING] {
            for (open, close) in [("[", "]"), ("{\"\":", "}")] {
                let fits = open.repeat(max) + "0" + &close.repeat(max);
                if max > 0 {
                    assert_eq!(Scanner::new(max).scan(fits.as_bytes()), Scan::Done { used: fits.len() });
                }
                let deeper = open.repeat(max + 1);
                assert_eq!(Scanner::new(max).scan(deeper.as_bytes()), Scan::TooDeep { at: open.len() * max });
            }
        }
        // Width is not depth.
        done(format!("[{}[]]", "[{}],".repeat(1000)));
    }

    #[test]
    fn brackets_pair_at_every_depth() {
        let open: String = (0..DEPTH_CEILING).map(|n| if n % 3 == 0 { "{\"\":" } else { "[" }).collect();
        let close: String = (0..DEPTH_CEILING).rev().map(|n| if n % 3 == 0 { '}' } else { ']' }).collect();
        let mut scanner = Scanner::new(DEPTH_CEILING);
        assert_eq!(scanner.scan(open.as_bytes()), Scan::More);
        assert_eq!(scanner.scan(b"0"), Scan::More);
        assert_eq!(scanner.scan(close.as_bytes()), Scan::Done { used: close.len() });
    }

    #[test]
    fn reasons_are_ascii() {
        for why in [
            Broken::Start,
            Broken::Value,
            Broken::Key,
            Broken::Colon,
            Broken::Member,
            Broken::Element,
            Broken::Word,
            Broken::Number,
            Broken::Control,
            Broken::Escape,
            Broken::Surrogate,
            Broken::Utf8,
        ] {
            assert!(why.to_string().is_ascii());
        }
    }
}
