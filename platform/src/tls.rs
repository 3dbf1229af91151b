//! A TLS listener that tells handlers who the other side proved to be.
