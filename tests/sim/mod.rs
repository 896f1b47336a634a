//! The whole server in a simulation: one seed is one kernel, one crowd of clients and one sequence of mishaps.
//!
//! [`run`] plays a seed and says which rule was broken, if one was; the same seed plays the same again, call for call.
//! `world.rs` is the kernel, `disk.rs` the disk, `faults.rs` what goes wrong; `client/` is who connects and what it
//! expects; `room.rs` is the chat as it should be, `spy.rs` how we hear what the real one is asked; `oracle.rs` is what
//! must hold.

pub mod client;
pub mod disk;
pub mod faults;
mod oracle;
pub mod rng;
pub mod room;
mod spy;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::{Arc, Once};
use std::time::Duration;

use rawline::service::chat::{Chat, Rules};
use rawline::transport::event_loop::EventLoop;
use rawline::transport::files::Share;
use rawline::transport::files::store::Store;
use rawline::transport::server::ByteOrder;
use rawline::{Limits, Wire};

use client::echo::Echo;
use client::files::FileTalk;
use client::line::Line;
use client::rpc::{Abuse, Ends, Rpc};
use client::{Broken, Client, Ending, Stage, Talk};
use disk::SimDisk;
use faults::Faults;
use rng::Rng;
use spy::{BOOM, Spy};
use world::{PORT, WIRES, World};

/// What one run came to.
pub struct Report {
    pub broken: Option<Broken>,
    /// Faults by kind.
    pub faults: Vec<u64>,
    pub turns: u64,
    pub calls: u64,
    pub clients: usize,
    /// What the scene looked like when the rule was broken.
    pub scene: String,
    /// What was called, in which order, with what result: equal for equal seeds.
    pub trace: u64,
}

/// The most turns that a run may take: patient readers of three bytes need half a million.
const TURNS: u64 = 2_000_000;

/// Who comes, and what goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(dead_code, reason = "the example plays what seeds draw")]
pub enum Plan {
    /// Whatever the seed draws.
    Drawn,
    /// A small crowd, and nothing goes wrong but the n-th call of the loop that could fail.
    Call(u64),
    /// The same with the n-th call of the disk.
    DiskCall(u64),
}

/// Plays one seed.
pub fn run(seed: u64) -> Report {
    run_with(seed, Plan::Drawn)
}

