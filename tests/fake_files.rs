//! The file service on a kernel made of queues, and on a disk that is one or is all names.

#[path = "common/bench.rs"]
mod bench;
#[path = "common/catalogue.rs"]
mod catalogue;
#[path = "common/directory.rs"]
mod directory;
#[path = "common/world.rs"]
mod world;

use std::fs;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bench::{Bench, UNKIND};
use catalogue::Catalogue;
use directory::Directory;
use rawline::service::chat::{Chat, Rules};
use rawline::transport::event_loop::EventLoop;
use rawline::transport::files::Share;
use rawline::transport::files::store::Store;
use rawline::transport::io::DiskFault;
use rawline::transport::workers::{Helpers, Task};
use rawline::{Limits, Wire};
use world::{End, Kernel, LISTENER, World};

/// What a test gives a helper to do, until it does it.
type Held = Arc<Mutex<Vec<Task>>>;

/// A file server with this disk, on a kernel without a surprise.
fn serve(store: Arc<Store>, helpers: Helpers) -> Bench {
    serve_on(Kernel::KIND, store, helpers)
}

fn serve_on(kernel: Kernel, store: Arc<Store>, helpers: Helpers) -> Bench {
    let world = World::new(kernel);
    let rules = Rules { announce_uploads: true, ..Rules::default() };
    let mut event_loop = EventLoop::new(world.clone(), Chat::new(rules), limits()).unwrap();
    event_loop.share(store, helpers);
    event_loop.listen(Wire::Files, LISTENER).unwrap();
    Bench { world, event_loop }
}

/// However full the disk of this machine is.
fn limits() -> Limits {
    Limits { disk_reserve: 0, ..Limits::default() }
}

/// A directory that clients may write to.
fn writable(directory: &Directory) -> Arc<Store> {
    let share = Share {
        directory: directory.0.clone(),
        writable: true,
        delete: true,
        byte_order: Default::default(),
    };
    Store::open(share, &limits()).unwrap()
}

/// No threads: a job is done where it is asked for.
fn at_once() -> Helpers {
    Helpers::Given(Arc::new(|_, task| task()))
}

/// Helpers that take their time.
fn later() -> (Helpers, Held) {
    let held = Held::default();
    let hold = Arc::clone(&held);
    (Helpers::Given(Arc::new(move |_, task| hold.lock().unwrap().push(task))), held)
}

#[test]
fn files_come_and_go_whole_on_every_kernel() {
    let kernels = UNKIND.into_iter().chain([Kernel { cold: true, ..Kernel::KIND }]);
    for kernel in kernels {
        let directory = Directory::new("fake-files");
        let content: String = (0..40_000).map(|n| char::from(b'a' + (n % 23) as u8)).collect();
        fs::write(directory.join("a"), &content).unwrap();
        let mut bench = serve_on(kernel, writable(&directory), at_once());
        let client = bench.connect();
        let name = |name: &str| [&(name.len() as u16).to_be_bytes()[..], name.as_bytes()].concat();
        let get = |file: &str| [&[0x12][..], &name(file), &[0; 16]].concat();
        let size = (content.len() as u64).to_be_bytes();
        let put = [&[0x13][..], &name("b"), &size, &[0; 32], content.as_bytes()].concat();
        bench.world.send(client, [get("a"), put, get("b"), [&[0x15][..], &name("a")].concat()].concat());
        bench.settle();
        let got = bench.world.take_bytes(client);
        // An answer to GET has 28 bytes before the file; those to PUT have 12 and 36, that to DELETE has 4.
        let length = content.len();
        assert_eq!(got.len(), 2 * (28 + length) + 12 + 36 + 4, "{kernel:?}");
        assert_eq!(&got[28..28 + length], content.as_bytes());
        let second = 28 + length + 12 + 36 + 28;
        assert_eq!(&got[second..second + length], content.as_bytes());
        assert_eq!(got[got.len() - 4..], [0x15, 0, 0, 0]);
        bench.world.fin(client);
        bench.settle();
        assert_eq!(bench.world.end(client), Some(End::Closed));
        let left = fs::read_dir(&directory.0).unwrap().map(|entry| entry.unwrap().file_name());
        assert_eq!(left.collect::<Vec<_>>(), ["b"]);
    }
}

#[test]
fn an_upload_over_a_unix_socket_that_is_closed_at_once_is_stored() {
    let directory = Directory::new("fake-unix");
    let (helpers, held) = later();
    let mut bench = serve(writable(&directory), helpers);
    let client = bench.connect();
    // Several buffers and rings of it. Version 1 is answered with nothing.
    let content: Vec<u8> = (0..1_000_000_u32).map(|n| (n % 251) as u8).collect();
    let mut name = [0; 256];
    name[0] = b'a';
    let put = [&[0x03][..], &name, &(content.len() as u64).to_be_bytes(), &content].concat();
    bench.world.send(client, put);
    bench.world.hang_up(client);
    while bench.world.end(client).is_none() {
        bench.event_loop.turn();
        if bench.world.is_quiet() {
            // It sleeps, and is not told of the hangup again and again.
            for task in std::mem::take(&mut *held.lock().unwrap()) {
                task();
            }
        }
    }
    assert!(fs::read(directory.join("a")).is_ok_and(|stored| stored == content));
    assert_eq!(bench.world.calls("forget"), 1);
}

