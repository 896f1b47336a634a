//! What the service is asked and told: in whose name, in which order, how often; and what must come of it.

use std::net::SocketAddr;
use std::rc::Rc;

use rawline::Wire;
use rawline::api::{ConnId, Line as Heard, Peer};

use crate::sim::client::line::Said;
use crate::sim::client::rpc::Outcome;
use crate::sim::client::{Notice, Talk, json};
use crate::sim::tricks::{comes_of_later, comes_of_long};
use crate::sim::world::{PORT, State};

impl State {
    pub(super) fn client_of(&mut self, peer: Peer) -> Option<usize> {
        let index =
            (peer.number() as usize).checked_sub(usize::from(PORT)).filter(|&n| n < self.clients.len());
        if index.is_none() {
            self.breaks("requests", format!("the service hears of {peer}, who is nobody"));
        }
        index
    }

    /// Tells the room.
    pub fn announce(&mut self, except: Option<usize>, notice: &Rc<Notice>) {
        self.most_said[0] += notice.form(true, true).len() as u64 + 1;
        for (index, client) in self.clients.iter_mut().enumerate() {
            if self.hears[index] && Some(index) != except {
                client.expect(notice);
                self.seen.deliveries += 1;
                let heard = &mut self.sockets[index].heard_this_turn;
                *heard += client.talk.bytes_of(notice);
                self.said_this_turn = self.said_this_turn.max(*heard);
            }
        }
    }

    pub(super) fn system(&mut self, except: usize, text: &str) {
        self.announce(Some(except), &Notice::new("system", text, "SYSTEM", Some(text.to_owned())));
    }

    pub fn opened(&mut self, conn: ConnId, peer: Peer, wire: Wire) {
        let Some(index) = self.client_of(peer) else { return };
        if self.sockets[index].turned_away {
            self.breaks("limits", format!("there is no room for client {index}, and it is let in"));
        }
        self.sockets[index].opened = true;
        if self.clients[index].wire != wire || self.seats.get(conn.index()).copied().flatten().is_some() {
            self.breaks("end", format!("client {index} is opened as somebody else"));
        }
        if self.seats.len() <= conn.index() {
            self.seats.resize(conn.index() + 1, None);
        }
        self.seats[conn.index()] = Some(index);
        self.ids[index] = Some(conn);
        if conn.index() >= self.peak() {
            self.breaks("leftovers", format!("place {} is given out, and others are free", conn.index()));
        }
        match &mut self.clients[index].talk {
            Talk::Line(line) => line.expect_prompt(),
            _ => self.hears[index] = !self.rules.require_join,
        }
    }

    pub fn guarded(&mut self, conn: ConnId, method: &'static str, allowed: bool) {
        let Some(index) = self.seats.get(conn.index()).copied().flatten() else { return };
        let who = self.clients[index].who;
        let may = method != "send_message" || !self.rules.require_join || self.room.name_of(who).is_some();
        if may != allowed {
            self.breaks("requests", format!("client {index} was let through to {method}: {allowed}"));
        }
        if !allowed && let Some(planned) = self.clients[index].rpc().and_then(|rpc| rpc.plan.pop_front()) {
            if planned.method != method {
                self.breaks(
                    "requests",
                    format!("client {index} asked {planned:?}, and {method} was guarded"),
                );
            }
            let outcome = Outcome::Refused(-32024, "Join the chat first".into());
            if let Some(rpc) = self.clients[index].rpc() {
                rpc.fill(planned.slot, outcome, false);
            }
        }
    }

