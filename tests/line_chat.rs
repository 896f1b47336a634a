//! The line chat over real sockets: every row of its wire, alone and in one room with JSON users.
//!
//! Exact bytes, since people and scripts read them with `nc`. Tests that malform end in proof that the server
//! still answers.

#[path = "common/client.rs"]
mod client;
#[path = "common/daemon.rs"]
mod daemon;

use client::Client;
use daemon::Daemon;

const PROMPT: &str = "Enter your name : ";

/// A daemon with line chat, and a JSON user's address.
fn start(options: &[&str]) -> Daemon {
    Daemon::start_services(&["rpc", "line", "echo"], options)
}

/// A line user who has not given a name.
fn nameless(daemon: &Daemon) -> Client {
    let mut client = Client::connect(daemon.address_of("line"));
    client.expect(PROMPT);
    client
}

/// A line user in the room.
fn joined(daemon: &Daemon, name: &str) -> Client {
    let mut client = nameless(daemon);
    client.send(format!("{name}\n"));
    client.expect(&format!("Welcome to the chat, {name}! /help lists commands.\n"));
    client
}

/// Whatever was sent to a line user by now is taken: PONG stands behind it.
fn hear(client: &mut Client) -> Vec<String> {
    client.send("/ping\n");
    let mut lines = Vec::new();
    loop {
        match client.read_line() {
            line if line == "PONG" => return lines,
            line => lines.push(line),
        }
    }
}

#[test]
fn the_server_speaks_first_and_a_name_opens_the_room() {
    let daemon = start(&[]);
    let mut alice = joined(&daemon, "Alice");
    let mut bob = nameless(&daemon);
    bob.send("Bob\r\n");
    bob.expect("Welcome to the chat, Bob! /help lists commands.\n");
    alice.expect("Bob has joined the chat!\n");
    alice.send("hello\r\n");
    bob.expect("Alice: hello\n");
    assert_eq!(hear(&mut alice), [""; 0], "nobody hears himself");
    bob.send("/quit\n");
    bob.expect_end("");
    alice.expect("Bob has left the chat!\n");
}

#[test]
fn an_empty_name_is_made_up_and_a_bad_one_is_asked_for_again() {
    let daemon = start(&[]);
    let mut client = nameless(&daemon);
    for (name, why) in [
        ("SYSTEM", "Username is reserved"),
        ("a\u{200b}b", "Username contains a forbidden character (U+200B)"),
        ("a\tb", "Username contains a forbidden character (U+0009)"),
        (&"x".repeat(51), "Username too long"),
    ] {
        client.send(format!("{name}\n"));
        client.expect(&format!("{why}\n{PROMPT}"));
    }
    client.send(format!("{}\n", "x".repeat(5000)));
    client.expect(&format!("Line too long: more than 4096 bytes were dropped\n{PROMPT}"));
    client.send("\n");
    let name = format!("User_{}", client.port());
    client.expect(&format!("Welcome to the chat, {name}! /help lists commands.\n"));
    let mut other = nameless(&daemon);
    other.send(format!("{name}\n"));
    let own = other.port();
    other.expect(&format!("Welcome to the chat, {name}_{own}! /help lists commands.\n"));
}

#[test]
fn a_name_in_use_is_refused_where_the_operator_says_so() {
    let daemon = start(&["duplicate_names=reject"]);
    let _first = joined(&daemon, "Alice");
    let mut second = nameless(&daemon);
    second.send("Alice\n");
    second.expect(&format!("Username already taken\n{PROMPT}"));
    second.send("Bob\n");
    second.expect("Welcome to the chat, Bob! /help lists commands.\n");
}

#[test]
fn commands_answer_their_sender_alone() {
    let daemon = start(&[]);
    let (mut alice, mut bob) = (joined(&daemon, "Alice"), joined(&daemon, "Bob"));
    alice.expect("Bob has joined the chat!\n");
    alice.send("/users\n");
    alice.expect("Online users (2): Alice, Bob\n");
    alice.send("/ping\n/nonsense with words\n/\n");
    alice.expect(
        "PONG\nUnknown command /nonsense. /help lists commands.\nUnknown command /. /help lists commands.\n",
    );
    alice.send("/help\n");
    assert!(hear(&mut alice).iter().any(|line| line.starts_with("/users")));
    alice.send("  /users and what follows  \n");
    alice.expect("Online users (2): Alice, Bob\n");
    assert_eq!(hear(&mut bob), [""; 0]);
    alice.send("//slash\n");
    bob.expect("Alice: /slash\n");
}

