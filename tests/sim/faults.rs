//! What goes wrong, how often, and how often it has.
//!
//! A seed does not suffer from everything: it draws which kinds it knows and how frequent each is, so that a bug
//! that needs the absence of one kind is met too.

use super::rng::Rng;

macro_rules! faults {
    ($($kind:ident $name:literal),* $(,)?) => {
        /// One kind of fault.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Fault { $($kind),* }

        impl Fault {
            pub const ALL: &'static [Fault] = &[$(Fault::$kind),*];

            pub fn name(self) -> &'static str {
                match self { $(Fault::$kind => $name),* }
            }
        }
    };
}

faults! {
    ShortRead "short read",
    ShortWrite "short write",
    ReadAgain "EAGAIN on a read after readiness",
    WriteAgain "EAGAIN on a write after readiness",
    Interrupted "wait interrupted (EINTR)",
    Spurious "spurious event",
    Stale "event of a closed descriptor",
    Cut "batch of events cut short",
    Reset "RST from the network, at any time",
    Unreachable "connection that the kernel gives up",
    ResetOnRead "RST in the moment of a read",
    ResetOnWrite "RST in the moment of a write",
    Emfile "EMFILE on accept",
    AcceptMemory "ENOBUFS on accept",
    Aborted "ECONNABORTED on accept",
    SocketMemory "ENOBUFS on read or write",
    WatchMemory "ENOMEM on add or modify",
    ClockJump "clock jump",
    SlowMail "late wake-up",
    Late "turn that comes late",
    SlowDisk "slow disk",
    SlowSync "slow fsync",
    FailingSync "failing fsync",
    NoSpace "ENOSPC",
    DiskError "EIO on reading or writing",
    ShortDiskRead "short read of a file",
    ShorterFile "file cut short while it is sent",
    FailingOpen "EIO on opening",
    FailingMeta "EIO on asking what a file is",
    FailingCreate "EMFILE on creating",
    FailingRename "EIO on renaming",
    FailingRemove "EIO on removing",
    ColdFile "file not in memory",
    Kqueue "kqueue's shape of events",
    Unix "Unix peer gone, its bytes unread",
    Meanwhile "client that acts behind the events",
    Reuse "descriptor given out again",
    Full "connection over a maximum",
    TooFast "request over its rate",
    Resumed "upload resumed",
    Reload "SIGHUP with other limits",
    BadReload "SIGHUP with a wrong file",
    Stop "SIGTERM with work under way",
    Post "letters from outside",
}

impl Fault {
    /// Whether it makes a call fail for good.
    pub fn fails_a_call(self) -> bool {
        use Fault::{AcceptMemory, Emfile, ResetOnRead, ResetOnWrite, SocketMemory, WatchMemory};
        self.fails_the_disk()
            || matches!(self, Emfile | AcceptMemory | SocketMemory | WatchMemory | ResetOnRead | ResetOnWrite)
    }

    /// Whether it is what the kernel is like, and not what happens in it.
    fn is_a_kind_of_kernel(self) -> bool {
        matches!(self, Fault::Kqueue | Fault::Unix)
    }

    /// Whether it makes a call of the disk fail.
    pub fn fails_the_disk(self) -> bool {
        use Fault::{
            DiskError, FailingCreate, FailingMeta, FailingOpen, FailingRemove, FailingRename, FailingSync,
            NoSpace,
        };
        matches!(
            self,
            FailingSync
                | NoSpace
                | DiskError
                | FailingOpen
                | FailingMeta
                | FailingCreate
                | FailingRename
                | FailingRemove
        )
    }
}

/// How often each kind happens in one run: so many times in 1024 chances.
pub struct Faults {
    rates: Vec<u32>,
    pub counts: Vec<u64>,
    /// Calls that could have failed, and which of them is to fail, for a sweep.
    pub fallible: u64,
    pub fail_at: Option<u64>,
}

