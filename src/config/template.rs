//! A file to begin with: every option with its reason, its unit and its default, commented out.
//!
//! Made from the table of options, so it cannot be behind it. As it stands it sets nothing; with every `#` before a key
//! taken away it sets every default. Called by `rawline config init`.

use super::Config;
use super::options::{Group, OPTIONS, Opt};

const INTRODUCTION: &str = "\
# rawline reads this file where --config FILE or RAWLINE_CONFIG names it.
#
# One key = value on a line; words, sizes and times stand in quotes. What is written here is the default: take
# the # away and change it. A RAWLINE_* variable wins over this file, and a flag over both.
# `rawline config check FILE` tells every mistake, `rawline config show` where each value is from.
";

/// Columns of a comment.
const WIDTH: usize = 110;

/// The content of the file.
pub fn text() -> String {
    let mut text = String::from(INTRODUCTION);
    let mut group: Option<Group> = None;
    for opt in OPTIONS {
        if group != Some(opt.group) {
            group = Some(opt.group);
            text.push_str(&format!("\n\n# --- {} ---\n", opt.group.heading()));
        }
        text.push('\n');
        comment(&mut text, opt.help);
        comment(&mut text, &written(opt));
        text.push_str(&format!("#{} = {}\n", opt.key(), value(opt)));
    }
    text
}

/// How its value is written, and where else.
fn written(opt: &Opt) -> String {
    let range = opt.range().map_or(String::new(), |range| format!(", {range}"));
    format!("({}{range}; {}, {})", opt.unit(), opt.flag(), opt.variable())
}

/// The default, as a value of the file.
fn value(opt: &Opt) -> String {
    let shown = opt.show(&Config::default());
    let is_plain = shown.parse::<u64>().is_ok() || shown.parse::<bool>().is_ok();
    // The escapes of a JSON string are escapes of the file.
    if is_plain { shown } else { serde_json::to_string(&shown).expect("text can always be written") }
}

/// Fills lines that begin with `# `.
fn comment(out: &mut String, text: &str) {
    let mut line = String::from("#");
    for word in text.split_whitespace() {
        if line.chars().count() + 1 + word.chars().count() > WIDTH {
            out.push_str(&line);
            out.push('\n');
            line.truncate(1);
        }
        line.push(' ');
        line.push_str(word);
    }
    out.push_str(&line);
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::file;

    #[test]
    fn as_it_stands_it_sets_nothing() {
        assert_eq!(file::parse(text().as_bytes()), []);
    }

    #[test]
    fn without_the_hashes_it_sets_every_default() {
        let is_key = |line: &&str| {
            let key = line.strip_prefix('#').and_then(|line| line.split_once(" = "));
            key.is_some_and(|(key, _)| OPTIONS.iter().any(|opt| opt.key() == key))
        };
        let text = text();
        let keys: Vec<_> = text.lines().filter(is_key).map(|line| &line[1..]).collect();
        let content = keys.join("\n");
        let entries: Vec<_> = file::parse(content.as_bytes()).into_iter().map(Result::unwrap).collect();
        assert_eq!(entries.len(), OPTIONS.len());
        let mut config = Config::default();
        for (entry, opt) in entries.into_iter().zip(OPTIONS) {
            assert_eq!(entry.key, opt.key());
            opt.set(&mut config, &entry.value.into_text()).unwrap();
        }
        assert_eq!(config, Config::default());
        let toml: toml::Table = toml::from_str(&content).unwrap();
        assert_eq!(toml.len(), OPTIONS.len());
    }

    #[test]
    fn every_option_has_its_reason_and_its_unit() {
        let text = text();
        let words =
            text.lines().map(|line| line.trim_start_matches('#').trim()).collect::<Vec<_>>().join(" ");
        for opt in OPTIONS {
            assert!(words.contains(opt.help), "{}", opt.name);
            assert!(words.contains(&written(opt)), "{}", opt.name);
        }
        assert!(text.contains("\n#max_message_bytes = \"64KiB\"\n"));
        assert!(text.contains(
            "\n# (bytes, or a whole number of KiB, MiB or GiB, 1KiB to 64MiB; --max-message-bytes, "
        ));
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH));
    }
}
