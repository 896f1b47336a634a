//! What the server says it has counted, beside what the kernel and the clients have counted themselves.
//!
//! Whoever sees something here counts it in [`Seen`]. Most figures of the server must then be exactly so; of some only a
//! bound is known, since what they count happens inside: those lie between what was surely so and what may have been.

use rawline::api::Closed;
use rawline::limits::{ANSWERS_PER_TURN, POOLED_INPUTS};
use rawline::transport::io::Interest;
use rawline::transport::metered::CALLS;
use rawline::{Limits, Stats, Wire};

use super::client::{Client, Talk};
use super::faults::Fault;
use super::times::Times;
use super::world::{Socket, State};

/// A figure, by its name and the value of its label.
pub type Name = (&'static str, Option<&'static str>);

/// The kinds of errors, as they are counted.
const FAULTS: [&str; 6] =
    ["parse_error", "invalid_request", "unknown_method", "invalid_params", "internal_error", "other"];

/// Which of them a code is.
pub fn kind_of(code: i32) -> usize {
    match code {
        -32700 => 0,
        -32600 => 1,
        -32601 => 2,
        -32602 => 3,
        -32603 => 4,
        _ => 5,
    }
}

/// What went through the kernel.
#[derive(Clone, Copy, Default)]
pub struct Meter {
    calls: [u64; CALLS.len()],
    pub bytes_in: u64,
    pub bytes_out: u64,
    /// What the clock said last, in milliseconds.
    pub clock: u64,
}

/// What was seen so far.
#[derive(Default)]
pub struct Seen {
    pub meter: Meter,
    /// The same when the last turn was over.
    pub meter_then: Meter,
    /// How long turns took.
    pub turns: Times,
    pub accepted: u64,
    /// Connections that the kernel would not watch.
    pub unwatched: u64,
    /// Times that a listener found nothing to accept with.
    pub rests: u64,
    /// Who was turned away, by what was full: the table of descriptors, the server, an address.
    pub full: [u64; 3],
    /// Events of connections that are closed.
    pub stale: u64,
    /// Reads that took a whole `read_chunk`: of all but file connections, and of those.
    pub full_reads: [u64; 2],
    /// Times that somebody was surely, or perhaps, stopped in a turn, since he had had his share of bytes.
    pub cut_reads: [u64; 2],
    /// Times that a line user was surely stopped in a turn, since he had had his share of lines.
    pub cut_requests: u64,
    /// Bytes read behind the server's FIN, and connections of which too many were.
    pub drained: u64,
    pub overfull_drains: u64,
    /// Messages that clients have begun to say, and those that the service has heard.
    pub said: u64,
    pub heard: u64,
    pub long_lines: u64,
    pub long_names: u64,
    pub long_messages: u64,
    /// Broadcasts, one for each who was to hear it.
    pub deliveries: u64,
    /// Turns in which surely, and perhaps, as much was said as may be.
    pub loud_turns: [u64; 2],
    pub panics: u64,
    /// Ends of which the service was told, by `Closed as usize`.
    pub ended: [u64; Closed::ALL.len()],
    /// Connections that surely, or perhaps, were ended since they did not take or say what was left in time.
    pub forced: [u64; 2],
    /// Connections that still had something to get when the grace was over.
    pub cut_short: u64,
    /// Echoes that were surely not read for what they had not taken, and those that were read again.
    pub pauses: [u64; 2],
}

/// What one turn came to: surely, and perhaps.
#[derive(Default)]
pub struct Turn {
    cut_reads: [u64; 2],
    cut_requests: u64,
    is_loud: [u64; 2],
}

impl Seen {
    /// A turn is over.
    pub fn add(&mut self, turn: Turn) {
        self.cut_reads = [0, 1].map(|sure| self.cut_reads[sure] + turn.cut_reads[sure]);
        self.cut_requests += turn.cut_requests;
        self.loud_turns = [0, 1].map(|sure| self.loud_turns[sure] + turn.is_loud[sure]);
    }

    /// One call of this kind.
    pub fn call(&mut self, kind: &str) {
        let kind = CALLS.iter().position(|&call| call == kind).expect("it is one of them");
        self.meter.calls[kind] += 1;
    }

