//! Where a JSON text ends and the next begins, and what the client shows us by its line feeds.
//!
//! Owns the two or three bits of framing state that a connection keeps while it is idle ([`Framer`]) and the
//! larger state of a text that is under way ([`Input`]: ring and scanner). Knows no sockets and parses nothing.
//! The event loop asks [`Framer::next`] until the ring is dry.
//!
//! Two rules of the wire live here. A client that ends a request (or a broken text) with LF gets LF from then
//! on; if the answer left before its LF arrived, that one LF is owed and sent at once. After a broken text
//! nothing is answered until an LF has passed, or until a read that found the socket empty before it begins
//! with `{` or `[`: so there is one error per broken line, and none for its remains.

use memchr::memchr;

use super::render::Framing;
use super::scanner::{Scan, Scanner};
use crate::api::{Closed, Fault};
use crate::limits::Limits;
use crate::transport::ring::Ring;

/// What a connection holds while bytes of it are unconsumed; lent by a pool.
pub struct Input {
    /// Bytes that have arrived.
    pub ring: Ring,
    /// The line chat's line so far.
    pub line: Vec<u8>,
    scanner: Scanner,
    /// How many bytes of the text at the ring's front the scanner has seen.
    scanned: usize,
    /// Since when the loop has waited for the rest of what is in here, in milliseconds of its clock, while it does.
    pub since: Option<u64>,
}

impl Input {
    /// One with a ring for `capacity` bytes, which is at least 1.
    pub fn new(capacity: usize) -> Self {
        Self {
            ring: Ring::new(capacity),
            line: Vec::new(),
            scanner: Scanner::new(1),
            scanned: 0,
            since: None,
        }
    }

    /// Whether it holds nothing that a connection would miss.
    pub fn is_idle(&self) -> bool {
        self.ring.is_empty() && self.line.is_empty()
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.ring.consume(self.ring.len());
        self.line.clear();
        self.since = None;
    }
}

/// The framing state of a connection, kept while it is idle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Framer {
    place: Place,
    framing: Framing,
    /// Only white space has come since a text ended: an LF now would be that text's.
    ended: bool,
    /// The latest text was answered before its LF came.
    owes_lf: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Between two texts.
    Between,
    /// Inside a text; the scanner knows where.
    Inside,
    /// Behind a broken text, waiting for LF.
    Skipping,
}

/// What comes next in a connection's bytes.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing until more bytes arrive.
    Dry,
    /// The ring's first so many bytes are a complete, valid JSON text. The caller consumes them.
    Text(usize),
    /// Send one LF: the one owed to an answer that left without.
    Lf,
    /// Send this error, and go on.
    Broken(Fault),
    /// Send this error, and refuse the connection for this reason.
    Refused(Fault, Closed),
}

/// The state of a connection that has said nothing.
impl Default for Framer {
    fn default() -> Self {
        Self { place: Place::Between, framing: Framing::Bare, ended: false, owes_lf: false }
    }
}

impl Framer {
    /// How this client's objects are framed, as far as it has shown.
    pub fn framing(&self) -> Framing {
        self.framing
    }

    /// Whether a text has begun and not ended.
    pub fn is_inside(&self) -> bool {
        self.place == Place::Inside
    }

    /// The latest text was answered, in the framing known then.
    pub fn answered(&mut self) {
        self.owes_lf = self.framing == Framing::Bare;
    }

    /// A read that found the socket empty before it has brought bytes, beginning with `first`: the
    /// remains of a broken text end here, if this looks like a new one.
    pub fn fresh_read(&mut self, first: u8) {
        if self.place == Place::Skipping && matches!(first, b'{' | b'[') {
            self.place = Place::Between;
        }
    }

    /// Advances to the next thing to do.
    pub fn next(&mut self, input: &mut Input, limits: &Limits) -> Step {
        loop {
            let step = match self.place {
                Place::Between => self.between(input, limits),
                Place::Inside => self.inside(input, limits),
                Place::Skipping => self.skip(input),
            };
            if let Some(step) = step {
                return step;
            }
        }
    }

