//! One request through a real loopback connection, the server in a thread of its own: there and back.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rawline::service::chat::Chat;
use rawline::{Limits, Server, Wire};

const PING: &[u8] = b"{\"jsonrpc\":\"2.0\",\"method\":\"ping\",\"id\":1}\n";
const PONG: &[u8] =
    b"{\"jsonrpc\":\"2.0\",\"result\":{\"status\":\"success\",\"message\":\"pong\"},\"id\":1}\n";

fn request(c: &mut Criterion) {
    let mut server = Server::new(Limits::default()).expect("a poller");
    let address = server.listen(Wire::JsonRpc, "127.0.0.1:0").expect("a free port");
    let handle = server.handle();
    let running = thread::spawn(move || server.run(Chat::default()).map(drop));

    let mut client = TcpStream::connect(address).expect("it listens");
    client.set_nodelay(true).expect("a TCP socket");
    let mut group = c.benchmark_group("request_over_loopback");
    for pipelined in [1, 64] {
        let (asked, mut answered) = (PING.repeat(pipelined), vec![0; PONG.len() * pipelined]);
        group.throughput(Throughput::Elements(pipelined as u64));
        group.bench_function(format!("{pipelined}_in_flight"), |b| {
            b.iter(|| {
                client.write_all(&asked).expect("the server reads");
                client.read_exact(&mut answered).expect("the server answers");
            });
        });
        assert!(answered == PONG.repeat(pipelined), "the answers are what they should be");
    }
    group.finish();

    handle.stop();
    running.join().expect("no panic").expect("it ran");
}

criterion_group!(benches, request);
criterion_main!(benches);
