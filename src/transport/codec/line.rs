//! The line chat's bytes: lines in, lines out.
//!
//! Owns the few bits of state that survive between reads ([`LineFramer`]). On the way in it joins the pieces of a
//! line, swallows telnet's negotiation (RFC 854: IAC and what belongs to it) and drops lines that are too long;
//! on the way out it keeps control characters away from terminals. Never knows a command or a user.

use memchr::memchr2;

use super::jsonrpc::framer::Input;

/// Telnet's "interpret as command"; no UTF-8 text holds this byte.
const IAC: u8 = 255;
const SUBNEGOTIATION: u8 = 250;
const SUBNEGOTIATION_END: u8 = 240;
const WILL: u8 = 251;
const DONT: u8 = 254;

/// Where a connection is within its line; the line's bytes so far are in its [`Input`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LineFramer {
    telnet: Telnet,
    /// The line is too long: what is left of it is dropped.
    dropping: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Telnet {
    /// Text.
    #[default]
    Text,
    /// Behind IAC.
    Command,
    /// Behind IAC WILL, WONT, DO or DONT: the option's number follows.
    Option,
    /// Within IAC SB ... IAC SE.
    Sub,
    /// Behind IAC within those.
    SubCommand,
}

/// What comes next in a connection's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineStep {
    /// Nothing until more bytes arrive.
    Dry,
    /// The input's `line` is complete, without its end. The caller clears it.
    Line,
    /// A line longer than the limit has ended; it was dropped.
    TooLong,
}

impl LineFramer {
    /// Moves bytes from the ring into the line, up to its end.
    pub fn next(&mut self, input: &mut Input, max_line_bytes: usize) -> LineStep {
        loop {
            let run = input.ring.run(0);
            let Some(&first) = run.first() else { return LineStep::Dry };
            match self.telnet {
                Telnet::Text => {
                    let stop = memchr2(b'\n', IAC, run);
                    let text = &run[..stop.unwrap_or(run.len())];
                    if input.line.len() + text.len() > max_line_bytes {
                        self.dropping = true;
                        input.line.clear();
                    }
                    if !self.dropping {
                        input.line.extend_from_slice(text);
                    }
                    let ended = stop.is_some_and(|at| run[at] == b'\n');
                    if stop.is_some() && !ended {
                        self.telnet = Telnet::Command;
                    }
                    let used = text.len() + usize::from(stop.is_some());
                    input.ring.consume(used);
                    if ended {
                        return self.ended(input);
                    }
                    continue;
                }
                Telnet::Command => {
                    self.telnet = match first {
                        SUBNEGOTIATION => Telnet::Sub,
                        WILL..=DONT => Telnet::Option,
                        _ => Telnet::Text,
                    };
                    if first == IAC && !self.dropping {
                        // IAC IAC is the byte itself.
                        input.line.push(IAC);
                    }
                }
                Telnet::Option => self.telnet = Telnet::Text,
                Telnet::Sub if first == IAC => self.telnet = Telnet::SubCommand,
                Telnet::Sub => {}
                Telnet::SubCommand if first == SUBNEGOTIATION_END => self.telnet = Telnet::Text,
                Telnet::SubCommand => self.telnet = Telnet::Sub,
            }
            input.ring.consume(1);
        }
    }

    /// The peer's FIN: a last line without LF counts.
    pub fn finish(&mut self, input: &mut Input) -> LineStep {
        if self.dropping || !input.line.is_empty() { self.ended(input) } else { LineStep::Dry }
    }

    fn ended(&mut self, input: &mut Input) -> LineStep {
        if std::mem::take(&mut self.dropping) {
            return LineStep::TooLong;
        }
        input.line.pop_if(|last| *last == b'\r');
        LineStep::Line
    }
}

