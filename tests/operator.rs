//! What an operator asks of a running daemon, and what it tells those who watch over it: SIGHUP, SIGUSR1, `ready_fd`,
//! the messages of sd_notify.

#[path = "common/client.rs"]
mod client;
#[path = "common/daemon.rs"]
mod daemon;
#[path = "common/directory.rs"]
mod directory;

use std::fs;
use std::io::Read;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use client::Client;
use daemon::{Daemon, command};
use directory::Directory;
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;

/// A service manager.
struct Manager(UnixDatagram);

impl Manager {
    fn at(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        Self(socket)
    }

    /// The next message.
    fn hear(&self) -> String {
        let mut message = [0; 4096];
        let n = self.0.recv(&mut message).expect("the daemon says something in a minute");
        String::from_utf8(message[..n].to_vec()).unwrap()
    }

    /// Waits for a message that begins so.
    fn await_message(&self, begin: &str) -> String {
        loop {
            let message = self.hear();
            if message.starts_with(begin) {
                return message;
            }
        }
    }

    /// What was said and not heard yet.
    fn rest(&self) -> Vec<String> {
        self.0.set_nonblocking(true).unwrap();
        let mut message = [0; 4096];
        let heard = std::iter::from_fn(|| self.0.recv(&mut message).ok());
        heard.map(|n| format!("{n} bytes")).collect()
    }
}

/// A daemon with a file and a manager, which says when a reload is over.
struct Managed {
    directory: Directory,
    manager: Manager,
    daemon: Daemon,
}

impl Managed {
    fn start(name: &str, file: &str, options: &[&str]) -> Self {
        let directory = Directory::new(name);
        let path = directory.join("rawline.conf");
        fs::write(&path, file).unwrap();
        let manager = Manager::at(&directory.join("notify"));
        let file = format!("config={}", path.display());
        let mut command = command(&[&[file.as_str()], options].concat());
        command.env("NOTIFY_SOCKET", directory.join("notify"));
        let daemon = Daemon::spawn(command);
        manager.await_message("READY=1\n");
        Self { directory, manager, daemon }
    }

    fn file(&self) -> PathBuf {
        self.directory.join("rawline.conf")
    }

    /// Writes the file anew and returns when the daemon has read it.
    fn reload(&self, file: &str) {
        fs::write(self.file(), file).unwrap();
        self.hang_up();
    }

    fn hang_up(&self) {
        self.daemon.signal(Signal::SIGHUP);
        self.manager.await_message("RELOADING=1\n");
        self.manager.await_message("READY=1\n");
    }
}

/// Whether a batch of three is within the limit.
fn takes_a_batch_of_three(client: &mut Client) -> bool {
    client.send("[1,2,3]");
    client.read_value().is_array()
}

// --- reload ---

#[test]
fn a_reload_takes_limits_and_the_level_for_those_who_are_connected_and_names_the_rest() {
    let managed = Managed::start("reload", "max_batch = 2\nlog_level = 'error'\n", &[]);
    let mut client = managed.daemon.connect();
    assert!(!takes_a_batch_of_three(&mut client));
    managed.reload("max_batch = 3\nlog_level = 'debug'\nrequire_join = true\n");
    assert!(takes_a_batch_of_three(&mut client));
    managed.daemon.still_answers();
    // Back again, and what waits for a restart is told again.
    managed.reload("max_batch = 2\nlog_level = 'error'\nrequire_join = true\n");
    assert!(!takes_a_batch_of_three(&mut client));
    managed.hang_up();
    client.still_answers();
    let (exit, log) = managed.daemon.stop();
    assert_eq!(exit, 0);
    for (line, count) in [
        ("config     read again: max_batch 2 -> 3, log_level error -> debug\n", 1),
        ("config     read again: max_batch 3 -> 2, log_level debug -> error\n", 1),
        ("config     read again: nothing has changed\n", 1),
        ("config     after a restart only: require_join false -> true\n", 3),
        // Between the two only.
        ("rpc accepted from", 1),
    ] {
        assert_eq!(log.matches(line).count(), count, "{line:?} in:\n{log}");
    }
}

#[test]
fn a_reload_knows_what_wins_over_the_file() {
    let managed = Managed::start("precedence", "", &["max_batch=2"]);
    managed.reload("max_batch = 3\nmax_depth = 9\n");
    let mut client = managed.daemon.connect();
    assert!(!takes_a_batch_of_three(&mut client));
    let (_, log) = managed.daemon.stop();
    assert!(log.contains("read again: max_depth 64 -> 9\n"), "{log}");
}

