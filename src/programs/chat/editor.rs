//! The line that is being typed.
//!
//! Owns the text, the cursor and the lines typed before. Takes keys, gives back what to show of it in one row: the
//! row scrolls sideways, in steps of half its width, since a line that wraps has as many rows as the
//! terminal thinks it has, and a wrong guess would tear the messages above it. Knows no terminal and no bytes. Called
//! by the interactive client.

use super::super::width::{clusters, width};
use super::keys::Key;

/// No line is longer; what comes behind is ignored. A message may have a thousand characters.
const MAX_BYTES: usize = 16 * 1024;

/// Lines kept for Up.
const MAX_HISTORY: usize = 500;

/// What a key asks of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Nothing: it was the editor's own business.
    Nothing,
    /// The line is complete; [`Editor::take`] is how to get it.
    Send,
    /// To leave.
    Leave,
    /// To draw the screen anew.
    Redraw,
    /// To stop until the shell continues us.
    Suspend,
}

/// The editor.
#[derive(Debug, Default)]
pub struct Editor {
    text: String,
    /// In bytes; always between characters, and between clusters unless one is just being typed.
    cursor: usize,
    history: Vec<String>,
    /// Which line of the history is shown, and what was being typed before that.
    browsing: Option<(usize, String)>,
}

/// What to show of the line in one row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// What stands before the cursor, the prompt included.
    pub before: String,
    /// What stands behind it.
    pub after: String,
}

impl Editor {
    /// Obeys a key.
    pub fn press(&mut self, key: Key) -> Wish {
        match key {
            Key::Char(c) => self.insert(c),
            Key::Enter => return Wish::Send,
            Key::Backspace => self.remove(self.before(), self.cursor),
            Key::Delete => self.remove(self.cursor, self.behind()),
            Key::Left => self.cursor = self.before(),
            Key::Right => self.cursor = self.behind(),
            Key::Home => self.cursor = 0,
            Key::End => self.cursor = self.text.len(),
            Key::Up => self.browse(|at| at.checked_sub(1)),
            Key::Down => self.browse(|at| Some(at + 1)),
            Key::KillToEnd => self.remove(self.cursor, self.text.len()),
            Key::KillToStart => self.remove(0, self.cursor),
            Key::KillWord => self.remove(self.word_before(), self.cursor),
            Key::Cancel if self.text.is_empty() => return Wish::Leave,
            Key::Cancel => self.set(String::new()),
            Key::Eof if self.text.is_empty() => return Wish::Leave,
            Key::Eof => self.remove(self.cursor, self.behind()),
            Key::Redraw => return Wish::Redraw,
            Key::Suspend => return Wish::Suspend,
        }
        Wish::Nothing
    }

    /// The line as it is.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Takes the line and begins a new one.
    pub fn take(&mut self) -> String {
        self.browsing = None;
        self.cursor = 0;
        std::mem::take(&mut self.text)
    }

    /// Keeps a line for Up.
    pub fn remember(&mut self, line: &str) {
        if !line.is_empty() && self.history.last().is_none_or(|last| last != line) {
            self.history.push(line.into());
            if self.history.len() > MAX_HISTORY {
                self.history.remove(0);
            }
        }
    }

    /// The row in `columns`, of which the last is left free: a character there makes terminals wrap, now or later.
    pub fn row(&self, prompt: &str, columns: usize) -> Row {
        let all = columns.saturating_sub(1);
        // A prompt that leaves no room to type is not worth it.
        let prompt = if width(prompt) * 2 <= all { prompt } else { "" };
        let room = all - width(prompt);
        let (before, behind) = self.text.split_at(self.cursor);
        let cursor = width(before);
        // Half a step is always in view on the left of the cursor. Depends on nothing but the line: no jumping about.
        let step = (room / 2).max(1);
        let fits = cursor + width(behind) <= room;
        let first = if fits { 0 } else { (cursor / step).saturating_sub(1) * step };
        let mut row = Row { before: prompt.into(), after: String::new() };
        let mut free = room;
        let mut column = 0;
        for cluster in clusters(before) {
            column += cluster.width;
            // Shown if it begins in view; one that is wider than the whole row never is.
            if column >= first + cluster.width && cluster.width <= free {
                row.before.push_str(cluster.text);
                free -= cluster.width;
            }
        }
        for cluster in clusters(behind) {
            if cluster.width > free {
                break;
            }
            row.after.push_str(cluster.text);
            free -= cluster.width;
        }
        row
    }

