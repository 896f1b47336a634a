//! Ten thousand connections to the daemon, a process of its own: what fan-out, requests and connecting cost it.
//! `CONNECTIONS=100 cargo bench --bench connections` takes another number.
//!
//! What criterion is given is not the time that passes but the processor time of the daemon's loop thread, so the
//! client's own work and whatever else runs do not count. Only Linux tells that of another process; elsewhere it is
//! the time that passes. Loopback, nobody slow: the client reads everything at once.

#[path = "../tests/common/client.rs"]
mod client;
#[path = "../tests/common/daemon.rs"]
mod daemon;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};
use std::{env, fs};

use criterion::measurement::{Measurement, ValueFormatter, WallTime};
use criterion::{Criterion, Throughput};
use daemon::Daemon;
use nix::libc;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::{setsockopt, sockopt};

/// Those of them that ask at the same time.
const BUSY: usize = 100;
/// Descriptors that are no connections.
const OTHERS: usize = 100;

const SAY: &[u8] = b"{\"method\":\"send_message\",\"params\":{\"message\":\"Hello everyone, how are you? It is a fine day today.\"}}";
const SAID: usize = b"{\"status\":\"success\",\"message\":\"Message sent successfully\"}".len();
const PING: &[u8] = b"{\"method\":\"ping\"}";
const PONG: usize = b"{\"status\":\"success\",\"message\":\"pong\"}".len();

fn main() {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).expect("every system has one");
    setrlimit(Resource::RLIMIT_NOFILE, most, most).expect("the soft limit may rise to the hard one");
    let wanted = env::var("CONNECTIONS").map_or(10_000, |number| number.parse().expect("a number"));
    let connections = wanted.min(most as usize - OTHERS);
    if connections < wanted {
        eprintln!("{connections} connections: only {most} files may be open");
    }
    let daemon = Daemon::start(&[]);
    let mut crowd: Vec<TcpStream> = (0..connections).map(|_| connect(&daemon)).collect();
    // Answered means accepted.
    crowd.iter_mut().for_each(|client| ask(client, PING, PONG));

    let measurement = LoopTime { pid: daemon.pid(), start: Instant::now() };
    let mut criterion = Criterion::default().with_measurement(measurement).configure_from_args();
    fan_out(&mut criterion, &mut crowd);
    requests(&mut criterion, &mut crowd);
    connects(&mut criterion, &daemon);
    criterion.final_summary();
}

/// One says something, all others hear it.
fn fan_out(c: &mut Criterion<LoopTime>, crowd: &mut [TcpStream]) {
    let (speaker, others) = crowd.split_first_mut().expect("ten thousand are there");
    // How long what they hear is.
    ask(speaker, SAY, SAID);
    let heard = others.iter_mut().map(read_some).collect::<Vec<_>>();
    assert!(heard.iter().all(|length| *length == heard[0]), "all hear the same");
    let mut group = c.benchmark_group("fan_out");
    for burst in [1, 64] {
        let said = SAY.repeat(burst);
        let mut hears = vec![0; heard[0] * burst];
        group.throughput(Throughput::Elements((burst * others.len()) as u64));
        group.sample_size(10).bench_function(format!("{burst}_in_flight"), |b| {
            b.iter(|| {
                ask(speaker, &said, SAID * burst);
                others.iter_mut().for_each(|other| other.read_exact(&mut hears).expect("it hears all"));
            });
        });
    }
    group.finish();
}

/// A hundred ask, all the others are idle.
fn requests(c: &mut Criterion<LoopTime>, crowd: &mut [TcpStream]) {
    let busy = crowd.split_at_mut(BUSY.min(crowd.len())).0;
    let mut group = c.benchmark_group("request");
    for depth in [1, 16] {
        let (asked, mut answered) = (PING.repeat(depth), vec![0; PONG * depth]);
        group.throughput(Throughput::Elements((depth * busy.len()) as u64));
        group.bench_function(format!("{depth}_in_flight"), |b| {
            b.iter(|| {
                for client in &mut *busy {
                    client.write_all(&asked).expect("the server reads");
                }
                for client in &mut *busy {
                    client.read_exact(&mut answered).expect("the server answers");
                }
            });
        });
    }
    group.finish();
}

/// Comes, asks once, and goes, beside all the others.
fn connects(c: &mut Criterion<LoopTime>, daemon: &Daemon) {
    let mut group = c.benchmark_group("connect");
    group.throughput(Throughput::Elements(1));
    group.bench_function("connect_ask_close", |b| b.iter(|| ask(&mut connect(daemon), PING, PONG)));
    group.finish();
}

fn connect(daemon: &Daemon) -> TcpStream {
    let client = TcpStream::connect(daemon.address()).expect("it listens");
    client.set_nodelay(true).expect("a TCP socket");
    // Closed by RST: ports in TIME_WAIT would run out.
    setsockopt(&client, sockopt::Linger, &libc::linger { l_onoff: 1, l_linger: 0 }).expect("a TCP socket");
    client
}

fn ask(client: &mut TcpStream, request: &[u8], answer: usize) {
    client.write_all(request).expect("the server reads");
    let mut left = answer;
    while left > 0 {
        let mut room = [0; 4096];
        let n = client.read(&mut room[..left.min(4096)]).expect("the server answers");
        assert!(n > 0, "the server goes on");
        left -= n;
    }
}

fn read_some(client: &mut TcpStream) -> usize {
    client.read(&mut [0; 4096]).expect("it hears something")
}

/// Processor time of the daemon's main thread.
struct LoopTime {
    pid: u32,
    start: Instant,
}

impl LoopTime {
    fn now(&self) -> Duration {
        // proc(5): the first number is the nanoseconds on a processor.
        let stat = fs::read_to_string(format!("/proc/{}/schedstat", self.pid)).ok();
        let first = stat.and_then(|stat| stat.split(' ').next()?.parse().ok());
        first.map_or_else(|| self.start.elapsed(), Duration::from_nanos)
    }
}

impl Measurement for LoopTime {
    type Intermediate = Duration;
    type Value = Duration;

    fn start(&self) -> Duration {
        self.now()
    }

    fn end(&self, start: Duration) -> Duration {
        // A sleeping loop has used nothing, and nothing is no rate.
        (self.now() - start).max(Duration::from_nanos(1))
    }

    fn add(&self, one: &Duration, other: &Duration) -> Duration {
        *one + *other
    }

    fn zero(&self) -> Duration {
        Duration::ZERO
    }

    fn to_f64(&self, value: &Duration) -> f64 {
        value.as_nanos() as f64
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        WallTime.formatter()
    }
}
