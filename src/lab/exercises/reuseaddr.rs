//! Binding a port again: with and without SO_REUSEADDR.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, accept, bind, getsockname, listen,
    setsockopt, socket, sockopt,
};

use crate::lab::act::Actor;
use crate::lab::read::calls::Call;
use crate::lab::tool::{DTRUSS, STRACE};
use crate::lab::{Answer, Exercise, Mark, Mistake, Question, Scene, Stage, Tool};

pub const EXERCISE: Exercise = Exercise {
    name: "reuseaddr",
    title: "Binding a port again: SO_REUSEADDR",
    text: "A server had a connection, closed it first, and ended; what is left of it is in TIME-WAIT at the server's port. Now \
           it is started again, and a second copy of it too. You see three sockets that want the same port: one as the \
           kernel makes it, one with SO_REUSEADDR, which then listens, and a second one with SO_REUSEADDR while the other \
           listens.",
    look: "Three calls of `bind` with the same port. For each, look what was set on its descriptor before, and what it \
           returned. 0 is success.",
    read: "socket(7): SO_REUSEADDR; bind(2); tcp(7)",
    source: &[("src/transport/sys/socket.rs", "pub fn listen_tcp")],
    tool: Tool::Strace,
    linux: STRACE,
    macos: DTRUSS,
    stage,
    act,
    marks: &[Mark {
        what: "three attempts to bind",
        seen: |scene| binds(scene).count() >= 3,
        hint: "attach to process {pid} before you press Enter, and let the trace run to the end",
    }],
    questions: &[
        Question {
            key: "without",
            ask: "What became of the attempt without SO_REUSEADDR? (ok, or the name of the error)",
            right: |scene| outcome(scene, 0),
            mistakes: &[Mistake {
                given: |_| Answer::Word("ok"),
                hint: "The port is not free: something of the last connection is left. Look what the first bind returned.",
            }],
            hint: "It stands behind the first bind's result.",
        },
        Question {
            key: "with",
            ask: "And of the one with it? (ok, or the name of the error)",
            right: |scene| outcome(scene, 1),
            mistakes: &[Mistake {
                given: |scene| outcome(scene, 0),
                hint: "That was the attempt before. The option says that what waits for its end does not count.",
            }],
            hint: "It stands behind the second bind's result: a name, or ok for success.",
        },
        Question {
            key: "listening",
            ask: "And of the third, with SO_REUSEADDR too, while another listens? (ok, or the name of the error)",
            right: |scene| outcome(scene, 2),
            mistakes: &[Mistake {
                given: |_| Answer::Word("ok"),
                hint: "Two listeners at one port would be SO_REUSEPORT. Look what the third bind returned.",
            }],
            hint: "It stands behind the third bind's result.",
        },
    ],
    notes: &[
        ("SO_REUSEADDR", "what is in TIME-WAIT shall not count"),
        ("EADDRINUSE", "somebody has it"),
        ("bind(", "success"),
    ],
    lesson: "A port with connections in TIME-WAIT cannot be bound, unless both sockets, the old and the new, have SO_REUSEADDR; \
             so a server sets it always. On Linux it does not let two sockets listen at one port (on Windows an option \
             of the same name does), and that is as it should be: it takes no port away from anybody who uses it.",
};

fn stream() -> io::Result<OwnedFd> {
    Ok(socket(AddressFamily::Inet, SockType::Stream, SockFlag::empty(), None)?)
}

fn reusable() -> io::Result<OwnedFd> {
    let socket = stream()?;
    setsockopt(&socket, sockopt::ReuseAddr, &true)?;
    Ok(socket)
}

fn act(actor: &mut Actor<'_>) -> io::Result<()> {
    let any = SockaddrStorage::from(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    let first = reusable()?;
    bind(first.as_raw_fd(), &any)?;
    listen(&first, Backlog::new(16)?)?;
    let address: SockaddrStorage = getsockname(first.as_raw_fd())?;
    let port = address.as_sockaddr_in().ok_or(io::ErrorKind::AddrNotAvailable)?.port();
    let client = TcpStream::connect(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port))?;
    // Closed here first, so here it waits.
    nix::unistd::close(accept(first.as_raw_fd())?)?;
    drop((client, first));
    actor.tell("port", port)?;
    actor.cue()?;
    let _ = bind(stream()?.as_raw_fd(), &address);
    let again = reusable()?;
    bind(again.as_raw_fd(), &address)?;
    listen(&again, Backlog::new(16)?)?;
    let _ = bind(reusable()?.as_raw_fd(), &address);
    Ok(())
}

fn stage(stage: &mut Stage<'_>) -> io::Result<()> {
    let mut server = stage.cast()?;
    stage.look()?;
    stage.cue(&mut server, "go")?;
    stage.wait(server.pid)
}

fn binds(scene: &Scene) -> impl Iterator<Item = &Call> {
    scene.calls(&["bind"])
}

fn outcome(scene: &Scene, index: usize) -> Answer {
    let error = binds(scene).nth(index).map(|call| call.error.as_str());
    Answer::Word(match error {
        Some("") => "ok",
        Some("EADDRINUSE") => "EADDRINUSE",
        _ => "EINVAL",
    })
}
