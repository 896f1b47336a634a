//! From a text to its rendered answer, and a whole turn of the loop around it, without a socket.
//!
//! `text` is the dispatcher alone: parse, look up, bind, call, render, apply, flush. `turn` is the loop on a
//! null kernel: the same behind event, read, ring and framer.

#[path = "../tests/common/null.rs"]
mod null;

use std::hint::black_box;
use std::rc::Rc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use null::Null;
use rawline::api::Peer;
use rawline::service::chat::Chat;
use rawline::transport::connection::Connection;
use rawline::transport::dispatch::{Dispatcher, Outcome};
use rawline::transport::hub::Hub;
use rawline::transport::io::{Millis, Waker};
use rawline::transport::mailbox::Mailbox;
use rawline::{Limits, Wire};

const REQUESTS: [(&str, &str); 6] = [
    ("ping_seed", r#"{"method":"ping"}"#),
    ("ping_v2", r#"{"jsonrpc":"2.0","method":"ping","id":12}"#),
    (
        "send_v2",
        r#"{"jsonrpc":"2.0","method":"send_message","params":{"message":"Hello everyone, how are you?"},"id":12}"#,
    ),
    ("get_users", r#"{"method":"get_users"}"#),
    ("unknown", r#"{"jsonrpc":"2.0","method":"nothing_of_this_name","id":12}"#),
    ("batch_of_2", r#"[{"jsonrpc":"2.0","method":"ping","id":1},{"jsonrpc":"2.0","method":"ping","id":2}]"#),
];

const JOIN: &str = r#"{"method":"join_chat","params":{"username":"Alice"}}"#;

fn text(c: &mut Criterion) {
    let mut group = c.benchmark_group("dispatch_text");
    group.throughput(Throughput::Elements(1));
    let mut hub = Hub::new(Limits::default(), Millis(0));
    let mut dispatcher = Dispatcher::new(Chat::default(), Mailbox::new(Waker::new(|| {}))).expect("a table");
    let peer = Peer::unix(1);
    let id = hub.conns.insert(Connection::new(1, peer, Wire::JsonRpc, Millis(0)));
    dispatcher.opened(&mut hub, id, peer, Wire::JsonRpc);
    let (mut io, mut lost, mut touched) = (Null::default(), Vec::new(), Vec::new());
    let mut dispatch = |text: &str| {
        let outcome = dispatcher.text(&mut hub, id, text, false);
        hub.flush(&mut io, &mut lost);
        hub.take_touched(&mut touched);
        for id in touched.drain(..) {
            hub.conns.get_mut(id).expect("it is there").dirty = false;
        }
        outcome
    };
    dispatch(JOIN);
    for (name, text) in REQUESTS {
        group.bench_function(name, |b| b.iter(|| assert_eq!(dispatch(black_box(text)), Outcome::Done)));
    }
    group.finish();
    assert!(io.writes > 0 && lost.is_empty());
}

fn turn(c: &mut Criterion) {
    let mut group = c.benchmark_group("dispatch_turn");
    let mut server = null::server(Chat::default(), 1);
    server.io().say(1, &JOIN.as_bytes().into());
    server.turn();
    for (name, text) in REQUESTS {
        for pipelined in [1, 64] {
            let words: Rc<[u8]> = text.repeat(pipelined).as_bytes().into();
            group.throughput(Throughput::Elements(pipelined as u64));
            group.bench_function(format!("{name}/{pipelined}"), |b| {
                b.iter(|| {
                    server.io().say(1, &words);
                    server.turn()
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, text, turn);
criterion_main!(benches);
