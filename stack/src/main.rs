//! `tambo`: launches and drives the platform.

fn main() {}
