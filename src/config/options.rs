//! The table of options: one row is a flag, an environment variable, a key of the file and a line of `--help`.
//!
//! A row knows where its value lives in [`Config`], which also says how it is written, checked and shown. The
//! default is not in the table: it is what [`Config::default`] holds there. To add an option, add a field
//! and a row; nothing else has to know. Nothing here reads a file or the environment: [`Config::load`] and the
//! command line do, and both go through [`Opt::set`].

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::endpoint::path;
use super::value::{
    GIB, KIB, MIB, TIB, count, kernel_name, show_range, show_size, show_time, show_word, size, sized, time,
    timed, within, word,
};
use super::{ByteOrder, Config, DuplicateNames, Endpoint};
use crate::limits::{DEPTH_CEILING, Limits};
use crate::log::{Format, Level};

/// One option.
pub struct Opt {
    /// `max-message-bytes`: the flag without its dashes, from which the other spellings derive.
    pub name: &'static str,
    /// The heading it stands under in `--help`.
    pub group: Group,
    /// A few sentences for `--help`: what it is, and why one would change it. Those of a limit begin with what it bounds, in
    /// one sentence; then comes its policy: what happens there.
    pub help: &'static str,
    /// Where the value lives and how it is written.
    pub field: Field,
}

/// The headings of `--help`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Who can connect, and where.
    Addresses,
    /// What is shared, and how.
    Files,
    /// What the kernel is told about every TCP connection.
    Sockets,
    /// The rules of the chat.
    Chat,
    /// How much of anything.
    Limits,
    /// What is told to the operator.
    Log,
}

impl Group {
    /// As it is written.
    pub fn heading(self) -> &'static str {
        match self {
            Group::Addresses => "Addresses",
            Group::Files => "Files",
            Group::Sockets => "Sockets",
            Group::Chat => "Chat",
            Group::Limits => "Limits",
            Group::Log => "Log",
        }
    }
}

/// A place in [`Config`], by its type, with the values it takes.
pub enum Field {
    /// Where a service listens.
    Endpoint(fn(&mut Config) -> &mut Endpoint),
    /// A directory, or `off`.
    Directory(fn(&mut Config) -> &mut Option<PathBuf>),
    /// `true` or `false`; the flag alone means `true`.
    Switch(fn(&mut Config) -> &mut bool),
    /// A number of things.
    Count(fn(&mut Config) -> &mut usize, RangeInclusive<usize>),
    /// A number of things, or `auto`.
    Auto(fn(&mut Config) -> &mut Option<u32>, RangeInclusive<u32>),
    /// Bytes: `65536`, `64KiB`, `1MiB`, `1GiB`.
    Size(fn(&mut Config) -> &mut usize, RangeInclusive<usize>),
    /// A time: `500ms`, `10s`, `2m`, `0`.
    Time(fn(&mut Config) -> &mut Duration, RangeInclusive<Duration>),
    /// A word of [`LEVELS`].
    Level(fn(&mut Config) -> &mut Level),
    /// A word of [`FORMATS`].
    Format(fn(&mut Config) -> &mut Format),
    /// A word of [`ORDERS`].
    Order(fn(&mut Config) -> &mut ByteOrder),
    /// The number of an open descriptor, or `off`.
    Descriptor(fn(&mut Config) -> &mut Option<u32>, RangeInclusive<u32>),
    /// A name that only the kernel knows, or `auto`.
    Name(fn(&mut Config) -> &mut Option<String>),
    /// A word of [`DUPLICATES`].
    Duplicates(fn(&mut Config) -> &mut DuplicateNames),
}

/// How the levels of the log are written.
pub const LEVELS: &[(&str, Level)] =
    &[("error", Level::Error), ("warn", Level::Warn), ("info", Level::Info), ("debug", Level::Debug)];

/// How the forms of the log are written.
pub const FORMATS: &[(&str, Format)] = &[("text", Format::Text), ("json", Format::Json)];

/// How byte orders are written.
pub const ORDERS: &[(&str, ByteOrder)] = &[("big", ByteOrder::Big), ("little", ByteOrder::Little)];

/// How the policies for a name in use are written.
pub const DUPLICATES: &[(&str, DuplicateNames)] =
    &[("rename", DuplicateNames::Rename), ("reject", DuplicateNames::Reject)];

