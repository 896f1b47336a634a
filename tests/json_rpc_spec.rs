//! The examples of the JSON-RPC 2.0 specification, request by request, against the methods they speak of; then
//! the rules of batches against the chat. JSON is compared, not bytes; `data` in errors is ours to choose.

#[path = "common/client.rs"]
mod client;
#[path = "common/daemon.rs"]
mod daemon;

use std::net::SocketAddr;
use std::thread::{self, JoinHandle};

use client::Client;
use daemon::Daemon;
use rawline::{Call, Effects, Fault, Handle, Limits, Param, Reply, Route, Server, Service, Wire};
use serde_json::{Value, json};

/// The methods of the specification's examples.
struct Examples;

impl Service for Examples {
    const ROUTES: &'static [Route<Self>] = &[
        Route::new("subtract", &[Param::number("minuend"), Param::number("subtrahend")], subtract),
        Route::new("sum", &[Param::number("a"), Param::number("b"), Param::number("c")], sum),
        Route::new("get_data", &[], |_, _, fx| fx.reply(&("hello", 5))),
        Route::new("update", &[], |_, _, fx| fx.reply(&())),
        Route::new("notify_hello", &[], |_, _, fx| fx.reply(&())),
        Route::new("notify_sum", &[], |_, _, fx| fx.reply(&())),
    ];
}

fn subtract(_: &mut Examples, call: Call<'_>, fx: &mut Effects) -> Result<Reply, Fault> {
    fx.reply(&(call.arg::<i64>(0)? - call.arg::<i64>(1)?))
}

fn sum(_: &mut Examples, call: Call<'_>, fx: &mut Effects) -> Result<Reply, Fault> {
    fx.reply(&(call.arg::<i64>(0)? + call.arg::<i64>(1)? + call.arg::<i64>(2)?))
}

/// A server of the library in this process, stopped with the test.
struct Running {
    address: SocketAddr,
    handle: Handle,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    fn start() -> Self {
        let mut server = Server::new(Limits::default()).unwrap();
        let address = server.listen(Wire::JsonRpc, "127.0.0.1:0").unwrap();
        let handle = server.handle();
        let thread = thread::spawn(move || _ = server.run(Examples).unwrap());
        Self { address, handle, thread: Some(thread) }
    }

    fn connect(&self) -> Client {
        Client::connect(&self.address.to_string())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.handle.stop();
        let ended = self.thread.take().unwrap().join();
        assert!(ended.is_ok() || thread::panicking());
    }
}

/// The next answer, without the details in its errors.
fn answer(client: &mut Client) -> Value {
    let mut answer = client.read_value();
    let elements = match &mut answer {
        Value::Array(elements) => &mut elements[..],
        object => std::slice::from_mut(object),
    };
    for element in elements {
        if let Some(error) = element.get_mut("error") {
            let detail = error.as_object_mut().unwrap().remove("data");
            assert!(detail.is_none_or(|detail| detail.is_string()));
        }
    }
    answer
}

fn error(code: i32, message: &str, id: Value) -> Value {
    json!({ "jsonrpc": "2.0", "error": { "code": code, "message": message }, "id": id })
}

fn invalid(id: Value) -> Value {
    error(-32600, "Invalid request", id)
}

