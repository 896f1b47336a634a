//! A line user: what it says, and the exact bytes it must be sent.
//!
//! Every line goes to the service, so the order in which that hears of things is the order of this stream.

use std::collections::VecDeque;

use super::{Broken, Scene, broken, hidden, words};
use crate::sim::bucket::Bucket;
use crate::sim::room::Who;

/// What the service must hear next of this user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    Text(String),
    TooLong,
}

pub struct Line {
    who: Who,
    pub todo: usize,
    pub plan: VecDeque<Said>,
    expected: VecDeque<u8>,
    /// Bytes that it was to be sent.
    pub told: u64,
    /// How many of them are answers.
    pub answered: u64,
    got: u64,
    /// It will never give a name.
    pub is_mute: bool,
    named: bool,
    /// It has asked to be closed.
    pub has_quit: bool,
    /// It ends a line without LF, just before its FIN.
    pub ends_without_lf: bool,
    /// The server has begun to say that it stops: nothing more is promised.
    pub is_late: bool,
    pub turned_away: bool,
    /// The reasons for which it may have been closed, if it took too long.
    pub timeouts: &'static [&'static str],
    buffer: Vec<u8>,
    /// How many bytes it has said when each line of the plan is said.
    ends: VecDeque<u64>,
    /// There is a rate, and this is what it should leave to this user.
    pub is_limited: bool,
    pub bucket: Bucket,
    /// Lines that were refused for it: as the service does not hear them, as the user is told.
    pub refused: u64,
    told_too_fast: u64,
    /// What it got so far ends where a line may begin.
    is_between: bool,
}

/// What is shown for a byte that is no UTF-8.
const NO_UTF8: char = '\u{fffd}';
/// That byte here; telnet's clients send it twice.
const IAC: u8 = 255;
const FULL: &[u8] = b"Too many connections\n";
const TOO_FAST: &[u8] = b"Too fast: this line was not read\n";
const LATE: &[u8] = b"The server is shutting down\n";

impl Line {
    pub fn new(who: Who, todo: usize, is_mute: bool, ends_without_lf: bool) -> Self {
        Self {
            who,
            todo: if is_mute { 0 } else { todo },
            plan: VecDeque::new(),
            expected: VecDeque::new(),
            told: 0,
            answered: 0,
            got: 0,
            is_mute,
            named: false,
            has_quit: false,
            ends_without_lf,
            is_late: false,
            turned_away: false,
            timeouts: &[],
            buffer: Vec::new(),
            ends: VecDeque::new(),
            is_limited: false,
            bucket: Bucket::full(),
            refused: 0,
            told_too_fast: 0,
            is_between: true,
        }
    }

    /// What was said last ends behind so many bytes.
    pub fn ends_at(&mut self, end: u64) {
        self.ends.resize(self.plan.len(), end);
    }

    /// Bytes that it was to be sent, at most.
    pub fn due(&self) -> u64 {
        let unheard = if self.is_limited { self.refused + self.plan.len() as u64 } else { 0 };
        self.told + unheard * TOO_FAST.len() as u64
    }

    /// The service hears the next line: what is planned for it.
    pub fn heard(&mut self) -> Option<Said> {
        self.ends.pop_front();
        self.plan.pop_front()
    }

    /// The service hears this: what was said before it was refused. Whether that was so for a reason.
    pub fn skip_to(&mut self, said: &Said) -> bool {
        let Some(at) = self.plan.iter().position(|planned| planned == said) else { return true };
        for _ in 0..at {
            self.heard();
        }
        self.refused += at as u64;
        at == 0 || self.bucket.is_empty()
    }

    /// What of its first `said` bytes is not heard.
    pub fn is_owed(&self, said: u64) -> Option<String> {
        let is_owed = !self.is_limited && self.ends.front().is_some_and(|&end| end <= said);
        is_owed.then(|| format!("{:?} was not heard", self.plan.front()))
    }