/// All options, in the order of `--help`.
pub static OPTIONS: &[Opt] = &[
    Opt {
        name: "rpc",
        group: Group::Addresses,
        help: "Where the JSON-RPC chat listens.",
        field: Field::Endpoint(|c| &mut c.rpc),
    },
    Opt {
        name: "line",
        group: Group::Addresses,
        help: "Where the line chat listens, for people with nc or telnet.",
        field: Field::Endpoint(|c| &mut c.line),
    },
    Opt {
        name: "echo",
        group: Group::Addresses,
        help: "Where the echo service listens, for testing a network.",
        field: Field::Endpoint(|c| &mut c.echo),
    },
    Opt {
        name: "files",
        group: Group::Addresses,
        help: "Shares the files of this directory. No files are shared before a directory is named.",
        field: Field::Directory(|c| &mut c.files),
    },
    Opt {
        name: "files-listen",
        group: Group::Addresses,
        help: "Where the file service listens, when a directory is shared.",
        field: Field::Endpoint(|c| &mut c.files_listen),
    },
    Opt {
        name: "allow-remote",
        group: Group::Addresses,
        help: "Accepts addresses that other machines can reach. There is no authentication and no TLS yet: \
               everybody in reach can speak, and read along.",
        field: Field::Switch(|c| &mut c.allow_remote),
    },
    Opt {
        name: "backlog",
        group: Group::Addresses,
        help: "Connections that the kernel keeps waiting until they are accepted; auto is the most it allows, to which it \
               cuts a larger number. Who finds no place gets no answer and tries again.",
        field: Field::Auto(|c| &mut c.backlog, 1..=1_000_000),
    },
    Opt {
        name: "files-writable",
        group: Group::Files,
        help: "Lets clients store files too. Whoever can connect can then fill the disk.",
        field: Field::Switch(|c| &mut c.files_writable),
    },
    Opt {
        name: "files-delete",
        group: Group::Files,
        help: "Lets clients who may store files remove them too. There is no way back.",
        field: Field::Switch(|c| &mut c.files_delete),
    },
    Opt {
        name: "files-byte-order",
        group: Group::Files,
        help: "How version 1 of the file wire writes integers: big is network byte order, little is for peers that \
               send them raw. Version 2 is big always.",
        field: Field::Order(|c| &mut c.files_byte_order),
    },
    Opt {
        name: "announce-uploads",
        group: Group::Files,
        help: "Tells the chat of every file that was stored: its name and size. Everybody in the room reads it.",
        field: Field::Switch(|c| &mut c.announce_uploads),
    },
    Opt {
        name: "sndbuf",
        group: Group::Sockets,
        help: "SO_SNDBUF of every connection; 0 lets the kernel tune it. A number turns tuning off: too small slows a \
               long way down, too large keeps memory and makes what is in it old.",
        field: Field::Size(|c| &mut c.sndbuf, 0..=GIB),
    },
    Opt {
        name: "rcvbuf",
        group: Group::Sockets,
        help: "SO_RCVBUF of every connection; 0 lets the kernel tune it. A number turns tuning off, and with it uploads \
               over a long way stay below buffer / round trip.",
        field: Field::Size(|c| &mut c.rcvbuf, 0..=GIB),
    },
    Opt {
        name: "nodelay",
        group: Group::Sockets,
        help: "TCP_NODELAY: what is written leaves at once. false waits for acknowledgements to save segments, and \
               costs up to 200 ms for an answer; answers are written whole here, so it saves next to nothing.",
        field: Field::Switch(|c| &mut c.nodelay),
    },
    Opt {
        name: "cork",
        group: Group::Sockets,
        help: "Sends what stands before a file together with its first bytes (MSG_MORE, or sendfile's own header), and \
               a long file in full segments only (TCP_CORK). false sends it first, alone, and costs a seventh more CPU.",
        field: Field::Switch(|c| &mut c.cork),
    },
    Opt {
        name: "keepalive-idle",
        group: Group::Sockets,
        help: "Silence after which the kernel asks a peer whether it is there (TCP_KEEPIDLE). Shorter finds the dead \
               sooner, and costs a segment each time for the living.",
        field: Field::Time(|c| &mut c.keepalive_idle, Duration::from_secs(1)..=Duration::from_secs(32_767)),
    },
    Opt {
        name: "keepalive-interval",
        group: Group::Sockets,
        help: "Time between two such questions while no answer comes (TCP_KEEPINTVL). Shorter finds the dead sooner.",
        field: Field::Time(
            |c| &mut c.keepalive_interval,
            Duration::from_secs(1)..=Duration::from_secs(32_767),
        ),
    },
    Opt {
        name: "keepalive-count",
        group: Group::Sockets,
        help: "How many of them go unanswered before the connection is given up (TCP_KEEPCNT). Fewer gives up on a \
               network that only stumbles.",
        field: Field::Count(|c| &mut c.keepalive_count, 1..=127),
    },
    Opt {
        name: "user-timeout",
        group: Group::Sockets,
        help: "How long what was sent may go unacknowledged (TCP_USER_TIMEOUT), on rpc and line; 0 leaves it to the \
               kernel, which tries for 15 minutes. It also cuts a living client that takes nothing for so long, \
               which is why echo and files have none. While it is set, Linux ends a silent peer by it and \
               not by keepalive-count. Linux only.",
        field: Field::Time(|c| &mut c.user_timeout, Duration::ZERO..=Duration::from_secs(3600)),
    },
    Opt {
        name: "congestion",
        group: Group::Sockets,
        help: "The kernel's congestion control (TCP_CONGESTION). auto is the system's own, but on loopback reno where \
               that is bbr: pacing costs several times the processor time there and wins nothing.",
        field: Field::Name(|c| &mut c.congestion),
    },
    Opt {
        name: "duplicate-names",
        group: Group::Chat,
        help: "What happens to a name in use: rename makes Alice_<port> of it, reject refuses it.",
        field: Field::Duplicates(|c| &mut c.duplicate_names),
    },
    Opt {
        name: "require-join",
        group: Group::Chat,
        help: "Lets only those who joined speak and hear. Without it everybody connected does.",
        field: Field::Switch(|c| &mut c.require_join),
    },
    Opt {
        name: "max-username-chars",
        group: Group::Chat,
        help: "The longest name, in characters: Unicode scalar values, without the space around it. A longer \
               one is refused.",
        field: Field::Count(|c| &mut c.max_username_chars, 32..=255),
    },
    Opt {
        name: "max-message-chars",
        group: Group::Chat,
        help: "The longest message, in characters. A longer one is refused; what max-message-bytes does not let in \
               cannot be said either.",
        field: Field::Count(|c| &mut c.max_message_chars, 1..=1_000_000),
    },
    Opt {
        name: "max-connections",
        group: Group::Limits,
        help: "Open connections over all services; auto is what the limit of open files leaves room for. \
               One more is told so and closed.",
        field: Field::Auto(|c| &mut c.max_connections, 1..=10_000_000),
    },
    Opt {
        name: "reserve-fds",
        group: Group::Limits,
        help: "Open files that max-connections = auto leaves to other things: listeners, files, the log, and a spare one \
               with which the client above is told. Never more than half of the limit of open files.",
        field: Field::Count(|c| &mut c.reserve_fds, 1..=1_000_000),
    },
    Opt {
        name: "max-connections-per-ip",
        group: Group::Limits,
        help: "Open connections of one address, or of one /64 network of IPv6; 0 is no limit. auto is 64, and none for \
               this machine itself. One more is told so and closed.",
        field: Field::Auto(|c| &mut c.limits.max_connections_per_ip, 0..=10_000_000),
    },
    Opt {
        name: "max-message-bytes",
        group: Group::Limits,
        help: "One JSON text. A larger one is refused and ends its connection, which bounds what one client \
               can make the server keep.",
        field: Field::Size(|c| &mut c.limits.max_message_bytes, KIB..=64 * MIB),
    },
    Opt {
        name: "max-line-bytes",
        group: Group::Limits,
        help: "One line of the line chat. A longer one is dropped up to its end, and its sender told.",
        field: Field::Size(|c| &mut c.limits.max_line_bytes, 64..=MIB),
    },
    Opt {
        name: "max-depth",
        group: Group::Limits,
        help: "Nesting of arrays and objects in one JSON text. Deeper is refused and ends the connection.",
        field: Field::Count(|c| &mut c.limits.max_depth, 1..=DEPTH_CEILING),
    },
    Opt {
        name: "max-batch",
        group: Group::Limits,
        help: "Requests in one JSON-RPC batch. A larger batch is refused whole.",
        field: Field::Count(|c| &mut c.limits.max_batch, 1..=65_536),
    },
    Opt {
        name: "read-chunk",
        group: Group::Limits,
        help: "Bytes asked of the kernel in one read, and the input buffer of a connection that has something unfinished. A \
               read that is filled is followed by another; at most max-read-per-turn.",
        field: Field::Size(|c| &mut c.limits.read_chunk, KIB..=MIB),
    },
    Opt {
        name: "max-read-per-turn",
        group: Group::Limits,
        help: "Bytes read from one connection in one turn of the loop. Then the others have their turn: smaller is \
               fairer, larger is faster for a few busy clients.",
        field: Field::Size(|c| &mut c.limits.max_read_per_turn, KIB..=64 * MIB),
    },
    Opt {
        name: "max-requests-per-turn",
        group: Group::Limits,
        help: "Requests answered to one connection in one turn of the loop. Then the others have their turn.",
        field: Field::Count(|c| &mut c.limits.max_requests_per_turn, 1..=1_000_000),
    },
    Opt {
        name: "out-high",
        group: Group::Limits,
        help: "Unsent answers of one connection. Above it its requests wait: who does not read is not served.",
        field: Field::Size(|c| &mut c.limits.out_high, 2 * KIB..=GIB),
    },
    Opt {
        name: "out-low",
        group: Group::Limits,
        help: "Unsent answers at which a connection's waiting requests go on. Must be below out-high.",
        field: Field::Size(|c| &mut c.limits.out_low, KIB..=GIB),
    },
    Opt {
        name: "out-hard",
        group: Group::Limits,
        help: "Unsent chat of one connection. Above it the connection is cut as a slow consumer, so that one who does \
               not read cannot fill the memory.",
        field: Field::Size(|c| &mut c.limits.out_hard, 4 * KIB..=GIB),
    },
    Opt {
        name: "out-soft",
        group: Group::Limits,
        help: "Unsent chat of one connection that may last. Above it for longer than out-soft-seconds it is cut too: it \
               reads, but never catches up.",
        field: Field::Size(|c| &mut c.limits.out_soft, 4 * KIB..=GIB),
    },
    Opt {
        name: "out-soft-seconds",
        group: Group::Limits,
        help: "How long a connection may stay above out-soft. Then it is cut.",
        field: Field::Time(
            |c| &mut c.limits.out_soft_seconds,
            Duration::from_millis(100)..=Duration::from_secs(3600),
        ),
    },
    Opt {
        name: "total-out-bytes",
        group: Group::Limits,
        help: "Memory of everything that all clients have not read yet; a buffer that several wait for counts once. \
               Above it whoever has most of it is cut.",
        field: Field::Size(|c| &mut c.limits.total_out_bytes, 64 * KIB..=TIB),
    },
    Opt {
        name: "max-fanout-per-turn",
        group: Group::Limits,
        help: "Chat sent to a room in one turn of the loop. Then all requests wait for the next turn, so that readers \
               keep up, and all who wait have equal parts of that; at most out-hard.",
        field: Field::Size(|c| &mut c.limits.max_fanout_per_turn, 4 * KIB..=GIB),
    },
    Opt {
        name: "drain-max",
        group: Group::Limits,
        help: "Input of a refused connection that is read and thrown away, so that the refusal reaches the client. Who \
               sends more is closed, and may see a reset instead.",
        field: Field::Size(|c| &mut c.limits.drain_max, 0..=GIB),
    },
    Opt {
        name: "rate-messages",
        group: Group::Limits,
        help: "Requests or lines that one connection may send in a second; 0 is no limit. One more is refused. A server \
               for the public may want 10.",
        field: Field::Count(|c| &mut c.limits.rate_messages, 0..=1000),
    },
    Opt {
        name: "rate-burst",
        group: Group::Limits,
        help: "How many requests or lines may come at once after a pause. Those above it are refused, until rate-messages allows more.",
        field: Field::Count(|c| &mut c.limits.rate_burst, 1..=10_000),
    },
    Opt {
        name: "message-timeout",
        group: Group::Limits,
        help: "How long a message, a line or a file command may take from its first byte to its last. Who is slower is \
               told so and closed.",
        field: Field::Time(
            |c| &mut c.limits.message_timeout,
            Duration::from_millis(100)..=Duration::from_secs(86_400),
        ),
    },
    Opt {
        name: "idle-timeout",
        group: Group::Limits,
        help: "How long a client may say nothing; 0 is for ever, which people who only read need. Then it is told so \
               and closed.",
        field: Field::Time(|c| &mut c.limits.idle_timeout, Duration::ZERO..=Duration::from_secs(86_400)),
    },
    Opt {
        name: "write-timeout",
        group: Group::Limits,
        help: "How long a client may read nothing at all while chat waits for it, or what it was still to get when it \
               hung up. Then it is cut.",
        field: Field::Time(
            |c| &mut c.limits.write_timeout,
            Duration::from_millis(100)..=Duration::from_secs(86_400),
        ),
    },
    Opt {
        name: "name-timeout",
        group: Group::Limits,
        help: "How long a line user may take to give a name. Who gives none is closed.",
        field: Field::Time(
            |c| &mut c.limits.name_timeout,
            Duration::from_secs(1)..=Duration::from_secs(86_400),
        ),
    },
    Opt {
        name: "max-upload-bytes",
        group: Group::Limits,
        help: "The largest file that clients can store. A larger one is refused before its first byte.",
        field: Field::Size(|c| &mut c.limits.max_upload_bytes, 0..=1024 * TIB),
    },
    Opt {
        name: "disk-reserve",
        group: Group::Limits,
        help: "What uploads must leave free on the disk, for those who share it. One that would not is refused.",
        field: Field::Size(|c| &mut c.limits.disk_reserve, 0..=1024 * TIB),
    },
    Opt {
        name: "max-uploads",
        group: Group::Limits,
        help: "Uploads under way over all connections. The next one waits until one is over; each has two buffers of \
               128 KiB.",
        field: Field::Count(|c| &mut c.limits.max_uploads, 1..=65_536),
    },
    Opt {
        name: "file-idle-timeout",
        group: Group::Limits,
        help: "How long a file client may move no byte inside a command or a transfer. Then it is cut.",
        field: Field::Time(
            |c| &mut c.limits.file_idle_timeout,
            Duration::from_secs(1)..=Duration::from_secs(86_400),
        ),
    },
    Opt {
        name: "accept-backoff",
        group: Group::Limits,
        help: "How long a listener rests at most when there is no descriptor or memory to accept with. The first rest \
               takes 10 ms and each further one twice as long; clients wait in the backlog meanwhile.",
        field: Field::Time(
            |c| &mut c.limits.accept_backoff,
            Duration::from_millis(10)..=Duration::from_secs(60),
        ),
    },
    Opt {
        name: "shutdown-grace",
        group: Group::Limits,
        help: "How long a stopping server waits for clients to read what was sent to them. Then it ends all the same.",
        field: Field::Time(|c| &mut c.limits.shutdown_grace, Duration::ZERO..=Duration::from_secs(3600)),
    },
    Opt {
        name: "log-value-max",
        group: Group::Limits,
        help: "Bytes of what a client sent that one event of the log shows, escapes included. The rest is cut, and \
               three dots stand for it.",
        field: Field::Size(|c| &mut c.log_value_max, 16..=64 * KIB),
    },
    Opt {
        name: "log-level",
        group: Group::Log,
        help: "The least important events to log, on stderr: error, warn, info or debug.",
        field: Field::Level(|c| &mut c.log_level),
    },
    Opt {
        name: "log-format",
        group: Group::Log,
        help: "How events are written: text for people, json for programs, one object a line with the keys time, level, \
               component and message.",
        field: Field::Format(|c| &mut c.log_format),
    },
    Opt {
        name: "log-bodies",
        group: Group::Log,
        help: "Logs what people say, at level info. Their words are private: leave it off in production.",
        field: Field::Switch(|c| &mut c.log_bodies),
    },
    Opt {
        name: "no-local-admin",
        group: Group::Log,
        help: "Refuses get_stats to everybody. Without it those on this machine are shown statistics; behind a proxy on \
               this machine that is everybody.",
        field: Field::Switch(|c| &mut c.no_local_admin),
    },
    Opt {
        name: "ready-fd",
        group: Group::Log,
        help: "Writes READY and a newline to this open descriptor when all services listen, and closes it: for a supervisor \
               that starts others behind this one. 0, 1 and 2 are not taken.",
        field: Field::Descriptor(|c| &mut c.ready_fd, 3..=1_048_575),
    },
];

