//! Readers of what the tools write: text into calls, segments and sockets. Forgiving: a line that makes no sense is
//! passed over, since learners cut, paste and annotate.

pub mod calls;
pub mod segments;
pub mod sockets;

use calls::Call;
use segments::Segment;
use sockets::Socket;

use super::Tool;

/// What a file holds.
#[derive(Debug, Default)]
pub struct Evidence {
    /// Of a trace, in order.
    pub calls: Vec<Call>,
    /// Of a capture, in order.
    pub segments: Vec<Segment>,
    /// Of a table of sockets, or of several one after the other.
    pub sockets: Vec<Socket>,
}

/// Why a file cannot be judged: a sentence that says what to hand in.
#[derive(Debug, PartialEq, Eq)]
pub struct Unreadable(pub String);

impl Evidence {
    /// Reads what this tool has written.
    ///
    /// # Errors
    /// There is nothing of the kind in it.
    pub fn read(tool: Tool, file: &[u8]) -> Result<Self, Unreadable> {
        let program = tool.program();
        if file.is_empty() {
            return Err(Unreadable(format!(
                "the file is empty: did {program} run while it happened, and look at the right thing?"
            )));
        }
        let text = || String::from_utf8_lossy(file);
        let mut evidence = Self::default();
        let is_empty = match tool {
            Tool::Strace => {
                evidence.calls = calls::read(&text());
                evidence.calls.is_empty()
            }
            Tool::Tcpdump => {
                evidence.segments = segments::read(file).map_err(Unreadable)?;
                evidence.segments.is_empty()
            }
            Tool::Ss => {
                evidence.sockets = sockets::read(&text());
                evidence.sockets.is_empty()
            }
        };
        // A tool that was pointed at something else writes as little as one that was never run.
        let why = match tool {
            Tool::Strace => {
                "there is no system call in it: did it look at the right process, at all of its calls? Hand in the file \
                 that its option -o names"
            }
            Tool::Tcpdump => {
                "there is no TCP segment in it: was it the loopback interface, and the right port? Hand in the file that \
                 its option -w names, or what it prints with -nn"
            }
            Tool::Ss => {
                "there is no TCP socket in it: was it the right port, and while the lab waited? Hand in what it prints"
            }
        };
        match is_empty {
            true => Err(Unreadable(format!("{why}; {program} is the tool"))),
            false => Ok(evidence),
        }
    }
}
