//! Every maximum of the server, with its unit, and the arithmetic between them.
//!
//! Two kinds: [`Limits`], which an operator or a library user sets, and constants, which only a change of the
//! source moves. The table of options (`config/options.rs`) gives each field of `Limits` its flag, key and
//! environment variable.

use std::time::Duration;

/// What an operator can set. Sizes are bytes, unless the name says otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Open connections over all services. A further one is told so and closed.
    pub max_connections: usize,
    /// Open connections of one address; 0: no limit. `None`: 64, and no limit for this machine's own.
    pub max_connections_per_ip: Option<u32>,
    /// One JSON text, from its first byte to its last. More ends the connection.
    pub max_message_bytes: usize,
    /// One line of the line chat. A longer one is dropped up to its end, and its sender told.
    pub max_line_bytes: usize,
    /// Nesting of arrays and objects in one text. More ends the connection.
    pub max_depth: usize,
    /// Elements of a JSON-RPC batch. A larger batch is refused whole.
    pub max_batch: usize,
    /// Bytes asked of the kernel in one read, and the size of a ring before it grows; at least 1.
    pub read_chunk: usize,
    /// Bytes read from one connection in one turn of the loop.
    pub max_read_per_turn: usize,
    /// Requests dispatched from one connection in one turn.
    pub max_requests_per_turn: usize,
    /// Above this many bytes of unsent answers a connection's requests wait.
    pub out_high: usize,
    /// At this many bytes of unsent answers they go on.
    pub out_low: usize,
    /// Above this many bytes of unsent broadcasts a connection is cut as a slow consumer.
    pub out_hard: usize,
    /// Above this many bytes of unsent broadcasts ...
    pub out_soft: usize,
    /// ... for so long, it is cut too.
    pub out_soft_seconds: Duration,
    /// Memory of everything that clients have not taken, a shared buffer counted once and whole. Above it who holds most is
    /// cut.
    pub total_out_bytes: usize,
    /// Bytes of broadcasts to a room in one turn, after which all dispatch waits for the next turn.
    pub max_fanout_per_turn: usize,
    /// How much of the input of a refused connection is read and thrown away, so that it can read why.
    pub drain_max: usize,
    /// Requests or lines of one connection in a second; one more is refused. 0: as many as it likes.
    pub rate_messages: usize,
    /// How many of them may come at once.
    pub rate_burst: usize,
    /// How long a message may take from its first byte to its last.
    pub message_timeout: Duration,
    /// How long a connection may say nothing; zero: for ever.
    pub idle_timeout: Duration,
    /// How long a connection may take nothing while broadcasts wait for it, or while it is ended.
    pub write_timeout: Duration,
    /// How long a line user may take to give a name.
    pub name_timeout: Duration,
    /// The largest file that can be stored. A larger one is refused before its first byte.
    pub max_upload_bytes: usize,
    /// What an upload must leave free on the disk.
    pub disk_reserve: usize,
    /// Uploads under way over all connections; the next one waits until one is over.
    pub max_uploads: usize,
    /// How long a file connection may move no byte inside a command or a transfer.
    pub file_idle_timeout: Duration,
    /// How long a listener rests at most that found no descriptor or memory: first `ACCEPT_REST_MIN`, then
    /// twice as long each time.
    pub accept_backoff: Duration,
    /// How long a stopping server waits for outboxes to empty.
    pub shutdown_grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 10_000,
            max_connections_per_ip: None,
            max_message_bytes: 64 * 1024,
            max_line_bytes: 4096,
            max_depth: 64,
            max_batch: 256,
            read_chunk: 16 * 1024,
            max_read_per_turn: 64 * 1024,
            max_requests_per_turn: 256,
            out_high: 256 * 1024,
            out_low: 64 * 1024,
            out_hard: 1024 * 1024,
            out_soft: 256 * 1024,
            out_soft_seconds: Duration::from_secs(10),
            total_out_bytes: 256 * 1024 * 1024,
            max_fanout_per_turn: 256 * 1024,
            drain_max: 1024 * 1024,
            rate_messages: 0,
            rate_burst: 50,
            message_timeout: Duration::from_secs(30),
            idle_timeout: Duration::ZERO,
            write_timeout: Duration::from_secs(10),
            name_timeout: Duration::from_secs(60),
            max_upload_bytes: 1024 * 1024 * 1024,
            disk_reserve: 64 * 1024 * 1024,
            max_uploads: 64,
            file_idle_timeout: Duration::from_secs(30),
            accept_backoff: Duration::from_secs(1),
            shutdown_grace: Duration::from_secs(5),
        }
    }
}