    /// A rule of the chat has refused something, in these words.
    pub fn refused(&mut self, why: &str) {
        self.long_names += u64::from(why == "Username too long");
        self.long_messages += u64::from(why == "Message too long");
    }
}

impl State {
    /// What the turn that is over has come to, besides what was counted at once.
    pub fn turn_came_to(&self) -> Turn {
        let Limits { max_read_per_turn: most, max_requests_per_turn, out_high, .. } = self.limits;
        let least = self.regimes.iter().map(|limits| limits.max_read_per_turn).min().unwrap_or(0);
        // Nothing else can have stopped it: not what it has not taken, not the number of its requests, not all output.
        let was_surely_cut = |socket: &&Socket| {
            socket.reads_this_turn == most
                && socket.is_reported
                && !socket.rst
                && !socket.starved
                && socket.was_flushed
                && most <= out_high
                && 2 * socket.read_calls_this_turn + 2 < max_requests_per_turn
        };
        let surely = self.sockets.iter().filter(was_surely_cut).count();
        let perhaps = self.sockets.iter().filter(|socket| socket.reads_this_turn >= least).count();
        let has_said_his_share = |(socket, client): &(&Socket, &Client)| {
            socket.requests_this_turn == max_requests_per_turn
                && socket.why.is_none()
                && socket.is_open()
                && !socket.rst
                && client.talk.due() <= out_high as u64
                && client.wire == Wire::Line
        };
        let pairs = self.sockets.iter().zip(&self.clients);
        let lines = if self.regimes.len() == 1 { pairs.filter(has_said_his_share).count() } else { 0 };
        let is_loud = |said: u64, limit: Option<usize>| u64::from(said >= limit.unwrap_or(0) as u64);
        let limits = || self.regimes.iter().map(|limits| limits.max_fanout_per_turn);
        Turn {
            cut_requests: lines as u64,
            cut_reads: [if self.is_calm() { surely as u64 } else { 0 }, perhaps as u64],
            is_loud: [
                is_loud(self.said_this_turn.saturating_sub(self.said_of_ends), limits().max()),
                is_loud(self.most_said.iter().sum(), limits().min()),
            ],
        }
    }

    /// Whether there are echoes only, and less output than a turn may have: so each is served as if it were alone.
    fn is_calm(&self) -> bool {
        let all: usize = self.sockets.iter().map(|socket| socket.reads_this_turn).sum();
        let is_echo = |client: &Client| client.wire == Wire::Echo;
        self.regimes.len() == 1 && self.clients.iter().all(is_echo) && all < ANSWERS_PER_TURN / 2
    }

    /// What a change of interest says of an echo: it is not read for what it has not taken, or is read again.
    pub fn see_pause(&mut self, index: usize, from: Interest, to: Interest) {
        let is_calm = self.is_calm() && self.limits.idle_timeout.is_zero() && self.told_to_stop.is_none();
        let most = self.limits.max_requests_per_turn;
        let socket = &mut self.sockets[index];
        if from.read && !to.read {
            // Neither has it ended, nor is its ring full of what was not yet looked at.
            let has_read_little = 2 * socket.read_calls_this_turn + 6 < most;
            socket.is_paused = is_calm && !socket.has_ended && has_read_little;
            self.seen.pauses[0] += u64::from(socket.is_paused);
            if let Some(left) = self.stop_at_pause.as_mut() {
                *left -= 1;
                if *left == 0 {
                    self.stop_at_pause = None;
                    self.stop_at(self.now);
                }
            }
        } else if to.read && std::mem::take(&mut socket.is_paused) {
            self.seen.pauses[1] += 1;
        }
    }

