//! Scripted clients: what they say, how fast, how they end, and what they expect to get.
//!
//! Owns what all wires have in common. What a client says and how it judges the answers is in the file of its wire.

pub mod echo;
pub mod files;
pub mod line;
pub mod rpc;

use std::cell::OnceCell;
use std::collections::VecDeque;
use std::net::IpAddr;
use std::rc::Rc;

use rawline::{Limits, Wire};

use super::rng::Rng;
use super::room::{HIDDEN, Who};
use files::shelf::Shelf;

/// A rule that was broken, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    pub rule: &'static str,
    pub how: String,
}

/// Shorthand for `Err(Broken)`.
pub fn broken<T>(rule: &'static str, how: impl Into<String>) -> Result<T, Broken> {
    Err(Broken { rule, how: how.into() })
}

/// What somebody is told who took too long with a message, or said nothing for too long.
pub const TIMEOUTS: [&str; 2] =
    ["a message not complete within message_timeout", "nothing said within idle_timeout"];

/// What a client may look at while it acts.
pub struct Scene<'a> {
    pub rng: &'a mut Rng,
    pub limits: &'a Limits,
    pub shelf: &'a mut Shelf,
    /// The server has been told to stop; it hears no more of whoever acts.
    pub stopping: bool,
    pub is_too_late: bool,
    /// There was no room for whoever acts.
    pub turned_away: bool,
}

/// How it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It stays until everybody has to go.
    Stay,
    /// FIN when it has said all; it reads to the end.
    HalfClose,
    /// It closes when it has got all.
    Close,
    /// RST when it has said all, whatever is under way.
    Reset,
    /// RST after so many bytes, in the middle of whatever it is.
    ResetAfter(u64),
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It has not connected.
    Before,
    /// It is connected, or waits to be accepted.
    Open,
    /// It has sent FIN.
    Finished,
    /// It has closed, or was closed.
    Gone,
}

/// One client.
pub struct Client {
    pub who: Who,
    pub wire: Wire,
    pub stage: Stage,
    pub ending: Ending,
    /// It does not go when the server has sent FIN.
    pub lingers: bool,
    /// Bytes that it wants to send.
    pub out: VecDeque<u8>,
    /// Microseconds between two acts.
    pub pace: (u64, u64),
    /// The most bytes it sends in one act.
    pub chunk: usize,
    /// The most bytes it reads in one act; 0: it never reads.
    pub gulp: usize,
    /// An act of it is in the calendar.
    pub scheduled: bool,
    /// Something has gone wrong on its connection that it cannot know of: nothing is promised to it any more.
    pub doomed: bool,
    /// The server has closed its side.
    pub eof: bool,
    pub sent: u64,
    /// Where its messages end, of those that the server has not read, in bytes from the start.
    pub ends: VecDeque<u64>,
    /// Where it connects from.
    pub host: IpAddr,
    /// Bytes of it that had arrived when the server was told to stop: it is answered, if nothing comes between.
    pub owed: u64,
    /// Behind that, when all of it was answered, it is heard no more.
    pub is_too_late: bool,
    pub talk: Talk,
}

/// What it says, by its wire.
pub enum Talk {
    Rpc(Box<rpc::Rpc>),
    Line(Box<line::Line>),
    Echo(Box<echo::Echo>),
    Files(Box<files::FileTalk>),
}

impl Talk {
    /// Bytes of a notice in the form that it gets; 0 where that may change.
    pub fn bytes_of(&self, notice: &Notice) -> u64 {
        match self {
            Talk::Rpc(rpc) if rpc.dialects == 0 && rpc.ends == rpc::Ends::Bare => {
                notice.form(false, true).len() as u64
            }
            Talk::Line(_) => {
                let text = notice.line.as_deref().unwrap_or_default();
                text.chars().filter(|c| !c.is_control()).map(|c| c.len_utf8() as u64).sum()
            }
            _ => 0,
        }
    }

    /// Bytes that it was to be sent, at most.
    pub fn due(&self) -> u64 {
        match self {
            Talk::Rpc(rpc) => rpc.due.1,
            Talk::Line(line) => line.due(),
            Talk::Echo(_) | Talk::Files(_) => 0,
        }
    }
}

impl Client {
    /// Whether it reads, and so may expect everything.
    pub fn reads(&self) -> bool {
        self.gulp > 0
    }

    /// Puts what it says next into `out`; whether there was anything.
    pub fn say(&mut self, scene: &mut Scene<'_>) -> bool {
        match &mut self.talk {
            Talk::Rpc(rpc) => rpc.say(scene, &mut self.out),
            Talk::Line(line) => line.say(scene, &mut self.out),
            Talk::Echo(echo) => echo.say(scene, &mut self.out),
            Talk::Files(files) => files.say(scene, &mut self.out),
        }
    }

    /// What it said last ends behind so many bytes.
    pub fn ends_at(&mut self, end: u64) {
        match &mut self.talk {
            Talk::Rpc(rpc) => rpc.ends_at(end),
            Talk::Line(line) => line.ends_at(end),
            Talk::Files(files) => files.ends_at(end),
            Talk::Echo(_) => {}
        }
    }

