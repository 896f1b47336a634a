//! The inspection lab: exercises in system calls and segments that know whether they were solved.
//!
//! The lab stages what is to be seen, so it knows the truth: descriptors, ports, byte counts, who closed first. The
//! learner looks with strace, tcpdump or ss and hands in what the tool wrote, with a few answers; [`check`](fn@check)
//! compares. An [`Exercise`] is one file in `exercises/` and one row of [`COURSE`]; nothing else knows its name.
//! Nothing here reads arguments or the environment, and nothing prints: the program `lab` of the binary does.

pub mod act;
pub mod book;
pub mod check;
mod exercises;
pub mod progress;
pub mod read;
pub mod solve;
pub mod stage;
pub mod tool;
pub mod truth;

pub use check::{Finding, Verdict, check};
pub use exercises::COURSE;
pub use stage::{Face, Stage};
pub use tool::Tool;
pub use truth::Truth;

use std::io;

use act::Actor;
use read::Evidence;
use read::calls::Call;
use read::segments::Segment;

/// One exercise: what to read, how it is staged, how it is judged.
pub struct Exercise {
    /// What it is called on the command line.
    pub name: &'static str,
    /// The heading of its page.
    pub title: &'static str,
    /// What happens, and what is asked.
    pub text: &'static str,
    /// What to look for in the tool's output.
    pub look: &'static str,
    /// Manual pages and standards.
    pub read: &'static str,
    /// Where this server makes the calls: a file, and the line of it that begins the function.
    pub source: &'static [(&'static str, &'static str)],
    /// What the learner looks with.
    pub tool: Tool,
    /// The command on Linux. `{file}` and what the staging has told (`{pid}`, `{port}`) are filled in.
    pub linux: &'static str,
    /// The same on macOS.
    pub macos: &'static str,
    /// Makes it happen, in the process of the lab.
    pub stage: fn(&mut Stage<'_>) -> io::Result<()>,
    /// What a process of its own does, if the staging starts one: it is what strace looks at.
    pub act: fn(&mut Actor<'_>) -> io::Result<()>,
    /// What must be in the capture, in the order in which it is looked for.
    pub marks: &'static [Mark],
    /// What is asked.
    pub questions: &'static [Question],
    /// Words of the tool's output, and what is to be said of the lines that have them.
    pub notes: &'static [(&'static str, &'static str)],
    /// What there was to learn; only `solve` says it.
    pub lesson: &'static str,
}

/// Something that a capture of this staging has.
pub struct Mark {
    /// What, as the end of "there is".
    pub what: &'static str,
    /// Whether it has.
    pub seen: fn(&Scene) -> bool,
    /// What to try if it has not.
    pub hint: &'static str,
}

/// Something to be found out.
pub struct Question {
    /// What it is called in `--answer KEY=VALUE`.
    pub key: &'static str,
    /// The question.
    pub ask: &'static str,
    /// The answer, for this capture of this staging.
    pub right: fn(&Scene) -> Answer,
    /// Wrong answers that are often given, each with what leads on.
    pub mistakes: &'static [Mistake],
    /// What leads on from any other wrong answer.
    pub hint: &'static str,
}

/// A wrong answer that is often given.
pub struct Mistake {
    /// The answer.
    pub given: fn(&Scene) -> Answer,
    /// What leads on from it.
    pub hint: &'static str,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A number.
    Number(i64),
    /// A number from the first to the second.
    Between(i64, i64),
    /// A word: upper and lower case are one, and `f()` is `f`.
    Word(&'static str),
}

/// The truth and what the learner has seen of it.
pub struct Scene {
    /// What the staging wrote down.
    pub truth: Truth,
    /// What the file holds.
    pub evidence: Evidence,
}

impl Exercise {
    /// The exercise of this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        COURSE.iter().copied().find(|exercise| exercise.name == name)
    }

    /// Whether the file has all that it must have.
    pub fn is_complete(&self, scene: &Scene) -> bool {
        self.marks.iter().all(|mark| (mark.seen)(scene))
    }

    /// The command on this system.
    pub fn command(&self) -> &'static str {
        if cfg!(target_vendor = "apple") { self.macos } else { self.linux }
    }

    /// What the tool's output is called unless the learner says otherwise.
    pub fn file(&self) -> String {
        format!("{}.{}", self.name, if self.tool == Tool::Tcpdump { "pcap" } else { "txt" })
    }
}

impl Scene {
    /// The calls of these names, in order.
    pub fn calls<'a>(&'a self, names: &'a [&str]) -> impl Iterator<Item = &'a Call> {
        self.evidence.calls.iter().filter(|call| call.is(names))
    }

    /// The segments between the port `port` and the one that was told under this name, in order.
    pub fn connection(&self, client: &str) -> impl Iterator<Item = &Segment> {
        let (client, port) = (self.truth.port(client), self.truth.port("port"));
        self.evidence.segments.iter().filter(move |segment| segment.has(client) && segment.has(port))
    }
}

impl Answer {
    /// Whether this is what was given. White space around it does not count.
    pub fn accepts(&self, given: &str) -> bool {
        let given = given.trim();
        let number = given.parse::<i64>();
        match *self {
            Self::Number(right) => number == Ok(right),
            Self::Between(from, to) => number.is_ok_and(|number| (from..=to).contains(&number)),
            Self::Word(right) => given.trim_end_matches("()").eq_ignore_ascii_case(right),
        }
    }

    /// It, as a learner would write it.
    pub fn show(&self) -> String {
        match self {
            Self::Number(number) | Self::Between(number, _) => number.to_string(),
            Self::Word(word) => (*word).to_owned(),
        }
    }
}
