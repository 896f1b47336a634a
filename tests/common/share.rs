//! A shared directory with its daemon, and a client that speaks the file wire in plain bytes.
//!
//! Written from the protocol page alone: nothing of the server's own code is used.
#![allow(dead_code, reason = "each test file uses its part of the helpers")]

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::daemon::Daemon;

pub struct Share {
    pub directory: PathBuf,
    pub daemon: Daemon,
    removes: bool,
}

/// An empty directory for this test.
pub fn directory(test: &str) -> PathBuf {
    let directory = std::env::temp_dir().join(format!("rawline-files-{}-{test}", std::process::id()));
    let _ = fs::remove_dir_all(&directory);
    fs::create_dir_all(&directory).unwrap();
    directory
}

impl Share {
    /// An empty directory, shared with these options.
    pub fn new(test: &str, options: &[&str]) -> Self {
        Self::at(directory(test), options)
    }

    /// This directory.
    pub fn at(directory: PathBuf, options: &[&str]) -> Self {
        Self::under(&[], directory, options)
    }

    /// This directory, shared by a daemon that is the child of another program: of strace.
    pub fn under(program: &[&str], directory: PathBuf, options: &[&str]) -> Self {
        let shared = format!("files={}", directory.display());
        let mut all = vec![shared.as_str(), "files_listen=127.0.0.1:0"];
        all.extend(options);
        let daemon = match program {
            [] => Daemon::start_two(&all),
            program => Daemon::start_two_under(program, &all),
        };
        Self { directory, daemon, removes: true }
    }

    /// Ends the server; the directory stays, for another one.
    pub fn leave(mut self) {
        self.removes = false;
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    pub fn write(&self, name: &str, content: &[u8]) {
        fs::write(self.path(name), content).unwrap();
    }

    pub fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    /// What is in the directory, hidden files too.
    pub fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.directory).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// Waits until nothing else is in the directory; every look is a round trip, by which the server goes on.
    pub fn await_names(&self, names: &[&str]) {
        for _ in 0..10_000 {
            self.daemon.still_answers();
            if self.names() == names {
                return;
            }
        }
        panic!("{:?} are there", self.names());
    }

    /// Waits until an upload is under way.
    pub fn await_temporary(&self) {
        for _ in 0..100_000 {
            if self.names().iter().any(|name| name.starts_with(".rawline-")) {
                return;
            }
        }
        panic!("{:?} are there", self.names());
    }

    pub fn connect(&self) -> Wire {
        self.connect_quietly().unwrap()
    }

    /// `None` when the server is gone.
    pub fn connect_quietly(&self) -> Option<Wire> {
        let stream = TcpStream::connect(self.daemon.address_of("files")).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream.set_write_timeout(Some(Duration::from_secs(60))).unwrap();
        stream.set_nodelay(true).unwrap();
        Some(Wire { stream })
    }

    /// Announces an upload until the server has seen that the connection before is gone; what it has of it.
    pub fn resume(&self, name: &str, size: u64, digest: [u8; 32]) -> (Wire, u64) {
        for _ in 0..10_000 {
            let mut wire = self.connect();
            wire.send(put2(name, size, digest));
            if wire.head().1 == 0 {
                let have = wire.number();
                return (wire, have);
            }
        }
        panic!("it is busy for ever");
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if self.removes && !std::thread::panicking() {
            let _ = fs::remove_dir_all(&self.directory);
        }
    }
}

/// Takes a file system away when it is dropped.
pub struct Unmount(pub PathBuf);

impl Drop for Unmount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
        let _ = fs::remove_dir(&self.0);
    }
}

/// A connection that reads no more than it is asked to.
pub struct Wire {
    pub stream: TcpStream,
}

impl Wire {
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).unwrap();
    }

    pub fn take(&mut self, n: usize) -> Vec<u8> {
        let mut bytes = vec![0; n];
        self.stream.read_exact(&mut bytes).unwrap();
        bytes
    }

    pub fn number(&mut self) -> u64 {
        u64::from_be_bytes(self.take(8).try_into().unwrap())
    }

    /// How an answer of version 2 begins: opcode, status, text.
    pub fn head(&mut self) -> (u8, u8, String) {
        let head = self.take(4);
        let text = self.take(usize::from(u16::from_be_bytes([head[2], head[3]])));
        (head[0], head[1], String::from_utf8(text).unwrap())
    }

    pub fn discard(&mut self, n: u64) {
        let n = std::io::copy(&mut (&mut self.stream).take(n), &mut std::io::sink()).unwrap() - n;
        assert_eq!(n, 0);
    }

    /// All that comes until the end.
    pub fn rest(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        match self.stream.read_to_end(&mut bytes) {
            Err(error) if error.kind() != ErrorKind::ConnectionReset => panic!("{error}"),
            _ => bytes,
        }
    }

    /// Nothing comes but the end.
    pub fn ends(&mut self) {
        let _ = self.stream.shutdown(std::net::Shutdown::Write);
        assert_eq!(self.rest(), b"");
    }

    /// The server ends it, whatever comes before.
    pub fn ends_somehow(&mut self) {
        self.rest();
    }

    /// So far nothing has come.
    pub fn nothing_yet(&mut self) {
        self.stream.set_nonblocking(true).unwrap();
        assert_eq!(self.stream.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
        self.stream.set_nonblocking(false).unwrap();
    }
}

/// A name as version 1 writes it.
pub fn field(name: &str) -> Vec<u8> {
    let mut field = name.as_bytes().to_vec();
    field.resize(256, 0);
    field
}

pub fn get(name: &str) -> Vec<u8> {
    [&[2][..], &field(name)].concat()
}

pub fn put(name: &str, content: &[u8]) -> Vec<u8> {
    [&[3][..], &field(name), &(content.len() as u64).to_be_bytes(), content].concat()
}

/// A request of version 2 without a tail.
pub fn request(opcode: u8, name: &str) -> Vec<u8> {
    [&[opcode][..], &(name.len() as u16).to_be_bytes(), name.as_bytes()].concat()
}

pub fn get2(name: &str, offset: u64, length: u64) -> Vec<u8> {
    [request(0x12, name), offset.to_be_bytes().to_vec(), length.to_be_bytes().to_vec()].concat()
}

pub fn put2(name: &str, size: u64, digest: [u8; 32]) -> Vec<u8> {
    [request(0x13, name), size.to_be_bytes().to_vec(), digest.to_vec()].concat()
}

/// What the server says of these bytes: by sha256sum, or NULs from a build without it.
pub fn sha256(bytes: &[u8]) -> Vec<u8> {
    if !cfg!(feature = "digest") {
        return vec![0; 32];
    }
    let mut child = Command::new("sha256sum").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(bytes).unwrap();
    let output = child.wait_with_output().unwrap();
    let hex = String::from_utf8(output.stdout).unwrap();
    (0..32).map(|n| u8::from_str_radix(&hex[2 * n..2 * n + 2], 16).unwrap()).collect()
}

/// Bytes that differ from place to place.
pub fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    std::iter::repeat_with(|| next().to_le_bytes()).flatten().take(length).collect()
}
