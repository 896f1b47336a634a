//! SHA-256, where the server was built with it (cargo feature `digest`), and its absence elsewhere.
//!
//! Owns the only place that knows which of the two it is. Without the feature every digest is "not known": the server
//! itself needs no package for it. Called by helper threads.

use crate::transport::codec::files::Digest;

/// Whether digests can be computed.
pub const KNOWN: bool = cfg!(feature = "digest");

/// Bytes so far.
#[derive(Default)]
pub struct Hasher {
    #[cfg(feature = "digest")]
    sha: sha2::Sha256,
}

impl Hasher {
    /// Takes more bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        #[cfg(feature = "digest")]
        sha2::Digest::update(&mut self.sha, bytes);
        #[cfg(not(feature = "digest"))]
        let _ = bytes;
    }

    /// The digest of all of them, if it can be known.
    pub fn finish(self) -> Option<Digest> {
        #[cfg(feature = "digest")]
        return Some(sha2::Digest::finalize(self.sha).into());
        #[cfg(not(feature = "digest"))]
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_one_that_sha256sum_prints_or_none() {
        let mut hasher = Hasher::default();
        hasher.update(b"ab");
        hasher.update(b"c");
        let digest = hasher.finish();
        assert_eq!(digest.is_some(), KNOWN);
        if let Some(digest) = digest {
            let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        }
    }
}
