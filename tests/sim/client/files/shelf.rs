//! What all file clients know together: the files, and what each of them may hold.

use std::collections::BTreeMap;

use rawline::transport::codec::files::{Digest, NO_DIGEST};
use rawline::transport::files::digest::{self, Hasher};

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

    /// What the server may say that the digest is: that, or that it does not know.
    pub fn has_digest(self, digest: &[u8]) -> bool {
        *digest == NO_DIGEST || digest::KNOWN && *digest == self.digest()
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
    pub little_endian: bool,
    numbers: u64,
}

impl Shelf {
    pub fn content(&mut self, rng: &mut Rng, size: usize) -> Content {
        self.numbers += 1;
        Content { id: rng.next() ^ self.numbers, size }
    }

    /// Whether something of this size and digest, if that is said, was ever announced under this name.
    pub fn is_known(&self, name: &str, size: u64, digest: &[u8]) -> bool {
        let all = self.known.get(name).map(Vec::as_slice).unwrap_or_default();
        all.iter().any(|content| content.size as u64 == size && content.has_digest(digest))
    }

    /// Whether these bytes are whole under this name.
    pub fn is_whole(&self, name: &str, bytes: &[u8]) -> bool {
        self.known.get(name).is_some_and(|all| {
            all.iter().any(|content| content.size == bytes.len() && content.bytes() == bytes)
        })
    }
}

/// The rule for names.
pub fn is_good(name: &str) -> bool {
    (1..256).contains(&name.len())
        && !name.starts_with('.')
        && !name.contains(|c: char| c == '/' || c.is_control())
}
