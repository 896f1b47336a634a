//! A JSON client: its requests in every dialect and framing, and the exact objects it must be sent.
//!
//! Answers are planned when a request is made, and filled when the service is called; pushes are added when the room is
//! told something. How many pushes stand before an answer is known, too, for whatever reached the service.

use std::collections::VecDeque;
use std::rc::Rc;

use rawline::Limits;

use super::{Broken, Notice, Scene, almost_hidden, broken, escape, json, words};
use crate::sim::bucket::Bucket;
use crate::sim::figures::{Name, kind_of};
use crate::sim::rng::Rng;
use crate::sim::room::Who;

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

/// What came of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Result(String),
    /// A rule of the chat.
    Refused(i32, String),
    /// An error of the protocol.
    Error(i32, &'static str),
    /// Statistics, of which these are known.
    Stats(Vec<(Name, u64)>),
}

/// What comes of a request too many.
const TOO_FAST: Outcome = Outcome::Error(-32001, "Too fast");
/// More bytes than a sentence for people has in an error.
const SENTENCE: u64 = 300;
/// More bytes than statistics have.
const STATS: u64 = 40_000;

struct Answer {
    v2: bool,
    is_batch: bool,
    /// Id, and what came of it as soon as that is known.
    parts: Vec<(Option<String>, Option<Outcome>)>,
    /// It stands behind so many pushes; a batch at most behind so many.
    behind: Option<u64>,
    /// How many bytes this client has said when all of its request is said.
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
    /// It was closed for taking too long.
    pub timed_out: bool,
    said: u64,
    next_id: u64,
    /// There is a rate, and this is what it should leave to this client.
    pub is_limited: bool,
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
}

