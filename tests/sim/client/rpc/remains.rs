//! The remains of a broken text, up to its LF, where they are such that they may be taken for new texts: each read that
//! found the socket empty before it and begins with a bracket makes one of them, which is broken like the first.
//!
//! Which of the reads those are the kernel knows. So it is told here what was read, and the answer is owed once more.

use super::Rpc;

/// What begins a text, and spoils it at once, and why.
pub(super) const BRACKETS: [(&str, &str); 2] =
    [("{]", "expected a key in double quotes"), ("[}", "expected a value")];

impl Rpc {
    /// The server reads what it was sent from here to there. `is_fresh`: it has found the socket empty before, and a
    /// bracket is the first of it.
    pub fn is_read(&mut self, from: u64, to: u64, is_fresh: bool) {
        // While a deferred call is out, what is read is not looked at.
        let is_fresh = is_fresh && self.deferred == 0;
        for answer in &mut self.answers {
            let Some((first, end)) = answer.remains else { continue };
            if is_fresh && (first..end).contains(&from) {
                answer.owed += 1;
                self.due.1 += answer.most_bytes();
            }
            answer.remains = answer.remains.filter(|_| to < end);
        }
        if self.answers.front().is_some_and(|answer| answer.has_come()) {
            self.pop_answer();
        }
    }
}
