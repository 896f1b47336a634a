//! The time that a clock on the wall shows, in the zone of whoever looks at it.
//!
//! For people only: the loops measure with a monotonic clock and the log writes UTC. Owns nothing. Called by the
//! chat client for `--timestamps`.
//!
//! time(2), localtime(3).

use std::mem::MaybeUninit;
use std::ptr;

/// Hour, minute and second in the local time zone.
pub fn now() -> (u8, u8, u8) {
    // SAFETY: with no place to write to, it only returns.
    at(unsafe { libc::time(ptr::null_mut()) })
}

fn at(time: libc::time_t) -> (u8, u8, u8) {
    let mut local = MaybeUninit::<libc::tm>::zeroed();
    // SAFETY: it fills in the one from the other; zeros make a tm, and it stays that if the year is too large for it.
    let local = unsafe {
        libc::localtime_r(&time, local.as_mut_ptr());
        local.assume_init()
    };
    let small = |number: libc::c_int| u8::try_from(number).unwrap_or_default();
    (small(local.tm_hour), small(local.tm_min), small(local.tm_sec))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_zone_has_the_seconds_of_utc() {
        // Zones of today are whole minutes away from UTC.
        let (hour, minute, second) = at(1_795_228_055);
        assert!(hour < 24 && minute < 60);
        assert_eq!(second, 35);
        assert!(now().0 < 24);
    }
}
