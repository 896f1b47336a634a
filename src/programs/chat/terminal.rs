//! The chat for a person: a line to type in, and the messages above it.
//!
//! Owns the terminal's raw mode, which ends when this is dropped, and puts editor and screen together: keys
//! change the one, news goes to the other, and a turn of the loop is at most one write. A line that cannot be sent
//! stays where it is, to be sent later. Called by the loop of the chat client.

use std::fs::File;
use std::io;
use std::ops::ControlFlow::{Break, Continue};
use std::os::fd::{AsFd, BorrowedFd};
use std::{env, mem};

use rawline::client::chat::{Event, Face, Link, News, Signal, write_whole};
use rawline::client::terminal;

use super::command::{self, Command, HELP};
use super::editor::{Editor, Wish};
use super::keys::Keys;
use super::look::{Look, Span};
use super::screen::{FAREWELL, Screen};
use super::{Outcome, hopeless, shown};
use crate::Failure;

/// Where a terminal does not know how wide it is.
const COLUMNS: usize = 80;

/// The face for a person.
pub struct Terminal {
    input: BorrowedFd<'static>,
    output: File,
    look: Look,
    keys: Keys,
    editor: Editor,
    screen: Screen,
    name: Name,
    /// How the room calls us.
    me: String,
    /// To leave as soon as what was said is answered.
    leaving: bool,
}

/// What we want to be called.
enum Name {
    /// The person has not said yet; `true`: and was asked.
    Unknown { asked: bool },
    /// This, or whatever the server likes.
    Wanted(Option<String>),
}

impl Terminal {
    /// Takes the terminal over.
    ///
    /// # Errors
    /// It is none, or gone.
    pub fn new(look: Look, name: Option<String>, to: &str) -> io::Result<Self> {
        let (input, output) = (standard_input(), File::from(io::stdout().as_fd().try_clone_to_owned()?));
        terminal::enter_raw(input, FAREWELL)?;
        let columns = terminal::size(output.as_fd()).map_or(COLUMNS, |(columns, _)| columns);
        let name = match name {
            None => Name::Unknown { asked: false },
            name => Name::Wanted(name),
        };
        let mut terminal = Self {
            input,
            output,
            look,
            keys: Keys::default(),
            editor: Editor::default(),
            screen: Screen::new(columns, reflows()),
            name,
            me: String::new(),
            leaving: false,
        };
        terminal.notice(&format!("connecting to {to}; /help lists commands"));
        terminal.show()?;
        Ok(terminal)
    }

    fn print(&mut self, line: &[Span]) {
        self.screen.print(line);
    }

    fn notice(&mut self, text: &str) {
        self.print(&self.look.notice(text));
    }

    /// Enter was pressed.
    fn enter(&mut self, link: &mut Link) -> Outcome {
        if let Name::Unknown { asked: true } = self.name {
            let name = self.editor.take().trim().to_owned();
            self.name = Name::Wanted(Some(name).filter(|name| !name.is_empty()));
            self.join(link);
            return Continue(());
        }
        let line = self.editor.text().to_owned();
        match command::read(&line) {
            None => {}
            Some(Command::Quit) => return self.leave(link),
            Some(Command::Help) => HELP.iter().for_each(|line| self.notice(line)),
            Some(Command::Unknown(word)) => self.notice(&format!("there is no {word}: /help lists commands")),
            Some(Command::Users) => match link.room() {
                Some(room) => room.ask_users(),
                None => {
                    self.notice("not asked: there is no connection");
                    return Continue(());
                }
            },
            Some(Command::Say(text)) => match link.room() {
                Some(room) => room.say(text),
                None => {
                    self.notice("not sent: there is no connection; the line stays here");
                    return Continue(());
                }
            },
        }
        self.editor.take();
        self.editor.remember(line.trim());
        Continue(())
    }

    /// Gives the server the name that it wants, or asks for it.
    fn join(&mut self, link: &mut Link) {
        match &mut self.name {
            Name::Unknown { asked } => *asked = true,
            Name::Wanted(name) if link.wants_name() => link.join(name.as_deref()),
            Name::Wanted(_) => {}
        }
    }

    /// Leaves, but not before what was said is in the room; asking twice is asking at once.
    fn leave(&mut self, link: &Link) -> Outcome {
        if mem::replace(&mut self.leaving, true) || link.is_quiet() {
            return Break(Ok(()));
        }
        self.editor.take();
        Continue(())
    }

