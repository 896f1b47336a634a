//! The configuration: every value that an operator can set, and how it comes about.
//!
//! [`Config::load`] takes each value from the first of four places that has it: flag, environment, file,
//! default. What the options are called, how they are written and which values they take is one table,
//! [`options::OPTIONS`]. Every error says where the value came from and what to write instead. Nothing here
//! opens a socket or prints; the process's arguments and environment are handed in, so tests hand in their
//! own. Called by `main`, once.

pub mod endpoint;
pub mod file;
mod load;
pub mod options;
pub mod reload;
pub mod report;
pub mod template;
mod value;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

pub use endpoint::{Address, AddressError, Endpoint};
pub use load::{Origin, nearest};
pub use value::{show_time, time};

use crate::limits::Limits;
use crate::log::{Format, Level};

/// All effective values. [`Config::default`] is what `rawline serve` uses when nobody says anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where the JSON-RPC chat listens.
    pub rpc: Endpoint,
    /// Where the line chat listens.
    pub line: Endpoint,
    /// Where the echo service listens.
    pub echo: Endpoint,
    /// The directory that the file service shares; `None`: no file service.
    pub files: Option<PathBuf>,
    /// Where the file service listens, when there is one.
    pub files_listen: Endpoint,
    /// Whether clients may store files.
    pub files_writable: bool,
    /// Whether clients who may store files may remove them too.
    pub files_delete: bool,
    /// How version 1 of the file wire writes integers.
    pub files_byte_order: ByteOrder,
    /// Whether the room is told of every file that was stored.
    pub announce_uploads: bool,
    /// Whether an address that other machines can reach is accepted.
    pub allow_remote: bool,
    /// Connections that the kernel keeps until they are accepted; `None`: the most it allows.
    pub backlog: Option<u32>,
    /// Bytes of a socket's send buffer; 0: the kernel tunes it.
    pub sndbuf: usize,
    /// Bytes of a socket's receive buffer; 0: the kernel tunes it.
    pub rcvbuf: usize,
    /// Small segments leave at once.
    pub nodelay: bool,
    /// What stands before a file leaves together with its first bytes.
    pub cork: bool,
    /// Silence before the kernel asks whether a peer is there.
    pub keepalive_idle: Duration,
    /// Time between two such questions.
    pub keepalive_interval: Duration,
    /// How many go unanswered before the peer is given up.
    pub keepalive_count: usize,
    /// How long sent bytes of the chat may go unacknowledged.
    pub user_timeout: Duration,
    /// The kernel's congestion control; `None`: chosen for each listener.
    pub congestion: Option<String>,
    /// What happens to a name in use.
    pub duplicate_names: DuplicateNames,
    /// Whether only the joined may speak and hear.
    pub require_join: bool,
    /// The longest name, in characters.
    pub max_username_chars: usize,
    /// The longest message, in characters.
    pub max_message_chars: usize,
    /// Open connections; `None`: what the limit of open files leaves room for.
    pub max_connections: Option<u32>,
    /// Descriptors that `max_connections` does not count on: listeners, poller, log, files, the standard three.
    pub reserve_fds: usize,
    /// The other limits. [`Config::limits_with`] fills in their `max_connections`, which is not looked at here.
    pub limits: Limits,
    /// The least important events that are logged.
    pub log_level: Level,
    /// How they are written.
    pub log_format: Format,
    /// Bytes of a value that a client sent, in the log.
    pub log_value_max: usize,
    /// Whether what people say is logged, at level info.
    pub log_bodies: bool,
    /// Whether even those on this machine are refused statistics.
    pub no_local_admin: bool,
    /// The descriptor that is told when all services listen.
    pub ready_fd: Option<u32>,
}

/// What happens to a name in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DuplicateNames {
    /// The newcomer gets a similar one.
    Rename,
    /// The newcomer is refused.
    Reject,
}

/// How raw integers are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByteOrder {
    /// Network byte order.
    Big,
    /// As most processors keep them.
    Little,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            rpc: Endpoint::loopback(65432),
            line: Endpoint::loopback(65433),
            echo: Endpoint::loopback(65435),
            files: None,
            files_listen: Endpoint::loopback(65434),
            files_writable: false,
            files_delete: false,
            files_byte_order: ByteOrder::Big,
            announce_uploads: false,
            allow_remote: false,
            backlog: None,
            sndbuf: 0,
            rcvbuf: 0,
            nodelay: true,
            cork: true,
            keepalive_idle: Duration::from_secs(60),
            keepalive_interval: Duration::from_secs(10),
            keepalive_count: 3,
            user_timeout: Duration::from_secs(90),
            congestion: None,
            duplicate_names: DuplicateNames::Rename,
            require_join: false,
            max_username_chars: 50,
            max_message_chars: 1000,
            max_connections: None,
            reserve_fds: 64,
            limits: Limits::default(),
            log_level: Level::Info,
            log_format: Format::Text,
            log_value_max: 256,
            log_bodies: false,
            no_local_admin: false,
            ready_fd: None,
        }
    }
}

/// What the command line says: nothing, by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// `--config FILE`. Without it RAWLINE_CONFIG names the file; without that there is none.
    pub file: Option<PathBuf>,
    /// The name of an option, as in the table, and the text of its value.
    pub values: Vec<(&'static str, String)>,
}

/// A configuration, and what to tell the operator about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// The effective values.
    pub config: Config,
    /// The file that was read, if one was named.
    pub file: Option<PathBuf>,
    /// Where each of them came from, in the order of the table.
    pub origins: Vec<Origin>,
    /// One line each.
    pub warnings: Vec<String>,
}

