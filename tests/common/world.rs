//! A kernel made of queues: the whole server runs on it without a socket.
//!
//! `World` implements `Io`. A test connects clients, lets them send, turns the loop and looks at what each client
//! was sent. How unkind the kernel is, is set by `Kernel`: how many bytes a read or write moves, and how often a
//! call that readiness had promised finds nothing after all.
#![allow(dead_code, reason = "each test file uses its part of the world")]

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{BorrowedFd, RawFd};
use std::os::unix::fs::FileExt;
use std::rc::Rc;
use std::time::Duration;

use rawline::api::Peer;
use rawline::transport::io::{AcceptFault, Event, Interest, Io, IoFault, Millis, Signal, Token, Waker};

/// The listener's descriptor; clients come after it.
pub const LISTENER: RawFd = 3;

/// The descriptor of a second listener, for those who want another wire too.
pub const SECOND_LISTENER: RawFd = 2;

/// How the kernel treats its callers.
#[derive(Clone, Copy, Debug)]
pub struct Kernel {
    /// Most bytes in one read.
    pub read_at_most: usize,
    /// Most bytes in one write.
    pub write_at_most: usize,
    /// Every so many reads and writes, one gives EAGAIN although readiness was reported. 0: never.
    pub again_every: usize,
    /// No byte of a file is in memory.
    pub cold: bool,
}

impl Kernel {
    /// One that does all that it is asked.
    pub const KIND: Self =
        Self { read_at_most: usize::MAX, write_at_most: usize::MAX, again_every: 0, cold: false };
}

#[derive(Default)]
struct Socket {
    inbox: VecDeque<u8>,
    sent: Vec<u8>,
    fin: bool,
    /// The connection is broken, and every call says so.
    broken: Option<IoFault>,
    /// Its writes fail, though nothing was reported.
    deaf: bool,
    /// Its end is reported while its bytes are still to be read.
    hung_up: bool,
    /// Bytes that the peer's window takes; `None` is no limit.
    window: Option<usize>,
    watched: Option<(Token, Interest)>,
    end: Option<End>,
}

/// How the server ended a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// FIN was sent, and then the descriptor closed.
    Closed,
    /// RST.
    Aborted,
    /// FIN was sent; the descriptor is still open.
    HalfClosed,
}

struct State {
    kernel: Kernel,
    now: u64,
    calls: usize,
    /// Those who wait to be accepted, and by which listener.
    waiting: VecDeque<(RawFd, RawFd)>,
    sockets: BTreeMap<RawFd, Socket>,
    listening: BTreeMap<RawFd, (Token, Interest)>,
    signal: Option<Signal>,
    next_fd: RawFd,
    /// Descriptors that sockets may have; the spare one is another.
    descriptors: usize,
    spare: bool,
    unwatchable: bool,
    haunted: bool,
    /// Events that nobody asked for, or of those who are watched no more.
    ghosts: Vec<Event>,
    /// Every call that a strace would show, by name.
    ledger: BTreeMap<&'static str, usize>,
}

/// The kernel, shared between the loop and the test.
#[derive(Clone)]
pub struct World(Rc<RefCell<State>>);

impl World {
    pub fn new(kernel: Kernel) -> Self {
        Self(Rc::new(RefCell::new(State {
            kernel,
            now: 0,
            calls: 0,
            waiting: VecDeque::new(),
            sockets: BTreeMap::new(),
            listening: BTreeMap::new(),
            signal: None,
            next_fd: LISTENER + 1,
            descriptors: usize::MAX,
            spare: true,
            unwatchable: false,
            haunted: false,
            ghosts: Vec::new(),
            ledger: BTreeMap::new(),
        })))
    }

    /// A client connects; its port is 40000 + its descriptor.
    pub fn connect(&self) -> RawFd {
        self.connect_to(LISTENER)
    }

    /// The same, by one of the two listeners.
    pub fn connect_to(&self, listener: RawFd) -> RawFd {
        let mut state = self.0.borrow_mut();
        let fd = state.next_fd;
        state.next_fd += 1;
        state.sockets.insert(fd, Socket::default());
        state.waiting.push_back((listener, fd));
        fd
    }

