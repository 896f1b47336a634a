//! `rawline ls`, `rawline get` and `rawline put` over real sockets, run the way a user runs them: streams, exit codes, and
//! what stands in the directory afterwards.
//!
//! Their peers are the daemon, the daemon behind a proxy that breaks the connection where it is told to, and servers of a
//! few lines that misbehave in one way each.

#![cfg(feature = "cli")]

#[path = "common/client.rs"]
mod client;
#[path = "common/daemon.rs"]
mod daemon;
#[path = "common/share.rs"]
mod share;

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, SystemTime};

use share::{Share, noise, sha256};

const MIB: usize = 1 << 20;

/// A directory of its own on the client's side, gone with its test.
struct Here(PathBuf);

impl Here {
    fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("rawline-here-{}-{test}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// What is there, hidden files too.
    fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(&self.0)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// A client with these arguments, which works here; the address goes behind them.
    fn command(&self, words: &[&str], to: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rawline"));
        command.args(words).args(["--to", to]).current_dir(&self.0);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn run(&self, words: &[&str], to: &str) -> (i32, String, String) {
        outcome(self.command(words, to).output().unwrap())
    }

    /// The same with these bytes on standard input.
    fn run_with(&self, words: &[&str], to: &str, input: &[u8]) -> (i32, String, String) {
        let mut child = self.command(words, to).stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        outcome(child.wait_with_output().unwrap())
    }
}

impl Drop for Here {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn outcome(output: Output) -> (i32, String, String) {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().expect("an exit code"), text(output.stdout), text(output.stderr))
}

fn address(share: &Share) -> String {
    share.daemon.address_of("files").to_owned()
}

fn hex(bytes: &[u8]) -> String {
    sha256(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A server that treats every connection in this way, each in a thread of its own.
fn server(treat: impl Fn(TcpStream) + Clone + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let treat = treat.clone();
            thread::spawn(move || treat(stream.unwrap()));
        }
    });
    address
}

/// Stands before `to` and passes on so many bytes of each direction, client's first; then `then` is called, and when it
/// returns the connection is cut.
fn proxy(to: &str, most: [u64; 2], then: impl Fn() + Clone + Send + 'static) -> String {
    let to = to.to_owned();
    server(move |ours| {
        let theirs = TcpStream::connect(&to).unwrap();
        let pairs = [(&ours, &theirs, most[0]), (&theirs, &ours, most[1])];
        thread::scope(|scope| {
            for (from, into, most) in pairs {
                let (mut from, mut into) = (from.try_clone().unwrap(), into.try_clone().unwrap());
                let (ours, theirs, then) = (&ours, &theirs, then.clone());
                scope.spawn(move || {
                    let moved = io::copy(&mut (&mut from).take(most), &mut into);
                    if moved.is_ok_and(|moved| moved < most) {
                        let _ = into.shutdown(Shutdown::Write);
                        return;
                    }
                    then();
                    for stream in [ours, theirs] {
                        let _ = stream.shutdown(Shutdown::Both);
                    }
                });
            }
        });
    })
}

const ALL: u64 = u64::MAX;

#[test]
fn files_come_and_go_with_their_digests() {
    let (share, here) = (Share::new("clients", &["files_writable=true"]), Here::new("round"));
    let to = address(&share);
    let big = noise(3 * MIB + 1);
    fs::write(here.path("big"), &big).unwrap();
    fs::write(here.path("a b"), b"hello").unwrap();
    fs::write(here.path("empty"), b"").unwrap();
    let sums = format!("{}  big\n{}  a b\n{}  empty\n", hex(&big), hex(b"hello"), hex(b""));
    let (exit, out, err) = here.run(&["put", "big", "a b", "empty"], &to);
    assert_eq!((exit, out.as_str()), (0, sums.as_str()), "{err}");
    assert!(err.starts_with("big: 3.0 MiB in ") && err.contains("\na b: 5 B in "), "{err}");
    assert!(share.read("big") == big && share.read("a b") == b"hello" && share.read("empty").is_empty());

    let (exit, out, err) = here.run(&["ls"], &to);
    let rows: Vec<_> = out.lines().map(|row| (&row[..7], &row[7..9], &row[30..])).collect();
    assert_eq!((exit, err.as_str()), (0, ""));
    assert_eq!(
        rows,
        [("      5", "  ", "a b"), ("3145729", "  ", "big"), ("      0", "  ", "empty")],
        "{out}"
    );
    let (_, out, _) = here.run(&["ls", "--json"], &to);
    let first: serde_json::Value = serde_json::from_str(out.lines().next().unwrap()).unwrap();
    // The upload has told the server its digest.
    assert_eq!((&first["name"], &first["size"]), (&"a b".into(), &5.into()));
    assert_eq!(first["sha256"], hex(b"hello"));
    let (_, out, _) = here.run(&["ls", "--digest"], &to);
    assert_eq!(out, format!("{}  a b\n{}  big\n{}  empty\n", hex(b"hello"), hex(&big), hex(b"")));

    let there = Here::new("round-there");
    let (exit, out, err) = there.run(&["get", "big", "a b", "empty"], &to);
    assert_eq!((exit, out.as_str()), (0, sums.as_str()), "{err}");
    assert!(fs::read(there.path("big")).unwrap() == big);
    assert_eq!(there.names(), ["a b", "big", "empty"]);
    // An old file is replaced, also into a directory, and by a name that is given.
    let directory = there.0.to_str().unwrap();
    fs::write(there.path("a b"), b"old").unwrap();
    assert_eq!(here.run(&["get", "a b", "-o", directory], &to).0, 0);
    assert_eq!(fs::read(there.path("a b")).unwrap(), b"hello");
    assert_eq!(there.run(&["get", "a b", "-o", "c"], &to).1, format!("{}  c\n", hex(b"hello")));
    assert_eq!(there.names(), ["a b", "big", "c", "empty"]);
    let (exit, out, err) = there.run(&["get", "a b", "-o", "-"], &to);
    assert_eq!((exit, out.as_str()), (0, "hello"));
    assert!(err.starts_with(&format!("{}  -\na b: 5 B in ", hex(b"hello"))), "{err}");
    let (_, out, _) = there.run(&["get", "a b", "--json"], &to);
    let object: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&object["name"], &object["size"]), (&"a b".into(), &5.into()), "{object}");
    assert_eq!(object["sha256"], hex(b"hello"));
}