    /// What the way in which a connection is closed says of its end.
    pub fn see_end(&mut self, index: usize, cut: bool) {
        self.has_ends = true;
        let (socket, client) = (&self.sockets[index], &self.clients[index]);
        if socket.turned_away || !socket.was_watched {
            return;
        }
        if cut && client.wire == Wire::Echo {
            self.cuts.push((index, socket.read - socket.written));
        }
        let is_whole = !socket.rst && !socket.starved;
        let drained_all = socket.has_ended || socket.drained > self.limits.drain_max as u64;
        let is_forced = socket.server_fin && is_whole && !drained_all && self.told_to_stop.is_none();
        let was_refused = matches!(
            socket.why,
            Some(
                Closed::TooLarge
                    | Closed::TooDeep
                    | Closed::MessageTimeout
                    | Closed::IdleTimeout
                    | Closed::Panicked
            )
        );
        // Of whom is refused while the server stops it is said that the server stops.
        let may_be = cut
            || socket.server_fin
            || was_refused
            || client.wire == Wire::Files
            || self.told_to_stop.is_some();
        self.seen.forced[0] += u64::from(is_forced);
        self.seen.forced[1] += u64::from(may_be);
        let is_left = client.wire == Wire::Echo && socket.read > socket.written && !cut && is_whole;
        self.seen.cut_short += u64::from(is_left && self.told_to_stop.is_some() && self.is_overdue());
    }

    /// What must be exactly so at any time.
    pub fn figures(&self) -> Vec<(Name, u64)> {
        let seen = &self.seen;
        let open = || self.sockets.iter().zip(&self.clients).filter(|(socket, _)| socket.is_open());
        let [descriptors, server, address] = seen.full;
        let mut figures = vec![
            (("connections", None), open().count() as u64),
            (("users", None), self.room.users.len() as u64),
            (("rooms", None), 1),
            (("listeners", None), self.hears.iter().filter(|&&hears| hears).count() as u64),
            (("uptime_ms", None), seen.meter_then.clock),
            (("bytes_in", None), seen.meter_then.bytes_in),
            (("bytes_out", None), seen.meter_then.bytes_out),
            (("accepted", None), seen.accepted),
            (("accept_aborted", None), self.faults.counts[Fault::Aborted as usize]),
            (("accept_unwatched", None), seen.unwatched),
            (("listener_rests", None), seen.rests),
            (("deliveries", None), seen.deliveries),
            (("drained_bytes", None), seen.drained),
            (("panics", None), seen.panics),
            (("stale_events", None), seen.stale),
        ];
        for wire in Wire::ALL {
            let count = open().filter(|(_, client)| client.wire == wire).count();
            figures.push((("service_connections", Some(wire.name())), count as u64));
        }
        figures.extend(CALLS.iter().zip(seen.meter_then.calls).map(|(&kind, n)| (("calls", Some(kind)), n)));
        let limited = [
            ("max_connections", server),
            ("max_connections_per_ip", address),
            ("open_files", descriptors),
            ("max_line_bytes", seen.long_lines),
            ("max_username_chars", seen.long_names),
            ("max_message_chars", seen.long_messages),
            ("drain_max", seen.overfull_drains),
        ];
        figures.extend(limited.map(|(limit, n)| (("limited", Some(limit)), n)));
        figures
    }