    fn between(&mut self, input: &mut Input, limits: &Limits) -> Option<Step> {
        let run = input.ring.run(0);
        if run.is_empty() {
            return Some(Step::Dry);
        }
        let Some(at) = run.iter().position(|byte| !matches!(byte, b' ' | b'\t' | b'\r')) else {
            let spaces = run.len();
            input.ring.consume(spaces);
            return None;
        };
        match run[at] {
            b'\n' => {
                input.ring.consume(at + 1);
                let ends_text = std::mem::take(&mut self.ended);
                if ends_text { self.line_ended() } else { None }
            }
            b'{' | b'[' => {
                input.ring.consume(at);
                (input.scanner, input.scanned) = (Scanner::new(limits.max_depth), 0);
                *self = Self { place: Place::Inside, framing: self.framing, ended: false, owes_lf: false };
                None
            }
            _ => {
                (self.ended, self.owes_lf) = (false, false);
                Some(Step::Broken(self.broken(input, at, Fault::not_json_rpc())))
            }
        }
    }

    fn inside(&mut self, input: &mut Input, limits: &Limits) -> Option<Step> {
        let run = input.ring.run(input.scanned);
        if run.is_empty() {
            return Some(Step::Dry);
        }
        let piece = &run[..run.len().min(limits.max_message_bytes - input.scanned)];
        let (fault, why) = match input.scanner.scan(piece) {
            Scan::Done { used } => {
                let length = input.scanned + used;
                (self.place, self.ended) = (Place::Between, true);
                if lf_follows(&input.ring, length) {
                    self.framing = Framing::Lines;
                }
                return Some(Step::Text(length));
            }
            Scan::More => {
                input.scanned += piece.len();
                if input.scanned < limits.max_message_bytes {
                    return None;
                }
                let most = limits.max_message_bytes;
                (Fault::invalid_request(format!("longer than max_message_bytes ({most})")), Closed::TooLarge)
            }
            Scan::TooDeep { .. } => {
                let most = limits.max_depth;
                (Fault::parse_error(format!("nested deeper than max_depth ({most})")), Closed::TooDeep)
            }
            Scan::Bad { at, why } => {
                let at = input.scanned + at;
                let fault = Fault::parse_error(format!("{why} at byte {at}"));
                return Some(Step::Broken(self.broken(input, at, fault)));
            }
        };
        let everything = input.ring.len();
        input.ring.consume(everything);
        self.place = Place::Skipping;
        Some(Step::Refused(fault, why))
    }

    fn skip(&mut self, input: &mut Input) -> Option<Step> {
        let run = input.ring.run(0);
        if run.is_empty() {
            return Some(Step::Dry);
        }
        let Some(at) = memchr(b'\n', run) else {
            let rest = run.len();
            input.ring.consume(rest);
            return None;
        };
        input.ring.consume(at + 1);
        self.place = Place::Between;
        self.line_ended()
    }

    /// The text at the front is broken at `at`: drops it, up to its LF if that is here already.
    fn broken(&mut self, input: &mut Input, at: usize, fault: Fault) -> Fault {
        input.ring.consume(at);
        (self.place, self.owes_lf) = (Place::Skipping, false);
        while self.place == Place::Skipping && !input.ring.is_empty() {
            self.skip(input);
        }
        fault
    }

    /// An LF has come behind a text, broken or not.
    fn line_ended(&mut self) -> Option<Step> {
        self.framing = Framing::Lines;
        std::mem::take(&mut self.owes_lf).then_some(Step::Lf)
    }
}

