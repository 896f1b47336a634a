//! What a JSON client says that is no request: texts that are no JSON, JSON that is no request, and what nobody should send.

use super::remains::BRACKETS;
use super::{Abuse, Ends, Outcome, Planned, Rpc};
use crate::sim::client::{Scene, TIMEOUTS};
use crate::sim::rng::Rng;

/// JSON, but no request: whether it speaks 2.0, the id that its answer has, and what is wrong with it, as an element of a batch
/// at least.
pub(super) const NO_REQUESTS: &[(bool, &str, Option<&str>, &str)] = &[
    (false, r#"{"id":7}"#, Some("7"), NO_VERSION),
    (false, r#"{"method":1,"id":"a"}"#, Some("\"a\""), NO_VERSION),
    (
        false,
        r#"{"method":"ping","method":"ping","id":3}"#,
        Some("3"),
        r#"the member "method" is given twice"#,
    ),
    (false, r#"{"method":"ping","id":1,"id":2}"#, None, r#"the member "id" is given twice"#),
    (false, r#"{"method":"ping","x":1,"\u0078":2,"id":4}"#, Some("4"), r#"the member "x" is given twice"#),
    (true, r#"{"jsonrpc":"1.0","method":"ping","id":5}"#, Some("5"), NO_VERSION),
    (true, r#"{"jsonrpc":"2.0","method":"ping","id":[]}"#, None, "id must be a string, a number or null"),
    (
        true,
        r#"{"jsonrpc":"2.0","method":"ping","params":[],"params":[],"id":6}"#,
        Some("6"),
        r#"the member "params" is given twice"#,
    ),
    (true, r#"{"jsonrpc":"2.0","id":8}"#, Some("8"), "method must be a string"),
];
/// What no element of a batch may be, though some of it is a request by itself.
const NO_ELEMENTS: &[(&str, Option<&str>, &str)] = &[
    ("1", None, NO_OBJECT),
    ("\"x\"", None, NO_OBJECT),
    ("[]", None, NO_OBJECT),
    ("{}", None, NO_VERSION),
    (r#"{"method":"ping"}"#, None, NO_VERSION),
    (r#"{"method":"ping","id":9}"#, Some("9"), NO_VERSION),
];
const NO_OBJECT: &str = "a request is an object";
const NO_VERSION: &str = "jsonrpc must be \"2.0\"";

/// Texts of which the last byte is the one with which they can no longer become JSON, and why.
const BROKEN: &[(&[u8], &str)] = &[
    (b"{]", "expected a key in double quotes"),
    (b"{\n \n]", "expected a key in double quotes"),
    (b"{\"a\":1,}", "expected a key in double quotes"),
    (b"{\"a\" 1", "expected ':' after a key"),
    (b"{\"a\":}", "expected a value"),
    (b"[1,]", "expected a value"),
    (b"{\"a\":[1 ],2", "expected a key in double quotes"),
    (b"{\"a\":1 \"", "expected ',' or '}' after a member"),
    (b"[1 2", "expected ',' or ']' after an element"),
    (b"[\"a\"}", "expected ',' or ']' after an element"),
    (b"[trux", "expected true, false or null"),
    (b"[01", "a malformed number"),
    (b"[-.", "a malformed number"),
    (b"[1.5e+]", "a malformed number"),
    (b"[\"\x01", "a control character in a string"),
    (b"[\"\\x", "an unknown escape in a string"),
    (b"[\"\\u00g", "an unknown escape in a string"),
    // Halves of surrogate pairs: a low one, and high ones before nothing, another escape, another character, a high one.
    (b"{\"\\udc", "a lone surrogate"),
    (b"[\"\\uDF", "a lone surrogate"),
    (b"{\"\\ud800\"", "a lone surrogate"),
    (b"[\"\\uDBFF\\n", "a lone surrogate"),
    (b"[\"\\ud83d\\u0", "a lone surrogate"),
    (b"[\"\\ud83d\\ud8", "a lone surrogate"),
    (b"[\"\\ud83d\\ude00\\ude", "a lone surrogate"),
    // A surrogate, one that is longer than it must be, one beyond the last, one that begins nowhere, one cut short.
    (b"{\"\xed\xa0", "invalid UTF-8"),
    (b"{\"\xe0\x80", "invalid UTF-8"),
    (b"{\"\xf4\x90", "invalid UTF-8"),
    (b"{\"x\x80", "invalid UTF-8"),
    (b"[\"\xe2\x82x", "invalid UTF-8"),
    (b"[\"\xf0\x9f\x98\"", "invalid UTF-8"),
];

impl Rpc {
    /// Behind the script: what nobody should send. Whether it may end in LF.
    pub(super) fn misbehave(&mut self, scene: &mut Scene<'_>, text: &mut String) -> bool {
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
                Outcome::invalid_request(format!("longer than max_message_bytes ({most})"))
            }
            Abuse::TooDeep => {
                let most = scene.limits.max_depth;
                text.push_str(&"[".repeat(most + scene.rng.size(1, 9)));
                Outcome::parse_error(format!("nested deeper than max_depth ({most})"))
            }
            Abuse::Half => {
                let before = text.len();
                text.push_str("{\"method\":\"ping\",\"params\":{\"a\":[1,2,\"");
                text.push_str(&"x".repeat(scene.rng.size(0, 300)));
                Outcome::parse_error(format!("the text ends unfinished at byte {}", text.len() - before))
            }
            Abuse::Stall => {
                // Some drip, and do not come to an end all the same.
                text.push_str("{\"method\":\"send_message\",\"params\":{\"message\":\"");
                text.push_str(&"x".repeat(scene.rng.size(0, 3_000)));
                Outcome::timeout(TIMEOUTS[0])
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
    pub(super) fn break_text(&mut self, scene: &mut Scene<'_>, is_skipped: bool, text: &mut String) {
        let speaks_v2 = self.turns.back().map_or(self.v2, |turn| turn.1);
        let ends_with_lf = matches!(self.ends, Ends::Lf | Ends::CrLf);
        let is_json = !scene.rng.one_in(3) || is_skipped;
        let outcome = if is_json {
            let &(broken, why) = scene.rng.pick(BROKEN);
            text.extend(broken.iter().map(|&byte| stand_in(byte)));
            Outcome::broken_at(broken.len() - 1, why)
        } else {
            text.push('x');
            Outcome::not_json_rpc()
        };
        if ends_with_lf {
            if is_json && scene.rng.one_in(2) {
                let most = *scene.rng.pick(&[3, 40, 400]);
                let times = scene.rng.size(1, most);
                let &(brackets, why) = scene.rng.pick(&BRACKETS);
                text.push_str(&brackets.repeat(times));
                self.remains = Some(((brackets.len() * times) as u64, Outcome::broken_at(1, why)));
            } else {
                text.push_str(" and more of it: ]} \"");
            }
        } else {
            // Only a read that finds the socket empty ends it: so it waits for the answer.
            self.waits = true;
        }
        self.plan_answer(speaks_v2, false, vec![(Some("null".into()).filter(|_| speaks_v2), Some(outcome))]);
    }
}

/// What is no element of a batch, the id that its answer has, and what is wrong with it.
pub(super) fn no_element(rng: &mut Rng) -> (&'static str, Option<&'static str>, &'static str) {
    if rng.one_in(2) {
        return *rng.pick(NO_ELEMENTS);
    }
    let &(_, json, id, why) = rng.pick(NO_REQUESTS);
    (json, id, why)
}

/// Where characters for private use begin, of which these stand for bytes that are no characters.
const PRIVATE: u32 = 0xe000;

fn stand_in(byte: u8) -> char {
    if byte.is_ascii() {
        return byte.into();
    }
    char::from_u32(PRIVATE + u32::from(byte)).expect("it is for private use")
}

/// The bytes of a text, with those in it that are no characters.
pub(super) fn bytes_of(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    for c in text.chars() {
        match u32::from(c).checked_sub(PRIVATE) {
            Some(byte @ 0x80..=0xff) => bytes.push(byte as u8),
            _ => bytes.extend(c.encode_utf8(&mut [0; 4]).bytes()),
        }
    }
    bytes
}
