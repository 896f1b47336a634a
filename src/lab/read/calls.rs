//! The text of strace(1), and as far as it goes that of dtruss, as calls.

use std::collections::BTreeMap;

/// One system call; or a signal, whose `name` is SIG... and which returns nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Call {
    /// The process or thread, where the trace has several.
    pub pid: Option<i64>,
    /// `epoll_wait`
    pub name: String,
    /// Between the brackets.
    pub arguments: String,
    /// What it returned; `None`: it never did.
    pub result: Option<i64>,
    /// `EAGAIN`; empty if it did not fail.
    pub error: String,
}

impl Call {
    /// Whether it is one of these.
    pub fn is(&self, names: &[&str]) -> bool {
        names.contains(&self.name.as_str())
    }

    /// The argument of this index; a bracket or a text is one argument, whatever is in it.
    pub fn argument(&self, index: usize) -> &str {
        let (mut depth, mut quoted, mut escaped, mut start, mut at) = (0, false, false, 0, 0);
        for (here, c) in self.arguments.char_indices() {
            match c {
                _ if escaped => escaped = false,
                '\\' if quoted => escaped = true,
                '"' => quoted = !quoted,
                _ if quoted => {}
                '(' | '[' | '{' => depth += 1,
                ')' | ']' | '}' => depth -= 1,
                ',' if depth == 0 => {
                    if at == index {
                        return self.arguments[start..here].trim();
                    }
                    (at, start) = (at + 1, here + 1);
                }
                _ => {}
            }
        }
        if at == index { self.arguments[start..].trim() } else { "" }
    }

    /// The argument of this index as a number; -1 if it is none. `5</socket:[1]>`, as of strace -y, is 5.
    pub fn number(&self, index: usize) -> i64 {
        let text = self.argument(index);
        let text = text.split(['<', ' ']).next().unwrap_or_default();
        match text.strip_prefix("0x") {
            Some(hex) => i64::from_str_radix(hex, 16).unwrap_or(-1),
            None => text.parse().unwrap_or(-1),
        }
    }
}

/// All calls of a trace, in the order in which they began.
pub fn read(text: &str) -> Vec<Call> {
    let mut calls: Vec<Call> = Vec::new();
    // Where the call stands that this thread has begun.
    let mut unfinished: BTreeMap<Option<i64>, usize> = BTreeMap::new();
    for line in text.lines() {
        let (pid, rest) = without_prefix(line);
        if let Some(rest) = rest.strip_prefix("<... ") {
            let Some((_, tail)) = rest.split_once(" resumed>") else { continue };
            if let Some(at) = unfinished.remove(&pid) {
                let whole = calls[at].arguments.clone() + tail;
                finish(&mut calls[at], &whole);
            }
            continue;
        }
        if let Some(signal) = rest.strip_prefix("--- SIG") {
            let name = format!("SIG{}", signal.split(' ').next().unwrap_or_default());
            calls.push(Call { pid, name, ..Call::default() });
            continue;
        }
        let Some((name, tail)) = rest.split_once('(') else { continue };
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if name.is_empty() || !name.chars().all(is_name) {
            continue;
        }
        // On macOS each call that may be cancelled has a second name.
        let name = name.strip_suffix("_nocancel").unwrap_or(name).to_owned();
        let mut call = Call { pid, name, ..Call::default() };
        match tail.strip_suffix("<unfinished ...>") {
            Some(begun) => {
                call.arguments = begun.to_owned();
                unfinished.insert(pid, calls.len());
            }
            None => finish(&mut call, tail),
        }
        calls.push(call);
    }
    calls
}

/// Cuts off what -f and -t and the like put in front: `[pid 7]`, `7`, `7/0x1:`, `12:00:01.5`, `+0.01`.
fn without_prefix(line: &str) -> (Option<i64>, &str) {
    let (mut pid, mut rest) = (None, line.trim());
    if let Some((number, tail)) = rest.strip_prefix("[pid").and_then(|tail| tail.split_once(']')) {
        (pid, rest) = (number.trim().parse().ok(), tail.trim_start());
    }
    while rest.starts_with(|c: char| c.is_ascii_digit() || c == '+') {
        let Some((word, tail)) = rest.split_once(char::is_whitespace) else { break };
        let number = word.split(['/', ':']).next().unwrap_or_default();
        if !word.contains('.') && (!word.contains(':') || word.contains('/')) {
            pid = pid.or(number.parse().ok());
        }
        rest = tail.trim_start();
    }
    (pid, rest)
}

/// Takes `arguments) = result error (text)` apart.
fn finish(call: &mut Call, tail: &str) {
    let Some((arguments, result)) = tail.rsplit_once(") = ").or_else(|| split_padded(tail)) else {
        call.arguments = tail.to_owned();
        return;
    };
    call.arguments = arguments.to_owned();
    let mut words = result.split_whitespace();
    let first = words.next().unwrap_or_default();
    call.result = match first.strip_prefix("0x") {
        Some(hex) => i64::from_str_radix(hex, 16).ok(),
        None => first.parse().ok(),
    };
    if let Some(error) = words.next().filter(|word| word.starts_with('E')) {
        call.error = error.to_owned();
    }
}

/// strace fills up with spaces before the `=`, dtruss with tabs.
fn split_padded(tail: &str) -> Option<(&str, &str)> {
    let (left, right) = tail.rsplit_once(" = ")?;
    left.trim_end().strip_suffix(')').map(|arguments| (arguments, right))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_in_all_their_forms() {
        let text = "\
strace: Process 7 attached
epoll_wait(3, [{events=EPOLLIN, data=0x1}], 1024, -1) = 1
7 12:00:01.25 recvfrom(5, \"a, (b\\\"\", 64, 0, NULL, NULL) = 6
[pid 8] sendto(0x7, 0x1, 0xa)\t\t = 10 0
write(6, \"x\", 1)                        = -1 EPIPE (Broken pipe)
--- SIGPIPE {si_signo=SIGPIPE} ---
7 accept4(4,  <unfinished ...>
9 close(2) = 0
7 <... accept4 resumed>NULL, NULL, SOCK_CLOEXEC) = 11
mmap(NULL, 4096) = 0x7f00
exit_group(0)                           = ?
nothing at all
";
        let calls = read(text);
        let seen: Vec<_> = calls.iter().map(|call| (call.name.as_str(), call.result)).collect();
        assert_eq!(
            seen,
            [
                ("epoll_wait", Some(1)),
                ("recvfrom", Some(6)),
                ("sendto", Some(10)),
                ("write", Some(-1)),
                ("SIGPIPE", None),
                ("accept4", Some(11)),
                ("close", Some(0)),
                ("mmap", Some(0x7f00)),
                ("exit_group", None),
            ]
        );
        assert_eq!((calls[1].pid, calls[1].argument(1), calls[1].number(2)), (Some(7), "\"a, (b\\\"\"", 64));
        assert_eq!((calls[2].pid, calls[2].number(0)), (Some(8), 7));
        assert_eq!(calls[3].error, "EPIPE");
        assert_eq!((calls[5].argument(0), calls[5].argument(3)), ("4", "SOCK_CLOEXEC"));
    }
}
