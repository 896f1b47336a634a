//! Everything a service can ask of the transport: send to one, broadcast, the list of connections, an answer
//! that comes later from a helper thread while others are served, and stop from another thread.
//!
//!     cargo run --example bulletin
//!     nc 127.0.0.1 65441
//!     {"method":"who"}
//!     {"method":"tell","params":["127.0.0.1:PORT","hello you"]}
//!     {"method":"post","params":["hello all"]}
//!     {"method":"primes","params":[200000]}
//!
//! Type `quit` in the first terminal to stop it.

use std::thread;

use rawline::{Call, Effects, Fault, Limits, Param, Peer, Reply, Route, Server, Service, Wire};
use serde::Serialize;

struct Bulletin;

impl Service for Bulletin {
    const ROUTES: &'static [Route<Self>] = &[
        Route::new("who", &[], who),
        Route::new("tell", &[Param::text("address"), Param::text("text")], tell),
        Route::new("post", &[Param::text("text")], post),
        Route::new("primes", &[Param::number("below")], primes),
    ];
}

#[derive(Serialize)]
struct Note<'a> {
    from: String,
    text: &'a str,
}

/// The list of connections.
fn who(_: &mut Bulletin, call: Call<'_>, fx: &mut Effects) -> Result<Reply, Fault> {
    let addresses: Vec<String> = call.connections().iter().map(|(_, peer)| peer.to_string()).collect();
    fx.reply(&addresses)
}

/// Send to one.
fn tell(_: &mut Bulletin, call: Call<'_>, fx: &mut Effects) -> Result<Reply, Fault> {
    let (address, text) = (call.text(0).unwrap_or_default(), call.text(1).unwrap_or_default());
    let named = |peer: &Peer| peer.to_string() == address;
    match call.connections().iter().find(|(_, peer)| named(peer)) {
        Some(&(to, _)) => {
            fx.send(to, "note", &Note { from: call.peer.to_string(), text: &text });
            fx.reply("told")
        }
        None => Err(Fault::rule(-32050, format!("Nobody is connected from {address}"))),
    }
}

/// Broadcast to all but the caller.
fn post(_: &mut Bulletin, call: Call<'_>, fx: &mut Effects) -> Result<Reply, Fault> {
    let text = call.text(0).unwrap_or_default();
    fx.broadcast(Some(call.conn), "note", &Note { from: call.peer.to_string(), text: &text });
    fx.reply("posted")
}

/// Slow: a helper thread finds the answer. This caller's next request waits for it, nobody else's does.
fn primes(_: &mut Bulletin, call: Call<'_>, _: &mut Effects) -> Result<Reply, Fault> {
    let below: u64 = call.arg(0)?;
    let (ticket, completer) = call.defer();
    thread::spawn(move || {
        let is_prime = |n: &u64| (2..*n).take_while(|d| d * d <= *n).all(|d| !n.is_multiple_of(d));
        completer.answer(&(2..below).filter(is_prime).count());
    });
    Ok(Reply::Later(ticket))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:65441".into());
    let mut server = Server::new(Limits::default())?;
    println!("listening {}", server.listen(Wire::JsonRpc, address)?);
    let handle = server.handle();
    thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            if line == "quit" {
                return handle.stop();
            }
            let note = Note { from: "the house".into(), text: &line };
            if let Err(full) = handle.post(|fx| fx.broadcast(None, "note", &note)) {
                eprintln!("not posted: {full}");
            }
        }
    });
    server.run(Bulletin)?;
    println!("stopped");
    Ok(())
}
