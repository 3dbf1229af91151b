//! A private PostgreSQL cluster: for tests, for measurements and for experiments in killing it.
//!
//! It listens on 127.0.0.1 only, on a free port, with a random password, and has the four roles of
//! `platform/sql/roles.sql`. Run by root it becomes another user, since PostgreSQL refuses to serve as root. It is no
//! way to run a database in production.

use std::fs;
use std::io::{self, Error};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::{DatabaseConfig, Role};
use crate::random;

/// How long a start may take before it counts as failed; initialising takes about 3 s, recovery may take longer.
const START_TIMEOUT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);

/// How to run a cluster.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Whether commits survive a power cut. Off is faster and right for tests; a killed process loses nothing either
    /// way.
    pub fsync: bool,
    /// Further settings, such as `("shared_buffers", "1GB")`.
    pub settings: Vec<(String, String)>,
    /// Where to keep the data; else a temporary folder that goes with the cluster.
    pub folder: Option<PathBuf>,
}

/// A running cluster; stopped when dropped.
#[derive(Debug)]
pub struct Cluster {
    installation: Installation,
    folder: PathBuf,
    temporary: Option<TempDir>,
    settings: Vec<(String, String)>,
    password: String,
    port: u16,
    server: Option<Child>,
}

impl Cluster {
    /// Makes a cluster (or takes up the one in `options.folder`) and starts it. Blocks until it answers.
    ///
    /// # Errors
    /// PostgreSQL is not installed, or does not start; the message holds the end of its log.
    pub fn start(options: Options) -> io::Result<Self> {
        let installation = Installation::find()?;
        let (folder, temporary) = match options.folder {
            Some(folder) => (folder, None),
            None => {
                let folder = tempfile::Builder::new().prefix("tambo-postgres-").tempdir()?;
                // The server's user must be able to pass through to its data.
                fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
                (folder.path().to_owned(), Some(folder))
            }
        };
        let password = installation.initialise(&folder)?;
        let mut settings = vec![("fsync".to_owned(), if options.fsync { "on" } else { "off" }.to_owned())];
        if !options.fsync {
            settings.push(("full_page_writes".into(), "off".into()));
            settings.push(("synchronous_commit".into(), "off".into()));
        }
        settings.extend(options.settings);
        let mut cluster = Self { installation, folder, temporary, settings, password, port: 0, server: None };
        cluster.launch()?;
        Ok(cluster)
    }

    /// The URL for `role`, or for the superuser, and a database.
    pub fn url(&self, role: Option<Role>, database: &str) -> String {
        url(role.map_or("postgres", Role::name), &self.password, self.port, database)
    }

    /// Makes a database with the four roles, and says how to connect to it.
    ///
    /// # Errors
    /// The server is down, or the database exists.
    #[expect(clippy::disallowed_methods, reason = "a cluster being made has no roles yet")]
    pub async fn create_database(&self, name: &str) -> Result<DatabaseConfig, sea_orm::DbErr> {
        use sea_orm::ConnectionTrait;
        let connect = async |database: &str| {
            let mut options = sea_orm::ConnectOptions::new(self.url(None, database));
            options.max_connections(1).sqlx_logging(false);
            sea_orm::Database::connect(options).await
        };
        let root = connect("postgres").await?;
        root.execute_unprepared(&format!("CREATE DATABASE \"{name}\"")).await?;
        root.close().await?;
        let inside = connect(name).await?;
        inside.execute_unprepared(super::ROLES_SQL).await?;
        for role in Role::ALL {
            // The password was made here, of hexadecimal digits.
            let statement = format!("ALTER ROLE {} PASSWORD '{}'", role.name(), self.password);
            inside.execute_unprepared(&statement).await?;
        }
        inside.close().await?;
        Ok(DatabaseConfig::new(self.url(Some(Role::App), name)))
    }

