//! The chat as lines of text, seen from the client.
//!
//! Owns the line that is still arriving. The protocol has no answers, so every message is followed by `/ping`: the PONG
//! says that the message before it has been dealt with, and a complaint that came in between is about it. So a
//! client knows what was said, in which place, and when nothing is under way. Sans-IO; called as a
//! [`Session`].

use std::collections::VecDeque;

use memchr::memchr;

use super::{Garbage, News, Session};

const PROMPT: &[u8] = b"Enter your name : ";
const PONG: &str = "PONG";
const USERS: &str = "Online users (";
/// How complaints about a message begin.
const COMPLAINTS: [&str; 3] = ["Message too long", "Message cannot be empty", "Line too long"];

/// A line is shown in pieces of this size when it does not end.
const MAX_LINE_BYTES: usize = 1 << 16;

/// The session of the line protocol.
#[derive(Default)]
pub(super) struct Line {
    /// The line that is arriving.
    line: Vec<u8>,
    state: State,
    asked: VecDeque<Asked>,
    /// What the server has said about the message at the front of `asked`.
    complaint: Option<String>,
    news: VecDeque<News>,
    output: Vec<u8>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum State {
    /// The prompt is to come; if one was answered before, with the reason why there is another.
    #[default]
    Unnamed,
    Prompted,
    /// A name is given; what the server last said to it.
    Named(String),
    Joined,
}

enum Asked {
    Say(String),
    Users,
}

impl Line {
    fn line(&mut self) {
        let mut bytes = std::mem::take(&mut self.line);
        bytes.pop_if(|last| *last == b'\r');
        let line = String::from_utf8_lossy(&bytes).into_owned();
        if let State::Named(said) = &mut self.state {
            match welcomed(&line) {
                Some(name) => {
                    self.news.push_back(News::Joined(name.into()));
                    self.state = State::Joined;
                }
                None => {
                    *said = line;
                    return;
                }
            }
        }
        match self.asked.front() {
            Some(Asked::Say(_)) if line == PONG => {
                let Some(Asked::Say(text)) = self.asked.pop_front() else { unreachable!() };
                self.news.push_back(match self.complaint.take() {
                    Some(why) => News::NotSaid { text, why },
                    None => News::Said(text),
                });
            }
            Some(Asked::Say(_)) if COMPLAINTS.iter().any(|complaint| line.starts_with(complaint)) => {
                self.complaint = Some(line);
            }
            Some(Asked::Users) if line.starts_with(USERS) => {
                self.asked.pop_front();
                let names = line.split_once(": ").map_or("", |(_, names)| names);
                self.news.push_back(News::Users(names.split(", ").map(String::from).collect()));
            }
            _ => self.news.push_back(match line.split_once(": ") {
                Some((name, text)) => News::Chat { name: name.into(), text: text.into() },
                None => News::System(line),
            }),
        }
    }

    /// The prompt has no end of line, so it is looked for in what has arrived of one.
    fn prompt(&mut self) {
        if self.line != PROMPT {
            return;
        }
        match std::mem::replace(&mut self.state, State::Prompted) {
            State::Unnamed => self.news.push_back(News::NameWanted),
            State::Named(why) => self.news.push_back(News::NameRefused(why)),
            other => {
                self.state = other;
                return;
            }
        }
        self.line.clear();
    }
}

/// The name in `Welcome to the chat, NAME! ...`.
fn welcomed(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("Welcome to the chat, ")?;
    Some(rest.rsplit_once('!')?.0)
}

impl Session for Line {
    fn receive(&mut self, mut bytes: &[u8]) -> Result<(), Garbage> {
        if self.state == State::Unnamed && bytes.starts_with(b"{") {
            return Err(Garbage("this server speaks JSON-RPC: leave --line out".into()));
        }
        while let Some(end) = memchr(b'\n', bytes) {
            self.line.extend_from_slice(&bytes[..end]);
            bytes = &bytes[end + 1..];
            self.line();
        }
        self.line.extend_from_slice(bytes);
        self.prompt();
        if self.line.len() > MAX_LINE_BYTES {
            self.line();
        }
        Ok(())
    }

    fn next(&mut self) -> Option<News> {
        self.news.pop_front()
    }

