//! The binary: arguments → [`Config`] → service wired to transport → run.
//!
//! It owns the one line on stderr that a failure gets. Everything that can be asked of
//! the process is read here, once; below this file nobody looks at arguments or environment. It is the only
//! place that knows both the services and the transport.

mod cli;
mod exit;
mod operator;
#[cfg(feature = "cli")]
mod programs;

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::Path;
#[cfg(feature = "cli")]
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use std::{env, panic};

use cli::Command;
use exit::{BUG, CONFIGURATION, FAILED, NO_PERMISSION, UNAVAILABLE, USAGE};
use operator::Steward;
use operator::announcer::Announcer;
use rawline::config::options::OPTIONS;
#[cfg(feature = "cli")]
use rawline::config::report;
use rawline::config::{self, Address, AddressError, Config, ConfigError, DuplicateNames, Flags, Listener};
use rawline::log::Format;
use rawline::memory::{self, Sharing};
use rawline::service::chat::{Chat, Rules};
use rawline::transport::files::Share;
use rawline::transport::server::{ByteOrder, SocketOptions, log_panics, raise_descriptor_limit};
use rawline::{Limits, Server, Wire, log};

/// Why the process ends, and how.
#[derive(Debug, PartialEq, Eq)]
pub struct Failure {
    /// One of [`exit`].
    exit: u8,
    /// One line that names the remedy; empty if it was said already.
    message: String,
}

fn main() -> ExitCode {
    // A panic has printed its own place by the time it arrives here.
    let result = panic::catch_unwind(run).unwrap_or_else(|_| {
        let message = "this is a bug in rawline: please report it with the lines above".into();
        Err(Failure { exit: BUG, message })
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            match log::format() {
                _ if failure.message.is_empty() => {}
                Format::Text => {
                    let line = format!("rawline: {}\n", log::escaped(failure.message));
                    let _ = io::stderr().write_all(line.as_bytes());
                }
                Format::Json => log::error("main", format_args!("{}", failure.message)),
            }
            ExitCode::from(failure.exit)
        }
    }
}

fn run() -> Result<(), Failure> {
    match cli::parse(env::args_os())? {
        // Who closes the pipe early (`rawline --help | head`) has read enough.
        Command::Print(text) => {
            let _ = io::stdout().write_all(text.as_bytes());
            Ok(())
        }
        Command::Serve(flags) => serve(flags, env::vars_os().collect()),
        #[cfg(feature = "cli")]
        Command::PrintLimits(flags) => {
            let page = limits_page(&Config::load(flags, env::vars_os())?.config)?;
            let _ = io::stdout().write_all(page.as_bytes());
            Ok(())
        }
        #[cfg(feature = "cli")]
        Command::Config(asked) => programs::config::run(asked, env::vars_os()),
        #[cfg(feature = "cli")]
        Command::Chat(chat) => programs::chat::run(chat),
        #[cfg(feature = "cli")]
        Command::Echo(echo) => programs::echo::run(echo),
        #[cfg(feature = "cli")]
        Command::Ls(ls) => programs::files::ls::run(ls),
        #[cfg(feature = "cli")]
        Command::Get(get) => programs::files::get::run(get),
        #[cfg(feature = "cli")]
        Command::Put(put) => programs::files::put::run(put),
        #[cfg(feature = "cli")]
        Command::Explain(explain) => programs::explain::run(explain),
        #[cfg(feature = "cli")]
        Command::Rpc(rpc) => programs::rpc::run(rpc),
        #[cfg(feature = "cli")]
        Command::Stats(stats) => programs::stats::run(stats),
        #[cfg(feature = "cli")]
        Command::Lab(lab) => programs::lab::run(lab, state_directory()),
    }
}

/// Where programs of this user keep what they remember: the XDG Base Directory Specification.
#[cfg(feature = "cli")]
fn state_directory() -> Option<PathBuf> {
    let set = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    set("XDG_STATE_HOME").or_else(|| Some(set("HOME")?.join(".local/state")))
}

