//! A heartbeat against keepalive: who answers.

use std::io::{self, Read};

use crate::lab::act::nobody;
use crate::lab::read::segments::Segment;
use crate::lab::stage::{call, connect};
use crate::lab::tool::{TCPDUMP, TCPDUMP_MACOS};
use crate::lab::{Answer, Exercise, Mark, Mistake, Question, Scene, Stage, Tool};

pub const EXERCISE: Exercise = Exercise {
    name: "heartbeat",
    title: "Heartbeat against keepalive: who answers?",
    text: "Two clients whose processes hang: they live, but will never read or write again. The server's keepalive asks after one \
           second of silence. The first client had asked for nothing else. The second had called set_heartbeat with one second \
           before it froze, so the server pings it by a message. After some seconds the lab looks who is still connected.",
    look: "When all is done the lab tells both ports. For the first, look at the probes and who answers them; for the second, at \
           what the server sends, what comes back, and how it ends. An acknowledgement is not an answer.",
    read: "docs/protocol.md, Heartbeat; tcp(7): SO_KEEPALIVE; RFC 1122, 4.2.3.6",
    source: &[
        ("src/transport/event_loop/ends.rs", "fn beat"),
        ("src/transport/sys/socket.rs", "fn set_tcp_options"),
    ],
    tool: Tool::Tcpdump,
    linux: TCPDUMP,
    macos: TCPDUMP_MACOS,
    stage,
    act: nobody,
    marks: &[
        Mark {
            what: "a probe that is answered",
            seen: |scene| answered(scene) >= 1,
            hint: "is the capture on the loopback interface, of port {port}, and did it run until the lab said that all is done?",
        },
        Mark {
            what: "the end of the one with the heartbeat",
            seen: |scene| scene.connection("pinged").any(|segment| segment.rst() || segment.fin()),
            hint: "it takes some seconds: stop tcpdump when the lab says that all is done",
        },
    ],
    questions: &[
        Question {
            key: "answers",
            ask: "Who answers the keepalive probes of the client at port {silent}? (process or kernel)",
            right: |_| Answer::Word("kernel"),
            mistakes: &[Mistake {
                given: |_| Answer::Word("process"),
                hint: "That process hangs. Who is left?",
            }],
            hint: "One of the two words.",
        },
        Question {
            key: "silent",
            ask: "Did the server find out, while you looked, that the process at port {silent} hangs? (yes or no)",
            right: |scene| Answer::Word(if cut(scene, "silent") { "yes" } else { "no" }),
            mistakes: &[Mistake {
                given: |_| Answer::Word("yes"),
                hint: "Has the server ended that connection while the lab had both?",
            }],
            hint: "One of the two words.",
        },
        Question {
            key: "pings",
            ask: "How many pings did the client at port {pinged} get before it was cut?",
            right: |scene| Answer::Number(pings(scene)),
            mistakes: &[
                Mistake {
                    given: |_| Answer::Number(0),
                    hint: "A ping is a message of the server, with payload, after the answer to set_heartbeat.",
                },
                Mistake {
                    given: |scene| Answer::Number(pings(scene) + 1),
                    hint: "The first message of the server on that connection is the answer to set_heartbeat.",
                },
            ],
            hint: "Count the segments with payload from the server to that port, after the answer to set_heartbeat.",
        },
    ],
    notes: &[
        ("Flags [R", "cut: nothing came back in two periods"),
        ("Flags [P.]", "a message"),
        ("length 0", "no payload"),
    ],
    lesson: "Keepalive asks a kernel, a heartbeat asks a process. A kernel answers for a process that is stopped, that waits for a \
             lock, or that loops. Keepalive finds machines that are gone; only a message that the program itself has to \
             answer finds programs that hang. The pings were acknowledged, by the kernel again, and still the server cut.",
};

fn stage(stage: &mut Stage<'_>) -> io::Result<()> {
    let flags = ["--keepalive-idle=1s", "--keepalive-interval=1s", "--keepalive-count=3"];
    let server = stage.serve(&["rpc"], &flags)?;
    stage.look()?;
    let (mut silent, mut pinged) = (connect(server.ports[0])?, connect(server.ports[0])?);
    stage.truth.tell("silent", silent.local_addr()?.port());
    stage.truth.tell("pinged", pinged.local_addr()?.port());
    call(&mut silent, r#"{"method":"ping"}"#)?;
    call(&mut pinged, r#"{"method":"set_heartbeat","params":{"seconds":1}}"#)?;
    // It hangs: it looks what has come only when it is over.
    let _ = pinged.read_to_end(&mut Vec::new());
    crate::lab::stage::pause(std::time::Duration::from_millis(1200));
    stage.say("The silent client had port {silent}, the one with the heartbeat port {pinged}.")
}

/// Probes to the silent one that were acknowledged.
fn answered(scene: &Scene) -> usize {
    let port = scene.truth.port("port");
    let all: Vec<&Segment> = scene.connection("silent").skip_while(|segment| segment.length == 0).collect();
    let is_probe = |pair: &&[&Segment]| {
        let [one, two] = pair else { return false };
        one.from == port && one.length == 0 && two.to == port && two.length == 0 && two.flags == 16
    };
    all.windows(2).filter(|pair| is_probe(pair)).count()
}

fn cut(scene: &Scene, client: &str) -> bool {
    let port = scene.truth.port("port");
    // When the lab ends the server, it is over for everybody; before, only the one with the heartbeat.
    let end =
        scene.connection("pinged").find(|segment| segment.rst()).map_or(f64::MAX, |segment| segment.time);
    let mut segments = scene.connection(client);
    segments.any(|segment| segment.from == port && (segment.rst() || segment.fin()) && segment.time <= end)
}

fn pings(scene: &Scene) -> i64 {
    let port = scene.truth.port("port");
    scene.connection("pinged").filter(|segment| segment.from == port && segment.length > 0).count() as i64 - 1
}
