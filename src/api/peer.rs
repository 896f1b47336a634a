//! Connections as both layers name them: an id, who is at the other end, and why it ended.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// Names one connection for as long as it lives. The index is reused after a close; the generation
/// is not, so a stale id never reaches somebody else.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnId {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

impl ConnId {
    /// An id made of its two halves: for tests of services, which need ids without connections.
    pub const fn new(index: u32, generation: u32) -> Self {
        Self { index, generation }
    }

    /// The slot of the connection: small and dense, so a service may index a vector with it.
    pub const fn index(self) -> usize {
        self.index as usize
    }
}

impl fmt::Debug for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.index, self.generation)
    }
}

impl fmt::Display for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Who is at the other end: an internet address, or the running number of a Unix-domain connection.
///
/// Twenty bytes, because every idle connection keeps one. The scope of a link-local address is not kept.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    address: [u8; 16],
    port: u16,
    family: Family,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    V4,
    V6,
    Unix,
}

impl Peer {
    /// The peer of Unix-domain connection number `number`: such peers have no address of their own.
    pub fn unix(number: u64) -> Self {
        let mut address = [0; 16];
        address[..8].copy_from_slice(&number.to_le_bytes());
        Self { address, port: 0, family: Family::Unix }
    }

    /// The number that stands for this peer in made-up names: its port, or its Unix connection number.
    pub fn number(&self) -> u64 {
        match self.family {
            Family::Unix => u64::from_le_bytes(self.address[..8].try_into().expect("eight bytes")),
            Family::V4 | Family::V6 => self.port.into(),
        }
    }

    /// Whether it is on this machine: a loopback address, or a Unix-domain socket.
    pub fn is_local(&self) -> bool {
        // ::ffff:127.0.0.1 is loopback too.
        self.socket_addr().is_none_or(|address| address.ip().to_canonical().is_loopback())
    }

    /// The internet address, if it has one.
    pub fn socket_addr(&self) -> Option<SocketAddr> {
        let ip: IpAddr = match self.family {
            Family::V4 => <[u8; 4]>::try_from(&self.address[..4]).expect("four bytes").into(),
            Family::V6 => self.address.into(),
            Family::Unix => return None,
        };
        Some(SocketAddr::new(ip, self.port))
    }
}

impl From<SocketAddr> for Peer {
    fn from(from: SocketAddr) -> Self {
        let mut address = [0; 16];
        let family = match from.ip() {
            IpAddr::V4(ip) => {
                address[..4].copy_from_slice(&ip.octets());
                Family::V4
            }
            IpAddr::V6(ip) => {
                address = ip.octets();
                Family::V6
            }
        };
        Self { address, port: from.port(), family }
    }
}

/// `127.0.0.1:5000`, `[::1]:5000` or `unix:7`.
impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.socket_addr() {
            Some(address) => address.fmt(f),
            None => write!(f, "unix:{}", self.number()),
        }
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What a connection speaks: decided by the listener it came through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Wire {
    /// JSON texts, in the seed dialect or JSON-RPC 2.0.
    JsonRpc,
    /// Lines of text, for `nc` and `telnet`.
    Line,
    /// Every byte comes back. The service never hears of these.
    Echo,
    /// A directory's files. The service hears of finished uploads, not of connections.
    Files,
}

impl Wire {
    /// All of them, in order: `ALL[wire as usize] == wire`.
    pub const ALL: [Self; 4] = [Self::JsonRpc, Self::Line, Self::Echo, Self::Files];

    /// Its name in logs, options and statistics.
    pub const fn name(self) -> &'static str {
        match self {
            Wire::JsonRpc => "rpc",
            Wire::Line => "line",
            Wire::Echo => "echo",
            Wire::Files => "files",
        }
    }

    /// Whether a service is told of such connections.
    pub(crate) fn reaches_the_service(self) -> bool {
        matches!(self, Wire::JsonRpc | Wire::Line)
    }
}

