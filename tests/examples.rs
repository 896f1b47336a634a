//! The examples do what they say: every method of theirs, in both dialects. `cargo test` builds them.

#[path = "common/client.rs"]
mod client;
#[path = "common/daemon.rs"]
mod daemon;

use std::env;
use std::process::Command;

use client::Client;
use daemon::Daemon;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

/// An example on a free port. Cargo puts it next to the directory of this very program.
fn example(name: &str) -> Daemon {
    let here = env::current_exe().unwrap();
    let program = here.parent().unwrap().parent().unwrap().join("examples").join(name);
    assert!(
        program.exists(),
        "{} is not built: `cargo test` does, or `cargo build --examples`",
        program.display()
    );
    let mut command = Command::new(program);
    command.arg("127.0.0.1:0");
    Daemon::spawn(command)
}

/// Asks in the seed dialect.
fn ask(client: &mut Client, method: &str, params: Value) -> Value {
    client.send(json!({ "method": method, "params": params }).to_string());
    client.read_value()
}

/// Asks in JSON-RPC 2.0.
fn ask_v2(client: &mut Client, method: &str, params: Value) -> Value {
    client.send(json!({ "jsonrpc": "2.0", "method": method, "params": params, "id": 7 }).to_string());
    let mut answer = client.read_value();
    assert_eq!((answer["jsonrpc"].take(), answer["id"].take()), (json!("2.0"), json!(7)));
    match answer["error"].take() {
        Value::Null => answer["result"].take(),
        error => error,
    }
}

#[test]
fn the_calculator_calculates_in_both_dialects() {
    let mut calculator = example("calculator");
    let mut client = calculator.connect();
    assert_eq!(ask(&mut client, "count", json!({})), json!({ "result": 0 }));
    assert_eq!(ask(&mut client, "add", json!({ "a": 1, "b": 2 })), json!({ "value": 3.0 }));
    assert_eq!(ask_v2(&mut client, "add", json!([0.5, -1])), json!({ "value": -0.5 }));
    assert_eq!(ask(&mut client, "divide", json!([7, 2])), json!({ "value": 3.5 }));
    assert_eq!(ask_v2(&mut client, "divide", json!({ "b": 2, "a": 7 })), json!({ "value": 3.5 }));
    let by_zero = ask(&mut client, "divide", json!([1, 0]));
    assert_eq!(by_zero, json!({ "status": "error", "message": "Division by zero" }));
    let by_zero = ask_v2(&mut client, "divide", json!([1, 0]));
    assert_eq!(by_zero, json!({ "code": -32050, "message": "Division by zero" }));
    for params in [json!([1]), json!(["1", 2]), json!({ "a": 1 })] {
        assert_eq!(ask(&mut client, "add", params.clone())["code"], -32602);
        assert_eq!(ask_v2(&mut client, "add", params)["code"], -32602);
    }
    // What was refused does not count, and the state is everybody's.
    assert_eq!(ask_v2(&mut calculator.connect(), "count", json!([])), json!(4));
    calculator.signal(Signal::SIGTERM);
    assert_eq!(calculator.wait().0, 0);
}

#[test]
fn the_bulletin_sends_to_one_to_all_and_from_the_house() {
    let mut bulletin = example("bulletin");
    let (mut one, mut two, mut three) = (bulletin.connect(), bulletin.connect(), bulletin.connect());
    let address = |client: &Client| format!("127.0.0.1:{}", client.port());
    let addresses = [address(&one), address(&two), address(&three)];
    // Each has asked once, so all of them are known. The third speaks 2.0.
    ask(&mut one, "who", json!({}));
    ask(&mut two, "who", json!({}));
    assert_eq!(ask_v2(&mut three, "who", json!([])), json!(addresses));
    assert_eq!(ask(&mut one, "who", json!({})), json!({ "result": addresses }));

    assert_eq!(ask(&mut one, "tell", json!([addresses[1], "hello you"])), json!({ "result": "told" }));
    let note = json!({ "type": "note", "from": addresses[0], "text": "hello you" });
    assert_eq!(two.read_value(), note);
    let nobody = ask(&mut one, "tell", json!({ "address": "127.0.0.1:1", "text": "x" }));
    assert_eq!(nobody, json!({ "status": "error", "message": "Nobody is connected from 127.0.0.1:1" }));
    assert_eq!(ask_v2(&mut three, "tell", json!(["nowhere", "x"]))["code"], -32050);
    assert_eq!(ask_v2(&mut three, "tell", json!(["nowhere"]))["code"], -32602);

    assert_eq!(ask(&mut two, "post", json!(["hello all"])), json!({ "result": "posted" }));
    let note = json!({ "from": addresses[1], "text": "hello all" });
    assert_eq!(three.read_value(), json!({ "jsonrpc": "2.0", "method": "note", "params": note }));
    assert_eq!(one.read_value(), json!({ "type": "note", "from": addresses[1], "text": "hello all" }));

    bulletin.type_line("tea is ready");
    let note = json!({ "from": "the house", "text": "tea is ready" });
    assert_eq!(three.read_value(), json!({ "jsonrpc": "2.0", "method": "note", "params": note }));
    for client in [&mut one, &mut two] {
        assert_eq!(
            client.read_value(),
            json!({ "type": "note", "from": "the house", "text": "tea is ready" })
        );
    }

    bulletin.type_line("quit");
    let (exit, stdout, _) = bulletin.wait();
    assert_eq!((exit, stdout.as_str()), (0, "stopped\n"));
    for client in [&mut one, &mut two, &mut three] {
        client.expect_end("");
    }
}

#[test]
fn a_slow_answer_keeps_its_place_and_delays_nobody_else() {
    let bulletin = example("bulletin");
    let (mut patient, mut other) = (bulletin.connect(), bulletin.connect());
    ask(&mut other, "who", json!([]));
    patient.send(
        r#"{"method":"primes","params":[1000000],"id":1}{"method":"primes","params":[10],"id":2}{"method":"who","id":3}"#,
    );
    // The other is served in between, as a note to the one who waits proves: it comes before the answer.
    assert_eq!(ask(&mut other, "post", json!(["still here"])), json!({ "result": "posted" }));
    assert_eq!(patient.read_value()["text"], "still here");
    assert_eq!(patient.read_value(), json!({ "result": 78498, "id": 1 }));
    assert_eq!(patient.read_value(), json!({ "result": 4, "id": 2 }));
    assert_eq!(patient.read_value()["id"], 3);
}

#[test]
fn slow_answers_in_a_batch_come_in_its_order() {
    let bulletin = example("bulletin");
    let mut client = bulletin.connect();
    let primes =
        |below: u32, id: u32| json!({ "jsonrpc": "2.0", "method": "primes", "params": [below], "id": id });
    let wrong = json!({ "jsonrpc": "2.0", "method": "primes", "params": [-1], "id": 3 });
    client.send(json!([primes(100_000, 1), primes(10, 2), wrong, primes(100, 4)]).to_string());
    let answers = client.read_value();
    assert_eq!(answers[0], json!({ "jsonrpc": "2.0", "result": 9592, "id": 1 }));
    assert_eq!(answers[1]["result"], 4);
    assert_eq!((&answers[2]["error"]["code"], &answers[2]["id"]), (&json!(-32602), &json!(3)));
    assert_eq!((&answers[3]["result"], answers.as_array().unwrap().len()), (&json!(25), 4));
    // Whoever leaves while he waits takes nobody with him.
    client.send(primes(300_000, 5).to_string());
    client.reset();
    assert!(ask(&mut bulletin.connect(), "who", json!([]))["result"].is_array());
}
