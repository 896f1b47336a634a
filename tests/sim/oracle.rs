//! What must hold, whatever the kernel does. The rules, by the names under which they are reported:
//!
//! - `requests`: the service is asked what a client has said, in its order, once; and nobody else is heard.
//! - `answers`: each request gets its answer, in order, byte for byte.
//! - `order`: whoever hears the room is told everything, once, in the one order in which it was said.
//! - `place`: an answer stands behind the pushes that were said before it, and before those that were said later.
//! - `line`: a line user gets exactly the lines that belong to it.
//! - `framing`: bare and ASCII until the client shows its LF; one object a line from then on.
//! - `heartbeat`: nobody is pinged who did not ask, and whoever asked and is silent is pinged, and then cut.
//! - `echo`: the bytes that come back are those that were sent.
//! - `files`: a file is whole or absent, holds what was stored last, and is listed; nothing temporary is left over.
//! - `queues`: what waits for a reader stays within its limits, and who is cut for it has gone beyond them.
//! - `reason`: no connection ends without one.
//! - `end`: the service hears of every end, once.
//! - `alive`: whoever comes after all that went wrong is served as if nothing had been.
//! - `progress`: when nothing more can happen, everybody who reads has got all that was for him.
//! - `busy`: turns that move nothing do not follow one another.
//! - `fair`: no client gets more than its budget in one turn, of bytes or of requests, and nobody asks in a turn in
//!   which enough was said.
//! - `rate`: who is too fast is refused, and nobody else.
//! - `limits`: who comes when there is no room is turned away at once, and nobody else.
//! - `stats`: the statistics say what is so.
//! - `rest`: a listener without descriptors is left alone for a while, and no longer.
//! - `kernel`: descriptors are closed once, watched as the loop believes, and not used behind FIN.
//! - `leftovers`: when all have gone no descriptor, deadline, file, user or promise of space is left, and the server's own
//!   figures say so.
//! - `stop`: the server ends when it was told to, within its grace, and what had arrived is answered.
//! - `panic`: nothing panics.

use std::rc::Rc;

use rawline::api::{Closed, ConnId, Line as Heard, Peer};
use rawline::{Limits, Wire};

use super::client::line::Said;
use super::client::rpc::{Abuse, Outcome};
use super::client::{Notice, Scene, Stage, Talk, json};
use super::faults::Fault;
use super::world::{PORT, State};

/// What may lie in the kernel's way between a bound and what is seen of it: one turn's worth of everything.
const SLACK: u64 = 64 * 1024;

impl State {
    fn client_of(&mut self, peer: Peer) -> Option<usize> {
        let index =
            (peer.number() as usize).checked_sub(usize::from(PORT)).filter(|&n| n < self.clients.len());
        if index.is_none() {
            self.breaks("requests", format!("the service hears of {peer}, who is nobody"));
        }
        index
    }

    /// Tells the room.
    fn announce(&mut self, except: Option<usize>, notice: &Rc<Notice>) {
        for (index, client) in self.clients.iter_mut().enumerate() {
            if self.hears[index] && Some(index) != except {
                client.expect(notice);
                let heard = &mut self.sockets[index].heard_this_turn;
                *heard += client.talk.bytes_of(notice);
                self.said_this_turn = self.said_this_turn.max(*heard);
            }
        }
    }

