//! The course: a file for each exercise, and the row that puts it in its place.

use super::Exercise;

mod backlog;
mod broadcast;
mod close;
mod cork;
mod edge;
mod emfile;
mod fastretransmit;
mod handshake;
mod heartbeat;
mod keepalive;
mod nagle;
mod names;
mod rcvbuf;
mod request;
mod reset;
mod retransmit;
mod reuseaddr;
mod sendfile;
mod shortwrite;
mod sigpipe;
mod slowstart;
mod split;
mod startup;
mod timeouts;
mod timewait;
mod together;
mod zerowindow;

/// All exercises in reading order, from `nc` to zero-copy.
pub const COURSE: &[&Exercise] = &[
    &startup::EXERCISE,
    &names::EXERCISE,
    &handshake::EXERCISE,
    &request::EXERCISE,
    &split::EXERCISE,
    &together::EXERCISE,
    &nagle::EXERCISE,
    &cork::EXERCISE,
    &broadcast::EXERCISE,
    &close::EXERCISE,
    &reset::EXERCISE,
    &sigpipe::EXERCISE,
    &timewait::EXERCISE,
    &reuseaddr::EXERCISE,
    &backlog::EXERCISE,
    &timeouts::EXERCISE,
    &emfile::EXERCISE,
    &edge::EXERCISE,
    &shortwrite::EXERCISE,
    &zerowindow::EXERCISE,
    &keepalive::EXERCISE,
    &heartbeat::EXERCISE,
    &retransmit::EXERCISE,
    &fastretransmit::EXERCISE,
    &slowstart::EXERCISE,
    &rcvbuf::EXERCISE,
    &sendfile::EXERCISE,
];
