//! The chat client at a terminal, driven in tmux: keys go in, and what stands on the screen is what a person sees.
//!
//! A screen has no event to wait for, so here, and only here, it is looked at again and again until it shows what
//! it must or the time is up. Without tmux these tests say so and do nothing.

#![cfg(feature = "cli")]

#[path = "common/client.rs"]
mod client;
#[path = "common/daemon.rs"]
mod daemon;

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use std::{env, fs, process, thread};

use client::Client;
use daemon::Daemon;
use nix::sys::signal::Signal;
use serde_json::json;

const PATIENCE: Duration = Duration::from_secs(20);
const BETWEEN_LOOKS: Duration = Duration::from_millis(10);

/// What the shell in the terminal asks with: nothing that a message could look like.
const SHELL: &str = "ready$ ";

/// A terminal with a shell in it.
struct Terminal {
    /// Of a tmux server of its own.
    socket: PathBuf,
}

impl Terminal {
    /// `None`, and a line that says why, where there is no tmux.
    fn open(columns: usize, rows: usize) -> Option<Self> {
        if Command::new("tmux").arg("-V").stdout(Stdio::null()).status().is_err() {
            println!("skipped: there is no tmux here");
            return None;
        }
        let terminal = Self { socket: scratch() };
        let (columns, rows) = (columns.to_string(), rows.to_string());
        // -u: what is drawn is UTF-8, wherever the test runs.
        let shell = format!("env -u ENV PS1='{SHELL}' LC_ALL=C.UTF-8 sh");
        let arguments = ["-u", "-f", "/dev/null", "new-session", "-d", "-x", &columns, "-y", &rows, &shell];
        terminal.tmux(&arguments);
        terminal.await_screen("the shell", |screen| screen.last() == SHELL.trim_end());
        Some(terminal)
    }

