//! `rawline lab`: the exercises at a terminal, or under a script.
//!
//! Asks, prints and remembers; what is staged and how it is judged is the library's `lab`.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::{fs, process};

use rawline::lab::act::Actor;
use rawline::lab::progress::Notebook;
use rawline::lab::read::Evidence;
use rawline::lab::stage::stage;
use rawline::lab::{COURSE, Exercise, Face, Scene, Truth, Verdict, book, check, solve};

use super::{failed, print};
use crate::Failure;
use crate::cli::lab::Lab;
use crate::exit::{CONFIGURATION, FAILED, UNAVAILABLE};

/// Runs it to its end. `state` is where users' programs keep what they remember, if that is known.
///
/// # Errors
/// Something cannot be staged, or an answer is not right.
pub fn run(lab: Lab, state: Option<PathBuf>) -> Result<(), Failure> {
    let notebook = || {
        let directory = state.ok_or_else(|| Failure {
            exit: CONFIGURATION,
            message: "there is no place for what was staged: set HOME or XDG_STATE_HOME".into(),
        })?;
        Ok::<_, Failure>(Notebook::at(directory.join("rawline/lab")))
    };
    match lab {
        Lab::List => list(&notebook()?),
        Lab::Show(Some(name)) => print(book::page(named(&name), false).as_bytes()).map(drop),
        Lab::Show(None) => print(book::course().as_bytes()).map(drop),
        Lab::Start { name, file } => start(named(&name), file, &notebook()?),
        Lab::Check { name, file, answers, json } => judge(named(&name), &file, answers, json, &notebook()?),
        Lab::Solve(name) => show_solution(named(&name)),
        Lab::Act(name) => act(named(&name)),
    }
}

fn named(name: &str) -> &'static Exercise {
    Exercise::named(name).expect("the command line has looked")
}

fn list(notebook: &Notebook) -> Result<(), Failure> {
    let solved = notebook.solved().map_err(|error| unwritten(notebook, &error))?;
    let mut text = String::new();
    for (number, exercise) in COURSE.iter().enumerate() {
        let mark = if solved.contains(exercise.name) { "solved" } else { "" };
        text += &format!(
            "{:2}  {:16} {:7} {:8} {}\n",
            number + 1,
            exercise.name,
            mark,
            exercise.tool.program(),
            exercise.title
        );
    }
    let count = COURSE.iter().filter(|exercise| solved.contains(exercise.name)).count();
    text += &format!("\n{count} of {} solved.", COURSE.len());
    if let Some(next) = COURSE.iter().find(|exercise| !solved.contains(exercise.name)) {
        text += &format!(" Next: rawline lab show {}", next.name);
    }
    print(format!("{text}\n").as_bytes()).map(drop)
}

fn start(exercise: &'static Exercise, file: Option<String>, notebook: &Notebook) -> Result<(), Failure> {
    may_be_staged(exercise)?;
    let file = file.unwrap_or_else(|| exercise.file());
    let notes = notebook.truth(exercise.name).map_err(|error| unwritten(notebook, &error))?;
    let mut person = Person;
    let truth = stage(exercise, &quoted(&file), notes, &mut person).map_err(unstaged)?;
    let stop = if exercise.tool.comes_first() {
        format!(" Stop {} with Ctrl-C.", exercise.tool.program())
    } else {
        String::new()
    };
    let keys: String =
        exercise.questions.iter().map(|question| format!(" --answer {}=...", question.key)).collect();
    let mut text = format!(
        "\nAll is done.{stop} Then:\n\n    rawline lab check {} {}{keys}\n\n",
        exercise.name,
        quoted(&file)
    );
    for question in exercise.questions {
        text += &format!("{:>10}: {}\n", question.key, truth.fill(question.ask));
    }
    print(text.as_bytes()).map(drop)
}

/// Whether the tool is there; what is only forbidden can be allowed by `sudo`.
fn may_be_staged(exercise: &Exercise) -> Result<(), Failure> {
    match exercise.tool.missing() {
        Some(message) => Err(Failure { exit: UNAVAILABLE, message }),
        None => Ok(()),
    }
}

/// A person, or a script that behaves like one: a line on standard input is Enter, and so is its end.
struct Person;

impl Face for Person {
    fn say(&mut self, text: &str) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        writeln!(stdout, "{text}")?;
        stdout.flush()
    }

    fn look(&mut self, exercise: &Exercise, command: &str) -> io::Result<bool> {
        let allowed = exercise.tool.forbidden().map(|why| format!("{why}\n\n")).unwrap_or_default();
        let when = if exercise.tool.comes_first() { "when it runs" } else { "when you have looked" };
        self.say(&format!(
            "In another terminal, in this directory:\n\n    {command}\n\n{allowed}Press Enter here {when}."
        ))?;
        let mut line = String::new();
        Ok(io::stdin().read_line(&mut line)? > 0)
    }
}

