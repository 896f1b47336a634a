//! Reads the source and the documents and holds what they promise: who may import whom, which words live in which
//! file only, and that README, ARCHITECTURE and the protocol page say what is true.
//!
//! The tables below are the rules. A change that needs another row changes this file, where a reviewer sees it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use rawline::config::options::{Group, OPTIONS};
use rawline::config::{Config, file};
use rawline::limits::CONSTANTS;
use rawline::memory::{Sharing, page, terms};
use rawline::service::chat::Chat;
use rawline::service::name;
use rawline::transport::counters::Counters;
use rawline::{Limits, Service};

/// A room of the house, and the rooms that it may name. A module belongs to the longest entry that it begins with.
/// `root` is the top of a crate: the library's re-exports for the binary, the binary's own items for `cli`.
const MAY_NAME: &[(&str, &[&str])] = &[
    ("lib", &["api", "limits", "transport::mailbox", "transport::server"]),
    (
        "main",
        &[
            "root",
            "cli",
            "config",
            "exit",
            "log",
            "memory",
            "operator",
            "service",
            "transport::files",
            "transport::server",
        ],
    ),
    ("operator", &["root", "config", "exit", "log", "transport::server"]),
    ("cli", &["root", "config", "exit", "lab"]),
    (
        "programs",
        &[
            "root",
            "api",
            "cli",
            "client",
            "config",
            "exit",
            "explain",
            "lab",
            "log",
            "service",
            "transport::server",
        ],
    ),
    ("lab", &["transport::io", "transport::sys"]),
    (
        "client",
        &[
            "config",
            "limits",
            "log",
            "transport::codec",
            "transport::files::digest",
            "transport::io",
            "transport::ring",
            "transport::sys",
        ],
    ),
    ("config", &["limits", "log"]),
    ("exit", &[]),
    ("explain", &["api", "limits", "transport::event_loop", "transport::io", "transport::sys"]),
    ("memory", &["limits"]),
    ("service", &["api", "log"]),
    ("api", &["limits"]),
    ("limits", &[]),
    ("log", &[]),
    ("transport", &[]),
    (
        "transport::server",
        &[
            "api",
            "limits",
            "transport::codec",
            "transport::event_loop",
            "transport::files",
            "transport::io",
            "transport::mailbox",
            "transport::panics",
            "transport::sys",
            "transport::workers",
        ],
    ),
    (
        "transport::event_loop",
        &[
            "api",
            "limits",
            "log",
            "transport::codec",
            "transport::connection",
            "transport::dispatch",
            "transport::files",
            "transport::hub",
            "transport::io",
            "transport::addresses",
            "transport::mailbox",
            "transport::metered",
            "transport::timer",
            "transport::workers",
        ],
    ),
    (
        "transport::hub",
        &[
            "api",
            "limits",
            "transport::backlog",
            "transport::codec",
            "transport::connection",
            "transport::counters",
            "transport::io",
            "transport::outbox",
            "transport::slab",
        ],
    ),
    (
        "transport::dispatch",
        &[
            "api",
            "transport::codec",
            "transport::counters",
            "transport::hub",
            "transport::job",
            "transport::panics",
        ],
    ),
    ("transport::panics", &["api", "log"]),
    ("transport::addresses", &["api"]),
    ("transport::job", &["api", "limits", "transport::codec"]),
    (
        "transport::connection",
        &[
            "api",
            "limits",
            "transport::codec",
            "transport::files",
            "transport::job",
            "transport::io",
            "transport::outbox",
            "transport::rate",
        ],
    ),
    ("transport::rate", &["limits", "transport::io"]),
    ("transport::counters", &["api", "log", "transport::metered"]),
    ("transport::metered", &["api", "transport::io"]),
    ("transport::outbox", &["limits", "transport::backlog", "transport::codec", "transport::io"]),
    ("transport::backlog", &["transport::io"]),
    (
        "transport::files",
        &[
            "api",
            "limits",
            "log",
            "transport::codec",
            "transport::files::digest",
            "transport::io",
            "transport::sys",
            "transport::workers",
        ],
    ),
    ("transport::files::digest", &["transport::codec"]),
    ("transport::workers", &["api"]),
    ("transport::mailbox", &["api", "limits", "transport::files", "transport::io"]),
    ("transport::timer", &["transport::io", "transport::slab"]),
    ("transport::slab", &["api"]),
    ("transport::ring", &[]),
    ("transport::codec", &["api", "limits", "transport::ring"]),
    ("transport::io", &["api"]),
    ("transport::sys", &["api", "limits", "transport::io"]),
];

