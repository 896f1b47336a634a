//! The chat on the real kernel, when its calls are interrupted or fail for a moment, injected by strace: nobody notices.
//!
//! The simulation has every fault that the loop can see. EINTR is retried below that seam, so it is proved here.

#![cfg(target_os = "linux")]

#[path = "common/client.rs"]
mod client;
#[path = "common/daemon.rs"]
mod daemon;

use std::fs;
use std::process::{self, Command, Stdio};

use daemon::Daemon;

/// Three who talk in turn: each hears what the others say, in one order, and every request has its answer.
fn talk(daemon: &Daemon) {
    const ROUNDS: usize = 6;
    let mut clients: Vec<_> = (0..3).map(|_| daemon.connect()).collect();
    for client in &mut clients {
        // All are there before anybody speaks.
        client.send(client::PING);
        client.expect(client::PONG);
    }
    for round in 0..ROUNDS {
        for speaker in 0..clients.len() {
            let text = format!("{round}.{speaker}");
            clients[speaker].send(format!(r#"{{"method":"send_message","params":{{"message":"{text}"}}}}"#));
            assert_eq!(clients[speaker].read_value()["status"], "success", "{text}");
            for (at, client) in clients.iter_mut().enumerate() {
                if at != speaker {
                    assert_eq!(client.read_value()["message"], *text);
                }
            }
        }
    }
    // A stream that fills the socket: many short writes and reads of it.
    clients[0].send(client::PING.repeat(2_000));
    for _ in 0..2_000 {
        clients[0].expect(client::PONG);
    }
    // One is refused: FIN follows the error.
    let mut deep = daemon.connect();
    deep.send("[".repeat(200));
    deep.expect_end(r#"{"error":"Parse error","code":-32700}"#);
    for client in &mut clients {
        client.finish();
    }
}

#[test]
fn interrupted_and_passing_faults_are_not_noticed() {
    let can_trace = Command::new("strace").args(["-o", "/dev/null", "true"]).stderr(Stdio::null()).status();
    if !can_trace.is_ok_and(|status| status.success()) {
        return println!("skipped: strace is missing, or may not trace here");
    }
    let trace = std::env::temp_dir().join(format!("rawline-call-faults-{}", process::id()));
    for injection in [
        "accept4:error=EINTR:when=1+2",
        "accept4:error=ECONNABORTED:when=2+3",
        "accept4:error=EPROTO:when=2+3",
        "accept4:error=ENOBUFS:when=1",
        "recvfrom,readv:error=EINTR:when=1+2",
        "recvfrom,readv:error=EAGAIN:when=2+3",
        "sendto,sendmsg:error=EINTR:when=1+2",
        "sendto,sendmsg:error=EAGAIN:when=2+3",
        "epoll_wait,epoll_pwait,epoll_pwait2:error=EINTR:when=2+3",
        "shutdown:error=EINTR:when=1+2",
    ] {
        let inject = format!("inject={injection}");
        let strace = ["strace", "-f", "-qq", "-o", trace.to_str().unwrap(), "-e", &inject];
        let daemon = Daemon::start_under(&strace, &[]);
        talk(&daemon);
        let (code, log) = daemon.stop();
        assert_eq!(code, 0, "{injection}: {log}");
        let happened = fs::read_to_string(&trace).unwrap();
        let times = happened.lines().filter(|line| line.ends_with("(INJECTED)")).count();
        println!("{injection}: {times}");
        assert!(times > 0, "{injection} never happened:\n{happened}");
    }
    fs::remove_file(&trace).unwrap();
}
