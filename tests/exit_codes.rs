//! Every exit code of the page is had from the binary, by doing what the page says of it; and no page says another.

#![cfg(all(feature = "cli", target_os = "linux"))]

#[path = "common/client.rs"]
mod client;
#[path = "common/daemon.rs"]
mod daemon;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::{env, fs, thread};

use daemon::Daemon;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

fn rawline(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rawline"));
    for (name, _) in env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("RAWLINE_")) {
        command.env_remove(name);
    }
    command.args(arguments).stdin(Stdio::null());
    command
}

/// The exit code, and what was printed.
fn run(arguments: &[&str]) -> (i32, String) {
    let output = rawline(arguments).output().unwrap();
    let code = output.status.code().unwrap_or_else(|| panic!("{arguments:?}: {}", output.status));
    (code, String::from_utf8(output.stdout).unwrap())
}

/// The address of somebody who says this to the first client and closes.
fn impostor(says: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        // Who closes with unread input resets, and what was said may be lost.
        let mut first = [0; 1];
        std::io::Read::read_exact(&mut client, &mut first).unwrap();
        client.write_all(says).unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
        let _ = std::io::copy(&mut client, &mut std::io::sink());
    });
    address
}

/// The rows of `rawline exit-codes`: what each code means, with its commands.
fn page() -> BTreeMap<i32, String> {
    let (code, page) = run(&["exit-codes"]);
    assert_eq!(code, 0);
    let row = |line: &str| {
        let (code, meaning) = line.trim().split_once("  ").unwrap();
        (code.parse().unwrap(), meaning.to_owned())
    };
    page.lines().map(row).collect()
}

/// A chat client in a pipe, at work, gets this signal.
fn chat_gets(signal: Signal, address: &str) -> i32 {
    let mut child = rawline(&["chat", address, "--name", &format!("{signal}")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // The leave of the one before may be told first.
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    while !lines.next().unwrap().unwrap().contains("Welcome") {}
    kill(Pid::from_raw(child.id().try_into().unwrap()), signal).unwrap();
    child.wait().unwrap().code().unwrap()
}

#[test]
fn every_code_of_the_page_is_real() {
    let shared = format!("files={}", env::temp_dir().display());
    let daemon = Daemon::start_two(&[&shared, "files_listen=127.0.0.1:0"]);
    let (address, files) = (daemon.address(), daemon.address_of("files"));
    let absent = "unix:/no/such.sock";
    // In the kernel's backlog, where nobody answers.
    let kept = TcpListener::bind("127.0.0.1:0").unwrap();
    let never = kept.local_addr().unwrap().to_string();
    let file = env::temp_dir().join(format!("rawline-exit-{}.conf", std::process::id()));
    fs::write(&file, "max_depth = 999\n").unwrap();
    let taken = format!("--rpc={address}");
    let other = ["--line=off", "--echo=off"];

    for (code, arguments) in [
        (0, &["config", "check"][..]),
        (1, &["echo", &impostor(b"hel"), "hello"]),
        (2, &["serve", "--max-depth=999"]),
        (2, &["config", "check", "--max-depth=999"]),
        (2, &["rpc", "ping", "{", "--to", address]),
        (3, &["rpc", "nope", "--to", address]),
        (69, &["rpc", "ping", "--to", absent]),
        (69, &["echo", absent, "hello"]),
        (69, &["serve", &taken, other[0], other[1]]),
        (69, &["config", "check", "--rpc=a..b:1"]),
        (3, &["get", "nobody", "--to", files]),
        (69, &["ls", "--to", absent]),
        (74, &["put", "/no/such/file", "--to", files]),
        (75, &["ls", "--v1", "--to", &never, "--timeout=50ms"]),
        (75, &["rpc", "ping", "--to", &never, "--timeout=50ms"]),
        (75, &["echo", &never, "hello", "--timeout=50ms"]),
        (76, &["rpc", "ping", "--to", &impostor(b"HTTP/1.1 400 Bad Request\r\n\r\n")]),
        (77, &["serve", "--rpc=unix:/sys/rawline.sock", other[0], other[1]]),
        (78, &["serve", "--rpc=:0", other[0], other[1]]),
        (78, &["config", "check", file.to_str().unwrap()]),
        (78, &["config", "show", "--config", file.to_str().unwrap()]),
    ] {
        assert_eq!(run(arguments).0, code, "{arguments:?}");
    }
    fs::remove_file(&file).unwrap();
    // `tests/daemon.rs` has them of serve, whose second signal needs a client that does not read.
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        assert_eq!(chat_gets(signal, address), 128 + signal as i32);
    }
    daemon.still_answers();

    let had = [0, 1, 2, 3, 69, 74, 75, 76, 77, 78, 130, 143];
    // 70 is a bug, and none is known.
    let listed: Vec<_> = page().into_keys().filter(|&code| code != 70).collect();
    assert_eq!(listed, had);
}

#[test]
fn the_readme_has_the_same_page() {
    let readme = include_str!("../README.md");
    let section = readme.split("\n### Exit codes\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let row = |line: &str| {
        let (code, meaning) = line.strip_prefix("| ")?.strip_suffix(" |")?.split_once(" | ")?;
        Some((code.parse().ok()?, meaning.to_owned()))
    };
    assert_eq!(section.lines().filter_map(row).collect::<BTreeMap<i32, String>>(), page());
}

#[test]
fn every_help_ends_with_the_codes_of_its_command() {
    let commands = run(&["--help"]).1;
    let commands = commands.split("Commands:").nth(1).unwrap().split("\n\n").next().unwrap();
    let names = commands.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    let names: Vec<_> = names.map(|line| line.split_whitespace().next().unwrap()).collect();
    assert!(names.len() >= 8, "{commands}");
    let page = page();
    for name in names.into_iter().filter(|name| !["help", "exit-codes"].contains(name)) {
        let help = run(&[name, "--help"]).1;
        // However clap breaks the lines.
        let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
        let codes = help.split("Exit codes: ").nth(1).unwrap_or_else(|| panic!("{name}: {help}"));
        let told: Vec<i32> =
            codes.split("; ").map(|part| part.split(' ').next().unwrap().parse().unwrap()).collect();
        // Everybody's, or this command's.
        let is_own = |meaning: &str| match meaning.strip_suffix(')').and_then(|rest| rest.rsplit_once(" (")) {
            Some((_, commands)) => commands.split(", ").any(|command| command == name),
            None => true,
        };
        let own: Vec<i32> =
            page.iter().filter(|(_, meaning)| is_own(meaning)).map(|(code, _)| *code).collect();
        assert_eq!(told, own, "{name}");
    }
}
