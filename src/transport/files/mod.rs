//! The file service: one directory, its files read and stored over the wires of `codec/files.rs`.
//!
//! Owns what the loop keeps for all file connections together: the helpers, and who waits to upload. The state of one
//! connection is in `session.rs`; what helpers do, in `store.rs` and `upload.rs`; how the loop drives all this, in
//! `event_loop/files.rs`. No disk is ever waited for on the loop.

pub mod digest;
pub mod session;
pub mod store;
pub mod upload;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;

use crate::api::ConnId;
use crate::transport::codec::files::{ByteOrder, Status};
use crate::transport::workers::{Helpers, Lane, Workers};
use store::{Done, Job, Refusal, Store};

/// What an operator shares, and how.
#[derive(Clone, Debug)]
pub struct Share {
    /// The directory; its subdirectories are not shared.
    pub directory: PathBuf,
    /// Clients may store files.
    pub writable: bool,
    /// Clients may remove files; only if they may store them too.
    pub delete: bool,
    /// How version 1 writes integers.
    pub byte_order: ByteOrder,
}

/// The loop's side of the file service.
pub struct Files {
    /// What is shared.
    pub store: Arc<Store>,
    /// Connections that have a place among the uploads.
    pub uploading: usize,
    /// Bytes of lists that have not left yet, over all connections.
    pub listed: usize,
    /// Connections that wait for one, first come first served; some may have gone.
    pub waiting: VecDeque<ConnId>,
    workers: Workers<Job>,
}

impl Files {
    /// With these helpers, whose results go to `post`.
    pub fn new(
        store: Arc<Store>,
        helpers: Helpers,
        post: impl Fn(ConnId, Done) + Send + Sync + 'static,
    ) -> Self {
        let shared = Arc::clone(&store);
        let workers = Workers::new(helpers, move |id, job| {
            let answer = Answer { id, post: &post, done: None };
            answer.with(|| shared.run(job));
        });
        Self { store, uploading: 0, listed: 0, waiting: VecDeque::new(), workers }
    }

    /// Gives work to a helper. A connection has at most one job under way, besides those that nobody waits for.
    pub fn submit(&self, id: ConnId, job: Job) {
        let lane = match &job {
            Job::List(_) | Job::Open(_) | Job::Stat(_) | Job::Delete(_) | Job::Begin(_) => Lane::Quick,
            Job::Hash(_) | Job::CatchUp(_) | Job::Write(..) | Job::Leave(..) => Lane::Slow,
            Job::Warm(..) | Job::Close(_) => Lane::Slow,
        };
        self.workers.submit(lane, id, job);
    }
}

/// The duty to answer: a helper that panics answers too, or its connection would wait for ever.
struct Answer<'a, P: Fn(ConnId, Done)> {
    id: ConnId,
    post: &'a P,
    done: Option<Option<Done>>,
}

impl<P: Fn(ConnId, Done)> Answer<'_, P> {
    fn with(mut self, work: impl FnOnce() -> Option<Done>) {
        self.done = Some(work());
    }
}

impl<P: Fn(ConnId, Done)> Drop for Answer<'_, P> {
    fn drop(&mut self) {
        let panicked = || Some(Done::Failed(Refusal::new(Status::Io, "a helper panicked")));
        if let Some(done) = self.done.take().unwrap_or_else(panicked) {
            (self.post)(self.id, done);
        }
    }
}