/// A service that is on, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// `rpc`, `line`, `echo` or `files`.
    pub service: &'static str,
    /// As it was configured.
    pub endpoint: Endpoint,
    /// What it resolved to.
    pub address: Address,
}

impl Config {
    /// The services that are on, with their addresses, in the order of the table; or why one cannot have its address:
    /// the host cannot be resolved, or other machines can reach it without `allow_remote`. This is where names are
    /// resolved, once.
    pub fn listeners(&self) -> Vec<Result<Listener, AddressError>> {
        let files = if self.files.is_some() { &self.files_listen } else { &Endpoint::Off };
        let services = [
            ("rpc", "rpc", &self.rpc),
            ("line", "line", &self.line),
            ("echo", "echo", &self.echo),
            ("files", "files-listen", files),
        ];
        let mut listeners = Vec::new();
        for (service, option, endpoint) in services {
            let endpoint = endpoint.clone();
            listeners.push(match endpoint.resolve() {
                Ok(None) => continue,
                Err(why) => Err(AddressError::Unresolved { option, endpoint, why }),
                Ok(Some(address)) if !address.is_local() && !self.allow_remote => {
                    Err(AddressError::Remote { option, endpoint, address })
                }
                Ok(Some(address)) => Ok(Listener { service, endpoint, address }),
            });
        }
        listeners
    }

    /// The limits of a process that may open `open_files` descriptors, where `max_connections` does not say a number.
    pub fn limits_with(&self, open_files: usize) -> Limits {
        let max_connections = match self.max_connections {
            Some(number) => number as usize,
            None => self.room_for_connections(open_files),
        };
        Limits { max_connections, ..self.limits.clone() }
    }

    /// Connections that a process has room for which may open so many descriptors. Where they are few, half of them is
    /// kept back and no more: a server of one connection is none.
    pub fn room_for_connections(&self, open_files: usize) -> usize {
        open_files.saturating_sub(self.reserve_fds).max(open_files / 2).max(1)
    }
}

/// One thing that is wrong: where, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// A flag, an environment variable, `FILE` or `FILE:LINE`.
    pub place: String,
    /// A sentence.
    pub problem: String,
    /// Whether the command line is to blame, rather than the environment or the file.
    pub is_usage: bool,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.problem)
    }
}

/// Why there is no configuration: at least one mistake; file, environment, flags, and what contradicts each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// All that were found.
    pub mistakes: Vec<Mistake>,
}

impl ConfigError {
    /// Whether only the command line is to blame.
    pub fn is_usage(&self) -> bool {
        self.mistakes.iter().all(|mistake| mistake.is_usage)
    }
}

/// One line.
impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mistakes: Vec<_> = self.mistakes.iter().map(Mistake::to_string).collect();
        f.write_str(&mistakes.join("; "))
    }
}

impl std::error::Error for ConfigError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_are_the_services_that_are_on() {
        let services = |config: &Config| {
            config
                .listeners()
                .into_iter()
                .map(Result::unwrap)
                .map(|l| format!("{} {}", l.service, l.address))
                .collect()
        };
        let on: Vec<String> = services(&Config::default());
        assert_eq!(on, ["rpc 127.0.0.1:65432", "line 127.0.0.1:65433", "echo 127.0.0.1:65435"]);
        let config = Config {
            rpc: Endpoint::Unix("/x".into()),
            line: Endpoint::Off,
            echo: Endpoint::Off,
            files: Some("/srv".into()),
            ..Config::default()
        };
        let on: Vec<String> = services(&config);
        assert_eq!(on, ["rpc unix:/x", "files 127.0.0.1:65434"]);
    }

    #[test]
    fn an_address_in_reach_of_others_must_be_allowed() {
        let rpc = ":65432".parse().unwrap();
        let mut config = Config { rpc, ..Config::default() };
        assert_eq!(
            config.listeners()[0].clone().unwrap_err().to_string(),
            "rpc: 0.0.0.0:65432 can be reached from other machines: to allow that give --allow-remote \
             (RAWLINE_ALLOW_REMOTE=true, allow_remote = true), otherwise use 127.0.0.1"
        );
        config.allow_remote = true;
        assert_eq!(config.listeners()[0].as_ref().unwrap().address.to_string(), "0.0.0.0:65432");
    }

    #[test]
    fn a_name_is_shown_with_its_address() {
        let endpoint = Endpoint::Tcp { host: "chat.test".into(), port: 1 };
        let address = Address::Tcp(([192, 0, 2, 7], 1).into());
        let error = AddressError::Remote { option: "rpc", endpoint: endpoint.clone(), address };
        assert!(error.to_string().starts_with("rpc: chat.test:1 is 192.0.2.7:1, which can be reached from"));
        let error = AddressError::Unresolved { option: "rpc", endpoint, why: "no address".into() };
        assert_eq!(
            error.to_string(),
            "rpc: the host of chat.test:1 cannot be resolved (no address): write an address"
        );
    }

    #[test]
    fn connections_are_what_the_open_files_leave() {
        let mut config = Config::default();
        for (open_files, room) in [(1024, 960), (129, 65), (128, 64), (64, 32), (10, 5), (0, 1)] {
            assert_eq!(config.limits_with(open_files).max_connections, room);
        }
        config.reserve_fds = 24;
        for (open_files, room) in [(1024, 1000), (48, 24), (47, 23)] {
            assert_eq!(config.limits_with(open_files).max_connections, room);
        }
        config.max_connections = Some(7);
        assert_eq!(config.limits_with(1024), Limits { max_connections: 7, ..Limits::default() });
    }
}
