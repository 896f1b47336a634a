//! The chat client in a pipe, run the way a script runs it: streams and exit codes, against the daemon.
//!
//! A conversation is waited for line by line, never by the clock; servers that are away come back on the same port.

#![cfg(feature = "cli")]

#[path = "common/client.rs"]
mod client;
#[path = "common/daemon.rs"]
mod daemon;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;

use client::Client;
use daemon::Daemon;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

fn start() -> Daemon {
    Daemon::start_services(&["rpc", "line"], &[])
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rawline"));
    command.arg("chat").args(arguments).env_remove("NO_COLOR");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Exit code and both streams of a client whose input is this and then ends.
fn run(arguments: &[&str], input: &[u8]) -> (i32, String, String) {
    let mut child = command(arguments).spawn().unwrap();
    let (mut stdin, input) = (child.stdin.take().unwrap(), input.to_vec());
    // Whoever leaves early does not read.
    let writer = thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().expect("an exit code, no signal"), text(output.stdout), text(output.stderr))
}

/// A client whose input stays open.
struct Running {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    stderr: BufReader<ChildStderr>,
}

impl Running {
    fn start(arguments: &[&str]) -> Self {
        let mut child = command(arguments).spawn().unwrap();
        let stdin = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let stderr = BufReader::new(child.stderr.take().unwrap());
        Self { child, stdin, stdout, stderr }
    }

