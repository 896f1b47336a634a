//! The staging: a private server on a free port, other processes where a trace needs one, and the lab's own sockets as
//! the clients.
//!
//! Owns every process that it starts and ends it with itself. Writes down what it knows before the learner is asked to
//! look. Whether a person or a script watches is not its concern: that is the [`Face`].

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::act::READY;
use super::{Exercise, Tool, Truth, tool};
use crate::transport::sys::probe;

/// Nothing on this machine takes longer.
const PATIENCE: Duration = Duration::from_secs(20);

/// Who watches.
pub trait Face {
    /// Something to read.
    ///
    /// # Errors
    /// Nobody reads.
    fn say(&mut self, text: &str) -> io::Result<()>;

    /// Runs the tool, or has it run; comes back when it looks, or has looked. `false`: nobody can be asked again.
    ///
    /// # Errors
    /// The tool cannot be run; the watcher is gone.
    fn look(&mut self, exercise: &Exercise, command: &str) -> io::Result<bool>;
}

/// One staging.
pub struct Stage<'a> {
    exercise: &'static Exercise,
    face: &'a mut dyn Face,
    /// What is known.
    pub truth: Truth,
    /// Where it is written down.
    notes: PathBuf,
    children: Vec<Child>,
}

/// A private server.
#[derive(Clone, Copy, Debug)]
pub struct Server {
    /// Its process.
    pub pid: i64,
    /// Where its services listen, in the order in which they were asked for.
    pub ports: [u16; 2],
}

/// A process that acts.
pub struct Cast {
    /// Its process.
    pub pid: i64,
    cue: ChildStdin,
    said: BufReader<ChildStdout>,
}

/// Stages an exercise from beginning to end; `file` is where the tool is to write.
///
/// # Errors
/// Something of it cannot be had: `Unsupported` where this system cannot show it at all.
pub fn stage(
    exercise: &'static Exercise,
    file: &str,
    notes: PathBuf,
    face: &mut dyn Face,
) -> io::Result<Truth> {
    let mut truth = Truth::default();
    truth.tell("file", file);
    let mut stage = Stage { exercise, face, truth, notes, children: Vec::new() };
    (exercise.stage)(&mut stage)?;
    stage.truth.save(&stage.notes)?;
    Ok(std::mem::take(&mut stage.truth))
}

