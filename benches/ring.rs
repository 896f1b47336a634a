//! What the ring costs: an ordinary request, a read full of small ones, a message that wraps, growth.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rawline::transport::ring::Ring;

/// The default of `read_chunk`.
const READ_CHUNK: usize = 16 * 1024;

/// As a read does: into the free parts, in order.
fn fill(ring: &mut Ring, bytes: &[u8]) {
    let mut left = bytes;
    for part in &mut ring.free(bytes.len()) {
        let (now, later) = left.split_at(part.len());
        part.copy_from_slice(now);
        left = later;
    }
    ring.commit(bytes.len() - left.len());
}

fn ring(c: &mut Criterion) {
    let mut group = c.benchmark_group("ring");
    let mut scratch = Vec::with_capacity(READ_CHUNK);
    let bytes = vec![b'x'; READ_CHUNK];
    let mut ring = Ring::new(READ_CHUNK);

    for size in [100, READ_CHUNK] {
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(format!("in_and_out_{size}"), |b| {
            b.iter(|| {
                fill(&mut ring, black_box(&bytes[..size]));
                black_box(ring.front(size, &mut scratch));
                ring.consume(size);
            });
        });
    }

    group.throughput(Throughput::Elements(READ_CHUNK as u64 / 100));
    group.bench_function("a_read_of_163_requests", |b| {
        b.iter(|| {
            fill(&mut ring, black_box(&bytes[..READ_CHUNK / 100 * 100]));
            while !ring.is_empty() {
                black_box(ring.front(100, &mut scratch));
                ring.consume(100);
            }
        });
    });

    group.throughput(Throughput::Bytes(READ_CHUNK as u64 + 1000));
    group.bench_function("a_message_that_wraps", |b| {
        b.iter(|| {
            fill(&mut ring, &bytes[..READ_CHUNK - 4096]);
            ring.consume(READ_CHUNK - 8192);
            fill(&mut ring, &bytes[..4096 + 1000]);
            ring.consume(4096);
            black_box(ring.front(5096, &mut scratch));
            ring.consume(5096);
        });
    });

    group.throughput(Throughput::Bytes(READ_CHUNK as u64));
    group.bench_function("growth_to_twice_its_size", |b| {
        b.iter(|| {
            let mut ring = Ring::new(READ_CHUNK);
            fill(&mut ring, &bytes);
            ring.resize(2 * READ_CHUNK);
            ring
        });
    });
    group.finish();
}

criterion_group!(benches, ring);
criterion_main!(benches);
