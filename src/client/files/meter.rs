//! How fast bytes move, and how long the rest will take.
//!
//! Owns the count and the clock of one transfer. The rate is that of the last few seconds, because that is what a person
//! sees; the account at the end is that of the whole. Draws nothing.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Between two readings: often enough to look alive, seldom enough to cost nothing.
const EVERY: Duration = Duration::from_millis(100);

/// Over how many readings the rate is taken.
const WINDOW: usize = 30;

/// One transfer.
pub struct Meter {
    began: Instant,
    total: u64,
    had: u64,
    done: u64,
    /// When readings were taken, and how many bytes were done.
    readings: VecDeque<(Instant, u64)>,
}

/// How things stand.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reading {
    /// Bytes that are there, those of an earlier try included.
    pub done: u64,
    /// Bytes of the whole file.
    pub total: u64,
    /// Bytes a second; 0 as long as that cannot be told.
    pub rate: u64,
    /// How long the rest takes at this rate.
    pub left: Option<Duration>,
}

impl Meter {
    /// Begins now, with the bytes that are there already.
    pub fn start(had: u64, total: u64) -> Self {
        let now = Instant::now();
        Self { began: now, total, had, done: had, readings: VecDeque::from([(now, had)]) }
    }

    /// So many bytes have moved; a reading, if it is time for one.
    pub fn moved(&mut self, bytes: usize) -> Option<Reading> {
        self.moved_at(bytes, Instant::now())
    }

    fn moved_at(&mut self, bytes: usize, now: Instant) -> Option<Reading> {
        self.done += bytes as u64;
        let (last, _) = *self.readings.back()?;
        if now.saturating_duration_since(last) < EVERY {
            return None;
        }
        if self.readings.len() == WINDOW {
            self.readings.pop_front();
        }
        self.readings.push_back((now, self.done));
        let (since, before) = *self.readings.front()?;
        let rate = rate(self.done - before, now.saturating_duration_since(since));
        let rest = self.total.saturating_sub(self.done);
        let left = rest.checked_div(rate).map(Duration::from_secs);
        Some(Reading { done: self.done, total: self.total, rate, left })
    }

    /// Bytes that moved, and how long that took.
    pub fn moved_in(&self) -> (u64, Duration) {
        (self.done - self.had, self.began.elapsed())
    }
}

/// Bytes a second.
pub fn rate(bytes: u64, time: Duration) -> u64 {
    u64::try_from(u128::from(bytes) * 1000 / time.as_millis().max(1)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_of_what_moved_lately() {
        let mut meter = Meter::start(1000, 1_000_000);
        let at = |millis| meter_start(&meter) + Duration::from_millis(millis);
        let times: Vec<_> = [50, 100, 200].map(at).into();
        assert_eq!(meter.moved_at(500, times[0]), None, "too early");
        let reading = meter.moved_at(500, times[1]).unwrap();
        assert_eq!((reading.done, reading.rate), (2000, 10_000));
        assert_eq!(reading.left, Some(Duration::from_secs(99)));
        let reading = meter.moved_at(0, times[2]).unwrap();
        assert_eq!(reading.rate, 5000);
        for tenth in 3..100 {
            meter.moved_at(0, times[0] + Duration::from_millis(tenth * 100));
        }
        let later = times[0] + Duration::from_secs(60);
        let stalled = meter.moved_at(0, later).unwrap();
        assert_eq!((stalled.rate, stalled.left), (0, None), "nobody knows");
        assert_eq!(meter.moved_in().0, 1000);
    }

    fn meter_start(meter: &Meter) -> Instant {
        meter.began
    }
}
