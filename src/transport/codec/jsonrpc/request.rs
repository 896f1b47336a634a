//! Makes a request of a JSON text: its dialect, method, parameters and id, borrowed from the text.
//!
//! Reads only text that the [`scanner`](super::scanner) has accepted, so what can be wrong here is the meaning,
//! never the JSON. It owns the rules of a request's top level and of a row's parameters; it knows no method,
//! calls nothing and writes no answer. Called by the JSON-RPC dispatcher: [`Request::parse`] for each text or
//! batch element, and [`bind`] when the method's row is found.

use std::borrow::Cow;
use std::collections::HashSet;

use super::walk::{elements, members};
use crate::api::{Fault, Kind, MAX_PARAMS, Param, unquote};

/// How a request speaks, and so how it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// The plain one, which clients spoke before there was a choice: no `jsonrpc` member.
    Seed,
    /// JSON-RPC 2.0.
    V2,
}

/// The raw text of an id to echo: a string, a number or null. `None` if there is none, or none to echo.
pub type Id<'a> = Option<&'a str>;

/// One request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// How it speaks.
    pub dialect: Dialect,
    /// The method's name, without escapes.
    pub method: Cow<'a, str>,
    /// The raw parameters, which [`bind`] looks into.
    pub params: Option<&'a str>,
    /// What its answer echoes.
    pub id: Id<'a>,
}

/// JSON, but no request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected<'a> {
    /// The form of the answer.
    pub dialect: Dialect,
    /// What the answer echoes: the id, if there was one legal id. In 2.0 `None` is written as null.
    pub id: Id<'a>,
    /// Why.
    pub fault: Fault,
}

impl<'a> Request<'a> {
    /// Reads `text`: a complete JSON text that the scanner has accepted, or an element of such a batch.
    ///
    /// # Errors
    /// -32600 when it is no request. A batch has to speak 2.0, so `in_batch` refuses the seed dialect.
    pub fn parse(text: &'a str, in_batch: bool) -> Result<Self, Rejected<'a>> {
        let reject =
            |dialect, id, detail: String| Rejected { dialect, id, fault: Fault::invalid_request(detail) };
        if !text.starts_with('{') {
            return Err(reject(Dialect::V2, None, "a request is an object".into()));
        }
        let top = TopLevel::read(text);

        let dialect = if in_batch || top.jsonrpc.is_some() { Dialect::V2 } else { Dialect::Seed };
        let legal = top.id.filter(|id| matches!(id.as_bytes()[0], b'"' | b'-' | b'0'..=b'9' | b'n'));
        // Of two ids neither is the one.
        let id = legal.filter(|_| top.twice.as_deref() != Some("id"));
        let reject = |detail| Err(reject(dialect, id, detail));

        if let Some(name) = top.twice {
            // A key can be as long as a message; the answer need not be.
            let name: String = name.chars().take(40).collect();
            return reject(format!("the member {name:?} is given twice"));
        }
        if dialect == Dialect::V2 && top.jsonrpc.and_then(string).as_deref() != Some("2.0") {
            return reject("jsonrpc must be \"2.0\"".into());
        }
        if dialect == Dialect::V2 && top.id != legal {
            return reject("id must be a string, a number or null".into());
        }
        match top.method.and_then(string) {
            Some(method) => Ok(Self { dialect, method, params: top.params, id }),
            None => reject("method must be a string".into()),
        }
    }

    /// Whether it gets no answer: that is what no id means in 2.0.
    pub fn is_notification(&self) -> bool {
        self.dialect == Dialect::V2 && self.id.is_none()
    }
}

/// Applies the rules of a method's row to raw parameters: what is given for each rule, in their order.
///
/// An object gives them by name, an array by position; what no rule names is ignored.
///
/// # Errors
/// -32602 when a required one is missing, one is of the wrong kind or given twice, or `params` is no container.
///
/// # Panics
/// If there are more than [`MAX_PARAMS`] rules; the check of the routes at start excludes that.
pub fn bind<'a>(params: Option<&'a str>, rules: &[Param]) -> Result<[Option<&'a str>; MAX_PARAMS], Fault> {
    let mut given = [None; MAX_PARAMS];
    match params.map(|params| (params.as_bytes()[0], params)) {
        None => {}
        Some((b'{', object)) => {
            for (key, value) in members(object) {
                let name = unquote(key);
                let Some(n) = rules.iter().position(|rule| rule.name == name) else { continue };
                if given[n].replace(value).is_some() {
                    return Err(Fault::invalid_params(format!("{name} is given twice")));
                }
            }
        }
        Some((b'[', array)) => {
            for (slot, value) in given[..rules.len()].iter_mut().zip(elements(array)) {
                *slot = Some(value);
            }
        }
        Some(_) => return Err(Fault::invalid_params("params must be an object or an array".into())),
    }
    for (rule, value) in rules.iter().zip(given) {
        match value {
            Some(value) if !fits(rule.kind, value) => {
                let (name, must) = (rule.name, must_be(rule.kind));
                return Err(Fault::invalid_params(format!("{name} must be {must}")));
            }
            None if rule.required => return Err(Fault::invalid_params(format!("{} is missing", rule.name))),
            _ => {}
        }
    }
    Ok(given)
}

