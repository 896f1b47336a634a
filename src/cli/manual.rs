//! `rawline man`: the manual page, made from the same commands that clap reads, so it cannot be behind them.
//!
//! clap_mangen writes a page for each command; here they become sections of one, since that is what `man rawline`
//! is to find. What follows the flags in `--help` is text for a terminal: its indented lines are examples
//! and stay as they are, the others are filled like all text of a page. Called by `commands.rs`.

use clap::Command;
use clap_mangen::Man;

/// The page, in roff.
pub fn page(command: Command) -> String {
    // That every command has --help is said once. Building gives the commands their full names, `rawline serve`.
    let mut command =
        command.disable_help_subcommand(true).mut_subcommands(|sub| sub.disable_help_flag(true));
    command.build();
    let version = escaped(command.get_version().unwrap_or_default());
    let about = escaped(&command.get_about().map(ToString::to_string).unwrap_or_default());
    let mut page = format!(
        "{APOSTROPHE}.TH RAWLINE 1 \"\" \"rawline {version}\" \"User Commands\"\n.SH NAME\nrawline \\- {about}\n.SH SYNOPSIS\n"
    );
    synopsis(&mut command, &mut page);
    page.push_str(".SH DESCRIPTION\n");
    page.push_str(DESCRIPTION);
    for sub in leaves(&command) {
        let name = sub.get_bin_name().unwrap_or_else(|| sub.get_name());
        page.push_str(&format!(".SH \"{}\"\n", name.to_uppercase()));
        page.push_str(&escaped(&sub.get_about().map(ToString::to_string).unwrap_or_default()));
        page.push_str(".\n");
        page.push_str(&options(sub));
        if let Some(more) = sub.get_after_help() {
            page.push_str(&explanation(&more.to_string()));
        }
    }
    page.push_str(FILES);
    page
}

/// How each command is called that is one, and not only the first word of others.
fn synopsis(command: &mut Command, page: &mut String) {
    for sub in command.get_subcommands_mut() {
        if sub.has_subcommands() {
            synopsis(sub, page);
            continue;
        }
        let usage = sub.render_usage().to_string();
        let usage = usage.trim_start_matches("Usage: ");
        let (name, rest) = usage.split_at(sub.get_bin_name().map_or(0, str::len));
        page.push_str(&format!("\\fB{}\\fR{}\n.br\n", escaped(name), escaped(rest)));
    }
}

/// Those commands.
fn leaves(command: &Command) -> Vec<&Command> {
    let own = |sub| if Command::has_subcommands(sub) { leaves(sub) } else { vec![sub] };
    command.get_subcommands().flat_map(own).collect()
}

/// What clap_mangen writes for an apostrophe: a straight one, in a formatter that has it.
const APOSTROPHE: &str = ".ie \\n(.g .ds Aq \\(aq\n.el .ds Aq '\n";

const DESCRIPTION: &str = "\
rawline is a server, and the clients for it. The server runs a chat, which programs join by JSON\\-RPC and people by \
plain lines, and an echo service, all in one process, on epoll or kqueue.
.PP
It listens on this machine only, unless it is told otherwise. Nothing needs to be configured.
.PP
Every command explains itself with \\fB\\-\\-help\\fR (\\fB\\-h\\fR); \\fBrawline \\-\\-version\\fR (\\fB\\-V\\fR) \
says which build this is.
";

const FILES: &str = "\
.SH FILES
A configuration file is read where \\fB\\-\\-config\\fR or RAWLINE_CONFIG names one. There is no other.
.SH \"SEE ALSO\"
.BR nc (1),
.BR telnet (1),
.BR epoll (7)
";

/// What clap_mangen writes of the flags. The sections of a page of their own are parts of a section of this one.
fn options(command: &Command) -> String {
    let mut out = Vec::new();
    Man::new(command.clone()).render_options_section(&mut out).expect("memory takes everything");
    let mut part = String::new();
    for line in String::from_utf8(out).expect("a page is text").lines() {
        match line.strip_prefix(".SH ") {
            Some(heading) => {
                let (first, rest) = heading.split_at(1);
                part.push_str(&format!(".SS {first}{}", rest.to_lowercase()));
            }
            // The same two again.
            None if line.starts_with(".ie ") || line.starts_with(".el ") => continue,
            None => part.push_str(line),
        }
        part.push('\n');
    }
    part
}

/// The text behind the flags of `--help`: paragraphs, and examples where the lines are indented.
fn explanation(text: &str) -> String {
    let mut out = String::new();
    for paragraph in text.split("\n\n") {
        let is_example = paragraph.starts_with(INDENT);
        out.push_str(if is_example { ".PP\n.RS 4\n.nf\n" } else { ".PP\n" });
        for line in paragraph.lines() {
            out.push_str(&escaped(line.strip_prefix(INDENT).unwrap_or(line)));
            out.push('\n');
        }
        out.push_str(if is_example { ".fi\n.RE\n" } else { "" });
    }
    out
}

const INDENT: &str = "    ";

/// Text that is no command of roff, whose minus signs and quotation marks can be copied.
fn escaped(line: &str) -> String {
    let line = line.replace('\\', "\\e").replace('-', "\\-").replace('\'', "\\(aq").replace('`', "\\(ga");
    if line.starts_with('.') { format!("\\&{line}") } else { line }
}

#[cfg(test)]
mod tests {
    use super::super::commands::command;
    use super::*;

    #[test]
    fn every_command_and_flag_has_its_place() {
        let page = page(command());
        let mut command = command();
        command.build();
        // That every command has --help, and some have `help`, is said once.
        let subs = leaves(&command).into_iter().filter(|sub| sub.get_name() != "help");
        for sub in subs.filter(|sub| !sub.get_bin_name().unwrap().contains(" help")) {
            let heading = format!(".SH \"{}\"\n", sub.get_bin_name().unwrap().to_uppercase());
            let (_, section) = page.split_once(&heading).unwrap_or_else(|| panic!("{heading}"));
            let section = section.split("\n.SH ").next().unwrap();
            let shown =
                sub.get_arguments().filter(|argument| !argument.is_hide_set() && argument.get_id() != "help");
            for argument in shown {
                let name = match argument.get_long() {
                    Some(long) => format!("\\fB\\-\\-{}\\fR", long.replace('-', "\\-")),
                    None => format!("\\fI{}\\fR", argument.get_id()),
                };
                let name = name.replace("shell", "SHELL");
                assert!(section.contains(&name), "{name} in {section}");
            }
        }
        assert_eq!(page.matches(".ds Aq").count(), 2);
    }

    #[test]
    fn examples_keep_their_lines_and_nothing_is_a_command_by_accident() {
        assert_eq!(
            explanation("Say:\n\n    a -b\n    .c\n\n'd\\e"),
            ".PP\nSay:\n.PP\n.RS 4\n.nf\na \\-b\n\\&.c\n.fi\n.RE\n.PP\n\\(aqd\\ee\n"
        );
    }
}
