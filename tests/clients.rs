//! The clients over real sockets, run the way a user runs them: streams, exit codes, and how much memory it takes.
//!
//! Their peers are the daemon, and servers of a few lines that misbehave in one way each: split, delay, close
//! early, fall silent, change a byte. What must not happen is waited for with a timeout that the client
//! itself was given, never with a sleep that hopes.

#![cfg(feature = "cli")]

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use std::{env, process, thread};

use rawline::client::dial::{self, Dial};
use rawline::config::Address;
use rawline::config::options::OPTIONS;

/// How long a test waits for what must happen before it fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// A client with these arguments and nothing on standard input.
fn client(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rawline"));
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Exit code, standard output and the one line on standard error, `rawline: ` cut off.
fn outcome(output: Output) -> (i32, String, String) {
    let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    let line = err.strip_prefix("rawline: ").and_then(|err| err.strip_suffix('\n')).unwrap_or(&err);
    (output.status.code().expect("an exit code, no signal"), out, line.into())
}

fn run(arguments: &[&str]) -> (i32, String, String) {
    outcome(client(arguments).output().unwrap())
}

/// The same with these bytes on standard input.
fn run_with(arguments: &[&str], input: &[u8]) -> (i32, String, String) {
    let mut child = client(arguments).stdin(Stdio::piped()).spawn().unwrap();
    let (mut stdin, input) = (child.stdin.take().unwrap(), input.to_vec());
    // Whoever refuses its arguments does not read.
    let writer = thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    outcome(output)
}

/// Waits for a child that must end by itself.
fn ends(child: &mut Child) -> Option<i32> {
    let begin = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        assert!(begin.elapsed() < PATIENCE, "it goes on and on");
        thread::sleep(Duration::from_millis(5));
    }
}

/// The daemon on free ports; gone with its test.
struct Daemon {
    child: Child,
    rpc: String,
    echo: String,
}