impl fmt::Display for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why a connection ended, for the service, the log and the counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Closed {
    /// The peer sent its FIN and everything was answered.
    Peer,
    /// The peer sent RST.
    Reset,
    /// It is gone without a word: the kernel gave it up, by keepalive or for what it did not acknowledge.
    Unreachable,
    /// The service closed it.
    Service,
    /// The server stopped.
    Shutdown,
    /// A message over `max_message_bytes`.
    TooLarge,
    /// A message nested deeper than `max_depth`.
    TooDeep,
    /// Bytes that no later ones can make sense of: an unknown file command.
    BadFrame,
    /// A message, a line or a file command took longer than `message_timeout` from its first byte to its last.
    MessageTimeout,
    /// A line user gave no name within `name_timeout`.
    NameTimeout,
    /// It said nothing within `idle_timeout`.
    IdleTimeout,
    /// It took nothing of what it was sent within `write_timeout`.
    WriteTimeout,
    /// It asked for a heartbeat, and nothing came back in two periods.
    Heartbeat,
    /// It did not read its broadcasts: more than `out_hard` bytes of them were queued.
    SlowConsumer,
    /// The same, but more than `out_soft` bytes for longer than `out_soft_seconds`.
    OutSoft,
    /// All that clients had not read came to more than `total_out_bytes`, and nobody had more of it.
    TotalOut,
    /// A file connection moved no byte within `file_idle_timeout`.
    Stalled,
    /// A file could not be sent or stored as promised, or version 1 of the wire has no words for a refusal.
    Broken,
    /// The kernel had no memory for it.
    NoMemory,
    /// A handler panicked while it served this connection.
    Panicked,
}

impl Closed {
    /// All of them, in order: `ALL[why as usize] == why`.
    pub const ALL: [Self; 20] = [
        Self::Peer,
        Self::Reset,
        Self::Unreachable,
        Self::Service,
        Self::Shutdown,
        Self::TooLarge,
        Self::TooDeep,
        Self::BadFrame,
        Self::MessageTimeout,
        Self::NameTimeout,
        Self::IdleTimeout,
        Self::WriteTimeout,
        Self::Heartbeat,
        Self::SlowConsumer,
        Self::OutSoft,
        Self::TotalOut,
        Self::Stalled,
        Self::Broken,
        Self::NoMemory,
        Self::Panicked,
    ];

    /// Its name among the counters: where a limit is the reason, the limit's.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Peer => "peer",
            Self::Reset => "reset",
            Self::Unreachable => "unreachable",
            Self::Service => "service",
            Self::Shutdown => "shutdown",
            Self::TooLarge => "max_message_bytes",
            Self::TooDeep => "max_depth",
            Self::BadFrame => "bad_frame",
            Self::MessageTimeout => "message_timeout",
            Self::NameTimeout => "name_timeout",
            Self::IdleTimeout => "idle_timeout",
            Self::WriteTimeout => "write_timeout",
            Self::Heartbeat => "heartbeat",
            Self::SlowConsumer => "out_hard",
            Self::OutSoft => "out_soft",
            Self::TotalOut => "total_out_bytes",
            Self::Stalled => "file_idle_timeout",
            Self::Broken => "broken",
            Self::NoMemory => "no_memory",
            Self::Panicked => "panic",
        }
    }
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Closed::Peer => "closed by the peer",
            Closed::Reset => "reset by the peer",
            Closed::Unreachable => "given up: nothing came back from it",
            Closed::Service => "closed by the service",
            Closed::Shutdown => "the server stopped",
            Closed::TooLarge => "a message longer than max_message_bytes",
            Closed::TooDeep => "a message nested deeper than max_depth",
            Closed::BadFrame => "bytes that make no sense",
            Closed::MessageTimeout => "a message not complete within message_timeout",
            Closed::NameTimeout => "no name within name_timeout",
            Closed::IdleTimeout => "nothing said within idle_timeout",
            Closed::WriteTimeout => "nothing read within write_timeout",
            Closed::Heartbeat => "nothing came back in two heartbeats",
            Closed::SlowConsumer => "slow consumer: more than out_hard unread",
            Closed::OutSoft => "slow consumer: more than out_soft unread for out_soft_seconds",
            Closed::TotalOut => "the largest of those who left more than total_out_bytes unread",
            Closed::Stalled => "nothing moved within file_idle_timeout",
            Closed::Broken => "it could not be answered",
            Closed::NoMemory => "out of kernel memory",
            Closed::Panicked => "a handler panicked",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_stands_at_its_number_and_has_a_name_of_its_own() {
        for (at, why) in Closed::ALL.into_iter().enumerate() {
            assert_eq!(why as usize, at);
            assert!(Closed::ALL[..at].iter().all(|other| other.reason() != why.reason()), "{why}");
        }
    }
}
