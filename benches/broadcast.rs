//! One message to ten thousand connections, without sockets: rendered once, then what each delivery costs us.
//!
//! A whole turn of the loop on a kernel whose write only counts; an element is one message for one receiver.

#[path = "../tests/common/null.rs"]
mod null;

use std::rc::Rc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rawline::service::chat::Chat;

const CONNECTIONS: usize = 10_000;
const MESSAGE: &str = r#"{"jsonrpc":"2.0","method":"send_message","params":{"message":"Hello everyone, how are you?"},"id":12}"#;

fn broadcast(c: &mut Criterion) {
    let mut group = c.benchmark_group("broadcast_to_10000");
    let mut server = null::server(Chat::default(), CONNECTIONS);
    for burst in [1, 64] {
        let words: Rc<[u8]> = format!("{MESSAGE}\n").repeat(burst).as_bytes().into();
        group.throughput(Throughput::Elements((CONNECTIONS * burst) as u64));
        group.bench_function(format!("burst_of_{burst}"), |b| {
            b.iter(|| {
                let before = server.io().writes;
                server.io().say(1, &words);
                server.turn();
                assert_eq!(server.io().writes - before, CONNECTIONS, "one write for each, in one turn");
            });
        });
    }
    group.finish();
}

criterion_group!(benches, broadcast);
criterion_main!(benches);
