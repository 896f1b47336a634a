//! Does every exercise of the lab as a learner would: by what `lab start` prints, with the real strace, tcpdump and ss.
//!
//! Nothing here knows an exercise by name but the table of answers that can be known beforehand. Where a tool, a
//! privilege or the kernel is lacking, an exercise is skipped, and a line says why.

#![cfg(feature = "cli")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};
use std::{env, fs, process, thread};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rawline::lab::read::Evidence;
use rawline::lab::{Answer, COURSE, Exercise, Scene, Tool, Truth, book, check, solve};
use serde_json::Value;

/// For whatever a loaded machine is slow with.
const PATIENCE: Duration = Duration::from_secs(60);

/// How many exercises are done at once. Most of their time is waiting.
const AT_ONCE: usize = 6;

/// Answers that do not depend on the capture, worked out by hand.
const KNOWN: &[(&str, &str, &str)] = &[
    ("handshake", "mss", "65495"),
    ("request", "calls", "2"),
    ("request", "bytes", "18"),
    ("split", "reads", "5"),
    ("split", "sends", "1"),
    ("split", "last", "2"),
    ("together", "bytes", "36"),
    ("together", "sends", "1"),
    ("nagle", "nagle", "2"),
    ("nagle", "nodelay", "4"),
    ("nagle", "length", "30"),
    ("cork", "open", "3"),
    ("cork", "corked", "1"),
    ("cork", "bytes", "27"),
    ("broadcast", "one", "5"),
    ("broadcast", "burst", "5"),
    ("broadcast", "merged", "10"),
    ("reset", "linger", "RST"),
    ("reset", "read", "FIN"),
    ("reset", "unread", "RST"),
    ("sigpipe", "fails", "2"),
    ("sigpipe", "error", "EPIPE"),
    ("timewait", "hung_up", "client"),
    ("timewait", "quit", "server"),
    ("reuseaddr", "without", "EADDRINUSE"),
    ("reuseaddr", "with", "ok"),
    ("reuseaddr", "listening", "EADDRINUSE"),
    ("backlog", "queued", "3"),
    ("backlog", "state", "SYN-SENT"),
    ("timeouts", "connect", "EINPROGRESS"),
    ("timeouts", "wait", "0"),
    ("emfile", "call", "epoll_ctl"),
    ("edge", "level", "1"),
    ("edge", "edge", "0"),
    ("edge", "left", "6"),
    ("zerowindow", "bytes", "0"),
    ("keepalive", "probes", "3"),
    ("heartbeat", "silent", "no"),
    ("slowstart", "initial", "10"),
    ("slowstart", "step", "1"),
    ("rcvbuf", "given", "20000"),
    ("rcvbuf", "least", "2304"),
    ("sendfile", "copier", "32"),
    ("close", "after", "1000"),
    ("close", "fins", "2"),
];

/// A directory that is gone when the test is over: the learner's files, and the lab's notebook.
struct Desk(PathBuf);

