//! EMFILE: what a server does when it has no descriptor left.

use std::io;
use std::process::Command;

use crate::lab::act::nobody;
use crate::lab::read::calls::Call;
use crate::lab::stage::{connect, serve_flags, until};
use crate::lab::tool::{DTRUSS, STRACE};
use crate::lab::{Answer, Exercise, Mark, Mistake, Question, Scene, Stage, Tool};

/// What the server may have open.
const DESCRIPTORS: usize = 16;

pub const EXERCISE: Exercise = Exercise {
    name: "emfile",
    title: "EMFILE: no descriptor left",
    text: "The server may open only sixteen descriptors, and more clients connect than that. An accept that fails takes nothing out \
           of the queue, so the listener stays readable: a server that only logs the error and waits again wakes up at once, \
           fails again, and uses a whole processor for nothing. Some keep a spare descriptor for this: they close it, accept, \
           close the client, and open the spare again. Look at what this server does.",
    look: "Find the first accept that fails. What is closed right behind it, and what becomes possible by that? What is the \
           client told? Which call comes before the next wait, and what does it change?",
    read: "accept(2): EMFILE; getrlimit(2): RLIMIT_NOFILE; epoll_ctl(2)",
    source: &[
        ("src/transport/event_loop/accept.rs", "fn rest_listener"),
        ("src/transport/sys/os.rs", "fn give_up_spare"),
    ],
    tool: Tool::Strace,
    linux: STRACE,
    macos: DTRUSS,
    stage,
    act: nobody,
    marks: &[
        Mark {
            what: "an accept that fails",
            seen: |scene| failed(scene).is_some(),
            hint: "attach to process {pid} before you press Enter, and do not narrow the trace to some calls",
        },
        Mark {
            what: "what the server does about it",
            seen: |scene| spare(scene).is_some() && reaction(scene).is_some(),
            hint: "do not narrow the trace to some calls, and let it run until the lab says that all is done",
        },
    ],
    questions: &[
        Question {
            key: "error",
            ask: "With which error did accept fail?",
            right: |_| Answer::Word("EMFILE"),
            mistakes: &[
                Mistake {
                    given: |_| Answer::Word("ENFILE"),
                    hint: "That would be the whole machine's table. Read the name behind the -1 again.",
                },
                Mistake {
                    given: |_| Answer::Word("EAGAIN"),
                    hint: "That says only that the queue is empty. Which other failure is there?",
                },
            ],
            hint: "It is the name behind the -1.",
        },
        Question {
            key: "spare",
            ask: "Which descriptor does the server give up, so that it can take the client all the same?",
            right: |scene| Answer::Number(spare(scene).map_or(-1, |call| call.number(0))),
            mistakes: &[
                Mistake {
                    given: |scene| Answer::Number(failed(scene).map_or(-1, |call| call.number(0))),
                    hint: "That is the listener. What is closed right behind the accept that failed?",
                },
                Mistake {
                    given: |scene| Answer::Number(reaction(scene).map_or(-1, |call| call.number(0))),
                    hint: "That is the poller. What is closed right behind the accept that failed?",
                },
            ],
            hint: "What is closed right behind the accept that failed?",
        },
        Question {
            key: "call",
            ask: "Which call keeps the poller from reporting the listener again at once?",
            right: |scene| Answer::Word(name(reaction(scene))),
            mistakes: &[Mistake {
                given: |_| Answer::Word("epoll_wait"),
                hint: "That would return at once, if nothing were changed before it.",
            }],
            hint: "It names the listener and what is wanted of it, and comes before the next wait.",
        },
        Question {
            key: "connected",
            ask: "Did connect succeed for the clients that the server could not accept? (yes or no)",
            right: |_| Answer::Word("yes"),
            mistakes: &[Mistake {
                given: |_| Answer::Word("no"),
                hint: "Who finishes a handshake: the process, or its kernel? The lab's own clients all came back from connect.",
            }],
            hint: "One of the two words.",
        },
    ],
    notes: &[
        ("Too many connections", "told at once, instead of waiting for nothing"),
        ("F_DUPFD", "the spare again, for the next one"),
        ("EMFILE", "this process may not have another descriptor"),
        ("epoll_ctl(", "what is wanted of the listener changes"),
        ("accept4(", "a client"),
    ],
    lesson: "EMFILE is not the client's fault, and the client is already connected: it waits in the kernel's queue. This server \
             keeps a spare descriptor. It closes it, accepts with the number that is free now, says that there are too many \
             connections, closes, and makes the spare again. Then the listener rests, 10 ms at first and up to a second: the \
             poller is asked for nothing. What must not happen is to ignore the error: that is spinning.",
};

fn stage(stage: &mut Stage<'_>) -> io::Result<()> {
    let mut shell = Command::new("sh");
    let line = format!("ulimit -n {DESCRIPTORS} && exec \"$0\" \"$@\"");
    shell
        .args(["-c", &line])
        .arg(std::env::current_exe()?)
        .args(serve_flags(&["rpc"]))
        .arg("--max-connections=100");
    let server = stage.serve_with(&mut shell, 1)?;
    stage.look()?;
    let mut clients = Vec::new();
    for _ in 0..DESCRIPTORS {
        clients.push(connect(server.ports[0])?);
    }
    // As many as it may have.
    let open = format!("/proc/{}/fd", server.pid);
    if cfg!(target_os = "linux") {
        until("the descriptors run out", || {
            std::fs::read_dir(&open).is_ok_and(|all| all.count() >= DESCRIPTORS)
        })?;
    }
    crate::lab::stage::pause(std::time::Duration::from_millis(300));
    Ok(())
}

fn failed(scene: &Scene) -> Option<&Call> {
    scene.calls(&["accept4", "accept"]).find(|call| call.error == "EMFILE")
}

/// What is closed right behind it, as the first thing.
fn spare(scene: &Scene) -> Option<&Call> {
    let failed = failed(scene)?;
    let behind = scene.evidence.calls.iter().skip_while(|call| !std::ptr::eq(*call, failed));
    behind.take_while(|call| !call.is(&["epoll_wait", "kevent"])).find(|call| call.name == "close")
}

/// The first change of what is watched, after that.
fn reaction(scene: &Scene) -> Option<&Call> {
    let failed = failed(scene)?;
    let behind = scene.evidence.calls.iter().skip_while(|call| !std::ptr::eq(*call, failed));
    behind.skip(1).find(|call| call.is(&["epoll_ctl", "kevent"]))
}

fn name(call: Option<&Call>) -> &'static str {
    if call.is_some_and(|call| call.name == "kevent") { "kevent" } else { "epoll_ctl" }
}