#[test]
fn a_full_socket_is_not_tried_for_an_answer_behind_another() {
    let directory = Directory::new("fake-full");
    let mut bench = serve(writable(&directory), at_once());
    let client = bench.connect();
    bench.world.set_window(client, Some(0));
    let put = [&[0x13, 0, 1, b'a'][..], &5_u64.to_be_bytes(), &[0; 32], b"hello"].concat();
    bench.world.send(client, put);
    bench.settle();
    assert_eq!(fs::read(directory.join("a")).unwrap(), b"hello");
    assert_eq!(bench.world.calls("write"), 1, "the file is stored, and the socket as full as before");
    bench.world.set_window(client, None);
    bench.settle();
    assert_eq!(bench.world.take_bytes(client).len(), 12 + 36);
}

#[test]
fn who_waited_for_us_has_his_whole_time_when_it_is_his_turn() {
    let directory = Directory::new("fake-turn");
    let (helpers, held) = later();
    let mut bench = serve(writable(&directory), helpers);
    let client = bench.connect();
    let timeout = limits().file_idle_timeout;
    let moment = Duration::from_millis(10);
    // Version 1 is told nothing before its bytes come.
    let put = [&[3, b'a'][..], &[0; 255], &5u64.to_be_bytes()].concat();
    bench.world.send(client, put);
    bench.settle();
    bench.world.pass(timeout - moment);
    bench.settle();
    held.lock().unwrap().drain(..).for_each(|task| task());
    bench.settle();
    bench.world.pass(2 * moment);
    bench.settle();
    assert_eq!(bench.world.end(client), None, "nobody could move while the helper was at work");
    bench.world.pass(timeout);
    bench.settle();
    assert_eq!(bench.world.end(client), Some(End::Aborted));
}

/// A file server with so many files, of which the last cannot be looked at for this.
fn catalogue(files: usize, last: Result<(), DiskFault>) -> Bench {
    let share =
        Share { directory: "/".into(), writable: false, delete: false, byte_order: Default::default() };
    serve(Store::on(Box::new(Catalogue { files, last }), share, &limits()), at_once())
}

#[test]
fn a_list_shows_every_file_or_says_that_the_disk_fails() {
    let list = |opcode: u8, last| {
        let mut bench = catalogue(3, last);
        let client = bench.connect();
        bench.world.send(client, [opcode]);
        bench.settle();
        (bench.world.take_bytes(client), bench.world.end(client))
    };
    for (last, count) in [(Ok(()), 3), (Err(DiskFault::NotFound), 2), (Err(DiskFault::NotRegular), 2)] {
        let (answer, end) = list(0x01, last);
        assert_eq!((answer.len(), answer[3], end), (4 + 256 * count, count as u8, None), "{last:?}");
    }
    // EIO: nobody knows whether the file is there. Version 1 has no words for it.
    let fails = Err(DiskFault::Other(5));
    assert_eq!(list(0x01, fails), (vec![], Some(End::Closed)));
    let (answer, end) = list(0x11, fails);
    assert_eq!((&answer[..2], end), (&[0x11, 9][..], None));
}

#[test]
fn lists_that_nobody_reads_are_bounded_together() {
    const FILES: usize = 32 * 1024;
    let mut bench = catalogue(FILES, Ok(()));
    let ask = |bench: &mut Bench, opcode: u8, window: Option<usize>| {
        let client = bench.connect();
        bench.world.set_window(client, window);
        bench.world.send(client, [opcode]);
        bench.settle();
        client
    };
    // 256 bytes for each name: seven times 8 MiB, of at most 64 MiB.
    let slow: Vec<_> = (0..7).map(|_| ask(&mut bench, 0x01, Some(0))).collect();
    assert!(slow.iter().all(|&client| bench.world.end(client).is_none()));
    // Version 1 has no words for a refusal, version 2 has.
    let eighth = ask(&mut bench, 0x01, None);
    assert!(bench.world.end(eighth).is_some() && bench.world.take_bytes(eighth).is_empty());
    // 24 bytes for each: 6 MiB of them are left, and then none.
    for _ in 0..10 {
        ask(&mut bench, 0x11, Some(0));
    }
    let told = ask(&mut bench, 0x11, None);
    assert_eq!(bench.world.take_bytes(told)[..2], [0x11, 6]);
    let listed = bench.event_loop.stats().get("list_bytes", None);
    assert_eq!(listed, Some(7 * (4 + 256 * FILES as u64) + 10 * (8 + 24 * FILES as u64)));
    // One who goes and one who reads make room again.
    bench.world.rst(slow[0]);
    bench.settle();
    let reader = ask(&mut bench, 0x01, None);
    assert_eq!(bench.world.take_bytes(reader).len(), 4 + 256 * FILES);
    let again = ask(&mut bench, 0x01, None);
    assert_eq!(bench.world.take_bytes(again).len(), 4 + 256 * FILES);
}
