//! How parameters are written: by name or by position, with some that nobody knows, at the edge of what a text may be,
//! or wrong.

use rawline::Limits;
use rawline::api::Kind;

use crate::sim::client::escape;
use crate::sim::rng::Rng;

/// A method's parameters, in the order of their positions, and how many of them must be given.
fn rules(method: &str) -> (&'static [(&'static str, Kind)], usize) {
    match method {
        "join_chat" => (&[("username", Kind::Text)], 0),
        "send_message" => (&[("message", Kind::Text)], 0),
        "get_users" | "get_stats" => (&[("format", Kind::Text)], 0),
        "set_heartbeat" => (&[("seconds", Kind::Number)], 1),
        "long" => (&[("number", Kind::Number)], 1),
        "later" => {
            (&[("number", Kind::Number), ("how", Kind::Text), ("aloud", Kind::Bool), ("note", Kind::Any)], 1)
        }
        _ => (&[], 0),
    }
}

/// The first of a method's parameters have these values, the others none.
pub(super) fn write(rng: &mut Rng, method: &str, values: &[String]) -> String {
    if values.is_empty() {
        return rng.pick(&["", "", ",\"params\":{}", ",\"params\":[]"]).to_string();
    }
    if rng.one_in(4) {
        let more = if values.len() == rules(method).0.len() && rng.one_in(4) { ",{\"a\":[]}" } else { "" };
        return format!(",\"params\":[{}{more}]", values.join(","));
    }
    let names = rules(method).0.iter().map(|rule| rule.0);
    let mut members: Vec<String> =
        names.zip(values).map(|(name, value)| format!("\"{name}\":{value}")).collect();
    rng.shuffle(&mut members);
    match rng.range(0, 3) {
        0 => format!(", \"params\" : {{ \"other\":[{{}}], {} }}", members.join(" , ")),
        _ => format!(",\"params\":{{{}}}", members.join(",")),
    }
}

/// Parameters that are refused, and for what.
pub(super) fn write_wrong(rng: &mut Rng, method: &str) -> (String, String) {
    let (rules, required) = rules(method);
    let good = |kind| match kind {
        Kind::Text => "\"x\"",
        Kind::Number => "-1.5e3",
        Kind::Bool => "true",
        Kind::Any => "null",
    };
    let at = rng.size(0, rules.len().max(1) - 1);
    match (rng.range(0, 3), rules.get(at)) {
        (0, Some((name, kind))) => {
            let (value, first) = (good(*kind), name.as_bytes()[0]);
            let again =
                if rng.one_in(2) { name.to_string() } else { format!("\\u{first:04x}{}", &name[1..]) };
            let params = format!(",\"params\":{{\"{name}\":{value},\"x\":0,\"{again}\":{value}}}");
            (params, format!("{name} is given twice"))
        }
        (1, Some((name, kind))) if *kind != Kind::Any => {
            let (bad, must) = match kind {
                Kind::Text => (*rng.pick(&["1", "null", "[\"x\"]", "true"]), "a string"),
                Kind::Number => (*rng.pick(&["\"1\"", "null", "{}", "false"]), "a number"),
                _ => (*rng.pick(&["1", "null", "\"true\"", "[]"]), "true or false"),
            };
            let why = format!("{name} must be {must}");
            let before = rules[..at].iter().map(|rule| (rule.0, good(rule.1)));
            let all: Vec<(&str, &str)> = before.chain([(*name, bad)]).collect();
            if rng.one_in(2) {
                let values: Vec<&str> = all.iter().map(|pair| pair.1).collect();
                return (format!(",\"params\":[{}]", values.join(",")), why);
            }
            let members: Vec<String> =
                all.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
            (format!(",\"params\":{{{}}}", members.join(",")), why)
        }
        (2, _) if required > 0 => {
            let params = rng.pick(&["", ",\"params\":{}", ",\"params\":[]"]).to_string();
            (params, format!("{} is missing", rules[0].0))
        }
        _ => {
            let params = format!(",\"params\":{}", rng.pick(&["1", "null", "\"[]\"", "true"]));
            (params, "params must be an object or an array".to_owned())
        }
    }
}

/// Parameters that nobody looks at, with which a ping is as deep or as long as a text may be, if `taken` bytes of it are
/// something else.
pub(super) fn edge(rng: &mut Rng, limits: &Limits, taken: usize) -> String {
    if rng.one_in(2) {
        let depth = limits.max_depth - 1;
        return "[".repeat(depth) + &"]".repeat(depth);
    }
    let around = "{\"method\":\"ping\",\"params\":[\"\"]}".len() + taken;
    let most = limits.max_message_bytes.min(20_000) - around;
    let n = if rng.one_in(4) { limits.max_message_bytes - around } else { rng.size(0, most) };
    format!("[\"{}\"]", "x".repeat(n))
}

/// A number, and now and then what else may be given behind it: as parameters, and as the service hears of them.
pub(super) fn for_later(rng: &mut Rng, number: u64, hows: &[&str]) -> (Vec<String>, String) {
    let (how, aloud) = (*rng.pick(hows), rng.one_in(2));
    let note = *rng.pick(&["null", "[{}]", "\"é\"", "7"]);
    let given = rng.size(1, 4);
    let text = format!("\"{how}\"");
    let text = if rng.one_in(4) { escape(&text) } else { text };
    let mut values = vec![number.to_string(), text, aloud.to_string(), note.to_owned()];
    values.truncate(given);
    let or = |at: usize, value: String, default: &str| if given > at { value } else { default.to_owned() };
    let heard = [or(1, how.into(), "late"), or(2, aloud.to_string(), "false"), or(3, note.into(), "null")];
    (values, format!("{number} {}", heard.join(" ")))
}
