//! What others are told of the daemon: a supervisor by `--ready-fd`, systemd by the messages of sd_notify(3).
//!
//! Owns the words and when they are said; the transport reaches whoever reads them. Nobody is waited for: what a full
//! queue refuses is lost, and logged, so the watchdog is told twice in its time. Called by the [`Steward`](super::Steward).

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Write;
use std::time::Duration;

use rawline::log;
use rawline::transport::server::{NotifySocket, inherited, monotonic_us};

use crate::Failure;
use crate::exit::CONFIGURATION;

/// Whoever wants to know.
pub struct Announcer {
    ready: Option<File>,
    manager: Option<NotifySocket>,
    pulse: Option<Duration>,
    /// The last message was lost, which was logged.
    lost: bool,
}

impl Announcer {
    /// Those that the option and the environment name (NOTIFY_SOCKET, WATCHDOG_USEC, WATCHDOG_PID). To be called
    /// before anything is opened.
    ///
    /// # Errors
    /// There is no such descriptor to write to.
    pub fn new(ready_fd: Option<u32>, environment: &[(OsString, OsString)]) -> Result<Self, Failure> {
        let variable = |name: &str| {
            let found = environment.iter().find(|(known, _)| known == name);
            found.map(|(_, value)| value.as_os_str()).filter(|value| !value.is_empty())
        };
        let ready = match ready_fd {
            None => None,
            Some(number) => {
                let fd = inherited(number.try_into().unwrap_or(-1)).map_err(|_| Failure {
                    exit: CONFIGURATION,
                    message: format!(
                        "ready-fd: descriptor {number} is not open for writing: whoever starts rawline has to open it, \
                         as in `rawline serve --ready-fd {number} {number}>FILE`"
                    ),
                })?;
                Some(File::from(fd))
            }
        };
        let manager = variable("NOTIFY_SOCKET").and_then(|name| {
            let open = NotifySocket::open(name);
            open.inspect_err(|error| {
                log::warn("main", format_args!("NOTIFY_SOCKET: {} is of no use: {error}", name.display()));
            })
            .ok()
        });
        let pulse = manager
            .as_ref()
            .and_then(|_| pulse(variable("WATCHDOG_USEC"), variable("WATCHDOG_PID"), std::process::id()));
        Ok(Self { ready, manager, pulse, lost: false })
    }

    /// All services listen, or a reload is over.
    pub fn ready(&mut self) {
        if let Some(mut ready) = self.ready.take()
            && let Err(error) = ready.write_all(b"READY\n")
        {
            log::warn("main", format_args!("ready-fd: nobody can be told: {error}"));
        }
        self.tell("READY=1\nSTATUS=Serving");
    }

    /// The configuration is being read again.
    pub fn reloading(&mut self) {
        self.tell(&format!(
            "RELOADING=1\nMONOTONIC_USEC={}\nSTATUS=Reading the configuration",
            monotonic_us()
        ));
    }

    /// A stop has begun.
    pub fn stopping(&mut self, connections: usize) {
        self.tell(&format!("STOPPING=1\nSTATUS=Stopping, with {connections} connections"));
    }

    /// The loop still turns.
    pub fn alive(&mut self, connections: usize) {
        self.tell(&format!("WATCHDOG=1\nSTATUS={connections} connections"));
    }

    /// How often that is to be said.
    pub fn pulse(&self) -> Option<Duration> {
        self.pulse
    }

    fn tell(&mut self, message: &str) {
        let Some(manager) = &self.manager else { return };
        let sent = manager.send(message);
        if let Err(error) = &sent
            && !self.lost
        {
            let what = message.lines().next().unwrap_or_default();
            log::warn("main", format_args!("the service manager was not told {what}: {error}"));
        }
        self.lost = sent.is_err();
    }
}

/// Half of the watchdog's time, if there is one and it is for this process: sd_watchdog_enabled(3).
fn pulse(usec: Option<&OsStr>, pid: Option<&OsStr>, own: u32) -> Option<Duration> {
    let number = |text: &OsStr| text.to_str()?.parse::<u64>().ok();
    if pid.is_some_and(|pid| number(pid) != Some(own.into())) {
        return None;
    }
    number(usec?).filter(|&usec| usec > 0).map(|usec| Duration::from_micros(usec / 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_watchdog_is_told_in_half_of_its_time_if_it_watches_us() {
        let of = |usec: &str, pid: Option<&str>| pulse(Some(OsStr::new(usec)), pid.map(OsStr::new), 7);
        assert_eq!(of("3000000", None), Some(Duration::from_millis(1500)));
        assert_eq!(of("3000000", Some("7")), Some(Duration::from_millis(1500)));
        for (usec, pid) in
            [("3000000", Some("8")), ("3000000", Some("x")), ("0", None), ("soon", None), ("-1", None)]
        {
            assert_eq!(of(usec, pid), None);
        }
        assert_eq!(pulse(None, Some(OsStr::new("7")), 7), None);
    }
}