#[test]
fn a_wrong_file_changes_nothing_and_every_mistake_is_told_with_its_line() {
    let managed = Managed::start("wrong", "max_batch = 2\n", &[]);
    let mut client = managed.daemon.connect();
    managed.reload("max_batch = 3\nmax_depth = 0\nmax_bach = 1\n");
    assert!(!takes_a_batch_of_three(&mut client));
    fs::remove_file(managed.file()).unwrap();
    managed.hang_up();
    // Whoever opened this one would wait for a writer.
    nix::unistd::mkfifo(&managed.file(), Mode::S_IRWXU).unwrap();
    managed.hang_up();
    assert!(!takes_a_batch_of_three(&mut client));
    fs::remove_file(managed.file()).unwrap();
    managed.reload("max_batch = 3\n");
    assert!(takes_a_batch_of_three(&mut client));
    managed.daemon.still_answers();
    let path = managed.file();
    let path = path.display();
    let (exit, log) = managed.daemon.stop();
    assert_eq!(exit, 0);
    for line in [
        format!("ERROR config     {path}:2: max_depth: 0 is out of range: 1 to 127\n"),
        format!("ERROR config     {path}:3: unknown key max_bach: did you mean max_batch?\n"),
        format!("ERROR config     {path}: there is no such file\n"),
        format!("ERROR config     {path} is no regular file and cannot be read a second time\n"),
    ] {
        assert!(log.contains(&line), "{line:?} in:\n{log}");
    }
    assert_eq!(log.matches("ERROR config     the configuration stays as it was\n").count(), 3, "{log}");
}

#[test]
fn fewer_connections_than_there_are_end_nobody() {
    let managed = Managed::start("fewer", "", &[]);
    let mut clients: Vec<Client> = (0..5).map(|_| managed.daemon.connect()).collect();
    clients.iter_mut().for_each(Client::still_answers);
    managed.reload("max_connections = 2\n");
    let mut turned_away = managed.daemon.connect();
    turned_away.expect(r#"{"error":"Too many connections","code":-32000}"#);
    clients.iter_mut().for_each(Client::still_answers);
}

// --- statistics ---

#[test]
fn sigusr1_writes_one_line_of_statistics_at_every_level() {
    let daemon = Daemon::start(&["log_level=error"]);
    let mut client = daemon.connect();
    client.still_answers();
    daemon.signal(Signal::SIGUSR1);
    client.still_answers();
    let (exit, log) = daemon.stop();
    assert_eq!(exit, 0);
    let lines: Vec<&str> = log.lines().filter(|line| line.contains(" stats ")).collect();
    assert_eq!(lines.len(), 1, "{log}");
    for part in [" connections=1 ", " accepted=1 ", " calls{call=accept}=", " turns=", " turn_us_p50<"] {
        assert!(lines[0].contains(part), "{part:?} in {log}");
    }
}

// --- ready_fd ---

/// A daemon whose descriptor 9 is what `redirect` says.
fn with_descriptor_nine(redirect: &str, options: &[&str]) -> Command {
    let daemon = command(&[&["ready_fd=9"], options].concat());
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("exec \"$@\" {redirect}"), "sh"]);
    shell.arg(daemon.get_program()).args(daemon.get_args());
    for (name, value) in daemon.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    shell
}

#[test]
fn ready_is_written_when_all_services_listen_and_the_descriptor_closed() {
    let directory = Directory::new("ready");
    let (pipe, sockets) = (directory.join("pipe"), ["rpc", "line", "echo"].map(|name| directory.join(name)));
    nix::unistd::mkfifo(&pipe, Mode::S_IRWXU).unwrap();
    let options =
        ["rpc", "line", "echo"].map(|name| format!("{name}=unix:{}", directory.join(name).display()));
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let redirect = format!("9>{}", pipe.display());
    let reader = std::thread::spawn(move || {
        let mut pipe = fs::File::open(pipe).unwrap();
        let mut word = [0; 6];
        pipe.read_exact(&mut word).unwrap();
        let listening = sockets.map(|path| std::os::unix::net::UnixStream::connect(path).is_ok());
        let mut rest = Vec::new();
        // It ends although the daemon lives.
        pipe.read_to_end(&mut rest).unwrap();
        (word, listening, rest)
    });
    let daemon = Daemon::spawn(with_descriptor_nine(&redirect, &options));
    assert_eq!(reader.join().unwrap(), (*b"READY\n", [true; 3], vec![]));
    daemon.still_answers();
}

