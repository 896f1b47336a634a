//! A rawline of its own for one test: spawned on a free port, killed with the test.
//!
//! It is configured through its environment, so these tests are the same with and without the command line's
//! feature. Nothing here waits by the clock: the line on stdout says when it listens, its exit is waited for.
#![allow(dead_code, reason = "each test file uses its part of the helpers")]

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread::{self, JoinHandle};
use std::{env, fs};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::client::Client;

/// A running daemon.
pub struct Daemon {
    child: Child,
    pid: Pid,
    address: String,
    stdout: BufReader<ChildStdout>,
    log: Option<JoinHandle<String>>,
}

impl Daemon {
    /// Starts one with these options, written `key=value`; it listens on a free port of 127.0.0.1 unless
    /// they say otherwise.
    pub fn start(options: &[&str]) -> Self {
        Self::spawn(command(options))
    }

    /// Starts one as the child of another program: of strace.
    pub fn start_under(program: &[&str], options: &[&str]) -> Self {
        let daemon = command(options);
        let mut command = Command::new(program[0]);
        command.args(&program[1..]).arg(daemon.get_program()).args(daemon.get_args());
        for (name, value) in daemon.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        let mut daemon = Self::spawn(command);
        let parent = daemon.child.id();
        let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap();
        daemon.pid = Pid::from_raw(children.trim().parse().expect("one child"));
        daemon
    }

    /// Runs a command that says where it listens in the last word of its first line.
    pub fn spawn(mut command: Command) -> Self {
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stderr = child.stderr.take().unwrap();
        let log = thread::spawn(move || {
            let mut log = Vec::new();
            stderr.read_to_end(&mut log).unwrap();
            String::from_utf8(log).expect("the log is UTF-8")
        });
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let address = line.trim_end().rsplit(' ').next().unwrap_or_default().to_owned();
        let pid = Pid::from_raw(child.id().try_into().unwrap());
        let mut daemon = Self { child, pid, address, stdout, log: Some(log) };
        if !line.starts_with("listening ") {
            let (exit, _, log) = daemon.wait();
            panic!("it said {line:?}, ended with {exit} and logged:\n{log}");
        }
        daemon
    }

    /// Where it listens: `127.0.0.1:PORT` or `unix:PATH`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// A new client of it.
    pub fn connect(&self) -> Client {
        Client::connect(&self.address)
    }

    /// Proves with a client of its own that the server goes on.
    pub fn still_answers(&self) {
        self.connect().still_answers();
    }

    /// The open descriptors of its process.
    pub fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.pid)).unwrap().count()
    }

    /// Writes to its standard input.
    pub fn type_line(&mut self, line: &str) {
        use std::io::Write;
        writeln!(self.child.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill(self.pid, signal).unwrap();
    }

    /// Asks it to stop and waits for that: exit code and log.
    pub fn stop(mut self) -> (i32, String) {
        self.signal(Signal::SIGTERM);
        let (exit, stdout, log) = self.wait();
        assert_eq!(stdout, "", "nothing follows the line that says where it listens");
        (exit, log)
    }

    /// Waits for its end: exit code, what was left on stdout, log.
    pub fn wait(&mut self) -> (i32, String, String) {
        let mut stdout = String::new();
        self.stdout.read_to_string(&mut stdout).unwrap();
        let status = self.child.wait().unwrap();
        let log = self.log.take().unwrap().join().unwrap();
        (status.code().unwrap_or_else(|| panic!("{status}:\n{log}")), stdout, log)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.log.is_some() {
            let _ = kill(self.pid, Signal::SIGKILL);
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// `rawline serve` with these options and no others.
pub fn command(options: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rawline"));
    command.arg("serve").stdin(Stdio::null());
    for (name, _) in env::vars_os() {
        if name.to_string_lossy().starts_with("RAWLINE_") {
            command.env_remove(name);
        }
    }
    for option in ["rpc=127.0.0.1:0", "line=off", "echo=off"].iter().chain(options) {
        let (key, value) = option.split_once('=').expect("key=value");
        command.env(format!("RAWLINE_{}", key.to_ascii_uppercase()), value);
    }
    command
}
