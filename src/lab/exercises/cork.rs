//! Cork: several sends, one segment.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};

use crate::lab::act::nobody;
use crate::lab::read::segments::Segment;
use crate::lab::tool::{TCPDUMP, TCPDUMP_MACOS};
use crate::lab::{Answer, Exercise, Mark, Mistake, Question, Scene, Stage, Tool};
use crate::transport::sys::probe;

/// A head, a body, a tail.
const PARTS: [&[u8]; 3] = [b"head", b"body body", b"tail tail tail"];

pub const EXERCISE: Exercise = Exercise {
    name: "cork",
    title: "A cork: several sends, one segment",
    text: "Twice the same three sends: a head, a body, a tail, with TCP_NODELAY. The second time the client corks the socket \
           before and pulls the cork after them (TCP_CORK on Linux, TCP_NOPUSH on BSD). So a program can send what lies in \
           different places, a head from memory and a body from a file, without small segments.",
    look: "When all is done the lab tells the ports of both. Count the segments with payload of each.",
    read: "tcp(7): TCP_CORK; send(2): MSG_MORE; on macOS tcp(4): TCP_NOPUSH",
    source: &[("src/transport/sys/sendfile.rs", "pub fn send_file")],
    tool: Tool::Tcpdump,
    linux: TCPDUMP,
    macos: TCPDUMP_MACOS,
    stage,
    act: nobody,
    marks: &[
        Mark {
            what: "what was sent without a cork",
            seen: |scene| bytes(scene, "open") == whole(),
            hint: "is the capture on the loopback interface, of port {port}, and did it run before you pressed Enter?",
        },
        Mark {
            what: "what was sent with one",
            seen: |scene| bytes(scene, "corked") == whole(),
            hint: "stop tcpdump a moment later, when the lab says that all is done",
        },
    ],
    questions: &[
        Question {
            key: "open",
            ask: "How many segments with payload came from port {open}, without a cork?",
            right: |scene| Answer::Number(payload(scene, "open").count() as i64),
            mistakes: &[Mistake {
                given: |_| Answer::Number(1),
                hint: "TCP_NODELAY does not join what was sent apart. Count the lines from that port with a length.",
            }],
            hint: "Count the lines from that port whose length is not zero.",
        },
        Question {
            key: "corked",
            ask: "How many came from port {corked}, with one?",
            right: |scene| Answer::Number(payload(scene, "corked").count() as i64),
            mistakes: &[
                Mistake {
                    given: |_| Answer::Number(PARTS.len() as i64),
                    hint: "So many sends were made. Count the segments.",
                },
                Mistake {
                    given: |_| Answer::Number(2),
                    hint: "Is one of them perhaps only an acknowledgement? Its length would be zero.",
                },
            ],
            hint: "Count the lines from that port whose length is not zero.",
        },
        Question {
            key: "bytes",
            ask: "How many bytes had the longest of them?",
            right: |scene| {
                Answer::Number(
                    payload(scene, "corked").map(|segment| i64::from(segment.length)).max().unwrap_or(-1),
                )
            },
            mistakes: &[Mistake {
                given: |_| Answer::Number(PARTS[2].len() as i64),
                hint: "That is the longest of the parts. Look at the other port.",
            }],
            hint: "It is the `length` at the end of the line.",
        },
    ],
    notes: &[("Flags [P.]", "payload"), ("Flags [.]", "only an acknowledgement")],
    lesson: "A cork holds back what does not fill a segment until it is pulled; on Linux for at most 200 ms. It is not the \
             opposite of TCP_NODELAY: both may be set, and pulling the cork sends at once. Today MSG_MORE does the same \
             with a flag instead of two more system calls; so this server joins the head of an answer and the file that \
             sendfile appends.",
};

fn stage(stage: &mut Stage<'_>) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    stage.truth.tell("port", listener.local_addr()?.port());
    stage.look()?;
    for (name, corked) in [("open", false), ("corked", true)] {
        let mut client = TcpStream::connect(listener.local_addr()?)?;
        let (mut server, _) = listener.accept()?;
        client.set_nodelay(true)?;
        stage.truth.tell(name, client.local_addr()?.port());
        probe::cork(&client, corked)?;
        for part in PARTS {
            client.write_all(part)?;
        }
        probe::cork(&client, false)?;
        server.read_exact(&mut PARTS.concat())?;
    }
    stage.say("The client without a cork had port {open}, the one with a cork port {corked}.")
}

fn whole() -> i64 {
    PARTS.concat().len() as i64
}

fn payload<'a>(scene: &'a Scene, client: &str) -> impl Iterator<Item = &'a Segment> {
    let port = scene.truth.port(client);
    scene.connection(client).filter(move |segment| segment.from == port && segment.length > 0)
}

fn bytes(scene: &Scene, client: &str) -> i64 {
    payload(scene, client).map(|segment| i64::from(segment.length)).sum()
}