impl Desk {
    fn new(name: &str) -> Self {
        let path = env::temp_dir().join(format!("rawline-lab-test-{}-{name}", process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn lab(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rawline"));
        command.arg("lab").args(arguments).env("XDG_STATE_HOME", &self.0).current_dir(&self.0);
        command.stdin(Stdio::null());
        command
    }

    /// Runs it to its end: exit code, stdout, stderr.
    fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        let Output { status, stdout, stderr } = self.lab(arguments).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (status.code().unwrap(), text(stdout), text(stderr))
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Ends with the test, whatever happens.
struct Running(Child);

impl Running {
    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.0.id().try_into().unwrap()), signal).unwrap();
    }

    /// Ctrl-C, and its end.
    fn interrupt(mut self) {
        self.signal(Signal::SIGINT);
        self.0.wait().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Types the command that was printed; back when the tool looks, or has looked.
fn look(tool: Tool, desk: &Desk, command: &str) -> Option<Running> {
    let looks = tool.comes_first();
    let line = format!("exec {command}");
    let mut shell = Command::new("sh");
    let path = env::var("PATH").unwrap();
    shell.args(["-c", &line]).current_dir(&desk.0).env("PATH", format!("{path}:/usr/sbin:/sbin"));
    shell.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut tool_process = Running(shell.spawn().unwrap());
    if !looks {
        assert!(tool_process.0.wait().unwrap().success(), "{command}");
        return None;
    }
    let mut said = BufReader::new(tool_process.0.stderr.take().unwrap()).lines();
    let begun = |line: &String| line.contains("attached") || line.contains("listening on");
    let mut heard = Vec::new();
    while !heard.last().is_some_and(begun) {
        heard.push(said.next().unwrap_or_else(|| panic!("{command} does not begin: {heard:?}")).unwrap());
    }
    thread::spawn(move || said.count());
    Some(tool_process)
}

/// What was captured, and what is known about it.
struct Done {
    file: PathBuf,
    truth: Truth,
}

impl Done {
    fn scene(&self, exercise: &Exercise) -> Option<Scene> {
        let file = fs::read(&self.file).ok()?;
        let evidence = Evidence::read(exercise.tool, &file).ok()?;
        Some(Scene { truth: self.truth.clone(), evidence })
    }
}

/// Follows `lab start` to its end. `Err`: why it cannot be done here.
///
/// tcpdump gets no processor until all is done, as on a busy machine: whatever is to be seen has to lie in the kernel's
/// buffer until then.
fn follow(exercise: &Exercise, desk: &Desk) -> Result<Done, String> {
    let name = exercise.file();
    let mut start = desk.lab(&["start", exercise.name, "--file", &name]);
    let mut start =
        Running(start.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
    let mut said: BufReader<ChildStdout> = BufReader::new(start.0.stdout.take().unwrap());
    let (mut line, mut command, mut tool) = (String::new(), String::new(), None);
    while said.read_line(&mut line).unwrap() > 0
        && line != "All is done.\n"
        && !line.starts_with("All is done. ")
    {
        if let Some(indented) = line.strip_prefix("    ") {
            command = indented.trim().to_owned();
        }
        if line.starts_with("Press Enter") {
            if tool.is_none() {
                tool = look(exercise.tool, desk, &command);
                if let Some(tool) = tool.as_ref().filter(|_| exercise.tool == Tool::Tcpdump) {
                    tool.signal(Signal::SIGSTOP);
                }
            }
            start.0.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
        }
        line.clear();
    }
    if line.is_empty() {
        let mut why = String::new();
        std::io::Read::read_to_string(&mut start.0.stderr.take().unwrap(), &mut why).unwrap();
        let exit = start.0.wait().unwrap();
        assert_eq!(exit.code(), Some(69), "{}: {why}", exercise.name);
        return Err(why);
    }
    std::io::copy(&mut said, &mut std::io::sink()).unwrap();
    assert!(start.0.wait().unwrap().success(), "{}", exercise.name);
    if let Some(tool) = &tool {
        tool.signal(Signal::SIGCONT);
    }
    let truth = Truth::load(&desk.0.join(format!("rawline/lab/{}.truth", exercise.name))).unwrap();
    let done = Done { file: desk.0.join(name), truth };
    let begin = Instant::now();
    while !done.scene(exercise).is_some_and(|scene| exercise.is_complete(&scene)) {
        if begin.elapsed() > PATIENCE {
            let file = fs::read(&done.file).unwrap_or_default();
            let verdict = check(exercise_of(exercise), done.truth.clone(), &file, &BTreeMap::new());
            panic!(
                "{}: the capture lacks something: {verdict:?}\n{}",
                exercise.name,
                String::from_utf8_lossy(&file)
            );
        }
        thread::sleep(Duration::from_millis(5));
    }
    if let Some(tool) = tool {
        tool.interrupt();
    }
    Ok(done)
}

fn exercise_of(exercise: &Exercise) -> &'static Exercise {
    Exercise::named(exercise.name).unwrap()
}

/// What `lab check` says to this file and these answers.
fn verdict(exercise: &Exercise, desk: &Desk, file: &Path, answers: &BTreeMap<&str, String>) -> (i32, Value) {
    let mut arguments =
        vec!["check".to_owned(), exercise.name.into(), file.to_str().unwrap().into(), "--json".into()];
    for (key, value) in answers {
        arguments.extend(["--answer".into(), format!("{key}={value}")]);
    }
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let (exit, stdout, stderr) = desk.run(&arguments);
    (exit, serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout:?} {stderr}")))
}

/// The finding about this.
fn about<'a>(verdict: &'a Value, key: &str) -> &'a Value {
    let findings = verdict["findings"].as_array().unwrap();
    findings.iter().find(|finding| finding["about"] == key).unwrap_or_else(|| panic!("{key}: {verdict}"))
}

/// Whether an answer stands in a text, as a word of its own. A word that the question itself offers, as in "(client or
/// server)", is not given away by standing beside the others.
fn gives_away(text: &str, answer: &str, ask: &str) -> bool {
    // The 2 of recv(2) is no answer to anything.
    let text = (1..=8).fold(text.to_owned(), |text, section| text.replace(&format!("({section})"), ""));
    let words = |text: &str| -> Vec<String> {
        text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '-')
            .map(str::to_lowercase)
            .collect()
    };
    !words(ask).contains(&answer.to_lowercase()) && words(&text).contains(&answer.to_lowercase())
}

