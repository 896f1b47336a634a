//! The rules of the chat, against a room that was written without thinking: whatever people of both wires do, in whatever
//! order, each of them is sent what that room says, to the letter, and nothing else.
//!
//! The room is the simulation's (`tests/sim/room.rs`); the server runs whole, on a kernel made of queues.

#[path = "sim/room.rs"]
mod room;
#[path = "common/world.rs"]
mod world;

use std::os::fd::RawFd;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use rawline::service::chat::{Chat, Rules};
use rawline::transport::event_loop::EventLoop;
use rawline::{Limits, Wire};
use room::{Refused, Room, Who};
use serde_json::{Value, json};
use world::{Kernel, LISTENER, SECOND_LISTENER, World};

/// What one person does. People are counted; who is not there does nothing.
#[derive(Clone, Debug)]
enum Step {
    Arrive {
        speaks_json: bool,
    },
    Join(usize, Option<String>),
    Say(usize, String),
    Leave(usize),
    Users(usize),
    /// FIN, or RST.
    Close(usize, bool),
    /// A line; of a JSON client, a ping.
    Line(usize, String),
}

struct Person {
    fd: RawFd,
    who: Who,
    speaks_json: bool,
    hears: bool,
    /// What it must be sent, in the order in which it was said.
    due: Vec<Sent>,
}

/// Something that a person is sent.
#[derive(Debug, PartialEq)]
enum Sent {
    Object(Value),
    Line(String),
}

/// The server, the room, and who is there.
struct Hall {
    world: World,
    server: EventLoop<World, Chat>,
    rules: Rules,
    room: Room,
    people: Vec<Person>,
    /// Notices of joining and of leaving that the room gave.
    notices: (usize, usize),
}

impl Hall {
    fn new(rules: Rules, limits: Limits) -> Self {
        let world = World::new(Kernel::KIND);
        let mut server = EventLoop::new(world.clone(), Chat::new(rules), limits).unwrap();
        server.listen(Wire::JsonRpc, LISTENER).unwrap();
        server.listen(Wire::Line, SECOND_LISTENER).unwrap();
        let room = Room { reject_duplicates: rules.reject_duplicate_names, ..Room::default() };
        Self { world, server, rules, room, people: Vec::new(), notices: (0, 0) }
    }

    fn settle(&mut self) {
        // A turn may leave something to the next, and sees the end of a connection only behind its last byte.
        for _ in 0..6 {
            assert!(self.server.turn());
        }
        assert!(self.world.is_quiet());
    }

    /// The room hears this.
    fn announce(&mut self, except: Who, kind: &str, username: &str, message: &str, line: &str) {
        for person in self.people.iter_mut().filter(|person| person.hears && person.who != except) {
            person.due.push(if person.speaks_json {
                let params = json!({ "message": message, "username": username });
                Sent::Object(json!({ "jsonrpc": "2.0", "method": kind, "params": params }))
            } else {
                Sent::Line(line.to_owned())
            });
        }
    }

    fn notice(&mut self, except: Who, text: &str) {
        self.notices.0 += usize::from(text.ends_with(" has joined the chat!"));
        self.notices.1 += usize::from(text.ends_with(" has left the chat!"));
        self.announce(except, "system", "SYSTEM", text, text);
    }

    fn names(&self) -> Vec<&str> {
        self.room.users.iter().map(|user| user.1.as_str()).collect()
    }

    fn arrive(&mut self, speaks_json: bool) {
        let fd = self.world.connect_to(if speaks_json { LISTENER } else { SECOND_LISTENER });
        let hears = speaks_json && !self.rules.require_join;
        self.people.push(Person { fd, who: 40_000 + fd as Who, speaks_json, hears, due: Vec::new() });
        self.settle();
        if speaks_json {
            // So that it is sent one object a line, in the 2.0 dialect.
            self.world.send(fd, "{\"jsonrpc\":\"2.0\",\"method\":\"ping\",\"id\":0}\n");
            self.settle();
            self.world.take(fd);
        } else {
            assert_eq!(self.world.take(fd), "Enter your name : ");
        }
    }

