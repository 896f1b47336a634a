//! A JSON client: its requests in every dialect and framing, and the exact objects it must be sent.
//!
//! Answers are planned when a request is made, and filled when the service is called; pushes are added when the room is
//! told something. How many pushes stand before an answer is known, too, for whatever reached the service. `asks.rs` is
//! what it says, `params.rs` how it writes parameters, `mistakes.rs` what nobody should send, `remains.rs` what comes of
//! broken texts, `errors.rs` what of mistakes, `answer.rs` what an answer looks like, `hears.rs` how it judges what it is sent.

mod answer;
mod asks;
mod errors;
mod hears;
mod mistakes;
mod params;
mod remains;

use std::collections::VecDeque;
use std::rc::Rc;

use super::Notice;
use crate::sim::bucket::Bucket;
use crate::sim::room::Who;
pub use answer::Outcome;
use answer::{Answer, Scan};

/// How a client ends its texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ends {
    /// With nothing, or with spaces.
    Bare,
    /// With LF.
    Lf,
    /// With CR LF.
    CrLf,
    /// With nothing at first, with LF after a while.
    Later,
}

/// What it does that nobody should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Abuse {
    None,
    /// At the end, a text over `max_message_bytes`.
    TooLong,
    /// At the end, more than `max_depth` brackets.
    TooDeep,
    /// At the end, half a text, then FIN.
    Half,
    /// At the end, half a text, and then nothing.
    Stall,
    /// At the end, something that makes the handler panic.
    Boom,
}

/// What the service must be asked next by this client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    pub method: &'static str,
    pub arg: Option<String>,
    /// Whose answer this is: the number of the answer, and the place in its batch. `None`: a notification.
    pub slot: Option<(u64, usize)>,
    /// It is an element of a batch.
    pub is_in_batch: bool,
    /// How many bytes this client has said when all of it is said.
    end: u64,
}

pub struct Rpc {
    pub who: Who,
    pub todo: usize,
    pub abuse: Abuse,
    /// How many answers it lets be outstanding.
    pub patience: usize,
    pub ends: Ends,
    /// 0: seed; 1: 2.0; 2: both.
    pub dialects: u8,
    pub plan: VecDeque<Planned>,
    answers: VecDeque<Answer>,
    /// The number of the first of them.
    first: u64,
    pushes: VecDeque<Rc<Notice>>,
    /// Pushes that have come, and pushes that were to come.
    heard: u64,
    told: u64,
    /// Bytes that it was to be sent, at least and at most.
    pub due: (u64, u64),
    v2: bool,
    /// Which dialect it speaks behind so many answers.
    turns: VecDeque<(u64, bool)>,
    buffer: Vec<u8>,
    /// How far the first object of it has been looked at.
    scan: Scan,
    lines: bool,
    must_lf: bool,
    /// It has ended a text with LF.
    may_lf: bool,
    /// And that text has an answer.
    must_see_lf: bool,
    /// It waits until everything is answered.
    waits: bool,
    pub heartbeat: u64,
    pub was_pinged: bool,
    /// A deferred or panicking call, or a bad frame, is in its script: why it may be closed.
    pub may_be_refused: bool,
    pub may_panic: bool,
    /// It was told that the server stops, or that there are too many connections.
    pub is_late: bool,
    pub turned_away: bool,
    /// The reasons for which it may have been closed, if it took too long.
    pub timeouts: &'static [&'static str],
    said: u64,
    /// Bytes of remains that its latest text ends with, and what comes of them.
    remains: Option<(u64, Outcome)>,
    /// Calls of it that are deferred: at most one; and when the last one was answered, in microseconds.
    pub deferred: u32,
    pub answered_late: u64,
    next_id: u64,
    /// There is a rate, of so many requests a second, and this is what it should leave to this client.
    pub is_limited: bool,
    rate: usize,
    pub bucket: Bucket,
    /// Requests that were refused for it.
    pub refused: u64,
    /// Pings that have come; whether it answers them with one of its own.
    pub pings: u64,
    /// Those before it last asked for a heartbeat.
    pub pings_before: u64,
    /// When it first asked for pings, in microseconds, and the fewest seconds between them.
    pub pinged_since: Option<(u64, u64)>,
    pub is_lively: bool,
    /// Errors that it has got, by kind; and batches with too many elements that it has sent.
    pub faults: [u64; 6],
    pub large_batches: u64,
    /// It has sent a batch to which there is no answer.
    has_silent_batch: bool,
    /// It may ask for long answers, since it takes them quickly.
    pub is_greedy: bool,
    /// It says much at once.
    pub is_loud: bool,
}