/// What must hold between two limits, checked when all values are known.
pub(super) struct Relation {
    /// The name of the option that must be the smaller one.
    pub left: &'static str,
    /// How they must relate, in words.
    pub must: &'static str,
    /// The name of the other.
    pub right: &'static str,
    /// Whether it holds.
    pub holds: fn(&Limits) -> bool,
}

pub(super) static RELATIONS: &[Relation] = &[
    // Otherwise requests would stop and go on at the same byte, or never go on.
    Relation {
        left: "out-low",
        must: "must be below",
        right: "out-high",
        holds: |limits| limits.out_low < limits.out_high,
    },
    // Otherwise a turn could not even hold one read.
    Relation {
        left: "read-chunk",
        must: "must not be above",
        right: "max-read-per-turn",
        holds: |limits| limits.read_chunk <= limits.max_read_per_turn,
    },
    // Otherwise one turn of a busy room could cut a client that reads as fast as anybody can.
    Relation {
        left: "max-fanout-per-turn",
        must: "must not be above",
        right: "out-hard",
        holds: |limits| limits.max_fanout_per_turn <= limits.out_hard,
    },
];

impl Opt {
    /// `--max-message-bytes`.
    pub fn flag(&self) -> String {
        format!("--{}", self.name)
    }

    /// `RAWLINE_MAX_MESSAGE_BYTES`.
    pub fn variable(&self) -> String {
        format!("RAWLINE_{}", self.key().to_ascii_uppercase())
    }