    /// Gives the number of the answer, if there is to be one.
    pub fn called(
        &mut self,
        conn: ConnId,
        peer: Peer,
        method: &'static str,
        arg: Option<String>,
    ) -> Option<u64> {
        let index = self.client_of(peer)?;
        if self.seats.get(conn.index()).copied().flatten() != Some(index) {
            self.breaks("requests", format!("{method} is called for client {index}, who is not connected"));
        }
        self.judge_rate(index, |talk| match talk {
            Talk::Rpc(rpc) => rpc.skip_to(method, arg.as_deref()),
            _ => true,
        });
        let Some(planned) = self.clients[index].rpc().and_then(|rpc| rpc.plan.pop_front()) else {
            self.breaks("requests", format!("{method}({arg:?}) was never asked by client {index}"));
            return None;
        };
        self.judge_time(index);
        if !planned.is_in_batch {
            self.judge_budget(index);
        }
        if planned.method != method || planned.arg != arg {
            let arg: Option<String> = arg.map(|arg| arg.chars().take(60).collect());
            self.breaks(
                "requests",
                format!("client {index} asked {planned:?}, and {method}({arg:?}) was called"),
            );
            return None;
        }
        let who = self.clients[index].who;
        let arg = arg.as_deref();
        let (mut welcome, mut aloud, mut is_late) = (None, None, false);
        let outcome = match method {
            "join_chat" => {
                let asked_at = self.room.name_of(who);
                match self.room.join(who, arg) {
                    Err((code, text)) => self.refused(code, text),
                    Ok((name, notices)) => {
                        // Who has the name already joins nothing.
                        if asked_at.as_ref() != Some(&name) {
                            self.hears[index] |= self.rules.require_join;
                            let text = format!("Welcome to the chat, {name}!");
                            welcome = Some(Notice::new("system", &text, "SYSTEM", None));
                        }
                        for notice in notices {
                            self.system(index, &notice);
                        }
                        Outcome::Result(format!(
                            "{{\"status\":\"success\",\"message\":{},\"users\":[{}]}}",
                            json(&format!("Joined chat as {name}")),
                            self.names()
                        ))
                    }
                }
            }
            "send_message" => match self.room.say(who, arg.unwrap_or("")) {
                Err((code, text)) => self.refused(code, text),
                Ok((name, message)) => {
                    let line = format!("{name}: {message}");
                    self.announce(Some(index), &Notice::new("chat", &message, &name, Some(line)));
                    Outcome::Result(
                        "{\"status\":\"success\",\"message\":\"Message sent successfully\"}".into(),
                    )
                }
            },
            "get_users" => {
                let count = self.room.users.len();
                match arg {
                    Some("simple") => Outcome::Result(format!(
                        "{{\"status\":\"success\",\"users\":[{}],\"count\":{count}}}",
                        self.names()
                    )),
                    None | Some("full") => {
                        let user = |(who, name): &(u16, String)| {
                            let host = self.clients[usize::from(who - PORT)].host;
                            let address = SocketAddr::from((host, *who));
                            format!("{{\"username\":{},\"address\":\"{address}\"}}", json(name))
                        };
                        let users: Vec<String> = self.room.users.iter().map(user).collect();
                        Outcome::Result(format!(
                            "{{\"status\":\"success\",\"message\":\"Users retrieved successfully\",\"users\":[{}],\"count\":{count}}}",
                            users.join(",")
                        ))
                    }
                    Some(_) => Outcome::invalid_params("format must be \"full\" or \"simple\""),
                }
            }
            "leave_chat" => {
                if let Some(notice) = self.room.leave(who) {
                    self.system(index, &notice);
                    if self.rules.require_join {
                        self.hears[index] = false;
                    }
                }
                Outcome::Result("{\"status\":\"success\",\"message\":\"Left chat successfully\"}".into())
            }
            "set_heartbeat" => {
                let seconds: f64 = arg.and_then(|arg| arg.parse().ok()).unwrap_or(-1.0);
                if seconds.fract() == 0.0 && (0.0..=86_400.0).contains(&seconds) {
                    if let Some(rpc) = self.clients[index].rpc() {
                        rpc.heartbeat = seconds as u64;
                        rpc.asks_for_pings(self.now);
                        rpc.was_pinged |= seconds > 0.0;
                        rpc.pings_before = rpc.pings;
                    }
                    let message = match seconds as u64 {
                        0 => "Heartbeat is off".into(),
                        1 => "Heartbeat every second".into(),
                        more => format!("Heartbeat every {more} seconds"),
                    };
                    Outcome::Result(format!(
                        "{{\"status\":\"success\",\"message\":\"{message}\",\"seconds\":{seconds}}}"
                    ))
                } else {
                    Outcome::invalid_params("seconds must be a whole number from 0 to 86400")
                }
            }
            "later" => {
                let outcome;
                (outcome, is_late, aloud) = comes_of_later(arg.unwrap_or(""), who);
                outcome
            }
            "long" => comes_of_long(arg.unwrap_or("")),
            "boom" => {
                self.seen.panics += 1;
                Outcome::internal("the handler panicked")
            }
            "get_stats" if !self.clients[index].host.to_canonical().is_loopback() => {
                Outcome::Refused(-32025, "Statistics are for the server's own machine only".into())
            }
            "get_stats" if matches!(arg, None | Some("simple" | "full")) => {
                Outcome::Stats(self.figures(), self.seen.turns.clone())
            }
            "get_stats" => Outcome::invalid_params("format must be \"simple\" or \"full\""),
            _ => Outcome::Result("{\"status\":\"success\",\"message\":\"pong\"}".into()),
        };
        if let Some(rpc) = self.clients[index].rpc() {
            rpc.fill(planned.slot, outcome, is_late);
            rpc.deferred += u32::from(is_late);
            if let Some(welcome) = welcome {
                rpc.expect(&welcome);
            }
        }
        if let Some(aloud) = aloud {
            self.announce(None, &aloud);
        }
        planned.slot.map(|slot| slot.0)
    }

