//! Readiness, and the calls that one request costs.

use std::io;

use crate::lab::act::nobody;
use crate::lab::read::calls::Call;
use crate::lab::stage::{call, connect};
use crate::lab::tool::{DTRUSS, STRACE};
use crate::lab::{Answer, Exercise, Mark, Mistake, Question, Scene, Stage, Tool};

/// What is sent, with its line feed.
const REQUEST: &str = r#"{"method":"ping"}"#;

pub const EXERCISE: Exercise = Exercise {
    name: "request",
    title: "Readiness, and what a request costs",
    text: "A client is connected to the server and silent. The server sleeps in epoll_wait (kevent on macOS): it asks \
           nobody whether there is something, it is told. Then the client makes one call and gets its answer. Look at \
           what the server does from waking up until it sleeps again.",
    look: "The trace begins inside of the wait. Its result says how many descriptors are ready, and `data` is the server's \
           own word for which: not the descriptor. The descriptor is the first argument of the call that reads.",
    read: "epoll(7), epoll_wait(2), recv(2), send(2); on macOS kevent(2)",
    source: &[
        ("src/transport/event_loop/mod.rs", "fn turn"),
        ("src/transport/sys/epoll.rs", "fn wait"),
        ("src/transport/sys/socket.rs", "pub fn read"),
        ("src/transport/sys/socket.rs", "pub fn write"),
    ],
    tool: Tool::Strace,
    linux: STRACE,
    macos: DTRUSS,
    stage,
    act: nobody,
    marks: &[
        Mark {
            what: "the request being read",
            seen: |scene| received(scene).is_some(),
            hint: "attach to process {pid} before you press Enter, and do not narrow the trace to some calls",
        },
        Mark {
            what: "the answer being sent",
            seen: |scene| sent(scene).is_some(),
            hint: "let the trace run until the lab says that all is done",
        },
        Mark {
            what: "the server going to sleep again",
            seen: |scene| after(scene).is_some_and(|count| count < 100),
            hint: "let the trace run until the lab says that all is done",
        },
    ],
    questions: &[
        Question {
            key: "calls",
            ask: "How many system calls does the server make between the wait that ends with the request and the next wait?",
            right: |scene| Answer::Number(after(scene).unwrap_or(-1)),
            mistakes: &[
                Mistake {
                    given: |scene| Answer::Number(after(scene).unwrap_or(-1) + 1),
                    hint: "Do not count the waits: what lies between them?",
                },
                Mistake {
                    given: |scene| Answer::Number(after(scene).unwrap_or(-1) + 2),
                    hint: "Do not count the waits, neither of the two. And does it ask again whether the socket is empty?",
                },
            ],
            hint: "Find the wait that returned because of the request, and count the lines up to the next one.",
        },
        Question {
            key: "fd",
            ask: "Which descriptor is the client's connection, in the server?",
            right: |scene| Answer::Number(received(scene).map_or(-1, |call| call.number(0))),
            mistakes: &[Mistake {
                given: |scene| Answer::Number(poller(scene)),
                hint: "That is what the server waits with. Which one does it read from?",
            }],
            hint: "The first argument of the call that reads the request.",
        },
        Question {
            key: "bytes",
            ask: "How many bytes had the request?",
            right: |scene| Answer::Number(scene.truth.number("bytes")),
            mistakes: &[
                Mistake {
                    given: |scene| Answer::Number(received(scene).map_or(-1, |call| call.number(2))),
                    hint: "That is how much the server was ready to take. What did the call return?",
                },
                Mistake {
                    given: |scene| Answer::Number(scene.truth.number("bytes") - 1),
                    hint: "Almost. The line feed is a byte too.",
                },
            ],
            hint: "What a reading call returns is the number of bytes.",
        },
    ],
    notes: &[
        ("epoll_wait(", "sleeps until the kernel says who is ready"),
        ("recvfrom(", "reads what came; a short read says that there is no more, so it is not asked again"),
        ("sendto(", "writes the answer at once: nobody asks whether there is room before there is none"),
    ],
    lesson: "One read and one write. No epoll_ctl: the registration stays as it is. No second read to see EAGAIN: the first \
             one came back short, so the socket is empty. No question for writability: the answer almost \
             always fits into the socket's buffer, so it is written first and asked for later.",
};

fn stage(stage: &mut Stage<'_>) -> io::Result<()> {
    let server = stage.serve(&["rpc"], &[])?;
    let mut client = connect(server.ports[0])?;
    call(&mut client, REQUEST)?;
    stage.truth.tell("bytes", REQUEST.len() + 1);
    stage.look()?;
    call(&mut client, REQUEST)?;
    stage.until_asleep(server.pid)
}

fn is_read(call: &Call) -> bool {
    call.is(&["recvfrom", "recv", "read", "readv"]) && call.result.is_some_and(|bytes| bytes > 0)
}

fn is_wait(call: &Call) -> bool {
    call.is(&["epoll_wait", "epoll_pwait", "kevent", "kevent64"])
}

fn received(scene: &Scene) -> Option<&Call> {
    let bytes = scene.truth.number("bytes");
    scene.evidence.calls.iter().find(|call| is_read(call) && call.result == Some(bytes))
}

fn sent(scene: &Scene) -> Option<&Call> {
    let fd = received(scene)?.number(0);
    let mut calls = scene.evidence.calls.iter();
    calls.find(|call| call.is(&["sendto", "send", "write", "writev", "sendmsg"]) && call.number(0) == fd)
}

fn poller(scene: &Scene) -> i64 {
    scene.evidence.calls.iter().find(|call| is_wait(call)).map_or(-1, |call| call.number(0))
}

/// The calls between the two waits around the request.
fn after(scene: &Scene) -> Option<i64> {
    let calls = &scene.evidence.calls;
    let read = calls.iter().position(|call| Some(call) == received(scene))?;
    // A trace may begin only when the wait is over.
    let begin = calls[..read].iter().rposition(is_wait).map_or(0, |wait| wait + 1);
    let end = read + calls[read..].iter().position(is_wait)?;
    Some((end - begin) as i64)
}