    /// Judges what the server sent.
    pub fn hear(&mut self, bytes: &[u8], scene: &mut Scene<'_>) -> Result<(), Broken> {
        match &mut self.talk {
            Talk::Rpc(rpc) => rpc.receive(bytes, scene),
            Talk::Line(line) => line.receive(bytes, scene),
            Talk::Echo(echo) => echo.receive(bytes),
            Talk::Files(files) => files.receive(bytes, scene),
        }
    }

    /// Whether it has nothing more to say.
    pub fn has_said_all(&self) -> bool {
        self.out.is_empty()
            && match &self.talk {
                Talk::Rpc(rpc) => rpc.todo == 0,
                Talk::Line(line) => line.todo == 0,
                Talk::Echo(echo) => echo.todo == 0,
                Talk::Files(files) => files.has_said_all(),
            }
    }

    /// What it still waits for.
    pub fn awaits(&self) -> Option<String> {
        match &self.talk {
            Talk::Rpc(rpc) => rpc.awaits(),
            Talk::Line(line) => line.awaits(),
            Talk::Echo(echo) => echo.awaits(),
            Talk::Files(files) => files.awaits(),
        }
    }

    /// The room tells it something.
    pub fn expect(&mut self, notice: &Rc<Notice>) {
        match &mut self.talk {
            Talk::Rpc(rpc) => rpc.expect(notice),
            Talk::Line(line) => line.expect(notice.line.as_deref()),
            Talk::Echo(_) | Talk::Files(_) => {}
        }
    }

    /// It is told that it took too long, for one of these reasons.
    pub fn is_told_so(&mut self, reasons: &'static [&'static str]) {
        match &mut self.talk {
            Talk::Rpc(rpc) => rpc.timeouts = reasons,
            Talk::Line(line) => line.timeouts = reasons,
            Talk::Echo(_) | Talk::Files(_) => {}
        }
    }

    pub fn rpc(&mut self) -> Option<&mut rpc::Rpc> {
        match &mut self.talk {
            Talk::Rpc(rpc) => Some(rpc),
            _ => None,
        }
    }

    pub fn line(&mut self) -> Option<&mut line::Line> {
        match &mut self.talk {
            Talk::Line(line) => Some(line),
            _ => None,
        }
    }
}

/// Something that the room is told, in all its forms.
pub struct Notice {
    pub kind: &'static str,
    /// A JSON object, in UTF-8.
    pub params: String,
    pub line: Option<String>,
    forms: [OnceCell<Vec<u8>>; 4],
}

impl Notice {
    pub fn new(kind: &'static str, message: &str, username: &str, line: Option<String>) -> Rc<Self> {
        let params = format!("{{\"message\":{},\"username\":{}}}", json(message), json(username));
        Rc::new(Self { kind, params, line, forms: Default::default() })
    }

    /// As an object, without LF.
    pub fn form(&self, v2: bool, ascii: bool) -> &[u8] {
        self.forms[usize::from(v2) * 2 + usize::from(ascii)].get_or_init(|| {
            let (kind, params) = (self.kind, &self.params);
            let object = if v2 {
                format!("{{\"jsonrpc\":\"2.0\",\"method\":\"{kind}\",\"params\":{params}}}")
            } else {
                format!("{{\"type\":\"{kind}\",{}", &params[1..])
            };
            if ascii { escape(&object).into_bytes() } else { object.into_bytes() }
        })
    }
}

/// A JSON string.
pub fn json(text: &str) -> String {
    serde_json::to_string(text).expect("a string")
}

/// A character that no name may have.
pub fn hidden(rng: &mut Rng) -> char {
    let range = rng.pick(HIDDEN);
    *rng.pick(&[*range.start(), *range.end()])
}

/// One of those, or its neighbour.
pub fn almost_hidden(rng: &mut Rng) -> char {
    let next = u32::from(hidden(rng)) + rng.range(0, 2) as u32 - 1;
    char::from_u32(next).unwrap_or('a')
}

/// JSON with nothing but ASCII in it.
pub fn escape(json: &str) -> String {
    if json.is_ascii() {
        return json.to_owned();
    }
    let mut units = [0; 2];
    json.chars()
        .map(|c| {
            if c.is_ascii() {
                return c.to_string();
            }
            c.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")).collect()
        })
        .collect()
}

/// Words of all sorts of characters, at most so many.
pub fn words(rng: &mut Rng, most: usize) -> String {
    const WORDS: &[&str] = &[
        "hello",
        "a",
        "{\"x\":[1,2]}",
        "ünï",
        "日本",
        "😀",
        "\\",
        "\"quoted\"",
        "line\nfeed",
        "tab\there",
        "]}",
        "\u{1b}[31m",
        "/slash",
        "}{",
        "\u{7f}",
        "e\u{301}",
        "\u{2028}",
        "bell\u{7}",
        "null",
        ":",
        "🏳\u{200d}🌈",
    ];
    let n = rng.size(1, most.max(1));
    (0..n).map(|_| *rng.pick(WORDS)).collect::<Vec<_>>().join(" ")
}
