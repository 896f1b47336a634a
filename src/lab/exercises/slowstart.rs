//! Slow start and congestion avoidance, seen in TCP_INFO.

use std::io;

use crate::lab::act::nobody;
use crate::lab::read::sockets::Socket;
#[cfg(not(target_os = "linux"))]
use crate::lab::stage::unsupported;
use crate::lab::{Answer, Exercise, Mark, Mistake, Question, Scene, Stage, Tool};

pub const EXERCISE: Exercise = Exercise {
    name: "slowstart",
    title: "Slow start and congestion avoidance, in TCP_INFO",
    text: "Four connections with the congestion control reno, in four moments of a life. The first is fresh. The second has sent for \
           a few round trips, each time as much as its congestion window allows. The third has done the same and then lost a \
           segment. The fourth has gone on after its loss, for some more round trips.",
    look: "`ss -ti` prints what the kernel knows of each connection: cwnd is the congestion window in segments, ssthresh where slow \
           start ends; it is absent as long as nothing was lost. The lab tells which port is which.",
    read: "RFC 5681, 3.1; RFC 6928 (the initial window); ss(8); tcp(7): TCP_INFO",
    source: &[
        ("src/transport/sys/probe.rs", "pub fn tcp_info"),
        ("src/transport/sys/socket.rs", "fn set_congestion"),
    ],
    tool: Tool::Ss,
    linux: "ss -tin '( dport = :{port} )' > {file}",
    macos: "netstat -an -p tcp | grep '[.]{port} ' > {file}",
    stage,
    act: nobody,
    marks: &[
        Mark {
            what: "all four connections, with their windows",
            seen: |scene| {
                ["fresh", "grown", "lost", "later"].iter().all(|name| of(scene, name, "cwnd").is_some())
            },
            hint: "ss prints windows only with -i, and the connections are there only while the lab waits for you",
        },
        Mark {
            what: "a loss",
            seen: |scene| of(scene, "lost", "ssthresh").is_some(),
            hint: "hand in all of what ss prints: the windows stand in the line below each connection",
        },
    ],
    questions: &[
        Question {
            key: "initial",
            ask: "How many segments may a fresh connection (port {fresh}) send before the first acknowledgement?",
            right: |scene| Answer::Number(of(scene, "fresh", "cwnd").unwrap_or(-1)),
            mistakes: &[
                Mistake {
                    given: |_| Answer::Number(1),
                    hint: "That was so in the textbooks of 1988. Look at cwnd of that port.",
                },
                Mistake {
                    given: |_| Answer::Number(4),
                    hint: "That was so until 2013. Look at cwnd of that port.",
                },
            ],
            hint: "It is cwnd of the port that the lab calls fresh.",
        },
        Question {
            key: "threshold",
            ask: "Where does slow start end for the connection of port {lost}, since it has lost something?",
            right: |scene| Answer::Number(of(scene, "lost", "ssthresh").unwrap_or(-1)),
            mistakes: &[Mistake {
                given: |scene| Answer::Number(of(scene, "grown", "cwnd").unwrap_or(-1)),
                hint: "That is how large the window of another had become. Look at ssthresh of that port.",
            }],
            hint: "It is ssthresh of that port.",
        },
        Question {
            key: "step",
            ask: "The connection of port {later} made {rounds} full round trips after its loss. By how many segments grew its window in each?",
            right: |scene| Answer::Number(step(scene)),
            mistakes: &[
                Mistake {
                    given: |scene| Answer::Number(of(scene, "later", "cwnd").unwrap_or(-1)),
                    hint: "That is the whole window. It was as large as ssthresh right after the loss.",
                },
                Mistake {
                    given: |_| Answer::Number(2),
                    hint: "Not so much: subtract ssthresh from cwnd, and divide by the round trips.",
                },
            ],
            hint: "Subtract ssthresh from cwnd of that port, and divide by the round trips.",
        },
    ],
    notes: &[
        ("ssthresh:", "it has lost something, and slow start ends there"),
        ("cwnd:", "still in slow start"),
    ],
    lesson: "Slow start is not slow: every acknowledged segment adds one to the window, so it doubles in a round trip, from 10 on. \
             A loss halves it (reno; cubic takes 30 %, bbr does not ask), and from there on it grows by one segment in a \
             round trip, until the next loss: congestion avoidance. Which algorithm a connection has stands first in the \
             line of ss.",
};

