//! A service with a state type of its own, on a kernel made of queues: what the library promises its users.
//!
//! Proves late answers and their order, what a panic or a refusal leaves behind, and the effects that the chat
//! does not use.

#[path = "common/world.rs"]
mod world;

use std::os::fd::RawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use rawline::transport::event_loop::EventLoop;
use rawline::{
    Call, Closed, Completer, ConnId, Effects, Fault, Limits, Param, Peer, Reply, Route, Service, Wire,
};
use world::{End, Kernel, LISTENER, World};

/// An office: it adds at once, and does other things when somebody gets round to it.
#[derive(Default)]
struct Office {
    sum: i64,
    /// Calls that are not yet answered, oldest first.
    pending: Vec<Completer>,
    closed: Vec<(ConnId, Closed)>,
}

impl Service for Office {
    const ROUTES: &'static [Route<Self>] = &[
        Route::new("add", &[Param::number("n")], add),
        Route::new("later", &[Param::any("what").optional()], later),
        Route::new("finish", &[Param::number("which"), Param::any("answer")], finish),
        Route::new("fail", &[Param::number("which")], fail),
        Route::new("forget", &[Param::number("which")], forget),
        Route::new("news", &[Param::any("text")], news),
        Route::new("tell", &[Param::number("whom"), Param::any("text")], tell),
        Route::new("panic", &[], panics),
        Route::new("refuse", &[], refuses),
        Route::new("who", &[], who),
        Route::new("stop", &[], stop),
        Route::new("beat", &[Param::number("seconds")], beat),
    ];

    fn closed(&mut self, conn: ConnId, _: Peer, why: Closed, _: &mut Effects) {
        self.closed.push((conn, why));
    }
}

fn add(office: &mut Office, call: Call<'_>, fx: &mut Effects) -> Result<Reply, Fault> {
    office.sum += call.arg::<i64>(0)?;
    fx.reply(&office.sum)
}

fn later(office: &mut Office, call: Call<'_>, fx: &mut Effects) -> Result<Reply, Fault> {
    let (ticket, completer) = call.defer();
    office.pending.push(completer);
    fx.broadcast(Some(call.conn), "begun", &serde_json::json!({ "what": call.arg::<String>(0).ok() }));
    Ok(Reply::Later(ticket))
}

fn finish(office: &mut Office, call: Call<'_>, _: &mut Effects) -> Result<Reply, Fault> {
    office.pending.remove(call.arg(0)?).answer(&call.arg::<serde_json::Value>(1)?);
    Ok(Reply::fixed("true"))
}

fn fail(office: &mut Office, call: Call<'_>, _: &mut Effects) -> Result<Reply, Fault> {
    office.pending.remove(call.arg(0)?).fail(Fault::rule(-32050, "No"));
    Ok(Reply::fixed("true"))
}

fn forget(office: &mut Office, call: Call<'_>, _: &mut Effects) -> Result<Reply, Fault> {
    drop(office.pending.remove(call.arg(0)?));
    Ok(Reply::fixed("true"))
}

fn news(_: &mut Office, call: Call<'_>, fx: &mut Effects) -> Result<Reply, Fault> {
    fx.broadcast(None, "news", &serde_json::json!({ "text": call.arg::<String>(0)? }));
    Ok(Reply::fixed("true"))
}

fn tell(_: &mut Office, call: Call<'_>, fx: &mut Effects) -> Result<Reply, Fault> {
    let whom: usize = call.arg(0)?;
    let conn = call.connections().into_iter().map(|(conn, _)| conn).find(|conn| conn.index() == whom);
    let conn = conn.ok_or_else(|| Fault::invalid_params("nobody is there".into()))?;
    fx.send(conn, "told", &serde_json::json!({ "text": call.arg::<String>(1)? }));
    Ok(Reply::fixed("true"))
}

fn panics(office: &mut Office, call: Call<'_>, fx: &mut Effects) -> Result<Reply, Fault> {
    office.sum += 1;
    fx.broadcast(None, "news", &serde_json::json!({ "text": "never heard" }));
    fx.unsubscribe(call.conn);
    fx.stop();
    panic!("on purpose");
}

fn refuses(_: &mut Office, call: Call<'_>, fx: &mut Effects) -> Result<Reply, Fault> {
    fx.broadcast(None, "news", &serde_json::json!({ "text": "never heard" }));
    fx.unsubscribe(call.conn);
    Err(Fault::rule(-32051, "Not today"))
}

