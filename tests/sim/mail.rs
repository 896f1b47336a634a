//! Letters to the server from other threads: answers to calls that were deferred, and what somebody outside asks for.
//!
//! The server reads all that are there when it has looked at its events, in their order. What must come of them is done
//! here at the same moment, so it is known what stands before what.

use std::rc::Rc;

use rawline::api::{Completer, ConnId, Effects};
use serde_json::json;

use super::client::{Notice, Talk};
use super::faults::Fault;
use super::room::Who;
use super::tricks::{How, SPEAKER, refusal};
use super::world::{PORT, State};

/// A call that somebody will answer.
pub struct Promise {
    pub completer: Completer,
    pub how: How,
    pub number: u64,
    /// Whose it is, and the number of the answer there.
    pub who: Who,
    pub answer: Option<u64>,
}

/// What lies in the server's mailbox.
pub enum Letter {
    /// The answer of this number, if there is one, to a deferred call of this client.
    Answer(usize, Option<u64>),
    /// A file was stored.
    Stored,
    Wishes(Vec<Wish>),
}

/// What somebody outside asks for. Whoever is meant may have gone by then, and somebody else have his place.
pub enum Wish {
    /// The room is told, but for this one.
    Tell(Option<(usize, ConnId)>, Rc<Notice>),
    Send(usize, ConnId, Rc<Notice>),
    Line(usize, ConnId, String),
    /// It hears the room, or does so no more.
    Hear(usize, ConnId, bool),
}

impl Wish {
    fn ask(&self, fx: &mut Effects) {
        let params =
            |notice: &Notice| serde_json::from_str::<serde_json::Value>(&notice.params).expect("JSON");
        match self {
            Wish::Tell(except, notice) => {
                let (except, line) = (except.map(|pair| pair.1), notice.line.as_deref().unwrap_or_default());
                fx.announce(except, notice.kind, &params(notice), format_args!("{line}"));
            }
            Wish::Send(_, conn, notice) => fx.send(*conn, notice.kind, &params(notice)),
            Wish::Line(_, conn, text) => fx.line(*conn, format_args!("{text}")),
            Wish::Hear(_, conn, true) => fx.subscribe(*conn),
            Wish::Hear(_, conn, false) => fx.unsubscribe(*conn),
        }
    }
}

impl State {
    /// Answers a deferred call in whatever way was promised.
    pub fn keep(&mut self, promise: Promise) {
        let Promise { completer, how, number, who, answer } = promise;
        match how {
            How::Late | How::Now | How::Refused => completer.answer(&json!({ "late": number })),
            How::Lost => drop(completer),
            How::Failed => completer.fail(refusal()),
        }
        if how.is_deferred() {
            self.mail.push_back(Letter::Answer(usize::from(who - PORT), answer));
        }
    }

    /// Somebody outside writes some letters in a row.
    pub fn post(&mut self) {
        let Some(handle) = self.handle.clone() else { return };
        for _ in 0..self.rng.range(1, 4) {
            let wishes: Vec<Wish> = (0..self.rng.range(1, 3)).map(|_| self.draw_wish()).collect();
            if handle.post(|fx| wishes.iter().for_each(|wish| wish.ask(fx))).is_err() {
                self.breaks("mail", "a letter is refused, and there are few");
            }
            self.mail.push_back(Letter::Wishes(wishes));
        }
        self.faults.happened(Fault::Post);
    }

    fn draw_wish(&mut self) -> Wish {
        self.wishes += 1;
        let text = format!("news {}", self.wishes);
        let news = |line| Notice::new("news", &text, SPEAKER, line);
        let known: Vec<(usize, ConnId)> =
            self.ids.iter().enumerate().filter_map(|(index, id)| Some((index, (*id)?))).collect();
        if known.is_empty() || self.rng.one_in(2) {
            let except = (!known.is_empty() && self.rng.one_in(3)).then(|| *self.rng.pick(&known));
            return Wish::Tell(except, news(Some(text.clone())));
        }
        let (index, conn) = *self.rng.pick(&known);
        match &self.clients[index].talk {
            Talk::Line(_) => Wish::Line(index, conn, text),
            _ if self.rng.one_in(2) => Wish::Send(index, conn, news(None)),
            _ => Wish::Hear(index, conn, self.rng.one_in(2)),
        }
    }

    /// The server reads its letters, up to one of which we will hear when it is read.
    pub fn read_mail(&mut self) {
        while let Some(letter) = self.mail.pop_front() {
            match letter {
                Letter::Answer(index, answer) => {
                    if let Some(rpc) = self.clients[index].rpc() {
                        rpc.deferred -= 1;
                        rpc.answered_late = self.now;
                        if let Some(answer) = answer {
                            rpc.is_answered(answer);
                        }
                    }
                }
                Letter::Stored => return self.mail.push_front(letter),
                Letter::Wishes(wishes) => wishes.into_iter().for_each(|wish| self.grant(wish)),
            }
        }
    }

    /// The service hears of a stored file: its letter is the one to be read.
    pub fn stored_mail(&mut self) {
        if !matches!(self.mail.pop_front(), Some(Letter::Stored)) {
            self.breaks("mail", "the service hears of a file before the letter about it is read");
        }
    }

    fn grant(&mut self, wish: Wish) {
        // Who has ended is told things as long as it is told anything.
        let socket = |index: usize| &self.sockets[index];
        let is_there =
            |index: usize| socket(index).is_open() && !socket(index).server_fin && !socket(index).rst;
        match wish {
            Wish::Tell(except, notice) => self.announce(except.map(|pair| pair.0), &notice),
            Wish::Send(index, _, notice) if is_there(index) => self.clients[index].expect(&notice),
            Wish::Line(index, _, text) if is_there(index) => {
                if let Some(line) = self.clients[index].line() {
                    line.expect_answer(&text);
                }
            }
            Wish::Hear(index, conn, hears) if self.seats[conn.index()] == Some(index) => {
                self.hears[index] = hears;
            }
            Wish::Send(..) | Wish::Line(..) | Wish::Hear(..) => {}
        }
    }
}