/// Appends text for a terminal: LF becomes a space, other control characters but TAB are removed, so nobody
/// moves another's cursor. `ends` puts LF behind it.
pub fn render(out: &mut Vec<u8>, text: &str, ends: bool) {
    if text.bytes().any(|byte| !(b' '..0x7F).contains(&byte)) {
        for character in text.chars() {
            match character {
                '\n' => out.push(b' '),
                '\t' => out.push(b'\t'),
                character if character.is_control() => {}
                character => out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
    } else {
        out.extend_from_slice(text.as_bytes());
    }
    if ends {
        out.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Feeds the pieces, then FIN; what came out.
    fn lines(pieces: &[&[u8]], max: usize) -> Vec<Result<Vec<u8>, ()>> {
        let (mut framer, mut input, mut out) = (LineFramer::default(), Input::new(16 * 1024), Vec::new());
        let mut take = |step, input: &mut Input| match step {
            LineStep::Dry => false,
            LineStep::Line => {
                out.push(Ok(std::mem::take(&mut input.line)));
                true
            }
            LineStep::TooLong => {
                assert!(input.line.is_empty());
                out.push(Err(()));
                true
            }
        };
        for piece in pieces {
            input.ring.free(usize::MAX)[0][..piece.len()].copy_from_slice(piece);
            input.ring.commit(piece.len());
            while take(framer.next(&mut input, max), &mut input) {}
        }
        take(framer.finish(&mut input), &mut input);
        out
    }

    fn texts(pieces: &[&[u8]]) -> Vec<String> {
        lines(pieces, 100).into_iter().map(|line| String::from_utf8(line.unwrap()).unwrap()).collect()
    }

    #[test]
    fn lf_and_crlf_end_lines_and_so_does_fin() {
        assert_eq!(texts(&[b"a\r\nb\n\nc\rd"]), ["a", "b", "", "c\rd"]);
        assert_eq!(texts(&[b"a\n"]), ["a"]);
        assert_eq!(texts(&[b""]), [""; 0]);
    }

    #[test]
    fn negotiation_is_swallowed_even_with_a_line_feed_in_it() {
        let stream = b"\xff\xfb\x1f\xff\xfd\x01h\xff\xfa\x1f\x00\x50\x00\x0a\xff\xf0\xff\xf1ello\r\n";
        assert_eq!(texts(&[stream]), ["hello"]);
        assert_eq!(lines(&[b"a\xff\xffb\n"], 100), [Ok(b"a\xffb".to_vec())]);
    }

    #[test]
    fn a_long_line_is_dropped_up_to_its_end_and_said_once() {
        assert_eq!(
            lines(&[b"12345\n123456\n12345\n"], 5),
            [Ok(b"12345".to_vec()), Err(()), Ok(b"12345".to_vec())]
        );
        assert_eq!(lines(&[b"123", b"456", b"789", b"\nok"], 5), [Err(()), Ok(b"ok".to_vec())]);
        assert_eq!(lines(&[b"1234567"], 5), [Err(())]);
    }

    #[test]
    fn terminals_get_no_control_characters() {
        for (text, expected) in [
            ("plain", "plain\n"),
            ("two\nlines\r\n", "two lines \n"),
            ("a\tb\u{1b}[31mred\u{7f}\u{9b}2J\0", "a\tb[31mred2J\n"),
            ("ünï 😀\u{200d}", "ünï 😀\u{200d}\n"),
        ] {
            let mut out = Vec::new();
            render(&mut out, text, true);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }

    proptest! {
        /// However a stream is cut, the same lines come out.
        #[test]
        fn cuts_make_no_difference(
            stream in prop::collection::vec(prop_oneof![Just(b'\n'), Just(b'\r'), Just(IAC), 240u8..=255, any::<u8>()], 0..200),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        ) {
            let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
            at.extend([0, stream.len()]);
            at.sort_unstable();
            let pieces: Vec<&[u8]> = at.windows(2).map(|pair| &stream[pair[0]..pair[1]]).collect();
            let bytes: Vec<&[u8]> = stream.chunks(1).collect();
            let whole = lines(&[&stream], 20);
            prop_assert_eq!(&lines(&pieces, 20), &whole);
            prop_assert_eq!(&lines(&bytes, 20), &whole);
        }
    }
}
