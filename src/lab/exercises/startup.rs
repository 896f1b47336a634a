//! The calls of a start-up: what turns a process into a server.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::lab::act::Actor;
use crate::lab::read::calls::Call;
use crate::lab::stage::{call, connect, serve_flags};
use crate::lab::tool::{DTRUSS, STRACE};
use crate::lab::{Answer, Exercise, Mark, Mistake, Question, Scene, Stage, Tool};

pub const EXERCISE: Exercise = Exercise {
    name: "startup",
    title: "The calls of a start-up",
    text: "A process waits for you. When you are looking, it becomes `rawline serve` by execve, and the trace shows all \
           that makes a server of it: a socket, its options, an address, a queue, and something to wait with. Most \
           of the lines before belong to the loader and to Rust; you can find the beginning by the family that is \
           asked for, AF_INET.",
    look: "Follow one descriptor: the number that `socket` returns comes back as the first argument of every call that \
           makes a listener of it, and once more where the poller is told to watch it.",
    read: "socket(2), bind(2), listen(2), epoll_create(2); on macOS kqueue(2)",
    source: &[
        ("src/transport/sys/socket.rs", "pub fn listen_tcp"),
        ("src/transport/sys/epoll.rs", "fn new"),
        ("src/transport/sys/kqueue.rs", "fn new"),
    ],
    tool: Tool::Strace,
    linux: STRACE,
    macos: DTRUSS,
    stage,
    act,
    marks: &[
        Mark {
            what: "a TCP socket being made",
            seen: |scene| socket(scene) >= 0,
            hint: "the trace must begin before the server does: run the tool first, then press Enter",
        },
        Mark {
            what: "a queue for it",
            seen: |scene| on_listener(scene, "listen").is_some(),
            hint: "do not narrow the trace to some calls, and let it run to the end",
        },
        Mark {
            what: "the poller being told of it",
            seen: |scene| watch(scene).is_some(),
            hint: "stop the tool only when the lab says that all is done",
        },
    ],
    questions: &[
        Question {
            key: "listener",
            ask: "Which descriptor is the listener?",
            right: |scene| Answer::Number(socket(scene)),
            mistakes: &[
                Mistake {
                    given: |scene| Answer::Number(poller(scene)),
                    hint: "That one waits for many descriptors. Which one is given to `bind`?",
                },
                Mistake {
                    given: |scene| Answer::Number(scene.truth.number("port")),
                    hint: "That is a port, which others know. A descriptor is this process's own small number: \
                           what `socket` returned.",
                },
            ],
            hint: "Look for `socket(AF_INET, ...`: what it returned is the number.",
        },
        Question {
            key: "last",
            ask: "Which of the calls on the listener's descriptor is the first after which a client's connect succeeds?",
            right: |_| Answer::Word("listen"),
            mistakes: &[
                Mistake {
                    given: |_| Answer::Word("bind"),
                    hint: "After that the address is taken, but a connect is still refused.",
                },
                Mistake {
                    given: |_| Answer::Word("accept4"),
                    hint: "The kernel finishes a handshake without the process. What made the queue in which the \
                           connection waits?",
                },
                Mistake {
                    given: |_| Answer::Word("epoll_ctl"),
                    hint: "That is for the server's own sake. The client does not notice whether anybody waits.",
                },
            ],
            hint: "Before it, the kernel answers SYN with RST.",
        },
        Question {
            key: "options",
            ask: "How many options does the server set on the listener (setsockopt) before it is bound?",
            right: |scene| Answer::Number(options(scene)),
            mistakes: &[Mistake {
                given: |scene| Answer::Number(options(scene) + 1),
                hint: "Count only those with the listener's descriptor, and only up to `bind`.",
            }],
            hint: "Count the setsockopt calls whose first argument is the listener, up to `bind`.",
        },
    ],
    notes: &[
        ("socket(AF_INET", "a TCP socket: only a number so far"),
        ("SO_REUSEADDR", "a port with connections in TIME-WAIT can be bound"),
        ("TCP_NODELAY", "set on the listener: every accepted socket inherits it"),
        ("bind(", "the address is taken"),
        ("listen(", "the kernel begins to finish handshakes, and queues the connections"),
        ("epoll_create1", "something to wait with"),
        ("epoll_ctl(", "the poller is told what to watch"),
    ],
    lesson: "socket, setsockopt, bind, listen, epoll_ctl. Nothing waits for a client yet, and still clients can connect \
             from `listen` on: the handshake is the kernel's. The options are set on the listener, once, because \
             Linux lets the accepted sockets inherit them.",
};

fn act(actor: &mut Actor<'_>) -> io::Result<()> {
    actor.cue()?;
    // Only an exec that failed comes back.
    Err(Command::new(std::env::current_exe()?).args(serve_flags(&["rpc"])).exec())
}

fn stage(stage: &mut Stage<'_>) -> io::Result<()> {
    let mut server = stage.cast()?;
    stage.look()?;
    stage.cue(&mut server, "go")?;
    let port = stage.hear_listening(&mut server)?;
    stage.truth.tell("port", port);
    // When it answers, it has told the poller of its listener.
    call(&mut connect(port)?, r#"{"method":"ping"}"#)?;
    stage.signal(server.pid, nix::sys::signal::Signal::SIGTERM)?;
    stage.wait(server.pid)
}

/// What socket(2) returned for the listener; -1 if it is not there.
fn socket(scene: &Scene) -> i64 {
    let calls = &scene.evidence.calls;
    let bound = calls.iter().find(|call| call.name == "bind" && call.result == Some(0));
    bound.map_or(-1, |call| call.number(0))
}

fn on_listener<'a>(scene: &'a Scene, name: &str) -> Option<&'a Call> {
    let listener = socket(scene);
    scene.evidence.calls.iter().find(|call| call.name == name && call.number(0) == listener)
}

fn watch(scene: &Scene) -> Option<&Call> {
    let listener = socket(scene);
    let mut calls = scene.evidence.calls.iter();
    calls.find(|call| call.name == "kevent" || call.name == "epoll_ctl" && call.number(2) == listener)
}

fn poller(scene: &Scene) -> i64 {
    watch(scene).map_or(-1, |call| call.number(0))
}

fn options(scene: &Scene) -> i64 {
    let calls = scene.evidence.calls.iter().take_while(|call| call.name != "bind");
    let listener = socket(scene);
    calls.filter(|call| call.name == "setsockopt" && call.number(0) == listener).count() as i64
}
