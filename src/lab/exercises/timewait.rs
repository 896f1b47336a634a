//! TIME-WAIT: on whose side, and for how long.

use std::io::{self, Read, Write};

use crate::lab::act::nobody;
use crate::lab::read::sockets::Socket;
use crate::lab::stage::{connect, until};
use crate::lab::{Answer, Exercise, Mark, Mistake, Question, Scene, Stage, Tool};

pub const EXERCISE: Exercise = Exercise {
    name: "timewait",
    title: "TIME-WAIT: on whose side, and for how long",
    text: "Two people were in the line chat and are gone. The first hung up by himself; the second said /quit, and the server \
           closed the connection. Both connections are closed in both directions, and the kernel still keeps \
           something of each. Some texts say that the client is the one that has to wait, and for two to four minutes. \
           Look at once: the time runs.",
    look: "A line in state TIME-WAIT belongs to one side of a connection: the local port is the side that waits. With -o, ss \
           shows how much of the time is left.",
    read: "RFC 9293, 3.6.1; tcp(7); ss(8)",
    source: &[
        ("src/transport/event_loop/mod.rs", "fn reap"),
        ("src/transport/sys/socket.rs", "pub fn close"),
    ],
    tool: Tool::Ss,
    linux: "ss -tano '( sport = :{port} or dport = :{port} )' > {file}",
    macos: "netstat -an -p tcp | grep '[.]{port} ' > {file}",
    stage,
    act: nobody,
    marks: &[
        Mark {
            what: "what is left of the first connection",
            seen: |scene| side(scene, "hung_up").is_some(),
            hint: "it is gone after a while: stage it again, and look at once",
        },
        Mark {
            what: "what is left of the second",
            seen: |scene| side(scene, "quit").is_some(),
            hint: "it is gone after a while: stage it again, and look at once",
        },
    ],
    questions: &[
        Question {
            key: "hung_up",
            ask: "On whose side is TIME-WAIT for the connection of port {hung_up}, whose client hung up? (client or server)",
            right: |scene| Answer::Word(side(scene, "hung_up").unwrap_or("client")),
            mistakes: &[Mistake {
                given: |_| Answer::Word("server"),
                hint: "Which of its two ports is the local one in the line with TIME-WAIT? The server's is {port}.",
            }],
            hint: "One of the two words.",
        },
        Question {
            key: "quit",
            ask: "And for that of port {quit}, which the server closed? (client or server)",
            right: |scene| Answer::Word(side(scene, "quit").unwrap_or("server")),
            mistakes: &[Mistake {
                given: |_| Answer::Word("client"),
                hint: "It is not a matter of roles. Who sent the first FIN?",
            }],
            hint: "One of the two words.",
        },
        Question {
            key: "seconds",
            ask: "How many seconds does TIME-WAIT last on this system?",
            right: |_| Answer::Number(SECONDS),
            mistakes: &[
                Mistake {
                    given: |_| Answer::Number(120),
                    hint: "That is what many texts say. Look what the timer shows right after the staging.",
                },
                Mistake {
                    given: |_| Answer::Number(240),
                    hint: "Twice the two minutes of the standard. Kernels are less patient: look at the timer right \
                           after the staging.",
                },
            ],
            hint: "Stage it again and look at once: the timer has only just begun to count down, from a round number.",
        },
    ],
    notes: &[
        ("TIME-WAIT", "the side that closed first waits, in case its last acknowledgement is lost"),
        ("LISTEN", "the server goes on listening at the same port"),
    ],
    lesson: "Who sends the first FIN waits, client or server, so that a FIN that comes again is answered and old segments die \
             out. Linux waits for 60 seconds, a constant of the source (TCP_TIMEWAIT_LEN) that no setting changes; \
             tcp_fin_timeout is something else. macOS waits for twice net.inet.tcp.msl. It costs no descriptor and \
             little memory; what it can cost is a port.",
};

/// TCP_TIMEWAIT_LEN; twice the usual net.inet.tcp.msl.
const SECONDS: i64 = if cfg!(target_vendor = "apple") { 30 } else { 60 };

fn stage(stage: &mut Stage<'_>) -> io::Result<()> {
    let server = stage.serve(&["line"], &[])?;
    let port = server.ports[0];
    let mut prompt = [0; "Enter your name : ".len()];
    let mut hung_up = connect(port)?;
    hung_up.read_exact(&mut prompt)?;
    stage.truth.tell("hung_up", hung_up.local_addr()?.port());
    drop(hung_up);
    let mut quit = connect(port)?;
    quit.read_exact(&mut prompt)?;
    stage.truth.tell("quit", quit.local_addr()?.port());
    quit.write_all(b"Alice\n/quit\n")?;
    quit.read_to_end(&mut Vec::new())?;
    drop(quit);
    stage.say("The client that hung up had port {hung_up}, the one that said /quit port {quit}; the server listens at {port}.")?;
    // Until the last FIN is acknowledged. Elsewhere it is, by the time that anybody looks.
    if cfg!(target_os = "linux") {
        let ends = format!(":{port:04X} ");
        until("both connections wait", || {
            let table = std::fs::read_to_string("/proc/net/tcp").unwrap_or_default();
            table
                .lines()
                .filter(|line| line.contains(&ends) && line.split_whitespace().nth(3) == Some("06"))
                .count()
                >= 2
        })?;
    }
    stage.look()
}

/// The side that waits.
fn side(scene: &Scene, client: &str) -> Option<&'static str> {
    let (client, port) = (scene.truth.port(client), scene.truth.port("port"));
    let waits = |socket: &&Socket| socket.state == "TIME-WAIT";
    let of_it = |socket: &&Socket| [(client, port), (port, client)].contains(&(socket.local, socket.peer));
    let found = scene.evidence.sockets.iter().filter(waits).find(of_it)?;
    Some(if found.local == client { "client" } else { "server" })
}
