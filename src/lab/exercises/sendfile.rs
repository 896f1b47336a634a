//! sendfile against read and write: moving bytes without touching them.

use std::fs::{self, File};
use std::io::{self, Read, Write};

use crate::lab::act::Actor;
use crate::lab::read::calls::Call;
use crate::lab::stage::connect;
use crate::lab::{Answer, Exercise, Mark, Mistake, Question, Scene, Stage, Tool};

/// The file.
const BYTES: usize = 1024 * 1024;
/// What the copier takes at once.
const PIECE: usize = 64 * 1024;

pub const EXERCISE: Exercise = Exercise {
    name: "sendfile",
    title: "Zero-copy: sendfile against read and write",
    text: "Two processes send the same file of one MiB. The first, a copier, reads a piece into its memory and writes it to a \
           socket, and so on. The second is the server's file service. Both are traced into one file; each line begins with \
           the number of its process.",
    look: "The lab tells which process is which. For each, find the calls that move the file's bytes, add up how many there are, \
           and ask which bytes have ever been in the process's memory.",
    read: "sendfile(2), splice(2), read(2), write(2); docs/protocol.md, Files",
    source: &[
        ("src/transport/sys/sendfile.rs", "pub fn send_file"),
        ("src/transport/event_loop/files.rs", "fn send_files"),
    ],
    tool: Tool::Strace,
    linux: "strace -p {pid} -p {copier} -o {file}",
    macos: "dtruss -p {pid} 2> {file}",
    stage,
    act,
    marks: &[
        Mark {
            what: "the copier's reads and writes",
            seen: |scene| copies(scene).count() >= 2,
            hint: "trace both processes: {copier} is the copier",
        },
        Mark {
            what: "all of the file leaving by sendfile",
            seen: |scene| sent(scene) >= BYTES as i64,
            hint: "trace both processes until the lab says that all is done: {pid} is the server",
        },
    ],
    questions: &[
        Question {
            key: "copier",
            ask: "How many reads of the file and writes to the socket did the copier (process {copier}) make, the read that finds the end not counted?",
            right: |scene| Answer::Number(copies(scene).count() as i64),
            mistakes: &[
                Mistake {
                    given: |scene| Answer::Number(copies(scene).count() as i64 / 2),
                    hint: "Every piece is moved twice: into the memory, and out of it.",
                },
                Mistake {
                    given: |scene| Answer::Number(copies(scene).count() as i64 + 1),
                    hint: "The last read returned nothing; leave it out.",
                },
            ],
            hint: "Count its reads and writes of many bytes.",
        },
        Question {
            key: "server",
            ask: "How many calls of sendfile did the server (process {pid}) make that moved something?",
            right: |scene| Answer::Number(sendfiles(scene).count() as i64),
            mistakes: &[Mistake {
                given: |scene| Answer::Number(copies(scene).count() as i64),
                hint: "That is the copier. Count in the server's lines.",
            }],
            hint: "Count the lines with sendfile that return more than nothing.",
        },
        Question {
            key: "memory",
            ask: "Of the bytes that sendfile moved, how many passed through a buffer of the server's process?",
            right: |_| Answer::Number(0),
            mistakes: &[
                Mistake {
                    given: |_| Answer::Number(BYTES as i64),
                    hint: "That is what was sent. Is there a buffer among the arguments of sendfile?",
                },
                Mistake {
                    given: |_| Answer::Number(PIECE as i64),
                    hint: "That is the copier's buffer. Is there one among the arguments of sendfile?",
                },
            ],
            hint: "Look at the arguments: two descriptors, a place in the file, a count.",
        },
    ],
    notes: &[
        (
            "preadv2(",
            "is this place of the file in memory? A byte tells, and RWF_NOWAIT does not wait for a disk",
        ),
        ("sendfile(", "from the page cache to the socket; no buffer of the process is named"),
        (" = 65536", "a piece, into the memory or out of it"),
    ],
    lesson: "The copier's bytes cross the border of the kernel twice, with two calls for a piece. sendfile names two descriptors and \
             the kernel moves pages: half the calls or less, no copy into the process, no cache filled with what nobody \
             looks at. What it cannot do: change the bytes (TLS, compression), and promise not to wait for a disk; so this \
             server asks before whether the pages are in memory, and has a helper warm them if not.",
};

fn act(actor: &mut Actor<'_>) -> io::Result<()> {
    let order = actor.cue()?;
    let (port, path) = order.split_once(' ').ok_or(io::ErrorKind::InvalidInput)?;
    let mut socket = connect(port.parse().map_err(|_| io::ErrorKind::InvalidInput)?)?;
    let (mut file, mut piece) = (File::open(path)?, vec![0; PIECE]);
    actor.cue()?;
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(()),
            n => write_whole(&mut socket, &piece[..n])?,
        }
    }
}

/// write(2), as a plain program would.
fn write_whole(socket: &mut std::net::TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        bytes = &bytes[nix::unistd::write(&*socket, bytes)?..];
    }
    socket.flush()
}

fn stage(stage: &mut Stage<'_>) -> io::Result<()> {
    let directory = std::env::temp_dir().join(format!("rawline-lab-share-{}", std::process::id()));
    fs::create_dir(&directory)?;
    let done = send(stage, &directory);
    fs::remove_dir_all(&directory)?;
    done
}

fn send(stage: &mut Stage<'_>, directory: &std::path::Path) -> io::Result<()> {
    let path = directory.join("data");
    fs::write(&path, vec![b'x'; BYTES])?;
    let listener = std::net::TcpListener::bind(crate::lab::stage::at(0))?;
    let mut copier = stage.cast()?;
    stage.truth.tell("copier", copier.pid);
    stage.cue(&mut copier, &format!("{} {}", listener.local_addr()?.port(), path.display()))?;
    let (mut receiver, _) = listener.accept()?;
    stage.hear(&mut copier)?;
    let share = format!("--files={}", directory.display());
    let server = stage.serve(&["files"], &[&share])?;
    let mut client = connect(server.ports[0])?;
    stage.say("The copier is process {copier}, the server process {pid}.")?;
    stage.look()?;
    stage.cue(&mut copier, "go")?;
    receiver.read_exact(&mut vec![0; BYTES])?;
    stage.wait(copier.pid)?;
    // Version 1 of the wire: GET and 256 bytes of name; the answer begins with the file's size.
    client.write_all(&get("data"))?;
    let mut length = [0; 8];
    client.read_exact(&mut length)?;
    client.read_exact(&mut vec![0; BYTES])?;
    stage.until_asleep(server.pid)
}

fn get(name: &str) -> Vec<u8> {
    let mut request = vec![2];
    request.extend(name.as_bytes());
    request.resize(1 + 256, 0);
    request
}

/// The copier's calls that move pieces.
fn copies(scene: &Scene) -> impl Iterator<Item = &Call> {
    let copier = scene.truth.number("copier");
    let calls =
        scene.calls(&["read", "write"]).filter(move |call| call.pid == Some(copier) && call.number(0) > 2);
    calls.filter(|call| call.result.is_some_and(|moved| moved >= 1024))
}

fn sendfiles(scene: &Scene) -> impl Iterator<Item = &Call> {
    scene.calls(&["sendfile", "sendfile64"]).filter(|call| call.result > Some(0))
}

fn sent(scene: &Scene) -> i64 {
    sendfiles(scene).filter_map(|call| call.result).sum()
}
