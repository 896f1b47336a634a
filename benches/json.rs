//! What it costs to find, read and bind a request: short and long, ASCII and not, whole and byte by byte.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rawline::api::Param;
use rawline::transport::codec::jsonrpc::request::{Request, bind};
use rawline::transport::codec::jsonrpc::scanner::{Scan, Scanner};
use rawline::transport::codec::jsonrpc::walk::{elements, members};

const SHORT: &str = r#"{"jsonrpc":"2.0","method":"send_message","params":{"message":"Hello everyone, how are you?"},"id":12}"#;
const CYRILLIC: &str =
    r#"{"jsonrpc":"2.0","method":"send_message","params":{"message":"Привет всем, как дела?"},"id":12}"#;
const SEED: &str = r#"{"method": "send_message", "params": {"message": "Hello everyone, how are you?"}}"#;

fn message(word: &str) -> String {
    let text = word.repeat(60 * 1024 / word.len());
    format!(r#"{{"jsonrpc":"2.0","method":"send_message","params":{{"message":"{text}"}},"id":1}}"#)
}

fn scan(c: &mut Criterion) {
    let mut group = c.benchmark_group("scan");
    let small = (0..600).map(|n| SHORT.replace("12", &n.to_string())).collect::<Vec<_>>().join(",");
    let numbers = (0..10_000).map(|n| n.to_string()).collect::<Vec<_>>().join(", ");
    for (name, text) in [
        ("short_ascii", SHORT.to_string()),
        ("short_cyrillic", CYRILLIC.to_string()),
        ("short_seed", SEED.to_string()),
        ("long_ascii", message("Hello everyone, how are you? ")),
        ("long_cyrillic", message("Привет всем, как дела? ")),
        ("long_japanese", message("こんにちは、みなさん。")),
        ("long_emoji", message("😀👍")),
        ("long_escapes", message(r#"a\n\"\ud83d\ude00"#)),
        ("batch_of_600", format!("[{small}]")),
        ("numbers", format!("[{numbers}]")),
    ] {
        group.throughput(Throughput::Bytes(text.len() as u64));
        let bytes = text.as_bytes();
        group.bench_function(name, |b| {
            let mut scanner = Scanner::new(64);
            b.iter(|| assert_eq!(scanner.scan(black_box(bytes)), Scan::Done { used: bytes.len() }));
        });
        if name == "short_ascii" || name == "long_cyrillic" {
            group.bench_function(format!("{name}_byte_by_byte"), |b| {
                let mut scanner = Scanner::new(64);
                b.iter(|| {
                    bytes.iter().filter(|byte| scanner.scan(std::slice::from_ref(byte)) != Scan::More).count()
                });
            });
        }
    }
    group.finish();
}

fn read(c: &mut Criterion) {
    const RULES: &[Param] = &[Param::text("message")];
    let mut group = c.benchmark_group("read");
    for (name, text) in [("v2", SHORT), ("seed", SEED)] {
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(format!("{name}_members"), |b| b.iter(|| members(black_box(text)).count()));
        group.bench_function(format!("{name}_parse"), |b| b.iter(|| Request::parse(black_box(text), false)));
        group.bench_function(format!("{name}_parse_and_bind"), |b| {
            b.iter(|| {
                let request = Request::parse(black_box(text), false).expect("a request");
                bind(request.params, RULES)
            });
        });
        group.bench_function(format!("{name}_scan_parse_and_bind"), |b| {
            let mut scanner = Scanner::new(64);
            b.iter(|| {
                let text = black_box(text);
                let Scan::Done { used } = scanner.scan(text.as_bytes()) else { panic!("a text") };
                let request = Request::parse(&text[..used], false).expect("a request");
                bind(request.params, RULES)
            });
        });
    }
    let batch = format!("[{}]", vec![SHORT; 600].join(","));
    group.throughput(Throughput::Bytes(batch.len() as u64));
    group.bench_function("elements_of_a_batch", |b| b.iter(|| elements(black_box(&batch)).count()));
    group.finish();
}

criterion_group!(benches, scan, read);
criterion_main!(benches);
