//! The table of methods: a row each, with the rules that are checked before its handler runs.
//!
//! Rules sit in the row, so that a handler is only the idea. The transport checks a table once, at start.

use std::fmt;

use super::{Call, ConnId, Effects, Fault, Reply};

/// The most parameters a route can name.
pub const MAX_PARAMS: usize = 8;

/// A handler: the idea of a method and nothing else. Its parameters were checked by the row's rules.
pub type Handler<S> = fn(&mut S, Call<'_>, &mut Effects) -> Result<Reply, Fault>;

/// Says whether this connection may call the method now.
pub type Guard<S> = fn(&S, ConnId) -> Result<(), Fault>;

/// One row of a service's table.
pub struct Route<S: 'static> {
    /// The method, 1 to 64 of `A-Z a-z 0-9 _ - . /`, not beginning with `rpc.` (reserved by JSON-RPC 2.0).
    pub name: &'static str,
    /// Its parameters, in the order of their positions.
    pub params: &'static [Param],
    /// Who may call it.
    pub guard: Guard<S>,
    /// What it does.
    pub handler: Handler<S>,
}

impl<S> Route<S> {
    /// A method that everybody may call.
    pub const fn new(name: &'static str, params: &'static [Param], handler: Handler<S>) -> Self {
        fn anybody<S>(_: &S, _: ConnId) -> Result<(), Fault> {
            Ok(())
        }
        Self { name, params, guard: anybody::<S>, handler }
    }

    /// The same method, for those whom `guard` lets through.
    pub const fn guarded(self, guard: Guard<S>) -> Self {
        Self { guard, ..self }
    }
}

/// Why a table of routes cannot be served; said at start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteError {
    /// Two rows have this name.
    Duplicate(&'static str),
    /// This is no legal method name (see [`Route::name`]).
    BadName(&'static str),
    /// The method names more than [`MAX_PARAMS`] parameters, or one of them twice.
    BadParams(&'static str),
}

impl fmt::Display for RouteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Duplicate(name) => write!(f, "the method {name:?} is registered twice"),
            Self::BadName(name) => write!(
                f,
                "{name:?} is no legal method name: 1 to 64 of A-Z a-z 0-9 _ - . / and not beginning with \"rpc.\""
            ),
            Self::BadParams(name) => {
                write!(f, "the method {name:?} names a parameter twice, or more than {MAX_PARAMS} of them")
            }
        }
    }
}

impl std::error::Error for RouteError {}

/// A parameter and the rule for it, checked before the handler runs.
#[derive(Clone, Copy, Debug)]
pub struct Param {
    /// Its name in an object of parameters.
    pub name: &'static str,
    /// What it must be.
    pub kind: Kind,
    /// Whether a call without it is refused.
    pub required: bool,
}

/// What a parameter must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A string.
    Text,
    /// A number.
    Number,
    /// `true` or `false`.
    Bool,
    /// Any JSON value; the handler reads it with [`Call::arg`].
    Any,
}

impl Param {
    /// A string that must be given.
    pub const fn text(name: &'static str) -> Self {
        Self { name, kind: Kind::Text, required: true }
    }

    /// A number that must be given.
    pub const fn number(name: &'static str) -> Self {
        Self { name, kind: Kind::Number, required: true }
    }

    /// A boolean that must be given.
    pub const fn boolean(name: &'static str) -> Self {
        Self { name, kind: Kind::Bool, required: true }
    }

    /// Any value, but there must be one.
    pub const fn any(name: &'static str) -> Self {
        Self { name, kind: Kind::Any, required: true }
    }

    /// The same parameter, which may be left out.
    pub const fn optional(self) -> Self {
        Self { required: false, ..self }
    }
}
