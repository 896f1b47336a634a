//! What a JSON client says: requests, batches, texts that are none, and what nobody should send.

use std::collections::VecDeque;

use super::params::{edge, for_later, write, write_wrong};
use super::remains::BRACKETS;
use super::{Abuse, Ends, Outcome, Planned, Rpc};
use crate::sim::client::{Scene, almost_hidden, escape, json, words};
use crate::sim::rng::Rng;
use crate::sim::tricks::How;

/// JSON, but no request: whether it speaks 2.0, and the id that its answer has.
const NO_REQUESTS: &[(bool, &str, Option<&str>)] = &[
    (false, r#"{"id":7}"#, Some("7")),
    (false, r#"{"method":1,"id":"a"}"#, Some("\"a\"")),
    (false, r#"{"method":"ping","method":"ping","id":3}"#, Some("3")),
    (false, r#"{"method":"ping","id":1,"id":2}"#, None),
    (false, r#"{"method":"ping","x":1,"\u0078":2,"id":4}"#, Some("4")),
    (true, r#"{"jsonrpc":"1.0","method":"ping","id":5}"#, Some("5")),
    (true, r#"{"jsonrpc":"2.0","method":"ping","id":[]}"#, None),
    (true, r#"{"jsonrpc":"2.0","method":"ping","params":[],"params":[],"id":6}"#, Some("6")),
    (true, r#"{"jsonrpc":"2.0","id":8}"#, Some("8")),
];
/// Stands for bytes that are no UTF-8, as many as its own.
const NO_UTF8: char = '\u{e000}';
const INVALID: Outcome = Outcome::Error(-32600, "Invalid request");

impl Rpc {
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
        } else if scene.rng.one_in(40) {
            let &(v2, json, id) = scene.rng.pick(NO_REQUESTS);
            text.push_str(json);
            self.plan_answer(v2, false, vec![(id.map(Into::into), Some(INVALID))]);
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
            if self.remains > 0 {
                // Behind them, LF at the latest.
                self.remains += if self.ends == Ends::Lf { 1 } else { 3 };
            }
            self.may_lf |= matches!(self.ends, Ends::Lf | Ends::CrLf);
            self.must_see_lf |= self.may_lf && self.next_answer() > answers;
        }
        out.extend(spoil(scene.rng, text));
        true
    }

    /// Behind the script: what nobody should send. Whether it may end in LF.
    fn misbehave(&mut self, scene: &mut Scene<'_>, text: &mut String) -> bool {
        self.may_be_refused = true;
        let speaks_v2 = self.turns.back().map_or(self.v2, |turn| turn.1);
        let outcome = match self.abuse {
            Abuse::TooLong => {
                let most = scene.limits.max_message_bytes;
                // Some go on and on, and are not listened to; some end just behind what they may say.
                let around = "{\"method\":\"ping\",\"params\":[\"\"]}".len();
                match scene.rng.range(0, 2) {
                    0 => text.push_str(&format!("{{\"method\":\"{}", "x".repeat(4 * most + 30_000))),
                    1 => {
                        let more = scene.rng.size(0, most);
                        text.push_str(&format!("{{\"method\":\"{}", "x".repeat(most + more)));
                    }
                    _ => {
                        let n = most - around + scene.rng.size(1, 40);
                        text.push_str(&format!("{{\"method\":\"ping\",\"params\":[\"{}\"]}}", "x".repeat(n)));
                    }
                }
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
                // Some drip, and do not come to an end all the same.
                text.push_str("{\"method\":\"send_message\",\"params\":{\"message\":\"");
                text.push_str(&"x".repeat(scene.rng.size(0, 3_000)));
                Outcome::Error(-32002, "Timeout")
            }
            Abuse::Boom | Abuse::None => {
                self.may_panic = true;
                if self.dialects > 0 && scene.rng.one_in(2) {
                    self.boom_in_batch(scene, text);
                } else {
                    self.plan_boom(Some((self.next_answer(), 0)), false);
                    self.turn_to(false);
                    self.plan_answer(false, false, vec![(None, None)]);
                    text.push_str("{\"method\":\"boom\"}");
                }
                return true;
            }
        };
        self.plan_answer(speaks_v2, false, vec![(Some("null".into()).filter(|_| speaks_v2), Some(outcome))]);
        false
    }

    fn plan_boom(&mut self, slot: Option<(u64, usize)>, is_in_batch: bool) {
        self.plan.push_back(Planned { method: "boom", arg: None, slot, is_in_batch, end: u64::MAX });
    }

    /// A batch within which a handler panics: what stands behind that is neither done nor answered.
    fn boom_in_batch(&mut self, scene: &mut Scene<'_>, text: &mut String) {
        self.turn_to(true);
        let (number, mut parts) = (self.next_answer(), Vec::new());
        text.push('[');
        for place in 0..scene.rng.size(0, 3) {
            let known = self.request(scene, true, Some((number, place)), text);
            parts.push((Some(self.next_id.to_string()), known));
            text.push(',');
        }
        // Behind an answer that is too large only notifications are still heard.
        let is_long = self.plan.iter().any(|planned| planned.is_in_batch && planned.method == "long");
        if scene.rng.one_in(2) || is_long {
            self.plan_boom(None, true);
            text.push_str(r#"{"jsonrpc":"2.0","method":"boom"}"#);
        } else {
            self.plan_boom(Some((number, parts.len())), true);
            parts.push((Some("\"boom\"".into()), None));
            text.push_str(r#"{"jsonrpc":"2.0","method":"boom","id":"boom"}"#);
        }
        text.push_str(r#",{"jsonrpc":"2.0","method":"ping"},{"jsonrpc":"2.0","method":"leave_chat"}]"#);
        self.has_silent_batch |= parts.is_empty();
        if !parts.is_empty() {
            self.plan_answer(true, true, parts);
        }
    }

    /// A text that is no JSON: one error, whatever follows up to its LF.
    fn break_text(&mut self, scene: &mut Scene<'_>, is_skipped: bool, text: &mut String) {
        let speaks_v2 = self.turns.back().map_or(self.v2, |turn| turn.1);
        let ends_with_lf = matches!(self.ends, Ends::Lf | Ends::CrLf);
        let (broken, outcome) = if scene.rng.one_in(2) && !is_skipped {
            ("x", Outcome::Error(-32600, "Only JSON RPC messages are supported"))
        } else {
            // White space in a text is that text's, LFs too. What is broken before its last byte needs an end.
            let forms = ["{]", "{\n \n]", "{\"\u{e000}\"}"];
            let most = if ends_with_lf { 2 } else { 1 };
            (forms[scene.rng.size(0, most)], Outcome::Error(-32700, "Parse error"))
        };
        text.push_str(broken);
        if ends_with_lf {
            let can_remain = broken.starts_with('{') && !broken.contains(NO_UTF8);
            if can_remain && scene.rng.one_in(2) {
                let most = *scene.rng.pick(&[3, 40, 400]);
                let times = scene.rng.size(1, most);
                let remains = scene.rng.pick(&BRACKETS).repeat(times);
                text.push_str(&remains);
                self.remains = remains.len() as u64;
            } else {
                text.push_str(" and more of it: ]} \"");
            }
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
            return self.plan_answer(true, false, vec![(null(), Some(INVALID))]);
        }
        let (n, is_silent) = (scene.rng.size(1, most), scene.rng.one_in(5));
        let mut parts = Vec::new();
        text.push('[');
        for i in 0..n {
            text.push_str(if i == 0 { "" } else { " , " });
            match if is_silent { 1 } else { scene.rng.range(0, 9) } {
                0 if scene.rng.one_in(2) => {
                    text.push_str(scene.rng.pick::<&str>(&["1", "\"x\"", "{}", "[]"]));
                    parts.push((null(), Some(INVALID)));
                }
                0 => {
                    let &(_, json, id) = scene.rng.pick(NO_REQUESTS);
                    text.push_str(json);
                    parts.push((id.map(Into::into).or(null()), Some(INVALID)));
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
    fn request(
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
        let params = match method {
            _ if is_wrong => write_wrong(rng, method),
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
            "nope" => Some(Outcome::Error(-32601, "Method not found")),
            _ => is_wrong.then_some(Outcome::Error(-32602, "Invalid params")),
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

/// Puts bytes that are no UTF-8 where [`NO_UTF8`] stands.
fn spoil(rng: &mut Rng, text: String) -> Vec<u8> {
    let mut bytes = text.into_bytes();
    let mark = NO_UTF8.encode_utf8(&mut [0; 4]).as_bytes().to_vec();
    if let Some(at) = bytes.windows(mark.len()).position(|some| some == mark) {
        // A surrogate, one that is longer than it must be, one beyond the last, one that begins nowhere, one cut short.
        let broken: &[[u8; 3]] =
            &[*b"\xed\xa0\x80", *b"\xe0\x80\xaf", *b"\xf4\x90\x80", *b"x\x80x", *b"\xe2\x82x"];
        bytes[at..at + 3].copy_from_slice(rng.pick::<[u8; 3]>(broken));
    }
    bytes
}
