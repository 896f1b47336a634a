//! What the loop counts: one number for each reason to close, for each policy, and for what goes through.
//!
//! Owns plain numbers: one thread writes and reads them, so counting costs an addition. The table below is the only list:
//! a row is a field, the name and label it is shown under, and its help. Whoever does something counts it; nobody here
//! knows what for.

use crate::api::{Closed, Fault, Histogram, Sample, Stats, Wire};
use crate::log;
use crate::transport::metered::{CALLS, Metering};

macro_rules! counters {
    ($($(#[doc = $help:literal])+ $field:ident: $name:literal $({ $key:literal = $value:literal })?,)+) => {
        /// All counters of a loop.
        #[derive(Default)]
        pub struct Counters {
            $($(#[doc = $help])+ pub $field: u64,)+
            /// Connections ended, by `Closed as usize`.
            pub closed: [u64; Closed::ALL.len()],
            /// Connections open now, by `Wire as usize`.
            pub open: [u64; Wire::ALL.len()],
            /// Bytes of input buffers that no connection needs now.
            pub pooled_bytes: u64,
            /// Bytes of lists of files that have not been read yet.
            pub list_bytes: u64,
            /// What went through the kernel, as of the end of the last turn.
            pub metering: Metering,
            /// How long turns took.
            pub turn_time: Histogram,
        }

        impl Counters {
            fn table(&self) -> Vec<Sample> {
                vec![$(Sample {
                    name: $name,
                    label: None$(.or(Some(($key, $value))))?,
                    help: concat!($($help),+).trim_ascii(),
                    is_gauge: false,
                    value: self.$field,
                },)+]
            }
        }
    };
}

counters! {
    /// Connections accepted, those included that were turned away.
    accepted: "accepted",
    /// Connections that had gone before they were accepted.
    aborted: "accept_aborted",
    /// Connections that the kernel would not watch.
    unwatched: "accept_unwatched",
    /// Times that a listener rested because there was no descriptor or no memory.
    listener_rests: "listener_rests",
    /// JSON texts, lines and file commands received whole.
    frames_in: "frames_in",
    /// Answers, pushes to one connection and lines to one user.
    frames_out: "frames_out",
    /// Broadcasts, one for each connection that was to hear them.
    deliveries: "deliveries",
    /// Input of refused connections, thrown away, in bytes.
    drained: "drained_bytes",
    /// Connections that had ended, and did not take or say what was left in time.
    ended_by_force: "ended_by_force",
    /// Handlers that panicked.
    panics: "panics",
    /// Events that named a connection which had ended.
    stale_events: "stale_events",
    /// File commands that were refused, or failed.
    file_refusals: "file_refusals",
    /// Errors answered, by kind.
    parse_errors: "faults" { "kind" = "parse_error" },
    /// JSON that was no request (-32600).
    invalid_requests: "faults" { "kind" = "invalid_request" },
    /// A method that there is not (-32601).
    unknown_methods: "faults" { "kind" = "unknown_method" },
    /// Parameters that were not those of the method (-32602).
    invalid_params: "faults" { "kind" = "invalid_params" },
    /// A handler panicked, or never answered (-32603).
    internal_errors: "faults" { "kind" = "internal_error" },
    /// What a limit or a rule refused.
    other_faults: "faults" { "kind" = "other" },
    /// Times that a limit was reached and its policy applied, unless that closed the connection.
    max_connections: "limited" { "limit" = "max_connections" },
    /// A connection was turned away: its address had as many.
    max_connections_per_ip: "limited" { "limit" = "max_connections_per_ip" },
    /// A connection was turned away: no descriptor was left.
    open_files: "limited" { "limit" = "open_files" },
    /// A line that was dropped.
    max_line_bytes: "limited" { "limit" = "max_line_bytes" },
    /// A batch that was refused whole.
    max_batch: "limited" { "limit" = "max_batch" },
    /// A read was filled: there may be more to read.
    read_chunk: "limited" { "limit" = "read_chunk" },
    /// A connection had more to read than its share of a turn.
    max_read_per_turn: "limited" { "limit" = "max_read_per_turn" },
    /// A connection had more requests than its share of a turn.
    max_requests_per_turn: "limited" { "limit" = "max_requests_per_turn" },
    /// A connection was not served until it read its answers.
    out_high: "limited" { "limit" = "out_high" },
    /// It was served again.
    out_low: "limited" { "limit" = "out_low" },
    /// All requests waited for the next turn.
    max_fanout_per_turn: "limited" { "limit" = "max_fanout_per_turn" },
    /// A request or a line was refused: too many in a short time.
    rate_messages: "limited" { "limit" = "rate_messages" },
    /// A refused connection sent more than is thrown away for it, and was closed.
    drain_max: "limited" { "limit" = "drain_max" },
    /// An upload was refused for its size.
    max_upload_bytes: "limited" { "limit" = "max_upload_bytes" },
    /// An upload was refused, or ended, for want of space.
    disk_reserve: "limited" { "limit" = "disk_reserve" },
    /// An upload had to wait for another one to end.
    max_uploads: "limited" { "limit" = "max_uploads" },
    /// A connection still had something to be sent when a stopping server closed it.
    shutdown_grace: "limited" { "limit" = "shutdown_grace" },
}

impl Counters {
    /// An error was answered.
    pub fn fault(&mut self, fault: &Fault) {
        *match fault.code {
            -32700 => &mut self.parse_errors,
            -32600 => &mut self.invalid_requests,
            -32601 => &mut self.unknown_methods,
            -32602 => &mut self.invalid_params,
            -32603 => &mut self.internal_errors,
            _ => &mut self.other_faults,
        } += 1;
    }

    /// All of it under its names, behind these gauges.
    pub fn stats(&self, gauges: &[(&'static str, u64, &'static str)]) -> Stats {
        let mut samples = Vec::new();
        let mut add = |name, label, value, help, is_gauge| {
            samples.push(Sample { name, label, help, is_gauge, value });
        };
        for &(name, value, help) in gauges {
            add(name, None, value, help, true);
        }
        for (wire, value) in Wire::ALL.iter().zip(self.open) {
            let help = "Open connections of each service.";
            add("service_connections", Some(("service", wire.name())), value, help, true);
        }
        let help = "Memory of input buffers that are kept for the next connection that needs one.";
        add("pooled_bytes", None, self.pooled_bytes, help, true);
        let help = "Memory of lists of files that clients have not read yet, in bytes.";
        add("list_bytes", None, self.list_bytes, help, true);
        let Metering { now, bytes_in, bytes_out, calls } = &self.metering;
        add("uptime_ms", None, now.0, "How long the server has been running.", true);
        add("bytes_in", None, *bytes_in, "Bytes read from connections.", false);
        add("bytes_out", None, *bytes_out, "Bytes that the kernel took for connections.", false);
        for (call, value) in CALLS.iter().zip(calls) {
            let help = "Calls of the kernel's interface, by kind. Most are one system call.";
            add("calls", Some(("call", *call)), *value, help, false);
        }
        for (why, value) in Closed::ALL.iter().zip(self.closed) {
            add("closed", Some(("reason", why.reason())), value, "Connections ended, by reason.", false);
        }
        samples.extend(self.table());
        let mut stats = Stats { samples, turn_time: self.turn_time };
        // Of the whole process, as the log is.
        stats.limited("log_value_max", log::values_cut() as u64, "A value in the log was cut.");
        stats
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_sample_has_a_name_of_its_own_and_a_sentence() {
        let mut counters = Counters { accepted: 3, max_batch: 4, ..Counters::default() };
        counters.closed[Closed::Reset as usize] = 5;
        let stats = counters.stats(&[("connections", 6, "Open connections.")]);
        let names: HashSet<_> = stats.samples.iter().map(|sample| (sample.name, sample.label)).collect();
        assert_eq!(names.len(), stats.samples.len());
        for Sample { name, help, .. } in &stats.samples {
            assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
            assert!(help.ends_with('.') && !help.starts_with(' '), "{name}: {help:?}");
        }
        assert_eq!(stats.get("accepted", None), Some(3));
        assert_eq!(stats.get("limited", Some("max_batch")), Some(4));
        assert_eq!(stats.get("closed", Some("reset")), Some(5));
        assert_eq!(stats.get("connections", None), Some(6));
        assert_eq!(stats.get("closed", None), None);
    }
}
