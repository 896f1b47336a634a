//! Every limit of the table of options: reached exactly it acts and its counter moves, one below nothing happens, and a
//! good client beside it is served all the time.
//!
//! On the kernel made of queues, where a moment and a byte are exact. A limit without a case here fails, but for those that
//! the kernel holds for us.

#[path = "common/world.rs"]
mod world;

use std::fs;
use std::os::fd::RawFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rawline::Wire;
use rawline::config::Config;
use rawline::config::options::OPTIONS;
use rawline::log;
use rawline::service::chat::{Chat, Rules};
use rawline::transport::event_loop::EventLoop;
use rawline::transport::files::Share;
use rawline::transport::files::store::Store;
use rawline::transport::io::Signal;
use rawline::transport::workers::Helpers;
use world::{End, Kernel, LISTENER, World};

/// How a limit is shown to hold.
struct Case {
    /// Its option.
    limit: &'static str,
    /// Options and their values for the case.
    set: &'static [(&'static str, &'static str)],
    /// What clients of the limit speak.
    wire: Wire,
    /// Comes just below the limit, or reaches it.
    act: fn(&mut Bench, bool),
    /// The counter that must move, and only when it is reached: its name and label.
    counter: (&'static str, &'static str),
}

const fn case(
    limit: &'static str,
    wire: Wire,
    set: &'static [(&'static str, &'static str)],
    counter: (&'static str, &'static str),
    act: fn(&mut Bench, bool),
) -> Case {
    Case { limit, set, wire, act, counter }
}

/// Limits that the kernel holds, out of our sight. What is left for a counter of ours is that it gave a peer up: `unreachable`
/// among the reasons to close. Each with the file and the test that shows its effect on real sockets.
const HELD_BY_THE_KERNEL: &[(&str, &str, &str)] = &[
    ("backlog", "tests/daemon.rs", "who_finds_no_place_in_the_backlog_is_served_later"),
    ("sndbuf", "src/transport/sys/socket.rs", "options_reach_the_connections"),
    ("rcvbuf", "src/transport/sys/socket.rs", "options_reach_the_connections"),
    ("keepalive-idle", "src/transport/sys/socket.rs", "a_peer_whose_cable_is_cut_is_given_up"),
    ("keepalive-interval", "src/transport/sys/socket.rs", "a_peer_whose_cable_is_cut_is_given_up"),
    ("keepalive-count", "src/transport/sys/socket.rs", "a_peer_whose_cable_is_cut_is_given_up"),
    ("user-timeout", "tests/siege.rs", "who_takes_nothing_for_user_timeout_is_given_up"),
];

