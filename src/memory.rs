//! The most memory that the daemon can come to use: a sum, each of whose terms is a limit times what it counts.
//!
//! It is the memory of the process (what `ps` calls RSS), not that of the kernel's socket buffers. Every buffer that a
//! client can fill stands in one term. Printed in full by `rawline serve --print-limits`, and on one line at start;
//! SECURITY.md explains it term by term. `tests/memory.rs` measures it under attack.

use std::fmt;

use crate::limits::{
    ANSWERS_PER_TURN, BATCH_ANSWER_BYTES, DIGESTS_KEPT, FILE_HELPERS, KEEP_SCRATCH, LIST_BYTES, Limits,
    POOLED_INPUTS, UPLOAD_CHUNK, WARM_CHUNK,
};

/// What is kept of one connection that owns no buffer: its slot, its timer, its places in the queues and in the room, its
/// name wherever that stands, and its line in a list of users that is being made. 320 bytes are usual; this is for names
/// outside of the basic plane, in every form that they are written in: 4 KiB where a name has at most 50 characters.
const CONNECTION: usize = 896;
/// A character of a name: four bytes, twelve as an escape, in lists that may be twice as large as what they hold.
const NAME_CHARACTER: usize = 64;
/// The program, its libraries and its stack, with nobody connected.
const PROGRAM: usize = 16 * 1024 * 1024;
/// A helper thread: the part of its stack that it touches, and the allocator's arena of its own.
const THREAD: usize = 1024 * 1024;
/// An upload beside its buffers: its names and the state of its digest.
const UPLOAD: usize = 4 * 1024;
/// A vector that grows doubles: for a moment it may be twice as large as what it holds.
const DOUBLED: usize = 2;
/// The forms in which one broadcast may have to be rendered: two dialects in two framings, and the line chat's.
const FORMS: usize = 5;
/// A character of a message takes at most three times its bytes when it is written as an escape.
const ESCAPED: usize = 3;
/// An eighth of everything else is what the allocator keeps between what it has given out.
const ALLOCATOR_SHARE: usize = 8;

/// So many of something, each of at most so many bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Term {
    /// What is counted.
    pub name: &'static str,
    /// How many there can be.
    pub count: usize,
    /// Bytes of one.
    pub each: usize,
    /// What it holds, and the limits that bound it.
    pub why: &'static str,
}

impl Term {
    /// Bytes of all.
    pub fn bytes(&self) -> usize {
        self.count.saturating_mul(self.each)
    }
}

/// What the daemon does beside the chat.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sharing {
    /// A directory is shared.
    pub files: bool,
    /// Clients may store files there.
    pub writable: bool,
}

/// The terms, the largest kinds first. A name has at most `max_username_chars`.
pub fn terms(limits: &Limits, max_username_chars: usize, sharing: Sharing) -> Vec<Term> {
    let Limits { max_connections, max_message_bytes, max_line_bytes, max_batch, read_chunk, .. } = *limits;
    let ring = max_message_bytes.max(read_chunk);
    let batch = max_message_bytes + DOUBLED * (BATCH_ANSWER_BYTES + max_message_bytes + 128 * max_batch);
    let push = limits.max_fanout_per_turn + ESCAPED * max_message_bytes;
    let mut terms = vec![
        Term {
            name: "connections",
            count: max_connections,
            each: CONNECTION + NAME_CHARACTER * max_username_chars,
            why: "max_connections: what is kept of one that says nothing",
        },
        Term {
            name: "input",
            count: max_connections,
            each: ring.max(read_chunk + DOUBLED * max_line_bytes),
            why: "max_connections: an unfinished message of max_message_bytes, or a line of max_line_bytes",
        },
        Term {
            name: "output",
            count: 1,
            each: limits.total_out_bytes,
            why: "total_out_bytes: all that clients have not read yet, answers and chat; above it who holds most is cut",
        },
        Term {
            name: "one turn's answers",
            count: 2,
            each: DOUBLED * (ANSWERS_PER_TURN + BATCH_ANSWER_BYTES),
            why: "ANSWERS_PER_TURN: as they are made, and once more where readers did not take them",
        },
        Term {
            name: "one turn's chat",
            count: FORMS,
            each: DOUBLED * push,
            why: "max_fanout_per_turn: in each form (two dialects, two framings, lines)",
        },
        Term {
            name: "batch",
            count: 1,
            each: batch,
            why: "max_batch: the one that is under way, and its answers",
        },
        Term {
            name: "pool",
            count: POOLED_INPUTS,
            each: read_chunk,
            why: "POOLED_INPUTS: input buffers of read_chunk that wait for the next message",
        },
        Term {
            name: "scratch",
            count: 4,
            each: KEEP_SCRATCH.max(ESCAPED * max_message_bytes).max(read_chunk),
            why: "KEEP_SCRATCH: where messages are put together",
        },
    ];
    if sharing.files {
        terms.push(Term {
            name: "lists",
            count: 1 + 4 * FILE_HELPERS[0],
            each: LIST_BYTES,
            why: "LIST_BYTES: those that clients have not read yet, and those that helpers make",
        });
        terms.push(Term {
            name: "helpers",
            count: FILE_HELPERS.iter().sum(),
            each: THREAD + WARM_CHUNK,
            why: "FILE_HELPERS: threads that wait for the disk, and what they read through",
        });
        terms.push(Term {
            name: "digests",
            count: DIGESTS_KEPT,
            each: 512,
            why: "DIGESTS_KEPT: those that are remembered",
        });
    }
    if sharing.files && sharing.writable {
        terms.push(Term {
            name: "uploads",
            count: limits.max_uploads,
            each: 2 * UPLOAD_CHUNK + UPLOAD,
            why: "max_uploads: one buffer that fills while the other is written",
        });
    }
    terms.push(Term { name: "program", count: 1, each: PROGRAM, why: "what it takes with nobody connected" });
    let each = total(&terms) / ALLOCATOR_SHARE;
    terms.push(Term { name: "allocator", count: 1, each, why: "an eighth of the above: what lies between" });
    terms
}

