//! The command line of a build without the feature `cli`: `rawline` and `rawline serve`, and no flags.
//!
//! It never guesses: any other argument is an error that says where the setting goes instead.

use std::ffi::OsString;

use super::{Command, introduction};
use crate::Failure;
use crate::exit::USAGE;

/// What the arguments, the program's name first, ask for.
///
/// # Errors
/// Anything but nothing or `serve`.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, Failure> {
    let mut arguments = arguments.into_iter().skip(1);
    match (arguments.next(), arguments.next()) {
        (None, _) => Ok(Command::Print(introduction())),
        (Some(command), None) if command == "serve" => Ok(Command::Serve(Default::default())),
        (Some(command), Some(argument)) if command == "serve" => Err(no_flags(&argument)),
        (Some(argument), _) => Err(no_flags(&argument)),
    }
}

fn no_flags(argument: &OsString) -> Failure {
    Failure {
        exit: USAGE,
        message: format!(
            "{argument:?}: this build knows only `rawline serve`, without flags (it lacks the feature cli): \
             name a file with RAWLINE_CONFIG, or set RAWLINE_RPC=127.0.0.1:65432 and the like"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_other_argument_says_what_to_use_instead() {
        for arguments in [&["rawline", "serve", "--rpc=off"][..], &["rawline", "--rpc=off"]] {
            let failure = parse(arguments.iter().map(Into::into)).unwrap_err();
            assert_eq!(failure.exit, USAGE);
            assert_eq!(
                failure.message,
                "\"--rpc=off\": this build knows only `rawline serve`, without flags (it lacks the feature \
                 cli): name a file with RAWLINE_CONFIG, or set RAWLINE_RPC=127.0.0.1:65432 and the like"
            );
        }
    }
}
