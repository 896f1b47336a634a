//! The operator's side of `rawline serve`: reads the configuration again, writes statistics to the log, tells service
//! managers.
//!
//! The loop calls it, on its own thread: what is read is one regular file, and what is told waits for nobody. What a
//! new configuration changes is decided in the library. Called by `main` and by the loop.

pub mod announcer;

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use announcer::Announcer;
use rawline::config::reload::Reload;
use rawline::config::{Config, Flags, Loaded};
use rawline::{Limits, Operator, Stats, log};

use crate::limits_in;

/// Stands beside the server.
pub struct Steward {
    flags: Flags,
    environment: Vec<(OsString, OsString)>,
    file: Option<PathBuf>,
    /// In force.
    config: Config,
    open_files: usize,
    announcer: Announcer,
}

impl Steward {
    /// One for a server that was started with these.
    pub fn new(
        flags: Flags,
        environment: Vec<(OsString, OsString)>,
        loaded: Loaded,
        open_files: usize,
        announcer: Announcer,
    ) -> Self {
        let Loaded { config, file, .. } = loaded;
        Self { flags, environment, file, config, open_files, announcer }
    }

    fn read_again(&mut self) -> Option<Limits> {
        let refuse = |problem: std::fmt::Arguments<'_>| {
            log::error("config", problem);
        };
        // A pipe has been read to its end, and another one would keep the loop waiting for its writer.
        if let Some(path) = &self.file
            && fs::metadata(path).is_ok_and(|meta| !meta.is_file())
        {
            refuse(format_args!("{} is no regular file and cannot be read a second time", path.display()));
            refuse(format_args!("the configuration stays as it was"));
            return None;
        }
        let wanted = match Config::load(self.flags.clone(), self.environment.clone()) {
            Ok(Loaded { config, .. }) => config,
            Err(error) => {
                for mistake in &error.mistakes {
                    refuse(format_args!("{mistake}"));
                }
                refuse(format_args!("the configuration stays as it was"));
                return None;
            }
        };
        let Reload { config, taken, waiting } = Reload::new(&self.config, &wanted);
        let taken = if taken.is_empty() { "nothing has changed".into() } else { taken.join(", ") };
        log::requested("config", format_args!("read again: {taken}"));
        if !waiting.is_empty() {
            log::requested("config", format_args!("after a restart only: {}", waiting.join(", ")));
        }
        log::set_level(config.log_level);
        log::set_value_max(config.log_value_max);
        self.config = config;
        Some(limits_in(&self.config, self.open_files))
    }
}

impl Operator for Steward {
    fn reload(&mut self) -> Option<Limits> {
        self.announcer.reloading();
        let limits = self.read_again();
        self.announcer.ready();
        limits
    }

    fn report(&mut self, stats: Stats) {
        log::requested("stats", format_args!("{stats}"));
    }

    fn pulse(&self) -> Option<Duration> {
        self.announcer.pulse()
    }

    fn alive(&mut self, connections: usize) {
        self.announcer.alive(connections);
    }

    fn stopping(&mut self, connections: usize) {
        self.announcer.stopping(connections);
    }
}
