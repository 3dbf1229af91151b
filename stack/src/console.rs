//! What people are told while programs may read standard output.

use std::{
    fmt::Display,
    io::{self, Write},
};

/// A line on standard error. Whoever has closed it does not want to know.
pub fn say(text: impl Display) {
    let _closed = writeln!(io::stderr().lock(), "{text}");
}
