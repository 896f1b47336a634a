//! SIGPIPE and EPIPE: which write fails, and who is killed by it.

use std::io::{self, IoSlice};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;

use crate::lab::act::Actor;
use crate::lab::read::calls::Call;
use crate::lab::tool::{DTRUSS, STRACE};
use crate::lab::{Answer, Exercise, Mark, Mistake, Question, Scene, Stage, Tool};
use crate::transport::sys::socket;

pub const EXERCISE: Exercise = Exercise {
    name: "sigpipe",
    title: "SIGPIPE and EPIPE",
    text: "A process has a connection whose other end has closed it. It writes to it with write(2) several times, then once as \
           this server does, with send(2) and MSG_NOSIGNAL (SO_NOSIGPIPE on macOS). It ignores SIGPIPE, or you would see \
           only its death.",
    look: "The first read of descriptor 0 is where it begins. `--- SIGPIPE ...` is a signal that arrives. Which write is the \
           first that fails, and behind which failures is there a signal?",
    read: "write(2) and send(2): EPIPE, MSG_NOSIGNAL; signal(7); pipe(7)",
    source: &[("src/transport/sys/socket.rs", "pub fn write")],
    tool: Tool::Strace,
    linux: STRACE,
    macos: DTRUSS,
    stage,
    act,
    marks: &[
        Mark {
            what: "a write that failed",
            seen: |scene| writes(scene).any(|call| !call.error.is_empty()),
            hint: "attach to process {pid} before you press Enter, and do not narrow the trace to some calls",
        },
        Mark {
            what: "the send that followed",
            seen: |scene| scene.calls(&["sendto"]).any(|call| !call.error.is_empty()),
            hint: "let the trace run until the lab says that all is done",
        },
    ],
    questions: &[
        Question {
            key: "fails",
            ask: "Which write to the connection is the first that fails? (a number, counted from the first write after the cue)",
            right: |scene| Answer::Number(failing(scene)),
            mistakes: &[
                Mistake {
                    given: |_| Answer::Number(1),
                    hint: "The kernel does not know yet: a FIN says only that the peer sends no more. What does the peer \
                           answer to that write?",
                },
                Mistake {
                    given: |_| Answer::Number(3),
                    hint: "Something failed earlier already. Look at what each write returned.",
                },
            ],
            hint: "Look at the result of each write to the connection's descriptor.",
        },
        Question {
            key: "error",
            ask: "With which error?",
            right: |scene| Answer::Word(error(scene)),
            mistakes: &[Mistake {
                given: |_| Answer::Word("ECONNRESET"),
                hint: "That is what a read would have said, once. What stands behind the write's -1?",
            }],
            hint: "It is the name behind the write's -1.",
        },
        Question {
            key: "signal",
            ask: "Did the send with MSG_NOSIGNAL bring a signal too? (yes or no)",
            right: |_| Answer::Word("no"),
            mistakes: &[Mistake { given: |_| Answer::Word("yes"), hint: "Look at the line after it." }],
            hint: "One of the two words.",
        },
    ],
    notes: &[
        ("--- SIGPIPE", "without a handler the process would be dead now, and say nothing"),
        ("MSG_NOSIGNAL", "the same error, and no signal"),
        ("EPIPE", "the peer has said RST"),
    ],
    lesson: "The first write succeeds: it only fills a buffer, and a closed peer is known by its FIN, which forbids nothing. The \
             peer's kernel answers with RST, because nobody is there to read. From then on a write fails with EPIPE, and \
             SIGPIPE kills who has not refused it. A server must refuse it: by MSG_NOSIGNAL on each send, or by \
             ignoring the signal.",
};

fn act(actor: &mut Actor<'_>) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let client = TcpStream::connect(listener.local_addr()?)?;
    drop(listener.accept()?);
    actor.cue()?;
    for _ in 0..3 {
        let _ = nix::unistd::write(&client, b"hello");
    }
    let _ = socket::write(client.as_raw_fd(), &[IoSlice::new(b"hello")]);
    Ok(())
}

fn stage(stage: &mut Stage<'_>) -> io::Result<()> {
    let mut writer = stage.cast()?;
    stage.look()?;
    stage.cue(&mut writer, "go")?;
    stage.wait(writer.pid)
}

/// Those to the connection: what it tells the lab goes to descriptor 1.
fn writes(scene: &Scene) -> impl Iterator<Item = &Call> {
    scene.calls(&["write"]).filter(|call| call.number(0) > 2)
}

fn failing(scene: &Scene) -> i64 {
    writes(scene).position(|call| !call.error.is_empty()).map_or(-1, |at| at as i64 + 1)
}

fn error(scene: &Scene) -> &'static str {
    let first = writes(scene).find(|call| !call.error.is_empty());
    if first.is_some_and(|call| call.error == "EPIPE") { "EPIPE" } else { "ECONNRESET" }
}