fn who(_: &mut Office, call: Call<'_>, fx: &mut Effects) -> Result<Reply, Fault> {
    let mut all: Vec<String> = call.connections().iter().map(|(_, peer)| peer.to_string()).collect();
    all.sort();
    fx.reply(&all)
}

fn stop(_: &mut Office, _: Call<'_>, fx: &mut Effects) -> Result<Reply, Fault> {
    fx.stop();
    Ok(Reply::fixed("true"))
}

fn beat(_: &mut Office, call: Call<'_>, fx: &mut Effects) -> Result<Reply, Fault> {
    fx.heartbeat(call.conn, call.arg(0)?);
    Ok(Reply::fixed("true"))
}

/// An office on a world, and clients that end their requests with LF.
struct Bench {
    world: World,
    event_loop: EventLoop<World, Office>,
}

impl Bench {
    fn new() -> Self {
        Self::on(Kernel::KIND)
    }

    fn on(kernel: Kernel) -> Self {
        Self::with_limits(kernel, Limits::default())
    }

    fn with_limits(kernel: Kernel, limits: Limits) -> Self {
        let world = World::new(kernel);
        let mut event_loop = EventLoop::new(world.clone(), Office::default(), limits).unwrap();
        event_loop.listen(Wire::JsonRpc, LISTENER).unwrap();
        Self { world, event_loop }
    }

    /// Turns until nothing is left to do: letters are read one turn after they were posted.
    fn settle(&mut self) -> bool {
        let mut idle = 0;
        while idle < 3 {
            if !self.event_loop.turn() {
                return false;
            }
            idle = if self.world.is_quiet() { idle + 1 } else { 0 };
        }
        true
    }

    fn connect<const N: usize>(&mut self) -> [RawFd; N] {
        std::array::from_fn(|_| {
            let fd = self.world.connect();
            self.settle();
            fd
        })
    }

    /// Sends a line and returns the lines that came back.
    fn ask(&mut self, fd: RawFd, line: &str) -> Vec<String> {
        self.world.send(fd, format!("{line}\n"));
        self.settle();
        self.heard(fd)
    }

    /// It was told, got a FIN, and is closed when it has one of its own.
    fn is_refused(&mut self, fd: RawFd) {
        assert_eq!(self.world.end(fd), Some(End::HalfClosed));
        self.world.fin(fd);
        self.settle();
        assert_eq!(self.world.end(fd), Some(End::Closed));
    }

    fn heard(&mut self, fd: RawFd) -> Vec<String> {
        self.world.take(fd).lines().map(str::to_owned).collect()
    }
}

