//! How the process ends: every exit code of every command, once.
//!
//! The codes from 64 on are those of BSD's sysexits(3), where it has one that fits. `rawline exit-codes`, the end of every
//! `--help` and the manual are made from [`CODES`]; README.md is compared with it. Everybody in the binary ends with one
//! of these.
#![cfg_attr(
    not(feature = "cli"),
    allow(dead_code, reason = "without the clients and --help some are not needed")
)]

/// Something failed while it ran, or an echo was not what was sent.
pub const FAILED: u8 = 1;
/// The command line is wrong.
pub const USAGE: u8 = 2;
/// The server answered a call with an error, or refuses to hand out or store a file.
pub const REFUSED: u8 = 3;
/// A server's address is taken, does not exist here, or cannot be resolved; a client cannot reach its server
/// (EX_UNAVAILABLE).
pub const UNAVAILABLE: u8 = 69;
/// rawline has a bug (EX_SOFTWARE).
pub const BUG: u8 = 70;
/// A local file cannot be read or written (EX_IOERR).
pub const LOCAL_FILE: u8 = 74;
/// The server was reached, and did not answer in time (EX_TEMPFAIL).
pub const SILENT: u8 = 75;
/// What the server said makes no sense (EX_PROTOCOL).
pub const PROTOCOL: u8 = 76;
/// The system does not let us (EX_NOPERM).
pub const NO_PERMISSION: u8 = 77;
/// The configuration is wrong: environment, file, or an address that is not allowed (EX_CONFIG).
pub const CONFIGURATION: u8 = 78;

/// An exit code.
pub struct Exit {
    /// The code.
    pub code: u8,
    /// What it says whoever ends with it, in half a line.
    pub meaning: &'static str,
    /// What it says of a command, where that is more. A code that is not everybody's names all that end with it.
    pub of: &'static [(&'static str, &'static str)],
    /// Whether every command can end with it.
    pub is_everybodys: bool,
}

