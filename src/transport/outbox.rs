//! What connections still have to send: one turn's output for all of them, and the backlog of the slow.
//!
//! Owns the bytes on their way out. Never writes to a socket itself (it is handed a `send`), never knows who is
//! subscribed to what. Three places hold bytes:
//! - the turn's *own* bytes: answers and one-to-one pushes of this turn, all connections' side by side;
//! - the turn's *logs*, one per encoding: a broadcast is rendered once into each log that has a listener, so
//!   a turn's broadcasts lie side by side. A receiver that takes them all costs one system call with one
//!   slice, and nothing was written down for it;
//! - a *backlog* for each connection whose write came up short: copies of its own bytes, shared ranges
//!   of the logs. Only then is a log kept beyond its turn.
//!
//! Invariant: an [`Outbox`] has taken the log of its encoding up to `seen`; what it must send out of the usual
//! row (its own bytes, log ranges before a gap) hangs in a list of segments, in order. After a
//! flush the list is empty and `seen` is 0, which is where the next turn's log begins.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::ops::Range;
use std::rc::Rc;

use crate::limits::KEEP_SCRATCH;
use crate::transport::codec::jsonrpc::render::{ENCODINGS, Encoding};
use crate::transport::io::IoFault;

/// Slices in one `sendmsg`; a turn that needs more is merged by one copy.
const SLICES: usize = 32;
/// A log range smaller than this is copied into a backlog: to share it would cost more than it holds.
const SHARE: usize = 512;
const NONE: u32 = u32::MAX;

/// What a connection's own bytes are: answers pause their reader, pushes cut him.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Something it asked for.
    Answer,
    /// Something it is told: a broadcast or a one-to-one push.
    Push,
}

/// One connection's side of the output: 40 bytes, and no heap while it keeps up.
pub struct Outbox {
    first: u32,
    last: u32,
    seen: u32,
    /// Bytes of answers not yet taken by the kernel.
    answers: u32,
    backlog: Option<Box<Backlog>>,
    /// While a batch is under way: the pushes that wait behind its answer.
    #[expect(clippy::box_collection, reason = "batches are rare: without one, eight bytes are enough")]
    held: Option<Box<Vec<u8>>>,
    encoding: Encoding,
    subscribed: bool,
}

impl Outbox {
    /// Empty, and not subscribed.
    pub const fn new(encoding: Encoding) -> Self {
        Self {
            first: NONE,
            last: NONE,
            seen: 0,
            answers: 0,
            backlog: None,
            held: None,
            encoding,
            subscribed: false,
        }
    }

    /// The encoding its broadcasts are rendered in.
    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// Whether it hears broadcasts.
    pub fn is_subscribed(&self) -> bool {
        self.subscribed
    }

    /// Bytes of answers that the kernel has not taken.
    pub fn unsent_answers(&self) -> usize {
        self.answers as usize
    }

    /// Bytes of pushes that the kernel has not taken, as of the last flush.
    pub fn unsent_pushes(&self) -> usize {
        self.backlog.as_ref().map_or(0, |backlog| backlog.pushes)
            + self.held.as_ref().map_or(0, |held| held.len())
    }

    /// Whether a write came up short: the socket must say when it takes more.
    pub fn is_blocked(&self) -> bool {
        self.backlog.is_some()
    }

    /// Whether a flush has seen everything: it has left, or is in the backlog.
    pub fn is_flushed(&self) -> bool {
        self.first == NONE
    }

    /// Whether everything has left.
    pub fn is_empty(&self) -> bool {
        self.first == NONE && self.backlog.is_none()
    }
}

/// The output of one turn of the loop.
#[derive(Default)]
pub struct Turn {
    own: Vec<u8>,
    logs: [Rc<Vec<u8>>; ENCODINGS],
    listeners: [u32; ENCODINGS],
    segments: Vec<Segment>,
}

/// A piece of a connection's output: a range of `own` or of its log, and the next piece.
#[derive(Clone, Copy)]
struct Segment {
    next: u32,
    start: u32,
    end: u32,
    source: Source,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    Own(Kind),
    /// The log of this encoding: an outbox may have changed it since.
    Log(u8),
}

impl Turn {
    /// Bytes in the longest log: what a turn's broadcasts come to for one receiver.
    pub fn fanout(&self) -> usize {
        self.logs.iter().map(|log| log.len()).max().unwrap_or(0)
    }

    /// Bytes of answers and one-to-one pushes in this turn.
    pub fn own_bytes(&self) -> usize {
        self.own.len()
    }

    /// Appends bytes of the connection's own, behind all it was to get so far.
    pub fn own(&mut self, outbox: &mut Outbox, kind: Kind, write: impl FnOnce(&mut Vec<u8>)) {
        if let (Kind::Push, Some(held)) = (kind, &mut outbox.held) {
            write(held);
            return;
        }
        self.catch_up(outbox);
        let start = self.own.len();
        write(&mut self.own);
        if kind == Kind::Answer {
            outbox.answers += (self.own.len() - start) as u32;
        }
        self.segment(outbox, Source::Own(kind), start..self.own.len());
    }