/// The sum, in bytes.
pub fn total(terms: &[Term]) -> usize {
    terms.iter().map(Term::bytes).fold(0, usize::saturating_add)
}

/// Bytes as a person reads them: `1.5 GiB`, rounded up, so that a sum is never shown too small.
pub struct Bytes(pub usize);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
        let mut tenths = (self.0 as u128 * 10).div_ceil(1024);
        let mut unit = 0;
        while tenths >= 10 * 1024 && unit + 1 < UNITS.len() {
            tenths = tenths.div_ceil(1024);
            unit += 1;
        }
        match (tenths / 10, tenths % 10) {
            (whole, 0) => write!(f, "{whole} {}", UNITS[unit]),
            (whole, tenth) => write!(f, "{whole}.{tenth} {}", UNITS[unit]),
        }
    }
}

/// The sum on one line: `3.1 GiB = 16320 connections x 4 KiB + ...`.
pub fn line(terms: &[Term]) -> String {
    let shown = terms.iter().map(|term| match term.count {
        1 => format!("{} {}", term.name, Bytes(term.each)),
        count => format!("{count} {} x {}", term.name, Bytes(term.each)),
    });
    format!("{} = {}", Bytes(total(terms)), shown.collect::<Vec<_>>().join(" + "))
}

/// The sum with a line for each term, and what it is.
pub fn page(terms: &[Term]) -> String {
    let mut page = String::new();
    for term in terms {
        let product = format!("{} x {}", term.count, Bytes(term.each));
        page += &format!(
            "  {:<19} {product:>20} = {:>10}   {}\n",
            term.name,
            Bytes(term.bytes()).to_string(),
            term.why
        );
    }
    page + &format!("  {:<19} {:>20} = {:>10}\n", "at most", "", Bytes(total(terms)).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(limits: &Limits) -> Vec<Term> {
        terms(limits, 50, Sharing { files: true, writable: true })
    }

    #[test]
    fn the_sum_is_that_of_its_terms() {
        let terms = all(&Limits::default());
        let by_hand: usize = terms.iter().map(|term| term.count * term.each).sum();
        assert_eq!(total(&terms), by_hand);
        assert!(terms.iter().all(|term| term.count > 0 && term.each > 0));
        let chat_alone = super::terms(&Limits::default(), 50, Sharing::default());
        assert!(total(&chat_alone) < total(&terms));
        assert!(chat_alone.iter().all(|term| !["lists", "uploads", "helpers"].contains(&term.name)));
    }

    #[test]
    fn every_limit_of_a_buffer_moves_it() {
        let before = total(&all(&Limits::default()));
        let larger: [fn(&mut Limits); 8] = [
            |limits| limits.max_connections *= 2,
            |limits| limits.max_message_bytes *= 2,
            |limits| limits.max_line_bytes *= 16,
            |limits| limits.max_batch *= 2,
            |limits| limits.read_chunk *= 2,
            |limits| limits.total_out_bytes *= 2,
            |limits| limits.max_fanout_per_turn *= 2,
            |limits| limits.max_uploads *= 2,
        ];
        for (n, larger) in larger.into_iter().enumerate() {
            let mut limits = Limits::default();
            larger(&mut limits);
            assert!(total(&all(&limits)) > before, "limit {n}");
        }
        assert!(
            total(&terms(&Limits::default(), 255, Sharing::default()))
                > total(&terms(&Limits::default(), 50, Sharing::default()))
        );
        // No limit is so large that the sum comes out small again.
        let limits = Limits { max_connections: usize::MAX, ..Limits::default() };
        assert_eq!(total(&all(&limits)), usize::MAX);
    }

    #[test]
    fn bytes_are_rounded_up() {
        for (bytes, shown) in [
            (0, "0 KiB"),
            (1, "0.1 KiB"),
            (1024, "1 KiB"),
            (1025, "1.1 KiB"),
            (64 * 1024, "64 KiB"),
            (1024 * 1024, "1 MiB"),
            (3 * 512 * 1024 * 1024, "1.5 GiB"),
            (1 << 50, "1024 TiB"),
        ] {
            assert_eq!(Bytes(bytes).to_string(), shown);
        }
    }

    #[test]
    fn the_line_and_the_page_show_every_term() {
        let terms = all(&Limits::default());
        let (line, page) = (line(&terms), page(&terms));
        assert!(
            line.contains(" = 10000 connections x 4 KiB + 10000 input x 64 KiB + output 256 MiB + "),
            "{line}"
        );
        assert_eq!(line.matches(" + ").count() + 1, terms.len());
        assert_eq!(page.lines().count(), terms.len() + 1);
        let sum = Bytes(total(&terms)).to_string();
        assert!(line.starts_with(&sum) && page.trim_end().ends_with(&sum));
    }
}