/// All of them, in the order of their numbers.
pub static CODES: &[Exit] = &[
    Exit {
        code: 0,
        meaning: "all went as asked",
        of: &[
            ("serve", "stopped as asked"),
            ("config", "no mistakes"),
            ("chat", "all is said"),
            ("rpc", "there is a result"),
            ("stats", "they are shown"),
            ("echo", "everything came back, or nobody reads the output any more"),
            ("ls", "listed"),
            ("get", "all of it is here, or nobody reads the output any more"),
            ("put", "all of it is safe on the server's disk"),
            ("lab", "done, or what was handed in is right"),
        ],
        is_everybodys: true,
    },
    Exit {
        code: FAILED,
        meaning: "it broke while it ran: the system refused, a connection was lost, not all was delivered",
        of: &[
            ("serve", "failed while running"),
            ("config", "the file cannot be written"),
            ("chat", "a message was refused, or the connection was lost"),
            ("rpc", "the connection broke or was closed"),
            ("stats", "the connection broke or was closed"),
            ("echo", "not everything came back, or it came back changed"),
            ("ls", "the connection broke"),
            ("get", "the connection broke"),
            ("put", "the connection broke"),
            ("lab", "what was handed in is not right, or an exercise could not be staged"),
        ],
        is_everybodys: true,
    },
    Exit {
        code: USAGE,
        meaning: "the command line is wrong",
        of: &[("rpc", "bad command line or bad JSON")],
        is_everybodys: true,
    },
    Exit {
        code: REFUSED,
        meaning: "the server answered with an error, or refused",
        of: &[
            ("rpc", "the server answered with an error"),
            ("stats", "the server does not show them to this client, or has none"),
            ("ls", "the server refused"),
            ("get", "the server refused: there is no such file"),
            ("put", "the server refused: it is read-only, or full"),
        ],
        is_everybodys: false,
    },
    Exit {
        code: UNAVAILABLE,
        meaning: "an address is taken or not on this machine; a server cannot be reached; a tool is missing",
        of: &[
            ("serve", "an address is taken, not on this machine, or cannot be resolved"),
            ("config", "an address cannot be resolved"),
            ("chat", "no server can be reached"),
            ("rpc", "no server can be reached"),
            ("stats", "no server can be reached"),
            ("echo", "no server can be reached"),
            ("ls", "no server can be reached"),
            ("get", "no server can be reached"),
            ("put", "no server can be reached"),
            ("lab", "a tool is missing, or this system cannot show it"),
        ],
        is_everybodys: false,
    },
    Exit { code: BUG, meaning: "a bug in rawline", of: &[], is_everybodys: true },
    Exit {
        code: LOCAL_FILE,
        meaning: "a local file cannot be read or written",
        of: &[("get", "a local file cannot be written"), ("put", "a local file cannot be read")],
        is_everybodys: false,
    },
    Exit {
        code: SILENT,
        meaning: "the server was reached and did not answer in time",
        of: &[
            ("rpc", "no answer in time"),
            ("stats", "no answer in time"),
            ("echo", "the server fell silent"),
            ("ls", "the server fell silent"),
            ("get", "the server fell silent"),
            ("put", "the server fell silent"),
        ],
        is_everybodys: false,
    },
    Exit {
        code: PROTOCOL,
        meaning: "what answered does not speak the protocol",
        of: &[
            ("rpc", "what answered does not speak JSON-RPC"),
            ("stats", "what answered are no statistics"),
            ("ls", "what answered does not speak the file protocol"),
            ("get", "what answered does not speak the file protocol"),
            ("put", "what answered does not speak the file protocol"),
        ],
        is_everybodys: false,
    },
    Exit {
        code: NO_PERMISSION,
        meaning: "no permission: a port below 1024, a path, a directory",
        of: &[("serve", "no permission for an address or a directory")],
        is_everybodys: false,
    },
    Exit {
        code: CONFIGURATION,
        meaning: "the configuration is wrong: environment, file, or a remote address that is not allowed",
        of: &[
            ("serve", "the environment or the file is wrong, or an address is not allowed"),
            ("config", "the environment or the file is wrong, or an address is not allowed"),
            ("lab", "neither XDG_STATE_HOME nor HOME is set"),
        ],
        is_everybodys: false,
    },
    Exit {
        code: 130,
        meaning: "ended by SIGINT, without an orderly stop",
        of: &[("serve", "ended by a second SIGINT"), ("chat", "stopped in a pipe by SIGINT")],
        is_everybodys: false,
    },
    Exit {
        code: 143,
        meaning: "ended by SIGTERM, without an orderly stop",
        of: &[("serve", "ended by a second SIGTERM"), ("chat", "stopped in a pipe by SIGTERM")],
        is_everybodys: false,
    },
];

/// All codes, a line each, with the commands that can end with them.
pub fn page() -> String {
    let line = |exit: &Exit| {
        let commands: Vec<_> = exit.of.iter().map(|(command, _)| *command).collect();
        let of = if exit.is_everybodys { String::new() } else { format!(" ({})", commands.join(", ")) };
        format!("    {:>3}  {}{of}\n", exit.code, exit.meaning)
    };
    CODES.iter().map(line).collect()
}

/// The codes of one command in a sentence, for the end of its `--help`.
pub fn codes_of(command: &str) -> String {
    let own = CODES.iter().filter_map(|exit| {
        let of = exit.of.iter().find(|(name, _)| *name == command).map(|(_, meaning)| *meaning);
        let meaning = of.or(exit.is_everybodys.then_some(exit.meaning))?;
        Some(format!("{} {meaning}", exit.code))
    });
    format!("Exit codes: {}.", own.collect::<Vec<_>>().join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_in_order() {
        assert!(CODES.is_sorted_by(|one, next| one.code < next.code));
    }

    #[test]
    fn the_page_and_the_help_say_the_same() {
        assert!(
            page().contains(
                "\n      3  the server answered with an error, or refused (rpc, stats, ls, get, put)\n"
            ),
            "{}",
            page()
        );
        let rpc = codes_of("rpc");
        assert!(rpc.starts_with("Exit codes: 0 there is a result; 1 the connection broke or was closed; 2 "));
        assert!(rpc.contains("; 3 the server answered with an error; 69 "), "{rpc}");
        assert_eq!(codes_of("man").matches("; ").count(), 3, "those of everybody");
    }
}
