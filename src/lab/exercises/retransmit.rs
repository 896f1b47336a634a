//! Retransmission: the same bytes again, with growing patience.

use std::io;

use crate::lab::act::nobody;
use crate::lab::read::segments::Segment;
#[cfg(not(target_os = "linux"))]
use crate::lab::stage::unsupported;
use crate::lab::tool::{TCPDUMP, TCPDUMP_MACOS};
use crate::lab::{Answer, Exercise, Mark, Mistake, Question, Scene, Stage, Tool};

pub const EXERCISE: Exercise = Exercise {
    name: "retransmit",
    title: "Retransmission with back-off",
    text: "A client is connected and says something; then the cable is cut (the lab makes the receiver's socket deaf: what arrives \
           is thrown away before TCP sees it), and it says one thing more. Nothing acknowledges it. Watch for some seconds \
           what the client's kernel does.",
    look: "The same `seq` again and again: tcpdump on this machine sees each copy leave. Subtract the times. The first pauses may \
           be alike: a tail loss probe comes before the retransmission timer takes over. Then a rule shows.",
    read: "RFC 6298, 5 (back-off); RFC 8985, 7 (tail loss probe); tcp(7): tcp_retries2",
    source: &[("src/transport/sys/socket.rs", "fn set_tcp_options")],
    tool: Tool::Tcpdump,
    linux: TCPDUMP,
    macos: TCPDUMP_MACOS,
    stage,
    act: nobody,
    marks: &[
        Mark {
            what: "the bytes that were lost",
            seen: |scene| !copies(scene).is_empty(),
            hint: "is the capture on the loopback interface, of port {port}, and did it run before you pressed Enter?",
        },
        Mark {
            what: "enough copies of them to see the rule",
            seen: |scene| copies(scene).len() >= 5,
            hint: "it takes some seconds: stop tcpdump when the lab says that all is done",
        },
    ],
    questions: &[
        Question {
            key: "copies",
            ask: "How often did the lost segment leave in all?",
            right: |scene| Answer::Number(copies(scene).len() as i64),
            mistakes: &[
                Mistake {
                    given: |scene| Answer::Number(copies(scene).len() as i64 - 1),
                    hint: "The first time counts too.",
                },
                Mistake {
                    given: |_| Answer::Number(1),
                    hint: "Compare the `seq` of the segments behind it.",
                },
            ],
            hint: "Count all segments with its `seq`.",
        },
        Question {
            key: "growth",
            ask: "By which whole factor grows the pause between the last copies?",
            right: |_| Answer::Number(2),
            mistakes: &[Mistake {
                given: |_| Answer::Number(1),
                hint: "Among the first two pauses that may be so. Divide the last pause by the one before it.",
            }],
            hint: "Divide the last pause by the one before it, and round.",
        },
        Question {
            key: "fresh",
            ask: "Does a copy carry a new sequence number? (yes or no)",
            right: |_| Answer::Word("no"),
            mistakes: &[Mistake {
                given: |_| Answer::Word("yes"),
                hint: "The number says where in the stream the bytes belong. Has that changed?",
            }],
            hint: "One of the two words.",
        },
    ],
    notes: &[
        ("length 111", "the same bytes"),
        ("Flags [S", "the handshake, for the round-trip time that the timer starts from"),
    ],
    lesson: "The timer starts from the measured round trip, on Linux from 200 ms at least, and doubles each time: who hears nothing \
             assumes a network that is overloaded, and asks more seldom. Linux gives up after tcp_retries2 (15) times, \
             about a quarter of an hour; TCP_USER_TIMEOUT bounds it for a connection, and this server sets it for the chat.",
};

#[cfg(target_os = "linux")]
fn stage(stage: &mut Stage<'_>) -> io::Result<()> {
    use std::io::{Read, Write};
    use std::net::{Ipv4Addr, TcpListener};
    use std::os::fd::IntoRawFd;

    use crate::lab::stage::{connect, until};
    use crate::transport::sys::{probe, socket};

    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = listener.local_addr()?.port();
    stage.truth.tell("port", port);
    stage.look()?;
    let mut client = connect(port)?;
    stage.truth.tell("client", client.local_addr()?.port());
    let (mut server, _) = listener.accept()?;
    client.write_all(b"hello")?;
    server.read_exact(&mut [0; 5])?;
    probe::deafen(&server)?;
    client.write_all(&[b'x'; LOST])?;
    let again =
        until("it is sent again", || probe::tcp_info(&client).is_ok_and(|info| info.retransmitted >= 5));
    // Or it would go on for minutes.
    socket::abort(client.into_raw_fd());
    again
}

#[cfg(not(target_os = "linux"))]
fn stage(_: &mut Stage<'_>) -> io::Result<()> {
    Err(unsupported(
        "this system has no filter for a socket that would make it deaf. Drop the port with pf instead: \
         `echo \"block drop quick on lo0 proto tcp to port PORT\" | sudo pfctl -ef -`, and write to it with nc",
    ))
}

/// A length that nothing else has.
const LOST: usize = 111;

fn copies(scene: &Scene) -> Vec<&Segment> {
    let client = scene.truth.port("client");
    let is_it = |segment: &&Segment| segment.from == client && segment.length == LOST as u32;
    scene.connection("client").filter(is_it).collect()
}
