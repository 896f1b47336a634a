//! The codecs: each turns bytes into requests and results into bytes, and knows no socket and no clock.
//!
//! Called by the connection, which owns the rings; every codec is sans-IO, so tests feed it plain slices.

pub mod files;
pub mod jsonrpc;
pub mod line;