#[test]
fn a_descriptor_that_cannot_be_written_to_is_a_clear_error() {
    for redirect in ["9>&-", "9</dev/null"] {
        let output = with_descriptor_nine(redirect, &[]).output().unwrap();
        assert_eq!(output.status.code(), Some(78));
        assert_eq!(output.stdout, b"");
        assert_eq!(
            String::from_utf8(output.stderr).unwrap(),
            "rawline: ready-fd: descriptor 9 is not open for writing: whoever starts rawline has to open it, as in \
             `rawline serve --ready-fd 9 9>FILE`\n"
        );
    }
    let output = command(&["ready_fd=1"]).output().unwrap();
    assert_eq!(output.status.code(), Some(78));
}

#[test]
fn who_has_hung_up_before_it_is_ready_stops_nothing() {
    // /dev/full takes nothing either.
    let daemon = Daemon::spawn(with_descriptor_nine("9>/dev/full", &[]));
    daemon.still_answers();
    let (exit, log) = daemon.stop();
    assert_eq!(exit, 0);
    assert!(log.contains("WARN  main       ready-fd: nobody can be told: "), "{log}");
}

// --- sd_notify ---

#[test]
fn a_service_manager_hears_of_start_reload_and_stop() {
    let directory = Directory::new("manager");
    let manager = Manager::at(&directory.join("notify"));
    let mut command = command(&[]);
    command.env("NOTIFY_SOCKET", directory.join("notify"));
    let daemon = Daemon::spawn(command);
    assert_eq!(manager.hear(), "READY=1\nSTATUS=Serving");
    let _client = daemon.connect();
    daemon.still_answers();
    daemon.signal(Signal::SIGHUP);
    let reloading = manager.hear();
    let at = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap().lines().next().unwrap();
    let now = Duration::from(nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).unwrap());
    let at = Duration::from_micros(at.parse().unwrap());
    assert!(at <= now && now - at < Duration::from_secs(600), "{at:?} is a moment ago, at {now:?}");
    assert_eq!(manager.hear(), "READY=1\nSTATUS=Serving");
    assert_eq!(daemon.stop().0, 0);
    let stopping = manager.hear();
    assert!(stopping.starts_with("STOPPING=1\nSTATUS=Stopping, with "), "{stopping}");
    assert_eq!(manager.rest(), [] as [String; 0]);
}

#[cfg(target_os = "linux")]
#[test]
fn a_service_manager_may_have_an_abstract_name() {
    use std::os::linux::net::SocketAddrExt;
    let name = format!("rawline-operator-{}", std::process::id());
    let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
    let manager = Manager(UnixDatagram::bind_addr(&address).unwrap());
    let mut command = command(&[]);
    command.env("NOTIFY_SOCKET", format!("@{name}"));
    let daemon = Daemon::spawn(command);
    assert_eq!(manager.hear(), "READY=1\nSTATUS=Serving");
    assert_eq!(daemon.stop().0, 0);
}

#[test]
fn the_watchdog_hears_of_an_idle_daemon_if_it_is_his() {
    for (pid, is_his) in [("$$", true), ("1", false)] {
        let directory = Directory::new("watchdog");
        let manager = Manager::at(&directory.join("notify"));
        let daemon = command(&[]);
        let mut shell = Command::new("sh");
        // The shell becomes the daemon, so its number stays.
        shell.args(["-c", &format!("WATCHDOG_PID={pid} exec \"$@\""), "sh"]);
        shell.arg(daemon.get_program()).args(daemon.get_args());
        for (name, value) in daemon.get_envs() {
            match value {
                Some(value) => shell.env(name, value),
                None => shell.env_remove(name),
            };
        }
        shell.env("NOTIFY_SOCKET", directory.join("notify")).env("WATCHDOG_USEC", "4000");
        let daemon = Daemon::spawn(shell);
        assert_eq!(manager.hear(), "READY=1\nSTATUS=Serving");
        if is_his {
            for _ in 0..3 {
                assert_eq!(manager.hear(), "WATCHDOG=1\nSTATUS=0 connections");
            }
            // Nobody listens now, so the queue fills, and the daemon waits for nobody.
            let mut client = daemon.connect();
            for _ in 0..500 {
                client.still_answers();
            }
            assert_eq!(daemon.stop().0, 0);
        } else {
            for _ in 0..100 {
                daemon.still_answers();
            }
            assert_eq!(daemon.stop().0, 0);
            assert!(manager.hear().starts_with("STOPPING=1\n"), "nothing was said before");
        }
    }
}

#[test]
fn a_service_manager_that_is_not_there_stops_nothing() {
    for name in ["/no/such/socket", "relative", "vsock:2:1"] {
        let mut command = command(&[]);
        command.env("NOTIFY_SOCKET", name);
        let daemon = Daemon::spawn(command);
        daemon.still_answers();
        let (exit, log) = daemon.stop();
        assert_eq!(exit, 0);
        assert_eq!(log.matches("WARN  main ").count(), 1, "{log}");
    }
}
