//! What a turn allocates once the server is warm: nothing, for a request as for a broadcast, however many hear it.
//!
//! A counting allocator under the whole server, which runs on a kernel that does not allocate. Only the thread of
//! the test counts, so tests may run side by side.

#[path = "common/null.rs"]
mod null;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::os::fd::RawFd;
use std::rc::Rc;

use null::Null;
use rawline::service::chat::Chat;
use rawline::transport::event_loop::EventLoop;

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

fn count() {
    ALLOCATIONS.set(ALLOCATIONS.get() + 1);
}

// SAFETY: everything is passed on to the system's allocator as it came; the counter is a cell without a
// destructor, so it neither allocates nor is ever gone.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promises are the ones that this call needs.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.realloc(at, layout, size) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const TURNS: usize = 100;

/// A chat with so many clients, the first of whom has joined.
fn chat(clients: usize) -> EventLoop<Null, Chat> {
    let mut server = null::server(Chat::default(), clients);
    say(&mut server, &words(r#"{"method":"join_chat","params":{"username":"Alice"}}"#));
    server
}

fn words(text: &str) -> Rc<[u8]> {
    text.as_bytes().into()
}

const SPEAKER: RawFd = 1;

/// One turn, in which the speaker says this; the writes that it came to.
fn say(server: &mut EventLoop<Null, Chat>, words: &Rc<[u8]>) -> usize {
    let before = server.io().writes;
    server.io().say(SPEAKER, words);
    server.turn();
    server.io().writes - before
}

/// Allocations in `TURNS` turns, each of which comes to `writes` writes, after a few to warm up.
#[track_caller]
fn allocations(server: &mut EventLoop<Null, Chat>, words: &Rc<[u8]>, writes: usize) -> usize {
    for _ in 0..3 {
        say(server, words);
    }
    let before = ALLOCATIONS.get();
    let written: usize = (0..TURNS).map(|_| say(server, words)).sum();
    let allocations = ALLOCATIONS.get() - before;
    assert_eq!(written, writes * TURNS);
    allocations
}

const MESSAGE: &str =
    r#"{"jsonrpc":"2.0","method":"send_message","params":{"message":"Hello everyone!"},"id":1}"#;

#[test]
fn the_count_counts() {
    let before = ALLOCATIONS.get();
    drop(std::hint::black_box(Box::new(1)));
    assert_eq!(ALLOCATIONS.get() - before, 1);
}

#[test]
fn a_lock_step_request_allocates_nothing() {
    let mut server = chat(1);
    for ping in [r#"{"method":"ping"}"#, "{\"jsonrpc\":\"2.0\",\"method\":\"ping\",\"id\":\"x\"}\n"] {
        assert_eq!(allocations(&mut server, &words(ping), 1), 0);
    }
}

#[test]
fn a_broadcast_allocates_nothing_however_many_hear_it() {
    for clients in [10, 1000] {
        assert_eq!(allocations(&mut chat(clients), &words(MESSAGE), clients), 0, "{clients}");
    }
}

#[test]
fn a_turn_of_many_messages_allocates_nothing_either() {
    for clients in [10, 1000] {
        let burst = words(&format!("{MESSAGE}\n").repeat(64));
        assert_eq!(allocations(&mut chat(clients), &burst, clients), 0, "{clients}");
    }
}

#[test]
fn a_bare_client_that_needs_escapes_costs_the_turn_but_not_each_receiver() {
    // What is not ASCII is written anew for bare clients: once for each message, in whatever it is escaped from.
    let message = words(r#"{"method":"send_message","params":["héllo \u00e9 😀"]}"#);
    let few = allocations(&mut chat(10), &message, 10);
    let many = allocations(&mut chat(1000), &message, 1000);
    assert_eq!(few, many);
    assert!(many <= 8 * TURNS, "{} a turn", many as f64 / TURNS as f64);
}
