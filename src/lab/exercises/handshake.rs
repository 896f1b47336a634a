//! The three-way handshake: what two kernels agree on before a process hears of it.

use std::io;

use crate::lab::act::nobody;
use crate::lab::read::segments::Segment;
use crate::lab::stage::{call, connect};
use crate::lab::tool::{TCPDUMP, TCPDUMP_MACOS};
use crate::lab::{Answer, Exercise, Mark, Mistake, Question, Scene, Stage, Tool};

pub const EXERCISE: Exercise = Exercise {
    name: "handshake",
    title: "The three-way handshake",
    text: "A server listens; a client connects, makes one call and leaves. Look at how the connection begins: who says \
           SYN, what is acknowledged, and what the two tell each other about segments before the first byte of \
           payload.",
    look: "`tcpdump -nn -r {file}` shows what you have captured. `[S]` is SYN, `[S.]` SYN with ACK, `[.]` ACK alone. In \
           the first two the numbers are absolute; after that tcpdump counts from the beginning of each \
           direction, unless you say -S.",
    read: "RFC 9293, 3.5; tcp(7); tcpdump(1)",
    source: &[
        ("src/transport/sys/socket.rs", "pub fn accept"),
        ("src/transport/sys/socket.rs", "pub fn connect_tcp"),
    ],
    tool: Tool::Tcpdump,
    linux: TCPDUMP,
    macos: TCPDUMP_MACOS,
    stage,
    act: nobody,
    marks: &[
        Mark {
            what: "a SYN to the server",
            seen: |scene| syn(scene).is_some(),
            hint: "is the capture on the loopback interface, of port {port}, and did it run before you pressed Enter?",
        },
        Mark {
            what: "the answer to it",
            seen: |scene| syn_ack(scene).is_some(),
            hint: "a filter must let both directions through: `port`, not `dst port`",
        },
        Mark {
            what: "the call that was made",
            seen: |scene| scene.evidence.segments.iter().filter(|segment| segment.length > 0).count() >= 2,
            hint: "stop tcpdump a moment later, when the lab says that all is done",
        },
    ],
    questions: &[
        Question {
            key: "mss",
            ask: "Which is the largest segment (MSS) that the client wants to get?",
            right: |scene| Answer::Number(i64::from(syn(scene).and_then(|syn| syn.mss).unwrap_or(0))),
            mistakes: &[
                Mistake {
                    given: |_| Answer::Number(1460),
                    hint: "That is usual on Ethernet. This is the loopback, whose frames are larger: read it in the \
                           SYN.",
                },
                Mistake {
                    given: |_| Answer::Number(65536),
                    hint: "That is the MTU of the interface: what it carries at once, headers included. Read the option.",
                },
            ],
            hint: "The first segment carries options, in square brackets.",
        },
        Question {
            key: "ack",
            ask: "The SYN carries no payload. By how much is the number that the server acknowledges larger than the SYN's?",
            right: |_| Answer::Number(1),
            mistakes: &[Mistake {
                given: |_| Answer::Number(0),
                hint: "Compare `seq` of the first segment with `ack` of the second. A SYN has a place in the sequence.",
            }],
            hint: "Subtract `seq` of the first segment from `ack` of the second.",
        },
        Question {
            key: "accept",
            ask: "Would the handshake have been finished if the server had never called accept? (yes or no)",
            right: |_| Answer::Word("yes"),
            mistakes: &[Mistake {
                given: |_| Answer::Word("no"),
                hint: "Who answers a SYN: the process, or its kernel? `rawline lab start backlog` lets you try it.",
            }],
            hint: "One of the two words.",
        },
    ],
    notes: &[
        ("Flags [S],", "1: the client's SYN: its first number and its options"),
        (
            "Flags [S.],",
            "2: the server's kernel answers with a SYN of its own, and acknowledges one more than it got",
        ),
        ("Flags [P.],", "payload"),
        ("Flags [F.],", "the end of one direction"),
    ],
    lesson: "SYN, SYN-ACK, ACK; a SYN counts as one byte in the sequence, so that it can be acknowledged like any other. \
             The MSS is what each side wants to get, derived from its interface. accept(2) takes no part: it \
             takes a finished connection out of a queue.",
};

fn stage(stage: &mut Stage<'_>) -> io::Result<()> {
    let server = stage.serve(&["rpc"], &[])?;
    stage.look()?;
    let mut client = connect(server.ports[0])?;
    stage.truth.tell("client", client.local_addr()?.port());
    call(&mut client, r#"{"method":"ping"}"#)
}

/// The client's first segment.
fn syn(scene: &Scene) -> Option<&Segment> {
    let (client, port) = (scene.truth.port("client"), scene.truth.port("port"));
    let mut segments = scene.evidence.segments.iter();
    segments.find(|segment| segment.syn() && segment.from == client && segment.to == port)
}

fn syn_ack(scene: &Scene) -> Option<&Segment> {
    let (client, port) = (scene.truth.port("client"), scene.truth.port("port"));
    let mut segments = scene.evidence.segments.iter();
    segments.find(|segment| segment.syn() && segment.from == port && segment.to == client)
}