#[test]
fn empty_lines_say_nothing_and_long_messages_are_refused() {
    let daemon = start(&[]);
    let (mut alice, mut bob) = (joined(&daemon, "Alice"), joined(&daemon, "Bob"));
    alice.expect("Bob has joined the chat!\n");
    alice.send("\n  \t \r\n");
    alice.send(format!("{}\n", "é".repeat(1001)));
    alice.expect("Message too long\n");
    let longest = "😀".repeat(1000);
    alice.send(format!("  {longest}  \n"));
    bob.expect(&format!("Alice: {longest}\n"));
}

#[test]
fn a_line_over_the_limit_is_dropped_up_to_its_end() {
    let daemon = start(&["max_line_bytes=100"]);
    let (mut alice, mut bob) = (joined(&daemon, "Alice"), joined(&daemon, "Bob"));
    alice.expect("Bob has joined the chat!\n");
    alice.send("x".repeat(100));
    alice.send("\n");
    bob.expect(&format!("Alice: {}\n", "x".repeat(100)));
    alice.send("x".repeat(500_000));
    alice.send("\nshort\n");
    alice.expect("Line too long: more than 100 bytes were dropped\n");
    bob.expect("Alice: short\n");
    daemon.still_answers();
}

#[test]
fn a_last_line_without_its_end_counts() {
    let daemon = start(&[]);
    let mut alice = joined(&daemon, "Alice");
    let mut bob = nameless(&daemon);
    bob.send("Bob\nfirst\nlast");
    bob.finish();
    alice.expect("Bob has joined the chat!\nBob: first\nBob: last\nBob has left the chat!\n");
    bob.expect_end("Welcome to the chat, Bob! /help lists commands.\n");
}

#[test]
fn every_end_is_told_once() {
    let daemon = start(&[]);
    let mut alice = joined(&daemon, "Alice");
    for (n, end) in [Client::reset as fn(Client), drop::<Client>].into_iter().enumerate() {
        let name = format!("Guest{n}");
        let guest = joined(&daemon, &name);
        end(guest);
        alice.expect(&format!("{name} has joined the chat!\n{name} has left the chat!\n"));
    }
    drop(nameless(&daemon));
    let mut shy = nameless(&daemon);
    shy.send("/quit\n");
    shy.expect_end("");
    assert_eq!(hear(&mut alice), [""; 0], "who had no name is not told of");
}

