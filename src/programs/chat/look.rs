//! How news looks: who said it, in which colour, at what time.
//!
//! Owns the choices of `--color` and `--timestamps`. Everything that others wrote is made harmless here, on its way to
//! any screen or pipe. Never breaks lines and never prints. Called by the interactive client and by the
//! one in a pipe.

use rawline::client::chat::News;
use rawline::client::text::harmless;
use rawline::client::wall_clock;

/// Text in one style.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// How.
    pub style: Style,
    /// What; harmless already.
    pub text: String,
}

/// A style.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// As it comes.
    Plain,
    /// Less important.
    Dim,
    /// Somebody's name, in this ANSI colour.
    Name(u8),
}

/// Colours that can be read on a dark and on a light background.
const COLOURS: [u8; 10] = [31, 32, 33, 34, 35, 36, 91, 94, 95, 96];

impl Style {
    /// The escape sequence that begins it.
    pub fn code(self) -> String {
        match self {
            Self::Plain => "\x1b[0m".into(),
            Self::Dim => "\x1b[2m".into(),
            Self::Name(colour) => format!("\x1b[{colour}m"),
        }
    }
}

/// The choices of the user.
#[derive(Clone, Copy, Debug, Default)]
pub struct Look {
    /// Colours and dimming.
    pub colour: bool,
    /// The time before each line.
    pub timestamps: bool,
}

impl Look {
    /// `Bob: text`.
    pub fn chat(&self, name: &str, text: &str) -> Vec<Span> {
        let mut line = self.stamp();
        line.push(self.span(Style::Name(colour_of(name)), name));
        line.push(self.span(Style::Plain, ": "));
        line.push(self.span(Style::Plain, text));
        line
    }

    /// `* Bob has joined the chat!`: the room speaks.
    pub fn system(&self, text: &str) -> Vec<Span> {
        self.aside("* ", text)
    }

    /// `-- connection lost`: this program speaks.
    pub fn notice(&self, text: &str) -> Vec<Span> {
        self.aside("-- ", text)
    }

    /// News that looks the same wherever it is shown; `None` for what depends on who asks.
    pub fn news(&self, news: &News) -> Option<Vec<Span>> {
        Some(match news {
            News::Chat { name, text } => self.chat(name, text),
            News::System(text) => self.system(text),
            News::Users(names) => {
                self.system(&format!("Online users ({}): {}", names.len(), names.join(", ")))
            }
            News::Trouble(why) => self.notice(&format!("the server says: {why}")),
            _ => return None,
        })
    }

    fn aside(&self, mark: &str, text: &str) -> Vec<Span> {
        let mut line = self.stamp();
        line.push(self.span(Style::Dim, &format!("{mark}{text}")));
        line
    }

    fn stamp(&self) -> Vec<Span> {
        if !self.timestamps {
            return Vec::new();
        }
        let (hour, minute, second) = wall_clock::now();
        vec![self.span(Style::Dim, &format!("[{hour:02}:{minute:02}:{second:02}] "))]
    }

    fn span(&self, style: Style, text: &str) -> Span {
        let style = if self.colour { style } else { Style::Plain };
        Span { style, text: harmless(text).into_owned() }
    }
}

/// The same name has the same colour everywhere (FNV-1a).
fn colour_of(name: &str) -> u8 {
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    COLOURS[(hash % COLOURS.len() as u64) as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(line: &[Span]) -> String {
        line.iter().map(|span| &*span.text).collect()
    }

    #[test]
    fn without_colour_a_line_is_plain() {
        let line = Look::default().chat("Bob\u{1b}[2J", "hi\nEve: no");
        assert_eq!(text(&line), "Bob␛[2J: hi Eve: no");
        assert!(line.iter().all(|span| span.style == Style::Plain));
    }

    #[test]
    fn with_colour_names_have_theirs_and_the_room_is_dim() {
        let look = Look { colour: true, timestamps: false };
        assert_eq!(look.chat("Bob", "hi")[0].style, look.chat("Bob", "ho")[0].style);
        assert!(matches!(look.chat("Bob", "hi")[0].style, Style::Name(31..=96)));
        assert_eq!(look.system("x"), [Span { style: Style::Dim, text: "* x".into() }]);
    }

    #[test]
    fn a_timestamp_is_a_time_of_day() {
        let line = text(&Look { colour: false, timestamps: true }.notice("x"));
        assert_eq!(line.len(), "[12:34:56] -- x".len());
        assert!(line.starts_with('[') && line.ends_with("] -- x"), "{line}");
    }
}