/// One exercise from `start` to `check`, and every mistake that it knows.
fn learn(exercise: &'static Exercise) -> Result<(), String> {
    let desk = Desk::new(exercise.name);
    if let Some(why) = exercise.tool.missing().or(exercise.tool.forbidden().map(Into::into)) {
        return Err(why);
    }
    let done = follow(exercise, &desk)?;
    let scene = done.scene(exercise).unwrap();
    let right = solve::answers(exercise, &scene);
    for (_, key, value) in KNOWN.iter().filter(|(name, ..)| *name == exercise.name) {
        assert_eq!(right[key], *value, "{}: {key}", exercise.name);
    }
    let name = exercise.name;

    let (exit, said) = verdict(exercise, &desk, &done.file, &right);
    assert_eq!((exit, said["right"].as_bool()), (0, Some(true)), "{name}: {said}");
    assert!(desk.run(&["list"]).1.contains("solved"), "{name}: the notebook knows of it");

    let mut mistakes = 0;
    for question in exercise.questions {
        let answer = &right[question.key];
        let wrong = question.mistakes.iter().map(|mistake| ((mistake.given)(&scene), mistake.hint));
        for (given, hint) in wrong.chain([(Answer::Number(987_654_321), question.hint)]) {
            let given = given.show();
            assert!(
                !(question.right)(&scene).accepts(&given),
                "{name}: {} = {given} is no mistake",
                question.key
            );
            let mut answers = right.clone();
            answers.insert(question.key, given.clone());
            let (exit, said) = verdict(exercise, &desk, &done.file, &answers);
            assert_eq!((exit, said["right"].as_bool()), (1, Some(false)), "{name}: {said}");
            let finding = about(&said, question.key);
            assert_eq!(finding["right"], false, "{name}: {said}");
            let text = finding["say"].as_str().unwrap();
            assert!(text.ends_with(&scene.truth.fill(hint)), "{name}: {} = {given}: {text}", question.key);
            assert!(!gives_away(text, answer, question.ask), "{name}: {}: {text}", question.key);
            mistakes += 1;
        }
        mistakes -= 1;
        let mut answers = right.clone();
        answers.remove(question.key);
        let (_, said) = verdict(exercise, &desk, &done.file, &answers);
        let text = about(&said, question.key)["say"].as_str().unwrap();
        assert!(
            text.starts_with("not answered") && !gives_away(text, answer, question.ask),
            "{name}: {text}"
        );
        assert!(!gives_away(&page_text(exercise), answer, question.ask), "{name}: the page has {answer}");
    }
    assert!(mistakes >= 3, "{name} knows {mistakes} typical mistakes");
    wrong_captures(exercise, &desk, &done, &right);
    Ok(())
}

