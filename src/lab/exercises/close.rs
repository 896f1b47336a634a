//! Four-way close, and a connection that is closed in one direction only.

use std::io::{self, Read, Write};
use std::net::Shutdown;

use nix::sys::signal::Signal;

use crate::lab::act::nobody;
use crate::lab::read::segments::Segment;
use crate::lab::stage::connect;
use crate::lab::tool::{TCPDUMP, TCPDUMP_MACOS};
use crate::lab::{Answer, Exercise, Mark, Mistake, Question, Scene, Stage, Tool};

/// What is sent and comes back.
const BYTES: usize = 1000;

pub const EXERCISE: Exercise = Exercise {
    name: "close",
    title: "Four-way close and half-close",
    text: "A client sends something to the echo service and at once says that it will send no more: shutdown(SHUT_WR). The \
           server was busy meanwhile (the lab stopped it with SIGSTOP) and answers only now. Each direction of a TCP \
           connection is closed by a FIN of its own, and until both have come the other direction works.",
    look: "`[F.]` is a FIN. Watch who sends one first, what is sent in the other direction after it, and how each FIN is \
           acknowledged.",
    read: "RFC 9293, 3.6; shutdown(2)",
    source: &[
        ("src/client/echo.rs", "pub fn exchange"),
        ("src/transport/sys/socket.rs", "pub fn shutdown_write"),
        ("src/transport/event_loop/serve.rs", "fn echo"),
    ],
    tool: Tool::Tcpdump,
    linux: TCPDUMP,
    macos: TCPDUMP_MACOS,
    stage,
    act: nobody,
    marks: &[
        Mark {
            what: "the connection's beginning",
            seen: |scene| scene.connection("client").any(Segment::syn),
            hint: "is the capture on the loopback interface, of port {port}, and did it run before you pressed Enter?",
        },
        Mark {
            what: "both directions being closed",
            seen: |scene| scene.connection("client").filter(|segment| segment.fin()).count() >= 2,
            hint: "stop tcpdump a moment later, when the lab says that all is done",
        },
        Mark {
            what: "the last acknowledgement",
            seen: |scene| {
                last_fin(scene).is_some_and(|fin| {
                    scene.connection("client").any(|s| s.to == fin.from && s.ack == end(fin))
                })
            },
            hint: "stop tcpdump a moment later, when the lab says that all is done",
        },
    ],
    questions: &[
        Question {
            key: "first",
            ask: "Whose FIN came first? (client or server)",
            right: |_| Answer::Word("client"),
            mistakes: &[Mistake {
                given: |_| Answer::Word("server"),
                hint: "The server's port is the one that you gave to tcpdump. Which port sent the first [F.]?",
            }],
            hint: "One of the two words.",
        },
        Question {
            key: "after",
            ask: "How many bytes of payload were sent after the first FIN?",
            right: |scene| Answer::Number(after_fin(scene)),
            mistakes: &[
                Mistake {
                    given: |_| Answer::Number(0),
                    hint: "A FIN closes one direction. Add up the lengths in the other.",
                },
                Mistake {
                    given: |scene| Answer::Number(2 * after_fin(scene)),
                    hint: "Count only what follows the first FIN.",
                },
            ],
            hint: "Add up `length` of the segments that follow the first FIN.",
        },
        Question {
            key: "fins",
            ask: "How many FINs did the connection take in all?",
            right: |_| Answer::Number(2),
            mistakes: &[
                Mistake { given: |_| Answer::Number(1), hint: "Then one direction would still be open." },
                Mistake {
                    given: |_| Answer::Number(4),
                    hint: "Those that only acknowledge are no FINs, though the close is named after their sum.",
                },
            ],
            hint: "Count the segments whose flags have an F.",
        },
    ],
    notes: &[
        ("Flags [F.]", "no more will come from this side"),
        ("Flags [FP.]", "no more will come from this side, and here is the last of it"),
        ("length 1000", "payload"),
    ],
    lesson: "A FIN says \"I send no more\", not \"I do not listen\". The server sent all of its answer into a connection \
             that was closed in one direction; only then came its own FIN. Four segments if the ACK of the first \
             FIN travels alone, three if it travels with the second FIN: the FINs are always two.",
};

fn stage(stage: &mut Stage<'_>) -> io::Result<()> {
    let server = stage.serve(&["echo"], &[])?;
    stage.look()?;
    let mut client = connect(server.ports[0])?;
    stage.truth.tell("client", client.local_addr()?.port());
    stage.signal(server.pid, Signal::SIGSTOP)?;
    let sent = client.write_all(&[b'x'; BYTES]).and_then(|()| client.shutdown(Shutdown::Write));
    stage.signal(server.pid, Signal::SIGCONT)?;
    sent?;
    client.read_to_end(&mut Vec::new()).map(drop)
}

fn last_fin(scene: &Scene) -> Option<&Segment> {
    scene.connection("client").filter(|segment| segment.fin()).last()
}

/// What acknowledges this FIN.
fn end(fin: &Segment) -> u32 {
    fin.seq.wrapping_add(fin.length).wrapping_add(1)
}

fn after_fin(scene: &Scene) -> i64 {
    let behind = scene.connection("client").skip_while(|segment| !segment.fin());
    behind.map(|segment| i64::from(segment.length)).sum()
}
