//! The PostgreSQL cluster that all test processes of this machine share.

use std::fs::{self, File};
use std::io;
use std::net::TcpStream;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime};

use crate::db::cluster::{Installation, free_port, url, wait_until_ready};

/// The superuser's URL of the throw-away cluster to use instead of our own.
const VARIABLE: &str = "TEST_POSTGRES_URL";

/// Runs the server given as arguments and ends it, and its folder `$0`, once the file `used` in it is ten minutes old.
/// The server's pid is its child's, so the shell only supervises.
const SUPERVISOR: &str = r#"
"$@" & server=$!
while kill -0 $server 2>/dev/null; do
    sleep 15
    [ -n "$(find "$0/used" -mmin -10 2>/dev/null)" ] || kill -INT $server
done
rm -rf "$0/data" "$0/url"
"#;

/// The URL of the shared cluster, which is started if it does not run.
#[expect(clippy::disallowed_methods, reason = "test support, outside any served process")]
pub(super) fn superuser_url() -> String {
    static URL: OnceLock<String> = OnceLock::new();
    URL.get_or_init(|| match std::env::var(VARIABLE) {
        Ok(url) => url,
        Err(_) => shared().unwrap_or_else(|err| panic!("no PostgreSQL to test on: {err}")),
    })
    .clone()
}

#[expect(clippy::disallowed_methods, reason = "test support, outside any served process")]
fn shared() -> io::Result<String> {
    // One per user, since a cluster's files belong to one.
    let user = fs::metadata("/proc/self")?.uid();
    let folder = std::env::temp_dir().join(format!("tambo-test-postgres-{user}"));
    fs::create_dir_all(&folder)?;
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755))?;
    let lock = File::options().create(true).write(true).truncate(false).open(folder.join("lock"))?;
    lock.lock()?;
    let used = File::options().create(true).write(true).truncate(false).open(folder.join("used"))?;
    used.set_modified(SystemTime::now())?;
    if let Ok(text) = fs::read_to_string(folder.join("url"))
        && answers(&text)
    {
        return Ok(text);
    }
    start(&folder)
}

/// Whether something listens at the URL's host and port.
#[expect(clippy::disallowed_methods, reason = "test support, outside any served process")]
fn answers(url: &str) -> bool {
    let place = url.rsplit_once('@').and_then(|(_, rest)| rest.split_once('/')).map(|(place, _)| place);
    place.is_some_and(|place| TcpStream::connect(place).is_ok())
}

fn start(folder: &Path) -> io::Result<String> {
    let installation = Installation::find()?;
    for name in ["url", "log", "password"] {
        // What an earlier cluster left; mostly nothing.
        let _gone = fs::remove_file(folder.join(name));
    }
    if folder.join("data").exists() {
        fs::remove_dir_all(folder.join("data"))?;
    }
    let password = installation.initialise(folder)?;
    let port = free_port()?;
    let settings = [
        ("fsync", "off"),
        ("full_page_writes", "off"),
        ("synchronous_commit", "off"),
        ("max_wal_size", "4GB"),
        ("autovacuum", "off"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()));
    let server = installation.server(folder, port, &settings)?;
    let mut supervisor = Command::new("/bin/sh");
    supervisor.arg("-c").arg(SUPERVISOR).arg(folder).arg(server.get_program()).args(server.get_args());
    let log = File::options().create(true).append(true).open(folder.join("log"))?;
    supervisor.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).current_dir("/");
    installation.demote(&mut supervisor);
    let mut child = supervisor.spawn()?;
    wait_until_ready(folder, &mut child, false, Instant::now() + Duration::from_secs(60))?;
    let url = url("postgres", &password, port, "postgres");
    fs::write(folder.join("url"), &url)?;
    Ok(url)
}
