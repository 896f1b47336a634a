//! `rawline rpc`: one call, and with `--watch` what the server says after it.
//!
//! Checks the parameters before it connects, so a mistake costs nothing. A result is laid out for a terminal and is
//! one line in a pipe; a push is always one line, written at once. What a server sends never commands the
//! terminal, and in a pipe it is not touched.

use std::io::{self, IsTerminal, Read};
use std::os::fd::AsFd;

use rawline::client::json;
use rawline::client::rpc::{CallError, Session};

use super::{connect, failed, outcome, print};
use crate::Failure;
use crate::cli::rpc::Rpc;
use crate::exit::USAGE;

/// No server takes parameters of so many bytes.
const LARGEST: u64 = 64 * 1024 * 1024;

/// Runs it to its end.
///
/// # Errors
/// Bad parameters, no connection, no answer, or an error as the answer.
pub fn run(rpc: Rpc) -> Result<(), Failure> {
    let written = match rpc.params.as_deref() {
        Some("-") => Some(standard_input()?),
        written => written.map(|text| text.as_bytes().to_vec()),
    };
    let params = written.as_deref().map(json::check).transpose().map_err(|mistake| Failure {
        exit: USAGE,
        message: format!("the parameters are no JSON object or array: {mistake}"),
    })?;
    let on_terminal = io::stdout().is_terminal();
    let push = |text: &str| {
        let line = json::compact(text);
        let line = if on_terminal { json::for_terminal(&line) } else { line };
        match print(format!("{line}\n").as_bytes()) {
            Ok(true) => Ok(()),
            Ok(false) => Err(io::ErrorKind::BrokenPipe.into()),
            Err(failure) => Err(io::Error::other(failure.message)),
        }
    };

    let server = connect(&rpc.to, rpc.timeout)?;
    let mut session = Session::new(&server).map_err(outcome)?;
    let result =
        session.call(&rpc.method, params, rpc.timeout, |text| if rpc.watch { push(text) } else { Ok(()) });
    let result = match result {
        Err(CallError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
        result => result.map_err(outcome)?,
    };
    let shown = match on_terminal {
        true => json::for_terminal(&json::pretty(&result)),
        false => json::compact(&result),
    };
    if !print(format!("{shown}\n").as_bytes())? || !rpc.watch {
        return Ok(());
    }
    match session.listen(io::stdout().as_fd(), push) {
        Err(CallError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        heard => heard.map_err(outcome),
    }
}

fn standard_input() -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    io::stdin()
        .take(LARGEST)
        .read_to_end(&mut bytes)
        .map_err(|error| failed(format!("the parameters cannot be read: {error}")))?;
    Ok(bytes)
}
