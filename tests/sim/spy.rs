//! The real chat, and somebody who notes what it is asked: the order in which that happens is the order of the room.
//!
//! Every row of the chat's table is passed on with its rules and its guard. What the chat does not do is added: see
//! `tricks.rs`.

use std::cell::RefCell;
use std::rc::Rc;

use rawline::Stats;
use rawline::api::{Call, Closed, ConnId, Effects, Fault, Kind, Line, Peer, Reply, Route, Service, Wire};
use rawline::service::chat::Chat;

use super::tricks::{BOOMS, LATER, LONG, say_farewell};
use super::world::State;

pub struct Spy {
    chat: Chat,
    pub state: Rc<RefCell<State>>,
}

impl Spy {
    pub fn new(chat: Chat, state: Rc<RefCell<State>>) -> Self {
        Self { chat, state }
    }
}

const fn row<const N: usize>() -> Route<Spy> {
    let row = &Chat::ROUTES[N];
    Route { name: row.name, params: row.params, guard: guard::<N>, handler: pass_on::<N> }
}

fn guard<const N: usize>(spy: &Spy, conn: ConnId) -> Result<(), Fault> {
    let allowed = (Chat::ROUTES[N].guard)(&spy.chat, conn);
    spy.state.borrow_mut().guarded(conn, Chat::ROUTES[N].name, allowed.is_ok());
    allowed
}

fn pass_on<const N: usize>(spy: &mut Spy, call: Call<'_>, fx: &mut Effects) -> Result<Reply, Fault> {
    let row = &Chat::ROUTES[N];
    let arg = row.params.first().and_then(|param| match param.kind {
        Kind::Text => call.text(0).map(Into::into),
        _ => call.arg::<f64>(0).ok().map(|number| number.to_string()),
    });
    spy.state.borrow_mut().called(call.conn, call.peer, row.name, arg);
    (row.handler)(&mut spy.chat, call, fx)
}

const CHAT_ROWS: usize = 7;
const _: () = assert!(Chat::ROUTES.len() == CHAT_ROWS, "every row of the chat is passed on below");

impl Service for Spy {
    const ROUTES: &'static [Route<Self>] = &[
        row::<0>(),
        row::<1>(),
        row::<2>(),
        row::<3>(),
        row::<4>(),
        row::<5>(),
        row::<6>(),
        LATER,
        LONG,
        BOOMS,
    ];

    fn is_sound(&self) -> bool {
        self.chat.is_sound()
    }

    fn count(&self, stats: &mut Stats) {
        self.chat.count(stats);
    }

    fn opened(&mut self, conn: ConnId, peer: Peer, wire: Wire, fx: &mut Effects) {
        self.state.borrow_mut().opened(conn, peer, wire);
        self.chat.opened(conn, peer, wire, fx);
    }

    fn line(&mut self, conn: ConnId, peer: Peer, line: Line<'_>, fx: &mut Effects) {
        self.state.borrow_mut().line(conn, peer, line);
        self.chat.line(conn, peer, line, fx);
    }

    fn uploaded(&mut self, name: &str, bytes: u64, fx: &mut Effects) {
        self.state.borrow_mut().uploaded(name, bytes);
        self.chat.uploaded(name, bytes, fx);
    }

    fn closed(&mut self, conn: ConnId, peer: Peer, why: Closed, fx: &mut Effects) {
        self.state.borrow_mut().closed(conn, peer, why);
        self.chat.closed(conn, peer, why, fx);
        say_farewell(conn, why, fx);
    }
}
