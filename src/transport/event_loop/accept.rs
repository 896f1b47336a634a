//! How connections come in: batches from the listeners' queues, and rest when there is nothing to accept with.
//!
//! Owns what the loop keeps for a listener. An accepted socket costs one `accept4` and one registration: the
//! options it needs were set on the listener and are inherited.

use std::io::IoSlice;
use std::os::fd::RawFd;
use std::time::Duration;

use super::{EventLoop, LISTENERS, token};
use crate::api::{Fault, Peer, Service, Wire};
use crate::limits::{ACCEPT_REST_MIN, ACCEPTS_PER_TURN};
use crate::log;
use crate::transport::codec::jsonrpc::render::{self, Encoding};
use crate::transport::connection::Connection;
use crate::transport::io::{AcceptFault, Interest, Io, Millis, Token};

/// How often at most the operator is told that a listener rests.
const TELL_AGAIN: Duration = Duration::from_secs(1);

/// A listening socket.
pub(super) struct Listener {
    wire: Wire,
    fd: RawFd,
    /// It found no descriptor or memory: until when it rests.
    rest: Option<Millis>,
    /// How long its next rest is.
    next_rest: Duration,
    /// When the operator was last told that it rests.
    told: Option<Millis>,
    /// The kernel reports its readiness.
    is_watched: bool,
}

impl Listener {
    pub fn new(wire: Wire, fd: RawFd) -> Self {
        Self { wire, fd, rest: None, next_rest: ACCEPT_REST_MIN, told: None, is_watched: true }
    }

    pub fn rests_until(&self) -> Option<Millis> {
        self.rest
    }
}

impl<I: Io, S: Service> EventLoop<I, S> {
    pub(super) fn accept(&mut self, index: usize) {
        let Some(&Listener { wire, fd, rest, .. }) = self.listeners.get(index) else { return };
        if rest.is_some() {
            // The kernel did not take it off its list: reported turn by turn, it would spin.
            return self.unwatch_listener(index);
        }
        for _ in 0..ACCEPTS_PER_TURN {
            match self.io.accept(fd) {
                Ok((fd, peer)) => {
                    self.hub.counters.accepted += 1;
                    self.listeners[index].next_rest = ACCEPT_REST_MIN;
                    self.admit(wire, fd, peer);
                }
                Err(AcceptFault::WouldBlock) => return,
                Err(AcceptFault::Aborted) => self.hub.counters.aborted += 1,
                Err(fault) => return self.rest_listener(index, fault),
            }
        }
    }

    /// Watches the listeners again whose rest is over.
    pub(super) fn wake_listeners(&mut self) {
        for (listener, index) in self.listeners.iter_mut().zip(LISTENERS..) {
            if listener.rest.is_some_and(|until| until <= self.hub.now) {
                let token = Token(index.into());
                let is_watched = listener.is_watched
                    || self.io.modify(listener.fd, token, Interest::NONE, Interest::READ).is_ok();
                listener.is_watched = is_watched;
                listener.rest = (!is_watched).then(|| self.hub.now + listener.next_rest);
            }
        }
    }

    /// No more connections: the queues are closed, and whoever is in them is reset by the kernel.
    pub(super) fn close_listeners(&mut self) {
        for listener in self.listeners.drain(..) {
            let interest = if listener.is_watched { Interest::READ } else { Interest::NONE };
            self.io.remove(listener.fd, interest);
            self.io.close(listener.fd);
        }
    }

    fn admit(&mut self, wire: Wire, fd: RawFd, peer: Peer) {
        if self.hub.conns.len() >= self.hub.limits.max_connections {
            self.hub.counters.max_connections += 1;
            return self.turn_away(wire, fd);
        }
        if !self.addresses.enter(peer, self.hub.limits.max_connections_per_ip) {
            self.hub.counters.max_connections_per_ip += 1;
            return self.turn_away(wire, fd);
        }
        let id = self.hub.conns.insert(Connection::new(fd, peer, wire, self.hub.now));
        if self.io.add(fd, token(id), Interest::READ).is_err() {
            self.hub.conns.remove(id);
            self.addresses.leave(peer);
            self.hub.counters.unwatched += 1;
            self.io.abort(fd);
            return;
        }
        self.hub.counters.open[wire as usize] += 1;
        log::debug("transport", format_args!("{id} {wire} accepted from {peer}"));
        if wire.reaches_the_service() {
            let outcome = self.dispatcher.opened(&mut self.hub, id, peer, wire);
            self.settle(id, outcome);
        }
        self.watch_time(id);
    }

    /// There is no room: says so, and closes.
    fn turn_away(&mut self, wire: Wire, fd: RawFd) {
        let mut text = Vec::new();
        match wire {
            Wire::JsonRpc => {
                render::answer(&mut text, Encoding::FIRST, None, Err(&Fault::too_many_connections()))
            }
            Wire::Line => text.extend_from_slice(b"Too many connections\n"),
            Wire::Echo | Wire::Files => {}
        }
        if !text.is_empty() {
            // One try: whoever does not take it finds a closed connection, which says as much.
            let _ = self.io.write(fd, &[IoSlice::new(&text)]);
        }
        self.io.close(fd);
    }

    /// Without descriptors or memory the queue stays full and the listener ready: asked again at once, it
    /// would spin. So it is not watched for a while.
    fn rest_listener(&mut self, index: usize, fault: AcceptFault) {
        self.hub.counters.listener_rests += 1;
        let Listener { wire, fd, .. } = self.listeners[index];
        if fault == AcceptFault::NoDescriptors && self.io.give_up_spare() {
            // Whoever waits longest is told, with the descriptor that is kept for this.
            if let Ok((fd, _)) = self.io.accept(fd) {
                self.hub.counters.accepted += 1;
                self.hub.counters.open_files += 1;
                self.turn_away(wire, fd);
            }
        }
        self.io.keep_spare();
        let listener = &mut self.listeners[index];
        let rest = listener.next_rest;
        if listener.told.is_none_or(|told| told + TELL_AGAIN <= self.hub.now) {
            listener.told = Some(self.hub.now);
            log::warn("transport", format_args!("accept: {fault:?}; the {wire} listener rests"));
        }
        listener.rest = Some(self.hub.now + rest);
        listener.next_rest = (rest * 2).min(self.hub.limits.accept_backoff);
        self.unwatch_listener(index);
    }

    /// A listener that rests is not watched. If the kernel has no memory for that now, the next event tries again.
    fn unwatch_listener(&mut self, index: usize) {
        let Listener { fd, is_watched, .. } = &mut self.listeners[index];
        let token = Token(u64::from(LISTENERS) + index as u64);
        if *is_watched && self.io.modify(*fd, token, Interest::READ, Interest::NONE).is_ok() {
            *is_watched = false;
        }
    }
}
