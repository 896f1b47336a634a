//! What connections still have to send: one turn's output for all of them, and the backlog of the slow.
//!
//! Owns the bytes on their way out. Never writes to a socket itself (it is handed a `send`), never knows who is
//! subscribed to what. Three places hold bytes:
//! - the turn's *own* bytes: answers and one-to-one pushes of this turn, all connections' side by side;
//! - the turn's *logs*, one per encoding: a broadcast is rendered once into each log that has a listener, so
//!   a turn's broadcasts lie side by side. A receiver that takes them all costs one system call with one
//!   slice, and nothing was written down for it;
//! - a [*backlog*](super::backlog) for each connection whose write came up short. Only then is a log kept beyond its turn.
//!
//! Invariant: an [`Outbox`] has taken the log of its encoding up to `seen`; what it must send out of the usual
//! row (its own bytes, log ranges before a gap) hangs in a list of segments, in order. After a
//! flush the list is empty and `seen` is 0, which is where the next turn's log begins.

use std::io::IoSlice;
use std::ops::Range;
use std::rc::Rc;

use crate::limits::KEEP_SCRATCH;
use crate::transport::backlog::{Backlog, Counted, Kind, SLICES, Total, taken};
use crate::transport::codec::jsonrpc::render::{ENCODINGS, Encoding};
use crate::transport::io::{IoFault, Millis};

const NONE: u32 = u32::MAX;

