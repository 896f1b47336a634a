//! Steps over the members of an object and the elements of an array, without looking inside them.
//!
//! Everything in here reads text that the [`scanner`](super::scanner) has accepted, or a part of it that came
//! out of here. That is the invariant that makes these walkers short: they never validate and never fail.
//! Other text gives nonsense or a panic. They never recurse, allocate or decode: what they give are slices.
//! Called by [`request`](super::request) for requests and parameters, and by the dispatcher for batches.

use memchr::memchr2;

use super::swar;

/// The members of an object, in order: raw key with its quotes, and raw value without space around it.
pub fn members(object: &str) -> Members<'_> {
    Members(Walk { text: object, at: 0 })
}

/// The elements of an array, in order, without space around them.
pub fn elements(array: &str) -> Elements<'_> {
    Elements::resume(array, 0)
}

/// See [`members`].
#[derive(Clone, Debug)]
pub struct Members<'a>(Walk<'a>);

/// See [`elements`].
#[derive(Clone, Debug)]
pub struct Elements<'a>(Walk<'a>);

impl<'a> Elements<'a> {
    /// Goes on where another walk over the same array stopped, by its [`Elements::offset`].
    pub fn resume(array: &'a str, offset: usize) -> Self {
        Self(Walk { text: array, at: offset })
    }

    /// How far the walk has come, in bytes from the beginning of the array.
    pub fn offset(&self) -> usize {
        self.0.at
    }
}

impl<'a> Iterator for Members<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        if !self.0.enter() {
            return None;
        }
        let from = self.0.at;
        self.0.at = self.0.string(from);
        let key = &self.0.text[from..self.0.at];
        self.0.space();
        self.0.at += 1; // the colon
        self.0.space();
        Some((key, self.0.take()))
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        self.0.enter().then(|| self.0.take())
    }
}

impl std::iter::FusedIterator for Members<'_> {}
impl std::iter::FusedIterator for Elements<'_> {}

/// A position in a container: at its opening bracket, or behind the last entry that was taken.
#[derive(Clone, Debug)]
struct Walk<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Walk<'a> {
    /// Goes to the next entry, over the opening bracket or comma before it; or to the closing bracket.
    fn enter(&mut self) -> bool {
        self.space();
        if matches!(self.here(), b',' | b'[' | b'{') {
            self.at += 1;
            self.space();
        }
        !matches!(self.here(), b']' | b'}')
    }

    /// Takes the value that begins here.
    fn take(&mut self) -> &'a str {
        let from = self.at;
        self.at = match self.here() {
            b'"' => self.string(from),
            b'[' | b'{' => self.container(from),
            _ => self.word(from),
        };
        &self.text[from..self.at]
    }

    fn space(&mut self) {
        while matches!(self.here(), b' ' | b'\t' | b'\n' | b'\r') {
            self.at += 1;
        }
    }

    fn here(&self) -> u8 {
        self.text.as_bytes()[self.at]
    }

    /// The end of the string that begins at `at`.
    fn string(&self, mut at: usize) -> usize {
        let bytes = self.text.as_bytes();
        at += 1;
        loop {
            // Most keys and names end before a call to memchr would pay.
            let eight = bytes[at..].first_chunk().map(|eight| u64::from_le_bytes(*eight));
            at += match eight.map(|word| swar::first(swar::quote_or_backslash(word))) {
                None => 0,
                Some(Some(n)) => n,
                Some(None) => 8 + memchr2(b'"', b'\\', &bytes[at + 8..]).expect("a string ends"),
            };
            match bytes[at] {
                b'"' => return at + 1,
                b'\\' => at += 2, // whatever is escaped is no end
                _ => at += 1,
            }
        }
    }

    /// The end of the array or object that begins at `at`. Only strings can hide a bracket.
    fn container(&self, mut at: usize) -> usize {
        let bytes = self.text.as_bytes();
        let mut depth = 0_usize;
        loop {
            match bytes[at] {
                b'"' => {
                    at = self.string(at);
                    continue;
                }
                b'[' | b'{' => depth += 1,
                b']' | b'}' if depth == 1 => return at + 1,
                b']' | b'}' => depth -= 1,
                _ => {}
            }
            at += 1;
        }
    }

    /// The end of the number, or `true`, `false`, `null`, that begins at `at`. At the end of the text there
    /// may be nothing behind it: elements of a batch are texts of their own.
    fn word(&self, at: usize) -> usize {
        let rest = &self.text.as_bytes()[at..];
        let length =
            rest.iter().position(|byte| matches!(byte, b',' | b']' | b'}' | b' ' | b'\t' | b'\n' | b'\r'));
        at + length.unwrap_or(rest.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_raw_and_trimmed() {
        let object =
            " { \"a\" : 1 ,\n\"\\u0062\":\t\"x\\\"}\" , \"c\":[ 1, {\"d\":\"]\"} ] ,\"\":{}, \"e\" : null\r}"
                .trim_start();
        let all: Vec<_> = members(object).collect();
        assert_eq!(
            all,
            [
                ("\"a\"", "1"),
                ("\"\\u0062\"", "\"x\\\"}\""),
                ("\"c\"", "[ 1, {\"d\":\"]\"} ]"),
                ("\"\"", "{}"),
                ("\"e\"", "null"),
            ]
        );
    }

    #[test]
    fn elements_are_raw_and_trimmed() {
        let all: Vec<_> = elements("[ 1,true , \"a,b\\\\\" ,[[],[]],{} ,\n-1.5e3]").collect();
        assert_eq!(all, ["1", "true", "\"a,b\\\\\"", "[[],[]]", "{}", "-1.5e3"]);
    }

    #[test]
    fn empty_containers_have_nothing() {
        for text in ["[]", "[ \n]"] {
            assert_eq!(elements(text).next(), None);
        }
        for text in ["{}", "{\t}"] {
            assert_eq!(members(text).next(), None);
        }
    }

    #[test]
    fn the_end_stays_the_end() {
        let mut walk = elements("[1 ]");
        assert_eq!((walk.next(), walk.next(), walk.next()), (Some("1"), None, None));
    }

    #[test]
    fn a_walk_resumes_where_it_stopped() {
        let array = "[ 1 , [2,3], \"4\" ]";
        let whole: Vec<_> = elements(array).collect();
        for taken in 0..=whole.len() {
            let mut first = elements(array);
            let mut all: Vec<_> = first.by_ref().take(taken).collect();
            all.extend(Elements::resume(array, first.offset()));
            assert_eq!(all, whole);
        }
    }

    #[test]
    fn escaped_quotes_and_backslashes_do_not_end_a_string() {
        for string in [r#""\\""#, r#""\"""#, r#""\\\"""#, r#""a\"]b\\""#, r#""\u005c""#] {
            let array = format!("[{string},[{string}],0]");
            let nested = format!("[{string}]");
            assert_eq!(elements(&array).collect::<Vec<_>>(), [string, &nested, "0"]);
        }
    }

    #[test]
    fn depth_needs_no_stack() {
        let deep = "[".repeat(100_000) + &"]".repeat(100_000);
        let array = format!("[{deep},1]");
        assert_eq!(elements(&array).collect::<Vec<_>>(), [&deep, "1"]);
    }
}
