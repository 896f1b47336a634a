//! Letters to the loop from other threads.
//!
//! Owns a bounded queue and the waker. A sender wakes the loop only when nobody has since the loop last looked,
//! so a burst of letters costs one system call. Late answers and stop are never refused: there is at most one
//! of the former per connection, and one of the latter; everything else is bounded by `MAILBOX_LETTERS`.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::api::{Complete, ConnId, Effects, Fault, Ticket};
use crate::limits::MAILBOX_LETTERS;
use crate::transport::files::store::Done;
use crate::transport::io::Waker;

/// A letter.
pub enum Letter {
    /// The answer to a deferred call.
    Answer(Ticket, Result<String, Fault>),
    /// What a helper made of a file connection's job.
    File(ConnId, Done),
    /// Do these.
    Effects(Effects),
    /// Stop, as the first SIGTERM does.
    Stop,
}

/// The queue between other threads and the loop.
pub struct Mailbox {
    letters: Mutex<VecDeque<Letter>>,
    /// Somebody has woken the loop since it last took its letters.
    woken: AtomicBool,
    waker: Waker,
}

impl Mailbox {
    /// An empty mailbox that wakes its reader with `waker`.
    pub fn new(waker: Waker) -> Arc<Self> {
        Arc::new(Self { letters: Mutex::default(), woken: AtomicBool::new(false), waker })
    }

    /// Whether letters may be waiting: one load, no lock.
    pub fn has_letters(&self) -> bool {
        self.woken.load(Ordering::Acquire)
    }

    /// Takes all letters, oldest first.
    pub fn take(&self) -> VecDeque<Letter> {
        // Cleared before the queue is read: a letter that comes in between wakes the loop once more.
        self.woken.store(false, Ordering::Release);
        std::mem::take(&mut *self.lock())
    }

    /// Takes what a helper has done. Never refused: a connection has at most one job under way.
    pub fn done(&self, id: ConnId, done: Done) {
        let posted = self.post(Letter::File(id, done), usize::MAX);
        debug_assert!(posted.is_ok(), "work done is never refused");
    }

    fn post(&self, letter: Letter, bound: usize) -> Result<(), MailboxFull> {
        {
            let mut letters = self.lock();
            if letters.len() >= bound {
                return Err(MailboxFull);
            }
            letters.push_back(letter);
        }
        if !self.woken.swap(true, Ordering::AcqRel) {
            self.waker.wake();
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Letter>> {
        // Nothing can panic while it is held but an allocation, which leaves the queue whole.
        self.letters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Complete for Mailbox {
    fn complete(&self, ticket: Ticket, answer: Result<String, Fault>) {
        let posted = self.post(Letter::Answer(ticket, answer), usize::MAX);
        debug_assert!(posted.is_ok(), "answers are never refused");
    }
}

/// Asks a running server for things, from any thread. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    mailbox: Arc<Mailbox>,
}

impl Handle {
    pub(crate) fn new(mailbox: Arc<Mailbox>) -> Self {
        Self { mailbox }
    }

    /// Asks for what a handler could ask for: `handle.post(|fx| fx.broadcast(None, "news", &news))`.
    ///
    /// # Errors
    /// When the loop has not yet taken the letters before.
    pub fn post(&self, ask: impl FnOnce(&mut Effects)) -> Result<(), MailboxFull> {
        let mut fx = Effects::new();
        ask(&mut fx);
        self.mailbox.post(Letter::Effects(fx), MAILBOX_LETTERS)
    }

    /// Stops the server as the first SIGTERM does: what is complete is answered, then `run` returns.
    pub fn stop(&self) {
        let posted = self.mailbox.post(Letter::Stop, usize::MAX);
        debug_assert!(posted.is_ok(), "stop is never refused");
    }
}

/// The loop has [`MAILBOX_LETTERS`] letters that it has not read yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MailboxFull;

impl fmt::Display for MailboxFull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the server has {MAILBOX_LETTERS} letters that it has not read yet")
    }
}

impl std::error::Error for MailboxFull {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    #[test]
    fn a_burst_wakes_once_and_a_full_box_still_takes_answers() {
        let wakes = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&wakes);
        let mailbox = Mailbox::new(Waker::new(move || {
            counted.fetch_add(1, Ordering::SeqCst);
        }));
        let handle = Handle::new(Arc::clone(&mailbox));
        for _ in 0..MAILBOX_LETTERS {
            handle.post(Effects::stop).unwrap();
        }
        assert_eq!(handle.post(Effects::stop), Err(MailboxFull));
        mailbox.complete(Ticket { conn: crate::api::ConnId::new(1, 2), number: 3 }, Ok("1".into()));
        handle.stop();
        assert_eq!(wakes.load(Ordering::SeqCst), 1);
        assert!(mailbox.has_letters());
        assert_eq!(mailbox.take().len(), MAILBOX_LETTERS + 2);
        assert!(!mailbox.has_letters());
        handle.stop();
        assert_eq!(wakes.load(Ordering::SeqCst), 2);
    }
}