    /// The process id of the postmaster, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.server.as_ref().map(Child::id)
    }

    /// The folder of PostgreSQL's programs: `psql`, `pgbench`, ….
    pub fn programs(&self) -> &Path {
        &self.installation.programs
    }

    /// The process ids of the postmaster and all its children, for measurements of their CPU time.
    pub fn pids(&self) -> Vec<u32> {
        self.pid().map(|pid| std::iter::once(pid).chain(children(pid)).collect()).unwrap_or_default()
    }

    /// Kills the postmaster and all its children with SIGKILL at once.
    ///
    /// # Errors
    /// `kill` cannot be run.
    pub fn kill9(&mut self) -> io::Result<()> {
        let Some(mut server) = self.server.take() else { return Ok(()) };
        let mut pids = children(server.id());
        pids.push(server.id());
        signal("-KILL", &pids)?;
        server.wait()?;
        Ok(())
    }

    /// Stops the server if it runs, and starts it again on the same port.
    ///
    /// # Errors
    /// It does not start.
    pub fn restart(&mut self) -> io::Result<()> {
        self.stop()?;
        self.launch()
    }

    /// Stops the server in good order; open transactions are rolled back.
    ///
    /// # Errors
    /// `kill` cannot be run.
    pub fn stop(&mut self) -> io::Result<()> {
        let Some(mut server) = self.server.take() else { return Ok(()) };
        signal("-INT", &[server.id()])?;
        server.wait()?;
        Ok(())
    }

    #[expect(clippy::disallowed_methods, reason = "waits for another process in code without a runtime")]
    fn launch(&mut self) -> io::Result<()> {
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            if self.port == 0 {
                self.port = free_port()?;
            }
            let mut command = self.installation.server(&self.folder, self.port, &self.settings)?;
            let mut server = command.spawn()?;
            match wait_until_ready(&self.folder, &mut server, true, deadline) {
                Ok(()) => {
                    self.server = Some(server);
                    return Ok(());
                }
                // After a kill the old server's shared memory lingers for a moment; and a free port may be taken by
                // another process before the server binds it.
                Err(err) if Instant::now() < deadline => {
                    tracing::debug!(%err, "PostgreSQL did not start; trying again");
                    std::thread::sleep(POLL * 5);
                }
                Err(err) => return Err(err),
            }
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // There is nobody to tell; a server without its folder ends by itself.
        let _stopped = if self.temporary.is_some() { self.kill9() } else { self.stop() };
    }
}

pub(crate) fn url(user: &str, password: &str, port: u16, database: &str) -> String {
    format!("postgres://{user}:{password}@127.0.0.1:{port}/{database}?sslmode=disable")
}

pub(crate) fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// The programs of PostgreSQL, and the user they run as.
#[derive(Debug, Clone)]
pub(crate) struct Installation {
    programs: PathBuf,
    /// Another user and group, if we are root.
    user: Option<(u32, u32)>,
}

impl Installation {
    /// The newest installation of the Debian packages, else the one `pg_config` names.
    pub(crate) fn find() -> io::Result<Self> {
        let mut found: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
            .filter(|(_, programs)| programs.join("initdb").exists())
            .collect();
        found.sort();
        let programs = match found.pop() {
            Some((_, programs)) => programs,
            None => {
                let missing =
                    |_| Error::other("PostgreSQL is not installed (Debian: apt install postgresql)");
                let output = Command::new("pg_config").arg("--bindir").output().map_err(missing)?;
                PathBuf::from(String::from_utf8_lossy(&output.stdout).trim())
            }
        };
        Ok(Self { programs, user: other_user()? })
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        command.stdin(Stdio::null()).current_dir("/");
        self.demote(&mut command);
        command
    }

    /// Runs `command` as the server's user, in a process group of its own, so that a signal to ours spares it.
    pub(crate) fn demote(&self, command: &mut Command) {
        if let Some((user, group)) = self.user {
            command.uid(user).gid(group);
        }
        command.process_group(0);
    }