/// What a learner reads before, without numbers that only count: of headings, and of manual pages.
fn page_text(exercise: &Exercise) -> String {
    let asked: Vec<_> = exercise.questions.iter().map(|question| question.ask).collect();
    [exercise.text, exercise.look, &asked.join(" ")].join(" ")
}

/// Hands in what is no capture of it, and captures that were stopped too early.
fn wrong_captures(exercise: &'static Exercise, desk: &Desk, done: &Done, right: &BTreeMap<&str, String>) {
    let name = exercise.name;
    let file = desk.0.join("wrong");
    let mut hints = Vec::new();
    for nonsense in ["", "nothing of the kind\n"] {
        fs::write(&file, nonsense).unwrap();
        let (exit, said) = verdict(exercise, desk, &file, right);
        assert_eq!(exit, 1, "{name}: {said}");
        hints.push(about(&said, "capture")["say"].as_str().unwrap().to_owned());
    }
    assert_ne!(hints[0], hints[1], "{name}");

    // As text a capture of tcpdump is as good, and can be cut between two lines.
    let text = match exercise.tool {
        Tool::Tcpdump => {
            let read =
                Command::new("tcpdump").args(["-nn", "-r"]).arg(&done.file).stderr(Stdio::null()).output();
            String::from_utf8(read.unwrap().stdout).unwrap()
        }
        _ => fs::read_to_string(&done.file).unwrap(),
    };
    fs::write(&file, &text).unwrap();
    let (exit, said) = verdict(exercise, desk, &file, right);
    assert_eq!(exit, 0, "{name}: {said}\n{text}");
    let lines: Vec<_> = text.split_inclusive('\n').collect();
    let first = |count: usize| lines[..count].concat();
    let complete = |count: &usize| {
        let evidence = Evidence::read(exercise.tool, first(*count).as_bytes());
        evidence.is_ok_and(|evidence| exercise.is_complete(&Scene { truth: done.truth.clone(), evidence }))
    };
    let enough = (1..=lines.len()).find(complete).expect("all of it is enough");
    fs::write(&file, first(enough - 1)).unwrap();
    let (exit, said) = verdict(exercise, desk, &file, right);
    let finding = about(&said, "capture");
    assert_eq!((exit, &finding["right"]), (1, &Value::Bool(false)), "{name}: {said}");
    let hint = finding["say"].as_str().unwrap();
    assert!(enough == 1 || hint.contains("no sign of") || hint.contains("there is no"), "{name}: {hint}");
    for question in exercise.questions {
        assert!(!gives_away(hint, &right[question.key], question.ask), "{name}: {hint}");
    }
}

