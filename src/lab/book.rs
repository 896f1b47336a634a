//! The course as pages: one for a terminal, all of them as `docs/lab.md`. Neither holds an answer.

use super::{COURSE, Exercise, Tool};

/// What stands before the first exercise. `docs/lab.md` is `rawline lab show all`.
const INTRODUCTION: &str = include_str!("introduction.md");

/// The page of one exercise, as Markdown; `links` makes the places in the source links from `docs/`.
pub fn page(exercise: &Exercise, links: bool) -> String {
    let number = COURSE.iter().position(|other| other.name == exercise.name).map_or(0, |at| at + 1);
    let mut page = format!("## {number}. {}\n\n{}\n\n", exercise.title, filled(exercise.text));
    page += &format!("```sh\nrawline lab start {}\n```\n\n", exercise.name);
    page += match exercise.tool {
        Tool::Ss => {
            "When it asks you, look from another terminal; it prints the command with the numbers filled in:\n\n"
        }
        _ => {
            "It prints what to run in another terminal, with the numbers filled in, and waits until that runs:\n\n"
        }
    };
    let command = |text: &str| blank(&text.replace("{file}", &exercise.file()));
    let (linux, macos) = (command(exercise.linux), command(exercise.macos));
    page += &format!("```sh\n# Linux\n{linux}\n# macOS\n{macos}\n```\n\n");
    page += &format!("{}\n\n", filled(&exercise.look.replace("{file}", &exercise.file())));
    for question in exercise.questions {
        page += &format!("- **{}**: {}\n", question.key, blank(question.ask));
    }
    let answers: String =
        exercise.questions.iter().map(|question| format!(" --answer {}=...", question.key)).collect();
    page += &format!("\n```sh\nrawline lab check {} {}{answers}\n```\n\n", exercise.name, exercise.file());
    page += &format!("Read: {}.\n", exercise.read);
    let places = exercise.source.iter().map(|(file, item)| {
        if links { format!("`{item}` in [`{file}`](../{file})") } else { format!("`{item}` in {file}") }
    });
    page += &format!("Where this server does it: {}.\n", places.collect::<Vec<_>>().join(", "));
    page
}

/// The whole course.
pub fn course() -> String {
    let mut text = INTRODUCTION.to_owned();
    for exercise in COURSE {
        text += "\n";
        text += &page(exercise, true);
    }
    text
}

/// A command whose numbers are not known yet: `{port}` is PORT.
fn blank(command: &str) -> String {
    let parts = command.split('{').enumerate().map(|(index, part)| match part.split_once('}') {
        Some((key, rest)) if index > 0 => key.to_uppercase() + rest,
        _ => part.to_owned(),
    });
    parts.collect()
}

/// Lines of a width that can be read.
pub fn filled(text: &str) -> String {
    let (mut lines, mut line) = (String::new(), String::new());
    for word in text.split_whitespace() {
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > 110 {
            lines += &format!("{line}\n");
            line.clear();
        }
        line += if line.is_empty() { "" } else { " " };
        line += word;
    }
    lines + &line
}
