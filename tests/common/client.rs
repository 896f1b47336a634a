//! A client on a blocking socket, which reads no more than it is asked to and so misses no byte.
//!
//! Every read waits for the event itself; the timeout only turns a server that hangs into a failed test.
#![allow(dead_code, reason = "each test file uses its part of the helpers")]

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, setsockopt, socket, sockopt,
};
use serde::de::IgnoredAny;
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);

/// The seed dialect's ping, and its answer.
pub const PING: &str = r#"{"method":"ping"}"#;
pub const PONG: &str = r#"{"status":"success","message":"pong"}"#;

/// A connection to a server.
pub struct Client {
    stream: TcpStream,
    /// What has arrived and was not yet taken.
    arrived: Vec<u8>,
}

impl Client {
    /// Connects to `HOST:PORT` or `unix:PATH`.
    pub fn connect(address: &str) -> Self {
        match address.strip_prefix("unix:") {
            // The type is about what the descriptor can do, and it can do the same.
            Some(path) => Self::new(OwnedFd::from(UnixStream::connect(path).unwrap()).into()),
            None => Self::new(TcpStream::connect(address).unwrap()),
        }
    }

    /// Connects from another loopback address and a chosen port.
    pub fn connect_from(local: SocketAddr, address: &str) -> Self {
        let [SocketAddr::V4(local), SocketAddr::V4(remote)] = [local, address.parse().unwrap()] else {
            panic!("IPv4 only")
        };
        let fd = socket(AddressFamily::Inet, SockType::Stream, SockFlag::empty(), None).unwrap();
        bind(fd.as_raw_fd(), &SockaddrIn::from(local)).unwrap();
        connect(fd.as_raw_fd(), &SockaddrIn::from(remote)).unwrap();
        Self::new(fd.into())
    }

    /// Connects with a small receive buffer, so that it is a slow reader soon.
    pub fn connect_narrow(address: &str) -> Self {
        let fd = socket(AddressFamily::Inet, SockType::Stream, SockFlag::empty(), None).unwrap();
        setsockopt(&fd, sockopt::RcvBuf, &4096).unwrap();
        let SocketAddr::V4(remote) = address.parse().unwrap() else { panic!("IPv4 only") };
        connect(fd.as_raw_fd(), &SockaddrIn::from(remote)).unwrap();
        Self::new(fd.into())
    }

    fn new(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        let _ = stream.set_nodelay(true); // a Unix-domain socket has nothing to delay
        Self { stream, arrived: Vec::new() }
    }

    pub fn port(&self) -> u16 {
        self.stream.local_addr().unwrap().port()
    }

