//! What the disk has done, and what clients are told that it has: nobody is told of what was not done.
//!
//! Some go before they are told, so of each deed fewer may be told than were done, and never more.

use std::collections::BTreeMap;

/// What the disk did, or found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Deed {
    /// The file of this name was removed.
    Removed(String),
    /// An upload got this name, for good.
    Stored(String),
    /// An upload began under this hidden name, and so many bytes of it were there.
    Begun(String, u64),
    /// It could not: somebody works on it.
    Busy(String),
}

/// Deeds, each with how often it was done, or told.
#[derive(Default)]
pub struct Deeds {
    times: BTreeMap<Deed, u64>,
    has_news: bool,
}

impl Deeds {
    /// Once more.
    pub fn add(&mut self, deed: Deed) {
        *self.times.entry(deed).or_default() += 1;
        self.has_news = true;
    }

    /// Whether there is one more than when this was last asked.
    pub fn have_news(&mut self) -> bool {
        std::mem::take(&mut self.has_news)
    }

    /// One that is here more often than there.
    pub fn beyond(&self, there: &Deeds) -> Option<&Deed> {
        let is_beyond =
            |(deed, times): &(&Deed, &u64)| there.times.get(*deed).is_none_or(|done| done < *times);
        self.times.iter().find(is_beyond).map(|(deed, _)| deed)
    }
}
