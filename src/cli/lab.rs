//! `rawline lab`: its arguments. What they mean is in `programs/lab.rs`, what there is to learn in the library's `lab`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, value_parser};
use rawline::config::nearest;
use rawline::lab::{COURSE, Exercise};

use super::Command;

/// What to do in the lab; the strings are names of exercises that exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lab {
    /// All exercises and which are solved.
    List,
    /// The page of one; `None`: all of them.
    Show(Option<String>),
    /// Stage one.
    Start {
        /// Which.
        name: String,
        /// What the tool is to write; `None`: the usual name, in the working directory.
        file: Option<String>,
    },
    /// Judge what was seen.
    Check {
        /// Which.
        name: String,
        /// What the tool wrote.
        file: PathBuf,
        /// By the keys of the questions.
        answers: BTreeMap<String, String>,
        /// For a program, which is never asked.
        json: bool,
    },
    /// Do it and show how.
    Solve(String),
    /// Be the process that one of them looks at.
    Act(String),
}

/// What clap is to know of it.
pub fn command() -> clap::Command {
    let name =
        || Arg::new("NAME").value_name("NAME").required(true).help("Which exercise, as `lab list` calls it.");
    let sub = clap::Command::new;
    clap::Command::new("lab")
        .about("Exercises with strace, tcpdump and ss that know whether they were solved")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(sub("list").about("The exercises in reading order, and which are solved"))
        .subcommand(
            sub("show")
                .about("What to read before an exercise and while doing it; `show all` is the course")
                .arg(name()),
        )
        .subcommand(
            sub("start")
                .about("Stages an exercise: says what to run in another terminal, and waits for it")
                .arg(name())
                .arg(Arg::new("file").long("file").value_name("FILE").help("What the tool is to write.")),
        )
        .subcommand(
            sub("check")
                .about("Says whether a capture and its answers are right, or gives a hint")
                .arg(name())
                .arg(
                    Arg::new("FILE")
                        .value_name("FILE")
                        .required(true)
                        .value_parser(value_parser!(PathBuf))
                        .help("What the tool wrote: text of strace or ss, a capture of tcpdump or its text."),
                )
                .arg(
                    Arg::new("answer")
                        .long("answer")
                        .value_name("KEY=VALUE")
                        .action(ArgAction::Append)
                        .help("The answer to a question. What is not given is asked for on a terminal."),
                )
                .arg(
                    Arg::new("json")
                        .long("json")
                        .action(ArgAction::SetTrue)
                        .help("Prints the verdict as one JSON object, and asks nothing."),
                ),
        )
        .subcommand(sub("solve").about("Runs the tool itself and shows an annotated solution").arg(name()))
        .subcommand(sub("act").hide(true).arg(name()))
        .after_help(EXPLANATION)
}

const EXPLANATION: &str = "\
Begin with the first that is not solved:

    rawline lab list
    rawline lab show handshake
    rawline lab start handshake               says what to run in a second terminal
    rawline lab check handshake handshake.pcap --answer mss=1460 --answer ack=7
    rawline lab solve handshake               when all hints are used up

`start` goes on at Enter. In a script a line on its standard input is one, and so is its end.

What was staged and what is solved is kept in rawline/lab below XDG_STATE_HOME, or ~/.local/state.";

/// What the user asks for. The error is a sentence.
pub fn read(matches: &ArgMatches) -> Result<Command, String> {
    let (action, matches) = matches.subcommand().expect("it is required");
    let name = || known(matches.get_one::<String>("NAME").expect("it is required"));
    let lab = match action {
        "list" => Lab::List,
        "show" if matches.get_one::<String>("NAME").is_some_and(|name| name == "all") => Lab::Show(None),
        "show" => Lab::Show(Some(name()?)),
        "start" => Lab::Start { name: name()?, file: matches.get_one("file").cloned() },
        "check" => Lab::Check {
            name: name()?,
            file: matches.get_one::<PathBuf>("FILE").expect("it is required").clone(),
            answers: answers(&name()?, matches)?,
            json: matches.get_flag("json"),
        },
        "solve" => Lab::Solve(name()?),
        "act" => Lab::Act(name()?),
        other => unreachable!("clap knows no {other}"),
    };
    Ok(Command::Lab(lab))
}

fn known(name: &str) -> Result<String, String> {
    if Exercise::named(name).is_some() {
        return Ok(name.to_owned());
    }
    let near = nearest(name, COURSE.iter().map(|exercise| exercise.name.to_owned()));
    let tip = near.map(|near| format!(" tip: a similar one exists: {near:?};")).unwrap_or_default();
    Err(format!("there is no exercise {name:?};{tip} `rawline lab list` lists them"))
}

fn answers(name: &str, matches: &ArgMatches) -> Result<BTreeMap<String, String>, String> {
    let keys: Vec<_> = Exercise::named(name).expect("it was found").questions.iter().map(|q| q.key).collect();
    let given = matches.get_many::<String>("answer").into_iter().flatten();
    given
        .map(|given| {
            let (key, value) =
                given.split_once('=').ok_or_else(|| format!("--answer {given}: write KEY=VALUE"))?;
            match keys.contains(&key) {
                true => Ok((key.to_owned(), value.to_owned())),
                false => Err(format!("--answer {given}: {name} asks for {}", keys.join(", "))),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;

    fn run(line: &str) -> Result<Lab, String> {
        match parse(line.split(' ').map(Into::into)) {
            Ok(Command::Lab(lab)) => Ok(lab),
            Ok(other) => panic!("{other:?}"),
            Err(failure) => Err(failure.message),
        }
    }

    #[test]
    fn every_action_is_read() {
        assert_eq!(run("rawline lab list"), Ok(Lab::List));
        assert_eq!(run("rawline lab show all"), Ok(Lab::Show(None)));
        assert_eq!(run("rawline lab show close"), Ok(Lab::Show(Some("close".into()))));
        let name = "close".to_owned();
        assert_eq!(
            run("rawline lab start close --file x"),
            Ok(Lab::Start { name: name.clone(), file: Some("x".into()) })
        );
        let answers = [("first".into(), "a=b".into())].into();
        assert_eq!(
            run("rawline lab check close x --json --answer first=a=b"),
            Ok(Lab::Check { name, file: "x".into(), answers, json: true })
        );
    }

    #[test]
    fn mistakes_lead_on() {
        for (line, message) in [
            (
                "rawline lab show closee",
                "there is no exercise \"closee\"; tip: a similar one exists: \"close\"; \
                 `rawline lab list` lists them",
            ),
            ("rawline lab check close x --answer first", "--answer first: write KEY=VALUE"),
            ("rawline lab check close x --answer x=1", "--answer x=1: close asks for first, after, fins"),
        ] {
            assert_eq!(run(line).unwrap_err(), message, "{line}");
        }
    }
}
