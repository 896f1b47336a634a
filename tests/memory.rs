//! The memory that the daemon says it can come to is what it stays below, while clients fill every buffer they can.

#![cfg(target_os = "linux")]

#[path = "common/client.rs"]
mod client;
#[path = "common/daemon.rs"]
mod daemon;
#[path = "common/share.rs"]
mod share;

use client::Client;
use daemon::Daemon;
use rawline::Limits;
use rawline::memory::{Sharing, line, terms, total};
use rawline::transport::server::raise_descriptor_limit;
use share::{Share, get, noise, put2};

const MIB: usize = 1024 * 1024;

/// Round trips until the daemon has taken in so much, or a panic: every look is one, by which it goes on.
fn await_resident(daemon: &Daemon, least: usize) {
    for _ in 0..20_000 {
        daemon.still_answers();
        if daemon.resident_bytes() >= least {
            return;
        }
    }
    panic!("{} bytes are resident, {least} were to be", daemon.resident_bytes());
}

#[test]
fn under_attack_it_stays_inside_the_sum_that_it_prints() {
    raise_descriptor_limit().unwrap();
    let limits = Limits { max_connections: 700, total_out_bytes: 8 * MIB, ..Limits::default() };
    let sum = terms(&limits, 50, Sharing::default());
    let daemon = Daemon::start_services(
        &["rpc", "line", "echo"],
        &["max_connections=700", "total_out_bytes=8MiB", "sndbuf=16KiB"],
    );
    daemon.still_answers();
    let (idle, descriptors) = (daemon.resident_bytes(), daemon.descriptors());
    let rpc = daemon.address();

    // Messages that never end, a byte below the bound.
    let unfinished = format!(r#"{{"method":"{}"#, "x".repeat(limits.max_message_bytes - 12));
    let mut crowd: Vec<Client> = Vec::new();
    for _ in 0..300 {
        let mut client = Client::connect(rpc);
        client.send(&unfinished);
        crowd.push(client);
    }
    let input = 300 * limits.max_message_bytes;
    await_resident(&daemon, idle + input);
    assert!(daemon.peak_bytes() <= idle + input + 24 * MIB, "{}", daemon.peak_bytes());

    // Lines and echoes that never end, and nobody reads.
    for _ in 0..100 {
        let mut line = Client::connect(daemon.address_of("line"));
        line.send("x".repeat(limits.max_line_bytes - 1));
        let mut echo = Client::connect_narrow(daemon.address_of("echo"));
        echo.send([b'e'; 8 * 1024]);
        crowd.extend([line, echo]);
    }
    // Answers that nobody reads: 100 bytes asked, a list of long names each.
    let names: Vec<Client> = (0..60)
        .map(|n| {
            let mut client = Client::connect(rpc);
            client.send(format!(r#"{{"method":"join_chat","params":["{}{n:02}"]}}"#, "𝒜".repeat(48)));
            client.read_object();
            client
        })
        .collect();
    for n in 0..60 {
        let mut client = Client::connect_narrow(rpc);
        let ask = format!(r#"{{"jsonrpc":"2.0","method":"get_users","id":{n}}}"#);
        client.send(match n % 2 {
            0 => ask.repeat(200),
            _ => format!("[{}]", [ask.as_str(); 200].join(",")),
        });
        crowd.push(client);
    }
    // A room that is shouted full, where sixty do not read: they are cut, and the speaker is not.
    let mut speaker = Client::connect(rpc);
    let said = format!(r#"{{"method":"send_message","params":["{}"]}}"#, "𝒜".repeat(1000));
    for _ in 0..200 {
        speaker.send(&said);
        while !speaker.read_object().contains(r#""status":"success""#) {}
    }
    daemon.still_answers();
    let (peak, most) = (daemon.peak_bytes(), total(&sum));
    assert!(peak <= most, "{peak} bytes at most, of {most}");

    drop((crowd, names, speaker));
    daemon.await_descriptors(descriptors);
    let (exit, log) = daemon.stop();
    assert_eq!(exit, 0);
    let told = format!("memory at most {}\n", line(&sum));
    assert!(log.contains(&told), "{told} is not in\n{log}");
    println!("idle {idle}, peak {peak}, sum {most}");
}

/// Lists and downloads that nobody reads, uploads that stop in the middle, more of them than may be under way, and commands
/// that never end.
#[test]
fn under_attack_on_its_files_it_stays_inside_the_sum_too() {
    raise_descriptor_limit().unwrap();
    let limits = Limits { max_connections: 500, total_out_bytes: 8 * MIB, ..Limits::default() };
    let sum = terms(&limits, 50, Sharing { files: true, writable: true });
    let share = Share::new(
        "memory",
        &[
            "max_connections=500",
            "total_out_bytes=8MiB",
            "sndbuf=16KiB",
            "files_writable=true",
            "disk_reserve=0",
        ],
    );
    (0..2000).for_each(|n| share.write(&format!("{n:0>200}"), b""));
    share.write("large", &noise(4 * MIB));
    let daemon = &share.daemon;
    daemon.still_answers();
    let (idle, descriptors) = (daemon.resident_bytes(), daemon.descriptors());
    let mut crowd = Vec::new();
    for n in 0..100 {
        let asked: [Vec<u8>; 4] =
            [vec![1], get("large"), put2(&format!("upload {n}"), 1 << 20, [0; 32]), vec![2, b'n']];
        for bytes in asked {
            let mut wire = share.connect();
            wire.send(&bytes);
            if bytes[0] == 0x13 {
                wire.send(noise(64 * 1024));
            }
            crowd.push(wire);
        }
    }
    // A list is half a MiB, of which the sockets take what they take.
    await_resident(daemon, idle + 16 * MIB);
    daemon.still_answers();
    let (peak, most) = (daemon.peak_bytes(), total(&sum));
    assert!(peak <= most, "{peak} bytes at most, of {most}");
    drop(crowd);
    daemon.await_descriptors(descriptors);
    println!("idle {idle}, peak {peak}, sum {most}");
}
