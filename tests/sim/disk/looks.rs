//! What one sees who looks at the disk from outside: what is there, what was left over, and what was done.

use std::os::fd::RawFd;
use std::time::Duration;

use super::{SimDisk, TEMPORARY};
use crate::sim::deeds::{Deed, Deeds};

impl SimDisk {
    /// Every name with what stands under it.
    pub fn contents(&self) -> Vec<(String, Vec<u8>)> {
        let state = self.state();
        state.names.iter().map(|(name, &file)| (name.clone(), state.files[file].bytes.clone())).collect()
    }

    /// Whether this name was to be removed, and could not be.
    pub fn is_stranded(&self, name: &str) -> bool {
        self.state().stranded.contains(name)
    }

    /// Uploads under way.
    pub fn uploads(&self) -> usize {
        self.held(".rawline-")
    }

    /// Those of them that cannot be resumed.
    pub fn temporaries(&self) -> usize {
        self.held(TEMPORARY)
    }

    /// Files of ours that somebody works on, of those whose names begin so.
    fn held(&self, prefix: &str) -> usize {
        let mut state = self.state();
        let names = state.names.iter().filter(|(name, _)| name.starts_with(prefix));
        let files: Vec<usize> = names.map(|(_, &file)| file).collect();
        files.into_iter().filter(|&file| state.is_held(file) && !state.is_anothers(file)).count()
    }

    /// What was left over and is nobody's: its name, its size and how old it is, the oldest first.
    pub fn left_over(&self) -> Vec<(String, u64, Duration)> {
        let mut state = self.state();
        let hidden = state.names.iter().filter(|(name, _)| name.starts_with(".rawline-"));
        let mut hidden: Vec<_> = hidden.map(|(name, &file)| (name.clone(), file)).collect();
        hidden.retain(|&(_, file)| !state.is_held(file));
        let size_and_age = |file: usize| (state.files[file].bytes.len() as u64, state.age(file));
        let left = hidden.into_iter().map(|(name, file)| (name, size_and_age(file).0, size_and_age(file).1));
        let mut left: Vec<_> = left.collect();
        left.sort_by_key(|&(_, _, age)| std::cmp::Reverse(age));
        left
    }

    /// Whether all of it is safe from a power cut.
    pub fn is_synced(&self, name: &str) -> bool {
        let state = self.state();
        let file = &state.files[state.names[name]];
        file.synced == file.bytes.len()
    }

    /// What was done that must not be.
    pub fn wrong(&self) -> Option<(&'static str, String)> {
        self.state().wrong.clone()
    }

    /// One of these that it has not done, or not as often.
    pub fn undone(&self, told: &Deeds) -> Option<Deed> {
        told.beyond(&self.state().deeds).cloned()
    }

    /// How many uploads have got their name.
    pub fn published(&self) -> u64 {
        self.state().published
    }

    /// How often something of an upload was not stored, for want of space, and for anything else.
    pub fn unstored(&self) -> [u64; 2] {
        self.state().unstored
    }

    /// Bytes that are free.
    pub fn free(&self) -> u64 {
        self.state().free()
    }

    /// How many files are open.
    pub fn open_files(&self) -> usize {
        let mut state = self.state();
        let open: Vec<RawFd> = state.open.keys().copied().collect();
        open.into_iter().filter(|&fd| state.is_open(fd)).count()
    }
}
