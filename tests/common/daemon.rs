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
    /// Each service with its address, in the order they were listed.
    addresses: Vec<(String, String)>,
    stdout: BufReader<ChildStdout>,
    log: Option<JoinHandle<String>>,
}

impl Daemon {
    /// Starts one with these options, written `key=value`; it listens on a free port of 127.0.0.1 unless
    /// they say otherwise.
    pub fn start(options: &[&str]) -> Self {
        Self::spawn(command(options))
    }

    /// Starts one whose `services` listen on free ports, with these options besides.
    pub fn start_services(services: &[&str], options: &[&str]) -> Self {
        let mut all: Vec<String> = services.iter().map(|service| format!("{service}=127.0.0.1:0")).collect();
        all.extend(options.iter().map(|&option| option.to_owned()));
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        let mut daemon = Self::spawn(command(&all));
        daemon.await_services(services.len());
        daemon
    }

    /// Starts one with two services, whatever their options are.
    pub fn start_two(options: &[&str]) -> Self {
        Self::start_all(2, options)
    }

    /// Starts one with so many services, whatever their options are.
    pub fn start_all(services: usize, options: &[&str]) -> Self {
        let mut daemon = Self::spawn(command(options));
        daemon.await_services(services);
        daemon
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
        // A shell that ends in `exec` has none: it has become the daemon.
        if let Some(child) = children.split_whitespace().next() {
            daemon.pid = Pid::from_raw(child.parse().expect("a number"));
        }
        daemon
    }

    /// The same with two services.
    pub fn start_two_under(program: &[&str], options: &[&str]) -> Self {
        let mut daemon = Self::start_under(program, options);
        let listening = daemon.read_listening();
        daemon.addresses.push(listening);
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
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let pid = Pid::from_raw(child.id().try_into().unwrap());
        let mut daemon = Self { child, pid, addresses: Vec::new(), stdout, log: Some(log) };
        let listening = daemon.read_listening();
        daemon.addresses.push(listening);
        daemon
    }

    /// Waits until so many services listen.
    pub fn await_services(&mut self, services: usize) {
        while self.addresses.len() < services {
            let listening = self.read_listening();
            self.addresses.push(listening);
        }
    }

    /// The next line that says where a service listens.
    fn read_listening(&mut self) -> (String, String) {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        let Some(listening) = line.trim_end().strip_prefix("listening ") else {
            let (exit, _, log) = self.wait();
            panic!("it said {line:?}, ended with {exit} and logged:\n{log}");
        };
        // A server of one service names only the address.
        let (service, address) = listening.split_once(' ').unwrap_or(("rpc", listening));
        (service.to_owned(), address.to_owned())
    }

    /// Where it listens: `127.0.0.1:PORT` or `unix:PATH`.
    pub fn address(&self) -> &str {
        &self.addresses[0].1
    }

    /// Where one of its services listens.
    pub fn address_of(&self, service: &str) -> &str {
        &self.addresses.iter().find(|(name, _)| name == service).expect("it was started with this service").1
    }

    /// A new client of it.
    pub fn connect(&self) -> Client {
        Client::connect(self.address())
    }

    /// Proves with a client of its own that the server goes on. It may hear of others who leave just then.
    pub fn still_answers(&self) {
        self.connect().answers_at_last();
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.pid.as_raw() as u32
    }

    /// The open descriptors of its process.
    pub fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.pid)).unwrap().count()
    }

    /// Waits until it has no more open descriptors than these: every look is a round trip, by which it goes on.
    pub fn await_descriptors(&self, most: usize) {
        for _ in 0..10_000 {
            self.still_answers();
            if self.descriptors() <= most {
                return;
            }
        }
        let open = fs::read_dir(format!("/proc/{}/fd", self.pid)).unwrap();
        let open: Vec<_> = open.map(|fd| fs::read_link(fd.unwrap().path())).collect();
        panic!("more than {most} descriptors are open: {open:?}");
    }

    /// The memory it has in use.
    pub fn resident_bytes(&self) -> usize {
        self.status_bytes("VmRSS:")
    }

    /// The most that this ever was.
    pub fn peak_bytes(&self) -> usize {
        self.status_bytes("VmHWM:")
    }

    fn status_bytes(&self, name: &str) -> usize {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
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