/// The members of a request, raw.
#[derive(Default)]
struct TopLevel<'a> {
    jsonrpc: Option<&'a str>,
    method: Option<&'a str>,
    params: Option<&'a str>,
    id: Option<&'a str>,
    /// A key that is given more than once; `id` before any other, because then there is none to echo.
    twice: Option<Cow<'a, str>>,
}

impl<'a> TopLevel<'a> {
    /// Reads all members, also behind a double one: the id may still come.
    fn read(object: &'a str) -> Self {
        let mut top = Self::default();
        // Unknown keys are compared too, in linear time whatever they are: the set's hash is keyed.
        let mut unknown: Option<HashSet<Cow<'a, str>>> = None;
        for (key, value) in members(object) {
            // The usual ones, as usually written, need no search for escapes.
            let mut name = Cow::Borrowed(&key[1..key.len() - 1]);
            let mut given = top.give(&name, value);
            if given.is_none() {
                name = unquote(key);
                given = top.give(&name, value);
            }
            let twice = match given {
                Some(twice) => twice && (top.twice.is_none() || name == "id"),
                None => {
                    unknown.get_or_insert_default().replace(name.clone()).is_some() && top.twice.is_none()
                }
            };
            if twice {
                top.twice = Some(name);
            }
        }
        top
    }

    /// Keeps the value of a member of this name, and says whether there was one before; `None`: no such member is known.
    fn give(&mut self, name: &str, value: &'a str) -> Option<bool> {
        let member = match name {
            "jsonrpc" => &mut self.jsonrpc,
            "method" => &mut self.method,
            "params" => &mut self.params,
            "id" => &mut self.id,
            _ => return None,
        };
        Some(member.replace(value).is_some())
    }
}

/// What `raw` says, if it is a string.
fn string(raw: &str) -> Option<Cow<'_, str>> {
    raw.starts_with('"').then(|| unquote(raw))
}

fn fits(kind: Kind, raw: &str) -> bool {
    let first = raw.as_bytes()[0];
    match kind {
        Kind::Text => first == b'"',
        Kind::Number => matches!(first, b'-' | b'0'..=b'9'),
        Kind::Bool => matches!(first, b't' | b'f'),
        Kind::Any => true,
    }
}