    /// Appends a broadcast to every log that somebody listens to. `except` does not get it.
    pub fn broadcast(&mut self, except: Option<&mut Outbox>, mut write: impl FnMut(&mut Vec<u8>, Encoding)) {
        let mut except = except.filter(|outbox| outbox.subscribed);
        if let Some(outbox) = &mut except {
            self.catch_up(outbox);
            self.listeners[outbox.encoding.index()] -= 1;
        }
        for encoding in Encoding::ALL {
            if self.listeners[encoding.index()] > 0 {
                let log =
                    Rc::get_mut(&mut self.logs[encoding.index()]).expect("logs are shared only in a flush");
                write(log, encoding);
            }
        }
        if let Some(outbox) = except {
            let encoding = outbox.encoding.index();
            self.listeners[encoding] += 1;
            outbox.seen = self.logs[encoding].len() as u32;
        }
    }

    /// From here on the outbox hears broadcasts, or no more.
    pub fn subscribe(&mut self, outbox: &mut Outbox, subscribed: bool) {
        if outbox.subscribed == subscribed {
            return;
        }
        self.catch_up(outbox);
        let encoding = outbox.encoding.index();
        if subscribed {
            self.listeners[encoding] += 1;
            outbox.seen = self.logs[encoding].len() as u32;
        } else {
            self.listeners[encoding] -= 1;
            outbox.seen = 0;
        }
        outbox.subscribed = subscribed;
    }

    /// From here on broadcasts for this outbox are rendered in `encoding`.
    pub fn set_encoding(&mut self, outbox: &mut Outbox, encoding: Encoding) {
        let subscribed = outbox.subscribed;
        self.subscribe(outbox, false);
        outbox.encoding = encoding;
        self.subscribe(outbox, subscribed);
    }

    /// A batch begins: pushes wait until `release`.
    pub fn hold(&mut self, outbox: &mut Outbox) {
        self.catch_up(outbox);
        outbox.held = Some(Box::default());
    }

    /// The batch is answered: the pushes that waited follow.
    pub fn release(&mut self, outbox: &mut Outbox) {
        self.catch_up(outbox);
        let held = outbox.held.take().unwrap_or_default();
        if !held.is_empty() {
            self.own(outbox, Kind::Push, |own| own.extend_from_slice(&held));
        }
    }

