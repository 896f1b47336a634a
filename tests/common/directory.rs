//! A place on the disk for one test.

use std::path::PathBuf;
use std::{env, fs, process};

/// A directory that is gone when the test is over.
pub struct Directory(pub PathBuf);

impl Directory {
    /// An empty one. No two tests of a file may use the same name.
    pub fn new(name: &str) -> Self {
        let path = env::temp_dir().join(format!("rawline-{}-{name}", process::id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
