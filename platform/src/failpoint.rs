//! Named places where a test stops a process, to kill it there.