    /// What lies between two bounds when a turn is over.
    fn bounds(&self) -> Vec<(Name, u64, u64)> {
        let seen = &self.seen;
        let chunk = self.most(|limits| limits.read_chunk as u64);
        let answers = self.clients.iter().map(|client| match &client.talk {
            Talk::Rpc(rpc) => rpc.answered() + rpc.pings,
            Talk::Line(_) | Talk::Echo(_) | Talk::Files(_) => 0,
        });
        let commands = self.clients.iter().map(|client| match &client.talk {
            Talk::Files(files) => files.obeyed,
            Talk::Rpc(_) | Talk::Line(_) | Talk::Echo(_) => 0,
        });
        let (too_fast, unheard) = self.too_fast();
        let files = self.clients.iter().filter(|client| client.wire == Wire::Files).count() as u64;
        let places = self.regimes.iter().map(|limits| limits.max_uploads as u64).min().unwrap_or(0);
        let unless = |holds: bool, most: u64| if holds { 0 } else { most };
        let has_failed = self.disk.counts().iter().any(|&count| count > 0);
        let large_batches = self.large_batches();
        // An echo's ring never grows; behind its end it is kept.
        let is_empty = self.asleep && self.sockets.iter().all(|socket| !socket.is_open());
        let has_pooled = is_empty && self.is_calm() && seen.meter.bytes_in > 0;
        // The last one has not been counted yet.
        let last = self.turn_came_to();
        let mut bounds = vec![
            (("pooled_bytes", None), if has_pooled { chunk } else { 0 }, POOLED_INPUTS as u64 * chunk),
            (("list_bytes", None), 0, unless(is_empty, u64::MAX)),
            (("frames_in", None), seen.heard + commands.sum::<u64>(), seen.said),
            (("frames_out", None), answers.sum(), u64::MAX),
            (("ended_by_force", None), seen.forced[0], seen.forced[1]),
            (("file_refusals", None), self.refused_files(None), unless(files == 0, seen.said)),
        ];
        bounds.extend(self.faults());
        let limited = [
            ("read_chunk", seen.full_reads[0], seen.full_reads[0] + seen.full_reads[1]),
            ("max_batch", large_batches[0], large_batches[1]),
            ("max_requests_per_turn", seen.cut_requests, unless(!self.may_ask_much(), u64::MAX)),
            ("max_read_per_turn", seen.cut_reads[0], seen.cut_reads[1] + last.cut_reads[1]),
            ("out_high", seen.pauses[0], u64::MAX),
            ("out_low", seen.pauses[1], u64::MAX),
            ("max_fanout_per_turn", seen.loud_turns[0], seen.loud_turns[1] + last.is_loud[1]),
            ("rate_messages", too_fast, too_fast + unheard),
            ("max_uploads", 0, unless(files <= places, seen.said)),
            ("max_upload_bytes", self.refused_files(Some(4)), unless(files == 0, seen.said)),
            (
                "disk_reserve",
                self.refused_files(Some(5)),
                unless(!self.shelf.is_tight && !has_failed, seen.said),
            ),
            ("shutdown_grace", seen.cut_short, unless(!self.is_overdue(), u64::MAX)),
        ];
        bounds.extend(limited.map(|(limit, least, most)| (("limited", Some(limit)), least, most)));
        bounds
    }

    /// Errors by their kinds: all that clients have got, and as many more if somebody may have missed some.
    fn faults(&self) -> Vec<(Name, u64, u64)> {
        let rpcs = || {
            self.clients.iter().filter_map(|client| match &client.talk {
                Talk::Rpc(rpc) => Some((client, rpc)),
                _ => None,
            })
        };
        let has_missed = rpcs().any(|(client, rpc)| client.doomed || rpc.may_have_missed());
        let got = |kind: usize| rpcs().map(|(_, rpc)| rpc.faults[kind]).sum();
        FAULTS
            .iter()
            .enumerate()
            .map(|(kind, &name)| {
                (("faults", Some(name)), got(kind), if has_missed { u64::MAX } else { got(kind) })
            })
            .collect()
    }

    /// Batches with too many elements: those that were surely looked at, and all.
    fn large_batches(&self) -> [u64; 2] {
        self.clients.iter().fold([0; 2], |[seen, all], client| match &client.talk {
            Talk::Rpc(rpc) if rpc.may_have_missed() => [seen, all + rpc.large_batches],
            Talk::Rpc(rpc) => [seen + rpc.large_batches, all + rpc.large_batches],
            _ => [seen, all],
        })
    }

    /// File commands of which clients were told that they were refused, with this status or with any.
    fn refused_files(&self, status: Option<u8>) -> u64 {
        let told = self.clients.iter().filter_map(|client| match &client.talk {
            Talk::Files(files) => Some(files.refusals.iter()),
            _ => None,
        });
        told.flatten().filter(|&&told| status.is_none_or(|status| status == told)).count() as u64
    }

    /// Whether somebody may have more requests than his share of a turn: whoever speaks JSON or lines says far fewer.
    fn may_ask_much(&self) -> bool {
        let least = self.regimes.iter().map(|limits| limits.max_requests_per_turn).min().unwrap_or(0);
        let is_brief = |wire: Wire| matches!(wire, Wire::JsonRpc | Wire::Line);
        least < 200 || !self.clients.iter().all(|client| is_brief(client.wire))
    }

