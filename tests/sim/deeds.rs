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
#[derive(Clone, Default)]
pub struct Deeds(BTreeMap<Deed, u64>);

impl Deeds {
    /// Once more.
    pub fn add(&mut self, deed: Deed) {
        *self.0.entry(deed).or_default() += 1;
    }

    /// One that is here more often than there.
    pub fn beyond(&self, there: &Deeds) -> Option<&Deed> {
        let is_beyond = |(deed, times): &(&Deed, &u64)| there.0.get(*deed).is_none_or(|done| done < *times);
        self.0.iter().find(is_beyond).map(|(deed, _)| deed)
    }
}
