//! Two requests in one segment, and what becomes of their answers.

use std::io::{self, Write};

use crate::lab::act::nobody;
use crate::lab::read::calls::Call;
use crate::lab::stage::{call, connect, read_line};
use crate::lab::tool::{DTRUSS, STRACE};
use crate::lab::{Answer, Exercise, Mark, Mistake, Question, Scene, Stage, Tool};

const REQUEST: &str = "{\"method\":\"ping\"}\n";

pub const EXERCISE: Exercise = Exercise {
    name: "together",
    title: "Several requests in one segment",
    text: "A client writes two requests with one call, so they travel in one segment and arrive together. A server that \
           takes what one recv brings for one message would lose the second, or take both for nonsense. How often does \
           this one read, and how often does it write?",
    look: "The line that reads shows the beginning of what came. The line that sends shows what leaves, and its result \
           says how much that is.",
    read: "recv(2), send(2); RFC 9293, 3.9.1",
    source: &[("src/transport/event_loop/serve.rs", "fn dispatch"), ("src/transport/hub.rs", "fn flush")],
    tool: Tool::Strace,
    linux: STRACE,
    macos: DTRUSS,
    stage,
    act: nobody,
    marks: &[
        Mark {
            what: "both requests arriving at once",
            seen: |scene| read(scene).is_some(),
            hint: "attach to process {pid} before you press Enter, and do not narrow the trace to some calls",
        },
        Mark {
            what: "the answers",
            seen: |scene| sends(scene).count() >= 1,
            hint: "let the trace run until the lab says that all is done",
        },
    ],
    questions: &[
        Question {
            key: "bytes",
            ask: "How many bytes did the server read at once?",
            right: |_| Answer::Number(2 * REQUEST.len() as i64),
            mistakes: &[Mistake {
                given: |_| Answer::Number(REQUEST.len() as i64),
                hint: "That would be one of them. What did the read return?",
            }],
            hint: "It is the result of the reading call.",
        },
        Question {
            key: "sends",
            ask: "With how many calls did both answers leave?",
            right: |scene| Answer::Number(sends(scene).count() as i64),
            mistakes: &[Mistake {
                given: |_| Answer::Number(2),
                hint: "There are that many answers. Count the calls.",
            }],
            hint: "Count the sends on the connection's descriptor.",
        },
        Question {
            key: "sent",
            ask: "How many bytes had both answers together?",
            right: |scene| Answer::Number(sends(scene).filter_map(|call| call.result).sum()),
            mistakes: &[Mistake {
                given: |scene| Answer::Number(sends(scene).filter_map(|call| call.result).sum::<i64>() / 2),
                hint: "Half of it: that is one answer.",
            }],
            hint: "Add up what the sends returned.",
        },
    ],
    notes: &[
        ("recvfrom(", "two requests, and nothing between them but a line feed"),
        ("sendto(", "two answers: what a turn of the loop has for a client leaves at once"),
    ],
    lesson: "The server goes on in what it has read until no whole request is left, collects the answers, and writes once at \
             the end of the turn. So a client that sends many requests without waiting (pipelining) costs the server \
             fewer system calls for each.",
};

fn stage(stage: &mut Stage<'_>) -> io::Result<()> {
    let server = stage.serve(&["rpc"], &[])?;
    let mut client = connect(server.ports[0])?;
    call(&mut client, REQUEST.trim_end())?;
    stage.look()?;
    client.write_all(REQUEST.repeat(2).as_bytes())?;
    read_line(&mut client)?;
    read_line(&mut client)?;
    stage.until_asleep(server.pid)
}

fn read(scene: &Scene) -> Option<&Call> {
    let both = 2 * REQUEST.len() as i64;
    scene.calls(&["recvfrom", "recv", "read", "readv"]).find(|call| call.result == Some(both))
}

fn sends(scene: &Scene) -> impl Iterator<Item = &Call> {
    let fd = read(scene).map_or(-1, |call| call.number(0));
    scene.calls(&["sendto", "send", "write", "sendmsg"]).filter(move |call| call.number(0) == fd)
}
