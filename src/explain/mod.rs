//! What a request costs: the system calls that it makes on the server, said beforehand and then counted.
//!
//! The same server runs twice, step by step. First on a kernel of queues that never says no (`ideal.rs`): that is the
//! prediction. Then on the real one, with real sockets: that is the measurement. Both are written down call by call
//! ([`ledger`]), so where they differ the real kernel has answered something else, and the ledger has its answer. Waits
//! stand apart: how often a loop wakes up is the scheduler's affair. Nothing here prints; `rawline explain` does.

mod ideal;
pub mod ledger;

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{IntoRawFd, RawFd};

use crate::api::{Service, Wire};
use crate::limits::Limits;
use crate::transport::event_loop::EventLoop;
use crate::transport::io::Io;
use crate::transport::sys::OsIo;
use crate::transport::sys::socket::{SocketOptions, listen_tcp, local_addr};
use ideal::{Ideal, LISTENER};
use ledger::{Entry, Ledger, Outcome, Recorder};

/// Turns in a row in which nothing but a wait happened, after which a request is over.
const QUIET: usize = 3;
/// More turns than any request takes: a server that does not come to rest has a bug.
const MOST_TURNS: usize = 1_000_000;

/// What is to be explained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// What the clients speak: JSON-RPC, lines or echo.
    pub wire: Wire,
    /// What the client has said before, at no cost here.
    pub before: Vec<Vec<u8>>,
    /// The bytes, sent at once.
    pub bytes: Vec<u8>,
    /// Everybody who is connected, the one who asks included: at least 1.
    pub clients: usize,
}

/// Both ledgers.
pub struct Explanation {
    /// What the server does on a kernel that never says no.
    pub predicted: Ledger,
    /// What it did on this one.
    pub measured: Ledger,
}

/// A kind of call on one side of the conversation, how often, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// As strace names it.
    pub call: &'static str,
    /// Whose connection: the one who asks, or the others.
    pub of: &'static str,
    /// How often, beforehand.
    pub predicted: usize,
    /// How often it was.
    pub measured: usize,
    /// A sentence.
    pub why: String,
    /// Why the two differ, if they do.
    pub difference: Option<String>,
}

/// Predicts and measures. `service` makes a service as the server has it at start.
///
/// # Errors
/// No loopback, or not enough descriptors.
pub fn explain<S: Service>(request: &Request, service: impl Fn() -> S) -> io::Result<Explanation> {
    let mut ideal = Ideal::default();
    let predicted = run(request, ideal.clone(), &mut ideal, LISTENER, service())?;

    let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
    let listener = listen_tcp(loopback, 4096, &SocketOptions::default())?;
    let mut clients = Real { address: local_addr(&listener)?, clients: Vec::new() };
    let measured = run(request, OsIo::new()?, &mut clients, listener.into_raw_fd(), service())?;
    Ok(Explanation { predicted, measured })
}

/// The clients of a server, whatever the kernel is.
trait Clients {
    /// Somebody connects.
    fn connect(&mut self) -> io::Result<()>;
    /// A client says this.
    fn send(&mut self, client: usize, bytes: &[u8]) -> io::Result<()>;
    /// Everybody reads what has come, and goes on with what he says; how many bytes that were.
    fn go_on(&mut self) -> io::Result<usize>;
}

/// Real sockets.
struct Real {
    address: SocketAddr,
    /// Each with what it has still to say.
    clients: Vec<(TcpStream, Vec<u8>)>,
}

impl Clients for Real {
    fn connect(&mut self) -> io::Result<()> {
        let stream = TcpStream::connect(self.address)?;
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        self.clients.push((stream, Vec::new()));
        Ok(())
    }

    fn send(&mut self, client: usize, bytes: &[u8]) -> io::Result<()> {
        self.clients[client].1.extend_from_slice(bytes);
        self.go_on().map(drop)
    }

