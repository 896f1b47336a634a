//! Who stands beside the server: has other limits for it when SIGHUP comes, or none, since his file is wrong; and hears
//! that it lives, and that it stops.
//!
//! The world puts in what SIGHUP will find, and looks whether it was fetched. The loop wants an operator that can be sent
//! to another thread, hence the lock.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use rawline::{Limits, Operator, Stats};

use super::world::State;

/// What the next reloads find, and what the last one took.
#[derive(Default)]
pub struct Files {
    pub next: VecDeque<Option<Limits>>,
    pub taken: Option<Option<Limits>>,
    /// How often he wants a sign of life.
    pub pulse: Option<Duration>,
    /// Signs of life in this turn, and times that the server has said that it stops.
    pub signs: u64,
    pub stops: u64,
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

    fn pulse(&self) -> Option<Duration> {
        self.files().pulse
    }

    fn alive(&mut self, _: usize) {
        self.files().signs += 1;
    }

    fn stopping(&mut self, _: usize) {
        self.files().stops += 1;
    }
}

impl State {
    /// A turn is over, and the server waits for so long at most: it has given a sign of life if it was time for one, will
    /// be there for the next, and has said that it stops if it does.
    pub fn judge_pulse(&mut self, timeout: Option<Duration>) {
        let (pulse, signs, stops) = {
            let mut files = self.steward.files();
            (files.pulse, std::mem::take(&mut files.signs), files.stops)
        };
        if stops != u64::from(self.told_to_stop.is_some()) {
            self.breaks("stop", format!("the operator was told {stops} times that the server stops"));
        }
        let (Some(pulse), now) = (pulse, self.seen.meter.clock) else { return };
        let due = self.sign + pulse.as_millis() as u64;
        if signs != u64::from(now >= due) {
            self.breaks("pulse", format!("{signs} signs of life at {now} ms, and one was due at {due} ms"));
        }
        if signs > 0 {
            self.sign = now;
        }
        let due = self.sign + pulse.as_millis() as u64;
        if timeout.is_none_or(|timeout| now + timeout.as_millis() as u64 > due) {
            self.breaks(
                "pulse",
                format!("the server would sleep {timeout:?}, and a sign is due at {due} ms"),
            );
        }
    }
}