    /// Requests and lines that were surely refused for the rate, and those that may have been.
    fn too_fast(&self) -> (u64, u64) {
        if self.limits.rate_messages == 0 {
            return (0, 0);
        }
        self.clients.iter().fold((0, 0), |(refused, unheard), client| match &client.talk {
            Talk::Rpc(rpc) => (refused + rpc.refused, unheard + rpc.plan.len() as u64),
            Talk::Line(line) => (refused + line.refused, unheard + line.plan.len() as u64),
            Talk::Echo(_) | Talk::Files(_) => (refused, unheard),
        })
    }

    /// Whether the grace of a stop is over.
    pub fn is_overdue(&self) -> bool {
        let grace = self.most(|limits| limits.shutdown_grace.as_micros() as u64);
        self.stopping.is_some_and(|since| self.now + 1_000 >= since + grace)
    }

    /// Ends by their reasons. The service hears of none of an echo or of files, which may have ended for some of them.
    fn ends(&self) -> impl Iterator<Item = (Name, u64, u64)> {
        let quiet = || {
            let all = self.sockets.iter().zip(&self.clients);
            all.filter(|(socket, client)| {
                socket.accepted.is_some()
                    && !socket.turned_away
                    && matches!(client.wire, Wire::Echo | Wire::Files)
            })
        };
        let all = quiet().count() as u64;
        let reset = quiet().filter(|(socket, _)| socket.rst || socket.deaf).count() as u64;
        let starved = quiet().filter(|(socket, _)| socket.starved).count() as u64;
        let is_stopping = self.stopping.is_some();
        Closed::ALL.into_iter().map(move |why| {
            let more = match why {
                Closed::Reset | Closed::Unreachable => reset,
                Closed::NoMemory => starved,
                Closed::Shutdown if is_stopping => all,
                Closed::Peer
                | Closed::BadFrame
                | Closed::MessageTimeout
                | Closed::IdleTimeout
                | Closed::TotalOut
                | Closed::Stalled
                | Closed::Broken => all,
                _ => 0,
            };
            let told = self.seen.ended[why as usize];
            (("closed", Some(why.reason())), told, told + more)
        })
    }

    /// Compares all that is known with what the server says when a turn is over.
    pub fn judge_figures(&mut self, stats: &Stats) {
        for ((name, label), expected) in self.figures() {
            let found = stats.get(name, label);
            if found != Some(expected) {
                return self.breaks("stats", format!("{name} {label:?} is {found:?}, not {expected}"));
            }
        }
        for ((name, label), least, most) in self.bounds().into_iter().chain(self.ends().collect::<Vec<_>>()) {
            let found = stats.get(name, label);
            if !found.is_some_and(|found| (least..=most).contains(&found)) {
                let what = format!("{name} {label:?} is {found:?}, not from {least} to {most}");
                return self.breaks("stats", what);
            }
        }
        let of = |limit| stats.get("limited", Some(limit)).unwrap_or(0);
        if of("out_low") > of("out_high") {
            self.breaks("stats", "more connections went on than were paused");
        }
        if let Some(how) = self.seen.turns.judge(&stats.turn_time) {
            return self.breaks("stats", how);
        }
        // Everybody who was let in ends once; of an echo and of files only the kernel knows.
        let is_let_in =
            |socket: &&Socket| socket.accepted.is_some() && !socket.turned_away && socket.was_watched;
        let let_in = self.sockets.iter().filter(is_let_in);
        let ended = let_in.filter(|socket| socket.why.is_some() || socket.is_closed).count() as u64;
        let open =
            self.sockets.iter().filter(|socket| socket.is_open() && socket.why.is_none()).count() as u64;
        let found: u64 = Closed::ALL.iter().filter_map(|why| stats.get("closed", Some(why.reason()))).sum();
        if !(ended..=ended + open).contains(&found) {
            self.breaks("stats", format!("{found} ends are counted, and {ended} were seen"));
        }
    }
}
