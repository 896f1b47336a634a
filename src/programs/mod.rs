//! What the commands other than `serve` do: the clients, between the library and the terminal.
//!
//! Here a client's outcome becomes what a person or a script sees: standard output, one line on standard error, an
//! exit code. Arguments are read already. Whoever closes standard output early has read enough: that is no
//! failure. Called by `main`.

pub mod chat;
pub mod config;
pub mod echo;
pub mod explain;
pub mod files;
pub mod lab;
pub mod rpc;
pub mod stats;
mod width;

use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::time::Duration;

use rawline::client::dial::{self, DialError};
use rawline::client::rpc::CallError;
use rawline::config::Endpoint;

use crate::Failure;
use crate::exit::{FAILED, PROTOCOL, REFUSED, SILENT, UNAVAILABLE};

/// A connection to the server.
fn connect(to: &Endpoint, timeout: Duration) -> Result<OwnedFd, Failure> {
    dial::connect(to, timeout).map_err(|error| unreachable(&error))
}

/// There is no connection.
fn unreachable(error: &DialError) -> Failure {
    let remedy = if error.is_refused() { ": is `rawline serve` running there?" } else { "" };
    Failure { exit: UNAVAILABLE, message: format!("{error}{remedy}") }
}

/// Writes all of it to standard output at once; `false`: nobody reads it any more.
fn print(bytes: &[u8]) -> Result<bool, Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(failed(format!("the output cannot be written: {error}"))),
    }
}

/// A call came to nothing.
fn outcome(error: CallError) -> Failure {
    let exit = match error {
        CallError::Refused(_) => REFUSED,
        CallError::TimedOut(_) => SILENT,
        CallError::Nonsense(_) => PROTOCOL,
        CallError::Closed | CallError::Broken(_) | CallError::Output(_) | CallError::System(_) => FAILED,
    };
    Failure { exit, message: error.to_string() }
}

fn failed(message: String) -> Failure {
    Failure { exit: FAILED, message }
}
