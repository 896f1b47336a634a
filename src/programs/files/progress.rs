//! The line that shows how far a transfer is, on a terminal only.
//!
//! Owns one row of the terminal behind standard error, and leaves it empty.

use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::time::Duration;

use rawline::client::files::{Meter, Reading};
use rawline::client::terminal;
use rawline::client::text::harmless;

use super::super::width::{clusters, width};
use super::size_text;

/// Shows one transfer.
pub(super) struct Progress {
    meter: Meter,
    name: String,
    draws: bool,
    drawn: bool,
}

impl Progress {
    /// Of `name`, of whose `total` bytes `had` are there already. Draws only where `may_draw` and there is a terminal.
    pub(super) fn start(name: &str, had: u64, total: u64, may_draw: bool) -> Self {
        let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        let draws = may_draw && io::stderr().is_terminal() && !is_dumb;
        Self { meter: Meter::start(had, total), name: harmless(name).into_owned(), draws, drawn: false }
    }

    /// So many bytes have moved.
    pub(super) fn moved(&mut self, bytes: usize) {
        let reading = self.meter.moved(bytes);
        if self.draws
            && let Some(reading) = reading
        {
            let columns = terminal::size(io::stderr().as_fd()).map_or(80, |(columns, _)| columns);
            let row = format!("\r{}\x1b[K", row(&self.name, reading, columns));
            let _ = io::stderr().write_all(row.as_bytes());
            self.drawn = true;
        }
    }

    /// Bytes that moved, and how long it took.
    pub(super) fn moved_in(&self) -> (u64, Duration) {
        self.meter.moved_in()
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.drawn {
            let _ = io::stderr().write_all(b"\r\x1b[K");
        }
    }
}

/// `NAME  45%  2.3 of 5.0 GiB  310.0 MiB/s  0:08 left`, never wider than the terminal: what is too much is cut from the name.
fn row(name: &str, reading: Reading, columns: usize) -> String {
    let Reading { done, total, rate, left } = reading;
    let percent = u128::from(done) * 100 / u128::from(total.max(1));
    let left = left.map_or("-:--".into(), clock);
    let figures =
        format!("  {percent:>3}%  {:>10}  {:>12}/s  {left:>7} left", size_text(done), size_text(rate));
    // The last column stays free: a terminal may go on to the next row.
    let room = columns.saturating_sub(1 + width(&figures));
    if width(name) <= room {
        return format!(
            "{name}{}{figures}",
            " ".repeat((room - width(name)).min(24_usize.saturating_sub(width(name))))
        );
    }
    let mut cut = String::new();
    for cluster in clusters(name) {
        if width(&cut) + cluster.width + 3 > room {
            break;
        }
        cut.push_str(cluster.text);
    }
    let figures: String = figures.chars().take(columns.saturating_sub(1)).collect();
    if room < 3 { figures } else { format!("{cut}...{figures}") }
}

/// `0:08`, `12:00`, `1:00:00`.
fn clock(time: Duration) -> String {
    let (hours, minutes, seconds) = (time.as_secs() / 3600, time.as_secs() / 60 % 60, time.as_secs() % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes}:{seconds:02}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_row_fits_whatever_the_name_and_the_terminal_are() {
        let reading =
            Reading { done: 5 << 29, total: 5 << 30, rate: 310 << 20, left: Some(Duration::from_secs(8)) };
        let shown = row("a.iso", reading, 80);
        assert_eq!(shown, "a.iso                      50%     2.5 GiB     310.0 MiB/s     0:08 left");
        let nothing = Reading { done: 0, total: 0, rate: 0, left: None };
        for columns in 1..120 {
            for name in ["a.iso", &"日本".repeat(40), &"x".repeat(255)] {
                for reading in [reading, nothing] {
                    let shown = row(name, reading, columns);
                    assert!(width(&shown) < columns, "{columns}: {shown}");
                }
            }
        }
        assert!(row(&"x".repeat(255), reading, 80).contains("xxx...   50%"));
        assert_eq!(
            [8, 720, 3600].map(|seconds| clock(Duration::from_secs(seconds))),
            ["0:08", "12:00", "1:00:00"]
        );
    }
}
