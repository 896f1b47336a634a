//! A short write, and asking for writability.

use std::io::{self, Read, Write};

use nix::sys::signal::Signal;
use nix::sys::socket::{setsockopt, sockopt};

use crate::lab::act::nobody;
use crate::lab::read::calls::Call;
use crate::lab::stage::{connect, until};
use crate::lab::tool::{DTRUSS, STRACE};
use crate::lab::{Answer, Exercise, Mark, Mistake, Question, Scene, Stage, Tool};

pub const EXERCISE: Exercise = Exercise {
    name: "shortwrite",
    title: "A short write, EAGAIN and EPOLLOUT",
    text: "A client of the echo service sends and sends, and does not read what comes back. At some point the kernel takes less of \
           the server than it offers: the socket's buffer is full. The server must not wait, since others want to be served. \
           (The lab stops \
           the server for a moment, so that much has come when it begins.) Then the client reads everything, and the server can go on where it stopped.",
    look: "Find the first send that returns less than its third argument. Which call comes next for that descriptor, and what \
           does it ask for? When is it taken back?",
    read: "send(2): EAGAIN; epoll_ctl(2): EPOLLOUT; on macOS kqueue(2): EVFILT_WRITE",
    source: &[
        ("src/transport/hub.rs", "fn flush"),
        ("src/transport/connection.rs", "pub fn wanted"),
        ("src/transport/event_loop/mod.rs", "fn rearm"),
    ],
    tool: Tool::Strace,
    linux: STRACE,
    macos: DTRUSS,
    stage,
    act: nobody,
    marks: &[
        Mark {
            what: "a send that was cut short",
            seen: |scene| short(scene).is_some(),
            hint: "attach to process {pid} before you press Enter, and do not narrow the trace to some calls",
        },
        Mark {
            what: "the server asking to be told",
            seen: |scene| asking(scene).is_some(),
            hint: "do not narrow the trace to some calls",
        },
        Mark {
            what: "its being taken back when the rest is sent",
            seen: |scene| rest(scene),
            hint: "let the trace run until the lab says that all is done",
        },
    ],
    questions: &[
        Question {
            key: "taken",
            ask: "How many bytes did the kernel take of the first send that was cut short?",
            right: |scene| Answer::Number(short(scene).and_then(|call| call.result).unwrap_or(-1)),
            mistakes: &[Mistake {
                given: |scene| Answer::Number(short(scene).map_or(-1, |call| call.number(2))),
                hint: "That is how much was offered. What did the call return?",
            }],
            hint: "It is the first result of a send that is smaller than its third argument.",
        },
        Question {
            key: "call",
            ask: "Which call asks the poller to tell when there is room?",
            right: |scene| {
                Answer::Word(
                    asking(scene)
                        .map_or("", |call| if call.name == "kevent" { "kevent" } else { "epoll_ctl" }),
                )
            },
            mistakes: &[
                Mistake {
                    given: |_| Answer::Word("epoll_wait"),
                    hint: "That is where it hears of it. Where does it say what it wants to hear?",
                },
                Mistake {
                    given: |_| Answer::Word("sendto"),
                    hint: "To try again at once would be to spin. Look at the calls after it with the same descriptor.",
                },
            ],
            hint: "Look at the first call after it that names the same descriptor.",
        },
        Question {
            key: "reading",
            ask: "Did the server go on reading from that client, as much as it sends, until all was taken? (yes or no)",
            right: |_| Answer::Word("no"),
            mistakes: &[Mistake {
                given: |_| Answer::Word("yes"),
                hint: "Then its memory would grow with what the client sends. What is asked for while the socket is full: \
                       is EPOLLIN among it, to the end?",
            }],
            hint: "One of the two words.",
        },
    ],
    notes: &[
        ("SIGSTOP", "the lab holds the server until much has come"),
        ("EPOLLIN|EPOLLOUT", "writability is asked for only now"),
        ("EPOLLOUT", "only writability: who does not read is not read"),
        ("EAGAIN", "no room at all"),
    ],
    lesson: "Write first; ask for writability only after a short write, and take it back when all is written. A level-triggered \
             poller that is asked for EPOLLOUT all the time returns at once for ever, since there is nearly always room. And \
             while a client does not take its answers the server stops reading from it, so the client's own kernel has to \
             wait: backpressure.",
};

fn stage(stage: &mut Stage<'_>) -> io::Result<()> {
    let server = stage.serve(&["echo"], &["--sndbuf=16KiB"])?;
    let mut client = connect(server.ports[0])?;
    // Small buffers are soon full.
    setsockopt(&client, sockopt::SndBuf, &(32 * 1024))?;
    setsockopt(&client, sockopt::RcvBuf, &(32 * 1024))?;
    stage.look()?;
    client.set_nonblocking(true)?;
    let (mut sent, mut received, mut quiet) = (0, 0, 0);
    // So much at once that it does not fit, however the two take turns.
    stage.signal(server.pid, Signal::SIGSTOP)?;
    while let Ok(n) = client.write(&[b'x'; 16 * 1024]) {
        sent += n;
    }
    stage.signal(server.pid, Signal::SIGCONT)?;
    // Until nothing is taken for a while: then all buffers on the way are full.
    until("the buffers fill", || {
        let begin = sent;
        while let Ok(n) = client.write(&[b'x'; 16 * 1024]) {
            sent += n;
        }
        quiet = if sent == begin { quiet + 1 } else { 0 };
        quiet > 200
    })?;
    until("everything comes back", || {
        while let Ok(n @ 1..) = client.read(&mut [0; 64 * 1024]) {
            received += n;
        }
        received >= sent
    })?;
    stage.until_asleep(server.pid)
}

fn is_send(call: &Call) -> bool {
    call.is(&["sendto", "send", "write"])
}

fn short(scene: &Scene) -> Option<&Call> {
    let calls = scene.evidence.calls.iter();
    let mut sends = calls.filter(|call| is_send(call) && call.number(0) > 2);
    sends.find(|call| call.result.is_some_and(|taken| taken > 0 && taken < call.number(2)))
}

/// The calls behind that one.
fn behind(scene: &Scene) -> impl Iterator<Item = &Call> {
    let short = short(scene);
    let calls = &scene.evidence.calls;
    let at = calls.iter().position(|call| short.is_some_and(|short| std::ptr::eq(call, short)));
    calls[at.map_or(calls.len(), |at| at + 1)..].iter()
}

fn asking(scene: &Scene) -> Option<&Call> {
    let mut asks = behind(scene).filter(|call| call.is(&["epoll_ctl", "kevent"]));
    asks.find(|call| call.name == "kevent" || call.arguments.contains("EPOLLOUT"))
}

/// Whether all was sent at last: the asking was taken back.
fn rest(scene: &Scene) -> bool {
    let Some(asking) = asking(scene) else { return false };
    let mut after = behind(scene).skip_while(|call| !std::ptr::eq(*call, asking)).skip(1);
    after
        .any(|call| call.name == "kevent" || call.name == "epoll_ctl" && !call.arguments.contains("EPOLLOUT"))
}
