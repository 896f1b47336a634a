//! The chat as JSON-RPC 2.0, seen from the client.
//!
//! Owns the text that is still arriving and the requests that are not answered yet. Objects are found by the scanner
//! that the server uses, so they may come in lines or back to back, and in the seed dialect too: what
//! the room says before our first request is read is sent that way. Sans-IO; called as a
//! [`Session`].

use std::collections::VecDeque;

use serde::Serialize;
use serde_json::{Value, json};

use super::{Garbage, News, Session};
use crate::limits::DEPTH_CEILING;
use crate::transport::codec::jsonrpc::scanner::{Scan, Scanner};

/// The most bytes of an object: a list of all users of a large server fits ten times.
const MAX_OBJECT_BYTES: usize = 16 << 20;

/// The JSON-RPC session.
pub(super) struct Json {
    scanner: Scanner,
    /// The object that is arriving.
    object: Vec<u8>,
    /// In the order in which their answers come.
    asked: VecDeque<(u64, Asked)>,
    next_id: u64,
    news: VecDeque<News>,
    output: Vec<u8>,
    keep_objects: bool,
}

enum Asked {
    Join,
    Say(String),
    Users,
}

impl Json {
    pub(super) fn new(keep_objects: bool) -> Self {
        Self {
            scanner: Scanner::new(DEPTH_CEILING),
            object: Vec::new(),
            asked: VecDeque::new(),
            next_id: 1,
            // This server waits for us to speak.
            news: [News::NameWanted].into(),
            output: Vec::new(),
            keep_objects,
        }
    }

    fn ask(&mut self, method: &str, params: Value, what: Asked) {
        #[derive(Serialize)]
        struct Request<'a> {
            jsonrpc: &'a str,
            method: &'a str,
            params: Value,
            id: u64,
        }
        let request = Request { jsonrpc: "2.0", method, params, id: self.next_id };
        serde_json::to_writer(&mut self.output, &request).expect("a vector takes everything");
        self.output.push(b'\n');
        self.asked.push_back((self.next_id, what));
        self.next_id += 1;
    }

    /// One whole object has arrived.
    fn object(&mut self) {
        let bytes = std::mem::take(&mut self.object);
        let text = String::from_utf8(bytes).expect("the scanner takes only UTF-8");
        let object: Value = serde_json::from_str(&text).expect("the scanner takes only JSON");
        if self.keep_objects {
            // Between the tokens of JSON a line break means as much as a space; within strings there is none.
            self.news.push_back(News::Object(text.replace(['\n', '\r'], " ")));
        }
        if let Some(kind) = object["method"].as_str() {
            self.push(kind, &object["params"]);
        } else if let Some(kind) = object["type"].as_str() {
            self.push(kind, &object);
        } else {
            self.answer(&object);
        }
    }

    fn push(&mut self, kind: &str, params: &Value) {
        let text = string(&params["message"]);
        match kind {
            "chat" => self.news.push_back(News::Chat { name: string(&params["username"]), text }),
            "system" => self.news.push_back(News::System(text)),
            // A server that is newer than this client tells more.
            _ => {}
        }
    }

    fn answer(&mut self, object: &Value) {
        let error = match &object["error"] {
            Value::Null => None,
            // The seed dialect, in which a connection is refused before it has said anything.
            Value::String(message) => Some(message.clone()),
            error => Some(string(&error["message"])),
        };
        let id = object["id"].as_u64();
        let Some(at) = self.asked.iter().position(|(asked, _)| Some(*asked) == id) else {
            self.news.extend(error.map(News::Trouble));
            return;
        };
        let (_, asked) = self.asked.remove(at).expect("it was found there");
        let result = &object["result"];
        self.news.push_back(match (asked, error) {
            (Asked::Join, None) => {
                let message = string(&result["message"]);
                News::Joined(message.strip_prefix("Joined chat as ").unwrap_or(&message).into())
            }
            (Asked::Join, Some(why)) => News::NameRefused(why),
            (Asked::Say(text), None) => News::Said(text),
            (Asked::Say(text), Some(why)) => News::NotSaid { text, why },
            (Asked::Users, None) => {
                News::Users(result["users"].as_array().into_iter().flatten().map(string).collect())
            }
            (Asked::Users, Some(why)) => News::Trouble(why),
        });
    }
}

fn string(value: &Value) -> String {
    value.as_str().unwrap_or_default().into()
}

impl Session for Json {
    fn receive(&mut self, mut bytes: &[u8]) -> Result<(), Garbage> {
        loop {
            if self.object.is_empty() {
                bytes = bytes.trim_ascii_start();
            }
            if bytes.is_empty() {
                return Ok(());
            }
            match self.scanner.scan(bytes) {
                Scan::Done { used } => {
                    self.object.extend_from_slice(&bytes[..used]);
                    bytes = &bytes[used..];
                    self.object();
                }
                Scan::More if self.object.len() + bytes.len() <= MAX_OBJECT_BYTES => {
                    self.object.extend_from_slice(bytes);
                    return Ok(());
                }
                Scan::Bad { .. } if self.object.is_empty() && bytes.starts_with(b"Enter your name") => {
                    return Err(Garbage("this server speaks the line protocol: add --line".into()));
                }
                _ => return Err(Garbage("this server does not speak JSON-RPC".into())),
            }
        }
    }

