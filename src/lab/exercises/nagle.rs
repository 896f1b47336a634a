//! Nagle's algorithm, and TCP_NODELAY.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};

use crate::lab::act::nobody;
use crate::lab::read::segments::Segment;
use crate::lab::tool::{TCPDUMP, TCPDUMP_MACOS};
use crate::lab::{Answer, Exercise, Mark, Mistake, Question, Scene, Stage, Tool};

/// Each connection makes so many small writes ...
const WRITES: usize = 4;
/// ... of so many bytes.
const BYTES: usize = 10;

pub const EXERCISE: Exercise = Exercise {
    name: "nagle",
    title: "Nagle against TCP_NODELAY",
    text: "Two clients make the same small writes, one right after the other. The first socket is as the kernel makes it, \
           the second has TCP_NODELAY. The receiver delays its acknowledgements, as one does that has answers to send. \
           Nagle's rule: as long as something small is not acknowledged, the next small thing waits, and grows.",
    look: "When all is done the lab tells the ports of both clients. For each, count the segments with payload, and see how \
           long they are and what they waited for.",
    read: "RFC 9293, 3.7.4 (Nagle); tcp(7): TCP_NODELAY, TCP_QUICKACK",
    source: &[("src/transport/sys/socket.rs", "fn set_tcp_options")],
    tool: Tool::Tcpdump,
    linux: TCPDUMP,
    macos: TCPDUMP_MACOS,
    stage,
    act: nobody,
    marks: &[
        Mark {
            what: "the first client's segments",
            seen: |scene| bytes(scene, "nagle") == (WRITES * BYTES) as i64,
            hint: "is the capture on the loopback interface, of port {port}, and did it run before you pressed Enter?",
        },
        Mark {
            what: "the second client's",
            seen: |scene| bytes(scene, "nodelay") == (WRITES * BYTES) as i64,
            hint: "stop tcpdump a moment later, when the lab says that all is done",
        },
    ],
    questions: &[
        Question {
            key: "nagle",
            ask: "How many segments with payload did the client at port {nagle} need?",
            right: |scene| Answer::Number(payload(scene, "nagle").count() as i64),
            mistakes: &[
                Mistake {
                    given: |_| Answer::Number(WRITES as i64),
                    hint: "So many writes were made. Count the segments.",
                },
                Mistake {
                    given: |_| Answer::Number(1),
                    hint: "The first of them had nothing to wait for, and left at once. What of the others?",
                },
            ],
            hint: "Count the lines from that port whose length is not zero.",
        },
        Question {
            key: "nodelay",
            ask: "And the client at port {nodelay}?",
            right: |scene| Answer::Number(payload(scene, "nodelay").count() as i64),
            mistakes: &[Mistake {
                given: |scene| Answer::Number(payload(scene, "nagle").count() as i64),
                hint: "That is the other one. With TCP_NODELAY nothing waits.",
            }],
            hint: "Count the lines from that port whose length is not zero.",
        },
        Question {
            key: "length",
            ask: "How many bytes had the last segment with payload from port {nagle}?",
            right: |scene| {
                Answer::Number(payload(scene, "nagle").last().map_or(-1, |segment| segment.length.into()))
            },
            mistakes: &[Mistake {
                given: |_| Answer::Number(BYTES as i64),
                hint: "That is one write. What had come together while the first segment was not acknowledged?",
            }],
            hint: "It is the `length` at the end of that line.",
        },
    ],
    notes: &[("Flags [P.]", "payload"), ("Flags [.]", "an acknowledgement: what waited for it may go")],
    lesson: "With Nagle the first write leaves at once and the others wait for its acknowledgement, which a receiver may \
             delay by 40 ms: that is the pause of write-write-read programs. TCP_NODELAY sends every write by itself. The \
             better remedy is to write once; this server does, and so it can have TCP_NODELAY without small segments.",
};

fn stage(stage: &mut Stage<'_>) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    stage.truth.tell("port", listener.local_addr()?.port());
    stage.look()?;
    for (name, nodelay, most) in [("nagle", false, 2), ("nodelay", true, WRITES)] {
        // On a busy machine the acknowledgement may come between two writes: then once more.
        let mut tries = 0;
        loop {
            let (client, segments) = write(&listener, nodelay)?;
            stage.truth.tell(name, client);
            tries += 1;
            if segments <= most {
                break;
            }
            if tries == 50 {
                return Err(io::Error::other("this machine is too busy for it: try again"));
            }
        }
    }
    stage.say("The client with Nagle's rule had port {nagle}, the one with TCP_NODELAY port {nodelay}.")
}

/// The client's port, and how many segments its writes became.
fn write(listener: &TcpListener, nodelay: bool) -> io::Result<(u16, usize)> {
    let mut client = TcpStream::connect(listener.local_addr()?)?;
    let (mut server, _) = listener.accept()?;
    client.set_nodelay(nodelay)?;
    delay_acknowledgements(&server)?;
    for _ in 0..WRITES {
        client.write_all(&[b'x'; BYTES])?;
    }
    server.read_exact(&mut [0; WRITES * BYTES])?;
    Ok((client.local_addr()?.port(), segments_of(&client)?))
}

#[cfg(target_os = "linux")]
fn delay_acknowledgements(server: &TcpStream) -> io::Result<()> {
    Ok(crate::transport::sys::probe::quick_ack(server, false)?)
}

#[cfg(target_os = "linux")]
fn segments_of(client: &TcpStream) -> io::Result<usize> {
    Ok(crate::transport::sys::probe::tcp_info(client)?.data_sent as usize)
}

/// Other systems delay by themselves, and do not say what they sent.
#[cfg(not(target_os = "linux"))]
fn delay_acknowledgements(_: &TcpStream) -> io::Result<()> {
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn segments_of(_: &TcpStream) -> io::Result<usize> {
    Ok(0)
}

fn payload<'a>(scene: &'a Scene, client: &str) -> impl Iterator<Item = &'a Segment> {
    let port = scene.truth.port(client);
    scene.connection(client).filter(move |segment| segment.from == port && segment.length > 0)
}

fn bytes(scene: &Scene, client: &str) -> i64 {
    payload(scene, client).map(|segment| i64::from(segment.length)).sum()
}
