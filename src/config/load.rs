//! Puts a [`Config`] together from flags, environment, file and defaults, and remembers where each value came
//! from. It goes on behind a mistake, so that one look shows them all.
//!
//! It knows no option by name: it goes through the table. It reads the file that it is told to read and
//! nothing else; arguments and environment are handed in. Here is also what "did you mean" means, for keys,
//! variables and flags alike.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::file::{self, Entry};
use super::options::{OPTIONS, Opt, RELATIONS};
use super::{Config, ConfigError, Flags, Loaded, Mistake};

impl Config {
    /// Puts the values together: a flag wins over the environment (`RAWLINE_*`), that over the file, that over
    /// the default. All places are checked, also where another one wins. An empty environment variable
    /// counts as not set.
    ///
    /// # Errors
    /// All mistakes there are: values that their options do not take, unknown keys in the file, a file that cannot
    /// be read, limits that contradict each other. An unknown `RAWLINE_*` variable is only a warning, because it
    /// may be meant for somebody else.
    ///
    /// # Panics
    /// If `flags` holds a name that the table does not.
    pub fn load(
        flags: Flags,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Loaded, ConfigError> {
        let mut loading = Loading {
            config: Config::default(),
            origins: vec![Origin::Default; OPTIONS.len()],
            refused: vec![false; OPTIONS.len()],
            file: None,
            warnings: Vec::new(),
            mistakes: Vec::new(),
        };
        let variables = loading.own_variables(environment);
        let file = flags.file.or_else(|| loading.file.take());
        if let Some(path) = &file {
            loading.file(path);
        }
        for (index, text) in variables {
            loading.set(index, &text, Origin::Environment);
        }
        for (name, text) in &flags.values {
            let index = OPTIONS.iter().position(|opt| opt.name == *name).expect("flags come from the table");
            loading.set(index, text, Origin::Flag);
        }
        loading.check_relations();
        let Loading { config, origins, warnings, mistakes, .. } = loading;
        if mistakes.is_empty() {
            Ok(Loaded { config, file, origins, warnings })
        } else {
            Err(ConfigError { mistakes })
        }
    }
}

/// The variable that names the file: the one setting that the file cannot hold.
const FILE_VARIABLE: &str = "RAWLINE_CONFIG";
/// Set by `build.rs` for the version, and by cargo for whatever `cargo run` starts.
const BUILD_VARIABLE: &str = "RAWLINE_VERSION";

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody said anything.
    Default,
    /// `FILE:LINE`.
    File(String),
    /// Its `RAWLINE_*` variable.
    Environment,
    /// Its flag.
    Flag,
}

impl Origin {
    /// Where the user finds what he wrote for `opt`: `FILE:LINE`, the name of the variable or the flag; or `default`.
    pub fn place(&self, opt: &Opt) -> String {
        match self {
            Origin::Default => "default".into(),
            Origin::File(place) => place.clone(),
            Origin::Environment => opt.variable(),
            Origin::Flag => opt.flag(),
        }
    }
}

/// A configuration on its way.
struct Loading {
    config: Config,
    /// One per row of the table.
    origins: Vec<Origin>,
    /// One per row: some place gave it a value that it does not take.
    refused: Vec<bool>,
    /// The file that the environment names.
    file: Option<PathBuf>,
    warnings: Vec<String>,
    mistakes: Vec<Mistake>,
}

