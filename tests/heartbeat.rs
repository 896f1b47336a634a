//! The heartbeat over real sockets: who asks gets pings, who then says nothing is cut, who did not ask gets no byte.

#[path = "common/client.rs"]
mod client;
#[path = "common/daemon.rs"]
mod daemon;

use daemon::Daemon;

const SET: &str = r#"{"method":"set_heartbeat","params":{"seconds":1}}"#;
const IS_SET: &str = r#"{"status":"success","message":"Heartbeat every second","seconds":1}"#;

#[test]
fn who_asked_gets_pings_and_lives_as_long_as_he_says_anything() {
    let daemon = Daemon::start(&[]);
    let (mut seed, mut v2, mut quiet) = (daemon.connect(), daemon.connect(), daemon.connect());
    quiet.assert_silent();
    seed.send(SET);
    seed.expect(IS_SET);
    v2.send("{\"jsonrpc\":\"2.0\",\"method\":\"set_heartbeat\",\"params\":[1],\"id\":1}\n");
    v2.expect(&format!("{{\"jsonrpc\":\"2.0\",\"result\":{IS_SET},\"id\":1}}\n"));
    for _ in 0..3 {
        seed.expect(r#"{"type":"ping"}"#);
        seed.send(" "); // white space is a sign of life too
        v2.expect("{\"jsonrpc\":\"2.0\",\"method\":\"ping\",\"params\":{}}\n");
        v2.send("{\"jsonrpc\":\"2.0\",\"method\":\"ping\"}\n");
    }
    quiet.assert_silent();
}

#[test]
fn who_is_silent_for_two_periods_is_cut_and_that_is_told() {
    let daemon = Daemon::start(&[]);
    let (mut other, mut dead) = (daemon.connect(), daemon.connect());
    dead.send(r#"{"method":"join_chat","params":["Dead"]}"#);
    dead.read_object();
    dead.read_object();
    other.read_object();
    dead.send(SET);
    dead.expect(IS_SET);
    dead.expect(r#"{"type":"ping"}"#);
    assert!(dead.is_cut(), "by RST, behind whatever was sent");
    other.expect(r#"{"type":"system","message":"Dead has left the chat!","username":"SYSTEM"}"#);
    daemon.still_answers();
}

#[test]
fn zero_ends_it_and_nonsense_is_refused() {
    let daemon = Daemon::start(&[]);
    let mut client = daemon.connect();
    client.send(SET);
    client.expect(IS_SET);
    for seconds in ["-1", "0.5", "86401", "1e300", "\"1\"", "null"] {
        client.send(format!(r#"{{"method":"set_heartbeat","params":[{seconds}]}}"#));
        client.expect(r#"{"error":"Invalid params","code":-32602}"#);
    }
    client.send(r#"{"method":"set_heartbeat","params":[0]}"#);
    client.expect(r#"{"status":"success","message":"Heartbeat is off","seconds":0}"#);
    // A second client's ping comes after the time at which this one's would have.
    let mut clock = daemon.connect();
    clock.send(SET);
    clock.expect(IS_SET);
    clock.expect(r#"{"type":"ping"}"#);
    client.assert_silent();
}
