//! Timeouts: SO_SNDTIMEO, SO_RCVTIMEO, and a timer of one's own.

use std::io;
use std::net::TcpStream;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, connect, setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};

use crate::lab::act::Actor;
use crate::lab::read::calls::Call;
use crate::lab::stage::{at, until};
use crate::lab::{Answer, Exercise, Mark, Mistake, Question, Scene, Stage, Tool};
use crate::transport::io::{Interest, Token};
use crate::transport::sys::{self, Poll, Poller};

pub const EXERCISE: Exercise = Exercise {
    name: "timeouts",
    title: "Timeouts of a connect: an option or a timer",
    text: "A process connects to an address that never answers: a listener whose queue is full. First it blocks, on a socket with \
           both SO_RCVTIMEO (a fifth of a second) and SO_SNDTIMEO (a little more than half a second). Then it does what this \
           project's clients do: a socket that never blocks, and a poller that waits until a deadline of its own. Last it reads \
           from a living connection that has only SO_RCVTIMEO and on which nothing comes.",
    look: "-T shows at the end of each line, in angle brackets, how long the call took. Compare it with the options that were set, \
           and note with which error each call came back.",
    read: "socket(7): SO_RCVTIMEO, SO_SNDTIMEO; connect(2): EINPROGRESS; recv(2)",
    source: &[("src/client/dial.rs", "fn step"), ("src/transport/sys/socket.rs", "pub fn is_connected")],
    tool: Tool::Strace,
    linux: "strace -T -p {pid} -o {file}",
    macos: "dtruss -e -p {pid} 2> {file}",
    stage,
    act,
    marks: &[
        Mark {
            what: "a connect that ran out of time",
            seen: |scene| connects(scene).count() >= 1,
            hint: "attach to process {pid} before you press Enter, and do not narrow the trace to some calls",
        },
        Mark {
            what: "the connect that did not block, and the wait behind it",
            seen: |scene| connects(scene).count() >= 2 && waited(scene).is_some(),
            hint: "let the trace run until the lab says that all is done",
        },
        Mark {
            what: "the read that ran out of time",
            seen: |scene| read(scene).is_some(),
            hint: "let the trace run until the lab says that all is done",
        },
    ],
    questions: &[
        Question {
            key: "option",
            ask: "Which option bounded the connect that blocked? (SO_RCVTIMEO or SO_SNDTIMEO)",
            right: |_| Answer::Word("SO_SNDTIMEO"),
            mistakes: &[Mistake {
                given: |_| Answer::Word("SO_RCVTIMEO"),
                hint: "How long did it take, and which of the two had that value? The values stand in the setsockopt lines.",
            }],
            hint: "One of the two names.",
        },
        Question {
            key: "connect",
            ask: "With which error did that connect come back?",
            right: |scene| Answer::Word(name(connects(scene).next())),
            mistakes: &[
                Mistake {
                    given: |_| Answer::Word("ETIMEDOUT"),
                    hint: "That is what the kernel says when it gives up by itself, after about two minutes. Look at the \
                           name behind the -1.",
                },
                Mistake {
                    given: |_| Answer::Word("EAGAIN"),
                    hint: "One would think so, and a read behaves like that. Look at the name behind the -1.",
                },
            ],
            hint: "It is the name behind the -1.",
        },
        Question {
            key: "wait",
            ask: "What did the poller's wait return when the deadline came? (a number)",
            right: |scene| Answer::Number(waited(scene).and_then(|call| call.result).unwrap_or(-1)),
            mistakes: &[Mistake {
                given: |_| Answer::Number(-1),
                hint: "A deadline is no error for a poller. What is behind the = ?",
            }],
            hint: "It is the number of events.",
        },
    ],
    notes: &[
        ("SO_SNDTIMEO", "for what sends; connect sends a SYN"),
        ("SO_RCVTIMEO", "for what receives; connect is not concerned"),
        ("EINPROGRESS", "not yet, and the handshake goes on"),
        ("epoll_wait(", "a deadline of one's own: it returns that nothing is ready"),
        ("EAGAIN", "nothing came in time"),
    ],
    lesson: "SO_RCVTIMEO does not bound a connect; on Linux SO_SNDTIMEO does, and the call returns EINPROGRESS, not ETIMEDOUT: the \
             handshake is still under way, so the socket must be closed, not used. A read that runs out of time says EAGAIN. \
             A timer of one's own has none of these surprises, bounds several sockets at once, and can bound a whole \
             request instead of each call.",
};

/// A stream that blocks, or not.
fn stream(flags: SockFlag) -> io::Result<OwnedFd> {
    Ok(socket(AddressFamily::Inet, SockType::Stream, flags, None)?)
}

fn act(actor: &mut Actor<'_>) -> io::Result<()> {
    let listener = sys::socket::listen_tcp(at(0), 0, &sys::socket::SocketOptions::default())?;
    let full = sys::socket::local_addr(&listener)?;
    let first = TcpStream::connect(full)?;
    // Those beyond the queue hear nothing.
    let (mut poller, mut events) = (Poller::new()?, Vec::new());
    let mut others = Vec::new();
    until("the queue is full", || {
        others.extend(sys::socket::connect_tcp(full));
        let _ = poller.wait(&mut events, Some(Duration::from_millis(20)));
        others.last().is_some_and(|last| sys::socket::is_connected(last) == Ok(false))
    })?;
    let address = SockaddrStorage::from(full);
    actor.cue()?;
    let blocking = stream(SockFlag::empty())?;
    setsockopt(&blocking, sockopt::ReceiveTimeout, &TimeVal::milliseconds(200))?;
    setsockopt(&blocking, sockopt::SendTimeout, &TimeVal::milliseconds(600))?;
    let _ = connect(blocking.as_raw_fd(), &address);
    let patient = sys::socket::connect_tcp(full)?;
    poller.add(patient.as_raw_fd(), Token(7), Interest::WRITE)?;
    poller.wait(&mut events, Some(Duration::from_millis(400)))?;
    first.set_read_timeout(Some(Duration::from_millis(300)))?;
    let _ = io::Read::read(&mut &first, &mut [0; 8]);
    Ok(())
}

fn stage(stage: &mut Stage<'_>) -> io::Result<()> {
    let mut client = stage.cast()?;
    stage.look()?;
    stage.cue(&mut client, "go")?;
    stage.wait(client.pid)
}

fn connects(scene: &Scene) -> impl Iterator<Item = &Call> {
    scene.calls(&["connect"]).filter(|call| call.result.is_some())
}

fn waited(scene: &Scene) -> Option<&Call> {
    scene.calls(&["epoll_wait", "kevent"]).find(|call| call.result.is_some())
}

fn read(scene: &Scene) -> Option<&Call> {
    scene.calls(&["recvfrom"]).find(|call| call.error == "EAGAIN")
}

fn name(call: Option<&Call>) -> &'static str {
    match call.map(|call| call.error.as_str()) {
        Some("EINPROGRESS") => "EINPROGRESS",
        Some("EAGAIN") => "EAGAIN",
        _ => "ETIMEDOUT",
    }
}
