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

    /// Makes room for `capacity` bytes in all, keeping what is held.
    pub fn grow(&mut self, capacity: usize) {
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
        ring.grow(8);
        assert_eq!(put(&mut ring, b"ef"), 2);
        assert_eq!(ring.run(0), b"abcdef");
    }
}
