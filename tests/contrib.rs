//! The files in `contrib/`: they are read by the tools they are for, where those are here, and what they call is what the
//! binary takes.

#![cfg(feature = "cli")]

#[path = "common/client.rs"]
mod client;
#[path = "common/daemon.rs"]
mod daemon;

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use daemon::Daemon;

/// The highest exposure that `systemd-analyze security` may find, of 10.
const MAX_EXPOSURE: f64 = 2.0;

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("contrib").join(name)
}

fn read(name: &str) -> String {
    std::fs::read_to_string(path(name)).unwrap()
}

/// What a program says, if it is installed.
fn run(program: &str, arguments: &[&str]) -> Option<Output> {
    match Command::new(program).args(arguments).stdin(Stdio::null()).output() {
        Ok(output) => Some(output),
        Err(error) => {
            println!("skipped: {program}: {error}");
            None
        }
    }
}

fn rawline(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rawline"));
    for (name, _) in env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("RAWLINE_")) {
        command.env_remove(name);
    }
    command.args(arguments).stdin(Stdio::null()).output().unwrap()
}

/// `serve` with these arguments would start: `config check` takes the same.
fn assert_taken(serve: &[&str]) {
    assert_eq!(serve[0], "serve", "{serve:?}");
    let output = rawline(&[&["config", "check"], &serve[1..]].concat());
    assert!(output.status.success(), "{serve:?}: {}", String::from_utf8_lossy(&output.stderr));
}

// --- systemd ---

/// The values of a setting of the unit, in order.
fn settings(unit: &str, name: &str) -> Vec<String> {
    let lines = unit.lines().filter_map(|line| line.strip_prefix(&format!("{name}=")));
    lines.map(str::to_owned).collect()
}

#[test]
fn systemd_finds_the_unit_hardened() {
    let unit = path("rawline.service");
    let threshold = format!("--threshold={}", MAX_EXPOSURE * 10.0);
    let Some(output) =
        run("systemd-analyze", &["security", "--offline=yes", &threshold, unit.to_str().unwrap()])
    else {
        return;
    };
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() && !text.contains("Overall exposure level") {
        return println!("skipped: this systemd-analyze knows no --offline: {output:?}");
    }
    let level = text.split("Overall exposure level for rawline.service: ").nth(1).unwrap();
    let level: f64 = level.split_whitespace().next().unwrap().parse().unwrap();
    assert!(level <= MAX_EXPOSURE && output.status.success(), "{text}");
}

#[test]
fn systemd_understands_every_line_of_the_unit() {
    // It looks for the binary, and for the manual page.
    let unit = read("rawline.service")
        .replace("/usr/local/bin/rawline", env!("CARGO_BIN_EXE_rawline"))
        .replace("Documentation=man:rawline(1)\n", "");
    let copy = env::temp_dir().join(format!("rawline-{}.service", std::process::id()));
    std::fs::write(&copy, unit).unwrap();
    let output = run("systemd-analyze", &["verify", "--man=no", copy.to_str().unwrap()]);
    std::fs::remove_file(&copy).unwrap();
    let Some(output) = output else { return };
    // About other units of this machine it may say what it likes.
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let name = copy.file_name().unwrap().to_str().unwrap();
    let ours: Vec<_> = said.lines().filter(|line| line.contains(name)).collect();
    assert_eq!(ours, [] as [&str; 0]);
}

#[test]
fn the_unit_calls_what_there_is() {
    let unit = read("rawline.service");
    let file = env::temp_dir().join(format!("rawline-contrib-{}.conf", std::process::id()));
    let file = file.to_str().unwrap();
    assert!(rawline(&["config", "init", "--force", file]).status.success());
    let commands = ["ExecStartPre", "ExecStart", "ExecReload"].map(|name| settings(&unit, name)).concat();
    assert_eq!(commands.len(), 4);
    for command in commands.iter().filter(|command| !command.starts_with("/bin/kill -HUP ")) {
        let words: Vec<_> = command.split(' ').collect();
        assert_eq!(words[0], "/usr/local/bin/rawline");
        let words: Vec<_> =
            words[1..].iter().map(|word| if *word == "/etc/rawline.conf" { file } else { word }).collect();
        match words[0] {
            "serve" => assert_taken(&words),
            _ => assert!(rawline(&words).status.success(), "{words:?}"),
        }
    }
    std::fs::remove_file(file).unwrap();
    // Codes that the page of exit codes has.
    let page = String::from_utf8(rawline(&["exit-codes"]).stdout).unwrap();
    let prevented = settings(&unit, "RestartPreventExitStatus").remove(0);
    assert!(prevented.split(' ').all(|code| page.contains(&format!("\n{code:>7}  "))), "{prevented}");
}

// --- launchd ---

