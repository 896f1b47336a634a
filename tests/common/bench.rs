//! The whole server on a kernel made of queues, and what a test does with it.
#![allow(dead_code, reason = "each test file uses its part of the helpers")]

use std::os::fd::RawFd;

use rawline::service::chat::{Chat, Rules};
use rawline::transport::event_loop::EventLoop;
use rawline::{Limits, Wire};

use crate::world::{Kernel, LISTENER, World};

/// A server on a world.
pub struct Bench {
    pub world: World,
    pub event_loop: EventLoop<World, Chat>,
}

impl Bench {
    pub fn new(kernel: Kernel, limits: Limits) -> Self {
        Self::with_rules(kernel, limits, Rules::default())
    }

    pub fn with_rules(kernel: Kernel, limits: Limits, rules: Rules) -> Self {
        let world = World::new(kernel);
        let mut event_loop = EventLoop::new(world.clone(), Chat::new(rules), limits).unwrap();
        event_loop.listen(Wire::JsonRpc, LISTENER).unwrap();
        Self { world, event_loop }
    }

    /// Turns until nothing happens any more; says whether the loop goes on.
    pub fn settle(&mut self) -> bool {
        let mut idle = 0;
        for _ in 0..200_000 {
            let before = self.world.calls("read") + self.world.calls("write") + self.world.calls("accept");
            if !self.event_loop.turn() {
                return false;
            }
            let after = self.world.calls("read") + self.world.calls("write") + self.world.calls("accept");
            idle = if before == after && self.world.is_quiet() { idle + 1 } else { 0 };
            if idle == 3 {
                return true;
            }
        }
        panic!("the server does not come to rest");
    }

    pub fn connect(&mut self) -> RawFd {
        let fd = self.world.connect();
        self.settle();
        fd
    }

    /// Sends and returns what came back.
    pub fn ask(&mut self, fd: RawFd, text: &str) -> String {
        self.world.send(fd, text);
        self.settle();
        self.world.take(fd)
    }
}

/// Kernels that cut what they carry.
pub const UNKIND: [Kernel; 5] = [
    Kernel::KIND,
    Kernel { read_at_most: 1, ..Kernel::KIND },
    Kernel { write_at_most: 1, ..Kernel::KIND },
    Kernel { again_every: 2, ..Kernel::KIND },
    Kernel { read_at_most: 3, write_at_most: 2, again_every: 3, cold: true },
];
