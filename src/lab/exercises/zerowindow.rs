//! Zero window, and the probes that ask whether it has opened.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};

use crate::lab::act::nobody;
use crate::lab::read::segments::Segment;
use crate::lab::stage::{at, pause, until};
use crate::lab::tool::{TCPDUMP, TCPDUMP_MACOS};
use crate::lab::{Answer, Exercise, Mark, Mistake, Question, Scene, Stage, Tool};
use crate::transport::sys::socket;

pub const EXERCISE: Exercise = Exercise {
    name: "zerowindow",
    title: "Zero window and window probes",
    text: "A client writes as much as it can to a process that does not read. When the receiver's buffer is full, its kernel says \
           so, and the client's kernel has to wait. But the word that there is room again could be lost, and both would wait \
           for ever; so there is a way to ask. After some seconds the process reads, and the client can go on.",
    look: "`win` is the room that the sender of a segment has left. Find where it becomes zero, what is sent while it is zero, by \
           whom, how long that is, and how the time between two of them grows.",
    read: "RFC 9293, 3.8.6.1 (zero-window probing); tcp(7)",
    source: &[
        ("src/transport/connection.rs", "pub fn wanted"),
        ("src/transport/sys/socket.rs", "pub fn write"),
    ],
    tool: Tool::Tcpdump,
    linux: TCPDUMP,
    macos: TCPDUMP_MACOS,
    stage,
    act: nobody,
    marks: &[
        Mark {
            what: "a window of zero",
            seen: |scene| closed(scene).is_some(),
            hint: "is the capture on the loopback interface, of port {port}, and did it run before you pressed Enter?",
        },
        Mark {
            what: "probes",
            seen: |scene| probes(scene).len() >= 3,
            hint: "it takes some seconds: stop tcpdump when the lab says that all is done",
        },
        Mark {
            what: "the window opening again",
            seen: |scene| opened(scene).is_some(),
            hint: "it takes some seconds: stop tcpdump when the lab says that all is done",
        },
    ],
    questions: &[
        Question {
            key: "asks",
            ask: "Who sends the probes? (sender or receiver; of the data)",
            right: |_| Answer::Word("sender"),
            mistakes: &[Mistake {
                given: |_| Answer::Word("receiver"),
                hint: "The receiver says `win 0` in answer to them. Whose port do the questions come from?",
            }],
            hint: "One of the two words.",
        },
        Question {
            key: "bytes",
            ask: "How many bytes of payload has a probe?",
            right: |scene| Answer::Number(probes(scene).first().map_or(-1, |probe| probe.length.into())),
            mistakes: &[Mistake {
                given: |_| Answer::Number(1),
                hint: "That is how the standard describes it. Look at the `length` that this kernel sends.",
            }],
            hint: "It is the `length` at the end of the line.",
        },
        Question {
            key: "growth",
            ask: "By which whole factor does the time between two probes grow?",
            right: |_| Answer::Number(2),
            mistakes: &[
                Mistake {
                    given: |_| Answer::Number(1),
                    hint: "It does grow: subtract the times of three probes that follow each other.",
                },
                Mistake {
                    given: |_| Answer::Number(10),
                    hint: "So impatient it is not: divide one pause by the pause before it.",
                },
            ],
            hint: "Divide one pause by the pause before it.",
        },
    ],
    notes: &[
        (" win 0,", "no room"),
        ("length 0", "no payload: a question, an answer, or an acknowledgement"),
    ],
    lesson: "The window is how TCP lets a slow reader slow down a fast writer, with nothing lost. The sender probes a closed window, \
             at first after its retransmission timeout, then after twice as long each time, and never gives up as long as \
             it is answered. On Linux a probe has no payload and an old number, so it must be answered. What a program sees \
             is a write that blocks, or EAGAIN: the next exercise.",
};

fn stage(stage: &mut Stage<'_>) -> io::Result<()> {
    let small = socket::SocketOptions { rcvbuf: 4096, ..Default::default() };
    let listener = socket::listen_tcp(at(0), 4, &small)?;
    let address = socket::local_addr(&listener)?;
    stage.truth.tell("port", address.port());
    stage.look()?;
    let mut client = TcpStream::connect(address)?;
    stage.truth.tell("client", client.local_addr()?.port());
    let mut server = TcpStream::from(socket::accept(std::os::fd::AsRawFd::as_raw_fd(&listener))?.0);
    // Enough to fill the window, and not much more.
    setsockopt(&client, sockopt::SndBuf, &(16 * 1024))?;
    client.set_nonblocking(true)?;
    let fill = |client: &mut TcpStream| {
        let mut written = 0;
        while let Ok(n) = client.write(&[b'x'; 16 * 1024]) {
            written += n;
        }
        written
    };
    let mut left = fill(&mut client);
    pause(Duration::from_millis(3500));
    drop(client.set_nonblocking(false));
    server.set_nonblocking(true)?;
    until("all of it arrives", || {
        while let Ok(n @ 1..) = server.read(&mut [0; 64 * 1024]) {
            left = left.saturating_sub(n);
        }
        left == 0
    })
}

/// The first segment of the receiver that says so.
fn closed(scene: &Scene) -> Option<&Segment> {
    let port = scene.truth.port("port");
    scene.connection("client").find(|segment| segment.from == port && segment.window == 0 && !segment.rst())
}

/// The first of its segments that says otherwise.
fn opened(scene: &Scene) -> Option<&Segment> {
    let (port, since) = (scene.truth.port("port"), closed(scene)?.time);
    scene
        .connection("client")
        .find(|segment| segment.from == port && segment.window > 0 && segment.time > since)
}

/// What the sender says in between.
fn probes(scene: &Scene) -> Vec<&Segment> {
    let client = scene.truth.port("client");
    let since = closed(scene).map_or(f64::MAX, |segment| segment.time);
    let until = opened(scene).map_or(f64::MAX, |segment| segment.time);
    let between = |segment: &&Segment| segment.from == client && segment.time > since && segment.time < until;
    scene.connection("client").filter(between).collect()
}