    pub fn send(&self, fd: RawFd, bytes: impl AsRef<[u8]>) {
        self.socket(fd, |socket| socket.inbox.extend(bytes.as_ref()));
    }

    pub fn fin(&self, fd: RawFd) {
        self.socket(fd, |socket| socket.fin = true);
    }

    pub fn rst(&self, fd: RawFd) {
        self.fail(fd, IoFault::Reset);
    }

    /// From here on every call for this socket fails so.
    pub fn fail(&self, fd: RawFd, fault: IoFault) {
        self.socket(fd, |socket| socket.broken = Some(fault));
    }

    /// The kernel has no memory to watch another socket, or has it again.
    pub fn set_watchable(&self, watchable: bool) {
        self.0.borrow_mut().unwatchable = !watchable;
    }

    /// From here on a socket that is watched no more is reported once all the same.
    pub fn haunt(&self) {
        self.0.borrow_mut().haunted = true;
    }

    /// A socket is reported as readable once, whatever it is watched for.
    pub fn report(&self, fd: RawFd) {
        let mut state = self.0.borrow_mut();
        let (token, _) = state.sockets[&fd].watched.expect("it is watched");
        state.ghosts.push(Event { token, readable: true, writable: false, hangup: false });
    }

    /// A write to it is the first to learn that the peer is gone.
    pub fn vanish(&self, fd: RawFd) {
        self.socket(fd, |socket| socket.deaf = true);
    }

    /// The peer of a Unix socket closes it: that is reported at once, and what it has sent is still there.
    pub fn hang_up(&self, fd: RawFd) {
        self.socket(fd, |socket| (socket.fin, socket.deaf, socket.hung_up) = (true, true, true));
    }

    /// The peer reads no more than this from here on.
    pub fn set_window(&self, fd: RawFd, window: Option<usize>) {
        self.socket(fd, |socket| socket.window = window);
    }

    /// From here on so many sockets can be open; one that waits to be accepted needs none.
    pub fn set_descriptors(&self, descriptors: usize) {
        self.0.borrow_mut().descriptors = descriptors;
    }

    pub fn signal(&self, signal: Signal) {
        self.0.borrow_mut().signal = Some(signal);
    }

    pub fn pass(&self, time: Duration) {
        self.0.borrow_mut().now += time.as_millis() as u64;
    }

    /// What the client was sent since the last call, whatever it is.
    pub fn take_bytes(&self, fd: RawFd) -> Vec<u8> {
        self.socket(fd, |socket| std::mem::take(&mut socket.sent))
    }

    /// What the client was sent since the last call.
    pub fn take(&self, fd: RawFd) -> String {
        let sent = self.socket(fd, |socket| std::mem::take(&mut socket.sent));
        String::from_utf8(sent).expect("what clients get is UTF-8")
    }

    pub fn end(&self, fd: RawFd) -> Option<End> {
        self.socket(fd, |socket| socket.end)
    }

    /// How often a call was made.
    pub fn calls(&self, name: &str) -> usize {
        self.0.borrow().ledger.get(name).copied().unwrap_or(0)
    }

    /// Whether anything is left to do for a loop that is not in debt: no unread input, no unaccepted client.
    pub fn is_quiet(&self) -> bool {
        let state = self.0.borrow();
        state.waiting.is_empty() && state.events().is_empty()
    }

    fn socket<R>(&self, fd: RawFd, with: impl FnOnce(&mut Socket) -> R) -> R {
        with(self.0.borrow_mut().sockets.get_mut(&fd).expect("this client has connected"))
    }
}

