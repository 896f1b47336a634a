//! RST: by SO_LINGER 0, and when kill -9 sends one and when it does not.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::IntoRawFd;

use nix::sys::signal::Signal;

use crate::lab::act::Actor;
use crate::lab::stage::connect;
use crate::lab::tool::{TCPDUMP, TCPDUMP_MACOS};
use crate::lab::{Answer, Exercise, Mark, Mistake, Question, Scene, Stage, Tool};
use crate::transport::sys::socket;

pub const EXERCISE: Exercise = Exercise {
    name: "reset",
    title: "RST: SO_LINGER 0, and what kill -9 really sends",
    text: "Three connections to one process. The first client closes with SO_LINGER set to no time at all. The other two stay \
           open while the process is killed with SIGKILL: it had read all that the second client sent, and nothing of \
           what the third sent. Many texts say that kill -9 sends RST. See what this kernel does.",
    look: "When all is done the lab tells the three ports. For each connection find the segment that ends it: [F.] is FIN, [R.] \
           or [R] is RST.",
    read: "socket(7): SO_LINGER; RFC 9293, 3.5.3 and 3.6.1; RFC 2525, 2.17",
    source: &[("src/transport/sys/socket.rs", "pub fn abort")],
    tool: Tool::Tcpdump,
    linux: TCPDUMP,
    macos: TCPDUMP_MACOS,
    stage,
    act,
    marks: &[
        Mark {
            what: "the end of the first connection",
            seen: |scene| end(scene, "linger").is_some(),
            hint: "is the capture on the loopback interface, of port {port}, and did it run before you pressed Enter?",
        },
        Mark {
            what: "the ends of the two that were killed",
            seen: |scene| end(scene, "read").is_some() && end(scene, "unread").is_some(),
            hint: "stop tcpdump a moment later, when the lab says that all is done",
        },
    ],
    questions: &[
        Question {
            key: "linger",
            ask: "What ended the connection of port {linger}, closed with SO_LINGER? (FIN or RST)",
            right: |scene| Answer::Word(end(scene, "linger").unwrap_or("FIN")),
            mistakes: &[Mistake {
                given: |_| Answer::Word("FIN"),
                hint: "To linger for no time means: throw away what is left, and do not wait for anybody.",
            }],
            hint: "One of the two words.",
        },
        Question {
            key: "read",
            ask: "What ended that of port {read}, when the process was killed and had read everything? (FIN or RST)",
            right: |scene| Answer::Word(end(scene, "read").unwrap_or("FIN")),
            mistakes: &[Mistake {
                given: |_| Answer::Word("RST"),
                hint: "Look again. The kernel closes a dead process's descriptors as close(2) would.",
            }],
            hint: "One of the two words.",
        },
        Question {
            key: "unread",
            ask: "And that of port {unread}, when bytes were left that it had not read? (FIN or RST)",
            right: |scene| Answer::Word(end(scene, "unread").unwrap_or("FIN")),
            mistakes: &[Mistake {
                given: |_| Answer::Word("FIN"),
                hint: "Bytes that were acknowledged will never be read. Is its sender told?",
            }],
            hint: "One of the two words.",
        },
    ],
    notes: &[
        ("Flags [R", "reset: over at once, and nothing that is still under way counts"),
        ("Flags [F.]", "closed in good order"),
    ],
    lesson: "SO_LINGER with a time of 0 makes close(2) send RST. kill -9 is not special: the kernel closes the descriptors, and \
             that sends FIN, except where received bytes were never read: then RST says that they were lost. It is the \
             same when a living server closes too early, which is why this one reads on for a while after it has \
             refused somebody.",
};

fn act(actor: &mut Actor<'_>) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    actor.tell("port", listener.local_addr()?.port())?;
    actor.cue()?;
    let mut clients = Vec::new();
    for _ in 0..3 {
        clients.push(listener.accept()?.0);
    }
    clients[1].read_exact(&mut [0; 5])?;
    // Now to be killed.
    actor.cue().map(drop)
}

fn stage(stage: &mut Stage<'_>) -> io::Result<()> {
    let mut victim = stage.cast()?;
    let port = stage.truth.port("port");
    stage.look()?;
    stage.cue(&mut victim, "accept")?;
    let (linger, mut read, mut unread) = (connect(port)?, connect(port)?, connect(port)?);
    for (name, client) in [("linger", &linger), ("read", &read), ("unread", &unread)] {
        stage.truth.tell(name, client.local_addr()?.port());
    }
    read.write_all(b"hello")?;
    unread.write_all(b"hello")?;
    stage.hear(&mut victim)?;
    socket::abort(linger.into_raw_fd());
    stage.signal(victim.pid, Signal::SIGKILL)?;
    stage.wait(victim.pid)?;
    for client in [&mut read, &mut unread] {
        // However it ends.
        let _ = client.read(&mut [0; 8]);
    }
    stage.say(
        "The ports were {linger} (SO_LINGER), {read} (killed, all read) and {unread} (killed, not read).",
    )
}

/// What came first of both.
fn end(scene: &Scene, client: &str) -> Option<&'static str> {
    let segment = scene.connection(client).find(|segment| segment.rst() || segment.fin())?;
    Some(if segment.rst() { "RST" } else { "FIN" })
}