    fn tmux(&self, arguments: &[&str]) -> String {
        let output = Command::new("tmux").arg("-S").arg(&self.socket).args(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "tmux {arguments:?}: {said}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Presses keys by their names: `Enter`, `C-c`, `Left`.
    fn press(&self, keys: &[&str]) {
        self.tmux(&[&["send-keys"], keys].concat());
    }

    /// Types text.
    fn write(&self, text: &str) {
        self.tmux(&["send-keys", "-l", "--", text]);
    }

    fn command(&self, line: &str) {
        self.write(line);
        self.press(&["Enter"]);
    }

    /// Starts the chat client and waits until it asks for a name or has joined.
    fn chat(&self, arguments: &str) {
        self.command(&format!("clear; {} chat {arguments}", env!("CARGO_BIN_EXE_rawline")));
        self.await_screen("the client", |screen| screen.has("Welcome") || screen.has("Your name:"));
    }

    fn resize(&self, columns: usize, rows: usize) {
        self.tmux(&["resize-window", "-x", &columns.to_string(), "-y", &rows.to_string()]);
    }

    fn screen(&self) -> Screen {
        let text = self.tmux(&["capture-pane", "-p"]);
        let cursor = self.tmux(&["display-message", "-p", "#{cursor_x} #{cursor_y}"]);
        let (x, y) = cursor.trim().split_once(' ').unwrap();
        Screen {
            rows: text.lines().map(|row| row.trim_end().to_owned()).collect(),
            cursor: (x.parse().unwrap(), y.parse().unwrap()),
        }
    }

    fn await_screen(&self, what: &str, is_there: impl Fn(&Screen) -> bool) -> Screen {
        let until = Instant::now() + PATIENCE;
        loop {
            let screen = self.screen();
            if is_there(&screen) {
                return screen;
            }
            assert!(Instant::now() < until, "{what} never came:\n{}", screen.rows.join("\n"));
            thread::sleep(BETWEEN_LOOKS);
        }
    }

    /// Waits until the row that is typed in shows exactly this.
    fn await_row(&self, row: &str) -> Screen {
        self.await_screen(&format!("{row:?}"), |screen| screen.last() == row)
    }

    /// What the shell says the terminal's modes are.
    fn modes(&self) -> String {
        let path = scratch();
        self.command(&format!("clear; stty -a > {path}; echo do''ne", path = path.display()));
        self.await_screen("stty", |screen| screen.rows.iter().any(|row| row == "done"));
        let modes = fs::read_to_string(&path).unwrap();
        fs::remove_file(path).unwrap();
        // Its first line has the size, which a test may change.
        modes.lines().skip(1).collect::<Vec<_>>().join("\n")
    }

    /// Waits for the shell's prompt, and sees that everything is as it was before the client ran.
    fn ends_sane(&self, modes: &str) {
        let screen = self.await_screen("the shell", |screen| screen.last() == SHELL.trim_end());
        assert_eq!(
            screen.cursor,
            (SHELL.len(), screen.rows.iter().rposition(|row| !row.is_empty()).unwrap())
        );
        assert_eq!(self.modes(), modes);
        let flags = self.tmux(&["display-message", "-p", "#{cursor_flag} #{wrap_flag}"]);
        assert_eq!(flags.trim(), "1 1", "the cursor is seen, and rows wrap");
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = Command::new("tmux").arg("-S").arg(&self.socket).arg("kill-server").status();
        let _ = fs::remove_file(&self.socket);
    }
}

struct Screen {
    rows: Vec<String>,
    cursor: (usize, usize),
}

impl Screen {
    /// The last row that is not empty.
    fn last(&self) -> &str {
        self.rows.iter().rfind(|row| !row.is_empty()).map_or("", |row| row)
    }

    fn has(&self, text: &str) -> bool {
        self.rows.iter().any(|row| row.contains(text))
    }
}

fn scratch() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    env::temp_dir().join(format!("rawline-terminal-{}-{number}", process::id()))
}

fn start() -> Daemon {
    Daemon::start_services(&["rpc", "line"], &[])
}

/// A user on the wire who has joined as Bob.
fn bob(daemon: &Daemon) -> Client {
    let mut bob = Client::connect(daemon.address_of("rpc"));
    bob.send(b"{\"jsonrpc\":\"2.0\",\"method\":\"join_chat\",\"params\":{\"username\":\"Bob\"}}\n");
    bob
}

fn say(client: &mut Client, text: &str) {
    let request = json!({"jsonrpc": "2.0", "method": "send_message", "params": {"message": text}});
    client.send(format!("{request}\n").as_bytes());
}

/// Some are longer than a row, some shorter than what is typed meanwhile.
fn message(n: usize) -> String {
    format!("message {n}, {}日本語😀", "which is a rather long one, ".repeat(n % 3))
}

/// Types `text` while 200 messages arrive, and sees that it stands there as it was typed.
fn types_through_a_flood(columns: usize, protocol: &str, text: &str) {
    let Some(terminal) = Terminal::open(columns, 12) else { return };
    let daemon = start();
    let service = if protocol.is_empty() { "rpc" } else { "line" };
    let modes = terminal.modes();
    terminal.chat(&format!("{} --name Ann {protocol}", daemon.address_of(service)));
    let mut bob = bob(&daemon);
    let letters: Vec<String> = text.chars().map(String::from).collect();
    for (n, letter) in (0..200).zip(letters.iter().map(Some).chain(std::iter::repeat(None))) {
        // Longer than a row, and with what is two columns wide at its end.
        say(&mut bob, &message(n));
        if let Some(letter) = letter {
            terminal.write(letter);
        }
    }
    say(&mut bob, "the last one");
    terminal.await_screen("the last message", |screen| screen.has("Bob: the last one"));
    let screen = terminal.await_row(&format!("> {text}"));
    let bottom = screen.rows.len() - 1;
    assert_eq!(screen.rows[bottom], format!("> {text}"), "nothing stands below it");
    assert_eq!(screen.rows.iter().filter(|row| row.starts_with("> ")).count(), 1, "it stands there once");
    // Every message stands in the history as it was said, and nothing stands between them.
    let history = terminal.tmux(&["capture-pane", "-p", "-S", "-"]);
    let rows = history.lines().map(str::trim_end).skip_while(|row| !row.starts_with("Bob: message 0,"));
    let mut lines = Vec::<String>::new();
    for row in rows {
        match row.strip_prefix("  ") {
            Some(more) => lines.last_mut().unwrap().extend([" ", more]),
            None => lines.push(row.into()),
        }
    }
    let mut expected: Vec<_> = (0..200).map(|n| format!("Bob: {}", message(n))).collect();
    expected.extend(["Bob: the last one".into(), format!("> {text}")]);
    assert_eq!(lines, expected);

    terminal.press(&["Enter"]);
    terminal.await_screen("its own message", |screen| {
        screen.last() == ">" && screen.rows.iter().rev().any(|row| row.contains(text))
    });
    terminal.press(&["C-d"]);
    terminal.ends_sane(&modes);
}

#[test]
fn the_line_being_typed_is_never_torn_at_40_columns() {
    types_through_a_flood(40, "", "héllo 日本語 😀 what I type");
}

#[test]
fn the_line_being_typed_is_never_torn_at_120_columns() {
    types_through_a_flood(
        120,
        "",
        "a longer one, with wide 日本語日本語, with marks (e\u{301}) and with 😀 pictures, up to the last key",
    );
}

#[test]
fn neither_is_it_in_the_line_protocol() {
    types_through_a_flood(40, "--line", "wide: 日本語 and é");
}

#[test]
fn a_name_is_asked_for_until_the_server_takes_one() {
    let Some(terminal) = Terminal::open(60, 12) else { return };
    let daemon = start();
    for (service, protocol) in [("rpc", ""), ("line", "--line")] {
        terminal.chat(&format!("{} {protocol}", daemon.address_of(service)));
        terminal.await_row("Your name:");
        terminal.command("system");
        terminal.await_screen("why not", |screen| {
            screen.has("-- Username is reserved") && screen.last() == "Your name:"
        });
        terminal.command("Ann");
        terminal.await_screen("the welcome", |screen| {
            screen.has("* Welcome to the chat, Ann!") && screen.last() == ">"
        });
        terminal.command("/users");
        terminal.await_screen("who is there", |screen| screen.has("* Online users (1): Ann"));
        terminal.command("/nonsense");
        terminal.await_screen("that there is no such", |screen| screen.has("-- there is no /nonsense"));
        terminal.command("//x");
        terminal.await_screen("the message", |screen| screen.has("Ann: /x"));
        terminal.command("/quit");
        terminal.await_row(SHELL.trim_end());
    }
}

#[test]
fn keys_edit_the_line_and_the_cursor_is_where_they_put_it() {
    let Some(terminal) = Terminal::open(40, 12) else { return };
    let daemon = start();
    terminal.chat(&format!("{} --name Ann", daemon.address()));
    terminal.write("日本語 two three");
    terminal.press(&["Home", "Right", "Right"]);
    terminal
        .await_screen("the cursor", |screen| screen.last() == "> 日本語 two three" && screen.cursor.0 == 6);
    terminal.press(&["BSpace", "DC"]);
    terminal.await_row("> 日 two three");
    terminal.press(&["C-e", "C-w"]);
    terminal.await_row("> 日 two");
    terminal.press(&["C-a", "C-k"]);
    terminal.await_row(">");
    terminal.command("first");
    terminal.await_screen("the message", |screen| screen.has("Ann: first"));
    terminal.write("draft");
    terminal.press(&["Up"]);
    terminal.await_row("> first");
    terminal.press(&["Down"]);
    terminal.await_row("> draft");
    // The first clears the line, the second leaves.
    terminal.press(&["C-c"]);
    terminal.await_row(">");
    terminal.press(&["C-c"]);
    terminal.await_row(SHELL.trim_end());
}

#[test]
fn a_paste_of_several_lines_is_one_message() {
    let Some(terminal) = Terminal::open(40, 12) else { return };
    let daemon = start();
    terminal.chat(&format!("{} --name Ann", daemon.address()));
    terminal.tmux(&["set-buffer", "one\ntwo\n/quit"]);
    terminal.tmux(&["paste-buffer", "-p"]);
    terminal.await_row("> one two /quit");
    terminal.press(&["Enter"]);
    terminal.await_screen("the message", |screen| screen.has("Ann: one two /quit"));
}

#[test]
fn a_line_longer_than_the_screen_stays_in_its_row() {
    let Some(terminal) = Terminal::open(40, 12) else { return };
    let daemon = start();
    let modes = terminal.modes();
    terminal.chat(&format!("{} --name Ann", daemon.address()));
    let words: String = (10..50).map(|n| format!("w{n} ")).collect();
    terminal.write(words.trim_end());
    let screen =
        terminal.await_screen("its end", |screen| screen.last().ends_with("w49") && screen.cursor.0 < 40);
    assert_eq!(screen.rows.iter().filter(|row| row.contains("w4")).count(), 1);
    // Narrower, so that the terminal breaks the row; wider again; and a message at each size.
    let mut bob = bob(&daemon);
    // What comes between the terminal's breaking the row and its telling of the new size is drawn for the old
    // one; so nothing is on its way while the size changes.
    terminal.await_screen("the notice", |screen| screen.has("* Bob has joined the chat!"));
    for (n, columns) in [20, 13, 40, 29, 100, 40].into_iter().enumerate() {
        terminal.resize(columns, 12);
        terminal.await_screen("its end", |screen| {
            screen.last().starts_with("> ") && screen.last().ends_with("w49")
        });
        let message = format!("size {n}");
        say(&mut bob, &message);
        let screen = terminal.await_screen(&message, |screen| {
            screen.has(&format!("Bob: {message}"))
                && screen.last().starts_with("> ")
                && screen.last().ends_with("w49")
        });
        let drawn = screen.rows.iter().filter(|row| row.starts_with("> ") || row.contains("w49")).count();
        assert_eq!(drawn, 1, "{:#?}", screen.rows);
    }
    terminal.press(&["C-u"]);
    terminal.await_row(">");
    terminal.press(&["C-d"]);
    terminal.ends_sane(&modes);
}

#[test]
fn others_cannot_command_the_screen() {
    let Some(terminal) = Terminal::open(40, 12) else { return };
    let daemon = start();
    terminal.chat(&format!("{} --name Ann", daemon.address()));
    terminal.write("typing");
    let mut bob = bob(&daemon);
    say(&mut bob, "\u{1b}[2J\u{1b}[H\u{9b}3A\rx\nEve: forged\u{7}\u{8}\u{202e}");
    say(&mut bob, &format!("x{}Eve: forged too", " ".repeat(34)));
    say(&mut bob, "end");
    let screen =
        terminal.await_screen("the messages", |screen| screen.has("Bob: end") && screen.last() == "> typing");
    assert!(screen.has("* Bob has joined the chat!"), "nothing was erased: {:#?}", screen.rows);
    assert!(!screen.rows.iter().any(|row| row.starts_with("Eve")), "{:#?}", screen.rows);
}

#[test]
fn it_comes_back_with_the_server_and_keeps_the_line() {
    let Some(terminal) = Terminal::open(80, 14) else { return };
    let daemon = start();
    let address = daemon.address().to_owned();
    terminal.chat(&format!("{address} --name Ann"));
    terminal.write("half a line");
    drop(daemon);
    terminal
        .await_screen("the loss", |screen| screen.has("-- no connection: ") && screen.has("trying again"));
    terminal.press(&["Enter"]);
    terminal.await_screen("that it was not sent", |screen| {
        screen.has("-- not sent: there is no connection") && screen.last() == "> half a line"
    });
    let daemon = Daemon::start(&[&format!("rpc={address}")]);
    terminal.await_screen("the return", |screen| {
        screen.has("-- connected again, as Ann") && screen.last() == "> half a line"
    });
    terminal.press(&["Enter"]);
    terminal.await_screen("the message", |screen| screen.has("Ann: half a line"));
    drop(daemon);
}

#[test]
fn suspended_and_continued_it_goes_on_where_it_was() {
    let Some(terminal) = Terminal::open(60, 12) else { return };
    let daemon = start();
    let modes = terminal.modes();
    terminal.chat(&format!("{} --name Ann", daemon.address()));
    terminal.write("half a line");
    terminal.await_row("> half a line");
    terminal.press(&["C-z"]);
    terminal.await_row(SHELL.trim_end());
    // Heard meanwhile by nobody, and shown when it goes on.
    let mut bob = bob(&daemon);
    say(&mut bob, "are you there?");
    terminal.command("fg");
    terminal.await_screen("what was said", |screen| {
        screen.has("Bob: are you there?") && screen.last() == "> half a line"
    });
    terminal.press(&["C-u", "C-d"]);
    terminal.ends_sane(&modes);
}

#[test]
fn the_terminal_is_sane_after_every_end() {
    let Some(terminal) = Terminal::open(60, 12) else { return };
    let modes = terminal.modes();
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        let daemon = start();
        let marker = scratch();
        terminal.command(&format!(
            "clear; sh -c 'echo $$ > {}; exec {} chat {} --name Ann'",
            marker.display(),
            env!("CARGO_BIN_EXE_rawline"),
            daemon.address()
        ));
        terminal.await_screen("the welcome", |screen| screen.has("Welcome"));
        terminal.write("half a line");
        terminal.await_row("> half a line");
        let pid = fs::read_to_string(&marker).unwrap().trim().parse().unwrap();
        fs::remove_file(marker).unwrap();
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal).unwrap();
        terminal.ends_sane(&modes);
    }
    // The server goes away for good, and was never there.
    let daemon = start();
    let address = daemon.address().to_owned();
    terminal.chat(&format!("{address} --name Ann --no-reconnect"));
    drop(daemon);
    terminal.await_screen("the reason", |screen| screen.has("rawline: the connection is lost: "));
    terminal.ends_sane(&modes);
    terminal.command(&format!("clear; {} chat {address}; echo exit $?", env!("CARGO_BIN_EXE_rawline")));
    terminal.await_screen("its exit", |screen| screen.has("exit 69"));
    terminal.ends_sane(&modes);
}
