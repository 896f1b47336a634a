//! How long turns took, beside what the server says of it: how many there were, all of them together, and below which power
//! of two so large a share of them lies.

use std::collections::BTreeMap;

use rawline::api::Histogram;
use serde_json::Value;

/// The shares that are told.
const SHARES: [(&str, f64); 3] = [("p50", 0.5), ("p99", 0.99), ("max", 1.0)];

/// How many turns took so many microseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Times(BTreeMap<u64, u64>);

impl Times {
    /// One more took so long.
    pub fn add(&mut self, us: u64) {
        *self.0.entry(us).or_default() += 1;
    }

    fn count(&self) -> u64 {
        self.0.values().sum()
    }

    fn total(&self) -> u64 {
        self.0.iter().map(|(us, count)| us * count).sum()
    }

    /// The least power of two of microseconds that so large a share of all took less than.
    fn bound(&self, share: f64) -> Option<u64> {
        let rank = (self.count() as f64 * share).ceil() as u64;
        let mut seen = 0;
        let slowest = self.0.iter().find(|(_, count)| {
            seen += **count;
            seen >= rank
        });
        slowest.map(|(us, _)| (us + 1).next_power_of_two())
    }

    /// What is wrong with what the server has counted.
    pub fn judge(&self, found: &Histogram) -> Option<String> {
        let bounds = SHARES.map(|(_, share)| (found.quantile_us(share), self.bound(share)));
        let is_right = found.count() == self.count()
            && found.total_us == self.total()
            && bounds.iter().all(|(found, expected)| found == expected);
        (!is_right).then(|| format!("turns took {found:?}, {bounds:?}, and not {self:?}"))
    }

    /// The same of what `get_stats` answers, in either of its forms.
    pub fn judge_answer(&self, stats: &Value) -> Option<String> {
        if stats.get("turn_time").is_some() {
            return match serde_json::from_value(stats["turn_time"].clone()) {
                Ok(histogram) => self.judge(&histogram),
                Err(error) => Some(error.to_string()),
            };
        }
        let expected = [("count", Some(self.count())), ("total", Some(self.total()))]
            .into_iter()
            .chain(SHARES.map(|(name, share)| (name, self.bound(share))));
        let found = &stats["turn_us"];
        let mut wrong = expected.filter(|(name, expected)| found[*name].as_u64() != *expected);
        wrong.next().map(|(name, expected)| format!("{name} of {found} is not {expected:?}"))
    }
}
