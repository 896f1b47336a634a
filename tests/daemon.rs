//! The process around the chat: how it starts, what it logs, how it stops, where it listens, and how many system
//! calls a request costs it.

#[path = "common/client.rs"]
mod client;
// Not `daemon`, which is this file's own name.
#[path = "common/directory.rs"]
mod directory;
#[path = "common/daemon.rs"]
mod process;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use std::{fs, thread};

use client::{Client, PING, PONG};
use directory::Directory;
use nix::sys::signal::Signal;
use process::{Daemon, command};
use rawline::transport::server::raise_descriptor_limit;

/// Far longer than anything here takes, far shorter than what must not be waited for.
const SOON: Duration = Duration::from_secs(20);

// --- stopping ---

#[test]
fn both_signals_stop_it_at_once_although_clients_idle() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut daemon = Daemon::start(&["shutdown_grace=60m"]);
        let mut idle: Vec<Client> = (0..50).map(|_| daemon.connect()).collect();
        for client in &mut idle {
            client.send(r#"{"method":"join_chat"}"#);
        }
        idle[49].read_object();
        let begin = Instant::now();
        daemon.signal(signal);
        let (exit, stdout, log) = daemon.wait();
        assert!(begin.elapsed() < SOON);
        assert_eq!((exit, stdout.as_str()), (0, ""), "{log}");
        assert!(log.ends_with("main       stopped\n"), "{log}");
        // Nobody is told that the others have left: they have not, the server has.
        for client in &mut idle {
            assert!(!client.read_to_end().contains("has left"));
        }
    }
}

#[test]
fn what_was_complete_when_the_signal_came_is_answered() {
    raise_descriptor_limit().unwrap();
    // More requests than one turn takes of a connection; more connections than one wait reports.
    for (clients, requests) in [(1, 1), (5, 3000), (2500, 1)] {
        let mut daemon = Daemon::start(&[]);
        let mut clients: Vec<Client> = (0..clients).map(|_| daemon.connect()).collect();
        for client in &mut clients {
            client.assert_silent();
        }
        // Asleep, it finds all of it together with the signal when it wakes.
        daemon.signal(Signal::SIGSTOP);
        for client in &mut clients {
            client.send(PING.repeat(requests));
        }
        daemon.signal(Signal::SIGTERM);
        daemon.signal(Signal::SIGCONT);
        for client in &mut clients {
            let answers = client.read_to_end();
            assert!(answers == PONG.repeat(requests), "{} bytes: {:?}", answers.len(), answers.get(..200));
        }
        assert_eq!(daemon.wait().0, 0);
    }
}

/// A client that has asked for far more than the kernel keeps for one who does not read, in few bytes.
struct Hungry {
    client: Client,
    _crowd: Vec<Client>,
}

impl Hungry {
    const REQUESTS: usize = 600;

