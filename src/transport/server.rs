//! The front door for those who build their own server: listeners, a handle, run.
//!
//! Owns the real kernel's side until `run` hands it to the event loop. Everything here happens once, at start.

use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::{IntoRawFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use crate::api::{Operator, RouteError, Service, Wire};
use crate::limits::{FILE_HELPERS, Limits};
use crate::transport::event_loop::EventLoop;
use crate::transport::files::Share;
use crate::transport::files::store::Store;
use crate::transport::io::{Io, IoFault};
use crate::transport::mailbox::{Handle, Mailbox};
use crate::transport::panics;
use crate::transport::sys::{self, OsIo};
use crate::transport::workers::Helpers;

pub use crate::transport::codec::files::ByteOrder;
pub use crate::transport::sys::notify::{NotifySocket, inherited, monotonic_us};
pub use crate::transport::sys::socket::SocketOptions;

/// A server that is being put together.
///
/// ```no_run
/// # use rawline::{Limits, Route, Server, Service, Wire};
/// # struct Nothing;
/// # impl Service for Nothing { const ROUTES: &'static [Route<Self>] = &[]; }
/// let mut server = Server::new(Limits::default())?;
/// println!("listening on {}", server.listen(Wire::JsonRpc, "127.0.0.1:0")?);
/// server.run(Nothing)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Server {
    io: OsIo,
    mailbox: Arc<Mailbox>,
    listeners: Vec<(Wire, OwnedFd)>,
    limits: Limits,
    backlog: i32,
    options: SocketOptions,
    store: Option<Arc<Store>>,
    operator: Option<Box<dyn Operator>>,
}

impl Server {
    /// A server without listeners.
    ///
    /// # Errors
    /// When the system gives no poller.
    pub fn new(limits: Limits) -> io::Result<Self> {
        let io = OsIo::new()?;
        let mailbox = Mailbox::new(io.waker());
        Ok(Self {
            io,
            mailbox,
            listeners: Vec::new(),
            limits,
            backlog: sys::kernel_limits::max_backlog(),
            options: SocketOptions::default(),
            store: None,
            operator: None,
        })
    }

    /// Sets how many connections may wait to be accepted; the default is as many as the kernel allows.
    pub fn set_backlog(&mut self, backlog: i32) {
        self.backlog = backlog;
    }

    /// Sets what the kernel is told about the TCP connections of the listeners that follow.
    pub fn set_socket_options(&mut self, options: SocketOptions) {
        self.options = options;
    }

    /// Whether what is said before the bytes of a file leaves together with them; the default is yes.
    pub fn set_cork(&mut self, cork: bool) {
        self.io.set_cork(cork);
    }

    /// Shares a directory with the clients of [`Wire::Files`], and removes what a server that died has left over there.
    /// To be called before other threads are started: it reads the umask.
    ///
    /// # Errors
    /// Of open(2): there is no such directory, or it is not ours to read.
    pub fn share(&mut self, share: Share) -> io::Result<()> {
        self.store = Some(Store::open(share, &self.limits)?);
        Ok(())
    }

    /// Listens for clients of a wire on the first of these addresses that can be bound, and says which it
    /// was; port 0 takes a free one.
    ///
    /// # Errors
    /// Of name resolution, socket(2), bind(2) or listen(2).
    pub fn listen(&mut self, wire: Wire, address: impl ToSocketAddrs) -> io::Result<SocketAddr> {
        let mut failed = io::Error::new(io::ErrorKind::InvalidInput, "the name has no address");
        for address in address.to_socket_addrs()? {
            match sys::socket::listen_tcp(address, self.backlog, &self.options) {
                Ok(listener) => {
                    let bound = sys::socket::local_addr(&listener)?;
                    self.listeners.push((wire, listener));
                    return Ok(bound);
                }
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }

    /// Listens on a Unix-domain socket: mode 0600, a stale file is replaced, a live one is an error.
    ///
    /// # Errors
    /// Of socket(2), bind(2) or listen(2); `AddrInUse` when somebody accepts there.
    pub fn listen_unix(&mut self, wire: Wire, path: &Path) -> io::Result<()> {
        self.listeners.push((wire, sys::socket::listen_unix(path, self.backlog)?));
        Ok(())
    }

    /// Lets SIGINT and SIGTERM stop this server in good order; a second one ends the process at once.
    ///
    /// # Errors
    /// Of sigaction(2).
    pub fn catch_signals(&mut self) -> io::Result<()> {
        self.io.catch_signals()
    }

    /// The same, and keeps SIGHUP and SIGUSR1 for the operator.
    ///
    /// # Errors
    /// Of sigaction(2).
    pub fn catch_operator_signals(&mut self) -> io::Result<()> {
        self.io.catch_operator_signals()
    }

    /// Lets `operator` stand beside the loop. Signals come to him after
    /// [`catch_operator_signals`](Self::catch_operator_signals) only.
    pub fn set_operator(&mut self, operator: impl Operator + 'static) {
        self.operator = Some(Box::new(operator));
    }

    /// Asks the server for things from any thread, now or while it runs.
    pub fn handle(&self) -> Handle {
        Handle::new(Arc::clone(&self.mailbox))
    }

    /// Serves until somebody stops it, and gives the service back.
    ///
    /// # Errors
    /// At start only: an unsound table of routes, or a listener that cannot be watched.
    pub fn run<S: Service>(self, service: S) -> Result<S, StartError> {
        let mut event_loop = EventLoop::with_mailbox(self.io, service, self.limits, self.mailbox)?;
        if let Some(store) = self.store {
            event_loop.share(store, Helpers::Threads(FILE_HELPERS));
        }
        if let Some(operator) = self.operator {
            event_loop.set_operator(operator);
        }
        for (wire, listener) in self.listeners {
            event_loop.listen(wire, listener.into_raw_fd()).map_err(StartError::Listener)?;
        }
        Ok(event_loop.run())
    }
}

/// From now on every panic of this process is one line of the log: where it was, and while which connection was served. A
/// program whose log is rawline's wants this; it takes the place of the panic hook.
pub fn log_panics() {
    panics::log_them();
}

/// Raises the limit of open files (RLIMIT_NOFILE) to the hard limit; the limit now in force.
///
/// # Errors
/// Of getrlimit(2) or setrlimit(2).
pub fn raise_descriptor_limit() -> io::Result<u64> {
    sys::kernel_limits::raise_descriptor_limit()
}

/// Why a server could not begin.
#[derive(Debug, PartialEq, Eq)]
pub enum StartError {
    /// The service's table is not sound.
    Routes(RouteError),
    /// The poller refused a listener.
    Listener(IoFault),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Routes(error) => error.fmt(f),
            Self::Listener(fault) => write!(f, "the kernel will not watch the listener: {fault:?}"),
        }
    }
}

impl std::error::Error for StartError {}

impl From<RouteError> for StartError {
    fn from(error: RouteError) -> Self {
        Self::Routes(error)
    }
}
