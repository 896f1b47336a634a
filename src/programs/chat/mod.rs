//! `rawline chat`: a seat in the chat, for a person at a terminal or for a program in a pipe.
//!
//! Owns the one loop: wait, read the server, read the input, send, show. What there is to wait for is the
//! poller's: the socket, standard input, signals and the deadline of the connection. The two [`Face`]s decide what is
//! said and shown; neither they nor the link ever wait.
//!
//! ```text
//! keys ─► editor ─► row ─┐
//!                        ├─► screen (terminal.rs)         link.rs ◄─► session (library)
//! news ─► look ─► lines ─┘   or plain output (pipe.rs)
//! ```

mod command;
mod editor;
mod keys;
mod link;
mod look;
mod pipe;
mod screen;
mod terminal;
mod width;

use std::env;
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::ops::ControlFlow::{self, Break, Continue};
use std::os::fd::{AsFd, AsRawFd};
use std::time::Instant;

use nix::errno::Errno;
use rawline::client::chat::{json_rpc, lines};
use rawline::transport::file;
use rawline::transport::io::{Interest, Io, IoFault, OsIo, Signal, Token};

use super::failed;
use crate::Failure;
use crate::cli::chat::{Chat, Colour};
use link::{Event, Link, Plan, SOCKET};
use look::Look;

const INPUT: Token = Token(0);

/// Bytes of input that are read at once.
const READ_BYTES: usize = 16 * 1024;

/// To go on, or how it ended.
type Outcome = ControlFlow<Result<(), Failure>>;

/// What stands between the connection and whoever sits in front of it.
trait Face {
    /// Whether there is any use for input now.
    fn wants_input(&self, link: &Link) -> bool;
    /// Takes input; none is its end.
    fn input(&mut self, bytes: &[u8], link: &mut Link) -> Outcome;
    /// Hears what has happened.
    fn hear(&mut self, event: Event, link: &mut Link) -> Outcome;
    /// Obeys a signal.
    fn signal(&mut self, signal: Signal) -> Outcome;
    /// Shows what there is to show, at the end of a turn.
    fn flush(&mut self) -> io::Result<()>;
}

/// Runs it to its end.
///
/// # Errors
/// No connection, or something was not said.
pub fn run(chat: Chat) -> Result<(), Failure> {
    let (stdin, stdout) = (io::stdin().is_terminal(), io::stdout().is_terminal());
    let can_draw = stdout && env::var_os("TERM").is_some_and(|term| term != "dumb");
    let colour = match chat.colour {
        Colour::Always => true,
        Colour::Never => false,
        Colour::Auto => can_draw && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
    };
    let look = Look { colour, timestamps: chat.timestamps };

    let mut io = OsIo::new().map_err(Failure::system)?;
    io.catch_terminal_signals().map_err(Failure::system)?;
    let session = match (chat.line, chat.json) {
        (true, _) => lines,
        (false, true) => || json_rpc(true),
        (false, false) => || json_rpc(false),
    };
    let mut link =
        Link::new(Plan { to: chat.to, timeout: chat.timeout, reconnect: chat.reconnect, session })?;
    let mut face: Box<dyn Face> = if stdin && can_draw && !chat.json {
        let to = link.to().to_string();
        Box::new(terminal::Terminal::new(look, chat.name, &to).map_err(Failure::system)?)
    } else {
        let is_person = stdin && !chat.json;
        Box::new(pipe::Pipe::new(look, chat.json, is_person, chat.name).map_err(Failure::system)?)
    };
    let outcome = turns(&mut io, &mut link, &mut *face);
    // What was said last is still sent, what was heard last still shown.
    link.flush(&mut io);
    match face.flush() {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => outcome.and(Err(unwritten(&error))),
        _ => outcome,
    }
}

fn turns(io: &mut OsIo, link: &mut Link, face: &mut dyn Face) -> Result<(), Failure> {
    let mut input = Input::new();
    let mut events = Vec::new();
    let mut socket_is_ready = false;
    loop {
        match turn(io, link, face, &mut input, socket_is_ready) {
            Continue(()) => {}
            Break(result) => return result,
        }
        input.watch(io, face.wants_input(link)).map_err(Failure::system)?;
        let now = Instant::now();
        let until = if input.is_ready() { Some(now) } else { link.deadline() };
        io.wait(&mut events, until.map(|until| until.saturating_duration_since(now)));
        socket_is_ready = events.iter().any(|event| event.token == SOCKET);
        input.told = events.iter().any(|event| event.token == INPUT);
    }
}

fn turn(io: &mut OsIo, link: &mut Link, face: &mut dyn Face, input: &mut Input, ready: bool) -> Outcome {
    while let Some(signal) = io.signal() {
        face.signal(signal)?;
    }
    link.turn(io, ready);
    hear(link, face)?;
    if input.is_ready() {
        let mut bytes = [0; READ_BYTES];
        match nix::unistd::read(io::stdin(), &mut bytes) {
            Ok(count) => face.input(&bytes[..count], link)?,
            Err(Errno::EINTR | Errno::EAGAIN) => {}
            // A terminal that is gone.
            Err(Errno::EIO) => face.input(&[], link)?,
            Err(error) => {
                return Break(Err(failed(format!("the input cannot be read: {}", io::Error::from(error)))));
            }
        }
    }
    link.flush(io);
    hear(link, face)?;
    match face.flush() {
        Ok(()) => Continue(()),
        // Whoever closes the output early has read enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Break(Ok(())),
        Err(error) => Break(Err(unwritten(&error))),
    }
}

fn hear(link: &mut Link, face: &mut dyn Face) -> Outcome {
    while let Some(event) = link.next() {
        face.hear(event, link)?;
    }
    Continue(())
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
                // epoll and kqueue say it of devices like /dev/null.
                Err(IoFault::Other(libc::EPERM | libc::EINVAL | libc::ENODEV)) => self.always = true,
                Err(IoFault::Other(errno)) => return Err(io::Error::from_raw_os_error(errno)),
                Err(_) => return Err(io::ErrorKind::OutOfMemory.into()),
            }
        } else {
            io.forget(fd, Interest::READ);
            self.is_watched = false;
        }
        Ok(())
    }
}

/// Writes all of it, also where somebody has made the output non-blocking.
fn write_whole(output: &mut File, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match output.write(bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let mut io = OsIo::new()?;
                if io.add(output.as_raw_fd(), Token(0), Interest::WRITE).is_err() {
                    return Err(error);
                }
                io.wait(&mut Vec::new(), None);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn lost(why: &str) -> Failure {
    failed(format!("the connection is lost: {why}"))
}

fn unwritten(error: &io::Error) -> Failure {
    failed(format!("the output cannot be written: {error}"))
}

/// As much of a message as tells which it is.
fn shown(text: &str) -> String {
    const SHOWN: usize = 60;
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.into(),
    }
}
