//! The timer wheel: one deadline per connection, hashed by tick into a ring of slots.
//!
//! Owns deadlines, never a clock: time is an argument. Setting and cancelling are O(1) list operations. A
//! deadline that moves later (activity, the common case) only stores the new one: the entry stays
//! where it is linked and moves when that slot comes up. One that comes earlier is linked anew at once.
//! Source: Varghese and Lauck, "Hashed and hierarchical timing wheels", scheme 6.
//!
//! Ticks are 32-bit and wrap after 497 days; only differences are compared, so deadlines may be up to
//! 248 days away.

use std::time::Duration;

use crate::transport::io::Millis;
use crate::transport::slab::Chunks;

/// Milliseconds in a tick: deadlines are late by at most this much, never early.
const TICK: u64 = 10;
/// Slots: one revolution takes 2.56 s.
const SLOTS: usize = 256;
const NONE: u32 = u32::MAX;

/// Deadlines by key, where a key is a slab index.
pub struct Wheel {
    heads: [u32; SLOTS],
    entries: Chunks<Entry>,
    /// Every tick before this one has been looked at.
    next: u32,
    linked: usize,
}

#[derive(Clone, Copy)]
struct Entry {
    before: u32,
    after: u32,
    /// The tick in whose slot the entry hangs; `wanted` is never before it.
    at: u32,
    wanted: u32,
    linked: bool,
}

impl Default for Entry {
    fn default() -> Self {
        Self { before: NONE, after: NONE, at: 0, wanted: 0, linked: false }
    }
}

impl Wheel {
    /// A wheel without deadlines, whose time is `now`.
    pub fn new(now: Millis) -> Self {
        Self { heads: [NONE; SLOTS], entries: Chunks::default(), next: tick(now), linked: 0 }
    }

    /// Sets the one deadline of `key`, in place of any other.
    pub fn set(&mut self, key: u32, deadline: Millis) {
        self.entries.reach(key as usize);
        // Rounded up: never early. A deadline that has passed fires at the next look.
        let wanted = later(tick(Millis(deadline.0 + TICK - 1)), self.next);
        let entry = &mut self.entries[key as usize];
        if entry.linked && !before(wanted, entry.at) {
            entry.wanted = wanted;
            return;
        }
        self.cancel(key);
        self.link(key, wanted);
    }

    /// Drops the deadline of `key`, if it has one.
    pub fn cancel(&mut self, key: u32) {
        if (key as usize) < self.entries.capacity() && self.entries[key as usize].linked {
            self.unlink(key);
        }
    }

    /// Takes out every deadline that has passed and adds its key to `fired`.
    pub fn expire(&mut self, now: Millis, fired: &mut Vec<u32>) {
        let now = tick(now);
        if before(now, self.next) {
            return;
        }
        // After a long sleep one look at each slot is enough.
        let ticks = (now.wrapping_sub(self.next) as usize + 1).min(SLOTS);
        let first = now.wrapping_sub(ticks as u32 - 1);
        self.next = now.wrapping_add(1);
        for step in 0..ticks as u32 {
            let mut key = self.heads[slot(first.wrapping_add(step))];
            while key != NONE {
                let entry = self.entries[key as usize];
                if !before(now, entry.wanted) {
                    self.unlink(key);
                    fired.push(key);
                } else if !before(now, entry.at) {
                    // It had moved later: now it goes to its new place.
                    self.unlink(key);
                    self.link(key, entry.wanted);
                }
                key = entry.after;
            }
        }
    }

    /// How long the loop may sleep; `None` without deadlines. Never too long, at times too short: an entry
    /// of a later revolution, or one that has moved later, wakes the loop for nothing once a revolution.
    pub fn timeout(&self, now: Millis) -> Option<Duration> {
        if self.linked == 0 {
            return None;
        }
        let ahead =
            (0..SLOTS as u32).find(|&ahead| self.heads[slot(self.next.wrapping_add(ahead))] != NONE)?;
        let ticks = i64::from(self.next.wrapping_add(ahead).wrapping_sub(tick(now)) as i32).max(0) as u64;
        Some(Duration::from_millis((ticks * TICK).saturating_sub(now.0 % TICK)))
    }

