//! CPU time of processes, from Linux' `/proc`: the server, the database and the driver apart, though they share cores.

use std::{fs, io, time::Duration};

/// What a tick of `/proc/*/stat` is on every Linux that Rust supports (USER_HZ).
const TICK: Duration = Duration::from_millis(10);

/// CPU time used so far.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cpu {
    /// The process that serves HTTP.
    pub server: Duration,
    /// PostgreSQL: postmaster, backends, checkpointer, WAL writer.
    pub database: Duration,
    /// The driver of the load.
    pub driver: Duration,
}

impl Cpu {
    /// Of two runs.
    pub fn plus(self, other: Self) -> Self {
        Self {
            server: self.server + other.server,
            database: self.database + other.database,
            driver: self.driver + other.driver,
        }
    }

    /// What was used since `before`.
    pub fn since(self, before: Self) -> Self {
        Self {
            server: self.server.saturating_sub(before.server),
            database: self.database.saturating_sub(before.database),
            driver: self.driver.saturating_sub(before.driver),
        }
    }
}

/// Whose time is counted.
#[derive(Debug, Clone, Default)]
pub struct Processes {
    /// The process that serves HTTP, if there is one.
    pub server: Option<u32>,
    /// The postmaster.
    pub postmaster: Option<u32>,
}

impl Processes {
    /// Their time so far.
    pub fn cpu(&self) -> io::Result<Cpu> {
        let server = self.server.map(|pid| own(&pid.to_string())).transpose()?.unwrap_or_default();
        let database = self.postmaster.map(family).transpose()?.unwrap_or_default();
        Ok(Cpu { server, database, driver: own("self")? })
    }
}

/// Parent, own time, and time of children that have ended.
fn stat(pid: &str) -> io::Result<(u32, Duration, Duration)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    parse(&text).ok_or_else(|| io::Error::other(format!("/proc/{pid}/stat is not as proc(5) says")))
}

fn parse(text: &str) -> Option<(u32, Duration, Duration)> {
    // The name in parentheses may hold spaces. After it, counted from 0: state, parent (1), … utime (11), stime (12),
    // cutime (13), cstime (14).
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |at: usize| Some(TICK * fields.get(at)?.parse::<u32>().ok()?);
    Some((fields.get(1)?.parse().ok()?, ticks(11)? + ticks(12)?, ticks(13)? + ticks(14)?))
}

fn own(pid: &str) -> io::Result<Duration> {
    stat(pid).map(|(_, own, _)| own)
}

/// The time of a process so far.
pub fn used(pid: u32) -> io::Result<Duration> {
    own(&pid.to_string())
}

/// The resident memory of a process, in bytes.
pub fn resident(pid: u32) -> io::Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.map(|kib| kib * 1024)
        .ok_or_else(|| io::Error::other(format!("/proc/{pid}/status is not as proc(5) says")))
}

/// The processes that a process has started and that have not ended.
pub fn children(of: u32) -> io::Result<Vec<u32>> {
    let entries = fs::read_dir("/proc")?.flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    // A process may end while we look.
    Ok(pids.filter(|pid| stat(&pid.to_string()).is_ok_and(|(parent, ..)| parent == of)).collect())
}

/// A process, its children, and those of them that have ended.
fn family(pid: u32) -> io::Result<Duration> {
    let (_, own, ended) = stat(&pid.to_string())?;
    let alive = children(pid)?.into_iter().filter_map(|child| used(child).ok());
    Ok(own + ended + alive.sum::<Duration>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_spaces_and_parentheses_is_read_over() {
        let text = "7 (postgres: a) b) S 3 7 7 0 -1 4194304 1 2 3 4 150 50 7 3 20 0 1 0 5";
        let (parent, own, ended) = parse(text).unwrap();
        assert_eq!((parent, own, ended), (3, Duration::from_millis(2_000), Duration::from_millis(100)));
        assert_eq!(parse("7 (short) S 3"), None);
    }

    #[test]
    fn this_process_uses_time() {
        let processes = Processes { server: Some(std::process::id()), postmaster: None };
        let before = processes.cpu().unwrap();
        let mut sum = 0_u64;
        while processes.cpu().unwrap().since(before).server < TICK {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        assert!(processes.cpu().unwrap().since(before).driver >= TICK);
    }
}
