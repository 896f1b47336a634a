//! The chat's rules and texts, proved without a transport: calls go through the table, effects are compared.

use super::*;
use crate::api::{Call, Reply};
use crate::service::name::BAD_NAME;
use std::net::SocketAddr;

/// A chat and those who talk to it: connection `n` has port 5000 + n.
struct Bench(Chat);

fn id(n: u32) -> ConnId {
    ConnId::new(n, 0)
}

fn peer(n: u32) -> Peer {
    SocketAddr::from(([127, 0, 0, 1], 5000 + n as u16)).into()
}

impl Bench {
    fn new() -> Self {
        Self(Chat::new(Rules::default()))
    }

    fn with(rules: Rules) -> Self {
        Self(Chat::new(rules))
    }

    /// Calls a method as the dispatcher does: row, guard, handler. `args` are raw JSON.
    fn call(&mut self, n: u32, method: &str, args: &[&str]) -> (Result<Reply, Fault>, Effects) {
        let row = Chat::ROUTES.iter().find(|row| row.name == method).expect("there is such a row");
        let mut fx = Effects::new();
        let reply = (row.guard)(&self.0, id(n)).and_then(|()| {
            (row.handler)(&mut self.0, Call::for_test(id(n), peer(n), row.params, args), &mut fx)
        });
        (reply, fx)
    }

    /// The call succeeds with this result, and asks for exactly these effects.
    #[track_caller]
    fn succeeds(
        &mut self,
        (n, method, args): (u32, &str, &[&str]),
        result: &'static str,
        effects: impl FnOnce(&mut Effects),
    ) {
        let (reply, fx) = self.call(n, method, args);
        let reply = reply.expect("it succeeds");
        let mut expected = Effects::new();
        effects(&mut expected);
        // A result that is not fixed lies in the arena, behind the pushes.
        if reply != Reply::fixed(result) {
            assert_eq!(expected.reply_with(|out| out.extend_from_slice(result.as_bytes())), reply);
        }
        assert_eq!(fx, expected);
    }

    /// The call is refused by a rule, and nothing happens.
    #[track_caller]
    fn refuses(&mut self, (n, method, args): (u32, &str, &[&str]), code: i32, text: &'static str) {
        let users = self.users();
        let (reply, fx) = self.call(n, method, args);
        assert_eq!(reply, Err(Fault::rule(code, text)));
        assert_eq!(fx, Effects::new());
        assert_eq!(self.users(), users);
    }

    /// Joins and says under which name.
    fn join(&mut self, n: u32, name: &str) -> String {
        let name = serde_json::to_string(name).unwrap();
        let (reply, _) = self.call(n, "join_chat", &[&name]);
        assert!(reply.is_ok(), "{reply:?}");
        self.0.room.name_of(id(n)).unwrap().to_string()
    }

    fn users(&self) -> Vec<String> {
        self.0.room.users().map(|(_, name)| name.to_owned()).collect()
    }

    fn closed(&mut self, n: u32, why: Closed) -> Effects {
        let mut fx = Effects::new();
        self.0.closed(id(n), peer(n), why, &mut fx);
        fx
    }
}

fn said(message: &str, username: &str) -> serde_json::Value {
    serde_json::json!({ "message": message, "username": username })
}

/// To all but `n`: the room says so.
fn tells_others(fx: &mut Effects, n: u32, message: &str) {
    fx.announce(Some(id(n)), "system", &said(message, "SYSTEM"), format_args!("{message}"));
}

/// To all but `n`: somebody says something.
fn says(fx: &mut Effects, n: u32, message: &str, username: &str) {
    fx.announce(Some(id(n)), "chat", &said(message, username), format_args!("{username}: {message}"));
}

fn welcomes(fx: &mut Effects, n: u32, name: &str) {
    fx.send(id(n), "system", &said(&format!("Welcome to the chat, {name}!"), "SYSTEM"));
}

fn nothing(_: &mut Effects) {}

const SENT: &str = r#"{"status":"success","message":"Message sent successfully"}"#;
const LEFT: &str = r#"{"status":"success","message":"Left chat successfully"}"#;

