//! `rawline echo`: a text for its echo, or standard input through the server to standard output.
//!
//! On a terminal the second is a conversation, because a terminal hands over a line at a time. Judges the
//! outcome: what is not complete and equal is a failure. The bytes themselves go through untouched.

use std::io::{self, IsTerminal, Write};
use std::os::fd::{AsFd, OwnedFd};

use rawline::client::echo::{End, Tally, exchange, pipe};
use rawline::config::show_time;
use rawline::log;

use super::{connect, failed, print};
use crate::Failure;
use crate::cli::echo::Echo;
use crate::exit::SILENT;

/// Runs it to its end.
///
/// # Errors
/// No connection, or not everything came back as it was sent.
pub fn run(echo: Echo) -> Result<(), Failure> {
    let server = connect(&echo.to, echo.timeout)?;
    match &echo.text {
        Some(text) => one_shot(&server, text, &echo),
        None => through(&server, &echo),
    }
}

fn one_shot(server: &OwnedFd, text: &[u8], echo: &Echo) -> Result<(), Failure> {
    let (mut came, tally) = exchange(server, text, echo.timeout).map_err(Failure::system)?;
    let differs = came.iter().zip(text).position(|(ours, theirs)| ours != theirs);
    if io::stdout().is_terminal() && !came.ends_with(b"\n") {
        came.push(b'\n');
    }
    print(&came)?;
    judge(tally, echo)?;
    match differs {
        Some(at) => Err(failed(format!("what came back is not what was sent, from byte {} on", at + 1))),
        None => Ok(()),
    }
}

fn through(server: &OwnedFd, echo: &Echo) -> Result<(), Failure> {
    let (input, output) = (io::stdin(), io::stdout());
    if input.is_terminal() {
        let hint = format!("connected to {}: what you type comes back, Ctrl-D ends", echo.to);
        let _ = writeln!(io::stderr(), "{}", log::escaped(hint));
    }
    let tally = pipe(server, input.as_fd(), output.as_fd(), echo.timeout)
        .map_err(|error| failed(error.to_string()))?;
    judge(tally, echo)
}

fn judge(tally: Tally, echo: &Echo) -> Result<(), Failure> {
    let Tally { sent, received, end } = tally;
    let account = format!("{received} of {sent} bytes came back");
    match end {
        End::OutputClosed => Ok(()),
        End::Complete if sent == received => Ok(()),
        End::Complete => Err(failed(format!("{received} bytes came back, {sent} were sent"))),
        End::ServerLeft => Err(failed(format!("the server closed the connection early: {account}"))),
        End::Broken(error) => {
            let error = io::Error::from_raw_os_error(error);
            Err(failed(format!("the connection broke: {error}: {account}")))
        }
        End::Silent => {
            let time = show_time(echo.timeout);
            Err(Failure { exit: SILENT, message: format!("the server fell silent for {time}: {account}") })
        }
    }
}
