//! How a JSON client judges what it is sent: its framing, its order, and every byte.

use super::answer::{Scan, envelope, judge_stats, object};
use super::{Outcome, Rpc};
use crate::sim::client::{Broken, Scene, broken, escape};
use crate::sim::figures::kind_of;

/// How pushes begin, in both dialects; and two that no room sends.
const PUSHES: [&str; 2] = ["{\"type\":", "{\"jsonrpc\":\"2.0\",\"method\":"];
const PINGS: [&str; 2] = ["{\"type\":\"ping\"}", "{\"jsonrpc\":\"2.0\",\"method\":\"ping\",\"params\":{}}"];
const FULL: &str = "{\"error\":\"Too many connections\",\"code\":-32000}";

impl Rpc {
    /// Bytes of pushes that the kernel has not taken, at most, when these are on their way to it and it has lived so many
    /// microseconds.
    pub fn unsent_pushes(&self, on_its_way: impl Iterator<Item = u8>, lived: u64) -> u64 {
        let bytes: Vec<u8> = self.buffer.iter().copied().chain(on_its_way).collect();
        let (mut rest, mut sent) = (&bytes[..], 0);
        while let Some(&first) = rest.first() {
            let Some(length) = (if first == b'\n' { Some(1) } else { object(rest) }) else { break };
            let object = &rest[..length];
            let is_push = PUSHES.iter().any(|begin| object.starts_with(begin.as_bytes()));
            sent += usize::from(is_push && !PINGS.iter().any(|ping| object == ping.as_bytes()));
            rest = &rest[length..];
        }
        // Of pings the room does not know.
        let pings = 1 + (lived / 1_000_000).checked_div(self.heartbeat).unwrap_or(0);
        let told = self.pushes.iter().skip(sent).map(|notice| notice.form(true, true).len() as u64 + 1);
        pings * (PINGS[1].len() as u64 + 1) + told.sum::<u64>()
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
            let Some(length) = self.scan.end(rest) else { break };
            let (text, behind) = rest.split_at(length);
            if self.lines {
                match behind.first() {
                    None => break,
                    Some(b'\n') => {}
                    Some(_) => return broken("framing", "an object without its LF"),
                }
            }
            self.scan = Scan::default();
            self.object(text, scene)?;
            rest = &behind[usize::from(self.lines)..];
        }
        self.buffer = if rest.len() == buffer.len() { buffer } else { rest.to_vec() };
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
        let null = Some("null").filter(|_| text.starts_with("{\"jsonrpc\""));
        if self.timeouts.iter().any(|why| text == envelope(null.is_some(), null, &Outcome::timeout(why))) {
            // Who stalls knows that it comes, if not for which of its reasons.
            if self.answers.front().is_some_and(|answer| answer.is_timeout()) {
                self.pop_answer();
            }
            return Ok(());
        }
        if self.is_limited
            && self.answers.front().is_some_and(|answer| !answer.is_whole())
            && !(scene.stopping && text.contains("-32004"))
            && !self.refuse_rest()
        {
            return broken("rate", format!("client {} was refused, and was not too fast: {text}", self.who));
        }
        let Some(answer) = self.answers.front_mut().filter(|answer| answer.owed > 0) else {
            return broken("answers", format!("client {} asked nothing and got {text}", self.who));
        };
        let v2 = answer.v2;
        let whole = answer.is_whole();
        let expected = match &answer.parts[..] {
            [(id, Some(Outcome::Stats(numbers, turns)))] => match judge_stats(text, numbers, turns) {
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
        let ascii = escape(&expected);
        let matches = if self.lines { text == expected } else { text == ascii };
        if !matches {
            if !self.lines && text == expected {
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
        for (_, outcome) in &answer.parts {
            if let Some(Outcome::Error(code, ..) | Outcome::Refused(code, _)) = outcome {
                self.faults[kind_of(*code)] += u64::from(matches || text == expected);
            }
        }
        answer.comes();
        if answer.has_come() {
            self.pop_answer();
        }
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
}
