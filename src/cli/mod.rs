//! The command line: what the user asked for, as a [`Command`].
//!
//! It lives in the binary, not in the library, so that whoever builds a server on the library sees no clap and
//! no exit codes. With the feature `cli` clap reads the flags, which come from the table of options, so
//! this folder names none of them; without it, `rawline serve` is all there is and the environment configures it.
//! Nothing here reads a file or starts anything; `main` does that.

#[cfg(not(feature = "cli"))]
mod bare;
#[cfg(feature = "cli")]
mod serve;

use rawline::config::{Config, Flags};

#[cfg(not(feature = "cli"))]
pub use bare::parse;
#[cfg(feature = "cli")]
pub use serve::parse;

/// What the user asked for.
#[derive(Debug, PartialEq, Eq)]
pub enum Command {
    /// Print this and be done: the introduction, help or the version.
    Print(String),
    /// Run the daemon.
    Serve(Flags),
}

/// What rawline is and the first three commands: the answer to `rawline` alone.
fn introduction() -> String {
    format!(
        "\
rawline {version}: a chat, JSON-RPC, file and echo server on raw epoll and kqueue.

Three commands to begin with:

  rawline serve            start it: the chat listens on {address}
  nc {nc}       join it from another terminal: paste this line, press Enter
    {{\"method\":\"join_chat\",\"params\":{{\"username\":\"Alice\"}}}}
  rawline serve --help     every option, its default and what it is good for
",
        version = env!("RAWLINE_VERSION"),
        address = Config::default().rpc,
        nc = Config::default().rpc.to_string().replace(':', " "),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_introduction_can_be_pasted() {
        let text = introduction();
        assert!(text.contains("\n  nc 127.0.0.1 65432 "), "{text}");
        let request = text.lines().find_map(|line| line.strip_prefix("    ")).unwrap();
        let request: serde_json::Value = serde_json::from_str(request).unwrap();
        assert_eq!(request["method"], "join_chat");
    }

    #[test]
    fn no_arguments_introduce() {
        assert_eq!(parse(["rawline".into()]).unwrap(), Command::Print(introduction()));
    }

    #[test]
    fn serve_alone_has_no_flags() {
        let command = parse(["rawline".into(), "serve".into()]).unwrap();
        assert_eq!(command, Command::Serve(Flags::default()));
    }
}
