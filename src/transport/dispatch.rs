//! From a complete JSON text to a handler and back: the table of `fn` pointers and the rules around a call.
//!
//! Owns the table, the service and its reused effects. Every request goes the same way: parse, look up, guard,
//! bind parameters, call, answer, apply effects; the elements of a batch too, except that their
//! answers are collected. A panic in a handler is caught here and its effects are discarded. Never touches a
//! socket or a ring: the event loop hands it texts and it fills the hub.

use std::sync::Arc;

use crate::api::{
    Call, Closed, Complete, ConnId, Effects, Fault, MAX_PARAMS, Peer, Reply, Route, RouteError,
};
use crate::api::{Line, Service, Ticket, Wire};
use crate::transport::codec::jsonrpc::request::{Dialect, Rejected, Request, bind};
use crate::transport::codec::jsonrpc::walk::{Elements, elements};
use crate::transport::counters::Counters;
use crate::transport::hub::Hub;
use crate::transport::job::{Batch, Job, Waiting};
use crate::transport::panics;

/// A service's routes, indexed by name.
pub struct Table<S: 'static> {
    /// Sorted by length, then bytes: most comparisons end at the length.
    rows: Vec<&'static Route<S>>,
}

impl<S> Table<S> {
    /// Checks the rows and indexes them.
    ///
    /// # Errors
    /// A name that is illegal or registered twice; a row with too many parameters or one twice.
    pub fn new(routes: &'static [Route<S>]) -> Result<Self, RouteError> {
        let mut rows: Vec<_> = routes.iter().collect();
        rows.sort_by_key(|row| (row.name.len(), row.name));
        for row in &rows {
            let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"_-./".contains(&byte);
            if !(1..=64).contains(&row.name.len())
                || !row.name.bytes().all(legal)
                || row.name.starts_with("rpc.")
            {
                return Err(RouteError::BadName(row.name));
            }
            let twice = |(n, param): (usize, &crate::api::Param)| {
                row.params[..n].iter().any(|p| p.name == param.name)
            };
            if row.params.len() > MAX_PARAMS || row.params.iter().enumerate().any(twice) {
                return Err(RouteError::BadParams(row.name));
            }
        }
        match rows.windows(2).find(|pair| pair[0].name == pair[1].name) {
            Some(pair) => Err(RouteError::Duplicate(pair[0].name)),
            None => Ok(Self { rows }),
        }
    }

    /// The row of this name.
    pub fn find(&self, name: &str) -> Option<&'static Route<S>> {
        let at = self.rows.binary_search_by(|row| (row.name.len(), row.name).cmp(&(name.len(), name)));
        at.ok().map(|at| self.rows[at])
    }
}

/// How a text was dispatched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Answered, or nothing to answer.
    Done,
    /// It goes on later: the connection has a [`Job`].
    Pending,
    /// A handler panicked; that was answered, and the connection is to be closed.
    Panicked,
}

/// The service and its table.
pub struct Dispatcher<S: Service> {
    table: Table<S>,
    service: S,
    fx: Effects,
    mail: Arc<dyn Complete>,
    tickets: u32,
}

impl<S: Service> Dispatcher<S> {
    /// A dispatcher whose deferred calls are answered through `mail`.
    ///
    /// # Errors
    /// When the service's table is not sound.
    pub fn new(service: S, mail: Arc<dyn Complete>) -> Result<Self, RouteError> {
        Ok(Self { table: Table::new(S::ROUTES)?, service, fx: Effects::new(), mail, tickets: 0 })
    }

    /// The service.
    pub fn service(&self) -> &S {
        &self.service
    }

    /// The service, back from a stopped server.
    pub fn into_service(self) -> S {
        self.service
    }

    /// Tells the service of a new connection.
    pub fn opened(&mut self, hub: &mut Hub, id: ConnId, peer: Peer, wire: Wire) -> Outcome {
        self.notify(hub, Some(id), |service, fx| service.opened(id, peer, wire, fx))
    }