#[test]
fn standard_input_is_stored_whatever_it_is() {
    let (share, here) = (Share::new("stdin", &["files_writable=true"]), Here::new("stdin"));
    let to = address(&share);
    let big = noise(MIB + 7);
    assert_eq!(here.run_with(&["put", "-", "--as", "pipe"], &to, &big).1, format!("{}  -\n", hex(&big)));
    assert!(share.read("pipe") == big);
    fs::write(here.path("file"), &big).unwrap();
    let mut command = here.command(&["put", "-", "--as", "file"], &to);
    let output = command.stdin(fs::File::open(here.path("file")).unwrap()).output().unwrap();
    assert_eq!(outcome(output).0, 0);
    assert!(share.read("file") == big);
    assert_eq!(here.run_with(&["put", "-", "--as", "none"], &to, b"").0, 0);
    assert_eq!(share.read("none"), b"");
    assert_eq!(share.names(), ["file", "none", "pipe"]);
}

#[test]
fn each_trouble_has_its_exit_code_and_the_others_are_done_all_the_same() {
    let (share, here) = (Share::new("codes", &[]), Here::new("codes"));
    let to = address(&share);
    share.write("a", b"hello");
    let (exit, out, err) = here.run(&["get", "nobody", "a"], &to);
    assert_eq!((exit, out), (3, format!("{}  a\n", hex(b"hello"))));
    assert!(err.starts_with("rawline: nobody: no such file\na: 5 B"), "{err}");
    let (exit, out, _) = here.run(&["get", "nobody", "--json"], &to);
    assert_eq!(
        (exit, out.as_str()),
        (3, "{\"name\":\"nobody\",\"error\":\"nobody: no such file\",\"status\":1}\n")
    );
    fs::write(here.path("b"), b"x").unwrap();
    let (exit, _, err) = here.run(&["put", "b"], &to);
    assert_eq!((exit, err.as_str()), (3, "rawline: b: files cannot be stored here\n"));
    let (exit, _, err) = here.run(&["put", "missing"], &to);
    assert_eq!(exit, 74);
    assert!(err.starts_with("rawline: missing cannot be read: "), "{err}");
    assert_eq!(here.run(&["put", "/"], &to).0, 2);
    let (exit, _, err) = here.run(&["get", "a", "-o", "no/such/directory"], &to);
    assert_eq!(exit, 74);
    assert!(err.starts_with("rawline: a: no/such/directory cannot be written: "), "{err}");
    for bad in ["../a", "/etc/passwd", ".a", "", "a\u{7f}"] {
        assert_eq!(here.run(&["get", bad], &to).0, 2, "{bad:?}");
    }
    assert_eq!(here.run(&["get", "a", "b", "-o", "c"], &to).0, 2);
    assert_eq!(here.run(&["get", "a", "-o", "-", "--json"], &to).0, 2);
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    assert_eq!(here.run(&["ls"], &nobody).0, 69);
    assert_eq!(here.names(), ["a", "b"]);
}