/// Elements and texts of a plist, comments left out; the test of its form, where no tool is.
fn tokens(plist: &str) -> Vec<String> {
    let mut rest = plist.to_owned();
    while let Some(start) = rest.find("<!--") {
        let end = rest[start..].find("-->").expect("a comment ends") + start;
        assert!(!rest[start + 4..end].contains("--"), "no comment holds two hyphens");
        rest.replace_range(start..end + 3, "");
    }
    let mut tokens = Vec::new();
    for part in rest.split('<').skip(1) {
        let (tag, text) = part.split_once('>').expect("a tag ends");
        tokens.push(format!("<{tag}>"));
        if !text.trim().is_empty() {
            tokens.push(text.to_owned());
        }
    }
    tokens.retain(|token| !token.starts_with("<?") && !token.starts_with("<!"));
    tokens
}

#[test]
fn the_plist_is_one() {
    let plist = read("rawline.plist");
    let file = path("rawline.plist");
    for (tool, arguments) in [("plutil", &["-lint"][..]), ("xmllint", &["--nonet", "--noout"])] {
        if let Some(output) = run(tool, &[arguments, &[file.to_str().unwrap()]].concat()) {
            assert!(output.status.success(), "{output:?}");
        }
    }
    let script = "import plistlib, sys; d = plistlib.load(open(sys.argv[1], 'rb')); \
                  assert d['KeepAlive'] == {'SuccessfulExit': False} and d['Umask'] == 0o077, d";
    if let Some(output) = run("python3", &["-c", script, file.to_str().unwrap()]) {
        assert!(output.status.success(), "{output:?}");
    }

    let tokens = tokens(&plist);
    let mut open: Vec<&str> = Vec::new();
    for token in tokens.iter().filter(|token| token.starts_with('<') && !token.ends_with("/>")) {
        let name = token.trim_matches(['<', '>', '/']).split(' ').next().unwrap();
        if token.starts_with("</") {
            assert_eq!(open.pop(), Some(name), "elements are closed in order");
        } else {
            open.push(name);
        }
    }
    assert!(open.is_empty() && tokens[0] == "<plist version=\"1.0\">", "{open:?}");
    let at = |key: &str| tokens.iter().position(|token| token == key).unwrap_or_else(|| panic!("no {key}"));
    for key in ["Label", "UserName", "KeepAlive", "ExitTimeOut", "SoftResourceLimits", "StandardErrorPath"] {
        assert_eq!(tokens[at(key) - 1], "<key>");
    }
    assert_ne!(tokens[at("UserName") + 3], "root");
    let arguments = &tokens[at("ProgramArguments")..];
    let end = arguments.iter().position(|token| token == "</array>").unwrap();
    let words: Vec<_> = arguments[1..end].iter().filter(|token| !token.starts_with('<')).collect();
    assert_eq!(words[..2], ["/usr/local/bin/rawline", "serve"]);
    assert_eq!(words[2..], ["--config", "/usr/local/etc/rawline.conf"]);
}

// --- Docker ---

/// The words of an instruction in its JSON form.
fn instruction(dockerfile: &str, name: &str) -> Vec<String> {
    let joined = dockerfile.replace("\\\n", " ");
    let line = joined.lines().rfind(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name}"));
    serde_json::from_str(&line[line.find('[').unwrap()..]).unwrap()
}

#[test]
fn the_image_is_small_nobodys_and_looks_after_itself() {
    let dockerfile = read("Dockerfile");
    let stages: Vec<_> = dockerfile.split("\nFROM ").skip(1).collect();
    assert_eq!(stages.len(), 2, "what builds is not what runs");
    let user = stages[1].lines().find_map(|line| line.strip_prefix("USER ")).unwrap();
    let (user, group) = user.split_once(':').unwrap();
    assert!(user.parse::<u32>().unwrap() > 0 && group.parse::<u32>().unwrap() > 0);
    for source in stages[0].lines().filter_map(|line| line.strip_prefix("COPY ")) {
        let sources = source.split(' ').collect::<Vec<_>>();
        for source in &sources[..sources.len() - 1] {
            assert!(path("..").join(source).exists(), "{source}");
        }
    }
    assert_eq!(instruction(&dockerfile, "ENTRYPOINT"), ["rawline"]);
    let command = instruction(&dockerfile, "CMD");
    assert_taken(&command.iter().map(String::as_str).collect::<Vec<_>>());
}

#[test]
fn the_health_check_tells_a_server_from_none() {
    let check = instruction(&read("Dockerfile"), "HEALTHCHECK");
    assert_eq!(check[0], "rawline");
    let exit = |address: &str| {
        let words: Vec<_> =
            check[1..].iter().map(|word| if word == "127.0.0.1:65432" { address } else { word }).collect();
        assert!(words.contains(&address));
        rawline(&words).status.code().unwrap()
    };
    let daemon = Daemon::start(&[]);
    assert_eq!(exit(daemon.address()), 0);
    assert_eq!(exit("unix:/no/such.sock"), 69);
    daemon.still_answers();
}
