//! How often a connection may ask for something: a token bucket in four bytes.
//!
//! Owns one number for each connection and never a clock: time is an argument. Instead of counting tokens that come back
//! it remembers until when what was taken is paid for (the generic cell rate algorithm, ITU-T I.371), so nothing has to be
//! done while nobody asks. Called by the dispatcher, once for each request.

use crate::limits::Limits;
use crate::transport::io::Millis;

/// Units of time in a millisecond: fine enough for a thousand messages a second.
const UNITS: u64 = 16;

/// What one connection has spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// When all of it is paid for, in units. It wraps after 74 hours: what seems further ahead than a full bucket has long
    /// passed.
    paid_at: u32,
}

impl Rate {
    /// Nothing is spent.
    pub fn new(now: Millis) -> Self {
        Self { paid_at: (now.0 * UNITS) as u32 }
    }

    /// Takes a token, if there is one.
    pub fn take(&mut self, now: Millis, limits: &Limits) -> bool {
        if limits.rate_messages == 0 {
            return true;
        }
        let price = (1000 * UNITS / limits.rate_messages as u64).max(1);
        let bucket = price * limits.rate_burst as u64;
        let now = (now.0 * UNITS) as u32;
        let ahead = u64::from(self.paid_at.wrapping_sub(now));
        let ahead = if ahead > bucket { 0 } else { ahead };
        if ahead + price > bucket {
            return false;
        }
        self.paid_at = now.wrapping_add((ahead + price) as u32);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(rate_messages: usize, rate_burst: usize) -> Limits {
        Limits { rate_messages, rate_burst, ..Limits::default() }
    }

    fn taken(rate: &mut Rate, now: u64, limits: &Limits) -> usize {
        (0..10_000).take_while(|_| rate.take(Millis(now), limits)).count()
    }

    #[test]
    fn a_burst_passes_then_so_many_a_second() {
        for start in [0, 1, 123_456, (1 << 32) / UNITS - 50, 1 << 40] {
            let (mut rate, limits) = (Rate::new(Millis(start)), limits(10, 50));
            assert_eq!(taken(&mut rate, start, &limits), 50, "{start}");
            assert_eq!(taken(&mut rate, start + 99, &limits), 0);
            assert_eq!(taken(&mut rate, start + 100, &limits), 1);
            assert_eq!(taken(&mut rate, start + 1100, &limits), 10);
            assert_eq!(taken(&mut rate, start + 60_000, &limits), 50, "no more than a burst is saved up");
        }
    }

    #[test]
    fn the_largest_rate_and_burst_are_held_too() {
        let (mut rate, limits) = (Rate::new(Millis(7)), limits(1000, 10_000));
        assert_eq!(taken(&mut rate, 7, &limits), 10_000);
        assert_eq!(taken(&mut rate, 8, &limits), 1);
    }

    #[test]
    fn it_is_off_by_default() {
        assert_eq!(taken(&mut Rate::new(Millis(0)), 0, &Limits::default()), 10_000);
    }
}