#[test]
fn every_exercise_is_solved_with_the_real_tool_and_every_mistake_gets_its_hint() {
    let queue = Mutex::new(COURSE.iter());
    let failed = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let Some(exercise) = queue.lock().unwrap().next() else { return };
                    let begin = Instant::now();
                    match std::panic::catch_unwind(|| learn(exercise)) {
                        Ok(Ok(())) => println!("{}: {:?}", exercise.name, begin.elapsed()),
                        Ok(Err(why)) => println!("{}: skipped: {}", exercise.name, why.trim_end()),
                        Err(_) => failed.lock().unwrap().push(exercise.name),
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{failed:?}");
}

#[test]
fn a_solution_runs_the_tool_itself_and_says_why() {
    let desk = Desk::new("solve");
    let exercise = COURSE[1];
    if let Some(why) = exercise.tool.missing().or(exercise.tool.forbidden().map(Into::into)) {
        println!("skipped: {why}");
        return;
    }
    let (exit, stdout, stderr) = desk.run(&["solve", exercise.name]);
    assert_eq!((exit, stderr.as_str()), (0, ""), "{stdout}");
    assert!(stdout.starts_with(&format!("$ {} ", exercise.tool.program())), "{stdout}");
    assert!(stdout.contains("\n        ^ "), "{stdout}");
    assert!(stdout.ends_with(&format!("{}\n", book::filled(exercise.lesson))), "{stdout}");
}

#[test]
fn a_notebook_begins_empty_and_an_exercise_is_staged_before_it_is_judged() {
    let desk = Desk::new("empty");
    let (exit, stdout, _) = desk.run(&["list"]);
    let next = format!("\n0 of {} solved. Next: rawline lab show {}\n", COURSE.len(), COURSE[0].name);
    assert!(exit == 0 && stdout.ends_with(&next), "{stdout}");
    for exercise in COURSE {
        assert!(stdout.contains(exercise.title), "{stdout}");
    }
    let (exit, _, stderr) = desk.run(&["check", "close", "x"]);
    assert_eq!(exit, 1);
    assert_eq!(stderr, "rawline: close has not been staged yet: rawline lab start close\n");
}

#[test]
#[cfg(target_os = "linux")]
fn a_lab_that_is_killed_leaves_no_process_behind() {
    let desk = Desk::new("killed");
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        let Some(exercise) = COURSE.iter().find(|exercise| exercise.tool.missing().is_none()) else {
            return println!("skipped: none of the tools is here");
        };
        let mut start = desk.lab(&["start", exercise.name]);
        let mut start = Running(start.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap());
        let mut said = BufReader::new(start.0.stdout.take().unwrap()).lines();
        while !said.next().unwrap().unwrap().starts_with("Press Enter") {}
        let lab = start.0.id();
        let children = fs::read_to_string(format!("/proc/{lab}/task/{lab}/children")).unwrap();
        let children: Vec<_> = children.split_whitespace().collect();
        assert!(!children.is_empty(), "{} has staged something", exercise.name);
        kill(Pid::from_raw(lab.try_into().unwrap()), signal).unwrap();
        start.0.wait().unwrap();
        let begin = Instant::now();
        // Whoever adopts them may take his time to bury them.
        let lives = |pid: &&str| {
            fs::read_to_string(format!("/proc/{pid}/status")).is_ok_and(|status| !status.contains("(zombie)"))
        };
        while children.iter().any(lives) {
            assert!(begin.elapsed() < PATIENCE, "{signal}: {children:?} live on");
            thread::sleep(Duration::from_millis(5));
        }
    }
}

#[test]
fn a_missing_tool_is_named_with_what_to_install() {
    let desk = Desk::new("missing");
    for (exercise, package) in [("request", "strace"), ("timewait", "iproute2 (Fedora: iproute)")] {
        let tool = Exercise::named(exercise).unwrap().tool.program();
        if ["/usr/sbin", "/sbin"].iter().any(|folder| Path::new(folder).join(tool).exists()) {
            println!("skipped: {tool} is where it is always looked for");
            continue;
        }
        let Output { status, stderr, .. } =
            desk.lab(&["start", exercise]).env("PATH", "/nowhere").output().unwrap();
        assert_eq!(status.code(), Some(69));
        let message = format!("rawline: {tool} is not installed: install the package {package}\n");
        assert_eq!(String::from_utf8(stderr).unwrap(), message);
    }
}

#[test]
fn the_page_is_the_course() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/lab.md")).unwrap();
    assert!(page == book::course(), "docs/lab.md is behind: rawline lab show all > docs/lab.md");
    for exercise in COURSE {
        let page = book::page(exercise, false);
        assert!(page.lines().count() <= 60, "{} can be read while doing it", exercise.name);
        for (file, item) in exercise.source {
            let source =
                fs::read_to_string(root.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
            let is_it = |line: &str| {
                let line = line.trim_start();
                let bare = line.trim_start_matches("pub(super) ").trim_start_matches("pub(crate) ");
                let rest = [line, bare, bare.trim_start_matches("pub ")]
                    .iter()
                    .find_map(|line| line.strip_prefix(item));
                rest.is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
            };
            assert!(source.lines().any(is_it), "{}: {file} has no {item:?}", exercise.name);
        }
    }
}
