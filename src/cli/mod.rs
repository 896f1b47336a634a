//! The command line: what the user asked for, as a [`Command`].
//!
//! It lives in the binary, not in the library, so that whoever builds a server on the library sees no clap and
//! no exit codes. With the feature `cli` clap reads the flags; those of `serve` come from the table of options, so
//! this folder names none of them. Without it, `rawline serve` is all there is and the environment configures it.
//! Nothing here reads a file or starts anything; `main` does that.

#[cfg(not(feature = "cli"))]
mod bare;
#[cfg(feature = "cli")]
pub mod chat;
#[cfg(feature = "cli")]
mod commands;
#[cfg(feature = "cli")]
pub mod config;
#[cfg(feature = "cli")]
pub mod echo;
#[cfg(feature = "cli")]
pub mod explain;
#[cfg(feature = "cli")]
pub mod files;
#[cfg(feature = "cli")]
pub mod lab;
#[cfg(feature = "cli")]
mod manual;
#[cfg(feature = "cli")]
pub mod rpc;
#[cfg(feature = "cli")]
mod serve;
#[cfg(feature = "cli")]
pub mod stats;

use rawline::config::{Config, Flags};

#[cfg(not(feature = "cli"))]
pub use bare::parse;
#[cfg(feature = "cli")]
pub use commands::parse;

/// What the user asked for.
#[derive(Debug, PartialEq, Eq)]
pub enum Command {
    /// Print this and be done: the introduction, help, the version, the manual, completions.
    Print(String),
    /// Run the daemon.
    Serve(Flags),
    /// Print the limits that the daemon would have.
    #[cfg(feature = "cli")]
    PrintLimits(Flags),
    /// Show, check or begin a configuration.
    #[cfg(feature = "cli")]
    Config(config::Config),
    /// Predict and count the system calls of a request.
    #[cfg(feature = "cli")]
    Explain(explain::Explain),
    /// Join the chat.
    #[cfg(feature = "cli")]
    Chat(chat::Chat),
    /// Send something through an echo server.
    #[cfg(feature = "cli")]
    Echo(echo::Echo),
    /// List shared files.
    #[cfg(feature = "cli")]
    Ls(files::Ls),
    /// Fetch files.
    #[cfg(feature = "cli")]
    Get(files::Get),
    /// Store files.
    #[cfg(feature = "cli")]
    Put(files::Put),
    /// Make a call.
    #[cfg(feature = "cli")]
    Rpc(rpc::Rpc),
    /// Show what a server has counted.
    #[cfg(feature = "cli")]
    Stats(stats::Stats),
    /// Learn.
    #[cfg(feature = "cli")]
    Lab(lab::Lab),
}

/// What rawline is and the first commands: the answer to `rawline` alone.
fn introduction() -> String {
    format!(
        "\
rawline {version}: a chat, JSON-RPC, file and echo server on raw epoll and kqueue.

To begin with:

  rawline serve            start it: the chat listens on {address}
  nc {nc}       join it from another terminal: paste this line, press Enter
    {{\"method\":\"join_chat\",\"params\":{{\"username\":\"Alice\"}}}}
{clients}  rawline serve --help     every option, its default and what it is good for
",
        version = env!("RAWLINE_VERSION"),
        address = Config::default().rpc,
        nc = Config::default().rpc.to_string().replace(':', " "),
        clients = if cfg!(feature = "cli") { CLIENTS } else { "" },
    )
}

/// What only a build with the feature `cli` has.
const CLIENTS: &str = "  \
  rawline chat             join the chat and talk; in a pipe it sends lines
  rawline rpc get_users    make a JSON-RPC call: who is there? (--watch to see what happens)
  rawline echo hello       send something to the echo server and see it come back
  rawline get a.txt        fetch a file from a server that shares some; ls lists them, put stores one
  rawline lab list         learn what it does with the kernel, with strace, tcpdump and ss
  rawline --help           all commands
";

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
