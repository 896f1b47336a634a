//! Plays the simulation for as long as wanted: `cargo run --release --example sim -- --seconds 600`.
//!
//! `--seed N` plays one seed, `--seeds N` so many, `--from N` begins there (the default is 0). The first seed that breaks a rule
//! ends it with exit code 1. At the end it tells how many seeds a minute it played, and what went wrong in them, by kind.

#[path = "../tests/sim/mod.rs"]
mod sim;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use rawline::log;
use sim::faults::Fault;

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
    let mut faults = vec![0; Fault::ALL.len()];
    let (mut played, mut turns, mut calls, mut clients) = (0, 0, 0, 0);
    let is_over = |played| {
        seeds.is_some_and(|seeds| played >= seeds)
            || seconds.is_some_and(|seconds| begin.elapsed() >= Duration::from_secs(seconds))
    };
    while !is_over(played) {
        let seed = from + played;
        let report = sim::run(seed);
        if let Some(broken) = report.broken {
            println!("seed {seed}: rule {}: {}", broken.rule, broken.how);
            println!("{}", report.scene);
            println!("to play it again: cargo run --release --example sim -- --seed {seed}");
            return ExitCode::FAILURE;
        }
        if played % 16 == 0 && sim::run(seed).trace != report.trace {
            println!("seed {seed}: rule repeats: two runs of one seed differ");
            return ExitCode::FAILURE;
        }
        played += 1;
        (turns, calls, clients) = (turns + report.turns, calls + report.calls, clients + report.clients);
        faults.iter_mut().zip(report.faults).for_each(|(all, more)| *all += more);
    }
    let took = begin.elapsed().as_secs_f64();
    let rate = played as f64 * 60.0 / took;
    println!("{played} seeds from {from} on in {took:.1} s: {rate:.0} seeds a minute, no rule broken");
    println!("{clients} clients, {turns} turns, {calls} system calls; faults:");
    for (kind, count) in Fault::ALL.iter().zip(&faults) {
        println!("  {count:>10}  {}", kind.name());
    }
    ExitCode::SUCCESS
}
