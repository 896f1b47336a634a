//! Fast retransmit: a loss that is noticed without a timer.

use std::io;

use crate::lab::act::nobody;
use crate::lab::read::segments::Segment;
#[cfg(not(target_os = "linux"))]
use crate::lab::stage::unsupported;
use crate::lab::tool::{TCPDUMP, TCPDUMP_MACOS};
use crate::lab::{Answer, Exercise, Mark, Mistake, Question, Scene, Stage, Tool};

pub const EXERCISE: Exercise = Exercise {
    name: "fastretransmit",
    title: "Fast retransmit",
    text: "One segment in the middle of many is lost: the lab makes the receiver's socket deaf for a moment. Those behind it \
           arrive. The receiver may not give them to its program, but it can say which byte it still waits for, and which it \
           has beyond the hole. The sender draws its conclusion before any timer runs out.",
    look: "When all is done the lab tells the port. The segment that is lost is the one that leaves twice. Look at what the \
           receiver sends between the first and the second time: the number that it acknowledges, and the option `sack`.",
    read: "RFC 5681, 3.2; RFC 2018 (SACK); RFC 8985 (RACK)",
    source: &[("src/transport/sys/probe.rs", "pub fn deafen")],
    tool: Tool::Tcpdump,
    linux: TCPDUMP,
    macos: TCPDUMP_MACOS,
    stage,
    act: nobody,
    marks: &[
        Mark {
            what: "the segment that was lost, and its second copy",
            seen: |scene| lost(scene).count() >= 2,
            hint: "is the capture on the loopback interface, of port {port}, and did it run before you pressed Enter?",
        },
        Mark {
            what: "acknowledgements with a hole",
            seen: |scene| duplicates(scene) >= 1,
            hint: "let both directions through: `port`, not `dst port`",
        },
        Mark {
            what: "the hole being filled",
            seen: |scene| filled(scene),
            hint: "stop tcpdump a moment later, when the lab says that all is done",
        },
    ],
    questions: &[
        Question {
            key: "bytes",
            ask: "How many bytes of payload had the segment that was lost?",
            right: |_| Answer::Number(LOST as i64),
            mistakes: &[Mistake {
                given: |_| Answer::Number(OTHER as i64),
                hint: "Those arrived. Which `seq` of the client at port {client} stands there twice?",
            }],
            hint: "It is the `length` of the segment whose `seq` comes twice.",
        },
        Question {
            key: "acks",
            ask: "How many acknowledgements with `sack` came before it was sent again?",
            right: |scene| Answer::Number(duplicates(scene)),
            mistakes: &[
                Mistake {
                    given: |_| Answer::Number(0),
                    hint: "Then only a timer could have known. Look at the options of what came from the receiver.",
                },
                Mistake {
                    given: |scene| Answer::Number(duplicates(scene) + 2),
                    hint: "Is that counted, or is it the rule of the textbooks? Only those before the second copy count.",
                },
            ],
            hint: "Count the receiver's segments with `sack` between the two copies.",
        },
        Question {
            key: "timer",
            ask: "Did the sender wait for its retransmission timer, which is at least 200 ms here? (yes or no)",
            right: |_| Answer::Word("no"),
            mistakes: &[Mistake {
                given: |_| Answer::Word("yes"),
                hint: "Subtract the time of the first acknowledgement with `sack` from that of the second copy.",
            }],
            hint: "One of the two words.",
        },
    ],
    notes: &[
        ("sack 1", "\"I still wait for that byte, and have these beyond it\""),
        ("length 111", "the one that was lost, or its copy"),
    ],
    lesson: "The receiver acknowledges every segment behind a hole at once, with the number that it waits for. Three such duplicates \
             are the textbooks' sign of a loss. Linux today judges by time (RACK): what was sent before something that has \
             arrived, and is overdue by a fraction of the round trip, is lost; so one may be enough. A loss costs a round trip instead of a timeout, if something is sent behind it: \
             the last segment of all has only the timer.",
};

/// Lengths that tell the two kinds apart.
const LOST: usize = 111;
const OTHER: usize = 100;

#[cfg(target_os = "linux")]
fn stage(stage: &mut Stage<'_>) -> io::Result<()> {
    use std::io::{Read, Write};
    use std::net::{Ipv4Addr, TcpListener};

    use crate::lab::stage::{connect, until};
    use crate::transport::sys::probe;

    const FOLLOWING: usize = 6;

    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = listener.local_addr()?.port();
    stage.truth.tell("port", port);
    stage.look()?;
    // On a busy machine a timer may be faster: then once more, with a new connection.
    for _ in 0..50 {
        let mut client = connect(port)?;
        let (mut server, _) = listener.accept()?;
        stage.truth.tell("client", client.local_addr()?.port());
        client.write_all(&[b'a'; OTHER])?;
        server.read_exact(&mut [0; OTHER])?;
        probe::deafen(&server)?;
        client.write_all(&[b'x'; LOST])?;
        probe::hear(&server)?;
        let in_time = probe::tcp_info(&client)?.retransmitted == 0;
        for _ in 0..FOLLOWING {
            client.write_all(&[b'b'; OTHER])?;
        }
        server.read_exact(&mut [0; LOST + FOLLOWING * OTHER])?;
        until("all is acknowledged", || probe::tcp_info(&client).is_ok_and(|info| info.unacked == 0))?;
        if in_time && probe::tcp_info(&client)?.retransmitted == 1 {
            return stage.say("The client had port {client}.");
        }
    }
    Err(io::Error::other("this machine is too busy for it: try again"))
}

#[cfg(not(target_os = "linux"))]
fn stage(_: &mut Stage<'_>) -> io::Result<()> {
    Err(unsupported(
        "this system has no filter for a socket that would lose one segment. Use two machines and a lossy way between \
         them: `dnctl pipe 1 config plr 0.05` and a pf rule with `dummynet`",
    ))
}

fn lost(scene: &Scene) -> impl Iterator<Item = &Segment> {
    let client = scene.truth.port("client");
    scene.connection("client").filter(move |segment| segment.from == client && segment.length == LOST as u32)
}

/// Those between the two copies.
fn duplicates(scene: &Scene) -> i64 {
    let port = scene.truth.port("port");
    let second = lost(scene).nth(1).map_or(f64::MAX, |copy| copy.time);
    let is_one = |segment: &&Segment| segment.from == port && segment.sack && segment.time <= second;
    scene.connection("client").filter(is_one).count() as i64
}

/// Whether the receiver has acknowledged all, without a hole.
fn filled(scene: &Scene) -> bool {
    let port = scene.truth.port("port");
    let Some(second) = lost(scene).nth(1) else { return false };
    let mut segments = scene.connection("client");
    segments.any(|segment| {
        segment.from == port && !segment.sack && segment.ack > second.seq && segment.time >= second.time
    })
}
