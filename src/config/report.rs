//! A configuration as its operator reads it: every value in force, and where it is from; every limit, and what it is for.
//!
//! One line or one JSON member for each row of the table of options, in its order. Prints nothing itself. Called by
//! `rawline config show` and `rawline serve --print-limits`.

use serde::{Serialize, Serializer};

use super::options::{OPTIONS, Opt};
use super::value::{show_size, show_time};
use super::{Config, Loaded, Origin};
use crate::limits::{Amount, CONSTANTS, Limits};
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

/// Every limit that can be set, with its value, what it bounds and what happens there; then those that only the source
/// moves. `limits` are those in force.
pub fn limits(config: &Config, limits: &Limits) -> String {
    let in_force = Config { max_connections: u32::try_from(limits.max_connections).ok(), ..config.clone() };
    let mut page = String::from("Limits:\n");
    for opt in OPTIONS.iter().filter(|opt| opt.is_limit()) {
        let (bounds, policy) = opt.bounds_and_policy();
        page += &format!("  {:<23} {:>10}   {bounds}.\n", opt.key(), opt.show(&in_force));
        page += &format!("{:<37}-> {policy}\n", "");
    }
    page += "\nConstants of the source:\n";
    for (name, amount, bounds) in CONSTANTS {
        let shown = match amount {
            Amount::Bytes(bytes) => show_size(*bytes),
            Amount::Count(count) => count.to_string(),
            Amount::Time(time) => show_time(*time),
        };
        page += &format!("  {name:<23} {shown:>10}   {bounds}\n");
    }
    page
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
    fn every_limit_has_its_value_and_its_policy() {
        let mut config = loaded().config;
        let in_force = config.limits_with(1064);
        let page = limits(&config, &in_force);
        for opt in OPTIONS.iter().filter(|opt| opt.is_limit()) {
            let (bounds, policy) = opt.bounds_and_policy();
            config.max_connections = Some(1000);
            let row = format!("  {:<23} {:>10}   {bounds}.\n", opt.key(), opt.show(&config));
            assert!(page.contains(&row), "{row}");
            assert!(page.contains(&format!(" -> {policy}\n")), "{policy}");
        }
        assert!(page.contains("  max_depth                        5   Nesting"), "{page}");
        for (name, ..) in CONSTANTS {
            assert!(page.contains(&format!("\n  {name} ")));
        }
        assert!(page.contains("\n  SMALL_RING                    1KiB   a ring"), "{page}");
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
