//! Keepalive: probes to a peer that is gone.

use std::io;

use crate::lab::act::nobody;
use crate::lab::read::segments::Segment;
#[cfg(not(target_os = "linux"))]
use crate::lab::stage::unsupported;
use crate::lab::tool::{TCPDUMP, TCPDUMP_MACOS};
use crate::lab::{Answer, Exercise, Mark, Mistake, Question, Scene, Stage, Tool};

pub const EXERCISE: Exercise = Exercise {
    name: "keepalive",
    title: "Keepalive: asking a peer that is gone",
    text: "A client is connected to a server whose keepalive is set to ask after one second, every second. Then the cable is cut: \
           the lab makes the client's socket deaf, so everything that arrives for it is thrown away before TCP sees it, as if \
           the machine had lost its power. No FIN, no RST. It takes a few seconds until the server finds out.",
    look: "After the last segment of the client, look at those of the server: their length, their sequence number (compare it \
           with what the client has acknowledged), the time between them, and what comes last.",
    read: "tcp(7): TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT; RFC 9293, 3.8.4",
    source: &[("src/transport/sys/socket.rs", "fn set_tcp_options")],
    tool: Tool::Tcpdump,
    linux: TCPDUMP,
    macos: TCPDUMP_MACOS,
    stage,
    act: nobody,
    marks: &[
        Mark {
            what: "probes",
            seen: |scene| probes(scene) >= 1,
            hint: "is the capture on the loopback interface, of port {port}, and did it run before you pressed Enter?",
        },
        Mark {
            what: "the server giving up",
            seen: |scene| scene.connection("client").any(|segment| over(&segment, scene.truth.port("port"))),
            hint: "it takes some seconds: stop tcpdump when the lab says that all is done",
        },
    ],
    questions: &[
        Question {
            key: "probes",
            ask: "How many probes did the server's kernel send?",
            right: |scene| Answer::Number(probes(scene)),
            mistakes: &[
                Mistake {
                    given: |scene| Answer::Number(probes(scene) + 1),
                    hint: "The last segment is no question any more: look at its flags.",
                },
                Mistake {
                    given: |_| Answer::Number(9),
                    hint: "That is the kernel's default. This server sets the number itself.",
                },
            ],
            hint: "Count the server's segments after the client's last one, without the one that ends it.",
        },
        Question {
            key: "bytes",
            ask: "How many bytes of payload has a probe?",
            right: |_| Answer::Number(0),
            mistakes: &[Mistake {
                given: |_| Answer::Number(1),
                hint: "Some old systems did that. Look at the `length` here.",
            }],
            hint: "It is the `length` at the end of the line.",
        },
        Question {
            key: "end",
            ask: "What does the server send when it gives up? (FIN or RST)",
            right: |_| Answer::Word("RST"),
            mistakes: &[Mistake {
                given: |_| Answer::Word("FIN"),
                hint: "A FIN would want an answer. Look at the flags of the last segment.",
            }],
            hint: "One of the two words.",
        },
    ],
    notes: &[
        ("Flags [R.]", "enough: the connection is given up, and the server sees ETIMEDOUT"),
        ("length 0", "no payload"),
    ],
    lesson: "A probe has no payload and the number of a byte that was acknowledged already, so a living peer must answer it. \
             Without keepalive the server would never find out: it has nothing to send, and silence is no error in TCP. \
             Linux waits two hours before the first probe unless the program says otherwise; this server says 60 s. \
             (Where TCP_USER_TIMEOUT is set as well, Linux gives up by that time and not by the count.)",
};

#[cfg(target_os = "linux")]
fn stage(stage: &mut Stage<'_>) -> io::Result<()> {
    use std::os::fd::IntoRawFd;

    use crate::lab::stage::{call, connect, until};
    use crate::transport::sys::{probe, socket};

    // With TCP_USER_TIMEOUT it is that time which ends it, not the count.
    let flags = ["--keepalive-idle=1s", "--keepalive-interval=1s", "--keepalive-count=3", "--user-timeout=0"];
    let server = stage.serve(&["rpc"], &flags)?;
    stage.look()?;
    let mut client = connect(server.ports[0])?;
    stage.truth.tell("client", client.local_addr()?.port());
    call(&mut client, r#"{"method":"ping"}"#)?;
    probe::deafen(&client)?;
    // The server's end of it disappears from the kernel's table.
    let ends = format!(":{:04X} 0100007F:{:04X} ", server.ports[0], client.local_addr()?.port());
    let gone = until("the server gives up", || {
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap_or_default();
        !table.is_empty() && !table.contains(&ends)
    });
    // Deaf as it is, it would send its FIN for minutes.
    socket::abort(client.into_raw_fd());
    gone
}

#[cfg(not(target_os = "linux"))]
fn stage(_: &mut Stage<'_>) -> io::Result<()> {
    Err(unsupported(
        "this system has no filter for a socket that would make it deaf. Do it with two machines: pull the cable of one, \
         with `rawline serve --keepalive-idle 1s --keepalive-interval 1s` on the other",
    ))
}

/// Whether the server has given up.
fn over(segment: &&Segment, port: u16) -> bool {
    segment.from == port && segment.rst()
}

/// Those of the server, without payload, after the last of the client and before the end.
fn probes(scene: &Scene) -> i64 {
    let client = scene.truth.port("client");
    let port = scene.truth.port("port");
    let all: Vec<_> = scene.connection("client").take_while(|segment| !over(segment, port)).collect();
    let last = all.iter().rposition(|segment| segment.from == client).unwrap_or(all.len());
    let behind = all.iter().skip(last + 1);
    behind.filter(|segment| segment.length == 0).count() as i64
}