#[test]
fn a_broken_get_goes_on_and_the_old_file_stays_until_the_new_one_is_whole() {
    let (share, here) = (Share::new("broken-get", &[]), Here::new("broken-get"));
    let to = address(&share);
    let big = noise(3 * MIB);
    share.write("big", &big);
    fs::write(here.path("big"), b"old").unwrap();
    let breaks = proxy(&to, [ALL, 2 * MIB as u64], || {});
    let (exit, out, err) = here.run(&["get", "big"], &breaks);
    assert_eq!((exit, out.as_str()), (1, ""));
    assert!(
        err.contains("big: the ") && err.ends_with(": the same command again goes on from there\n"),
        "{err}"
    );
    assert_eq!(fs::read(here.path("big")).unwrap(), b"old");
    assert_eq!(here.names().len(), 2, "{:?}", here.names());
    let (exit, out, err) = here.run(&["get", "big"], &to);
    assert_eq!((exit, out), (0, format!("{}  big\n", hex(&big))), "{err}");
    assert!(err.contains(", from byte 20"), "two megabytes, less what the answers took: {err}");
    assert!(fs::read(here.path("big")).unwrap() == big);
    assert_eq!(here.names(), ["big"]);

    // It changes on the server between the tries: nothing of the old one gets into the new one.
    assert_eq!(here.run(&["get", "big"], &breaks).0, 1);
    let other = noise(4 * MIB).split_off(MIB);
    share.write("big", &other);
    // Of the same size, it is told by its time, which has seconds on the wire.
    let file = File::options().write(true).open(share.path("big")).unwrap();
    file.set_modified(SystemTime::now() + Duration::from_secs(10)).unwrap();
    let (exit, _, err) = here.run(&["get", "big"], &to);
    assert!(exit == 0 && !err.contains("from byte"), "{err}");
    assert!(fs::read(here.path("big")).unwrap() == other);
    assert_eq!(here.names(), ["big"], "and the old part is gone");

    // The part is not what it should be: it is found out, and thrown away.
    assert_eq!(here.run(&["get", "big"], &breaks).0, 1);
    let part = here.names().into_iter().find(|name| name.ends_with(".part")).unwrap();
    let mut bytes = fs::read(here.path(&part)).unwrap();
    bytes[0] ^= 1;
    fs::write(here.path(&part), bytes).unwrap();
    let (exit, _, err) = here.run(&["get", "big"], &to);
    assert!(exit == 1 && err.contains("was thrown away: get it again"), "{err}");
    assert_eq!(here.names(), ["big"]);
    assert_eq!(here.run(&["get", "big"], &to).0, 0);
}

