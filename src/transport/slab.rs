//! Slots for connections: dense indices, generations, and memory that never moves.
//!
//! Owns the values and hands out [`ConnId`]s; never knows what is in a slot. It grows by chunks, so ten
//! thousand connections leave no outgrown vectors behind in the allocator and a large slab never pauses to
//! copy itself. A slot's generation goes up with every removal: an event for a closed connection whose index
//! was reused within the same batch finds nobody.

use std::ops::{Index, IndexMut};

use crate::api::ConnId;

/// Slots in a chunk.
const CHUNK: usize = 128;

/// A growing array in chunks that stay where they are.
pub struct Chunks<T> {
    chunks: Vec<Box<[T; CHUNK]>>,
}

/// An empty array, which owns no memory.
impl<T> Default for Chunks<T> {
    fn default() -> Self {
        Self { chunks: Vec::new() }
    }
}

impl<T: Default> Chunks<T> {
    /// How many places there are.
    pub fn capacity(&self) -> usize {
        self.chunks.len() * CHUNK
    }

    /// Makes sure that place `index` is there.
    pub fn reach(&mut self, index: usize) {
        while self.capacity() <= index {
            let chunk: Box<[T]> = std::iter::repeat_with(T::default).take(CHUNK).collect();
            self.chunks.push(chunk.try_into().unwrap_or_else(|_| unreachable!("it has CHUNK places")));
        }
    }
}

impl<T> Index<usize> for Chunks<T> {
    type Output = T;

    fn index(&self, index: usize) -> &T {
        &self.chunks[index / CHUNK][index % CHUNK]
    }
}

impl<T> IndexMut<usize> for Chunks<T> {
    fn index_mut(&mut self, index: usize) -> &mut T {
        &mut self.chunks[index / CHUNK][index % CHUNK]
    }
}

/// Values under [`ConnId`]s.
pub struct Slab<T> {
    chunks: Vec<Box<Slots<T>>>,
    free: Vec<u32>,
    len: usize,
}

/// The slots of a chunk. The generations lie apart from the values, so that a value's cache lines are its own.
struct Slots<T> {
    generations: [u32; CHUNK],
    values: [Option<T>; CHUNK],
}

/// An empty slab, which owns no memory.
impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { chunks: Vec::new(), free: Vec::new(), len: 0 }
    }
}

impl<T> Slab<T> {
    /// Values held.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Puts a value into a free slot.
    pub fn insert(&mut self, value: T) -> ConnId {
        if self.free.is_empty() {
            let fresh = u32::try_from(self.chunks.len() * CHUNK).expect("fewer than 2^32 slots");
            let slots = Slots { generations: [0; CHUNK], values: [const { None }; CHUNK] };
            self.chunks.push(Box::new(slots));
            // The lowest index goes out first, so a small server stays in one chunk.
            self.free.extend((fresh..fresh + CHUNK as u32).rev());
        }
        let index = self.free.pop().expect("a chunk was just added");
        let (slots, at) = (&mut self.chunks[index as usize / CHUNK], index as usize % CHUNK);
        slots.values[at] = Some(value);
        self.len += 1;
        ConnId::new(index, slots.generations[at])
    }

    /// The value under `id`, unless it was removed.
    pub fn get(&self, id: ConnId) -> Option<&T> {
        let (slots, at) = (self.chunks.get(id.index() / CHUNK)?, id.index() % CHUNK);
        slots.values[at].as_ref().filter(|_| slots.generations[at] == id.generation)
    }

    /// The value under `id`, unless it was removed.
    pub fn get_mut(&mut self, id: ConnId) -> Option<&mut T> {
        let (slots, at) = (self.chunks.get_mut(id.index() / CHUNK)?, id.index() % CHUNK);
        slots.values[at].as_mut().filter(|_| slots.generations[at] == id.generation)
    }

    /// The value at an index, whoever it is now.
    pub fn at(&mut self, index: u32) -> Option<(ConnId, &mut T)> {
        let (slots, at) = (&mut self.chunks[index as usize / CHUNK], index as usize % CHUNK);
        let id = ConnId::new(index, slots.generations[at]);
        slots.values[at].as_mut().map(|value| (id, value))
    }

    /// Takes the value out; its id is dead from now on.
    pub fn remove(&mut self, id: ConnId) -> Option<T> {
        self.get(id)?;
        let (slots, at) = (&mut self.chunks[id.index() / CHUNK], id.index() % CHUNK);
        let value = slots.values[at].take()?;
        slots.generations[at] = slots.generations[at].wrapping_add(1);
        self.free.push(id.index);
        self.len -= 1;
        Some(value)
    }

    /// All values, by index.
    pub fn iter(&self) -> impl Iterator<Item = (ConnId, &T)> {
        (0..self.chunks.len() * CHUNK).filter_map(|index| {
            let (slots, at) = (&self.chunks[index / CHUNK], index % CHUNK);
            let id = ConnId::new(index as u32, slots.generations[at]);
            slots.values[at].as_ref().map(|value| (id, value))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    #[test]
    fn a_reused_slot_is_not_reached_by_the_old_id() {
        let mut slab = Slab::default();
        let old = slab.insert("old");
        assert_eq!(slab.remove(old), Some("old"));
        let new = slab.insert("new");
        assert_eq!(new.index(), old.index());
        assert_eq!((slab.get(old), slab.get(new)), (None, Some(&"new")));
        assert_eq!(slab.remove(old), None);
    }

    #[test]
    fn values_do_not_move_when_it_grows() {
        let mut slab = Slab::default();
        let first = slab.insert(7);
        let before: *const i32 = slab.get(first).unwrap();
        for _ in 0..10 * CHUNK {
            slab.insert(8);
        }
        assert_eq!(before, slab.get(first).unwrap() as *const i32);
    }

    proptest! {
        /// Against a map: whatever is inserted and removed, both hold the same.
        #[test]
        fn agrees_with_a_map(steps in prop::collection::vec((any::<bool>(), any::<prop::sample::Index>()), 1..400)) {
            let (mut slab, mut map, mut ids) = (Slab::default(), HashMap::new(), Vec::new());
            for (n, (insert, which)) in steps.into_iter().enumerate() {
                if insert || ids.is_empty() {
                    let id = slab.insert(n);
                    prop_assert!(map.insert(id, n).is_none(), "an id was given out twice");
                    ids.push(id);
                } else {
                    let id = *which.get(&ids);
                    prop_assert_eq!(slab.remove(id), map.remove(&id));
                }
                prop_assert_eq!(slab.len(), map.len());
            }
            for id in ids {
                prop_assert_eq!(slab.get(id), map.get(&id));
            }
            prop_assert_eq!(slab.iter().count(), map.len());
        }
    }
}
