//! Statistics for people: what is now, what was counted, by which reasons and limits, and how long turns took.
//!
//! It groups by what a number is, not by its name: gauges, plain counters, then the counters of each labelled name. Beside
//! every number stands what it is, since nobody knows them by heart. What is zero among many is left out and counted.

use std::fmt::Write;

use rawline::api::{SHARES, Sample};
use rawline::{Stats, log};

/// All of it. What the server wrote cannot command a terminal.
pub fn text(server: &str, version: &str, stats: &Stats<String>) -> String {
    let up = stats.get("uptime_ms", None);
    let mut text = format!("rawline {version} at {server}");
    if let Some(up) = up {
        text += &format!(", up {}", time(up));
    }
    text.push_str("\n\nNow\n");
    let (labelled, plain): (Vec<_>, Vec<_>) = stats.families().partition(|family| family[0].label.is_some());
    let row = |name: &str, value: &str, help: &str| format!("  {name:<24} {value:>14}  {help}\n");
    let named =
        |sample: &Sample<String>| row(&sample.name, &number(&sample.name, sample.value), &sample.help);
    for sample in plain.iter().flat_map(|family| family.iter()).filter(|sample| sample.is_gauge) {
        text += &named(sample);
    }
    text.push_str("\nSince the start\n");
    for sample in plain.iter().flat_map(|family| family.iter()).filter(|sample| !sample.is_gauge) {
        text += &named(sample);
    }
    for family in labelled {
        let Sample { name, label, help, .. } = &family[0];
        let key = label.as_ref().map_or("", |(key, _)| key);
        // Where all say the same it is said once, above them.
        let is_shared = family.iter().all(|sample| sample.help == *help);
        let _ = writeln!(
            text,
            "\n{name}, by {key}{}",
            if is_shared { format!(": {help}") } else { String::new() }
        );
        let (zero, counted): (Vec<_>, Vec<_>) =
            family.iter().partition(|sample| sample.value == 0 && !sample.is_gauge);
        for sample in counted {
            let label = sample.label.as_ref().map_or("", |(_, value)| value);
            text += &row(label, &number(name, sample.value), if is_shared { "" } else { &sample.help });
        }
        if !zero.is_empty() {
            text += &row(&format!("{} more", zero.len()), "0", "");
        }
    }
    let turns = &stats.turn_time;
    let _ = writeln!(text, "\nTurns of the loop: {}, from waking to waiting", grouped(turns.count()));
    for ((name, share), what) in SHARES.into_iter().zip(["half of them", "99 of 100", "all of them"]) {
        let bound = turns.quantile_us(share).map_or("-".into(), |us| format!("< {}", micros(us)));
        text += &row(name, &bound, &format!("What {what} took less than."));
    }
    let lines = text.lines().map(|line| log::escaped(line.trim_end()).to_string() + "\n");
    lines.collect()
}

/// As it reads best: bytes and times in their largest unit, everything else in groups of three digits.
fn number(name: &str, value: u64) -> String {
    match name {
        _ if name.ends_with("_ms") => time(value),
        _ if name.contains("bytes") => bytes(value),
        _ => grouped(value),
    }
}

fn grouped(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn bytes(value: u64) -> String {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let (mut unit, mut rest) = (0, value as f64);
    while rest >= 1024.0 {
        (unit, rest) = (unit + 1, rest / 1024.0);
    }
    if unit == 0 { format!("{value} B") } else { format!("{rest:.1} {}", UNITS[unit]) }
}

/// The two largest units of a time in milliseconds.
fn time(ms: u64) -> String {
    let s = ms / 1000;
    match s {
        0..60 => format!("{s}.{}s", ms % 1000 / 100),
        60..3600 => format!("{}m {}s", s / 60, s % 60),
        3600..86_400 => format!("{}h {}m", s / 3600, s / 60 % 60),
        _ => format!("{}d {}h", s / 86_400, s / 3600 % 24),
    }
}

fn micros(us: u64) -> String {
    match us {
        0..1024 => format!("{us} µs"),
        1024..1_048_576 => format!("{:.1} ms", us as f64 / 1e3),
        _ => format!("{:.1} s", us as f64 / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::example;
    use super::*;

    #[test]
    fn numbers_stand_beside_what_they_are() {
        let mut stats = example();
        stats.samples[0].help = "Open \u{1b}[31m connections.".into();
        assert_eq!(
            text("127.0.0.1:65432", "0.1.0", &stats),
            "\
rawline 0.1.0 at 127.0.0.1:65432, up 2h 15m

Now
  connections                           3  Open \\u{1b}[31m connections.
  uptime_ms                        2h 15m  Milliseconds since the server began.

Since the start
  bytes_in                        1.5 MiB  Bytes read from connections.
  accepted                              7  Connections \\ accepted.

closed, by reason: Connections ended, by reason.
  peer                             12,345
  1 more                                0

Turns of the loop: 8, from waking to waiting
  p50                             < 64 µs  What half of them took less than.
  p99                                   -  What 99 of 100 took less than.
  max                                   -  What all of them took less than.
"
        );
    }

    #[test]
    fn numbers_have_the_unit_in_which_they_are_read() {
        for (name, value, shown) in [
            ("a", 0, "0"),
            ("a", 999, "999"),
            ("a", 1000, "1,000"),
            ("a", 1_234_567, "1,234,567"),
            ("bytes_in", 1023, "1023 B"),
            ("out_bytes", 1024, "1.0 KiB"),
            ("out_bytes", u64::MAX, "16.0 EiB"),
            ("a_ms", 59_999, "59.9s"),
            ("a_ms", 60_000, "1m 0s"),
            ("a_ms", 90_000_000, "1d 1h"),
        ] {
            assert_eq!(number(name, value), shown);
        }
        assert_eq!(
            [1, 512, 1024, 524_288, 1 << 22].map(micros),
            ["1 µs", "512 µs", "1.0 ms", "524.3 ms", "4.2 s"]
        );
    }
}