/// Plays one seed by this plan.
pub fn run_with(seed: u64, plan: Plan) -> Report {
    be_quiet();
    let mut rng = Rng::new(seed.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ 0x5eed);
    let world = set_up(&mut rng, plan);
    let state = Rc::clone(&world.0);
    let played = catch_unwind(AssertUnwindSafe(|| play(&mut rng, &world, plan)));
    let mut state = match state.try_borrow_mut() {
        Ok(state) => state,
        Err(_) => unreachable!("whoever borrowed it has gone"),
    };
    if let Err(panic) = played {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or(panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default();
        state.breaks("panic", text);
    }
    let mut faults = state.faults.counts.clone();
    for (all, disk) in faults.iter_mut().zip(state.disk.counts()) {
        *all += disk;
    }
    Report {
        broken: state.broken.clone(),
        faults,
        turns: state.turns,
        calls: state.calls,
        clients: state.clients.len(),
        scene: if state.broken.is_some() { state.describe() } else { String::new() },
        trace: state.trace,
    }
}

fn set_up(rng: &mut Rng, plan: Plan) -> World {
    let drawn = Faults::draw(rng);
    let faults = match plan {
        Plan::Drawn => drawn,
        Plan::Call(n) => Faults::only(n),
        Plan::DiskCall(_) => Faults::none(),
    };
    let disk_faults = {
        let mut same = faults::Faults::none();
        same.copy_rates(&faults);
        if let Plan::DiskCall(n) = plan {
            same.fail_at = Some(n);
        }
        same
    };
    let limits = if plan == Plan::Drawn { draw_limits(rng) } else { Limits::default() };
    let rules = Rules {
        reject_duplicate_names: rng.one_in(4),
        require_join: rng.one_in(4),
        announce_uploads: rng.one_in(2),
        ..Rules::default()
    };
    let free = if plan == Plan::Drawn && rng.one_in(6) { 3_000_000 } else { 1 << 40 };
    let disk = SimDisk::new(rng.fork(), disk_faults, free);
    let world = World::new(rng.fork(), faults, limits, rules, disk);
    {
        let mut state = world.0.borrow_mut();
        let state = &mut *state;
        let fails = [faults::Fault::NoSpace, faults::Fault::DiskError, faults::Fault::FailingSync];
        state.shelf.disk_fails = matches!(plan, Plan::DiskCall(_))
            || free < 1 << 40
            || fails.iter().any(|&kind| state.faults.has(kind));
        state.shelf.writable = plan != Plan::Drawn || !rng.one_in(6);
        state.shelf.deletes = rng.one_in(2);
        state.shelf.little_endian = rng.one_in(5);
        for n in 0..rng.range(0, 3) {
            let size = if plan == Plan::Drawn && rng.one_in(60) {
                rng.size(2_000_000, 5_000_000)
            } else {
                rng.size(0, 30_000)
            };
            let content = state.shelf.content(rng, size);
            let name = format!("given {n}");
            state.disk.put(&name, content.bytes());
            state.shelf.known.entry(name).or_default().push(content);
        }
        if plan == Plan::Drawn { invite(rng, state) } else { invite_few(rng, state) }
    }
    world
}

fn draw_limits(rng: &mut Rng) -> Limits {
    let usual = Limits::default();
    let out_high = *rng.pick(&[64, 1000, 20_000, usual.out_high]);
    let mut limits = Limits {
        max_connections: if rng.one_in(8) { rng.size(2, 10) } else { usual.max_connections },
        max_message_bytes: *rng.pick(&[8_000, 20_000, usual.max_message_bytes]),
        max_line_bytes: *rng.pick(&[4096, 2500]),
        max_depth: *rng.pick(&[8, 64]),
        max_batch: *rng.pick(&[12, 16, usual.max_batch]),
        max_read_per_turn: *rng.pick(&[100, 5_000, usual.max_read_per_turn]),
        max_requests_per_turn: *rng.pick(&[1, 2, 7, usual.max_requests_per_turn]),
        out_high,
        out_low: out_high / *rng.pick(&[2, 4, 64]),
        out_hard: *rng.pick(&[3_000, 30_000, usual.out_hard]),
        max_fanout_per_turn: *rng.pick(&[200, 2_000, usual.max_fanout_per_turn]),
        drain_max: *rng.pick(&[20_000, usual.drain_max]),
        max_uploads: *rng.pick(&[1, 2, usual.max_uploads]),
        disk_reserve: 100_000,
        out_soft: *rng.pick(&[1_000, usual.out_soft, usual.out_soft]),
        out_soft_seconds: Duration::from_secs(*rng.pick(&[2, 10])),
        total_out_bytes: *rng.pick(&[
            100_000,
            usual.total_out_bytes,
            usual.total_out_bytes,
            usual.total_out_bytes,
        ]),
        ..usual
    };
    if rng.one_in(4) {
        limits.name_timeout = Duration::from_millis(rng.range(500, 5_000));
    }
    if rng.one_in(8) {
        limits.idle_timeout = Duration::from_millis(rng.range(500, 20_000));
    }
    limits.out_soft = limits.out_soft.min(limits.out_hard);
    limits
}

/// Draws the crowd.
fn invite(rng: &mut Rng, state: &mut world::State) {
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
        [5, 3, 2, 2],
    ]);
    let span = *rng.pick(&[1_000, 300_000, 3_000_000]);
    let busy = *rng.pick(&[4, 12, 30]);
    let busy = if most > 100 { 4 } else { busy };
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
        let client = make(rng, wire, state.clients.len(), busy);
        state.add(client, at);
    }
}