fn v2(method: &str, params: &str, id: u32) -> String {
    format!(r#"{{"jsonrpc":"2.0","method":"{method}","params":{params},"id":{id}}}"#)
}

fn result(result: &str, id: u32) -> String {
    format!(r#"{{"jsonrpc":"2.0","result":{result},"id":{id}}}"#)
}

fn no_answer(id: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","error":{{"code":-32603,"message":"Internal error","data":"the helper gave no answer"}},"id":{id}}}"#
    )
}

const PANICKED: &str = r#"{"code":-32603,"message":"Internal error","data":"the handler panicked"}"#;
const NOTHING: [String; 0] = [];

#[test]
fn a_service_has_a_state_and_answers_both_dialects() {
    let mut bench = Bench::new();
    let [a, b] = bench.connect();
    assert_eq!(bench.ask(a, r#"{"method":"add","params":[2]}"#), [r#"{"result":2}"#]);
    assert_eq!(bench.ask(b, &v2("add", r#"{"n":40}"#, 7)), [result("42", 7)]);
    assert_eq!(
        bench.ask(b, r#"{"method":"add","params":["x"],"id":"q"}"#),
        [r#"{"error":"Invalid params","code":-32602,"id":"q"}"#]
    );
}

#[test]
fn a_late_answer_keeps_its_place_and_others_are_served() {
    let mut bench = Bench::new();
    let [a, b] = bench.connect();
    let three = [v2("later", "[]", 1), v2("add", "[1]", 2), v2("later", "[]", 3)].join("\n");
    assert_eq!(bench.ask(a, &three), NOTHING, "nothing overtakes a late answer");
    bench.heard(b);
    assert_eq!(bench.ask(b, &v2("add", "[10]", 1)), [result("10", 1)]);
    bench.ask(b, &v2("finish", r#"[0,{"a":"é"}]"#, 2));
    assert_eq!(bench.heard(a), [result(r#"{"a":"é"}"#, 1), result("11", 2)]);
    bench.ask(b, &v2("fail", "[0]", 3));
    assert_eq!(bench.heard(a), [r#"{"jsonrpc":"2.0","error":{"code":-32050,"message":"No"},"id":3}"#]);
    assert_eq!(bench.ask(a, &v2("add", "[0]", 4)), [result("11", 4)]);
}

#[test]
fn late_answers_come_in_any_order_and_in_the_dialect_of_their_request() {
    let mut bench = Bench::new();
    let [a, b, helper] = bench.connect();
    bench.ask(a, r#"{"method":"later","id":1}"#);
    bench.ask(b, &v2("later", "[]", 2));
    bench.ask(helper, &v2("finish", r#"[1,"for b"]"#, 1));
    assert_eq!(bench.heard(b), [result(r#""for b""#, 2)]);
    bench.heard(a);
    bench.ask(helper, &v2("finish", r#"[0,"for a"]"#, 2));
    assert_eq!(bench.heard(a), [r#"{"result":"for a","id":1}"#]);
}

#[test]
fn a_deferred_notification_is_silent_and_still_holds_its_connection_back() {
    let mut bench = Bench::new();
    let [a, helper] = bench.connect();
    let two = [r#"{"jsonrpc":"2.0","method":"later"}"#, &v2("add", "[1]", 1)].join("\n");
    assert_eq!(bench.ask(a, &two), NOTHING);
    bench.ask(helper, &v2("finish", "[0,1]", 1));
    assert_eq!(bench.heard(a), [result("1", 1)]);
}

#[test]
fn a_batch_waits_for_its_deferred_elements_one_by_one() {
    let mut bench = Bench::new();
    let [a, helper] = bench.connect();
    let batch = format!(
        r#"[{},{},{{"jsonrpc":"2.0","method":"later"}},{},{}]"#,
        v2("add", "[1]", 1),
        v2("later", r#"["first"]"#, 2),
        v2("add", "[2]", 3),
        v2("later", r#"["last"]"#, 4)
    );
    assert_eq!(bench.ask(a, &format!("{batch}\n{}", v2("add", "[100]", 5))), NOTHING);
    bench.ask(helper, &v2("finish", r#"[0,"x"]"#, 1));
    bench.ask(helper, &v2("finish", r#"[0,"of the notification"]"#, 2));
    assert_eq!(bench.heard(a), NOTHING, "it is answered whole");
    bench.ask(helper, &v2("forget", "[0]", 3));
    let answers = [result("1", 1), result(r#""x""#, 2), result("3", 3), no_answer("4")].join(",");
    assert_eq!(bench.heard(a), [format!("[{answers}]"), result("103", 5)]);
}

#[test]
fn who_cannot_hear_pings_behind_his_batch_is_not_cut_for_them() {
    let mut bench = Bench::new();
    let [a, helper] = bench.connect();
    assert_eq!(bench.ask(a, &v2("beat", "[1]", 1)), [result("true", 1)]);
    assert_eq!(bench.ask(a, &format!("[{}]", v2("later", "[]", 2))), NOTHING);
    for _ in 0..5 {
        bench.world.pass(Duration::from_secs(1));
        bench.settle();
    }
    assert_eq!(bench.world.end(a), None, "it waits for us");
    bench.ask(helper, &v2("finish", "[0,1]", 1));
    assert_eq!(bench.heard(a), [format!("[{}]", result("1", 2))]);
    bench.world.pass(Duration::from_secs(1));
    bench.settle();
    assert_eq!(bench.heard(a), [r#"{"jsonrpc":"2.0","method":"ping","params":{}}"#]);
    for _ in 0..2 {
        bench.world.pass(Duration::from_secs(1));
        bench.settle();
    }
    assert_eq!(bench.world.end(a), Some(End::Aborted), "now it hears them, and is silent");
}

#[test]
fn who_waits_for_a_late_answer_has_all_of_idle_timeout_behind_it() {
    let limits = Limits { idle_timeout: Duration::from_secs(10), ..Limits::default() };
    let mut bench = Bench::with_limits(Kernel::KIND, limits);
    let [a] = bench.connect();
    assert_eq!(bench.ask(a, &v2("later", "[]", 1)), NOTHING);
    bench.world.pass(Duration::from_secs(15));
    bench.settle();
    let [helper] = bench.connect();
    bench.ask(helper, &v2("finish", "[0,1]", 1));
    assert_eq!(bench.heard(a), [result("1", 1)]);
    bench.world.pass(Duration::from_secs(9));
    bench.settle();
    assert_eq!(bench.ask(a, &v2("add", "[1]", 2)), [result("1", 2)]);
    bench.world.pass(Duration::from_secs(11));
    bench.settle();
    assert!(bench.heard(a)[0].contains("nothing said within idle_timeout"));
}

#[test]
fn pushes_wait_behind_a_batch_in_the_order_they_were_made() {
    let mut bench = Bench::new();
    let [a, helper] = bench.connect();
    bench.ask(a, &format!("[{}]", v2("later", "[]", 1)));
    bench.heard(helper);
    // All in one turn: a broadcast, then a push to one, then a broadcast.
    let three = [v2("news", r#"["1"]"#, 1), v2("tell", r#"[0,"2"]"#, 2), v2("news", r#"["3"]"#, 3)];
    bench.ask(helper, &three.join("\n"));
    assert_eq!(bench.heard(a), NOTHING);
    bench.ask(helper, &v2("finish", "[0,true]", 4));
    let push = |kind: &str, text: &str| {
        format!(r#"{{"jsonrpc":"2.0","method":"{kind}","params":{{"text":"{text}"}}}}"#)
    };
    assert_eq!(
        bench.heard(a),
        [format!("[{}]", result("true", 1)), push("news", "1"), push("told", "2"), push("news", "3")]
    );
}

#[test]
fn what_waits_behind_a_batch_counts_as_unread_and_its_owner_can_be_cut_for_it() {
    let most = 20_000;
    let mut bench = Bench::with_limits(Kernel::KIND, Limits { total_out_bytes: most, ..Limits::default() });
    let [a, helper] = bench.connect();
    bench.ask(a, &format!("[{}]", v2("later", "[]", 1)));
    let news = v2("news", &format!(r#"["{}"]"#, "x".repeat(1_000)), 1);
    for _ in 0..30 {
        bench.ask(helper, &news);
        let kept = bench.event_loop.stats().get("out_bytes", None).unwrap();
        assert!(kept <= most as u64, "{kept} bytes");
    }
    assert_eq!(bench.world.end(a), Some(End::Aborted));
    assert_eq!(bench.event_loop.stats().get("closed", Some("total_out_bytes")), Some(1));
    assert_eq!(bench.ask(helper, &v2("add", "[1]", 2)), [result("1", 2)]);
}

#[test]
fn a_dropped_completer_answers_minus_32603() {
    let mut bench = Bench::new();
    let [a, helper] = bench.connect();
    bench.ask(a, &v2("later", "[]", 1));
    bench.ask(helper, &v2("forget", "[0]", 1));
    assert_eq!(bench.heard(a), [no_answer("1")]);
    assert_eq!(bench.ask(a, &v2("add", "[1]", 2)), [result("1", 2)]);
}

#[test]
fn an_answer_for_one_who_is_gone_reaches_nobody() {
    let mut bench = Bench::new();
    let [a, helper] = bench.connect();
    bench.ask(a, &v2("later", "[]", 1));
    bench.world.rst(a);
    bench.settle();
    assert_eq!(bench.world.end(a), Some(End::Closed));
    // The slot is used again, and its new owner waits for an answer of its own.
    let [b] = bench.connect();
    bench.ask(b, &v2("later", "[]", 2));
    bench.heard(helper);
    bench.ask(helper, &v2("finish", r#"[0,"stale"]"#, 1));
    assert_eq!(bench.heard(b), NOTHING);
    bench.ask(helper, &v2("finish", r#"[0,"fresh"]"#, 2));
    assert_eq!(bench.heard(b), [result(r#""fresh""#, 2)]);
}

#[test]
fn one_who_sends_fin_is_still_given_his_late_answer() {
    let mut bench = Bench::new();
    let [a, helper] = bench.connect();
    bench.ask(a, &[v2("later", "[]", 1), v2("add", "[5]", 2)].join("\n"));
    bench.world.fin(a);
    bench.settle();
    assert_eq!(bench.world.end(a), None);
    bench.ask(helper, &v2("finish", r#"[0,"late"]"#, 1));
    assert_eq!(bench.heard(a), [result(r#""late""#, 1), result("5", 2)]);
    assert_eq!(bench.world.end(a), Some(End::Closed));
}

#[test]
fn who_waits_for_a_late_answer_stands_in_line_like_everybody() {
    let limits = Limits { max_read_per_turn: 100, ..Limits::default() };
    let mut bench = Bench::with_limits(Kernel::KIND, limits);
    let [a, b] = bench.connect();
    bench.ask(b, &v2("add", "[0]", 0));
    // More than its share of a turn lies behind the call that is not answered.
    let adds: Vec<String> = (2..40).map(|id| v2("add", "[1]", id)).collect();
    bench.world.send(a, format!("{}\n{}\n", v2("later", "[]", 1), adds.join("\n")));
    bench.world.send(b, format!("{}\n", v2("add", "[1]", 1)));
    let before = bench.world.calls("read");
    bench.event_loop.turn();
    assert_eq!(bench.world.calls("read") - before, 2, "each was read once");
    assert!(bench.heard(b).contains(&result("1", 1)), "one turn was enough for him");
    bench.settle();
    bench.ask(b, &v2("finish", "[0,1]", 2));
    assert_eq!(bench.heard(a).len(), 1 + adds.len());
}

#[test]
fn who_was_refused_is_told_nothing_behind_his_fin() {
    let mut bench = Bench::new();
    let [a] = bench.connect();
    bench.ask(a, &v2("panic", "[]", 1));
    let gone = ConnId::new(0, 0);
    bench.event_loop.handle().post(|fx| fx.send(gone, "told", &serde_json::json!({}))).unwrap();
    bench.settle();
    assert_eq!(bench.heard(a), NOTHING);
    bench.is_refused(a);
}

#[test]
fn a_panic_is_answered_ends_its_connection_and_leaves_no_effects() {
    let mut bench = Bench::new();
    let [a, b] = bench.connect();
    bench.ask(a, "[]");
    let two = [v2("panic", "[]", 1), v2("add", "[1]", 2)].join("\n");
    let answer = format!(r#"{{"jsonrpc":"2.0","error":{PANICKED},"id":1}}"#);
    assert_eq!(bench.ask(a, &two), [answer], "and nothing behind it is dispatched");
    bench.is_refused(a);
    assert_eq!(bench.heard(b), NOTHING);
    assert_eq!(bench.ask(b, &v2("add", "[0]", 3)), [result("1", 3)], "the others are served");

    let [c] = bench.connect();
    let batch = format!("[{},{},{}]", v2("add", "[1]", 1), v2("panic", "[]", 2), v2("add", "[9]", 3));
    let answers = format!(r#"[{},{{"jsonrpc":"2.0","error":{PANICKED},"id":2}}]"#, result("2", 1));
    assert_eq!(bench.ask(c, &batch), [answers]);
    bench.is_refused(c);
    bench.ask(b, &v2("stop", "[]", 4));
    let office = bench.event_loop.run();
    assert_eq!(office.sum, 3);
    let why: Vec<Closed> = office.closed.iter().map(|(_, why)| *why).collect();
    assert_eq!(why, [Closed::Panicked, Closed::Panicked, Closed::Shutdown], "each told once");
}

#[test]
fn a_notification_that_panics_is_not_answered_and_ends_its_connection_all_the_same() {
    let mut bench = Bench::new();
    for text in [
        r#"{"jsonrpc":"2.0","method":"panic","params":[]}"#,
        r#"[{"jsonrpc":"2.0","method":"panic","params":[]}]"#,
    ] {
        let [a] = bench.connect();
        assert_eq!(bench.ask(a, text), NOTHING);
        bench.is_refused(a);
    }
}

/// A service whose state a panic can break, and whose guard and greeting panic too.
#[derive(Default)]
struct Fragile {
    broken: bool,
    greetings: usize,
}

impl Service for Fragile {
    const ROUTES: &'static [Route<Self>] = &[
        Route::new("ping", &[], |_, _, _| Ok(Reply::fixed("1"))),
        Route::new("trip", &[], |_, _, _| unreachable!("the guard is first"))
            .guarded(|_, _| panic!("as a bug would")),
        Route::new("break", &[], |fragile: &mut Fragile, _, _| {
            fragile.broken = true;
            panic!("half done")
        }),
    ];

    fn opened(&mut self, _: ConnId, _: Peer, _: Wire, _: &mut Effects) {
        self.greetings += 1;
        assert!(self.greetings != 2, "as a bug would");
    }

    fn is_sound(&self) -> bool {
        !self.broken
    }
}

#[test]
fn a_guard_or_a_greeting_that_panics_ends_one_connection_and_a_broken_service_the_server() {
    let world = World::new(Kernel::KIND);
    let mut event_loop = EventLoop::new(world.clone(), Fragile::default(), Limits::default()).unwrap();
    event_loop.listen(Wire::JsonRpc, LISTENER).unwrap();
    let good = world.connect();
    let [greeted, guarded] = [world.connect(), world.connect()];
    world.send(guarded, v2("trip", "[]", 1));
    (0..5).for_each(|_| assert!(event_loop.turn()));
    assert_eq!(world.end(greeted), Some(End::HalfClosed));
    assert_eq!(world.end(guarded), Some(End::HalfClosed));
    assert_eq!(world.take(guarded), format!(r#"{{"jsonrpc":"2.0","error":{PANICKED},"id":1}}"#));
    world.send(good, v2("ping", "[]", 2));
    (0..5).for_each(|_| assert!(event_loop.turn()));
    assert_eq!(world.take(good), result("1", 2));
    assert_eq!(event_loop.stats().get("panics", None), Some(2));
    assert_eq!(event_loop.stats().get("closed", Some("panic")), Some(2));

    world.send(good, v2("break", "[]", 3));
    let turned = catch_unwind(AssertUnwindSafe(|| while event_loop.turn() {}));
    let why = turned.unwrap_err();
    assert_eq!(why.downcast_ref::<&str>(), Some(&"a panic has left the service broken"));
}

#[test]
fn a_refusal_has_no_effects() {
    let mut bench = Bench::new();
    let [a, b] = bench.connect();
    assert_eq!(bench.ask(a, r#"{"method":"refuse"}"#), [r#"{"status":"error","message":"Not today"}"#]);
    assert_eq!(bench.heard(b), NOTHING);
    bench.ask(b, &v2("news", r#"["x"]"#, 1));
    assert_eq!(bench.heard(a), [r#"{"type":"news","text":"x"}"#], "it still hears broadcasts");
}

#[test]
fn a_broadcast_to_all_comes_behind_the_answer_and_a_push_reaches_one() {
    let mut bench = Bench::new();
    let [a, b, c] = bench.connect();
    for fd in [a, b, c] {
        bench.ask(fd, "[]");
    }
    let news = r#"{"jsonrpc":"2.0","method":"news","params":{"text":"x"}}"#;
    assert_eq!(bench.ask(a, &v2("news", r#"["x"]"#, 1)), [result("true", 1).as_str(), news]);
    assert_eq!((bench.heard(b), bench.heard(c)), (vec![news.to_owned()], vec![news.to_owned()]));
    bench.ask(a, &v2("tell", r#"[2,"psst"]"#, 2));
    assert_eq!(bench.heard(c), [r#"{"jsonrpc":"2.0","method":"told","params":{"text":"psst"}}"#]);
    assert_eq!(bench.heard(b), NOTHING);
    let all =
        format!(r#"["127.0.0.1:{}","127.0.0.1:{}","127.0.0.1:{}"]"#, 40_000 + a, 40_000 + b, 40_000 + c);
    assert_eq!(bench.ask(a, &v2("who", "[]", 3)), [result(&all, 3)]);
}

#[test]
fn a_handle_speaks_and_stops_from_elsewhere() {
    let mut bench = Bench::new();
    let [a] = bench.connect();
    let handle = bench.event_loop.handle();
    let from_there = handle.clone();
    std::thread::spawn(move || from_there.post(|fx| fx.broadcast(None, "tick", &serde_json::json!({}))))
        .join()
        .unwrap()
        .unwrap();
    bench.settle();
    assert_eq!(bench.world.take(a), r#"{"type":"tick"}"#);
    handle.stop();
    assert!(!bench.settle());
    assert_eq!(bench.world.end(a), Some(End::Closed));
}

#[test]
fn late_answers_do_not_depend_on_how_the_kernel_cuts() {
    for kernel in [
        Kernel { read_at_most: 1, ..Kernel::KIND },
        Kernel { write_at_most: 1, ..Kernel::KIND },
        Kernel { read_at_most: 3, write_at_most: 2, again_every: 3, cold: true },
    ] {
        let mut bench = Bench::on(kernel);
        let [a, helper] = bench.connect();
        let batch = format!("[{},{}]", v2("later", "[]", 1), v2("add", "[1]", 2));
        // The LF of the batch is seen only when its answer is out, on a kernel that brings it late.
        bench.ask(a, &format!("\n{batch}\n{}", v2("add", "[1]", 3)));
        bench.ask(helper, &v2("finish", "[0,1]", 1));
        let expected = [format!("[{},{}]", result("1", 1), result("1", 2)), result("2", 3)];
        assert_eq!(bench.heard(a), expected, "{kernel:?}");
    }
}
