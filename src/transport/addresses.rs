//! How many connections each address has.
//!
//! Owns one number for each address that has any. An IPv6 address counts by its first 64 bits: whoever has one has all of
//! those. Unix-domain peers have no address and are not counted. Called when connections come and go.

use std::collections::HashMap;
use std::net::IpAddr;

use crate::api::Peer;

/// Without a word of the operator: so many connections of one address, unless it is this machine's own.
const FROM_ELSEWHERE: u32 = 64;

/// Connections by address.
#[derive(Default)]
pub struct Addresses {
    /// The keys are chosen by strangers: the map hashes with a random key of its own.
    counts: HashMap<u64, u32>,
}

impl Addresses {
    /// Counts a connection of this peer, unless its address has as many as it may. 0 is no limit; `None` is none for this
    /// machine itself, and 64 for others.
    pub fn enter(&mut self, peer: Peer, most: Option<u32>) -> bool {
        let Some(ip) = peer.socket_addr().map(|address| address.ip().to_canonical()) else { return true };
        let most = most.unwrap_or(if ip.is_loopback() { 0 } else { FROM_ELSEWHERE });
        let count = self.counts.entry(key(ip)).or_default();
        if most > 0 && *count >= most {
            return false;
        }
        *count += 1;
        true
    }

    /// A connection that was counted is gone.
    pub fn leave(&mut self, peer: Peer) {
        let Some(address) = peer.socket_addr() else { return };
        let key = key(address.ip().to_canonical());
        if let Some(count) = self.counts.get_mut(&key) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&key);
            }
        }
    }
}

/// An IPv4 address, or the first half of one of IPv6. No global IPv6 address begins with 32 zeros.
fn key(ip: IpAddr) -> u64 {
    match ip {
        IpAddr::V4(ip) => u32::from(ip).into(),
        IpAddr::V6(ip) => (u128::from(ip) >> 64) as u64,
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    fn peer(address: &str) -> Peer {
        Peer::from(SocketAddr::new(address.parse().unwrap(), 1000))
    }

    /// How many of this address get in before one does not.
    fn entered(addresses: &mut Addresses, address: &str, most: Option<u32>) -> usize {
        (0..200).take_while(|_| addresses.enter(peer(address), most)).count()
    }

    #[test]
    fn each_address_has_its_own_count() {
        let mut addresses = Addresses::default();
        assert_eq!(entered(&mut addresses, "192.0.2.1", None), 64);
        assert_eq!(entered(&mut addresses, "::ffff:192.0.2.1", None), 0, "the same machine");
        assert_eq!(entered(&mut addresses, "192.0.2.2", Some(3)), 3);
        for own in ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"] {
            assert_eq!(entered(&mut addresses, own, None), 200, "{own}");
        }
        assert!(addresses.enter(Peer::unix(1), Some(1)) && addresses.enter(Peer::unix(2), Some(1)));
        addresses.leave(peer("192.0.2.2"));
        assert_eq!(entered(&mut addresses, "192.0.2.2", Some(3)), 1);
        assert_eq!(entered(&mut addresses, "192.0.2.3", Some(0)), 200, "0 is no limit");
    }

    #[test]
    fn a_network_of_ipv6_is_one_address() {
        let mut addresses = Addresses::default();
        for host in 0..5 {
            assert_eq!(addresses.enter(peer(&format!("2001:db8::{host}")), Some(3)), host < 3);
        }
        assert!(addresses.enter(peer("2001:db8:0:1::1"), Some(3)));
    }

    #[test]
    fn nothing_is_kept_of_those_who_left() {
        let mut addresses = Addresses::default();
        addresses.enter(peer("192.0.2.1"), None);
        addresses.leave(peer("192.0.2.1"));
        addresses.leave(Peer::unix(1));
        assert!(addresses.counts.is_empty());
        assert!(addresses.enter(peer("192.0.2.1"), Some(1)));
    }
}