/// Words that stand in these files and folders only; tests inside of files are not looked at.
const LIVES_IN: &[(&str, &[&str])] = &[
    ("unsafe", &["src/transport/sys/"]),
    ("libc", &["src/transport/sys/"]),
    ("nix", &["src/lab/", "src/transport/sys/"]),
    ("clap", &["src/cli/"]),
    ("stdout", &["src/main.rs", "src/lab/", "src/programs/"]),
    ("println", &[]),
    ("eprintln", &[]),
    (
        "Instant",
        &["src/client/", "src/lab/stage.rs", "src/transport/sys/os.rs", "src/transport/sys/contract.rs"],
    ),
    ("SystemTime", &["src/log.rs", "src/transport/sys/dir.rs"]),
    ("Mutex", &["src/transport/mailbox.rs", "src/transport/workers.rs", "src/transport/files/"]),
    ("thread", &["src/lab/", "src/transport/workers.rs", "src/transport/sys/contract.rs"]),
    ("sleep", &["src/lab/"]),
    ("HashMap", &["src/service/room.rs", "src/transport/addresses.rs"]),
    ("async", &[]),
];

/// A source file.
struct Source {
    /// `src/transport/io.rs`
    path: String,
    text: String,
}

impl Source {
    /// `transport::io`; `main` and `lib` for the two roots.
    fn module(&self) -> String {
        let path = self.path.strip_prefix("src/").unwrap().strip_suffix(".rs").unwrap();
        path.strip_suffix("/mod").unwrap_or(path).replace('/', "::")
    }

    /// Without comments and without the tests at the end.
    fn code(&self) -> String {
        let text = match self.text.find("#[cfg(test)]\nmod tests {") {
            Some(tests) => &self.text[..tests],
            None => &self.text,
        };
        let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        lines.map(|line| line.split(" // ").next().unwrap()).collect::<Vec<_>>().join("\n")
    }

    /// The modules of this package that the code names, wherever in a line, each as far as it is a module.
    fn names(&self) -> BTreeSet<String> {
        let code = self.code();
        let mut names = BTreeSet::new();
        for root in ["crate::", "rawline::"] {
            for rest in behind(&code, root) {
                names.extend(paths(rest).iter().map(|path| modules(path)));
            }
        }
        for rest in behind(&code, "super::") {
            let (mut module, mut rest) = (parent(&self.module()), rest);
            while let Some(further) = rest.strip_prefix("super::") {
                (module, rest) = (parent(&module), further);
            }
            for path in paths(rest) {
                names.insert(modules(&[module.as_str(), &path].join("::")));
            }
        }
        // The two roots name their modules without a prefix.
        if ["main", "lib"].contains(&&*self.module()) {
            let uses = behind(&code, "use ").into_iter();
            let own = uses.filter(|path| !["std::", "rawline::"].iter().any(|root| path.starts_with(root)));
            names.extend(own.flat_map(paths).map(|path| modules(&path)));
        }
        names
    }
}

/// What follows each `word` that does not end a longer path or name.
fn behind<'a>(code: &'a str, word: &str) -> Vec<&'a str> {
    let starts = code
        .match_indices(word)
        .filter(|(at, _)| !code[..*at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':'));
    starts.map(|(at, _)| &code[at + word.len()..]).collect()
}

/// The paths that `rest` begins with: `a::{b, c::D}` is two.
fn paths(rest: &str) -> Vec<String> {
    let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_' && c != ':').unwrap_or(rest.len());
    let (head, tail) = rest.split_at(end);
    let Some(group) = tail.strip_prefix('{').filter(|_| head.is_empty() || head.ends_with("::")) else {
        return vec![head.trim_end_matches(':').into()];
    };
    let (mut depth, mut items) = (0, vec![String::new()]);
    for c in group.chars() {
        match c {
            '}' if depth == 0 => break,
            ',' if depth == 0 => items.push(String::new()),
            '{' | '}' => {
                depth = if c == '{' { depth + 1 } else { depth - 1 };
                items.last_mut().unwrap().push(c);
            }
            c if c.is_whitespace() => {}
            c => items.last_mut().unwrap().push(c),
        }
    }
    items
        .iter()
        .filter(|item| !item.is_empty())
        .flat_map(|item| paths(item))
        .map(|path| head.to_owned() + &path)
        .collect()
}

