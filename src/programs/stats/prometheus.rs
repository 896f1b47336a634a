//! Statistics in Prometheus's text format: <https://prometheus.io/docs/instrumenting/exposition_formats/>.
//!
//! Its customs: names begin with the program's, counters end in `_total`, units are seconds and bytes, a bucket counts all
//! that took at most so long. The version is a label of a gauge that is always 1.

use rawline::Stats;
use rawline::api::Sample;

/// All of it, one line for each number. Names are words already.
pub fn text(version: &str, stats: &Stats<String>) -> String {
    let mut text = String::new();
    head(&mut text, "rawline_build_info", "gauge", "Always 1; its label is the version.");
    text.push_str(&format!("rawline_build_info{{version=\"{}\"}} 1\n", escaped(version, true)));
    for family in stats.families() {
        let Sample { name, help, is_gauge, .. } = &family[0];
        let (base, millis) = match name.strip_suffix("_ms") {
            Some(base) => (format!("{base}_seconds"), true),
            None => (name.clone(), false),
        };
        let name = format!("rawline_{base}{}", if *is_gauge { "" } else { "_total" });
        head(&mut text, &name, if *is_gauge { "gauge" } else { "counter" }, help);
        for Sample { label, value, .. } in family {
            let label = label.as_ref().map_or(String::new(), |(key, value)| format!("{{{key}=\"{value}\"}}"));
            let value = if millis { seconds(*value, 3) } else { value.to_string() };
            text.push_str(&format!("{name}{label} {value}\n"));
        }
    }
    let turns = &stats.turn_time;
    head(
        &mut text,
        "rawline_turn_seconds",
        "histogram",
        "How long turns of the loop took, from waking to waiting.",
    );
    let mut below = 0;
    for (bucket, count) in turns.buckets.iter().enumerate() {
        below += count;
        let bound = turns.bound_us(bucket).map_or("+Inf".into(), |bound| seconds(bound, 6));
        text.push_str(&format!("rawline_turn_seconds_bucket{{le=\"{bound}\"}} {below}\n"));
    }
    let sum = seconds(turns.total_us, 6);
    text.push_str(&format!("rawline_turn_seconds_sum {sum}\nrawline_turn_seconds_count {below}\n"));
    text
}

fn head(text: &mut String, name: &str, kind: &str, help: &str) {
    text.push_str(&format!("# HELP {name} {}\n# TYPE {name} {kind}\n", escaped(help, false)));
}

/// A number of 10^-`digits` seconds, in seconds.
fn seconds(number: u64, digits: u32) -> String {
    let one = 10u64.pow(digits);
    format!("{}.{:0digits$}", number / one, number % one, digits = digits as usize)
}

/// Backslashes and line feeds, and in a label quotation marks, have a meaning.
fn escaped(text: &str, is_label: bool) -> String {
    let text = text.replace('\\', "\\\\").replace('\n', "\\n");
    if is_label { text.replace('"', "\\\"") } else { text }
}

#[cfg(test)]
mod tests {
    use super::super::tests::example;
    use super::*;

    #[test]
    fn every_number_has_its_line_behind_help_and_type() {
        let text = text("0.1.0 (\"x\\y\nz\")", &example());
        let expected = r#"# HELP rawline_build_info Always 1; its label is the version.
# TYPE rawline_build_info gauge
rawline_build_info{version="0.1.0 (\"x\\y\nz\")"} 1
# HELP rawline_connections Open connections.
# TYPE rawline_connections gauge
rawline_connections 3
# HELP rawline_uptime_seconds Milliseconds since the server began.
# TYPE rawline_uptime_seconds gauge
rawline_uptime_seconds 8107.250
# HELP rawline_bytes_in_total Bytes read from connections.
# TYPE rawline_bytes_in_total counter
rawline_bytes_in_total 1572864
# HELP rawline_closed_total Connections ended, by reason.
# TYPE rawline_closed_total counter
rawline_closed_total{reason="peer"} 12345
rawline_closed_total{reason="reset"} 0
# HELP rawline_accepted_total Connections \\ accepted.
# TYPE rawline_accepted_total counter
rawline_accepted_total 7
# HELP rawline_turn_seconds How long turns of the loop took, from waking to waiting.
# TYPE rawline_turn_seconds histogram
rawline_turn_seconds_bucket{le="0.000001"} 0
rawline_turn_seconds_bucket{le="0.000002"} 2
rawline_turn_seconds_bucket{le="0.000004"} 2
"#;
        assert!(text.starts_with(expected), "{text}");
        let end = "\
rawline_turn_seconds_bucket{le=\"4.194304\"} 7
rawline_turn_seconds_bucket{le=\"+Inf\"} 8
rawline_turn_seconds_sum 9.000300
rawline_turn_seconds_count 8
";
        assert!(text.ends_with(end), "{text}");
    }
}
