//! The whole server on a kernel made of queues: what clients get does not depend on how the kernel cuts bytes.

#[path = "common/bench.rs"]
mod bench;
#[path = "common/world.rs"]
mod world;

use std::os::fd::RawFd;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bench::{Bench, UNKIND};
use rawline::service::chat::Rules;
use rawline::transport::io::{IoFault, Signal};
use rawline::{Limits, Operator, Stats, Wire};
use world::{End, Kernel, SECOND_LISTENER, World};

#[test]
fn a_session_reads_the_same_on_every_kernel() {
    let mut transcripts = Vec::new();
    for kernel in UNKIND {
        let mut bench = Bench::new(kernel, Limits::default());
        let (bare, lines) = (bench.connect(), bench.connect());
        let mut transcript = Vec::new();
        let mut say = |bench: &mut Bench, who, text: &str| {
            bench.world.send(who, text);
            bench.settle();
            transcript.push((bench.world.take(bare), bench.world.take(lines)));
        };
        say(&mut bench, bare, r#"{"method":"join_chat","params":{"username":"Älice"}}{"method":"ping"}"#);
        say(
            &mut bench,
            lines,
            "{\"jsonrpc\":\"2.0\",\"method\":\"join_chat\",\"params\":[\"Bob\"],\"id\":1}\r\n",
        );
        say(&mut bench, bare, r#"{"method":"send_message","params":{"message":"h\u00e9llo {\"} 😀"}}"#);
        say(&mut bench, lines, "{\"jsonrpc\":\"2.0\",\"method\":\"send_message\",\"params\":[\"ünder\"]}\n");
        say(&mut bench, bare, r#"nonsense"#);
        say(&mut bench, bare, r#"{"method":"get_users","params":{"format":"simple"}}"#);
        say(&mut bench, lines, "[{\"jsonrpc\":\"2.0\",\"method\":\"ping\",\"id\":2},1]\n");
        say(&mut bench, lines, "{\"jsonrpc\":\"2.0\",\"method\":\"leave_chat\",\"id\":null}\n");
        bench.world.rst(bare);
        say(&mut bench, lines, "");
        assert_eq!(bench.world.end(bare), Some(End::Closed));
        transcripts.push(transcript);
    }
    let system = |text: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","method":"system","params":{{"message":"{text}","username":"SYSTEM"}}}}"#
        )
    };
    let expected: Vec<(String, String)> = vec![
        (
            concat!(
                r#"{"status":"success","message":"Joined chat as \u00c4lice","users":["\u00c4lice"]}"#,
                r#"{"type":"system","message":"Welcome to the chat, \u00c4lice!","username":"SYSTEM"}"#,
                r#"{"status":"success","message":"pong"}"#
            )
            .into(),
            r#"{"type":"system","message":"\u00c4lice has joined the chat!","username":"SYSTEM"}"#.into(),
        ),
        (
            r#"{"type":"system","message":"Bob has joined the chat!","username":"SYSTEM"}"#.into(),
            String::new(), // compared below: how it is escaped depends on when its LF came
        ),
        (
            r#"{"status":"success","message":"Message sent successfully"}"#.into(),
            "{\"jsonrpc\":\"2.0\",\"method\":\"chat\",\"params\":{\"message\":\"héllo {\\\"} 😀\",\"username\":\"Älice\"}}\n".into(),
        ),
        (r#"{"type":"chat","message":"\u00fcnder","username":"Bob"}"#.into(), String::new()),
        (r#"{"error":"Only JSON RPC messages are supported","code":-32600}"#.into(), String::new()),
        (r#"{"status":"success","users":["\u00c4lice","Bob"],"count":2}"#.into(), String::new()),
        (
            String::new(),
            concat!(
                r#"[{"jsonrpc":"2.0","result":{"status":"success","message":"pong"},"id":2},"#,
                r#"{"jsonrpc":"2.0","error":{"code":-32600,"message":"Invalid request","data":"a request is an object"},"id":null}]"#,
                "\n"
            )
            .into(),
        ),
        (
            r#"{"type":"system","message":"Bob has left the chat!","username":"SYSTEM"}"#.into(),
            "{\"jsonrpc\":\"2.0\",\"result\":{\"status\":\"success\",\"message\":\"Left chat successfully\"},\"id\":null}\n".into(),
        ),
        (String::new(), system("Älice has left the chat!") + "\n"),
    ];
    for (kernel, mut transcript) in UNKIND.into_iter().zip(transcripts) {
        let joined = std::mem::take(&mut transcript[1].1);
        let unescaped = joined.replace("\\u00c4", "Ä");
        let answer = r#"{"jsonrpc":"2.0","result":{"status":"success","message":"Joined chat as Bob","users":["Älice","Bob"]},"id":1}"#;
        let welcome = system("Welcome to the chat, Bob!");
        assert!(
            [format!("{answer}\n{welcome}\n"), format!("{answer}{welcome}\n")].contains(&unescaped),
            "{kernel:?}: {joined}"
        );
        assert_eq!(transcript, expected, "{kernel:?}");
    }
}

#[test]
fn lock_step_costs_one_read_and_one_write_and_no_change_of_interest() {
    let mut bench = Bench::new(Kernel::KIND, Limits::default());
    let fd = bench.connect();
    let before = (bench.world.calls("read"), bench.world.calls("write"));
    for _ in 0..100 {
        assert_eq!(bench.ask(fd, r#"{"method":"ping"}"#), r#"{"status":"success","message":"pong"}"#);
    }
    assert_eq!((bench.world.calls("read") - before.0, bench.world.calls("write") - before.1), (100, 100));
    assert_eq!((bench.world.calls("add"), bench.world.calls("modify")), (2, 0));
}

#[test]
fn a_burst_is_one_write_for_each_receiver_in_the_order_of_the_room() {
    let mut bench = Bench::new(Kernel::KIND, Limits::default());
    let clients: Vec<RawFd> = (0..20).map(|_| bench.connect()).collect();
    let before = bench.world.calls("write");
    for (n, &fd) in clients[..3].iter().enumerate() {
        let burst: String =
            (0..50).map(|k| format!(r#"{{"method":"send_message","params":["{n}-{k}"]}}"#)).collect();
        bench.world.send(fd, burst);
    }
    bench.settle();
    assert_eq!(bench.world.calls("write") - before, clients.len(), "one write for each");
    let heard: Vec<Vec<String>> = clients.iter().map(|&fd| chats(&bench.world.take(fd))).collect();
    assert_eq!(heard[5].len(), 150);
    for (n, heard_by_one) in heard.iter().enumerate() {
        let others: Vec<String> =
            heard[5].iter().filter(|text| !text.starts_with(&format!("{n}-"))).cloned().collect();
        let expected = if n < 3 { &others } else { &heard[5] };
        assert_eq!(heard_by_one, expected, "client {n}");
    }
}

/// The messages of the chat pushes in a run of objects.
fn chats(stream: &str) -> Vec<String> {
    serde_json::Deserializer::from_str(stream)
        .into_iter::<serde_json::Value>()
        .map(|object| object.expect("objects, one after another"))
        .filter(|object| object["type"] == "chat")
        .map(|object| object["message"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn a_reader_that_stops_is_cut_above_out_hard_and_nobody_else_notices() {
    let limits = Limits { out_hard: 20_000, ..Limits::default() };
    let mut bench = Bench::new(Kernel::KIND, limits);
    let (talker, good, slow) = (bench.connect(), bench.connect(), bench.connect());
    bench.ask(slow, r#"{"method":"join_chat","params":["slow"]}"#);
    bench.world.take(talker);
    bench.world.take(good);
    bench.world.set_window(slow, Some(10));
    let message = format!(r#"{{"method":"send_message","params":["{}"]}}"#, "m".repeat(1000));
    let mut sent = 0;
    while bench.world.end(slow).is_none() {
        bench.ask(talker, &message);
        sent += 1;
        assert!(sent < 100, "it is never cut");
    }
    assert_eq!(bench.world.end(slow), Some(End::Aborted));
    assert_eq!(sent, 20, "cut at the first message above the bound, not before");
    assert!(
        bench
            .world
            .take(good)
            .ends_with(r#"{"type":"system","message":"slow has left the chat!","username":"SYSTEM"}"#)
    );
    assert_eq!(bench.ask(good, r#"{"method":"ping"}"#), r#"{"status":"success","message":"pong"}"#);
}

/// Idle, with half a request, with answers that it does not read, and with words of the room waiting.
#[test]
fn one_whose_socket_fails_leaves_once_in_every_state() {
    for (fault, reason) in [
        (IoFault::Reset, "reset"),
        (IoFault::Unreachable, "unreachable"),
        (IoFault::NoMemory, "no_memory"),
        (IoFault::Other(5), "reset"),
    ] {
        let mut bench =
            Bench::new(Kernel::KIND, Limits { out_high: 2_000, out_low: 500, ..Limits::default() });
        let witness = bench.connect();
        let lost: Vec<_> = (0..4).map(|_| bench.connect()).collect();
        for (fd, name) in lost.iter().zip(["idle", "half", "answers", "words"]) {
            bench.ask(*fd, &format!(r#"{{"method":"join_chat","params":["{name}"]}}"#));
        }
        bench.ask(lost[1], r#"{"meth"#);
        bench.world.set_window(lost[2], Some(0));
        bench.ask(lost[2], &r#"{"method":"ping"}"#.repeat(100));
        bench.world.set_window(lost[3], Some(0));
        bench.ask(witness, r#"{"method":"send_message","params":["hello"]}"#);
        bench.world.take(witness);
        for (n, fd) in lost.into_iter().enumerate() {
            bench.world.fail(fd, fault);
            bench.settle();
            let heard = bench.world.take(witness);
            assert_eq!(heard.matches("has left the chat!").count(), 1, "{fault:?} {n}: {heard}");
            assert!(matches!(bench.world.end(fd), Some(End::Closed | End::Aborted)), "{fault:?} {n}");
            assert_eq!(bench.event_loop.stats().get("closed", Some(reason)), Some(n as u64 + 1));
        }
        assert_eq!(bench.ask(witness, r#"{"method":"ping"}"#), r#"{"status":"success","message":"pong"}"#);
    }
}

#[test]
fn one_whom_the_kernel_cannot_watch_is_closed_and_the_next_is_served() {
    let mut bench = Bench::new(Kernel::KIND, Limits::default());
    let good = bench.connect();
    bench.world.set_watchable(false);
    let refused = bench.connect();
    assert_eq!(bench.world.end(refused), Some(End::Aborted));
    assert_eq!(bench.event_loop.stats().get("accept_unwatched", None), Some(1));
    bench.world.set_watchable(true);
    for fd in [good, bench.connect()] {
        assert_eq!(bench.ask(fd, r#"{"method":"ping"}"#), r#"{"status":"success","message":"pong"}"#);
    }
    assert_eq!(bench.world.take(good), "", "of one who never came nobody is told");
}

/// The kernel reports a connection that has ended, when its place has been taken already.
#[test]
fn an_event_of_one_who_has_ended_does_not_reach_the_next_in_his_place() {
    let mut bench = Bench::new(Kernel::KIND, Limits::default());
    let (witness, old) = (bench.connect(), bench.connect());
    bench.ask(old, r#"{"method":"join_chat","params":["Old"]}"#);
    bench.world.haunt();
    bench.world.fin(old);
    bench.event_loop.turn();
    let new = bench.world.connect();
    bench.settle();
    assert_eq!(bench.event_loop.stats().get("stale_events", None), Some(1));
    assert_eq!(bench.ask(new, r#"{"method":"ping"}"#), r#"{"status":"success","message":"pong"}"#);
    assert_eq!(bench.world.end(new), None);
    assert_eq!(bench.world.take(witness).matches("has left the chat!").count(), 1);
}

#[test]
fn requests_wait_while_their_answers_are_not_read_and_none_is_lost() {
    let limits = Limits { out_high: 2_000, out_low: 500, max_read_per_turn: 4_000, ..Limits::default() };
    let mut bench = Bench::new(Kernel::KIND, limits);
    let fd = bench.connect();
    bench.world.set_window(fd, Some(0));
    for id in 0..2_000 {
        bench.world.send(fd, format!(r#"{{"method":"ping","id":{id}}}"#));
    }
    for _ in 0..50 {
        bench.event_loop.turn();
    }
    assert!(bench.world.take(fd).is_empty());
    let reads = bench.world.calls("read");
    for _ in 0..50 {
        bench.event_loop.turn();
    }
    assert_eq!(bench.world.calls("read"), reads, "a paused connection is not read");
    bench.world.set_window(fd, None);
    bench.settle();
    let answers: Vec<u64> = serde_json::Deserializer::from_str(&bench.world.take(fd))
        .into_iter::<serde_json::Value>()
        .map(|answer| answer.unwrap()["id"].as_u64().unwrap())
        .collect();
    assert_eq!(answers, (0..2_000).collect::<Vec<_>>());
}

/// A message that has begun would be waited for, and its rest could not come.
#[test]
fn who_is_paused_is_not_served_for_an_event_that_nobody_asked_for() {
    let limits = Limits { out_high: 2_000, out_low: 500, ..Limits::default() };
    let patience = limits.message_timeout;
    let mut bench = Bench::new(Kernel::KIND, limits);
    let fd = bench.connect();
    bench.world.set_window(fd, Some(0));
    bench.ask(fd, &r#"{"method":"ping"}"#.repeat(60));
    // Fewer requests are left than would fill it up to `out_high` again.
    bench.world.set_window(fd, Some(1_200));
    let heard = bench.ask(fd, r#"{"method":"#).matches("pong").count();
    let reads = bench.world.calls("read");
    bench.world.report(fd);
    bench.settle();
    assert_eq!(bench.world.calls("read"), reads, "a paused connection is not read");
    bench.world.pass(patience * 2);
    bench.settle();
    assert_eq!(bench.world.end(fd), None, "it is us who do not read");
    bench.world.set_window(fd, None);
    let answers = bench.ask(fd, r#""ping"}"#);
    assert_eq!(answers.matches("pong").count(), 61 - heard, "none is lost");
}

#[test]
fn who_takes_a_little_in_every_turn_does_not_stay_above_out_soft() {
    let limits = Limits { out_soft: 1_000, out_soft_seconds: Duration::from_secs(2), ..Limits::default() };
    let mut bench = Bench::new(Kernel::KIND, limits);
    let (talker, listener) = (bench.connect(), bench.connect());
    bench.world.set_window(listener, Some(0));
    let words = format!(r#"{{"method":"send_message","params":["{}"]}}"#, "x".repeat(900));
    bench.ask(talker, &words.repeat(3));
    for taken in 1..=30 {
        bench.world.set_window(listener, Some(3 * taken));
        bench.world.pass(Duration::from_millis(100));
        bench.event_loop.turn();
    }
    assert_eq!(bench.world.end(listener), Some(End::Aborted));
    assert_eq!(bench.event_loop.stats().get("closed", Some("out_soft")), Some(1));
    assert!(bench.ask(talker, r#"{"method":"ping"}"#).contains("pong"));
}

#[test]
fn a_turn_full_of_broadcasts_flushes_before_more_is_dispatched() {
    let limits = Limits { max_fanout_per_turn: 5_000, ..Limits::default() };
    let mut bench = Bench::new(Kernel::KIND, limits);
    let (talker, listener) = (bench.connect(), bench.connect());
    let message = format!(r#"{{"method":"send_message","params":["{}"]}}"#, "m".repeat(900));
    bench.world.send(talker, message.repeat(60));
    let mut largest = 0;
    let mut total = 0;
    while total < 60 {
        bench.event_loop.turn();
        let heard = bench.world.take(listener);
        largest = largest.max(heard.len());
        total += chats(&heard).len();
    }
    assert!((5_000..7_000).contains(&largest), "{largest} bytes in one turn");
}

/// All that the publishers have to say fills more than a hundred turns.
#[test]
fn who_asks_little_does_not_wait_for_all_that_many_publishers_have_to_say() {
    let limits = Limits { max_fanout_per_turn: 4096, ..Limits::default() };
    let mut bench = Bench::new(Kernel::KIND, limits);
    let publishers: Vec<_> = (0..50).map(|_| bench.connect()).collect();
    let good = bench.connect();
    let message = format!(r#"{{"method":"send_message","params":["{}"]}}"#, "m".repeat(100));
    publishers.iter().for_each(|&fd| bench.world.send(fd, message.repeat(64)));
    bench.event_loop.turn();
    let (mut turns, mut heard) = (0, String::new());
    bench.world.send(good, r#"{"method":"ping"}"#);
    while !heard.contains("pong") {
        bench.event_loop.turn();
        heard += &bench.world.take(good);
        turns += 1;
    }
    assert!(turns <= 5, "{turns} turns");
    bench.settle();
    heard += &bench.world.take(good);
    assert_eq!(chats(&heard).len(), 50 * 64, "nothing is lost for it");
}

#[test]
fn a_refusal_is_said_flushed_and_drained_before_the_close() {
    let mut bench = Bench::new(Kernel::KIND, Limits::default());
    let (fd, other) = (bench.connect(), bench.connect());
    assert_eq!(bench.ask(fd, &"[".repeat(100)), r#"{"error":"Parse error","code":-32700}"#);
    assert_eq!(bench.world.end(fd), Some(End::HalfClosed));
    assert_eq!(bench.ask(fd, &"[".repeat(5000)), "");
    bench.world.fin(fd);
    bench.settle();
    assert_eq!(bench.world.end(fd), Some(End::Closed));

    let silent = bench.connect();
    bench.ask(silent, &format!("{{\"a\":\"{}", "x".repeat(70_000)));
    assert_eq!(bench.world.end(silent), Some(End::HalfClosed));
    bench.world.pass(Duration::from_millis(2100));
    bench.settle();
    assert_eq!(bench.world.end(silent), Some(End::Closed), "after two seconds");

    let flood = bench.connect();
    bench.ask(flood, "]");
    bench.world.send(flood, format!("\n{{\"a\":\"{}", "x".repeat(3 << 20)));
    bench.settle();
    assert_eq!(bench.world.end(flood), Some(End::Closed), "after drain_max");
    assert_eq!(bench.ask(other, r#"{"method":"ping"}"#), r#"{"status":"success","message":"pong"}"#);
}

#[test]
fn what_is_thrown_away_is_read_once_for_each_time_it_is_reported() {
    let limits = Limits { max_message_bytes: 1_000, read_chunk: 1_000, ..Limits::default() };
    let mut bench = Bench::new(Kernel::KIND, limits);
    let fd = bench.connect();
    assert!(bench.ask(fd, &format!("{{\"method\":\"{}", "x".repeat(1_000))).contains("-32600"));
    assert_eq!(bench.world.end(fd), Some(End::HalfClosed));
    let reads = |bench: &mut Bench, bytes: usize| {
        let before = bench.world.calls("read");
        bench.world.send(fd, "x".repeat(bytes));
        bench.settle();
        bench.world.calls("read") - before
    };
    assert_eq!(reads(&mut bench, 1), 1, "a short read has emptied the socket");
    assert_eq!(reads(&mut bench, 1_001), 2);
    assert_eq!(reads(&mut bench, 1_000), 2, "a full one has perhaps not");
}

#[test]
fn a_signal_answers_what_has_arrived_and_refuses_what_comes_later() {
    let mut bench = Bench::new(Kernel::KIND, Limits::default());
    let (first, slow, idle) = (bench.connect(), bench.connect(), bench.connect());
    bench.world.set_window(slow, Some(5));
    bench.ask(slow, r#"{"method":"ping"}"#);
    bench.world.signal(Signal::Terminate);
    bench.world.send(first, r#"{"method":"ping"}"#);
    for _ in 0..3 {
        assert!(bench.event_loop.turn(), "an outbox is not empty");
    }
    assert_eq!(bench.world.take(first), r#"{"status":"success","message":"pong"}"#);
    bench.world.send(first, r#"{"method":"ping","id":5}"#);
    bench.event_loop.turn();
    assert_eq!(bench.world.take(first), r#"{"error":"Shutting down","code":-32004,"id":5}"#);
    bench.world.set_window(slow, None);
    assert!(!bench.settle(), "it has nothing more to do");
    assert_eq!(bench.world.end(idle), Some(End::Closed));
    assert_eq!(bench.world.take(idle), "", "nobody is told that others leave");
}

#[test]
fn a_stop_answers_what_had_arrived_however_many_turns_it_takes_and_nothing_later() {
    let limits = Limits { max_requests_per_turn: 1, ..Limits::default() };
    let mut bench = Bench::new(Kernel::KIND, limits);
    let (first, slow) = (bench.connect(), bench.connect());
    bench.world.set_window(slow, Some(5));
    bench.ask(slow, r#"{"method":"ping"}"#);
    bench.world.signal(Signal::Terminate);
    let ping = r#"{"method":"ping"}"#;
    assert_eq!(bench.ask(first, &ping.repeat(9)), r#"{"status":"success","message":"pong"}"#.repeat(9));
    assert_eq!(bench.ask(first, &ping.repeat(9)), r#"{"error":"Shutting down","code":-32004}"#.repeat(9));
    bench.world.set_window(slow, None);
    assert!(!bench.settle(), "it has nothing more to do");
}

#[test]
fn what_a_unix_peer_said_before_it_closed_is_served() {
    // A line in each turn, and the hangup is reported in every one.
    let limits = Limits { max_requests_per_turn: 1, ..Limits::default() };
    let mut bench = Bench::new(Kernel::KIND, limits);
    bench.event_loop.listen(Wire::Line, SECOND_LISTENER).unwrap();
    let [ann, ben] = ["Ann\n", "Ben\n"].map(|name| {
        let fd = bench.world.connect_to(SECOND_LISTENER);
        bench.settle();
        bench.ask(fd, name);
        fd
    });
    bench.world.take(ben);
    bench.world.send(ann, "one\ntwo\nthree\nfour\nfive");
    bench.world.hang_up(ann);
    bench.settle();
    let said = ["one", "two", "three", "four", "five"].map(|word| format!("Ann: {word}\n")).concat();
    assert_eq!(bench.world.take(ben), said + "Ann has left the chat!\n");
    assert_eq!(bench.world.end(ann), Some(End::Closed));
}

#[test]
fn a_stop_hears_a_last_line_that_only_fin_ends() {
    let mut bench = Bench::new(Kernel::KIND, Limits::default());
    bench.event_loop.listen(Wire::Line, SECOND_LISTENER).unwrap();
    let fd = bench.world.connect_to(SECOND_LISTENER);
    bench.settle();
    bench.ask(fd, "Ann\n");
    // The signal ends a wait before anything else is looked at. A read that empties the socket does not tell of FIN.
    bench.world.signal(Signal::Terminate);
    assert!(bench.event_loop.turn());
    bench.world.send(fd, "/ping");
    bench.world.fin(fd);
    assert!(!bench.settle(), "it has nothing more to do");
    assert_eq!(bench.world.take(fd), "PONG\n");
    assert_eq!(bench.world.end(fd), Some(End::Closed));
}

#[test]
fn a_stop_ends_after_the_grace_although_somebody_does_not_read() {
    let limits = Limits { shutdown_grace: Duration::from_secs(3), ..Limits::default() };
    let mut bench = Bench::new(Kernel::KIND, limits);
    let fd = bench.connect();
    bench.world.set_window(fd, Some(5));
    bench.ask(fd, r#"{"method":"ping"}"#);
    bench.world.signal(Signal::Interrupt);
    for _ in 0..29 {
        assert!(bench.event_loop.turn(), "the grace has not passed");
        bench.world.pass(Duration::from_millis(100));
    }
    bench.world.pass(Duration::from_millis(100));
    assert!(!bench.event_loop.turn());
    assert_eq!(bench.world.end(fd), Some(End::Closed));
}

#[test]
fn a_client_above_max_connections_is_told_so() {
    let mut bench = Bench::new(Kernel::KIND, Limits { max_connections: 2, ..Limits::default() });
    let (first, _second, third) = (bench.connect(), bench.connect(), bench.connect());
    assert_eq!(bench.world.take(third), r#"{"error":"Too many connections","code":-32000}"#);
    assert_eq!(bench.world.end(third), Some(End::Closed));
    bench.world.fin(first);
    bench.settle();
    let fourth = bench.connect();
    assert_eq!(bench.ask(fourth, r#"{"method":"ping"}"#), r#"{"status":"success","message":"pong"}"#);
}

#[test]
fn a_batch_under_way_goes_on_before_another_begins() {
    // A batch fills several turns.
    let limits = Limits { max_fanout_per_turn: 4096, ..Limits::default() };
    let mut bench = Bench::new(Kernel::KIND, limits);
    let listener = bench.connect();
    let speakers = ["a", "b", "c", "d"].map(|name| (name, bench.connect()));
    for (name, fd) in speakers {
        let said = format!(
            r#"{{"jsonrpc":"2.0","method":"send_message","params":["{}"],"id":1}}"#,
            name.repeat(900)
        );
        bench.world.send(fd, format!("[{}]", [said.as_str(); 20].join(",")).as_bytes());
    }
    bench.settle();
    let heard = bench.world.take(listener);
    let said: String = heard.split("\"message\":\"").skip(1).map(|rest| &rest[..1]).collect();
    assert_eq!(said, ["a".repeat(20), "b".repeat(20), "c".repeat(20), "d".repeat(20)].concat());
}

#[test]
fn a_batch_is_answered_whole_before_its_own_pushes() {
    let mut bench = Bench::new(Kernel::KIND, Limits::default());
    let fd = bench.connect();
    let batch = concat!(
        r#"[{"jsonrpc":"2.0","method":"join_chat","params":["A"],"id":1},"#,
        r#"{"jsonrpc":"2.0","method":"ping"},{"jsonrpc":"2.0","method":"ping","id":2}]"#
    );
    assert_eq!(
        bench.ask(fd, batch),
        concat!(
            r#"[{"jsonrpc":"2.0","result":{"status":"success","message":"Joined chat as A","users":["A"]},"id":1},"#,
            r#"{"jsonrpc":"2.0","result":{"status":"success","message":"pong"},"id":2}]"#,
            r#"{"jsonrpc":"2.0","method":"system","params":{"message":"Welcome to the chat, A!","username":"SYSTEM"}}"#
        )
    );
    assert_eq!(bench.ask(fd, r#"[{"jsonrpc":"2.0","method":"ping"}]"#), "", "notifications alone: no answer");
}

#[test]
fn with_require_join_only_the_joined_speak_and_hear() {
    let rules = Rules { require_join: true, ..Rules::default() };
    let mut bench = Bench::with_rules(Kernel::KIND, Limits::default(), rules);
    let (a, b) = (bench.connect(), bench.connect());
    assert_eq!(
        bench.ask(a, r#"{"method":"send_message","params":["x"]}"#),
        r#"{"status":"error","message":"Join the chat first"}"#
    );
    bench.ask(a, r#"{"method":"join_chat","params":["A"]}"#);
    assert_eq!(bench.world.take(b), "");
    bench.ask(b, r#"{"method":"join_chat","params":["B"]}"#);
    bench.world.take(a);
    bench.ask(b, r#"{"method":"leave_chat"}"#);
    bench.world.take(a);
    bench.ask(a, r#"{"method":"send_message","params":["x"]}"#);
    assert_eq!(bench.world.take(b), "");
}

#[test]
fn what_happens_is_counted() {
    let mut bench = Bench::new(Kernel::KIND, Limits { max_connections: 3, ..Limits::default() });
    let (alice, bob, carol) = (bench.connect(), bench.connect(), bench.connect());
    bench.connect();
    bench.ask(alice, r#"{"method":"join_chat","params":{"username":"Alice"}}"#);
    bench.world.take(bob);
    let before = bench.event_loop.stats();
    let said = r#"{"method":"send_message","params":{"message":"hi"}}"#;
    let answer = bench.ask(alice, said);
    let heard = bench.world.take(bob);
    bench.world.rst(carol);
    bench.settle();
    bench.event_loop.turn();
    let after = bench.event_loop.stats();
    let grown = |name, label| after.get(name, label).unwrap() - before.get(name, label).unwrap();
    assert_eq!(after.get("accepted", None), Some(4));
    assert_eq!(after.get("limited", Some("max_connections")), Some(1));
    assert_eq!(after.get("connections", None), Some(2));
    assert_eq!(after.get("closed", Some("reset")), Some(1));
    assert_eq!((grown("frames_in", None), grown("frames_out", None)), (1, 1));
    assert_eq!(grown("deliveries", None), 2, "Alice does not hear herself");
    assert_eq!(grown("bytes_in", None), said.len() as u64);
    // Carol's copy had left before she did.
    assert!(heard.len() > 20);
    assert_eq!(grown("bytes_out", None), (answer.len() + 2 * heard.len()) as u64);
    assert_eq!((grown("calls", Some("write")), grown("calls", Some("read"))), (3, 2));
    assert_eq!(grown("calls", Some("wait")), after.turn_time.count() - before.turn_time.count());
}

/// An operator who writes down what he hears, and has these limits ready.
struct Listening {
    heard: Arc<Mutex<Vec<String>>>,
    limits: Option<Limits>,
}

impl Listening {
    fn note(&self, what: String) {
        self.heard.lock().unwrap().push(what);
    }
}

impl Operator for Listening {
    fn reload(&mut self) -> Option<Limits> {
        self.note("reload".into());
        self.limits.take()
    }

    fn report(&mut self, stats: Stats) {
        self.note(format!("{} connections", stats.get("connections", None).unwrap()));
    }

    fn pulse(&self) -> Option<Duration> {
        Some(Duration::from_secs(3))
    }

    fn alive(&mut self, connections: usize) {
        self.note(format!("alive with {connections}"));
    }

    fn stopping(&mut self, connections: usize) {
        self.note(format!("stopping with {connections}"));
    }
}

#[test]
fn an_operator_is_asked_and_told_at_the_right_moments() {
    let mut bench = Bench::new(Kernel::KIND, Limits::default());
    let heard = Arc::default();
    let limits = Some(Limits { max_batch: 1, shutdown_grace: Duration::from_secs(9), ..Limits::default() });
    bench.event_loop.set_operator(Box::new(Listening { heard: Arc::clone(&heard), limits }));
    let take = || std::mem::take(&mut *heard.lock().unwrap()).join(", ");
    let client = bench.connect();
    assert!(bench.ask(client, "[1,2]").starts_with("[{"));
    assert_eq!(take(), "");

    bench.world.pass(Duration::from_millis(2999));
    bench.settle();
    assert_eq!(take(), "");
    bench.world.pass(Duration::from_millis(1));
    bench.settle();
    assert_eq!(take(), "alive with 1");
    // A long sleep is told once.
    bench.world.pass(Duration::from_secs(60));
    bench.settle();
    assert_eq!(take(), "alive with 1");

    bench.world.signal(Signal::User1);
    bench.settle();
    assert_eq!(take(), "1 connections");
    bench.world.signal(Signal::HangUp);
    bench.settle();
    assert_eq!(take(), "reload");
    assert!(bench.ask(client, "[1,2]").contains("at most max_batch elements (1)"));
    // The second time he has none.
    bench.world.signal(Signal::HangUp);
    bench.settle();
    assert_eq!(take(), "reload");
    assert!(bench.ask(client, "[1,2]").contains("at most max_batch elements (1)"));

    // Whoever does not read keeps a stopping server for the grace of the new limits.
    bench.world.set_window(client, Some(0));
    bench.world.send(client, r#"{"method":"ping"}"#);
    bench.settle();
    bench.world.signal(Signal::Terminate);
    assert!(bench.settle());
    assert_eq!(take(), "stopping with 1");
    bench.world.signal(Signal::HangUp);
    bench.world.pass(Duration::from_secs(8));
    assert!(bench.settle());
    assert_eq!(take(), "alive with 1", "nothing is read again now, and the watchdog is still told");
    bench.world.pass(Duration::from_secs(1));
    assert!(!bench.settle());
}

/// Each of them leaves answers behind that could not be sent, and the leave of one is news for the others.
#[test]
fn several_whose_answers_cannot_be_sent_in_one_turn_end_without_harm() {
    let mut bench = Bench::new(Kernel::KIND, Limits::default());
    let all: [RawFd; 6] = std::array::from_fn(|_| bench.connect());
    for (n, &fd) in all.iter().enumerate() {
        bench.ask(fd, &format!(r#"{{"method":"join_chat","params":{{"username":"user{n}"}}}}"#));
    }
    let (gone, left) = all.split_at(4);
    for &fd in gone {
        bench.world.vanish(fd);
    }
    for &fd in &all {
        bench.world.take(fd);
        bench
            .world
            .send(fd, r#"{"method":"ping"}{"method":"send_message","params":["bye"]}{"method":"ping"}"#);
    }
    assert!(bench.settle());
    for &fd in gone {
        assert_eq!(bench.world.end(fd), Some(End::Closed));
    }
    for &fd in left {
        let heard = bench.world.take(fd);
        assert_eq!(heard.matches("has left the chat!").count(), gone.len(), "{heard}");
        assert!(bench.ask(fd, r#"{"method":"ping"}"#).ends_with(r#""message":"pong"}"#));
    }
}

#[test]
fn a_new_timeout_holds_for_those_who_are_idle_already() {
    let mut bench = Bench::new(Kernel::KIND, Limits::default());
    let limits = Some(Limits { idle_timeout: Duration::from_secs(60), ..Limits::default() });
    bench.event_loop.set_operator(Box::new(Listening { heard: Arc::default(), limits }));
    let (silent, talker) = (bench.connect(), bench.connect());
    bench.world.pass(Duration::from_secs(59));
    bench.ask(talker, r#"{"method":"ping"}"#);
    bench.world.signal(Signal::HangUp);
    bench.settle();
    assert_eq!(bench.world.end(silent), None);
    bench.world.pass(Duration::from_secs(2));
    bench.settle();
    assert!(bench.world.take(silent).contains("-32002"));
    assert_eq!(bench.world.end(talker), None);
    assert!(bench.ask(talker, r#"{"method":"ping"}"#).contains("pong"));
}

#[test]
fn who_talks_while_the_server_stops_is_told_before_it_ends() {
    for clients in [1, 3, 40] {
        let mut bench = Bench::new(Kernel::KIND, Limits::default());
        let clients: Vec<RawFd> = (0..clients).map(|_| bench.world.connect()).collect();
        bench.settle();
        let ping = |world: &World, fd| world.send(fd, r#"{"method":"ping"}"#);
        clients.iter().for_each(|&fd| ping(&bench.world, fd));
        bench.world.signal(Signal::Terminate);
        let (mut asked, mut told) = (clients.len(), 0);
        // Everybody asks again behind every answer, until he is told to stop.
        while bench.event_loop.turn() {
            for &fd in &clients {
                match bench.world.take(fd).as_str() {
                    "" => {}
                    r#"{"error":"Shutting down","code":-32004}"# => told += 1,
                    r#"{"status":"success","message":"pong"}"# => {
                        ping(&bench.world, fd);
                        asked += 1;
                    }
                    other => panic!("{other}"),
                }
            }
        }
        let left = clients.iter().filter(|&&fd| bench.world.take(fd).contains("-32004")).count();
        assert_eq!(told + left, clients.len(), "of {asked} questions");
    }
}
