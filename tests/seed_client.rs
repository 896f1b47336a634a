//! A client of the protocol that rawline grew from, as such clients are: bare JSON without line feeds, reads of
//! 1,024 bytes of which each is decoded on its own, and a buffer whose objects are taken from its front by a
//! decoder that stops for good at white space. It must work as it is.

#[path = "common/daemon.rs"]
mod daemon;

#[path = "common/client.rs"]
mod client;

use std::collections::VecDeque;
use std::io::Write;
use std::net::TcpStream;
use std::str;
use std::time::Duration;

use daemon::Daemon;
use serde_json::{Value, json};

struct SeedClient {
    stream: TcpStream,
    buffer: String,
    pushes: VecDeque<Value>,
}

impl SeedClient {
    fn connect(daemon: &Daemon) -> Self {
        let stream = TcpStream::connect(daemon.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        Self { stream, buffer: String::new(), pushes: VecDeque::new() }
    }

    fn send(&mut self, method: &str, params: Value) {
        let request = json!({ "method": method, "params": params });
        self.stream.write_all(request.to_string().as_bytes()).unwrap();
    }

    /// Sends a request and reads up to its answer; pushes that come before it are kept.
    fn call(&mut self, method: &str, params: Value) -> Value {
        self.send(method, params);
        loop {
            let object = self.receive();
            if object.get("type").is_none() {
                return object;
            }
            self.pushes.push_back(object);
        }
    }

    /// The next push: kind, who, what.
    fn hear(&mut self) -> (String, String, String) {
        let push = match self.pushes.pop_front() {
            Some(push) => push,
            None => self.receive(),
        };
        let text = |key: &str| push[key].as_str().unwrap_or_else(|| panic!("{push}")).to_owned();
        (text("type"), text("username"), text("message"))
    }

    /// The object at the front of the buffer, which grows by one read as long as there is none.
    fn receive(&mut self) -> Value {
        loop {
            if let Some(object) = self.raw_decode() {
                return object;
            }
            let mut chunk = [0; 1024];
            let n = client::read(&mut self.stream, &mut chunk).unwrap();
            assert!(n > 0, "the server ended");
            // A character that is split between two reads ends this client.
            self.buffer += str::from_utf8(&chunk[..n]).expect("each read is text of its own");
        }
    }

    fn raw_decode(&mut self) -> Option<Value> {
        assert!(!self.buffer.starts_with([' ', '\t', '\r', '\n']), "white space stops the decoder for good");
        let mut objects = serde_json::Deserializer::from_str(&self.buffer).into_iter();
        let object = objects.next()?.map_err(|error| assert!(error.is_eof(), "{error}")).ok()?;
        self.buffer.drain(..objects.byte_offset());
        Some(object)
    }
}

fn push(kind: &str, username: &str, message: &str) -> (String, String, String) {
    (kind.into(), username.into(), message.into())
}

#[test]
fn three_original_clients_chat() {
    let daemon = Daemon::start(&[]);
    let names = ["Alice", "Zoë", "日本語😀"];
    let mut clients = Vec::new();
    for (n, name) in names.into_iter().enumerate() {
        clients.push(SeedClient::connect(&daemon));
        let answer = clients[n].call("join_chat", json!({ "username": name }));
        let message = format!("Joined chat as {name}");
        assert_eq!(answer, json!({ "status": "success", "message": message, "users": names[..=n] }));
        assert_eq!(clients[n].hear(), push("system", "SYSTEM", &format!("Welcome to the chat, {name}!")));
    }
    // Each hears of those who joined behind him.
    for (n, client) in clients.iter_mut().enumerate() {
        for name in names.iter().enumerate().filter(|(other, _)| *other > n).map(|(_, name)| name) {
            assert_eq!(client.hear(), push("system", "SYSTEM", &format!("{name} has joined the chat!")));
        }
    }
    // Long enough to be cut into many reads, at every place.
    for round in 0..50 {
        for speaker in 0..3 {
            let message = format!("{round}: {}", "é😀x".repeat(round * 6));
            let sent = clients[speaker].call("send_message", json!({ "message": message }));
            assert_eq!(sent, json!({ "status": "success", "message": "Message sent successfully" }));
            for (n, client) in clients.iter_mut().enumerate() {
                if n != speaker {
                    assert_eq!(client.hear(), push("chat", names[speaker], message.trim()));
                }
            }
        }
    }
    let users = clients[0].call("get_users", json!({}));
    assert_eq!(users["count"], 3);
    assert_eq!(clients[1].call("get_users", json!({ "format": "simple" }))["users"], json!(names));
    assert_eq!(clients[2].call("nothing", json!({})), json!({ "error": "Method not found", "code": -32601 }));
    let left = clients[1].call("leave_chat", json!({}));
    assert_eq!(left, json!({ "status": "success", "message": "Left chat successfully" }));
    let third = clients.pop();
    let alice = &mut clients[0];
    assert_eq!(alice.hear(), push("system", "SYSTEM", "Zoë has left the chat!"));
    drop(third);
    assert_eq!(alice.hear(), push("system", "SYSTEM", "日本語😀 has left the chat!"));
    assert_eq!(alice.call("get_users", json!({}))["count"], 1);
}

#[test]
fn a_client_that_reads_late_finds_everything_in_order() {
    let daemon = Daemon::start(&[]);
    let mut reader = SeedClient::connect(&daemon);
    reader.call("join_chat", json!({ "username": "Reader" }));
    let mut speaker = SeedClient::connect(&daemon);
    // It never looks at its answers before it has said everything.
    for n in 0..200 {
        speaker.send("send_message", json!({ "message": format!("{n} {}", "ñ".repeat(n)) }));
    }
    for _ in 0..200 {
        assert_eq!(speaker.receive()["status"], "success");
    }
    reader.hear();
    for n in 0..200 {
        assert_eq!(reader.hear().2, format!("{n} {}", "ñ".repeat(n)).trim());
    }
}
