//! The scanner and the walkers against other readers of JSON: serde_json, and a naive recursive twin.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use rawline::transport::codec::jsonrpc::scanner::{Scan, Scanner};
use rawline::transport::codec::jsonrpc::walk::{Elements, elements, members};
use serde_json::Value;

const DEPTH: usize = 12;

// --- The twin: recursive descent over the whole text, written from RFC 8259. ---

/// Why the twin stopped before the end of the value.
#[derive(Debug, PartialEq)]
enum Stop {
    /// The text is over.
    Eof,
    Bad(usize),
    TooDeep(usize),
}

struct Twin<'a> {
    text: &'a [u8],
    at: usize,
}

type Twined<T = ()> = Result<T, Stop>;

/// What the twin thinks of `text`, in the scanner's words but for the reason.
fn twin(text: &[u8]) -> Result<usize, Stop> {
    let mut twin = Twin { text, at: 0 };
    if !matches!(twin.peek()?, b'{' | b'[') {
        return Err(Stop::Bad(0));
    }
    twin.value(1)?;
    Ok(twin.at)
}

impl Twin<'_> {
    fn peek(&self) -> Twined<u8> {
        self.text.get(self.at).copied().ok_or(Stop::Eof)
    }

    fn one_of(&mut self, set: impl Fn(u8) -> bool) -> Twined<u8> {
        let byte = self.peek()?;
        if !set(byte) {
            return Err(Stop::Bad(self.at));
        }
        self.at += 1;
        Ok(byte)
    }

    fn exactly(&mut self, expected: &str) -> Twined {
        expected.bytes().try_for_each(|byte| self.one_of(|b| b == byte).map(drop))
    }

    fn space(&mut self) {
        while self.one_of(|byte| b" \t\r\n".contains(&byte)).is_ok() {}
    }

    fn value(&mut self, depth: usize) -> Twined {
        match self.peek()? {
            b'{' | b'[' if depth > DEPTH => Err(Stop::TooDeep(self.at)),
            b'{' => self.list(b'}', |twin| {
                twin.string()?;
                twin.space();
                twin.exactly(":")?;
                twin.space();
                twin.value(depth + 1)
            }),
            b'[' => self.list(b']', |twin| twin.value(depth + 1)),
            b'"' => self.string(),
            b't' => self.exactly("true"),
            b'f' => self.exactly("false"),
            b'n' => self.exactly("null"),
            b'-' | b'0'..=b'9' => self.number(),
            _ => Err(Stop::Bad(self.at)),
        }
    }

    fn list(&mut self, close: u8, mut entry: impl FnMut(&mut Self) -> Twined) -> Twined {
        self.at += 1;
        self.space();
        if self.peek()? == close {
            self.at += 1;
            return Ok(());
        }
        loop {
            entry(self)?;
            self.space();
            if self.one_of(|byte| byte == close || byte == b',')? == close {
                return Ok(());
            }
            self.space();
        }
    }

    fn number(&mut self) -> Twined {
        let digits = |twin: &mut Self| -> Twined {
            twin.one_of(|byte| byte.is_ascii_digit())?;
            while twin.peek()?.is_ascii_digit() {
                twin.at += 1;
            }
            Ok(())
        };
        if self.peek()? == b'-' {
            self.at += 1;
        }
        if self.peek()? == b'0' {
            self.at += 1;
        } else {
            digits(self)?;
        }
        if self.peek()? == b'.' {
            self.at += 1;
            digits(self)?;
        }
        if matches!(self.peek()?, b'e' | b'E') {
            self.at += 1;
            if matches!(self.peek()?, b'+' | b'-') {
                self.at += 1;
            }
            digits(self)?;
        }
        Ok(())
    }

    fn string(&mut self) -> Twined {
        self.exactly("\"")?;
        loop {
            match self.peek()? {
                b'"' => {
                    self.at += 1;
                    return Ok(());
                }
                b'\\' => self.escape()?,
                0..0x20 => return Err(Stop::Bad(self.at)),
                _ => self.character()?,
            }
        }
    }

    fn escape(&mut self) -> Twined {
        self.exactly("\\")?;
        if self.one_of(|byte| b"\"\\/bfnrtu".contains(&byte))? != b'u' {
            return Ok(());
        }
        if !self.unit(|unit| !(0xdc00..0xe000).contains(&unit))? {
            return Ok(());
        }
        self.exactly("\\u")?;
        self.unit(|unit| (0xdc00..0xe000).contains(&unit)).map(drop)
    }

    /// Four digits of a code unit that `legal` allows; says whether it is a high surrogate. A digit is bad
    /// when no legal unit begins with the digits so far.
    fn unit(&mut self, legal: impl Fn(u32) -> bool) -> Twined<bool> {
        let mut unit = 0;
        for left in (0..4).rev() {
            let digit = char::from(self.peek()?).to_digit(16).ok_or(Stop::Bad(self.at))?;
            unit = unit * 16 + digit;
            let (from, count) = (unit << (4 * left), 1 << (4 * left));
            if !(from..from + count).any(&legal) {
                return Err(Stop::Bad(self.at));
            }
            self.at += 1;
        }
        Ok((0xd800..0xdc00).contains(&unit))
    }

    /// One character: the standard library says for each of its bytes whether it can still become one.
    fn character(&mut self) -> Twined {
        for length in 1..=4 {
            let Some(bytes) = self.text.get(self.at..self.at + length) else { return Err(Stop::Eof) };
            match std::str::from_utf8(bytes) {
                Ok(_) => {
                    self.at += length;
                    return Ok(());
                }
                Err(error) if error.error_len().is_some() => return Err(Stop::Bad(self.at + length - 1)),
                Err(_) => {}
            }
        }
        unreachable!("no character has five bytes")
    }
}