    /// `max_message_bytes`.
    pub fn key(&self) -> String {
        self.name.replace('-', "_")
    }

    /// Whether it says how much of something there may be.
    pub fn is_limit(&self) -> bool {
        matches!(self.field, Field::Count(..) | Field::Auto(..) | Field::Size(..) | Field::Time(..))
    }

    /// What a limit bounds, and its policy.
    pub fn bounds_and_policy(&self) -> (&'static str, &'static str) {
        self.help.split_once(". ").unwrap_or((self.help, ""))
    }

    /// Reads `text` into `config`, whatever its source.
    ///
    /// # Errors
    /// A sentence without the name of the option: the caller knows how the user spelled it.
    pub fn set(&self, config: &mut Config, text: &str) -> Result<(), String> {
        match &self.field {
            Field::Endpoint(at) => *at(config) = text.parse()?,
            Field::Directory(at) => *at(config) = if text == "off" { None } else { Some(path(text)?) },
            Field::Switch(at) => {
                *at(config) = text.parse().map_err(|_| format!("{text:?} is neither true nor false"))?;
            }
            Field::Count(at, range) => *at(config) = within(count(text)?, range)?,
            Field::Auto(at, range) => {
                *at(config) = match text {
                    "auto" => None,
                    text => Some(within(count(text).map_err(|error| format!("{error}, or auto"))?, range)?),
                }
            }
            Field::Size(at, range) => *at(config) = sized(size(text)?, range)?,
            Field::Time(at, range) => *at(config) = timed(time(text)?, range)?,
            Field::Level(at) => *at(config) = word(text, LEVELS)?,
            Field::Format(at) => *at(config) = word(text, FORMATS)?,
            Field::Order(at) => *at(config) = word(text, ORDERS)?,
            Field::Descriptor(at, _) if text == "off" => *at(config) = None,
            Field::Descriptor(at, range) => {
                let number = count(text).map_err(|problem| problem + ", or off")?;
                *at(config) = Some(within(number, range)?);
            }
            Field::Name(at) => *at(config) = if text == "auto" { None } else { Some(kernel_name(text)?) },
            Field::Duplicates(at) => *at(config) = word(text, DUPLICATES)?,
        }
        Ok(())
    }

