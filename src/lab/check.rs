//! The verdict: what of a capture and its answers is right, and for the rest a hint that leads on.
//!
//! A hint never holds the answer; `tests/lab.rs` looks for it. The capture is judged first, since the right answers
//! depend on it: as long as it lacks something, only the first thing that it lacks is said.

use std::collections::BTreeMap;

use serde::Serialize;

use super::read::{Evidence, Unreadable};
use super::{Exercise, Scene, Truth};

/// The whole verdict.
#[derive(Debug, Serialize)]
pub struct Verdict {
    /// The exercise.
    pub exercise: &'static str,
    /// Whether all of it is right.
    pub right: bool,
    /// In the order in which they were looked at.
    pub findings: Vec<Finding>,
}

/// What one look brought.
#[derive(Debug, Serialize)]
pub struct Finding {
    /// What was looked at: `capture`, or the key of a question.
    pub about: &'static str,
    /// Whether it is as it should be.
    pub right: bool,
    /// What is there, or the hint.
    pub say: String,
}

/// Judges the bytes of `file` and the answers, for what was staged.
pub fn check(
    exercise: &'static Exercise,
    truth: Truth,
    file: &[u8],
    answers: &BTreeMap<String, String>,
) -> Verdict {
    let mut findings = Vec::new();
    let about = "capture";
    match Evidence::read(exercise.tool, file) {
        Err(Unreadable(why)) => findings.push(Finding { about, right: false, say: why }),
        Ok(evidence) => {
            let scene = Scene { truth, evidence };
            match exercise.marks.iter().find(|mark| !(mark.seen)(&scene)) {
                Some(lacking) => {
                    let say = format!("no sign of {}: {}", lacking.what, scene.truth.fill(lacking.hint));
                    findings.push(Finding { about, right: false, say });
                }
                None => {
                    let there: Vec<_> = exercise.marks.iter().map(|mark| mark.what).collect();
                    let say = format!("it shows {}", there.join(", "));
                    findings.push(Finding { about, right: true, say });
                    findings.extend(exercise.questions.iter().map(|question| {
                        let given = answers.get(question.key).map(|given| given.trim());
                        let (right, say) = match given.filter(|given| !given.is_empty()) {
                            None => (false, format!("not answered: {}", scene.truth.fill(question.ask))),
                            Some(given) if (question.right)(&scene).accepts(given) => {
                                (true, given.to_owned())
                            }
                            Some(given) => {
                                let known = question.mistakes.iter();
                                let mut known =
                                    known.filter(|mistake| (mistake.given)(&scene).accepts(given));
                                let hint = known.next().map_or(question.hint, |mistake| mistake.hint);
                                (false, format!("not {given}. {}", scene.truth.fill(hint)))
                            }
                        };
                        Finding { about: question.key, right, say }
                    }));
                }
            }
        }
    }
    let right = findings.iter().all(|finding| finding.right);
    Verdict { exercise: exercise.name, right, findings }
}
