//! What must hold, whatever the kernel does. The rules, by the names under which they are reported:
//!
//! - `requests`: the service is asked what a client has said, in its order, once; and nobody else is heard.
//! - `answers`: each request gets its answer, in order, byte for byte.
//! - `order`: whoever hears the room is told everything, once, in the one order in which it was said.
//! - `place`: an answer stands behind the pushes that were said before it, and before those that were said later.
//! - `line`: a line user gets exactly the lines that belong to it.
//! - `framing`: bare and ASCII until the client shows its LF; one object a line from then on.
//! - `heartbeat`: nobody is pinged who did not ask, and whoever asked and is silent is pinged, and then cut.
//! - `echo`: the bytes that come back are those that were sent.
//! - `files`: a file is whole or absent, holds what was stored last, and is listed; nothing temporary is left over; what can
//!   be resumed is kept until its time is over or its room is needed.
//! - `queues`: what waits for a reader stays within its limits, and who is cut for it has gone beyond them.
//! - `reason`: no connection ends without one.
//! - `end`: the service hears of every end, once.
//! - `alive`: whoever comes after all that went wrong is served as if nothing had been.
//! - `progress`: when nothing more can happen, everybody who reads has got all that was for him.
//! - `busy`: turns that move nothing do not follow one another.
//! - `sleep`: the server does not sleep while something could leave, or the rest of a refused client be read.
//! - `calls`: nothing is read of which nothing was reported, and nothing tried again that takes nothing.
//! - `fair`: no client gets more than its budget in one turn, of bytes or of requests, and nobody asks in a turn in
//!   which enough was said.
//! - `rate`: who is too fast is refused, and nobody else.
//! - `limits`: who comes when there is no room is turned away at once, and nobody else.
//! - `stats`: the statistics say what is so.
//! - `pulse`: the operator hears that the server lives as often as he wants to, no more and no less.
//! - `rest`: a listener without descriptors is left alone for a while, and no longer.
//! - `kernel`: descriptors are closed once, watched as the loop believes, and not used behind FIN.
//! - `leftovers`: when all have gone no descriptor, deadline, file, user or promise of space is left, and the server's own
//!   figures say so.
//! - `stop`: the server ends when it was told to, within its grace, and what had arrived is answered.
//! - `panic`: nothing panics.

mod asked;
mod disk;
mod ends;
mod rest;