/// How pushes begin, in both dialects; and two that no room sends.
const PUSHES: [&str; 2] = ["{\"type\":", "{\"jsonrpc\":\"2.0\",\"method\":"];
const PINGS: [&str; 2] = ["{\"type\":\"ping\"}", "{\"jsonrpc\":\"2.0\",\"method\":\"ping\",\"params\":{}}"];
const FULL: &str = "{\"error\":\"Too many connections\",\"code\":-32000}";

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
            timed_out: false,
            said: 0,
            next_id: 0,
            is_limited: false,
            bucket: Bucket::full(),
            refused: 0,
            pings: 0,
            pings_before: 0,
            pinged_since: None,
            is_lively: false,
            faults: [0; 6],
            large_batches: 0,
            has_silent_batch: false,
        }
    }

    pub fn say(&mut self, scene: &mut Scene<'_>, out: &mut VecDeque<u8>) -> bool {
        if self.todo == 0 || self.answers.len() > self.patience || self.waits && !self.answers.is_empty() {
            return false;
        }
        self.is_limited = scene.limits.rate_messages > 0;
        let (was_skipping, answers) = (std::mem::take(&mut self.waits), self.next_answer());
        self.todo -= 1;
        let mut text = String::new();
        if self.first + self.next_id + self.answers.len() as u64 == 0
            && self.ends == Ends::Bare
            && scene.rng.one_in(6)
        {
            // It ends nothing, so it says nothing.
            text.push_str(" \n");
        }
        let mut has_end = true;
        if self.todo == 0 && self.abuse != Abuse::None {
            has_end = self.misbehave(scene, &mut text);
        } else if scene.rng.one_in(40) {
            self.break_text(scene, was_skipping, &mut text);
            has_end = !self.waits;
        } else if self.dialects > 0 && scene.rng.one_in(10) {
            self.batch(scene, &mut text);
        } else {
            let v2 = self.dialects == 1 || self.dialects == 2 && scene.rng.one_in(2);
            self.request(scene, v2, None, &mut text);
        }
        if self.ends == Ends::Later && scene.rng.one_in(6) {
            self.ends = Ends::Lf;
        }
        if has_end {
            match self.ends {
                Ends::Lf => text.push('\n'),
                Ends::CrLf => text.push_str(" \r\n"),
                Ends::Bare | Ends::Later => text.push_str(scene.rng.pick::<&str>(&["", "", " ", "\t \r"])),
            }
            self.may_lf |= matches!(self.ends, Ends::Lf | Ends::CrLf);
            self.must_see_lf |= self.may_lf && self.next_answer() > answers;
        }
        out.extend(text.as_bytes());
        true
    }

    fn plan_answer(&mut self, v2: bool, is_batch: bool, parts: Vec<(Option<String>, Option<Outcome>)>) {
        let answer = Answer { v2, is_batch, parts, behind: None, end: u64::MAX };
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
        !self.answers.is_empty() || self.is_late || self.timed_out || !self.buffer.is_empty()
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

    /// Behind the script: what nobody should send. Whether it may end in LF.
    fn misbehave(&mut self, scene: &mut Scene<'_>, text: &mut String) -> bool {
        self.may_be_refused = true;
        let speaks_v2 = self.turns.back().map_or(self.v2, |turn| turn.1);
        let outcome = match self.abuse {
            Abuse::TooLong => {
                let most = scene.limits.max_message_bytes;
                // Some go on and on, and are not listened to.
                let more = if scene.rng.one_in(3) { 3 * most + 30_000 } else { scene.rng.size(0, most) };
                text.push_str(&format!("{{\"method\":\"{}", "x".repeat(most + more)));
                Outcome::Error(-32600, "Invalid request")
            }
            Abuse::TooDeep => {
                text.push_str(&"[".repeat(scene.limits.max_depth + scene.rng.size(1, 9)));
                Outcome::Error(-32700, "Parse error")
            }
            Abuse::Half => {
                text.push_str("{\"method\":\"ping\",\"params\":{\"a\":[1,2");
                Outcome::Error(-32700, "Parse error")
            }
            Abuse::Stall => {
                text.push_str("{\"method\":\"send_message\",\"params\":{\"message\":\"");
                Outcome::Error(-32002, "Timeout")
            }
            Abuse::Boom | Abuse::None => {
                self.may_panic = true;
                let slot = Some((self.next_answer(), 0));
                self.plan.push_back(Planned {
                    method: "boom",
                    arg: None,
                    slot,
                    is_in_batch: false,
                    end: u64::MAX,
                });
                self.turn_to(false);
                self.plan_answer(false, false, vec![(None, None)]);
                text.push_str("{\"method\":\"boom\"}");
                return true;
            }
        };
        self.plan_answer(speaks_v2, false, vec![(Some("null".into()).filter(|_| speaks_v2), Some(outcome))]);
        false
    }

    /// A text that is no JSON: one error, whatever follows up to its LF.
    fn break_text(&mut self, scene: &mut Scene<'_>, is_skipped: bool, text: &mut String) {
        let speaks_v2 = self.turns.back().map_or(self.v2, |turn| turn.1);
        let (broken, outcome) = if scene.rng.one_in(2) && !is_skipped {
            ("x", Outcome::Error(-32600, "Only JSON RPC messages are supported"))
        } else {
            ("{]", Outcome::Error(-32700, "Parse error"))
        };
        text.push_str(broken);
        if matches!(self.ends, Ends::Lf | Ends::CrLf) {
            text.push_str(" and more of it: ]} \"");
        } else {
            // Only a read that finds the socket empty ends it: so it waits for the answer.
            self.waits = true;
        }
        self.plan_answer(speaks_v2, false, vec![(Some("null".into()).filter(|_| speaks_v2), Some(outcome))]);
    }

    fn batch(&mut self, scene: &mut Scene<'_>, text: &mut String) {
        let most = scene.limits.max_batch.min(12);
        self.turn_to(true);
        let number = self.next_answer();
        let null = || Some("null".to_owned());
        if scene.rng.one_in(12) {
            let n = if scene.rng.one_in(2) { 0 } else { scene.limits.max_batch + 1 };
            self.large_batches += u64::from(n > 0);
            text.push_str(&format!("[{}]", vec!["1"; n].join(",")));
            let refused = Outcome::Error(-32600, "Invalid request");
            return self.plan_answer(true, false, vec![(null(), Some(refused))]);
        }
        let n = scene.rng.size(1, most);
        let mut parts = Vec::new();
        text.push('[');
        for i in 0..n {
            text.push_str(if i == 0 { "" } else { " , " });
            match scene.rng.range(0, 9) {
                0 => {
                    text.push_str(scene.rng.pick::<&str>(&["1", "\"x\"", "{}", "[]"]));
                    parts.push((null(), Some(Outcome::Error(-32600, "Invalid request"))));
                }
                1 | 2 => self.request(scene, true, Some((number, usize::MAX)), text),
                _ => {
                    self.request(scene, true, Some((number, parts.len())), text);
                    parts.push((Some(self.next_id.to_string()), None));
                }
            }
        }
        text.push(']');
        self.has_silent_batch |= parts.is_empty();
        if !parts.is_empty() {
            self.plan_answer(true, true, parts);
        }
    }

    /// One request. `batch`: its answer and its place in it; place `usize::MAX` is a notification's.
    fn request(&mut self, scene: &mut Scene<'_>, v2: bool, batch: Option<(u64, usize)>, text: &mut String) {
        let rng = &mut *scene.rng;
        let silent = match batch {
            Some((_, place)) => place == usize::MAX,
            None => v2 && rng.one_in(12),
        };
        self.next_id += 1;
        let id = match (v2, silent) {
            (_, true) => None,
            (true, false) if batch.is_some() => Some(self.next_id.to_string()),
            (true, false) => Some(match rng.range(0, 4) {
                0 => "null".into(),
                1 => format!("\"ï{}\"", self.next_id),
                _ => self.next_id.to_string(),
            }),
            (false, false) => rng.one_in(4).then(|| self.next_id.to_string()),
        };
        let kind = if self.is_limited { *rng.pick(&[13, 17, 18, 19, 40]) } else { rng.range(0, 39) };
        let (method, arg): (&'static str, Option<String>) = match kind {
            // Whoever may be refused says nothing twice: so it is known what was.
            40 => ("join_chat", Some(format!("n{} {}", self.who, self.next_id))),
            0..=2 => ("ping", None),
            3..=5 => ("get_users", rng.pick(&[None, Some("simple"), Some("full")]).map(Into::into)),
            6..=8 => {
                const NAMES: &[&str] = &[
                    "Ann",
                    "Bob",
                    "Zoë",
                    " Ann ",
                    "system",
                    "",
                    "User_1",
                    "User_10003",
                    "ſystem",
                    "日本語",
                    "Quo\"te",
                ];
                let name = match rng.range(0, 5) {
                    0 => None,
                    1 => Some(rng.pick(&["n", "ж"]).repeat(rng.size(48, 52))),
                    2 if rng.one_in(2) => Some(format!("a{}b", almost_hidden(rng))),
                    _ => Some(rng.pick(NAMES).to_string()),
                };
                ("join_chat", name)
            }
            9 | 10 => ("leave_chat", None),
            11 => ("set_heartbeat", Some(rng.pick(&["0", "3600", "1.5", "-1", "1", "86401"]).to_string())),
            12 if batch.is_none() && rng.one_in(2) => {
                ("get_stats", rng.pick(&[None, Some("simple"), Some("full"), Some("tall")]).map(Into::into))
            }
            12 if batch.is_none() => ("nope", None),
            13 | 14 => ("later", Some(self.next_id.to_string())),
            15 => ("send_message", rng.pick(&[None, Some("  "), Some("\n")]).map(Into::into)),
            16 if batch.is_none() => ("send_message", Some("ü".repeat(rng.size(998, 1002)))),
            _ => {
                self.said += 1;
                let most = if batch.is_none() && rng.one_in(10) { 60 } else { 8 };
                ("send_message", Some(format!("m{}.{} {}", self.who, self.said, words(rng, most))))
            }
        };
        let name = match method {
            "join_chat" => "username",
            "send_message" => "message",
            "get_users" | "get_stats" => "format",
            "set_heartbeat" => "seconds",
            _ => "number",
        };
        let version = if v2 { "\"jsonrpc\":\"2.0\"," } else { "" };
        let id_text = id.as_ref().map(|id| format!(",\"id\":{id}")).unwrap_or_default();
        let value = arg.as_ref().map(|arg| match method {
            "set_heartbeat" | "later" => arg.clone(),
            _ if rng.one_in(4) => escape(&json(arg)),
            _ => json(arg),
        });
        let params = match &value {
            None if method == "ping" && batch.is_none() && rng.one_in(4) => {
                format!(",\"params\":{}", edge(rng, scene.limits, version.len() + id_text.len()))
            }
            None => rng.pick(&["", "", ",\"params\":{}", ",\"params\":[]"]).to_string(),
            Some(value) if rng.one_in(4) => format!(",\"params\":[{value}]"),
            Some(value) if rng.one_in(4) => {
                format!(", \"params\" : {{ \"other\":[{{}}], \"{name}\": {value} }}")
            }
            Some(value) => format!(",\"params\":{{\"{name}\":{value}}}"),
        };
        text.push_str(&format!("{{{version}\"method\":\"{method}\"{params}{id_text}}}"));
        if batch.is_none() {
            self.turn_to(v2);
        }
        let slot = match batch {
            _ if silent => None,
            Some(slot) => Some(slot),
            None => Some((self.next_answer(), 0)),
        };
        if method == "nope" {
            if !silent {
                let unknown = Outcome::Error(-32601, "Method not found");
                self.plan_answer(v2, false, vec![(id, Some(unknown))]);
            }
            return;
        }
        self.plan.push_back(Planned { method, arg, slot, is_in_batch: batch.is_some(), end: u64::MAX });
        if batch.is_none() && !silent {
            self.plan_answer(v2, false, vec![(id, None)]);
        }
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
        if answer.is_whole() {
            self.due.1 += answer.most_bytes();
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
                answer.parts[place].1 = Some(TOO_FAST);
                self.due.1 += if answer.is_whole() { answer.most_bytes() } else { 0 };
            }
        }
        refused.is_empty() || self.bucket.is_empty()
    }

    /// An answer comes, and the service was not called for all of it: the rest was refused. Whether that was right.
    fn refuse_rest(&mut self) -> bool {
        let Some(answer) = self.answers.front_mut() else { return true };
        for (_, outcome) in &mut answer.parts {
            outcome.get_or_insert(TOO_FAST);
        }
        self.due.1 += answer.most_bytes();
        let is_its = |planned: &Planned| planned.slot.is_some_and(|slot| slot.0 == self.first);
        if let Some(last) = self.plan.iter().rposition(is_its) {
            self.refused += self.plan.drain(..=last).count() as u64;
        }
        self.bucket.is_empty()
    }

    /// Bytes of pushes that the kernel has not taken, at most, when these are on their way to it.
    pub fn unsent_pushes(&self, on_its_way: impl Iterator<Item = u8>) -> u64 {
        let bytes: Vec<u8> = self.buffer.iter().copied().chain(on_its_way).collect();
        let (mut rest, mut sent) = (&bytes[..], 0);
        while let Some(&first) = rest.first() {
            let Some(length) = (if first == b'\n' { Some(1) } else { object(rest) }) else { break };
            let object = &rest[..length];
            let is_push = PUSHES.iter().any(|begin| object.starts_with(begin.as_bytes()));
            sent += usize::from(is_push && !PINGS.iter().any(|ping| object == ping.as_bytes()));
            rest = &rest[length..];
        }
        // A ping more than the room knows of.
        50 + self.pushes.iter().skip(sent).map(|notice| notice.form(true, true).len() as u64 + 1).sum::<u64>()
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

    pub fn receive(&mut self, bytes: &[u8], scene: &Scene<'_>) -> Result<(), Broken> {
        self.buffer.extend_from_slice(bytes);
        let buffer = std::mem::take(&mut self.buffer);
        let mut rest = &buffer[..];
        while let Some(&first) = rest.first() {
            if self.must_lf || first == b'\n' && !self.lines {
                if first != b'\n' {
                    return broken("framing", "characters above ASCII before the first LF");
                }
                if !self.may_lf {
                    return broken("framing", "LF to a client that never sent one");
                }
                (self.lines, self.must_lf) = (true, false);
                rest = &rest[1..];
                continue;
            }
            if first != b'{' && first != b'[' {
                let seen = String::from_utf8_lossy(&rest[..rest.len().min(60)]);
                return broken("framing", format!("neither object nor array: {seen:?}"));
            }
            let Some(length) = object(rest) else { break };
            let (text, behind) = rest.split_at(length);
            if self.lines {
                match behind.first() {
                    None => break,
                    Some(b'\n') => {}
                    Some(_) => return broken("framing", "an object without its LF"),
                }
            }
            self.object(text, scene)?;
            rest = &behind[usize::from(self.lines)..];
        }
        self.buffer = rest.to_vec();
        Ok(())
    }

    fn object(&mut self, text: &[u8], scene: &Scene<'_>) -> Result<(), Broken> {
        let Ok(text) = std::str::from_utf8(text) else {
            return broken("framing", "what a client gets is not UTF-8");
        };
        if PUSHES.iter().any(|begin| text.starts_with(begin)) {
            return self.push(text);
        }
        if scene.turned_away && self.first == 0 && self.heard == 0 && text == FULL {
            self.turned_away = true;
            return Ok(());
        }
        if self.timed_out && text.contains("-32002") {
            return Ok(());
        }
        if self.is_limited
            && self.answers.front().is_some_and(|answer| !answer.is_whole())
            && !(scene.stopping && text.contains("-32004"))
            && !self.refuse_rest()
        {
            return broken("rate", format!("client {} was refused, and was not too fast: {text}", self.who));
        }
        let Some(answer) = self.answers.front() else {
            return broken("answers", format!("client {} asked nothing and got {text}", self.who));
        };
        let v2 = answer.v2;
        let whole = answer.is_whole();
        let expected = match &answer.parts[..] {
            [(id, Some(Outcome::Stats(numbers)))] => match judge_stats(text, numbers) {
                Ok(stats) => {
                    let result = Outcome::Result(format!(
                        "{{\"status\":\"success\",\"message\":\"Statistics retrieved successfully\",{stats}}}"
                    ));
                    envelope(v2, id.as_deref(), &result)
                }
                Err(_) if scene.stopping && text.contains("-32004") => String::new(),
                Err(why) => return broken("stats", format!("client {}: {why}: {text}", self.who)),
            },
            _ if whole => answer.text(v2),
            _ => String::new(),
        };
        let stripped = without_data(text);
        let ascii = escape(&expected);
        let matches = if self.lines { stripped == expected } else { stripped == ascii };
        if !matches {
            if !self.lines && stripped == expected {
                self.must_lf = true;
            } else if scene.stopping && text.contains("-32004") {
                self.is_late = true;
            } else if !whole {
                return broken(
                    "answers",
                    format!("client {}: answered before the service was asked: {text}", self.who),
                );
            } else {
                return broken("answers", format!("client {} got {text} where {expected} belongs", self.who));
            }
        }
        if let Some(behind) = answer.behind.filter(|_| matches)
            && (self.heard > behind || !answer.is_batch && self.heard < behind)
        {
            return broken(
                "place",
                format!(
                    "client {}: the answer {text} stands behind {} pushes, not {behind}",
                    self.who, self.heard
                ),
            );
        }
        let answer = self.answers.pop_front();
        for (_, outcome) in answer.iter().flat_map(|answer| &answer.parts) {
            if let Some(Outcome::Error(code, _) | Outcome::Refused(code, _)) = outcome {
                self.faults[kind_of(*code)] += u64::from(matches || stripped == expected);
            }
        }
        while let Some(&(at, v2)) = self.turns.front()
            && at <= self.first
        {
            self.v2 = v2;
            self.turns.pop_front();
        }
        self.first += 1;
        Ok(())
    }

    fn push(&mut self, text: &str) -> Result<(), Broken> {
        if PINGS.contains(&text) {
            self.pings += 1;
            // So often, and then it falls silent.
            self.todo += usize::from(self.is_lively && self.todo == 0 && self.pings < 8);
            return if self.was_pinged {
                Ok(())
            } else {
                broken("heartbeat", "a ping that nobody asked for")
            };
        }
        let Some(expected) = self.pushes.front() else {
            return broken("order", format!("client {} was told more than was said: {text}", self.who));
        };
        let mut dialects = vec![self.v2];
        dialects.extend(self.turns.iter().take_while(|turn| turn.0 <= self.first).map(|turn| turn.1));
        let has = |v2: bool, ascii: bool| {
            (dialects.contains(&v2) || self.is_late) && expected.form(v2, ascii) == text.as_bytes()
        };
        if self.lines && (has(false, false) || has(true, false))
            || !self.lines && (has(false, true) || has(true, true))
        {
        } else if !self.lines && (has(false, false) || has(true, false)) {
            self.must_lf = true;
        } else {
            return broken(
                "order",
                format!(
                    "client {} was told {text} where {} {} belongs",
                    self.who, expected.kind, expected.params
                ),
            );
        }
        // Answers whose place is before this push must have come.
        let overdue =
            self.answers.iter().find_map(|answer| answer.behind).filter(|&behind| behind <= self.heard);
        if overdue.is_some() && !self.is_late {
            return broken("place", format!("client {}: {text} overtook an answer", self.who));
        }
        self.heard += 1;
        self.pushes.pop_front();
        Ok(())
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

    /// Whether everything that it asked has reached the service.
    pub fn has_been_heard(&self) -> bool {
        self.plan.is_empty() || self.is_limited
    }
}

impl Answer {
    /// Whether it is known what came of all of it.
    fn is_whole(&self) -> bool {
        self.parts.iter().all(|part| part.1.is_some())
    }

    /// No fewer bytes than it has, in whatever framing.
    fn most_bytes(&self) -> u64 {
        let sentences = self.parts.iter().map(|(_, outcome)| match outcome {
            Some(Outcome::Stats(_)) => STATS,
            Some(Outcome::Error(..)) => SENTENCE,
            _ => 0,
        });
        self.text(self.v2).len() as u64 * 3 + sentences.sum::<u64>()
    }

    fn text(&self, v2: bool) -> String {
        let mut all: Vec<String> = Vec::new();
        for (id, outcome) in &self.parts {
            let Some(outcome) = outcome else { continue };
            all.push(envelope(v2, id.as_deref(), outcome));
        }
        if self.is_batch { format!("[{}]", all.join(",")) } else { all.pop().unwrap_or_default() }
    }
}

/// Parameters that nobody looks at, with which a ping is as deep or as long as a text may be.
fn edge(rng: &mut Rng, limits: &Limits, taken: usize) -> String {
    if rng.one_in(2) {
        let depth = limits.max_depth - 1;
        return "[".repeat(depth) + &"]".repeat(depth);
    }
    let around = "{\"method\":\"ping\",\"params\":[\"\"]}".len() + taken;
    let most = limits.max_message_bytes.min(20_000) - around;
    let n = if rng.one_in(4) { limits.max_message_bytes - around } else { rng.size(0, most) };
    format!("[\"{}\"]", "x".repeat(n))
}

fn envelope(v2: bool, id: Option<&str>, outcome: &Outcome) -> String {
    if v2 {
        let id = id.unwrap_or("null");
        return match outcome {
            Outcome::Stats(_) => String::new(),
            Outcome::Result(result) => format!("{{\"jsonrpc\":\"2.0\",\"result\":{result},\"id\":{id}}}"),
            Outcome::Refused(code, text) => {
                format!(
                    "{{\"jsonrpc\":\"2.0\",\"error\":{{\"code\":{code},\"message\":{}}},\"id\":{id}}}",
                    json(text)
                )
            }
            Outcome::Error(code, text) => {
                format!(
                    "{{\"jsonrpc\":\"2.0\",\"error\":{{\"code\":{code},\"message\":{}}},\"id\":{id}}}",
                    json(text)
                )
            }
        };
    }
    let object = match outcome {
        Outcome::Result(result) => result.clone(),
        Outcome::Refused(_, text) => format!("{{\"status\":\"error\",\"message\":{}}}", json(text)),
        Outcome::Error(code, text) => format!("{{\"error\":{},\"code\":{code}}}", json(text)),
        Outcome::Stats(_) => "{}".to_owned(),
    };
    match id {
        Some(id) => format!("{},\"id\":{id}}}", &object[..object.len() - 1]),
        None => object,
    }
}

/// Whether statistics hold these numbers; gives their part of the answer back, with the version before it.
fn judge_stats(text: &str, figures: &[(Name, u64)]) -> Result<String, String> {
    let from = text.find("\"version\":").ok_or("there are no statistics")?;
    let at = text.find("\"stats\":").ok_or("there are no statistics")? + "\"stats\":".len();
    let length = object(&text.as_bytes()[at..]).ok_or("the statistics do not end")?;
    let stats: serde_json::Value = serde_json::from_str(&text[at..at + length]).map_err(|e| e.to_string())?;
    for &((name, label), expected) in figures {
        let found = match stats["samples"].as_array() {
            Some(samples) => samples
                .iter()
                .find(|sample| sample["name"] == name && sample["label"][1].as_str() == label)
                .map(|sample| &sample["value"]),
            None => label.map_or(stats.get(name), |label| stats[name].get(label)),
        };
        if found.and_then(serde_json::Value::as_u64) != Some(expected) {
            return Err(format!("{name} {label:?} is {found:?}, not {expected}"));
        }
    }
    Ok(text[from..at + length].to_owned())
}

/// The length of the object or array at the front, if it is whole.
fn object(bytes: &[u8]) -> Option<usize> {
    let (mut depth, mut in_string, mut escaped) = (0, false, false);
    for (at, &byte) in bytes.iter().enumerate() {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                depth -= 1;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
    }
    None
}

/// The text without the sentences for people in its errors.
fn without_data(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(",\"data\":\"") {
        out.push_str(&rest[..at]);
        let sentence = &rest.as_bytes()[at + 9..];
        let mut escaped = false;
        let end = sentence.iter().position(|&byte| {
            let ends = byte == b'"' && !escaped;
            escaped = byte == b'\\' && !escaped;
            ends
        });
        rest = &rest[at + 9 + end.map_or(sentence.len(), |end| end + 1)..];
    }
    out.push_str(rest);
    out
}
