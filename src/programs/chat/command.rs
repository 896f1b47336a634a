//! What a person means by a line: a message, or one of the commands.
//!
//! Owns the list of commands. Does nothing. Called by both faces of the chat client, for people only: in a pipe a line
//! is a message, whatever it begins with.

/// A line, understood.
#[derive(Debug, PartialEq, Eq)]
pub enum Command<'a> {
    /// Say this.
    Say(&'a str),
    /// Who is there?
    Users,
    /// Leave.
    Quit,
    /// What can be done.
    Help,
    /// No such command.
    Unknown(&'a str),
}

/// Answers `/help`.
pub const HELP: [&str; 4] = [
    "/users  who is here",
    "/quit   leaves; so do Ctrl-D, and Ctrl-C on an empty line",
    "/help   this list",
    "//text  says /text; everything else is said as it is",
];

/// What `line` means; `None` if nothing.
pub fn read(line: &str) -> Option<Command<'_>> {
    let line = line.trim();
    Some(match line.strip_prefix('/') {
        None if line.is_empty() => return None,
        None => Command::Say(line),
        Some(text) if text.starts_with('/') => Command::Say(text),
        Some("users") => Command::Users,
        Some("quit") => Command::Quit,
        Some("help") => Command::Help,
        Some(_) => Command::Unknown(line.split_whitespace().next().unwrap_or_default()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slash_begins_a_command_and_two_a_message() {
        for (line, means) in [
            ("  hi  there ", Some(Command::Say("hi  there"))),
            (" \t", None),
            ("/users", Some(Command::Users)),
            ("/quit ", Some(Command::Quit)),
            ("/help", Some(Command::Help)),
            ("//etc/passwd", Some(Command::Say("/etc/passwd"))),
            ("/nick Bob", Some(Command::Unknown("/nick"))),
            ("/", Some(Command::Unknown("/"))),
        ] {
            assert_eq!(read(line), means, "{line:?}");
        }
    }
}
