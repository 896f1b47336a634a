//! The file wire, versions 1 and 2: from bytes to requests, and from answers to bytes.
//!
//! Owns the layout of every message and the rule for names; `docs/protocol.md` shows the same in tables. Knows no
//! socket, no file and no state: [`decode`] is a function of the bytes that have arrived, so a request that comes one
//! byte at a time needs no memory here. Called by the loop (requests, short answers) and by helpers (lists).

/// A SHA-256; [`NO_DIGEST`] where there is none.
pub type Digest = [u8; 32];

/// What stands on the wire where no digest is known or given.
pub const NO_DIGEST: Digest = [0; 32];

/// The longest name, in bytes: what every file system takes.
pub const MAX_NAME: usize = 255;

/// The longest request: version 2's PUT with the longest name. (That of version 1 has 265 bytes.)
pub const MAX_REQUEST: usize = 3 + MAX_NAME + 40;

/// The field of a name in version 1.
const NAME_FIELD: usize = 256;

/// Which version a request was made in, and so its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// The old one: refusals have no words.
    One,
    /// Ours: every answer has a status and a text.
    Two,
}

/// How version 1 writes integers. Version 2 is big endian always.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ByteOrder {
    /// Network byte order.
    #[default]
    Big,
    /// As a PC keeps them, for peers that send raw integers.
    Little,
}

/// What a client can ask for; the number is version 2's opcode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Command {
    /// Which files are there?
    List = 0x11,
    /// A file, or a part of it.
    Get = 0x12,
    /// Stores a file.
    Put = 0x13,
    /// Size, time and digest of a file.
    Stat = 0x14,
    /// Removes a file.
    Delete = 0x15,
}

/// How a request of version 2 came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[expect(missing_docs, reason = "the protocol page says what each means")]
pub enum Status {
    Ok = 0,
    NotFound = 1,
    BadName = 2,
    ReadOnly = 3,
    TooLarge = 4,
    NoSpace = 5,
    Busy = 6,
    BadOffset = 7,
    DigestMismatch = 8,
    Io = 9,
    UnknownCommand = 10,
    ShuttingDown = 11,
}

/// One request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The version it was made in.
    pub version: Version,
    /// What is asked.
    pub command: Command,
    /// Of which file; empty for LIST. `None`: the name is bad.
    pub name: Option<String>,
    /// GET: from where on. Bytes.
    pub offset: u64,
    /// GET: how much, 0 for all. PUT: the size of the whole file. Bytes.
    pub length: u64,
    /// PUT: the digest that the client announces.
    pub digest: Digest,
}

/// What the bytes that have arrived begin with.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Not yet a whole request.
    Dry,
    /// A request of so many bytes, behind which so many more are to be skipped (a name that is too long).
    Request(Request, usize, u64),
    /// An opcode that nobody knows.
    Unknown(u8),
}

/// Looks at the first bytes that were not consumed: up to [`MAX_REQUEST`] of them, or all there are.
pub fn decode(bytes: &[u8], order: ByteOrder) -> Step {
    match bytes.first() {
        None => Step::Dry,
        Some(1..=3) => version_one(bytes, order),
        Some(0x11) => whole(request(Version::Two, Command::List), 1),
        Some(0x12..=0x15) => version_two(bytes),
        Some(&opcode) => Step::Unknown(opcode),
    }
}

fn version_one(bytes: &[u8], order: ByteOrder) -> Step {
    let (command, length) = match bytes[0] {
        1 => return whole(request(Version::One, Command::List), 1),
        2 => (Command::Get, 1 + NAME_FIELD),
        _ => (Command::Put, 1 + NAME_FIELD + 8),
    };
    if bytes.len() < length {
        return Step::Dry;
    }
    let field = &bytes[1..=NAME_FIELD];
    let name = field.iter().position(|&byte| byte == 0).and_then(|end| good_name(&field[..end]));
    let mut asked = Request { name: name.map(Into::into), ..request(Version::One, command) };
    if command == Command::Put {
        let size = bytes[1 + NAME_FIELD..length].try_into().expect("eight bytes");
        asked.length = match order {
            ByteOrder::Big => u64::from_be_bytes(size),
            ByteOrder::Little => u64::from_le_bytes(size),
        };
    }
    whole(asked, length)
}

