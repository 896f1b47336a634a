//! The ring buffer between a socket and the scanner.
//!
//! Owns the bytes that have arrived and were not yet consumed. Never reads a socket, never knows what a
//! message is. The two free parts are handed to one `readv`, so a ring whose free space wraps costs no
//! second system call. Empty means both ends go back to the start, so ordinary traffic never wraps; a
//! message that does wrap is copied once, into the caller's scratch.
//!
//! Invariant: `head < capacity` and `len <= capacity`; the bytes are `buf[head..head + len]`, modulo capacity.

use std::io::IoSliceMut;

/// Bytes that have arrived, oldest first.
pub struct Ring {
    buf: Box<[u8]>,
    head: usize,
    len: usize,
}

impl Ring {
    /// An empty ring for `capacity` bytes, which is at least 1.
    pub fn new(capacity: usize) -> Self {
        assert!(capacity > 0, "a ring holds something");
        Self { buf: vec![0; capacity].into_boxed_slice(), head: 0, len: 0 }
    }

    /// Bytes held.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes it can hold.
    pub fn capacity(&self) -> usize {
        self.buf.len()
    }

    /// At most `most` bytes of the free space, in the order it will be filled; the second part is empty
    /// unless it wraps.
    pub fn free(&mut self, most: usize) -> [IoSliceMut<'_>; 2] {
        let capacity = self.buf.len();
        let tail = self.head + self.len;
        let (first, second) = if tail >= capacity {
            (&mut self.buf[tail - capacity..self.head], &mut [][..])
        } else {
            let (front, back) = self.buf.split_at_mut(tail);
            (back, &mut front[..self.head])
        };
        let (in_first, room) = (first.len().min(most), second.len());
        [IoSliceMut::new(&mut first[..in_first]), IoSliceMut::new(&mut second[..room.min(most - in_first)])]
    }

    /// `n` bytes were written into what `free` gave.
    pub fn commit(&mut self, n: usize) {
        assert!(n <= self.buf.len() - self.len, "more was committed than was free");
        self.len += n;
    }

    /// The longest piece that lies in one run from the `from`-th held byte on; empty only at the end.
    pub fn run(&self, from: usize) -> &[u8] {
        let capacity = self.buf.len();
        let (start, end) = (self.head + from, self.head + self.len);
        if start >= capacity {
            &self.buf[start - capacity..end - capacity]
        } else {
            &self.buf[start..end.min(capacity)]
        }
    }

    /// The first `n` bytes in one piece: where they lie, or copied into `scratch` when they wrap.
    pub fn front<'a>(&'a self, n: usize, scratch: &'a mut Vec<u8>) -> &'a [u8] {
        let first = self.run(0);
        if n <= first.len() {
            return &first[..n];
        }
        scratch.clear();
        scratch.extend_from_slice(first);
        scratch.extend_from_slice(&self.buf[..n - first.len()]);
        scratch
    }

    /// Forgets the first `n` bytes.
    pub fn consume(&mut self, n: usize) {
        assert!(n <= self.len, "more was consumed than is held");
        self.len -= n;
        self.head = if self.len == 0 { 0 } else { (self.head + n) % self.buf.len() };
    }

