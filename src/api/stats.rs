//! What a server has counted so far, as names and numbers: whoever shows it, as JSON, as a table or for Prometheus,
//! needs no second list.
//!
//! `S` is how texts are held: a server's are its own, whoever reads them from a server has strings.

use std::fmt;

use serde::ser::{SerializeMap, Serializer};
use serde::{Deserialize, Serialize};

/// All counters and gauges at one moment: the end of the turn before the one that asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats<S = &'static str> {
    /// In a fixed order; samples of one name follow each other.
    pub samples: Vec<Sample<S>>,
    /// How long the turns of the loop took, without their sleep.
    pub turn_time: Histogram,
}

/// One number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample<S = &'static str> {
    /// In lower case, with underscores: `accepted`. What ends in `_ms` is milliseconds; what holds `bytes` is bytes.
    pub name: S,
    /// What sets it apart from others of its name: `("reason", "peer")`.
    pub label: Option<(S, S)>,
    /// One sentence.
    pub help: S,
    /// Whether it can go down. What cannot counts from the start of the server.
    pub is_gauge: bool,
    /// The number.
    pub value: u64,
}

/// How often something took so long: bucket `n` counts what took less than 2^n microseconds and no less than half of
/// that, the last one everything longer. 24 buckets reach to eight seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Histogram {
    /// By the logarithm of the time.
    pub buckets: [u64; 24],
    /// All of it together, in microseconds.
    pub total_us: u64,
}

impl Stats {
    /// Adds a gauge, such as a service's own.
    pub fn gauge(&mut self, name: &'static str, value: u64, help: &'static str) {
        self.samples.push(Sample { name, label: None, help, is_gauge: true, value });
    }

    /// Adds a counter of how often a limit was reached, such as a service's own, to those that there are.
    pub fn limited(&mut self, limit: &'static str, value: u64, help: &'static str) {
        let (name, label) = ("limited", Some(("limit", limit)));
        let at = self
            .samples
            .iter()
            .rposition(|sample| sample.name == name)
            .map_or(self.samples.len(), |at| at + 1);
        self.samples.insert(at, Sample { name, label, help, is_gauge: false, value });
    }
}

impl<S: AsRef<str>> Stats<S> {
    /// The number under this name, with this value of its label, if it has one.
    pub fn get(&self, name: &str, label: Option<&str>) -> Option<u64> {
        let fits = |sample: &&Sample<S>| {
            sample.name.as_ref() == name && sample.label.as_ref().map(|(_, value)| value.as_ref()) == label
        };
        self.samples.iter().find(fits).map(|sample| sample.value)
    }

    /// The samples of each name.
    pub fn families(&self) -> impl Iterator<Item = &[Sample<S>]> {
        self.samples.chunk_by(|a, b| a.name.as_ref() == b.name.as_ref())
    }

    /// One object: a number for each name, or, where there are labels, an object of numbers by label; and
    /// `turn_us`: how many turns there were, how long all of them took, and the [`SHARES`] of them.
    pub fn by_name(&self) -> impl Serialize {
        ByName(self)
    }
}

/// The shares of all that are shown: half of them, all but a hundredth, and all.
pub const SHARES: [(&str, f64); 3] = [("p50", 0.5), ("p99", 0.99), ("max", 1.0)];

struct ByName<'a, S>(&'a Stats<S>);

impl<S: AsRef<str>> Serialize for ByName<'_, S> {
    fn serialize<T: Serializer>(&self, serializer: T) -> Result<T::Ok, T::Error> {
        let mut map = serializer.serialize_map(None)?;
        for family in self.0.families() {
            let name = family[0].name.as_ref();
            match family {
                [Sample { label: None, value, .. }] => map.serialize_entry(name, value)?,
                family => map.serialize_entry(name, &ByLabel(family))?,
            }
        }
        map.serialize_entry("turn_us", &Summary(&self.0.turn_time))?;
        map.end()
    }
}

struct ByLabel<'a, S>(&'a [Sample<S>]);

impl<S: AsRef<str>> Serialize for ByLabel<'_, S> {
    fn serialize<T: Serializer>(&self, serializer: T) -> Result<T::Ok, T::Error> {
        let label =
            |sample: &Sample<S>| sample.label.as_ref().map_or(String::new(), |(_, of)| of.as_ref().into());
        serializer.collect_map(self.0.iter().map(|sample| (label(sample), sample.value)))
    }
}

struct Summary<'a>(&'a Histogram);

impl Serialize for Summary<'_> {
    fn serialize<T: Serializer>(&self, serializer: T) -> Result<T::Ok, T::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("count", &self.0.count())?;
        map.serialize_entry("total", &self.0.total_us)?;
        for (name, share) in SHARES {
            map.serialize_entry(name, &self.0.quantile_us(share))?;
        }
        map.end()
    }
}

/// One line: `connections=3 closed{reason=peer}=7 ...`, without the counters that are still zero, and at its end how long
/// turns took.
impl<S: AsRef<str>> fmt::Display for Stats<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Sample { name, label, value, .. } in self.samples.iter().filter(|s| s.is_gauge || s.value > 0) {
            let name = name.as_ref();
            match label {
                Some((key, of)) => write!(f, "{name}{{{}={}}}={value} ", key.as_ref(), of.as_ref())?,
                None => write!(f, "{name}={value} ")?,
            }
        }
        let turns = &self.turn_time;
        write!(f, "turns={} turn_us={}", turns.count(), turns.total_us)?;
        for (name, share) in SHARES {
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

    #[test]
    fn it_reads_back_what_it_writes_and_has_a_short_form() {
        let sample = |name, label, is_gauge, value| Sample { name, label, help: "One.", is_gauge, value };
        let mut stats = Stats {
            samples: vec![
                sample("calls", Some(("call", "read")), false, 3),
                sample("calls", Some(("call", "write")), false, 0),
                sample("accepted", None, false, 7),
                sample("panics", None, false, 0),
            ],
            turn_time: Histogram::default(),
        };
        stats.gauge("users", 0, "One.");
        stats.turn_time.add(5);
        let json = serde_json::to_string(&stats).unwrap();
        let read: Stats<String> = serde_json::from_str(&json).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), json);
        assert_eq!(read.get("calls", Some("read")), Some(3));
        assert_eq!(
            serde_json::to_string(&read.by_name()).unwrap(),
            r#"{"calls":{"read":3,"write":0},"accepted":7,"panics":0,"users":0,"turn_us":{"count":1,"total":5,"p50":8,"p99":8,"max":8}}"#
        );
        assert_eq!(
            read.to_string(),
            "calls{call=read}=3 accepted=7 users=0 turns=1 turn_us=5 turn_us_p50<8 turn_us_p99<8 turn_us_max<8"
        );
    }
}