    fn insert(&mut self, c: char) {
        if self.text.len() + c.len_utf8() <= MAX_BYTES {
            self.text.insert(self.cursor, c);
            self.cursor += c.len_utf8();
        }
    }

    fn remove(&mut self, from: usize, to: usize) {
        self.text.replace_range(from..to, "");
        self.cursor = from;
    }

    fn set(&mut self, text: String) {
        self.cursor = text.len();
        self.text = text;
        self.browsing = None;
    }

    /// Where the cluster before the cursor begins.
    fn before(&self) -> usize {
        self.edges().take_while(|&edge| edge < self.cursor).last().unwrap_or(0)
    }

    /// Where the cluster behind the cursor ends.
    fn behind(&self) -> usize {
        self.edges().find(|&edge| edge > self.cursor).unwrap_or(self.text.len())
    }

    /// Where clusters begin, and the end of the text.
    fn edges(&self) -> impl Iterator<Item = usize> {
        let ends = clusters(&self.text).scan(0, |end, cluster| {
            *end += cluster.text.len();
            Some(*end)
        });
        std::iter::once(0).chain(ends)
    }

    /// Where the word before the cursor begins, as in the shell: spaces, then everything up to the next space.
    fn word_before(&self) -> usize {
        let before = self.text[..self.cursor].trim_end();
        before.char_indices().rev().find(|(_, c)| c.is_whitespace()).map_or(0, |(at, c)| at + c.len_utf8())
    }