/// A path as far as its parts are modules of this package; `root` if none is.
fn modules(path: &str) -> String {
    let mut module = String::new();
    for part in path.split("::").filter(|part| !part.is_empty()) {
        let longer = if module.is_empty() { part.to_owned() } else { format!("{module}::{part}") };
        let file = format!("src/{}", longer.replace("::", "/"));
        if !root().join(format!("{file}.rs")).exists() && !root().join(&file).is_dir() {
            break;
        }
        module = longer;
    }
    if module.is_empty() { "root".into() } else { module }
}

fn parent(module: &str) -> String {
    module.rsplit_once("::").map_or(String::new(), |(parent, _)| parent.into())
}

/// The room that a module belongs to.
fn room(module: &str) -> &'static str {
    let inside = |room: &str| module == room || module.starts_with(&format!("{room}::"));
    let rooms = MAY_NAME.iter().map(|(room, _)| *room).chain(["root"]).filter(|room| inside(room));
    rooms.max_by_key(|room| room.len()).unwrap_or_else(|| panic!("{module} has no row in MAY_NAME"))
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// All files of this folder and below that end in `.rs`.
fn rust_files(folder: &str) -> Vec<Source> {
    let (mut folders, mut files) = (vec![PathBuf::from(folder)], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(root().join(&folder)).unwrap() {
            let entry = entry.unwrap();
            let path = folder.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                let path = path.to_str().unwrap().to_owned();
                files.push(Source { text: read(&path), path });
            }
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

#[test]
fn every_import_is_in_the_table() {
    let sources = rust_files("src");
    assert!(sources.len() > 40, "the source is found");
    let mut used = BTreeSet::new();
    for source in &sources {
        let here = room(&source.module());
        let (_, allowed) = MAY_NAME.iter().find(|(room, _)| *room == here).unwrap();
        for there in source.names().iter().map(|module| room(module)) {
            // Its own room, and the folder that only lists it.
            if there != here && there != "transport" {
                assert!(allowed.contains(&there), "{} names {there}, which {here} may not", source.path);
            }
            used.insert((here, there));
        }
    }
    for (here, allowed) in MAY_NAME {
        for there in *allowed {
            assert!(used.contains(&(here, there)), "{here} does not name {there} any more: take it out");
        }
    }
}

#[test]
fn the_layers_do_not_know_each_other() {
    let may = |from: &str, to: &str| {
        let rows = MAY_NAME.iter().filter(|(room, _)| room.starts_with(from));
        rows.flat_map(|(_, allowed)| *allowed).any(|there| there.starts_with(to))
    };
    for (from, to) in [
        ("transport", "service"),
        ("transport", "config"),
        ("transport", "cli"),
        ("transport", "client"),
        ("client", "service"),
        ("client", "transport::event_loop"),
        ("service", "transport"),
        ("service", "config"),
        ("service", "limits"),
        ("api", "transport"),
        ("api", "service"),
        ("config", "transport"),
        ("config", "service"),
        ("transport::sys", "transport::codec"),
        ("transport::io", "transport::codec"),
        ("transport::io", "transport::sys"),
        ("transport::codec", "transport::io"),
        ("transport::codec", "transport::sys"),
    ] {
        assert!(!may(from, to), "{from} must not know {to}");
    }
}

#[test]
fn words_live_where_they_belong() {
    for source in rust_files("src") {
        let code = source.code();
        let words: BTreeSet<_> = code.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
        for (word, homes) in LIVES_IN {
            let at_home = homes.iter().any(|home| source.path.starts_with(home));
            assert!(at_home || !words.contains(word), "{} holds {word:?}", source.path);
        }
    }
}

#[test]
fn every_file_says_what_it_is() {
    for source in ["src", "tests", "benches", "examples"].into_iter().flat_map(rust_files) {
        assert!(source.text.starts_with("//! "), "{} does not open with //!", source.path);
    }
}

#[test]
fn the_readme_begins_with_the_commands_that_work() {
    let readme = read("README.md");
    let first = |what: &str| readme.lines().find(|line| line.contains(what)).unwrap();
    assert_eq!(first("cargo run"), "cargo run --release -- serve");
    assert_eq!(first("cargo test"), "cargo test --release");
    assert!(read(".ci/run").lines().any(|line| line == first("cargo test")), "CI runs the README's tests");
    for script in [".ci/run", ".ci/kqueue-check", ".ci/dependencies", ".ci/nightly"] {
        assert!(readme.contains(&format!("`{script}`")) || readme.contains(&format!("\n{script}\n")));
        read(script);
    }
}

#[test]
fn the_readme_lists_every_option_with_its_default() {
    let readme = read("README.md");
    for opt in OPTIONS {
        let default = opt.show(&Config::default());
        let mut row = format!("| `--{}` | `{default}` |", opt.name);
        if opt.group == Group::Limits {
            row += &format!(" {} |", opt.range().expect("a limit has a range"));
        }
        assert!(readme.contains(&row), "README.md lacks {row}");
    }
    let limits = read("src/limits.rs");
    let constants = limits.lines().filter_map(|line| line.strip_prefix("pub const ")?.split(':').next());
    for constant in constants {
        assert!(readme.contains(&format!("`{constant}`")), "README.md lacks {constant}");
        assert!(CONSTANTS.iter().any(|(name, ..)| *name == constant), "limits.rs does not list {constant}");
    }
}

/// The blocks of code in this language.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    text.split(&fence).skip(1).map(|block| block.split("```").next().unwrap().into()).collect()
}

#[test]
fn what_the_readme_shows_is_real() {
    let readme = read("README.md");
    let files = blocks(&readme, "toml");
    assert_eq!(files.len(), 1);
    for entry in file::parse(files[0].as_bytes()).into_iter().map(Result::unwrap) {
        let opt = OPTIONS.iter().find(|opt| opt.key() == entry.key).expect("a known key");
        opt.set(&mut Config::default(), &entry.value.into_text()).unwrap();
    }
    let example = read("examples/calculator.rs");
    for piece in blocks(&readme, "rust").iter().flat_map(|block| block.split("\n\n")) {
        assert!(example.contains(piece.trim()), "not in examples/calculator.rs:\n{piece}");
    }
    assert!(example.lines().count() < 60, "the example is short");
}

#[test]
fn the_security_page_explains_every_term_of_the_sum() {
    let page_of = read("SECURITY.md");
    let limits = Limits { max_connections: 16_320, ..Limits::default() };
    let sum = terms(&limits, 50, Sharing { files: true, writable: true });
    assert!(page_of.contains(&page(&sum)), "SECURITY.md lacks\n{}", page(&sum));
    for term in sum {
        assert!(
            page_of.contains(&format!("\n- **{}**", term.name)),
            "SECURITY.md does not explain {}",
            term.name
        );
    }
}

/// The names of all tests.
fn tests() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for source in ["src", "tests"].into_iter().flat_map(rust_files) {
        for behind in source.text.split("#[test]").skip(1) {
            let name = behind.split("fn ").nth(1).and_then(|rest| rest.split('(').next());
            names.extend(name.map(str::to_owned));
        }
    }
    names
}

