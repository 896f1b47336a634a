//! A solution: the real tool, run on a real staging, its output with notes, and the answers that follow from it.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStderr, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::read::Evidence;
use super::stage::{pause, stage, until};
use super::{Exercise, Face, Scene, Tool, Truth, tool};
use crate::transport::sys::probe;

/// What there was to see.
pub struct Solution {
    /// The command that was run.
    pub command: String,
    /// The lines of the tool's output, each with its note.
    pub lines: Vec<(String, Option<&'static str>)>,
    /// What the staging knew.
    pub truth: Truth,
    /// The answers, by the keys of the questions.
    pub answers: BTreeMap<&'static str, String>,
}

/// The right answers for this capture.
pub fn answers(exercise: &Exercise, scene: &Scene) -> BTreeMap<&'static str, String> {
    exercise.questions.iter().map(|question| (question.key, (question.right)(scene).show())).collect()
}

/// Solves it in this directory.
///
/// # Errors
/// The tool cannot be run, or did not see what it should.
pub fn solve(exercise: &'static Exercise, directory: &Path) -> io::Result<Solution> {
    let path = directory.join(exercise.file());
    let file = path.to_str().ok_or(io::ErrorKind::InvalidInput)?;
    let mut runner = Runner { command: String::new(), tool: None, said: None };
    let notes = directory.join(format!("{}.truth", exercise.name));
    let truth = stage(exercise, file, notes, &mut runner)?;
    let mut scene = Scene { truth, evidence: Evidence::default() };
    let seen = until("the tool sees all of it", || {
        let file = fs::read(&path).unwrap_or_default();
        scene.evidence = Evidence::read(exercise.tool, &file).unwrap_or_default();
        exercise.is_complete(&scene)
    });
    runner.stop()?;
    seen?;
    scene.evidence = Evidence::read(exercise.tool, &fs::read(&path)?).unwrap_or_default();
    let text = match exercise.tool {
        Tool::Tcpdump => {
            // Looked up where the tool itself was, as a user's PATH may not lead there.
            let read = tool::spawnable(&format!("tcpdump -nn -r {file}")).stdout(Stdio::piped()).output()?;
            String::from_utf8_lossy(&read.stdout).into_owned()
        }
        _ => String::from_utf8_lossy(&fs::read(&path)?).into_owned(),
    };
    let note =
        |line: &str| exercise.notes.iter().find(|(word, _)| line.contains(word)).map(|(_, note)| *note);
    let lines = text.lines().map(|line| (line.to_owned(), note(line))).collect();
    let answers = answers(exercise, &scene);
    Ok(Solution { command: runner.command.clone(), lines, truth: scene.truth, answers })
}

/// A learner that does as it is told.
struct Runner {
    command: String,
    tool: Option<Child>,
    /// What it says on stderr. Held for as long as it runs, or it would die of SIGPIPE at its next word.
    said: Option<BufReader<ChildStderr>>,
}

impl Runner {
    /// Ctrl-C, and the end of the tool.
    fn stop(&mut self) -> io::Result<()> {
        let Some(mut child) = self.tool.take() else { return Ok(()) };
        kill(Pid::from_raw(child.id().try_into().unwrap_or(i32::MAX)), Signal::SIGINT)?;
        child.wait().map(drop)
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        if let Some(child) = &mut self.tool {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Face for Runner {
    fn say(&mut self, _: &str) -> io::Result<()> {
        Ok(())
    }

    fn look(&mut self, exercise: &Exercise, command: &str) -> io::Result<bool> {
        self.command = command.to_owned();
        // What is asked for a password would wait for ever.
        let mut process = tool::spawnable(&command.replacen("sudo ", "sudo -n ", 1));
        if !exercise.tool.comes_first() {
            return process.status().map(|_| false);
        }
        probe::end_with_parent(&mut process);
        let mut child = process.spawn()?;
        let said = self.said.insert(BufReader::new(child.stderr.take().expect("it is piped")));
        self.tool = Some(child);
        if exercise.tool == Tool::Strace && cfg!(target_vendor = "apple") {
            // dtruss says nothing here: its stderr is the file.
            pause(Duration::from_secs(2));
            return Ok(false);
        }
        let mut line = String::new();
        while !["attached", "listening on"].iter().any(|word| line.contains(word)) {
            line.clear();
            if said.read_line(&mut line)? == 0 {
                return Err(io::Error::other("the tool ended at once: try it as root"));
            }
        }
        Ok(false)
    }
}
