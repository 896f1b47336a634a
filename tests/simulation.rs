//! The whole server in a deterministic simulation: no seed breaks a rule. `tests/sim/` is the simulation, and its
//! `oracle/` lists the rules; `examples/sim.rs` plays for as long as wanted.

mod sim;

use std::time::{Duration, Instant};

use rawline::log;
use sim::Plan;
use sim::faults::Fault;

/// So many seeds, or as many as this time allows.
const SEEDS: u64 = 2_000;
const TIME: Duration = Duration::from_secs(170);

#[test]
fn no_seed_breaks_a_rule_and_every_fault_happens() {
    log::set_level(log::Level::Error);
    let begin = Instant::now();
    let mut faults = vec![0; Fault::ALL.len()];
    let mut played = 0;
    while played < SEEDS && begin.elapsed() < TIME {
        let report = sim::run(played);
        if let Some(broken) = report.broken {
            panic!(
                "seed {played}: rule {}: {}\nto play it again: cargo run --release --example sim -- --seed {played}\n{}",
                broken.rule, broken.how, report.scene
            );
        }
        faults.iter_mut().zip(report.faults).for_each(|(all, more)| *all += more);
        played += 1;
    }
    for (kind, count) in Fault::ALL.iter().zip(faults) {
        assert!(count > 0, "in {played} seeds never: {}", kind.name());
    }
}

#[test]
fn a_seed_plays_the_same_again_call_for_call() {
    log::set_level(log::Level::Error);
    for seed in 1_000_000..1_000_020 {
        let (first, second) = (sim::run(seed), sim::run(seed));
        assert_eq!(
            (first.trace, first.turns, first.calls, first.clients),
            (second.trace, second.turns, second.calls, second.clients)
        );
    }
}

/// Every call that can fail does so once, alone: whoever was not hit notices nothing, and whoever comes afterwards is
/// served; or the server was starting, and says so. A build that is not optimized is too slow for all of them: there it is
/// every seventh.
#[test]
fn any_single_call_may_fail() {
    log::set_level(log::Level::Error);
    let step: usize = if cfg!(debug_assertions) { 7 } else { 1 };
    let mut failed = 0;
    for (seed, plan) in [(0, Plan::Call as fn(u64) -> Plan), (0, Plan::DiskCall), (1, Plan::DiskCall)] {
        for n in (1..).step_by(step) {
            let report = sim::run_with(seed, plan(n));
            assert_eq!(report.broken, None, "seed {seed}, {:?}\n{}", plan(n), report.scene);
            if Fault::ALL.iter().zip(&report.faults).all(|(kind, &n)| n == 0 || !kind.fails_a_call()) {
                failed += n - step as u64;
                break;
            }
        }
    }
    assert!(failed > 200, "only {failed} calls could fail");
}