    fn output(&mut self) -> &mut Vec<u8> {
        &mut self.output
    }

    fn join(&mut self, name: Option<&str>) {
        self.output.extend_from_slice(one_line(name.unwrap_or_default()).as_bytes());
        self.output.push(b'\n');
        self.state = State::Named(String::new());
    }

    fn say(&mut self, text: &str) {
        // What begins with a slash would be a command.
        if text.trim_start().starts_with('/') {
            self.output.push(b'/');
        }
        self.output.extend_from_slice(one_line(text).trim_start().as_bytes());
        self.output.extend_from_slice(b"\n/ping\n");
        self.asked.push_back(Asked::Say(text.into()));
    }

    fn ask_users(&mut self) {
        self.output.extend_from_slice(b"/users\n");
        self.asked.push_back(Asked::Users);
    }

    fn unanswered(&self) -> usize {
        self.asked.len() + usize::from(matches!(self.state, State::Named(_)))
    }

    fn unconfirmed(&mut self) -> Vec<String> {
        let say = |asked| if let Asked::Say(text) = asked { Some(text) } else { None };
        self.asked.drain(..).filter_map(say).collect()
    }
}

fn one_line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn news(session: &mut dyn Session) -> Vec<News> {
        std::iter::from_fn(|| session.next()).collect()
    }

    fn joined() -> Line {
        let mut session = Line::default();
        session.receive(b"Enter your").unwrap();
        assert_eq!(session.next(), None);
        session.receive(b" name : ").unwrap();
        assert_eq!(news(&mut session), [News::NameWanted]);
        session.join(Some("SYSTEM"));
        session.receive(b"Username is reserved\nEnter your name : ").unwrap();
        assert_eq!(news(&mut session), [News::NameRefused("Username is reserved".into())]);
        session.join(Some("Ann!"));
        assert_eq!(std::mem::take(session.output()), b"SYSTEM\nAnn!\n");
        assert_eq!(session.unanswered(), 1);
        session.receive(b"Welcome to the chat, Ann!! /help lists commands.\n").unwrap();
        assert_eq!(session.next(), Some(News::Joined("Ann!".into())));
        assert_eq!(
            session.next(),
            Some(News::System("Welcome to the chat, Ann!! /help lists commands.".into()))
        );
        assert_eq!(session.unanswered(), 0);
        session
    }

    #[test]
    fn a_slash_is_said_and_not_obeyed() {
        let mut session = joined();
        session.say("/quit");
        session.say("hi");
        session.ask_users();
        assert_eq!(session.output(), b"//quit\n/ping\nhi\n/ping\n/users\n");
    }

    const ARRIVES: &str = "Bob: hé: yes\r\nPONG\nBob has left the chat!\nMessage too long\nPONG\n\
                           Online users (2): Ann, Bob\nPONG\n";

    proptest! {
        #[test]
        fn news_is_the_same_however_it_arrives(cuts in prop::collection::vec(0..ARRIVES.len(), 0..12)) {
            let mut session = joined();
            session.say("one");
            session.say("two");
            session.ask_users();
            let mut cuts = cuts;
            cuts.extend([0, ARRIVES.len()]);
            cuts.sort_unstable();
            for piece in cuts.windows(2) {
                session.receive(&ARRIVES.as_bytes()[piece[0]..piece[1]]).unwrap();
            }
            prop_assert_eq!(news(&mut session), [
                News::Chat { name: "Bob".into(), text: "hé: yes".into() },
                News::Said("one".into()),
                News::System("Bob has left the chat!".into()),
                News::NotSaid { text: "two".into(), why: "Message too long".into() },
                News::Users(vec!["Ann".into(), "Bob".into()]),
                // Nothing was asked: this is a line like any other.
                News::System("PONG".into()),
            ]);
        }
    }

    #[test]
    fn what_was_not_confirmed_is_not_forgotten() {
        let mut session = joined();
        session.say("one");
        session.say("two");
        session.receive(b"PONG\n").unwrap();
        assert_eq!(session.unconfirmed(), ["two"]);
    }

    #[test]
    fn the_other_protocol_is_recognised() {
        let error = Line::default().receive(b"{\"error\":\"x\"}").unwrap_err();
        assert!(error.0.contains("--line"), "{error}");
    }
}
