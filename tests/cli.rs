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
    fn the_configuration_in_force_is_shown_with_its_origins() {
        let file = File::new("show", "\nmax_depth = 5\n");
        let environment = [("RAWLINE_CONFIG", file.path()), ("RAWLINE_MAX_BATCH", "7")];
        let (exit, stdout, stderr) = rawline(&["config", "show", "--line=off"], &environment);
        assert_eq!((exit, stderr.as_str()), (0, ""));
        let words = |key: &str| {
            let line = stdout.lines().find(|line| line.split(' ').next() == Some(key)).unwrap();
            line.split_whitespace().skip(1).map(String::from).collect::<Vec<_>>()
        };
        assert_eq!(words("max_depth"), ["5", &format!("{}:2", file.path())]);
        assert_eq!(words("max_batch"), ["7", "RAWLINE_MAX_BATCH"]);
        assert_eq!(words("line"), ["off", "--line"]);
        assert_eq!(words("echo"), ["127.0.0.1:65435", "default"]);
        let json = rawline(&["config", "show", "--json"], &environment).1;
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["max_depth"]["value"], "5");
        assert_eq!(json["max_depth"]["origin"], "file");
        assert_eq!(json["max_depth"]["place"], format!("{}:2", file.path()));
    }

    #[test]
    fn check_tells_every_mistake_with_its_file_and_line() {
        let file = File::new("check", "max_depth = 999\n\nmax_dept = 1\nrpc = 65432\nfiles = \"\\u001b\\n\n");
        let (exit, stdout, stderr) =
            rawline(&["config", "check", file.path()], &[("RAWLINE_MAX_BATCH", "x")]);
        let path = file.path();
        assert_eq!((exit, stdout.as_str()), (78, ""));
        assert_eq!(
            stderr,
            format!(
                "rawline: {path}:1: max_depth: 999 is out of range: 1 to 127\n\
                 rawline: {path}:3: unknown key max_dept: did you mean max_depth?\n\
                 rawline: {path}:4: rpc: \"65432\" has no host: write 127.0.0.1:65432, or :65432 for all IPv4 interfaces\n\
                 rawline: {path}:5: the value of files has no closing quote on its line\n\
                 rawline: RAWLINE_MAX_BATCH: \"x\" is no number: write digits only\n"
            )
        );
        // `serve` tells the same, in one line.
        let (exit, line) = failure(&["serve", "--config", path], &[]);
        assert_eq!((exit, line.matches(&format!("{path}:")).count()), (78, 4));
    }

    #[test]
    fn check_looks_at_addresses_too_and_opens_none() {
        let file = File::new("reach", "# mine\nrpc = ':0'\nline = '192.0.2.1:1'\n");
        let (exit, _, stderr) = rawline(&["config", "check", file.path()], &[]);
        assert_eq!(exit, 78);
        let lines: Vec<_> = stderr.lines().collect();
        assert_eq!(lines.len(), 2, "{stderr}");
        for (line, start) in lines.iter().zip(["2: rpc: 0.0.0.0:0 can be", "3: line: 192.0.2.1:1 can be"]) {
            assert!(line.starts_with(&format!("rawline: {}:{start}", file.path())), "{line}");
        }
        // Nobody has this address, and nobody is asked to listen there.
        let (exit, stdout, stderr) =
            rawline(&["config", "check", "--allow-remote", file.path()], &[("RAWLINE_MAX_DEPHT", "1")]);
        assert_eq!((exit, stdout.as_str()), (0, "no mistakes\n"));
        assert_eq!(
            stderr,
            "rawline: warning: the environment variable RAWLINE_MAX_DEPHT is not used: did you mean \
             RAWLINE_MAX_DEPTH?\n"
        );
    }

    #[test]
    fn a_file_to_begin_with_is_written_once() {
        let file = File::new("init", "");
        fs::remove_file(&file.0).unwrap();
        let (exit, stdout, stderr) = rawline(&["config", "init", file.path()], &[]);
        assert_eq!((exit, stderr.as_str()), (0, ""));
        assert!(stdout.starts_with(file.path()), "{stdout}");
        let written = fs::read_to_string(&file.0).unwrap();
        assert_eq!(rawline(&["config", "init", "-"], &[]).1, written);
        assert_eq!(rawline(&["config", "check", file.path()], &[]).0, 0);

        fs::write(&file.0, "mine").unwrap();
        let (exit, line) = failure(&["config", "init", file.path()], &[]);
        assert_eq!(exit, 1);
        assert!(line.contains("is there already") && line.contains("--force"), "{line}");
        assert_eq!(fs::read_to_string(&file.0).unwrap(), "mine");
        assert_eq!(rawline(&["config", "init", "--force", file.path()], &[]).0, 0);
        assert_eq!(fs::read_to_string(&file.0).unwrap(), written);
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