#[cfg(target_os = "linux")]
mod staging {
    use std::io::{self, Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::{AsRawFd, OwnedFd};

    use nix::sys::socket::{
        AddressFamily, SockFlag, SockType, SockaddrStorage, connect, setsockopt, socket, sockopt,
    };

    use crate::lab::stage::{at, until};
    use crate::transport::sys::probe::{self, TcpInfo};

    /// Small segments, so that a window of many of them fits into every buffer.
    const MSS: usize = 1000;

    /// Both ends of a connection.
    pub struct Pair {
        pub client: TcpStream,
        server: TcpStream,
    }

    impl Pair {
        pub fn new(listener: &TcpListener) -> io::Result<Self> {
            let client: OwnedFd =
                socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
            probe::max_segment(&client, MSS as u16)?;
            setsockopt(&client, sockopt::TcpCongestion, &"reno".into()).map_err(|error| {
                io::Error::other(format!(
                    "this user may not choose reno ({error}): put it into net.ipv4.tcp_allowed_congestion_control with \
                     sysctl, or run the lab as root"
                ))
            })?;
            let address = SockaddrStorage::from(at(listener.local_addr()?.port()));
            connect(client.as_raw_fd(), &address)?;
            let client = TcpStream::from(client);
            client.set_nodelay(true)?;
            Ok(Self { client, server: listener.accept()?.0 })
        }

        pub fn info(&self) -> io::Result<TcpInfo> {
            Ok(probe::tcp_info(&self.client)?)
        }

        /// A round trip with a full window.
        pub fn round(&mut self) -> io::Result<()> {
            let bytes = self.info()?.cwnd as usize * payload();
            // A write that is larger than the window would be cut in any case; this one fills it.
            self.client.write_all(&vec![b'x'; bytes])?;
            self.server.read_exact(&mut vec![0; bytes])?;
            self.settle()
        }

        /// Loses one segment; those behind it arrive.
        pub fn lose(&mut self) -> io::Result<()> {
            probe::deafen(&self.server)?;
            self.client.write_all(&vec![b'x'; payload()])?;
            probe::hear(&self.server)?;
            let rest = 8 * payload();
            self.client.write_all(&vec![b'x'; rest])?;
            self.server.read_exact(&mut vec![0; rest + payload()])?;
            self.settle()
        }

        fn settle(&self) -> io::Result<()> {
            until("all is acknowledged", || self.info().is_ok_and(|info| info.unacked == 0))
        }
    }

    /// The option with the time takes 12 bytes of each segment.
    fn payload() -> usize {
        MSS - 12
    }
}

#[cfg(target_os = "linux")]
fn stage(stage: &mut Stage<'_>) -> io::Result<()> {
    use std::net::{Ipv4Addr, TcpListener};

    use staging::Pair;

    /// Slow start goes on until here.
    const GROWN: u32 = 40;
    /// So many segments are to be won back.
    const WON: u32 = 3;

    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    stage.truth.tell("port", listener.local_addr()?.port());
    let mut kept = Vec::new();
    for name in ["fresh", "grown", "lost", "later"] {
        // On a busy machine a timer may be faster than what is behind a loss: then once more.
        for _ in 0..50 {
            let mut pair = Pair::new(&listener)?;
            let mut rounds = 0;
            if name != "fresh" {
                while pair.info()?.cwnd < GROWN && rounds < 100 {
                    pair.round()?;
                    rounds += 1;
                }
            }
            if ["lost", "later"].contains(&name) {
                pair.lose()?;
                // A first round ends the recovery.
                rounds = 0;
            }
            if name == "later" {
                let from = pair.info()?.ssthresh;
                while pair.info()?.cwnd < from + WON && rounds < 100 {
                    pair.round()?;
                    rounds += 1;
                }
                stage.truth.tell("rounds", rounds);
            }
            let info = pair.info()?;
            let as_planned = match name {
                "fresh" => info.cwnd == 10,
                "grown" => info.cwnd >= GROWN,
                "lost" => info.ssthresh < GROWN * 2 && info.cwnd <= info.ssthresh + 1,
                _ => info.cwnd == info.ssthresh + WON && rounds == WON,
            };
            stage.truth.tell(name, pair.client.local_addr()?.port());
            if as_planned {
                kept.push(pair);
                break;
            }
        }
    }
    if kept.len() < 4 {
        return Err(io::Error::other("this machine is too busy for it, or has no reno: try again"));
    }
    stage.say("Ports: {fresh} is fresh, {grown} has grown, {lost} has just lost something, {later} went on after a loss.")?;
    stage.look()
}

#[cfg(not(target_os = "linux"))]
fn stage(_: &mut Stage<'_>) -> io::Result<()> {
    Err(unsupported(
        "netstat does not show congestion windows; on macOS `nettop` and dtrace's tcp provider do",
    ))
}

/// What ss says of one of the connections.
fn of(scene: &Scene, name: &str, word: &str) -> Option<i64> {
    let (local, port) = (scene.truth.port(name), scene.truth.port("port"));
    let is_it = |socket: &&Socket| socket.local == local && socket.peer == port;
    scene.evidence.sockets.iter().find(is_it)?.number(word)
}

fn step(scene: &Scene) -> i64 {
    let (cwnd, from) = (of(scene, "later", "cwnd"), of(scene, "later", "ssthresh"));
    (cwnd.unwrap_or(-1) - from.unwrap_or(0)) / scene.truth.number("rounds").max(1)
}