    fn next(&mut self) -> Option<News> {
        self.news.pop_front()
    }

    fn output(&mut self) -> &mut Vec<u8> {
        &mut self.output
    }

    fn join(&mut self, name: Option<&str>) {
        let params = name.map_or_else(|| json!({}), |name| json!({ "username": name }));
        self.ask("join_chat", params, Asked::Join);
    }

    fn say(&mut self, text: &str) {
        self.ask("send_message", json!({ "message": text }), Asked::Say(text.into()));
    }

    fn ask_users(&mut self) {
        self.ask("get_users", json!({ "format": "simple" }), Asked::Users);
    }

    fn unanswered(&self) -> usize {
        self.asked.len()
    }

    fn unconfirmed(&mut self) -> Vec<String> {
        let say = |(_, asked)| if let Asked::Say(text) = asked { Some(text) } else { None };
        self.asked.drain(..).filter_map(say).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn joined() -> Json {
        let mut session = Json::new(false);
        assert_eq!(session.next(), Some(News::NameWanted));
        session.join(Some("Ann"));
        assert_eq!(
            std::mem::take(session.output()),
            b"{\"jsonrpc\":\"2.0\",\"method\":\"join_chat\",\"params\":{\"username\":\"Ann\"},\"id\":1}\n"
        );
        session
    }

    fn news(session: &mut dyn Session) -> Vec<News> {
        std::iter::from_fn(|| session.next()).collect()
    }

    const ARRIVES: &str = concat!(
        r#"{"type":"chat","message":"early","username":"Bob"}"#,
        r#"{"jsonrpc":"2.0","result":{"status":"success","message":"Joined chat as Ann_7","users":["Bob","Ann_7"]},"id":1}"#,
        "\n",
        r#"{"jsonrpc":"2.0","method":"system","params":{"message":"Welcome","username":"SYSTEM"}}"#,
        "\n",
        r#"{"jsonrpc":"2.0","method":"chat","params":{"message":"h\u00e9é\n","username":"Bob"}}"#,
        "\n",
        r#"{"jsonrpc":"2.0","result":{"status":"success"},"id":2}"#,
        "\n",
        r#"{"jsonrpc":"2.0","error":{"code":-32023,"message":"Message too long"},"id":3}"#,
        "\n",
        r#"{"jsonrpc":"2.0","result":{"users":["Bob","Ann_7"],"count":2},"id":4}"#,
        "\n",
        r#"{"jsonrpc":"2.0","method":"news","params":{}}"#,
        "\n",
        r#"{"jsonrpc":"2.0","error":{"code":-32004,"message":"Shutting down"},"id":null}"#,
        "\n",
    );

    proptest! {
        #[test]
        fn news_is_the_same_however_it_arrives(cuts in prop::collection::vec(0..ARRIVES.len(), 0..20)) {
            let mut session = joined();
            session.say("one");
            session.say("two");
            session.ask_users();
            let mut cuts = cuts;
            cuts.extend([0, ARRIVES.len()]);
            cuts.sort_unstable();
            for piece in cuts.windows(2) {
                session.receive(&ARRIVES.as_bytes()[piece[0]..piece[1]]).unwrap();
            }
            let bob = |text: &str| News::Chat { name: "Bob".into(), text: text.into() };
            prop_assert_eq!(news(&mut session), [
                bob("early"),
                News::Joined("Ann_7".into()),
                News::System("Welcome".into()),
                bob("héé\n"),
                News::Said("one".into()),
                News::NotSaid { text: "two".into(), why: "Message too long".into() },
                News::Users(vec!["Bob".into(), "Ann_7".into()]),
                News::Trouble("Shutting down".into()),
            ]);
            prop_assert_eq!(session.unanswered(), 0);
        }
    }

    #[test]
    fn a_bad_name_is_refused_with_the_reason() {
        let mut session = joined();
        session
            .receive(
                br#"{"jsonrpc":"2.0","error":{"code":-32021,"message":"Username already taken"},"id":1}"#,
            )
            .unwrap();
        assert_eq!(news(&mut session), [News::NameRefused("Username already taken".into())]);
    }

    #[test]
    fn objects_are_kept_on_one_line_when_asked() {
        let mut session = Json::new(true);
        session.receive(b"{\"type\":\n\"chat\",\r\n\"username\":\"B\",\"message\":\"\\n\"}").unwrap();
        assert_eq!(
            news(&mut session)[1],
            News::Object(r#"{"type": "chat",  "username":"B","message":"\n"}"#.into())
        );
    }

    #[test]
    fn what_was_not_answered_is_not_forgotten() {
        let mut session = joined();
        session.say("one");
        session.ask_users();
        session.say("two");
        assert_eq!(session.unanswered(), 4);
        assert_eq!(session.unconfirmed(), ["one", "two"]);
        assert_eq!(session.unanswered(), 0);
    }

    #[test]
    fn another_protocol_is_recognised() {
        let error = joined().receive(b"Enter your name : ").unwrap_err();
        assert!(error.0.contains("--line"), "{error}");
        assert!(joined().receive(b"HTTP/1.1 400 Bad Request\r\n").is_err());
        assert!(joined().receive(b"{\"a\"}").is_err());
    }
}