    /// A rule of the chat refuses.
    fn refused(&mut self, code: i32, text: String) -> Outcome {
        self.seen.refused(&text);
        Outcome::Refused(code, text)
    }

    /// One is let through; whether those before it, whom `refused` finds, were refused for a reason.
    fn judge_rate(&mut self, index: usize, refused: impl FnOnce(&mut Talk) -> bool) {
        if self.limits.rate_messages == 0 {
            return;
        }
        let now = self.now / 1000;
        let talk = &mut self.clients[index].talk;
        let was_right = refused(talk);
        let may = match talk {
            Talk::Rpc(rpc) => rpc.bucket.take(now, &self.limits),
            Talk::Line(line) => line.bucket.take(now, &self.limits),
            Talk::Echo(_) | Talk::Files(_) => true,
        };
        if !was_right {
            self.breaks("rate", format!("client {index} was refused, and was not too fast"));
        } else if !may {
            self.breaks("rate", format!("client {index} is too fast, and was heard"));
        }
    }

    /// Somebody asks for something: not in a turn in which enough was said, nor when it is too late.
    fn judge_time(&mut self, index: usize) {
        if self.clients[index].is_too_late {
            self.breaks(
                "stop",
                format!("client {index} had got all its answers, and is heard behind the stop"),
            );
        }
        if self.said_this_turn >= self.most(|limits| limits.max_fanout_per_turn as u64) {
            let said = self.said_this_turn;
            self.breaks(
                "fair",
                format!("{said} bytes were said in this turn, and it is still asked for more"),
            );
        }
    }

    /// One more request or line of this client in this turn.
    fn judge_budget(&mut self, index: usize) {
        self.seen.heard += 1;
        let socket = &mut self.sockets[index];
        socket.requests_this_turn += 1;
        if socket.requests_this_turn > self.limits.max_requests_per_turn {
            let n = self.sockets[index].requests_this_turn;
            self.breaks("fair", format!("{n} requests of client {index} were dispatched in one turn"));
        }
    }

    fn names(&self) -> String {
        self.room.users.iter().map(|user| json(&user.1)).collect::<Vec<_>>().join(",")
    }