    fn write(&mut self, line: &str) {
        writeln!(self.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    fn out(&mut self) -> String {
        line(&mut self.stdout)
    }

    fn err(&mut self) -> String {
        line(&mut self.stderr)
    }

    fn object(&mut self) -> Value {
        let line = self.out();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
    }

    fn end(mut self) -> (i32, String) {
        drop(self.stdin.take());
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).unwrap();
        (self.child.wait().unwrap().code().expect("an exit code"), rest)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn line(from: &mut impl BufRead) -> String {
    let mut line = String::new();
    from.read_line(&mut line).unwrap();
    assert!(line.ends_with('\n'), "it ended: {line:?}");
    line.trim_end().into()
}

/// A JSON user who has joined, seen from the wire.
fn listener(daemon: &Daemon) -> Client {
    let mut client = Client::connect(daemon.address_of("rpc"));
    client.send(b"{\"method\":\"join_chat\",\"params\":{\"username\":\"Ear\"}}\n");
    client.expect("{\"status\":\"success\",\"message\":\"Joined chat as Ear\",\"users\":[\"Ear\"]}\n");
    client
        .expect("{\"type\":\"system\",\"message\":\"Welcome to the chat, Ear!\",\"username\":\"SYSTEM\"}\n");
    client
}

fn said(name: &str, text: &str) -> String {
    format!("{{\"type\":\"chat\",\"message\":{},\"username\":\"{name}\"}}\n", json!(text))
}

fn system(text: &str) -> String {
    format!("{{\"type\":\"system\",\"message\":{},\"username\":\"SYSTEM\"}}\n", json!(text))
}

#[test]
fn a_line_is_said_and_the_client_leaves() {
    let daemon = start();
    let mut ear = listener(&daemon);
    for (protocol, welcome) in [(&[][..], ""), (&["--line"], " /help lists commands.")] {
        let service = if protocol.is_empty() { "rpc" } else { "line" };
        let arguments = [&[daemon.address_of(service), "--name", "bot"], protocol].concat();
        let (exit, out, err) = run(&arguments, "hi\r\n\n  \n/users\n//x\nlast, é日".as_bytes());
        assert_eq!((exit, err.as_str()), (0, ""));
        assert_eq!(out, format!("* Welcome to the chat, bot!{welcome}\n"));
        ear.expect(&system("bot has joined the chat!"));
        // In a pipe everything is a message.
        for text in ["hi", "/users", "//x", "last, é日"] {
            ear.expect(&said("bot", text));
        }
        ear.expect(&system("bot has left the chat!"));
    }
}

#[test]
fn thousands_of_lines_arrive_in_their_order() {
    let daemon = start();
    let mut ear = listener(&daemon);
    for (service, protocol) in [("rpc", &[][..]), ("line", &["--line"])] {
        let arguments = [&[daemon.address_of(service), "--name", "bot"], protocol].concat();
        let lines: String = (0..3000).map(|n| format!("{n}\n")).collect();
        let reader = thread::spawn(move || {
            ear.expect(&system("bot has joined the chat!"));
            (0..3000).for_each(|n| ear.expect(&said("bot", &n.to_string())));
            ear.expect(&system("bot has left the chat!"));
            ear
        });
        assert_eq!(run(&arguments, lines.as_bytes()).0, 0);
        ear = reader.join().unwrap();
    }
}

#[test]
fn what_others_say_is_printed_and_cannot_command_a_terminal() {
    let daemon = start();
    for (service, protocol) in [("rpc", &[][..]), ("line", &["--line"])] {
        let mut bot = Running::start(&[&[daemon.address_of(service), "--name", "bot"], protocol].concat());
        assert!(bot.out().starts_with("* Welcome to the chat, bot!"));
        let mut eve = Client::connect(daemon.address_of("rpc"));
        eve.send(b"{\"method\":\"join_chat\",\"params\":{\"username\":\"Eve\"}}\n");
        assert_eq!(bot.out(), "* Eve has joined the chat!");
        eve.send(b"{\"method\":\"send_message\",\"params\":{\"message\":\"a\\u202eb\\nBob: c\"}}\n");
        assert_eq!(bot.out(), "Eve: a\u{fffd}b Bob: c");
        drop(eve);
        assert_eq!(bot.out(), "* Eve has left the chat!");
        assert_eq!(bot.end(), (0, String::new()));
    }
    let mut bot = Running::start(&[daemon.address(), "--name", "bot", "--color=always", "--timestamps"]);
    let stamped = bot.out();
    assert!(stamped.starts_with("\u{1b}[2m["), "{stamped:?}");
    assert!(stamped.ends_with("] \u{1b}[0m\u{1b}[2m* Welcome to the chat, bot!\u{1b}[0m"), "{stamped:?}");
}

#[test]
fn objects_come_as_they_are() {
    let daemon = start();
    let mut bot = Running::start(&[daemon.address(), "--name", "bot", "--json"]);
    assert_eq!(bot.object()["result"]["message"], "Joined chat as bot");
    assert_eq!(bot.object()["method"], "system");
    let mut other = Client::connect(daemon.address());
    other.send(b"{\"method\":\"send_message\",\"params\":{\"message\":\"\\u001b[2J\xc3\xa9\"}}\n");
    let push = bot.out();
    assert!(!push.contains('\u{1b}'));
    let push: Value = serde_json::from_str(&push).unwrap();
    assert_eq!(push["params"]["message"], "\u{1b}[2Jé");
    bot.write("/quit");
    assert_eq!(bot.object()["result"]["status"], "success");
    assert_eq!(bot.end(), (0, String::new()));
}

#[test]
fn a_refused_message_is_told_and_the_others_are_said() {
    let daemon = start();
    let input = format!("one\n{}\ntwo\n", "é".repeat(1001));
    let mut ear = listener(&daemon);
    for (service, flag) in [("rpc", None), ("rpc", Some("--json")), ("line", Some("--line"))] {
        let mut arguments = vec![daemon.address_of(service), "--name", "bot"];
        arguments.extend(flag);
        let (exit, _, err) = run(&arguments, input.as_bytes());
        assert_eq!(exit, 1, "{flag:?}");
        let lines: Vec<_> = err.lines().collect();
        assert_eq!(lines[0], format!("rawline: not sent: Message too long: {}...", "é".repeat(60)));
        assert_eq!(lines[1..], ["rawline: a message was not sent"]);
        ear.expect(&system("bot has joined the chat!"));
        ear.expect(&said("bot", "one"));
        ear.expect(&said("bot", "two"));
        ear.expect(&system("bot has left the chat!"));
    }
    let (exit, _, err) = run(&[daemon.address()], &[b'x'; 200_000]);
    assert_eq!((exit, err.lines().count()), (1, 2), "{err}");
}

#[test]
fn a_refused_name_is_a_failure() {
    let daemon = start();
    for (service, protocol) in [("rpc", &[][..]), ("line", &["--line"])] {
        let arguments = [&[daemon.address_of(service), "--name", "System"], protocol].concat();
        let (exit, out, err) = run(&arguments, b"hi\n");
        assert_eq!((exit, out.as_str()), (1, ""));
        assert_eq!(err, "rawline: the name is refused: Username is reserved\n");
    }
}

#[test]
fn it_comes_back_with_the_server() {
    for (service, protocol) in [("rpc", &[][..]), ("line", &["--line"])] {
        let daemon = start();
        let address = daemon.address_of(service).to_owned();
        let mut bot = Running::start(&[&[&*address, "--name", "bot"], protocol].concat());
        assert!(bot.out().starts_with("* Welcome"));
        drop(daemon);
        let away = bot.err();
        assert!(away.starts_with("rawline: no connection: "), "{away}");
        assert!(away.contains("; trying again in 0."), "{away}");
        // Not read before there is somebody to say it to.
        bot.write("hello again");
        let option = format!("{service}={address}");
        let _daemon = match service {
            "rpc" => Daemon::start_services(&[], &[&option]),
            _ => Daemon::start_services(&["rpc"], &[&option]),
        };
        while !bot.err().ends_with("connected again, as bot") {}
        assert!(bot.out().starts_with("* Welcome"));
        assert_eq!(bot.end(), (0, String::new()));
    }
}

#[test]
fn it_ends_when_it_shall_not_come_back() {
    let daemon = start();
    let mut bot = Running::start(&[daemon.address(), "--name", "bot", "--no-reconnect"]);
    bot.out();
    drop(daemon);
    assert_eq!(bot.err(), "rawline: the connection is lost: the server closed it");
    assert_eq!(bot.end().0, 1);
}

#[test]
fn what_nobody_confirmed_is_told() {
    // It lets everybody in and hears nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let server = thread::spawn(move || {
        let mut stream = BufReader::new(silent.accept().unwrap().0);
        let mut request = String::new();
        stream.read_line(&mut request).unwrap();
        let answer =
            json!({"jsonrpc": "2.0", "result": {"message": "Joined chat as bot", "users": ["bot"]}, "id": 1});
        stream.get_mut().write_all(answer.to_string().as_bytes()).unwrap();
        stream.read_line(&mut request).unwrap();
    });
    let (exit, _, err) = run(&[&address, "--name", "bot"], b"important\n");
    server.join().unwrap();
    assert_eq!(exit, 1);
    assert!(err.starts_with("rawline: not confirmed, perhaps not sent: important\n"), "{err}");
}

#[test]
fn nobody_there_is_an_error_of_its_own() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let (exit, out, err) = run(&[&free], b"hi\n");
    assert_eq!((exit, out.as_str()), (69, ""));
    assert!(err.starts_with(&format!("rawline: cannot connect to {free}: ")), "{err}");
    assert_eq!(err.lines().count(), 1);
    assert_eq!(run(&["unix:/no/such/socket"], b"").0, 69);

