//! Plays the simulation for as long as wanted: `cargo run --release --example sim -- --seconds 600`.
//!
//! `--seed N` plays one seed, `--seeds N` so many, `--from N` begins there (the default is 0). Each core plays seeds of its
//! own. A seed that breaks a rule, or does not end, ends it with exit code 1. At the end it tells how many seeds a minute it
//! played, and what went wrong in them, by kind.

#[path = "../tests/sim/mod.rs"]
mod sim;

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rawline::log;
use sim::faults::Fault;

/// The most that a seed may take: most take some milliseconds, patient readers a second.
const PATIENCE: Duration = Duration::from_secs(30);

/// What all seeds of this run came to.
#[derive(Default)]
struct Totals {
    /// Seeds that are being played, and since when.
    under_way: Vec<(u64, Instant)>,
    played: u64,
    clients: usize,
    turns: u64,
    calls: u64,
    /// By kind.
    faults: Vec<u64>,
    /// The lowest seed that broke a rule, and what it has to say.
    broken: Option<(u64, String)>,
}

impl Totals {
    fn breaks(&mut self, seed: u64, how: String) {
        if self.broken.as_ref().is_none_or(|(lowest, _)| seed < *lowest) {
            self.broken = Some((seed, how));
        }
    }
}

fn main() -> ExitCode {
    let (mut seconds, mut seeds, mut from) = (None, None, 0);
    let mut args = std::env::args().skip(1);
    while let Some(flag) = args.next() {
        let Some(value) = args.next().and_then(|value| value.parse::<u64>().ok()) else {
            eprintln!("sim: {flag} needs a number");
            return ExitCode::from(2);
        };
        match flag.as_str() {
            "--seconds" => seconds = Some(value),
            "--seeds" => seeds = Some(value),
            "--from" => from = value,
            "--seed" => (from, seeds) = (value, Some(1)),
            _ => {
                eprintln!("sim: {flag} is unknown; there are --seconds, --seeds, --seed and --from");
                return ExitCode::from(2);
            }
        }
    }
    if seconds.is_none() && seeds.is_none() {
        seconds = Some(60);
    }
    // Of one seed one wants to know everything.
    log::set_level(if seeds == Some(1) { log::Level::Debug } else { log::Level::Error });
    let begin = Instant::now();
    let end = seeds.map_or(u64::MAX, |seeds| from.saturating_add(seeds));
    let next = AtomicU64::new(from);
    let totals = Mutex::new(Totals { faults: vec![0; Fault::ALL.len()], ..Totals::default() });
    thread::scope(|scope| {
        let play_on = || {
            while seconds.is_none_or(|seconds| begin.elapsed() < Duration::from_secs(seconds)) {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= end || totals.lock().expect("nobody panics here").broken.is_some() {
                    return;
                }
                play(seed, &totals);
            }
        };
        let cores = thread::available_parallelism().map_or(1, |cores| cores.get());
        let players: Vec<_> = (0..cores).map(|_| scope.spawn(play_on)).collect();
        while !players.iter().all(|player| player.is_finished()) {
            thread::park_timeout(Duration::from_millis(20));
            let totals = totals.lock().expect("nobody panics here");
            if let Some((seed, _)) = totals.under_way.iter().find(|(_, since)| since.elapsed() > PATIENCE) {
                println!("seed {seed}: rule busy: it has not ended after {} s", PATIENCE.as_secs());
                // Nothing else ends a thread that is caught in a loop.
                std::process::exit(1);
            }
        }
    });
    let totals = totals.into_inner().expect("nobody panics here");
    if let Some((seed, how)) = totals.broken {
        println!("seed {seed}: {how}");
        println!("to play it again: cargo run --release --example sim -- --seed {seed}");
        return ExitCode::FAILURE;
    }
    let Totals { played, clients, turns, calls, faults, .. } = totals;
    let took = begin.elapsed().as_secs_f64();
    let rate = played as f64 * 60.0 / took;
    println!("{played} seeds from {from} on in {took:.1} s: {rate:.0} seeds a minute, no rule broken");
    println!("{clients} clients, {turns} turns, {calls} system calls; faults:");
    for (kind, count) in Fault::ALL.iter().zip(&faults) {
        println!("  {count:>10}  {}", kind.name());
    }
    ExitCode::SUCCESS
}

/// Plays one seed, and one in sixteen twice: the same must happen.
fn play(seed: u64, totals: &Mutex<Totals>) {
    totals.lock().expect("nobody panics here").under_way.push((seed, Instant::now()));
    let report = sim::run(seed);
    let repeats = report.broken.is_some() || !seed.is_multiple_of(16) || sim::run(seed).trace == report.trace;
    let mut totals = totals.lock().expect("nobody panics here");
    totals.under_way.retain(|(other, _)| *other != seed);
    if let Some(broken) = report.broken {
        totals.breaks(seed, format!("rule {}: {}\n{}", broken.rule, broken.how, report.scene));
    } else if !repeats {
        totals.breaks(seed, "rule repeats: two runs of one seed differ".into());
    }
    totals.played += 1;
    totals.clients += report.clients;
    totals.turns += report.turns;
    totals.calls += report.calls;
    totals.faults.iter_mut().zip(report.faults).for_each(|(all, more)| *all += more);
}
