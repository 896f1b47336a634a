//! `docs/syscalls.md` is complete: a session on each service, seen by strace, holds nothing that is not there. And what a
//! delivery costs in a room of a hundred, counted by strace from the daemon's start to its end.

#![cfg(target_os = "linux")]

#[path = "common/client.rs"]
mod client;
#[path = "common/daemon.rs"]
mod daemon;
#[path = "common/directory.rs"]
mod directory;
#[path = "common/share.rs"]
mod share;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use client::Client;
use daemon::Daemon;
use directory::Directory;

/// What the page says of each call, under this heading: whether every session has it.
fn listed(heading: &str) -> BTreeMap<String, bool> {
    let page = include_str!("../docs/syscalls.md");
    let section = page.split(&format!("\n## {heading}\n")).nth(1).unwrap().split("\n## ").next().unwrap();
    let row = |line: &str| {
        let (call, rest) = line.strip_prefix("| `")?.split_once("` | ")?;
        Some((call.to_owned(), rest.starts_with("always")))
    };
    let rows: BTreeMap<_, _> = section.lines().filter_map(row).collect();
    assert!(rows.len() > 10, "{heading}");
    rows
}

/// Whose call a line of `strace -f` is, and its name.
fn call(line: &str) -> Option<(u32, &str)> {
    let (thread, rest) = line.split_once(' ')?;
    let rest = rest.trim_start();
    let name = rest.strip_prefix("<... ").unwrap_or(rest);
    let end = name.find(|c: char| !c.is_ascii_alphanumeric() && c != '_')?;
    let is_call = name[end..].starts_with('(') || name[end..].starts_with(" resumed");
    (end > 0 && is_call).then_some((thread.parse().ok()?, &name[..end]))
}

fn can_trace() -> bool {
    let traced = Command::new("strace").args(["-o", "/dev/null", "true"]).output();
    let can = traced.is_ok_and(|output| output.status.success());
    if !can {
        println!("skipped: strace is missing, or may not trace here");
    }
    can
}

/// The table of `strace -c`: calls by name.
fn counted(table: &Path) -> BTreeMap<String, u64> {
    let text = fs::read_to_string(table).unwrap();
    let row = |line: &str| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        Some((columns.last()?.to_string(), columns.get(3)?.parse().ok()?))
    };
    text.lines().filter_map(row).collect()
}