    let full = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = full.local_addr().unwrap().to_string();
    let (exit, _, err) = run(&[&address, "--timeout", "100ms"], b"hi\n");
    assert_eq!(exit, 69);
    assert_eq!(err, "rawline: the connection is lost: the server did not answer within 100ms\n");
}

#[test]
fn the_wrong_protocol_is_named() {
    let daemon = start();
    let (exit, _, err) = run(&[daemon.address_of("line")], b"hi\n");
    assert_eq!((exit, err.as_str()), (1, "rawline: this server speaks the line protocol: add --line\n"));
}

#[test]
fn no_name_is_one_from_the_server() {
    let daemon = start();
    for (service, protocol) in [("rpc", &[][..]), ("line", &["--line"])] {
        let (exit, out, _) = run(&[&[daemon.address_of(service)], protocol].concat(), b"");
        assert_eq!(exit, 0);
        assert!(out.starts_with("* Welcome to the chat, User_"), "{out}");
    }
}

#[test]
fn a_signal_ends_it() {
    let daemon = start();
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let mut bot = Running::start(&[daemon.address(), "--name", "bot"]);
        bot.out();
        kill(Pid::from_raw(bot.child.id().try_into().unwrap()), signal).unwrap();
        assert_eq!(bot.child.wait().unwrap().code(), Some(128 + signal as i32));
    }
}

#[test]
fn input_and_output_may_be_anything() {
    let daemon = start();
    let mut ear = listener(&daemon);
    let file = std::env::temp_dir().join(format!("rawline-chat-{}", std::process::id()));
    std::fs::write(&file, "from a file\n").unwrap();
    let mut child = command(&[daemon.address(), "--name", "bot"]);
    let child = child.stdin(std::fs::File::open(&file).unwrap()).stdout(Stdio::null());
    assert_eq!(child.status().unwrap().code(), Some(0));
    std::fs::remove_file(file).unwrap();
    ear.expect(&system("bot has joined the chat!"));
    ear.expect(&said("bot", "from a file"));
    let mut child = command(&[daemon.address(), "--name", "bot"]);
    assert_eq!(child.stdin(Stdio::null()).status().unwrap().code(), Some(0));
    // Whoever closes the output has read enough.
    let mut bot = command(&[daemon.address(), "--name", "bot"]).spawn().unwrap();
    drop(bot.stdout.take());
    assert_eq!(bot.wait().unwrap().code(), Some(0));
}
