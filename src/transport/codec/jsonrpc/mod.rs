//! JSON-RPC, in the seed dialect and in 2.0: one JSON text after another, with nothing needed between them.
//!
//! The way in: [`framer`] finds where texts begin and how the client separates them, [`scanner`] where one ends and
//! that it is valid, as its bytes arrive; [`walk`] steps over the parts of a valid text; [`request`] makes of it
//! a method and parameters, borrowed from the text. The way out: [`render`]. None of them does input or output.

pub mod framer;
pub mod render;
pub mod request;
pub mod scanner;
mod swar;
pub mod walk;
