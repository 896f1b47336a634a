//! What a service may do and the chat does not: answer later, never, or twice; say something and refuse; panic; talk to
//! one who has gone; answer at length.
//!
//! Each is a row of the [`Spy`]'s table beside those of the chat. What must come of it is said where the spy reports it.

use std::fmt::Display;
use std::rc::Rc;

use rawline::api::{Call, Closed, ConnId, Effects, Fault, Param, Reply, Route};
use serde_json::{Value, json};

use super::client::{Notice, rpc::Outcome};
use super::mail::Promise;
use super::room::Who;
use super::spy::Spy;

/// What the panicking method says.
pub const BOOM: &str = "a handler panics, as the script says";
/// In whose name the service speaks, where that is not the chat.
pub const SPEAKER: &str = "SERVICE";
const FAREWELL: &str = "so long";
const NOT_TODAY: (i32, &str) = (-32030, "Not today");

/// What becomes of a call that was deferred.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// It is answered later.
    Late,
    /// Whoever was to answer it later has forgotten it.
    Lost,
    /// It is refused later.
    Failed,
    /// It was answered at once, and is answered once more later, which nobody hears.
    Now,
    /// The same with a refusal.
    Refused,
}

impl How {
    pub const ALL: [(&str, Self); 5] = [
        ("late", Self::Late),
        ("lost", Self::Lost),
        ("failed", Self::Failed),
        ("now", Self::Now),
        ("refused", Self::Refused),
    ];

    pub fn of(word: &str) -> Self {
        Self::ALL.iter().find(|(name, _)| *name == word).map_or(Self::Late, |found| found.1)
    }

    pub fn is_deferred(self) -> bool {
        matches!(self, Self::Late | Self::Lost | Self::Failed)
    }

    /// What the caller must be told.
    pub fn outcome(self, number: &str) -> Outcome {
        match self {
            Self::Late => Outcome::Result(format!("{{\"late\":{number}}}")),
            Self::Now => Outcome::Result(format!("{{\"now\":{number}}}")),
            Self::Lost => Outcome::internal("the helper gave no answer"),
            Self::Failed | Self::Refused => Outcome::Refused(NOT_TODAY.0, NOT_TODAY.1.into()),
        }
    }
}

pub const LATER: Route<Spy> = Route::new(
    "later",
    &[
        Param::number("number"),
        Param::text("how").optional(),
        Param::boolean("aloud").optional(),
        Param::any("note").optional(),
    ],
    later,
);
pub const LONG: Route<Spy> = Route::new("long", &[Param::number("number")], long);
pub const BOOMS: Route<Spy> = Route::new("boom", &[], boom);

/// Defers the call, whatever it does about it, and tells the room of it if it is to be aloud.
fn later(spy: &mut Spy, call: Call<'_>, fx: &mut Effects) -> Result<Reply, Fault> {
    let number: u64 = call.arg(0)?;
    let how = call.text(1).unwrap_or("late".into());
    let aloud = call.arg::<Option<bool>>(2)?.unwrap_or(false);
    let note: Value = call.arg(3)?;
    let mut state = spy.state.borrow_mut();
    let asked = format!("{number} {how} {aloud} {note}");
    let answer = state.called(call.conn, call.peer, "later", Some(asked));
    let (how, who) = (How::of(&how), call.peer.number() as Who);
    if aloud {
        let message = said_aloud(number, who);
        fx.announce(
            None,
            "news",
            &json!({"message": message, "username": SPEAKER}),
            format_args!("{message}"),
        );
    }
    let (ticket, completer) = call.defer();
    state.promise(Promise { completer, how, number, who, answer });
    match how {
        How::Now => fx.reply(&json!({"now": number})),
        How::Refused => Err(refusal()),
        How::Late | How::Lost | How::Failed => Ok(Reply::Later(ticket)),
    }
}

/// What must come of `later`, given what the service heard: the answer, whether it comes late, and what the room hears.
pub fn comes_of_later(heard: &str, who: Who) -> (Outcome, bool, Option<Rc<Notice>>) {
    let mut words = heard.split(' ');
    let mut next = || words.next().unwrap_or("");
    let (number, how, is_aloud) = (next(), How::of(next()), next() == "true");
    let text = said_aloud(number, who);
    let aloud = is_aloud && how != How::Refused;
    let aloud = aloud.then(|| Notice::new("news", &text, SPEAKER, Some(text.clone())));
    (how.outcome(number), how.is_deferred(), aloud)
}

fn said_aloud(number: impl Display, who: Who) -> String {
    format!("{number} of {who}")
}

pub fn refusal() -> Fault {
    Fault::rule(NOT_TODAY.0, NOT_TODAY.1)
}

/// Answers with so many characters.
fn long(spy: &mut Spy, call: Call<'_>, fx: &mut Effects) -> Result<Reply, Fault> {
    let number: usize = call.arg(0)?;
    spy.state.borrow_mut().called(call.conn, call.peer, "long", Some(number.to_string()));
    fx.reply(&json!({"long": "x".repeat(number)}))
}

/// What must come of it.
pub fn comes_of_long(heard: &str) -> Outcome {
    Outcome::Result(format!("{{\"long\":\"{}\"}}", "x".repeat(heard.parse().unwrap_or(0))))
}

fn boom(spy: &mut Spy, call: Call<'_>, fx: &mut Effects) -> Result<Reply, Fault> {
    spy.state.borrow_mut().called(call.conn, call.peer, "boom", None);
    fx.broadcast(None, "chat", &json!({"message": "never to be heard", "username": "boom"}));
    panic!("{BOOM}");
}

/// One who can say nothing more is to hear the room, which comes to nothing, and is told something, which comes if he is
/// still told anything.
pub fn say_farewell(conn: ConnId, why: Closed, fx: &mut Effects) {
    fx.subscribe(conn);
    if is_told_farewell(why) {
        fx.send(conn, "news", &json!({"message": FAREWELL, "username": SPEAKER}));
    }
}

/// What one is told who ends for this reason, if what is told him still leaves.
pub fn farewell(why: Closed) -> Option<Rc<Notice>> {
    is_told_farewell(why).then(|| Notice::new("news", FAREWELL, SPEAKER, None))
}

fn is_told_farewell(why: Closed) -> bool {
    matches!(why, Closed::Peer | Closed::Service | Closed::TooLarge | Closed::TooDeep | Closed::Panicked)
}