/// One connection's side of the output: 40 bytes, and no heap while it keeps up.
pub struct Outbox {
    first: u32,
    last: u32,
    seen: u32,
    /// Bytes of answers not yet taken by the kernel.
    answers: u32,
    backlog: Option<Box<Backlog>>,
    /// While a batch is under way: the pushes that wait behind its answer. In a box, since batches are rare.
    held: Option<Box<Counted>>,
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
            + self.held.as_ref().map_or(0, |held| held.bytes.len())
    }

    /// Whether a write came up short: the socket must say when it takes more.
    pub fn is_blocked(&self) -> bool {
        self.backlog.is_some()
    }

    /// When the kernel last took something of its backlog, if it has one.
    pub fn moved(&self) -> Option<Millis> {
        self.backlog.as_ref().map(|backlog| backlog.moved)
    }

    /// Since when it has had more than `out_soft` bytes of pushes to send, if it has.
    pub fn soft_since(&self) -> Option<Millis> {
        self.backlog.as_ref().and_then(|backlog| backlog.soft_since)
    }

    /// Says, behind a flush, whether its pushes are above `out_soft`.
    pub fn judge_soft(&mut self, is_above: bool, now: Millis) {
        if let Some(backlog) = &mut self.backlog {
            backlog.soft_since = is_above.then(|| backlog.soft_since.unwrap_or(now));
        }
    }

    /// Forgets everything that was to be sent: behind a flush that failed, or when the connection will be cut.
    pub fn discard(&mut self) {
        (self.backlog, self.held) = (None, None);
        (self.first, self.last, self.seen, self.answers) = (NONE, NONE, 0, 0);
    }

    /// Tries to send the backlog, behind a flush of this turn that was not to try.
    ///
    /// # Errors
    /// Those of `send`, except that `WouldBlock` is not one.
    pub fn retry(
        &mut self,
        now: Millis,
        mut send: impl FnMut(&[IoSlice<'_>]) -> Result<usize, IoFault>,
    ) -> Result<(), IoFault> {
        if let Some(backlog) = &mut self.backlog {
            backlog.send(now, &mut send)?;
        }
        self.settle();
        Ok(())
    }

    /// Counts what is left behind a try to send.
    fn settle(&mut self) {
        self.backlog.take_if(|backlog| backlog.is_empty());
        self.answers = self.backlog.as_ref().map_or(0, |backlog| backlog.answers as u32);
    }

    /// Whether a flush has seen everything: it has left, or is in the backlog.
    pub fn is_flushed(&self) -> bool {
        self.first == NONE
    }

    /// Whether nothing is left behind a flush: neither in a backlog nor behind a batch.
    pub fn has_nothing_left(&self) -> bool {
        self.backlog.is_none() && self.held.is_none()
    }

    /// Whether pushes wait behind a batch.
    pub fn is_held(&self) -> bool {
        self.held.is_some()
    }

    /// Whether everything has left.
    pub fn is_empty(&self) -> bool {
        self.first == NONE && self.backlog.is_none()
    }
}

/// The output of one turn of the loop.
pub struct Turn {
    own: Vec<u8>,
    /// Bytes in the longest log.
    fanout: usize,
    logs: [Rc<Counted>; ENCODINGS],
    /// What backlogs keep beyond the turn.
    kept: Total,
    listeners: [u32; ENCODINGS],
    segments: Vec<Segment>,
}

impl Default for Turn {
    fn default() -> Self {
        let kept = Total::default();
        Self {
            own: Vec::new(),
            fanout: 0,
            logs: std::array::from_fn(|_| Rc::new(Counted::new(&kept))),
            kept,
            listeners: [0; ENCODINGS],
            segments: Vec::new(),
        }
    }
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
    /// Bytes that backlogs keep, a shared log counted once and whole.
    pub fn kept(&self) -> usize {
        self.kept.get()
    }

    /// Bytes in the longest log: what a turn's broadcasts come to for one receiver.
    pub fn fanout(&self) -> usize {
        self.fanout
    }

    /// Bytes of answers and one-to-one pushes in this turn.
    pub fn own_bytes(&self) -> usize {
        self.own.len()
    }

    /// Appends bytes of the connection's own, behind all it was to get so far.
    pub fn own(&mut self, outbox: &mut Outbox, kind: Kind, write: impl FnOnce(&mut Vec<u8>)) {
        self.catch_up(outbox);
        if let (Kind::Push, Some(held)) = (kind, &mut outbox.held) {
            write(&mut held.bytes);
            held.count();
            return;
        }
        let start = self.own.len();
        write(&mut self.own);
        if kind == Kind::Answer {
            outbox.answers += (self.own.len() - start) as u32;
        }
        self.segment(outbox, Source::Own(kind), start..self.own.len());
    }

    /// Appends a broadcast to every log that somebody listens to. `except` does not get it. Says how many do.
    pub fn broadcast(
        &mut self,
        except: Option<&mut Outbox>,
        mut write: impl FnMut(&mut Vec<u8>, Encoding),
    ) -> u64 {
        let mut except = except.filter(|outbox| outbox.subscribed);
        if let Some(outbox) = &mut except {
            self.catch_up(outbox);
            self.listeners[outbox.encoding.index()] -= 1;
        }
        let mut receivers = 0;
        for encoding in Encoding::ALL {
            if self.listeners[encoding.index()] > 0 {
                let log =
                    Rc::get_mut(&mut self.logs[encoding.index()]).expect("logs are shared only in a flush");
                let before = log.bytes.len();
                write(&mut log.bytes, encoding);
                if log.bytes.len() > before {
                    receivers += u64::from(self.listeners[encoding.index()]);
                }
                self.fanout = self.fanout.max(log.bytes.len());
            }
        }
        if let Some(outbox) = except {
            let encoding = outbox.encoding.index();
            self.listeners[encoding] += 1;
            outbox.seen = self.logs[encoding].bytes.len() as u32;
        }
        receivers
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
            outbox.seen = self.logs[encoding].bytes.len() as u32;
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
        outbox.held = Some(Box::new(Counted::new(&self.kept)));
    }

    /// The batch is answered: the pushes that waited follow.
    pub fn release(&mut self, outbox: &mut Outbox) {
        self.catch_up(outbox);
        if let Some(held) = outbox.held.take()
            && !held.bytes.is_empty()
        {
            self.own(outbox, Kind::Push, |own| own.extend_from_slice(&held.bytes));
        }
    }

    /// Once in a turn: sends what the outbox has, by one call of `send` at most; what the kernel does not take becomes its
    /// backlog. `writable` says that a backlog is worth a try: a blocked socket is left alone otherwise.
    ///
    /// # Errors
    /// Those of `send`, except that `WouldBlock` is not one. The outbox is to be discarded then: what it had in this turn
    /// is forgotten with the turn.
    pub fn flush(
        &mut self,
        outbox: &mut Outbox,
        writable: bool,
        now: Millis,
        mut send: impl FnMut(&[IoSlice<'_>]) -> Result<usize, IoFault>,
    ) -> Result<(), IoFault> {
        let log = &self.logs[outbox.encoding.index()];
        if outbox.first == NONE && outbox.backlog.is_none() && outbox.held.is_none() {
            // The usual receiver of a broadcast: all of the log, in one slice.
            if !outbox.subscribed || log.bytes.len() == outbox.seen as usize {
                outbox.seen = 0;
                return Ok(());
            }
            let unseen = outbox.seen as usize..log.bytes.len();
            outbox.seen = 0;
            let sent = taken(send(&[IoSlice::new(&log.bytes[unseen.clone()])]))?;
            if sent < unseen.len() {
                let backlog = outbox.backlog.insert(Backlog::new(&self.kept, now));
                backlog.share(log, unseen.start + sent..unseen.end);
            }
            return Ok(());
        }
        self.catch_up(outbox);
        outbox.seen = 0;
        if outbox.backlog.is_none() {
            let sent = self.send_segments(outbox, &mut send)?;
            self.keep_rest(outbox, sent, now);
        } else {
            self.keep_rest(outbox, 0, now);
            if writable {
                outbox.backlog.as_mut().expect("it has one").send(now, &mut send)?;
            }
        }
        (outbox.first, outbox.last) = (NONE, NONE);
        outbox.settle();
        Ok(())
    }

    /// Every outbox with output was flushed: the next turn begins.
    pub fn reset(&mut self) {
        self.segments.clear();
        self.segments.shrink_to(KEEP_SCRATCH / size_of::<Segment>());
        self.own.clear();
        self.own.shrink_to(KEEP_SCRATCH);
        self.fanout = 0;
        for log in &mut self.logs {
            match Rc::get_mut(log) {
                Some(log) => {
                    log.bytes.clear();
                    log.bytes.shrink_to(KEEP_SCRATCH);
                }
                // Some backlog points into it: it lives on there.
                None => {
                    log.count();
                    *log = Rc::new(Counted::new(&self.kept));
                }
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
        let unseen = outbox.seen as usize..log.bytes.len();
        if unseen.is_empty() {
            return;
        }
        outbox.seen = log.bytes.len() as u32;
        match &mut outbox.held {
            Some(held) => {
                held.bytes.extend_from_slice(&log.bytes[unseen]);
                held.count();
            }
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
                Source::Log(encoding) => &self.logs[usize::from(encoding)].bytes,
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
    fn keep_rest(&self, outbox: &mut Outbox, mut sent: usize, now: Millis) {
        let mut backlog = outbox.backlog.take();
        for (segment, bytes) in self.pieces(outbox) {
            let gone = sent.min(bytes.len());
            sent -= gone;
            if gone == bytes.len() {
                continue;
            }
            let backlog = backlog.get_or_insert_with(|| Backlog::new(&self.kept, now));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::backlog::{PIECE, SHARE};
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::Index;

    /// What a socket saw: the bytes it took, and how many slices each call offered.
    #[derive(Default)]
    struct Socket {
        got: Vec<u8>,
        slices: Vec<usize>,
    }

    impl Socket {
        /// Flushes into it, with room for so many bytes.
        fn flush(&mut self, turn: &mut Turn, outbox: &mut Outbox, writable: bool, room: usize) {
            turn.flush(outbox, writable, Millis(0), |slices| self.take(slices, room)).unwrap();
        }

        fn take(&mut self, slices: &[IoSlice<'_>], room: usize) -> Result<usize, IoFault> {
            let offered: usize = slices.iter().map(|slice| slice.len()).sum();
            assert!(offered > 0, "nobody writes nothing");
            self.slices.push(slices.len());
            if room == 0 {
                return Err(IoFault::WouldBlock);
            }
            self.got.extend(slices.iter().flat_map(|slice| slice.iter()).take(room));
            Ok(offered.min(room))
        }

        /// What was taken since the last look, and the slices that were offered.
        fn look(&mut self) -> (String, Vec<usize>) {
            let got = String::from_utf8(std::mem::take(&mut self.got)).unwrap();
            (got, std::mem::take(&mut self.slices))
        }
    }

    const ALL: usize = usize::MAX;

    fn listener(turn: &mut Turn, encoding: usize) -> Outbox {
        let mut outbox = Outbox::new(Encoding::FIRST);
        turn.subscribe(&mut outbox, true);
        turn.set_encoding(&mut outbox, Encoding::ALL[encoding]);
        outbox
    }

    fn answer(turn: &mut Turn, outbox: &mut Outbox, text: &str) {
        turn.own(outbox, Kind::Answer, |own| own.extend_from_slice(text.as_bytes()));
    }

    fn push(turn: &mut Turn, outbox: &mut Outbox, text: &str) {
        turn.own(outbox, Kind::Push, |own| own.extend_from_slice(text.as_bytes()));
    }

    /// `text` and the number of the encoding.
    fn broadcast(turn: &mut Turn, except: Option<&mut Outbox>, text: &str) {
        turn.broadcast(except, |log, encoding| {
            log.extend_from_slice(text.as_bytes());
            log.push(b'0' + encoding.index() as u8);
        });
    }

    #[test]
    fn a_listener_gets_all_broadcasts_in_one_slice_and_the_sender_all_but_his_own() {
        let (mut turn, mut socket) = (Turn::default(), Socket::default());
        let (mut hears, mut sender) = (listener(&mut turn, 0), listener(&mut turn, 0));
        for text in ["a", "b"] {
            broadcast(&mut turn, None, text);
        }
        broadcast(&mut turn, Some(&mut sender), "own");
        for text in ["c", "d"] {
            broadcast(&mut turn, None, text);
        }
        socket.flush(&mut turn, &mut hears, true, ALL);
        assert_eq!(socket.look(), ("a0b0own0c0d0".into(), vec![1]));
        socket.flush(&mut turn, &mut sender, true, ALL);
        assert_eq!(socket.look(), ("a0b0c0d0".into(), vec![2]));
        turn.reset();
        assert!(hears.is_empty() && sender.is_empty() && turn.fanout() == 0);
        socket.flush(&mut turn, &mut hears, true, ALL);
        assert_eq!(socket.look(), (String::new(), vec![]), "nothing to send costs no call");
    }

    #[test]
    fn a_broadcast_that_nobody_hears_is_not_rendered() {
        let mut turn = Turn::default();
        let mut alone = listener(&mut turn, 2);
        turn.broadcast(Some(&mut alone), |_, _| panic!("nobody listens"));
        turn.subscribe(&mut alone, false);
        turn.broadcast(None, |_, _| panic!("nobody listens"));
        let mut never = Outbox::new(Encoding::FIRST);
        turn.broadcast(Some(&mut never), |_, _| panic!("nobody listens"));
        assert_eq!(turn.fanout(), 0);
    }

    #[test]
    fn own_bytes_and_broadcasts_keep_their_order() {
        let (mut turn, mut socket) = (Turn::default(), Socket::default());
        let (mut one, mut other) = (listener(&mut turn, 0), Outbox::new(Encoding::FIRST));
        answer(&mut turn, &mut one, "A");
        broadcast(&mut turn, None, "b");
        push(&mut turn, &mut one, "P");
        push(&mut turn, &mut other, "x");
        answer(&mut turn, &mut one, "B");
        broadcast(&mut turn, None, "c");
        broadcast(&mut turn, None, "d");
        socket.flush(&mut turn, &mut one, true, ALL);
        assert_eq!(socket.look(), ("Ab0PBc0d0".into(), vec![5]));
        socket.flush(&mut turn, &mut other, true, ALL);
        assert_eq!(socket.look(), ("x".into(), vec![1]));
    }

    #[test]
    fn a_listener_hears_from_subscription_to_its_end() {
        let (mut turn, mut socket) = (Turn::default(), Socket::default());
        let _another = listener(&mut turn, 0);
        let mut outbox = Outbox::new(Encoding::FIRST);
        broadcast(&mut turn, None, "before");
        turn.subscribe(&mut outbox, true);
        turn.subscribe(&mut outbox, true);
        broadcast(&mut turn, None, "in");
        turn.subscribe(&mut outbox, false);
        broadcast(&mut turn, None, "behind");
        assert!(!outbox.is_flushed());
        socket.flush(&mut turn, &mut outbox, true, ALL);
        assert_eq!(socket.look().0, "in0");
    }

    #[test]
    fn an_encoding_may_change_in_the_middle_of_a_turn() {
        let (mut turn, mut socket) = (Turn::default(), Socket::default());
        let mut outboxes = [0, 1, 2, 3].map(|encoding| listener(&mut turn, encoding));
        broadcast(&mut turn, None, "a");
        for (outbox, to) in outboxes.iter_mut().zip([3, 3, 0, 3]) {
            turn.set_encoding(outbox, Encoding::ALL[to]);
        }
        broadcast(&mut turn, None, "b");
        let [first, ..] = &mut outboxes;
        turn.set_encoding(first, Encoding::ALL[0]);
        broadcast(&mut turn, None, "c");
        for (mut outbox, expected) in outboxes.into_iter().zip(["a0b3c0", "a1b3c3", "a2b0c0", "a3b3c3"]) {
            socket.flush(&mut turn, &mut outbox, true, ALL);
            assert_eq!(socket.look().0, expected);
        }
    }

    #[test]
    fn pushes_wait_behind_a_batch_also_over_turns() {
        let (mut turn, mut socket) = (Turn::default(), Socket::default());
        let mut outbox = listener(&mut turn, 0);
        broadcast(&mut turn, None, "before");
        turn.hold(&mut outbox);
        broadcast(&mut turn, None, "b");
        push(&mut turn, &mut outbox, "p");
        socket.flush(&mut turn, &mut outbox, true, ALL);
        assert_eq!(socket.look().0, "before0");
        assert_eq!(outbox.unsent_pushes(), 3, "what waits counts as unsent");
        turn.reset();
        broadcast(&mut turn, None, "c");
        answer(&mut turn, &mut outbox, "[A]");
        broadcast(&mut turn, None, "d");
        turn.release(&mut outbox);
        broadcast(&mut turn, None, "e");
        socket.flush(&mut turn, &mut outbox, true, ALL);
        assert_eq!(socket.look().0, "[A]b0pc0d0e0");
        assert_eq!((outbox.unsent_pushes(), outbox.is_empty()), (0, true));
    }

    #[test]
    fn a_write_may_come_up_short_at_every_byte() {
        let long = "l".repeat(SHARE + 10);
        let mut length = 0;
        for cut in 0.. {
            let (mut turn, mut socket) = (Turn::default(), Socket::default());
            let mut outbox = listener(&mut turn, 1);
            answer(&mut turn, &mut outbox, "answer");
            broadcast(&mut turn, None, "short");
            push(&mut turn, &mut outbox, "push");
            broadcast(&mut turn, None, &long);
            answer(&mut turn, &mut outbox, "another");
            socket.flush(&mut turn, &mut outbox, true, cut);
            let in_first = socket.got.len();
            turn.reset();
            // More comes while it is blocked: one call at most, and none before the socket says so.
            broadcast(&mut turn, None, "next");
            answer(&mut turn, &mut outbox, "last");
            let was_blocked = outbox.is_blocked();
            socket.flush(&mut turn, &mut outbox, !was_blocked, ALL);
            assert_eq!(socket.slices.len(), if was_blocked { 1 } else { 2 });
            turn.reset();
            socket.flush(&mut turn, &mut outbox, true, ALL);
            assert!(outbox.is_empty());
            let expected = format!("answershort1push{long}1anothernext1last");
            assert_eq!(socket.look().0, expected, "{cut}");
            length = in_first;
            if in_first < cut {
                break;
            }
        }
        assert_eq!(length, "answershort1pushanother".len() + long.len() + 1, "every position was tried");
    }

    #[test]
    fn a_log_is_kept_once_and_only_while_a_backlog_points_into_it() {
        let (mut turn, mut socket) = (Turn::default(), Socket::default());
        let mut slow = [0, 0, 0].map(|encoding| listener(&mut turn, encoding));
        let mut quick = listener(&mut turn, 0);
        let text = "x".repeat(4 * SHARE);
        broadcast(&mut turn, None, &text);
        for outbox in &mut slow {
            socket.flush(&mut turn, outbox, true, 100);
        }
        socket.flush(&mut turn, &mut quick, true, ALL);
        assert_eq!(Rc::strong_count(&turn.logs[0]), 1 + slow.len(), "shared by the slow, not by the quick");
        let log = Rc::downgrade(&turn.logs[0]);
        turn.reset();
        assert_eq!((log.strong_count(), turn.fanout()), (slow.len(), 0));
        for (n, outbox) in slow.iter_mut().enumerate() {
            socket.look();
            socket.flush(&mut turn, outbox, true, ALL);
            assert_eq!(socket.look().0.len(), text.len() + 1 - 100);
            assert_eq!(log.strong_count(), 2 - n);
        }
        let reused: *const Counted = &*turn.logs[0];
        broadcast(&mut turn, None, &text);
        socket.flush(&mut turn, &mut slow[0], true, text.len());
        assert_eq!(Rc::strong_count(&turn.logs[0]), 1, "a rest under {SHARE} bytes is copied");
        for outbox in &mut slow {
            socket.flush(&mut turn, outbox, true, ALL);
        }
        turn.reset();
        assert_eq!(reused, &raw const *turn.logs[0], "and the log is used again");
    }

    #[test]
    fn answers_and_pushes_are_counted_apart() {
        let (mut turn, mut socket) = (Turn::default(), Socket::default());
        let mut outbox = listener(&mut turn, 0);
        let unsent = |outbox: &Outbox| (outbox.unsent_answers(), outbox.unsent_pushes());
        answer(&mut turn, &mut outbox, "1234567890");
        assert_eq!(unsent(&outbox), (10, 0), "answers count before they are flushed");
        broadcast(&mut turn, None, &"x".repeat(999));
        answer(&mut turn, &mut outbox, "1234567890");
        push(&mut turn, &mut outbox, "12345");
        socket.flush(&mut turn, &mut outbox, true, 0);
        assert_eq!(unsent(&outbox), (20, 1005));
        turn.reset();
        for (room, left) in [(3, (17, 1005)), (7, (10, 1005)), (1, (10, 1004)), (1001, (8, 1003 - 998))] {
            socket.flush(&mut turn, &mut outbox, true, room);
            assert_eq!(unsent(&outbox), left);
        }
        answer(&mut turn, &mut outbox, "abc");
        assert_eq!(unsent(&outbox), (11, 5));
        socket.flush(&mut turn, &mut outbox, true, ALL);
        assert_eq!(unsent(&outbox), (0, 0));
    }

    #[test]
    fn many_pieces_are_merged_into_one_call() {
        for pieces in [SLICES - 1, SLICES, SLICES + 1, 5 * SLICES] {
            let (mut turn, mut socket) = (Turn::default(), Socket::default());
            let mut outbox = listener(&mut turn, 0);
            let mut expected = String::new();
            for n in 0..pieces {
                if n % 2 == 0 {
                    answer(&mut turn, &mut outbox, &format!("<{n}>"));
                    expected += &format!("<{n}>");
                } else {
                    broadcast(&mut turn, None, &n.to_string());
                    expected += &format!("{n}0");
                }
            }
            socket.flush(&mut turn, &mut outbox, true, ALL);
            let slices = if pieces > SLICES { 1 } else { pieces };
            assert_eq!(socket.look(), (expected, vec![slices]));
        }
    }

    #[test]
    fn a_backlog_of_many_chunks_leaves_in_order() {
        let (mut turn, mut socket) = (Turn::default(), Socket::default());
        let mut outbox = Outbox::new(Encoding::FIRST);
        let mut expected = String::new();
        for n in 0..3 * SLICES {
            let write = if n % 2 == 0 { answer } else { push };
            write(&mut turn, &mut outbox, &format!("<{n}>"));
            expected += &format!("<{n}>");
            socket.flush(&mut turn, &mut outbox, n == 0, 0);
            turn.reset();
        }
        socket.look();
        for _ in 0..3 {
            socket.flush(&mut turn, &mut outbox, true, ALL);
        }
        assert_eq!(socket.look(), (expected, vec![SLICES; 3]));
        assert!(outbox.is_empty());
    }

    #[test]
    fn a_second_try_in_one_turn_repeats_nothing() {
        let (mut turn, mut socket) = (Turn::default(), Socket::default());
        let mut hears = listener(&mut turn, 0);
        broadcast(&mut turn, None, "first");
        socket.flush(&mut turn, &mut hears, true, 2);
        turn.reset();
        broadcast(&mut turn, None, "second");
        answer(&mut turn, &mut hears, "answer");
        broadcast(&mut turn, None, "third");
        socket.flush(&mut turn, &mut hears, false, ALL);
        assert_eq!(socket.look().0, "fi");
        hears.retry(Millis(0), |slices| socket.take(slices, ALL)).unwrap();
        assert_eq!(socket.look().0, "rst0second0answerthird0");
        assert!(hears.is_empty() && hears.unsent_answers() == 0);
        turn.reset();
        socket.flush(&mut turn, &mut hears, true, ALL);
        assert_eq!(socket.look(), (String::new(), vec![]));
    }

    #[test]
    fn what_is_kept_is_counted_once_until_it_has_left() {
        let (mut turn, mut socket) = (Turn::default(), Socket::default());
        let mut slow = [0, 0, 0].map(|encoding| listener(&mut turn, encoding));
        broadcast(&mut turn, None, &"x".repeat(10 * SHARE));
        for outbox in &mut slow {
            socket.flush(&mut turn, outbox, true, 0);
        }
        turn.reset();
        let queue = slow[1].backlog.as_ref().unwrap().places;
        let once = turn.kept() - 3 * queue;
        assert!(queue > 0 && (10 * SHARE..=20 * SHARE + 2).contains(&once), "{queue} {once}");
        answer(&mut turn, &mut slow[0], &"y".repeat(SHARE));
        socket.flush(&mut turn, &mut slow[0], false, 0);
        turn.reset();
        let own = turn.kept() - once - 3 * queue;
        assert!((SHARE..3 * SHARE).contains(&own), "{own}");
        let [mut first, second, mut third] = slow;
        drop(second);
        third.discard();
        assert_eq!(turn.kept(), once + own + queue, "the first still points into it");
        socket.flush(&mut turn, &mut first, true, ALL);
        assert_eq!(turn.kept(), 0);
    }

    #[test]
    fn a_reader_that_stays_behind_does_not_keep_what_it_has_read() {
        let (mut turn, mut socket) = (Turn::default(), Socket::default());
        let mut outbox = Outbox::new(Encoding::FIRST);
        for _ in 0..1000 {
            answer(&mut turn, &mut outbox, &"x".repeat(1000));
            // It always leaves a little, so the last piece is never empty.
            let unsent = outbox.unsent_answers() + 1000;
            socket.flush(&mut turn, &mut outbox, true, unsent.saturating_sub(100));
            turn.reset();
        }
        assert!(turn.kept() <= 4 * PIECE, "{}", turn.kept());
    }

    #[test]
    fn a_full_socket_is_no_error_and_every_other_fault_is() {
        for prepare in [
            |turn: &mut Turn, _: &mut Outbox| broadcast(turn, None, "b"),
            |turn: &mut Turn, outbox: &mut Outbox| answer(turn, outbox, "a"),
            |turn: &mut Turn, outbox: &mut Outbox| {
                answer(turn, outbox, "a");
                Socket::default().flush(turn, outbox, true, 0);
                turn.reset();
            },
        ] {
            for fault in [IoFault::Reset, IoFault::NoMemory, IoFault::Other(5)] {
                let mut turn = Turn::default();
                let mut outbox = listener(&mut turn, 0);
                prepare(&mut turn, &mut outbox);
                assert_eq!(turn.flush(&mut outbox, true, Millis(0), |_| Err(fault)), Err(fault));
            }
            let mut turn = Turn::default();
            let mut outbox = listener(&mut turn, 0);
            prepare(&mut turn, &mut outbox);
            assert_eq!(turn.flush(&mut outbox, true, Millis(0), |_| Err(IoFault::WouldBlock)), Ok(()));
            assert!(outbox.is_blocked() && outbox.is_flushed() && !outbox.is_empty());
            let alone = |_: &[IoSlice<'_>]| panic!("a blocked socket is left alone");
            assert_eq!(turn.flush(&mut outbox, false, Millis(0), alone), Ok(()));
        }
    }

    // --- the naive twin ---

    /// One vector for each connection: every byte it is ever to be sent, with its kind.
    #[derive(Default)]
    struct Twin {
        all: Vec<(u8, Kind)>,
        sent: usize,
        held: Option<Vec<u8>>,
        encoding: usize,
        subscribed: bool,
    }

    impl Twin {
        fn push(&mut self, bytes: &[u8]) {
            match &mut self.held {
                Some(held) => held.extend_from_slice(bytes),
                None => self.all.extend(bytes.iter().map(|&byte| (byte, Kind::Push))),
            }
        }

        fn unsent(&self, kind: Kind) -> usize {
            self.all[self.sent..].iter().filter(|(_, of)| *of == kind).count()
        }
    }

    #[derive(Clone, Debug)]
    enum Op {
        Answer(Index, usize),
        Push(Index, usize),
        Broadcast(Option<Index>, usize),
        Subscribe(Index, bool),
        Encoding(Index, usize),
        /// Holds, or releases what is held.
        Hold(Index),
        /// Everybody is flushed: the room in each socket, and whether it said that it is writable.
        Turn(Vec<(usize, bool)>),
    }

    const OUTBOXES: usize = 4;

    fn op() -> impl Strategy<Value = Op> {
        let length = || prop_oneof![4 => 0usize..30, 1 => SHARE - 20..SHARE + 200];
        let room = prop_oneof![2 => 0usize..60, 1 => 0usize..3000, 2 => Just(ALL)];
        let one = any::<Index>;
        prop_oneof![
            4 => (one(), length()).prop_map(|(who, length)| Op::Answer(who, length)),
            3 => (one(), length()).prop_map(|(who, length)| Op::Push(who, length)),
            5 => (prop::option::of(one()), length()).prop_map(|(who, length)| Op::Broadcast(who, length)),
            3 => (one(), any::<bool>()).prop_map(|(who, subscribed)| Op::Subscribe(who, subscribed)),
            2 => (one(), 0..ENCODINGS).prop_map(|(who, encoding)| Op::Encoding(who, encoding)),
            1 => one().prop_map(Op::Hold),
            3 => vec((room, any::<bool>()), OUTBOXES).prop_map(Op::Turn),
        ]
    }

    /// No two of these bytes runs are alike, so nothing can be lost, doubled or swapped unseen.
    fn fresh(serial: usize, length: usize) -> Vec<u8> {
        format!("<{serial}>").into_bytes().into_iter().cycle().take(length).collect()
    }

    proptest! {
        #[test]
        fn agrees_with_one_vector_for_each_connection(ops in vec(op(), 1..80)) {
            let mut turn = Turn::default();
            let mut outboxes: [Outbox; OUTBOXES] = std::array::from_fn(|_| Outbox::new(Encoding::FIRST));
            let mut twins: [Twin; OUTBOXES] = Default::default();
            let mut sockets: [Socket; OUTBOXES] = Default::default();
            // In the last turns everything goes: a backlog leaves by so many slices at a time.
            let end = [Op::Turn(vec![(ALL, true); OUTBOXES])];
            let all = ops.into_iter().chain(end.iter().cloned().cycle().take(8));
            for (serial, op) in all.enumerate() {
                match op {
                    Op::Answer(who, length) => {
                        let (who, bytes) = (who.index(OUTBOXES), fresh(serial, length));
                        turn.own(&mut outboxes[who], Kind::Answer, |own| own.extend_from_slice(&bytes));
                        twins[who].all.extend(bytes.iter().map(|&byte| (byte, Kind::Answer)));
                    }
                    Op::Push(who, length) => {
                        let (who, bytes) = (who.index(OUTBOXES), fresh(serial, length));
                        turn.own(&mut outboxes[who], Kind::Push, |own| own.extend_from_slice(&bytes));
                        twins[who].push(&bytes);
                    }
                    Op::Broadcast(except, length) => {
                        let except = except.map(|who| who.index(OUTBOXES));
                        let bytes = |encoding: usize| fresh(10 * serial + encoding, length + encoding);
                        turn.broadcast(except.map(|who| &mut outboxes[who]), |log, encoding| {
                            log.extend_from_slice(&bytes(encoding.index()));
                        });
                        for (who, twin) in twins.iter_mut().enumerate() {
                            if twin.subscribed && except != Some(who) {
                                twin.push(&bytes(twin.encoding));
                            }
                        }
                    }
                    Op::Subscribe(who, subscribed) => {
                        let who = who.index(OUTBOXES);
                        turn.subscribe(&mut outboxes[who], subscribed);
                        twins[who].subscribed = subscribed;
                    }
                    Op::Encoding(who, encoding) => {
                        let who = who.index(OUTBOXES);
                        turn.set_encoding(&mut outboxes[who], Encoding::ALL[encoding]);
                        twins[who].encoding = encoding;
                    }
                    Op::Hold(who) => {
                        let who = who.index(OUTBOXES);
                        match twins[who].held.take() {
                            Some(held) => {
                                turn.release(&mut outboxes[who]);
                                twins[who].push(&held);
                            }
                            None => {
                                turn.hold(&mut outboxes[who]);
                                twins[who].held = Some(Vec::new());
                            }
                        }
                    }
                    Op::Turn(rooms) => {
                        for who in 0..OUTBOXES {
                            let (outbox, twin, socket) = (&mut outboxes[who], &mut twins[who], &mut sockets[who]);
                            let (room, writable) = rooms[who];
                            let (calls, before, was_blocked) =
                                (socket.slices.len(), socket.got.len(), outbox.is_blocked());
                            socket.flush(&mut turn, outbox, writable, room);
                            prop_assert!(socket.slices.len() <= calls + 1, "one call a turn");
                            prop_assert!(writable || !was_blocked || socket.got.len() == before);
                            twin.sent = socket.got.len();
                            prop_assert_eq!(outbox.unsent_answers(), twin.unsent(Kind::Answer));
                            let held = twin.held.as_ref().map_or(0, Vec::len);
                            prop_assert_eq!(outbox.unsent_pushes(), twin.unsent(Kind::Push) + held);
                            prop_assert_eq!(outbox.is_blocked(), twin.sent < twin.all.len());
                            prop_assert!(outbox.is_flushed());
                        }
                        turn.reset();
                        prop_assert!(turn.logs.iter().all(|log| Rc::strong_count(log) == 1 && log.bytes.is_empty()));
                        let keeps = |outbox: &Outbox| outbox.is_blocked() || outbox.held.is_some();
                        prop_assert!(turn.kept() == 0 || outboxes.iter().any(keeps));
                    }
                }
            }
            for (twin, socket) in twins.iter().zip(&sockets) {
                let all: Vec<u8> = twin.all.iter().map(|(byte, _)| *byte).collect();
                prop_assert_eq!(socket.got.escape_ascii().to_string(), all.escape_ascii().to_string());
            }
        }
    }
}
