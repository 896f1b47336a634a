//! Where a service listens, as a person writes it and as the kernel takes it.
//!
//! [`Endpoint`] is the text (`127.0.0.1:65432`, `[::1]:65432`, `:65432`, `unix:PATH`, `off`); [`Address`] is what
//! one resolution made of it, at start and never again. This file also decides what counts as local, which
//! is what `--allow-remote` is about. It opens no socket. The configuration parses endpoints, `main` resolves
//! them.

use std::fmt;
use std::net::{Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Where a service listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// Nowhere: the service is off.
    Off,
    /// A TCP port.
    Tcp {
        /// A host name or an address, without brackets.
        host: String,
        /// 0 takes a free one.
        port: u16,
    },
    /// A Unix-domain socket with this path.
    Unix(PathBuf),
}

impl Endpoint {
    /// The TCP endpoint on `port` that only this machine can reach.
    pub fn loopback(port: u16) -> Self {
        Self::Tcp { host: "127.0.0.1".into(), port }
    }

    /// The address to listen on, `None` if off. Asks the system's resolver when the host is a name, which
    /// may take seconds. Of several addresses the first IPv4 one is taken, because clients that try only one
    /// try that.
    ///
    /// # Errors
    /// What the resolver said, or that it knew no address.
    pub fn resolve(&self) -> Result<Option<Address>, String> {
        let mut found = self.addresses()?;
        // Stable: else the resolver's order.
        found.sort_by_key(|address| matches!(address, Address::Tcp(address) if address.is_ipv6()));
        Ok(found.into_iter().next())
    }

    /// Every address that it stands for, each once, in the order in which the resolver wants them tried; none
    /// if off. Asks the system's resolver when the host is a name, which may take seconds.
    ///
    /// # Errors
    /// What the resolver said, or that it knew no address.
    pub fn addresses(&self) -> Result<Vec<Address>, String> {
        let (host, port) = match self {
            Self::Off => return Ok(vec![]),
            Self::Unix(path) => return Ok(vec![Address::Unix(path.clone())]),
            Self::Tcp { host, port } => (host.as_str(), *port),
        };
        let mut found = Vec::new();
        for address in (host, port).to_socket_addrs().map_err(|error| error.to_string())? {
            let address = Address::Tcp(address);
            // A name may stand twice in /etc/hosts.
            if !found.contains(&address) {
                found.push(address);
            }
        }
        if found.is_empty() { Err("no address".into()) } else { Ok(found) }
    }
}

/// `HOST:PORT`, `[V6]:PORT`, `:PORT` (all IPv4 interfaces), `unix:PATH` or `off`. The error is a sentence.
impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self::Off);
        }
        if let Some(written) = text.strip_prefix("unix:") {
            return path(written).map(Self::Unix).map_err(|why| format!("{text:?}: {why}"));
        }
        let Some((host, port)) = text.rsplit_once(':').filter(|_| !text.ends_with(']')) else {
            return Err(match text {
                "" => "it is empty: write HOST:PORT, unix:PATH or off".into(),
                digits if is_digits(digits) => {
                    format!(
                        "{text:?} has no host: write 127.0.0.1:{text}, or :{text} for all IPv4 interfaces"
                    )
                }
                host => format!("{text:?} has no port: write {host}:PORT"),
            });
        };
        let refuse = |why: String| Err(format!("{text:?}: {why}"));
        let host = if let Some(inside) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            // A link-local address may name its interface: fe80::1%eth0.
            let (address, interface) = inside.split_once('%').unwrap_or((inside, ""));
            if address.parse::<Ipv6Addr>().is_err() || !is_name(interface) {
                return refuse(format!("{inside:?} is no IPv6 address"));
            }
            inside
        } else if let Some(v6) = [host, text].into_iter().find(|v6| v6.parse::<Ipv6Addr>().is_ok()) {
            return refuse(format!("an IPv6 address goes in brackets: write [{v6}]:PORT"));
        } else if host == "*" {
            return refuse(format!("for all IPv4 interfaces write :{port}"));
        } else if !is_name(host) {
            return refuse(format!("{host:?} is no host name"));
        } else if host.is_empty() {
            "0.0.0.0"
        } else {
            host
        };
        match port.parse() {
            Ok(port_number) if is_digits(port) => Ok(Self::Tcp { host: host.into(), port: port_number }),
            _ => refuse(format!("{port:?} is no port: write a number from 0 (any free one) to 65535")),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// What an endpoint resolved to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// An internet address.
    Tcp(SocketAddr),
    /// The path of a Unix-domain socket.
    Unix(PathBuf),
}