// --- The scanner, in one piece and in many. ---

fn whole(text: &[u8]) -> Scan {
    Scanner::new(DEPTH).scan(text)
}

/// Scans `text` cut at `cuts`; what it finds is said in offsets from the beginning of the text.
fn in_pieces(text: &[u8], cuts: impl IntoIterator<Item = usize>) -> Scan {
    let mut scanner = Scanner::new(DEPTH);
    let mut from = 0;
    for cut in cuts.into_iter().chain([text.len()]) {
        match scanner.scan(&text[from..cut]) {
            Scan::More => from = cut,
            Scan::Done { used } => return Scan::Done { used: from + used },
            Scan::Bad { at, why } => return Scan::Bad { at: from + at, why },
            Scan::TooDeep { at } => return Scan::TooDeep { at: from + at },
        }
    }
    Scan::More
}

/// All that must hold of any bytes whatever.
fn check(text: &[u8]) {
    let shown = text.escape_ascii();
    let found = whole(text);
    assert_eq!(in_pieces(text, 1..text.len()), found, "byte by byte: {shown}");

    let twin = twin(text);
    match found {
        Scan::More => assert_eq!(twin, Err(Stop::Eof), "{shown}"),
        Scan::Done { used } => assert_eq!(twin, Ok(used), "{shown}"),
        Scan::TooDeep { at } => assert_eq!(twin, Err(Stop::TooDeep(at)), "{shown}"),
        Scan::Bad { at, .. } => {
            assert_eq!(twin, Err(Stop::Bad(at)), "{shown}");
            assert_eq!(whole(&text[..at]), Scan::More, "the byte, not what is before it: {shown}");
            assert!(!matches!(whole(&text[..=at]), Scan::More), "not what is behind it: {shown}");
        }
    }

    // serde_json takes texts that are no containers, and refuses numbers that fit no f64.
    if text.first().is_some_and(|byte| b"{[".contains(byte)) && !matches!(found, Scan::TooDeep { .. }) {
        let mut values = serde_json::Deserializer::from_slice(text).into_iter::<Value>();
        match values.next().expect("no white space before a bracket") {
            Ok(_) => assert_eq!(found, Scan::Done { used: values.byte_offset() }, "{shown}"),
            Err(error) if error.to_string().contains("number out of range") => {}
            Err(_) => assert!(!matches!(found, Scan::Done { .. }), "{shown}"),
        }
    }
}