fn judge(
    exercise: &'static Exercise,
    file: &Path,
    mut answers: BTreeMap<String, String>,
    json: bool,
    notebook: &Notebook,
) -> Result<(), Failure> {
    let notes = notebook.truth(exercise.name).map_err(|error| unwritten(notebook, &error))?;
    let truth = Truth::load(&notes)
        .map_err(|_| failed(format!("{0} has not been staged yet: rawline lab start {0}", exercise.name)))?;
    let bytes =
        fs::read(file).map_err(|error| failed(format!("{} cannot be read: {error}", file.display())))?;
    if !json && io::stdin().is_terminal() && io::stdout().is_terminal() {
        // Nobody is asked about a capture that lacks something.
        let capture = Evidence::read(exercise.tool, &bytes);
        let scene = capture.map(|evidence| Scene { truth: truth.clone(), evidence });
        if scene.is_ok_and(|scene| exercise.is_complete(&scene)) {
            ask(exercise, &truth, &mut answers)?;
        }
    }
    let verdict = check(exercise, truth, &bytes, &answers);
    if verdict.right {
        notebook.solve(exercise.name).map_err(|error| unwritten(notebook, &error))?;
    }
    let text = match json {
        true => serde_json::to_string(&verdict).expect("it is words and flags") + "\n",
        false => told(&verdict),
    };
    print(text.as_bytes())?;
    let right = verdict.findings.iter().filter(|finding| finding.right).count();
    match verdict.right {
        true => Ok(()),
        false => Err(failed(format!("not yet: {right} of {} are right", exercise.questions.len() + 1))),
    }
}

fn ask(exercise: &Exercise, truth: &Truth, answers: &mut BTreeMap<String, String>) -> Result<(), Failure> {
    for question in
        exercise.questions.iter().filter(|question| !answers.contains_key(question.key)).collect::<Vec<_>>()
    {
        print(format!("{}\n{}: ", truth.fill(question.ask), question.key).as_bytes())?;
        let mut line = String::new();
        io::stdin().read_line(&mut line).map_err(Failure::system)?;
        answers.insert(question.key.to_owned(), line.trim().to_owned());
    }
    Ok(())
}

fn told(verdict: &Verdict) -> String {
    let mut text = String::new();
    for finding in &verdict.findings {
        let mark = if finding.right { "right" } else { "wrong" };
        text += &format!("{mark}  {}: {}\n", finding.about, finding.say);
    }
    if verdict.right {
        text +=
            &format!("\nAll of it is right. `rawline lab solve {}` says why it is so.\n", verdict.exercise);
    }
    text
}

fn show_solution(exercise: &'static Exercise) -> Result<(), Failure> {
    may_be_staged(exercise)?;
    let directory = std::env::temp_dir().join(format!("rawline-lab-{}", process::id()));
    fs::create_dir(&directory).map_err(Failure::system)?;
    let solution = solve::solve(exercise, &directory);
    let _ = fs::remove_dir_all(&directory);
    let solution = solution.map_err(unstaged)?;
    let mut text = format!("$ {}\n\n", solution.command);
    for (line, note) in &solution.lines {
        text += &format!("{line}\n");
        if let Some(note) = note {
            text += &format!("        ^ {note}\n");
        }
    }
    text.push('\n');
    for question in exercise.questions {
        text += &format!(
            "{}\n{} = {}\n\n",
            solution.truth.fill(question.ask),
            question.key,
            solution.answers[question.key]
        );
    }
    print(format!("{text}{}\n", book::filled(exercise.lesson)).as_bytes()).map(drop)
}

fn act(exercise: &Exercise) -> Result<(), Failure> {
    let (mut input, mut output) = (io::stdin().lock(), io::stdout().lock());
    let mut actor = Actor { input: &mut input, output: &mut output };
    match (exercise.act)(&mut actor) {
        // The lab is gone, and with it all reason to go on.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(()),
        Err(error) => {
            let _ = actor.tell("failed", &error);
            Err(failed(format!("{}: {error}", exercise.name)))
        }
        Ok(()) => Ok(()),
    }
}

fn unstaged(error: io::Error) -> Failure {
    let exit = if error.kind() == io::ErrorKind::Unsupported { UNAVAILABLE } else { FAILED };
    let remedy = if error.kind() == io::ErrorKind::PermissionDenied { ": run the lab as root" } else { "" };
    Failure { exit, message: format!("it cannot be staged: {error}{remedy}") }
}

fn unwritten(notebook: &Notebook, error: &io::Error) -> Failure {
    failed(format!("{}: {error}", notebook.path().display()))
}

/// A path as one word of a shell.
fn quoted(path: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    if path.chars().all(plain) { path.to_owned() } else { format!("'{}'", path.replace('\'', r"'\''")) }
}
