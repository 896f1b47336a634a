//! From the bytes of a terminal to keys.
//!
//! Owns the few bytes of a character or an escape sequence that has not arrived whole: cut the input anywhere, and the
//! keys are the same. Never waits to see whether a sequence goes on, so Escape alone is no key. A paste
//! (bracketed: ESC [ 200 ~ ... ESC [ 201 ~) is text and nothing else: its line breaks and tabs become spaces, and
//! nothing in it is taken for a command. Called by the interactive client.

use rawline::client::text::harmless;

/// What a person has pressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// Text, one character at a time; never a control character.
    Char(char),
    /// Enter.
    Enter,
    /// Removes what is left of the cursor.
    Backspace,
    /// Removes what is under the cursor.
    Delete,
    /// One to the left.
    Left,
    /// One to the right.
    Right,
    /// To the beginning.
    Home,
    /// To the end.
    End,
    /// To the line before, in the history.
    Up,
    /// To the line behind it.
    Down,
    /// Ctrl-K: removes all from the cursor on.
    KillToEnd,
    /// Ctrl-U: removes all before the cursor.
    KillToStart,
    /// Ctrl-W: removes the word before the cursor.
    KillWord,
    /// Ctrl-C.
    Cancel,
    /// Ctrl-D.
    Eof,
    /// Ctrl-L.
    Redraw,
    /// Ctrl-Z.
    Suspend,
}

/// The longest parameters of an escape sequence that are kept.
const MAX_PARAMETERS: usize = 16;

/// Makes keys of bytes.
#[derive(Debug, Default)]
pub struct Keys {
    state: State,
    pasting: bool,
    /// Within a paste the last byte was CR: an LF belongs to it.
    after_cr: bool,
    /// The bytes of a character so far, at most three.
    character: Vec<u8>,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Text,
    /// Behind ESC.
    Escape,
    /// Behind ESC O, or ESC [ [ of the Linux console: one byte follows.
    Single { is_function: bool },
    /// Behind ESC [, with the parameters so far.
    Sequence(Vec<u8>),
}

impl Keys {
    /// The keys that `bytes` complete.
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<Key> {
        let mut keys = Vec::with_capacity(bytes.len());
        bytes.iter().for_each(|&byte| self.byte(byte, &mut keys));
        keys
    }

    fn byte(&mut self, byte: u8, keys: &mut Vec<Key>) {
        match std::mem::take(&mut self.state) {
            State::Text => self.text(byte, keys),
            State::Escape => match byte {
                b'[' => self.state = State::Sequence(Vec::new()),
                b'O' => self.state = State::Single { is_function: false },
                // Escape was pressed by itself, or with Alt: the rest is a key of its own.
                _ => self.text(byte, keys),
            },
            State::Single { is_function: true } => {}
            State::Single { is_function: false } => keys.extend(arrow(byte).filter(|_| !self.pasting)),
            State::Sequence(mut parameters) => match byte {
                b'[' if parameters.is_empty() => self.state = State::Single { is_function: true },
                0x40..=0x7e => self.sequence(&parameters, byte, keys),
                0x20..=0x3f => {
                    parameters.truncate(MAX_PARAMETERS);
                    parameters.push(byte);
                    self.state = State::Sequence(parameters);
                }
                // Nothing that belongs to a sequence: it was none.
                _ => self.text(byte, keys),
            },
        }
    }

    fn sequence(&mut self, parameters: &[u8], last: u8, keys: &mut Vec<Key>) {
        // Behind a semicolon are Shift, Alt and Ctrl.
        let number = parameters.split(|&byte| byte == b';').next().unwrap_or_default();
        match (number, last) {
            (b"200", b'~') => (self.pasting, self.after_cr) = (true, false),
            (b"201", b'~') => self.pasting = false,
            _ if self.pasting => {}
            (b"1" | b"7", b'~') => keys.push(Key::Home),
            (b"4" | b"8", b'~') => keys.push(Key::End),
            (b"3", b'~') => keys.push(Key::Delete),
            _ => keys.extend(arrow(last)),
        }
    }

    fn text(&mut self, byte: u8, keys: &mut Vec<Key>) {
        if !byte.is_ascii() {
            return self.character(byte, keys);
        }
        // What was to become a character never will.
        self.character.clear();
        let after_cr = std::mem::replace(&mut self.after_cr, byte == b'\r');
        match byte {
            0x1b => self.state = State::Escape,
            b' '..=b'~' => keys.push(Key::Char(byte.into())),
            b'\n' if self.pasting && after_cr => {}
            b'\r' | b'\n' | b'\t' if self.pasting => keys.push(Key::Char(' ')),
            _ if self.pasting => {}
            _ => keys.extend(control(byte)),
        }
    }