impl Stage<'_> {
    /// Starts a server with these services on free ports of 127.0.0.1, and these flags besides. Tells its `pid` and
    /// the first service's `port`.
    ///
    /// # Errors
    /// It does not start.
    pub fn serve(&mut self, services: &[&str], flags: &[&str]) -> io::Result<Server> {
        let mut command = Command::new(env::current_exe()?);
        self.serve_with(command.args(serve_flags(services)).args(flags), services.len())
    }

    /// Starts this command, which becomes a server of so many services.
    ///
    /// # Errors
    /// It does not start.
    pub fn serve_with(&mut self, command: &mut Command, services: usize) -> io::Result<Server> {
        let (pid, mut said) = {
            let child = self.spawn(command)?;
            (i64::from(child.id()), BufReader::new(child.stdout.take().expect("it is piped")))
        };
        let ports = listening(&mut said, services)?;
        self.truth.tell("pid", pid);
        self.truth.tell("port", ports[0]);
        Ok(Server { pid, ports })
    }

    /// Starts the process that acts, and waits until it is ready. Tells its `pid`.
    ///
    /// # Errors
    /// It does not start, or says why it cannot go on.
    pub fn cast(&mut self) -> io::Result<Cast> {
        let name = self.exercise.name;
        let child = self.spawn(Command::new(env::current_exe()?).args(["lab", "act", name]))?;
        let pid = i64::from(child.id());
        let said = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut cast = Cast { pid, cue: child.stdin.take().expect("it is piped"), said };
        self.truth.tell("pid", pid);
        self.hear(&mut cast)?;
        Ok(cast)
    }

    /// Gives it its cue.
    ///
    /// # Errors
    /// It is gone.
    pub fn cue(&mut self, cast: &mut Cast, word: &str) -> io::Result<()> {
        writeln!(cast.cue, "{word}")
    }

    /// Takes its facts until it is ready or has ended.
    ///
    /// # Errors
    /// It failed.
    pub fn hear(&mut self, cast: &mut Cast) -> io::Result<()> {
        let mut line = String::new();
        while cast.said.read_line(&mut line)? > 0 && line.trim_end() != READY {
            if let Some((key, value)) = line.trim_end().split_once('=') {
                self.truth.tell(key, value);
            }
            line.clear();
        }
        if let Some(why) =
            line.is_empty().then(|| self.truth.fill("{failed}")).filter(|why| why != "{failed}")
        {
            return Err(io::Error::other(why));
        }
        Ok(())
    }

    /// Takes the ports of what the process has become.
    ///
    /// # Errors
    /// It does not say where it listens.
    pub fn hear_listening(&mut self, cast: &mut Cast) -> io::Result<u16> {
        listening(&mut cast.said, 1).map(|ports| ports[0])
    }

    /// Writes down what is known, and has the learner look.
    ///
    /// # Errors
    /// The watcher is gone; nobody looks.
    pub fn look(&mut self) -> io::Result<()> {
        self.truth.save(&self.notes)?;
        let tool = self.exercise.tool;
        let command = tool::as_typed(tool, &self.truth.fill(self.exercise.command()));
        let looked_at = if tool == Tool::Strace { tool::looked_at(&command) } else { Vec::new() };
        let before: Vec<_> = looked_at.iter().map(|&pid| tool::switches(pid)).collect();
        loop {
            let again = self.face.look(self.exercise, &command)?;
            // It takes a moment, and longer for two.
            let untraced = || looked_at.iter().find(|&&pid| tool::is_traced(pid) == Some(false));
            let _ = until_within(Duration::from_secs(2), "it is traced", || untraced().is_none());
            let Some(pid) = untraced() else { break };
            let text = format!("{} does not look at process {pid} yet", tool.program());
            match again {
                true => self.face.say(&format!("{text}. Run the command first."))?,
                false => return Err(io::Error::other(text)),
            }
        }
        // A tracer that has attached has yet to stop the process once, or it misses what comes first.
        for (&pid, before) in looked_at.iter().zip(before) {
            let Some(before) = before else { continue };
            until("the tracer takes hold", || tool::switches(pid).is_none_or(|now| now >= before + 2))?;
            self.until_asleep(pid)?;
        }
        Ok(())
    }

    /// Says something to the learner.
    ///
    /// # Errors
    /// The watcher is gone.
    pub fn say(&mut self, text: &str) -> io::Result<()> {
        let text = self.truth.fill(text);
        self.face.say(&text)
    }

    /// Sends a process a signal.
    ///
    /// # Errors
    /// It is gone.
    pub fn signal(&self, pid: i64, signal: Signal) -> io::Result<()> {
        kill(Pid::from_raw(pid.try_into().unwrap_or(i32::MAX)), signal).map_err(Into::into)
    }

    /// Waits for the end of a process that this staging started.
    ///
    /// # Errors
    /// It is none of this staging's.
    pub fn wait(&mut self, pid: i64) -> io::Result<()> {
        let child = self.children.iter_mut().find(|child| i64::from(child.id()) == pid);
        child.ok_or(io::ErrorKind::NotFound)?.wait().map(drop)
    }

    /// Waits until a process sleeps again, so that what it does of itself is done, and traced.
    ///
    /// # Errors
    /// It never does.
    pub fn until_asleep(&self, pid: i64) -> io::Result<()> {
        if !cfg!(target_os = "linux") {
            pause(Duration::from_millis(100));
            return Ok(());
        }
        until("the process sleeps", || {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('S'))
        })
    }

    fn spawn(&mut self, command: &mut Command) -> io::Result<&mut Child> {
        for (name, _) in env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("RAWLINE_")) {
            command.env_remove(name);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        probe::end_with_parent(command);
        self.children.push(command.spawn()?);
        Ok(self.children.last_mut().expect("it was just put there"))
    }
}