#[test]
fn a_broken_put_goes_on() {
    let (share, here) = (Share::new("broken-put", &["files_writable=true"]), Here::new("broken-put"));
    let to = address(&share);
    let big = noise(3 * MIB);
    fs::write(here.path("big"), &big).unwrap();
    share.write("big", b"old");
    let (exit, out, err) = here.run(&["put", "big"], &proxy(&to, [2 * MIB as u64, ALL], || {}));
    assert_eq!((exit, out.as_str()), (1, ""));
    assert!(err.ends_with(": the same command again goes on from there\n"), "{err}");
    assert_eq!(share.read("big"), b"old");
    // Until the server has seen that the first try is over, it is busy.
    let (exit, out, err) = (0..1000)
        .map(|_| here.run(&["put", "big"], &to))
        .find(|(exit, ..)| *exit != 3)
        .expect("the server is busy for ever");
    assert_eq!((exit, out), (0, format!("{}  big\n", hex(&big))), "{err}");
    assert!(err.contains(", from byte "), "{err}");
    assert!(share.read("big") == big);
    assert_eq!(share.names(), ["big"]);
}

#[test]
fn two_do_not_write_one_part() {
    let (share, here) = (Share::new("two-gets", &[]), Here::new("two-gets"));
    let to = address(&share);
    share.write("big", &noise(3 * MIB));
    let (reached, is_reached) = mpsc::channel();
    let (release, released) = gate();
    let stalls = proxy(&to, [ALL, 2 * MIB as u64], move || {
        reached.send(()).unwrap();
        released.wait();
    });
    let first = here.command(&["get", "big"], &stalls).spawn().unwrap();
    is_reached.recv().unwrap();
    // It has begun to write, or will in a moment.
    while here.names().is_empty() {
        thread::yield_now();
    }
    let (exit, _, err) = here.run(&["get", "big"], &to);
    assert_eq!(exit, 74);
    assert!(err.contains("another rawline is fetching it at this moment"), "{err}");
    drop(release);
    assert_eq!(outcome(first.wait_with_output().unwrap()).0, 1);
    assert_eq!(here.run(&["get", "big"], &to).0, 0);
}

/// Whoever waits goes on when the first half is dropped.
fn gate() -> (Sender<()>, Gate) {
    let (release, released) = mpsc::channel();
    (release, Gate(std::sync::Arc::new(std::sync::Mutex::new(released))))
}

#[derive(Clone)]
struct Gate(std::sync::Arc<std::sync::Mutex<Receiver<()>>>);

impl Gate {
    fn wait(&self) {
        let _ = self.0.lock().unwrap().recv();
    }
}

/// Speaks only version 1, as the daemon does, and closes on what it does not know.
fn old_server(to: &str) -> String {
    let to = to.to_owned();
    server(move |mut ours| {
        let mut first = [0];
        if ours.peek(&mut first).unwrap_or(0) == 0 || first[0] > 3 {
            return;
        }
        let mut theirs = TcpStream::connect(&to).unwrap();
        let (mut up, mut into) = (ours.try_clone().unwrap(), theirs.try_clone().unwrap());
        thread::scope(|scope| {
            scope.spawn(move || {
                let _ = io::copy(&mut up, &mut into);
                let _ = into.shutdown(Shutdown::Write);
            });
            let _ = io::copy(&mut theirs, &mut ours);
            let _ = ours.shutdown(Shutdown::Both);
        });
    })
}

