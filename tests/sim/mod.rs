//! The whole server in a simulation: one seed is one kernel, one crowd of clients and one sequence of mishaps.
//!
//! [`run`] plays a seed and says which rule was broken, if one was; the same seed plays the same again, call for call.
//! - `world/` is the kernel and its time, `disk/` the disk, `deeds.rs` what that has done, `faults.rs` what goes wrong;
//! - `client/` is who connects and what it expects, `draw.rs` who of them comes and under which limits, `steward.rs` who
//!   changes those, `meddler.rs` who changes the files, `mail.rs` what comes from other threads;
//! - `room.rs` is the chat as it should be, `bucket.rs` the rate limit, `spy.rs` how we hear what the real one is asked,
//!   `tricks.rs` what it does not do and a service may;
//! - `oracle/` is what must hold, `bounds.rs` what must stay within limits, `calls.rs` what may be asked of the kernel,
//!   `figures.rs` what the server must have counted, `times.rs` how long its turns took.

mod bounds;
mod bucket;
mod calls;
pub mod client;
mod deeds;
pub mod disk;
mod draw;
pub mod faults;
mod figures;
mod mail;
mod meddler;
mod oracle;
pub mod rng;
pub mod room;
mod spy;
mod steward;
mod times;
mod tricks;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::{Arc, Once};
use std::time::Duration;

use rawline::Limits;
use rawline::service::chat::{Chat, Rules};
use rawline::transport::event_loop::EventLoop;
use rawline::transport::files::Share;
use rawline::transport::files::store::Store;
use rawline::transport::server::ByteOrder;

