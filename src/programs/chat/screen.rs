//! What the terminal is sent: messages above, the line being typed below, never one inside the other.
//!
//! Owns the knowledge of what stands in the last row, so that it can be erased. Each turn of the loop becomes at most
//! one piece of output: erase the row, print what is new, draw the row again. The row is drawn with wrapping off
//! and the cursor put back by the terminal itself, so a character that is wider there than we think moves
//! nothing else. Does no output itself. Called by the interactive client.

use super::super::width::{Cluster, clusters, width};
use super::editor::Row;
use super::look::{Span, Style};

/// What a row begins with that continues the message above it: nobody can forge a message by padding his own.
const INDENT: &str = "  ";

/// Pastes are marked, so that a line break in one is not taken for Enter.
const BEGIN: &[u8] = b"\x1b[?2004h";
/// Erases the row and undoes [`BEGIN`]; wrapping is on and the cursor visible whatever we were doing.
pub const FAREWELL: &[u8] = b"\r\x1b[K\x1b[?2004l\x1b[?7h\x1b[?25h\x1b[0m";

/// The screen, as far as it is ours.
pub struct Screen {
    columns: usize,
    /// Whether the terminal breaks rows anew when it becomes narrower.
    reflows: bool,
    /// The row that is on the screen; `None`: the cursor is at the beginning of an empty one.
    drawn: Option<Row>,
    /// What goes out before everything else.
    first: Vec<u8>,
    /// New lines, ready to be written.
    lines: Vec<u8>,
}

impl Screen {
    /// A screen whose last row is empty, with the cursor in it.
    pub fn new(columns: usize, reflows: bool) -> Self {
        Self { columns, reflows, drawn: None, first: BEGIN.into(), lines: Vec::new() }
    }

    /// How wide it is.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Prints a message, at the end of this turn.
    pub fn print(&mut self, message: &[Span]) {
        for row in wrap(message, self.columns) {
            paint(&mut self.lines, &row);
            self.lines.extend_from_slice(b"\r\n");
        }
    }

    /// The terminal has another size.
    pub fn resize(&mut self, columns: usize) {
        if let Some(row) = self.drawn.take() {
            // The row has become several: the cursor goes up to where it began.
            let above = if self.reflows { width(&row.before) / columns.max(1) } else { 0 };
            if above > 0 {
                self.first.extend_from_slice(format!("\x1b[{above}A").as_bytes());
            }
            self.first.extend_from_slice(b"\r\x1b[J");
        }
        self.columns = columns;
    }

    /// Ctrl-L: begins at the top of an empty screen.
    pub fn clear(&mut self) {
        self.drawn = None;
        self.first.extend_from_slice(b"\x1b[H\x1b[2J");
    }

    /// The terminal was somebody else's meanwhile, who has left the cursor at the beginning of a row.
    pub fn begin_again(&mut self) {
        self.drawn = None;
        self.first.extend_from_slice(BEGIN);
    }

    /// The output of a turn that ends with this row; empty when nothing has changed.
    pub fn turn(&mut self, row: Row) -> Vec<u8> {
        let mut out = std::mem::take(&mut self.first);
        if self.lines.is_empty() && self.drawn.as_ref() == Some(&row) {
            return out;
        }
        // The cursor would be seen jumping.
        out.extend_from_slice(b"\x1b[?25l\r\x1b[K");
        out.append(&mut self.lines);
        out.extend_from_slice(b"\x1b[?7l");
        out.extend_from_slice(row.before.as_bytes());
        if !row.after.is_empty() {
            out.extend_from_slice(b"\x1b7");
            out.extend_from_slice(row.after.as_bytes());
            out.extend_from_slice(b"\x1b8");
        }
        out.extend_from_slice(b"\x1b[?7h\x1b[?25h");
        self.drawn = Some(row);
        out
    }
}

/// A row of a message: its pieces, each with its style.
type Painted<'a> = Vec<(Style, &'a str)>;

/// Breaks a message into rows, between words where it can, and indents all but the first.
fn wrap(message: &[Span], columns: usize) -> Vec<Painted<'_>> {
    let pieces: Vec<(Style, Cluster<'_>)> =
        message.iter().flat_map(|span| clusters(&span.text).map(|cluster| (span.style, cluster))).collect();
    let indent = if columns > 4 * INDENT.len() { INDENT } else { "" };
    let mut rows = Vec::new();
    let mut rest = &pieces[..];
    loop {
        let is_first = rows.is_empty();
        let room = if is_first { columns } else { columns - width(indent) }.max(2);
        let (row, behind) = rest.split_at(fitting(rest, room));
        // The spaces at which a row is broken are not seen anyway.
        let row = if behind.is_empty() { row } else { without_spaces_behind(row) };
        let mut painted: Painted<'_> = row.iter().map(|(style, cluster)| (*style, cluster.text)).collect();
        if !is_first {
            painted.insert(0, (Style::Plain, indent));
        }
        rows.push(painted);
        let spaces = behind.iter().take_while(|(_, cluster)| cluster.text == " ").count();
        rest = &behind[spaces..];
        if rest.is_empty() {
            return rows;
        }
    }
}