impl State {
    fn events(&self) -> Vec<Event> {
        let mut events = Vec::new();
        for (&listener, &(token, interest)) in &self.listening {
            if interest.read && self.waiting.iter().any(|waiting| waiting.0 == listener) {
                events.push(Event { token, readable: true, writable: false, hangup: false });
            }
        }
        for socket in self.sockets.values() {
            let Some((token, interest)) = socket.watched else { continue };
            let hangup = socket.broken.is_some() || socket.hung_up;
            let readable = interest.read && (!socket.inbox.is_empty() || socket.fin || hangup);
            let writable = interest.write && (hangup || socket.window != Some(0));
            if readable || writable || hangup {
                events.push(Event { token, readable, writable, hangup });
            }
        }
        events
    }

    fn closed(&self) -> usize {
        let is_closed = |socket: &&Socket| matches!(socket.end, Some(End::Closed | End::Aborted));
        self.sockets.values().filter(is_closed).count()
    }

    fn count(&mut self, name: &'static str) {
        *self.ledger.entry(name).or_default() += 1;
    }

    fn again(&mut self) -> bool {
        self.calls += 1;
        self.kernel.again_every > 0 && self.calls.is_multiple_of(self.kernel.again_every)
    }
}

impl Io for World {
    fn now(&mut self) -> Millis {
        Millis(self.0.borrow().now)
    }

    /// Never waits: time passes only when the test says so.
    fn wait(&mut self, events: &mut Vec<Event>, _: Option<Duration>) {
        let mut state = self.0.borrow_mut();
        state.count("wait");
        events.clear();
        events.extend(state.events());
        events.append(&mut state.ghosts);
    }

    fn waker(&self) -> Waker {
        Waker::new(|| {})
    }

    fn signal(&mut self) -> Option<Signal> {
        self.0.borrow_mut().signal.take()
    }

