//! What a seed draws: the limits, who comes and how he behaves.
//!
//! Nothing is drawn while the run goes on but by those who act; so a client can be told whole before it begins.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use rawline::transport::files::digest;
use rawline::{Limits, Wire};

use super::client::echo::Echo;
use super::client::files::FileTalk;
use super::client::line::Line;
use super::client::rpc::{Abuse, Ends, Rpc};
use super::client::{Client, Ending, Stage, Talk};
use super::rng::Rng;
use super::world::{PORT, State, WIRES};

/// The limits of one run.
pub fn limits(rng: &mut Rng) -> Limits {
    let usual = Limits::default();
    let out_high = *rng.pick(&[64, 1000, 20_000, usual.out_high]);
    let mut limits = Limits {
        max_connections: if rng.one_in(8) { rng.size(2, 10) } else { usual.max_connections },
        max_message_bytes: *rng.pick(&[8_000, 20_000, usual.max_message_bytes]),
        max_line_bytes: *rng.pick(&[4096, 2500]),
        max_depth: *rng.pick(&[8, 64]),
        max_batch: *rng.pick(&[12, 16, usual.max_batch]),
        // So small that rings wrap, and grow while they do.
        read_chunk: *rng.pick(&[20, 64, 500, 2_000, usual.read_chunk, usual.read_chunk]),
        max_read_per_turn: *rng.pick(&[100, 5_000, usual.max_read_per_turn]),
        max_requests_per_turn: *rng.pick(&[1, 2, 7, usual.max_requests_per_turn]),
        out_high,
        out_low: out_high / *rng.pick(&[2, 4, 64]),
        out_hard: *rng.pick(&[3_000, 30_000, usual.out_hard]),
        max_fanout_per_turn: *rng.pick(&[200, 2_000, usual.max_fanout_per_turn]),
        drain_max: *rng.pick(&[20_000, usual.drain_max]),
        max_uploads: *rng.pick(&[1, 2, usual.max_uploads]),
        max_upload_bytes: *rng.pick(&[
            2_000,
            50_000,
            usual.max_upload_bytes,
            usual.max_upload_bytes,
            usual.max_upload_bytes,
            usual.max_upload_bytes,
        ]),
        disk_reserve: *rng.pick(&[100_000, 30_000, 130_000]),
        out_soft: *rng.pick(&[1_000, usual.out_soft, usual.out_soft]),
        out_soft_seconds: Duration::from_millis(*rng.pick(&[300, 2_000, 10_000])),
        total_out_bytes: *rng.pick(&[
            100_000,
            usual.total_out_bytes,
            usual.total_out_bytes,
            usual.total_out_bytes,
        ]),
        ..usual
    };
    if rng.one_in(6) {
        limits.max_connections_per_ip = Some(rng.range(0, 4) as u32);
    }
    if rng.one_in(8) {
        // Rates that a bucket of thousandths holds exactly.
        limits.rate_messages = *rng.pick(&[1, 2, 5, 10, 50, 1000]);
        limits.rate_burst = *rng.pick(&[1, 2, 10, 50]);
    }
    if rng.one_in(4) {
        limits.message_timeout = Duration::from_millis(rng.range(1_000, 30_000));
        limits.write_timeout = Duration::from_millis(rng.range(1_000, 10_000));
    }
    if rng.one_in(4) {
        let most = *rng.pick(&[1_000, 30_000]);
        limits.file_idle_timeout = Duration::from_millis(rng.range(300, most));
    }
    if rng.one_in(4) {
        limits.name_timeout = Duration::from_millis(rng.range(500, 5_000));
    }
    if rng.one_in(8) {
        limits.idle_timeout = Duration::from_millis(rng.range(500, 20_000));
    }
    limits.out_soft = limits.out_soft.min(limits.out_hard);
    limits
}

/// Limits that take the place of these when the configuration is read again. Those stay that clients keep to, since
/// what they have said may be read before or after.
pub fn other_limits(rng: &mut Rng, before: &Limits) -> Limits {
    let fresh = limits(rng);
    Limits {
        max_connections: fresh.max_connections,
        max_connections_per_ip: fresh.max_connections_per_ip,
        read_chunk: fresh.read_chunk,
        max_read_per_turn: fresh.max_read_per_turn,
        max_requests_per_turn: fresh.max_requests_per_turn,
        out_high: fresh.out_high,
        out_low: fresh.out_low,
        out_hard: fresh.out_hard.max(before.out_soft),
        max_fanout_per_turn: fresh.max_fanout_per_turn,
        max_uploads: fresh.max_uploads,
        disk_reserve: fresh.disk_reserve,
        message_timeout: fresh.message_timeout,
        write_timeout: fresh.write_timeout,
        name_timeout: fresh.name_timeout,
        idle_timeout: fresh.idle_timeout,
        ..before.clone()
    }
}

