//! What the staging knows, as a small file: one `key=value` on a line. Written by `start`, read by `check`.

use std::collections::BTreeMap;
use std::path::Path;
use std::{fs, io};

/// Facts of one staging: process ids, ports, counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Truth(BTreeMap<String, String>);

impl Truth {
    /// Notes a fact, in place of an older one of the same name. Neither holds a line feed.
    pub fn tell(&mut self, key: &str, value: impl ToString) {
        self.0.insert(key.to_owned(), value.to_string());
    }

    /// The number of this name; -1, which no port and no count is, if there is none.
    pub fn number(&self, key: &str) -> i64 {
        self.0.get(key).and_then(|value| value.parse().ok()).unwrap_or(-1)
    }

    /// The port of this name; 0 if there is none.
    pub fn port(&self, key: &str) -> u16 {
        self.number(key).try_into().unwrap_or(0)
    }

    /// `text` with `{key}` replaced by what is known of it.
    pub fn fill(&self, text: &str) -> String {
        let filled =
            |text: String, (key, value): (&String, &String)| text.replace(&format!("{{{key}}}"), value);
        self.0.iter().fold(text.to_owned(), filled)
    }

    /// Writes it down.
    ///
    /// # Errors
    /// What the file system says.
    pub fn save(&self, path: &Path) -> io::Result<()> {
        let lines: String = self.0.iter().map(|(key, value)| format!("{key}={value}\n")).collect();
        fs::write(path, lines)
    }

    /// Reads what was written down; lines that say nothing are passed over.
    ///
    /// # Errors
    /// What the file system says: NotFound before the first staging.
    pub fn load(path: &Path) -> io::Result<Self> {
        let text = fs::read_to_string(path)?;
        let facts = text.lines().filter_map(|line| line.split_once('='));
        Ok(Self(facts.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()))
    }
}