fn serve(flags: Flags, environment: Vec<(OsString, OsString)>) -> Result<(), Failure> {
    let loaded = Config::load(flags.clone(), environment.clone())?;
    let config = &loaded.config;
    log::set_level(config.log_level);
    log::set_format(config.log_format);
    log::set_value_max(config.log_value_max);
    log_panics();
    // Before anything is opened that could get its number.
    let mut announcer = Announcer::new(config.ready_fd, &environment)?;
    for warning in &loaded.warnings {
        log::warn("config", format_args!("{warning}"));
    }
    let listeners = config.listeners().into_iter().collect::<Result<Vec<_>, _>>()?;
    for Listener { service, endpoint, address } in &listeners {
        if endpoint.to_string() != address.to_string() {
            log::info("main", format_args!("{service}: {endpoint} is {address}"));
        }
        if !address.is_local() {
            log::warn(
                "main",
                format_args!(
                    "{service}: {address} can be reached from other machines, and there is no authentication \
                     and no TLS yet"
                ),
            );
        }
    }
    let open_files = open_files()?;
    let mut server = Server::new(limits_in(config, open_files)).map_err(Failure::system)?;
    if let Some(backlog) = config.backlog {
        server.set_backlog(backlog.try_into().unwrap_or(i32::MAX));
    }
    server.catch_operator_signals().map_err(Failure::system)?;
    server.set_cork(config.cork);
    if let Some(directory) = &config.files {
        let share = Share {
            directory: directory.clone(),
            writable: config.files_writable,
            delete: config.files_delete,
            byte_order: match config.files_byte_order {
                config::ByteOrder::Big => ByteOrder::Big,
                config::ByteOrder::Little => ByteOrder::Little,
            },
        };
        server.share(share).map_err(|error| Failure::sharing(directory, &error))?;
    }
    let mut listening = String::new();
    for Listener { service, address, .. } in &listeners {
        server.set_socket_options(socket_options(config, service));
        let bound = listen(&mut server, wire_of(service), address)
            .map_err(|error| Failure::listening(service, address, &error))?;
        listening.push_str(&format!("listening {service} {bound}\n"));
    }
    let chat = Chat::new(Rules {
        reject_duplicate_names: config.duplicate_names == DuplicateNames::Reject,
        require_join: config.require_join,
        log_bodies: config.log_bodies,
        announce_uploads: config.announce_uploads,
        no_local_admin: config.no_local_admin,
        max_username_chars: config.max_username_chars,
        max_message_chars: config.max_message_chars,
    });
    // Whoever reads this may connect; whoever has closed the pipe does not want to know.
    let _ = io::stdout().write_all(listening.as_bytes());
    announcer.ready();
    server.set_operator(Steward::new(flags, environment, loaded, open_files, announcer));
    server.run(chat).map_err(|error| Failure { exit: BUG, message: error.to_string() })?;
    log::info("main", format_args!("stopped"));
    Ok(())
}

/// How many files this process may open, once it has asked for all it can get.
fn open_files() -> Result<usize, Failure> {
    let open_files = raise_descriptor_limit().map_err(Failure::system)?;
    Ok(open_files.try_into().unwrap_or(usize::MAX))
}

/// All limits of the daemon that this configuration would start, and what they come to.
#[cfg(feature = "cli")]
fn limits_page(config: &Config) -> Result<String, Failure> {
    let limits = config.limits_with(open_files()?);
    let memory = memory::page(&memory::terms(&limits, config.max_username_chars, sharing(config)));
    Ok(format!("{}\nMemory, as the sum of what these allow:\n{memory}", report::limits(config, &limits)))
}

/// What takes memory beside the chat.
fn sharing(config: &Config) -> Sharing {
    Sharing { files: config.files.is_some(), writable: config.files_writable }
}

/// The limits of a process that may open so many files, and what they come to; warns where they promise more.
fn limits_in(config: &Config, open_files: usize) -> Limits {
    let limits = config.limits_with(open_files);
    log::info(
        "main",
        format_args!("at most {} connections ({open_files} open files)", limits.max_connections),
    );
    let sum = memory::line(&memory::terms(&limits, config.max_username_chars, sharing(config)));
    log::info("main", format_args!("memory at most {sum}"));
    let room = config.room_for_connections(open_files);
    if limits.max_connections > room {
        log::warn(
            "main",
            format_args!(
                "max-connections is {}, but {open_files} open files leave room for {room}: who comes later waits",
                limits.max_connections
            ),
        );
    }
    limits
}

/// What the clients of a service speak.
fn wire_of(service: &str) -> Wire {
    match service {
        "rpc" => Wire::JsonRpc,
        "line" => Wire::Line,
        "echo" => Wire::Echo,
        "files" => Wire::Files,
        other => unreachable!("there is no service {other}"),
    }
}