impl Rpc {
    pub fn new(who: Who, todo: usize, ends: Ends, dialects: u8, patience: usize, abuse: Abuse) -> Self {
        Self {
            who,
            todo: todo + usize::from(abuse != Abuse::None),
            abuse,
            patience,
            ends,
            dialects,
            plan: VecDeque::new(),
            answers: VecDeque::new(),
            first: 0,
            pushes: VecDeque::new(),
            heard: 0,
            told: 0,
            due: (0, 0),
            v2: false,
            turns: VecDeque::new(),
            buffer: Vec::new(),
            scan: Scan::default(),
            lines: false,
            must_lf: false,
            may_lf: false,
            must_see_lf: false,
            waits: false,
            heartbeat: 0,
            was_pinged: false,
            may_be_refused: false,
            may_panic: false,
            is_late: false,
            turned_away: false,
            timeouts: &[],
            said: 0,
            remains: None,
            deferred: 0,
            answered_late: 0,
            next_id: 0,
            is_limited: false,
            rate: 0,
            bucket: Bucket::full(),
            refused: 0,
            pings: 0,
            pings_before: 0,
            pinged_since: None,
            is_lively: false,
            faults: [0; 6],
            large_batches: 0,
            has_silent_batch: false,
            is_greedy: false,
            is_loud: false,
        }
    }

    fn plan_answer(&mut self, v2: bool, is_batch: bool, parts: Vec<(Option<String>, Option<Outcome>)>) {
        let answer =
            Answer { v2, is_batch, parts, behind: None, end: u64::MAX, remains: None, owed: 1, again: None };
        if answer.is_whole() {
            self.due.1 += answer.most_bytes();
        }
        self.answers.push_back(answer);
    }

    /// What was said last ends behind so many bytes.
    pub fn ends_at(&mut self, end: u64) {
        let fresh = self.plan.iter_mut().rev().take_while(|planned| planned.end == u64::MAX);
        fresh.for_each(|planned| planned.end = end);
        let fresh = self.answers.iter_mut().rev().take_while(|answer| answer.end == u64::MAX);
        fresh.for_each(|answer| answer.end = end);
        if let (Some((bytes, outcome)), Some(answer)) = (self.remains.take(), self.answers.back_mut()) {
            (answer.remains, answer.again) = (Some((end - bytes, end)), Some(outcome));
        }
    }

    /// All of its first answer has come.
    fn pop_answer(&mut self) {
        self.answers.pop_front();
        while let Some(&(at, v2)) = self.turns.front()
            && at <= self.first
        {
            self.v2 = v2;
            self.turns.pop_front();
        }
        self.first += 1;
    }

    /// What of its first `said` bytes is not heard or not answered.
    pub fn is_owed(&self, said: u64) -> Option<String> {
        let unheard = self.plan.iter().find(|planned| planned.end <= said && !self.is_limited);
        let unanswered = self.answers.iter().find(|answer| answer.end <= said);
        unheard
            .map(|planned| format!("{planned:?} was not heard"))
            .or(unanswered.map(|answer| format!("{} has not come", answer.text(answer.v2))))
    }

    /// Whether there may be errors that it has not got, or not been waiting for.
    pub fn may_have_missed(&self) -> bool {
        !self.answers.is_empty() || self.is_late || !self.timeouts.is_empty() || !self.buffer.is_empty()
    }

    /// Answers that it has got.
    pub fn answered(&self) -> u64 {
        self.first
    }

    fn next_answer(&self) -> u64 {
        self.first + self.answers.len() as u64
    }

    fn turn_to(&mut self, v2: bool) {
        let at = self.next_answer();
        self.turns.push_back((at, v2));
    }

    /// The service was called for this slot, and this must be what comes of it, at once or later.
    pub fn fill(&mut self, slot: Option<(u64, usize)>, outcome: Outcome, is_late: bool) {
        let Some((number, place)) = slot else { return };
        let Some(answer) = number.checked_sub(self.first).and_then(|at| self.answers.get_mut(at as usize))
        else {
            return;
        };
        answer.parts[place].1 = Some(outcome);
        if answer.is_batch || !is_late {
            answer.behind.get_or_insert(self.told);
        }
        if answer.is_batch && answer.is_too_large() {
            answer.refuse_from(place);
            self.plan.retain(|planned| planned.slot.is_none_or(|(other, _)| other != number));
        }
        if answer.is_whole() {
            self.due.1 += answer.most_bytes();
        }
    }

