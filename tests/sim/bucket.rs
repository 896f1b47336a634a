//! A token bucket as one would write it without thinking of bytes: what the rate limit should let through.

use rawline::Limits;

/// Thousandths of a token; in each millisecond as many come back as there are tokens a second.
pub struct Bucket {
    credit: u64,
    at: u64,
}

impl Bucket {
    /// A full one: more than any burst, until it is first asked.
    pub fn full() -> Self {
        Self { credit: u64::MAX, at: 0 }
    }

    /// Takes a token at this time, in milliseconds; whether there was one.
    pub fn take(&mut self, now: u64, limits: &Limits) -> bool {
        let back = (now - self.at) * limits.rate_messages as u64;
        self.credit = self.credit.saturating_add(back).min(limits.rate_burst as u64 * 1000);
        self.at = now;
        let may = !self.is_empty();
        self.credit -= if may { 1000 } else { 0 };
        may
    }

    /// Whether the last one that asked has left nothing for a next one at the same time.
    pub fn is_empty(&self) -> bool {
        self.credit < 1000
    }
}