/// What a server that died has left on the disk, and what another one works on.
pub fn leave_uploads(rng: &mut Rng, state: &mut State) {
    const HOUR: u64 = 3600;
    let State { shelf, disk, .. } = state;
    let most = if digest::KNOWN { 3 } else { 0 };
    for _ in 0..rng.range(most.min(1), most) {
        let size = rng.size(1, 20_000);
        let content = shelf.content(rng, size);
        let name = format!("shared {}", rng.range(0, 2));
        let mut bytes = content.bytes();
        bytes.resize(*rng.pick(&[1, size / 2 + 1, size, size + 1]), 0);
        if bytes.len() > size || rng.one_in(3) {
            // Not all that was written before a power cut was on the disk.
            bytes[0] ^= 1;
            shelf.spoilt.insert(content.id);
        }
        let age = *rng.pick(&[0, HOUR, 24 * HOUR - 10, 24 * HOUR + 1, 30 * HOUR]);
        disk.leave(&shelf.leave(&name, content), bytes, age, rng.one_in(8));
    }
    // A disk that fails may fail when they are looked for.
    for n in 1..=if shelf.disk_fails { 0 } else { rng.range(0, 2) } {
        let name = format!(".rawline-tmp-{}-{n}", std::process::id());
        disk.leave(&name, vec![0; 100], 0, rng.one_in(2));
    }
}

/// A crowd of quick clients, on sockets that take much, reads large files: their bites are used up, and their turns'.
pub fn invite_readers(rng: &mut Rng, state: &mut State) {
    state.buffer.1 = *rng.pick(&[3_000_000, 6_000_000, 30_000_000]);
    let size = rng.size(4_000_000, 14_000_000);
    let content = state.shelf.content(rng, size);
    state.disk.put("large", content.bytes());
    state.shelf.known.entry("large".to_owned()).or_default().push(content);
    let span = *rng.pick(&[10, 1_000]);
    for _ in 0..rng.range(2, 12) {
        let who = PORT + state.clients.len() as u16;
        let mut talk = FileTalk::new(who, rng.size(1, 2), rng.range(0, 2) as u8, false);
        talk.only_reads = Some("large");
        let talk = Talk::Files(Box::new(talk));
        let at = rng.range(0, span);
        state.add(client(who, Wire::Files, Ending::HalfClose, (1, 300), 65_536, 30_000_000, talk), at);
    }
}

/// Draws the crowd.
pub fn invite(rng: &mut Rng, state: &mut State) {
    let most = match rng.range(0, 99) {
        0..=49 => 8,
        50..=89 => 20,
        90..=97 => 50,
        _ => 250,
    };
    let count = rng.size(2, most);
    let weights = *rng.pick(&[
        [6, 3, 1, 1],
        [1, 0, 0, 0],
        [2, 2, 0, 0],
        [1, 1, 1, 4],
        [0, 0, 0, 1],
        [1, 0, 3, 0],
        [0, 0, 1, 0],
        [5, 3, 2, 2],
    ]);
    let span = *rng.pick(&[1_000, 300_000, 3_000_000]);
    let busy = *rng.pick(&[4, 12, 30]);
    let busy = if most > 100 { 4 } else { busy };
    let own = IpAddr::from(Ipv4Addr::LOCALHOST);
    let far = Ipv4Addr::new(192, 0, 2, 1);
    let near = IpAddr::from(Ipv4Addr::new(127, 8, 8, 8));
    // Through a listener for IPv6 the same machine comes under another name.
    let hosts = *rng.pick(&[
        [own; 3],
        [own; 3],
        [own, near, far.into()],
        [own, far.into(), far.to_ipv6_mapped().into()],
        [own, Ipv4Addr::LOCALHOST.to_ipv6_mapped().into(), far.to_ipv6_mapped().into()],
        [1, 2, 1 << 64].map(|host| IpAddr::from(Ipv6Addr::from((0x2001_0db8 << 96) + host))),
    ]);
    // They speak at once, at length, again and again.
    let is_chorus = rng.one_in(15);
    let (weights, span) = if is_chorus { ([1, 0, 0, 0], 1) } else { (weights, span) };
    for _ in 0..count {
        let mut draw = rng.size(0, weights.iter().sum::<usize>() - 1);
        let wire = *WIRES
            .iter()
            .zip(weights)
            .find(|(_, weight)| {
                let is_it = draw < *weight;
                draw = draw.wrapping_sub(*weight);
                is_it
            })
            .expect("the weights add up")
            .0;
        let at = rng.range(0, span);
        let mut client = make(rng, wire, state.clients.len(), busy);
        client.host = *rng.pick(&hosts);
        if state.limits.rate_messages > 0
            && let Some(rpc) = client.rpc()
            && rpc.abuse == Abuse::Boom
        {
            // A refused request does not panic.
            rpc.abuse = Abuse::None;
        }
        if is_chorus {
            (client.pace, client.chunk) = ((100, 100), 65_536);
        }
        if let Some(rpc) = client.rpc() {
            rpc.is_loud = is_chorus;
        }
        state.add(client, at);
    }
}

