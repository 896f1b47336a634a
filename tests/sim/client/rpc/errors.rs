//! The errors of the protocol: the code, its text, and the sentence for people that stands behind them in 2.0.

use super::Outcome;

impl Outcome {
    fn error(code: i32, text: &'static str, data: impl Into<String>) -> Self {
        Self::Error(code, text, Some(data.into()))
    }

    /// With this byte the text can no longer become JSON.
    pub fn broken_at(at: usize, why: &str) -> Self {
        Self::parse_error(format!("{why} at byte {at}"))
    }

    pub fn parse_error(data: impl Into<String>) -> Self {
        Self::error(-32700, "Parse error", data)
    }

    pub fn invalid_request(data: impl Into<String>) -> Self {
        Self::error(-32600, "Invalid request", data)
    }

    pub fn not_json_rpc() -> Self {
        Self::Error(-32600, "Only JSON RPC messages are supported", None)
    }

    pub fn unknown_method(name: &str) -> Self {
        Self::error(-32601, "Method not found", format!("there is no method \"{name}\""))
    }

    pub fn invalid_params(data: impl Into<String>) -> Self {
        Self::error(-32602, "Invalid params", data)
    }

    pub fn internal(data: impl Into<String>) -> Self {
        Self::error(-32603, "Internal error", data)
    }

    pub fn too_fast(rate: usize) -> Self {
        Self::error(-32001, "Too fast", format!("at most rate_messages ({rate}) a second"))
    }

    /// It took too long, for this reason.
    pub fn timeout(why: &str) -> Self {
        Self::error(-32002, "Timeout", why)
    }

    pub fn too_large() -> Self {
        Self::Error(-32005, "Answer too large", None)
    }

    /// Whether it is what comes of a text, or an element of a batch, that is no request.
    pub fn is_no_request(&self) -> bool {
        matches!(self, Self::Error(-32600, ..))
    }
}