    fn go_on(&mut self) -> io::Result<usize> {
        let mut moved = 0;
        let mut buffer = [0; 64 * 1024];
        for (stream, unsaid) in &mut self.clients {
            while !unsaid.is_empty() {
                match stream.write(unsaid) {
                    Ok(n) => {
                        unsaid.drain(..n);
                        moved += n;
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    // The server has closed: nobody hears the rest.
                    Err(_) => unsaid.clear(),
                }
            }
            while let Ok(n @ 1..) = stream.read(&mut buffer) {
                moved += n;
            }
        }
        Ok(moved)
    }
}

/// The ledger of the request alone.
fn run<I: Io, S: Service>(
    request: &Request,
    io: I,
    clients: &mut impl Clients,
    listener: RawFd,
    service: S,
) -> io::Result<Ledger> {
    let ledger = Ledger::default();
    let limits = Limits { max_connections: request.clients + 1, ..Limits::default() };
    let broken = |what: &dyn std::fmt::Debug| io::Error::other(format!("{what:?}"));
    let mut event_loop =
        EventLoop::new(Recorder::new(io, &ledger), service, limits).map_err(|error| broken(&error))?;
    event_loop.listen(request.wire, listener).map_err(|fault| broken(&fault))?;
    for client in 0..request.clients {
        clients.connect()?;
        if request.wire == Wire::Line {
            // Only who has a name hears.
            clients.send(client, format!("Guest{}\n", client + 1).as_bytes())?;
        }
    }
    settle(clients, &mut event_loop, &ledger)?;
    for bytes in &request.before {
        clients.send(0, bytes)?;
        settle(clients, &mut event_loop, &ledger)?;
    }
    ledger.take();
    clients.send(0, &request.bytes)?;
    settle(clients, &mut event_loop, &ledger)?;
    Ok(ledger.take())
}

/// Turns until nothing happens any more.
fn settle<I: Io, S: Service>(
    clients: &mut impl Clients,
    event_loop: &mut EventLoop<Recorder<I>, S>,
    ledger: &Ledger,
) -> io::Result<()> {
    let mut quiet = 0;
    for _ in 0..MOST_TURNS {
        let before = ledger.len();
        event_loop.turn();
        let moved = clients.go_on()?;
        quiet = if ledger.len() == before && moved == 0 { quiet + 1 } else { 0 };
        if quiet == QUIET {
            return Ok(());
        }
    }
    Err(io::Error::new(ErrorKind::TimedOut, "the server does not come to rest"))
}

const ASKER: &str = "who asks";
const OTHERS: &str = "the others";

impl Explanation {
    /// A row for each kind of call, in the order in which they are first made.
    pub fn rows(&self) -> Vec<Row> {
        let (predicted, measured) = (self.predicted.entries(), self.measured.entries());
        let mut rows: Vec<Row> = Vec::new();
        for entry in predicted.iter().chain(&measured) {
            let (call, of) = (entry.call, side(entry));
            if rows.iter().any(|row| (row.call, row.of) == (call, of)) {
                continue;
            }
            let own = |entries: &[Entry]| -> Vec<Entry> {
                let same = |entry: &&Entry| (entry.call, side(entry)) == (call, of);
                entries.iter().filter(same).cloned().collect()
            };
            let (predicted, measured) = (own(&predicted), own(&measured));
            let why = why(call, of, if predicted.is_empty() { &measured } else { &predicted });
            let difference = (predicted.len() != measured.len()).then(|| difference(call, &measured));
            let (predicted, measured) = (predicted.len(), measured.len());
            rows.push(Row { call, of, predicted, measured, why, difference });
        }
        rows
    }
}

fn side(entry: &Entry) -> &'static str {
    if entry.client == Some(0) { ASKER } else { OTHERS }
}

fn bytes_of(entries: &[Entry]) -> usize {
    let moved = entries.iter().map(|entry| if let Outcome::Bytes(n) = entry.outcome { n } else { 0 });
    moved.sum()
}

fn why(call: &str, of: &str, entries: &[Entry]) -> String {
    let bytes = bytes_of(entries);
    let is_brimful = entries.iter().any(|entry| entry.outcome == Outcome::Again);
    match (call, of) {
        ("recvfrom" | "readv", _) if is_brimful => format!(
            "the request arrives, {bytes} bytes: each read was filled to the brim, so one more had to find that there is no more"
        ),
        ("recvfrom" | "readv", _) => {
            format!(
                "the request arrives, {bytes} bytes: a read that is not filled says that the socket is empty"
            )
        }
        ("sendto", ASKER) => {
            format!("the answer, {bytes} bytes: all that a client gets in a turn leaves in one write")
        }
        ("sendmsg", ASKER) => format!(
            "the answer, {bytes} bytes in several pieces: what was said to all is sent without what is not for this client"
        ),
        ("sendto" | "sendmsg", _) => {
            format!("what they hear, {bytes} bytes: one write for each, of bytes that were rendered once")
        }
        ("epoll_ctl" | "kevent", _) => {
            "the server wants to hear of something else: of room, or no more of input".into()
        }
        ("shutdown", _) => "FIN behind a refusal, so that its text arrives before the end".into(),
        ("setsockopt", _) => "SO_LINGER 0: the close that follows is a cut, RST".into(),
        ("close", _) => "the connection is over".into(),
        (_, _) => "a part of the request".into(),
    }
}

/// What the real kernel answered that the other would not have.
fn difference(call: &str, measured: &[Entry]) -> String {
    let short = measured.iter().find_map(|entry| match entry.outcome {
        Outcome::Bytes(n) if n < entry.offered => Some((n, entry.offered)),
        _ => None,
    });
    let failed = measured.iter().find_map(|entry| match &entry.outcome {
        Outcome::Failed(why) => Some(why),
        _ => None,
    });
    if let Some(why) = failed {
        return format!("the kernel refused: {why}");
    }
    match call {
        "recvfrom" | "readv" => {
            let moved = measured.iter().filter(|entry| matches!(entry.outcome, Outcome::Bytes(1..)));
            format!(
                "the bytes came in {} pieces, as the network and the socket's buffer cut them",
                moved.count()
            )
        }
        "sendto" | "sendmsg" => match short {
            Some((n, offered)) => {
                format!("the socket's buffer took {n} of {offered} bytes, and the rest when there was room")
            }
            None if measured.iter().any(|entry| entry.outcome == Outcome::Again) => {
                "the socket's buffer had no room, and was tried again when it had".into()
            }
            None => "the request came in other pieces, and an answer leaves in the turn in which it was made"
                .into(),
        },
        "epoll_ctl" | "kevent" => {
            "behind a write that came up short the server asks to be told of room, and takes that back".into()
        }
        _ => "the other side was slower or quicker than on a kernel that is always ready".into(),
    }
}
