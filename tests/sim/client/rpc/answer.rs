//! What an answer to a JSON client looks like, as soon as it is known what came of its request.

use crate::sim::client::json;
use crate::sim::figures::Name;
use crate::sim::times::Times;

/// What came of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Result(String),
    /// A rule of the chat.
    Refused(i32, String),
    /// An error of the protocol, and what it says for people.
    Error(i32, &'static str, Option<String>),
    /// Statistics, of which these are known, and how long turns took.
    Stats(Vec<(Name, u64)>, Times),
}

/// More bytes than statistics have.
const STATS: u64 = 40_000;
/// The most bytes that the results of a batch may have. What they are written with is not looked at here, and no batch comes
/// so near to it that it would count.
const MOST_OF_A_BATCH: usize = 1024 * 1024;

pub(super) struct Answer {
    pub v2: bool,
    pub is_batch: bool,
    /// Id, and what came of it as soon as that is known.
    pub parts: Vec<(Option<String>, Option<Outcome>)>,
    /// It stands behind so many pushes; a batch at most behind so many.
    pub behind: Option<u64>,
    /// How many bytes this client has said when all of its request is said.
    pub end: u64,
    /// Where the remains of a broken text begin and end, in bytes from the start, until they are read.
    pub remains: Option<(u64, u64)>,
    /// How often it has to come, and what comes when it does so once more.
    pub owed: u32,
    pub again: Option<Outcome>,
}

impl Answer {
    /// Whether it has come as often as it had to.
    pub fn has_come(&self) -> bool {
        self.owed == 0 && self.remains.is_none()
    }

    /// Whether it is known what came of all of it.
    pub fn is_whole(&self) -> bool {
        self.parts.iter().all(|part| part.1.is_some())
    }

    /// Whether the results that are known come to more than a batch may have.
    pub fn is_too_large(&self) -> bool {
        let results = self.parts.iter().map(|part| match &part.1 {
            Some(Outcome::Result(result)) => result.len(),
            _ => 0,
        });
        results.sum::<usize>() > MOST_OF_A_BATCH
    }

    /// Whether it says that something took too long.
    pub fn is_timeout(&self) -> bool {
        matches!(self.parts[..], [(_, Some(Outcome::Error(-32002, ..)))])
    }

    /// It has come once.
    pub fn comes(&mut self) {
        self.owed -= 1;
        if let Some(again) = self.again.take() {
            self.parts[0].1 = Some(again);
        }
    }

    /// The request in this place, and all behind it, have no place for their answers. What is no request is told so.
    pub fn refuse_from(&mut self, place: usize) {
        for (_, outcome) in &mut self.parts[place..] {
            if !outcome.as_ref().is_some_and(Outcome::is_no_request) {
                *outcome = Some(Outcome::too_large());
            }
        }
    }

    /// No fewer bytes than it has, in whatever framing.
    pub fn most_bytes(&self) -> u64 {
        let stats = self.parts.iter().filter(|part| matches!(part.1, Some(Outcome::Stats(..)))).count();
        self.text(self.v2).len() as u64 * 3 + stats as u64 * STATS
    }

    pub fn text(&self, v2: bool) -> String {
        let mut all: Vec<String> = Vec::new();
        for (id, outcome) in &self.parts {
            let Some(outcome) = outcome else { continue };
            all.push(envelope(v2, id.as_deref(), outcome));
        }
        if self.is_batch { format!("[{}]", all.join(",")) } else { all.pop().unwrap_or_default() }
    }
}

pub(super) fn envelope(v2: bool, id: Option<&str>, outcome: &Outcome) -> String {
    if v2 {
        let id = id.unwrap_or("null");
        return match outcome {
            Outcome::Stats(..) => String::new(),
            Outcome::Result(result) => format!("{{\"jsonrpc\":\"2.0\",\"result\":{result},\"id\":{id}}}"),
            Outcome::Refused(code, text) => {
                format!(
                    "{{\"jsonrpc\":\"2.0\",\"error\":{{\"code\":{code},\"message\":{}}},\"id\":{id}}}",
                    json(text)
                )
            }
            Outcome::Error(code, text, data) => {
                let data = data.iter().map(|data| format!(",\"data\":{}", json(data)));
                format!(
                    "{{\"jsonrpc\":\"2.0\",\"error\":{{\"code\":{code},\"message\":{}{}}},\"id\":{id}}}",
                    json(text),
                    data.collect::<String>()
                )
            }
        };
    }
    let object = match outcome {
        Outcome::Result(result) => result.clone(),
        Outcome::Refused(_, text) => format!("{{\"status\":\"error\",\"message\":{}}}", json(text)),
        Outcome::Error(code, text, _) => format!("{{\"error\":{},\"code\":{code}}}", json(text)),
        Outcome::Stats(..) => "{}".to_owned(),
    };
    match id {
        Some(id) => format!("{},\"id\":{id}}}", &object[..object.len() - 1]),
        None => object,
    }
}

/// Whether statistics hold these numbers; gives their part of the answer back, with the version before it.
pub(super) fn judge_stats(text: &str, figures: &[(Name, u64)], turns: &Times) -> Result<String, String> {
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
    turns.judge_answer(&stats).map_or(Ok(text[from..at + length].to_owned()), Err)
}

/// The length of the object or array at the front, if it is whole.
pub(super) fn object(bytes: &[u8]) -> Option<usize> {
    Scan::default().end(bytes)
}

/// How far an object or array has been looked at: a long one comes in many pieces.
#[derive(Default)]
pub(super) struct Scan {
    at: usize,
    depth: usize,
    in_string: bool,
    escaped: bool,
}

impl Scan {
    /// Its length, if it is whole in these bytes, which begin as they did before.
    pub(super) fn end(&mut self, bytes: &[u8]) -> Option<usize> {
        while self.at == 0 || self.depth > 0 {
            let byte = *bytes.get(self.at)?;
            self.at += 1;
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' if self.in_string => self.escaped = true,
                b'"' => self.in_string = !self.in_string,
                b'{' | b'[' if !self.in_string => self.depth += 1,
                b'}' | b']' if !self.in_string => self.depth -= 1,
                _ => {}
            }
        }
        Some(self.at)
    }
}
