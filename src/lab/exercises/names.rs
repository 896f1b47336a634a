//! Why `strace -e trace=send,recv` shows nothing.

use std::io;

use crate::lab::act::nobody;
use crate::lab::read::calls::Call;
use crate::lab::stage::{call, connect};
use crate::lab::tool::{DTRUSS, STRACE};
use crate::lab::{Answer, Exercise, Mark, Mistake, Question, Scene, Stage, Tool};

const REQUEST: &str = r#"{"method":"ping"}"#;

pub const EXERCISE: Exercise = Exercise {
    name: "names",
    title: "Why `strace -e trace=send,recv` shows nothing",
    text: "Texts on sockets recommend `strace -e trace=accept,send,recv`. Try it on this server and you see nothing at all, \
           while requests are answered. A name in C is a function of the C library; strace shows calls of the kernel, \
           and the two need not be called the same. Look at everything, and find the kernel's names.",
    look: "A client is connected already; while you look, a second one connects and makes a call. Which lines take the \
           connection, read the request and send the answer?",
    read: "syscalls(2), strace(1) on -e trace=%network; send(2), accept(2)",
    source: &[
        ("src/transport/sys/socket.rs", "pub fn accept"),
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
            what: "a connection being taken",
            seen: |scene| accepted(scene).is_some(),
            hint: "if you narrowed the trace to some calls, that is what this exercise is about: take all of them",
        },
        Mark {
            what: "its request being read and answered",
            seen: |scene| received(scene).is_some() && sent(scene).is_some(),
            hint: "if you narrowed the trace to some calls, that is what this exercise is about: take all of them",
        },
    ],
    questions: &[
        Question {
            key: "send",
            ask: "What does strace call the system call behind the C function send()?",
            right: |_| Answer::Word("sendto"),
            mistakes: &[
                Mistake {
                    given: |_| Answer::Word("send"),
                    hint: "That is the function in C. Which line of the trace has the answer in it?",
                },
                Mistake {
                    given: |_| Answer::Word("write"),
                    hint: "That is for any descriptor, and cannot carry flags. Which line has the answer in it?",
                },
            ],
            hint: "Which line of the trace has the answer in it?",
        },
        Question {
            key: "recv",
            ask: "And the one behind recv()?",
            right: |_| Answer::Word("recvfrom"),
            mistakes: &[
                Mistake {
                    given: |_| Answer::Word("recv"),
                    hint: "That is the function in C. Which line of the trace has the request in it?",
                },
                Mistake {
                    given: |_| Answer::Word("read"),
                    hint: "That would work as well, but it is not what stands there. Which line has the request in it?",
                },
            ],
            hint: "Which line of the trace has the request in it?",
        },
        Question {
            key: "accept",
            ask: "Which call takes the connection?",
            right: |scene| {
                Answer::Word(if accepted(scene).is_some_and(|call| call.name == "accept") {
                    "accept"
                } else {
                    "accept4"
                })
            },
            mistakes: &[Mistake {
                given: |_| Answer::Word("listen"),
                hint: "That made the queue, long ago. What takes a connection out of it and returns a new descriptor?",
            }],
            hint: "It has the listener as its first argument and returns a new descriptor.",
        },
    ],
    notes: &[
        ("accept4(", "accept with flags: the new socket is non-blocking and close-on-exec at once"),
        ("recvfrom(", "recv(): without room for an address, which TCP does not need"),
        ("sendto(", "send(): with MSG_NOSIGNAL, which write() could not say"),
    ],
    lesson: "On today's 64-bit Linux the kernel has no send and no recv: the C library makes sendto and recvfrom of them, with \
             no address. strace knows the names from other architectures, so it takes them and matches nothing. \
             `-e trace=%network` means all of the family, whatever they are called; this server's accept is accept4.",
};

fn stage(stage: &mut Stage<'_>) -> io::Result<()> {
    let server = stage.serve(&["rpc"], &[])?;
    let mut first = connect(server.ports[0])?;
    call(&mut first, REQUEST)?;
    stage.look()?;
    call(&mut connect(server.ports[0])?, REQUEST)
}

fn accepted(scene: &Scene) -> Option<&Call> {
    scene.calls(&["accept4", "accept"]).find(|call| call.result > Some(0))
}

fn received(scene: &Scene) -> Option<&Call> {
    scene.calls(&["recvfrom"]).find(|call| call.result == Some(REQUEST.len() as i64 + 1))
}

fn sent(scene: &Scene) -> Option<&Call> {
    let fd = received(scene)?.number(0);
    scene.calls(&["sendto"]).find(|call| call.number(0) == fd)
}
