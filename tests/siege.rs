//! A daemon under attack, over real sockets: each attack ends, or is ended, and a good client that was there before
//! is served while it lasts and after it.

#[path = "common/client.rs"]
mod client;
#[path = "common/daemon.rs"]
mod daemon;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use client::Client;
use daemon::Daemon;
use rawline::transport::server::raise_descriptor_limit;

const PING: &str = r#"{"method":"ping"}"#;
const PONG: &str = r#"{"status":"success","message":"pong"}"#;
/// What an attack may cost in memory: far below what it would fill.
const SLACK: usize = 16 * 1024 * 1024;

/// Asks, and reads over what the room says until the answer comes.
fn ask(client: &mut Client, request: &str, answer: &str) {
    client.send(format!("{request}\n"));
    while !client.read_line().contains(answer) {}
}

/// Waits until the daemon has no more descriptors than these; each `look` is a round trip, by which it goes on.
fn await_descriptors(daemon: &Daemon, most: usize, mut look: impl FnMut()) {
    for _ in 0..100_000 {
        look();
        if daemon.descriptors() <= most {
            return;
        }
    }
    panic!("{} descriptors are open, more than {most}", daemon.descriptors());
}

/// Whether a new client is answered, rather than told that there is no room.
fn serves(daemon: &Daemon) -> bool {
    let mut client = TcpStream::connect(daemon.address()).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let _ = client.write_all(PING.as_bytes());
    let mut answer = [0; PONG.len()];
    client.read_exact(&mut answer).is_ok() && answer == PONG.as_bytes()
}

/// A client that asks in lines, and hears the room.
fn good_client(daemon: &Daemon) -> Client {
    let mut good = daemon.connect();
    good.still_answers();
    good
}

