//! The other side of a staging: a process of its own that makes the calls that are looked at.
//!
//! It is this binary again, as `rawline lab act NAME`. It tells the lab facts on its standard output and waits on its
//! standard input for its cue, so the first `read(0, ...)` in a trace is where it begins. It ends when the lab does.

use std::io::{self, BufRead, Write};

/// The words between it and the lab.
pub(super) const READY: &str = "ready";

/// The line to the lab.
pub struct Actor<'a> {
    /// Its cues.
    pub input: &'a mut dyn BufRead,
    /// Its facts.
    pub output: &'a mut dyn Write,
}

impl Actor<'_> {
    /// Tells the lab a fact.
    ///
    /// # Errors
    /// The lab is gone.
    pub fn tell(&mut self, key: &str, value: impl ToString) -> io::Result<()> {
        writeln!(self.output, "{key}={}", value.to_string())
    }

    /// Says that it is ready, and waits for its cue.
    ///
    /// # Errors
    /// The lab is gone.
    pub fn cue(&mut self) -> io::Result<String> {
        writeln!(self.output, "{READY}")?;
        self.output.flush()?;
        let mut line = String::new();
        match self.input.read_line(&mut line)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(line.trim_end().to_owned()),
        }
    }
}

/// For exercises in which nobody has to act.
///
/// # Errors
/// None.
pub fn nobody(_: &mut Actor<'_>) -> io::Result<()> {
    Ok(())
}