    /// Makes the data folder if it is not there; returns the superuser's password.
    pub(crate) fn initialise(&self, folder: &Path) -> io::Result<String> {
        let password_file = folder.join("password");
        if folder.join("data/PG_VERSION").exists() {
            return Ok(fs::read_to_string(password_file)?.trim().to_owned());
        }
        fs::create_dir_all(folder)?;
        let password = hex::encode(random::bytes::<16>());
        fs::write(&password_file, &password)?;
        fs::set_permissions(&password_file, fs::Permissions::from_mode(0o600))?;
        let data = folder.join("data");
        fs::create_dir(&data)?;
        for path in [folder, &data, &password_file] {
            if let Some((user, group)) = self.user {
                std::os::unix::fs::chown(path, Some(user), Some(group))?;
            }
        }
        let output = self
            .command("initdb")
            .args(["--username=postgres", "--auth=password", "--encoding=UTF8", "--locale=C", "--no-sync"])
            .arg(format!("--pwfile={}", password_file.display()))
            .arg("-D")
            .arg(&data)
            .output()?;
        if !output.status.success() {
            fs::remove_dir_all(&data)?;
            return Err(Error::other(format!(
                "initdb failed: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            )));
        }
        Ok(password)
    }

    /// The server's command line, ready to spawn; its log goes to a file beside the data.
    pub(crate) fn server(
        &self,
        folder: &Path,
        port: u16,
        settings: &[(String, String)],
    ) -> io::Result<Command> {
        let log = fs::OpenOptions::new().create(true).append(true).open(folder.join("log"))?;
        let mut command = self.command("postgres");
        command.arg("-D").arg(folder.join("data")).args(["-p", &port.to_string()]);
        command.args(["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="]);
        command.args(["-c", "max_connections=300"]);
        for (name, value) in settings {
            command.arg("-c").arg(format!("{name}={value}"));
        }
        command.stdout(log.try_clone()?).stderr(log);
        Ok(command)
    }
}

/// Waits until the server says in its own pid file that it takes connections. `direct`: `server` is the postmaster
/// itself and the file must bear its pid, since an earlier one may have left the file behind.
#[expect(clippy::disallowed_methods, reason = "waits for another process in code without a runtime")]
pub(crate) fn wait_until_ready(
    folder: &Path,
    server: &mut Child,
    direct: bool,
    deadline: Instant,
) -> io::Result<()> {
    let pid_file = folder.join("data/postmaster.pid");
    let pid = server.id().to_string();
    loop {
        if let Some(status) = server.try_wait()? {
            return Err(Error::other(format!("PostgreSQL ended ({status}): {}", end_of_log(folder))));
        }
        let text = fs::read_to_string(&pid_file).unwrap_or_default();
        let mut lines = text.lines();
        let first = lines.next();
        if (!direct || first == Some(&pid)) && lines.nth(6).is_some_and(|state| state.trim() == "ready") {
            return Ok(());
        }
        if Instant::now() > deadline {
            server.kill()?;
            return Err(Error::other(format!("PostgreSQL did not get ready: {}", end_of_log(folder))));
        }
        std::thread::sleep(POLL);
    }
}

fn end_of_log(folder: &Path) -> String {
    let text = fs::read_to_string(folder.join("log")).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(5)..].join(" | ")
}

/// Whom to become: nobody else if we are not root, else `postgres` if there is such a user, else `nobody`.
fn other_user() -> io::Result<Option<(u32, u32)>> {
    if fs::metadata("/proc/self")?.uid() != 0 {
        return Ok(None);
    }
    let users = fs::read_to_string("/etc/passwd")?;
    for wanted in ["postgres", "nobody"] {
        for line in users.lines() {
            let fields: Vec<&str> = line.split(':').collect();
            if fields.first() == Some(&wanted)
                && let (Some(Ok(user)), Some(Ok(group))) =
                    (fields.get(2).map(|id| id.parse()), fields.get(3).map(|id| id.parse()))
            {
                return Ok(Some((user, group)));
            }
        }
    }
    Err(Error::other("PostgreSQL cannot run as root, and there is no user `postgres` or `nobody`"))
}

/// The processes whose parent is `pid`, from Linux' process table.
fn children(pid: u32) -> Vec<u32> {
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    processes
        .flatten()
        .filter_map(|entry| {
            let child: u32 = entry.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
            // The name in parentheses may hold spaces; state and parent follow it.
            let parent: u32 = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()?;
            (parent == pid).then_some(child)
        })
        .collect()
}

fn signal(name: &str, pids: &[u32]) -> io::Result<()> {
    // The shell's own kill, since a bare Debian has no program of that name. A process that is gone already is what was
    // wanted, so the exit status does not matter.
    Command::new("/bin/sh")
        .args(["-c", "kill \"$@\"", "kill", name])
        .args(pids.iter().map(u32::to_string))
        .stderr(Stdio::null())
        .status()
        .map(|_| ())
}