impl Daemon {
    fn start() -> Self {
        let arguments = ["serve", "--rpc", "127.0.0.1:0", "--echo", "127.0.0.1:0", "--line", "off"];
        let mut child = client(&arguments).stderr(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let mut address = |service: &str| {
            let line = lines.next().expect("a line for each listener");
            line.strip_prefix(&format!("listening {service} ")).expect("in order").to_string()
        };
        let (rpc, echo) = (address("rpc"), address("echo"));
        Self { child, rpc, echo }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
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

/// Reads to the end, so that closing is no reset.
fn drain(mut stream: &TcpStream) {
    let _ = io::copy(&mut stream, &mut io::sink());
}

/// Where nobody listens.
fn nobody() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

/// A path of its own for each test; the file is gone with it.
struct Path(PathBuf);

impl Path {
    fn new(name: &str) -> Self {
        let path = env::temp_dir().join(format!("rawline-clients-{}-{name}", process::id()));
        let _ = fs::remove_file(&path);
        Self(path)
    }

    fn endpoint(&self) -> String {
        format!("unix:{}", self.0.display())
    }
}

impl Drop for Path {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Bytes without a pattern, the same in each run, to be generated on both sides instead of kept.
struct Noise(u64);

impl Noise {
    fn new() -> Self {
        Self(0x9e37_79b9_7f4a_7c15)
    }

    fn fill(&mut self, chunk: &mut [u8]) {
        for piece in chunk.chunks_mut(8) {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            piece.copy_from_slice(&self.0.to_le_bytes()[..piece.len()]);
        }
    }
}

const CHUNK: usize = 64 * 1024;

/// Writes `length` bytes of noise to a child and closes its input; the count moves as they are taken.
fn feed(mut to: impl Write + Send + 'static, length: usize) -> Arc<AtomicU64> {
    let taken = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&taken);
    thread::spawn(move || {
        let (mut noise, mut chunk, mut left) = (Noise::new(), [0; CHUNK], length);
        while left > 0 {
            let size = left.min(CHUNK);
            noise.fill(&mut chunk[..size]);
            // A client that ends early is judged by its test.
            if to.write_all(&chunk[..size]).is_err() {
                return;
            }
            count.fetch_add(size as u64, Ordering::SeqCst);
            left -= size;
        }
    });
    taken
}

/// Reads `length` bytes, which must be what comes next of the noise.
fn must_be(noise: &mut Noise, from: &mut impl Read, length: usize) {
    let (mut expected, mut came, mut left) = ([0; CHUNK], [0; CHUNK], length);
    while left > 0 {
        let size = left.min(CHUNK);
        noise.fill(&mut expected[..size]);
        from.read_exact(&mut came[..size]).unwrap();
        assert!(came[..size] == expected[..size], "a byte changed, {left} from the end");
        left -= size;
    }
}

/// The most memory that a process has had so far, in KiB; `None` where nothing tells.
fn peak_memory(child: &Child) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}

fn must_be_small(child: &Child) {
    if let Some(peak) = peak_memory(child) {
        assert!(peak < 16 * 1024, "{peak} KiB");
    }
}

#[test]
fn dialling_passes_the_refusing_and_the_silent_and_reaches_the_third() {
    let refusing = Address::Tcp(nobody().parse().unwrap());
    // A queue that is full and never emptied answers nobody.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let queue = fill_queue(&silent);
    let third = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent_address = Address::Tcp(silent.local_addr().unwrap());
    let addresses = vec![refusing, silent_address.clone(), Address::Tcp(third.local_addr().unwrap())];
    let endpoint = "chat.test:7".parse().unwrap();
    let timeout = Duration::from_millis(100);
    let begin = Instant::now();
    let ours = TcpStream::from(dial::drive(Dial::to(&endpoint, addresses, timeout)).unwrap());
    assert!(begin.elapsed() >= timeout, "the second was given its time");
    assert_eq!(ours.peer_addr().unwrap(), third.local_addr().unwrap());
    let error = dial::drive(Dial::to(&endpoint, vec![silent_address.clone()], timeout)).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("cannot connect to chat.test:7: {silent_address}: no answer within 100ms")
    );
    drop(queue);
}

/// Fills the queue of a listener that never accepts, whatever its length; what fills it must be kept.
fn fill_queue(listener: &TcpListener) -> Vec<OwnedFd> {
    let endpoint = listener.local_addr().unwrap().to_string().parse().unwrap();
    let mut queue = Vec::new();
    while let Ok(socket) = dial::connect(&endpoint, Duration::from_millis(200)) {
        queue.push(socket);
        assert!(queue.len() < 10_000, "the queue never fills");
    }
    queue
}

#[test]
fn a_text_comes_back() {
    let daemon = Daemon::start();
    assert_eq!(run(&["echo", &daemon.echo, "hello"]), (0, "hello".into(), "".into()));
    assert_eq!(run(&["echo", "--hello", &daemon.echo]), (0, "Hello, world".into(), "".into()));
    assert_eq!(run(&["echo", &daemon.echo, ""]), (0, "".into(), "".into()));
    let long = "ü".repeat(60_000);
    assert_eq!(run(&["echo", &daemon.echo, &long]), (0, long, "".into()));
    // A name, which may stand for several addresses of which one listens.
    let by_name = daemon.echo.replace("127.0.0.1", "localhost");
    assert_eq!(run(&["echo", &by_name, "x"]), (0, "x".into(), "".into()));
}

#[test]
fn a_unix_domain_socket_is_an_address_too() {
    let path = Path::new("echo");
    let listener = UnixListener::bind(&path.0).unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        io::copy(&mut stream.try_clone().unwrap(), &mut stream).unwrap();
    });
    assert_eq!(run(&["echo", &path.endpoint(), "hello"]), (0, "hello".into(), "".into()));
}

#[test]
fn a_server_that_cannot_be_reached_has_its_own_exit_code() {
    let address = nobody();
    let line = format!("cannot connect to {address}: Connection refused: is `rawline serve` running there?");
    assert_eq!(run(&["echo", &address, "x"]), (69, "".into(), line.clone()));
    assert_eq!(run(&["rpc", "ping", "--to", &address]), (69, "".into(), line));
    let (exit, _, line) = run(&["echo", "a..b:1", "x"]);
    assert_eq!(exit, 69);
    assert!(line.starts_with("cannot connect to a..b:1: its host cannot be resolved ("), "{line}");
    let (exit, _, line) = run(&["echo", "hello", "world"]);
    assert_eq!(exit, 2);
    assert!(line.starts_with("\"hello\" has no port: write hello:PORT"), "{line}");
}

#[test]
fn a_connect_that_nobody_answers_ends_in_time() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let _queue = fill_queue(&listener);
    let address = listener.local_addr().unwrap().to_string();
    let line = format!("cannot connect to {address}: no answer within 50ms");
    assert_eq!(run(&["echo", &address, "x", "--timeout", "50ms"]), (69, "".into(), line));
}