impl Address {
    /// Whether only this machine can reach it.
    pub fn is_local(&self) -> bool {
        match self {
            // ::ffff:127.0.0.1 is loopback too.
            Self::Tcp(address) => address.ip().to_canonical().is_loopback(),
            Self::Unix(_) => true,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Why a service cannot be given its address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AddressError {
    /// The host is not known, or the resolver does not answer.
    Unresolved {
        /// The name of its option.
        option: &'static str,
        /// As it was written.
        endpoint: Endpoint,
        /// What the resolver said.
        why: String,
    },
    /// Other machines could reach it, and nobody allowed that.
    Remote {
        /// The name of its option.
        option: &'static str,
        /// As it was written.
        endpoint: Endpoint,
        /// What it resolved to.
        address: Address,
    },
}

impl AddressError {
    /// The name of the option whose address it is.
    pub fn option(&self) -> &'static str {
        match self {
            Self::Unresolved { option, .. } | Self::Remote { option, .. } => option,
        }
    }
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unresolved { option, endpoint, why } => {
                write!(f, "{option}: the host of {endpoint} cannot be resolved ({why}): write an address")
            }
            Self::Remote { option, endpoint, address } => {
                write!(f, "{option}: {endpoint} ")?;
                if endpoint.to_string() != address.to_string() {
                    write!(f, "is {address}, which ")?;
                }
                f.write_str(
                    "can be reached from other machines: to allow that give --allow-remote \
                     (RAWLINE_ALLOW_REMOTE=true, allow_remote = true), otherwise use 127.0.0.1",
                )
            }
        }
    }
}

impl std::error::Error for AddressError {}

/// Nothing that could not stand in the name of a host or an interface.
fn is_name(text: &str) -> bool {
    !text.contains(|c: char| c.is_control() || c.is_whitespace() || ":/[]".contains(c))
}

/// A path that the kernel could take. The error is a sentence.
pub(super) fn path(text: &str) -> Result<PathBuf, String> {
    match text {
        "" => Err("the path is empty".into()),
        text if text.contains('\0') => Err("a path cannot hold a NUL".into()),
        text => Ok(Path::new(text).into()),
    }
}

/// Only digits, and at least one: `parse` alone would take a sign.
pub(super) fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(host: &str, port: u16) -> Endpoint {
        Endpoint::Tcp { host: host.into(), port }
    }

    #[test]
    fn every_form_is_understood_and_shown_as_written() {
        for (text, endpoint) in [
            ("127.0.0.1:65432", tcp("127.0.0.1", 65432)),
            ("localhost:0", tcp("localhost", 0)),
            ("chat.example.org:65535", tcp("chat.example.org", 65535)),
            ("[::1]:65432", tcp("::1", 65432)),
            ("[fe80::1%eth0]:7", tcp("fe80::1%eth0", 7)),
            ("unix:/run/rawline.sock", Endpoint::Unix("/run/rawline.sock".into())),
            ("unix:a:b", Endpoint::Unix("a:b".into())),
            ("off", Endpoint::Off),
        ] {
            assert_eq!(text.parse(), Ok(endpoint.clone()), "{text}");
            assert_eq!(endpoint.to_string(), text);
        }
        assert_eq!(":65432".parse(), Ok(tcp("0.0.0.0", 65432)));
        assert_eq!(Endpoint::loopback(1).to_string(), "127.0.0.1:1");
    }

    #[test]
    fn every_mistake_names_its_remedy() {
        for (text, message) in [
            ("", "it is empty: write HOST:PORT, unix:PATH or off"),
            ("65432", "\"65432\" has no host: write 127.0.0.1:65432, or :65432 for all IPv4 interfaces"),
            ("localhost", "\"localhost\" has no port: write localhost:PORT"),
            ("[::1]", "\"[::1]\" has no port: write [::1]:PORT"),
            ("::1", "\"::1\": an IPv6 address goes in brackets: write [::1]:PORT"),
            ("::1:65432", "\"::1:65432\": an IPv6 address goes in brackets: write [::1]:PORT"),
            ("[localhost]:1", "\"[localhost]:1\": \"localhost\" is no IPv6 address"),
            ("*:80", "\"*:80\": for all IPv4 interfaces write :80"),
            ("unix:", "\"unix:\": the path is empty"),
            ("unix:a\0b", "\"unix:a\\0b\": a path cannot hold a NUL"),
            ("a b:1", "\"a b:1\": \"a b\" is no host name"),
            ("http://x:1", "\"http://x:1\": \"http://x\" is no host name"),
            ("h:", "\"h:\": \"\" is no port: write a number from 0 (any free one) to 65535"),
            ("h:+5", "\"h:+5\": \"+5\" is no port: write a number from 0 (any free one) to 65535"),
            ("h:65536", "\"h:65536\": \"65536\" is no port: write a number from 0 (any free one) to 65535"),
        ] {
            assert_eq!(text.parse::<Endpoint>(), Err(message.into()), "{text}");
        }
    }

    #[test]
    fn only_loopback_and_unix_are_local() {
        for (text, local) in [
            ("127.0.0.1:1", true),
            ("127.9.9.9:1", true),
            ("[::1]:1", true),
            ("[::ffff:127.0.0.1]:1", true),
            ("localhost:1", true),
            ("unix:/tmp/x", true),
            (":1", false),
            ("0.0.0.0:1", false),
            ("[::]:1", false),
            ("192.0.2.7:1", false),
        ] {
            let endpoint: Endpoint = text.parse().unwrap();
            assert_eq!(endpoint.resolve().unwrap().unwrap().is_local(), local, "{text}");
        }
        assert_eq!(Endpoint::Off.resolve(), Ok(None));
    }

    #[test]
    fn localhost_is_ipv4_where_it_can_be() {
        let address = tcp("localhost", 5).resolve().unwrap().unwrap();
        assert_eq!(address.to_string(), "127.0.0.1:5");
    }

    #[test]
    fn a_name_that_cannot_exist_is_an_error() {
        // Reserved for this purpose, and refused before any name server is asked.
        assert!(tcp("a..b", 1).resolve().is_err());
    }
}