    /// Hands the service a line of the line chat.
    pub fn line(&mut self, hub: &mut Hub, id: ConnId, peer: Peer, line: Line<'_>) -> Outcome {
        self.notify(hub, Some(id), |service, fx| service.line(id, peer, line, fx))
    }

    /// Tells the service of a file that was stored.
    pub fn uploaded(&mut self, hub: &mut Hub, name: &str, bytes: u64) {
        self.notify(hub, None, |service, fx| service.uploaded(name, bytes, fx));
    }

    /// Tells the service that a connection has ended.
    pub fn closed(&mut self, hub: &mut Hub, id: ConnId, peer: Peer, why: Closed) {
        self.notify(hub, Some(id), |service, fx| service.closed(id, peer, why, fx));
    }

    /// Dispatches one complete JSON text.
    pub fn text(&mut self, hub: &mut Hub, id: ConnId, text: &str, stopping: bool) -> Outcome {
        if text.starts_with('[') {
            return self.open_batch(hub, id, text, stopping);
        }
        let request = match Request::parse(text, false) {
            Ok(request) => request,
            Err(Rejected { dialect, id: request, fault }) => {
                hub.answer(id, dialect, request, Err(&fault));
                return Outcome::Done;
            }
        };
        hub.set_dialect(id, request.dialect);
        let silent = request.is_notification();
        let (result, mut outcome) = self.call(hub, id, &request, stopping);
        match result {
            Ok(Reply::Later(ticket)) => {
                put_job(hub, id, Job { batch: None, waiting: Some(Waiting::new(ticket, &request)) });
                outcome = Outcome::Pending;
            }
            _ if silent => {}
            Ok(Reply::Now(out)) => hub.answer(id, request.dialect, request.id, Ok(self.fx.result(&out))),
            Err(fault) => hub.answer(id, request.dialect, request.id, Err(&fault)),
        }
        self.apply(hub);
        outcome
    }

    /// Goes on with a batch that had paused.
    pub fn resume(&mut self, hub: &mut Hub, id: ConnId, stopping: bool) -> Outcome {
        let Some(job) = hub.conns.get_mut(id).and_then(|conn| conn.job.take()) else { return Outcome::Done };
        match *job {
            Job { batch: Some(batch), waiting: None } => self.run_batch(hub, id, batch, stopping),
            waiting => {
                put_job(hub, id, waiting);
                Outcome::Pending
            }
        }
    }

    /// Takes a late answer; says whose it was, if that connection still waits for it.
    pub fn complete(
        &mut self,
        hub: &mut Hub,
        ticket: Ticket,
        answer: &Result<String, Fault>,
    ) -> Option<ConnId> {
        let id = ticket.conn;
        let job = &mut hub.conns.get_mut(id)?.job;
        let waiting = job.as_mut()?.waiting.take_if(|waiting| waiting.number == ticket.number)?;
        let result = answer.as_ref().map(String::as_str);
        match &mut job.as_mut().expect("it was there").batch {
            Some(_) if waiting.silent => {}
            Some(batch) => answer_in(batch, &mut hub.counters, waiting.id.as_deref(), result),
            None => {
                *job = None;
                if !waiting.silent {
                    hub.answer(id, waiting.dialect, waiting.id.as_deref(), result);
                }
            }
        }
        Some(id)
    }

    fn open_batch(&mut self, hub: &mut Hub, id: ConnId, text: &str, stopping: bool) -> Outcome {
        hub.set_dialect(id, Dialect::V2);
        let most = hub.limits.max_batch;
        let refused = match elements(text).take(most + 1).count() {
            0 => "a batch has at least one element".to_owned(),
            n if n > most => {
                hub.counters.max_batch += 1;
                format!("a batch has at most max_batch elements ({most})")
            }
            _ => {
                hub.hold(id);
                return self.run_batch(hub, id, Batch::new(text), stopping);
            }
        };
        hub.answer(id, Dialect::V2, None, Err(&Fault::invalid_request(refused)));
        Outcome::Done
    }

