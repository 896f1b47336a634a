//! Downloads from a cold disk while somebody chats: how long a ping takes, with and without 64 of them.
//!
//! The caches of the files are dropped before each round, so every byte comes from the disk, through the helpers. A ping goes
//! through the same loop. No criterion: what is of interest is the tail, not the mean.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use rawline::service::chat::Chat;
use rawline::transport::files::Share;
use rawline::transport::server::ByteOrder;
use rawline::{Limits, Server, Wire};

const DOWNLOADS: usize = 64;
const SIZE: usize = 8 << 20;
const ROUNDS: usize = 3;
const PING: &[u8] = b"{\"jsonrpc\":\"2.0\",\"method\":\"ping\",\"id\":1}\n";
const PONG: usize = r#"{"jsonrpc":"2.0","result":{"status":"success","message":"pong"},"id":1}"#.len() + 1;

fn main() {
    let directory: PathBuf = std::env::temp_dir().join(format!("rawline-downloads-{}", std::process::id()));
    fs::create_dir_all(&directory).expect("a directory");
    for number in 0..DOWNLOADS {
        let mut file = File::create(directory.join(number.to_string())).expect("a file");
        file.write_all(&vec![number as u8; SIZE]).and_then(|()| file.sync_all()).expect("room on the disk");
    }

    let mut server = Server::new(Limits::default()).expect("a poller");
    let share =
        Share { directory: directory.clone(), writable: false, delete: false, byte_order: ByteOrder::Big };
    server.share(share).expect("the directory is there");
    let chat = server.listen(Wire::JsonRpc, "127.0.0.1:0").expect("a free port");
    let files = server.listen(Wire::Files, "127.0.0.1:0").expect("a free port");
    let handle = server.handle();
    let running = thread::spawn(move || server.run(Chat::default()).map(drop));

    println!("a ping, nobody downloads:     {}", tail(pings(chat, || thread::sleep(Duration::from_secs(1)))));
    for _ in 0..ROUNDS {
        drop_caches(&directory);
        let begin = Instant::now();
        let times = pings(chat, || {
            thread::scope(|scope| {
                for number in 0..DOWNLOADS {
                    scope.spawn(move || download(files, number).expect("it is shared"));
                }
            });
        });
        let rate = (DOWNLOADS * SIZE) as f64 / begin.elapsed().as_secs_f64() / 1e6;
        println!("a ping, {DOWNLOADS} cold downloads:   {}; {rate:.0} MB/s", tail(times));
    }

    handle.stop();
    running.join().expect("no panic").expect("it ran");
    fs::remove_dir_all(directory).expect("it is ours");
}

/// So many bytes of each file come from the disk next time.
fn drop_caches(directory: &Path) {
    for number in 0..DOWNLOADS {
        let file = File::open(directory.join(number.to_string())).expect("it is there");
        posix_fadvise(&file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED).expect("a regular file");
    }
}

/// Pings for as long as `meanwhile` takes: how long each took.
fn pings(address: SocketAddr, meanwhile: impl FnOnce() + Send) -> Vec<Duration> {
    let mut client = TcpStream::connect(address).expect("it listens");
    client.set_nodelay(true).expect("a TCP socket");
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            meanwhile();
            over.store(true, Ordering::SeqCst);
        });
        let (mut times, mut pong) = (Vec::new(), [0; PONG]);
        while !over.load(Ordering::SeqCst) {
            let begin = Instant::now();
            client.write_all(PING).expect("the server reads");
            client.read_exact(&mut pong).expect("the server answers");
            times.push(begin.elapsed());
            thread::sleep(Duration::from_micros(500));
        }
        times
    })
}

/// A GET of version 1.
fn download(address: SocketAddr, number: usize) -> io::Result<()> {
    let mut request = [0; 257];
    request[0] = 2;
    let name = number.to_string();
    request[1..=name.len()].copy_from_slice(name.as_bytes());
    let mut stream = TcpStream::connect(address)?;
    stream.write_all(&request)?;
    let mut size = [0; 8];
    stream.read_exact(&mut size)?;
    assert_eq!(u64::from_be_bytes(size), SIZE as u64);
    assert_eq!(io::copy(&mut stream.take(SIZE as u64), &mut io::sink())?, SIZE as u64);
    Ok(())
}

fn tail(mut times: Vec<Duration>) -> String {
    times.sort();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100].as_secs_f64() * 1e3;
    format!("p50 {:.2} ms, p99 {:.2} ms, longest {:.2} ms of {}", at(50), at(99), at(100), times.len())
}
