//! A client of the echo service: what it sends comes back, byte for byte.

use std::collections::VecDeque;

use super::{Broken, Scene, broken};

pub struct Echo {
    /// Bytes that it will still say.
    pub todo: usize,
    /// Said, and not come back.
    outstanding: VecDeque<u8>,
    back: u64,
}

impl Echo {
    pub fn new(todo: usize) -> Self {
        Self { todo, outstanding: VecDeque::new(), back: 0 }
    }

    pub fn say(&mut self, scene: &mut Scene<'_>, out: &mut VecDeque<u8>) -> bool {
        // Who sends much must read meanwhile; what is on its way is bounded.
        if self.todo == 0 || self.outstanding.len() > 400_000 {
            return false;
        }
        let n = self.todo.min(scene.rng.size(1, 4000));
        self.todo -= n;
        let mut number = scene.rng.next();
        for _ in 0..n {
            number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            out.push_back((number >> 56) as u8);
        }
        self.outstanding.extend(out.range(out.len() - n..));
        true
    }

    pub fn receive(&mut self, bytes: &[u8]) -> Result<(), Broken> {
        if bytes.len() > self.outstanding.len() {
            return broken("echo", format!("more came back than was sent, behind byte {}", self.back));
        }
        if !self.outstanding.iter().zip(bytes).all(|(sent, got)| sent == got) {
            return broken("echo", format!("another byte came back, behind byte {}", self.back));
        }
        self.outstanding.drain(..bytes.len());
        self.back += bytes.len() as u64;
        Ok(())
    }

    pub fn awaits(&self) -> Option<String> {
        (!self.outstanding.is_empty()).then(|| format!("{} bytes have not come back", self.outstanding.len()))
    }
}
