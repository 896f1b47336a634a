//! What a server has counted so far, as names and numbers: whoever shows it, as JSON, as a table or for Prometheus,
//! needs no second list.

use std::fmt;

/// All counters and gauges at one moment: the end of the turn before the one that asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stats {
    /// In a fixed order; samples of one name follow each other.
    pub samples: Vec<Sample>,
    /// How long the turns of the loop took, without their sleep.
    pub turn_time: Histogram,
}

/// One number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// In lower case, with underscores: `accepted`.
    pub name: &'static str,
    /// What sets it apart from others of its name: `("reason", "peer")`.
    pub label: Option<(&'static str, &'static str)>,
    /// One sentence.
    pub help: &'static str,
    /// Whether it can go down. What cannot counts from the start of the server.
    pub is_gauge: bool,
    /// The number.
    pub value: u64,
}

/// How often something took so long: bucket `n` counts what took less than 2^n microseconds and no less than half of
/// that, the last one everything longer. 24 buckets reach to eight seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    /// By the logarithm of the time.
    pub buckets: [u64; 24],
    /// All of it together, in microseconds.
    pub total_us: u64,
}

impl Stats {
    /// The number under this name, with this value of its label, if it has one.
    pub fn get(&self, name: &str, label: Option<&str>) -> Option<u64> {
        let fits = |sample: &&Sample| sample.name == name && sample.label.map(|(_, value)| value) == label;
        self.samples.iter().find(fits).map(|sample| sample.value)
    }
}

/// One line: `connections=3 closed{reason=peer}=7 ...`, without the counters that are still zero, and at its end how long
/// turns took.
impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Sample { name, label, value, .. } in self.samples.iter().filter(|s| s.is_gauge || s.value > 0) {
            match label {
                Some((key, of)) => write!(f, "{name}{{{key}={of}}}={value} ")?,
                None => write!(f, "{name}={value} ")?,
            }
        }
        let turns = &self.turn_time;
        write!(f, "turns={} turn_us={}", turns.count(), turns.total_us)?;
        for (name, share) in [("p50", 0.5), ("p99", 0.99), ("max", 1.0)] {
            if let Some(bound) = turns.quantile_us(share) {
                write!(f, " turn_us_{name}<{bound}")?;
            }
        }
        Ok(())
    }
}

impl Histogram {
    /// Counts one more.
    pub fn add(&mut self, us: u64) {
        let bucket = (u64::BITS - us.leading_zeros()) as usize;
        self.buckets[bucket.min(self.buckets.len() - 1)] += 1;
        self.total_us += us;
    }

    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// What so large a share of all took less than, in microseconds; `None` if nothing was counted, or some of that share
    /// took longer than the last bound.
    pub fn quantile_us(&self, share: f64) -> Option<u64> {
        let rank = (self.count() as f64 * share).ceil() as u64;
        let mut below = 0;
        let reaches = |&(_, count): &(usize, &u64)| {
            below += count;
            below >= rank
        };
        let (bucket, _) = self.buckets.iter().enumerate().find(reaches).filter(|_| rank > 0)?;
        self.bound_us(bucket)
    }

    /// What everything in a bucket took less than, in microseconds; `None` for the last, which has no end.
    pub fn bound_us(&self, bucket: usize) -> Option<u64> {
        (bucket + 1 < self.buckets.len()).then(|| 1 << bucket)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_powers_of_two() {
        let mut histogram = Histogram::default();
        for us in [0, 1, 2, 3, 4, 1023, 1024, (1 << 22) - 1, 1 << 22, u64::from(u32::MAX)] {
            histogram.add(us);
            let at = |n: &usize| histogram.bound_us(*n).is_none_or(|bound| us < bound);
            let bucket = (0..histogram.buckets.len()).find(at).unwrap();
            assert!(histogram.buckets[bucket] > 0, "{us}");
        }
        assert_eq!(histogram.buckets[..4], [1, 1, 2, 1]);
        assert_eq!(histogram.buckets[22..], [1, 2]);
        assert_eq!(histogram.count(), 10);
        assert_eq!(
            [0.0, 0.1, 0.5, 0.6, 0.9, 1.0].map(|share| histogram.quantile_us(share)),
            [None, Some(1), Some(8), Some(1024), None, None]
        );
        assert_eq!(histogram.total_us, 10 + 1023 + 1024 + (1 << 23) - 1 + u64::from(u32::MAX));
    }
}