    fn call(&mut self, at: usize, method: &str, params: Value, outcome: Result<Value, Refused>) {
        let request = json!({ "jsonrpc": "2.0", "method": method, "params": params, "id": 1 });
        self.world.send(self.people[at].fd, format!("{request}\n"));
        let answer = match outcome {
            Ok(result) => json!({ "jsonrpc": "2.0", "result": result, "id": 1 }),
            Err((code, message)) => {
                json!({ "jsonrpc": "2.0", "error": { "code": code, "message": message }, "id": 1 })
            }
        };
        self.people[at].due.insert(0, Sent::Object(answer));
    }

    fn line(&mut self, at: usize, text: &str) {
        self.world.send(self.people[at].fd, format!("{text}\n"));
        let who = self.people[at].who;
        let online = format!("Online users ({}): {}", self.room.users.len(), self.names().join(", "));
        let mut answers = Vec::new();
        match (self.room.name_of(who), text.trim()) {
            (_, "/quit") => self.go(at),
            (None, asked) => match self.room.join(who, Some(asked).filter(|asked| !asked.is_empty())) {
                Err((_, why)) => answers.extend([why, "Enter your name : ".to_owned()]),
                Ok((name, notices)) => {
                    answers.push(format!("Welcome to the chat, {name}! /help lists commands."));
                    self.people[at].hears = true;
                    notices.iter().for_each(|notice| self.notice(who, notice));
                }
            },
            (Some(_), "") => {}
            (Some(_), "/users") => answers.push(online),
            (Some(_), "/ping") => answers.push("PONG".into()),
            (Some(_), said) => match self.room.say(who, said.strip_prefix('/').unwrap_or(said)) {
                Err((_, why)) => answers.push(why),
                Ok((name, said)) => {
                    self.announce(who, "chat", &name, &said, &format!("{name}: {said}"));
                }
            },
        }
        if let Some(person) = self.people.iter_mut().find(|person| person.who == who) {
            person.due.extend(answers.into_iter().map(Sent::Line));
        }
    }

    /// It is no longer there; the room is told.
    fn go(&mut self, at: usize) {
        let who = self.people.remove(at).who;
        if let Some(notice) = self.room.leave(who) {
            self.notice(who, &notice);
        }
    }

    fn take(&mut self, step: Step) {
        let (at, count) = match &step {
            Step::Arrive { speaks_json } => return self.arrive(*speaks_json),
            Step::Join(at, _) | Step::Say(at, _) | Step::Leave(at) | Step::Users(at) => {
                (*at, self.people.len())
            }
            Step::Close(at, _) | Step::Line(at, _) => (*at, self.people.len()),
        };
        let Some(at) = at.checked_rem(count) else { return };
        let Person { fd, who, speaks_json, .. } = self.people[at];
        match step {
            Step::Close(_, resets) => {
                if resets {
                    self.world.rst(fd)
                } else {
                    self.world.fin(fd)
                }
                self.go(at);
            }
            Step::Join(_, Some(text)) | Step::Say(_, text) | Step::Line(_, text) if !speaks_json => {
                self.line(at, &text);
            }
            _ if !speaks_json => self.line(at, "/users"),
            Step::Join(_, asked) => {
                let before = self.room.name_of(who);
                let joined = self.room.join(who, asked.as_deref());
                let params = asked.map_or(json!([]), |asked| json!({ "username": asked }));
                if let Ok((name, notices)) = &joined {
                    self.people[at].hears = true;
                    if before.as_ref() != Some(name) {
                        let message = format!("Welcome to the chat, {name}!");
                        let params = json!({ "message": message, "username": "SYSTEM" });
                        let push = json!({ "jsonrpc": "2.0", "method": "system", "params": params });
                        self.people[at].due.push(Sent::Object(push));
                    }
                    notices.iter().for_each(|notice| self.notice(who, notice));
                }
                let answer = joined.map(|(name, _)| {
                    let message = format!("Joined chat as {name}");
                    json!({ "status": "success", "message": message, "users": self.names() })
                });
                self.call(at, "join_chat", params, answer);
            }
            Step::Say(_, text) => {
                let may = !self.rules.require_join || self.room.name_of(who).is_some();
                let forbidden = Err((-32024, "Join the chat first".to_owned()));
                let said = if may { self.room.say(who, &text) } else { forbidden };
                if let Ok((name, said)) = &said {
                    self.announce(who, "chat", name, said, &format!("{name}: {said}"));
                }
                let answer =
                    said.map(|_| json!({ "status": "success", "message": "Message sent successfully" }));
                self.call(at, "send_message", json!([text]), answer);
            }
            Step::Leave(_) => {
                if let Some(notice) = self.room.leave(who) {
                    self.notice(who, &notice);
                    self.people[at].hears = !self.rules.require_join;
                }
                let answer = json!({ "status": "success", "message": "Left chat successfully" });
                self.call(at, "leave_chat", json!([]), Ok(answer));
            }
            Step::Users(_) => {
                let (users, count) = (self.names(), self.room.users.len());
                let answer = json!({ "status": "success", "users": users, "count": count });
                self.call(at, "get_users", json!(["simple"]), Ok(answer));
            }
            Step::Line(..) | Step::Arrive { .. } => {
                let answer = json!({ "status": "success", "message": "pong" });
                self.call(at, "ping", json!([]), Ok(answer));
            }
        }
    }

