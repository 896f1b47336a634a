//! What the loop does for whoever runs it: obeys signals, shows that it is alive, says that it stops.
//!
//! Owns the time of the next sign of life. Without an operator nothing here happens, and signals other than those that
//! ask to stop do not come.

use std::time::Duration;

use super::EventLoop;
use crate::api::{Operator, Service};
use crate::limits::Limits;
use crate::log;
use crate::transport::hub::Asked;
use crate::transport::io::{Io, Millis, Signal};

/// An operator, and when he wants to hear that the loop is alive.
pub(super) struct Attended {
    operator: Box<dyn Operator>,
    pulse: Option<(Duration, Millis)>,
}

impl Attended {
    /// When the loop must look again.
    pub fn wake_at(&self) -> Option<Millis> {
        self.pulse.map(|(_, next)| next)
    }
}

impl<I: Io, S: Service> EventLoop<I, S> {
    /// Lets `operator` stand beside this loop.
    pub fn set_operator(&mut self, operator: Box<dyn Operator>) {
        let pulse = operator.pulse().map(|period| (period, self.hub.now + period));
        self.operator = Some(Attended { operator, pulse });
    }

    /// Does what signals ask for.
    pub(super) fn obey_signals(&mut self) {
        while let Some(signal) = self.io.signal() {
            match signal {
                Signal::Interrupt | Signal::Terminate => {
                    log::info("transport", format_args!("{signal:?}: stopping"));
                    self.hub.asked.push(Asked::Stop);
                }
                Signal::HangUp if self.stopping.is_some() => {
                    log::warn("transport", format_args!("stopping: the configuration is not read again"));
                }
                Signal::HangUp => {
                    if let Some(limits) =
                        self.operator.as_mut().and_then(|attended| attended.operator.reload())
                    {
                        self.set_limits(limits);
                    }
                }
                Signal::User1 => {
                    let stats = self.stats();
                    if let Some(attended) = &mut self.operator {
                        attended.operator.report(stats);
                    }
                }
                // Those of a terminal are not asked for.
                Signal::Resize | Signal::Suspend | Signal::Continue => {}
            }
        }
    }

    fn set_limits(&mut self, limits: Limits) {
        if let Some(files) = &self.files {
            files.store.set_reserve(limits.disk_reserve);
        }
        // A ring goes back into the pool only if it has the size of all others there.
        if limits.read_chunk != self.hub.limits.read_chunk {
            self.inputs.clear();
        }
        self.hub.limits = limits;
        // Who was silent so far may have to speak from now on.
        let all: Vec<_> = self.hub.conns.iter().map(|(id, _)| id).collect();
        all.into_iter().for_each(|id| self.watch_time(id));
    }

    /// Shows that the loop turns, when it is time for that.
    pub(super) fn show_life(&mut self) {
        if let Some(Attended { operator, pulse: Some((period, next)) }) = &mut self.operator
            && *next <= self.hub.now
        {
            *next = self.hub.now + *period;
            operator.alive(self.hub.conns.len());
        }
    }

    /// Says that a stop has begun.
    pub(super) fn tell_stopping(&mut self) {
        if let Some(attended) = &mut self.operator {
            attended.operator.stopping(self.hub.conns.len());
        }
    }
}
