//! Statistics over real sockets: who is shown them, that the numbers move when the thing happens, and the three forms of
//! `rawline stats`.

#[path = "common/client.rs"]
mod client;
#[path = "common/daemon.rs"]
mod daemon;

use std::env;

use client::Client;
use daemon::Daemon;
use serde_json::Value;

/// A daemon with all services.
fn start(options: &[&str]) -> Daemon {
    let shared = format!("files={}", env::temp_dir().display());
    let mut options = options.to_vec();
    options.extend([shared.as_str(), "line=127.0.0.1:0", "echo=127.0.0.1:0", "files_listen=127.0.0.1:0"]);
    Daemon::start_all(4, &options)
}

/// What `get_stats` answers, without its form.
fn stats(client: &mut Client) -> Value {
    client.send(r#"{"method":"get_stats"}"#);
    loop {
        let answer = client.read_value();
        // Others may say something meanwhile.
        if answer.get("type").is_none() {
            assert_eq!(answer["status"], "success", "{answer}");
            return answer["stats"].clone();
        }
    }
}

/// Asks until `holds`: every look is a round trip, by which the server goes on.
fn await_stats(client: &mut Client, what: &str, holds: impl Fn(&Value) -> bool) {
    let mut last = Value::Null;
    for _ in 0..20_000 {
        last = stats(client);
        if holds(&last) {
            return;
        }
    }
    panic!("never: {what}: {last}");
}

#[test]
fn gauges_are_what_is_there_now() {
    let daemon = start(&[]);
    let mut watcher = daemon.connect();
    await_stats(&mut watcher, "it alone", |stats| stats["connections"] == 1);
    let mut alice = daemon.connect();
    alice.send(r#"{"method":"join_chat","params":["Alice"]}"#);
    alice.read_object();
    let mut bob = Client::connect(daemon.address_of("line"));
    bob.expect("Enter your name : ");
    bob.send("Bob\n");
    bob.expect("Welcome to the chat, Bob! /help lists commands.\n");
    let _nameless = Client::connect(daemon.address_of("line"));
    let mut echo = Client::connect(daemon.address_of("echo"));
    echo.send("x");
    echo.expect("x");
    let _files = Client::connect(daemon.address_of("files"));
    await_stats(&mut watcher, "all six", |stats| {
        stats["service_connections"] == serde_json::json!({"rpc": 2, "line": 2, "echo": 1, "files": 1})
    });
    let now = stats(&mut watcher);
    assert_eq!((&now["connections"], &now["users"], &now["rooms"]), (&6.into(), &2.into(), &1.into()));
    drop((alice, bob, _nameless, echo, _files));
    await_stats(&mut watcher, "it alone again", |stats| {
        stats["service_connections"] == serde_json::json!({"rpc": 1, "line": 0, "echo": 0, "files": 0})
            && stats["users"] == 0
            && stats["connections"] == 1
    });
    // When the last turn ended, all buffers were back.
    assert!(stats(&mut watcher)["pooled_bytes"].as_u64().unwrap() > 0);
}

#[test]
fn counters_move_when_the_thing_happens() {
    let daemon = start(&["max_batch=2", "max_line_bytes=64", "max_depth=3", "max_message_bytes=1KiB"]);
    let mut watcher = daemon.connect();
    let at = |stats: &Value, path: &str| -> u64 {
        let value = stats.pointer(path).unwrap_or_else(|| panic!("{path} is not in {stats}"));
        value.as_u64().unwrap()
    };
    /// What to do, and the pointers that go up.
    type Step<'a> = (&'a dyn Fn(&Daemon), &'a [&'a str]);
    let steps: &[Step<'_>] = &[
        (
            &|daemon| daemon.still_answers(),
            &["/accepted", "/closed/peer", "/frames_in", "/frames_out", "/calls/accept"],
        ),
        (&|daemon| daemon.connect().reset(), &["/accepted", "/closed/reset"]),
        (
            &|daemon| {
                let mut client = daemon.connect();
                client.send("[1,2,3]");
                client.read_object();
            },
            &["/limited/max_batch"],
        ),
        (
            &|daemon| {
                let mut client = daemon.connect();
                for broken in
                    [r#"{"x" 1}"#, r#"{"x":1}"#, r#"{"method":"x"}"#, r#"{"method":"join_chat","params":1}"#]
                {
                    client.send(format!("{broken}\n"));
                    client.read_line();
                }
                // In a batch and by a rule of the chat, too.
                client.send(r#"[1]"#);
                client.read_framed();
                client.send(r#"{"method":"send_message","params":[""]}"#);
                client.read_framed();
            },
            &[
                "/faults/parse_error",
                "/faults/invalid_request",
                "/faults/unknown_method",
                "/faults/invalid_params",
                "/faults/other",
            ],
        ),
        (
            &|daemon| {
                let mut client = daemon.connect();
                client.send("[[[[1]]]]");
                client.read_to_end();
            },
            &["/closed/max_depth"],
        ),
        (
            &|daemon| {
                let mut client = daemon.connect();
                client.send(format!("{{\"method\":\"{}\"}}", "x".repeat(1100)));
                client.read_to_end();
            },
            &["/closed/max_message_bytes"],
        ),
        (
            &|daemon| {
                let mut client = Client::connect(daemon.address_of("line"));
                client.expect("Enter your name : ");
                client.send("Bob\n");
                client.expect("Welcome to the chat, Bob! /help lists commands.\n");
                client.send(format!("{}\n", "x".repeat(100)));
                client.read_line();
                client.send("/quit\n");
                client.expect_end("");
            },
            &["/limited/max_line_bytes", "/closed/service", "/deliveries"],
        ),
        (
            &|daemon| {
                let mut client = Client::connect(daemon.address_of("echo"));
                client.send("x".repeat(100_000));
                client.finish();
                assert_eq!(client.read_to_end().len(), 100_000);
            },
            &["/bytes_in", "/bytes_out", "/calls/read", "/calls/write", "/calls/close", "/turn_us/count"],
        ),
    ];
    for (act, pointers) in steps {
        let before = stats(&mut watcher);
        act(&daemon);
        for pointer in *pointers {
            await_stats(&mut watcher, pointer, |now| at(now, pointer) > at(&before, pointer));
        }
    }
    let (first, second) = (stats(&mut watcher), stats(&mut watcher));
    assert_eq!(at(&second, "/frames_in"), at(&first, "/frames_in") + 1, "this question alone");
    assert!(at(&second, "/bytes_in") >= at(&first, "/bytes_in") + 22);
    daemon.still_answers();
}

#[test]
fn both_forms_and_both_dialects() {
    let daemon = start(&[]);
    let mut client = daemon.connect();
    client.send(r#"{"jsonrpc":"2.0","method":"get_stats","params":{"format":"full"},"id":1}"#);
    let full = client.read_value()["result"].clone();
    assert_eq!(full["message"], "Statistics retrieved successfully");
    assert!(full["version"].as_str().unwrap().starts_with(env!("CARGO_PKG_VERSION")), "{full}");
    let simple = stats(&mut client);
    let samples = full["stats"]["samples"].as_array().unwrap();
    assert!(samples.len() > 40, "{full}");
    for sample in samples {
        let name = sample["name"].as_str().unwrap();
        let number = match sample["label"].get(1) {
            Some(label) => &simple[name][label.as_str().unwrap()],
            None => &simple[name],
        };
        assert!(number.is_u64(), "{name}");
        assert!(sample["help"].as_str().unwrap().ends_with('.'), "{sample}");
    }
    client.send(r#"{"method":"get_stats","params":["more"]}"#);
    client.expect(r#"{"error":"Invalid params","code":-32602}"#);
    client.still_answers();
}

#[test]
fn where_they_are_switched_off_nobody_is_shown_them() {
    let daemon = start(&["no_local_admin=true"]);
    let mut client = daemon.connect();
    client.send(r#"{"method":"get_stats"}"#);
    client.expect(r#"{"status":"error","message":"Statistics are switched off"}"#);
    client.send(r#"{"jsonrpc":"2.0","method":"get_stats","id":1}"#);
    client.expect(
        r#"{"jsonrpc":"2.0","error":{"code":-32025,"message":"Statistics are switched off"},"id":1}"#,
    );
    client.still_answers();
}

#[cfg(feature = "cli")]
mod with_the_client {
    use std::collections::{HashMap, HashSet};
    use std::process::Command;

    use super::*;

    /// Exit code, standard output and standard error of `rawline stats`.
    fn rawline_stats(arguments: &[&str]) -> (i32, String, String) {
        let output =
            Command::new(env!("CARGO_BIN_EXE_rawline")).arg("stats").args(arguments).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }

    #[test]
    fn a_table_names_what_its_numbers_are() {
        let daemon = start(&[]);
        daemon.still_answers();
        let (exit, out, err) = rawline_stats(&[daemon.address()]);
        assert_eq!((exit, err.as_str()), (0, ""));
        assert!(out.starts_with(concat!("rawline ", env!("CARGO_PKG_VERSION"))), "{out}");
        for part in [
            "\nNow\n  connections ",
            "  Users in the room",
            "\nSince the start\n",
            "\nclosed, by reason: Connections ended, by reason.\n",
            "\nlimited, by limit\n",
            "\ncalls, by call: ",
            "\nTurns of the loop: ",
        ] {
            assert!(out.contains(part), "{part:?} in\n{out}");
        }
        assert!(!out.contains('\u{1b}') && out.lines().all(|line| line.len() < 200), "{out}");
    }

    #[test]
    fn json_is_one_object_on_one_line() {
        let daemon = start(&[]);
        let (exit, out, _) = rawline_stats(&[daemon.address(), "--json"]);
        assert_eq!((exit, out.lines().count()), (0, 1));
        let read: Value = serde_json::from_str(&out).unwrap();
        assert_eq!(read["connections"], 1);
        assert_eq!(read["closed"]["peer"], 0);
        assert!(read["version"].is_string() && read["turn_us"]["count"].as_u64().unwrap() > 0);
    }

    /// Reads the text format as its page says, and fails where that says otherwise: the kind of each family, and the
    /// value of each sample by name and labels.
    fn read_prometheus(text: &str) -> (HashMap<String, String>, HashMap<String, f64>) {
        assert!(text.ends_with('\n'));
        let (mut helped, mut kinds, mut samples) = (HashSet::new(), HashMap::new(), HashMap::new());
        let mut family = String::new();
        for line in text.lines() {
            let is_name = |name: &str| {
                name.starts_with(|c: char| c.is_ascii_alphabetic())
                    && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
            };
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').unwrap();
                assert!(is_name(name) && !help.is_empty(), "{line}");
                assert!(helped.insert(name.to_owned()), "a second {line}");
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap();
                assert!(["gauge", "counter", "histogram"].contains(&kind), "{line}");
                assert!(helped.contains(name), "HELP comes first: {line}");
                assert!(kinds.insert(name.to_owned(), kind.to_owned()).is_none(), "a second {line}");
                family = name.into();
            } else {
                let (key, value) = line.rsplit_once(' ').unwrap();
                let name = key.split('{').next().unwrap();
                let rest = name.strip_prefix(family.as_str()).expect("the samples of a family are together");
                let is_histogram = kinds[&family] == "histogram";
                assert!(
                    rest.is_empty() || is_histogram && ["_bucket", "_sum", "_count"].contains(&rest),
                    "{line}"
                );
                if let Some(labels) = key.strip_prefix(name).filter(|labels| !labels.is_empty()) {
                    let label = labels.strip_prefix('{').and_then(|rest| rest.strip_suffix("\"}")).unwrap();
                    assert!(is_name(label.split_once("=\"").unwrap().0), "{line}");
                }
                assert!(samples.insert(key.to_owned(), value.parse().unwrap()).is_none(), "a second {line}");
            }
        }
        assert_eq!(helped.len(), kinds.len());
        (kinds, samples)
    }

    #[test]
    fn prometheus_reads_it() {
        let daemon = start(&[]);
        daemon.still_answers();
        let (exit, out, _) = rawline_stats(&[daemon.address(), "--prometheus"]);
        assert_eq!(exit, 0);
        let (kinds, samples) = read_prometheus(&out);
        for (name, kind) in &kinds {
            assert_eq!(kind == "counter", name.ends_with("_total"), "{name}");
            assert!(name.starts_with("rawline_"), "{name}");
        }
        for (name, kind) in [
            ("rawline_connections", "gauge"),
            ("rawline_uptime_seconds", "gauge"),
            ("rawline_closed_total", "counter"),
            ("rawline_turn_seconds", "histogram"),
        ] {
            assert_eq!(kinds[name], kind);
        }
        assert_eq!(samples["rawline_closed_total{reason=\"peer\"}"], 1.0);
        assert_eq!(samples["rawline_accepted_total"], 2.0);
        let mut buckets: Vec<(f64, f64)> = Vec::new();
        for (key, value) in &samples {
            if let Some(bound) = key.strip_prefix("rawline_turn_seconds_bucket{le=\"") {
                buckets.push((bound.trim_end_matches("\"}").replace('+', "").parse().unwrap(), *value));
            }
        }
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        assert!(buckets.len() == 24 && buckets.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1), "{buckets:?}");
        assert_eq!(*buckets.last().unwrap(), (f64::INFINITY, samples["rawline_turn_seconds_count"]));
        // The same names as the server's own, all of them.
        let mut client = daemon.connect();
        for name in stats(&mut client).as_object().unwrap().keys().filter(|name| *name != "turn_us") {
            let base = format!("rawline_{}", name.replace("_ms", "_seconds"));
            assert!(kinds.contains_key(&base) || kinds.contains_key(&format!("{base}_total")), "{base}");
        }
    }

    #[test]
    fn a_refusal_and_an_unknown_method_are_clear() {
        let daemon = start(&["no_local_admin=true"]);
        let (exit, out, err) = rawline_stats(&[daemon.address()]);
        assert_eq!((exit, out.as_str()), (3, ""));
        assert_eq!(err, "rawline: error -32025: Statistics are switched off\n");
        let (exit, _, err) = rawline_stats(&[daemon.address_of("line"), "--timeout", "10s"]);
        assert_eq!(exit, 76, "{err}");
        let (exit, _, err) = rawline_stats(&["unix:/no/such.sock"]);
        assert_eq!(exit, 69, "{err}");
    }
}
