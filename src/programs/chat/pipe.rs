//! The chat for programs: lines in, lines or JSON objects out.
//!
//! Owns the lines that were read and not said yet. Reads only as fast as the server answers, so nothing is queued that
//! could get lost; says every line, waits for the answers and leaves when the input has ended. What the room says
//! goes to standard output, what this program has to say to standard error. Also serves people whose terminal
//! cannot be drawn on. Called by the loop of the chat client.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::ops::ControlFlow::{Break, Continue};
use std::os::fd::AsFd;

use rawline::client::chat::{Event, Face, Link, News, Signal, write_whole};
use rawline::client::terminal;
use rawline::log;

use super::command::{self, Command, HELP};
use super::look::{Look, Span, Style};
use super::{Outcome, failed, hopeless, lost, shown};
use crate::Failure;

/// Messages on their way at once: enough to hide the time that an answer takes.
const WINDOW: usize = 64;

/// A longer line cannot be a message.
const MAX_LINE_BYTES: usize = 64 * 1024;

/// The face for programs.
pub struct Pipe {
    output: File,
    look: Look,
    json: bool,
    /// Whether a person is typing the lines.
    person: bool,
    name: Option<String>,
    /// The end of what was read: a line that has not ended.
    partial: Vec<u8>,
    lines: VecDeque<String>,
    ended: bool,
    has_joined: bool,
    /// Messages that are not in the room, or perhaps not.
    refused: usize,
    printed: Vec<u8>,
}

impl Pipe {
    /// Reads from and writes to the standard streams. With `json` it prints objects as they come, else lines.
    ///
    /// # Errors
    /// No descriptor is free.
    pub fn new(look: Look, json: bool, person: bool, name: Option<String>) -> io::Result<Self> {
        Ok(Self {
            output: File::from(io::stdout().as_fd().try_clone_to_owned()?),
            look,
            json,
            person,
            name,
            partial: Vec::new(),
            lines: VecDeque::new(),
            ended: false,
            has_joined: false,
            refused: 0,
            printed: Vec::new(),
        })
    }

    fn line(&mut self, bytes: &[u8]) {
        if bytes.len() > MAX_LINE_BYTES {
            return self.refuse(&format!("a line of {} bytes is too long", bytes.len()));
        }
        let line = String::from_utf8_lossy(bytes).trim().to_owned();
        if !line.is_empty() {
            self.lines.push_back(line);
        }
    }

    /// Says as many lines as may be under way.
    fn say(&mut self, link: &mut Link) -> Outcome {
        while let Some(line) = self.lines.front() {
            let Some(room) = link.room().filter(|room| room.unanswered() < WINDOW) else { break };
            match command::read(line).filter(|_| self.person).unwrap_or(Command::Say(line)) {
                Command::Say(text) => room.say(text),
                Command::Users => room.ask_users(),
                Command::Quit => {
                    self.lines.clear();
                    self.ended = true;
                    break;
                }
                Command::Help => HELP.iter().for_each(|line| notice(line)),
                Command::Unknown(word) => notice(&format!("there is no {word}: /help lists commands")),
            }
            self.lines.pop_front();
        }
        self.end(link)
    }

    /// Leaves when nothing is left to say and everything is answered.
    fn end(&self, link: &Link) -> Outcome {
        let is_done = self.ended && self.lines.is_empty() && self.has_joined && link.is_quiet();
        match self.refused {
            _ if !is_done => Continue(()),
            0 => Break(Ok(())),
            1 => Break(Err(failed("a message was not sent".into()))),
            many => Break(Err(failed(format!("{many} messages were not sent")))),
        }
    }

    fn refuse(&mut self, why: &str) {
        self.refused += 1;
        notice(why);
    }

