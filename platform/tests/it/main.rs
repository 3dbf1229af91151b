//! Integration tests of `platform`, one binary.

mod http;
mod process;
