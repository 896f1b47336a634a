//! Level-triggered against edge-triggered readiness.

use std::io;

use crate::lab::act::Actor;
use crate::lab::read::calls::Call;
use crate::lab::tool::{DTRUSS, STRACE};
use crate::lab::{Answer, Exercise, Mark, Mistake, Question, Scene, Stage, Tool};

pub const EXERCISE: Exercise = Exercise {
    name: "edge",
    title: "Level against edge triggering",
    text: "One socket is watched by two pollers: one level-triggered, as an epoll is unless told otherwise, one edge-triggered \
           (EPOLLET). Ten bytes arrive. The process asks both, reads four of the bytes, and asks both again, with a short timeout. \
           Nothing new arrives.",
    look: "Which poller is which you see in the epoll_ctl lines: only one has EPOLLET. Then compare what the waits of each return, \
           before and after the read.",
    read: "epoll(7), \"Level-triggered and edge-triggered\"; on macOS kqueue(2): EV_CLEAR",
    source: &[("src/transport/sys/epoll.rs", "fn add"), ("src/transport/sys/mod.rs", "pub trait Poll")],
    tool: Tool::Strace,
    linux: STRACE,
    macos: DTRUSS,
    stage,
    act,
    marks: &[
        Mark {
            what: "both pollers being told of the socket",
            seen: |scene| poller(scene, true) >= 0 && poller(scene, false) >= 0,
            hint: "attach to process {pid} before you press Enter, and do not narrow the trace to some calls",
        },
        Mark {
            what: "two waits of each",
            seen: |scene| waits(scene, true).len() >= 2 && waits(scene, false).len() >= 2,
            hint: "let the trace run until the lab says that all is done",
        },
    ],
    questions: &[
        Question {
            key: "level",
            ask: "How many events did the level-triggered poller report after the read?",
            right: |scene| Answer::Number(waits(scene, false).get(1).copied().unwrap_or(-1)),
            mistakes: &[Mistake {
                given: |_| Answer::Number(0),
                hint: "Bytes are left, and it tells of a state. Which wait has its descriptor, after the read?",
            }],
            hint: "It is the result of the second wait on its descriptor.",
        },
        Question {
            key: "edge",
            ask: "How many did the edge-triggered one report after the read?",
            right: |scene| Answer::Number(waits(scene, true).get(1).copied().unwrap_or(-1)),
            mistakes: &[Mistake {
                given: |_| Answer::Number(1),
                hint: "It tells of a change. Has anything arrived since it told?",
            }],
            hint: "It is the result of the second wait on its descriptor.",
        },
        Question {
            key: "left",
            ask: "How many bytes lay unread in the socket while the edge-triggered poller was silent?",
            right: |scene| Answer::Number(10 - taken(scene)),
            mistakes: &[
                Mistake {
                    given: |scene| Answer::Number(taken(scene)),
                    hint: "Those were read. How many had arrived?",
                },
                Mistake {
                    given: |_| Answer::Number(0),
                    hint: "Subtract what the read returned from what had arrived.",
                },
            ],
            hint: "Subtract what the read returned from what had arrived.",
        },
    ],
    notes: &[
        ("EPOLLET", "this one tells only of changes"),
        ("EPOLL_CTL_ADD", "this one tells of a state"),
        ("[], 8", "silent: bytes lie there, but nothing new has come"),
        ("epoll_wait(", "ready"),
    ],
    lesson: "Level-triggered: ready as long as there is something. Edge-triggered: told when something comes, and never again for the \
             same bytes; who does not read until EAGAIN waits for ever. Edge saves nothing when a short read already says that \
             the socket is empty, and a server that stops reading on purpose, to be fair or for backpressure, would have to \
             remember whom it left. So this one is level-triggered, but for the bell that wakes it.",
};

#[cfg(target_os = "linux")]
fn act(actor: &mut Actor<'_>) -> io::Result<()> {
    use std::io::{Read, Write};

    use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};

    use crate::lab::stage::{at, connect};

    let listener = std::net::TcpListener::bind(at(0))?;
    let mut client = connect(listener.local_addr()?.port())?;
    let (mut server, _) = listener.accept()?;
    client.write_all(&[b'x'; 10])?;
    server.peek(&mut [0; 10])?;
    let (level, edge) = (Epoll::new(EpollCreateFlags::empty())?, Epoll::new(EpollCreateFlags::empty())?);
    actor.cue()?;
    level.add(&server, EpollEvent::new(EpollFlags::EPOLLIN, 1))?;
    edge.add(&server, EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, 2))?;
    let mut events = [EpollEvent::empty(); 8];
    for round in 0..2 {
        level.wait(&mut events, 100_u8)?;
        edge.wait(&mut events, 100_u8)?;
        if round == 0 {
            server.read_exact(&mut [0; 4])?;
        }
    }
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn act(_: &mut Actor<'_>) -> io::Result<()> {
    Ok(())
}

#[cfg(target_os = "linux")]
fn stage(stage: &mut Stage<'_>) -> io::Result<()> {
    let mut process = stage.cast()?;
    stage.look()?;
    stage.cue(&mut process, "go")?;
    stage.wait(process.pid)
}

#[cfg(not(target_os = "linux"))]
fn stage(_: &mut Stage<'_>) -> io::Result<()> {
    Err(crate::lab::stage::unsupported(
        "dtruss does not show what kevent was given; EV_CLEAR is what EPOLLET is",
    ))
}

/// The descriptor of the poller that was told with EPOLLET, or without.
fn poller(scene: &Scene, edge: bool) -> i64 {
    let mut told = scene.calls(&["epoll_ctl"]).filter(|call| call.arguments.contains("EPOLL_CTL_ADD"));
    told.find(|call| call.arguments.contains("EPOLLET") == edge).map_or(-1, |call| call.number(0))
}

/// What its waits returned.
fn waits(scene: &Scene, edge: bool) -> Vec<i64> {
    let poller = poller(scene, edge);
    scene
        .calls(&["epoll_wait"])
        .filter(|call| call.number(0) == poller)
        .filter_map(|call| call.result)
        .collect()
}

/// What was read of the ten bytes.
fn taken(scene: &Scene) -> i64 {
    let is_it = |call: &&Call| call.number(0) > 2;
    scene.calls(&["recvfrom", "read"]).filter(is_it).find_map(|call| call.result).unwrap_or(-1)
}