#[test]
fn terminals_get_no_control_characters_and_no_broken_utf8() {
    let daemon = start(&[]);
    let (mut alice, mut json) = (joined(&daemon, "Alice"), daemon.connect());
    json.send(r#"{"method":"join_chat","params":["Json"]}"#);
    json.read_object();
    json.read_object();
    alice.expect("Json has joined the chat!\n");
    json.send(r#"{"method":"send_message","params":["a\u001b[2Jb\nc\r\td\u0007\u009be\u0000"]}"#);
    json.read_object();
    alice.expect("Json: a[2Jb c\tde\n");

    let mut bob = joined(&daemon, "Bob");
    alice.expect("Bob has joined the chat!\n");
    bob.send(b"caf\xe9 \x1b[31mred\n");
    alice.expect("Bob: caf\u{fffd} [31mred\n");
    json.read_object(); // Bob has joined
    let value = json.read_value();
    assert_eq!(value["message"], "caf\u{fffd} \u{1b}[31mred", "JSON escapes what it must, and loses nothing");
    assert_eq!(hear(&mut bob), [""; 0]);
}

#[test]
fn telnet_negotiation_is_swallowed() {
    let daemon = start(&[]);
    let mut alice = joined(&daemon, "Alice");
    let mut bob = nameless(&daemon);
    bob.send(b"\xff\xfd\x01\xff\xfb\x1fBo\xff\xfa\x1f\x00\x50\x00\x0a\xff\xf0b\r\n");
    bob.expect("Welcome to the chat, Bob! /help lists commands.\n");
    bob.send(b"\xff\xf1hi\xff\xfb\x18\r\n");
    alice.expect("Bob has joined the chat!\nBob: hi\n");
}

#[test]
fn bytes_may_come_one_at_a_time() {
    let daemon = start(&[]);
    let mut alice = joined(&daemon, "Alice");
    let mut bob = nameless(&daemon);
    bob.send_slowly("Bøb\r\nschön 😀\n");
    alice.expect("Bøb has joined the chat!\nBøb: schön 😀\n");
}

#[test]
fn one_room_in_one_order_for_all() {
    let daemon = start(&[]);
    let mut line = joined(&daemon, "Line");
    let mut listener = joined(&daemon, "Listener");
    line.expect("Listener has joined the chat!\n");
    // Bare seed, seed with lines, 2.0 bare, 2.0 with lines.
    let mut json: Vec<Client> = (0..4).map(|_| daemon.connect()).collect();
    for (n, client) in json.iter_mut().enumerate() {
        let version = if n < 2 { "" } else { r#""jsonrpc":"2.0","id":0,"# };
        let end = if n % 2 == 0 { "" } else { "\n" };
        client.send(format!(r#"{{{version}"method":"join_chat","params":["Json{n}"]}}{end}"#));
    }
    line.send("/users\n");
    for n in 0..300 {
        line.send(format!("l{n}\n"));
        let (k, client) = (n % 4, &mut json[n % 4]);
        let version = if k < 2 { "" } else { r#""jsonrpc":"2.0","# };
        let end = if k % 2 == 0 { "" } else { "\n" };
        client.send(format!(r#"{{{version}"method":"send_message","params":["j{n}"]}}{end}"#));
    }
    // What the listener hears is the order; everybody else hears the same, without his own.
    let mut order = Vec::new();
    while order.len() < 600 {
        if let Some((name, text)) = listener.read_line().split_once(": ") {
            order.push((name.to_owned(), text.to_owned()));
        }
    }
    let others = |own: &str| order.iter().filter(|(name, _)| name != own).cloned().collect::<Vec<_>>();
    let mut heard = Vec::new();
    while heard.len() < 300 {
        if let Some((name, text)) = line.read_line().split_once(": ")
            && name.starts_with("Json")
        {
            heard.push((name.to_owned(), text.to_owned()));
        }
    }
    assert_eq!(heard, others("Line"));
    for (n, client) in json.iter_mut().enumerate() {
        let expected = others(&format!("Json{n}"));
        let mut heard = Vec::new();
        while heard.len() < expected.len() {
            let value = client.read_framed();
            let push = if value["method"] == "chat" { &value["params"] } else { &value };
            if value["type"] == "chat" || value["method"] == "chat" {
                heard.push((
                    push["username"].as_str().unwrap().into(),
                    push["message"].as_str().unwrap().into(),
                ));
            }
        }
        assert_eq!(heard, expected, "JSON user {n}");
    }
}

#[test]
fn users_of_all_services_are_listed_in_join_order() {
    let daemon = start(&[]);
    let _line = joined(&daemon, "Line");
    let mut json = daemon.connect();
    json.send(r#"{"method":"join_chat","params":["Json"]}"#);
    json.expect(r#"{"status":"success","message":"Joined chat as Json","users":["Line","Json"]}"#);
    let mut last = joined(&daemon, "Last");
    last.send("/users\n");
    last.expect("Online users (3): Line, Json, Last\n");
}

#[test]
fn who_gives_no_name_blocks_nobody_and_is_closed_in_time() {
    let daemon = start(&["name_timeout=1s"]);
    let mut silent = nameless(&daemon);
    let mut alice = joined(&daemon, "Alice");
    let mut bob = joined(&daemon, "Bob");
    alice.expect("Bob has joined the chat!\n");
    bob.send("hello\n");
    alice.expect("Bob: hello\n");
    silent.expect_end("");
    assert_eq!(hear(&mut alice), [""; 0], "a name has no timeout");
}

#[test]
fn a_line_user_above_max_connections_is_told_in_text_and_an_echo_or_a_file_client_nothing() {
    let shared = format!("files={}", std::env::temp_dir().display());
    let options = ["line=127.0.0.1:0", "echo=127.0.0.1:0", "files_listen=127.0.0.1:0", "max_connections=1"];
    let daemon = Daemon::start_all(4, &[&options[..], &[&shared]].concat());
    let _only = nameless(&daemon);
    Client::connect(daemon.address_of("files")).expect_end("");
    Client::connect(daemon.address_of("line")).expect_end("Too many connections\n");
    Client::connect(daemon.address_of("echo")).expect_end("");
    Client::connect(daemon.address_of("rpc")).expect_end(r#"{"error":"Too many connections","code":-32000}"#);
}

#[test]
fn a_stop_tells_nobody_that_others_leave() {
    let daemon = start(&[]);
    let (mut alice, mut bob) = (joined(&daemon, "Alice"), joined(&daemon, "Bob"));
    alice.expect("Bob has joined the chat!\n");
    assert_eq!(daemon.stop().0, 0);
    alice.expect_end("");
    bob.expect_end("");
}