/// Through the daemon, in little memory: 1 GiB where that takes seconds, less where nothing is optimized.
#[test]
fn a_stream_of_any_length_comes_back_byte_for_byte() {
    let length = if cfg!(debug_assertions) { 64 << 20 } else { 1 << 30 };
    let daemon = Daemon::start();
    let mut child = client(&["echo", &daemon.echo]).stdin(Stdio::piped()).spawn().unwrap();
    feed(child.stdin.take().unwrap(), length);
    let mut stdout = child.stdout.take().unwrap();
    let mut noise = Noise::new();
    must_be(&mut noise, &mut stdout, length / 2);
    must_be_small(&child);
    must_be(&mut noise, &mut stdout, length / 2);
    assert_eq!(stdout.read(&mut [0]).unwrap(), 0, "nothing more");
    assert_eq!(ends(&mut child), Some(0));
}

#[test]
fn a_stream_is_the_same_whatever_its_ends_are() {
    let daemon = Daemon::start();
    let (from, to) = (Path::new("from"), Path::new("to"));
    let mut bytes = vec![0; 3_000_001];
    Noise::new().fill(&mut bytes);
    fs::write(&from.0, &bytes).unwrap();
    let echo = |input: Stdio, output: Stdio| {
        client(&["echo", &daemon.echo]).stdin(input).stdout(output).output().unwrap()
    };
    // Files cannot be polled.
    let output = echo(File::open(&from.0).unwrap().into(), File::create(&to.0).unwrap().into());
    assert_eq!((output.status.code(), &output.stderr[..]), (Some(0), &b""[..]));
    assert!(fs::read(&to.0).unwrap() == bytes);
    let output = echo(File::open(&from.0).unwrap().into(), Stdio::piped());
    assert!(output.status.success() && output.stdout == bytes);
    // Nor can /dev/null.
    let output = echo(Stdio::null(), Stdio::piped());
    assert!(output.status.success() && output.stdout.is_empty() && output.stderr.is_empty());
    let output = echo(File::open(&from.0).unwrap().into(), Stdio::null());
    assert!(output.status.success() && output.stderr.is_empty());
}

#[test]
fn an_end_that_fails_is_told_and_one_that_is_gone_is_not() {
    let daemon = Daemon::start();
    let output = client(&["echo", &daemon.echo]).stdin(File::open("/").unwrap()).output().unwrap();
    let (exit, _, line) = outcome(output);
    assert_eq!(exit, 1);
    assert!(line.starts_with("the input cannot be read: Is a directory"), "{line}");
    if let Ok(full) = File::options().write(true).open("/dev/full") {
        let mut child = client(&["echo", &daemon.echo]).stdin(Stdio::piped()).stdout(full).spawn().unwrap();
        child.stdin.take().unwrap().write_all(b"x").unwrap();
        let (exit, _, line) = outcome(child.wait_with_output().unwrap());
        assert_eq!(exit, 1);
        assert!(line.starts_with("the output cannot be written: No space left"), "{line}");
    }
    // As in `rawline echo | head`: the reader goes, and the client with it, although its input goes on.
    let mut child = client(&["echo", &daemon.echo]).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"x").unwrap();
    child.stdout.take().unwrap().read_exact(&mut [0]).unwrap();
    assert_eq!(ends(&mut child), Some(0));
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(said, "");
}

#[test]
fn a_line_comes_back_while_the_input_is_open() {
    let daemon = Daemon::start();
    let mut child = client(&["echo", &daemon.echo]).stdin(Stdio::piped()).spawn().unwrap();
    let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
    for line in ["one\n", "two\n"] {
        stdin.write_all(line.as_bytes()).unwrap();
        let mut came = String::new();
        stdout.read_line(&mut came).unwrap();
        assert_eq!(came, line);
    }
    drop(stdin);
    assert_eq!(ends(&mut child), Some(0));
}

#[test]
fn a_server_that_splits_and_delays_is_no_different() {
    let address = server(|mut stream| {
        stream.set_nodelay(true).unwrap();
        let (mut buffer, mut size, mut pieces) = ([0; 4096], 1, 0);
        loop {
            let count = stream.read(&mut buffer).unwrap();
            if count == 0 {
                return;
            }
            let mut rest = &buffer[..count];
            while !rest.is_empty() {
                size = size * 31 % 1021 + 1;
                let (piece, after) = rest.split_at(size.min(rest.len()));
                stream.write_all(piece).unwrap();
                (rest, pieces) = (after, pieces + 1);
                if pieces % 50 == 0 {
                    thread::sleep(Duration::from_millis(1));
                }
            }
        }
    });
    let mut child = client(&["echo", &address]).stdin(Stdio::piped()).spawn().unwrap();
    feed(child.stdin.take().unwrap(), 1 << 20);
    must_be(&mut Noise::new(), &mut child.stdout.take().unwrap(), 1 << 20);
    assert_eq!(ends(&mut child), Some(0));
    assert_eq!(run(&["echo", &address, &"abc".repeat(10_000)]).0, 0);
}