/// Some bytes behind `prefix` that make it a whole text: whatever ends the token, then the brackets.
fn completion(prefix: &[u8]) -> Option<Vec<u8>> {
    let tokens: &[&[u8]] = &[
        b"",
        b"true",
        b"rue",
        b"ue",
        b"e",
        b"alse",
        b"lse",
        b"se",
        b"ull",
        b"ll",
        b"l",
        b"0",
        b"00",
        b"000",
        b"0000",
        b"n",
        b"\\udc00",
        b"udc00",
        b"dc00",
        b"c00",
        b"8",
        b"0\\udc00",
        b"00\\udc00",
        b"\x80",
        b"\x80\x80",
        b"\x80\x80\x80",
        b"\xa0\x80",
        b"\x90\x80\x80",
    ];
    let ends: &[&str] = &["", "\"", ":0", "\":0", "0", "\"\":0"];
    let mut open = Vec::new();
    let mut quoted = false;
    let mut bytes = prefix.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => _ = bytes.next(),
            b'"' => quoted = !quoted,
            b'[' if !quoted => open.push(b']'),
            b'{' if !quoted => open.push(b'}'),
            b']' | b'}' if !quoted => _ = open.pop(),
            _ => {}
        }
    }
    open.reverse();
    let mut tails =
        tokens.iter().flat_map(|token| ends.iter().map(|end| [token, end.as_bytes(), &open].concat()));
    tails.find(|tail| {
        let text = [prefix, tail].concat();
        twin(&text) == Ok(text.len())
    })
}

// --- What is tried. ---

const CORPUS: &[&[u8]] = &[
    br#"{"jsonrpc": "2.0", "method": "subtract", "params": {"minuend": 42, "subtrahend": 23}, "id": 3}"#,
    br#"{"jsonrpc": "2.0", "method": "foobar, "params": "bar", "baz]"#,
    br#"[{"jsonrpc": "2.0", "method": "sum", "params": [1,2,4], "id": "1"},{"jsonrpc": "2.0", "method"]"#,
    br#"{"method": "join_chat", "params": {"username": "Alice"}}{"method":"ping"}"#,
    "{\"method\":\"send_message\",\"params\":{\"message\":\"Grüße, мир, 世界, 😀\u{10ffff}\u{7f}\"}}"
        .as_bytes(),
    br#"["\"\\\/\b\f\n\r\t\u0000\ud7FF\uE000\ud83d\ude00\uDBFF\uDFFF"]"#,
    b"[0,-0,1.5,-10.25e+10,1E-9,0e0,1e999,123456789012345678901234567890, true,false,null ]",
    b"[\r\n\t {\t\"a\"\n:\r[ ] , \"\" : { } }\n] ",
    b"[[[[[[[[[[[[]]]]]]]]]]]]",
    b"[[[[[[[[[[[[[",
    b"{\"\":{\"\":[[[[[[[[[[{",
    b"[01]",
    b"[-]",
    b"[1.]",
    b"[.1]",
    b"[1e]",
    b"[1e+]",
    b"[+1]",
    b"[0x1]",
    b"[NaN]",
    b"[1,]",
    b"[,]",
    b"[1 2]",
    b"{\"a\":1,}",
    b"{\"a\"}",
    b"{\"a\" 1}",
    b"{a:1}",
    b"{1:1}",
    b"[}",
    b"{]",
    b"[tru]",
    b"[nulll]",
    b"[falze]",
    b"[\"\x01\"]",
    b"[\"\n\"]",
    b"[\"\\x\"]",
    b"[\"\\u12G4\"]",
    b"[\"\\udc00\"]",
    b"[\"\\ud800\"]",
    b"[\"\\ud800\\n\"]",
    b"[\"\\ud800\\u0041\"]",
    b"[\"\\ud800\\ud800\"]",
    b"[\"\xff\"]",
    b"[\"\xc0\x80\"]",
    b"[\"\xed\xa0\x80\"]",
    b"[\"\xf4\x90\x80\x80\"]",
    b"[\"\xe2\x82\"]",
    b"[\"\xf0\x9f\x98\"]",
    b"\xef\xbb\xbf[]",
    b"",
    b" []",
    b"\"\"",
    b"0",
    b"null",
    b"]",
    b"//",
    b"[1]//",
    b"[\xa0]",
    b"[\0]",
    b"{\"a\":\"b",
    b"[1",
    b"[-",
];