impl Loading {
    /// The variables that are options, as row and text, sorted by row.
    fn own_variables(
        &mut self,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Vec<(usize, String)> {
        let mut own = Vec::new();
        for (name, value) in environment {
            let Some(name) = name.to_str().filter(|name| name.starts_with("RAWLINE_")) else { continue };
            if name == FILE_VARIABLE {
                self.file = Some(value.into()).filter(|path: &PathBuf| !path.as_os_str().is_empty());
            } else if let Some(index) = OPTIONS.iter().position(|opt| opt.variable() == name) {
                match value.into_string() {
                    Ok(text) if text.is_empty() => {}
                    Ok(text) => own.push((index, text)),
                    Err(_) => self.mistake(name.into(), "its value is not UTF-8".into()),
                }
            } else if name != BUILD_VARIABLE {
                let known = OPTIONS.iter().map(Opt::variable).chain([FILE_VARIABLE.into()]);
                let hint = match nearest(name, known) {
                    Some(known) => format!("did you mean {known}?"),
                    None => "no option has this name".into(),
                };
                self.warnings.push(format!("the environment variable {name} is not used: {hint}"));
            }
        }
        own.sort();
        self.warnings.sort();
        own
    }

    fn file(&mut self, path: &Path) {
        let place = |line| match line {
            Some(line) => format!("{}:{line}", path.display()),
            None => path.display().to_string(),
        };
        for entry in file::read(path) {
            let Entry { line, key, value } = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    self.mistake(place(error.line), error.problem);
                    continue;
                }
            };
            match OPTIONS.iter().position(|opt| opt.key() == key) {
                Some(index) => self.set(index, &value.into_text(), Origin::File(place(Some(line)))),
                None => {
                    let keys: Vec<_> = OPTIONS.iter().map(Opt::key).collect();
                    let hint = match nearest(&key, keys.iter().cloned()) {
                        Some(key) => format!("did you mean {key}?"),
                        None => format!("the keys are {}", keys.join(", ")),
                    };
                    self.mistake(place(Some(line)), format!("unknown key {key}: {hint}"));
                }
            }
        }
    }

    /// Something is wrong in the environment or the file.
    fn mistake(&mut self, place: String, problem: String) {
        self.mistakes.push(Mistake { place, problem, is_usage: false });
    }

    fn set(&mut self, index: usize, text: &str, origin: Origin) {
        let opt = &OPTIONS[index];
        match opt.set(&mut self.config, text) {
            Ok(()) => self.origins[index] = origin,
            Err(problem) => {
                self.refused[index] = true;
                self.mistakes.push(Mistake {
                    place: origin.place(opt),
                    // A line of the file does not name its key yet.
                    problem: match origin {
                        Origin::File(_) => format!("{}: {problem}", opt.key()),
                        _ => problem,
                    },
                    is_usage: origin == Origin::Flag,
                });
            }
        }
    }

    fn check_relations(&mut self) {
        let index = |name| OPTIONS.iter().position(|opt| opt.name == name).expect("relations name options");
        for broken in RELATIONS.iter().filter(|relation| !(relation.holds)(&self.config.limits)) {
            let (left, right) = (index(broken.left), index(broken.right));
            // A value that was refused is not known, so neither is how it relates.
            if self.refused[left] || self.refused[right] {
                continue;
            }
            let side = |index: usize| {
                let (opt, origin) = (&OPTIONS[index], &self.origins[index]);
                (opt.key(), opt.show(&self.config), origin.place(opt), *origin == Origin::Flag)
            };
            let (left, left_value, left_place, left_flag) = side(left);
            let (right, right_value, right_place, right_flag) = side(right);
            let must = broken.must;
            self.mistakes.push(Mistake {
                place: left,
                problem: format!(
                    "{left_value} ({left_place}) {must} {right}, which is {right_value} ({right_place})"
                ),
                is_usage: left_flag || right_flag,
            });
        }
    }
}

/// The candidate that `word` is probably a misspelling of: at most a third of it differs. Hyphens for
/// underscores, case, and what all flags or all variables begin with do not count.
pub fn nearest(word: &str, candidates: impl Iterator<Item = String>) -> Option<String> {
    let plain = |text: &str| {
        let text = text.to_ascii_lowercase().replace('-', "_");
        text.trim_start_matches("rawline_").trim_start_matches('_').to_string()
    };
    let word = plain(word);
    let is_near = |mistakes: usize, candidate: &str| mistakes * 3 <= candidate.len();
    candidates
        .map(|candidate| (plain(&candidate), candidate))
        // Also bounds the work: a word can be as long as a file.
        .filter(|(plain, _)| is_near(plain.len().abs_diff(word.len()), plain))
        .map(|(plain, candidate)| (distance(word.as_bytes(), plain.as_bytes()), plain, candidate))
        .filter(|(mistakes, plain, _)| is_near(*mistakes, plain))
        .min_by_key(|(mistakes, ..)| *mistakes)
        .map(|(.., candidate)| candidate)
}

