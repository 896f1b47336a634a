//! How wide text is on a terminal.
//!
//! Owns the rule what moves, goes and is drawn as one: a [`Cluster`], which is a character with the marks that stand on
//! it, and whatever a zero-width joiner ties to it. Terminals do not agree about the width of some of these,
//! so this measure is the widest that one of them draws, and nothing that is drawn depends on its being exact.

use unicode_width::UnicodeWidthChar;

const JOINER: char = '\u{200d}';
/// Asks for the coloured picture, which is two columns wide.
const AS_PICTURE: char = '\u{fe0f}';

/// A piece of text that is never split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cluster<'a> {
    /// Its characters.
    pub text: &'a str,
    /// Columns.
    pub width: usize,
}

/// The clusters of `text`, in order; together they are all of it.
pub fn clusters(text: &str) -> impl Iterator<Item = Cluster<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let mut chars = rest.char_indices();
        let (_, first) = chars.next()?;
        let (mut end, mut columns, mut joined) = (rest.len(), width_of(first), first == JOINER);
        for (at, c) in chars {
            if width_of(c) > 0 && !joined {
                end = at;
                break;
            }
            columns += width_of(c);
            joined = c == JOINER;
            if c == AS_PICTURE {
                columns = columns.max(2);
            }
        }
        let (text, behind) = rest.split_at(end);
        rest = behind;
        Some(Cluster { text, width: columns })
    })
}

/// Columns.
pub fn width(text: &str) -> usize {
    clusters(text).map(|cluster| cluster.width).sum()
}

fn width_of(c: char) -> usize {
    c.width().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_stands_together_is_together() {
        for (text, parts) in [
            ("ab", &[("a", 1), ("b", 1)][..]),
            ("日é", &[("日", 2), ("é", 1)]),
            ("e\u{301}\u{302}x", &[("e\u{301}\u{302}", 1), ("x", 1)]),
            ("\u{301}x", &[("\u{301}", 0), ("x", 1)]),
            ("👩\u{200d}👧!", &[("👩\u{200d}👧", 4), ("!", 1)]),
            ("❤\u{fe0f}", &[("❤\u{fe0f}", 2)]),
        ] {
            let found: Vec<_> = clusters(text).map(|cluster| (cluster.text, cluster.width)).collect();
            assert_eq!(found, parts, "{text}");
        }
    }

    proptest! {
        #[test]
        fn nothing_is_lost(text in ".{0,40}") {
            prop_assert_eq!(clusters(&text).map(|cluster| cluster.text).collect::<String>(), text);
        }
    }
}