    /// Has room for `capacity` bytes in all from now on, keeping what is held, which is no more than that.
    pub fn resize(&mut self, capacity: usize) {
        assert!(capacity >= self.len.max(1), "it holds more");
        let mut grown = Vec::with_capacity(capacity);
        grown.extend_from_slice(self.run(0));
        grown.extend_from_slice(self.run(grown.len()));
        grown.resize(capacity, 0);
        (self.buf, self.head) = (grown.into_boxed_slice(), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::Index;
    use std::collections::VecDeque;

    fn put(ring: &mut Ring, bytes: &[u8]) -> usize {
        let mut left = bytes;
        for part in &mut ring.free(usize::MAX) {
            let n = left.len().min(part.len());
            part[..n].copy_from_slice(&left[..n]);
            left = &left[n..];
        }
        ring.commit(bytes.len() - left.len());
        bytes.len() - left.len()
    }

    #[test]
    fn a_front_that_wraps_comes_out_in_one_piece() {
        let mut ring = Ring::new(8);
        let mut scratch = Vec::new();
        assert_eq!(put(&mut ring, b"abcdef"), 6);
        ring.consume(5);
        assert_eq!(put(&mut ring, b"ghijk"), 5);
        assert_eq!(ring.run(0), b"fgh");
        assert_eq!(ring.run(3), b"ijk");
        assert_eq!(ring.run(6), b"");
        assert_eq!(ring.front(3, &mut scratch), b"fgh");
        assert_eq!(ring.front(6, &mut scratch), b"fghijk");
    }

    #[test]
    fn an_emptied_ring_starts_anew_and_does_not_wrap() {
        let mut ring = Ring::new(8);
        for _ in 0..100 {
            assert_eq!(put(&mut ring, b"12345"), 5);
            assert_eq!(ring.run(0), b"12345");
            ring.consume(5);
        }
    }

    #[test]
    fn a_full_ring_has_no_free_part() {
        let mut ring = Ring::new(4);
        put(&mut ring, b"xxab");
        ring.consume(2);
        assert_eq!(put(&mut ring, b"cdef"), 2);
        assert!(ring.free(usize::MAX).iter().all(|part| part.is_empty()));
        assert_eq!(ring.len(), ring.capacity());
        ring.resize(8);
        assert_eq!(put(&mut ring, b"ef"), 2);
        assert_eq!(ring.run(0), b"abcdef");
    }

    #[derive(Clone, Debug)]
    enum Op {
        /// Offers so many bytes, in at most so much of the free space.
        Put(usize, usize),
        Consume(Index),
        Grow(usize),
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            4 => (0usize..40, 0usize..50).prop_map(|(bytes, most)| Op::Put(bytes, most)),
            4 => any::<Index>().prop_map(Op::Consume),
            1 => (0usize..20).prop_map(Op::Grow),
        ]
    }

    proptest! {
        /// Against a queue of bytes, looked at and taken out in pieces of every size.
        #[test]
        fn agrees_with_a_queue(capacity in 1usize..40, steps in vec((op(), any::<Index>(), any::<Index>()), 1..120)) {
            let (mut ring, mut twin, mut scratch) = (Ring::new(capacity), VecDeque::new(), Vec::new());
            let mut fresh = (0..=u8::MAX).cycle();
            for (op, from, n) in steps {
                match op {
                    Op::Put(bytes, most) => {
                        let room = ring.capacity() - ring.len();
                        let free = &mut ring.free(most);
                        prop_assert_eq!(free[0].len() + free[1].len(), room.min(most));
                        let put = bytes.min(room.min(most));
                        for to in free.iter_mut().flat_map(|part| part.iter_mut()).take(put) {
                            *to = fresh.next().unwrap();
                            twin.push_back(*to);
                        }
                        ring.commit(put);
                    }
                    Op::Consume(n) => {
                        let n = n.index(twin.len() + 1);
                        ring.consume(n);
                        twin.drain(..n);
                    }
                    Op::Grow(more) => ring.resize(ring.capacity() + more),
                }
                prop_assert_eq!((ring.len(), ring.is_empty()), (twin.len(), twin.is_empty()));
                if twin.is_empty() {
                    prop_assert!(ring.free(usize::MAX)[1].is_empty(), "an empty ring does not wrap");
                }
                let twin = twin.make_contiguous();
                let (from, n) = (from.index(twin.len() + 1), n.index(twin.len() + 1));
                prop_assert_eq!(ring.front(n, &mut scratch), &twin[..n]);
                // From anywhere on, two runs are the rest, and one is empty only at the end.
                let first = ring.run(from);
                prop_assert_eq!(first.is_empty(), from == twin.len());
                let both = [first, ring.run(from + first.len())].concat();
                prop_assert_eq!(&both, &twin[from..]);
            }
        }
    }
}