    // --- speaking ---

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).unwrap();
    }

    /// The same to a server that may have hung up already.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref())
    }

    /// Another handle of its stream, for a thread that only writes.
    pub fn writer(&self) -> TcpStream {
        self.stream.try_clone().unwrap()
    }

    /// One write for each byte.
    pub fn send_slowly(&mut self, bytes: impl AsRef<[u8]>) {
        for byte in bytes.as_ref().chunks(1) {
            self.send(byte);
        }
    }

    /// Sends FIN; reading goes on.
    pub fn finish(&mut self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    /// Ends the connection by RST.
    pub fn reset(self) {
        setsockopt(&self.stream, sockopt::Linger, &libc::linger { l_onoff: 1, l_linger: 0 }).unwrap();
    }

    // --- hearing ---

    /// The next JSON text, exactly as it came. Like Python's `raw_decode` it takes no white space before it.
    pub fn read_object(&mut self) -> String {
        loop {
            assert!(
                self.arrived.first().is_none_or(|byte| b"{[".contains(byte)),
                "no JSON text begins {:?}",
                String::from_utf8_lossy(&self.arrived)
            );
            let mut texts = serde_json::Deserializer::from_slice(&self.arrived).into_iter::<IgnoredAny>();
            match texts.next() {
                Some(Ok(_)) => {
                    let length = texts.byte_offset();
                    return self.take(length);
                }
                Some(Err(error)) => {
                    assert!(error.is_eof(), "{error}: {:?}", String::from_utf8_lossy(&self.arrived))
                }
                None => {}
            }
            self.receive_more();
        }
    }

    /// The next JSON text, in whatever framing.
    pub fn read_framed(&mut self) -> Value {
        while self.arrived.first().is_none_or(|&byte| byte == b'\n') {
            if self.arrived.is_empty() {
                self.receive_more();
            } else {
                self.arrived.remove(0);
            }
        }
        self.read_value()
    }

    /// The next JSON text, parsed.
    pub fn read_value(&mut self) -> Value {
        serde_json::from_str(&self.read_object()).unwrap()
    }

    /// What comes before the next LF; the LF is taken too.
    pub fn read_line(&mut self) -> String {
        let mut from = 0;
        loop {
            if let Some(at) = self.arrived[from..].iter().position(|&byte| byte == b'\n') {
                let mut line = self.take(from + at + 1);
                line.pop();
                return line;
            }
            from = self.arrived.len();
            self.receive_more();
        }
    }

    /// The next so many bytes.
    pub fn read_raw_exactly(&mut self, length: usize) -> String {
        while self.arrived.len() < length {
            self.receive_more();
        }
        self.take(length)
    }

    /// Everything until the server's FIN.
    pub fn read_to_end(&mut self) -> String {
        while self.receive() {}
        self.take(self.arrived.len())
    }

    /// Whether the server has cut the connection: everything sent is read, and then comes RST.
    pub fn is_cut(&mut self) -> bool {
        let mut chunk = [0; 65536];
        loop {
            match read(&mut self.stream, &mut chunk) {
                Ok(0) => return false,
                Ok(_) => {}
                Err(error) => return error.kind() == ErrorKind::ConnectionReset,
            }
        }
    }

    /// Reads `expected`, byte for byte.
    #[track_caller]
    pub fn expect(&mut self, expected: &str) {
        while self.arrived.len() < expected.len() && expected.as_bytes().starts_with(&self.arrived) {
            if !self.receive() {
                panic!(
                    "the server ended after {:?}, expected {expected:?}",
                    String::from_utf8_lossy(&self.arrived)
                );
            }
        }
        if !self.arrived.starts_with(expected.as_bytes()) {
            panic!("it said {:?}, expected {expected:?}", String::from_utf8_lossy(&self.arrived));
        }
        self.arrived.drain(..expected.len());
    }

    /// Reads `expected`, and then the server's FIN.
    #[track_caller]
    pub fn expect_end(&mut self, expected: &str) {
        assert_eq!(self.read_to_end(), expected);
    }

    /// Whether this has arrived; does not wait for it.
    pub fn has_heard(&mut self, text: &str) -> bool {
        self.stream.set_nonblocking(true).unwrap();
        let mut chunk = [0; 4096];
        while let Ok(n @ 1..) = read(&mut self.stream, &mut chunk) {
            self.arrived.extend_from_slice(&chunk[..n]);
        }
        self.stream.set_nonblocking(false).unwrap();
        String::from_utf8_lossy(&self.arrived).contains(text)
    }

    /// Proves that nothing else was sent: the next thing to arrive is the answer to a ping asked now.
    #[track_caller]
    pub fn assert_silent(&mut self) {
        self.send(PING);
        self.expect(PONG);
    }

    /// The same connection goes on, in whatever framing.
    #[track_caller]
    pub fn still_answers(&mut self) {
        self.send(format!("{PING}\n"));
        assert_eq!(self.read_line(), PONG);
    }

    /// The same connection is answered, behind whatever all were told meanwhile.
    #[track_caller]
    pub fn answers_at_last(&mut self) {
        self.send(format!("{PING}\n"));
        while !self.read_line().ends_with(PONG) {}
    }

    fn take(&mut self, length: usize) -> String {
        String::from_utf8(self.arrived.drain(..length).collect()).expect("the server sends UTF-8")
    }

    fn receive_more(&mut self) {
        assert!(self.receive(), "the server ended after {:?}", String::from_utf8_lossy(&self.arrived));
    }

    /// Reads once; whether it was not the end.
    fn receive(&mut self) -> bool {
        let mut chunk = [0; 65536];
        let n = read(&mut self.stream, &mut chunk).expect("bytes or FIN");
        self.arrived.extend_from_slice(&chunk[..n]);
        n > 0
    }
}

/// Reads once, whatever signals come meanwhile: other tests' daemons end, and this process is told so.
pub fn read(stream: &mut TcpStream, chunk: &mut [u8]) -> io::Result<usize> {
    loop {
        match stream.read(chunk) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}
