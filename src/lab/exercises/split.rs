//! One request in many segments: TCP carries bytes, not messages.

use std::io::{self, Write};

use crate::lab::act::nobody;
use crate::lab::read::calls::Call;
use crate::lab::stage::{call, connect, read_line, until_read};
use crate::lab::tool::{DTRUSS, STRACE};
use crate::lab::{Answer, Exercise, Mark, Mistake, Question, Scene, Stage, Tool};

const PIECES: &[&str] = &["{\"me", "thod", "\":\"p", "ing\"", "}\n"];

pub const EXERCISE: Exercise = Exercise {
    name: "split",
    title: "One request in many segments",
    text: "A client sends one request in pieces, each in a segment of its own, and waits in between until the server has \
           read. Many examples treat what one recv brings as one message. Look at what this server gets, and when it \
           answers.",
    look: "Follow the descriptor of the connection: what does each read return, and behind which of them comes the first \
           send?",
    read: "RFC 9293, 3.9.1 (\"a stream of octets\"); recv(2)",
    source: &[
        ("src/transport/codec/jsonrpc/framer.rs", "pub fn next"),
        ("src/transport/codec/jsonrpc/scanner.rs", "pub fn scan"),
    ],
    tool: Tool::Strace,
    linux: STRACE,
    macos: DTRUSS,
    stage,
    act: nobody,
    marks: &[
        Mark {
            what: "a request that arrives in pieces",
            seen: |scene| reads(scene).count() >= 2,
            hint: "attach to process {pid} before you press Enter, and do not narrow the trace to some calls",
        },
        Mark {
            what: "its answer",
            seen: |scene| sends(scene).count() >= 1,
            hint: "let the trace run until the lab says that all is done",
        },
    ],
    questions: &[
        Question {
            key: "reads",
            ask: "How many reads did the request take?",
            right: |scene| Answer::Number(reads(scene).count() as i64),
            mistakes: &[
                Mistake {
                    given: |_| Answer::Number(1),
                    hint: "It was one request, but not one read. Count the reads that returned something.",
                },
                Mistake {
                    given: |scene| Answer::Number(reads(scene).count() as i64 + 1),
                    hint: "Count only those on the connection's descriptor that returned bytes.",
                },
            ],
            hint: "Count the reading calls on the connection that returned more than nothing.",
        },
        Question {
            key: "sends",
            ask: "How many times did the server send something?",
            right: |scene| Answer::Number(sends(scene).count() as i64),
            mistakes: &[Mistake {
                given: |scene| Answer::Number(reads(scene).count() as i64),
                hint: "Does it answer pieces, or requests?",
            }],
            hint: "Count the sends on the connection's descriptor.",
        },
        Question {
            key: "last",
            ask: "How many bytes brought the read after which the server could answer?",
            right: |scene| Answer::Number(reads(scene).last().and_then(|call| call.result).unwrap_or(-1)),
            mistakes: &[Mistake {
                given: |_| Answer::Number(PIECES.concat().len() as i64),
                hint: "That is the whole request. What did the last piece of it add?",
            }],
            hint: "Look at the line of the last read before the send: its result.",
        },
    ],
    notes: &[
        ("epoll_wait(", "asleep until the next piece"),
        ("recvfrom(", "a piece: it is kept until the last bracket has come"),
        ("sendto(", "now the text is whole, and is answered once"),
    ],
    lesson: "A segment is not a message, and neither is what a read brings. A server on TCP needs framing: something in the \
             bytes that says where a message ends. Here it is the bracket that closes the object; the scanner \
             remembers where it stopped, so a byte is looked at once, however the request is cut.",
};

fn stage(stage: &mut Stage<'_>) -> io::Result<()> {
    let server = stage.serve(&["rpc"], &[])?;
    let mut client = connect(server.ports[0])?;
    call(&mut client, r#"{"method":"ping"}"#)?;
    stage.look()?;
    for piece in PIECES {
        client.write_all(piece.as_bytes())?;
        until_read(&client, server.ports[0])?;
    }
    read_line(&mut client)?;
    stage.until_asleep(server.pid)
}

fn reads(scene: &Scene) -> impl Iterator<Item = &Call> {
    scene.calls(&["recvfrom", "recv", "read", "readv"]).filter(|call| call.result > Some(0))
}

fn sends(scene: &Scene) -> impl Iterator<Item = &Call> {
    let fd = reads(scene).next().map_or(-1, |call| call.number(0));
    scene.calls(&["sendto", "send", "write", "sendmsg"]).filter(move |call| call.number(0) == fd)
}