impl Faults {
    pub fn none() -> Self {
        Self {
            rates: vec![0; Fault::ALL.len()],
            counts: vec![0; Fault::ALL.len()],
            fallible: 0,
            fail_at: None,
        }
    }

    /// Nothing fails but the n-th call that can.
    pub fn only(n: u64) -> Self {
        Self { fail_at: Some(n), ..Self::none() }
    }

    /// Draws the kinds and rates of one run. One run in eight suffers from nothing.
    pub fn draw(rng: &mut Rng) -> Self {
        let mut faults = Self::none();
        if rng.one_in(8) {
            return faults;
        }
        let common = rng.range(2, 5);
        for (kind, rate) in Fault::ALL.iter().zip(&mut faults.rates) {
            let most = match kind {
                Fault::ShortRead | Fault::ShortWrite | Fault::ShortDiskRead => 900,
                Fault::ReadAgain | Fault::WriteAgain | Fault::Interrupted | Fault::Spurious => 300,
                Fault::Cut | Fault::SlowMail | Fault::SlowDisk | Fault::ColdFile => 700,
                Fault::Stale | Fault::Late => 300,
                Fault::Reset => 300,
                Fault::Unreachable => 500,
                Fault::ResetOnRead | Fault::ResetOnWrite => 4,
                Fault::Emfile | Fault::AcceptMemory => 800,
                Fault::Aborted => 200,
                Fault::SocketMemory => 4,
                Fault::WatchMemory => 60,
                Fault::ClockJump => 3,
                Fault::SlowSync => 1_000,
                Fault::FailingSync | Fault::NoSpace | Fault::DiskError => 200,
                Fault::FailingOpen | Fault::FailingMeta | Fault::FailingCreate => 100,
                Fault::FailingRename => 200,
                Fault::FailingRemove => 500,
                Fault::ShorterFile => 700,
                Fault::Kqueue | Fault::Unix => 1024,
                Fault::Meanwhile => 300,
                Fault::Reuse | Fault::Full | Fault::TooFast | Fault::Resumed => 0,
                Fault::Reload | Fault::BadReload | Fault::Stop | Fault::Post => 0,
            };
            if most > 0 && rng.one_in(common) {
                *rate = if kind.is_a_kind_of_kernel() { 1024 } else { rng.range(1, most) as u32 };
            }
        }
        faults
    }

    /// Whether the disk can fail.
    pub fn fail_the_disk(&self) -> bool {
        Fault::ALL.iter().any(|&kind| kind.fails_the_disk() && self.has(kind))
    }

    /// Whether a server that wakes up from time to time finds nothing then that has not happened.
    pub fn lets_it_sleep(&self) -> bool {
        ![Fault::Interrupted, Fault::Spurious, Fault::Stale].iter().any(|&kind| self.has(kind))
    }

    /// Whether this kind can happen at all.
    pub fn has(&self, kind: Fault) -> bool {
        self.rates[kind as usize] > 0
    }

    /// How often it happens.
    pub fn rate(&self, kind: Fault) -> u32 {
        self.rates[kind as usize]
    }

    /// Whether it happens now.
    pub fn strike(&mut self, rng: &mut Rng, kind: Fault) -> bool {
        let mut strikes = rng.chance(self.rates[kind as usize]);
        if kind.fails_a_call() {
            self.fallible += 1;
            strikes |= self.fail_at == Some(self.fallible);
        }
        self.counts[kind as usize] += u64::from(strikes);
        strikes
    }

    /// Counts one that has happened.
    pub fn happened(&mut self, kind: Fault) {
        self.counts[kind as usize] += 1;
    }

    /// Fails as often as others do.
    pub fn copy_rates(&mut self, from: &Faults) {
        self.rates.clone_from(&from.rates);
    }

    /// From now on nothing goes wrong.
    pub fn cease(&mut self) {
        for kind in Fault::ALL.iter().filter(|kind| !kind.is_a_kind_of_kernel()) {
            self.rates[*kind as usize] = 0;
        }
        self.fail_at = None;
    }
}
