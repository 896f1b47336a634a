//! A configuration as its operator reads it: every value in force, and where it is from.
//!
//! One line or one JSON member for each row of the table of options, in its order. Prints nothing itself. Called by
//! `rawline config show`.

use serde::{Serialize, Serializer};

use super::options::{OPTIONS, Opt};
use super::{Config, Loaded, Origin};
use crate::log;

/// Key, value and place, in columns.
pub fn table(loaded: &Loaded) -> String {
    let rows = OPTIONS.iter().zip(&loaded.origins).map(|(opt, origin)| {
        let shown = log::escaped(opt.show(&loaded.config)).to_string();
        (opt.key(), shown, log::escaped(origin.place(opt)).to_string())
    });
    let rows: Vec<_> = rows.collect();
    let width = |lengths: &mut dyn Iterator<Item = usize>| lengths.max().unwrap_or(0);
    let keys = width(&mut rows.iter().map(|(key, ..)| key.len()));
    let values = width(&mut rows.iter().map(|(_, value, _)| value.chars().count()));
    rows.iter().map(|(key, value, place)| format!("{key:<keys$}  {value:<values$}  {place}\n")).collect()
}

/// One object: `"max_depth":{"value":"10","default":"64","origin":"file","place":"rawline.conf:3"}`. Values are text, written as
/// in the file; the origin is `default`, `file`, `environment` or `flag`.
pub fn json(loaded: &Loaded) -> String {
    serde_json::to_string_pretty(&Report(loaded)).expect("text can always be written") + "\n"
}

struct Report<'a>(&'a Loaded);

#[derive(Serialize)]
struct Row {
    value: String,
    default: String,
    origin: &'static str,
    place: String,
}

impl Row {
    fn new(opt: &Opt, origin: &Origin, config: &Config) -> Self {
        let name = match origin {
            Origin::Default => "default",
            Origin::File(_) => "file",
            Origin::Environment => "environment",
            Origin::Flag => "flag",
        };
        let default = opt.show(&Config::default());
        Self { value: opt.show(config), default, origin: name, place: origin.place(opt) }
    }
}

impl Serialize for Report<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let rows = OPTIONS.iter().zip(&self.0.origins);
        serializer.collect_map(rows.map(|(opt, origin)| (opt.key(), Row::new(opt, origin, &self.0.config))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Flags;

    fn loaded() -> Loaded {
        let flags = Flags { file: None, values: vec![("max-depth", "5".into())] };
        Config::load(flags, [("RAWLINE_FILES".into(), "/a\n\u{1b}b".into())]).unwrap()
    }

    #[test]
    fn every_option_is_one_line_in_columns() {
        let table = table(&loaded());
        assert_eq!(table.lines().count(), OPTIONS.len());
        let line = |key: &str| table.lines().find(|line| line.split(' ').next() == Some(key)).unwrap();
        let words = |key| line(key).split_whitespace().collect::<Vec<_>>();
        assert_eq!(words("max_depth"), ["max_depth", "5", "--max-depth"]);
        assert_eq!(words("max_batch"), ["max_batch", "256", "default"]);
        assert_eq!(words("files"), ["files", "/a\\n\\u{1b}b", "RAWLINE_FILES"]);
        assert_eq!(line("max_depth").find("--max-depth"), line("files").find("RAWLINE_FILES"));
    }

    #[test]
    fn every_option_is_a_member_in_the_order_of_the_table() {
        let json = json(&loaded());
        let read: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(read.as_object().unwrap().len(), OPTIONS.len());
        assert_eq!(
            read["max_depth"],
            serde_json::json!({"value": "5", "default": "64", "origin": "flag", "place": "--max-depth"})
        );
        assert_eq!(read["files"]["value"], "/a\n\u{1b}b");
        assert!(json.find("\"rpc\"") < json.find("\"line\""));
    }
}
