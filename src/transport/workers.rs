//! Helper threads: whatever may wait for a disk is done here, so that the loop never does.
//!
//! Owns a small fixed number of threads and two queues before them. An open must not wait behind somebody's fsync, so
//! quick jobs and slow ones have threads of their own. Results go where `run` sends them: the mailbox. Knows nothing of
//! what a job is. The queues need no bound of their own: who submits has at most one job under way for a
//! connection, and one more to clean up behind it. Called by the loop; a job's owner is named by its `ConnId`.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use crate::api::ConnId;

/// Which threads do a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// It looks something up: a name, a directory.
    Quick,
    /// It moves bytes or syncs them.
    Slow,
}

/// A job, ready to be done by whoever calls it.
pub type Task = Box<dyn FnOnce() + Send>;

/// Who does the jobs.
#[derive(Clone)]
pub enum Helpers {
    /// So many threads for quick jobs, and so many for slow ones.
    Threads([usize; 2]),
    /// Whoever is handed the tasks: a simulated kernel, which does them when its own clock says so.
    Given(Arc<dyn Fn(Lane, Task) + Send + Sync>),
}

/// What a helper does with a job. It must not panic without having answered.
type Run<J> = Arc<dyn Fn(ConnId, J) + Send + Sync>;

/// The helpers. Threads end when this is dropped, each after the job it has begun; jobs not begun are dropped.
pub enum Workers<J> {
    /// A queue before the threads of each lane.
    Threads([Arc<Queue<J>>; 2]),
    /// Somebody else's hands.
    Given(Arc<dyn Fn(Lane, Task) + Send + Sync>, Run<J>),
}

/// Jobs that wait for a thread.
pub struct Queue<J> {
    waiting: Mutex<Waiting<J>>,
    bell: Condvar,
}

struct Waiting<J> {
    jobs: VecDeque<(ConnId, J)>,
    closed: bool,
}

impl<J: Send + 'static> Workers<J> {
    /// Helpers that do a job by `run`.
    pub fn new(helpers: Helpers, run: impl Fn(ConnId, J) + Send + Sync + 'static) -> Self {
        let run: Run<J> = Arc::new(run);
        let threads = match helpers {
            Helpers::Threads(threads) => threads,
            Helpers::Given(hands) => return Self::Given(hands, run),
        };
        let mut names = ["files-quick", "files-slow"].into_iter();
        Self::Threads(threads.map(|count| {
            let name = names.next().expect("there are two lanes");
            let queue = Arc::new(Queue {
                waiting: Mutex::new(Waiting { jobs: VecDeque::new(), closed: false }),
                bell: Condvar::new(),
            });
            for _ in 0..count {
                let (queue, run) = (Arc::clone(&queue), Arc::clone(&run));
                let work = move || {
                    while let Some((id, job)) = queue.next() {
                        // A bug in one job must not take the thread from all others.
                        let _ = catch_unwind(AssertUnwindSafe(|| run(id, job)));
                    }
                };
                // The name is what ps -L, top -H and strace -Y show.
                thread::Builder::new().name(name.into()).spawn(work).expect("a system has room for a thread");
            }
            queue
        }))
    }

    /// Puts a job into the line.
    pub fn submit(&self, lane: Lane, id: ConnId, job: J) {
        match self {
            Self::Threads(lanes) => {
                let queue = &lanes[lane as usize];
                queue.lock().jobs.push_back((id, job));
                queue.bell.notify_one();
            }
            Self::Given(hands, run) => {
                let run = Arc::clone(run);
                hands(lane, Box::new(move || run(id, job)));
            }
        }
    }
}

impl<J> Queue<J> {
    fn lock(&self) -> MutexGuard<'_, Waiting<J>> {
        // Nothing can panic while it is held but an allocation, which leaves the queue whole.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next job; `None` when there will be no more.
    fn next(&self) -> Option<(ConnId, J)> {
        let mut waiting = self.lock();
        loop {
            if waiting.closed {
                return None;
            }
            match waiting.jobs.pop_front() {
                Some(job) => return Some(job),
                None => waiting = self.bell.wait(waiting).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }
}

impl<J> Drop for Workers<J> {
    fn drop(&mut self) {
        let Self::Threads(lanes) = self else { return };
        for queue in lanes {
            let left = {
                let mut waiting = queue.lock();
                waiting.closed = true;
                std::mem::take(&mut waiting.jobs)
            };
            queue.bell.notify_all();
            drop(left);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const SOMEBODY: ConnId = ConnId::new(1, 2);

    #[test]
    fn one_thread_keeps_the_order_and_a_panic_does_not_end_it() {
        let (tell, told) = mpsc::channel();
        let workers = Workers::new(Helpers::Threads([1, 0]), move |id, job: u32| {
            tell.send((id, job)).unwrap();
            assert_ne!(job, 3, "as a bug would");
        });
        for job in 0..100 {
            workers.submit(Lane::Quick, SOMEBODY, job);
        }
        let jobs: Vec<_> = told.iter().take(100).collect();
        assert_eq!(jobs, (0..100).map(|job| (SOMEBODY, job)).collect::<Vec<_>>());
    }

    #[test]
    fn a_quick_job_does_not_wait_for_a_slow_one() {
        let (tell, told) = mpsc::channel();
        let (release, wait) = mpsc::channel::<()>();
        let wait = Mutex::new(wait);
        let workers = Workers::new(Helpers::Threads([1, 1]), move |_, job: Lane| {
            if job == Lane::Slow {
                wait.lock().unwrap().recv().unwrap();
            }
            tell.send(job).unwrap();
        });
        workers.submit(Lane::Slow, SOMEBODY, Lane::Slow);
        workers.submit(Lane::Quick, SOMEBODY, Lane::Quick);
        assert_eq!(told.recv(), Ok(Lane::Quick));
        release.send(()).unwrap();
        assert_eq!(told.recv(), Ok(Lane::Slow));
    }

    #[test]
    fn given_hands_get_every_job_and_what_was_not_begun_is_dropped() {
        let (tell, told) = mpsc::channel();
        let at_once = Helpers::Given(Arc::new(|lane, task| {
            assert_eq!(lane, Lane::Slow);
            task();
        }));
        let given = Workers::new(at_once, move |_, job: u8| tell.send(job).unwrap());
        given.submit(Lane::Slow, SOMEBODY, 7);
        assert_eq!(told.try_recv(), Ok(7));
        let job = Arc::new(());
        let idle = Workers::new(Helpers::Threads([0, 1]), |_, _: Arc<()>| ());
        idle.submit(Lane::Quick, SOMEBODY, Arc::clone(&job));
        drop(idle);
        assert_eq!(Arc::strong_count(&job), 1);
    }
}
