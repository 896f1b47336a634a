//! Runs the binary the way a user does and reads what he reads: streams and exit codes.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::{env, fs, process};

/// `rawline` with these arguments and, of the environment, these `RAWLINE_*` variables only.
fn rawline(arguments: &[&str], environment: &[(&str, &str)]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rawline"));
    for (name, _) in env::vars_os() {
        if name.to_string_lossy().starts_with("RAWLINE_") {
            command.env_remove(name);
        }
    }
    let Output { status, stdout, stderr } =
        command.args(arguments).envs(environment.iter().copied()).stdin(Stdio::null()).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().expect("an exit code, no signal"), text(stdout), text(stderr))
}

/// The exit code and the one line on stderr, `rawline: ` cut off, of a run that must fail.
fn failure(arguments: &[&str], environment: &[(&str, &str)]) -> (i32, String) {
    let (exit, stdout, stderr) = rawline(arguments, environment);
    assert_eq!(stdout, "");
    let line = stderr.strip_prefix("rawline: ").and_then(|rest| rest.strip_suffix('\n'));
    let line = line.unwrap_or_else(|| panic!("{stderr:?}"));
    assert!(!line.contains('\n'), "{line:?}");
    (exit, line.into())
}

/// A configuration file that is gone when the test is over.
struct File(PathBuf);

impl File {
    fn new(name: &str, content: &str) -> Self {
        let path = env::temp_dir().join(format!("rawline-cli-{}-{name}.conf", process::id()));
        fs::write(&path, content).unwrap();
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn alone_it_introduces_itself() {
    let (exit, stdout, stderr) = rawline(&[], &[]);
    assert_eq!((exit, stderr.as_str()), (0, ""));
    for part in ["rawline serve ", "nc 127.0.0.1 65432 ", "rawline serve --help", "join_chat"] {
        assert!(stdout.contains(part), "{stdout}");
    }
}

#[test]
fn a_bad_file_is_named_with_its_line() {
    let file = File::new("bad", "# mine\nmax_depth = 64\nmax_message_bytes = 64KiB\n");
    assert_eq!(
        failure(&["serve"], &[("RAWLINE_CONFIG", file.path())]),
        (78, format!("{}:3: 64KiB needs quotes: max_message_bytes = \"64KiB\"", file.path()))
    );
}

#[test]
fn an_unknown_key_gets_a_suggestion() {
    let file = File::new("key", "max_dept = 64\n");
    assert_eq!(
        failure(&["serve"], &[("RAWLINE_CONFIG", file.path())]),
        (78, format!("{}:1: unknown key max_dept: did you mean max_depth?", file.path()))
    );
}

#[test]
fn a_missing_file_is_one_line() {
    assert_eq!(
        failure(&["serve"], &[("RAWLINE_CONFIG", "/no/such.conf")]),
        (78, "/no/such.conf: there is no such file".into())
    );
}

#[test]
fn a_remote_address_names_the_flag_that_allows_it() {
    let (exit, line) = failure(&["serve"], &[("RAWLINE_RPC", "0.0.0.0:0")]);
    assert_eq!(exit, 78);
    assert!(line.starts_with("rpc: 0.0.0.0:0 can be reached from other machines"), "{line}");
    assert!(line.contains("--allow-remote"), "{line}");
}

#[test]
fn what_the_user_wrote_cannot_command_the_terminal() {
    let (exit, line) = failure(&["serve"], &[("RAWLINE_CONFIG", "/no/\u{1b}[31m\nx")]);
    assert_eq!((exit, line.as_str()), (78, r"/no/\u{1b}[31m\nx: there is no such file"));
}

#[cfg(feature = "cli")]
mod with_flags {
    use super::*;

    #[test]
    fn the_version_is_on_stdout() {
        let (exit, stdout, stderr) = rawline(&["--version"], &[]);
        assert_eq!((exit, stderr.as_str()), (0, ""));
        assert!(stdout.starts_with(concat!("rawline ", env!("CARGO_PKG_VERSION"))), "{stdout}");
    }

    #[test]
    fn help_is_on_stdout() {
        let (exit, stdout, stderr) = rawline(&["serve", "--help"], &[]);
        assert_eq!((exit, stderr.as_str()), (0, ""));
        for part in ["Usage: rawline serve", "--rpc <ADDR>", "[env: RAWLINE_RPC]", "Limits:"] {
            assert!(stdout.contains(part), "{part} in {stdout}");
        }
        assert_eq!(rawline(&["--help"], &[]).0, 0);
    }

    #[test]
    fn a_bad_flag_gets_a_suggestion() {
        let (exit, line) = failure(&["serve", "--max-dept", "5"], &[]);
        assert_eq!(exit, 2);
        assert!(line.contains("'--max-dept'") && line.contains("'--max-depth'"), "{line}");
    }

    #[test]
    fn a_bad_value_names_its_flag() {
        assert_eq!(
            failure(&["serve", "--max-depth", "200"], &[]),
            (2, "--max-depth: 200 is out of range: 1 to 127".into())
        );
    }

    #[test]
    fn the_flag_names_the_file() {
        let file = File::new("flag", "rpc = 65432");
        assert_eq!(
            failure(&["serve", "--config", file.path()], &[]),
            (
                78,
                format!(
                    "{}:1: rpc: \"65432\" has no host: write 127.0.0.1:65432, or :65432 for all IPv4 interfaces",
                    file.path()
                )
            )
        );
    }
}

#[cfg(not(feature = "cli"))]
#[test]
fn without_flags_an_argument_says_what_to_use() {
    let (exit, line) = failure(&["serve", "--rpc", "off"], &[]);
    assert_eq!(exit, 2);
    assert!(line.contains("RAWLINE_CONFIG"), "{line}");
}
