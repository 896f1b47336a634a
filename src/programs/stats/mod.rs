//! `rawline stats`: asks a server what it has counted, and shows it.
//!
//! Names, helps and numbers are the server's, so a newer one needs no newer client; what they look like is decided here. A
//! name that could mean something to whoever reads it next is nonsense, and so is an answer of another shape.

mod prometheus;
mod table;

use std::io::{self, IsTerminal};

use rawline::Stats;
use rawline::client::json;
use rawline::client::rpc::Session;
use serde::{Deserialize, Serialize};

use super::{connect, outcome, print};
use crate::Failure;
use crate::cli::stats::{Form, Stats as Asked};
use crate::exit::PROTOCOL;

/// The answer to `get_stats` in its full form.
#[derive(Deserialize)]
struct Answer {
    version: String,
    stats: Stats<String>,
}

/// Runs it to its end.
///
/// # Errors
/// No connection, no answer, a refusal, or an answer that makes no sense.
pub fn run(asked: Asked) -> Result<(), Failure> {
    let server = connect(&asked.of, asked.timeout)?;
    let mut session = Session::new(&server).map_err(outcome)?;
    let result = session
        .call("get_stats", Some(r#"{"format":"full"}"#), asked.timeout, |_| Ok(()))
        .map_err(outcome)?;
    let answer = read(&result).map_err(|why| Failure {
        exit: PROTOCOL,
        message: format!("what the server answered are no statistics: {why}"),
    })?;
    let text = match asked.form {
        Form::Table => table::text(&asked.of.to_string(), &answer.version, &answer.stats),
        Form::Prometheus => prometheus::text(&answer.version, &answer.stats),
        Form::Json => {
            #[derive(Serialize)]
            struct Shown<'a, T: Serialize> {
                version: &'a str,
                #[serde(flatten)]
                stats: T,
            }
            let shown = Shown { version: &answer.version, stats: answer.stats.by_name() };
            let object = serde_json::to_string(&shown).expect("names and numbers can be written");
            match io::stdout().is_terminal() {
                true => json::for_terminal(&json::pretty(&object)) + "\n",
                false => object + "\n",
            }
        }
    };
    print(text.as_bytes()).map(drop)
}

fn read(result: &str) -> Result<Answer, String> {
    let answer: Answer = serde_json::from_str(result).map_err(|error| error.to_string())?;
    let is_word = |text: &str| {
        !text.is_empty()
            && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
    };
    for sample in &answer.stats.samples {
        let label = sample.label.as_ref().map_or([""; 2], |(key, value)| [key, value]);
        let bad = [sample.name.as_str()].into_iter().chain(label.into_iter().filter(|word| !word.is_empty()));
        if let Some(bad) = bad.into_iter().find(|word| !is_word(word)) {
            return Err(format!("{bad:?} is no name"));
        }
    }
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Statistics of each kind, as a server answers them.
    pub(super) fn example() -> Stats<String> {
        read(EXAMPLE).unwrap().stats
    }

    const EXAMPLE: &str = r#"{"version":"0.1.0","stats":{"samples":[
        {"name":"connections","label":null,"help":"Open connections.","is_gauge":true,"value":3},
        {"name":"uptime_ms","label":null,"help":"Milliseconds since the server began.","is_gauge":true,"value":8107250},
        {"name":"bytes_in","label":null,"help":"Bytes read from connections.","is_gauge":false,"value":1572864},
        {"name":"closed","label":["reason","peer"],"help":"Connections ended, by reason.","is_gauge":false,"value":12345},
        {"name":"closed","label":["reason","reset"],"help":"Connections ended, by reason.","is_gauge":false,"value":0},
        {"name":"accepted","label":null,"help":"Connections \\ accepted.","is_gauge":false,"value":7}],
        "turn_time":{"buckets":[0,2,0,0,0,0,5,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,1],"total_us":9000300}}}"#;

    #[test]
    fn what_could_mean_something_else_is_refused() {
        assert!(read(EXAMPLE).is_ok());
        for (from, to) in [
            ("\"accepted\"", r#""accepted{x=\"y\"}""#),
            ("\"accepted\"", "\"\""),
            ("\"reset\"", r#""\u001b[31m""#),
            ("\"reset\"", r#""a\nb""#),
        ] {
            let why = read(&EXAMPLE.replace(from, to)).err().unwrap();
            assert!(why.ends_with("is no name"), "{why}");
        }
        assert!(read("{}").is_err());
        assert!(read("[]").is_err());
    }
}