    /// Its late answer of this number leaves now, behind all that it was told.
    pub fn is_answered(&mut self, number: u64) {
        if let Some(at) = number.checked_sub(self.first)
            && let Some(answer) = self.answers.get_mut(at as usize)
        {
            answer.behind.get_or_insert(self.told);
        }
    }

    /// The service is called for the next request that can be this one: those before it were refused. Whether they
    /// were so for a reason.
    pub fn skip_to(&mut self, method: &str, arg: Option<&str>) -> bool {
        let is_it = |planned: &Planned| planned.method == method && planned.arg.as_deref() == arg;
        let Some(at) = self.plan.iter().position(is_it) else { return true };
        let refused: Vec<Planned> = self.plan.drain(..at).collect();
        self.refused += refused.len() as u64;
        for planned in &refused {
            if let Some((number, place)) = planned.slot
                && let Some(at) = number.checked_sub(self.first)
                && let Some(answer) = self.answers.get_mut(at as usize)
            {
                answer.parts[place].1 = Some(Outcome::too_fast(self.rate));
                self.due.1 += if answer.is_whole() { answer.most_bytes() } else { 0 };
            }
        }
        refused.is_empty() || self.bucket.is_empty()
    }

    /// An answer comes, and the service was not called for all of it: the rest was refused. Whether that was right.
    fn refuse_rest(&mut self) -> bool {
        let Some(answer) = self.answers.front_mut() else { return true };
        for (_, outcome) in &mut answer.parts {
            outcome.get_or_insert_with(|| Outcome::too_fast(self.rate));
        }
        self.due.1 += answer.most_bytes();
        let is_its = |planned: &Planned| planned.slot.is_some_and(|slot| slot.0 == self.first);
        if let Some(last) = self.plan.iter().rposition(is_its) {
            self.refused += self.plan.drain(..=last).count() as u64;
        }
        self.bucket.is_empty()
    }

    /// Whether what it is told may have to wait behind the answer to a batch.
    pub fn has_a_batch(&self) -> bool {
        self.has_silent_batch || self.answers.iter().any(|answer| answer.is_batch)
    }

    /// It has asked for a heartbeat, at this time.
    pub fn asks_for_pings(&mut self, now: u64) {
        if self.heartbeat > 0 {
            let (since, least) = self.pinged_since.unwrap_or((now, self.heartbeat));
            self.pinged_since = Some((since, least.min(self.heartbeat)));
        }
    }

    /// The room tells it something.
    pub fn expect(&mut self, notice: &Rc<Notice>) {
        self.told += 1;
        let sizes = [false, true].map(|v2| (notice.form(v2, false).len(), notice.form(v2, true).len() + 1));
        self.due.0 += sizes[0].0.min(sizes[1].0) as u64;
        self.due.1 += sizes[0].1.max(sizes[1].1) as u64;
        self.pushes.push_back(Rc::clone(notice));
    }

    pub fn awaits(&self) -> Option<String> {
        if self.is_late || self.turned_away {
            return None;
        }
        let who = self.who;
        if let Some(planned) = self.plan.front().filter(|_| !self.is_limited) {
            return Some(format!("client {who}: the service was not asked {planned:?}"));
        }
        if !self.answers.is_empty() {
            let first = self.answers.front().map(|answer| answer.text(answer.v2));
            return Some(format!(
                "client {who}: {} answers have not come, {first:?} ({:?})",
                self.answers.len(),
                self.abuse
            ));
        }
        if let Some(push) = self.pushes.front() {
            return Some(format!("client {who}: was not told {}", push.params));
        }
        if !self.buffer.is_empty() {
            return Some(format!("client {who}: half of an object came"));
        }
        if self.must_see_lf && !self.lines && self.abuse == Abuse::None {
            return Some(format!("client {who}: LF has not come"));
        }
        None
    }

    /// Whether it has all answers to what ended within so many bytes: it is waited for, and nobody else.
    pub fn is_inside_a_text(&self, read: u64) -> bool {
        match self.plan.front() {
            Some(next) => next.end > read && next.slot.is_none_or(|(number, _)| number == self.first),
            None => self.answers.len() <= 1,
        }
    }

    /// Whether everything that it asked has reached the service.
    pub fn has_been_heard(&self) -> bool {
        self.plan.is_empty() || self.is_limited
    }
}