    /// The value in `config`, written as [`set`](Self::set) reads it.
    pub fn show(&self, config: &Config) -> String {
        let config = &mut config.clone();
        match &self.field {
            Field::Endpoint(at) => at(config).to_string(),
            Field::Directory(at) => {
                at(config).as_ref().map_or("off".into(), |path| path.display().to_string())
            }
            Field::Switch(at) => at(config).to_string(),
            Field::Count(at, _) => at(config).to_string(),
            Field::Auto(at, _) => at(config).map_or("auto".into(), |number| number.to_string()),
            Field::Descriptor(at, _) => at(config).map_or("off".into(), |number| number.to_string()),
            Field::Size(at, _) => show_size(*at(config)),
            Field::Time(at, _) => show_time(*at(config)),
            Field::Level(at) => show_word(*at(config), LEVELS),
            Field::Format(at) => show_word(*at(config), FORMATS),
            Field::Order(at) => show_word(*at(config), ORDERS),
            Field::Name(at) => at(config).clone().unwrap_or("auto".into()),
            Field::Duplicates(at) => show_word(*at(config), DUPLICATES),
        }
    }

    /// The smallest and the largest value, as the user writes them, for those that have them.
    pub fn range(&self) -> Option<String> {
        match &self.field {
            Field::Count(_, range) => Some(show_range(range, usize::to_string)),
            Field::Auto(_, range) | Field::Descriptor(_, range) => Some(show_range(range, u32::to_string)),
            Field::Size(_, range) => Some(show_range(range, |&bytes| show_size(bytes))),
            Field::Time(_, range) => Some(show_range(range, |&time| show_time(time))),
            _ => None,
        }
    }

