//! The backlog: what happens when the accept queue is full.

use std::io;

use crate::lab::act::nobody;
use crate::lab::read::sockets::Socket;
use crate::lab::stage::{at, until};
use crate::lab::{Answer, Exercise, Mark, Mistake, Question, Scene, Stage, Tool};
use crate::transport::sys::socket;

/// What is given to listen(2).
const BACKLOG: i32 = 2;
/// How many connect.
const CLIENTS: usize = 7;

pub const EXERCISE: Exercise = Exercise {
    name: "backlog",
    title: "The backlog: a full accept queue",
    text: "A socket listens, with a small backlog, and nobody ever calls accept. Seven clients connect, one after the other, \
           without waiting. Texts say that a full queue refuses connections. Look where the seven stand.",
    look: "In the line of the listener, Send-Q is the backlog and Recv-Q the number of connections in the queue. The other lines \
           are the clients, in the state in which their own kernel sees them, and the other ends of those that are in the \
           queue.",
    read: "listen(2); tcp(7): tcp_abort_on_overflow; ss(8)",
    source: &[
        ("src/transport/sys/socket.rs", "fn listen"),
        ("src/transport/sys/kernel_limits.rs", "pub fn max_backlog"),
        ("src/client/dial.rs", "pub fn start"),
    ],
    tool: Tool::Ss,
    linux: "ss -tan '( sport = :{port} or dport = :{port} )' > {file}",
    macos: "netstat -an -p tcp | grep '[.]{port} ' > {file}",
    stage,
    act: nobody,
    marks: &[
        Mark {
            what: "the listener",
            seen: |scene| listener(scene).is_some(),
            hint: "ss shows listeners only with -a or -l, and this one has port {port}",
        },
        Mark {
            what: "clients that are connected, and clients that are not",
            seen: |scene| clients(scene).any(|c| c.state.starts_with("ESTAB")) && surplus(scene).is_some(),
            hint: "ss shows sockets that are not connected only with -a, and the clients only while the lab waits for you",
        },
    ],
    questions: &[
        Question {
            key: "backlog",
            ask: "Which backlog was given to listen?",
            right: |_| Answer::Number(BACKLOG.into()),
            mistakes: &[Mistake {
                given: |scene| Answer::Number(queued(scene)),
                hint: "That is how many are in the queue. The other column of the listener is the backlog.",
            }],
            hint: "It is the listener's Send-Q.",
        },
        Question {
            key: "queued",
            ask: "How many connections are in the queue?",
            right: |scene| Answer::Number(queued(scene)),
            mistakes: &[
                Mistake {
                    given: |_| Answer::Number(BACKLOG.into()),
                    hint: "That is the backlog. The kernel asks whether there are more than that: look at Recv-Q.",
                },
                Mistake { given: |_| Answer::Number(CLIENTS as i64), hint: "So many tried." },
            ],
            hint: "It is the listener's Recv-Q.",
        },
        Question {
            key: "state",
            ask: "In which state are the clients that found no place?",
            right: |scene| Answer::Word(surplus(scene).unwrap_or("SYN-SENT")),
            mistakes: &[
                Mistake {
                    given: |_| Answer::Word("CLOSED"),
                    hint: "They would be if they had been refused. Which state has a client that has asked and heard \
                           nothing?",
                },
                Mistake {
                    given: |_| Answer::Word("ESTAB"),
                    hint: "Those have a place. Which other state is there among the clients?",
                },
            ],
            hint: "It is the first word of the lines whose peer is the listener's port, where it is not ESTAB.",
        },
    ],
    notes: &[
        ("LISTEN", "Recv-Q: how many wait to be accepted; Send-Q: the backlog"),
        ("SYN-SENT", "asked, and heard nothing: it asks again, after 1, 2, 4 seconds ..."),
        ("ESTAB", "connected, though nobody has accepted it"),
    ],
    lesson: "A queue with a backlog of N takes N+1. Linux refuses nobody when it is full: it drops the SYN, and the client's kernel \
             asks again, with growing patience, for about two minutes. So a full queue looks like a slow network, and only \
             a timeout of the client's own ends it. (tcp_abort_on_overflow=1 answers with RST those whose handshake was \
             under way.) The value is also capped by net.core.somaxconn.",
};

fn stage(stage: &mut Stage<'_>) -> io::Result<()> {
    let listener = socket::listen_tcp(at(0), BACKLOG, &socket::SocketOptions::default())?;
    let address = socket::local_addr(&listener)?;
    stage.truth.tell("port", address.port());
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(socket::connect_tcp(address)?);
    }
    until("the queue fills", || {
        clients.iter().filter(|client| socket::is_connected(client) == Ok(true)).count() >= BACKLOG as usize
    })?;
    stage.look()
}

fn listener(scene: &Scene) -> Option<&Socket> {
    let port = scene.truth.port("port");
    scene.evidence.sockets.iter().find(|socket| socket.state == "LISTEN" && socket.local == port)
}

fn queued(scene: &Scene) -> i64 {
    listener(scene).map_or(-1, |listener| listener.recv_q)
}

fn clients(scene: &Scene) -> impl Iterator<Item = &Socket> {
    let port = scene.truth.port("port");
    // Who had this port before may have left some in TIME-WAIT.
    scene.evidence.sockets.iter().filter(move |socket| socket.peer == port && socket.state != "TIME-WAIT")
}

/// What is known of those that are not connected.
fn surplus(scene: &Scene) -> Option<&'static str> {
    let found = clients(scene).find(|client| !client.state.starts_with("ESTAB"))?;
    Some(if found.state == "SYN-SENT" { "SYN-SENT" } else { "CLOSED" })
}