    fn link(&mut self, key: u32, at: u32) {
        let head = std::mem::replace(&mut self.heads[slot(at)], key);
        if head != NONE {
            self.entries[head as usize].before = key;
        }
        self.entries[key as usize] = Entry { before: NONE, after: head, at, wanted: at, linked: true };
        self.linked += 1;
    }

    fn unlink(&mut self, key: u32) {
        let entry = std::mem::take(&mut self.entries[key as usize]);
        match entry.before {
            NONE => self.heads[slot(entry.at)] = entry.after,
            before => self.entries[before as usize].after = entry.after,
        }
        if entry.after != NONE {
            self.entries[entry.after as usize].before = entry.before;
        }
        self.linked -= 1;
    }
}

fn tick(time: Millis) -> u32 {
    (time.0 / TICK) as u32
}

fn slot(tick: u32) -> usize {
    tick as usize % SLOTS
}

/// Whether tick `a` comes before tick `b`, across the wrap.
fn before(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) < 0
}

fn later(a: u32, b: u32) -> u32 {
    if before(a, b) { b } else { a }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    const NOBODY: [u32; 0] = [];

    fn expired(wheel: &mut Wheel, now: u64) -> Vec<u32> {
        let mut fired = Vec::new();
        wheel.expire(Millis(now), &mut fired);
        fired.sort_unstable();
        fired
    }

    #[test]
    fn fires_once_not_early_and_at_most_a_tick_late() {
        let mut wheel = Wheel::new(Millis(0));
        wheel.set(3, Millis(1234));
        assert_eq!(expired(&mut wheel, 1233), NOBODY);
        assert_eq!(expired(&mut wheel, 1240), [3]);
        assert_eq!(expired(&mut wheel, 9999), NOBODY);
        assert_eq!(wheel.timeout(Millis(9999)), None);
    }

    #[test]
    fn the_loop_never_sleeps_past_a_deadline() {
        let mut wheel = Wheel::new(Millis(0));
        wheel.set(0, Millis(100_000));
        let (mut now, mut wakes) = (0, 0);
        while expired(&mut wheel, now).is_empty() {
            let timeout = wheel.timeout(Millis(now)).expect("a deadline is set");
            now += timeout.as_millis() as u64;
            wakes += 1;
        }
        assert_eq!(now, 100_000);
        assert!(wakes <= 2 + 100_000 / 2560, "woken {wakes} times");
    }

    #[test]
    fn ticks_may_wrap() {
        let wrap = (1 << 32) * TICK;
        let mut wheel = Wheel::new(Millis(wrap - 50));
        wheel.set(1, Millis(wrap + 50));
        assert_eq!(expired(&mut wheel, wrap + 40), NOBODY);
        assert_eq!(expired(&mut wheel, wrap + 50), [1]);
    }

    proptest! {
        /// Against a sorted map of exact deadlines, rounded up to ticks.
        #[test]
        fn agrees_with_a_map(steps in prop::collection::vec((0u32..300, 0u64..9_000, 0u64..400, 0u8..4), 1..300)) {
            let (mut wheel, mut map, mut now) = (Wheel::new(Millis(0)), BTreeMap::new(), 0);
            for (key, ahead, pause, what) in steps {
                match what {
                    0 => { wheel.cancel(key); map.remove(&key); }
                    _ => { wheel.set(key, Millis(now + ahead)); map.insert(key, now + ahead); }
                }
                now += pause;
                let fired = expired(&mut wheel, now);
                for key in &fired {
                    let deadline = map.remove(key);
                    prop_assert!(deadline.is_some_and(|deadline| deadline <= now), "early or unknown");
                }
                prop_assert!(map.values().all(|&deadline| deadline + 2 * TICK > now), "late");
            }
        }
    }
}
