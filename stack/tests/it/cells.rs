//! The program, run as people run it.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader, Read},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use platform::db::{DatabaseConfig, Db};
use sea_orm::{ConnectionTrait, DbBackend, QueryResult, Statement};
use serde_json::Value;
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_tambo");
/// Far longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

pub fn tambo() -> Command {
    let mut command = Command::new(PROGRAM);
    command.stdin(Stdio::null());
    command
}

/// The program where no file may grow beyond so many blocks of 512 bytes: writing fails as on a full disk.
pub fn tambo_with_files_up_to(blocks: u32) -> Command {
    let mut command = Command::new("sh");
    let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"");
    command.args(["-c", &script, PROGRAM]).stdin(Stdio::null());
    command
}

/// Runs to the end, which must be a failure that people are told about on standard error alone.
pub fn refused(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let said = String::from_utf8(stderr).unwrap();
    assert_eq!(status.code(), Some(1), "{said}");
    assert_eq!(String::from_utf8(stdout).unwrap(), "", "{said}");
    assert!(!said.contains("panicked"), "{said}");
    said
}

/// A data folder whose stack was started once.
pub fn used_folder() -> TempDir {
    let folder = TempDir::new().unwrap();
    let running = Running::start(tambo().args(["dev", "--data"]).arg(folder.path()));
    running.ask_to_stop("INT");
    assert_eq!(running.end(), 0);
    folder
}

/// The folder of a cell.
pub fn home(folder: &Path, cell: &str) -> PathBuf {
    folder.join("cells").join(cell)
}

/// The folder of the control plane.
pub fn plane_home(folder: &Path) -> PathBuf {
    folder.join("control-plane")
}

fn address(file: &Path, section: &str, key: &str) -> SocketAddr {
    let config: toml::Table = fs::read_to_string(file).unwrap().parse().unwrap();
    config[section][key].as_str().unwrap().parse().unwrap()
}

/// Where each cell of a folder listens.
pub fn cell_addresses(folder: &Path) -> Vec<SocketAddr> {
    let cells = ["mx-1", "co-1", "br-1"].map(|cell| home(folder, cell).join("cell.toml"));
    cells.iter().map(|file| address(file, "cell", "listen")).collect()
}

/// Where the control plane of a folder listens for callers.
pub fn plane_address(folder: &Path) -> SocketAddr {
    address(&plane_home(folder).join("control-plane.toml"), "control_plane", "listen")
}

/// Where the processes of a folder listen.
pub fn addresses(folder: &Path) -> Vec<SocketAddr> {
    let links = address(&plane_home(folder).join("control-plane.toml"), "control_plane", "link_listen");
    let mut addresses = cell_addresses(folder);
    addresses.extend([plane_address(folder), links]);
    addresses
}

/// Asks the control plane of a folder, as an operator does.
pub fn operate(folder: &Path, words: &[&str]) -> Value {
    let url = format!("http://{}", plane_address(folder));
    let operator = plane_home(folder).join("operator.json");
    let mut command = tambo();
    command.args(words).args(["--json", "--url", &url, "--client-file"]).arg(operator);
    let Output { status, stdout, stderr } = command.output().unwrap();
    assert!(status.success(), "{words:?}: {}", String::from_utf8_lossy(&stderr));
    serde_json::from_slice(&stdout).unwrap()
}

/// What a query finds in a database file, column by column as texts.
pub async fn query(file: &Path, sql: &str, columns: usize) -> Vec<Vec<String>> {
    let db = Db::connect(&DatabaseConfig::new(format!("sqlite://{}", file.display()))).await.unwrap();
    let rows = db.app().query_all_raw(Statement::from_string(DbBackend::Sqlite, sql)).await.unwrap();
    let texts = |row: &QueryResult| (0..columns).map(|at| row.try_get_by_index(at).unwrap()).collect();
    let rows = rows.iter().map(texts).collect();
    db.close().await.unwrap();
    rows
}

/// How many rows each table of a database file has, but for those of tokens, which everybody gets anew.
pub async fn rows(file: &Path) -> BTreeMap<String, String> {
    let tables = query(file, "SELECT name FROM sqlite_master WHERE type = 'table'", 1).await.concat();
    let counts: Vec<String> = tables
        .iter()
        .filter(|table| !matches!(table.as_str(), "oauth_record" | "oauth_replay"))
        .map(|table| format!("SELECT '{table}', CAST(count(*) AS TEXT) FROM \"{table}\""))
        .collect();
    let counts = query(file, &counts.join(" UNION ALL "), 2).await;
    counts.into_iter().map(|row| (row[0].clone(), row[1].clone())).collect()
}

/// A program that stays up.
pub struct Running {
    child: Child,
    said: BufReader<std::process::ChildStderr>,
}

impl Running {
    /// Starts it, and reads what it says until it offers to be stopped.
    pub fn start(command: &mut Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let said = BufReader::new(child.stderr.take().unwrap());
        let mut running = Self { child, said };
        running.hear("Ctrl-C");
        running
    }

    /// Reads until a line has this text; everything so far.
    pub fn hear(&mut self, text: &str) -> String {
        let mut heard = String::new();
        while !heard.contains(text) {
            assert_ne!(self.said.read_line(&mut heard).unwrap(), 0, "it ended and said:\n{heard}");
        }
        heard
    }

    /// Kills the process that it runs in this folder.
    pub fn kill(&self, folder: &Path) {
        let folder = folder.canonicalize().unwrap();
        let here = |process: &PathBuf| fs::read_link(process.join("cwd")).is_ok_and(|cwd| cwd == folder);
        let mut found = fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path()).filter(here);
        let process = found.next().unwrap();
        let pid = process.file_name().unwrap().to_str().unwrap();
        assert!(Command::new("kill").args(["-KILL", pid]).status().unwrap().success());
    }

    pub fn ask_to_stop(&self, signal: &str) {
        let told = Command::new("kill").args([&format!("-{signal}"), &self.child.id().to_string()]).status();
        assert!(told.unwrap().success());
    }

    /// Its exit code; -1 if a signal ended it.
    pub fn end(mut self) -> i32 {
        let mut rest = String::new();
        self.said.read_to_string(&mut rest).unwrap();
        self.child.wait().unwrap().code().unwrap_or(-1)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended, unless its test fails; its cells end with it.
        let _ended = self.child.kill();
    }
}

/// A connection to a cell.
#[expect(
    clippy::disallowed_methods,
    reason = "a bare connection shows the end of the process at its other end"
)]
pub fn connect(address: &SocketAddr) -> TcpStream {
    let connection = TcpStream::connect(address).unwrap();
    connection.set_read_timeout(Some(PATIENCE)).unwrap();
    connection
}

/// Waits until the other end is closed.
pub fn wait_for_end(mut connection: TcpStream) {
    // A process that is killed resets the connection.
    let read = connection.read(&mut [0; 16]);
    assert!(
        matches!(&read, Ok(0))
            || matches!(&read, Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset),
        "{read:?}"
    );
}

/// Nobody listens there.
pub fn is_free(address: &SocketAddr) -> bool {
    TcpListener::bind(address).is_ok()
}
