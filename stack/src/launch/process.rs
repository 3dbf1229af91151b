//! One process of the stack, and its next one when it has died.

use std::{
    env,
    ffi::OsString,
    fs::{self, File},
    io,
    path::PathBuf,
    process::{ExitStatus, Stdio},
    time::{Duration, Instant},
};

use tokio::{
    process::{Child, ChildStdin, Command},
    sync::watch,
};

use super::{LaunchError, files::check_writable};
use crate::console::say;

/// How long a process may take to finish what is in flight before it is killed.
const STOP_WITHIN: Duration = Duration::from_secs(10);
/// How much of a log is shown when its process has died.
const TAIL_LINES: usize = 12;
/// The pause before a process is started again; twice as long each time, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// Whoever has run for so long has not died of its start.
const STEADY: Duration = Duration::from_secs(60);
/// How many deaths in a row are enough.
const GIVE_UP_AFTER: u32 = 10;

/// Where the stack is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Who dies now cannot run here: its user is told at once.
    Starting,
    /// Who dies is started again.
    Up,
    /// Cells end.
    CellsEnd,
    /// Everything ends.
    AllEnd,
}

/// This very program with these arguments, in a folder, with its output in a log.
#[derive(Debug, Clone)]
pub struct Job {
    /// For people: `the cell mx-1`.
    pub name: String,
    pub folder: PathBuf,
    pub log: PathBuf,
    pub arguments: Vec<OsString>,
}

/// Keeps a process running until the stack is in the phase in which it ends. An error if it has died and is not started
/// again.
pub async fn keep(job: Job, mut phase: watch::Receiver<Phase>, ends: Phase) -> Result<(), LaunchError> {
    let mut deaths = 0;
    let mut log = File::create(&job.log);
    loop {
        let started = log.and_then(|log| Process::start(&job, log));
        let mut process = started.map_err(|error| LaunchError::Start { name: job.name.clone(), error })?;
        let begun = Instant::now();
        let status = tokio::select! {
            status = process.child.wait() => status,
            () = reached(&mut phase, ends) => {
                process.stop().await;
                return Ok(());
            }
        };
        deaths = if begun.elapsed() < STEADY { deaths + 1 } else { 1 };
        let status = status.map_or_else(|error| error.to_string(), |status: ExitStatus| status.to_string());
        if *phase.borrow() == Phase::Starting || deaths >= GIVE_UP_AFTER {
            // On a full disk its log says nothing.
            check_writable(&job.folder)?;
            return Err(job.died(status, deaths));
        }
        let pause = pause(deaths);
        say(format_args!("{} has ended ({status}); it is started again in {pause:?}", job.name));
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = reached(&mut phase, ends) => return Ok(()),
        }
        log = File::options().append(true).create(true).open(&job.log);
    }
}

/// Waits for a phase, or for the end of who would tell it.
async fn reached(phase: &mut watch::Receiver<Phase>, wanted: Phase) {
    let _reached = phase.wait_for(|phase| *phase >= wanted).await.is_ok();
}

/// After so many deaths in a row.
fn pause(deaths: u32) -> Duration {
    FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(deaths.saturating_sub(1))).min(LONGEST_PAUSE)
}

impl Job {
    fn died(&self, status: String, times: u32) -> LaunchError {
        let tail = fs::read_to_string(&self.log).map_or_else(|error| error.to_string(), |text| tail(&text));
        let often = if times > 1 { format!(" for the {times}th time in a row") } else { String::new() };
        LaunchError::Died { name: self.name.clone(), often, status, log: self.log.clone(), tail }
    }
}

/// A process that was started. Dropped, it is killed.
struct Process {
    child: Child,
    /// Closed, it tells the process to drain; see `leash.rs`.
    leash: ChildStdin,
}

impl Process {
    fn start(job: &Job, log: File) -> io::Result<Self> {
        let mut command = Command::new(env::current_exe()?);
        command
            .args(&job.arguments)
            .current_dir(&job.folder)
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            // Ctrl-C at the terminal is for the launcher, which then stops its processes in order.
            .process_group(0)
            .kill_on_drop(true);
        let mut child = command.spawn()?;
        let leash = child.stdin.take().ok_or_else(|| io::Error::other("it has no standard input"))?;
        Ok(Self { child, leash })
    }

    /// Tells it to finish and waits for its end; kills it if that takes too long.
    async fn stop(self) {
        let Self { mut child, leash } = self;
        drop(leash);
        if tokio::time::timeout(STOP_WITHIN, child.wait()).await.is_err() {
            // It may have ended just now.
            let _gone = child.kill().await;
        }
    }
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

#[test]
fn pauses_grow_to_the_longest() {
    assert_eq!([1, 2, 3, 7, 40].map(pause).map(|pause| pause.as_millis()), [200, 400, 800, 10_000, 10_000]);
}