#[test]
fn a_join_is_announced_and_answered_with_the_users_in_join_order() {
    let mut bench = Bench::new();
    bench.join(7, "Bob");
    bench.succeeds(
        (3, "join_chat", &[r#""  Al\u0069ce \"A\" ""#]),
        r#"{"status":"success","message":"Joined chat as Alice \"A\"","users":["Bob","Alice \"A\""]}"#,
        |fx| {
            tells_others(fx, 3, r#"Alice "A" has joined the chat!"#);
            welcomes(fx, 3, r#"Alice "A""#);
        },
    );
}

#[test]
fn one_who_gives_no_name_is_called_by_his_port() {
    let mut bench = Bench::new();
    bench.succeeds(
        (1, "join_chat", &[]),
        r#"{"status":"success","message":"Joined chat as User_5001","users":["User_5001"]}"#,
        |fx| {
            tells_others(fx, 1, "User_5001 has joined the chat!");
            welcomes(fx, 1, "User_5001");
        },
    );
    let row = &Chat::ROUTES[0];
    let call = Call::for_test(id(2), Peer::unix(9), row.params, &[]);
    (row.handler)(&mut bench.0, call, &mut Effects::new()).unwrap();
    assert_eq!(bench.users(), ["User_5001", "User_9"], "Unix-domain peers by their number");
}

#[test]
fn a_bad_name_is_refused_with_its_rule() {
    let mut bench = Bench::new();
    bench.join(0, "Bob");
    let long = format!("\"{}\"", "é".repeat(51));
    for (name, text) in [
        (r#""""#, "Username cannot be empty"),
        (r#""  \t\n""#, "Username cannot be empty"),
        (&long, "Username too long"),
        (r#"" sYstem ""#, "Username is reserved"),
        (r#""a\u0000""#, "Username contains a forbidden character (U+0000)"),
        (r#""a\u202eb""#, "Username contains a forbidden character (U+202E)"),
    ] {
        bench.refuses((1, "join_chat", &[name]), BAD_NAME, text);
        bench.refuses((0, "join_chat", &[name]), BAD_NAME, text);
    }
    assert_eq!(bench.join(1, &"😀".repeat(50)), "😀".repeat(50));
}

#[test]
fn joining_again_renames_and_under_the_same_name_tells_nobody() {
    let mut bench = Bench::new();
    bench.join(0, "Alice");
    bench.join(1, "Bob");
    bench.succeeds(
        (0, "join_chat", &[r#"" Alice""#]),
        r#"{"status":"success","message":"Joined chat as Alice","users":["Alice","Bob"]}"#,
        nothing,
    );
    bench.succeeds(
        (0, "join_chat", &[r#""Carol""#]),
        r#"{"status":"success","message":"Joined chat as Carol","users":["Bob","Carol"]}"#,
        |fx| {
            tells_others(fx, 0, "Alice has left the chat!");
            tells_others(fx, 0, "Carol has joined the chat!");
            welcomes(fx, 0, "Carol");
        },
    );
    assert_eq!(bench.join(2, "Alice"), "Alice", "the old name is free");
    assert_eq!(bench.join(0, "carol"), "carol", "names differ by case");
}

#[test]
fn a_name_in_use_gets_a_suffix_and_ones_own_counts_as_free() {
    let mut bench = Bench::new();
    bench.join(0, "Alice");
    assert_eq!(bench.join(1, "Alice"), "Alice_5001");
    bench.succeeds(
        (1, "join_chat", &[r#""Alice""#]),
        r#"{"status":"success","message":"Joined chat as Alice_5001","users":["Alice","Alice_5001"]}"#,
        nothing,
    );
    // Whoever foresees the suffix only moves it on.
    assert_eq!(bench.join(4, "Alice_5002"), "Alice_5002");
    assert_eq!(bench.join(5, "Alice_5002_2"), "Alice_5002_2");
    assert_eq!(bench.join(2, "Alice"), "Alice_5002_3");
    assert_eq!(bench.join(0, "Dora"), "Dora");
    assert_eq!(bench.join(2, "Alice"), "Alice", "free by now");
}

#[test]
fn a_suffix_cuts_a_long_name() {
    let mut bench = Bench::new();
    let long = "é".repeat(50);
    bench.join(0, &long);
    assert_eq!(bench.join(1, &long), "é".repeat(45) + "_5001");
    assert_eq!(bench.join(2, &("é".repeat(45) + "_5003")), "é".repeat(45) + "_5003");
    assert_eq!(bench.join(3, &long), "é".repeat(43) + "_5003_2");
}

#[test]
fn a_made_up_name_belongs_to_its_port() {
    let mut bench = Bench::new();
    assert_eq!(bench.join(1, "User_5001"), "User_5001");
    assert_eq!(bench.join(2, "User_5001"), "User_5001_5002");
    assert_eq!(bench.join(3, "User_9"), "User_9_5003", "although nobody has it");
    assert_eq!(bench.join(4, "User_x"), "User_x");
}

#[test]
fn reject_duplicate_names_refuses_instead() {
    let mut bench = Bench::with(Rules { reject_duplicate_names: true, ..Rules::default() });
    bench.join(0, "Alice");
    bench.join(1, "Bob");
    for n in [1, 2] {
        bench.refuses((n, "join_chat", &[r#""Alice""#]), TAKEN, "Username already taken");
        bench.refuses((n, "join_chat", &[r#""User_77""#]), TAKEN, "Username already taken");
    }
    assert_eq!(bench.join(1, "Bob"), "Bob");
    assert_eq!(bench.join(2, "User_5002"), "User_5002");
}

#[test]
fn a_message_goes_to_all_others_trimmed() {
    let mut bench = Bench::new();
    bench.join(0, "Alice");
    bench.succeeds((0, "send_message", &[r#""\t héllo\n \"you\" \u3000""#]), SENT, |fx| {
        says(fx, 0, "héllo\n \"you\"", "Alice");
    });
    bench.succeeds((3, "send_message", &[r#""x""#]), SENT, |fx| {
        says(fx, 3, "x", "User_5003");
    });
}

#[test]
fn a_message_has_1_to_1000_characters() {
    let mut bench = Bench::new();
    for empty in [&[][..], &[r#""""#], &[r#"" \n\u00a0""#]] {
        bench.refuses((0, "send_message", empty), EMPTY, "Message cannot be empty");
    }
    for character in ["x", "é", "😀"] {
        let (most, more) = (character.repeat(1000), character.repeat(1001));
        bench.succeeds((0, "send_message", &[&format!("\" {most} \"")]), SENT, |fx| {
            says(fx, 0, &most, "User_5000");
        });
        bench.refuses((0, "send_message", &[&format!("\"{more}\"")]), TOO_LONG, "Message too long");
    }
}

#[test]
fn users_are_listed_in_two_formats() {
    let mut bench = Bench::new();
    let empty = r#"{"status":"success","message":"Users retrieved successfully","users":[],"count":0}"#;
    bench.succeeds((0, "get_users", &[]), empty, nothing);
    bench.join(2, "Bob");
    bench.join(1, "\"A\"");
    let full = concat!(
        r#"{"status":"success","message":"Users retrieved successfully","users":["#,
        r#"{"username":"Bob","address":"127.0.0.1:5002"},{"username":"\"A\"","address":"127.0.0.1:5001"}"#,
        r#"],"count":2}"#
    );
    bench.succeeds((0, "get_users", &[]), full, nothing);
    bench.succeeds((1, "get_users", &[r#""full""#]), full, nothing);
    let simple = r#"{"status":"success","users":["Bob","\"A\""],"count":2}"#;
    bench.succeeds((0, "get_users", &[r#""simple""#]), simple, nothing);
    let (reply, fx) = bench.call(0, "get_users", &[r#""Full""#]);
    assert_eq!(reply, Err(Fault::invalid_params("format must be \"full\" or \"simple\"".into())));
    assert_eq!(fx, Effects::new());
}

#[test]
fn one_who_left_equals_one_who_never_joined() {
    let mut bench = Bench::new();
    bench.succeeds((0, "leave_chat", &[]), LEFT, nothing);
    bench.join(0, "Alice");
    bench.succeeds((0, "leave_chat", &[]), LEFT, |fx| tells_others(fx, 0, "Alice has left the chat!"));
    bench.succeeds((0, "leave_chat", &[]), LEFT, nothing);
    bench.succeeds((0, "send_message", &[r#""x""#]), SENT, |fx| {
        says(fx, 0, "x", "User_5000");
    });
    assert_eq!(bench.closed(0, Closed::Peer), Effects::new());
    assert_eq!(bench.join(1, "Alice"), "Alice");
}

#[test]
fn a_ping_is_answered() {
    Bench::new().succeeds((0, "ping", &[]), r#"{"status":"success","message":"pong"}"#, nothing);
}

#[test]
fn an_end_is_announced_once_whatever_it_was_but_for_a_stop() {
    for why in [Closed::Peer, Closed::Reset, Closed::BadFrame, Closed::SlowConsumer, Closed::Panicked] {
        let mut bench = Bench::new();
        bench.join(0, "Alice");
        let mut expected = Effects::new();
        tells_others(&mut expected, 0, "Alice has left the chat!");
        assert_eq!(bench.closed(0, why), expected, "{why}");
        assert_eq!(bench.closed(0, why), Effects::new());
        assert_eq!(bench.users(), [""; 0]);
    }
    let mut bench = Bench::new();
    bench.join(0, "Alice");
    assert_eq!(bench.closed(0, Closed::Shutdown), Effects::new());
    assert_eq!(bench.users(), [""; 0]);
}

#[test]
fn everybody_hears_from_the_beginning() {
    let mut expected = Effects::new();
    expected.subscribe(id(4));
    let mut fx = Effects::new();
    Bench::new().0.opened(id(4), peer(4), Wire::JsonRpc, &mut fx);
    assert_eq!(fx, expected);
}

#[test]
fn with_require_join_only_the_joined_speak_and_hear() {
    let mut bench = Bench::with(Rules { require_join: true, ..Rules::default() });
    let mut fx = Effects::new();
    bench.0.opened(id(0), peer(0), Wire::JsonRpc, &mut fx);
    assert_eq!(fx, Effects::new());
    bench.refuses((0, "send_message", &[r#""x""#]), NOT_JOINED, "Join the chat first");
    bench.succeeds((0, "ping", &[]), r#"{"status":"success","message":"pong"}"#, nothing);
    bench.succeeds((0, "leave_chat", &[]), LEFT, nothing);
    bench.succeeds(
        (0, "join_chat", &[r#""Alice""#]),
        r#"{"status":"success","message":"Joined chat as Alice","users":["Alice"]}"#,
        |fx| {
            fx.subscribe(id(0));
            tells_others(fx, 0, "Alice has joined the chat!");
            welcomes(fx, 0, "Alice");
        },
    );
    bench.succeeds((0, "send_message", &[r#""x""#]), SENT, |fx| {
        says(fx, 0, "x", "Alice");
    });
    bench.succeeds((0, "leave_chat", &[]), LEFT, |fx| {
        tells_others(fx, 0, "Alice has left the chat!");
        fx.unsubscribe(id(0));
    });
    bench.refuses((0, "send_message", &[r#""x""#]), NOT_JOINED, "Join the chat first");
}

#[test]
fn statistics_are_for_the_own_machine_if_for_anybody() {
    let row = Chat::ROUTES.iter().find(|row| row.name == "get_stats").unwrap();
    let v6 = |text: &str| Peer::from(text.parse::<SocketAddr>().unwrap());
    let ask = |no_local_admin, peer| {
        let mut chat = Chat::new(Rules { no_local_admin, ..Rules::default() });
        let call = Call::for_test(id(0), peer, row.params, &[]);
        (row.handler)(&mut chat, call, &mut Effects::new()).err().map(|fault| (fault.code, fault.rule))
    };
    for local in [peer(1), v6("127.9.9.9:1"), v6("[::1]:1"), v6("[::ffff:127.0.0.1]:1"), Peer::unix(7)] {
        assert_eq!(ask(false, local), None, "{local}");
        assert_eq!(ask(true, local), Some((NOT_ADMIN, true)), "{local}");
    }
    for remote in
        ["192.0.2.7:1", "10.0.0.1:1", "0.0.0.0:1", "[2001:db8::1]:1", "[fe80::1]:1", "[::ffff:192.0.2.7]:1"]
    {
        assert_eq!(ask(false, v6(remote)), Some((NOT_ADMIN, true)), "{remote}");
    }
}

#[test]
fn an_operator_chooses_how_long_names_and_messages_are() {
    let mut bench = Bench::with(Rules { max_username_chars: 40, max_message_chars: 3, ..Rules::default() });
    let name = "é".repeat(40);
    let longer = format!("\"{name}é\"");
    bench.refuses((0, "join_chat", &[&longer]), BAD_NAME, "Username too long");
    assert_eq!(bench.join(0, &name), name);
    assert_eq!(bench.join(1, &name), format!("{}_5001", "é".repeat(35)));
    bench.refuses((0, "send_message", &[r#""abcd""#]), TOO_LONG, "Message too long");
    assert!(bench.call(0, "send_message", &[r#"" äöü ""#]).0.is_ok());
}