    fn run_batch(&mut self, hub: &mut Hub, id: ConnId, mut batch: Batch, stopping: bool) -> Outcome {
        let text = std::mem::take(&mut batch.text);
        let mut walk = Elements::resume(&text, batch.offset);
        let mut outcome = Outcome::Done;
        loop {
            if hub.is_full() {
                batch.offset = walk.offset();
                put_job(hub, id, Job { batch: Some(Batch { text, ..batch }), waiting: None });
                return Outcome::Pending;
            }
            let Some(element) = walk.next() else { break };
            let request = match Request::parse(element, true) {
                Ok(request) => request,
                Err(rejected) => {
                    answer_in(&mut batch, &mut hub.counters, rejected.id, Err(&rejected.fault));
                    continue;
                }
            };
            let silent = request.is_notification();
            if batch.is_full && !silent {
                let too_large = Fault::answer_too_large();
                answer_in(&mut batch, &mut hub.counters, request.id, Err(&too_large));
                continue;
            }
            let (result, called) = self.call(hub, id, &request, stopping);
            outcome = called;
            match result {
                Ok(Reply::Later(ticket)) => {
                    batch.offset = walk.offset();
                    let waiting = Some(Waiting::new(ticket, &request));
                    put_job(hub, id, Job { batch: Some(Batch { text, ..batch }), waiting });
                    self.apply(hub);
                    return Outcome::Pending;
                }
                _ if silent => {}
                Ok(Reply::Now(out)) => {
                    let result = Ok(self.fx.result(&out));
                    answer_in(&mut batch, &mut hub.counters, request.id, result);
                }
                Err(fault) => answer_in(&mut batch, &mut hub.counters, request.id, Err(&fault)),
            }
            self.apply(hub);
            if outcome == Outcome::Panicked {
                break;
            }
        }
        if !batch.answers.is_empty() {
            batch.answers.push(b']');
        }
        hub.answer_batch(id, &batch.answers);
        outcome
    }

    /// Looks the method up and calls it; what it asks for stays in `self.fx`.
    fn call(
        &mut self,
        hub: &mut Hub,
        id: ConnId,
        request: &Request<'_>,
        stopping: bool,
    ) -> (Result<Reply, Fault>, Outcome) {
        self.fx.clear();
        let refused = |fault| (Err(fault), Outcome::Done);
        if stopping {
            return refused(Fault::shutting_down());
        }
        if !hub.may_ask(id) {
            return refused(Fault::too_fast(hub.limits.rate_messages));
        }
        let Some(row) = self.table.find(&request.method) else {
            return refused(unknown_method(request));
        };
        let Some(conn) = hub.conns.get(id) else { return refused(Fault::shutting_down()) };
        self.tickets = self.tickets.wrapping_add(1);
        let (peer, ticket, mail) = (conn.peer, self.tickets, &self.mail);
        let (service, fx) = (&mut self.service, &mut self.fx);
        let called = panics::catch(Some(id), || {
            (row.guard)(service, id)?;
            let args = bind(request.params, row.params)?;
            let call = Call { conn: id, peer, args, params: row.params, ticket, directory: hub, mail };
            (row.handler)(service, call, fx)
        });
        let (result, outcome) = match called {
            Some(result) => (result, Outcome::Done),
            None => {
                self.survive(hub);
                (Err(Fault::internal("the handler panicked".into())), Outcome::Panicked)
            }
        };
        if result.is_err() {
            // A refusal has no effects: a handler may have begun to ask before it found the reason.
            self.fx.clear();
        }
        (result, outcome)
    }