    /// Sends what the outbox has, by one call of `send` at most; what the kernel does not take becomes its
    /// backlog. `writable` says that a backlog is worth a try: a blocked socket is left alone otherwise.
    ///
    /// # Errors
    /// Those of `send`, except that `WouldBlock` is not one.
    pub fn flush(
        &mut self,
        outbox: &mut Outbox,
        writable: bool,
        mut send: impl FnMut(&[IoSlice<'_>]) -> Result<usize, IoFault>,
    ) -> Result<(), IoFault> {
        let log = &self.logs[outbox.encoding.index()];
        if outbox.first == NONE && outbox.backlog.is_none() && outbox.held.is_none() {
            // The usual receiver of a broadcast: all of the log, in one slice.
            if !outbox.subscribed || log.len() == outbox.seen as usize {
                outbox.seen = 0;
                return Ok(());
            }
            let unseen = outbox.seen as usize..log.len();
            outbox.seen = 0;
            let sent = taken(send(&[IoSlice::new(&log[unseen.clone()])]))?;
            if sent < unseen.len() {
                let backlog = outbox.backlog.insert(Box::default());
                backlog.share(log, unseen.start + sent..unseen.end);
            }
            return Ok(());
        }
        self.catch_up(outbox);
        outbox.seen = 0;
        if outbox.backlog.is_none() {
            let sent = self.send_segments(outbox, &mut send)?;
            self.keep_rest(outbox, sent);
        } else {
            self.keep_rest(outbox, 0);
            if writable {
                outbox.backlog.as_mut().expect("it has one").send(&mut send)?;
            }
        }
        (outbox.first, outbox.last) = (NONE, NONE);
        outbox.backlog.take_if(|backlog| backlog.queue.is_empty());
        outbox.answers = outbox.backlog.as_ref().map_or(0, |backlog| backlog.answers as u32);
        Ok(())
    }

    /// Every outbox with output was flushed: the next turn begins.
    pub fn reset(&mut self) {
        self.segments.clear();
        self.segments.shrink_to(KEEP_SCRATCH / size_of::<Segment>());
        self.own.clear();
        self.own.shrink_to(KEEP_SCRATCH);
        for log in &mut self.logs {
            match Rc::get_mut(log) {
                Some(log) => {
                    log.clear();
                    log.shrink_to(KEEP_SCRATCH);
                }
                // Some backlog points into it: it lives on there.
                None => *log = Rc::default(),
            }
        }
    }

    /// Writes down the log range that the outbox has not seen: something else is to follow it.
    fn catch_up(&mut self, outbox: &mut Outbox) {
        if !outbox.subscribed {
            return;
        }
        let encoding = outbox.encoding.index();
        let log = &self.logs[encoding];
        let unseen = outbox.seen as usize..log.len();
        if unseen.is_empty() {
            return;
        }
        outbox.seen = log.len() as u32;
        match &mut outbox.held {
            Some(held) => held.extend_from_slice(&log[unseen]),
            None => self.segment(outbox, Source::Log(encoding as u8), unseen),
        }
    }

    fn segment(&mut self, outbox: &mut Outbox, source: Source, range: Range<usize>) {
        if range.is_empty() {
            return;
        }
        let (start, end) = (range.start as u32, range.end as u32);
        if let Some(last) = self.segments.get_mut(outbox.last as usize)
            && last.source == source
            && last.end == start
        {
            last.end = end;
            return;
        }
        let new = self.segments.len() as u32;
        self.segments.push(Segment { next: NONE, start, end, source });
        match outbox.last {
            NONE => outbox.first = new,
            last => self.segments[last as usize].next = new,
        }
        outbox.last = new;
    }

    fn pieces(&self, outbox: &Outbox) -> impl Iterator<Item = (&Segment, &[u8])> {
        let first = self.segments.get(outbox.first as usize);
        std::iter::successors(first, |segment| self.segments.get(segment.next as usize)).map(|segment| {
            let from = match segment.source {
                Source::Own(_) => &self.own,
                Source::Log(encoding) => &*self.logs[usize::from(encoding)],
            };
            (segment, &from[segment.start as usize..segment.end as usize])
        })
    }

    fn send_segments(
        &self,
        outbox: &Outbox,
        send: &mut impl FnMut(&[IoSlice<'_>]) -> Result<usize, IoFault>,
    ) -> Result<usize, IoFault> {
        let mut slices = [IoSlice::new(&[]); SLICES];
        let mut used = 0;
        for (_, bytes) in self.pieces(outbox) {
            if used == SLICES {
                let merged: Vec<u8> = self.pieces(outbox).flat_map(|(_, bytes)| bytes).copied().collect();
                return taken(send(&[IoSlice::new(&merged)]));
            }
            slices[used] = IoSlice::new(bytes);
            used += 1;
        }
        if used == 0 { Ok(0) } else { taken(send(&slices[..used])) }
    }

    /// Puts all but the first `sent` bytes of the segments into the backlog.
    fn keep_rest(&self, outbox: &mut Outbox, mut sent: usize) {
        let mut backlog = outbox.backlog.take();
        for (segment, bytes) in self.pieces(outbox) {
            let gone = sent.min(bytes.len());
            sent -= gone;
            if gone == bytes.len() {
                continue;
            }
            let backlog = backlog.get_or_insert_default();
            match segment.source {
                Source::Own(kind) => backlog.copy(kind, &bytes[gone..]),
                Source::Log(encoding) => {
                    let range = segment.start as usize + gone..segment.end as usize;
                    backlog.share(&self.logs[usize::from(encoding)], range);
                }
            }
        }
        outbox.backlog = backlog;
    }
}

/// What a connection could not send in the turn it was made in, oldest first.
#[derive(Default)]
struct Backlog {
    queue: VecDeque<Chunk>,
    answers: usize,
    pushes: usize,
}

struct Chunk {
    bytes: Bytes,
    kind: Kind,
    /// How much of it has been sent.
    sent: usize,
}

enum Bytes {
    Own(Vec<u8>),
    Shared(Rc<Vec<u8>>, Range<usize>),
}

impl Chunk {
    fn rest(&self) -> &[u8] {
        match &self.bytes {
            Bytes::Own(bytes) => &bytes[self.sent..],
            Bytes::Shared(log, range) => &log[range.start + self.sent..range.end],
        }
    }
}

impl Backlog {
    fn copy(&mut self, kind: Kind, bytes: &[u8]) {
        *self.count(kind) += bytes.len();
        if let Some(Chunk { bytes: Bytes::Own(last), kind: same, .. }) = self.queue.back_mut()
            && *same == kind
        {
            last.extend_from_slice(bytes);
        } else {
            self.queue.push_back(Chunk { bytes: Bytes::Own(bytes.to_vec()), kind, sent: 0 });
        }
    }

    fn share(&mut self, log: &Rc<Vec<u8>>, range: Range<usize>) {
        if range.len() < SHARE {
            return self.copy(Kind::Push, &log[range]);
        }
        self.pushes += range.len();
        self.queue.push_back(Chunk {
            bytes: Bytes::Shared(Rc::clone(log), range),
            kind: Kind::Push,
            sent: 0,
        });
    }

    fn send(
        &mut self,
        send: &mut impl FnMut(&[IoSlice<'_>]) -> Result<usize, IoFault>,
    ) -> Result<(), IoFault> {
        let mut slices = [IoSlice::new(&[]); SLICES];
        let mut used = 0;
        for (slice, chunk) in slices.iter_mut().zip(&self.queue) {
            *slice = IoSlice::new(chunk.rest());
            used += 1;
        }
        let mut sent = taken(send(&slices[..used]))?;
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
fn taken(sent: Result<usize, IoFault>) -> Result<usize, IoFault> {
    match sent {
        Err(IoFault::WouldBlock) => Ok(0),
        other => other,
    }
}
