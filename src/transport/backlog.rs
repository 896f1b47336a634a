//! What connections could not send in the turn it was made in, and how much memory all of it takes.
//!
//! Owns the bytes that outlive a turn: copies of a connection's own, and shared ranges of the logs of broadcasts. They are
//! counted in one total, by the memory they have, a shared log once and whole: `total_out_bytes` is about that. Never
//! decides who is too slow. Called by the [`outbox`](super::outbox), which hands it what the kernel did not take.

use std::cell::Cell;
use std::collections::VecDeque;
use std::io::IoSlice;
use std::ops::Range;
use std::rc::Rc;

use crate::transport::io::{IoFault, Millis};

/// Slices in one `sendmsg`.
pub const SLICES: usize = 32;
/// A log range smaller than this is copied: to share it would cost more than it holds.
pub const SHARE: usize = 512;
/// Own bytes in one piece: a piece is freed when its last byte has left.
pub const PIECE: usize = 64 * 1024;

/// What a connection's own bytes are: answers pause their reader, pushes cut him.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Something it asked for.
    Answer,
    /// Something it is told: a broadcast or a one-to-one push.
    Push,
}

/// Output of one connection, oldest first.
pub struct Backlog {
    queue: VecDeque<Chunk>,
    /// Bytes of answers in it.
    pub answers: usize,
    /// Bytes of pushes in it.
    pub pushes: usize,
    /// When the kernel last took something.
    pub moved: Millis,
    /// Since when `pushes` has been above `out_soft`.
    pub soft_since: Option<Millis>,
    /// Bytes of the queue itself, as they stand in the total: of a busy room it holds many short ranges.
    pub places: usize,
    kept: Total,
}

impl Drop for Backlog {
    fn drop(&mut self) {
        self.kept.set(self.kept.get() - self.places);
    }
}

struct Chunk {
    bytes: Bytes,
    kind: Kind,
    /// How much of it has been sent.
    sent: usize,
}

enum Bytes {
    Own(Counted),
    Shared(Rc<Counted>, Range<usize>),
}

/// How many bytes are kept, over all connections.
pub type Total = Rc<Cell<usize>>;

/// Bytes that stand in a total from their first `count` on until they are dropped.
pub struct Counted {
    /// The bytes.
    pub bytes: Vec<u8>,
    counted: Cell<usize>,
    total: Total,
}

impl Counted {
    /// None, and none counted.
    pub fn new(total: &Total) -> Self {
        Self { bytes: Vec::new(), counted: Cell::new(0), total: Rc::clone(total) }
    }

    /// Counts the memory that they have now.
    pub fn count(&self) {
        let before = self.counted.replace(self.bytes.capacity());
        self.total.set(self.total.get() - before + self.bytes.capacity());
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.total.set(self.total.get() - self.counted.get());
    }
}

impl Chunk {
    fn rest(&self) -> &[u8] {
        match &self.bytes {
            Bytes::Own(own) => &own.bytes[self.sent..],
            Bytes::Shared(log, range) => &log.bytes[range.start + self.sent..range.end],
        }
    }
}

impl Backlog {
    /// Empty; what it will keep stands in this total.
    pub fn new(kept: &Total, now: Millis) -> Box<Self> {
        Box::new(Self {
            queue: VecDeque::new(),
            answers: 0,
            pushes: 0,
            moved: now,
            soft_since: None,
            places: 0,
            kept: Rc::clone(kept),
        })
    }

    /// Whether everything has left.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Appends bytes, by a copy.
    pub fn copy(&mut self, kind: Kind, bytes: &[u8]) {
        *self.count(kind) += bytes.len();
        let last = match self.queue.back_mut() {
            Some(Chunk { bytes: Bytes::Own(last), kind: same, .. })
                if *same == kind && last.bytes.len() + bytes.len() <= PIECE =>
            {
                last
            }
            _ => {
                let bytes = Bytes::Own(Counted::new(&self.kept));
                self.push(Chunk { bytes, kind, sent: 0 });
                match &mut self.queue.back_mut().expect("it was just put there").bytes {
                    Bytes::Own(last) => last,
                    Bytes::Shared(..) => unreachable!("it was just put there"),
                }
            }
        };
        last.bytes.extend_from_slice(bytes);
        last.count();
    }

    /// Appends a range of a log, which lives on as long as somebody shares it.
    pub fn share(&mut self, log: &Rc<Counted>, range: Range<usize>) {
        if range.len() < SHARE {
            return self.copy(Kind::Push, &log.bytes[range]);
        }
        self.pushes += range.len();
        self.push(Chunk { bytes: Bytes::Shared(Rc::clone(log), range), kind: Kind::Push, sent: 0 });
    }

    fn push(&mut self, chunk: Chunk) {
        self.queue.push_back(chunk);
        let places = self.queue.capacity() * size_of::<Chunk>();
        self.kept.set(self.kept.get() - self.places + places);
        self.places = places;
    }

    /// Sends what one call takes of it.
    ///
    /// # Errors
    /// Those of `send`, except that `WouldBlock` is not one.
    pub fn send(
        &mut self,
        now: Millis,
        send: &mut impl FnMut(&[IoSlice<'_>]) -> Result<usize, IoFault>,
    ) -> Result<(), IoFault> {
        let mut slices = [IoSlice::new(&[]); SLICES];
        let mut used = 0;
        for (slice, chunk) in slices.iter_mut().zip(&self.queue) {
            *slice = IoSlice::new(chunk.rest());
            used += 1;
        }
        let mut sent = taken(send(&slices[..used]))?;
        if sent > 0 {
            self.moved = now;
        }
        while sent > 0 {
            let chunk = self.queue.front_mut().expect("no more is sent than is queued");
            let gone = sent.min(chunk.rest().len());
            chunk.sent += gone;
            sent -= gone;
            let (kind, done) = (chunk.kind, chunk.rest().is_empty());
            *self.count(kind) -= gone;
            if done {
                self.queue.pop_front();
            }
        }
        Ok(())
    }

    fn count(&mut self, kind: Kind) -> &mut usize {
        match kind {
            Kind::Answer => &mut self.answers,
            Kind::Push => &mut self.pushes,
        }
    }
}

/// A full socket took nothing: that is no error here.
pub fn taken(sent: Result<usize, IoFault>) -> Result<usize, IoFault> {
    match sent {
        Err(IoFault::WouldBlock) => Ok(0),
        other => other,
    }
}