/// Nobody reads the output: the client stops reading its input, and nothing piles up or is lost.
#[test]
fn who_does_not_read_slows_down_who_writes() {
    const LENGTH: usize = 64 << 20;
    let daemon = Daemon::start();
    let mut child = client(&["echo", &daemon.echo]).stdin(Stdio::piped()).spawn().unwrap();
    let taken = feed(child.stdin.take().unwrap(), LENGTH);
    // Whoever has been slowed down moves no more.
    let begin = Instant::now();
    let (mut last, mut since) = (0, Instant::now());
    while since.elapsed() < Duration::from_millis(300) {
        let now = taken.load(Ordering::SeqCst);
        if now != last {
            (last, since) = (now, Instant::now());
        }
        assert!(begin.elapsed() < PATIENCE && now < LENGTH as u64, "{now} bytes were taken");
        thread::sleep(Duration::from_millis(5));
    }
    must_be_small(&child);
    must_be(&mut Noise::new(), &mut child.stdout.take().unwrap(), LENGTH);
    assert_eq!(ends(&mut child), Some(0));
}

#[test]
fn a_server_that_closes_early_is_a_failure_but_what_it_said_is_kept() {
    let address = server(|mut stream| {
        let mut buffer = [0; 3];
        stream.read_exact(&mut buffer).unwrap();
        stream.write_all(&buffer).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        drain(&stream);
    });
    assert_eq!(run(&["echo", &address, "hello"]), (1, "hel".into(), "3 bytes came back, 5 were sent".into()));
    // With an input that has not ended, it ends all the same.
    let mut child = client(&["echo", &address]).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"hello").unwrap();
    assert_eq!(ends(&mut child), Some(1));
    let output = outcome(child.wait_with_output().unwrap());
    let line = "the server closed the connection early: 3 of 5 bytes came back";
    assert_eq!(output, (1, "hel".into(), line.into()));
}

#[test]
fn a_reset_is_told_with_what_came_before() {
    let address = server(|mut stream| {
        let mut buffer = [0; 3];
        stream.read_exact(&mut buffer).unwrap();
        // Closing with unread input resets.
    });
    let (exit, _, line) = run_with(&["echo", &address], &[b'x'; 100_000]);
    assert_eq!(exit, 1);
    assert!(line.contains("of") && line.contains("bytes came back"), "{line}");
}

#[test]
fn a_changed_byte_is_found_in_a_text() {
    let address = server(|mut stream| {
        let mut text = Vec::new();
        stream.read_to_end(&mut text).unwrap();
        text[2] = b'_';
        stream.write_all(&text).unwrap();
    });
    let line = "what came back is not what was sent, from byte 3 on";
    assert_eq!(run(&["echo", &address, "hello"]), (1, "he_lo".into(), line.into()));
    let more = server(|mut stream| stream.write_all(b"hello and more").unwrap());
    let (exit, out, _) = run(&["echo", &more, "hello"]);
    assert_eq!((exit, out.as_str()), (1, "hello and more"));
    let endless = server(|mut stream| while stream.write_all(&[b'x'; 4096]).is_ok() {});
    assert_eq!(run(&["echo", &endless, "x"]).0, 1, "it does not listen for ever");
}

#[test]
fn a_silent_server_is_given_up() {
    let address = server(|stream| {
        drain(&stream);
        thread::sleep(PATIENCE);
    });
    let line = "the server fell silent for 100ms: 0 of 5 bytes came back";
    assert_eq!(run(&["echo", &address, "hello", "--timeout", "100ms"]), (75, "".into(), line.into()));
    assert_eq!(run_with(&["echo", &address, "--timeout", "100ms"], b"hello"), (75, "".into(), line.into()));
    let line = "the server has not answered within 100ms";
    assert_eq!(run(&["rpc", "ping", "--to", &address, "--timeout", "100ms"]), (75, "".into(), line.into()));
}