impl Drop for Stage<'_> {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// `serve` with these services and no others.
pub fn serve_flags(services: &[&str]) -> Vec<String> {
    let address = |service: &str| match services.contains(&service) {
        true => format!("--{service}=127.0.0.1:0"),
        false => format!("--{service}=off"),
    };
    let mut flags = vec!["serve".to_owned()];
    flags.extend(["rpc", "line", "echo"].map(address));
    if services.contains(&"files") {
        flags.push("--files-listen=127.0.0.1:0".into());
    }
    flags
}

/// The ports that a server says it listens on.
fn listening(said: &mut impl BufRead, services: usize) -> io::Result<[u16; 2]> {
    let mut ports = [0; 2];
    for port in ports.iter_mut().take(services) {
        let mut line = String::new();
        said.read_line(&mut line)?;
        let address = line.trim_end().rsplit_once(':').and_then(|(_, port)| port.parse().ok());
        *port = address.ok_or_else(|| io::Error::other("the private server did not start"))?;
    }
    Ok(ports)
}

/// Address of this machine.
pub fn at(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// A connection whose small writes leave at once, and that is not read for ever.
///
/// # Errors
/// Nobody listens.
pub fn connect(port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(at(port))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Sends a request and reads its answer, which is one object on one line.
///
/// # Errors
/// No answer comes.
pub fn call(stream: &mut TcpStream, request: &str) -> io::Result<()> {
    // In one write: the line feed is not to travel alone.
    stream.write_all(format!("{request}\n").as_bytes())?;
    read_line(stream).map(drop)
}

/// Reads one line, byte by byte, so that nothing is read ahead.
///
/// # Errors
/// It does not come.
pub fn read_line(stream: &mut TcpStream) -> io::Result<String> {
    let (mut line, mut byte) = (Vec::new(), [0]);
    while byte != *b"\n" {
        stream.read_exact(&mut byte)?;
        line.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&line).into_owned())
}

/// Lets time pass: for what only time brings about, and so that a person can watch.
pub fn pause(time: Duration) {
    thread::sleep(time);
}

/// Waits until this is so.
///
/// # Errors
/// It never is.
pub fn until(what: &str, is_so: impl FnMut() -> bool) -> io::Result<()> {
    until_within(PATIENCE, what, is_so)
}

fn until_within(patience: Duration, what: &str, mut is_so: impl FnMut() -> bool) -> io::Result<()> {
    let begin = Instant::now();
    while !is_so() {
        if begin.elapsed() > patience {
            return Err(io::Error::new(io::ErrorKind::TimedOut, format!("it did not happen: {what}")));
        }
        pause(Duration::from_millis(1));
    }
    Ok(())
}

/// Waits until the process at `port` has read all that came from `client`: Linux shows that in `/proc/net/tcp`, elsewhere
/// it is given time.
///
/// # Errors
/// It does not read.
pub fn until_read(client: &TcpStream, port: u16) -> io::Result<()> {
    let ends = format!(":{port:04X} 0100007F:{:04X} 01 ", client.local_addr()?.port());
    if !cfg!(target_os = "linux") {
        pause(Duration::from_millis(100));
        return Ok(());
    }
    until("the server reads", || {
        let table = fs::read_to_string("/proc/net/tcp").unwrap_or_default();
        table
            .lines()
            .any(|line| line.split_once(&ends).is_some_and(|(_, rest)| rest.get(8..17) == Some(":00000000")))
    })
}

/// What to say where this system cannot show it.
pub fn unsupported(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, why)
}
