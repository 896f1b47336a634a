//! How numbers, sizes, times and words are written: from text to value, held to a range, and back to text.
//!
//! Reading is strict (no signs, no spaces, binary units only), because a limit that was misread is worse than
//! one that was refused. Every error is a sentence that says what to write; it does not know which option
//! it is about. What `show_*` writes is read back as the same value. Called by `options.rs`, and by the clients
//! for the times on their command lines.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::endpoint::is_digits;

/// Bytes.
pub const KIB: usize = 1024;
/// Bytes.
pub const MIB: usize = 1024 * KIB;
/// Bytes.
pub const GIB: usize = 1024 * MIB;

/// Bytes. (1024 times as much fits wherever a file can be so large.)
#[cfg(target_pointer_width = "64")]
pub const TIB: usize = 1024 * GIB;
/// Bytes.
#[cfg(not(target_pointer_width = "64"))]
pub const TIB: usize = GIB / 512;

/// A number of digits; one that is too large for `u64` is out of every range anyway.
fn digits(text: &str) -> Option<u64> {
    is_digits(text).then(|| text.parse().unwrap_or(u64::MAX))
}

/// A number of things.
pub fn count(text: &str) -> Result<u64, String> {
    digits(text).ok_or_else(|| format!("{text:?} is no number: write digits only"))
}

/// `number`, if the option takes it.
pub fn within<T: Copy + PartialOrd + TryFrom<u64> + ToString>(
    number: u64,
    range: &RangeInclusive<T>,
) -> Result<T, String> {
    T::try_from(number)
        .ok()
        .filter(|number| range.contains(number))
        .ok_or_else(|| out_of_range(&number.to_string(), &show_range(range, T::to_string)))
}

const SIZE_UNITS: [(&str, u64); 3] = [("GiB", GIB as u64), ("MiB", MIB as u64), ("KiB", KIB as u64)];

/// Bytes.
pub fn size(text: &str) -> Result<u64, String> {
    let (number, factor) = SIZE_UNITS
        .iter()
        .find_map(|&(unit, factor)| Some((text.strip_suffix(unit)?, factor)))
        .unwrap_or((text, 1));
    digits(number).map(|number| number.saturating_mul(factor)).ok_or_else(|| {
        format!("{text:?} is no size: write bytes (65536) or a whole number of KiB, MiB or GiB (64KiB)")
    })
}

/// `bytes`, if the option takes so many.
pub fn sized(bytes: u64, range: &RangeInclusive<usize>) -> Result<usize, String> {
    usize::try_from(bytes)
        .ok()
        .filter(|bytes| range.contains(bytes))
        .ok_or_else(|| out_of_range(&bytes.to_string(), &show_range(range, |&bytes| show_size(bytes))))
}

/// In the largest unit that leaves a whole number.
pub fn show_size(bytes: usize) -> String {
    match SIZE_UNITS.iter().find(|(_, factor)| bytes > 0 && (bytes as u64).is_multiple_of(*factor)) {
        Some((unit, factor)) => format!("{}{unit}", bytes as u64 / factor),
        None => bytes.to_string(),
    }
}

/// `ms` comes before `s`, which it ends in.
const TIME_UNITS: [(&str, u64); 3] = [("ms", 1), ("s", 1000), ("m", 60_000)];

/// A span of time.
pub fn time(text: &str) -> Result<Duration, String> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    if digits(text).is_some() {
        return Err(format!("{text:?} has no unit: write {text}ms, {text}s or {text}m"));
    }
    TIME_UNITS
        .iter()
        .find_map(|&(unit, millis)| Some((text.strip_suffix(unit)?, millis)))
        .and_then(|(number, millis)| Some(Duration::from_millis(digits(number)?.saturating_mul(millis))))
        .ok_or_else(|| {
            format!("{text:?} is no time: write a whole number of ms, s or m (500ms, 10s, 2m), or 0")
        })
}

/// `time`, if the option takes it.
pub fn timed(time: Duration, range: &RangeInclusive<Duration>) -> Result<Duration, String> {
    if range.contains(&time) {
        return Ok(time);
    }
    Err(out_of_range(&show_time(time), &show_range(range, |&time| show_time(time))))
}

/// In the largest unit that leaves a whole number.
pub fn show_time(time: Duration) -> String {
    let time = time.as_millis();
    match TIME_UNITS.iter().rev().find(|&&(_, millis)| time > 0 && time.is_multiple_of(millis.into())) {
        Some(&(unit, millis)) => format!("{}{unit}", time / u128::from(millis)),
        None => "0".into(),
    }
}

/// The value that is written `text`.
pub fn word<T: Copy>(text: &str, words: &[(&str, T)]) -> Result<T, String> {
    words.iter().find(|(word, _)| *word == text).map(|&(_, value)| value).ok_or_else(|| {
        let words: Vec<_> = words.iter().map(|(word, _)| *word).collect();
        format!("{text:?} is none of {}", words.join(", "))
    })
}

/// A name as the kernel gives them to its modules.
pub fn kernel_name(text: &str) -> Result<String, String> {
    let is_name = (1..16).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-".contains(&byte));
    if is_name {
        Ok(text.into())
    } else {
        Err(format!("{text:?} is no name: write a word like cubic, or auto"))
    }
}

/// How `value` is written.
pub fn show_word<T: Copy + PartialEq>(value: T, words: &[(&str, T)]) -> String {
    words.iter().find(|(_, of)| *of == value).expect("every value has its word").0.into()
}

/// `1 to 127`.
pub fn show_range<T>(range: &RangeInclusive<T>, show: impl Fn(&T) -> String) -> String {
    format!("{} to {}", show(range.start()), show(range.end()))
}

fn out_of_range(value: &str, range: &str) -> String {
    format!("{value} is out of range: {range}")
}
