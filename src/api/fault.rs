//! Why a request was refused: every error code and its text.

use std::borrow::Cow;

/// Why a request was refused: code and text for the caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The JSON-RPC error code.
    pub code: i32,
    /// The text that belongs to the code.
    pub message: Cow<'static, str>,
    /// More about it; `data` in JSON-RPC 2.0, not shown in the seed dialect.
    pub detail: Option<String>,
    /// Whether a rule of the service refused, rather than the protocol: seed clients are told in
    /// another form (`{"status":"error",...}`).
    pub rule: bool,
}

impl Fault {
    const fn protocol(code: i32, message: &'static str, detail: Option<String>) -> Self {
        Self { code, message: Cow::Borrowed(message), detail, rule: false }
    }

    /// A rule of the service refuses this. Codes -32000 to -32099 are free for services, but the
    /// transport uses -32000 to -32009.
    pub fn rule(code: i32, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, message: message.into(), detail: None, rule: true }
    }

    /// -32700: the text is not JSON.
    pub fn parse_error(detail: String) -> Self {
        Self::protocol(-32700, "Parse error", Some(detail))
    }

    /// -32600: JSON, but no request.
    pub fn invalid_request(detail: String) -> Self {
        Self::protocol(-32600, "Invalid request", Some(detail))
    }

    /// -32600: a text that begins with neither `{` nor `[`.
    pub const fn not_json_rpc() -> Self {
        Self::protocol(-32600, "Only JSON RPC messages are supported", None)
    }

    /// -32601: nothing of this name is registered.
    pub const fn method_not_found() -> Self {
        Self::protocol(-32601, "Method not found", None)
    }

    /// -32602: the parameters are not what the method takes.
    pub fn invalid_params(detail: String) -> Self {
        Self::protocol(-32602, "Invalid params", Some(detail))
    }

    /// -32603: our own fault.
    pub fn internal(detail: String) -> Self {
        Self::protocol(-32603, "Internal error", Some(detail))
    }

    /// -32000: `max_connections` is reached.
    pub const fn too_many_connections() -> Self {
        Self::protocol(-32000, "Too many connections", None)
    }

    /// -32001: above `rate_messages`.
    pub fn too_fast(rate_messages: usize) -> Self {
        Self::protocol(-32001, "Too fast", Some(format!("at most rate_messages ({rate_messages}) a second")))
    }

    /// -32002: something did not come in time.
    pub fn timeout(detail: String) -> Self {
        Self::protocol(-32002, "Timeout", Some(detail))
    }

    /// -32004: the server is stopping.
    pub const fn shutting_down() -> Self {
        Self::protocol(-32004, "Shutting down", None)
    }

    /// -32005: the answers of a batch have reached their bound.
    pub const fn answer_too_large() -> Self {
        Self::protocol(-32005, "Answer too large", None)
    }
}