    /// Everybody was sent what was due, and the server counts as the room does.
    fn check(&mut self) {
        self.settle();
        let limits = Limits::default();
        for person in &mut self.people {
            let sent = self.world.take(person.fd);
            assert!(sent.len() <= limits.out_hard);
            let sent: Vec<Sent> = if person.speaks_json {
                sent.lines().map(|line| Sent::Object(without_data(line))).collect()
            } else {
                // The prompt has no line end.
                let prompt = "Enter your name : ";
                sent.replace(prompt, "Enter your name : \n")
                    .lines()
                    .map(|line| Sent::Line(line.into()))
                    .collect()
            };
            assert_eq!(
                sent,
                std::mem::take(&mut person.due),
                "{} was sent this, and that was due",
                person.who
            );
        }
        let stats = self.server.stats();
        assert_eq!(stats.get("users", None), Some(self.room.users.len() as u64));
        assert_eq!(stats.get("connections", None), Some(self.people.len() as u64));
        assert_eq!(self.notices.0 - self.notices.1, self.room.users.len(), "each joined once and left once");
    }
}

/// An object without the sentence for people in its error.
fn without_data(line: &str) -> Value {
    let mut object: Value = serde_json::from_str(line).expect("an object");
    if let Some(error) = object.get_mut("error").and_then(Value::as_object_mut) {
        error.remove("data");
    }
    object
}

/// Some collide with each other, with made-up names, or with the suffix that makes a name free.
const NAMES: &[&str] =
    &["Ann", "Bob", " Ann ", "Zoë", "User_40004", "User_40005", "Ann_40005", "Ann_40006", "User_x"];
const BAD_NAMES: &[&str] = &["system", "SYSTEM ", "a\u{200b}b", "x\u{202e}"];

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => select(NAMES).prop_map(str::to_owned),
        1 => select(BAD_NAMES).prop_map(str::to_owned),
        1 => (48..53_usize).prop_map(|n| "ñ".repeat(n)),
    ]
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => select(&["hello", "é {\"x\":1} ]", "//slash", " spaces ", "😀"][..]).prop_map(str::to_owned),
        1 => select(&["", "  "][..]).prop_map(str::to_owned),
        1 => (999..1002_usize).prop_map(|n| "ü".repeat(n)),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let who = || 0..6_usize;
    let command = select(&["/users", "/ping", "/quit", "plain", ""][..]).prop_map(str::to_owned);
    prop_oneof![
        3 => any::<bool>().prop_map(|speaks_json| Step::Arrive { speaks_json }),
        5 => (who(), proptest::option::weighted(0.8, name())).prop_map(|(who, name)| Step::Join(who, name)),
        5 => (who(), text()).prop_map(|(who, text)| Step::Say(who, text)),
        2 => who().prop_map(Step::Leave),
        1 => who().prop_map(Step::Users),
        2 => (who(), any::<bool>()).prop_map(|(who, resets)| Step::Close(who, resets)),
        3 => (who(), command).prop_map(|(who, text)| Step::Line(who, text)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_chat_is_the_room_that_one_would_write_without_thinking(
        steps in vec(step(), 1..60),
        reject_duplicate_names: bool,
        require_join: bool,
    ) {
        let rules = Rules { reject_duplicate_names, require_join, ..Rules::default() };
        let mut hall = Hall::new(rules, Limits::default());
        for step in steps {
            hall.take(step);
            hall.check();
        }
    }
}
