//! `rawline explain`: what it predicts is what the real kernel is asked for, and where it is not the reason is given.

#![cfg(feature = "cli")]

use std::io::Write;
use std::process::{Command, Stdio};
use std::thread;

use serde_json::Value;

fn explain(arguments: &[&str], input: &[u8]) -> Value {
    let mut child = Command::new(env!("CARGO_BIN_EXE_rawline"))
        .args(["explain", "--json"])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut stdin, input) = (child.stdin.take().unwrap(), input.to_vec());
    let writer = thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).unwrap()
}

/// `call of: number`, as predicted; that it is also what was measured is asserted.
fn agreed(arguments: &[&str], input: &[u8]) -> Vec<String> {
    let explained = explain(arguments, input);
    let row = |row: &Value| {
        assert_eq!(row["predicted"], row["measured"], "{explained:#}");
        assert_eq!(row["difference"], Value::Null);
        assert!(row["why"].as_str().unwrap().len() > 10);
        format!("{} {}: {}", row["call"].as_str().unwrap(), row["of"].as_str().unwrap(), row["predicted"])
    };
    let rows = explained["calls"].as_array().unwrap().iter().map(row).collect();
    assert_eq!(explained["predicted"], explained["measured"]);
    assert!(explained["waits"].as_u64().unwrap() > 0);
    rows
}

#[test]
fn a_request_costs_what_was_said() {
    let (read, answer) = ("recvfrom who asks: 1", "sendto who asks: 1");
    assert_eq!(agreed(&[r#"{"method":"ping"}"#], b""), [read, answer]);
    assert_eq!(agreed(&["no json"], b""), [read, answer]);
    assert_eq!(agreed(&[r#"{"jsonrpc":"2.0","method":"ping"}"#], b""), [read], "a notification");
    assert_eq!(agreed(&[r#"{"method":"#], b""), [read], "the rest is waited for");
    assert_eq!(agreed(&["--echo", "hello"], b""), [read, answer]);
    let two = r#"{"method":"ping"}{"method":"ping"}"#;
    assert_eq!(agreed(&[two], b""), [read, answer], "two requests, one answer's write");
    assert_eq!(
        agreed(&[r#"{"method":"send_message","params":["hi"]}"#, "--clients", "7"], b""),
        [read, answer, "sendto the others: 6"]
    );
    assert_eq!(agreed(&["--line", "hello", "--clients", "4"], b""), [read, "sendto the others: 3"]);
    assert_eq!(agreed(&["--line", "/quit", "--clients", "1"], b""), [read, "close who asks: 1"]);
    let join = r#"{"method":"join_chat","params":["Ann"]}"#;
    let leave = r#"{"method":"leave_chat"}"#;
    assert_eq!(agreed(&[leave, "--clients", "1"], b""), [read, answer]);
    assert_eq!(agreed(&[leave, "--before", join], b""), [read, answer, "sendto the others: 1"]);
}

#[test]
fn a_large_request_is_read_in_chunks_and_one_that_is_too_large_is_refused() {
    let ping = |size: usize| format!(r#"{{"method":"ping","x":"{}"}}"#, "x".repeat(size - 24));
    // One byte more than the line feed makes of it fills the first read.
    for (size, reads) in [(16_382, 1), (16_383, 2), (16_384, 2), (40_000, 3)] {
        let rows = agreed(&["-"], ping(size).as_bytes());
        assert_eq!(rows, [format!("recvfrom who asks: {reads}"), "sendto who asks: 1".into()], "{size}");
    }
    let rows = agreed(&["-"], ping(66_000).as_bytes());
    assert_eq!(rows[1..], ["sendto who asks: 1", "shutdown who asks: 1"]);
}

#[test]
fn a_growing_room_costs_one_write_for_each_more() {
    let said = r#"{"method":"send_message","params":["hi"]}"#;
    let explained = explain(&[said, "--clients", "20"], b"");
    let growth = explained["growth"].as_array().unwrap();
    let sizes: Vec<_> = growth.iter().map(|size| size["clients"].as_u64().unwrap()).collect();
    assert_eq!(sizes, [1, 2, 4, 8, 16, 20]);
    for size in growth {
        // A read, an answer, and a write for everybody else.
        assert_eq!(size["measured"].as_u64().unwrap(), size["clients"].as_u64().unwrap() + 1);
        assert_eq!(size["measured"], size["predicted"]);
    }
}

#[test]
fn what_the_kernel_does_otherwise_is_told() {
    // More than any socket takes at once: it comes in pieces, and the echo leaves in pieces.
    let explained = explain(&["--echo", "-"], &vec![b'x'; 8_000_000]);
    let calls = explained["calls"].as_array().unwrap();
    let mut different = 0;
    for row in calls.iter().filter(|row| row["predicted"] != row["measured"]) {
        let why = row["difference"].as_str().unwrap();
        assert!(["pieces", "took", "room"].iter().any(|word| why.contains(word)), "{why}");
        different += 1;
    }
    assert!(different > 0, "{explained:#}");
}