    fn suspend(&mut self) -> io::Result<()> {
        terminal::restore();
        terminal::suspend()?;
        self.come_back()
    }

    /// The terminal may have been anybody's meanwhile.
    fn come_back(&mut self) -> io::Result<()> {
        terminal::enter_raw(self.input, FAREWELL)?;
        self.screen.begin_again();
        Ok(())
    }

    /// Looks before every piece of output, since messages may be faster than the signal.
    fn resize(&mut self) {
        let columns = terminal::size(self.output.as_fd()).map_or(COLUMNS, |(columns, _)| columns);
        if columns != self.screen.columns() {
            self.screen.resize(columns);
        }
    }

    fn news(&mut self, news: News, link: &mut Link) {
        match news {
            News::NameWanted => self.join(link),
            News::NameRefused(why) => {
                self.notice(&why);
                self.name = Name::Unknown { asked: true };
            }
            News::Joined(name) => {
                if !self.me.is_empty() {
                    self.notice(&format!("connected again, as {name}"));
                }
                self.me = name;
            }
            News::Said(text) => self.print(&self.look.chat(&self.me, &text)),
            News::NotSaid { text, why } => self.notice(&format!("not sent: {why}: {}", shown(&text))),
            news => {
                if let Some(line) = self.look.news(&news) {
                    self.print(&line);
                }
            }
        }
    }
}

impl Face for Terminal {
    type Error = Failure;

    fn wants_input(&self, _: &Link) -> bool {
        true
    }

    fn input(&mut self, bytes: &[u8], link: &mut Link) -> Outcome {
        if bytes.is_empty() {
            return Break(Ok(())); // the terminal is gone
        }
        for key in self.keys.feed(bytes) {
            match self.editor.press(key) {
                Wish::Nothing => {}
                Wish::Send => self.enter(link)?,
                Wish::Leave => self.leave(link)?,
                Wish::Redraw => self.screen.clear(),
                Wish::Suspend => {
                    if let Err(error) = self.suspend() {
                        return Break(Err(Failure::system(error)));
                    }
                }
            }
        }
        Continue(())
    }

    fn hear(&mut self, event: Event, link: &mut Link) -> Outcome {
        match event {
            Event::News(news) => self.news(news, link),
            Event::Lost { why, unconfirmed, again, is_news } => {
                for text in unconfirmed {
                    self.notice(&format!("not confirmed, perhaps not sent: {}", shown(&text)));
                }
                match again {
                    _ if self.leaving => return Break(Ok(())),
                    Some(pause) if is_news => {
                        let pause = pause.as_secs_f32();
                        self.notice(&format!("no connection: {why}; trying again in {pause:.1}s"));
                    }
                    Some(_) => {}
                    None => return Break(Err(super::lost(&why))),
                }
            }
            Event::Failed(error) => return Break(Err(hopeless(error))),
        }
        if self.leaving && link.is_quiet() { Break(Ok(())) } else { Continue(()) }
    }

    fn signal(&mut self, signal: Signal) -> Outcome {
        let result = match signal {
            Signal::Interrupt | Signal::Terminate | Signal::HangUp => return Break(Ok(())),
            // It has woken us; the end of the turn looks.
            Signal::Resize | Signal::User1 => Ok(()),
            Signal::Suspend => self.suspend(),
            Signal::Continue => self.come_back(),
        };
        result.map_or_else(|error| Break(Err(Failure::system(error))), Continue)
    }

    fn show(&mut self) -> io::Result<()> {
        self.resize();
        let prompt = match self.name {
            Name::Unknown { asked: true } => "Your name: ",
            _ => "> ",
        };
        let row = self.editor.row(prompt, self.screen.columns());
        write_whole(&mut self.output, &self.screen.turn(row))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // What was still to be said, without a row to type in: the farewell erases it.
        let _ = self.show();
        terminal::restore();
    }
}

/// Descriptor 0, which nobody closes.
fn standard_input() -> BorrowedFd<'static> {
    // One is enough for a program; its handle lives as long as the process.
    let stdin: &'static io::Stdin = Box::leak(Box::new(io::stdin()));
    stdin.as_fd()
}

/// Whether the terminal breaks rows anew when it becomes narrower. Nearly all do; the console of Linux and xterm itself
/// cut them off.
fn reflows() -> bool {
    let term = env::var("TERM").unwrap_or_default();
    term != "linux" && !(term.starts_with("xterm") && env::var_os("XTERM_VERSION").is_some())
}