/// The deepest nesting that `max_depth` can allow: the scanner keeps its stack in a 128-bit number, and
/// serde_json, which handlers use on parameters, stops at 128.
pub const DEPTH_CEILING: usize = 127;
/// Answers of one batch; what comes after is answered -32005.
pub const BATCH_ANSWER_BYTES: usize = 1024 * 1024;
/// Connections accepted from one listener in one turn.
pub const ACCEPTS_PER_TURN: usize = 64;
/// Readiness events taken from the kernel in one wait.
pub const EVENTS_PER_WAIT: usize = 1024;
/// Answers rendered in one turn, after which all dispatch waits for the next turn: bounds the loop's own memory.
pub const ANSWERS_PER_TURN: usize = 4 * 1024 * 1024;
/// What a scratch buffer keeps when a large turn is over.
pub const KEEP_SCRATCH: usize = 256 * 1024;
/// How long a refused connection is drained before it is closed all the same.
pub const DRAIN_TIME: Duration = Duration::from_secs(2);
/// A listener that found no descriptor or memory rests this long, then twice as long, up to `accept_backoff`.
pub const ACCEPT_REST_MIN: Duration = Duration::from_millis(10);
/// What a ring keeps that waits for the rest of a message of which less than this has come.
pub const SMALL_RING: usize = 1024;
/// Rings kept for the next connection that needs one; more are given back to the allocator.
pub const POOLED_INPUTS: usize = 64;
/// Letters posted to the loop from other threads before `post` refuses more.
pub const MAILBOX_LETTERS: usize = 1024;
/// Bytes of a file sent to one connection before the others have their turn. Large enough that downloads of one file
/// stay close together, and find in the processor's cache what the one before them has just sent.
pub const FILE_BITE: usize = 2 * 1024 * 1024;
/// Bytes of files sent in one turn over all connections: a millisecond or two, so the chat stays prompt.
pub const FILE_BYTES_PER_TURN: usize = 16 * 1024 * 1024;
/// What is read from an uploading client while a helper writes what came before: two of these are all it has.
pub const UPLOAD_CHUNK: usize = 128 * 1024;
/// Bytes of a cold file that a helper reads into memory before they are sent.
pub const WARM_WINDOW: usize = 4 * 1024 * 1024;
/// The buffer that helpers read through.
pub const WARM_CHUNK: usize = 256 * 1024;
/// Bytes of a file that a helper reads for its digest before it looks for other work.
pub const HASH_SLICE: usize = 32 * 1024 * 1024;
/// The answer to LIST, and all such answers together that clients have not read yet; one more is refused.
pub const LIST_BYTES: usize = 64 * 1024 * 1024;
/// Digests of files that are remembered.
pub const DIGESTS_KEPT: usize = 4096;
/// How long an upload that broke off can be resumed.
pub const PARTIALS_KEPT: Duration = Duration::from_secs(24 * 3600);
/// Helper threads that look things up on the disk, and those that move bytes.
pub const FILE_HELPERS: [usize; 2] = [2, 4];

/// How much one of these constants is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amount {
    /// Bytes.
    Bytes(usize),
    /// Things.
    Count(usize),
    /// A time.
    Time(Duration),
}

/// The constants with what they bound, for those who print them: name, value, sentence.
pub static CONSTANTS: &[(&str, Amount, &str)] = &[
    ("DEPTH_CEILING", Amount::Count(DEPTH_CEILING), "what max_depth can be set to"),
    (
        "BATCH_ANSWER_BYTES",
        Amount::Bytes(BATCH_ANSWER_BYTES),
        "the answers of one batch; the rest is answered -32005",
    ),
    (
        "ACCEPTS_PER_TURN",
        Amount::Count(ACCEPTS_PER_TURN),
        "connections accepted from one listener in one turn",
    ),
    ("EVENTS_PER_WAIT", Amount::Count(EVENTS_PER_WAIT), "readiness events taken in one wait"),
    (
        "ANSWERS_PER_TURN",
        Amount::Bytes(ANSWERS_PER_TURN),
        "answers rendered in one turn; then all requests wait for the next",
    ),
    ("KEEP_SCRATCH", Amount::Bytes(KEEP_SCRATCH), "what a shared buffer keeps after a large turn"),
    ("DRAIN_TIME", Amount::Time(DRAIN_TIME), "how long a refused connection is drained; then it is closed"),
    (
        "ACCEPT_REST_MIN",
        Amount::Time(ACCEPT_REST_MIN),
        "how long a listener without a descriptor rests at first; it doubles up to accept_backoff",
    ),
    (
        "SMALL_RING",
        Amount::Bytes(SMALL_RING),
        "a ring with less of a message waits for the rest with this much",
    ),
    (
        "POOLED_INPUTS",
        Amount::Count(POOLED_INPUTS),
        "input buffers kept for the next connection that needs one",
    ),
    ("MAILBOX_LETTERS", Amount::Count(MAILBOX_LETTERS), "letters from other threads; then post refuses"),
    (
        "FILE_BITE",
        Amount::Bytes(FILE_BITE),
        "file bytes sent to one connection; then the others have their turn",
    ),
    (
        "FILE_BYTES_PER_TURN",
        Amount::Bytes(FILE_BYTES_PER_TURN),
        "file bytes sent in one turn over all connections",
    ),
    (
        "UPLOAD_CHUNK",
        Amount::Bytes(UPLOAD_CHUNK),
        "one of an upload's two buffers; both full: it is not read",
    ),
    ("WARM_WINDOW", Amount::Bytes(WARM_WINDOW), "what a helper reads ahead of a download"),
    ("WARM_CHUNK", Amount::Bytes(WARM_CHUNK), "the buffer that helpers read through"),
    (
        "HASH_SLICE",
        Amount::Bytes(HASH_SLICE),
        "what a helper reads for a digest before it looks for other work",
    ),
    ("LIST_BYTES", Amount::Bytes(LIST_BYTES), "lists of files that are not read yet; one more is refused"),
    ("DIGESTS_KEPT", Amount::Count(DIGESTS_KEPT), "digests of files that are remembered"),
    ("PARTIALS_KEPT", Amount::Time(PARTIALS_KEPT), "how long an upload that broke off can be resumed"),
    ("FILE_HELPERS", Amount::Count(FILE_HELPERS[0] + FILE_HELPERS[1]), "threads that wait for the disk"),
];

const _: () = assert!(FILE_BITE <= WARM_WINDOW, "what is warmed is enough for a bite");
const _: () = assert!(DEPTH_CEILING < 128, "the scanner's stack has 128 bits");
