//! What may be done to uploads that can be resumed: they are kept, until they are too old or their room is needed.

use std::time::Duration;

use rawline::limits::PARTIALS_KEPT;
use rawline::transport::files::digest::Hasher;

use super::{PARTIAL, PLENTY, State};

/// How often partials are looked through, at least, while there are uploads.
const SWEPT: Duration = Duration::from_secs(3600);

impl State {
    /// What can be resumed is kept, unless it is whole and not what was announced. Once nobody works on it, it is kept
    /// until it is too old, or is the oldest and its room is needed.
    pub(super) fn judge_removal(&mut self, name: &str, file: usize) {
        if self.is_anothers(file) {
            return self.wrong("files", format!("{name} is removed, and another server works on it"));
        }
        let Some((announced, size)) = upload_called(name) else { return };
        let stored = self.files[file].bytes.len() as u64;
        if self.fails || stored == 0 {
            return;
        }
        let is_right = if self.is_held(file) {
            stored > size || stored == size && announced != digest_of(&self.files[file].bytes)
        } else {
            let age = self.age(file);
            let partials = self.names.iter().filter(|(name, _)| name.starts_with(PARTIAL));
            let partials: Vec<usize> = partials.map(|(_, &file)| file).collect();
            let is_oldest = partials.into_iter().all(|other| self.is_held(other) || self.age(other) <= age);
            age > PARTIALS_KEPT || self.free < PLENTY && is_oldest
        };
        if !is_right {
            self.wrong("files", format!("{name} is removed with {stored} bytes, and could be resumed"));
        }
    }

    /// An upload looks for room: what nobody has gone on with for too long is gone by now.
    pub(super) fn judge_sweep(&mut self) {
        let is_too_old =
            |&file: &usize| self.files[file].locked.is_none() && self.age(file) > PARTIALS_KEPT + SWEPT;
        let partials = self.names.iter().filter(|(name, _)| name.starts_with(PARTIAL));
        let found = partials.filter(|(_, file)| is_too_old(file)).map(|(name, _)| name.clone()).next();
        if let Some(name) = found.filter(|_| !self.fails) {
            self.wrong("files", format!("{name} is too old to be resumed, and is still there"));
        }
    }
}

/// What the name of an upload that can be resumed says that it will be: its digest, and its size.
pub fn upload_called(name: &str) -> Option<(&str, u64)> {
    let (digest, rest) = name.strip_prefix(PARTIAL)?.split_once('-')?;
    let (size, _) = rest.split_once('-')?;
    Some((digest, u64::from_str_radix(size, 16).ok()?))
}

/// As such a name says it.
fn digest_of(bytes: &[u8]) -> String {
    let mut hasher = Hasher::default();
    hasher.update(bytes);
    let digest = hasher.finish().unwrap_or_default();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