/// Pieces of texts, right and wrong, of which random sequences come near to JSON.
fn tokens() -> impl Strategy<Value = Vec<u8>> {
    let token = select(vec![
        &b"{"[..],
        b"}",
        b"[",
        b"]",
        b"[]",
        b"{}",
        b":",
        b",",
        b" ",
        b"\n",
        b"\t",
        b"\r",
        b"\"",
        b"\"a\"",
        b"\"a\":",
        b"\"\\\"\"",
        b"0",
        b"1",
        b"-",
        b"+",
        b".",
        b"e",
        b"E",
        b"-0.5e-3",
        b"true",
        b"false",
        b"null",
        b"tr",
        b"n",
        b"\\",
        b"\\n",
        b"\\u",
        b"\\ud83d",
        b"\\ude00",
        b"\\uD8",
        b"00",
        b"dc",
        b"\xc3",
        b"\xa9",
        b"\xf0\x9f",
        b"\x98\x80",
        b"\xed",
        b"\xa0\x80",
        b"\xe2\x82\xac",
        b"\xff",
        b"\0",
        b"plain text",
        b"\x1f",
        b"\x7f",
        b"/",
    ]);
    let first = select(vec![&b"["[..], b"{", b"[\"", b"{\"", b"[{\"a\":", b"{\"a\":[", b"[\"\\u", b"[-"]);
    (first, vec(token, 0..16)).prop_map(|(first, rest)| [first, &rest.concat()].concat())
}

fn value() -> impl Strategy<Value = Value> {
    let text = || prop_oneof![".{0,12}", "[\\[\\]{},:\"\\\\é😀\u{0}]{0,6}"];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text().prop_map(Value::from),
    ];
    leaf.prop_recursive(DEPTH as u32 - 2, 48, 6, move |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Value::from),
            vec((text(), inner), 0..6).prop_map(|all| Value::Object(all.into_iter().collect())),
        ]
    })
}

fn written(value: &Value, pretty: bool) -> String {
    if pretty { serde_json::to_string_pretty(value) } else { serde_json::to_string(value) }.expect("a value")
}

fn container() -> impl Strategy<Value = String> {
    (vec(value(), 0..5), any::<bool>(), any::<bool>()).prop_map(|(all, object, pretty)| {
        let value = match object {
            true => all.into_iter().enumerate().map(|(n, value)| (n.to_string(), value)).collect(),
            false => Value::from(all),
        };
        written(&value, pretty)
    })
}

/// A valid text in which a byte or two were changed, put in or taken out.
fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let interesting = prop_oneof![any::<u8>(), select(b"{}[],:\"\\0-+.eEtfnu \n\xc2\xed\xf0\x80".to_vec())];
    (container(), vec((any::<Index>(), interesting, 0..3), 1..3)).prop_map(|(text, changes)| {
        let mut text = text.into_bytes();
        for (place, byte, how) in changes {
            let at = place.index(text.len());
            match how {
                0 => text[at] = byte,
                1 => text.insert(at, byte),
                _ if text.len() > 1 => _ = text.remove(at),
                _ => {}
            }
        }
        text
    })
}

#[test]
fn corpus_agrees() {
    CORPUS.iter().for_each(|text| check(text));
}

#[test]
fn every_cut_of_the_corpus_changes_nothing() {
    for text in CORPUS {
        for cut in 0..=text.len() {
            assert_eq!(in_pieces(text, [cut]), whole(text), "{} at {cut}", text.escape_ascii());
            check(&text[..cut]);
        }
    }
}

/// The second byte decides most about a character, the second digit about a surrogate.
#[test]
fn every_second_byte_and_surrogate_agrees() {
    for lead in 0x7f..=0xff {
        for second in 0..=0xff {
            for rest in [&b""[..], b"\x80\"]", b"\xbf\x80\"]", b"\"]"] {
                check(&[b"[\"", &[lead, second], rest].concat());
            }
        }
    }
    for high in 0xd7f..=0xe00 {
        for low in ["\"]", "\\udbff\"]", "\\udc00\"]", "\\uDfFf\"]", "\\ue000\"]"] {
            check(format!("[\"\\u{high:x}0{low}").as_bytes());
            check(format!("[\"\\u{high:X}F{low}").as_bytes());
        }
    }
}

