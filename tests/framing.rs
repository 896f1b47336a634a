//! Where texts begin and end on the wire: glued, split, broken, too large, too deep. Each test that sends what
//! it should not ends with proof that the server goes on, on the same connection where that stays usable.

#[path = "common/client.rs"]
mod client;
#[path = "common/daemon.rs"]
mod daemon;

use client::{Client, PING, PONG};
use daemon::Daemon;

const PARSE_ERROR: &str = r#"{"error":"Parse error","code":-32700}"#;
const INVALID: &str = r#"{"error":"Invalid request","code":-32600}"#;
const NOT_JSON_RPC: &str = r#"{"error":"Only JSON RPC messages are supported","code":-32600}"#;

fn start() -> (Daemon, Client) {
    let daemon = Daemon::start(&[]);
    let client = daemon.connect();
    (daemon, client)
}

/// Two clients, the second of which hears what the first says.
fn start_two() -> (Daemon, Client, Client) {
    let (daemon, mut speaker) = start();
    let mut listener = daemon.connect();
    for client in [&mut speaker, &mut listener] {
        client.assert_silent();
    }
    (daemon, speaker, listener)
}

fn say(message: &str) -> String {
    format!(r#"{{"method":"send_message","params":{{"message":"{message}"}}}}"#)
}

fn heard(message: &str, speaker: &Client) -> String {
    format!(r#"{{"type":"chat","message":"{message}","username":"User_{}"}}"#, speaker.port())
}

const SENT: &str = r#"{"status":"success","message":"Message sent successfully"}"#;

// --- splits ---

#[test]
fn glued_requests_are_answered_in_order() {
    let (_daemon, mut client) = start();
    client.send(r#"{"method":"ping","id":1}{"method":"nope","id":2}{"method":"ping","id":3}"#);
    client.expect(r#"{"status":"success","message":"pong","id":1}"#);
    client.expect(r#"{"error":"Method not found","code":-32601,"id":2}"#);
    client.expect(r#"{"status":"success","message":"pong","id":3}"#);
    client.assert_silent();
}

#[test]
fn any_json_white_space_may_stand_between_requests() {
    let (_daemon, mut client) = start();
    client.send(format!("{PING} \t\r{PING}"));
    client.expect(PONG);
    client.expect(PONG);
    client.assert_silent();
    client.send(format!("\r\n \n\t{PING} \n\n\r\n {PING}\n"));
    // The first LF came late, behind the last pong.
    client.expect("\n");
    for _ in 0..2 {
        assert_eq!(client.read_line(), PONG);
    }
    client.still_answers();
}

#[test]
fn ten_thousand_glued_requests_get_ten_thousand_answers_in_order() {
    let (_daemon, mut client) = start();
    let requests: String = (0..10_000).map(|n| format!(r#"{{"method":"ping","id":{n}}}"#)).collect();
    client.send(requests);
    for n in 0..10_000 {
        client.expect(&format!(r#"{{"status":"success","message":"pong","id":{n}}}"#));
    }
    client.assert_silent();
}

#[test]
fn a_request_may_come_a_byte_at_a_time() {
    let (_daemon, mut speaker, mut listener) = start_two();
    speaker.send_slowly(say(r#"é😀 \u00e9\ud83d\ude00 \\ \" { [ "#));
    speaker.expect(SENT);
    listener.expect(&heard(r#"\u00e9\ud83d\ude00 \u00e9\ud83d\ude00 \\ \" { ["#, &speaker));
    speaker.send_slowly(r#"{"params":[],"id":-12.5e+3,"method":"ping"}"#);
    speaker.expect(r#"{"status":"success","message":"pong","id":-12.5e+3}"#);
    speaker.assert_silent();
}

#[test]
fn a_request_may_be_split_at_any_byte() {
    let (_daemon, mut speaker, mut listener) = start_two();
    let text = say(r"é\u00e9😀\ud83d\ude00\n");
    for at in 1..text.len() {
        let (one, two) = text.as_bytes().split_at(at);
        // The ping of another proves that the first part has been read by then.
        speaker.send(one);
        listener.assert_silent();
        speaker.send(two);
        speaker.expect(SENT);
        listener.expect(&heard(r"\u00e9\u00e9\ud83d\ude00\ud83d\ude00", &speaker));
    }
}

#[test]
fn brackets_and_quotes_in_strings_end_nothing() {
    let (_daemon, mut speaker, mut listener) = start_two();
    for message in [r#"}{"#, r#"]["#, r#"\"}"#, r#"\\\"}"#, r#"{\"method\":\"ping\"}"#, r#"\\"#, "//*"] {
        speaker.send(say(message));
        speaker.expect(SENT);
        listener.expect(&heard(message, &speaker));
    }
    speaker.assert_silent();
}

#[test]
fn a_thousand_characters_of_four_bytes_pass_in_one_piece_or_in_many() {
    let (_daemon, mut speaker, mut listener) = start_two();
    let heard = heard(&r"\ud83e\udd80".repeat(1000), &speaker);
    for message in ["🦀".repeat(1000), r"\uD83E\uDD80".repeat(1000)] {
        speaker.send(say(&message));
        speaker.expect(SENT);
        listener.expect(&heard);
        for piece in say(&message).as_bytes().chunks(7) {
            speaker.send(piece);
        }
        speaker.expect(SENT);
        listener.expect(&heard);
    }
}

// --- framing out ---

#[test]
fn a_bare_client_never_sees_white_space_between_objects_or_a_byte_that_is_no_ascii() {
    let (daemon, mut bare) = start();
    let mut lines = daemon.connect();
    lines.send("{\"method\":\"join_chat\",\"params\":[\"Zoë 😀\"]}\n");
    for _ in 0..2 {
        lines.read_line();
    }
    lines.send(format!("{}\n", say("sch\u{2028}ön")));
    lines.read_line();
    bare.send(
        r#"{"method":"join_chat","params":["Åse"]}{"method":"get_users","id":"ñ"}{"method":"ünknown"}[]oops"#,
    );
    bare.finish();
    let mut all = String::new();
    for _ in 0..8 {
        // Takes no white space in front of an object.
        all += &bare.read_object();
    }
    assert_eq!(bare.read_to_end(), "");
    assert!(all.is_ascii() && !all.contains(['\n', '\r', '\t']), "{all:?}");
    for part in [r#""message":"Zo\u00eb \ud83d\ude00 has joined"#, r"sch\u2028\u00f6n", r#""id":"\u00f1""#] {
        assert!(all.contains(part), "{part} in {all}");
    }
    daemon.still_answers();
}

#[test]
fn a_client_that_ends_a_request_with_lf_gets_lines_and_utf8() {
    for end in ["\n", " \n", "\t\n", "\r\n", " \t\r \n"] {
        let (daemon, mut client) = start();
        client.send(format!("{PING}{end}"));
        client.expect(&format!("{PONG}\n"));
        client.send(r#"{"id":"é","method":"ping"}"#);
        client.expect("{\"status\":\"success\",\"message\":\"pong\",\"id\":\"é\"}\n");
        let mut other = daemon.connect();
        other.send(say("naïve"));
        other.expect(SENT);
        client.expect(&format!("{}\n", heard("naïve", &other)));
    }
}

#[test]
fn a_late_lf_brings_one_lf_at_once() {
    for end in ["\n", " \n", "\r\n"] {
        let (_daemon, mut client) = start();
        client.send(PING);
        client.expect(PONG);
        client.send(end);
        // Nothing else would send it: it is awaited before anything more is said.
        client.expect("\n");
        client.send("\n\n");
        client.send(PING);
        client.expect(&format!("{PONG}\n"));
    }
}

#[test]
fn a_late_lf_comes_before_what_is_pushed_later_and_after_what_was_pushed_before() {
    let (_daemon, mut speaker, mut listener) = start_two();
    speaker.send(say("one"));
    speaker.expect(SENT);
    listener.expect(&heard("one", &speaker));
    listener.send("\n");
    listener.expect("\n");
    speaker.send(say("two"));
    speaker.expect(SENT);
    listener.expect(&format!("{}\n", heard("two", &speaker)));
}

#[test]
fn lf_that_ends_no_request_switches_nothing() {
    let (_daemon, mut client) = start();
    client.send(format!("\n\r\n \n{PING}"));
    client.expect(PONG);
    client.send(PING);
    client.expect(PONG);
    // Nor does one inside a request.
    client.send("{\n\"method\"\n:\n\"ping\"\n}");
    client.expect(PONG);
    client.assert_silent();
}

#[test]
fn an_lf_behind_a_notification_or_a_batch_counts_too() {
    let (_daemon, mut client) = start();
    client.send("{\"jsonrpc\":\"2.0\",\"method\":\"ping\"}\n");
    client.send(PING);
    client.expect(&format!("{PONG}\n"));
    let (_daemon, mut client) = start();
    client.send(r#"[{"jsonrpc":"2.0","method":"ping","id":1}]"#);
    client.expect(r#"[{"jsonrpc":"2.0","result":{"status":"success","message":"pong"},"id":1}]"#);
    client.send("\n");
    client.expect("\n");
    client.send(PING);
    client.expect(&format!("{PONG}\n"));
}

// --- broken texts ---

#[test]
fn a_broken_line_gets_one_error_and_the_next_line_is_read() {
    let (daemon, mut client) = start();
    for broken in [
        r#"{"method":"ping"]"#,
        r#"{"method" "ping"}{"method":"ping"}"#,
        r#"{method:"ping"}"#,
        r#"{"method":"ping",}"#,
        r#"{'method':'ping'}"#,
        r#"{"method":"ping","id":01}"#,
        r#"{"method":"ping","id":1.}"#,
        r#"{"method":"ping","id":+1}"#,
        r#"{"method":"ping","id":NaN}"#,
        r#"{"method":"ping","id":tru}"#,
        r#"{"method":"pi\ng\x"}"#,
        "{\"method\":\"pi\tng\"}",
        "{\"method\":\"pi\0ng\"}",
        r#"{"method":"\ud800"}"#,
        r#"{"method":"\udc00"}"#,
        r#"{"method":"\ud800\u0041"}"#,
        r#"{"method":"\ud800x"}"#,
        r#"{"method":"\u12g4"}"#,
        "[1,]",
        "[,1]",
        "[1 2]",
        "[}",
        "{]",
        "{,}",
        "{1:2}",
        r#"{"jsonrpc": "2.0", "method": "foobar, "params": "bar", "baz]"#,
        "{ not json {{{ [[[ \"",
    ] {
        client.send(format!("{broken}\n{PING}\n"));
        assert_eq!(client.read_line(), PARSE_ERROR, "{broken}");
        assert_eq!(client.read_line(), PONG, "{broken}");
    }
    client.still_answers();
    daemon.still_answers();
}

#[test]
fn invalid_utf8_is_a_parse_error_and_reaches_nobody() {
    let (daemon, mut client, mut listener) = start_two();
    let sequences: [&[u8]; 9] = [
        b"\xff",
        b"\x80",
        b"\xc3(",
        b"\xc0\xaf",
        b"\xe2\x82",
        b"\xed\xa0\x80",
        b"\xf0\x80\x80\xaf",
        b"\xf4\x90\x80\x80",
        b"\xf8\x88\x80\x80\x80",
    ];
    for bytes in sequences {
        client.send([b"{\"method\":\"send_message\",\"params\":[\"", bytes, b"\"]}\n"].concat());
        client.expect(PARSE_ERROR);
        assert_eq!(client.read_line(), "");
        client.still_answers();
    }
    listener.assert_silent();
    daemon.still_answers();
}

#[test]
fn a_text_is_broken_at_the_byte_that_breaks_it() {
    let (daemon, mut client) = start();
    // Its brackets never close: the error comes without waiting for more.
    client.send(r#"{"jsonrpc": "2.0", "method": "foobar, "p"#);
    client.expect(PARSE_ERROR);
    client.still_answers();
    daemon.still_answers();
}

#[test]
fn a_text_that_begins_with_no_bracket_gets_its_own_error() {
    for text in ["hello", "42", "\"ping\"", "null", "}", "]", "\u{feff}{}", "\0", "GET / HTTP/1.1\r"] {
        let (daemon, mut client) = start();
        client.send(format!("{text}\n"));
        client.expect(&format!("{NOT_JSON_RPC}\n"));
        client.still_answers();
        daemon.still_answers();
    }
}

#[test]
fn after_a_broken_text_all_is_skipped_up_to_lf() {
    let (daemon, mut client) = start();
    client.send("oops");
    client.expect(NOT_JSON_RPC);
    // Reads that begin with anything but a bracket go on with the skipping.
    let mut witness = daemon.connect();
    for part in ["more", " {\"method\":\"ping\"}", "\"{"] {
        client.send(part);
        witness.assert_silent();
    }
    client.send(format!("x{PING} \n{PING}"));
    // The answer to the broken text left without its LF, so that one comes first.
    client.expect(&format!("\n{PONG}\n"));
    client.still_answers();
}

#[test]
fn after_a_broken_text_a_read_of_an_emptied_socket_may_begin_anew() {
    let (daemon, mut client) = start();
    for (broken, error) in [("oops", NOT_JSON_RPC), ("{oops", PARSE_ERROR), ("[1}", PARSE_ERROR)] {
        client.send(broken);
        client.expect(error);
        client.send(PING);
        client.expect(PONG);
        client.send(broken);
        client.expect(error);
        client.send("[1]");
        client.expect(&format!(
            "[{}]",
            r#"{"jsonrpc":"2.0","error":{"code":-32600,"message":"Invalid request","data":"a request is an object"},"id":null}"#
        ));
        // The dialect is 2.0 from now on; the seed's again with the next request.
        client.assert_silent();
    }
    daemon.still_answers();
}

#[test]
fn a_broken_text_is_answered_in_the_dialect_of_the_latest_request() {
    let (daemon, mut client) = start();
    client.send("oops\n");
    assert_eq!(client.read_line(), NOT_JSON_RPC);
    client.send("{\"jsonrpc\":\"2.0\",\"method\":\"ping\"}\n{oops\noops\n");
    for (code, message) in [(-32700, "Parse error"), (-32600, "Only JSON RPC messages are supported")] {
        let mut answer: serde_json::Value = serde_json::from_str(&client.read_line()).unwrap();
        answer["error"].as_object_mut().unwrap().remove("data");
        let expected = serde_json::json!({
            "jsonrpc": "2.0", "error": { "code": code, "message": message }, "id": null
        });
        assert_eq!(answer, expected);
    }
    client.send(format!("{PING}\noops\n"));
    assert_eq!(client.read_line(), PONG);
    assert_eq!(client.read_line(), NOT_JSON_RPC);
    client.still_answers();
    daemon.still_answers();
}

#[test]
fn json_that_is_no_request_is_answered_and_scanning_goes_on_behind_it() {
    let (daemon, mut client) = start();
    for text in [
        "{}",
        r#"{"method":1}"#,
        r#"{"method":null}"#,
        r#"{"method":["ping"]}"#,
        r#"{"params":{}}"#,
        r#"{"method":"ping","method":"ping"}"#,
        r#"{"method":"ping","m\u0065thod":"ping"}"#,
        r#"{"method":"ping","params":{},"params":{}}"#,
        r#"{"method":"ping","x":1,"x":1}"#,
        r#"{"method":"ping","id":1,"id":1}"#,
    ] {
        client.send(format!("{text}{PING}"));
        client.expect(INVALID);
        client.expect(PONG);
    }
    for text in [r#"{"jsonrpc":"1.0","method":"ping"}"#, r#"{"jsonrpc":2.0,"method":"ping"}"#] {
        client.send(format!("{text}{PING}"));
        assert_eq!(client.read_value()["error"]["code"], -32600);
        client.expect(PONG);
    }
    client.still_answers();
    daemon.still_answers();
}

#[test]
fn duplicate_keys_inside_params_are_legal_where_nobody_reads_them() {
    let (_daemon, mut client) = start();
    client.send(r#"{"method":"ping","params":{"a":1,"a":2,"b":{"c":1,"c":1}}}"#);
    client.expect(PONG);
    client.send(r#"{"method":"ping","x":{"y":1,"y":2}}"#);
    client.expect(PONG);
    client.assert_silent();
}

// --- ends ---

#[test]
fn an_unfinished_text_before_fin_is_a_parse_error() {
    for text in ["{", "[", r#"{"method":"ping""#, r#"{"method":"pi"#, "[1,", "{\"method\":\"\u{e9}"] {
        let daemon = Daemon::start(&[]);
        let mut client = daemon.connect();
        client.send(format!("{PING}{text}"));
        client.finish();
        client.expect_end(&format!("{PONG}{PARSE_ERROR}"));
        daemon.still_answers();
    }
}

#[test]
fn an_unfinished_text_before_rst_harms_nobody() {
    let (daemon, mut client) = start();
    client.send(format!("{PING}{{\"method\":"));
    client.expect(PONG);
    client.reset();
    daemon.still_answers();
}

#[test]
fn after_a_half_close_everything_is_answered_and_then_comes_fin() {
    let (daemon, mut client) = start();
    client.send(PING.repeat(5000));
    client.finish();
    assert_eq!(client.read_to_end(), PONG.repeat(5000));
    let mut silent = daemon.connect();
    silent.finish();
    silent.expect_end("");
    let mut skipping = daemon.connect();
    skipping.send("oops");
    skipping.finish();
    skipping.expect_end(NOT_JSON_RPC);
    daemon.still_answers();
}

// --- bounds ---

/// A ping of exactly so many bytes.
fn ping_of(length: usize) -> String {
    let empty = r#"{"method":"ping","x":""}"#;
    empty.replace("\"\"", &format!("\"{}\"", "x".repeat(length - empty.len())))
}

#[test]
fn a_text_of_max_message_bytes_passes_and_one_more_byte_is_refused() {
    for (option, most) in [("max_message_bytes=65536", 65_536), ("max_message_bytes=5000", 5000)] {
        let daemon = Daemon::start(&[option]);
        let mut client = daemon.connect();
        client.send(format!("{}{}", ping_of(most), ping_of(most)));
        client.expect(&PONG.repeat(2));
        client.assert_silent();
        client.send(ping_of(most + 1));
        client.expect_end(INVALID);
        daemon.still_answers();
        // Whether it would be JSON is no question any more; nor where the byte too many comes from.
        let mut client = daemon.connect();
        client.send_slowly("{\"x\":\"");
        client.send("y".repeat(most));
        client.expect_end(INVALID);
        // White space around texts does not count.
        let mut client = daemon.connect();
        client.send(format!("{}{PING}", " ".repeat(3 * most)));
        client.expect(PONG);
        daemon.still_answers();
    }
}

#[test]
fn a_refusal_can_be_read_although_megabytes_more_are_sent() {
    let daemon = Daemon::start(&["drain_max=64MiB"]);
    let before = daemon.descriptors();
    let mut client = daemon.connect();
    client.send(format!("{PING}[\"{}", "x".repeat(8 * 1024 * 1024)));
    client.expect_end(&format!("{PONG}{INVALID}"));
    client.finish();
    wait_for_descriptors(&daemon, before);
    // With a bound on what is thrown away, the end is a reset; the server takes no harm.
    let daemon = Daemon::start(&["drain_max=0"]);
    let before = daemon.descriptors();
    let mut client = daemon.connect();
    client.send(ping_of(70_000));
    drop(client);
    wait_for_descriptors(&daemon, before);
}

/// Asks a new client's question as long as the daemon has more descriptors open than it should: each
/// answer is a turn of its loop.
fn wait_for_descriptors(daemon: &Daemon, expected: usize) {
    let mut client = daemon.connect();
    let mut now = 0;
    for _ in 0..100_000 {
        client.assert_silent();
        now = daemon.descriptors() - 1;
        if now == expected {
            return;
        }
    }
    panic!("{now} descriptors are open, {expected} should be");
}

fn nested(depth: usize) -> String {
    // The request itself is the first level.
    let arrays = depth - 1;
    format!(r#"{{"method":"ping","params":{}{}}}"#, "[".repeat(arrays), "]".repeat(arrays))
}

#[test]
fn nesting_of_max_depth_passes_and_one_more_is_refused() {
    for (option, most) in [("max_depth=64", 64), ("max_depth=3", 3), ("max_depth=127", 127)] {
        let daemon = Daemon::start(&[option]);
        let mut client = daemon.connect();
        client.send(format!("{}{PING}", nested(most)));
        client.expect(&PONG.repeat(2));
        client.send(format!("{}{PING}", nested(most + 1)));
        client.expect_end(PARSE_ERROR);
        daemon.still_answers();
    }
}

#[test]
fn a_hundred_thousand_brackets_get_one_error() {
    for bracket in ["[", "{\"\":"] {
        let (daemon, mut client) = start();
        client.send(bracket.repeat(100_000));
        client.expect_end(PARSE_ERROR);
        daemon.still_answers();
    }
}

#[test]
fn a_number_of_ten_thousand_digits_is_echoed_as_it_came() {
    let (daemon, mut client) = start();
    let digits = "1234567890".repeat(1000);
    for id in [digits.clone(), format!("-{digits}.{digits}e-{digits}")] {
        client.send(format!(r#"{{"id":{id},"method":"ping"}}"#));
        client.expect(&format!(r#"{{"status":"success","message":"pong","id":{id}}}"#));
        client.send(format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping"}}"#));
        client.expect(&format!(
            r#"{{"jsonrpc":"2.0","result":{{"status":"success","message":"pong"}},"id":{id}}}"#
        ));
    }
    client.assert_silent();
    daemon.still_answers();
}

#[test]
fn one_connection_more_than_max_connections_is_told_so() {
    let daemon = Daemon::start(&["max_connections=2"]);
    let (mut one, mut two) = (daemon.connect(), daemon.connect());
    one.assert_silent();
    two.assert_silent();
    let mut three = daemon.connect();
    three.expect_end(r#"{"error":"Too many connections","code":-32000}"#);
    one.assert_silent();
    two.finish();
    two.expect_end("");
    daemon.still_answers();
}
