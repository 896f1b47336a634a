//! How many instructions a unit of work costs: counted under valgrind, so free of the machine's noise.
//!
//! A case runs a unit so many times and ends. `.ci/instructions` runs each case twice under callgrind, with
//! few and with many units; the difference, divided, is the price of one, without start-up. Run by hand:
//! `cargo bench --bench instructions -- CASE UNITS`; without a case it lists them.

#[path = "../tests/common/null.rs"]
mod null;

use std::env;
use std::hint::black_box;
use std::io::IoSlice;
use std::rc::Rc;

use rawline::service::chat::Chat;
use rawline::transport::backlog::Kind;
use rawline::transport::codec::jsonrpc::render::Encoding;
use rawline::transport::codec::jsonrpc::scanner::{Scan, Scanner};
use rawline::transport::io::Millis;
use rawline::transport::outbox::{Outbox, Turn};
use rawline::transport::ring::Ring;
use rawline::transport::timer::Wheel;

/// What runs a case so many times.
type Run = fn(u32);

const CASES: [(&str, Run); 12] = [
    ("scan-short", |units| scan(units, r#"{"method":"nop","params":{}}"#)),
    ("scan-long", |units| scan(units, &format!(r#"{{"message":"{}"}}"#, "word ".repeat(800)))),
    ("ring-64-bytes", ring),
    ("outbox-answer", outbox_answer),
    ("outbox-broadcast-to-100", outbox_broadcast),
    ("wheel-move-and-turn", wheel),
    ("turn-unknown-seed", |units| turn(units, r#"{"method":"nop","params":{}}"#, 1)),
    ("turn-ping-v2", |units| turn(units, PING, 1)),
    ("turn-16-unknown-seed", |units| turn(units, r#"{"method":"nop","params":{}}"#, 16)),
    ("turn-16-ping-v2", |units| turn(units, PING, 16)),
    ("turn-say-to-100", |units| fan_out(units, 1)),
    ("turn-say-64-to-100", |units| fan_out(units, 64)),
];

const PING: &str = r#"{"jsonrpc":"2.0","method":"ping","id":12}"#;
const JOIN: &str = r#"{"method":"join_chat","params":{"username":"Alice"}}"#;
const SAY: &str = r#"{"method":"send_message","params":{"message":"Hello everyone, how are you today?"}}"#;

fn main() {
    // `cargo bench` itself appends `--bench`.
    let mut words = env::args().skip(1).filter(|word| word != "--bench");
    let Some(name) = words.next() else {
        CASES.iter().for_each(|(name, _)| println!("{name}"));
        return;
    };
    let units = words.next().and_then(|units| units.parse().ok()).expect("CASE UNITS");
    let (_, run) = CASES.iter().find(|(case, _)| *case == name).expect("a case of the list");
    run(units);
}

fn scan(units: u32, text: &str) {
    let mut scanner = Scanner::new(64);
    for _ in 0..units {
        let end = scanner.scan(black_box(text.as_bytes()));
        assert_eq!(end, Scan::Done { used: text.len() });
    }
}

fn ring(units: u32) {
    let mut ring = Ring::new(16 * 1024);
    for _ in 0..units {
        let room = &mut ring.free(64)[0];
        room.fill(black_box(1));
        let filled = room.len();
        ring.commit(filled);
        let taken = black_box(ring.run(0)).len();
        ring.consume(taken);
    }
}

fn outbox_answer(units: u32) {
    let (mut turn, mut outbox) = (Turn::default(), Outbox::new(Encoding::FIRST));
    for _ in 0..units {
        turn.own(&mut outbox, Kind::Answer, |out| out.extend_from_slice(black_box(&[b'x'; 64])));
        turn.flush(&mut outbox, true, Millis(0), |slices| Ok(length(slices))).expect("it takes all");
        turn.reset();
    }
}

fn outbox_broadcast(units: u32) {
    let mut turn = Turn::default();
    let mut all: Vec<_> = (0..100).map(|_| Outbox::new(Encoding::FIRST)).collect();
    all.iter_mut().for_each(|outbox| turn.subscribe(outbox, true));
    for _ in 0..units {
        turn.broadcast(None, |log, _| log.extend_from_slice(black_box(&[b'x'; 64])));
        for outbox in &mut all {
            turn.flush(outbox, true, Millis(0), |slices| Ok(length(slices))).expect("it takes all");
        }
        turn.reset();
    }
}

fn length(slices: &[IoSlice<'_>]) -> usize {
    black_box(slices).iter().map(|slice| slice.len()).sum()
}

fn wheel(units: u32) {
    let (mut wheel, mut fired) = (Wheel::new(Millis(0)), Vec::new());
    for n in 0..100 {
        wheel.set(n, Millis(1000));
    }
    for n in 0..units {
        wheel.set(n % 100, Millis(u64::from(n) + 30_000));
        wheel.expire(Millis(n.into()), &mut fired);
        fired.clear();
    }
}

/// One connection asks, all in one read.
fn turn(units: u32, request: &str, pipelined: usize) {
    let mut server = null::server(Chat::default(), 1);
    let words: Rc<[u8]> = request.repeat(pipelined).as_bytes().into();
    for _ in 0..units {
        server.io().say(1, &words);
        server.turn();
    }
}

/// One of 100 who have joined says something, so many times in one read.
fn fan_out(units: u32, burst: usize) {
    let mut server = null::server(Chat::default(), 100);
    for client in 1..=100 {
        server.io().say(client, &JOIN.replace("Alice", &format!("u{client}")).as_bytes().into());
        server.turn();
    }
    server.turn();
    let words: Rc<[u8]> = SAY.repeat(burst).as_bytes().into();
    for _ in 0..units {
        server.io().say(1, &words);
        server.turn();
    }
}