fn without_spaces_behind<'a, 'b>(row: &'a [(Style, Cluster<'b>)]) -> &'a [(Style, Cluster<'b>)] {
    let end = row.iter().rposition(|(_, cluster)| cluster.text != " ").map_or(0, |last| last + 1);
    &row[..end]
}

/// How many pieces go into a row: at least one, and no half word unless it is the first of the row.
fn fitting(pieces: &[(Style, Cluster<'_>)], room: usize) -> usize {
    let mut used = 0;
    let all = pieces.iter().take_while(|(_, cluster)| {
        used += cluster.width;
        used <= room
    });
    let count = all.count();
    if count == pieces.len() || pieces[count].1.text == " " {
        return count;
    }
    let is_space = |(_, cluster): &(Style, Cluster<'_>)| cluster.text == " ";
    match pieces[..count].iter().rposition(is_space) {
        // Less than half a row of text: rather a broken word than a nearly empty row.
        Some(space) if space * 2 >= count => space,
        _ => count.max(1),
    }
}

fn paint(out: &mut Vec<u8>, row: &[(Style, &str)]) {
    let mut now = Style::Plain;
    for &(style, text) in row {
        if style != now {
            out.extend_from_slice(style.code().as_bytes());
            now = style;
        }
        out.extend_from_slice(text.as_bytes());
    }
    if now != Style::Plain {
        out.extend_from_slice(Style::Plain.code().as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn plain(text: &str) -> Vec<Span> {
        vec![Span { style: Style::Plain, text: text.into() }]
    }

    fn rows(text: &str, columns: usize) -> Vec<String> {
        let message = plain(text);
        let rows = wrap(&message, columns);
        rows.iter().map(|row| row.iter().map(|(_, text)| *text).collect()).collect()
    }

    fn row(before: &str, after: &str) -> Row {
        Row { before: before.into(), after: after.into() }
    }

    fn text(bytes: Vec<u8>) -> String {
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn messages_break_between_words_and_are_indented() {
        assert_eq!(rows("Bob: one two three", 12), ["Bob: one two", "  three"]);
        assert_eq!(rows("Bob: one  two  three", 13), ["Bob: one  two", "  three"]);
        assert_eq!(rows("0123456789abcdef", 12), ["0123456789ab", "  cdef"]);
        assert_eq!(rows("日本語日本語日", 12), ["日本語日本語", "  日"]);
        assert_eq!(rows("日本語日本語日", 9), ["日本語日", "  本語日"]);
        assert_eq!(rows("", 12), [""]);
        assert_eq!(rows("日a", 1), ["日", "a"], "a screen of one column shows what it can");
    }

    #[test]
    fn padding_forges_no_message() {
        let forged = format!("Eve: x{}Bob: I quit", " ".repeat(34));
        assert_eq!(rows(&forged, 40), ["Eve: x", "  Bob: I quit"]);
    }

    #[test]
    fn the_line_being_typed_is_below_what_is_printed() {
        let mut screen = Screen::new(40, true);
        assert_eq!(
            text(screen.turn(row("> ", ""))),
            "\x1b[?2004h\x1b[?25l\r\x1b[K\x1b[?7l> \x1b[?7h\x1b[?25h"
        );
        assert_eq!(text(screen.turn(row("> ", ""))), "", "nothing has changed");
        screen.print(&plain("Bob: hi"));
        screen.print(&plain("Bob: ho"));
        assert_eq!(
            text(screen.turn(row("> a", "b"))),
            "\x1b[?25l\r\x1b[KBob: hi\r\nBob: ho\r\n\x1b[?7l> a\x1b7b\x1b8\x1b[?7h\x1b[?25h"
        );
    }

    #[test]
    fn a_row_that_the_terminal_broke_is_erased_whole() {
        let mut screen = Screen::new(40, true);
        screen.turn(row(&"x".repeat(35), ""));
        screen.resize(10);
        assert!(text(screen.turn(row("> ", ""))).starts_with("\x1b[3A\r\x1b[J"));
    }

    #[test]
    fn styles_end_with_their_row() {
        let message = [
            Span { style: Style::Name(32), text: "Bob".into() },
            Span { style: Style::Plain, text: ": ".into() },
            Span { style: Style::Dim, text: "0123456789".into() },
        ];
        let mut screen = Screen::new(12, true);
        screen.print(&message);
        assert_eq!(
            text(screen.lines),
            "\x1b[32mBob\x1b[0m: \x1b[2m0123456\x1b[0m\r\n  \x1b[2m789\x1b[0m\r\n"
        );
    }

    proptest! {
        #[test]
        fn no_row_is_wider_than_the_screen_and_no_word_is_lost(
            message in "[ab 日é\u{301}😀]{0,80}", columns in 2usize..30,
        ) {
            let rows = rows(&message, columns);
            for row in &rows {
                prop_assert!(width(row) <= columns, "{:?}", row);
            }
            let without = |text: &str| text.replace(' ', "");
            prop_assert_eq!(without(&rows.concat()), without(&message));
        }
    }
}