/// Two of each wire, who behave.
pub fn invite_few(rng: &mut Rng, state: &mut State) {
    for ending in [Ending::Stay, Ending::HalfClose] {
        for wire in WIRES {
            let client = good(wire, state.clients.len(), ending);
            let at = state.now + rng.range(0, 2_000);
            state.add(client, at);
        }
    }
}

/// One who behaves.
fn good(wire: Wire, index: usize, ending: Ending) -> Client {
    let who = PORT + index as u16;
    let talk = match wire {
        Wire::JsonRpc => Talk::Rpc(Box::new(Rpc::new(who, 6, Ends::Lf, 2, 1000, Abuse::None))),
        Wire::Line => Talk::Line(Box::new(Line::new(who, 6, false, false))),
        Wire::Echo => Talk::Echo(Box::new(Echo::new(3_000))),
        Wire::Files => Talk::Files(Box::new(FileTalk::new(who, 6, 2, false))),
    };
    client(who, wire, ending, (1, 300), 65_536, 65_536, talk)
}

fn make(rng: &mut Rng, wire: Wire, index: usize, busy: usize) -> Client {
    let who = PORT + index as u16;
    let mut ending = match rng.range(0, 19) {
        0..=6 => Ending::Stay,
        7..=13 => Ending::HalfClose,
        14..=16 => Ending::Close,
        17 | 18 => Ending::Reset,
        _ => Ending::ResetAfter(rng.range(0, 2_000)),
    };
    let todo = rng.size(0, busy);
    let mut gulp = *rng.pick(&[3, 100, 65_536, 65_536, 65_536]);
    let talk = match wire {
        Wire::JsonRpc => {
            let ends = *rng.pick(&[Ends::Bare, Ends::Lf, Ends::Lf, Ends::CrLf, Ends::Later]);
            let abuse = match rng.range(0, 39) {
                0 => Abuse::TooLong,
                1 => Abuse::TooDeep,
                2 | 5 => Abuse::Half,
                3 => Abuse::Boom,
                4 => Abuse::Stall,
                _ => Abuse::None,
            };
            ending = match abuse {
                Abuse::None => ending,
                Abuse::Half => Ending::HalfClose,
                _ => Ending::Stay,
            };
            let patience = *rng.pick(&[0, 3, 1000]);
            let mut rpc = Rpc::new(who, todo, ends, rng.range(0, 2) as u8, patience, abuse);
            rpc.is_lively = abuse == Abuse::None && ending == Ending::Stay && rng.one_in(2);
            Talk::Rpc(Box::new(rpc))
        }
        Wire::Line => {
            let is_mute = rng.one_in(8);
            let without_lf = ending == Ending::HalfClose && rng.one_in(2);
            Talk::Line(Box::new(Line::new(who, todo, is_mute, without_lf)))
        }
        Wire::Echo => Talk::Echo(Box::new(Echo::new(*rng.pick(&[0, 10, 3_000, 60_000, 60_000, 300_000])))),
        Wire::Files => {
            let breaks_off = rng.one_in(5);
            if breaks_off {
                ending = *rng.pick(&[Ending::HalfClose, Ending::Reset, Ending::Stay]);
            }
            Talk::Files(Box::new(FileTalk::new(who, todo.min(12), rng.range(0, 2) as u8, breaks_off)))
        }
    };
    if rng.one_in(15) {
        // One who never reads.
        gulp = 0;
    }
    let pace = *rng.pick(&[(1, 50), (1, 3_000), (100, 100), (1_000, 60_000)]);
    let chunk = *rng.pick(&[1, 40, 1_000, 65_536]);
    // Large things in small pieces take for ever.
    let (chunk, gulp) = match wire {
        Wire::Files | Wire::Echo => (chunk.max(1_000), if gulp > 0 { gulp.max(1_000) } else { 0 }),
        _ => (chunk, gulp),
    };
    // Who stalls takes what comes for his answer.
    let waits = !matches!(&talk, Talk::Rpc(rpc) if rpc.abuse == Abuse::Stall);
    let lingers = ending == Ending::Stay && waits && rng.one_in(3);
    Client { lingers, ..client(who, wire, ending, pace, chunk, gulp, talk) }
}

/// One who has not connected yet.
fn client(
    who: u16,
    wire: Wire,
    ending: Ending,
    pace: (u64, u64),
    chunk: usize,
    gulp: usize,
    talk: Talk,
) -> Client {
    Client {
        who,
        wire,
        stage: Stage::Before,
        ending,
        lingers: false,
        out: Default::default(),
        pace,
        chunk,
        gulp,
        scheduled: false,
        doomed: false,
        eof: false,
        sent: 0,
        ends: Default::default(),
        host: Ipv4Addr::LOCALHOST.into(),
        owed: 0,
        is_too_late: false,
        talk,
    }
}