/// Whatever was answered before would come before this.
#[track_caller]
fn nothing_more(client: &mut Client) {
    client.send(r#"{"jsonrpc": "2.0", "method": "get_data", "id": "last"}"#);
    assert_eq!(answer(client), json!({ "jsonrpc": "2.0", "result": ["hello", 5], "id": "last" }));
}

#[test]
fn calls_with_positional_and_named_parameters() {
    let server = Running::start();
    let mut client = server.connect();
    for (request, expected) in [
        (
            r#"{"jsonrpc": "2.0", "method": "subtract", "params": [42, 23], "id": 1}"#,
            json!({"jsonrpc": "2.0", "result": 19, "id": 1}),
        ),
        (
            r#"{"jsonrpc": "2.0", "method": "subtract", "params": [23, 42], "id": 2}"#,
            json!({"jsonrpc": "2.0", "result": -19, "id": 2}),
        ),
        (
            r#"{"jsonrpc": "2.0", "method": "subtract", "params": {"subtrahend": 23, "minuend": 42}, "id": 3}"#,
            json!({"jsonrpc": "2.0", "result": 19, "id": 3}),
        ),
        (
            r#"{"jsonrpc": "2.0", "method": "subtract", "params": {"minuend": 42, "subtrahend": 23}, "id": 4}"#,
            json!({"jsonrpc": "2.0", "result": 19, "id": 4}),
        ),
    ] {
        client.send(request);
        assert_eq!(answer(&mut client), expected);
    }
    nothing_more(&mut client);
}

#[test]
fn notifications_are_not_answered() {
    let server = Running::start();
    let mut client = server.connect();
    client.send(r#"{"jsonrpc": "2.0", "method": "update", "params": [1,2,3,4,5]}"#);
    client.send(r#"{"jsonrpc": "2.0", "method": "foobar"}"#);
    // Nor when their parameters are wrong.
    client.send(r#"{"jsonrpc": "2.0", "method": "subtract", "params": ["x"]}"#);
    nothing_more(&mut client);
}

#[test]
fn a_null_id_is_an_id() {
    let server = Running::start();
    let mut client = server.connect();
    client.send(r#"{"jsonrpc": "2.0", "method": "subtract", "params": [3, 2], "id": null}"#);
    assert_eq!(answer(&mut client), json!({ "jsonrpc": "2.0", "result": 1, "id": null }));
}

#[test]
fn calls_that_cannot_be_made() {
    let server = Running::start();
    let mut client = server.connect();
    client.send(r#"{"jsonrpc": "2.0", "method": "foobar", "id": "1"}"#);
    assert_eq!(answer(&mut client), error(-32601, "Method not found", json!("1")));
    client.send(r#"{"jsonrpc": "2.0", "method": "subtract", "params": [1], "id": 2}"#);
    assert_eq!(answer(&mut client), error(-32602, "Invalid params", json!(2)));
    client.send(r#"{"jsonrpc": "2.0", "method": "foobar, "params": "bar", "baz]"#);
    assert_eq!(answer(&mut client), error(-32700, "Parse error", Value::Null));
    client.send(r#"{"jsonrpc": "2.0", "method": 1, "params": "bar"}"#);
    assert_eq!(answer(&mut client), invalid(Value::Null));
    nothing_more(&mut client);
    for id in ["true", "[]", "{}"] {
        client.send(format!(r#"{{"jsonrpc": "2.0", "method": "get_data", "id": {id}}}"#));
        assert_eq!(answer(&mut client), invalid(Value::Null));
    }
    nothing_more(&mut client);
    nothing_more(&mut server.connect());
}

#[test]
fn params_of_the_wrong_kind_are_an_error_of_the_call() {
    let server = Running::start();
    let mut client = server.connect();
    for params in ["\"bar\"", "1", "null", "true"] {
        client.send(format!(r#"{{"jsonrpc": "2.0", "method": "get_data", "params": {params}, "id": 1}}"#));
        assert_eq!(answer(&mut client), error(-32602, "Invalid params", json!(1)));
    }
    nothing_more(&mut client);
}

#[test]
fn batches_that_are_none() {
    let server = Running::start();
    let mut client = server.connect();
    client.send(r#"{"jsonrpc": "2.0", "method": "update"}"#);
    client.send(
        r#"[
  {"jsonrpc": "2.0", "method": "sum", "params": [1,2,4], "id": "1"},
  {"jsonrpc": "2.0", "method"
]"#,
    );
    assert_eq!(answer(&mut client), error(-32700, "Parse error", Value::Null));
    client.send("[]");
    assert_eq!(answer(&mut client), invalid(Value::Null));
    client.send("[1]");
    assert_eq!(answer(&mut client), json!([invalid(Value::Null)]));
    client.send("[1,2,3]");
    assert_eq!(answer(&mut client), Value::from(vec![invalid(Value::Null); 3]));
    nothing_more(&mut client);
    nothing_more(&mut server.connect());
}

#[test]
fn a_batch_of_everything() {
    let server = Running::start();
    let mut client = server.connect();
    client.send(
        r#"[
        {"jsonrpc": "2.0", "method": "sum", "params": [1,2,4], "id": "1"},
        {"jsonrpc": "2.0", "method": "notify_hello", "params": [7]},
        {"jsonrpc": "2.0", "method": "subtract", "params": [42,23], "id": "2"},
        {"foo": "boo"},
        {"jsonrpc": "2.0", "method": "foo.get", "params": {"name": "myself"}, "id": "5"},
        {"jsonrpc": "2.0", "method": "get_data", "id": "9"}
    ]"#,
    );
    assert_eq!(
        answer(&mut client),
        json!([
            {"jsonrpc": "2.0", "result": 7, "id": "1"},
            {"jsonrpc": "2.0", "result": 19, "id": "2"},
            invalid(Value::Null),
            error(-32601, "Method not found", json!("5")),
            {"jsonrpc": "2.0", "result": ["hello", 5], "id": "9"},
        ])
    );
    nothing_more(&mut client);
}

#[test]
fn a_batch_of_notifications_is_not_answered() {
    let server = Running::start();
    let mut client = server.connect();
    client.send(
        r#"[
        {"jsonrpc": "2.0", "method": "notify_sum", "params": [1,2,4]},
        {"jsonrpc": "2.0", "method": "notify_hello", "params": [7]}
    ]"#,
    );
    nothing_more(&mut client);
}

// --- batches in the chat ---

fn ping(id: usize) -> String {
    format!(r#"{{"jsonrpc":"2.0","method":"ping","id":{id}}}"#)
}

fn pong(id: usize) -> Value {
    json!({ "jsonrpc": "2.0", "result": { "status": "success", "message": "pong" }, "id": id })
}

fn batch(elements: impl IntoIterator<Item = String>) -> String {
    format!("[{}]", elements.into_iter().collect::<Vec<_>>().join(","))
}

#[test]
fn a_batch_is_answered_in_its_order() {
    let daemon = Daemon::start(&[]);
    let mut client = daemon.connect();
    let ids = [5, 3, 3, 9, 0, 7];
    client.send(batch(ids.map(ping)));
    assert_eq!(client.read_value(), Value::from(ids.map(pong).to_vec()));
}

#[test]
fn whatever_is_no_2_0_request_is_invalid_in_a_batch() {
    let daemon = Daemon::start(&[]);
    let mut client = daemon.connect();
    client.send(r#"[[],{"method":"ping","id":1},"x",null,{"jsonrpc":"1.0","method":"ping","id":2},[{}]]"#);
    let ids = [Value::Null, json!(1), Value::Null, Value::Null, json!(2), Value::Null];
    assert_eq!(answer(&mut client), Value::from(ids.map(invalid).to_vec()));
    client.assert_silent();
    daemon.still_answers();
}

#[test]
fn max_batch_elements_pass_and_one_more_is_refused_whole() {
    for (option, most) in [("max_batch=256", 256), ("max_batch=2", 2)] {
        let daemon = Daemon::start(&[option]);
        let mut client = daemon.connect();
        client.send(batch((0..most).map(ping)));
        assert_eq!(client.read_value(), (0..most).map(pong).collect::<Value>());
        // Nothing of it is executed, and it is no broken text: the connection goes on.
        let mut listener = daemon.connect();
        listener.assert_silent();
        let say = r#"{"jsonrpc":"2.0","method":"send_message","params":["no"]}"#;
        client.send(batch((0..=most).map(|_| say.to_owned())));
        assert_eq!(answer(&mut client), invalid(Value::Null));
        client.assert_silent();
        listener.assert_silent();
        daemon.still_answers();
    }
}

#[test]
fn pushes_wait_behind_the_batch() {
    let daemon = Daemon::start(&[]);
    let mut listener = daemon.connect();
    let mut client = daemon.connect();
    client.send(batch([
        r#"{"jsonrpc":"2.0","method":"join_chat","params":["Ann"],"id":1}"#.into(),
        r#"{"jsonrpc":"2.0","method":"send_message","params":["one"]}"#.into(),
        r#"{"jsonrpc":"2.0","method":"join_chat","params":["Bea"],"id":2}"#.into(),
        ping(3),
    ]));
    let joined = |name: &str, id: usize| {
        json!({
            "jsonrpc": "2.0", "id": id,
            "result": { "status": "success", "message": format!("Joined chat as {name}"), "users": [name] }
        })
    };
    assert_eq!(client.read_value(), json!([joined("Ann", 1), joined("Bea", 2), pong(3)]));
    for name in ["Ann", "Bea"] {
        let params = json!({ "message": format!("Welcome to the chat, {name}!"), "username": "SYSTEM" });
        assert_eq!(client.read_value(), json!({ "jsonrpc": "2.0", "method": "system", "params": params }));
    }
    client.assert_silent();
    for (kind, message, username) in [
        ("system", "Ann has joined the chat!", "SYSTEM"),
        ("chat", "one", "Ann"),
        ("system", "Ann has left the chat!", "SYSTEM"),
        ("system", "Bea has joined the chat!", "SYSTEM"),
    ] {
        assert_eq!(listener.read_value(), json!({ "type": kind, "message": message, "username": username }));
    }
    listener.assert_silent();
}

#[test]
fn the_welcome_of_a_notification_needs_no_answer() {
    let daemon = Daemon::start(&[]);
    let mut client = daemon.connect();
    client.send(r#"[{"jsonrpc":"2.0","method":"join_chat","params":["Ann"]}]"#);
    let params = json!({ "message": "Welcome to the chat, Ann!", "username": "SYSTEM" });
    assert_eq!(client.read_value(), json!({ "jsonrpc": "2.0", "method": "system", "params": params }));
    client.assert_silent();
}

#[test]
fn the_answers_of_a_batch_stop_at_a_mebibyte() {
    const BOUND: usize = 1024 * 1024;
    let daemon = Daemon::start(&[]);
    let _crowd: Vec<Client> = (0..100)
        .map(|n| {
            let mut client = daemon.connect();
            client.send(format!(r#"{{"method":"join_chat","params":["{}{n:02}"]}}"#, "𝒜".repeat(48)));
            client.read_object();
            client
        })
        .collect();
    let mut client = daemon.connect();
    let users = |id: usize| format!(r#"{{"jsonrpc":"2.0","method":"get_users","id":{id}}}"#);
    client.send(format!("{}\n", batch((0..200).map(users).chain([ping(200)]))));
    let text = client.read_line();
    let answers: Vec<Value> = serde_json::from_str(&text).unwrap();
    assert_eq!(answers.len(), 201);
    let whole = answers.iter().take_while(|answer| answer["result"]["count"] == 100).count();
    for (id, answer) in answers.iter().enumerate() {
        match id < whole {
            true => assert_eq!(answer["id"], id),
            false => assert_eq!(*answer, error(-32005, "Answer too large", json!(id))),
        }
    }
    // As many as fit: all that were given are within the bound, with one more they would not be.
    let given = text.find(r#"{"jsonrpc":"2.0","error""#).unwrap();
    assert!(given <= BOUND && given + given / whole > BOUND, "{whole} answers are {given} bytes");
    // Each one alone is no problem.
    client.send(format!("{}\n", users(1)));
    assert_eq!(serde_json::from_str::<Value>(&client.read_line()).unwrap()["result"]["count"], 100);
    client.send("{\"jsonrpc\":\"2.0\",\"method\":\"get_stats\",\"id\":2}\n");
    let stats: Value = serde_json::from_str(&client.read_line()).unwrap();
    assert_eq!(stats["result"]["stats"]["faults"]["other"], 201 - whole, "each is counted");
    client.still_answers();
    daemon.still_answers();
}