    pub fn say(&mut self, scene: &mut Scene<'_>, out: &mut VecDeque<u8>) -> bool {
        if self.todo == 0 || self.has_quit || self.plan.len() > 40 {
            return false;
        }
        self.todo -= 1;
        let rng = &mut *scene.rng;
        self.is_limited = scene.limits.rate_messages > 0;
        let text = if self.is_limited {
            // Whoever may be refused says nothing twice: so it is known what was.
            let slash = if self.named && rng.one_in(4) { "//" } else { "" };
            self.named = true;
            format!("{slash}l{} {}", self.who, self.todo)
        } else if !self.named {
            self.named = !rng.one_in(3);
            if self.named {
                // A name that surely is good, so that what follows is said.
                rng.pick(&["Ann", "Bob", "", "Zoë", " Tim ", "/me"]).to_string()
            } else {
                let hides = format!(
                    "a{}b",
                    loop {
                        let c = hidden(rng);
                        if !matches!(c, '\n' | '\r') {
                            break c;
                        }
                    }
                );
                let long = "w".repeat(scene.limits.max_line_bytes + 2);
                rng.pick(&["SYSTEM", "system ", "ſystem", &hides, &hides, &long, " /quit "]).to_string()
            }
        } else {
            match rng.range(0, 19) {
                0 => "/users".into(),
                1 | 2 => "/ping extra".into(),
                3 => "/help".into(),
                4 => format!("//l{} slashed", self.who),
                5 => format!("/nonsense{} word", "e".repeat(*rng.pick(&[0, 23, 24, 40]))),
                6 => String::new(),
                7 => "é".repeat(rng.size(995, 1005)),
                8 => "w".repeat(scene.limits.max_line_bytes + rng.size(0, 3)),
                9 if rng.one_in(2) => "/quit".into(),
                // Ends in a byte that telnet doubles, and that is no UTF-8.
                10 => format!("l{} {NO_UTF8}", self.who),
                _ => format!("l{} {}", self.who, words(rng, 6).replace('\n', " ")),
            }
        };
        let mut line = text.trim_end_matches(NO_UTF8).as_bytes().to_vec();
        let is_doubled = text.ends_with(NO_UTF8);
        if is_doubled {
            line.push(IAC);
        }
        let crlf = rng.one_in(3);
        if crlf {
            line.push(b'\r');
        }
        if line.len() > scene.limits.max_line_bytes {
            self.plan.push_back(Said::TooLong);
        } else {
            self.plan.push_back(Said::Text(text.clone()));
            self.has_quit = text.trim() == "/quit";
        }
        if is_doubled {
            let at = text.trim_end_matches(NO_UTF8).len();
            line.insert(at, IAC);
        } else if rng.one_in(8) {
            // Telnet's negotiation may stand anywhere, also within a character.
            let at = rng.size(0, line.len());
            let telnet: &[u8] = rng.pick::<&[u8]>(&[
                &b"\xff\xfb\x1f"[..],
                b"\xff\xfc\x0a",
                b"\xff\xfd\x03",
                b"\xff\xfe\x22",
                b"\xff\xf1",
                b"\xff\xfa\x1f\x0a\x50\xff\xf0",
                b"\xff\xfa\x18\xff\xff\x0a\xff\xf0",
            ]);
            line.splice(at..at, telnet.iter().copied());
        }
        let is_ended = self.todo > 0 || !self.ends_without_lf;
        if is_ended {
            line.push(b'\n');
        } else if text.is_empty() && !crlf {
            // An empty line without its end is no line.
            self.plan.pop_back();
        }
        out.extend(line);
        if self.has_quit && is_ended && rng.one_in(2) {
            out.extend(b"nobody hears this any more\n");
        }
        true
    }

    /// The server must answer this, behind all before.
    pub fn expect_answer(&mut self, line: &str) {
        let before = self.told;
        self.expect(Some(line));
        self.answered += self.told - before;
    }

