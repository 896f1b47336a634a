//! What all file clients know together: the files, and what each of them may hold.

use std::collections::{BTreeMap, BTreeSet};

use rawline::transport::codec::files::{Digest, NO_DIGEST};
use rawline::transport::files::digest::{self, Hasher};

use crate::sim::deeds::Deeds;
use crate::sim::disk::PARTIAL;
use crate::sim::rng::Rng;

/// What a file holds: the bytes follow from the number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Content {
    pub id: u64,
    pub size: usize,
}

impl Content {
    pub fn bytes(self) -> Vec<u8> {
        let mut rng = Rng::new(self.id);
        let mut bytes = Vec::with_capacity(self.size + 8);
        while bytes.len() < self.size {
            bytes.extend_from_slice(&rng.next().to_le_bytes());
        }
        bytes.truncate(self.size);
        bytes
    }

    /// What `sha256sum` would say; without the feature that computes it, a number that nobody checks.
    pub fn digest(self) -> Digest {
        let mut hasher = Hasher::default();
        hasher.update(&self.bytes());
        hasher.finish().unwrap_or_else(|| {
            let mut digest = [1; 32];
            digest[..8].copy_from_slice(&self.id.to_le_bytes());
            digest
        })
    }

    /// What the server must say that the digest is: that, or that it cannot know.
    pub fn has_digest(self, digest: &[u8]) -> bool {
        *digest == if digest::KNOWN { self.digest() } else { NO_DIGEST }
    }

    /// Whether this is its size, and its digest if one is said.
    pub fn is_said(self, size: u64, digest: Option<&[u8]>) -> bool {
        self.size as u64 == size && digest.is_none_or(|digest| self.has_digest(digest))
    }
}

/// What all file clients know together.
#[derive(Default)]
pub struct Shelf {
    /// Everything that was ever announced under a name, or was there from the start.
    pub known: BTreeMap<String, Vec<Content>>,
    /// Uploads that began with a digest, so that they can be resumed.
    pub begun: Vec<(String, Content)>,
    /// Those of them that somebody broke off, and how many of all were resumed.
    pub broken_off: Vec<(String, Content)>,
    pub resumed: u64,
    pub max_upload_bytes: usize,
    pub writable: bool,
    pub deletes: bool,
    pub disk_fails: bool,
    /// Uploads may be refused for want of space, but not once they have begun.
    pub is_tight: bool,
    /// What a digest stands for, as the name of what can be resumed says it.
    digests: BTreeMap<String, Content>,
    /// What was there from the start of an upload, and of which of those it was not what was sent.
    left: BTreeSet<String>,
    pub spoilt: BTreeSet<u64>,
    /// Files that somebody has made shorter.
    shortened: BTreeSet<String>,
    pub little_endian: bool,
    /// What clients were told that the disk has done.
    pub told: Deeds,
    numbers: u64,
}

impl Shelf {
    pub fn content(&mut self, rng: &mut Rng, size: usize) -> Content {
        self.numbers += 1;
        Content { id: rng.next() ^ self.numbers, size }
    }

    /// Whether something of this size and digest, if that is said, was ever announced under this name.
    pub fn is_known(&self, name: &str, size: u64, digest: Option<&[u8]>) -> bool {
        let all = self.known.get(name).map(Vec::as_slice).unwrap_or_default();
        all.iter().any(|content| content.is_said(size, digest))
    }

    /// Somebody has made this one shorter.
    pub fn shorten(&mut self, name: &str, content: Content) {
        self.known.entry(name.to_owned()).or_default().push(content);
        self.shortened.insert(name.to_owned());
    }

    /// Whether it may be found to change while it is read.
    pub fn changes(&self, name: &str) -> bool {
        self.shortened.contains(name)
    }

    /// An upload of this may begin.
    pub fn begins(&mut self, digest: &Digest, content: Content) {
        self.digests.insert(hex(digest), content);
    }

    /// A server that died has left some of this; under which name.
    pub fn leave(&mut self, name: &str, content: Content) -> String {
        let digest = content.digest();
        self.begins(&digest, content);
        self.begun.push((name.to_owned(), content));
        self.broken_off.push((name.to_owned(), content));
        self.left.insert(hex(&digest));
        partial(name, content.size, &digest)
    }

    /// Whether some of this was there from the start.
    pub fn was_left(&self, digest: &str) -> bool {
        self.left.contains(digest)
    }

    /// Whether these bytes are the first ones of what this digest stands for.
    pub fn is_begun(&self, digest: &str, bytes: &[u8]) -> bool {
        self.digests
            .get(digest)
            .is_some_and(|content| self.spoilt.contains(&content.id) || content.bytes().starts_with(bytes))
    }

    /// Whether these bytes are whole under this name.
    pub fn is_whole(&self, name: &str, bytes: &[u8]) -> bool {
        self.known.get(name).is_some_and(|all| {
            all.iter().any(|content| content.size == bytes.len() && content.bytes() == bytes)
        })
    }
}

/// The hidden name of an upload that can be resumed.
pub fn partial(name: &str, size: usize, digest: &Digest) -> String {
    // FNV-1a.
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{PARTIAL}{}-{size:x}-{hash:016x}", hex(digest))
}

/// Whether a file of this name is there from the start, and no client stores one.
pub fn is_given(name: &str) -> bool {
    name.starts_with("given") || name == "large"
}

/// The rule for names.
pub fn is_good(name: &str) -> bool {
    (1..256).contains(&name.len())
        && !name.starts_with('.')
        && !name.contains(|c: char| c == '/' || c.is_control())
}

fn hex(digest: &Digest) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
