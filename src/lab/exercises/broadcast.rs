//! One broadcast, as many writes as members; a burst, and still one write for each.

use std::io::{self, Write};

use crate::lab::act::nobody;
use crate::lab::read::calls::Call;
use crate::lab::stage::{call, connect, read_line};
use crate::lab::tool::{DTRUSS, STRACE};
use crate::lab::{Answer, Exercise, Mark, Mistake, Question, Scene, Stage, Tool};

/// In the room.
const MEMBERS: usize = 5;
/// Messages in the burst.
const BURST: usize = 10;
const SAY: &str = "{\"method\":\"send_message\",\"params\":{\"message\":\"hello\"}}\n";

pub const EXERCISE: Exercise = Exercise {
    name: "broadcast",
    title: "A broadcast, and a burst",
    text: "Five members are in the room. One of them says something; everybody hears it, and the speaker gets an answer. Then the \
           same member says ten things, in one segment. How many writes does the server make the first time, and how many the \
           second?",
    look: "Two reads divide the trace: a short one and a long one. Count the sends behind each, and look at their first argument and \
           at what they return.",
    read: "send(2), sendmsg(2); ARCHITECTURE.md, The turn log",
    source: &[("src/transport/outbox.rs", "pub fn broadcast"), ("src/transport/hub.rs", "pub fn flush")],
    tool: Tool::Strace,
    linux: STRACE,
    macos: DTRUSS,
    stage,
    act: nobody,
    marks: &[
        Mark {
            what: "the one message, and its sends",
            seen: |scene| !sends(scene, SAY.len()).is_empty(),
            hint: "attach to process {pid} before you press Enter, and do not narrow the trace to some calls",
        },
        Mark {
            what: "the burst, and its sends",
            seen: |scene| sends(scene, SAY.len() * BURST).len() >= MEMBERS,
            hint: "let the trace run until the lab says that all is done",
        },
    ],
    questions: &[
        Question {
            key: "one",
            ask: "How many sends did the one message cause?",
            right: |scene| Answer::Number(sends(scene, SAY.len()).len() as i64),
            mistakes: &[
                Mistake {
                    given: |scene| Answer::Number(sends(scene, SAY.len()).len() as i64 - 1),
                    hint: "The speaker does not hear himself, but he gets an answer.",
                },
                Mistake {
                    given: |_| Answer::Number(1),
                    hint: "Is there a call that sends to several connections at once? Count the sends before the next wait.",
                },
            ],
            hint: "Count the sends between that read and the next wait.",
        },
        Question {
            key: "burst",
            ask: "How many sends did the burst cause?",
            right: |scene| Answer::Number(sends(scene, SAY.len() * BURST).len() as i64),
            mistakes: &[
                Mistake {
                    given: |_| Answer::Number((MEMBERS * BURST) as i64),
                    hint: "That would be one for each message and member. Count.",
                },
                Mistake {
                    given: |_| Answer::Number(BURST as i64),
                    hint: "So many messages there were. Count the sends behind the long read.",
                },
            ],
            hint: "Count the sends between the long read and the next wait.",
        },
        Question {
            key: "merged",
            ask: "How many messages were in one of the burst's sends to a listener?",
            right: |scene| Answer::Number(merged(scene)),
            mistakes: &[Mistake {
                given: |_| Answer::Number(1),
                hint: "Compare what the sends to the same descriptor returned, the first time and the second.",
            }],
            hint: "Divide what a send to one listener returned by what it returned for the one message.",
        },
    ],
    notes: &[
        ("recvfrom(", "what the speaker said"),
        ("sendto(", "one member: all that this turn has for him"),
        ("sendmsg(", "one member, from several places of the memory"),
    ],
    lesson: "TCP has no call for many receivers: a broadcast costs one write for each. But it need not cost one for each message. The \
             server collects in a turn what everybody is to hear, in one buffer, and writes once for each member at the end of \
             the turn. The busier it is, the more goes into a write.",
};

fn stage(stage: &mut Stage<'_>) -> io::Result<()> {
    let server = stage.serve(&["rpc"], &[])?;
    let mut members = Vec::new();
    for number in 0..MEMBERS {
        let mut member = connect(server.ports[0])?;
        call(&mut member, &format!(r#"{{"method":"join_chat","params":{{"username":"member{number}"}}}}"#))?;
        members.push(member);
    }
    // Welcomes, and the joins of those who came later.
    for (number, member) in members.iter_mut().enumerate() {
        for _ in number..MEMBERS {
            read_line(member)?;
        }
    }
    stage.look()?;
    for count in [1, BURST] {
        members[0].write_all(SAY.repeat(count).as_bytes())?;
        for member in &mut members {
            for _ in 0..count {
                read_line(member)?;
            }
        }
        stage.until_asleep(server.pid)?;
    }
    Ok(())
}

/// The sends between the read of so many bytes and the next wait.
fn sends(scene: &Scene, bytes: usize) -> Vec<&Call> {
    let is_it =
        |call: &&Call| call.is(&["recvfrom", "recv", "read", "readv"]) && call.result == Some(bytes as i64);
    let calls = scene.evidence.calls.iter().skip_while(|call| !is_it(call)).skip(1);
    let turn = calls.take_while(|call| !call.is(&["epoll_wait", "kevent"]));
    turn.filter(|call| call.is(&["sendto", "sendmsg"]) && call.result > Some(0)).collect()
}

fn merged(scene: &Scene) -> i64 {
    let (one, burst) = (sends(scene, SAY.len()), sends(scene, SAY.len() * BURST));
    let Some(first) = one.last() else { return -1 };
    let same = burst.iter().find(|call| call.number(0) == first.number(0));
    same.and_then(|call| call.result).unwrap_or(0) / first.result.unwrap_or(1).max(1)
}