#[test]
fn the_page_of_faults_names_tests_and_counters_that_exist() {
    let page = read("docs/faults.md");
    let mut stats = Counters::default().stats(&[("out_bytes", 0, "")]);
    Chat::default().count(&mut stats);
    let mut counters: BTreeSet<_> = stats
        .samples
        .iter()
        .map(|sample| match sample.label {
            Some((_, label)) => format!("{}{{{label}}}", sample.name),
            None => sample.name.to_owned(),
        })
        .collect();
    counters.insert("turn_us".into());
    let (tests, mut named) = (tests(), BTreeSet::new());
    let rows = page.lines().filter(|line| line.starts_with("| ") && !line.contains("| tests |"));
    assert!(rows.clone().count() > 50, "the tables are found");
    for row in rows {
        let [_, _, _, counts, proof, _] = row.split('|').collect::<Vec<_>>()[..] else {
            panic!("a row has four columns: {row}")
        };
        let quoted = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
        for counter in quoted(counts) {
            assert!(counters.contains(&counter), "there is no counter {counter}: {row}");
            named.insert(counter);
        }
        assert!(!quoted(counts).is_empty() || counts.starts_with(" none: "), "no counter: {row}");
        assert!(!quoted(proof).is_empty(), "no test: {row}");
        for test in quoted(proof) {
            assert!(tests.contains(&test), "there is no test {test}: {row}");
        }
    }
    let kinds = ["closed{", "limited{", "faults{"];
    for counter in counters.iter().filter(|counter| kinds.iter().any(|kind| counter.starts_with(kind))) {
        assert!(named.contains(counter), "docs/faults.md does not say when {counter} moves");
    }
}

