//! Text from strangers, made harmless.
//!
//! A terminal obeys some characters instead of showing them. Whatever comes from another person goes through
//! [`harmless`] before it is printed, so nobody can move the cursor of others, colour their screen, begin a line
//! in somebody else's name or turn the order of letters round. Owns nothing; called by every client.

use std::borrow::Cow;

use crate::log::is_unsafe;

/// `text` on one line, with nothing in it that a terminal obeys. White space that moves the cursor (LF, CR, TAB, ...)
/// becomes a space; other control characters of ASCII become their pictures (`␛`), those above it and what
/// controls the direction of text become `�`; the three direction marks, which are harmless but invisible, go.
pub fn harmless(text: &str) -> Cow<'_, str> {
    if !text.contains(is_unsafe) {
        return text.into();
    }
    text.chars().filter_map(instead_of).collect::<String>().into()
}

/// What stands for a character.
fn instead_of(c: char) -> Option<char> {
    match c {
        '\t'..='\r' => Some(' '),
        '\0'..='\u{1f}' => char::from_u32(0x2400 + u32::from(c)),
        '\u{7f}' => Some('\u{2421}'),
        '\u{61c}' | '\u{200e}' | '\u{200f}' => None,
        c if is_unsafe(c) => Some(char::REPLACEMENT_CHARACTER),
        c => Some(c),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_shown() {
        for (text, shown) in [
            ("plain, é, 日本語, 😀", "plain, é, 日本語, 😀"),
            ("\u{1b}[2J\u{7}", "␛[2J␇"),
            ("a\r\nBob: b\tc", "a  Bob: b c"),
            ("\u{9b}31m\u{85}", "�31m�"),
            ("\u{7f}", "␡"),
            ("\u{202e}abc\u{202c}\u{2066}\u{2029}", "�abc���"),
            ("\u{200f}שלום\u{200e}", "שלום"),
            ("👩\u{200d}👧", "👩\u{200d}👧"),
        ] {
            assert_eq!(harmless(text), shown);
        }
    }

    proptest! {
        #[test]
        fn nothing_harmful_is_left(text in prop::collection::vec(
            prop_oneof![any::<char>(), (0u32..0xa0).prop_map(|c| char::from_u32(c).unwrap()),
                        (0x2000u32..0x2070).prop_map(|c| char::from_u32(c).unwrap())], 0..60)) {
            let text: String = text.into_iter().collect();
            let shown = harmless(&text);
            prop_assert!(!shown.contains(is_unsafe), "{:?}", shown);
            prop_assert_eq!(harmless(&shown), &*shown);
        }
    }
}