const CASES: &[Case] = &[
    case(
        "max-username-chars",
        Wire::JsonRpc,
        &[("max-username-chars", "32")],
        ("limited", "max_username_chars"),
        |bench, above| {
            let peer = bench.connect();
            let name = "é".repeat(32 + usize::from(above));
            let answer = bench.ask(peer, &format!(r#"{{"method":"join_chat","params":["{name}"]}}"#));
            let refusal = r#"{"status":"error","message":"Username too long"}"#;
            assert_eq!(answer == refusal, above, "{answer}");
        },
    ),
    case(
        "max-message-chars",
        Wire::JsonRpc,
        &[("max-message-chars", "10")],
        ("limited", "max_message_chars"),
        |bench, above| {
            let peer = bench.connect();
            let message = "é".repeat(10 + usize::from(above));
            let answer = bench.ask(peer, &format!(r#"{{"method":"send_message","params":[" {message} "]}}"#));
            let refusal = r#"{"status":"error","message":"Message too long"}"#;
            assert_eq!(answer == refusal, above, "{answer}");
            assert_eq!(bench.world.take(bench.good).is_empty(), above, "it is not said");
        },
    ),
    case(
        "max-connections",
        Wire::JsonRpc,
        &[("max-connections", "3")],
        ("limited", "max_connections"),
        |bench, above| {
            bench.connect();
            bench.connect();
            if above {
                let one_more = bench.connect();
                assert_eq!(bench.world.take(one_more), r#"{"error":"Too many connections","code":-32000}"#);
                assert_eq!(bench.world.end(one_more), Some(End::Closed));
            }
        },
    ),
    case(
        "reserve-fds",
        Wire::JsonRpc,
        &[("reserve-fds", "400")],
        ("limited", "max_connections"),
        |bench, above| {
            // The limit of open files is 1000, and the good client has one.
            let all: Vec<_> = (0..599 + usize::from(above)).map(|_| bench.world.connect()).collect();
            bench.settle();
            assert_eq!(bench.ask(all[598], PING), PONG);
            assert_eq!(bench.world.end(all[all.len() - 1]), above.then_some(End::Closed));
        },
    ),
    case(
        "max-connections-per-ip",
        Wire::JsonRpc,
        &[("max-connections-per-ip", "3")],
        ("limited", "max_connections_per_ip"),
        |bench, above| {
            let others = [bench.connect(), bench.connect()];
            if above {
                let one_more = bench.connect();
                assert_eq!(bench.world.take(one_more), r#"{"error":"Too many connections","code":-32000}"#);
                bench.world.fin(others[0]);
                bench.settle();
                let next = bench.connect();
                assert_eq!(bench.ask(next, PING), PONG, "who leaves makes room");
            }
        },
    ),
    case(
        "accept-backoff",
        Wire::JsonRpc,
        &[("accept-backoff", "40ms")],
        ("limited", "open_files"),
        |bench, starved| {
            bench.world.set_descriptors(if starved { 1 } else { 100 });
            for rest in [10, 20, 40, 40, 40] {
                let before = bench.stat("listener_rests", None);
                bench.world.connect();
                bench.turn(10);
                assert_eq!(bench.stat("listener_rests", None), before + u64::from(starved), "{rest} ms");
                bench.world.pass(Duration::from_millis(rest - 1));
                bench.world.connect();
                bench.turn(10);
                assert_eq!(bench.stat("listener_rests", None), before + u64::from(starved), "{rest} ms");
                bench.world.pass(Duration::from_millis(1));
            }
            bench.world.set_descriptors(100);
            bench.world.pass(Duration::from_secs(1));
            bench.settle();
        },
    ),
    case(
        "max-message-bytes",
        Wire::JsonRpc,
        &[("max-message-bytes", "1KiB")],
        ("closed", "max_message_bytes"),
        |bench, above| {
            let peer = bench.connect();
            let text = r#"{"method":"ping","x":""}"#;
            let text =
                text.replace("\"\"", &format!("{:?}", "x".repeat(1024 - text.len() + usize::from(above))));
            let answer = bench.ask(peer, &text);
            assert_eq!(answer, if above { INVALID } else { PONG });
            bench.is_refused(peer, above);
        },
    ),
    case(
        "max-line-bytes",
        Wire::Line,
        &[("max-line-bytes", "64")],
        ("limited", "max_line_bytes"),
        |bench, above| {
            let peer = bench.connect();
            bench.ask(peer, "Lina\n");
            let answer = bench.ask(peer, &format!("/{}\n", "x".repeat(63 + usize::from(above))));
            assert_eq!(answer.starts_with("Line too long"), above, "{answer}");
        },
    ),
    case("max-depth", Wire::JsonRpc, &[("max-depth", "4")], ("closed", "max_depth"), |bench, above| {
        let peer = bench.connect();
        let depth = 3 + usize::from(above);
        let text = format!(r#"{{"method":"ping","x":{}{}}}"#, "[".repeat(depth), "]".repeat(depth));
        let broken = r#"{"error":"Parse error","code":-32700}"#;
        assert_eq!(bench.ask(peer, &text), if above { broken } else { PONG });
        bench.is_refused(peer, above);
    }),
    case("max-batch", Wire::JsonRpc, &[("max-batch", "2")], ("limited", "max_batch"), |bench, above| {
        let peer = bench.connect();
        let calls = vec![r#"{"jsonrpc":"2.0","method":"ping","id":1}"#; 2 + usize::from(above)];
        let answer = bench.ask(peer, &format!("[{}]", calls.join(",")));
        assert_eq!(answer.contains("-32600"), above, "{answer}");
    }),
    case(
        "read-chunk",
        Wire::JsonRpc,
        &[("read-chunk", "1KiB")],
        ("limited", "read_chunk"),
        |bench, filled| {
            let (peer, reads) = (bench.connect(), bench.world.calls("read"));
            bench.ask(peer, &" ".repeat(1024 - usize::from(!filled)));
            let reads = bench.world.calls("read") - reads;
            assert_eq!(reads, 1 + usize::from(filled), "a read that was not filled has emptied the socket");
            assert_eq!(bench.ask(peer, PING), PONG);
        },
    ),
    case(
        "max-read-per-turn",
        Wire::JsonRpc,
        &[("max-read-per-turn", "16KiB")],
        ("limited", "max_read_per_turn"),
        |bench, reached| {
            let peer = bench.connect();
            bench.ask(peer, &" ".repeat(16 * 1024 - usize::from(!reached)));
            assert_eq!(bench.ask(peer, PING), PONG);
        },
    ),
    case(
        "max-requests-per-turn",
        Wire::JsonRpc,
        &[("max-requests-per-turn", "4")],
        ("limited", "max_requests_per_turn"),
        |bench, reached| {
            let (peer, count) = (bench.connect(), 3 + usize::from(reached));
            assert_eq!(bench.ask(peer, &PING.repeat(count)), PONG.repeat(count));
        },
    ),
    case(
        "out-high",
        Wire::JsonRpc,
        &[("out-high", "2KiB"), ("out-low", "1KiB")],
        ("limited", "out_high"),
        |bench, above| {
            let (peer, count) = (bench.deaf(), 2048 / PONG.len() + usize::from(above));
            bench.ask(peer, &PING.repeat(count));
            if above {
                // It is not read any more.
                bench.ask(peer, PING);
            }
            bench.wait(Duration::from_secs(60));
            bench.world.set_window(peer, None);
            bench.settle();
            assert_eq!(bench.world.take(peer), PONG.repeat(count + usize::from(above)), "nothing is lost");
        },
    ),
    case(
        "out-low",
        Wire::JsonRpc,
        &[("out-high", "2KiB"), ("out-low", "1KiB")],
        ("limited", "out_low"),
        |bench, reached| {
            let (peer, count) = (bench.deaf(), 2048 / PONG.len() + 1);
            bench.ask(peer, &PING.repeat(count + 1));
            bench.world.set_window(peer, Some(count * PONG.len() - 1024 - usize::from(!reached)));
            bench.settle();
        },
    ),
    case(
        "out-hard",
        Wire::JsonRpc,
        &[("out-hard", "4KiB"), ("max-fanout-per-turn", "4KiB")],
        ("closed", "out_hard"),
        |bench, above| {
            let peer = bench.deaf();
            bench.say(4096 + usize::from(above), false);
            assert_eq!(bench.world.end(peer), above.then_some(End::Aborted));
        },
    ),
    case("out-soft", Wire::JsonRpc, SOFT, ("closed", "out_soft"), |bench, above| {
        let peer = bench.deaf();
        bench.say(4096 + usize::from(above), false);
        bench.wait(Duration::from_secs(60));
        assert_eq!(bench.world.end(peer), above.then_some(End::Aborted));
    }),
    case("out-soft-seconds", Wire::JsonRpc, SOFT, ("closed", "out_soft"), |bench, reached| {
        let peer = bench.deaf();
        bench.say(4097, false);
        bench.wait(Duration::from_millis(if reached { 10_000 } else { 9_990 }));
        assert_eq!(bench.world.end(peer), reached.then_some(End::Aborted));
    }),
    case(
        "total-out-bytes",
        Wire::JsonRpc,
        &[("total-out-bytes", "64KiB"), ("out-high", "1MiB")],
        ("closed", "total_out_bytes"),
        |bench, above| {
            let (small, large) = (bench.deaf(), bench.deaf());
            bench.ask(small, &PING.repeat(100));
            while bench.stat("out_bytes", None) + 2 * 200 * PONG.len() as u64 <= 64 * 1024 {
                bench.ask(large, &PING.repeat(200));
            }
            assert_eq!(bench.world.end(large), None);
            if above {
                bench.ask(large, &PING.repeat(1500));
                assert_eq!(bench.world.end(large), Some(End::Aborted), "who holds most goes");
            }
            assert_eq!(bench.world.end(small), None, "and nobody else");
            assert!(bench.stat("out_bytes", None) <= 64 * 1024);
        },
    ),
    case(
        "max-fanout-per-turn",
        Wire::JsonRpc,
        &[("max-fanout-per-turn", "4KiB")],
        ("limited", "max_fanout_per_turn"),
        |bench, reached| bench.say(4095 + usize::from(reached), true),
    ),
    case("drain-max", Wire::JsonRpc, &[("drain-max", "1KiB")], ("limited", "drain_max"), |bench, above| {
        let peer = bench.connect();
        bench.ask(peer, &"[".repeat(200));
        assert_eq!(bench.world.end(peer), Some(End::HalfClosed));
        bench.ask(peer, &"x".repeat(1024 + usize::from(above)));
        assert_eq!(bench.world.end(peer), Some(if above { End::Closed } else { End::HalfClosed }));
    }),
    case(
        "name-timeout",
        Wire::Line,
        &[("name-timeout", "1s")],
        ("closed", "name_timeout"),
        |bench, reached| {
            let peer = bench.connect();
            // Half a name is none.
            bench.ask(peer, "Lin");
            bench.wait(Duration::from_millis(if reached { 1000 } else { 990 }));
            assert_eq!(bench.world.end(peer), reached.then_some(End::Closed));
        },
    ),
    case(
        "rate-messages",
        Wire::JsonRpc,
        &[("rate-messages", "10"), ("rate-burst", "5")],
        ("limited", "rate_messages"),
        |bench, above| {
            let peer = bench.connect();
            assert_eq!(bench.ask(peer, &PING.repeat(5)), PONG.repeat(5));
            bench.world.pass(Duration::from_millis(if above { 99 } else { 100 }));
            assert_eq!(bench.ask(peer, PING), if above { TOO_FAST } else { PONG });
        },
    ),
    case(
        "rate-burst",
        Wire::JsonRpc,
        &[("rate-messages", "10"), ("rate-burst", "5")],
        ("limited", "rate_messages"),
        |bench, above| {
            let peer = bench.connect();
            let (answer, refused) =
                (bench.ask(peer, &PING.repeat(5 + usize::from(above))), if above { TOO_FAST } else { "" });
            assert_eq!(answer, PONG.repeat(5) + refused);
            assert_eq!(bench.world.end(peer), None);
        },
    ),
    case(
        "message-timeout",
        Wire::JsonRpc,
        &[("message-timeout", "30s")],
        ("closed", "message_timeout"),
        |bench, reached| {
            let peer = bench.connect();
            // It drips: what counts is when its message began.
            for byte in PING.bytes().take(10) {
                bench.world.send(peer, [byte]);
                bench.settle();
                bench.wait(Duration::from_secs(2));
            }
            bench.wait(Duration::from_millis(if reached { 10_000 } else { 9_990 }));
            let expected = r#"{"error":"Timeout","code":-32002}"#;
            assert_eq!(bench.world.take(peer), if reached { expected } else { "" });
            bench.is_refused(peer, reached);
        },
    ),
    case(
        "idle-timeout",
        Wire::JsonRpc,
        &[("idle-timeout", "20s")],
        ("closed", "idle_timeout"),
        |bench, reached| {
            let peer = bench.connect();
            bench.wait(Duration::from_secs(5));
            assert_eq!(bench.ask(peer, PING), PONG);
            bench.wait(Duration::from_millis(if reached { 20_000 } else { 19_990 }));
            bench.is_refused(peer, reached);
        },
    ),
    case(
        "write-timeout",
        Wire::JsonRpc,
        &[("write-timeout", "10s")],
        ("closed", "write_timeout"),
        |bench, reached| {
            let peer = bench.deaf();
            bench.say(4096, false);
            bench.wait(Duration::from_secs(5));
            // Who takes a byte now and then is not cut for it.
            bench.world.set_window(peer, Some(1));
            bench.settle();
            bench.wait(Duration::from_millis(if reached { 10_000 } else { 9_990 }));
            assert_eq!(bench.world.end(peer), reached.then_some(End::Aborted));
        },
    ),
    case(
        "max-upload-bytes",
        Wire::Files,
        &[("max-upload-bytes", "10"), ("disk-reserve", "0")],
        ("limited", "max_upload_bytes"),
        |bench, above| {
            let peer = bench.connect();
            bench.world.send(peer, put("a", 10 + u64::from(above)));
            bench.settle();
            assert_eq!(bench.world.take_bytes(peer)[1], if above { 4 } else { 0 }, "TooLarge or Ok");
        },
    ),
    case(
        "disk-reserve",
        Wire::Files,
        &[("disk-reserve", "0")],
        ("limited", "disk_reserve"),
        |bench, above| {
            if above {
                bench.share("1048576GiB");
            }
            let peer = bench.connect();
            bench.world.send(peer, put("a", 1));
            bench.settle();
            assert_eq!(bench.world.take_bytes(peer)[1], if above { 5 } else { 0 }, "NoSpace or Ok");
        },
    ),
    case(
        "max-uploads",
        Wire::Files,
        &[("max-uploads", "2"), ("disk-reserve", "0")],
        ("limited", "max_uploads"),
        |bench, above| {
            let uploads: Vec<_> = ["a", "b", "c"][..2 + usize::from(above)]
                .iter()
                .map(|name| {
                    let peer = bench.connect();
                    bench.world.send(peer, put(name, 1));
                    bench.settle();
                    peer
                })
                .collect();
            for peer in uploads {
                assert!(!bench.world.take_bytes(peer).is_empty() || above, "it goes ahead");
                bench.world.send(peer, "x");
                bench.settle();
                bench.world.fin(peer);
                bench.settle();
            }
        },
    ),
    case(
        "file-idle-timeout",
        Wire::Files,
        &[("file-idle-timeout", "30s"), ("disk-reserve", "0")],
        ("closed", "file_idle_timeout"),
        |bench, reached| {
            let peer = bench.connect();
            bench.world.send(peer, put("a", 100));
            bench.settle();
            for _ in 0..3 {
                bench.wait(Duration::from_secs(20));
                bench.world.send(peer, "x");
                bench.settle();
            }
            bench.wait(Duration::from_millis(if reached { 30_000 } else { 29_990 }));
            assert_eq!(bench.world.end(peer), reached.then_some(End::Aborted));
        },
    ),
    case(
        "log-value-max",
        Wire::JsonRpc,
        &[("log-value-max", "16"), ("log-bodies", "true")],
        ("limited", "log_value_max"),
        |bench, above| {
            // The log is the process's; what it writes is looked at in tests/daemon.rs.
            log::set_value_max(bench.config.log_value_max);
            let said = format!(
                r#"{{"method":"send_message","params":["{}"]}}"#,
                "x".repeat(16 + usize::from(above))
            );
            let peer = bench.connect();
            assert_ne!(bench.ask(peer, &said), "");
        },
    ),
    case(
        "shutdown-grace",
        Wire::JsonRpc,
        &[("shutdown-grace", "5s")],
        ("limited", "shutdown_grace"),
        |bench, reached| {
            let peer = bench.deaf();
            bench.ask(peer, PING);
            bench.world.signal(Signal::Terminate);
            assert!(bench.event_loop.turn());
            bench.world.pass(Duration::from_millis(4990));
            (0..5).for_each(|_| assert!(bench.event_loop.turn(), "it waits for this one"));
            if reached {
                bench.world.pass(Duration::from_millis(10));
            } else {
                bench.world.set_window(peer, None);
            }
            while bench.event_loop.turn() {}
            assert_eq!(bench.world.take(peer), if reached { "" } else { PONG });
            bench.stopped = true;
        },
    ),
];

const SOFT: &[(&str, &str)] = &[("out-soft", "4KiB"), ("out-soft-seconds", "10s"), ("write-timeout", "60m")];
const PING: &str = r#"{"method":"ping"}"#;
const PONG: &str = r#"{"status":"success","message":"pong"}"#;
const INVALID: &str = r#"{"error":"Invalid request","code":-32600}"#;
const TOO_FAST: &str = r#"{"error":"Too fast","code":-32001}"#;

/// The first case of a limit.
fn case_of(limit: &str) -> &'static Case {
    CASES.iter().find(|case| case.limit == limit).expect("every limit has one")
}

/// A PUT of version 2, without its bytes.
fn put(name: &str, size: u64) -> Vec<u8> {
    [&[0x13][..], &(name.len() as u16).to_be_bytes(), name.as_bytes(), &size.to_be_bytes(), &[0; 32]].concat()
}

/// A server with a good client, who speaks what the case speaks.
struct Bench {
    world: World,
    event_loop: EventLoop<World, Chat>,
    config: Config,
    wire: Wire,
    good: RawFd,
    directory: Option<PathBuf>,
    stopped: bool,
}

impl Bench {
    fn new(case: &Case, reached: bool) -> Self {
        let mut config = Config::default();
        for (name, value) in case.set {
            let opt = OPTIONS.iter().find(|opt| opt.name == *name).expect("there is such an option");
            opt.set(&mut config, value).expect("it takes this value");
        }
        let world = World::new(Kernel::KIND);
        let limits = config.limits_with(1000);
        let rules = Rules {
            log_bodies: config.log_bodies,
            max_username_chars: config.max_username_chars,
            max_message_chars: config.max_message_chars,
            ..Rules::default()
        };
        let mut event_loop =
            EventLoop::new(world.clone(), Chat::new(rules), limits).expect("the table is sound");
        event_loop.listen(case.wire, LISTENER).unwrap();
        let mut bench =
            Self { world, event_loop, config, wire: case.wire, good: 0, directory: None, stopped: false };
        if case.wire == Wire::Files {
            let name = format!("rawline-limits-{}-{}-{reached}", std::process::id(), case.limit);
            let directory = std::env::temp_dir().join(name);
            let _ = fs::remove_dir_all(&directory);
            fs::create_dir_all(&directory).unwrap();
            bench.directory = Some(directory);
            bench.share("0");
        }
        bench.good = bench.connect();
        if case.wire == Wire::Line {
            bench.ask(bench.good, "Good\n");
        }
        bench
    }

    /// Shares the case's directory, of whose disk so much must be left free.
    fn share(&mut self, reserve: &str) {
        let opt = OPTIONS.iter().find(|opt| opt.name == "disk-reserve").unwrap();
        opt.set(&mut self.config, reserve).unwrap();
        let directory = self.directory.clone().unwrap();
        let share = Share { directory, writable: true, delete: false, byte_order: Default::default() };
        let store = Store::open(share, &self.config.limits).unwrap();
        self.event_loop.share(store, Helpers::Given(Arc::new(|_, task| task())));
    }

    /// Turns until nothing happens any more.
    fn settle(&mut self) {
        let mut idle = 0;
        for _ in 0..100_000 {
            let work = || ["read", "write", "accept"].map(|call| self.world.calls(call));
            let before = work();
            self.event_loop.turn();
            let work = || ["read", "write", "accept"].map(|call| self.world.calls(call));
            idle = if before == work() && self.world.is_quiet() { idle + 1 } else { 0 };
            if idle == 3 {
                return;
            }
        }
        panic!("the server does not come to rest");
    }

    fn connect(&mut self) -> RawFd {
        let fd = self.world.connect();
        self.settle();
        fd
    }

    /// A client that reads nothing from here on.
    fn deaf(&mut self) -> RawFd {
        let fd = self.connect();
        self.world.set_window(fd, Some(0));
        fd
    }

    fn ask(&mut self, fd: RawFd, text: &str) -> String {
        self.world.send(fd, text);
        self.settle();
        self.world.take(fd)
    }

    /// Time passes, and the good client is served all the while.
    fn wait(&mut self, time: Duration) {
        let steps = 20;
        for _ in 0..steps {
            self.world.pass(time / steps);
            self.settle();
            self.good_is_served();
        }
        self.settle();
    }

    /// The good client says so much that everybody else gets this many bytes, a message at a time or all at once.
    fn say(&mut self, bytes: usize, at_once: bool) {
        let witness = self.connect();
        let say = |length: usize| {
            format!(r#"{{"method":"send_message","params":{{"message":"{}"}}}}"#, "x".repeat(length))
        };
        let overhead = {
            // Measured on a server of its own.
            let mut other = Bench::new(case_of("max-depth"), false);
            let hears = other.connect();
            other.ask(other.good, &say(1));
            other.world.take(hears).len() - 1
        };
        let messages = 5;
        let each = bytes / messages;
        let lengths = (0..messages).map(|n| each + if n == 0 { bytes % messages } else { 0 });
        let texts: Vec<_> = lengths.map(|length| say(length - overhead)).collect();
        if at_once {
            self.ask(self.good, &texts.concat());
        } else {
            texts.iter().for_each(|text| drop(self.ask(self.good, text)));
        }
        assert_eq!(self.world.take(witness).len(), bytes, "the others hear all of it");
        self.world.fin(witness);
        self.settle();
    }

    /// So many turns, in which the listener may find nothing to accept with.
    fn turn(&mut self, turns: usize) {
        for _ in 0..turns {
            self.event_loop.turn();
        }
    }

    fn is_refused(&mut self, peer: RawFd, refused: bool) {
        assert_eq!(self.world.end(peer), refused.then_some(End::HalfClosed));
        if refused {
            self.world.fin(peer);
            self.settle();
            assert_eq!(self.world.end(peer), Some(End::Closed));
        }
    }

    /// The same, while the listener has reason to be ready.
    fn good_is_served_now(&mut self) {
        self.world.send(self.good, PING);
        self.turn(3);
        assert!(self.world.take(self.good).ends_with(PONG), "a good client is served");
    }

    fn good_is_served(&mut self) {
        let good = self.good;
        let served = match self.wire {
            Wire::JsonRpc => self.ask(good, PING).ends_with(PONG),
            Wire::Line => self.ask(good, "/ping\n").ends_with("PONG\n"),
            Wire::Files => {
                // LIST of version 1: the number of names comes first.
                self.world.send(good, [1]);
                self.settle();
                self.world.take_bytes(good).len() >= 4
            }
            Wire::Echo => unreachable!("no case echoes"),
        };
        assert!(served, "a good client is served");
    }

    fn stat(&self, name: &str, label: Option<&str>) -> u64 {
        self.event_loop.stats().get(name, label).expect("there is such a counter")
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        if let Some(directory) = &self.directory {
            let _ = fs::remove_dir_all(directory);
        }
    }
}

#[test]
fn every_limit_acts_when_it_is_reached_and_not_before() {
    for opt in OPTIONS.iter().filter(|opt| opt.is_limit()) {
        let cases: Vec<_> = CASES.iter().filter(|case| case.limit == opt.name).collect();
        if let Some((_, file, test)) = HELD_BY_THE_KERNEL.iter().find(|(limit, ..)| *limit == opt.name) {
            let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(file);
            let source = fs::read_to_string(path).expect("the file is there");
            assert!(source.contains(&format!("fn {test}()")), "{file} has no test {test}");
            assert!(cases.is_empty(), "{} is held by the kernel and has a case", opt.name);
            continue;
        }
        assert!(!cases.is_empty(), "no case moves the counter of {}", opt.name);
        for case in cases {
            for reached in [false, true] {
                let mut bench = Bench::new(case, reached);
                (case.act)(&mut bench, reached);
                if !bench.stopped {
                    bench.good_is_served();
                }
                let moved = bench.stat(case.counter.0, Some(case.counter.1));
                assert_eq!(moved > 0, reached, "{}: {} {moved}", case.limit, case.counter.1);
            }
        }
    }
}

/// No descriptor is left: the next client is told, the listener rests and does not spin, and it goes on when one is free.
#[test]
fn without_descriptors_the_next_is_told_and_the_listener_rests() {
    let mut bench = Bench::new(case_of("max-depth"), false);
    bench.world.set_descriptors(2);
    // The kernel looks for a descriptor before it looks into the queue: already this one makes the listener rest.
    let last = bench.connect();
    let [told, waits] = [bench.world.connect(), bench.world.connect()];
    bench.world.pass(Duration::from_millis(10));
    bench.turn(10);
    assert_eq!(bench.world.take(told), r#"{"error":"Too many connections","code":-32000}"#);
    assert_eq!((bench.world.end(told), bench.world.end(waits)), (Some(End::Closed), None));
    assert_eq!(bench.stat("limited", Some("open_files")), 1);
    let accepts = bench.world.calls("accept");
    bench.turn(1000);
    bench.good_is_served_now();
    assert_eq!(bench.world.calls("accept"), accepts, "it does not ask again while it rests");
    for rest in [20, 40, 80, 160, 320, 640, 1000, 1000] {
        let before = bench.stat("listener_rests", None);
        // Somebody always waits.
        bench.world.connect();
        bench.world.pass(Duration::from_millis(rest - 10));
        bench.turn(10);
        bench.world.pass(Duration::from_millis(10));
        bench.turn(10);
        assert_eq!(bench.stat("listener_rests", None), before + 1, "a rest of {rest} ms");
    }
    bench.world.fin(last);
    bench.turn(10);
    bench.world.set_descriptors(100);
    bench.world.pass(Duration::from_secs(1));
    bench.settle();
    let new = bench.connect();
    assert_eq!(bench.ask(new, PING), PONG);
    bench.good_is_served();
}
