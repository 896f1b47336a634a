//! What a new configuration changes in a server that runs already.
//!
//! Limits and the level of the log are taken; addresses, sockets and rules are not, and are named. Prints and reads
//! nothing. Called by the operator's side of `rawline serve`.

use super::Config;
use super::options::OPTIONS;

/// What a running server makes of a new configuration.
#[derive(Debug, PartialEq, Eq)]
pub struct Reload {
    /// In force from now on.
    pub config: Config,
    /// What is taken: `max_depth 64 -> 32`.
    pub taken: Vec<String>,
    /// What has to wait until the server is started again, in the same form.
    pub waiting: Vec<String>,
}

impl Reload {
    /// Compares what is in force with what is wanted.
    pub fn new(running: &Config, wanted: &Config) -> Self {
        let mut reload = Self { config: running.clone(), taken: Vec::new(), waiting: Vec::new() };
        for (opt, old, new) in OPTIONS.iter().map(|opt| (opt, opt.show(running), opt.show(wanted))) {
            if old == new {
                continue;
            }
            let change = format!("{} {old} -> {new}", opt.key());
            if opt.reloads() {
                opt.set(&mut reload.config, &new).expect("an option takes what it shows");
                reload.taken.push(change);
            } else {
                reload.waiting.push(change);
            }
        }
        reload
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Endpoint;
    use crate::log::Level;

    #[test]
    fn limits_and_the_level_are_taken_and_the_rest_is_named() {
        let running = Config::default();
        let mut wanted =
            Config { log_level: Level::Debug, rpc: Endpoint::Off, require_join: true, ..running.clone() };
        wanted.limits.max_depth = 9;
        wanted.max_connections = Some(7);
        let reload = Reload::new(&running, &wanted);
        assert_eq!(
            reload.taken,
            ["max_connections auto -> 7", "max_depth 64 -> 9", "log_level info -> debug"]
        );
        assert_eq!(reload.waiting, ["rpc 127.0.0.1:65432 -> off", "require_join false -> true"]);
        assert_eq!(reload.config, Config { rpc: running.rpc.clone(), require_join: false, ..wanted.clone() });
        // What waits is told again; what was taken is not.
        let again = Reload::new(&reload.config, &wanted);
        assert_eq!((again.taken.len(), again.waiting), (0, reload.waiting));
    }
}