    fn system(&mut self, except: usize, text: &str) {
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

    pub fn called(&mut self, conn: ConnId, peer: Peer, method: &'static str, arg: Option<String>) {
        let Some(index) = self.client_of(peer) else { return };
        if self.seats.get(conn.index()).copied().flatten() != Some(index) {
            self.breaks("requests", format!("{method} is called for client {index}, who is not connected"));
        }
        self.judge_rate(index, |talk| match talk {
            Talk::Rpc(rpc) => rpc.skip_to(method, arg.as_deref()),
            _ => true,
        });
        let Some(planned) = self.clients[index].rpc().and_then(|rpc| rpc.plan.pop_front()) else {
            return self.breaks("requests", format!("{method}({arg:?}) was never asked by client {index}"));
        };
        self.judge_fanout();
        if !planned.is_in_batch {
            self.judge_budget(index);
        }
        if planned.method != method || planned.arg != arg {
            let arg: Option<String> = arg.map(|arg| arg.chars().take(60).collect());
            return self.breaks(
                "requests",
                format!("client {index} asked {planned:?}, and {method}({arg:?}) was called"),
            );
        }
        let who = self.clients[index].who;
        let arg = arg.as_deref();
        let mut welcome = None;
        let outcome = match method {
            "join_chat" => {
                let asked_at = self.room.name_of(who);
                match self.room.join(who, arg) {
                    Err((code, text)) => Outcome::Refused(code, text),
                    Ok((name, notices)) => {
                        if self.rules.require_join {
                            self.hears[index] = true;
                        }
                        if asked_at.as_ref() != Some(&name) {
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
                Err((code, text)) => Outcome::Refused(code, text),
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
                            format!("{{\"username\":{},\"address\":\"{host}:{who}\"}}", json(name))
                        };
                        let users: Vec<String> = self.room.users.iter().map(user).collect();
                        Outcome::Result(format!(
                            "{{\"status\":\"success\",\"message\":\"Users retrieved successfully\",\"users\":[{}],\"count\":{count}}}",
                            users.join(",")
                        ))
                    }
                    Some(_) => Outcome::Error(-32602, "Invalid params"),
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
                    Outcome::Error(-32602, "Invalid params")
                }
            }
            "later" => Outcome::Result(format!("{{\"late\":{}}}", arg.unwrap_or(""))),
            "boom" => {
                self.panics += 1;
                Outcome::Error(-32603, "Internal error")
            }
            "get_stats" if !self.clients[index].host.is_loopback() => {
                Outcome::Refused(-32025, "Statistics are for the server's own machine only".into())
            }
            "get_stats" if matches!(arg, None | Some("simple" | "full")) => Outcome::Stats(self.numbers()),
            "get_stats" => Outcome::Error(-32602, "Invalid params"),
            _ => Outcome::Result("{\"status\":\"success\",\"message\":\"pong\"}".into()),
        };
        if let Some(rpc) = self.clients[index].rpc() {
            rpc.fill(planned.slot, outcome, method == "later");
            if let Some(welcome) = welcome {
                rpc.expect(&welcome);
            }
        }
    }

    /// What the statistics must say now.
    fn numbers(&self) -> Vec<(&'static str, Option<&'static str>, u64)> {
        let open = || self.sockets.iter().zip(&self.clients).filter(|(socket, _)| socket.is_open());
        let mut numbers = vec![
            ("connections", None, open().count() as u64),
            ("users", None, self.room.users.len() as u64),
            ("listeners", None, self.hears.iter().filter(|&&hears| hears).count() as u64),
            ("accepted", None, self.accepts),
            ("accept_aborted", None, self.faults.counts[Fault::Aborted as usize]),
            ("bytes_in", None, self.moved_by_then.0),
            ("bytes_out", None, self.moved_by_then.1),
            ("panics", None, self.panics),
        ];
        for wire in Wire::ALL {
            let count = open().filter(|(_, client)| client.wire == wire).count();
            numbers.push(("service_connections", Some(wire.name()), count as u64));
        }
        numbers
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

    /// Somebody asks for something: not in a turn in which enough was said.
    fn judge_fanout(&mut self) {
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
        self.judge_fanout();
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
            Err((_, why)) => line.expect_answer(&why),
            Ok((name, message)) => {
                let line = format!("{name}: {message}");
                self.announce(Some(index), &Notice::new("chat", &message, &name, Some(line)));
            }
        }
    }

    pub fn uploaded(&mut self, name: &str, bytes: u64) {
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
    }

    pub fn closed(&mut self, conn: ConnId, peer: Peer, why: Closed) {
        let Some(index) = self.client_of(peer) else { return };
        let seat = self.seats.get(conn.index()).copied().flatten();
        if seat != Some(index) {
            return self.breaks("end", format!("client {index} ends twice, or never began: {why}"));
        }
        self.seats[conn.index()] = None;
        self.hears[index] = false;
        let who = self.clients[index].who;
        let had_a_name = self.room.name_of(who).is_some();
        if let Some(notice) = self.room.leave(who)
            && why != Closed::Shutdown
        {
            self.system(index, &notice);
        }
        if had_a_name && why == Closed::NameTimeout || self.told_to_stop && why != Closed::Shutdown {
            self.breaks("reason", format!("client {index} ended for another reason than this: {why}"));
        }
        self.sockets[index].why = Some(why);
        self.judge_end(index, why);
    }

    /// Whether this connection may end for this reason.
    fn judge_end(&mut self, index: usize, why: Closed) {
        let (now, stopping, hard) = (self.now, self.stopping.is_some(), self.limits.out_hard as u64);
        let (jumps, reloaded) = (self.jumps, self.reloaded);
        let timeout = self.limits.name_timeout.as_micros() as u64;
        let Limits { message_timeout, idle_timeout, write_timeout, out_soft, out_soft_seconds, .. } =
            self.limits;
        let [message, idle, write, soft] = [message_timeout, idle_timeout, write_timeout, out_soft_seconds]
            .map(|time| time.as_micros() as u64);
        let (soft, total) = ((out_soft as u64, soft), self.limits.total_out_bytes);
        let pushes = match &self.clients[index].talk {
            Talk::Rpc(rpc) => rpc.unsent_pushes(self.sockets[index].outbox.iter().copied()),
            Talk::Line(line) => {
                line.due().saturating_sub(self.sockets[index].written).min(line.told - line.answered)
            }
            Talk::Echo(_) | Talk::Files(_) => 0,
        };
        let makes_short = [Fault::ShortWrite, Fault::WriteAgain].iter().any(|&kind| self.faults.has(kind));
        let State { clients, sockets, .. } = self;
        let (client, socket) = (&mut clients[index], &mut sockets[index]);
        let lived = now - socket.accepted.unwrap_or(now);
        let is_right = match (why, &client.talk) {
            (Closed::Shutdown, _) => stopping,
            (Closed::Peer, _) if !socket.fin => false,
            (Closed::Peer, Talk::Rpc(rpc)) => rpc.has_been_heard() || stopping,
            (Closed::Peer, Talk::Line(line)) => line.plan.is_empty() || line.is_limited || stopping,
            (Closed::Peer, _) => true,
            (Closed::Reset, _) => socket.rst,
            (Closed::NoMemory, _) => socket.starved,
            (Closed::Service, Talk::Line(line)) => line.has_quit,
            (Closed::NameTimeout, Talk::Line(_)) => {
                // No earlier than promised; late by a tick and what a turn takes, unless the clock has jumped.
                let due = (socket.accepted.unwrap_or(now) + timeout).max(reloaded);
                lived >= timeout - 1_000 && (now < due + 200_000 || jumps > 0)
            }
            (Closed::Heartbeat, Talk::Rpc(rpc)) => {
                // Whoever reads at once has seen the ping in between.
                let is_quick = client.pace.1 <= 3_000 && client.gulp >= 65_536 && socket.outbox.is_empty();
                let was_pinged = rpc.pings > rpc.pings_before || !is_quick || jumps > 0;
                was_pinged && rpc.heartbeat > 0 && now - socket.heard >= rpc.heartbeat * 2_000_000 - 1_000
            }
            (Closed::TooLarge | Closed::TooDeep, Talk::Rpc(rpc)) => rpc.may_be_refused,
            (Closed::Panicked, Talk::Rpc(rpc)) => rpc.may_panic,
            (Closed::MessageTimeout, _) => {
                // It is the client who is slow, not us who do not read.
                let is_read = socket.unread.is_none_or(|since| now < since + 200_000);
                jumps > 0 || is_read && socket.began.is_some_and(|began| now >= began + message - 1_000)
            }
            (Closed::IdleTimeout, _) => idle > 0 && now >= socket.heard + idle - 1_000,
            (Closed::WriteTimeout, _) => pushes > 0 && now >= socket.took + write - 1_000,
            (Closed::OutSoft, _) => pushes > soft.0 && lived >= soft.1 - 1_000,
            (Closed::TotalOut, talk) => talk.due() > socket.written && total < 1_000_000,
            // It is judged only behind a try to write.
            (Closed::SlowConsumer, _) => {
                let is_held = matches!(&client.talk, Talk::Rpc(rpc) if rpc.has_a_batch());
                pushes > hard && (makes_short || is_held || socket.outbox.len() >= socket.room.1)
            }
            _ => false,
        };
        let is_sudden = match why {
            Closed::SlowConsumer
            | Closed::Heartbeat
            | Closed::Reset
            | Closed::NoMemory
            | Closed::NameTimeout
            | Closed::WriteTimeout
            | Closed::OutSoft
            | Closed::TotalOut => true,
            Closed::MessageTimeout | Closed::IdleTimeout => {
                client.is_told_so();
                !matches!(&client.talk, Talk::Rpc(rpc) if rpc.abuse == Abuse::Stall)
                    || jumps > 0
                    || client.pace.1 > 3_000
                    || client.gulp < 100
                    || socket.room.1 < 300
            }
            // Who is slow to take the error may be closed without it.
            Closed::TooLarge | Closed::TooDeep | Closed::Panicked => {
                jumps > 0 || client.pace.1 > 3_000 || client.gulp < 100 || socket.room.1 < 300
            }
            Closed::Shutdown => {
                client.is_told_so();
                false
            }
            _ => false,
        };
        client.doomed |= is_sudden;
        if !is_right {
            let lived = lived / 1000;
            self.breaks(
                "reason",
                format!("client {index} ended after {lived} ms, and nothing was wrong: {why}"),
            );
        }
    }

    /// Whether this descriptor may be closed now.
    pub fn judge_close(&mut self, index: usize, cut: bool, unread: bool) {
        let (jumps, stopping, now) = (self.jumps, self.stopping.is_some(), self.now);
        let idle = self.limits.file_idle_timeout.as_micros() as u64;
        let (client, socket) = (&mut self.clients[index], &mut self.sockets[index]);
        let seated = self.seats.iter().flatten().any(|&seat| seat == index);
        if seated {
            self.breaks("end", format!("client {index} is closed, and the service has not heard of it"));
            return;
        }
        if socket.turned_away {
            client.doomed = true;
            return;
        }
        if !socket.opened && !socket.starved && matches!(client.talk, Talk::Rpc(_) | Talk::Line(_)) {
            return self
                .breaks("limits", format!("there is room for client {index}, and it was turned away"));
        }
        // It may have been too late for limits that have changed since.
        let is_late = self.regimes.iter().any(|limits| {
            let silence = limits.idle_timeout.as_micros() as u64;
            silence > 0 && now >= socket.heard + silence - 1_000
        }) || cut && self.limits.total_out_bytes < 1_000_000 && socket.read > socket.written;
        client.doomed |= is_late && matches!(client.talk, Talk::Echo(_) | Talk::Files(_));
        let excused = socket.rst || socket.starved || socket.deaf || stopping || is_late;
        let manner = match socket.why {
            Some(
                Closed::SlowConsumer
                | Closed::TotalOut
                | Closed::OutSoft
                | Closed::WriteTimeout
                | Closed::Heartbeat,
            ) if !cut => Some("it was not cut, and may have half of a frame"),
            Some(Closed::TooLarge | Closed::TooDeep | Closed::Panicked)
                if excused || client.doomed || jumps > 0 =>
            {
                None
            }
            Some(Closed::TooLarge | Closed::TooDeep | Closed::Panicked) if !socket.server_fin => {
                Some("no FIN followed the error")
            }
            Some(Closed::TooLarge | Closed::TooDeep | Closed::Panicked)
                if unread && client.out.is_empty() && socket.drained == 0 =>
            {
                Some("what follows the error was not read, so the error may be lost")
            }
            _ => None,
        };
        let wrong = match &client.talk {
            _ if excused => None,
            Talk::Echo(_) => {
                let all_back = socket.fin && !unread && socket.written == socket.read;
                (!all_back).then_some("an echo was closed before all came back")
            }
            Talk::Files(files) => {
                let is_done = socket.fin && !unread;
                // It is the client who is slow, not we.
                let owes = files.has_broken_off || files.owes_body() || !client.out.is_empty();
                let is_silent = now - socket.heard.max(socket.took) >= idle - 1_000;
                let is_idle = cut && is_silent && (owes || socket.was_behind);
                // The disk failed, and the rest of the upload was more than is thrown away.
                let has_failed = files.is_putting && self.shelf.disk_fails;
                let because = is_done || is_idle || has_failed || files.may_be_closed || jumps > 0;
                (!because).then_some("a file connection was closed for nothing")
            }
            Talk::Rpc(_) | Talk::Line(_) => None,
        };
        client.doomed |= unread && !excused || cut || jumps > 0;
        if matches!(&client.talk, Talk::Files(files) if cut || files.may_be_closed || !socket.fin || unread) {
            client.doomed = true;
        }
        if let Some(what) = wrong.or(manner) {
            self.breaks("reason", format!("client {index}: {what}"));
        }
    }

    /// Looks at what a turn has left behind.
    pub fn judge_turn(&mut self) {
        self.judge_bounds();
        // What waits was let in under any of the limits so far.
        let most = |limit: fn(&Limits) -> usize| self.regimes.iter().map(limit).max().unwrap_or(0) as u64;
        let bound = most(|limits| limits.out_hard) + most(|limits| limits.max_fanout_per_turn) + SLACK;
        let answers = most(|limits| limits.out_high) + 2 * most(|limits| limits.max_read_per_turn) + 20_000;
        let mut worst = None;
        for index in 0..self.clients.len() {
            let socket = &self.sockets[index];
            if socket.turned_away && !socket.is_closed {
                return self.breaks("limits", format!("there is no room for client {index}, and it stays"));
            }
            if socket.is_closed || socket.rst || socket.accepted.is_none() {
                continue;
            }
            let (waits, most) = match &self.clients[index].talk {
                Talk::Rpc(rpc) if self.hears[index] => (rpc.due.0.saturating_sub(socket.written), bound),
                Talk::Line(line) if self.hears[index] => (line.told.saturating_sub(socket.written), bound),
                Talk::Echo(_) => (socket.read - socket.written.min(socket.read), answers),
                _ => continue,
            };
            if waits > most {
                worst = Some((index, waits, most));
            }
        }
        if let Some((index, waits, most)) = worst {
            self.breaks(
                "queues",
                format!("{waits} bytes wait for client {index}; its limits come to {most}"),
            );
        }
    }

    /// Who does not read is cut, sooner or later, if the room goes on without him.
    fn judge_deaf(&mut self, index: usize) {
        let (client, socket) = (&self.clients[index], &self.sockets[index]);
        let waits = match &client.talk {
            Talk::Rpc(rpc) => rpc.due.0.saturating_sub(socket.written),
            Talk::Line(line) => line.told.saturating_sub(socket.written + line.answered),
            Talk::Files(_) if socket.waits_to_write() => {
                return self.breaks("queues", format!("client {index} takes no answer and was not cut"));
            }
            Talk::Echo(_) | Talk::Files(_) => 0,
        };
        if waits > 0 && self.hears[index] && !socket.is_closed && !socket.rst && !socket.deaf {
            self.breaks(
                "queues",
                format!("client {index} does not read, {waits} bytes wait for it, and it was not cut"),
            );
        }
    }

    /// Nothing more can happen: everybody who reads must have got all that was for him.
    pub fn judge_rest(&mut self) {
        let (now, timeout) = (self.now, self.limits.name_timeout.as_micros() as u64);
        for index in 0..self.clients.len() {
            let (client, socket) = (&self.clients[index], &self.sockets[index]);
            if let Some(why) = socket.why
                && socket.is_open()
            {
                return self.breaks("progress", format!("client {index} has ended, and stays: {why}"));
            }
            if !client.reads() && self.stopping.is_none() {
                self.judge_deaf(index);
                continue;
            }
            if client.doomed || !client.reads() || socket.rst || socket.deaf || socket.ended {
                continue;
            }
            if socket.corked && socket.is_open() {
                return self.breaks("progress", format!("the socket of client {index} is left corked"));
            }
            if client.stage == Stage::Before || socket.accepted.is_none() {
                if self.stopping.is_none() {
                    return self.breaks("progress", format!("client {index} was never accepted"));
                }
                continue;
            }
            let has_left = matches!(client.stage, Stage::Gone) && !client.eof;
            if has_left || self.stopping.is_some() {
                continue;
            }
            let is_mute = matches!(&client.talk, Talk::Line(line) if line.is_mute);
            if is_mute && !socket.is_closed && now - socket.accepted.unwrap_or(now) > timeout + 1_000_000 {
                return self.breaks("progress", format!("line user {index} has no name and is still there"));
            }
            if !self.limits.idle_timeout.is_zero() && !socket.is_closed {
                return self.breaks("progress", format!("client {index} is idle and still there"));
            }
            if let Some(what) = client.awaits() {
                return self.breaks("progress", format!("{what} (client {index}, {:?})", client.wire));
            }
            if !client.out.is_empty() && !socket.is_closed {
                return self.breaks(
                    "progress",
                    format!("client {index} has {} bytes that nobody reads", client.out.len()),
                );
            }
            if client.stage == Stage::Finished && !client.eof {
                return self.breaks("progress", format!("client {index} has sent FIN and is still there"));
            }
            if let Talk::Rpc(rpc) = &client.talk
                && rpc.may_be_refused
                && rpc.todo == 0
                && !client.eof
            {
                return self
                    .breaks("progress", format!("client {index} was to be refused and is still there"));
            }
            if let Talk::Rpc(rpc) = &client.talk
                && rpc.heartbeat > 0
                && !socket.is_closed
            {
                return self.breaks("heartbeat", format!("client {index} is silent and was not cut"));
            }
        }
    }

    /// The server has stopped: what had arrived by then is answered, unless something came between.
    pub fn judge_stop(&mut self) {
        // These make a server believe that nothing had arrived.
        let blinds =
            [Fault::ShortRead, Fault::ReadAgain, Fault::Cut].iter().any(|&kind| self.faults.has(kind));
        if blinds || self.jumps > 0 {
            return;
        }
        for index in 0..self.clients.len() {
            let bytes: Vec<u8> = self.sockets[index].outbox.drain(..).collect();
            let State { clients, sockets, rng, limits, shelf, .. } = self;
            let (client, socket) = (&mut clients[index], &mut sockets[index]);
            let is_quick = client.pace.1 <= 3_000 && client.gulp >= 100 && socket.room.1 >= 300;
            if client.owed == 0 || client.doomed || socket.rst || socket.deaf || socket.has_lost || !is_quick
            {
                continue;
            }
            let mut scene = Scene { rng, limits, shelf, stopping: true, turned_away: false };
            if !bytes.is_empty()
                && let Err(broken) = client.hear(&bytes, &mut scene)
            {
                self.broken.get_or_insert(broken);
                return;
            }
            let owed = match &client.talk {
                Talk::Rpc(rpc) => rpc.is_owed(client.owed),
                Talk::Line(line) => line.is_owed(client.owed),
                Talk::Echo(_) if socket.written < client.owed => {
                    Some(format!("{} of {} bytes came back", socket.written, client.owed))
                }
                Talk::Echo(_) | Talk::Files(_) => None,
            };
            if let Some(owed) = owed {
                return self.breaks("stop", format!("client {index} had asked before the stop: {owed}"));
            }
        }
    }

    /// Those from this one on came when nothing went wrong any more.
    pub fn judge_newcomers(&mut self, first: usize) {
        for index in first..self.clients.len() {
            let (client, socket) = (&self.clients[index], &self.sockets[index]);
            // Who is closed for what it asked, gives no name, or asked for a heartbeat and is silent, is not lost.
            let may_end = match &client.talk {
                Talk::Rpc(rpc) => rpc.heartbeat > 0,
                Talk::Line(_) => matches!(socket.why, Some(Closed::Service | Closed::NameTimeout)),
                Talk::Files(_) => true,
                Talk::Echo(_) => false,
            };
            let is_lost = client.doomed && !may_end || socket.rst || socket.turned_away;
            if is_lost || socket.accepted.is_none() {
                return self.breaks("alive", format!("client {index} came late and was not served"));
            }
        }
    }

    /// Everybody has gone: nothing may be left.
    pub fn judge_leftovers(&mut self) {
        let open =
            self.sockets.iter().filter(|socket| socket.accepted.is_some() && !socket.is_closed).count();
        if open > 0 {
            let who: Vec<usize> = (0..self.sockets.len())
                .filter(|&index| self.sockets[index].accepted.is_some() && !self.sockets[index].is_closed)
                .collect();
            self.breaks("leftovers", format!("{open} connections are open, and all have gone: {who:?}"));
        }
        if !self.room.users.is_empty() {
            self.breaks("leftovers", format!("the room holds {:?}", self.room.users));
        }
        if self.seats.iter().flatten().next().is_some() {
            self.breaks("end", "the service has not heard of every end");
        }
        let files = self.disk.open_files();
        if files > 0 {
            self.breaks("leftovers", format!("{files} files are open"));
        }
        if self.stored != self.disk.published() {
            let (told, published) = (self.stored, self.disk.published());
            self.breaks("files", format!("{published} files were stored, and {told} were told of"));
        }
        self.judge_disk();
    }

    fn judge_disk(&mut self) {
        let contents = self.disk.contents();
        for (name, bytes) in &contents {
            if name.starts_with(".rawline-tmp-") {
                if !self.disk.is_stranded(name) {
                    self.breaks("files", format!("{name} is left over"));
                }
            } else if !name.starts_with(".rawline-part-") && !self.shelf.is_whole(name, bytes) {
                self.breaks("files", format!("{name:?} is torn: {} bytes", bytes.len()));
            }
        }
        for index in 0..self.clients.len() {
            let client = &self.clients[index];
            let socket = &self.sockets[index];
            let Talk::Files(files) = &client.talk else { continue };
            if client.doomed
                || socket.rst
                || self.stopping.is_some()
                || files.awaits().is_some()
                || !client.out.is_empty()
            {
                continue;
            }
            let found = files.certain().find_map(|(name, content)| {
                let bytes = contents.iter().find(|file| file.0 == name).map(|file| &file.1);
                let is_right = match (content, bytes) {
                    (None, None) => true,
                    (Some(content), Some(bytes)) => content.bytes() == *bytes,
                    _ => false,
                };
                (!is_right).then(|| name.to_owned())
            });
            if let Some(name) = found {
                self.breaks("files", format!("{name:?} does not hold what was stored last"));
            }
        }
    }
}
