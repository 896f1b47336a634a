//! Many clients at once: one order for all of them, joins that balance leaves however they end, no descriptor
//! left behind, and one who does not read harms nobody but himself.

#[path = "common/client.rs"]
mod client;
#[path = "common/daemon.rs"]
mod daemon;

use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use client::Client;
use daemon::Daemon;
use rawline::transport::server::raise_descriptor_limit;
use serde_json::Value;

const CROWD: usize = 1000;
/// Connects in flight at any time.
const IN_FLIGHT: usize = 64;
const TALKERS: usize = 10;
const MESSAGES: usize = 20;
const LAST: &str = "that is all";

fn call(method: &str, param: &str) -> String {
    format!(r#"{{"method":"{method}","params":["{param}"]}}"#)
}

/// Who said what: `SYSTEM: Alice has joined the chat!`.
fn said(push: &Value) -> String {
    format!("{}: {}", push["username"].as_str().unwrap(), push["message"].as_str().unwrap())
}

/// A client of the crowd, and what it has heard.
struct Member {
    client: Client,
    name: String,
    heard: Vec<String>,
}

impl Member {
    fn join(daemon: &Daemon, n: usize) -> Self {
        let mut member = Self { client: daemon.connect(), name: format!("user{n}"), heard: Vec::new() };
        let answer = member.call("join_chat", &format!("user{n}"));
        assert_eq!(answer["message"], format!("Joined chat as user{n}"));
        member
    }

    /// Asks, and notes what is heard before the answer comes.
    fn call(&mut self, method: &str, param: &str) -> Value {
        self.client.send(call(method, param));
        loop {
            let object = self.client.read_value();
            match object.get("type") {
                None => return object,
                Some(_) => self.heard.push(said(&object)),
            }
        }
    }

    /// Reads until the last message of all.
    fn listen(&mut self) {
        while !self.heard.last().is_some_and(|said| said.ends_with(LAST)) {
            let push = self.client.read_value();
            self.heard.push(said(&push));
        }
    }
}

#[test]
fn a_thousand_clients_see_one_order_and_leave_nothing_behind() {
    raise_descriptor_limit().unwrap();
    let daemon = Daemon::start(&[]);
    // It never joins, so it hears everything.
    let mut witness = Member { client: daemon.connect(), name: String::new(), heard: Vec::new() };
    witness.call("ping", "");
    let descriptors = daemon.descriptors();

    let (next, members) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..IN_FLIGHT {
            scope.spawn(|| {
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= CROWD {
                        return;
                    }
                    let member = Member::join(&daemon, n);
                    members.lock().unwrap().push(member);
                }
            });
        }
    });
    let mut members = members.into_inner().unwrap();
    assert_eq!(daemon.descriptors(), descriptors + CROWD);
    assert_eq!(witness.call("get_users", "simple")["count"], CROWD);

    thread::scope(|scope| {
        for talker in &mut members[..TALKERS] {
            scope.spawn(|| {
                for n in 0..MESSAGES {
                    assert_eq!(talker.call("send_message", &format!("message {n}"))["status"], "success");
                }
            });
        }
    });
    let mut last = Member { client: daemon.connect(), name: String::new(), heard: Vec::new() };
    last.call("send_message", LAST);
    drop(last);
    witness.listen();
    assert_eq!(witness.heard.len(), CROWD + TALKERS * MESSAGES + 1);

    let share = CROWD.div_ceil(4);
    thread::scope(|scope| {
        for members in members.chunks_mut(share) {
            scope.spawn(|| members.iter_mut().for_each(Member::listen));
        }
    });
    for member in &members {
        let (own, joined, welcome) = (
            format!("{}: ", member.name),
            format!("SYSTEM: {} has joined the chat!", member.name),
            format!("SYSTEM: Welcome to the chat, {}!", member.name),
        );
        let (welcomes, heard): (Vec<_>, Vec<_>) = member.heard.iter().partition(|said| **said == welcome);
        assert_eq!(welcomes.len(), 1);
        // What the witness heard since this one joined is the least; it was connected a little longer.
        let since_join = witness.heard.iter().position(|said| *said == joined).unwrap();
        let all: Vec<_> =
            witness.heard.iter().filter(|said| **said != joined && !said.starts_with(&own)).collect();
        let after_join =
            witness.heard[since_join + 1..].iter().filter(|said| !said.starts_with(&own)).count();
        assert!(heard.len() >= after_join, "{} heard too little", member.name);
        assert!(all.ends_with(&heard), "{} heard another order", member.name);
    }

    // One half by FIN, the other by RST.
    let mut names: HashSet<String> =
        members.iter().map(|member| format!("SYSTEM: {} has left the chat!", member.name)).collect();
    let mut finished = members.split_off(CROWD / 2);
    for member in &mut finished {
        member.client.finish();
    }
    for member in members {
        member.client.reset();
    }
    for _ in 0..CROWD {
        let left = said(&witness.client.read_value());
        assert!(names.remove(&left), "{left:?} is heard twice, or never joined");
    }
    assert_eq!(witness.call("get_users", "simple")["count"], 0);
    drop(finished);
    // Every announcement is made in the turn that closes, so an answer in a later turn finds them closed.
    witness.call("ping", "");
    assert_eq!(daemon.descriptors(), descriptors);
    daemon.still_answers();
}

#[test]
fn a_slow_reader_is_cut_and_the_others_get_everything() {
    let daemon = Daemon::start(&["out_hard=128KiB", "max_fanout_per_turn=64KiB"]);
    let mut readers = [0, 1].map(|n| Member::join(&daemon, n));
    let mut slow = Client::connect_narrow(daemon.address());
    slow.send(call("join_chat", "Slow"));
    slow.read_object();
    let mut talker = Member::join(&daemon, 2);

    // It never reads again. As soon as it is cut, the talker hears of it like everybody else.
    let cut = "SYSTEM: Slow has left the chat!";
    let text = "x".repeat(990);
    let mut sent = 0;
    while !talker.heard.iter().any(|said| said == cut) {
        assert!(sent < 100_000, "a reader that never reads is never cut");
        assert_eq!(talker.call("send_message", &format!("{sent} {text}"))["status"], "success");
        sent += 1;
    }
    assert!(sent > 100, "it was cut after {sent} messages, long before out_hard");
    talker.call("send_message", LAST);

    for reader in &mut readers {
        reader.listen();
        let from_talker: Vec<_> = reader.heard.iter().filter(|said| said.starts_with("user2: ")).collect();
        assert_eq!(from_talker.len(), sent + 1);
        for (n, said) in from_talker[..sent].iter().enumerate() {
            assert_eq!(**said, format!("user2: {n} {text}"));
        }
        assert_eq!(reader.heard.iter().filter(|said| *said == cut).count(), 1);
    }
    assert!(slow.is_cut());
    assert_eq!(talker.call("get_users", "simple")["count"], 3);
    daemon.still_answers();
}