#[test]
fn an_old_server_is_spoken_to_in_version_one() {
    let (share, here) = (Share::new("old", &["files_writable=true", "drain_max=16"]), Here::new("old"));
    let to = address(&share);
    let old = old_server(&to);
    const NOTE: &str = "rawline: the server does not speak version 2: nothing can be resumed, and refusals have no reasons\n";
    fs::write(here.path("a"), b"hello").unwrap();
    fs::write(here.path("empty"), b"").unwrap();
    for (words, to, note) in
        [(&["put", "a", "empty"][..], &old, NOTE), (&["put", "--v1", "a", "empty"], &to, "")]
    {
        let (exit, out, err) = here.run(words, to);
        assert_eq!((exit, out), (0, format!("{}  a\n{}  empty\n", hex(b"hello"), hex(b""))), "{err}");
        assert!(err.starts_with(&format!("{note}a: 5 B in ")), "{err}");
    }
    for (words, to, note) in [(&["ls"][..], &old, NOTE), (&["ls", "--v1"], &to, "")] {
        assert_eq!(here.run(words, to), (0, "a\nempty\n".into(), note.into()));
    }
    let there = Here::new("old-there");
    for (words, to) in
        [(&["get", "a", "empty", "nobody"][..], &old), (&["get", "--v1", "a", "empty", "nobody"], &to)]
    {
        let (exit, out, err) = there.run(words, to);
        assert_eq!((exit, out), (3, format!("{}  a\n{}  empty\n", hex(b"hello"), hex(b""))), "{err}");
        assert!(err.ends_with("rawline: nobody: no such file\n"), "{err}");
        assert_eq!(there.names(), ["a", "empty"]);
    }
    // What breaks off leaves nothing here: nobody could go on with it.
    share.write("big", &noise(MIB));
    let (exit, _, err) = there.run(&["get", "--v1", "big"], &proxy(&to, [ALL, 1000], || {}));
    assert!(exit == 1 && !err.contains("goes on"), "{err}");
    assert_eq!(there.names(), ["a", "empty"]);
    // A refusal is a close, here because of its size; that is all that can be said.
    let read_only = Share::new("old-read-only", &["drain_max=16"]);
    let (exit, _, err) = there.run(&["put", "--v1", "a"], &address(&read_only));
    assert!(exit == 3 && err.contains("has not stored it"), "{err}");
    fs::write(there.path("long"), [0; 100]).unwrap();
    let (exit, _, err) = there.run(&["put", "--v1", "long"], &address(&read_only));
    assert!(exit == 1 && err.contains("which version 1 cannot say"), "{err}");
}

#[test]
fn servers_that_say_nothing_or_nonsense() {
    let here = Here::new("nonsense");
    let silent = server(|mut stream| drop(io::copy(&mut stream, &mut io::sink())));
    let (exit, _, err) = here.run(&["get", "a", "--timeout", "100ms"], &silent);
    assert!(exit == 75 && err.contains("the server fell silent for 100ms"), "{err}");
    let chat = server(|mut stream| {
        let _ = stream.read(&mut [0; 3]);
        let _ = stream.write_all(b"{\"error\":\"Only JSON RPC messages are supported\",\"code\":-32600}");
        let _ = io::copy(&mut stream, &mut io::sink());
    });
    let (exit, _, err) = here.run(&["get", "a"], &chat);
    assert!(exit == 76 && err.contains("does not speak the file protocol"), "{err}");
    let closes = server(drop);
    assert_eq!(here.run(&["ls"], &closes).0, 1);
    let endless = server(|mut stream| {
        let _ = stream.read_exact(&mut [0; 1]);
        let _ = stream.write_all(&[0xff; 4]);
        let _ = io::copy(&mut stream, &mut io::sink());
    });
    assert_eq!(here.run(&["ls", "--v1"], &endless).0, 76);
    assert!(here.names().is_empty());
}

