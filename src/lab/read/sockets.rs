//! The tables of ss(8) and, on macOS, netstat(1): one socket a line, and with `ss -i` what TCP knows in the line below.

/// One TCP socket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Socket {
    /// `TIME-WAIT`, as ss writes it, also from netstat.
    pub state: String,
    /// Bytes not read; of a listener: connections not accepted.
    pub recv_q: i64,
    /// Bytes not acknowledged; of a listener: how many may wait.
    pub send_q: i64,
    /// The port of this end.
    pub local: u16,
    /// The port of the other; 0: none.
    pub peer: u16,
    /// What else stands there: timers, TCP_INFO.
    pub more: String,
}

impl Socket {
    /// The number behind this word: `cwnd:10`.
    pub fn number(&self, word: &str) -> Option<i64> {
        let prefix = format!("{word}:");
        let mut found = self.more.split_whitespace().filter_map(|part| part.strip_prefix(&prefix));
        found.next()?.parse().ok()
    }
}

/// All of them, in the order of the text.
pub fn read(text: &str) -> Vec<Socket> {
    let mut sockets: Vec<Socket> = Vec::new();
    for line in text.lines() {
        match socket(line) {
            Some(socket) => sockets.push(socket),
            None if line.starts_with([' ', '\t']) => {
                if let Some(last) = sockets.last_mut() {
                    last.more = format!("{} {}", last.more, line.trim());
                }
            }
            None => {}
        }
    }
    sockets
}

fn socket(line: &str) -> Option<Socket> {
    let mut words: Vec<_> = line.split_whitespace().collect();
    let is_netstat = words.first()?.starts_with("tcp") && words.get(1)?.parse::<i64>().is_ok();
    if is_netstat {
        // Protocol, queues, addresses, state: as ss has it, state first.
        let state = *words.get(5)?;
        words[0] = state;
        words.remove(5);
    } else if words[0] == "tcp" {
        words.remove(0);
    }
    let port = |address: &str| match address.rsplit_once([':', '.']) {
        Some((_, "*")) => Some(0),
        Some((_, port)) => port.parse().ok(),
        None => None,
    };
    Some(Socket {
        state: words[0].replace('_', "-").replace("LISTENING", "LISTEN").to_uppercase(),
        recv_q: words.get(1)?.parse().ok()?,
        send_q: words.get(2)?.parse().ok()?,
        local: port(words.get(3)?)?,
        peer: port(words.get(4)?)?,
        more: words[5..].join(" "),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_tables() {
        let ss = "\
State     Recv-Q Send-Q Local Address:Port Peer Address:Port Process
LISTEN    3      2          127.0.0.1:4000      0.0.0.0:*
TIME-WAIT 0      0          127.0.0.1:4000    127.0.0.1:5000  timer:(timewait,59sec,0)
ESTAB     0      7              [::1]:4000        [::1]:5000
\t cubic rto:204 cwnd:10 ssthresh:7
";
        let sockets = read(ss);
        assert_eq!(sockets.len(), 3);
        assert_eq!(
            (sockets[0].recv_q, sockets[0].send_q, sockets[0].local, sockets[0].peer),
            (3, 2, 4000, 0)
        );
        assert!(sockets[1].more.contains("timewait"));
        assert_eq!((sockets[2].number("cwnd"), sockets[2].number("nothing")), (Some(10), None));
        let netstat = "tcp4       0      0  127.0.0.1.4000         127.0.0.1.5000         TIME_WAIT\n";
        let [socket] = &read(netstat)[..] else { panic!() };
        assert_eq!((socket.state.as_str(), socket.local, socket.peer), ("TIME-WAIT", 4000, 5000));
    }
}