/// Whether the bytes from `at` on are white space with an LF in it, as far as they have arrived.
fn lf_follows(ring: &Ring, mut at: usize) -> bool {
    loop {
        let run = ring.run(at);
        match run.iter().position(|byte| !matches!(byte, b' ' | b'\t' | b'\r')) {
            Some(next) => return run[next] == b'\n',
            None if run.is_empty() => return false,
            None => at += run.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::{Index, select};

    /// A connection as the event loop runs it, but for sockets: every text is answered with `A`, except
    /// notifications (`{"n"...`), and every error with `E`, each in the framing known then.
    struct Bench {
        framer: Framer,
        input: Input,
        limits: Limits,
        steps: Vec<Seen>,
        sent: String,
        late_lfs: usize,
        /// Texts that lay around the end of the ring.
        wrapped: usize,
        refused: bool,
    }

    #[derive(Clone, Debug, PartialEq)]
    enum Seen {
        Text(Vec<u8>),
        Broken(Fault),
        Refused(Fault),
    }

    impl Bench {
        fn new() -> Self {
            Self::with(Limits { max_message_bytes: 64, max_depth: 4, ..Limits::default() })
        }

        fn with(limits: Limits) -> Self {
            Self {
                framer: Framer::default(),
                input: Input::new(limits.read_chunk),
                limits,
                steps: Vec::new(),
                sent: String::new(),
                late_lfs: 0,
                wrapped: 0,
                refused: false,
            }
        }

        /// Bytes arrive; the socket was not empty before.
        fn feed(&mut self, mut bytes: &[u8]) {
            while !bytes.is_empty() && !self.refused {
                let mut n = 0;
                for part in &mut self.input.ring.free(bytes.len()) {
                    let room = part.len();
                    part.copy_from_slice(&bytes[n..n + room]);
                    n += room;
                }
                assert!(n > 0, "a ring that is dry has room");
                self.input.ring.commit(n);
                bytes = &bytes[n..];
                self.run();
            }
        }

        /// Bytes arrive at an empty socket.
        fn feed_fresh(&mut self, bytes: &[u8]) {
            self.framer.fresh_read(bytes[0]);
            self.feed(bytes);
        }

        fn run(&mut self) {
            let mut scratch = Vec::new();
            while !self.refused {
                match self.framer.next(&mut self.input, &self.limits) {
                    Step::Dry => break,
                    Step::Text(length) => {
                        self.wrapped += usize::from(self.input.ring.run(0).len() < length);
                        let text = self.input.ring.front(length, &mut scratch).to_vec();
                        self.input.ring.consume(length);
                        if !text.starts_with(b"{\"n\"") {
                            self.answer('A');
                        }
                        self.steps.push(Seen::Text(text));
                    }
                    Step::Lf => {
                        self.sent.push('\n');
                        self.late_lfs += 1;
                    }
                    Step::Broken(fault) => {
                        self.answer('E');
                        self.steps.push(Seen::Broken(fault));
                    }
                    Step::Refused(fault, _) => {
                        self.answer('E');
                        self.steps.push(Seen::Refused(fault));
                        self.refused = true;
                    }
                }
            }
        }

        fn answer(&mut self, what: char) {
            self.sent.push(what);
            if self.framer.framing() == Framing::Lines {
                self.sent.push('\n');
            }
            self.framer.answered();
        }

        fn texts(&self) -> Vec<&str> {
            let texts = self.steps.iter().filter_map(|step| match step {
                Seen::Text(text) => Some(std::str::from_utf8(text).unwrap()),
                _ => None,
            });
            texts.collect()
        }
    }

    /// Runs a stream that arrives in these pieces.
    fn in_pieces<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Bench {
        let mut bench = Bench::new();
        for piece in pieces {
            bench.feed(piece);
        }
        bench
    }

    /// However a stream was cut, the same was dispatched, and in the end the client was sent the same bytes: an
    /// LF that came late is in them as a step of its own.
    fn assert_same(cut: &Bench, whole: &Bench, how: impl std::fmt::Debug) {
        assert_eq!(cut.steps, whole.steps, "{how:?}");
        assert_eq!(cut.sent, whole.sent, "{how:?}");
        assert_eq!(cut.framer.framing(), whole.framer.framing(), "{how:?}");
        assert_eq!(whole.late_lfs, 0, "in one piece no LF is late: {how:?}");
    }

    /// Streams are made of these. What is broken ends in LF.
    const PIECES: [&[u8]; 24] = [
        b"{}",
        b"{}\n",
        b"[1,{\"a\":\"]}\\\"\"}]",
        b" \t{\"a\":[true,null,-1.5e+3]} \r\n",
        b"{\"n\":0}",
        b"{\"n\":0}\n",
        b"\n",
        b" \r ",
        "{\"é\":\"日😀\\u00e9\\ud83d\\ude00\"}".as_bytes(),
        "[\"é\"]\t\n".as_bytes(),
        b"[[[[]]]]",
        b"x\n",
        b"]}{}[]\r\n",
        b"\"text\" {}\n",
        b"{\"a\":tru}{}\n",
        b"{\"a\" 1} [\n",
        b"[01]\n",
        b"{} x\n",
        b"[\"\xff\"]\n",
        b"[\"\xe2\x82\"]{}\n",
        b"[\"\\ud800\"]\n",
        b"[\"a\nb\"]\n",
        // Refused: what comes behind is not looked at.
        b"[[[[[1]]]]]",
        b"[\"0123456789012345678901234567890123456789012345678901234567890123456789\"]",
    ];

    #[test]
    fn all_cuts_in_two_and_all_single_bytes_dispatch_the_same() {
        for first in PIECES {
            for second in PIECES {
                let stream = [first, second, b"{\"z\":1}"].concat();
                let whole = in_pieces([&stream[..]]);
                for cut in 1..stream.len() {
                    let (a, b) = stream.split_at(cut);
                    assert_same(&in_pieces([a, b]), &whole, (stream.escape_ascii().to_string(), cut));
                }
                assert_same(&in_pieces(stream.chunks(1)), &whole, stream.escape_ascii().to_string());
            }
        }
    }

    proptest! {
        #[test]
        fn any_cuts_of_any_stream_dispatch_the_same(
            pieces in vec(select(&PIECES[..]), 1..9),
            cuts in vec(any::<Index>(), 0..12),
        ) {
            let stream = pieces.concat();
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
            cuts.extend([0, stream.len()]);
            cuts.sort_unstable();
            let cut = in_pieces(cuts.windows(2).map(|pair| &stream[pair[0]..pair[1]]));
            assert_same(&cut, &in_pieces([&stream[..]]), (stream.escape_ascii().to_string(), cuts));
        }
    }

    #[test]
    fn the_client_shows_its_framing_by_lf() {
        for (pieces, sent, late_lfs) in [
            (&["{}{}"][..], "AA", 0),
            (&["{}\n{}"], "A\nA\n", 0),
            (&["{} \t\r\n"], "A\n", 0),
            (&["\n\n{}"], "A", 0),     // an LF that ends nothing shows nothing
            (&["{}", "\n"], "A\n", 1), // late: owed, and sent at once
            (&["{}", " ", "\n"], "A\n", 1),
            (&["{}", "\n", "\n\n"], "A\n", 1),      // only once
            (&["{}", "{}", "\n"], "AA\n", 1),       // to the latest answer
            (&["{\"n\":0}", "\n", "{}"], "A\n", 0), // a notification has no answer to end
            (&["{}\n", "{}"], "A\nA\n", 0),
            (&["x\n"], "E\n", 0),
            (&["x", "y", "z\n"], "E\n", 1),
            (&["x", "y\n", "{}"], "E\nA\n", 1),
        ] {
            let bench = in_pieces(pieces.iter().map(|piece| piece.as_bytes()));
            assert_eq!((&*bench.sent, bench.late_lfs), (sent, late_lfs), "{pieces:?}");
        }
    }

    #[test]
    fn a_broken_text_is_one_error_until_its_line_ends() {
        let mut bench = Bench::new();
        bench.feed(b"{\"jsonrpc\": \"2.0\", \"method\": \"foobar, \"params\": \"bar\", \"baz]");
        let fault = Fault::parse_error("expected ',' or '}' after a member at byte 39".into());
        assert_eq!(bench.steps, [Seen::Broken(fault)]);
        bench.feed(b"{}[]{\"a\":1}");
        bench.feed(b"]]]] ] more of it");
        assert_eq!(bench.steps.len(), 1, "nothing is answered until LF");
        bench.feed(b"{}\n{\"b\":2}");
        assert_eq!(bench.texts(), ["{\"b\":2}"]);
        assert_eq!(bench.sent, "E\nA\n");
    }

    #[test]
    fn a_broken_text_also_ends_where_a_fresh_read_begins_with_a_bracket() {
        for first in ["{}", "[]"] {
            let mut bench = Bench::new();
            bench.feed_fresh(b"nonsense");
            bench.feed_fresh(b"more");
            bench.feed_fresh(b" {}");
            assert_eq!(bench.steps, [Seen::Broken(Fault::not_json_rpc())], "a space is no bracket");
            bench.feed_fresh(first.as_bytes());
            assert_eq!((bench.texts(), &*bench.sent), (vec![first], "EA"), "and the client stays bare");
        }
    }

    #[test]
    fn a_fresh_read_changes_nothing_in_a_text_or_between_two() {
        let mut bench = Bench::new();
        bench.feed_fresh(b"{\"a\":");
        assert!(bench.framer.is_inside());
        bench.feed_fresh(b"{}");
        bench.feed_fresh(b"}");
        bench.feed_fresh(b"[");
        bench.feed_fresh(b"[]");
        bench.feed_fresh(b"]");
        assert_eq!(bench.texts(), ["{\"a\":{}}", "[[]]"]);
        assert!(!bench.framer.is_inside());
    }

    #[test]
    fn max_message_bytes_is_exact() {
        let text = |length: usize| format!("[\"{}\"]", "x".repeat(length - 4));
        for chunk in [1, 7, 64, 1000] {
            let exact = format!("  \n {}{}", text(64), text(64));
            assert_eq!(in_pieces(exact.as_bytes().chunks(chunk)).texts(), [text(64), text(64)]);
            let one_more = format!("{} {}{{}}\n{{}}", text(64), text(65));
            let bench = in_pieces(one_more.as_bytes().chunks(chunk));
            let refused = Fault::invalid_request("longer than max_message_bytes (64)".into());
            assert_eq!(bench.steps, [Seen::Text(text(64).into()), Seen::Refused(refused)], "{chunk}");
            assert!(bench.input.ring.is_empty(), "the rest is dropped");
        }
    }

    #[test]
    fn max_depth_is_exact() {
        assert_eq!(in_pieces([&b"[[[[]]]][{\"a\":[{}]}]"[..]]).texts().len(), 2);
        let refused = Fault::parse_error("nested deeper than max_depth (4)".into());
        assert_eq!(in_pieces([&b"{\"a\":[[[["[..]]).steps, [Seen::Refused(refused)]);
    }

    #[test]
    fn texts_that_wrap_in_their_ring_come_out_whole() {
        let texts: Vec<String> =
            (0..60).map(|n| format!("{{\"é{n}\":\"{}\"}}", "x]\\\\é".repeat(n * 25 % 977))).collect();
        for space in ["", "\n", "  "] {
            let stream = texts.join(space);
            let whole = Limits::default().read_chunk;
            for chunk in [whole, whole - 1, 5_000, 1_999] {
                // Each chunk leaves the beginning of a text in the ring, so the next one goes around its end.
                let mut bench = Bench::with(Limits::default());
                for piece in stream.as_bytes().chunks(chunk) {
                    bench.feed(piece);
                }
                assert_eq!(bench.input.ring.capacity(), whole);
                assert_eq!(bench.texts(), texts, "{chunk}");
                assert!(bench.wrapped > 0, "{chunk}: none of them wrapped");
            }
        }
    }
}