use client::{Broken, Talk};
use disk::SimDisk;
use faults::{Fault, Faults};
use rng::Rng;
use spy::Spy;
use tricks::BOOM;
use world::{WIRES, World};

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
    faults[Fault::Resumed as usize] += state.shelf.resumed;
    for client in &state.clients {
        faults[Fault::TooFast as usize] += match &client.talk {
            Talk::Rpc(rpc) => rpc.refused,
            Talk::Line(line) => line.refused,
            Talk::Echo(_) | Talk::Files(_) => 0,
        };
    }
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
    let limits = if plan == Plan::Drawn { draw::limits(rng) } else { Limits::default() };
    let rules = Rules {
        reject_duplicate_names: rng.one_in(4),
        // Who may be refused for his rate is not also told to join first.
        require_join: rng.one_in(4) && limits.rate_messages == 0,
        announce_uploads: rng.one_in(2),
        ..Rules::default()
    };
    let room = *rng.pick(&[60_000, 300_000, 3_000_000]);
    let is_tight = plan == Plan::Drawn && rng.one_in(6);
    let reserve = limits.disk_reserve;
    let free = is_tight.then_some(reserve as u64 + room);
    let disk = SimDisk::new(rng.fork(), disk_faults, free, reserve);
    let world = World::new(rng.fork(), faults, limits, rules, disk);
    {
        let mut state = world.0.borrow_mut();
        let state = &mut *state;
        state.shelf.disk_fails = matches!(plan, Plan::DiskCall(_)) || state.faults.fail_the_disk();
        state.shelf.is_tight = is_tight;
        state.shelf.max_upload_bytes = state.limits.max_upload_bytes;
        state.shelf.writable = plan != Plan::Drawn || !rng.one_in(6);
        state.shelf.deletes = rng.one_in(2);
        state.shelf.little_endian = rng.one_in(5);
        for n in 0..rng.range(0, 3) {
            let size = if plan == Plan::Drawn && !is_tight && rng.one_in(30) {
                rng.size(2_000_000, 5_000_000)
            } else {
                rng.size(0, 30_000)
            };
            let content = state.shelf.content(rng, size);
            let name = format!("given {n}");
            state.disk.put(&name, content.bytes());
            state.shelf.known.entry(name).or_default().push(content);
        }
        if plan == Plan::Drawn && rng.one_in(2) {
            draw::leave_uploads(rng, state);
        }
        match plan {
            // Much is copied for it, so it is rare.
            Plan::Drawn if !is_tight && rng.one_in(80) => draw::invite_readers(rng, state),
            Plan::Drawn => draw::invite(rng, state),
            Plan::Call(_) | Plan::DiskCall(_) => draw::invite_few(rng, state),
        }
    }
    world
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
    let left: Vec<(String, u64)> =
        state.borrow().disk.left_over().into_iter().map(|(name, _, age)| (name, age.as_secs())).collect();
    let store: Arc<Store> = Store::on(Box::new(state.borrow().disk.clone()), share, &limits);
    state.borrow_mut().judge_start(&left);
    server.share(Arc::clone(&store), world.helpers());
    for wire in WIRES {
        if server.listen(wire, World::listener(wire)).is_err() {
            // The program says so and ends. Nobody has been let in.
            return;
        }
    }
    if plan == Plan::Drawn && rng.one_in(3) && state.borrow().faults.lets_it_sleep() {
        let pulse = *rng.pick(&[1_000, 7_000, 60_000]);
        state.borrow().steward.files().pulse = Some(Duration::from_millis(pulse));
    }
    state.borrow_mut().handle = Some(server.handle());
    server.set_operator(Box::new(state.borrow().steward.clone()));
    if plan == Plan::Drawn {
        let longest = *rng.pick(&[3_000, 20_000, 300_000, 2_000_000]);
        match rng.range(0, 5) {
            0 => state.borrow_mut().stop_at(rng.range(0, longest)),
            1 | 2 => {
                let most = *rng.pick(&[10, 100, 1_000]);
                state.borrow_mut().stop_behind = Some(rng.range(1, most));
            }
            3 => state.borrow_mut().stop_at_pause = Some(rng.range(1, 5)),
            _ => {}
        }
        for _ in 0..if rng.one_in(5) { rng.range(1, 4) } else { 0 } {
            let other = (!rng.one_in(4)).then(|| draw::other_limits(rng, &limits));
            state.borrow_mut().reload_at(rng.range(0, longest), other);
        }
        for _ in 0..if rng.one_in(3) { rng.range(1, 12) } else { 0 } {
            state.borrow_mut().post_at(rng.range(0, longest));
        }
    }
    let mut goes_on = true;
    let mut turn_until_rest = |server: &mut EventLoop<World, Spy>| {
        for _ in 0..TURNS {
            if !server.turn() {
                goes_on = false;
            }
            let mut state = state.borrow_mut();
            // Where this limit is small. To ask for statistics costs more than a turn.
            if limits.total_out_bytes < 1_000_000 && state.turns.is_multiple_of(8) {
                state.judge_memory(&server.stats());
            }
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
        state.borrow_mut().judge_memory(&server.stats());
        state.borrow_mut().judge_figures(&server.stats());
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
                draw::invite_few(rng, &mut state);
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
            let stats = server.stats();
            state.borrow_mut().judge_leftovers();
            state.borrow_mut().judge_emptiness(&stats);
            state.borrow_mut().judge_figures(&stats);
            state.borrow_mut().judge_space(&store);
            let now = state.borrow().now;
            state.borrow_mut().stop_at(now + 1);
            turn_until_rest(&mut server);
            let mut state = state.borrow_mut();
            if state.now > now + 100_000 {
                state.breaks("stop", "nobody is there, and the server took its time to stop");
            }
        }
    }
    state.borrow_mut().judge_figures(&server.stats());
    if state.borrow().broken.is_some() {
        return;
    }
    if goes_on {
        return state.borrow_mut().breaks("stop", "the server sleeps on, and was told to stop");
    }
    let mut state = state.borrow_mut();
    let grace = limits.shutdown_grace.as_micros() as u64;
    let stopped = state.stopping.unwrap_or(state.now);
    // The server counts whole milliseconds.
    if state.now + 1_000 < stopped + grace {
        state.judge_stop();
    }
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
