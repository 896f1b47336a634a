//! `rawline explain`: the two ledgers beside each other, as a table or as JSON.
//!
//! What is counted is the library's; here it is laid out, and the request is put together as a client would send it.

use std::io::{self, Read};

use rawline::explain::{Explanation, Request, Row, explain};
use rawline::service::chat::{Chat, Rules};
use rawline::transport::server::raise_descriptor_limit;
use rawline::{Wire, log};
use serde_json::json;

use super::{failed, print};
use crate::Failure;
use crate::cli::explain::Explain;

/// No more is read of standard input: it is more than any server takes for one message.
const LARGEST: u64 = 64 * 1024 * 1024;

/// Runs it to its end.
///
/// # Errors
/// The system gives no sockets.
pub fn run(asked: Explain) -> Result<(), Failure> {
    raise_descriptor_limit().map_err(Failure::system)?;
    let request = Request {
        wire: asked.wire,
        before: asked.before.iter().map(|text| sent(asked.wire, text.as_bytes().to_vec())).collect(),
        bytes: sent(asked.wire, written(&asked.request)?),
        clients: asked.clients,
    };
    let explained = explained(&request)?;
    let growth = growth(&request)?;
    let text = if asked.json {
        as_json(&request, &explained, &growth)
    } else {
        table(&request, &explained, &growth)
    };
    print(text.as_bytes()).map(drop)
}

fn explained(request: &Request) -> Result<Explanation, Failure> {
    explain(request, || Chat::new(Rules::default())).map_err(Failure::system)
}

fn written(request: &str) -> Result<Vec<u8>, Failure> {
    if request != "-" {
        return Ok(request.as_bytes().to_vec());
    }
    let mut bytes = Vec::new();
    let read = io::stdin().take(LARGEST).read_to_end(&mut bytes);
    read.map_err(|error| failed(format!("the request cannot be read: {error}")))?;
    Ok(bytes)
}

/// As a client sends it: texts and lines end in a line feed.
fn sent(wire: Wire, mut bytes: Vec<u8>) -> Vec<u8> {
    if wire != Wire::Echo && !bytes.ends_with(b"\n") {
        bytes.push(b'\n');
    }
    bytes
}

/// So many clients, so many calls beforehand, so many counted.
struct Size {
    clients: usize,
    predicted: usize,
    measured: usize,
}

/// The same request in rooms of 1, 2, 4 and so on up to the one asked for; nothing below three.
fn growth(request: &Request) -> Result<Vec<Size>, Failure> {
    if request.clients < 3 {
        return Ok(Vec::new());
    }
    let smaller = (0..).map(|power| 1 << power).take_while(|&clients| clients < request.clients);
    let size = |clients| {
        let Explanation { predicted, measured } = explained(&Request { clients, ..request.clone() })?;
        Ok(Size { clients, predicted: predicted.len(), measured: measured.len() })
    };
    smaller.chain([request.clients]).map(size).collect()
}

fn table(request: &Request, explained: &Explanation, growth: &[Size]) -> String {
    let shown: String = String::from_utf8_lossy(&request.bytes).trim_end().chars().take(100).collect();
    let mut text = format!(
        "{}\n{} bytes on {}, {} connected\n\n",
        log::escaped(shown),
        request.bytes.len(),
        request.wire,
        request.clients
    );
    let line = |call: &str, of: &str, predicted: &str, measured: &str, why: &str| {
        format!("{call:<12} {of:<11} {predicted:>9} {measured:>9}   {why}").trim_end().to_owned() + "\n"
    };
    text += &line("call", "of", "predicted", "measured", "why");
    let rows = explained.rows();
    for Row { call, of, predicted, measured, why, .. } in &rows {
        text += &line(call, of, &predicted.to_string(), &measured.to_string(), why);
    }
    let counts = |counted: usize| counted.to_string();
    let (predicted, measured) = (&explained.predicted, &explained.measured);
    text += &line("together", "", &counts(predicted.len()), &counts(measured.len()), "");
    text += &line(
        "epoll_wait",
        "",
        "",
        &counts(measured.waits()),
        "apart: how often a loop wakes up is the scheduler's affair, and here it also looks for what may come late",
    );
    text.push('\n');
    let mut agree = true;
    for Row { call, of, predicted, measured, difference, .. } in &rows {
        if let Some(difference) = difference {
            text += &format!("{call} of {of}: {predicted} predicted, {measured} measured: {difference}.\n");
            agree = false;
        }
    }
    if agree {
        text += "The prediction was right.\n";
    }
    if !growth.is_empty() {
        text += &format!("\n{:>9} {:>9} {:>9}\n", "clients", "predicted", "measured");
        for Size { clients, predicted, measured } in growth {
            text += &format!("{clients:>9} {predicted:>9} {measured:>9}\n");
        }
    }
    text
}

fn as_json(request: &Request, explained: &Explanation, growth: &[Size]) -> String {
    let row = |row: &Row| {
        json!({
            "call": row.call, "of": row.of, "predicted": row.predicted, "measured": row.measured,
            "why": row.why, "difference": row.difference,
        })
    };
    let size = |size: &Size| json!({ "clients": size.clients, "predicted": size.predicted, "measured": size.measured });
    let object = json!({
        "bytes": request.bytes.len(),
        "service": request.wire.to_string(),
        "clients": request.clients,
        "calls": explained.rows().iter().map(row).collect::<Vec<_>>(),
        "predicted": explained.predicted.len(),
        "measured": explained.measured.len(),
        "waits": explained.measured.waits(),
        "growth": growth.iter().map(size).collect::<Vec<_>>(),
    });
    format!("{object}\n")
}