#[test]
fn who_drips_is_told_and_closed_and_nobody_waits_for_him() {
    let daemon = Daemon::start(&["message_timeout=500ms"]);
    let mut good = good_client(&daemon);
    let before = daemon.descriptors();
    let mut drippers: Vec<Client> = (0..100).map(|_| daemon.connect()).collect();
    // Each byte of a message that never ends is followed by a whole one of the good client.
    for byte in PING[..PING.len() - 1].bytes() {
        for dripper in &mut drippers {
            // Some may have been told already.
            let _ = dripper.try_send([byte]);
        }
        good.still_answers();
    }
    for mut dripper in drippers {
        dripper.expect(r#"{"error":"Timeout","code":-32002}"#);
    }
    good.still_answers();
    daemon.await_descriptors(before);
}

#[test]
fn half_a_message_costs_little_memory() {
    const COUNT: usize = 1000;
    raise_descriptor_limit().unwrap();
    let daemon = Daemon::start(&[]);
    let mut good = good_client(&daemon);
    let before = daemon.resident_bytes();
    let mut drippers: Vec<Client> = (0..COUNT).map(|_| daemon.connect()).collect();
    let (half, rest) = PING.split_at(10);
    drippers.iter_mut().for_each(|dripper| dripper.send(half));
    good.still_answers();
    let each = daemon.resident_bytes().saturating_sub(before) / COUNT;
    assert!(each < 6 * 1024, "{each} bytes for each");
    for dripper in &mut drippers {
        dripper.send(rest);
        dripper.expect(PONG);
    }
}

#[test]
fn a_message_without_end_is_not_kept() {
    let daemon = Daemon::start(&[]);
    let mut good = good_client(&daemon);
    let before = daemon.resident_bytes();
    for piece in ["x", "[", r#"{"a":"#] {
        let mut endless = TcpStream::connect(daemon.address()).unwrap();
        endless.write_all(br#"{"method":"ping","x":""#).unwrap();
        let chunk = piece.repeat(64 * 1024 / piece.len());
        // The server says no and reads a little more; then it hangs up.
        for _ in 0..1024 {
            if endless.write_all(chunk.as_bytes()).is_err() {
                break;
            }
            good.still_answers();
        }
    }
    let grown = daemon.resident_bytes().saturating_sub(before);
    assert!(grown < SLACK, "it has grown by {grown} bytes");
    good.still_answers();
}

#[test]
fn a_hundred_thousand_brackets_are_refused_at_the_first_too_many() {
    let daemon = Daemon::start(&[]);
    let mut good = good_client(&daemon);
    for opening in ["[", r#"{"a":"#] {
        let mut deep = daemon.connect();
        let _ = deep.try_send(opening.repeat(100_000));
        deep.expect(r#"{"error":"Parse error","code":-32700}"#);
        good.still_answers();
    }
}

#[test]
fn a_flood_of_tiny_requests_is_answered_whole_and_others_are_served_in_between() {
    const COUNT: usize = 100_000;
    let daemon = Daemon::start(&[]);
    let mut good = good_client(&daemon);
    let mut flood = daemon.connect();
    let mut writer = flood.writer();
    let writes = thread::spawn(move || writer.write_all(PING.repeat(COUNT).as_bytes()).unwrap());
    // The flood is not read: when its sockets are full it stands still, and only its own.
    (0..100).for_each(|_| good.still_answers());
    for _ in 0..COUNT / 1000 {
        flood.expect(&PONG.repeat(1000));
        good.still_answers();
    }
    writes.join().unwrap();
    flood.assert_silent();
}

#[test]
fn who_hangs_up_and_never_reads_his_answers_is_cut() {
    let daemon = Daemon::start(&["write_timeout=500ms", "sndbuf=8KiB"]);
    let mut good = good_client(&daemon);
    let before = daemon.descriptors();
    let mut deaf = Client::connect_narrow(daemon.address());
    // More answers than the sockets take, fewer than those above which it is not read any more.
    deaf.send(PING.repeat(6000));
    deaf.finish();
    daemon.await_descriptors(before);
    assert!(deaf.is_cut());
    good.still_answers();
}

/// A window that stays shut is probed until the kernel gives up, which is the one ETIMEDOUT that loopback can have.
#[test]
fn who_takes_nothing_for_user_timeout_is_given_up() {
    let daemon = Daemon::start(&["user_timeout=1s", "write_timeout=60m", "sndbuf=8KiB"]);
    let mut good = good_client(&daemon);
    let before = daemon.descriptors();
    let mut deaf = Client::connect_narrow(daemon.address());
    deaf.send(r#"{"method":"join_chat","params":["Deaf"]}"#);
    deaf.send(PING.repeat(6000));
    await_descriptors(&daemon, before, || good.answers_at_last());
    ask(&mut good, r#"{"method":"get_stats"}"#, r#""unreachable":1,"#);
    ask(&mut good, r#"{"method":"get_users","params":{"format":"simple"}}"#, r#""users":[]"#);
}

#[test]
fn resets_and_short_visits_leave_nothing_behind() {
    let daemon = Daemon::start(&[]);
    let mut good = good_client(&daemon);
    let before = daemon.descriptors();
    for n in 0..1000 {
        let mut visitor = daemon.connect();
        match n % 5 {
            0 => visitor.send("{\"meth"),
            1 => visitor.send(r#"{"method":"join_chat"}"#),
            2 => visitor.send(PING.repeat(100)),
            3 => visitor.send("]"),
            _ => {}
        }
        if n % 2 == 0 {
            visitor.reset();
        }
        if n % 50 == 0 {
            ask(&mut good, r#"{"method":"ping"}"#, PONG);
        }
    }
    // The last of them may not have been seen off yet.
    await_descriptors(&daemon, before, || ask(&mut good, PING, PONG));
    ask(&mut good, r#"{"method":"get_users","params":{"format":"simple"}}"#, r#""users":[]"#);
}

/// The table of descriptors is full, with and without a limit on connections that knows of it.
#[test]
fn without_descriptors_some_are_told_others_wait_and_all_is_well_when_they_have_gone() {
    for options in [&[][..], &["max_connections=1000"]] {
        let daemon = Daemon::start_under(&["sh", "-c", r#"ulimit -n 80 && exec "$0" "$@""#], options);
        let mut good = good_client(&daemon);
        let before = daemon.descriptors();
        let mut crowd: Vec<Client> = (0..100).map(|_| daemon.connect()).collect();
        // The last ones are told, or are still in the queue; the first have a place.
        let mut told = 0;
        for client in &mut crowd {
            if client.try_send(format!("{PING}\n")).is_ok() {
                good.still_answers();
            }
        }
        let mut first = crowd.remove(0);
        assert_eq!(first.read_line(), PONG);
        while told == 0 {
            good.still_answers();
            told += crowd.iter_mut().map(|client| usize::from(client.has_heard("-32000"))).sum::<usize>();
        }
        drop(crowd);
        while !serves(&daemon) {}
        await_descriptors(&daemon, before + 1, || good.still_answers());
        first.still_answers();
    }
}