    pub fn line(&mut self, conn: ConnId, peer: Peer, heard: Heard<'_>) {
        let Some(index) = self.client_of(peer) else { return };
        let who = self.clients[index].who;
        let is_seated = self.seats.get(conn.index()).copied().flatten() == Some(index);
        let said = match heard {
            Heard::Text(text) => Said::Text(text.to_owned()),
            Heard::TooLong(_) => Said::TooLong,
        };
        self.judge_rate(index, |talk| match talk {
            Talk::Line(line) => line.skip_to(&said),
            _ => true,
        });
        self.judge_time(index);
        self.judge_budget(index);
        let Some(line) = self.clients[index].line() else {
            return self.breaks("requests", "a line of somebody who speaks no lines");
        };
        let planned = line.heard();
        if planned.as_ref() != Some(&said) || !is_seated {
            return self
                .breaks("requests", format!("line user {index} said {planned:?}, and {said:?} was heard"));
        }
        let name = self.room.name_of(who);
        let most = self.limits.max_line_bytes;
        let Talk::Line(line) = &mut self.clients[index].talk else { return };
        match (said, name) {
            (Said::TooLong, name) => {
                self.seen.long_lines += 1;
                line.expect_answer(&format!("Line too long: more than {most} bytes were dropped"));
                if name.is_none() {
                    line.expect_prompt();
                }
            }
            (Said::Text(text), None) if text.trim() == "/quit" => line.has_quit = true,
            (Said::Text(text), None) => {
                let asked = Some(text.as_str()).filter(|text| !text.trim().is_empty());
                match self.room.join(who, asked) {
                    Err((_, why)) => {
                        self.seen.refused(&why);
                        line.expect_answer(&why);
                        line.expect_prompt();
                    }
                    Ok((name, notices)) => {
                        self.hears[index] = true;
                        line.expect_answer(&format!("Welcome to the chat, {name}! /help lists commands."));
                        for notice in notices {
                            self.system(index, &notice);
                        }
                    }
                }
            }
            (Said::Text(text), Some(_)) => self.named_line(index, text.trim()),
        }
    }

    fn named_line(&mut self, index: usize, text: &str) {
        let who = self.clients[index].who;
        let names: Vec<&str> = self.room.users.iter().map(|user| user.1.as_str()).collect();
        let online = format!("Online users ({}): {}", names.len(), names.join(", "));
        let Talk::Line(line) = &mut self.clients[index].talk else { return };
        let said = match text.strip_prefix('/') {
            None if text.is_empty() => return,
            None => text,
            Some(rest) if rest.starts_with('/') => rest,
            Some(command) => {
                match command.split_whitespace().next().unwrap_or("") {
                    "users" => line.expect_answer(&online),
                    "ping" => line.expect_answer("PONG"),
                    "quit" => line.has_quit = true,
                    "help" => {
                        for help in [
                            "/users  who is here",
                            "/ping   answers PONG",
                            "/quit   leaves",
                            "/help   this list",
                            "//text  says /text; everything else is said as it is",
                        ] {
                            line.expect_answer(help);
                        }
                    }
                    word => {
                        let word: String = word.chars().take(32).collect();
                        line.expect_answer(&format!("Unknown command /{word}. /help lists commands."));
                    }
                }
                return;
            }
        };
        match self.room.say(who, said) {
            Err((_, why)) => {
                self.seen.refused(&why);
                line.expect_answer(&why);
            }
            Ok((name, message)) => {
                let line = format!("{name}: {message}");
                self.announce(Some(index), &Notice::new("chat", &message, &name, Some(line)));
            }
        }
    }

    pub fn uploaded(&mut self, name: &str, bytes: u64) {
        self.stored_mail();
        let known =
            self.shelf.known.get(name).is_some_and(|all| all.iter().any(|it| it.size as u64 == bytes));
        if !known {
            self.breaks("files", format!("{name:?} with {bytes} bytes was never sent"));
        }
        self.stored += 1;
        if self.rules.announce_uploads {
            let text = format!("File uploaded: {name} ({bytes} bytes)");
            self.announce(None, &Notice::new("system", &text, "SYSTEM", Some(text.clone())));
        }
        self.read_mail();
    }
}