    /// A handler panicked. What it asked for is forgotten; what it did to the service cannot be undone.
    ///
    /// # Panics
    /// If that is broken now: to go on with it would do more harm than to end.
    fn survive(&mut self, hub: &mut Hub) {
        hub.counters.panics += 1;
        self.fx.clear();
        assert!(self.service.is_sound(), "a panic has left the service broken");
    }

    fn notify(
        &mut self,
        hub: &mut Hub,
        conn: Option<ConnId>,
        tell: impl FnOnce(&mut S, &mut Effects),
    ) -> Outcome {
        self.fx.clear();
        let (service, fx) = (&mut self.service, &mut self.fx);
        if panics::catch(conn, || tell(service, fx)).is_none() {
            self.survive(hub);
            return Outcome::Panicked;
        }
        self.apply(hub);
        Outcome::Done
    }

    fn apply(&mut self, hub: &mut Hub) {
        hub.apply(&self.fx);
        self.fx.clear();
    }
}

/// The seed dialect shows no detail, so none is written for it: unknown methods are cheap to refuse.
fn unknown_method(request: &Request<'_>) -> Fault {
    let detail = (request.dialect == Dialect::V2).then(|| {
        // A name can be as long as a message; the answer need not be.
        let name: String = request.method.chars().take(64).collect();
        format!("there is no method {name:?}")
    });
    Fault { detail, ..Fault::method_not_found() }
}

/// An answer in a batch; an error is counted.
fn answer_in(batch: &mut Batch, counters: &mut Counters, id: Option<&str>, result: Result<&str, &Fault>) {
    let is_too_large = batch.answer(id, result);
    match result {
        Err(fault) => counters.fault(fault),
        Ok(_) if is_too_large => counters.fault(&Fault::answer_too_large()),
        Ok(_) => {}
    }
}

fn put_job(hub: &mut Hub, id: ConnId, job: Job) {
    if let Some(conn) = hub.conns.get_mut(id) {
        conn.job = Some(Box::new(job));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Param;

    struct Nothing;

    fn handler(_: &mut Nothing, _: Call<'_>, _: &mut Effects) -> Result<Reply, Fault> {
        Ok(Reply::fixed("{}"))
    }

    const fn row(name: &'static str) -> Route<Nothing> {
        Route::new(name, &[], handler)
    }

    fn refused(routes: &'static [Route<Nothing>]) -> Option<RouteError> {
        Table::new(routes).err()
    }

    #[test]
    fn a_sound_table_finds_every_row_and_nothing_else() {
        static ROUTES: [Route<Nothing>; 5] =
            [row("b"), row("add"), row("a"), row("a.long/name-1"), row("sub")];
        let table = Table::new(&ROUTES).unwrap();
        for route in &ROUTES {
            assert_eq!(table.find(route.name).unwrap().name, route.name);
        }
        for name in ["", "c", "ad", "adds", "A", "a.long/name-2"] {
            assert!(table.find(name).is_none(), "{name}");
        }
    }

    #[test]
    fn an_unsound_table_is_refused_with_its_reason() {
        static TWICE: [Route<Nothing>; 3] = [row("a"), row("b"), row("a")];
        static RESERVED: [Route<Nothing>; 1] = [row("rpc.list")];
        static SPACE: [Route<Nothing>; 1] = [row("two words")];
        static EMPTY: [Route<Nothing>; 1] = [row("")];
        static PARAMS: [Route<Nothing>; 1] = [Route::new("p", &[Param::text("x"), Param::any("x")], handler)];
        assert_eq!(refused(&TWICE), Some(RouteError::Duplicate("a")));
        assert_eq!(refused(&RESERVED), Some(RouteError::BadName("rpc.list")));
        assert_eq!(refused(&SPACE), Some(RouteError::BadName("two words")));
        assert_eq!(refused(&EMPTY), Some(RouteError::BadName("")));
        assert_eq!(refused(&PARAMS), Some(RouteError::BadParams("p")));
        assert_eq!(RouteError::Duplicate("add").to_string(), "the method \"add\" is registered twice");
    }
}