    fn accept(&mut self, listener: RawFd) -> Result<(RawFd, Peer), AcceptFault> {
        let mut state = self.0.borrow_mut();
        state.count("accept");
        let open = state.sockets.len() - state.waiting.len() - state.closed();
        if open >= state.descriptors + usize::from(!state.spare) {
            return Err(AcceptFault::NoDescriptors);
        }
        let first = state.waiting.iter().position(|waiting| waiting.0 == listener);
        let (_, fd) = first.and_then(|at| state.waiting.remove(at)).ok_or(AcceptFault::WouldBlock)?;
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], 40_000 + fd as u16));
        Ok((fd, address.into()))
    }

    fn give_up_spare(&mut self) -> bool {
        std::mem::take(&mut self.0.borrow_mut().spare)
    }

    fn keep_spare(&mut self) {
        let mut state = self.0.borrow_mut();
        let open = state.sockets.len() - state.waiting.len() - state.closed();
        state.spare |= open <= state.descriptors;
    }

    fn add(&mut self, fd: RawFd, token: Token, interest: Interest) -> Result<(), IoFault> {
        let mut state = self.0.borrow_mut();
        state.count("add");
        if fd <= LISTENER {
            state.listening.insert(fd, (token, interest));
        } else if state.unwatchable {
            return Err(IoFault::NoMemory);
        } else {
            state.sockets.get_mut(&fd).unwrap().watched = Some((token, interest));
        }
        Ok(())
    }

    fn modify(&mut self, fd: RawFd, token: Token, from: Interest, to: Interest) -> Result<(), IoFault> {
        let mut state = self.0.borrow_mut();
        state.count("modify");
        let watched = if fd <= LISTENER {
            state.listening.insert(fd, (token, to))
        } else {
            state.sockets.get_mut(&fd).unwrap().watched.replace((token, to))
        };
        assert_eq!(watched, Some((token, from)), "the loop knows what is watched");
        Ok(())
    }

    fn remove(&mut self, fd: RawFd, interest: Interest) {
        let mut state = self.0.borrow_mut();
        let watched = if fd <= LISTENER {
            state.listening.remove(&fd)
        } else {
            state.sockets.get_mut(&fd).unwrap().watched.take()
        };
        let (token, was) = watched.expect("removed once");
        assert_eq!(was, interest, "removed as it is watched");
        if state.haunted {
            state.ghosts.push(Event { token, readable: true, writable: true, hangup: true });
        }
    }

    fn forget(&mut self, fd: RawFd, interest: Interest) {
        let mut state = self.0.borrow_mut();
        state.count("forget");
        let watched = state.sockets.get_mut(&fd).unwrap().watched.take();
        assert_eq!(watched.map(|(_, was)| was), Some(interest), "forgotten as it is watched");
    }

    fn read(&mut self, fd: RawFd, into: &mut [IoSliceMut<'_>; 2]) -> Result<usize, IoFault> {
        let mut state = self.0.borrow_mut();
        state.count("read");
        if state.again() {
            return Err(IoFault::WouldBlock);
        }
        let most = state.kernel.read_at_most;
        let socket = state.sockets.get_mut(&fd).unwrap();
        assert!(!matches!(socket.end, Some(End::Closed | End::Aborted)), "a closed descriptor is not read");
        if let Some(fault) = socket.broken {
            return Err(fault);
        }
        let (mut room, mut n) = (most, 0);
        for part in into.iter_mut() {
            let take = part.len().min(socket.inbox.len()).min(room);
            for (to, from) in part.iter_mut().zip(socket.inbox.drain(..take)) {
                *to = from;
            }
            (room, n) = (room - take, n + take);
        }
        if n == 0 && !socket.fin { Err(IoFault::WouldBlock) } else { Ok(n) }
    }

    fn write(&mut self, fd: RawFd, from: &[IoSlice<'_>]) -> Result<usize, IoFault> {
        let mut state = self.0.borrow_mut();
        state.count("write");
        if state.again() {
            return Err(IoFault::WouldBlock);
        }
        let most = state.kernel.write_at_most;
        let socket = state.sockets.get_mut(&fd).unwrap();
        assert!(socket.end.is_none(), "nothing is written behind FIN");
        if let Some(fault) = socket.broken.or(socket.deaf.then_some(IoFault::Reset)) {
            return Err(fault);
        }
        let room = most.min(socket.window.unwrap_or(usize::MAX));
        if room == 0 {
            return Err(IoFault::WouldBlock);
        }
        let before = socket.sent.len();
        socket.sent.extend(from.iter().flat_map(|slice| slice.iter()).take(room));
        let n = socket.sent.len() - before;
        assert!(n > 0, "nobody writes nothing");
        if let Some(window) = &mut socket.window {
            *window -= n;
        }
        Ok(n)
    }

    /// Reads the file, so that what a client gets is cut by the same rules as everything else.
    fn send_file(
        &mut self,
        fd: RawFd,
        head: &[u8],
        file: BorrowedFd<'_>,
        offset: u64,
        count: usize,
    ) -> Result<usize, IoFault> {
        let file = File::from(file.try_clone_to_owned().unwrap());
        let mut bytes = vec![0; count];
        let n = file.read_at(&mut bytes, offset).unwrap();
        self.0.borrow_mut().count("send_file");
        if head.is_empty() && n == 0 {
            return Ok(0);
        }
        self.write(fd, &[IoSlice::new(head), IoSlice::new(&bytes[..n])])
    }

    /// There are no segments here.
    fn cork(&mut self, _: RawFd, _: bool) {}

    fn is_cached(&mut self, _: BorrowedFd<'_>, _: u64, _: usize) -> bool {
        !self.0.borrow().kernel.cold
    }

    fn shutdown_write(&mut self, fd: RawFd) {
        self.socket(fd, |socket| socket.end = Some(End::HalfClosed));
    }

    fn close(&mut self, fd: RawFd) {
        if fd <= LISTENER {
            return;
        }
        self.socket(fd, |socket| {
            assert!(socket.watched.is_none(), "removed before it is closed");
            assert!(!matches!(socket.end, Some(End::Closed | End::Aborted)), "closed once");
            socket.end = Some(End::Closed);
        });
    }

    fn abort(&mut self, fd: RawFd) {
        self.socket(fd, |socket| {
            assert!(!matches!(socket.end, Some(End::Closed | End::Aborted)), "closed once");
            socket.end = Some(End::Aborted);
        });
    }
}