/// What the kernel is told about the connections of a service.
fn socket_options(config: &Config, service: &str) -> SocketOptions {
    let seconds = |time: Duration| time.as_secs().max(1).try_into().unwrap_or(u32::MAX);
    // It would cut a client that lives but takes its time, which an echo or a download may do.
    let user_timeout = if ["rpc", "line"].contains(&service) { config.user_timeout } else { Duration::ZERO };
    SocketOptions {
        sndbuf: config.sndbuf,
        rcvbuf: config.rcvbuf,
        nodelay: config.nodelay,
        keepalive_idle: seconds(config.keepalive_idle),
        keepalive_interval: seconds(config.keepalive_interval),
        keepalive_count: config.keepalive_count.try_into().unwrap_or(u32::MAX),
        user_timeout: user_timeout.as_millis().try_into().unwrap_or(u32::MAX),
        congestion: config.congestion.clone(),
    }
}

/// Binds one address; the address in force, since port 0 takes a free one.
fn listen(server: &mut Server, wire: Wire, address: &Address) -> io::Result<Address> {
    match address {
        Address::Tcp(address) => server.listen(wire, address).map(Address::Tcp),
        Address::Unix(path) => server.listen_unix(wire, path).map(|()| address.clone()),
    }
}

impl Failure {
    /// The system refused something that no option can change.
    fn system(error: io::Error) -> Self {
        Self { exit: FAILED, message: format!("the system refuses: {error}") }
    }

    /// The directory cannot be shared.
    fn sharing(directory: &Path, error: &io::Error) -> Self {
        let exit = match error.kind() {
            io::ErrorKind::PermissionDenied => NO_PERMISSION,
            _ => CONFIGURATION,
        };
        let message = format!(
            "{} cannot be shared: {error}: name another directory with --files or RAWLINE_FILES",
            directory.display()
        );
        Self { exit, message }
    }

    /// A service cannot listen on its address.
    fn listening(service: &str, address: &Address, error: &io::Error) -> Self {
        let name = if service == "files" { "files-listen" } else { service };
        let opt = OPTIONS.iter().find(|opt| opt.name == name).expect("every service has an address");
        let choose = format!("choose another with {} or {}", opt.flag(), opt.variable());
        let (exit, why) = match error.kind() {
            io::ErrorKind::AddrInUse => (UNAVAILABLE, format!("it is in use: stop its user, or {choose}")),
            io::ErrorKind::AddrNotAvailable => {
                (UNAVAILABLE, format!("this machine does not have it: {choose}"))
            }
            io::ErrorKind::PermissionDenied => (
                NO_PERMISSION,
                match address {
                    Address::Tcp(address) if address.port() < 1024 => {
                        format!("ports below 1024 take a privilege: {choose}")
                    }
                    _ => format!("this user may not: {choose}"),
                },
            ),
            _ => (FAILED, format!("{error}: {choose}")),
        };
        Self { exit, message: format!("{service} cannot listen on {address}: {why}") }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self { exit: if error.is_usage() { USAGE } else { CONFIGURATION }, message: error.to_string() }
    }
}

impl From<AddressError> for Failure {
    fn from(error: AddressError) -> Self {
        let exit = match error {
            AddressError::Unresolved { .. } => UNAVAILABLE,
            AddressError::Remote { .. } => CONFIGURATION,
        };
        Self { exit, message: error.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_to_listen_name_the_remedy() {
        let address = Address::Tcp(([127, 0, 0, 1], 80).into());
        let other = Address::Unix("/run/x".into());
        for (service, address, kind, exit, message) in [
            (
                "rpc",
                &address,
                io::ErrorKind::AddrInUse,
                69,
                "rpc cannot listen on 127.0.0.1:80: it is in use: stop its user, or choose another with --rpc or RAWLINE_RPC",
            ),
            (
                "files",
                &address,
                io::ErrorKind::AddrNotAvailable,
                69,
                "files cannot listen on 127.0.0.1:80: this machine does not have it: choose another with \
                 --files-listen or RAWLINE_FILES_LISTEN",
            ),
            (
                "rpc",
                &address,
                io::ErrorKind::PermissionDenied,
                77,
                "rpc cannot listen on 127.0.0.1:80: ports below 1024 take a privilege: choose another \
                 with --rpc or RAWLINE_RPC",
            ),
            (
                "rpc",
                &other,
                io::ErrorKind::PermissionDenied,
                77,
                "rpc cannot listen on unix:/run/x: this user may not: choose another with --rpc or RAWLINE_RPC",
            ),
        ] {
            let failure = Failure::listening(service, address, &kind.into());
            assert_eq!((failure.exit, failure.message.as_str()), (exit, message));
        }
        let failure = Failure::listening("rpc", &other, &io::Error::other("odd"));
        assert_eq!(failure.exit, FAILED);
        assert_eq!(
            failure.message,
            "rpc cannot listen on unix:/run/x: odd: choose another with --rpc or RAWLINE_RPC"
        );
    }
}
