//! The other end of the wire: what a program that talks to a server needs.
//!
//! [`dial`] makes a connection without ever blocking. Everything here runs on the poller, the rings and the
//! codecs of the server, owns one connection and no thread, and never prints: the programs of the binary do.

pub mod dial;
