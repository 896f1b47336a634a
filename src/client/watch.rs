//! A poller for a program with a handful of descriptors, of whatever kind.
//!
//! Owns the poller and who is watched for what; never the descriptors. Hides two things: that files on a disk and
//! some devices cannot be watched and are simply always ready, and that a hangup cannot be masked, so who
//! is not interested at all must not be watched at all, or the program would spin. Called by the clients' loops.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;

use crate::transport::io::{Event, Interest, Token};
use crate::transport::sys::{Poll, Poller, file};

/// One of the descriptors of a [`Watcher`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key(usize);

/// What a wait has told of a descriptor: hints, as ever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ready {
    /// A read will not block: bytes, EOF or an error are there.
    pub read: bool,
    /// A write will not block, if it is small: see [`file::AT_ONCE`].
    pub write: bool,
    /// Nobody is at the other end. Both of the others are true as well.
    pub hangup: bool,
}

/// Watches descriptors that the caller keeps open for as long as it lives.
pub struct Watcher<'fd> {
    poller: Poller,
    events: Vec<Event>,
    watched: Vec<Watched<'fd>>,
}

struct Watched<'fd> {
    fd: BorrowedFd<'fd>,
    /// What the caller wants to hear; `None`: nothing, not even a hangup.
    wants: Option<Interest>,
    /// What the poller knows of it.
    registered: Option<Interest>,
    /// It cannot be watched.
    always: bool,
    ready: Ready,
}

impl<'fd> Watcher<'fd> {
    /// Watches nothing yet.
    ///
    /// # Errors
    /// EMFILE, ENFILE, ENOMEM.
    pub fn new() -> io::Result<Self> {
        Ok(Self { poller: Poller::new()?, events: Vec::new(), watched: Vec::new() })
    }

    /// Takes a descriptor in, which is not watched before somebody [`want`](Self::want)s to.
    pub fn add(&mut self, fd: BorrowedFd<'fd>) -> Key {
        let (always, ready) = (file::is_on_disk(fd), Ready::default());
        self.watched.push(Watched { fd, wants: None, registered: None, always, ready });
        Key(self.watched.len() - 1)
    }

    /// What the next waits shall tell of this descriptor: `Some(NONE)` only a hangup, `None` nothing.
    pub fn want(&mut self, key: Key, wants: Option<Interest>) {
        self.watched[key.0].wants = wants;
    }

    /// Waits until a descriptor is ready or `until` has come (`None`: never). May come back early, with nothing.
    ///
    /// # Errors
    /// ENOMEM, ENOSPC: the kernel cannot watch a descriptor.
    pub fn wait(&mut self, until: Option<Instant>) -> io::Result<()> {
        for (index, watched) in self.watched.iter_mut().enumerate() {
            watched.ready = Ready::default();
            watched.register(&self.poller, Token(index as u64))?;
        }
        let at_once = self.watched.iter().any(Watched::is_ready_anyway);
        let rest = match until {
            _ if at_once => Some(Duration::ZERO),
            until => until.map(|until| until.saturating_duration_since(Instant::now())),
        };
        self.poller.wait(&mut self.events, rest)?;
        for event in &self.events {
            let ready = &mut self.watched[event.token.0 as usize].ready;
            ready.read |= event.readable || event.hangup;
            ready.write |= event.writable || event.hangup;
            ready.hangup |= event.hangup;
        }
        for watched in self.watched.iter_mut().filter(|watched| watched.is_ready_anyway()) {
            let wants = watched.wants.unwrap_or(Interest::NONE);
            watched.ready = Ready { read: wants.read, write: wants.write, hangup: false };
        }
        Ok(())
    }

    /// What the latest wait has told.
    pub fn ready(&self, key: Key) -> Ready {
        self.watched[key.0].ready
    }

    /// The most that may be written at once without blocking, when it is ready.
    pub fn at_once(&self, key: Key) -> usize {
        // Something on a disk blocks as long as the disk takes, however it is written.
        if self.watched[key.0].always { usize::MAX } else { file::AT_ONCE }
    }
}

impl Watched<'_> {
    fn is_ready_anyway(&self) -> bool {
        self.always && self.wants.is_some_and(|wants| wants != Interest::NONE)
    }

    fn register(&mut self, poller: &Poller, token: Token) -> io::Result<()> {
        if self.always || self.wants == self.registered {
            return Ok(());
        }
        let fd = self.fd.as_raw_fd();
        match (self.registered, self.wants) {
            (None, Some(to)) => match poller.add(fd, token, to) {
                // epoll and kqueue say it of devices like /dev/null.
                Err(Errno::EPERM | Errno::EINVAL | Errno::ENODEV) => {
                    self.always = true;
                    return Ok(());
                }
                added => added?,
            },
            (Some(from), Some(to)) => poller.modify(fd, token, from, to)?,
            (Some(from), None) => poller.forget(fd, from)?,
            (None, None) => {}
        }
        self.registered = self.wants;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{File, OpenOptions};
    use std::io::Write;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn files_and_devices_are_always_ready_for_what_is_wanted() {
        let null = OpenOptions::new().read(true).write(true).open("/dev/null").unwrap();
        let file = File::open(std::env::current_exe().unwrap()).unwrap();
        let mut watcher = Watcher::new().unwrap();
        let keys = [watcher.add(null.as_fd()), watcher.add(file.as_fd())];
        for key in keys {
            watcher.want(key, Some(Interest::READ));
            watcher.wait(None).unwrap();
            assert_eq!(watcher.ready(key), Ready { read: true, write: false, hangup: false });
            watcher.want(key, Some(Interest::NONE));
        }
        watcher.wait(Some(Instant::now())).unwrap();
        assert_eq!(keys.map(|key| watcher.ready(key)), [Ready::default(); 2]);
    }

    #[test]
    fn who_wants_nothing_hears_no_hangup_and_who_wants_it_later_does() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut watcher = Watcher::new().unwrap();
        let key = watcher.add(ours.as_fd());
        watcher.want(key, Some(Interest::NONE));
        watcher.wait(Some(Instant::now())).unwrap();
        assert_eq!(watcher.ready(key), Ready::default());
        drop(theirs);
        watcher.wait(None).unwrap();
        assert_eq!(watcher.ready(key), Ready { read: true, write: true, hangup: true });
        watcher.want(key, None);
        watcher.wait(Some(Instant::now())).unwrap();
        assert_eq!(watcher.ready(key), Ready::default());
        watcher.want(key, Some(Interest::READ));
        watcher.wait(None).unwrap();
        assert!(watcher.ready(key).read);
    }

    #[test]
    fn a_pipe_is_told_like_a_socket() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        let mut watcher = Watcher::new().unwrap();
        let key = watcher.add(reader.as_fd());
        watcher.want(key, Some(Interest::READ));
        watcher.wait(Some(Instant::now())).unwrap();
        assert_eq!(watcher.ready(key), Ready::default());
        writer.write_all(b"x").unwrap();
        watcher.wait(None).unwrap();
        assert_eq!(watcher.ready(key), Ready { read: true, write: false, hangup: false });
        drop(writer);
    }
}