fn version_two(bytes: &[u8]) -> Step {
    let (command, tail) = match bytes[0] {
        0x12 => (Command::Get, 16),
        0x13 => (Command::Put, 40),
        0x14 => (Command::Stat, 0),
        _ => (Command::Delete, 0),
    };
    let Some(length) = bytes.get(1..3) else { return Step::Dry };
    let length = usize::from(u16::from_be_bytes(length.try_into().expect("two bytes")));
    let mut asked = request(Version::Two, command);
    if !(1..=MAX_NAME).contains(&length) {
        // It does not fit where requests are put together, and need not: nothing in it matters any more.
        asked.name = None;
        return Step::Request(asked, 3, (length + tail) as u64);
    }
    let Some(rest) = bytes.get(3..3 + length + tail) else { return Step::Dry };
    let (name, rest) = rest.split_at(length);
    asked.name = good_name(name).map(Into::into);
    let number = |at: usize| u64::from_be_bytes(rest[at..at + 8].try_into().expect("eight bytes"));
    match command {
        Command::Get => (asked.offset, asked.length) = (number(0), number(8)),
        Command::Put => {
            asked.length = number(0);
            asked.digest.copy_from_slice(&rest[8..]);
        }
        Command::List | Command::Stat | Command::Delete => {}
    }
    whole(asked, 3 + length + tail)
}

fn whole(request: Request, length: usize) -> Step {
    Step::Request(request, length, 0)
}

fn request(version: Version, command: Command) -> Request {
    Request { version, command, name: Some(String::new()), offset: 0, length: 0, digest: NO_DIGEST }
}

/// The name, unless it is bad: it may not lead anywhere, hide, or garble a terminal.
pub fn good_name(bytes: &[u8]) -> Option<&str> {
    let name = std::str::from_utf8(bytes).ok()?;
    let is_good = (1..=MAX_NAME).contains(&name.len())
        && !name.starts_with('.')
        && !name.contains(|c: char| c == '/' || c.is_control());
    is_good.then_some(name)
}

/// A file as a list or a STAT shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// A good name.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// Seconds since 1970.
    pub mtime: i64,
    /// Its digest, if it is known without reading the file.
    pub digest: Option<Digest>,
}

/// The answer to LIST. `entries` are sorted.
pub fn list(out: &mut Vec<u8>, version: Version, order: ByteOrder, entries: &[Entry]) {
    let count = entries.len() as u32;
    if version == Version::One {
        out.extend_from_slice(&match order {
            ByteOrder::Big => count.to_be_bytes(),
            ByteOrder::Little => count.to_le_bytes(),
        });
        for entry in entries {
            let end = out.len() + NAME_FIELD;
            out.extend_from_slice(entry.name.as_bytes());
            out.resize(end, 0);
        }
        return;
    }
    head(out, Command::List as u8, Status::Ok, "");
    out.extend_from_slice(&count.to_be_bytes());
    for Entry { name, size, mtime, digest } in entries {
        out.extend_from_slice(&(name.len() as u16).to_be_bytes());
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(&size.to_be_bytes());
        out.extend_from_slice(&mtime.to_be_bytes());
        out.push(digest.is_some().into());
        out.extend_from_slice(digest.as_ref().map_or(&[], |digest| &digest[..]));
    }
}

/// What stands before the bytes of a file in version 1: how many they are.
pub fn size(out: &mut Vec<u8>, order: ByteOrder, size: u64) {
    out.extend_from_slice(&match order {
        ByteOrder::Big => size.to_be_bytes(),
        ByteOrder::Little => size.to_le_bytes(),
    });
}

