//! Chooses the poller once, so that the rest of the source asks one question: `cfg(poller = "epoll")`
//! or `cfg(poller = "kqueue")`. The target decides, unless the builder says otherwise with
//! `RUSTFLAGS='--cfg rawline_poller="kqueue"'`, which cargo hands to build scripts as
//! `CARGO_CFG_RAWLINE_POLLER`. Also stamps the version with the commit, where git knows one.

use std::env;
use std::process::Command;

fn main() {
    println!("cargo::rustc-check-cfg=cfg(poller, values(\"epoll\", \"kqueue\"))");
    println!("cargo::rustc-check-cfg=cfg(rawline_poller, values(\"epoll\", \"kqueue\"))");
    println!("cargo::rustc-cfg=poller=\"{}\"", poller());
    println!("cargo::rerun-if-changed=build.rs");
    // The reflog changes with every commit; naming a file that is not there would rebuild every time.
    if std::path::Path::new(".git/logs/HEAD").exists() {
        println!("cargo::rerun-if-changed=.git/logs/HEAD");
    }
    println!("cargo::rustc-env=RAWLINE_VERSION={}", version());
}

fn poller() -> &'static str {
    let chosen = env::var("CARGO_CFG_RAWLINE_POLLER").ok();
    let target = env::var("CARGO_CFG_TARGET_OS").unwrap_or_default();
    match (chosen.as_deref(), target.as_str()) {
        (Some("epoll"), _) | (None, "linux" | "android") => "epoll",
        (Some("kqueue"), _) | (None, "macos" | "ios" | "freebsd" | "netbsd" | "openbsd" | "dragonfly") => {
            "kqueue"
        }
        (Some(other), _) => panic!("rawline_poller is \"{other}\"; it can be \"epoll\" or \"kqueue\""),
        (None, other) => {
            panic!("rawline has no poller for {other}: it needs epoll (Linux) or kqueue (macOS, the BSDs)")
        }
    }
}

/// `0.1.0 (a1b2c3d)` in a checkout, `0.1.0` from a package.
fn version() -> String {
    let package = env::var("CARGO_PKG_VERSION").expect("cargo sets CARGO_PKG_VERSION");
    let commit = Command::new("git").args(["rev-parse", "--short", "HEAD"]).output();
    match commit {
        Ok(out) if out.status.success() => {
            format!("{package} ({})", String::from_utf8_lossy(&out.stdout).trim())
        }
        _ => package,
    }
}