    /// How the value is written, in words.
    pub fn unit(&self) -> &'static str {
        match &self.field {
            Field::Endpoint(_) => "HOST:PORT, [IPV6]:PORT, :PORT, unix:PATH or off",
            Field::Directory(_) => "a path, or off",
            Field::Switch(_) => "true or false",
            Field::Count(..) => "a number",
            Field::Auto(..) => "a number, or auto",
            Field::Descriptor(..) => "a number, or off",
            Field::Size(..) => "bytes, or a whole number of KiB, MiB or GiB",
            Field::Time(..) => "a whole number of ms, s or m, or 0",
            Field::Level(_) => "error, warn, info or debug",
            Field::Format(_) => "text or json",
            Field::Order(_) => "big or little",
            Field::Name(_) => "a name, or auto",
            Field::Duplicates(_) => "rename or reject",
        }
    }

    /// Whether a running server takes a new value on SIGHUP; for the others it has to be started again.
    pub fn reloads(&self) -> bool {
        self.group == Group::Limits || matches!(self.field, Field::Level(_))
    }

    /// What stands for the value in `--help`.
    pub fn placeholder(&self) -> &'static str {
        match &self.field {
            Field::Endpoint(_) => "ADDR",
            Field::Directory(_) => "DIR",
            Field::Switch(_) => "true|false",
            Field::Count(..) => "NUMBER",
            Field::Auto(..) => "NUMBER|auto",
            Field::Descriptor(..) => "NUMBER|off",
            Field::Size(..) => "SIZE",
            Field::Time(..) => "TIME",
            Field::Level(_) => "LEVEL",
            Field::Format(_) => "text|json",
            Field::Order(_) => "big|little",
            Field::Name(_) => "NAME|auto",
            Field::Duplicates(_) => "rename|reject",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn opt(name: &str) -> &'static Opt {
        OPTIONS.iter().find(|opt| opt.name == name).unwrap()
    }

    /// What the option `name` makes of `text`, shown again.
    fn reads(name: &str, text: &str) -> Result<String, String> {
        let mut config = Config::default();
        opt(name).set(&mut config, text).map(|()| opt(name).show(&config))
    }

    #[test]
    fn names_are_unique_and_well_formed() {
        let names: HashSet<_> = OPTIONS.iter().map(|opt| opt.name).collect();
        assert_eq!(names.len(), OPTIONS.len());
        for name in names {
            assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'), "{name}");
            // These are the command line's own.
            assert!(!["config", "help", "version"].contains(&name));
        }
    }

    #[test]
    fn every_limit_says_what_it_bounds_and_then_what_happens() {
        for opt in OPTIONS.iter().filter(|opt| opt.is_limit()) {
            let (bounds, policy) = opt.bounds_and_policy();
            assert!(!bounds.is_empty() && policy.ends_with('.'), "{}: two sentences", opt.name);
        }
    }

    #[test]
    fn flag_variable_and_key_derive_from_the_name() {
        let opt = opt("max-message-bytes");
        assert_eq!(opt.flag(), "--max-message-bytes");
        assert_eq!(opt.variable(), "RAWLINE_MAX_MESSAGE_BYTES");
        assert_eq!(opt.key(), "max_message_bytes");
    }

    #[test]
    fn every_default_is_a_legal_value_of_its_own_option() {
        for opt in OPTIONS {
            let mut config = Config::default();
            opt.set(&mut config, &opt.show(&Config::default())).unwrap();
            assert_eq!(config, Config::default(), "{}", opt.name);
        }
        for relation in RELATIONS {
            assert!((relation.holds)(&Config::default().limits));
            opt(relation.left);
            opt(relation.right);
        }
    }

    #[test]
    fn no_two_rows_share_a_field() {
        let other = |opt: &Opt| match &opt.field {
            Field::Endpoint(_) => "unix:x".into(),
            Field::Directory(_) => "x".into(),
            Field::Switch(_) => (opt.show(&Config::default()) == "false").to_string(),
            Field::Count(_, range) => range.end().to_string(),
            Field::Auto(_, range) | Field::Descriptor(_, range) => range.start().to_string(),
            Field::Size(_, range) => (range.start() + 1).to_string(),
            Field::Time(_, range) => show_time(*range.start() + Duration::from_secs(1)),
            Field::Level(_) => "error".into(),
            Field::Format(_) => "json".into(),
            Field::Order(_) => "little".into(),
            Field::Name(_) => "cubic".into(),
            Field::Duplicates(_) => "reject".to_string(),
        };
        for opt in OPTIONS {
            let mut config = Config::default();
            opt.set(&mut config, &other(opt)).unwrap();
            let changed: Vec<_> =
                OPTIONS.iter().filter(|row| row.show(&config) != row.show(&Config::default())).collect();
            assert_eq!(changed.iter().map(|row| row.name).collect::<Vec<_>>(), [opt.name]);
        }
    }

    #[test]
    fn every_help_is_a_sentence() {
        for opt in OPTIONS {
            assert!(opt.help.ends_with('.') && !opt.help.contains("  "), "{}", opt.name);
        }
    }

    #[test]
    fn sizes_have_binary_units() {
        for (text, shown) in [
            ("65536", "64KiB"),
            ("64KiB", "64KiB"),
            ("1024KiB", "1MiB"),
            ("1MiB", "1MiB"),
            ("1GiB", "1GiB"),
            ("1500", "1500"),
            ("0", "0"),
        ] {
            assert_eq!(reads("drain-max", text), Ok(shown.into()), "{text}");
        }
        for text in ["64KB", "64K", "64kib", "1.5MiB", "-1", "+1", "KiB", "", "64 KiB", "1_000"] {
            let message = format!(
                "{text:?} is no size: write bytes (65536) or a whole number of KiB, MiB or GiB (64KiB)"
            );
            assert_eq!(reads("drain-max", text), Err(message));
        }
    }

    #[test]
    fn times_have_units() {
        for (text, shown) in [
            ("0", "0"),
            ("0s", "0"),
            ("500ms", "500ms"),
            ("10s", "10s"),
            ("10000ms", "10s"),
            ("120s", "2m"),
            ("60m", "60m"),
            ("61s", "61s"),
        ] {
            assert_eq!(reads("shutdown-grace", text), Ok(shown.into()), "{text}");
        }
        assert_eq!(reads("shutdown-grace", "10"), Err("\"10\" has no unit: write 10ms, 10s or 10m".into()));
        for text in ["", "s", "1h", "1.5s", "-1s", "1 s"] {
            let message =
                format!("{text:?} is no time: write a whole number of ms, s or m (500ms, 10s, 2m), or 0");
            assert_eq!(reads("shutdown-grace", text), Err(message));
        }
    }

    #[test]
    fn ranges_are_held_at_both_ends() {
        for (name, low, below, high, above, range) in [
            ("max-depth", "1", "0", "127", "128", "1 to 127"),
            ("max-batch", "1", "0", "65536", "65537", "1 to 65536"),
            ("max-connections", "1", "0", "10000000", "4294967297", "1 to 10000000"),
            ("max-message-bytes", "1KiB", "1023", "64MiB", "67108865", "1KiB to 64MiB"),
            ("shutdown-grace", "0", "", "60m", "3601s", "0 to 60m"),
        ] {
            assert_eq!(reads(name, low), Ok(low.into()));
            assert_eq!(reads(name, high), Ok(high.into()));
            for outside in [below, above].iter().filter(|text| !text.is_empty()) {
                assert_eq!(reads(name, outside), Err(format!("{outside} is out of range: {range}")));
            }
            assert_eq!(opt(name).range(), Some(range.into()));
        }
        assert_eq!(
            reads("max-depth", &"9".repeat(30)),
            Err("18446744073709551615 is out of range: 1 to 127".into())
        );
        assert_eq!(
            reads("out-hard", &format!("{}GiB", "9".repeat(30))),
            Err("18446744073709551615 is out of range: 4KiB to 1GiB".into())
        );
        assert_eq!(opt("rpc").range(), None);
    }

    #[test]
    fn the_other_kinds() {
        assert_eq!(reads("files", "/srv/files"), Ok("/srv/files".into()));
        assert_eq!(reads("files", "off"), Ok("off".into()));
        assert_eq!(reads("files", ""), Err("the path is empty".into()));
        assert_eq!(reads("allow-remote", "true"), Ok("true".into()));
        assert_eq!(reads("allow-remote", "yes"), Err("\"yes\" is neither true nor false".into()));
        assert_eq!(reads("backlog", "auto"), Ok("auto".into()));
        assert_eq!(reads("backlog", "128"), Ok("128".into()));
        assert_eq!(reads("backlog", "many"), Err("\"many\" is no number: write digits only, or auto".into()));
        assert_eq!(reads("max-depth", "+5"), Err("\"+5\" is no number: write digits only".into()));
        assert_eq!(reads("log-level", "debug"), Ok("debug".into()));
        assert_eq!(reads("log-level", "INFO"), Err("\"INFO\" is none of error, warn, info, debug".into()));
        assert_eq!(reads("duplicate-names", "reject"), Ok("reject".into()));
        assert_eq!(reads("duplicate-names", "x"), Err("\"x\" is none of rename, reject".into()));
    }
}