/// Two of each wire, who behave.
fn invite_few(rng: &mut Rng, state: &mut world::State) {
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
                2 => Abuse::Half,
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
            Talk::Rpc(Box::new(Rpc::new(who, todo, ends, rng.range(0, 2) as u8, patience, abuse)))
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
    if matches!(wire, Wire::JsonRpc | Wire::Line) && rng.one_in(15) {
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
    client(who, wire, ending, pace, chunk, gulp, talk)
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
        out: Default::default(),
        pace,
        chunk,
        gulp,
        scheduled: false,
        doomed: false,
        eof: false,
        sent: 0,
        ends: Default::default(),
        talk,
    }
}

fn play(rng: &mut Rng, world: &World, plan: Plan) {
    let state = Rc::clone(&world.0);
    let (limits, rules) = (state.borrow().limits.clone(), state.borrow().rules);
    let spy = Spy::new(Chat::new(rules), Rc::clone(&state));
    let mut server = EventLoop::new(world.clone(), spy, limits.clone()).expect("the table is sound");
    let share = {
        let shelf = &state.borrow().shelf;
        let byte_order = if shelf.little_endian { ByteOrder::Little } else { ByteOrder::Big };
        Share { directory: Default::default(), writable: shelf.writable, delete: shelf.deletes, byte_order }
    };
    let store: Arc<Store> = Store::on(Box::new(state.borrow().disk.clone()), share, &limits);
    server.share(store, world.helpers());
    for wire in WIRES {
        if server.listen(wire, World::listener(wire)).is_err() {
            // The program says so and ends. Nobody has been let in.
            return;
        }
    }
    if plan == Plan::Drawn && rng.one_in(6) {
        let at = rng.range(0, 2_000_000);
        state.borrow_mut().stop_at(at);
    }
    let mut goes_on = true;
    let mut turn_until_rest = |server: &mut EventLoop<World, Spy>| {
        for _ in 0..TURNS {
            if !server.turn() {
                goes_on = false;
            }
            let state = state.borrow_mut();
            if !goes_on || state.broken.is_some() || state.asleep {
                return goes_on && state.broken.is_none();
            }
            if state.turns > TURNS {
                break;
            }
        }
        state.borrow_mut().breaks("busy", format!("there is no end after {TURNS} turns"));
        false
    };
    if turn_until_rest(&mut server) {
        state.borrow_mut().judge_rest();
        if state.borrow().broken.is_some() {
            return;
        }
        {
            let mut state = state.borrow_mut();
            state.faults.cease();
            state.disk.cease_faults();
        }
        if plan != Plan::Drawn {
            let first = state.borrow().clients.len();
            {
                let mut state = state.borrow_mut();
                state.shelf.disk_fails = false;
                state.asleep = false;
                invite_few(rng, &mut state);
            }
            if !turn_until_rest(&mut server) {
                return;
            }
            let mut state = state.borrow_mut();
            state.judge_rest();
            state.judge_newcomers(first);
            if state.broken.is_some() {
                return;
            }
        }
        state.borrow_mut().everybody_goes();
        if turn_until_rest(&mut server) {
            state.borrow_mut().judge_leftovers();
            let now = state.borrow().now;
            state.borrow_mut().stop_at(now + 1);
            turn_until_rest(&mut server);
        }
    }
    if state.borrow().broken.is_some() {
        return;
    }
    if goes_on {
        return state.borrow_mut().breaks("stop", "the server sleeps on, and was told to stop");
    }
    let mut state = state.borrow_mut();
    let grace = limits.shutdown_grace.as_micros() as u64;
    let stopped = state.stopping.unwrap_or(state.now);
    if state.now > stopped + grace + 200_000 && state.jumps == 0 {
        let late = (state.now - stopped) / 1000;
        state.breaks("stop", format!("it took {late} ms to stop"));
    }
    let open = state.sockets.iter().filter(|socket| socket.accepted.is_some() && !socket.is_closed).count();
    if open > 0 {
        state.breaks("leftovers", format!("the server has stopped and left {open} connections open"));
    }
}

/// Panics that belong to the script are not told.
fn be_quiet() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if info.payload().downcast_ref::<String>().is_none_or(|text| text != BOOM) {
                before(info);
            }
        }));
    });
}