    fn new(daemon: &Daemon) -> Self {
        let join = |n: usize| {
            let mut client = daemon.connect();
            client.send(format!(r#"{{"method":"join_chat","params":["{}{n:02}"]}}"#, "𝒜".repeat(48)));
            client
        };
        let mut crowd: Vec<Client> = (0..100).map(join).collect();
        for client in &mut crowd {
            while !client.read_object().contains("Welcome") {}
        }
        let mut client = daemon.connect();
        // The answer to each of these has 64 KiB.
        client.send(r#"{"method":"get_users"}"#.repeat(Self::REQUESTS));
        daemon.still_answers();
        Self { client, _crowd: crowd }
    }
}

/// Returns when the daemon refuses what it is asked, which says that it has heard the signal.
fn wait_until_stopping(client: &mut Client) {
    for _ in 0..1_000_000 {
        client.send(r#"{"method":"ping"}"#);
        let answer = client.read_object();
        if answer != PONG {
            assert_eq!(answer, r#"{"error":"Shutting down","code":-32004}"#);
            return;
        }
    }
    panic!("it goes on as if nothing had happened");
}

#[test]
fn a_stopping_server_refuses_requests_and_connections_until_its_answers_are_read() {
    let mut daemon = Daemon::start(&["shutdown_grace=60m"]);
    let mut hungry = Hungry::new(&daemon);
    let mut other = daemon.connect();
    daemon.signal(Signal::SIGTERM);
    wait_until_stopping(&mut other);
    assert!(TcpStream::connect(daemon.address()).is_err(), "the listener is open");
    other.send(r#"{"jsonrpc":"2.0","method":"ping","id":1}"#);
    other.expect(r#"{"jsonrpc":"2.0","error":{"code":-32004,"message":"Shutting down"},"id":1}"#);
    other.send(r#"[{"jsonrpc":"2.0","method":"ping","id":2}]"#);
    other.expect(r#"[{"jsonrpc":"2.0","error":{"code":-32004,"message":"Shutting down"},"id":2}]"#);
    // All that it had asked is answered: nothing of it was later than the signal.
    let answers = hungry.client.read_to_end();
    assert_eq!(answers.matches("Users retrieved successfully").count(), Hungry::REQUESTS);
    assert!(answers.ends_with(r#"],"count":100}"#));
    assert_eq!(daemon.wait().0, 0);
}

#[test]
fn who_never_reads_is_waited_for_no_longer_than_the_grace() {
    let daemon = Daemon::start(&["shutdown_grace=200ms"]);
    let _hungry = Hungry::new(&daemon);
    let begin = Instant::now();
    assert_eq!(daemon.stop().0, 0);
    assert!(begin.elapsed() >= Duration::from_millis(200), "it waits for its answers");
    assert!(begin.elapsed() < SOON);
}

#[test]
fn a_second_signal_ends_it_at_once() {
    for (first, second) in [(Signal::SIGTERM, Signal::SIGINT), (Signal::SIGINT, Signal::SIGTERM)] {
        let mut daemon = Daemon::start(&["shutdown_grace=60m"]);
        let _hungry = Hungry::new(&daemon);
        let mut other = daemon.connect();
        daemon.signal(first);
        wait_until_stopping(&mut other);
        let begin = Instant::now();
        daemon.signal(second);
        assert_eq!(daemon.wait().0, 128 + second as i32);
        assert!(begin.elapsed() < SOON);
    }
}

// --- starting ---

/// The exit code and the last line on stderr of a daemon that does not start.
fn failure(options: &[&str]) -> (i32, String) {
    let output = command(options).output().unwrap();
    assert_eq!(output.stdout, b"");
    let log = String::from_utf8(output.stderr).unwrap();
    (output.status.code().unwrap(), log.lines().last().unwrap().to_owned())
}

#[test]
fn a_port_in_use_is_one_clear_line() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    assert_eq!(
        failure(&[&format!("rpc={address}")]),
        (
            69,
            format!(
                "rawline: rpc cannot listen on {address}: it is in use: stop its user, or choose another \
                 with --rpc or RAWLINE_RPC"
            )
        )
    );
}

#[test]
fn an_address_of_another_machine_is_one_clear_line() {
    let (exit, line) = failure(&["rpc=192.0.2.1:0", "allow_remote=true"]);
    assert_eq!(
        (exit, line.as_str()),
        (
            69,
            "rawline: rpc cannot listen on 192.0.2.1:0: this machine does not have it: choose another with \
             --rpc or RAWLINE_RPC"
        )
    );
}

#[test]
fn a_restarted_daemon_gets_its_port_back_at_once() {
    let daemon = Daemon::start(&[]);
    let address = daemon.address().to_owned();
    let mut client = daemon.connect();
    client.assert_silent();
    // The server closes first, so its side of this connection is in TIME_WAIT.
    assert_eq!(daemon.stop().0, 0);
    client.expect_end("");
    drop(client);
    Daemon::start(&[&format!("rpc={address}")]).still_answers();
}

#[test]
fn the_environment_wins_over_the_file() {
    let directory = Directory::new("config");
    let path = directory.join("rawline.conf");
    fs::write(&path, "# both say something\nmax_depth = 2\nmax_batch = 2\nrequire_join = true\n").unwrap();
    let daemon = Daemon::start(&[&format!("config={}", path.display()), "max_depth=5"]);
    let mut client = daemon.connect();
    client.send(r#"{"method":"send_message","params":["x"]}"#);
    client.expect(r#"{"status":"error","message":"Join the chat first"}"#);
    client.send("[1,2,3]");
    assert_eq!(client.read_value()["error"]["data"], "a batch has at most max_batch elements (2)");
    client.send("[[[[[1]]]]]");
    assert_eq!(client.read_value()[0]["error"]["code"], -32600);
    client.send("[[[[[[1]]]]]]");
    assert_eq!(client.read_value()["error"]["data"], "nested deeper than max_depth (5)");
    client.expect_end("");
    daemon.still_answers();
}

#[cfg(feature = "cli")]
#[test]
fn a_flag_wins_over_the_environment() {
    let mut command = command(&["duplicate_names=rename"]);
    command.args(["--duplicate-names", "reject"]);
    let daemon = Daemon::spawn(command);
    let mut first = daemon.connect();
    first.send(r#"{"method":"join_chat","params":["Alice"]}"#);
    first.read_object();
    let mut second = daemon.connect();
    second.send(r#"{"method":"join_chat","params":["Alice"]}"#);
    second.expect(r#"{"status":"error","message":"Username already taken"}"#);
}

#[test]
fn more_connections_than_files_are_accepted_with_a_warning() {
    let daemon = Daemon::start(&["max_connections=10000000"]);
    daemon.still_answers();
    let (exit, log) = daemon.stop();
    assert_eq!(exit, 0);
    assert!(log.contains("WARN  main       max-connections is 10000000, but "), "{log}");
}

/// The states of the TCP connections to this port, as their clients' ends have them: proc_net_tcp(5).
#[cfg(target_os = "linux")]
fn states_of_clients(port: u16) -> Vec<u8> {
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let rows = table.lines().skip(1).map(|row| row.split_whitespace().collect::<Vec<_>>());
    let ours = rows.filter(|row| row[2].ends_with(&format!(":{port:04X}")));
    ours.map(|row| u8::from_str_radix(row[3], 16).unwrap()).collect()
}

#[test]
#[cfg(target_os = "linux")]
fn who_finds_no_place_in_the_backlog_is_served_later() {
    const ESTABLISHED: u8 = 1;
    const SYN_SENT: u8 = 2;
    let daemon = Daemon::start(&["backlog=2"]);
    daemon.still_answers();
    let address = daemon.address().to_owned();
    let port = address.rsplit_once(':').unwrap().1.parse().unwrap();
    // It accepts nobody: the kernel queues one more than it was told, and leaves the others without an answer.
    daemon.signal(Signal::SIGSTOP);
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let address = address.clone();
            thread::spawn(move || Client::connect(&address).answers_at_last())
        })
        .collect();
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let states = states_of_clients(port);
        let count = |state| states.iter().filter(|&&found| found == state).count();
        if (count(ESTABLISHED), count(SYN_SENT)) == (3, 5) {
            break;
        }
        assert!(Instant::now() < deadline, "3 connected and 5 not: {states:?}");
        thread::yield_now();
    }
    daemon.signal(Signal::SIGCONT);
    clients.into_iter().for_each(|client| client.join().expect("it is served in the end"));
}

#[test]
fn no_directory_no_file_service() {
    let daemon = Daemon::start(&["files=off", "files_listen=127.0.0.1:0"]);
    daemon.still_answers();
    let (exit, _) = daemon.stop();
    assert_eq!(exit, 0);
}

// --- the log ---

/// What is logged of a client that joins and speaks in ways that would like to be read by a terminal.
fn log_of_a_rogue(options: &[&str]) -> String {
    let daemon = Daemon::start(&[&["log_level=debug"], options].concat());
    let mut rogue = daemon.connect();
    rogue.send(r#"{"method":"send_message","params":["secret \u001b[31m\r\n2026 ERROR forged \u202e"]}"#);
    rogue.read_object();
    rogue.send(r#"{"method":"join_chat","params":["\u001b[2J"]}"#);
    rogue.read_object();
    rogue.send("{\"method\":\"\u{9b}31m\x7f\",\"id\":1}{\"\x1b\n");
    rogue.read_object();
    rogue.finish();
    rogue.read_to_end();
    let (exit, log) = daemon.stop();
    assert_eq!(exit, 0);
    let obeyed = |c: char| c != '\n' && (c.is_control() || c == '\u{202e}');
    assert!(!log.contains(obeyed), "{log:?}");
    for line in log.lines().filter(|line| !line.starts_with('{')) {
        let is_time = line.get(..24).is_some_and(|time| time.ends_with('Z') && time.contains('T'));
        assert!(is_time, "every line is an event of ours: {line:?}");
    }
    log
}

#[test]
fn what_people_say_is_not_logged() {
    let log = log_of_a_rogue(&[]);
    assert!(log.contains("accepted from 127.0.0.1:"), "{log}");
    assert!(!log.contains("secret") && !log.contains("forged"), "{log}");
}

#[test]
fn what_people_say_is_logged_escaped_where_the_operator_asks_for_it() {
    let log = log_of_a_rogue(&["log_bodies=true"]);
    assert!(log.contains(r#" says "secret \u001b[31m\r\n2026 ERROR forged \u202e""#), "{log}");
}

#[test]
fn a_value_in_the_log_is_cut_where_the_operator_says() {
    let daemon = Daemon::start(&["log_bodies=true", "log_value_max=20"]);
    let mut client = daemon.connect();
    for message in ["12345678901234567890", "1234567890123456789\\u0007"] {
        client.send(format!(r#"{{"method":"send_message","params":["{message}"]}}"#));
        client.read_object();
    }
    let log = daemon.stop().1;
    assert!(log.contains(" says \"12345678901234567890\"\n"), "{log}");
    assert!(log.contains(" says \"1234567890123456789\"...\n"), "no half of an escape: {log}");
}

#[test]
fn as_json_every_event_is_one_object_with_the_same_keys() {
    let log = log_of_a_rogue(&["log_format=json", "log_bodies=true"]);
    let mut said = 0;
    for line in log.lines() {
        let event: BTreeMap<String, String> =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line:?}"));
        assert_eq!(event.keys().collect::<Vec<_>>(), ["component", "level", "message", "time"]);
        assert!(line.starts_with("{\"time\":\"20"), "{line}");
        assert!(["error", "warn", "info", "debug"].contains(&event["level"].as_str()), "{line}");
        said += usize::from(event["message"].contains(r#" says "secret \u001b[31m\r\n2026 ERROR forged"#));
    }
    assert_eq!(said, 1);
    // What ends the process is an event too.
    let (exit, line) = failure(&["log_format=json", "rpc=192.0.2.1:0", "allow_remote=true"]);
    let event: BTreeMap<String, String> = serde_json::from_str(&line).unwrap();
    assert_eq!((exit, event["level"].as_str()), (69, "error"));
    assert!(event["message"].starts_with("rpc cannot listen on 192.0.2.1:0: "), "{line}");
}

// --- Unix-domain sockets ---

fn unix(path: &Path) -> String {
    format!("rpc=unix:{}", path.display())
}

#[test]
fn a_unix_socket_serves_the_same_chat() {
    let directory = Directory::new("chat");
    let path = directory.join("rawline.sock");
    let daemon = Daemon::start(&[&unix(&path)]);
    assert_eq!(daemon.address(), format!("unix:{}", path.display()));
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let mut one = daemon.connect();
    one.send(r#"{"method":"join_chat"}"#);
    let joined = one.read_value();
    let name = joined["users"][0].as_str().unwrap().to_owned();
    let number: u64 = name.strip_prefix("User_").unwrap().parse().unwrap();
    one.read_object();
    let mut two = daemon.connect();
    two.send(r#"{"method":"join_chat","params":["Bob"]}"#);
    for _ in 0..2 {
        two.read_object();
    }
    one.expect(r#"{"type":"system","message":"Bob has joined the chat!","username":"SYSTEM"}"#);
    one.send(r#"{"method":"get_users"}"#);
    let users = one.read_value()["users"].clone();
    assert_eq!(users[0]["address"], format!("unix:{number}"));
    let bobs = users[1]["address"].as_str().unwrap().strip_prefix("unix:").unwrap();
    assert_ne!(bobs.parse::<u64>().unwrap(), number);
    two.send(r#"{"method":"join_chat","params":["Alice"]}"#);
    one.expect(r#"{"type":"system","message":"Bob has left the chat!","username":"SYSTEM"}"#);
    one.expect(r#"{"type":"system","message":"Alice has joined the chat!","username":"SYSTEM"}"#);
    // A third takes a name in use, and gets his number behind it.
    let mut three = daemon.connect();
    three.send(r#"{"method":"join_chat","params":["Alice"]}"#);
    let third = three.read_value()["users"][2].as_str().unwrap().to_owned();
    assert!(third.strip_prefix("Alice_").unwrap().parse::<u64>().is_ok(), "{third}");
    drop(two);
    one.expect(&format!(
        r#"{{"type":"system","message":"{third} has joined the chat!","username":"SYSTEM"}}"#
    ));
    one.expect(r#"{"type":"system","message":"Alice has left the chat!","username":"SYSTEM"}"#);
    one.still_answers();
}

#[test]
fn a_stale_socket_file_is_replaced_a_live_one_and_other_files_are_not() {
    let directory = Directory::new("stale");
    let path = directory.join("rawline.sock");
    drop(UnixListener::bind(&path).unwrap());
    assert!(fs::metadata(&path).unwrap().file_type().is_socket(), "closing leaves the file");
    let daemon = Daemon::start(&[&unix(&path)]);
    daemon.still_answers();

    let (exit, line) = failure(&[&unix(&path)]);
    assert_eq!(exit, 69);
    assert_eq!(
        line,
        format!(
            "rawline: rpc cannot listen on unix:{}: it is in use: stop its user, or choose another with --rpc \
             or RAWLINE_RPC",
            path.display()
        )
    );
    daemon.still_answers();

    let letter = directory.join("letter");
    fs::write(&letter, "keep me").unwrap();
    assert_ne!(failure(&[&unix(&letter)]).0, 0);
    assert_eq!(fs::read(&letter).unwrap(), b"keep me");
}

// --- what a request costs ---

#[cfg(target_os = "linux")]
#[test]
fn a_request_costs_one_read_and_one_write() {
    const CLIENTS: usize = 20;
    const REQUESTS: usize = 200;
    let directory = Directory::new("strace");
    let summary = directory.join("summary");
    if !can_trace() {
        return println!("skipped: strace is missing, or may not trace here");
    }
    let strace = ["strace", "-f", "-c", "-o", summary.to_str().unwrap()];
    let daemon = Daemon::start_under(&strace, &[]);
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let mut client = daemon.connect();
                for _ in 0..REQUESTS {
                    client.assert_silent();
                }
            });
        }
    });
    assert_eq!(daemon.stop().0, 0);

    let summary = fs::read_to_string(summary).unwrap();
    let calls = |names: &[&str]| -> usize { names.iter().map(|name| calls_in(&summary, name)).sum() };
    let reads = calls(&["read", "readv", "recvfrom", "recvmsg"]);
    let writes = calls(&["write", "writev", "sendto", "sendmsg"]);
    let requests = CLIENTS * REQUESTS;
    assert!(reads >= requests && writes >= requests, "they are not where they are looked for:\n{summary}");
    // In hundredths: 2.02 for each request.
    assert!(100 * (reads + writes) <= 202 * requests, "{reads} reads, {writes} writes:\n{summary}");
    // Each connection once, the listener and the waker; nothing is taken out but the listener.
    assert!(calls(&["epoll_ctl"]) <= CLIENTS + 3, "{summary}");
    assert!(calls(&["accept4"]) >= CLIENTS, "{summary}");
}

/// A wait that fails is a bug of ours: the kernel is made to refuse one, and the panic goes the way that one of a service goes
/// which was left broken.
#[cfg(target_os = "linux")]
#[test]
fn a_bug_ends_the_process_with_code_70_and_says_where() {
    if !can_trace() {
        return println!("skipped: strace is missing, or may not trace here");
    }
    let refuse = "inject=?epoll_wait,?epoll_pwait:error=EBADF:when=6+";
    let mut daemon = Daemon::start_under(&["strace", "-f", "-o", "/dev/null", "-e", refuse], &[]);
    while let Ok(mut client) = TcpStream::connect(daemon.address()) {
        client.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let _ = client.write_all(PING.as_bytes());
        let _ = client.read(&mut [0; 100]);
    }
    let (exit, _, log) = daemon.wait();
    assert_eq!(exit, 70, "{log}");
    assert!(log.contains(" ERROR panic      at src/transport/sys/os.rs:"), "{log}");
    let last = "rawline: this is a bug in rawline: please report it with the lines above\n";
    assert!(log.ends_with(last), "{log}");
}

#[cfg(target_os = "linux")]
fn can_trace() -> bool {
    Command::new("strace")
        .args(["-o", "/dev/null", "true"])
        .output()
        .is_ok_and(|output| output.status.success())
}

/// The `calls` column of a row of `strace -c`: the fourth; the name is the last.
#[cfg(target_os = "linux")]
fn calls_in(summary: &str, name: &str) -> usize {
    let mut rows = summary.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let row = rows.find(|row| row.last() == Some(&name));
    row.map_or(0, |row| row[3].parse().unwrap())
}
