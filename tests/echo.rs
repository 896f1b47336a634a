//! The echo service over real sockets: every byte comes back, and memory stays where it is.

#[path = "common/client.rs"]
mod client;
#[path = "common/daemon.rs"]
mod daemon;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;

use daemon::Daemon;

fn start() -> Daemon {
    Daemon::start_services(&["rpc", "echo"], &[])
}

fn connect(daemon: &Daemon) -> TcpStream {
    TcpStream::connect(daemon.address_of("echo")).unwrap()
}

/// Bytes that differ from place to place, for any length.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    std::iter::repeat_with(|| next().to_le_bytes()).flatten().take(length).collect()
}

#[test]
fn a_half_closed_client_gets_all_its_bytes_and_then_fin() {
    let daemon = start();
    for length in [0, 1, 5, 16 * 1024, 16 * 1024 + 1, 3_000_000] {
        let bytes = noise(length);
        let mut stream = connect(&daemon);
        let mut back = Vec::new();
        thread::scope(|scope| {
            let mut writer = stream.try_clone().unwrap();
            let bytes = &bytes;
            scope.spawn(move || {
                writer.write_all(bytes).unwrap();
                writer.shutdown(Shutdown::Write).unwrap();
            });
            stream.read_to_end(&mut back).unwrap();
        });
        assert!(back == bytes, "{length} bytes");
    }
}

#[test]
fn many_echoes_at_once_do_not_mix() {
    let daemon = start();
    let mut streams: Vec<TcpStream> = (0..200).map(|_| connect(&daemon)).collect();
    for round in 0..5 {
        for (n, stream) in streams.iter_mut().enumerate() {
            stream.write_all(format!("{round}-{n};").as_bytes()).unwrap();
        }
        for (n, stream) in streams.iter_mut().enumerate() {
            let expected = format!("{round}-{n};");
            let mut back = vec![0; expected.len()];
            stream.read_exact(&mut back).unwrap();
            assert_eq!(back, expected.as_bytes());
        }
    }
}

#[test]
fn who_does_not_read_is_paused_and_loses_nothing() {
    let daemon = start();
    let mut stream = connect(&daemon);
    let memory = daemon.resident_bytes();
    // The kernels between hold a few megabytes; then the server stops reading, and so writing stops.
    let chunk = noise(1 << 20);
    let mut sent = Vec::new();
    stream.set_nonblocking(true).unwrap();
    let mut stuck = 0;
    while stuck < 3 {
        match stream.write(&chunk) {
            Ok(n) => {
                sent.extend_from_slice(&chunk[..n]);
                stuck = 0;
            }
            // Others are served meanwhile: their round trips give the server time to take more.
            Err(_) => {
                daemon.still_answers();
                stuck += 1;
            }
        }
        assert!(sent.len() < 256 << 20, "it takes for ever");
    }
    assert!(daemon.resident_bytes() < memory + (4 << 20), "backpressure, not memory");
    stream.set_nonblocking(false).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut back = Vec::new();
    stream.read_to_end(&mut back).unwrap();
    assert!(back == sent, "{} bytes were sent, {} came back", sent.len(), back.len());
}

#[test]
fn a_reset_in_the_middle_harms_nobody() {
    let daemon = start();
    let before = daemon.descriptors();
    for _ in 0..20 {
        let mut stream = connect(&daemon);
        stream.write_all(&noise(100_000)).unwrap();
        drop(stream); // with unread bytes: RST
    }
    daemon.await_descriptors(before);
    daemon.still_answers();
}