    /// A byte of a character that is more than one.
    fn character(&mut self, byte: u8, keys: &mut Vec<Key>) {
        self.after_cr = false;
        if matches!(byte, 0xc0..) {
            self.character.clear();
        }
        self.character.push(byte);
        match std::str::from_utf8(&self.character) {
            Ok(text) => {
                // Nothing that would turn round the order of the line, or end it.
                keys.extend(text.chars().filter(|_| harmless(text) == text).map(Key::Char));
                self.character.clear();
            }
            Err(error) if error.error_len().is_none() => {}
            Err(_) => self.character.clear(),
        }
    }
}

fn arrow(last: u8) -> Option<Key> {
    Some(match last {
        b'A' => Key::Up,
        b'B' => Key::Down,
        b'C' => Key::Right,
        b'D' => Key::Left,
        b'H' => Key::Home,
        b'F' => Key::End,
        b'M' => Key::Enter, // ESC O M: that of the keypad
        _ => return None,
    })
}

/// Ctrl with a letter, as in the shell.
fn control(byte: u8) -> Option<Key> {
    Some(match byte {
        0x01 => Key::Home,
        0x02 => Key::Left,
        0x03 => Key::Cancel,
        0x04 => Key::Eof,
        0x05 => Key::End,
        0x06 => Key::Right,
        0x08 | 0x7f => Key::Backspace,
        b'\n' | b'\r' => Key::Enter,
        0x0b => Key::KillToEnd,
        0x0c => Key::Redraw,
        0x0e => Key::Down,
        0x10 => Key::Up,
        0x15 => Key::KillToStart,
        0x17 => Key::KillWord,
        0x1a => Key::Suspend,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn keys(bytes: &[u8]) -> Vec<Key> {
        Keys::default().feed(bytes)
    }

    fn typed(bytes: &[u8]) -> String {
        keys(bytes)
            .into_iter()
            .map(|key| if let Key::Char(c) = key { c } else { panic!("{key:?}") })
            .collect()
    }

    #[test]
    fn every_terminal_has_its_own_way_to_say_home() {
        for bytes in ["\x1b[H", "\x1bOH", "\x1b[1~", "\x1b[7~", "\x01", "\x1b[1;5H"] {
            assert_eq!(keys(bytes.as_bytes()), [Key::Home], "{bytes:?}");
        }
    }

    #[test]
    fn sequences_are_keys_or_nothing() {
        for (bytes, key) in [
            ("\x1b[A", Key::Up),
            ("\x1bOB", Key::Down),
            ("\x1b[C", Key::Right),
            ("\x1b[1;2D", Key::Left),
            ("\x1b[3~", Key::Delete),
            ("\x1b[4~", Key::End),
            ("\x7f", Key::Backspace),
            ("\r", Key::Enter),
            ("\x1bOM", Key::Enter),
        ] {
            assert_eq!(keys(bytes.as_bytes()), [key], "{bytes:?}");
        }
        for nothing in ["\x1b[15~", "\x1b[[A", "\x1b[?1;2c", "\x1b", "\x1b[", "\x1bOP", "\0", "\t"] {
            assert_eq!(keys(nothing.as_bytes()), [], "{nothing:?}");
        }
        assert_eq!(typed(b"\x1b[24~x"), "x");
    }

    #[test]
    fn text_is_any_utf_8_and_nothing_else() {
        assert_eq!(typed("héllo 日本 😀 e\u{301}".as_bytes()), "héllo 日本 😀 e\u{301}");
        assert_eq!(typed(b"a\xffb\xe6\x97c\x80d\xed\xa0\x80e"), "abcde");
        assert_eq!(typed("x\u{9b}\u{202e}\u{2028}y".as_bytes()), "xy");
        // A character that is cut short by another.
        assert_eq!(typed(b"\xe6\xc3\xa9"), "é");
    }

    #[test]
    fn a_paste_is_text_on_one_line() {
        assert_eq!(typed(b"\x1b[200~a\r\nb\rc\nd\te\x03\x1b[A\x1bOA\x04f\x1b[201~"), "a b c d ef");
        assert_eq!(keys(b"\x1b[200~a\r\x1b[201~\r"), [Key::Char('a'), Key::Char(' '), Key::Enter]);
    }

    proptest! {
        #[test]
        fn keys_are_the_same_however_bytes_arrive(
            pieces in prop::collection::vec(prop_oneof![
                any::<u8>().prop_map(|byte| vec![byte]),
                any::<char>().prop_map(|c| c.to_string().into_bytes()),
                prop::sample::select(vec!["\x1b[200~", "\x1b[201~", "\x1b[A", "\x1bO", "\x1b[1;5", "\r\n", "日"])
                    .prop_map(|text| text.as_bytes().to_vec()),
            ], 0..40),
            every in 1usize..5,
        ) {
            let bytes = pieces.concat();
            let mut slow = Keys::default();
            let pieces: Vec<Key> = bytes.chunks(every).flat_map(|piece| slow.feed(piece)).collect();
            prop_assert_eq!(&pieces, &keys(&bytes));
            let is_text = |key: &Key| !matches!(key, Key::Char(c) if c.is_control());
            prop_assert!(pieces.iter().all(is_text));
        }
    }
}