/// How every answer of version 2 begins.
pub fn head(out: &mut Vec<u8>, opcode: u8, status: Status, text: &str) {
    let text = &text.as_bytes()[..text.len().min(usize::from(u16::MAX))];
    out.extend_from_slice(&[opcode, status as u8]);
    out.extend_from_slice(&(text.len() as u16).to_be_bytes());
    out.extend_from_slice(text);
}

/// The answer to GET in version 2, behind which `length` bytes of the file follow.
pub fn got(out: &mut Vec<u8>, size: u64, mtime: i64, length: u64) {
    head(out, Command::Get as u8, Status::Ok, "");
    out.extend_from_slice(&size.to_be_bytes());
    out.extend_from_slice(&mtime.to_be_bytes());
    out.extend_from_slice(&length.to_be_bytes());
}

/// The answer to STAT.
pub fn stat(out: &mut Vec<u8>, size: u64, mtime: i64, digest: &Digest) {
    head(out, Command::Stat as u8, Status::Ok, "");
    out.extend_from_slice(&size.to_be_bytes());
    out.extend_from_slice(&mtime.to_be_bytes());
    out.extend_from_slice(digest);
}

/// The first answer to PUT in version 2: go ahead, from byte `have` on.
pub fn go_ahead(out: &mut Vec<u8>, have: u64) {
    head(out, Command::Put as u8, Status::Ok, "");
    out.extend_from_slice(&have.to_be_bytes());
}