#[test]
fn the_map_names_every_file_and_no_other() {
    let page = read("ARCHITECTURE.md");
    // The exercises have a list of their own, `COURSE`, and each is one file of the same kind.
    let is_exercise = |path: &str| path.starts_with("src/lab/exercises/") && !path.ends_with("mod.rs");
    for source in rust_files("src").iter().filter(|source| !is_exercise(&source.path)) {
        assert!(page.contains(&format!("\n| `{}` |", source.path)), "the map lacks {}", source.path);
    }
    for path in page.split('`').skip(1).step_by(2) {
        if path.starts_with("src/") && path.ends_with(".rs") || path.starts_with("tests/") {
            assert!(root().join(path).exists(), "ARCHITECTURE.md names {path}, which is not there");
        }
    }
}

/// What a link behind `#` can lead to: the headings, in lower case, with hyphens for spaces.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let slug = |line: &str| {
        let line = line.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
        line.chars().filter(|&c| c.is_alphanumeric() || c == '-' || c == '_').collect()
    };
    headings.map(slug).collect()
}

#[test]
fn links_between_the_documents_lead_somewhere() {
    for (page, folder) in [
        ("README.md", ""),
        ("ARCHITECTURE.md", ""),
        ("CHANGELOG.md", ""),
        ("SECURITY.md", ""),
        ("docs/protocol.md", "docs/"),
        ("docs/syscalls.md", "docs/"),
        ("docs/troubleshooting.md", "docs/"),
        ("docs/lab.md", "docs/"),
        ("docs/faults.md", "docs/"),
    ] {
        for link in read(page).split("](").skip(1).map(|rest| rest.split(')').next().unwrap().to_owned()) {
            if link.starts_with("https://") {
                continue;
            }
            let (file, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let file = if file.is_empty() { page.to_owned() } else { format!("{folder}{file}") };
            assert!(root().join(&file).exists(), "{page}: {link}");
            assert!(anchor.is_empty() || anchors(&read(&file)).contains(anchor), "{page}: {link}");
        }
    }
}

#[test]
fn the_protocol_page_lists_exactly_the_forbidden_characters() {
    let page = read("docs/protocol.md");
    let table =
        page.split("### Forbidden characters in names").nth(1).unwrap().split("\n## ").next().unwrap();
    let code = |text: &str| u32::from_str_radix(text.trim().strip_prefix("U+").unwrap(), 16).unwrap();
    let ranges: Vec<_> = table
        .lines()
        .filter_map(|line| line.strip_prefix("| U+")?.split(" |").next())
        .map(|cell| {
            let (from, to) = cell.split_once(" to ").unwrap_or((cell, ""));
            let from = code(&format!("U+{from}"));
            (from, if to.is_empty() { from } else { code(to) })
        })
        .collect();
    assert!(ranges.len() > 10, "the table is found");
    for character in '\0'..=char::MAX {
        let listed = ranges.iter().any(|&(from, to)| (from..=to).contains(&u32::from(character)));
        let refused = name::check(&format!("a{character}b"), 50).is_err();
        assert_eq!(refused, listed, "U+{:04X}", u32::from(character));
    }
}

#[test]
fn the_protocol_page_describes_every_method_and_command() {
    let page = read("docs/protocol.md");
    for row in Chat::ROUTES {
        assert!(page.contains(&format!("\n#### {}\n", row.name)), "the page lacks {}", row.name);
    }
    // The arms of the match in `obey`.
    let commands = read("src/service/chat/line.rs");
    let arms = commands.split("match command {").nth(1).unwrap().lines();
    let commands: Vec<_> = arms.filter_map(|arm| arm.trim().strip_prefix('"')?.split_once("\" =>")).collect();
    assert!(commands.len() >= 4, "the commands are found");
    for (command, _) in commands {
        assert!(page.contains(&format!("\n| `/{command}` |")), "the page lacks /{command}");
    }
}
