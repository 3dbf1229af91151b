//! One cell's process.

use std::{
    env,
    fs::{self, File},
    io,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use tokio::process::{Child, ChildStdin, Command};

use super::{LaunchError, Site};

/// How long a cell may take to finish what is in flight before it is killed.
const STOP_WITHIN: Duration = Duration::from_secs(10);
/// How much of a log is shown when its cell has died.
const TAIL_LINES: usize = 12;

/// A cell that was started. Dropped, it is killed.
pub struct Process {
    pub site: Site,
    child: Child,
    /// Closed, it tells the cell to drain; see `cell.rs`.
    leash: ChildStdin,
}

impl Process {
    /// Starts this very program as the cell, in the cell's folder, with its output in its log.
    pub fn start(site: Site) -> Result<Self, LaunchError> {
        let (child, leash) =
            spawn(&site).map_err(|error| LaunchError::Start { cell: site.name().to_owned(), error })?;
        Ok(Self { site, child, leash })
    }

    /// Waits until it ends by itself.
    pub async fn ended(&mut self) -> LaunchError {
        let status = self.child.wait().await;
        // On a full disk its log says nothing.
        if let Err(error) = self.site.check_writable() {
            return error;
        }
        let log = self.site.log();
        LaunchError::Died {
            cell: self.site.name().to_owned(),
            status: status.map_or_else(|error| error.to_string(), |status: ExitStatus| status.to_string()),
            tail: fs::read_to_string(&log).map_or_else(|error| error.to_string(), |text| tail(&text)),
            log,
        }
    }

    /// Tells it to finish and waits for its end; kills it if that takes too long.
    pub async fn stop(self) {
        let Self { mut child, leash, .. } = self;
        drop(leash);
        if tokio::time::timeout(STOP_WITHIN, child.wait()).await.is_err() {
            // It may have ended just now.
            let _gone = child.kill().await;
        }
    }
}

fn spawn(site: &Site) -> io::Result<(Child, ChildStdin)> {
    let log = File::create(site.log())?;
    let mut command = Command::new(env::current_exe()?);
    command
        .arg("cell")
        .arg(site.config_file())
        .current_dir(site.folder())
        .stdin(Stdio::piped())
        .stdout(log.try_clone()?)
        .stderr(log)
        // Ctrl-C at the terminal is for the launcher, which then stops its cells in order.
        .process_group(0)
        .kill_on_drop(true);
    let mut child = command.spawn()?;
    let leash = child.stdin.take().ok_or_else(|| io::Error::other("the cell has no standard input"))?;
    Ok((child, leash))
}

/// The last lines, indented.
fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let from = lines.len().saturating_sub(TAIL_LINES);
    lines[from..].iter().map(|line| format!("    {line}")).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_tail_is_the_last_lines() {
    assert_eq!(tail(""), "");
    assert_eq!(tail("a\nb\n"), "    a\n    b");
    let long: Vec<String> = (1..=20).map(|line| line.to_string()).collect();
    assert_eq!(tail(&long.join("\n")).lines().map(str::trim).collect::<Vec<_>>(), long[8..]);
}