    fn print(&mut self, line: &[Span]) {
        for span in line {
            let is_styled = span.style != Style::Plain;
            if is_styled {
                self.printed.extend_from_slice(span.style.code().as_bytes());
            }
            self.printed.extend_from_slice(span.text.as_bytes());
            if is_styled {
                self.printed.extend_from_slice(Style::Plain.code().as_bytes());
            }
        }
        self.printed.push(b'\n');
    }

    fn news(&mut self, news: News, link: &mut Link) -> Outcome {
        match news {
            News::NameWanted => link.join(self.name.as_deref()),
            News::NameRefused(why) => return Break(Err(failed(format!("the name is refused: {why}")))),
            News::Joined(name) => {
                if std::mem::replace(&mut self.has_joined, true) {
                    notice(&format!("connected again, as {name}"));
                }
            }
            News::Said(_) => {}
            News::NotSaid { text, why } => self.refuse(&format!("not sent: {why}: {}", shown(&text))),
            News::Object(object) => {
                self.printed.extend_from_slice(object.as_bytes());
                self.printed.push(b'\n');
            }
            News::Trouble(why) => notice(&format!("the server says: {why}")),
            // Its object has been printed.
            _ if self.json => {}
            news => {
                if let Some(line) = self.look.news(&news) {
                    self.print(&line);
                }
            }
        }
        self.say(link)
    }
}

impl Face for Pipe {
    type Error = Failure;

    fn wants_input(&self, link: &Link) -> bool {
        !self.ended && link.is_joined() && self.lines.is_empty()
    }

    fn input(&mut self, bytes: &[u8], link: &mut Link) -> Outcome {
        let mut rest = bytes;
        while let Some(end) = rest.iter().position(|&byte| byte == b'\n') {
            let mut line = std::mem::take(&mut self.partial);
            line.extend_from_slice(&rest[..end]);
            rest = &rest[end + 1..];
            self.line(&line);
        }
        // Of a line that is too long only so much is kept that it is known to be.
        let room = (MAX_LINE_BYTES + 1).saturating_sub(self.partial.len());
        self.partial.extend_from_slice(&rest[..rest.len().min(room)]);
        if bytes.is_empty() {
            self.ended = true;
            let line = std::mem::take(&mut self.partial);
            self.line(&line);
        }
        self.say(link)
    }

    fn hear(&mut self, event: Event, link: &mut Link) -> Outcome {
        match event {
            Event::News(news) => self.news(news, link),
            Event::Failed(error) => Break(Err(hopeless(error))),
            Event::Lost { why, unconfirmed, again, is_news } => {
                for text in &unconfirmed {
                    self.refuse(&format!("not confirmed, perhaps not sent: {}", shown(text)));
                }
                match again {
                    // Whoever does not get in the first time had better know.
                    _ if !self.has_joined => {
                        return Break(Err(Failure { exit: crate::UNAVAILABLE, ..lost(&why) }));
                    }
                    None => return Break(Err(lost(&why))),
                    Some(pause) if is_news => {
                        let pause = pause.as_secs_f32();
                        notice(&format!("no connection: {why}; trying again in {pause:.1}s"));
                    }
                    Some(_) => {}
                }
                self.end(link)
            }
        }
    }

    fn signal(&mut self, signal: Signal) -> Outcome {
        match signal {
            Signal::HangUp | Signal::Interrupt | Signal::Terminate => {
                Break(Err(Failure { exit: 128 + signal.number(), message: "stopped by a signal".into() }))
            }
            Signal::Resize | Signal::Continue | Signal::User1 => Continue(()),
            Signal::Suspend => match terminal::suspend() {
                Ok(()) => Continue(()),
                Err(error) => Break(Err(Failure::system(error.into()))),
            },
        }
    }

    fn show(&mut self) -> io::Result<()> {
        let printed = std::mem::take(&mut self.printed);
        write_whole(&mut self.output, &printed)
    }
}

/// A line on standard error; nobody is left to tell if that fails.
fn notice(text: &str) {
    let _ = io::stderr().write_all(format!("rawline: {}\n", log::escaped(text)).as_bytes());
}
