//! SO_RCVBUF: what is asked for, and what the kernel gives.

use std::io;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, getsockopt, setsockopt, socket, sockopt};

use crate::lab::act::Actor;
use crate::lab::read::calls::Call;
use crate::lab::tool::{DTRUSS, STRACE};
use crate::lab::{Answer, Exercise, Mark, Mistake, Question, Scene, Stage, Tool};

/// What is asked for.
const WISH: usize = 10_000;

pub const EXERCISE: Exercise = Exercise {
    name: "rcvbuf",
    title: "SO_RCVBUF: asked, and given",
    text: "A process asks for a receive buffer of ten thousand bytes and then asks the kernel how large it is. Then it does the same \
           with a wish that is far too small: a single byte. Programs that check whether they got what they asked for are in for \
           a surprise.",
    look: "Two pairs of setsockopt and getsockopt with SO_RCVBUF. The value stands in square brackets.",
    read: "socket(7): SO_RCVBUF; tcp(7): tcp_rmem",
    source: &[("src/transport/sys/socket.rs", "fn set_tcp_options")],
    tool: Tool::Strace,
    linux: STRACE,
    macos: DTRUSS,
    stage,
    act,
    marks: &[Mark {
        what: "both wishes and what became of them",
        seen: |scene| given(scene, 1) >= 0,
        hint: "attach to process {pid} before you press Enter, and do not narrow the trace to some calls",
    }],
    questions: &[
        Question {
            key: "given",
            ask: "How large is the buffer after the first wish, as the kernel says?",
            right: |scene| Answer::Number(given(scene, 0)),
            mistakes: &[
                Mistake {
                    given: |_| Answer::Number(WISH as i64),
                    hint: "That was the wish. What does getsockopt say?",
                },
                Mistake {
                    given: |_| Answer::Number(131_072),
                    hint: "That is what many sockets begin with. What does getsockopt say after the wish?",
                },
            ],
            hint: "It stands in square brackets in the first getsockopt.",
        },
        Question {
            key: "factor",
            ask: "By which factor is that more than was asked for?",
            right: |scene| Answer::Number(given(scene, 0) / WISH as i64),
            mistakes: &[Mistake {
                given: |_| Answer::Number(1),
                hint: "Divide the number of getsockopt by that of setsockopt.",
            }],
            hint: "Divide the number of getsockopt by that of setsockopt.",
        },
        Question {
            key: "least",
            ask: "How large is the buffer after the second wish?",
            right: |scene| Answer::Number(given(scene, 1)),
            mistakes: &[
                Mistake {
                    given: |_| Answer::Number(1),
                    hint: "That was the wish. What does the second getsockopt say?",
                },
                Mistake {
                    given: |_| Answer::Number(2),
                    hint: "The same rule, one would think; but there is also a least size. What does getsockopt say?",
                },
            ],
            hint: "It stands in square brackets in the second getsockopt.",
        },
    ],
    notes: &[("setsockopt(", "the wish"), ("getsockopt(", "what the kernel has made of it")],
    lesson: "Linux doubles the value, to have room for its own bookkeeping beside the bytes, and reports the doubled one. It caps the \
             wish at net.core.rmem_max without an error, and never goes below a minimum. Setting it also ends the kernel's own \
             tuning of that buffer, so most programs should not: this server leaves it alone unless --rcvbuf says otherwise.",
};

fn act(actor: &mut Actor<'_>) -> io::Result<()> {
    let stream = socket(AddressFamily::Inet, SockType::Stream, SockFlag::empty(), None)?;
    actor.cue()?;
    for wish in [WISH, 1] {
        setsockopt(&stream, sockopt::RcvBuf, &wish)?;
        getsockopt(&stream, sockopt::RcvBuf)?;
    }
    Ok(())
}

fn stage(stage: &mut Stage<'_>) -> io::Result<()> {
    if !cfg!(target_os = "linux") {
        return Err(crate::lab::stage::unsupported("that the kernel doubles the value is Linux's own way"));
    }
    let mut process = stage.cast()?;
    stage.look()?;
    stage.cue(&mut process, "go")?;
    stage.wait(process.pid)
}

fn given(scene: &Scene, index: usize) -> i64 {
    let asked: Vec<&Call> =
        scene.calls(&["getsockopt"]).filter(|call| call.arguments.contains("SO_RCVBUF")).collect();
    let value = asked.get(index).map(|call| call.argument(3).trim_matches(['[', ']']).to_owned());
    value.and_then(|value| value.parse().ok()).unwrap_or(-1)
}
