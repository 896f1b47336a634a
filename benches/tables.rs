//! What the tables of ten thousand connections cost: a look into the slab, churn, a deadline that moves.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rawline::transport::io::Millis;
use rawline::transport::slab::Slab;
use rawline::transport::timer::Wheel;

const CONNECTIONS: u32 = 10_000;

fn slab(c: &mut Criterion) {
    let mut group = c.benchmark_group("slab");
    let mut slab = Slab::default();
    // As large as a connection, so a look costs its cache lines.
    let ids: Vec<_> = (0..CONNECTIONS).map(|n| slab.insert([u64::from(n); 20])).collect();
    group.throughput(Throughput::Elements(1));
    group.bench_function("get", |b| {
        let mut all = ids.iter().cycle();
        b.iter(|| slab.get(*all.next().expect("it is a cycle")).expect("it is there")[0]);
    });
    group.bench_function("insert_and_remove", |b| {
        b.iter(|| {
            let id = slab.insert(black_box([0; 20]));
            slab.remove(id)
        });
    });
    group.throughput(Throughput::Elements(CONNECTIONS.into()));
    group.bench_function("visit_all", |b| b.iter(|| slab.iter().map(|(_, value)| value[0]).sum::<u64>()));
    group.finish();
}

fn wheel(c: &mut Criterion) {
    let mut group = c.benchmark_group("wheel");
    let mut wheel = Wheel::new(Millis(0));
    for key in 0..CONNECTIONS {
        wheel.set(key, Millis(30_000 + u64::from(key)));
    }
    group.throughput(Throughput::Elements(1));
    group.bench_function("a_deadline_that_moves_later", |b| {
        let mut turn = 0;
        b.iter(|| {
            turn += 1;
            wheel.set(turn % CONNECTIONS, Millis(60_000 + u64::from(turn)));
        });
    });
    group.bench_function("cancel_and_set", |b| {
        let mut turn = 0;
        b.iter(|| {
            turn += 1;
            let key = turn % CONNECTIONS;
            wheel.cancel(key);
            wheel.set(key, Millis(u64::from(turn % 40_000)));
        });
    });
    group.bench_function("timeout", |b| b.iter(|| wheel.timeout(black_box(Millis(5)))));
    group.throughput(Throughput::Elements(CONNECTIONS.into()));
    group.bench_function("all_set_and_expired", |b| {
        let (mut wheel, mut fired, mut now) = (Wheel::new(Millis(0)), Vec::new(), 0);
        b.iter(|| {
            for key in 0..CONNECTIONS {
                wheel.set(key, Millis(now + u64::from(key % 2000)));
            }
            now += 2010;
            fired.clear();
            wheel.expire(Millis(now), &mut fired);
            assert_eq!(fired.len(), CONNECTIONS as usize);
        });
    });
    group.finish();
}

criterion_group!(benches, slab, wheel);
criterion_main!(benches);
