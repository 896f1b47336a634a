//! What a JSON client says: requests and batches; what else it says is in `mistakes.rs`.

use std::collections::VecDeque;

use super::mistakes::{NO_REQUESTS, bytes_of, no_element};
use super::params::{edge, for_later, write, write_wrong};
use super::{Abuse, Ends, Outcome, Planned, Rpc};
use crate::sim::client::{Scene, almost_hidden, escape, json, words};
use crate::sim::rng::Rng;
use crate::sim::tricks::How;

impl Rpc {
    pub fn say(&mut self, scene: &mut Scene<'_>, out: &mut VecDeque<u8>) -> bool {
        if self.todo == 0 || self.answers.len() > self.patience || self.waits && !self.answers.is_empty() {
            return false;
        }
        self.rate = scene.limits.rate_messages;
        self.is_limited = self.rate > 0;
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
        } else if scene.rng.one_in(40) {
            let &(v2, json, id, why) = scene.rng.pick(NO_REQUESTS);
            text.push_str(json);
            self.plan_answer(v2, false, vec![(id.map(Into::into), Some(Outcome::invalid_request(why)))]);
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
            if let Some((bytes, _)) = &mut self.remains {
                // Behind them, LF at the latest.
                *bytes += if self.ends == Ends::Lf { 1 } else { 3 };
            }
            self.may_lf |= matches!(self.ends, Ends::Lf | Ends::CrLf);
            self.must_see_lf |= self.may_lf && self.next_answer() > answers;
        }
        out.extend(bytes_of(&text));
        true
    }

    fn batch(&mut self, scene: &mut Scene<'_>, text: &mut String) {
        let most = scene.limits.max_batch.min(12);
        self.turn_to(true);
        let number = self.next_answer();
        let null = || Some("null".to_owned());
        if scene.rng.one_in(12) {
            let most = scene.limits.max_batch;
            let (n, why) = match scene.rng.range(0, 1) {
                0 => (0, "a batch has at least one element".to_owned()),
                _ => (most + 1, format!("a batch has at most max_batch elements ({most})")),
            };
            self.large_batches += u64::from(n > 0);
            text.push_str(&format!("[{}]", vec!["1"; n].join(",")));
            return self.plan_answer(true, false, vec![(null(), Some(Outcome::invalid_request(why)))]);
        }
        let (n, is_silent) = (scene.rng.size(1, most), scene.rng.one_in(5));
        let mut parts = Vec::new();
        text.push('[');
        for i in 0..n {
            text.push_str(if i == 0 { "" } else { " , " });
            match if is_silent { 1 } else { scene.rng.range(0, 9) } {
                0 => {
                    let (json, id, why) = no_element(scene.rng);
                    text.push_str(json);
                    parts.push((id.map(Into::into).or(null()), Some(Outcome::invalid_request(why))));
                }
                1 | 2 => {
                    self.request(scene, true, Some((number, usize::MAX)), text);
                }
                _ => {
                    let known = self.request(scene, true, Some((number, parts.len())), text);
                    parts.push((Some(self.next_id.to_string()), known));
                }
            }
        }
        text.push(']');
        self.has_silent_batch |= parts.is_empty();
        if !parts.is_empty() {
            self.plan_answer(true, true, parts);
        }
    }

    /// One request. `batch`: its answer and its place in it; place `usize::MAX` is a notification's. What comes of it, if
    /// no handler is asked.
    pub(super) fn request(
        &mut self,
        scene: &mut Scene<'_>,
        v2: bool,
        batch: Option<(u64, usize)>,
        text: &mut String,
    ) -> Option<Outcome> {
        let rng = &mut *scene.rng;
        let silent = match batch {
            Some((_, place)) => place == usize::MAX,
            None => v2 && rng.one_in(12),
        };
        self.next_id += 1;
        let id = match (v2, silent) {
            (_, true) => None,
            (true, false) if batch.is_some() => Some(self.next_id.to_string()),
            (true, false) if rng.one_in(5) => Some("null".into()),
            (true, false) => Some(id_of(rng, self.next_id)),
            (false, false) => rng.one_in(4).then(|| id_of(rng, self.next_id)),
        };
        let kind = match self.is_limited {
            true => *rng.pick(&[13, 17, 18, 19, 40]),
            false if self.is_loud && batch.is_none() && rng.one_in(2) => 41,
            false => rng.range(0, 39),
        };
        let (method, arg): (&'static str, Option<String>) = match kind {
            // Whoever may be refused says nothing twice: so it is known what was.
            40 => ("join_chat", Some(format!("n{} {}", self.who, self.next_id))),
            41 => ("send_message", Some("ü".repeat(rng.size(200, 1000)))),
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
            12 => ("nope", None),
            13 | 14 => ("later", None),
            15 if self.is_greedy && rng.one_in(4) => {
                ("long", Some(rng.pick(&["10", "400000", "1100000"]).to_string()))
            }
            15 => ("send_message", rng.pick(&[None, Some("  "), Some("\n")]).map(Into::into)),
            16 if batch.is_none() => ("send_message", Some("ü".repeat(rng.size(998, 1002)))),
            _ => {
                self.said += 1;
                let most = if batch.is_none() && rng.one_in(10) { 60 } else { 8 };
                ("send_message", Some(format!("m{}.{} {}", self.who, self.said, words(rng, most))))
            }
        };
        let version = if v2 { "\"jsonrpc\":\"2.0\"," } else { "" };
        let id_text = id.as_ref().map(|id| format!(",\"id\":{id}")).unwrap_or_default();
        let (values, arg) = match (method, arg) {
            ("later", _) => {
                let (values, heard) = for_later(rng, self.next_id, &How::ALL.map(|how| how.0));
                (values, Some(heard))
            }
            ("set_heartbeat" | "long", arg) => (arg.iter().cloned().collect(), arg),
            (_, arg) => {
                let is_escaped = rng.one_in(4);
                let value = arg.as_deref().map(|arg| if is_escaped { escape(&json(arg)) } else { json(arg) });
                (value.into_iter().collect(), arg)
            }
        };
        // Whether somebody may speak is asked before his parameters are looked at.
        let is_wrong = !self.is_limited && method != "send_message" && rng.one_in(25);
        let (wrong, why) = if is_wrong { write_wrong(rng, method) } else { Default::default() };
        let params = match method {
            _ if is_wrong => wrong,
            "ping" if batch.is_none() && rng.one_in(4) => {
                format!(",\"params\":{}", edge(rng, scene.limits, version.len() + id_text.len()))
            }
            _ => write(rng, method, &values),
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
        let known = match method {
            "nope" => Some(Outcome::unknown_method(method)),
            _ => is_wrong.then(|| Outcome::invalid_params(why)),
        };
        if known.is_none() {
            let is_in_batch = batch.is_some();
            self.plan.push_back(Planned { method, arg, slot, is_in_batch, end: u64::MAX });
        }
        if batch.is_none() && !silent {
            self.plan_answer(v2, false, vec![(id, known.clone())]);
        }
        known
    }
}

/// One of the forms that an id may have; it comes back as it was written.
fn id_of(rng: &mut Rng, number: u64) -> String {
    match rng.range(0, 9) {
        0 => format!("\"ï{number}\""),
        1 => format!("-{number}"),
        2 => format!("{number}.50e+1"),
        3 => format!("\"\\u0061\\\"{number}\""),
        _ => number.to_string(),
    }
}