/// What the scanner calls `More` can be finished; the twin alone might share a mistake about that.
#[test]
fn more_can_always_become_a_text() {
    for text in CORPUS {
        for cut in 1..=text.len() {
            if whole(&text[..cut]) == Scan::More {
                assert!(completion(&text[..cut]).is_some(), "{}", text[..cut].escape_ascii());
            }
        }
    }
}

#[test]
fn deep_texts_need_no_stack() {
    for open in ["[", "{\"a\":", "[{\"a\":[1,"] {
        let text = open.repeat(100_000);
        assert!(matches!(Scanner::new(127).scan(text.as_bytes()), Scan::TooDeep { .. }));
        let quoted = format!("[{}]", serde_json::to_string(&text).expect("a string"));
        assert_eq!(whole(quoted.as_bytes()), Scan::Done { used: quoted.len() });
    }
}

/// Whoever looked at all of a text again with each byte that comes would not end.
#[test]
fn a_number_of_a_million_digits_is_looked_at_once_however_it_comes() {
    let text = format!("[{}]", "7".repeat(1_000_000));
    let done = Scan::Done { used: text.len() };
    assert_eq!(in_pieces(text.as_bytes(), 1..text.len()), done);
    assert_eq!(whole(text.as_bytes()), done);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn token_soup_agrees(text in tokens()) {
        check(&text);
        if whole(&text) == Scan::More {
            prop_assert!(completion(&text).is_some(), "{}", text.escape_ascii());
        }
    }

    #[test]
    fn random_bytes_agree(bytes in vec(any::<u8>(), 0..32)) {
        check(&[b"[\"", &bytes[..]].concat());
    }

    #[test]
    fn mutated_texts_agree(text in mutated()) {
        check(&text);
    }

    #[test]
    fn any_cuts_change_nothing(text in prop_oneof![tokens(), mutated(), container().prop_map(String::into_bytes)], cuts in vec(any::<Index>(), 0..6)) {
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
        cuts.sort_unstable();
        prop_assert_eq!(in_pieces(&text, cuts), whole(&text));
    }

    #[test]
    fn valid_texts_are_done(text in container(), behind in "[ -~]{0,3}") {
        let all = text.clone() + &behind;
        check(all.as_bytes());
        prop_assert_eq!(whole(all.as_bytes()), Scan::Done { used: text.len() });
    }

    #[test]
    fn elements_are_what_serde_reads(all in vec(value(), 0..6), pretty: bool, stop in 0..6_usize) {
        let text = written(&Value::from(all.clone()), pretty);
        let read = |raw: &str| serde_json::from_str::<Value>(raw).expect("an element is a text");
        let parsed: Vec<Value> = serde_json::from_str(&text).expect("an array");
        prop_assert_eq!(&elements(&text).map(read).collect::<Vec<_>>(), &parsed);
        prop_assert!(elements(&text).all(|raw| raw.trim() == raw));

        let mut walk = elements(&text);
        let mut resumed: Vec<_> = walk.by_ref().take(stop).map(read).collect();
        resumed.extend(Elements::resume(&text, walk.offset()).map(read));
        prop_assert_eq!(&resumed, &parsed);
        // Put together again, they are the same array.
        let again = format!("[{}]", elements(&text).collect::<Vec<_>>().join(","));
        prop_assert!(elements(&again).eq(elements(&text)));
    }

    #[test]
    fn members_are_what_serde_reads(all in vec((".{0,6}", value()), 0..6), pretty: bool) {
        let text = written(&Value::Object(all.into_iter().collect()), pretty);
        let parsed: Value = serde_json::from_str(&text).expect("an object");
        let read: serde_json::Map<_, _> = members(&text)
            .map(|(key, value)| (serde_json::from_str(key).expect("a key"), serde_json::from_str(value).expect("a value")))
            .collect();
        prop_assert_eq!(Value::Object(read), parsed);
        let again: Vec<_> = members(&text).map(|(key, value)| format!("{key} : {value}")).collect();
        let again = format!("{{ {} }}", again.join(" , "));
        prop_assert!(members(&again).eq(members(&text)));
    }
}
