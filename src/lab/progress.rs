//! Which exercises were solved: a file with the name of one on each line, beside what the stagings wrote down.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::{fs, io};

/// The lab's own directory.
#[derive(Clone, Debug)]
pub struct Notebook(PathBuf);

impl Notebook {
    /// The one in this directory, which need not exist yet.
    pub fn at(directory: PathBuf) -> Self {
        Self(directory)
    }

    /// Where the staging of this exercise is written down.
    ///
    /// # Errors
    /// The directory cannot be made.
    pub fn truth(&self, exercise: &str) -> io::Result<PathBuf> {
        fs::create_dir_all(&self.0)?;
        Ok(self.0.join(format!("{exercise}.truth")))
    }

    /// The names of those that were solved.
    ///
    /// # Errors
    /// The file is there and cannot be read.
    pub fn solved(&self) -> io::Result<BTreeSet<String>> {
        match fs::read_to_string(self.path()) {
            Ok(text) => Ok(text.lines().map(Into::into).collect()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeSet::new()),
            Err(error) => Err(error),
        }
    }

    /// Notes that this one was solved; twice is once.
    ///
    /// # Errors
    /// What the file system says.
    pub fn solve(&self, exercise: &str) -> io::Result<()> {
        let mut solved = self.solved()?;
        if solved.insert(exercise.to_owned()) {
            fs::create_dir_all(&self.0)?;
            let lines: String = solved.iter().map(|name| format!("{name}\n")).collect();
            fs::write(self.path(), lines)?;
        }
        Ok(())
    }

    /// The file.
    pub fn path(&self) -> PathBuf {
        Path::new(&self.0).join("solved")
    }
}