fn must_be(kind: Kind) -> &'static str {
    match kind {
        Kind::Text => "a string",
        Kind::Number => "a number",
        Kind::Bool => "true or false",
        Kind::Any => "a value",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Request<'_>, Rejected<'_>> {
        Request::parse(text, false)
    }

    #[track_caller]
    fn accepted<'a>(
        text: &'a str,
        dialect: Dialect,
        method: &str,
        params: Option<&str>,
        id: Id<'_>,
    ) -> Request<'a> {
        let request = parse(text).unwrap();
        assert_eq!(request, Request { dialect, method: method.into(), params, id });
        request
    }

    #[track_caller]
    fn rejected(text: &str, in_batch: bool, dialect: Dialect, id: Id<'_>, detail: &str) {
        let fault = Fault::invalid_request(detail.into());
        assert_eq!(fault.code, -32600);
        assert_eq!(Request::parse(text, in_batch), Err(Rejected { dialect, id, fault }), "{text}");
    }

    #[test]
    fn the_dialects() {
        accepted(r#"{"method":"ping"}"#, Dialect::Seed, "ping", None, None);
        accepted(
            r#"{"jsonrpc":"2.0","method":"ping","params":{"a":[1]},"id":7}"#,
            Dialect::V2,
            "ping",
            Some(r#"{"a":[1]}"#),
            Some("7"),
        );
        accepted(r#"{"method":"x","\u006asonrpc":"2\u002e0","id":1}"#, Dialect::V2, "x", None, Some("1"));
        for version in ["2.0", "\"1.0\"", "2", "null", "\"\"", "[\"2.0\"]", "\"2.0 \""] {
            let text = format!(r#"{{"method":"x","id":1,"jsonrpc":{version}}}"#);
            rejected(&text, false, Dialect::V2, Some("1"), "jsonrpc must be \"2.0\"");
        }
    }

    #[test]
    fn the_specifications_examples() {
        let call = r#"{"jsonrpc": "2.0", "method": "subtract", "params": [42, 23], "id": 1}"#;
        assert!(!accepted(call, Dialect::V2, "subtract", Some("[42, 23]"), Some("1")).is_notification());
        let named = r#"{"jsonrpc": "2.0", "method": "subtract", "params": {"subtrahend": 23, "minuend": 42}, "id": 3}"#;
        let params = r#"{"subtrahend": 23, "minuend": 42}"#;
        accepted(named, Dialect::V2, "subtract", Some(params), Some("3"));
        let rules = [Param::number("minuend"), Param::number("subtrahend")];
        assert_eq!(bind(Some(params), &rules), bind(Some("[42, 23]"), &rules));
        let update = r#"{"jsonrpc": "2.0", "method": "update", "params": [1,2,3,4,5]}"#;
        assert!(accepted(update, Dialect::V2, "update", Some("[1,2,3,4,5]"), None).is_notification());
        assert!(
            accepted(r#"{"jsonrpc": "2.0", "method": "foobar"}"#, Dialect::V2, "foobar", None, None)
                .is_notification()
        );
        rejected(
            r#"{"jsonrpc": "2.0", "method": 1, "params": "bar"}"#,
            false,
            Dialect::V2,
            None,
            "method must be a string",
        );
        rejected("1", true, Dialect::V2, None, "a request is an object");
        rejected(r#"{"foo": "boo"}"#, true, Dialect::V2, None, "jsonrpc must be \"2.0\"");
    }

    #[test]
    fn a_batch_speaks_2_0() {
        for element in ["1", "-1", "null", "true", "\"{\"", "[]", "[{}]"] {
            rejected(element, true, Dialect::V2, None, "a request is an object");
        }
        rejected(
            r#"{"method":"ping","id":"a"}"#,
            true,
            Dialect::V2,
            Some("\"a\""),
            "jsonrpc must be \"2.0\"",
        );
        assert!(Request::parse(r#"{"jsonrpc":"2.0","method":"ping"}"#, true).is_ok());
    }

    #[test]
    fn a_method_is_a_string() {
        for method in ["", r#","method":null"#, r#","method":1"#, r#","method":["x"]"#, r#","method":{}"#] {
            let text = format!(r#"{{"id":1{method}}}"#);
            rejected(&text, false, Dialect::Seed, Some("1"), "method must be a string");
        }
        rejected("{}", false, Dialect::Seed, None, "method must be a string");
        accepted(r#"{"method":"\u0070ing\n\ud83d\ude00"}"#, Dialect::Seed, "ping\n😀", None, None);
    }

    #[test]
    fn ids_are_echoed_raw() {
        for id in ["1", "-0.50e+3", "12345678901234567890123", "\"a\\u0062\"", "\"\"", "null"] {
            let seed = format!(r#"{{"method":"x","id": {id} }}"#);
            accepted(&seed, Dialect::Seed, "x", None, Some(id));
            let v2 = format!(r#"{{"jsonrpc":"2.0","method":"x","id":{id}}}"#);
            assert!(!accepted(&v2, Dialect::V2, "x", None, Some(id)).is_notification());
        }
    }

    #[test]
    fn other_ids_are_refused_in_2_0_and_dropped_in_the_seed_dialect() {
        for id in ["true", "false", "[1]", "{}"] {
            let seed = format!(r#"{{"method":"x","id":{id}}}"#);
            assert!(!accepted(&seed, Dialect::Seed, "x", None, None).is_notification());
            let v2 = format!(r#"{{"jsonrpc":"2.0","method":"x","id":{id}}}"#);
            rejected(&v2, false, Dialect::V2, None, "id must be a string, a number or null");
        }
    }

    #[test]
    fn double_members_are_refused() {
        let twice = |text, dialect, id, name: &str| {
            rejected(text, false, dialect, id, &format!("the member {name:?} is given twice"));
        };
        twice(r#"{"method":"a","m\u0065thod":"b","id":1}"#, Dialect::Seed, Some("1"), "method");
        twice(r#"{"method":"a","method":"a"}"#, Dialect::Seed, None, "method");
        twice(r#"{"params":[],"method":"a","params":[],"id":null}"#, Dialect::Seed, Some("null"), "params");
        twice(r#"{"jsonrpc":"2.0","jsonrpc":"2.0","id":1,"method":"x"}"#, Dialect::V2, Some("1"), "jsonrpc");
        twice(r#"{"x":1,"\u0078":2,"method":"a","id":1}"#, Dialect::Seed, Some("1"), "x");
        twice(r#"{"":1,"":2}"#, Dialect::Seed, None, "");
        // Which id is meant nobody knows.
        twice(r#"{"id":1,"method":"a","id":2}"#, Dialect::Seed, None, "id");
        twice(r#"{"x":1,"x":1,"id":1,"method":"a","id":2}"#, Dialect::Seed, None, "id");
        twice(r#"{"id":1,"method":"a","id":2,"x":1,"x":1}"#, Dialect::Seed, None, "id");
        // Deeper down they are none of our business.
        accepted(
            r#"{"method":"a","params":{"b":1,"b":1},"x":{"c":1,"c":1}}"#,
            Dialect::Seed,
            "a",
            Some(r#"{"b":1,"b":1}"#),
            None,
        );
        let long = format!(r#"{{"{0}":1,"{0}":1}}"#, "é".repeat(1000));
        rejected(
            &long,
            false,
            Dialect::Seed,
            None,
            &format!("the member {:?} is given twice", "é".repeat(40)),
        );
    }

    #[test]
    fn many_unknown_members_take_linear_time() {
        // Quadratic would be 125,000,000,000 comparisons: this would not end.
        let unknown: String = (0..500_000).map(|n| format!(r#""{n}":0,"#)).collect();
        accepted(&format!(r#"{{{unknown}"method":"x"}}"#), Dialect::Seed, "x", None, None);
    }

    const RULES: &[Param] = &[
        Param::text("username"),
        Param::number("age").optional(),
        Param::boolean("on").optional(),
        Param::any("x").optional(),
    ];

    fn bound(params: &str) -> Result<Vec<Option<&str>>, String> {
        match bind(Some(params), RULES) {
            Ok(given) => Ok(given[..RULES.len()].to_vec()),
            Err(fault) => {
                assert_eq!((fault.code, fault.rule), (-32602, false));
                Err(fault.detail.unwrap())
            }
        }
    }

    #[test]
    fn parameters_by_name() {
        assert_eq!(
            bound(r#"{"x":[1],"username":"A","none":1,"none":2}"#),
            Ok(vec![Some("\"A\""), None, None, Some("[1]")])
        );
        assert_eq!(
            bound(r#"{"\u0075sername" : "A" , "age":-1,"on":false}"#),
            Ok(vec![Some("\"A\""), Some("-1"), Some("false"), None])
        );
    }

    #[test]
    fn parameters_by_position() {
        assert_eq!(bound(r#"["A"]"#), Ok(vec![Some("\"A\""), None, None, None]));
        assert_eq!(
            bound(r#"["A", 1, true, null, "surplus", 6, 7, 8, 9, 10]"#),
            Ok(vec![Some("\"A\""), Some("1"), Some("true"), Some("null")])
        );
    }

    #[test]
    fn parameters_left_out() {
        assert_eq!(bind(None, &[]), Ok([None; MAX_PARAMS]));
        assert_eq!(bind(None, &RULES[1..]), Ok([None; MAX_PARAMS]));
        assert_eq!(bind(Some("[1]"), &[]), Ok([None; MAX_PARAMS]));
        assert_eq!(bind(None, RULES), Err(Fault::invalid_params("username is missing".into())));
        assert_eq!(bound("{}"), Err("username is missing".into()));
        assert_eq!(bound("[]"), Err("username is missing".into()));
    }

    #[test]
    fn parameters_of_the_wrong_kind() {
        for params in ["null", "1", "\"A\"", "true"] {
            assert_eq!(bound(params), Err("params must be an object or an array".into()));
        }
        for value in ["null", "1", "true", "[]", "{}"] {
            assert_eq!(bound(&format!(r#"{{"username":{value}}}"#)), Err("username must be a string".into()));
        }
        for value in ["null", "\"1\"", "true", "[]", "{}"] {
            assert_eq!(bound(&format!(r#"["A",{value}]"#)), Err("age must be a number".into()));
        }
        for value in ["null", "\"true\"", "1", "[]", "{}"] {
            assert_eq!(bound(&format!(r#"["A",1,{value}]"#)), Err("on must be true or false".into()));
        }
    }

    #[test]
    fn known_parameters_given_twice() {
        assert_eq!(bound(r#"{"username":"A","usern\u0061me":"B"}"#), Err("username is given twice".into()));
    }
}