    /// Shows another line of the history; the one behind the last is what was being typed.
    fn browse(&mut self, to: impl Fn(usize) -> Option<usize>) {
        let (at, draft) = match self.browsing.take() {
            Some((at, draft)) => (at, draft),
            None => (self.history.len(), self.text.clone()),
        };
        match to(at) {
            Some(next) if next < self.history.len() => {
                self.set(self.history[next].clone());
                self.browsing = Some((next, draft));
            }
            Some(_) if at < self.history.len() => self.set(draft),
            _ if at < self.history.len() => self.browsing = Some((at, draft)),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn typed(text: &str) -> Editor {
        let mut editor = Editor::default();
        text.chars().for_each(|c| assert_eq!(editor.press(Key::Char(c)), Wish::Nothing));
        editor
    }

    fn press(editor: &mut Editor, keys: &[Key]) {
        for &key in keys {
            assert_eq!(editor.press(key), Wish::Nothing);
        }
    }

    #[test]
    fn marks_move_with_what_they_stand_on() {
        let mut editor = typed("xe\u{301}y");
        press(&mut editor, &[Key::Left, Key::Left, Key::Char('-')]);
        assert_eq!(editor.text(), "x-e\u{301}y");
        press(&mut editor, &[Key::Delete]);
        assert_eq!(editor.text(), "x-y");
        let mut editor = typed("a👩\u{200d}👧");
        press(&mut editor, &[Key::Backspace]);
        assert_eq!(editor.text(), "a");
    }

    #[test]
    fn a_joined_picture_can_be_pasted_in_front_of_text() {
        let mut editor = typed("xy");
        press(&mut editor, &[Key::Left]);
        press(&mut editor, &"👩\u{200d}👧!".chars().map(Key::Char).collect::<Vec<_>>());
        assert_eq!(editor.text(), "x👩\u{200d}👧!y");
    }

    #[test]
    fn words_go_as_in_the_shell() {
        let mut editor = typed("one  two, 日本  ");
        for left in ["one  two, ", "one  ", "", ""] {
            press(&mut editor, &[Key::KillWord]);
            assert_eq!(editor.text(), left);
        }
    }

    #[test]
    fn history_keeps_the_line_being_typed() {
        let mut editor = typed("draft");
        for line in ["one", "two", "two", ""] {
            editor.remember(line);
        }
        let shown: Vec<String> = [Key::Up, Key::Up, Key::Up, Key::Down, Key::Down, Key::Down]
            .into_iter()
            .map(|key| {
                press(&mut editor, &[key]);
                editor.text().into()
            })
            .collect();
        assert_eq!(shown, ["two", "one", "one", "two", "draft", "draft"]);
        press(&mut editor, &[Key::Up, Key::Char('!')]);
        assert_eq!(editor.take(), "two!");
        press(&mut editor, &[Key::Up]);
        assert_eq!(editor.text(), "two", "what is edited is a copy");
    }

    #[test]
    fn ctrl_c_clears_and_then_leaves() {
        let mut editor = typed("x");
        assert_eq!(editor.press(Key::Cancel), Wish::Nothing);
        assert_eq!(editor.text(), "");
        assert_eq!(editor.press(Key::Cancel), Wish::Leave);
        assert_eq!(editor.press(Key::Eof), Wish::Leave);
        let mut editor = typed("xy");
        press(&mut editor, &[Key::Home, Key::Eof]);
        assert_eq!(editor.text(), "y");
    }

    #[test]
    fn a_long_line_scrolls_by_half_a_row() {
        let mut editor = typed("0123456789");
        let row = |editor: &Editor, columns| {
            let Row { before, after } = editor.row("> ", columns);
            format!("{before}|{after}")
        };
        assert_eq!(row(&editor, 13), "> 0123456789|");
        assert_eq!(row(&editor, 11), "> 456789|");
        press(&mut editor, &[Key::Left, Key::Left, Key::Left]);
        assert_eq!(row(&editor, 11), "> 0123456|7");
        assert_eq!(row(&typed("日本語日本語"), 14), "> 日本語|");
        assert_eq!(row(&typed("日本"), 2), "|", "no room for anything");
        assert_eq!(row(&typed("日本"), 0), "|");
    }

    /// The same line as plain characters, each a column or two.
    #[derive(Default)]
    struct Twin {
        text: Vec<char>,
        cursor: usize,
    }

    impl Twin {
        fn press(&mut self, key: Key) {
            let Self { text, cursor } = self;
            match key {
                Key::Char(c) => {
                    text.insert(*cursor, c);
                    *cursor += 1;
                }
                Key::Backspace if *cursor > 0 => {
                    *cursor -= 1;
                    text.remove(*cursor);
                }
                Key::Delete | Key::Eof if *cursor < text.len() => drop(text.remove(*cursor)),
                Key::Left => *cursor = cursor.saturating_sub(1),
                Key::Right => *cursor = text.len().min(*cursor + 1),
                Key::Home => *cursor = 0,
                Key::End => *cursor = text.len(),
                Key::KillToEnd => text.truncate(*cursor),
                Key::KillToStart => drop(text.drain(..std::mem::take(cursor))),
                Key::KillWord => {
                    while *cursor > 0 && text[*cursor - 1] == ' ' {
                        *cursor -= 1;
                        text.remove(*cursor);
                    }
                    while *cursor > 0 && text[*cursor - 1] != ' ' {
                        *cursor -= 1;
                        text.remove(*cursor);
                    }
                }
                Key::Cancel => *self = Self::default(),
                _ => {}
            }
        }
    }

    fn key() -> impl Strategy<Value = Key> {
        prop_oneof![
            10 => prop::sample::select(vec!['a', 'b', ' ', 'é', '日', '語', '😀']).prop_map(Key::Char),
            4 => prop::sample::select(vec![
                Key::Backspace, Key::Delete, Key::Left, Key::Right, Key::Home, Key::End, Key::KillToEnd,
                Key::KillToStart, Key::KillWord, Key::Eof, Key::Cancel, Key::Left, Key::Left, Key::Backspace,
            ]),
        ]
    }

    proptest! {
        #[test]
        fn agrees_with_plain_characters(keys in prop::collection::vec(key(), 0..80)) {
            let (mut editor, mut twin) = (Editor::default(), Twin::default());
            for key in keys {
                editor.press(key);
                twin.press(key);
                prop_assert_eq!(editor.text(), twin.text.iter().collect::<String>());
                let before: String = twin.text[..twin.cursor].iter().collect();
                prop_assert_eq!(editor.cursor, before.len());
            }
        }

        #[test]
        fn no_row_is_wider_than_the_screen(
            text in "[a日é\u{301}😀\u{200d} ]{0,60}", lefts in 0usize..60, columns in 0usize..50,
        ) {
            let mut editor = typed(&text);
            press(&mut editor, &vec![Key::Left; lefts]);
            let Row { before, after } = editor.row("> ", columns);
            // The whole is no wider than its parts.
            prop_assert!(width(&before) + width(&after) <= columns.saturating_sub(1));
            if width(&text) + 3 <= columns && columns > 4 {
                prop_assert_eq!(before + &after, format!("> {text}"));
            }
        }

        #[test]
        fn any_keys_leave_the_cursor_in_the_text(keys in prop::collection::vec(prop_oneof![
            key(), any::<char>().prop_map(Key::Char), prop::sample::select(vec![Key::Up, Key::Down]),
        ], 0..60)) {
            let mut editor = Editor::default();
            editor.remember("e\u{301}");
            for key in keys {
                editor.press(key);
                prop_assert!(editor.text.is_char_boundary(editor.cursor));
            }
        }
    }
}