    /// The server must send this, behind all before.
    pub fn expect(&mut self, line: Option<&str>) {
        if let Some(line) = line {
            self.expect_text(line);
            self.expected.push_back(b'\n');
            self.told += 1;
        }
    }

    /// The server must ask for a name.
    pub fn expect_prompt(&mut self) {
        const PROMPT: &str = "Enter your name : ";
        self.expect_text(PROMPT);
        self.answered += PROMPT.len() as u64;
    }

    fn expect_text(&mut self, text: &str) {
        let before = self.expected.len();
        for c in text.chars() {
            match c {
                '\n' => self.expected.push_back(b' '),
                c if c.is_control() && c != '\t' => {}
                c => self.expected.extend(c.encode_utf8(&mut [0; 4]).bytes()),
            }
        }
        self.told += (self.expected.len() - before) as u64;
    }

    pub fn receive(&mut self, bytes: &[u8], scene: &mut Scene<'_>) -> Result<(), Broken> {
        self.buffer.extend_from_slice(bytes);
        if scene.turned_away && self.got == 0 && self.told == 0 && FULL.starts_with(&self.buffer) {
            self.turned_away = true;
            return Ok(());
        }
        if (self.is_limited || scene.stopping) && !self.take_refusals(scene.stopping) || self.is_late {
            return Ok(());
        }
        let n = self.buffer.len().min(self.expected.len());
        let same = self.expected.iter().zip(&self.buffer).take_while(|(a, b)| a == b).count();
        self.expected.drain(..same);
        self.got += same as u64;
        self.buffer.drain(..same);
        if same == n && self.buffer.is_empty() {
            return Ok(());
        }
        let is_told_so = |why: &&str| format!("Closed: {why}\n").as_bytes().starts_with(&self.buffer);
        if self.timeouts.iter().any(is_told_so) {
            return Ok(());
        }
        let want: Vec<u8> = self.expected.iter().copied().take(60).collect();
        let rule = if want.is_empty() { "order" } else { "line" };
        broken(
            rule,
            format!(
                "line user {} got {:?} where {:?} belongs",
                self.who,
                String::from_utf8_lossy(&self.buffer[..self.buffer.len().min(60)]),
                String::from_utf8_lossy(&want)
            ),
        )
    }

    /// Takes lines up to one that says "too fast" or, at a stop, "too late", as often as there is one. `false`: what has come
    /// may be the beginning of another.
    fn take_refusals(&mut self, stopping: bool) -> bool {
        loop {
            if self.is_between {
                if self.is_limited && self.buffer.starts_with(TOO_FAST) {
                    self.told_too_fast += 1;
                    self.buffer.drain(..TOO_FAST.len());
                    continue;
                }
                if stopping && self.buffer.starts_with(LATE) {
                    // Whatever comes behind it is not looked at.
                    self.is_late = true;
                    return true;
                }
                let may_be = |line: &[u8]| line.starts_with(&self.buffer);
                if self.is_limited && may_be(TOO_FAST) || stopping && may_be(LATE) {
                    return false;
                }
            }
            let same = self.expected.iter().zip(&self.buffer).take_while(|(a, b)| a == b).count();
            let line = self.buffer[..same].iter().position(|&byte| byte == b'\n').map_or(same, |at| at + 1);
            if line == 0 {
                return true;
            }
            self.is_between = self.buffer[line - 1] == b'\n' || self.buffer[line - 1] == b' ';
            self.expected.drain(..line);
            self.buffer.drain(..line);
            self.got += line as u64;
        }
    }

    pub fn awaits(&self) -> Option<String> {
        if self.is_late || self.turned_away {
            return None;
        }
        let is_refused = self.is_limited && self.refused + self.plan.len() as u64 == self.told_too_fast;
        match (self.plan.front().filter(|_| !is_refused), self.expected.len()) {
            (Some(said), _) => Some(format!("the service has not heard {said:?}")),
            (None, 0) => None,
            (None, n) => Some(format!("{n} bytes have not come")),
        }
    }
}
