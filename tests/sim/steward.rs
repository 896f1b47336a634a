//! Who stands beside the server: has other limits for it when SIGHUP comes, or none, since his file is wrong.
//!
//! The world puts in what SIGHUP will find, and looks whether it was fetched. The loop wants an operator that can be sent
//! to another thread, hence the lock.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use rawline::{Limits, Operator, Stats};

/// What the next reloads find, and what the last one took.
#[derive(Default)]
pub struct Files {
    pub next: VecDeque<Option<Limits>>,
    pub taken: Option<Option<Limits>>,
}

/// The operator; clones share their files.
#[derive(Clone, Default)]
pub struct Steward(Arc<Mutex<Files>>);

impl Steward {
    pub fn files(&self) -> MutexGuard<'_, Files> {
        self.0.lock().expect("nobody panics here")
    }
}

impl Operator for Steward {
    fn reload(&mut self) -> Option<Limits> {
        let mut files = self.files();
        let found = files.next.pop_front().flatten();
        files.taken = Some(found.clone());
        found
    }

    fn report(&mut self, _: Stats) {}
}