/// The second one: it is stored.
pub fn stored(out: &mut Vec<u8>, digest: &Digest) {
    head(out, Command::Put as u8, Status::Ok, "");
    out.extend_from_slice(digest);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(name: &[u8]) -> Vec<u8> {
        let mut field = name.to_vec();
        field.resize(NAME_FIELD, 0);
        field
    }

    fn two(opcode: u8, name: &[u8], tail: &[u8]) -> Vec<u8> {
        [&[opcode][..], &(name.len() as u16).to_be_bytes(), name, tail].concat()
    }

    /// One request of each kind, with its bytes.
    fn corpus() -> Vec<(Vec<u8>, Request)> {
        let of = |version, command, name: Option<&str>| Request {
            name: name.map(Into::into),
            ..request(version, command)
        };
        let (one, two_) = (Version::One, Version::Two);
        let longest = "é".repeat(127) + "x";
        let tail = [7u64.to_be_bytes(), 9u64.to_be_bytes()].concat();
        let put = [&5u64.to_be_bytes()[..], &[3; 32]].concat();
        vec![
            (vec![1], request(one, Command::List)),
            ([&[2][..], &field(b"a.txt")].concat(), of(one, Command::Get, Some("a.txt"))),
            ([&[2][..], &field(b"a\0junk/..")].concat(), of(one, Command::Get, Some("a"))),
            ([&[2][..], &field(longest.as_bytes())].concat(), of(one, Command::Get, Some(&longest))),
            ([&[2][..], &[b'x'; 256]].concat(), of(one, Command::Get, None)),
            (
                [&[3][..], &field(b"b"), &0x0102u64.to_be_bytes()].concat(),
                Request { length: 0x0102, ..of(one, Command::Put, Some("b")) },
            ),
            (vec![0x11], request(two_, Command::List)),
            (two(0x12, b"a", &tail), Request { offset: 7, length: 9, ..of(two_, Command::Get, Some("a")) }),
            (
                two(0x13, longest.as_bytes(), &put),
                Request { length: 5, digest: [3; 32], ..of(two_, Command::Put, Some(&longest)) },
            ),
            (two(0x14, b"..", &[]), of(two_, Command::Stat, None)),
            (two(0x15, b"d", &[]), of(two_, Command::Delete, Some("d"))),
        ]
    }

    #[test]
    fn a_request_is_dry_until_its_last_byte_and_does_not_look_beyond_it() {
        for (bytes, expected) in corpus() {
            assert!(bytes.len() <= MAX_REQUEST);
            for cut in 0..bytes.len() {
                assert_eq!(decode(&bytes[..cut], ByteOrder::Big), Step::Dry, "{expected:?} at {cut}");
            }
            let behind = [&bytes[..], b"\xff\xff\xff"].concat();
            for bytes_seen in [&bytes, &behind] {
                assert_eq!(
                    decode(bytes_seen, ByteOrder::Big),
                    Step::Request(expected.clone(), bytes.len(), 0)
                );
            }
        }
    }

    #[test]
    fn a_pipeline_comes_apart_again() {
        let all: Vec<u8> = corpus().into_iter().flat_map(|(bytes, _)| bytes).collect();
        let mut rest = &all[..];
        for (_, expected) in corpus() {
            let Step::Request(request, length, 0) = decode(rest, ByteOrder::Big) else { panic!() };
            assert_eq!(request, expected);
            rest = &rest[length..];
        }
        assert!(rest.is_empty());
    }

    #[test]
    fn names_of_impossible_length_are_skipped() {
        for length in [0u16, 256, 300, u16::MAX] {
            for (opcode, tail) in [(0x12, 16), (0x13, 40), (0x14, 0), (0x15, 0)] {
                let bytes = [&[opcode][..], &length.to_be_bytes()].concat();
                let Step::Request(request, 3, skip) = decode(&bytes, ByteOrder::Big) else { panic!() };
                assert_eq!((request.name, skip), (None, u64::from(length) + tail));
            }
        }
    }

    #[test]
    fn little_endian_concerns_version_one_only() {
        let put = [&[3][..], &field(b"b"), &0x0102u64.to_le_bytes()].concat();
        let Step::Request(request, ..) = decode(&put, ByteOrder::Little) else { panic!() };
        assert_eq!(request.length, 0x0102);
        let mut out = Vec::new();
        size(&mut out, ByteOrder::Little, 5);
        list(&mut out, Version::One, ByteOrder::Little, &[]);
        assert_eq!(out, [5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        let get = two(0x12, b"a", &[[0, 0, 0, 0, 0, 0, 0, 7], [0; 8]].concat());
        let Step::Request(request, ..) = decode(&get, ByteOrder::Little) else { panic!() };
        assert_eq!(request.offset, 7);
    }

    #[test]
    fn unknown_opcodes_are_told_at_once() {
        for opcode in (0..=255).filter(|opcode| !matches!(opcode, 1..=3 | 0x11..=0x15)) {
            assert_eq!(decode(&[opcode, 1, 2], ByteOrder::Big), Step::Unknown(opcode));
        }
    }

    #[test]
    fn bad_names_are_bad() {
        for name in ["a", "a b", "ä", "a..", "-rf", "😀", &"x".repeat(255), "C:\\x"] {
            assert_eq!(good_name(name.as_bytes()), Some(name));
        }
        for name in ["", ".", "..", ".x", "/", "/etc/passwd", "a/b", "a\0", "a\n", "\u{85}", &"x".repeat(256)]
        {
            assert_eq!(good_name(name.as_bytes()), None, "{name:?}");
        }
        assert_eq!(good_name(b"\xff"), None);
    }

    #[test]
    fn answers_are_laid_out_as_the_page_says() {
        let entries = [
            Entry { name: "a".into(), size: 5, mtime: -1, digest: None },
            Entry { name: "b".into(), size: 6, mtime: 2, digest: Some([9; 32]) },
        ];
        let mut out = Vec::new();
        list(&mut out, Version::One, ByteOrder::Big, &entries);
        assert_eq!(out, [&[0, 0, 0, 2][..], &field(b"a"), &field(b"b")].concat());
        out.clear();
        list(&mut out, Version::Two, ByteOrder::Big, &entries);
        let first = [&[0x11, 0, 0, 0, 0, 0, 0, 2, 0, 1, b'a', 0, 0, 0, 0, 0, 0, 0, 5][..], &[0xff; 8], &[0]];
        let second = [&[0, 1, b'b', 0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0, 2, 1][..], &[9; 32]];
        assert_eq!(out, [first.concat(), second.concat()].concat());
        out.clear();
        head(&mut out, 0x14, Status::NotFound, "no such file");
        assert_eq!(out, b"\x14\x01\x00\x0cno such file");
    }
}