#[test]
fn a_call_prints_its_result_on_one_line() {
    let daemon = Daemon::start();
    let to = ["--to", &daemon.rpc];
    let call = |words: &[&str]| run(&[&["rpc"], words, &to].concat());
    let pong = "{\"status\":\"success\",\"message\":\"pong\"}\n";
    assert_eq!(call(&["ping"]), (0, pong.into(), "".into()));
    assert_eq!(call(&["ping", " { } \n"]), (0, pong.into(), "".into()));
    let sent = "{\"status\":\"success\",\"message\":\"Message sent successfully\"}\n";
    assert_eq!(call(&["send_message", r#"["positional"]"#]), (0, sent.into(), "".into()));
    let read = run_with(
        &["rpc", "send_message", "-", "--to", &daemon.rpc],
        b"{\n  \"message\": \"from a file\"\n}\n",
    );
    assert_eq!(read, (0, sent.into(), "".into()));
}

#[test]
fn an_error_of_the_server_has_its_own_exit_code() {
    let daemon = Daemon::start();
    for (words, line) in [
        (&["nope"][..], "error -32601: Method not found (there is no method \"nope\")"),
        (&["send_message", "{\"message\":\"\"}"], "error -32022: Message cannot be empty"),
    ] {
        assert_eq!(run(&[&["rpc", "--to", &daemon.rpc], words].concat()), (3, "".into(), line.into()));
    }
    let (exit, _, line) = run(&["rpc", "--to", &daemon.rpc, "send_message", "{\"message\":5}"]);
    assert!(exit == 3 && line.starts_with("error -32602: Invalid params"), "{line}");
}

#[test]
fn bad_parameters_are_shown_before_anything_is_sent() {
    let to = nobody();
    for (json, place) in [
        ("{\"message\" 1}", "expected ':' after a key at line 1, column 12: {\"message\" -->1}"),
        ("5", "expected '{' or '[' at line 1, column 1: -->5"),
        ("", "there is no JSON text at line 1, column 1: -->"),
        ("{\n\"a\":1,\n}", "expected a key in double quotes at line 3, column 1: {\\n\"a\":1,\\n-->}"),
        ("{}x", "something follows the JSON text at line 1, column 3: {}-->x"),
    ] {
        let line = format!("the parameters are no JSON object or array: {place}");
        assert_eq!(run(&["rpc", "ping", json, "--to", &to]), (2, "".into(), line.clone()));
        assert_eq!(run_with(&["rpc", "ping", "-", "--to", &to], json.as_bytes()), (2, "".into(), line));
    }
}

#[test]
fn watching_prints_pushes_as_they_come_until_the_server_ends() {
    let mut daemon = Daemon::start();
    let mut child =
        client(&["rpc", "--to", &daemon.rpc, "join_chat", "{\"username\":\"Watcher\"}", "--watch"])
            .spawn()
            .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let joined = r#"{"status":"success","message":"Joined chat as Watcher","users":["Watcher"]}"#;
    assert_eq!(lines.next().unwrap(), joined);
    let push = |kind: &str, message: &str, from: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","method":"{kind}","params":{{"message":"{message}","username":"{from}"}}}}"#
        )
    };
    assert_eq!(lines.next().unwrap(), push("system", "Welcome to the chat, Watcher!", "SYSTEM"));
    for message in ["one", "zwölf"] {
        let params = format!("{{\"message\":\"{message}\"}}");
        assert_eq!(run(&["rpc", "--to", &daemon.rpc, "send_message", &params]).0, 0);
        let line = lines.next().unwrap();
        assert!(line.contains(&format!("\"message\":\"{message}\"")), "{line}");
    }
    daemon.child.kill().unwrap();
    assert_eq!(lines.next(), None);
    assert_eq!(ends(&mut child), Some(0));
}

#[test]
fn watching_ends_with_its_reader_although_nothing_comes() {
    let daemon = Daemon::start();
    let mut child = client(&["rpc", "--to", &daemon.rpc, "ping", "--watch"]).spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    stdout.read_line(&mut String::new()).unwrap();
    drop(stdout);
    assert_eq!(ends(&mut child), Some(0));
}

#[test]
fn answers_are_found_however_they_are_cut_and_whatever_comes_with_them() {
    let texts = concat!(
        r#"{"type":"system","message":"in the old dialect","username":"SYSTEM"}"#,
        r#"{"jsonrpc":"2.0","method":"chat","params":{"message":"{\"","username":"x"}}"#,
        "\n\n",
        r#"{ "jsonrpc" : "2.0", "result" : { "z" : 1.50, "a" : "ü" }, "id" : 1 }"#,
        r#"{"jsonrpc":"2.0","method":"late","params":[]}"#,
    );
    for size in [1, 2, 7, 1000] {
        let address = server(move |mut stream| {
            stream.set_nodelay(true).unwrap();
            stream.read_exact(&mut [0]).unwrap();
            for piece in texts.as_bytes().chunks(size) {
                stream.write_all(piece).unwrap();
            }
            stream.shutdown(Shutdown::Write).unwrap();
            drain(&stream);
        });
        let result = "{\"z\":1.50,\"a\":\"ü\"}\n";
        assert_eq!(run(&["rpc", "x", "--to", &address]), (0, result.into(), "".into()));
        let (exit, out, err) = run(&["rpc", "x", "--to", &address, "--watch"]);
        assert_eq!((exit, err.as_str()), (0, ""));
        let methods: Vec<_> = out.lines().map(|line| line.get(..12).unwrap()).collect();
        assert_eq!(methods, [r#"{"type":"sys"#, r#"{"jsonrpc":""#, r#"{"z":1.50,"a"#, r#"{"jsonrpc":""#]);
    }
}

#[test]
fn an_answer_may_be_large() {
    let address = server(|mut stream| {
        stream.read_exact(&mut [0]).unwrap();
        let text = "x".repeat(5_000_000);
        let _ = write!(stream, "{{\"jsonrpc\":\"2.0\",\"result\":\"{text}\",\"id\":1}}");
        drain(&stream);
    });
    let (exit, out, _) = run(&["rpc", "x", "--to", &address]);
    assert_eq!((exit, out.len()), (0, 5_000_003));
}

#[test]
fn what_does_not_answer_a_call_has_its_reasons_told() {
    let daemon = Daemon::start();
    let (exit, _, line) = run(&["rpc", "ping", "--to", &daemon.echo]);
    assert_eq!(exit, 76);
    assert!(line.starts_with("the server does not speak JSON-RPC 2.0: "), "{line}");
    let greets = server(|mut stream| {
        stream.write_all(b"Enter your name : ").unwrap();
        drain(&stream);
    });
    assert_eq!(run(&["rpc", "ping", "--to", &greets]).0, 76);
    let closes = server(|mut stream| {
        stream.read_exact(&mut [0]).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        drain(&stream);
    });
    let line = "the server closed the connection without an answer";
    assert_eq!(run(&["rpc", "ping", "--to", &closes]), (1, "".into(), line.into()));
    let full = server(|mut stream| {
        stream.write_all(br#"{"error":"Too many connections","code":-32000}"#).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        drain(&stream);
    });
    let line = "error -32000: Too many connections";
    assert_eq!(run(&["rpc", "ping", "--to", &full]), (3, "".into(), line.into()));
}

#[test]
fn what_a_server_says_does_not_command_the_terminal() {
    let address = server(|mut stream| {
        let error = "{\"jsonrpc\":\"2.0\",\"error\":{\"code\":1,\"message\":\"a\\u001b[2J\\nb\"},\"id\":1}";
        stream.write_all(error.as_bytes()).unwrap();
        drain(&stream);
    });
    assert_eq!(run(&["rpc", "x", "--to", &address]), (3, "".into(), r"error 1: a\u{1b}[2J\nb".into()));
}

#[test]
fn the_manual_and_the_completions_know_every_command_and_option() {
    let commands = ["serve", "rpc", "echo", "man", "completions"];
    let client_flags = ["hello", "timeout", "to", "watch", "config"];
    let flags: Vec<_> = OPTIONS.iter().map(|opt| opt.name).chain(client_flags).collect();
    let (exit, page, err) = run(&["man"]);
    assert_eq!((exit, err.as_str()), (0, ""));
    for command in commands {
        assert!(page.contains(&format!(".SH \"RAWLINE {}\"", command.to_uppercase())), "{command}");
    }
    for flag in &flags {
        assert!(page.contains(&format!("\\-\\-{}", flag.replace('-', "\\-"))), "{flag}");
    }
    for shell in ["bash", "zsh", "fish"] {
        let (exit, script, err) = run(&["completions", shell]);
        assert_eq!((exit, err.as_str()), (0, ""));
        for word in commands.iter().chain(&flags) {
            assert!(script.contains(word), "{word} in {shell}");
        }
    }
    assert_eq!(run(&["completions", "tcsh"]).0, 2);
    let help = run(&["--help"]).1;
    for command in commands {
        assert!(help.contains(&format!("\n  {command} ")), "{command}");
    }
}