/// How many bytes must be inserted, removed, replaced or swapped with their neighbour to make `b` of `a`.
fn distance(a: &[u8], b: &[u8]) -> usize {
    // One field per pair of prefixes.
    let mut of = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            of[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let replaced = of[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
                let is_swap = i > 1 && j > 1 && (a[i - 1], a[i - 2]) == (b[j - 2], b[j - 1]);
                let swapped = if is_swap { of[i - 2][j - 2] + 1 } else { usize::MAX };
                replaced.min(swapped).min(of[i - 1][j] + 1).min(of[i][j - 1] + 1)
            };
        }
    }
    of[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::ffi::OsStringExt;

    use super::*;
    use crate::limits::Limits;

    /// A file that is gone when the test is over.
    struct Temporary(PathBuf);

    impl Temporary {
        fn new(name: &str, content: &str) -> Self {
            let path = std::env::temp_dir().join(format!("rawline-config-{}-{name}", std::process::id()));
            fs::write(&path, content).unwrap();
            Self(path)
        }
    }

    impl Drop for Temporary {
        fn drop(&mut self) {
            let _ = fs::remove_file(&self.0);
        }
    }

    fn load(
        flags: &[(&'static str, &str)],
        environment: &[(&str, &str)],
        file: Option<&Temporary>,
    ) -> Result<Loaded, ConfigError> {
        let flags = Flags {
            file: file.map(|file| file.0.clone()),
            values: flags.iter().map(|&(name, text)| (name, text.into())).collect(),
        };
        Config::load(flags, environment.iter().map(|(name, value)| (name.into(), value.into())))
    }

    fn message(result: Result<Loaded, ConfigError>) -> (String, bool) {
        let error = result.unwrap_err();
        assert_eq!(error.mistakes.len(), 1, "{error}");
        (error.to_string(), error.is_usage())
    }

    #[test]
    fn nothing_said_is_the_default() {
        let origins = vec![Origin::Default; OPTIONS.len()];
        assert_eq!(
            load(&[], &[], None),
            Ok(Loaded { config: Config::default(), file: None, origins, warnings: vec![] })
        );
    }

    #[test]
    fn flag_over_environment_over_file_over_default() {
        let file = Temporary::new("order", "max_depth = 10\nmax_batch = 10\nrequire_join = true\n");
        let environment = [("RAWLINE_MAX_DEPTH", "11"), ("RAWLINE_MAX_BATCH", "11"), ("HOME", "/")];
        let loaded = load(&[("max-depth", "12")], &environment, Some(&file)).unwrap();
        assert_eq!(loaded.config.limits.max_depth, 12);
        assert_eq!(loaded.config.limits.max_batch, 11);
        assert!(loaded.config.require_join);
        assert_eq!(loaded.config.limits.drain_max, Limits::default().drain_max);
        assert_eq!(loaded.warnings, [] as [&str; 0]);
    }

    #[test]
    fn every_value_knows_its_origin() {
        let file = Temporary::new("origin", "max_depth = 10\n\nmax_batch = 10\n");
        let environment = [("RAWLINE_MAX_BATCH", "11"), ("RAWLINE_OUT_HARD", "")];
        let loaded = load(&[("rpc", "off")], &environment, Some(&file)).unwrap();
        let place = |name| {
            let index = OPTIONS.iter().position(|opt| opt.name == name).unwrap();
            loaded.origins[index].place(&OPTIONS[index])
        };
        assert_eq!(place("max-depth"), format!("{}:1", file.0.display()));
        assert_eq!(place("max-batch"), "RAWLINE_MAX_BATCH");
        assert_eq!(place("rpc"), "--rpc");
        assert_eq!(place("out-hard"), "default");
    }

    #[test]
    fn all_mistakes_are_told_at_once_each_with_its_place() {
        let file = Temporary::new(
            "all",
            "max_depth = 0\n?\nrcp = 'off'\nrpc = 'off'\nrpc = 'off'\nout_low = '1GiB'",
        );
        let environment = [("RAWLINE_MAX_BATCH", "many")];
        let error = load(&[("max-depth", "999"), ("out-high", "1")], &environment, Some(&file)).unwrap_err();
        let path = file.0.display();
        let told: Vec<_> = error.mistakes.iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                format!("{path}:1: max_depth: 0 is out of range: 1 to 127"),
                format!("{path}:2: this is no key = value line, and no comment, which begins with #"),
                format!("{path}:3: unknown key rcp: did you mean rpc?"),
                format!("{path}:5: rpc is given again, after line 4: remove one"),
                "RAWLINE_MAX_BATCH: \"many\" is no number: write digits only".into(),
                "--max-depth: 999 is out of range: 1 to 127".into(),
                // How out_low relates to it is not known.
                "--out-high: 1 is out of range: 2KiB to 1GiB".into(),
            ]
        );
        assert_eq!(error.to_string(), told.join("; "));
        assert!(!error.is_usage());
    }

    #[test]
    fn the_environment_can_name_the_file_and_the_flag_another() {
        let (one, two) = (Temporary::new("one", "max_depth = 1"), Temporary::new("two", "max_depth = 2"));
        let environment = [("RAWLINE_CONFIG", one.0.to_str().unwrap())];
        assert_eq!(load(&[], &environment, None).unwrap().config.limits.max_depth, 1);
        assert_eq!(load(&[], &environment, Some(&two)).unwrap().config.limits.max_depth, 2);
    }

    #[test]
    fn an_empty_variable_is_not_set() {
        let environment = [("RAWLINE_MAX_DEPTH", ""), ("RAWLINE_CONFIG", "")];
        assert_eq!(load(&[], &environment, None).unwrap().config, Config::default());
    }

    #[test]
    fn every_option_can_be_set_in_every_place() {
        for opt in OPTIONS {
            let value = opt.show(&Config::default());
            load(&[(opt.name, &value)], &[], None).unwrap();
            load(&[], &[(&opt.variable(), &value)], None).unwrap();
            let file = Temporary::new(opt.name, &format!("{} = '{value}'", opt.key()));
            load(&[], &[], Some(&file)).unwrap();
        }
    }

    #[test]
    fn a_bad_value_says_where_it_was_written() {
        let (problem, usage) = ("200 is out of range: 1 to 127", true);
        assert_eq!(
            message(load(&[("max-depth", "200")], &[], None)),
            (format!("--max-depth: {problem}"), usage)
        );
        let environment = [("RAWLINE_MAX_DEPTH", "200")];
        assert_eq!(message(load(&[], &environment, None)), (format!("RAWLINE_MAX_DEPTH: {problem}"), !usage));
        let file = Temporary::new("bad", "# x\nmax_depth = 200");
        let place = format!("{}:2", file.0.display());
        assert_eq!(
            message(load(&[("max-depth", "5")], &[], Some(&file))),
            (format!("{place}: max_depth: {problem}"), !usage)
        );
    }

    #[test]
    fn a_file_that_is_not_there() {
        let flags = Flags { file: Some("no/such.conf".into()), values: vec![] };
        let error = Config::load(flags, []).unwrap_err();
        assert_eq!(error.to_string(), "no/such.conf: there is no such file");
    }

    #[test]
    fn a_line_that_cannot_be_read() {
        let file = Temporary::new("syntax", "\nmax_message_bytes = 64KiB");
        assert_eq!(
            message(load(&[], &[], Some(&file))).0,
            format!("{}:2: 64KiB needs quotes: max_message_bytes = \"64KiB\"", file.0.display())
        );
    }

    #[test]
    fn unknown_keys_are_errors_with_a_suggestion() {
        for (key, hint) in [
            ("max_mesage_bytes", "did you mean max_message_bytes?"),
            ("max-depth", "did you mean max_depth?"),
            ("Line", "did you mean line?"),
            ("rcp", "did you mean rpc?"),
            ("colour", "the keys are rpc, line, echo,"),
        ] {
            let file = Temporary::new(key, &format!("{key} = 1"));
            let (message, _) = message(load(&[], &[], Some(&file)));
            let start = format!("{}:1: unknown key {key}: {hint}", file.0.display());
            assert!(message.starts_with(&start), "{message}");
        }
    }

    #[test]
    fn unknown_variables_are_warnings_with_a_suggestion() {
        let environment =
            [("RAWLINE_MAX_DEPHT", "5"), ("RAWLINE_COLOUR", "5"), ("RAWLINE_VERSION", "x"), ("RAWLINES", "")];
        assert_eq!(
            load(&[], &environment, None).unwrap().warnings,
            [
                "the environment variable RAWLINE_COLOUR is not used: no option has this name",
                "the environment variable RAWLINE_MAX_DEPHT is not used: did you mean RAWLINE_MAX_DEPTH?",
            ]
        );
    }

    #[test]
    fn a_variable_that_is_no_text() {
        let environment = [("RAWLINE_FILES".into(), OsString::from_vec(vec![0xff]))];
        let error = Config::load(Flags::default(), environment).unwrap_err();
        assert_eq!(error.to_string(), "RAWLINE_FILES: its value is not UTF-8");
    }

    #[test]
    fn limits_that_contradict_each_other_are_named_with_their_places() {
        assert_eq!(
            message(load(&[("out-high", "64KiB")], &[], None)),
            ("out_low: 64KiB (default) must be below out_high, which is 64KiB (--out-high)".into(), true)
        );
        let file = Temporary::new("relation", "out_hard = '64KiB'");
        let environment = [("RAWLINE_MAX_FANOUT_PER_TURN", "1MiB")];
        assert_eq!(
            message(load(&[], &environment, Some(&file))),
            (
                format!(
                    "max_fanout_per_turn: 1MiB (RAWLINE_MAX_FANOUT_PER_TURN) must not be above out_hard, \
                     which is 64KiB ({}:1)",
                    file.0.display()
                ),
                false
            )
        );
        assert!(load(&[("max-fanout-per-turn", "1MiB")], &[], None).is_ok());
    }

    #[test]
    fn distances() {
        for (a, b, expected) in
            [("", "", 0), ("", "abc", 3), ("abc", "", 3), ("kitten", "sitting", 3), ("depht", "depth", 1)]
        {
            assert_eq!(distance(a.as_bytes(), b.as_bytes()), expected, "{a} {b}");
        }
    }
}
