//! Panics in a service: caught where it is called, and told to the operator in one line.
//!
//! Owns the name of whom a thread is serving, which is set around each call of a service, so that the hook can say it. The
//! message of a panic may hold what somebody wrote, so it is only for those who debug.

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe, catch_unwind};

use crate::api::ConnId;
use crate::log;

thread_local! {
    static SERVED: Cell<Option<ConnId>> = const { Cell::new(None) };
}

/// Calls a service for a connection, or for nobody; `None` if it panicked. What the call had changed by then stays changed:
/// the caller looks whether that makes sense.
pub fn catch<R>(conn: Option<ConnId>, call: impl FnOnce() -> R) -> Option<R> {
    SERVED.set(conn);
    let result = catch_unwind(AssertUnwindSafe(call));
    SERVED.set(None);
    result.ok()
}

/// From now on every panic of the process is one line of the log: where, and while whom was served.
pub fn log_them() {
    panic::set_hook(Box::new(|info| {
        let place = info.location().map_or("an unknown place".into(), ToString::to_string);
        match SERVED.get() {
            Some(conn) => log::error("panic", format_args!("at {place}, while {conn} was served")),
            None => log::error("panic", format_args!("at {place}")),
        }
        if let Some(message) = info
            .payload()
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| info.payload().downcast_ref::<String>().map(String::as_str))
        {
            log::debug("panic", format_args!("at {place}: {}", log::quoted(message)));
        }
    }));
}