#[test]
fn names_that_could_harm_are_not_shown() {
    let here = Here::new("names");
    let liar = server(|mut stream| {
        let _ = stream.read_exact(&mut [0; 1]);
        let names = ["good", "../../.bashrc", "\u{1b}[2J", "a\nb", "\u{202e}cod.exe"];
        let _ = stream.write_all(&(names.len() as u32).to_be_bytes());
        for name in names {
            let _ = stream.write_all(&share::field(name));
        }
    });
    let (exit, out, err) = here.run(&["ls", "--v1"], &liar);
    assert_eq!((exit, out.as_str()), (0, "good\n\u{202e}cod.exe\n"));
    assert_eq!(err, "rawline: 3 names that could harm are left out\n");
    let Some(shown) = at_a_terminal(&here, &["ls", "--v1"], &liar) else { return };
    assert!(shown.contains("good\r\n\u{fffd}cod.exe\r\n"), "{shown:?}");
}

/// What a person sees of it; `None`, and a line that says so, where there is no script(1).
fn at_a_terminal(here: &Here, words: &[&str], to: &str) -> Option<String> {
    let line = format!("{} {} --to {to}", env!("CARGO_BIN_EXE_rawline"), words.join(" "));
    let mut command = Command::new("script");
    command.args(["-q", "-e", "-c", &line, "/dev/null"]).env("TERM", "xterm").current_dir(&here.0);
    match command.stdin(Stdio::null()).output() {
        Ok(output) => Some(String::from_utf8(output.stdout).unwrap()),
        Err(_) => {
            println!("skipped: there is no script(1) here");
            None
        }
    }
}

#[test]
fn a_terminal_shows_how_far_it_is_and_a_pipe_does_not() {
    let (share, here) = (Share::new("progress", &["files_writable=true"]), Here::new("progress"));
    let to = address(&share);
    share.write("big", &noise(3 * MIB));
    // Slow enough to be seen: it stands still once, for longer than a row stays.
    let slow = || {
        let to = to.clone();
        server(move |mut ours| {
            let mut theirs = TcpStream::connect(&to).unwrap();
            let (mut up, mut into) = (ours.try_clone().unwrap(), theirs.try_clone().unwrap());
            thread::scope(|scope| {
                scope.spawn(move || drop(io::copy(&mut up, &mut into)));
                for _ in 0..3 {
                    let _ = io::copy(&mut (&mut theirs).take(MIB as u64), &mut ours);
                    thread::sleep(std::time::Duration::from_millis(150));
                }
                let _ = io::copy(&mut theirs, &mut ours);
            });
        })
    };
    let (exit, _, err) = here.run(&["get", "big"], &slow());
    assert!(exit == 0 && !err.contains('%') && !err.contains('\r'), "{err:?}");
    fs::remove_file(here.path("big")).unwrap();
    let Some(shown) = at_a_terminal(&here, &["get", "big"], &slow()) else { return };
    assert!(shown.contains("\rbig ") && shown.contains("%") && shown.contains(" left\u{1b}[K"), "{shown:?}");
    assert!(shown.contains("\r\u{1b}[K"), "and the row is empty again: {shown:?}");
    assert!(Path::new(&here.path("big")).exists());
}

#[test]
fn who_has_read_enough_is_no_failure_and_a_device_is_not_replaced() {
    let (share, here) = (Share::new("enough", &[]), Here::new("enough"));
    let to = address(&share);
    share.write("big", &noise(3 * MIB));
    let mut child = here.command(&["get", "big", "-o", "-"], &to).spawn().unwrap();
    child.stdout.take().unwrap().read_exact(&mut [0; 10]).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let (exit, _, err) = here.run(&["get", "big", "-o", "/dev/null"], &to);
    assert_eq!(exit, 0, "{err}");
    use std::os::unix::fs::FileTypeExt;
    assert!(fs::metadata("/dev/null").unwrap().file_type().is_char_device());
    if Path::new("/dev/full").exists() {
        let (exit, _, err) = here.run(&["get", "big", "-o", "/dev/full"], &to);
        assert!(exit == 74 && err.contains("/dev/full cannot be written"), "{err}");
    }
}
