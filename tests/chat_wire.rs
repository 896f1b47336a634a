//! Every method, push, rule and text of the chat as clients see them: exact bytes, in both dialects and both
//! framings. What is expected is rendered here a second time, by other code than the server's; one
//! session is spelled out in full, so that the two cannot be wrong together.

#[path = "common/client.rs"]
mod client;
#[path = "common/daemon.rs"]
mod daemon;

use client::{Client, PING, PONG};
use daemon::Daemon;
use serde_json::{Value, json};

/// How a client speaks and is spoken to.
#[derive(Clone, Copy, Debug)]
struct Tongue {
    v2: bool,
    lf: bool,
}

const TONGUES: [Tongue; 4] = [
    Tongue { v2: false, lf: false },
    Tongue { v2: false, lf: true },
    Tongue { v2: true, lf: false },
    Tongue { v2: true, lf: true },
];
const SEED: Tongue = TONGUES[0];
const V2: Tongue = TONGUES[2];

/// A client with a tongue, which the server knows from its first ping on.
struct Talker {
    client: Client,
    tongue: Tongue,
    asked: u32,
}

impl Talker {
    fn new(daemon: &Daemon, tongue: Tongue) -> Self {
        Self::with(daemon.connect(), tongue)
    }

    fn with(client: Client, tongue: Tongue) -> Self {
        let mut talker = Self { client, tongue, asked: 0 };
        talker.hears_nothing_more();
        talker
    }

