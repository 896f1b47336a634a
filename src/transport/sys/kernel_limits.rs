//! How much the kernel allows this process: descriptors, and connections waiting to be accepted.
//!
//! Asked once at start, by whoever opens listeners and checks the configured maximums against the
//! machine. Never changes anything but this process's own soft limit.

use std::io;

use libc::c_int;
use nix::sys::resource::{Resource, getrlimit, rlim_t, setrlimit};

/// Raises the soft limit on open descriptors to the hard one, and returns the limit then in force.
/// It is one more than the highest descriptor that this process can have. getrlimit(2).
///
/// # Errors
/// What getrlimit and setrlimit say; a sandbox may forbid them.
pub fn raise_descriptor_limit() -> io::Result<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let most = most_descriptors(hard);
    if soft < most {
        setrlimit(Resource::RLIMIT_NOFILE, most, hard)?;
    }
    let limit = soft.max(most);
    Ok(limit as u64)
}

#[cfg(not(target_vendor = "apple"))]
fn most_descriptors(hard: rlim_t) -> rlim_t {
    hard
}

/// The hard limit is usually "infinity", but setrlimit refuses more than kern.maxfilesperproc (EINVAL).
#[cfg(target_vendor = "apple")]
fn most_descriptors(hard: rlim_t) -> rlim_t {
    /// OPEN_MAX of sys/syslimits.h, which every release takes.
    const OPEN_MAX: rlim_t = 10_240;
    let most = sysctl(c"kern.maxfilesperproc").and_then(|most| rlim_t::try_from(most).ok());
    hard.min(most.unwrap_or(OPEN_MAX))
}

/// The longest queue of connections that the kernel keeps for a listener; listen(2) takes more and
/// cuts it silently. SOMAXCONN where the kernel does not tell.
pub fn max_backlog() -> c_int {
    read_max_backlog().filter(|&most| most > 0).unwrap_or(libc::SOMAXCONN)
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn read_max_backlog() -> Option<c_int> {
    std::fs::read_to_string("/proc/sys/net/core/somaxconn").ok()?.trim().parse().ok()
}

#[cfg(target_vendor = "apple")]
fn read_max_backlog() -> Option<c_int> {
    sysctl(c"kern.ipc.somaxconn")
}

#[cfg(target_os = "freebsd")]
fn read_max_backlog() -> Option<c_int> {
    sysctl(c"kern.ipc.soacceptqueue")
}

#[cfg(any(target_vendor = "apple", target_os = "freebsd"))]
fn sysctl(name: &std::ffi::CStr) -> Option<c_int> {
    let mut value: c_int = 0;
    let mut size = size_of::<c_int>();
    // SAFETY: the name ends in NUL, and the kernel writes at most `size` bytes to where an int is.
    let done = unsafe {
        let into = std::ptr::from_mut(&mut value).cast();
        libc::sysctlbyname(name.as_ptr(), into, &mut size, std::ptr::null_mut(), 0)
    };
    (done == 0 && size == size_of::<c_int>()).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_is_raised_as_far_as_it_goes() {
        let limit = raise_descriptor_limit().unwrap();
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        assert_eq!(limit as rlim_t, soft);
        assert_eq!(soft, most_descriptors(hard));
        assert_eq!(raise_descriptor_limit().unwrap(), limit, "a second time changes nothing");
    }

    #[test]
    fn the_kernel_keeps_a_queue() {
        assert!(max_backlog() >= 128, "every system queues at least this many");
    }
}
