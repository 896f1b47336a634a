//! When to try again: soon, then less and less often, and never all clients at once.
//!
//! Owns the length of the next pause. Knows no clock and waits for nothing. Called by whoever reconnects.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(15);

/// Pauses of up to 0.5 s, 1 s, 2 s, ... 15 s. A server that starts again after a failure has lost all its clients in
/// the same moment, so each pause is cut by chance, to somewhere between its half and its whole.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    next: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { next: FIRST }
    }
}

impl Backoff {
    /// How long to wait before the next attempt.
    pub fn pause(&mut self) -> Duration {
        // The keys of a hash map are the system's random numbers.
        self.pause_with(RandomState::new().hash_one(0) as u32)
    }

    fn pause_with(&mut self, random: u32) -> Duration {
        let whole = self.next;
        self.next = LONGEST.min(2 * whole);
        whole / 2 + (whole / 2).mul_f64(f64::from(random) / f64::from(u32::MAX))
    }

    /// It has worked: the next failure is a first one.
    pub fn reset(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest() {
        let mut backoff = Backoff::default();
        let pauses: Vec<_> = (0..7).map(|_| backoff.pause_with(u32::MAX).as_millis()).collect();
        assert_eq!(pauses, [500, 1000, 2000, 4000, 8000, 15_000, 15_000]);
        backoff.reset();
        assert_eq!(backoff.pause_with(0).as_millis(), 250);
    }

    #[test]
    fn chance_cuts_a_pause_by_at_most_its_half() {
        for _ in 0..1000 {
            let pause = Backoff::default().pause();
            assert!((FIRST / 2..=FIRST).contains(&pause), "{pause:?}");
        }
        assert_ne!(
            Backoff::default().pause(),
            Backoff::default().pause(),
            "by chance once in some four thousand million runs"
        );
    }
}