#[test]
fn a_session_on_each_service_makes_no_other_call() {
    if !can_trace() {
        return;
    }
    let folder = Directory::new("session");
    fs::create_dir(folder.join("shared")).unwrap();
    fs::write(folder.join("shared/a"), share::noise(100_000)).unwrap();
    let trace = folder.join("trace");
    let strace = ["strace", "-f", "-o", trace.to_str().unwrap()];
    let files = format!("files={}", folder.join("shared").display());
    let options = [
        "line=127.0.0.1:0",
        "echo=127.0.0.1:0",
        &files,
        "files_listen=127.0.0.1:0",
        "files_writable=true",
        "files_delete=true",
    ];
    let mut daemon = Daemon::start_under(&strace, &options);
    daemon.await_services(4);

    let mut alice = daemon.connect();
    alice.send(r#"{"method":"join_chat","params":["Alice"]}"#);
    alice.read_object();
    alice.read_object();
    let mut bob = Client::connect(daemon.address_of("line"));
    bob.send("Bob\nhello\n/quit\n");
    while !alice.read_object().contains("Bob has left") {}
    drop(bob);
    let mut echo = Client::connect(daemon.address_of("echo"));
    echo.send("hello");
    echo.expect("hello");
    let mut wire = share::Wire { stream: TcpStream::connect(daemon.address_of("files")).unwrap() };
    wire.send([0x11]);
    wire.head();
    // Counts one file: "a", of which more is told.
    wire.take(4 + 2 + 1 + 8 + 8);
    let known = wire.take(1)[0];
    wire.take(32 * usize::from(known));
    wire.send(share::get2("a", 0, 0));
    wire.head();
    wire.take(8 + 8 + 8 + 100_000);
    wire.send(share::put2("b", 5, [0; 32]));
    wire.send("hello");
    wire.head();
    wire.take(8);
    wire.head();
    wire.take(32);
    wire.send(share::request(0x15, "b"));
    assert_eq!(wire.head().1, 0, "removed");
    let mut last = daemon.connect();
    last.still_answers();
    drop((alice, echo, wire));
    while !last.read_object().contains("Alice has left") {}

    let loop_thread = daemon.pid();
    let names: BTreeSet<String> = fs::read_dir(format!("/proc/{loop_thread}/task"))
        .unwrap()
        .map(|task| fs::read_to_string(task.unwrap().path().join("comm")).unwrap().trim().to_owned())
        .collect();
    assert_eq!(names, ["files-quick", "files-slow", "rawline"].map(String::from).into());
    assert_eq!(daemon.stop().0, 0);

    let text = fs::read_to_string(&trace).unwrap();
    let from = text.find("listening rpc").expect("it says that it listens");
    let to = text.find("--- SIGTERM").expect("it is told to stop");
    let (mut in_loop, mut elsewhere) = (BTreeSet::new(), BTreeSet::new());
    for (thread, name) in text[from..to].lines().filter_map(call) {
        let seen = if thread == loop_thread { &mut in_loop } else { &mut elsewhere };
        seen.insert(name.to_owned());
    }
    let runtime = listed("The allocator and the threads themselves");
    for (heading, seen) in [("The loop", in_loop), ("Helper threads", elsewhere)] {
        let page = listed(heading);
        for call in &seen {
            assert!(
                page.contains_key(call) || runtime.contains_key(call),
                "{heading}: {call} is not on the page"
            );
        }
        for (call, _) in page.iter().filter(|(_, always)| **always) {
            assert!(seen.contains(call), "{heading}: {call} was not made");
        }
    }
}

#[test]
fn a_delivery_costs_one_write_and_a_burst_costs_no_more() {
    if !can_trace() {
        return;
    }
    const ROOM: usize = 100;
    let folder = Directory::new("deliveries");
    for (in_flight, rounds, most) in [(1, 1000, 1.06), (64, 100, 0.02)] {
        let table = folder.join(&in_flight.to_string());
        let daemon = Daemon::start_under(&["strace", "-f", "-c", "-o", table.to_str().unwrap()], &[]);
        let mut room: Vec<Client> = (0..ROOM).map(|_| daemon.connect()).collect();
        for (n, client) in room.iter_mut().enumerate() {
            client.send(format!(r#"{{"method":"join_chat","params":["user{n}"]}}"#));
        }
        // Those who joined last have yet to hear of each other when the talk begins.
        let hear = |client: &mut Client, what: &str, mut count: usize| {
            while count > 0 {
                count -= usize::from(client.read_object().contains(what));
            }
        };
        for client in &mut room {
            hear(client, r#""status""#, 1);
        }
        let (publisher, receivers) = room.split_first_mut().unwrap();
        let burst = r#"{"method":"send_message","params":["hello"]}"#.repeat(in_flight);
        for _ in 0..rounds {
            publisher.send(&burst);
            for receiver in &mut *receivers {
                hear(receiver, r#""chat""#, in_flight);
            }
            hear(publisher, r#""status""#, in_flight);
        }
        drop(room);
        assert_eq!(daemon.stop().0, 0);

        let calls = counted(&table);
        let each = calls["total"] as f64 / (rounds * in_flight * (ROOM - 1)) as f64;
        println!("{in_flight} in flight: {each:.4} calls for a delivery");
        assert!(each <= most, "{in_flight} in flight: {each} calls for a delivery: {calls:?}");
        // Each connection once, the listener, the bell: nobody's socket was ever full.
        assert!(calls["epoll_ctl"] <= ROOM as u64 + 2, "{calls:?}");
    }
}
