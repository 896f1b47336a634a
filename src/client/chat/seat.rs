//! The loop of a chat client: wait, read the server, read the input, send, show.
//!
//! Owns the poller, which is asked for everything there is to wait for: the socket, standard input, signals and the
//! deadline of the connection. Nothing else here ever waits, except for an output that takes no more. What is said
//! and shown is decided by a [`Face`]. Called by the program.

use std::fs::File;
use std::io::{self, IoSliceMut, Write};
use std::ops::ControlFlow::{self, Break, Continue};
use std::os::fd::{AsFd, AsRawFd};
use std::time::Instant;

use super::link::{Event, Link, SOCKET, error_of};
use crate::transport::io::{Interest, Io, IoFault, Signal, Token};
use crate::transport::sys::{OsIo, file};

const INPUT: Token = Token(0);

/// Bytes of input that are read at once.
const READ_BYTES: usize = 16 * 1024;

/// To go on, or how it ended.
pub type Outcome<E> = ControlFlow<Result<(), E>>;

/// What stands between the connection and whoever sits in front of it.
pub trait Face {
    /// How it can end badly.
    type Error: From<Broken>;

    /// Whether there is any use for input now.
    fn wants_input(&self, link: &Link) -> bool;

    /// Takes input; none is its end.
    fn input(&mut self, bytes: &[u8], link: &mut Link) -> Outcome<Self::Error>;

    /// Hears what has happened.
    fn hear(&mut self, event: Event, link: &mut Link) -> Outcome<Self::Error>;

    /// Obeys a signal.
    fn signal(&mut self, signal: Signal) -> Outcome<Self::Error>;

    /// Shows what there is to show, at the end of a turn. A broken pipe is a good end: whoever closes the output
    /// early has read enough.
    ///
    /// # Errors
    /// The output cannot be written.
    fn show(&mut self) -> io::Result<()>;
}

/// Something other than the connection is broken.
#[derive(Debug)]
pub enum Broken {
    /// Standard input cannot be read.
    Input(io::Error),
    /// The output cannot be written.
    Output(io::Error),
    /// The system refuses what the loop needs.
    System(io::Error),
}

/// The loop.
pub struct Seat {
    io: OsIo,
    input: Input,
}

impl Seat {
    /// A loop of its own, which from now on hears all signals of a program on a terminal.
    ///
    /// # Errors
    /// EMFILE, ENFILE, ENOMEM.
    pub fn new() -> io::Result<Self> {
        let mut io = OsIo::new()?;
        io.catch_terminal_signals()?;
        Ok(Self { io, input: Input::new() })
    }

    /// Runs until the face says that it is over.
    ///
    /// # Errors
    /// What the face says, or something is [`Broken`].
    pub fn run<E: From<Broken>>(mut self, link: &mut Link, face: &mut dyn Face<Error = E>) -> Result<(), E> {
        let (mut events, mut socket_is_ready) = (Vec::new(), false);
        let outcome = loop {
            if let Break(outcome) = self.turn(link, face, socket_is_ready) {
                break outcome;
            }
            if let Err(error) = self.input.watch(&mut self.io, face.wants_input(link)) {
                break Err(Broken::System(error).into());
            }
            let now = Instant::now();
            let until = if self.input.is_ready() { Some(now) } else { link.deadline() };
            self.io.wait(&mut events, until.map(|until| until.saturating_duration_since(now)));
            socket_is_ready = events.iter().any(|event| event.token == SOCKET);
            self.input.told = events.iter().any(|event| event.token == INPUT);
        };
        // What was said last is still sent, what was heard last still shown.
        link.flush(&mut self.io);
        match shown(face) {
            Break(Err(error)) => outcome.and(Err(error)),
            _ => outcome,
        }
    }

    fn turn<E: From<Broken>>(
        &mut self,
        link: &mut Link,
        face: &mut dyn Face<Error = E>,
        socket_is_ready: bool,
    ) -> Outcome<E> {
        while let Some(signal) = self.io.signal() {
            face.signal(signal)?;
        }
        link.turn(&mut self.io, socket_is_ready);
        hear(link, face)?;
        if self.input.is_ready() {
            let mut bytes = [0; READ_BYTES];
            match read(&mut bytes) {
                Ok(count) => face.input(&bytes[..count], link)?,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Break(Err(Broken::Input(error).into())),
            }
        }
        link.flush(&mut self.io);
        hear(link, face)?;
        shown(face)
    }
}

fn hear<E: From<Broken>>(link: &mut Link, face: &mut dyn Face<Error = E>) -> Outcome<E> {
    while let Some(event) = link.next() {
        face.hear(event, link)?;
    }
    Continue(())
}

fn shown<E: From<Broken>>(face: &mut dyn Face<Error = E>) -> Outcome<E> {
    match face.show() {
        Ok(()) => Continue(()),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Break(Ok(())),
        Err(error) => Break(Err(Broken::Output(error).into())),
    }
}

fn read(bytes: &mut [u8]) -> io::Result<usize> {
    let mut slices = [IoSliceMut::new(bytes), IoSliceMut::new(&mut [])];
    match file::read(io::stdin().as_fd(), &mut slices).map_err(io::Error::from) {
        // A terminal that is gone.
        Err(error) if error.raw_os_error() == Some(file::GONE) => Ok(0),
        result => result,
    }
}

/// Writes all of it, also where somebody has made the output non-blocking.
///
/// # Errors
/// Those of write(2), but EAGAIN and EINTR.
pub fn write_whole(output: &mut File, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match output.write(bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let mut io = OsIo::new()?;
                io.add(output.as_raw_fd(), Token(0), Interest::WRITE).map_err(error_of)?;
                io.wait(&mut Vec::new(), None);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Standard input, which may be anything: a terminal, a pipe, a file.
struct Input {
    is_watched: bool,
    is_wanted: bool,
    /// It cannot be watched, and is always ready.
    always: bool,
    told: bool,
}

impl Input {
    fn new() -> Self {
        let always = file::is_on_disk(io::stdin().as_fd());
        Self { is_watched: false, is_wanted: false, always, told: false }
    }

    fn is_ready(&self) -> bool {
        self.is_wanted && (self.always || self.told)
    }

    /// Who is not wanted must not be watched at all: the end of a pipe cannot be masked.
    fn watch(&mut self, io: &mut OsIo, wanted: bool) -> io::Result<()> {
        self.is_wanted = wanted;
        if self.always || self.is_watched == wanted {
            return Ok(());
        }
        let fd = io::stdin().as_raw_fd();
        if wanted {
            match io.add(fd, INPUT, Interest::READ) {
                Ok(()) => self.is_watched = true,
                Err(IoFault::Other(errno)) if file::UNWATCHABLE.contains(&errno) => self.always = true,
                Err(fault) => return Err(error_of(fault)),
            }
        } else {
            io.forget(fd, Interest::READ);
            self.is_watched = false;
        }
        Ok(())
    }
}