    /// Sends a request; without `params` if they are empty.
    fn asks(&mut self, method: &str, params: &str) {
        self.asked += 1;
        let params = if params.is_empty() { String::new() } else { format!(r#","params":{params}"#) };
        let mut text = match self.tongue.v2 {
            false => format!(r#"{{"method":"{method}"{params}}}"#),
            true => format!(r#"{{"jsonrpc":"2.0","method":"{method}"{params},"id":{}}}"#, self.asked),
        };
        if self.tongue.lf {
            text.push('\n');
        }
        self.client.send(text);
    }

    /// Reads one object, byte for byte as this tongue frames it.
    #[track_caller]
    fn reads(&mut self, object: &str) {
        let framed = if self.tongue.lf { format!("{object}\n") } else { ascii(object) };
        self.client.expect(&framed);
    }

    #[track_caller]
    fn gets(&mut self, result: &str) {
        match self.tongue.v2 {
            false => self.reads(result),
            true => self.reads(&format!(r#"{{"jsonrpc":"2.0","result":{result},"id":{}}}"#, self.asked)),
        }
    }

    /// A rule of the chat says no.
    #[track_caller]
    fn is_refused(&mut self, code: i32, text: &str) {
        match self.tongue.v2 {
            false => self.reads(&format!(r#"{{"status":"error","message":"{text}"}}"#)),
            true => self.reads(&format!(
                r#"{{"jsonrpc":"2.0","error":{{"code":{code},"message":"{text}"}},"id":{}}}"#,
                self.asked
            )),
        }
    }

    /// The request is not what the protocol wants. The detail is for people: it only has to be there.
    #[track_caller]
    fn is_faulted(&mut self, code: i32, text: &str) {
        if !self.tongue.v2 {
            return self.reads(&format!(r#"{{"error":"{text}","code":{code}}}"#));
        }
        let object = if self.tongue.lf { self.client.read_line() } else { self.client.read_object() };
        let mut answer: Value = serde_json::from_str(&object).unwrap();
        let detail = answer["error"].as_object_mut().unwrap().remove("data");
        assert!(detail.is_some_and(|detail| detail.is_string()), "{object}");
        assert_eq!(
            answer,
            json!({ "jsonrpc": "2.0", "error": { "code": code, "message": text }, "id": self.asked })
        );
    }

    #[track_caller]
    fn hears(&mut self, kind: &str, message: &str, username: &str) {
        let params = format!(r#""message":"{message}","username":"{username}""#);
        match self.tongue.v2 {
            false => self.reads(&format!(r#"{{"type":"{kind}",{params}}}"#)),
            true => self.reads(&format!(r#"{{"jsonrpc":"2.0","method":"{kind}","params":{{{params}}}}}"#)),
        }
    }

    #[track_caller]
    fn hears_system(&mut self, message: &str) {
        self.hears("system", message, "SYSTEM");
    }

    /// Whatever was pushed until now would come before this answer.
    #[track_caller]
    fn hears_nothing_more(&mut self) {
        self.asks("ping", "{}");
        self.gets(PONG);
    }

    /// Joins; `users` are everybody's names then, his own last.
    #[track_caller]
    fn joins(&mut self, asked: &str, users: &[&str]) {
        self.asks("join_chat", &format!(r#"{{"username":"{asked}"}}"#));
        self.has_joined(users);
    }

    #[track_caller]
    fn has_joined(&mut self, users: &[&str]) {
        let (name, list) = (users.last().unwrap(), json!(users));
        self.gets(&format!(r#"{{"status":"success","message":"Joined chat as {name}","users":{list}}}"#));
        self.hears_system(&format!("Welcome to the chat, {name}!"));
    }

    fn says(&mut self, message: &str) {
        self.asks("send_message", &format!(r#"{{"message":"{message}"}}"#));
        self.gets(SENT);
    }
}

const SENT: &str = r#"{"status":"success","message":"Message sent successfully"}"#;
const LEFT: &str = r#"{"status":"success","message":"Left chat successfully"}"#;

/// JSON text with everything above U+007F escaped.
fn ascii(text: &str) -> String {
    let mut out = String::new();
    for unit in text.encode_utf16() {
        match u8::try_from(unit) {
            Ok(byte) if byte.is_ascii() => out.push(byte.into()),
            _ => out.push_str(&format!("\\u{unit:04x}")),
        }
    }
    out
}

/// Somebody of every tongue.
fn audience(daemon: &Daemon) -> Vec<Talker> {
    TONGUES.map(|tongue| Talker::new(daemon, tongue)).into()
}

#[track_caller]
fn all_hear_system(audience: &mut [Talker], message: &str) {
    for listener in audience {
        listener.hears_system(message);
    }
}

#[track_caller]
fn all_hear_nothing_more(audience: &mut [Talker]) {
    for listener in audience {
        listener.hears_nothing_more();
    }
}

/// The `n`th of a room joins, and the rest of it hears of it.
#[track_caller]
fn joins_among(room: &mut [Talker], n: usize, name: &str, users: &[&str]) {
    room[n].joins(name, users);
    for (_, other) in room.iter_mut().enumerate().filter(|(other, _)| *other != n) {
        other.hears_system(&format!("{name} has joined the chat!"));
    }
}

#[test]
fn one_session_spelled_out() {
    let daemon = Daemon::start(&[]);
    let mut bob = daemon.connect();
    bob.send(r#"{"method":"join_chat","params":{"username":"Bob"}}"#);
    bob.expect(r#"{"status":"success","message":"Joined chat as Bob","users":["Bob"]}"#);
    bob.expect(r#"{"type":"system","message":"Welcome to the chat, Bob!","username":"SYSTEM"}"#);

    let mut zoe = daemon.connect();
    zoe.send(
        "{\"jsonrpc\":\"2.0\",\"method\":\"join_chat\",\"params\":{\"username\":\" Zoë \"},\"id\":\"a\"}\n",
    );
    zoe.expect("{\"jsonrpc\":\"2.0\",\"result\":{\"status\":\"success\",\"message\":\"Joined chat as Zoë\",\"users\":[\"Bob\",\"Zoë\"]},\"id\":\"a\"}\n");
    zoe.expect("{\"jsonrpc\":\"2.0\",\"method\":\"system\",\"params\":{\"message\":\"Welcome to the chat, Zoë!\",\"username\":\"SYSTEM\"}}\n");
    bob.expect(r#"{"type":"system","message":"Zo\u00eb has joined the chat!","username":"SYSTEM"}"#);

    zoe.send("{\"method\":\"send_message\",\"params\":{\"message\":\"\\uD83D\\uDE00 \\\"hi\\\"\\n\"}}\n");
    zoe.expect("{\"status\":\"success\",\"message\":\"Message sent successfully\"}\n");
    bob.expect(r#"{"type":"chat","message":"\ud83d\ude00 \"hi\"","username":"Zo\u00eb"}"#);

    bob.send(r#"{"jsonrpc":"2.0","method":"send_message","params":["Grüße"],"id":null}"#);
    bob.expect(
        r#"{"jsonrpc":"2.0","result":{"status":"success","message":"Message sent successfully"},"id":null}"#,
    );
    zoe.expect("{\"type\":\"chat\",\"message\":\"Grüße\",\"username\":\"Bob\"}\n");

    zoe.send("{\"method\":\"leave_chat\"}\n");
    zoe.expect("{\"status\":\"success\",\"message\":\"Left chat successfully\"}\n");
    bob.expect(r#"{"jsonrpc":"2.0","method":"system","params":{"message":"Zo\u00eb has left the chat!","username":"SYSTEM"}}"#);
    bob.send(r#"{"method":"get_users"}"#);
    let address = format!("127.0.0.1:{}", bob.port());
    bob.expect(&format!(r#"{{"status":"success","message":"Users retrieved successfully","users":[{{"username":"Bob","address":"{address}"}}],"count":1}}"#));
}

#[test]
fn a_joiner_is_answered_then_welcomed_and_all_others_are_told() {
    for tongue in TONGUES {
        let daemon = Daemon::start(&[]);
        let mut others = audience(&daemon);
        let mut alice = Talker::new(&daemon, tongue);
        alice.joins("Alice", &["Alice"]);
        alice.hears_nothing_more();
        all_hear_system(&mut others, "Alice has joined the chat!");
        all_hear_nothing_more(&mut others);
    }
}

#[test]
fn users_are_listed_in_the_order_in_which_they_joined() {
    let daemon = Daemon::start(&[]);
    let mut room = audience(&daemon);
    let names = ["Zed", "Ann", "Моше", "Bob"];
    for (n, name) in names.into_iter().enumerate() {
        joins_among(&mut room, n, name, &names[..=n]);
    }
    // Whoever leaves and comes again stands at the end.
    room[1].asks("leave_chat", "{}");
    room[1].gets(LEFT);
    room[1].joins("Ann", &["Zed", "Моше", "Bob", "Ann"]);
    for other in [0, 2, 3] {
        room[other].hears_system("Ann has left the chat!");
        room[other].hears_system("Ann has joined the chat!");
    }
    all_hear_nothing_more(&mut room);
}

#[test]
fn what_is_said_reaches_all_others_and_not_the_speaker() {
    for tongue in TONGUES {
        let daemon = Daemon::start(&[]);
        let mut others = audience(&daemon);
        let mut alice = Talker::new(&daemon, tongue);
        alice.joins("Алиса", &["Алиса"]);
        all_hear_system(&mut others, "Алиса has joined the chat!");
        for message in
            ["Hello everyone!", "naïve 😀", r#"{\"a\": [1, \"}\"]}"#, r"tab\tnl\nback\\slash\u0000"]
        {
            alice.says(message);
            for listener in &mut others {
                listener.hears("chat", message, "Алиса");
            }
        }
        alice.says("  trimmed \\n");
        for listener in &mut others {
            listener.hears("chat", "trimmed", "Алиса");
        }
        alice.hears_nothing_more();
        all_hear_nothing_more(&mut others);
    }
}

#[test]
fn who_has_not_joined_speaks_under_his_port_and_hears_everything() {
    for tongue in TONGUES {
        let daemon = Daemon::start(&[]);
        let mut others = audience(&daemon);
        let mut nobody = Talker::new(&daemon, tongue);
        nobody.says("hello");
        let name = format!("User_{}", nobody.client.port());
        for listener in &mut others {
            listener.hears("chat", "hello", &name);
        }
        others[0].says("welcome");
        let name = format!("User_{}", others[0].client.port());
        nobody.hears("chat", "welcome", &name);
        nobody.asks("get_users", r#"{"format":"simple"}"#);
        nobody.gets(r#"{"status":"success","users":[],"count":0}"#);
    }
}

#[test]
fn get_users_lists_names_and_addresses() {
    for tongue in TONGUES {
        let daemon = Daemon::start(&[]);
        let mut alice = Talker::new(&daemon, tongue);
        alice.asks("get_users", "");
        alice.gets(r#"{"status":"success","message":"Users retrieved successfully","users":[],"count":0}"#);
        alice.joins("Alice", &["Alice"]);
        let mut bob = Talker::new(&daemon, tongue);
        bob.joins("Bøb", &["Alice", "Bøb"]);
        alice.hears_system("Bøb has joined the chat!");
        let ports = (alice.client.port(), bob.client.port());
        for full in ["", "{}", "[]", r#"{"format":"full"}"#] {
            alice.asks("get_users", full);
            alice.gets(&format!(
                r#"{{"status":"success","message":"Users retrieved successfully","users":[{{"username":"Alice","address":"127.0.0.1:{}"}},{{"username":"Bøb","address":"127.0.0.1:{}"}}],"count":2}}"#,
                ports.0, ports.1
            ));
        }
        for simple in [r#"{"format":"simple"}"#, r#"["simple"]"#] {
            alice.asks("get_users", simple);
            alice.gets(r#"{"status":"success","users":["Alice","Bøb"],"count":2}"#);
        }
    }
}

#[test]
fn get_users_writes_ipv6_addresses_in_brackets() {
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        return println!("skipped: this machine has no IPv6");
    }
    let daemon = Daemon::start(&["rpc=[::1]:0"]);
    assert!(daemon.address().starts_with("[::1]:"), "{}", daemon.address());
    for tongue in TONGUES {
        let mut alice = Talker::new(&daemon, tongue);
        alice.joins("Alice", &["Alice"]);
        alice.asks("get_users", "");
        let port = alice.client.port();
        alice.gets(&format!(
            r#"{{"status":"success","message":"Users retrieved successfully","users":[{{"username":"Alice","address":"[::1]:{port}"}}],"count":1}}"#
        ));
        alice.asks("leave_chat", "");
        alice.gets(LEFT);
    }
}

#[test]
fn leaving_is_told_to_the_others_and_the_connection_goes_on_unjoined() {
    for tongue in TONGUES {
        let daemon = Daemon::start(&[]);
        let mut others = audience(&daemon);
        let mut alice = Talker::new(&daemon, tongue);
        alice.joins("Alice", &["Alice"]);
        all_hear_system(&mut others, "Alice has joined the chat!");
        alice.asks("leave_chat", "{}");
        alice.gets(LEFT);
        all_hear_system(&mut others, "Alice has left the chat!");
        // Again, and now it is nobody's news.
        alice.asks("leave_chat", "[]");
        alice.gets(LEFT);
        alice.says("still here");
        let made_up = format!("User_{}", alice.client.port());
        for listener in &mut others {
            listener.hears("chat", "still here", &made_up);
        }
        others[0].says("we hear you");
        let speaker = format!("User_{}", others[0].client.port());
        alice.hears("chat", "we hear you", &speaker);
        for listener in &mut others[1..] {
            listener.hears("chat", "we hear you", &speaker);
        }
        // Its end is nobody's news either.
        drop(alice);
        let mut bob = Talker::new(&daemon, tongue);
        bob.joins("Bob", &["Bob"]);
        all_hear_system(&mut others, "Bob has joined the chat!");
        all_hear_nothing_more(&mut others);
    }
}

#[test]
fn ping_is_answered_whatever_its_params() {
    let daemon = Daemon::start(&[]);
    for tongue in TONGUES {
        let mut alice = Talker::new(&daemon, tongue);
        for params in ["", "{}", "[]", "[1,2]", r#"{"unknown":{"nested":[]}}"#] {
            alice.asks("ping", params);
            alice.gets(PONG);
        }
    }
}

#[test]
fn joining_under_another_name_renames() {
    for tongue in TONGUES {
        let daemon = Daemon::start(&[]);
        let mut others = audience(&daemon);
        others[0].joins("First", &["First"]);
        all_hear_system(&mut others[1..], "First has joined the chat!");
        let mut alice = Talker::new(&daemon, tongue);
        alice.joins("Alice", &["First", "Alice"]);
        all_hear_system(&mut others, "Alice has joined the chat!");
        alice.joins("Alicia", &["First", "Alicia"]);
        alice.hears_nothing_more();
        all_hear_system(&mut others, "Alice has left the chat!");
        all_hear_system(&mut others, "Alicia has joined the chat!");
        all_hear_nothing_more(&mut others);
    }
}

#[test]
fn joining_again_under_the_same_name_tells_nobody() {
    for tongue in TONGUES {
        let daemon = Daemon::start(&[]);
        let mut others = audience(&daemon);
        let mut alice = Talker::new(&daemon, tongue);
        alice.joins("Alice", &["Alice"]);
        all_hear_system(&mut others, "Alice has joined the chat!");
        alice.asks("join_chat", r#"{"username":"  Alice "}"#);
        alice.gets(r#"{"status":"success","message":"Joined chat as Alice","users":["Alice"]}"#);
        alice.hears_nothing_more();
        all_hear_nothing_more(&mut others);
    }
}

#[test]
fn a_name_in_use_becomes_another() {
    for tongue in TONGUES {
        let daemon = Daemon::start(&[]);
        let mut room: Vec<Talker> = (0..5).map(|_| Talker::new(&daemon, tongue)).collect();
        let port = room[4].client.port();
        let (second, third) = (format!("Alice_{port}"), format!("Alice_{port}_2"));
        // The names that he would get are taken one after the other.
        let names = ["Alice", &second, &third, "alice"];
        for (n, name) in names.into_iter().enumerate() {
            joins_among(&mut room, n, name, &names[..=n]);
        }
        let fourth = format!("Alice_{port}_3");
        room[4].joins("Alice", &[&names[..], &[&fourth]].concat());
        // His own name counts as free: he asks again, and nothing changes.
        room[4].asks("join_chat", r#"["Alice"]"#);
        let list = json!([&names[..], &[&fourth]].concat());
        room[4]
            .gets(&format!(r#"{{"status":"success","message":"Joined chat as {fourth}","users":{list}}}"#));
        room[4].hears_nothing_more();
    }
}

#[test]
fn a_name_that_grows_is_cut_to_fifty_characters() {
    let daemon = Daemon::start(&[]);
    let long = "é".repeat(50);
    let mut first = Talker::new(&daemon, TONGUES[1]);
    first.joins(&long, &[&long]);
    let mut second = Talker::new(&daemon, TONGUES[0]);
    let suffix = format!("_{}", second.client.port());
    let cut = "é".repeat(50 - suffix.len()) + &suffix;
    second.joins(&long, &[&long, &cut]);
    first.hears_system(&format!("{cut} has joined the chat!"));
}

#[test]
fn duplicate_names_can_be_refused() {
    let daemon = Daemon::start(&["duplicate_names=reject"]);
    let mut alice = Talker::new(&daemon, SEED);
    alice.joins("Alice", &["Alice"]);
    for tongue in TONGUES {
        let mut other = Talker::new(&daemon, tongue);
        for name in ["Alice", "User_1"] {
            other.asks("join_chat", &format!(r#"{{"username":"{name}"}}"#));
            other.is_refused(-32021, "Username already taken");
        }
        other.hears_nothing_more();
    }
    alice.hears_nothing_more();
    alice.asks("join_chat", r#"{"username":"Alice"}"#);
    alice.gets(r#"{"status":"success","message":"Joined chat as Alice","users":["Alice"]}"#);
}

#[test]
fn without_a_name_one_is_called_after_his_port() {
    for tongue in TONGUES {
        let daemon = Daemon::start(&[]);
        let mut talker = Talker::new(&daemon, tongue);
        let name = format!("User_{}", talker.client.port());
        for (n, params) in ["", "{}", "[]", r#"{"name":"Alice"}"#].into_iter().enumerate() {
            talker.asks("join_chat", params);
            if n == 0 {
                talker.has_joined(&[&name]);
            } else {
                talker.gets(&format!(
                    r#"{{"status":"success","message":"Joined chat as {name}","users":["{name}"]}}"#
                ));
            }
        }
        talker.hears_nothing_more();
    }
}

#[test]
fn one_may_take_his_own_made_up_name_and_nobody_elses() {
    let daemon = Daemon::start(&[]);
    let mut mine = Talker::new(&daemon, SEED);
    let port = mine.client.port();
    let own = format!("User_{port}");
    mine.joins(&own, &[&own]);
    let mut other = Talker::new(&daemon, V2);
    // The port need not be in use: it would pass for whoever gets it.
    other.joins("User_7", &[&own, &format!("User_7_{}", other.client.port())]);
    mine.hears_system(&format!("User_7_{} has joined the chat!", other.client.port()));
    other.joins("User_x", &[&own, "User_x"]);
}

/// Only Linux has the whole of 127.0.0.0/8 without being asked.
#[cfg(target_os = "linux")]
#[test]
fn two_peers_with_one_port_get_two_names() {
    let daemon = Daemon::start(&[]);
    let mut first = Talker::new(&daemon, SEED);
    let port = first.client.port();
    let name = format!("User_{port}");
    first.asks("join_chat", "");
    first.has_joined(&[&name]);
    let second = Client::connect_from(([127, 0, 0, 2], port).into(), daemon.address());
    let mut second = Talker::with(second, SEED);
    second.asks("join_chat", "");
    second.has_joined(&[&name, &format!("User_{port}_{port}")]);
    second.joins("Alice", &[&name, "Alice"]);
    let third = Client::connect_from(([127, 0, 0, 3], port).into(), daemon.address());
    let mut third = Talker::with(third, SEED);
    third.joins("Alice", &[&name, "Alice", &format!("Alice_{port}")]);
    let fourth = Client::connect_from(([127, 0, 0, 4], port).into(), daemon.address());
    let mut fourth = Talker::with(fourth, V2);
    fourth.joins("Alice", &[&name, "Alice", &format!("Alice_{port}"), &format!("Alice_{port}_2")]);
}

#[test]
fn every_rule_of_names_says_which() {
    let daemon = Daemon::start(&[]);
    let mut witness = Talker::new(&daemon, SEED);
    for tongue in TONGUES {
        let mut alice = Talker::new(&daemon, tongue);
        for (name, text) in [
            ("", "Username cannot be empty"),
            (r" \t\n\u3000", "Username cannot be empty"),
            (&"x".repeat(51), "Username too long"),
            (&"😀".repeat(51), "Username too long"),
            (&r"\ud83d\ude00".repeat(51), "Username too long"),
            ("SYSTEM", "Username is reserved"),
            (" system ", "Username is reserved"),
            (r"Sy\u0053tem", "Username is reserved"),
            (r"a\u0007b", "Username contains a forbidden character (U+0007)"),
            (r"a\nb", "Username contains a forbidden character (U+000A)"),
            ("a\u{85}b", "Username contains a forbidden character (U+0085)"),
            (r"a\u202eb", "Username contains a forbidden character (U+202E)"),
            ("a\u{2066}b", "Username contains a forbidden character (U+2066)"),
            (r"a\u200bb", "Username contains a forbidden character (U+200B)"),
            ("a\u{200d}b", "Username contains a forbidden character (U+200D)"),
            (r"a\ufeffb", "Username contains a forbidden character (U+FEFF)"),
        ] {
            alice.asks("join_chat", &format!(r#"{{"username":"{name}"}}"#));
            alice.is_refused(-32020, text);
        }
        alice.asks("get_users", r#"["simple"]"#);
        alice.gets(r#"{"status":"success","users":[],"count":0}"#);
    }
    witness.hears_nothing_more();
}

#[test]
fn a_refused_rename_keeps_the_old_name() {
    let daemon = Daemon::start(&[]);
    for tongue in TONGUES {
        let mut alice = Talker::new(&daemon, tongue);
        alice.joins("Alice", &["Alice"]);
        alice.asks("join_chat", r#"{"username":"System"}"#);
        alice.is_refused(-32020, "Username is reserved");
        alice.asks("get_users", r#"["simple"]"#);
        alice.gets(r#"{"status":"success","users":["Alice"],"count":1}"#);
        alice.asks("leave_chat", "");
        alice.gets(LEFT);
    }
}

#[test]
fn names_have_up_to_fifty_characters_and_messages_up_to_a_thousand() {
    for tongue in TONGUES {
        let daemon = Daemon::start(&[]);
        let mut others = audience(&daemon);
        let mut alice = Talker::new(&daemon, tongue);
        let name = "𝒜".repeat(50);
        for asked in [&name, &format!("  {name}\\n"), &r"\ud835\udc9c".repeat(50)] {
            alice.joins(asked, &[&name]);
            all_hear_system(&mut others, &format!("{name} has joined the chat!"));
            alice.asks("leave_chat", "");
            alice.gets(LEFT);
            all_hear_system(&mut others, &format!("{name} has left the chat!"));
        }
        let speaker = format!("User_{}", alice.client.port());
        let message = "😀".repeat(1000);
        for said in [&message, &format!("\\t{message}  "), &r"\ud83d\ude00".repeat(1000)] {
            alice.says(said);
            for listener in &mut others {
                listener.hears("chat", &message, &speaker);
            }
        }
        for long in ["x".repeat(1001), "😀".repeat(1001), r"\uD83D\uDE00".repeat(1001)] {
            alice.asks("send_message", &format!(r#"{{"message":"{long}"}}"#));
            alice.is_refused(-32023, "Message too long");
        }
        for empty in ["", "  ", r"\n\t\u00a0\u2003"] {
            alice.asks("send_message", &format!(r#"{{"message":"{empty}"}}"#));
            alice.is_refused(-32022, "Message cannot be empty");
        }
        alice.hears_nothing_more();
        all_hear_nothing_more(&mut others);
    }
}

#[test]
fn any_end_of_a_joined_connection_is_announced_once() {
    let daemon = Daemon::start(&[]);
    let mut others = audience(&daemon);
    for end in ["close", "reset", "half-close", "refusal"] {
        let mut alice = Talker::new(&daemon, SEED);
        alice.joins("Alice", &["Alice"]);
        all_hear_system(&mut others, "Alice has joined the chat!");
        match end {
            "close" => drop(alice),
            "reset" => alice.client.reset(),
            "half-close" => {
                alice.client.finish();
                alice.client.expect_end("");
            }
            _ => {
                alice.client.send("[".repeat(1000));
                alice.client.expect_end(r#"{"error":"Parse error","code":-32700}"#);
            }
        }
        all_hear_system(&mut others, "Alice has left the chat!");
        all_hear_nothing_more(&mut others);
    }
    daemon.still_answers();
}

#[test]
fn require_join_limits_speaking_and_hearing_to_the_joined() {
    for tongue in TONGUES {
        let daemon = Daemon::start(&["require_join=true"]);
        let mut outsiders = audience(&daemon);
        let mut bob = Talker::new(&daemon, SEED);
        bob.joins("Bob", &["Bob"]);
        let mut alice = Talker::new(&daemon, tongue);
        for message in ["hello", ""] {
            alice.asks("send_message", &format!(r#"{{"message":"{message}"}}"#));
            alice.is_refused(-32024, "Join the chat first");
        }
        alice.asks("get_users", r#"["simple"]"#);
        alice.gets(r#"{"status":"success","users":["Bob"],"count":1}"#);
        alice.asks("leave_chat", "");
        alice.gets(LEFT);
        alice.joins("Alice", &["Bob", "Alice"]);
        bob.hears_system("Alice has joined the chat!");
        alice.says("now");
        bob.hears("chat", "now", "Alice");
        bob.says("welcome");
        alice.hears("chat", "welcome", "Bob");
        alice.asks("leave_chat", "");
        alice.gets(LEFT);
        bob.hears_system("Alice has left the chat!");
        bob.says("alone");
        alice.hears_nothing_more();
        alice.asks("send_message", r#"{"message":"hello"}"#);
        alice.is_refused(-32024, "Join the chat first");
        bob.hears_nothing_more();
        all_hear_nothing_more(&mut outsiders);
    }
}

#[test]
fn wrong_types_are_invalid_params() {
    let daemon = Daemon::start(&[]);
    for tongue in TONGUES {
        let mut alice = Talker::new(&daemon, tongue);
        for (method, params) in [
            ("ping", "1"),
            ("ping", "\"x\""),
            ("ping", "null"),
            ("ping", "true"),
            ("join_chat", r#"{"username":1}"#),
            ("join_chat", r#"{"username":null}"#),
            ("join_chat", r#"{"username":["Alice"]}"#),
            ("join_chat", "[{}]"),
            ("join_chat", r#"{"username":"a","username":"b"}"#),
            ("join_chat", r#"{"username":"a","user\u006eame":"a"}"#),
            ("send_message", r#"{"message":false}"#),
            ("send_message", "[7]"),
            ("get_users", r#"{"format":1}"#),
            ("get_users", r#"{"format":"other"}"#),
        ] {
            alice.asks(method, params);
            alice.is_faulted(-32602, "Invalid params");
        }
        for method in ["nope", "", "Ping", "ping ", "rpc.x"] {
            alice.asks(method, "");
            alice.is_faulted(-32601, "Method not found");
        }
        alice.hears_nothing_more();
    }
}

#[test]
fn unknown_members_are_ignored() {
    let daemon = Daemon::start(&[]);
    for tongue in TONGUES {
        let mut alice = Talker::new(&daemon, tongue);
        let mut bob = Talker::new(&daemon, SEED);
        alice.asks("send_message", r#"{"x":{"message":"no"},"message":"yes","y":[1],"x":2}"#);
        alice.gets(SENT);
        bob.hears("chat", "yes", &format!("User_{}", alice.client.port()));
        alice.asks("send_message", r#"["again",{"message":1},null]"#);
        alice.gets(SENT);
        bob.hears("chat", "again", &format!("User_{}", alice.client.port()));
    }
    let mut alice = daemon.connect();
    alice.send(r#"{"type":"x","method":"ping","auth":{"a":[{}]},"JSONRPC":"2.0"}"#);
    alice.expect(PONG);
}

#[test]
fn the_seed_dialect_echoes_an_id_that_is_string_number_or_null() {
    let daemon = Daemon::start(&[]);
    let mut alice = daemon.connect();
    for id in ["1", "-0", "1.50", "1E400", r#""a""#, r#""\u0041\"""#, "null", r#""""#] {
        for (method, params, answer) in [
            ("ping", "{}", r#""status":"success","message":"pong""#),
            ("send_message", r#"[""]"#, r#""status":"error","message":"Message cannot be empty""#),
            ("nope", "{}", r#""error":"Method not found","code":-32601"#),
            ("ping", "0", r#""error":"Invalid params","code":-32602"#),
        ] {
            alice.send(format!(r#"{{"id":{id},"method":"{method}","params":{params}}}"#));
            alice.expect(&format!(r#"{{{answer},"id":{id}}}"#));
        }
    }
    alice.send(r#"{"id":"é","method":"ping"}"#);
    alice.expect(r#"{"status":"success","message":"pong","id":"\u00e9"}"#);
    for id in ["true", "[1]", r#"{"a":1}"#] {
        alice.send(format!(r#"{{"id":{id},"method":"ping"}}"#));
        alice.expect(PONG);
    }
    alice.send(r#"{"id":7,"method":5}"#);
    alice.expect(r#"{"error":"Invalid request","code":-32600,"id":7}"#);
}

#[test]
fn pushes_follow_the_dialect_of_the_latest_request() {
    let daemon = Daemon::start(&[]);
    let (mut alice, mut bob) = (Talker::new(&daemon, SEED), Talker::new(&daemon, SEED));
    let name = format!("User_{}", bob.client.port());
    bob.says("one");
    alice.hears("chat", "one", &name);
    alice.tongue.v2 = true;
    alice.hears_nothing_more();
    bob.says("two");
    alice.hears("chat", "two", &name);
    alice.tongue.v2 = false;
    alice.hears_nothing_more();
    bob.says("three");
    alice.hears("chat", "three", &name);
    // A notification is a request as well, although nobody answers it.
    alice.client.send(r#"{"jsonrpc":"2.0","method":"send_message","params":["four"]}"#);
    bob.hears("chat", "four", &format!("User_{}", alice.client.port()));
    bob.says("five");
    alice.tongue.v2 = true;
    alice.hears("chat", "five", &name);
}

#[test]
fn one_who_never_spoke_hears_the_seed_dialect_bare() {
    let daemon = Daemon::start(&[]);
    let mut mute = daemon.connect();
    let mut zoe = Talker::new(&daemon, TONGUES[3]);
    zoe.joins("Zoë", &["Zoë"]);
    mute.expect(r#"{"type":"system","message":"Zo\u00eb has joined the chat!","username":"SYSTEM"}"#);
    mute.send(PING);
    mute.expect(PONG);
}
