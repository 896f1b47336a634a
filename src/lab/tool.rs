//! The tools that a learner looks with: which commands, who may use them, and whether one is looking already.

use std::process::{Command, Stdio};
use std::{env, fs};

/// The usual commands.
pub const STRACE: &str = "strace -p {pid} -o {file}";
/// The same on macOS.
pub const DTRUSS: &str = "dtruss -p {pid} 2> {file}";
/// Each segment is written as it comes, so nothing is lost when the tool is stopped. Of each only the beginning is kept:
/// in immediate mode every packet takes a slot of the kernel's buffer in which the longest would fit, and in 2 MiB there
/// are but 32 slots of 64 KiB. A packet on the loopback takes two, one as it leaves and one as it arrives.
pub const TCPDUMP: &str = "tcpdump -i lo -s 256 -U --immediate-mode -w {file} tcp port {port}";
/// The same on macOS.
pub const TCPDUMP_MACOS: &str = "tcpdump -i lo0 -s 256 -U --immediate-mode -w {file} tcp port {port}";

/// A way to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    /// strace, dtruss: the system calls of a process. Begun before anything happens.
    Strace,
    /// tcpdump: segments. Begun before anything happens.
    Tcpdump,
    /// ss, netstat: the kernel's table of sockets. Looked at once, when it has happened.
    Ss,
}

impl Tool {
    /// The program on this system.
    pub fn program(self) -> &'static str {
        match (self, cfg!(target_vendor = "apple")) {
            (Self::Strace, true) => "dtruss",
            (Self::Strace, false) => "strace",
            (Self::Tcpdump, _) => "tcpdump",
            (Self::Ss, true) => "netstat",
            (Self::Ss, false) => "ss",
        }
    }

    /// Whether it has to run before anything happens.
    pub fn comes_first(self) -> bool {
        self != Self::Ss
    }

    /// What to install where it is missing.
    pub fn missing(self) -> Option<String> {
        let (program, path) = (self.program(), env::var_os("PATH").unwrap_or_default());
        let mut folders: Vec<_> = env::split_paths(&path).collect();
        // Where tcpdump and ss are, and a user's PATH often does not lead.
        folders.extend(["/usr/sbin".into(), "/sbin".into()]);
        if folders.iter().any(|folder| folder.join(program).is_file()) {
            return None;
        }
        let package = if program == "ss" { "iproute2 (Fedora: iproute)" } else { program };
        Some(match cfg!(target_vendor = "apple") {
            true => format!("{program} is not on the PATH; it is part of macOS"),
            false => format!("{program} is not installed: install the package {package}"),
        })
    }

    /// The privilege that this user lacks for it, and how to get it.
    pub fn forbidden(self) -> Option<&'static str> {
        if is_root() {
            return None;
        }
        match (self, cfg!(target_vendor = "apple")) {
            (Self::Ss, _) => None,
            (Self::Strace, true) => {
                Some("dtruss needs root, and System Integrity Protection off for dtrace (`csrutil`)")
            }
            (Self::Strace, false) => {
                let scope = fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").unwrap_or_default();
                (!["", "0"].contains(&scope.trim())).then_some(
                    "this kernel lets only root look at a running process: that is what sudo is for; or set \
                     kernel.yama.ptrace_scope to 0 with sysctl",
                )
            }
            (Self::Tcpdump, _) => Some("to capture takes root: that is what sudo is for"),
        }
    }
}

/// The processes that a command of strace or dtruss names, behind -p.
pub fn looked_at(command: &str) -> Vec<i64> {
    let words: Vec<_> = command.split_whitespace().collect();
    let pairs = words.windows(2).filter(|pair| pair[0] == "-p");
    pairs.filter_map(|pair| pair[1].parse().ok()).collect()
}

/// Whether somebody traces this process; `None` where that cannot be known.
pub fn is_traced(pid: i64) -> Option<bool> {
    status(pid, "TracerPid:").map(|tracer| tracer != 0)
}

/// How often this process went to sleep by itself; `None` where that cannot be known.
pub fn switches(pid: i64) -> Option<i64> {
    status(pid, "voluntary_ctxt_switches:")
}

/// A number of proc_pid_status(5).
fn status(pid: i64, name: &str) -> Option<i64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix(name))?.trim().parse().ok()
}

/// Whether this user may do everything.
fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// A command for a shell, as this user has to write it.
pub fn as_typed(tool: Tool, command: &str) -> String {
    if tool.forbidden().is_some() { format!("sudo {command}") } else { command.to_owned() }
}

/// The command as a process, which is the tool itself: `exec` replaces the shell that has read the line.
pub fn spawnable(command: &str) -> Command {
    let mut shell = Command::new("sh");
    let path = env::var("PATH").unwrap_or_default();
    shell.args(["-c", &format!("exec {command}")]).env("PATH", format!("{path}:/usr/sbin:/sbin"));
    shell.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    shell
}
