//! Both planes as processes of their own in a folder, either of which can be stopped at a step and killed.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    net::TcpListener,
    path::{Path, PathBuf},
    pin::pin,
    process::{Child, ChildStdin, Command, Stdio},
    sync::Arc,
    thread,
    time::Duration,
};

use http::{Method, StatusCode};
use platform::{
    ctx::Clock,
    db::{DatabaseConfig, Db},
    egress::{Egress, EgressConfig},
    failpoint::{MARK, Place, VARIABLE},
    oauth::{Credential, http::TOKEN_PATH},
    random,
};
use sea_orm::ConnectionTrait;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::{Mutex, mpsc};

use super::Steps;
use crate::cells::{home, plane_address, plane_home, query, tambo, used_folder};

/// Between two requests.
const PAUSE: Duration = Duration::from_millis(20);
/// Longer than a process has nothing to report.
const LATER: Duration = Duration::from_secs(40);

/// Who is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Who {
    ControlPlane,
    Cell,
}

/// Where to stop whom.
pub type Stop = (Who, Place);

/// A process that ends when it is dropped, or with the test.
struct Process {
    child: Child,
    /// Closed with the test, however that ends.
    _leash: ChildStdin,
    places: mpsc::UnboundedReceiver<Place>,
}

/// A control plane and a cell of it.
pub struct Site {
    folder: TempDir,
    /// Where the cell is.
    pub cell_home: PathBuf,
    pub caller: Caller,
    /// The program of the cell, if it is not this build's.
    pub cell_program: Option<PathBuf>,
    plane: Option<Process>,
    cell: Option<Process>,
}

impl Site {
    /// A folder as `tambo dev` leaves it; nothing runs.
    pub fn new() -> Self {
        let folder = used_folder();
        let caller = Caller::new(folder.path());
        let cell_home = home(folder.path(), "mx-1");
        Self { folder, cell_home, caller, cell_program: None, plane: None, cell: None }
    }

    /// Starts it; `at` says where it stops, or to list its steps.
    pub fn start(&mut self, who: Who, at: Option<&str>) {
        let (command, folder) = match who {
            Who::ControlPlane => (["control-plane", "control-plane.toml"], plane_home(self.folder.path())),
            Who::Cell => (["cell", "cell.toml"], self.cell_home.clone()),
        };
        let program = self.cell_program.as_deref().filter(|_| who == Who::Cell);
        let process = Process::start(program, command, &folder, at);
        *self.process(who) = Some(process);
    }

    /// Kills it with SIGKILL, if it runs.
    pub fn kill(&mut self, who: Who) {
        drop(self.process(who).take());
    }

    /// Waits until something is done. Who was started with the place to stop at is killed there and started again. What
    /// came of it, and whether the place was come to; the first time that a step is come to is waited for.
    pub async fn through<T>(&mut self, stop: Option<&Stop>, done: impl Future<Output = T>) -> (T, bool) {
        let Some((who, place)) = stop else { return (done.await, false) };
        let mut done = pin!(done);
        let places = &mut self.process(*who).as_mut().unwrap().places;
        let (early, stopped) = tokio::select! {
            stopped = places.recv() => (None, stopped),
            done = &mut done => {
                let patience = if place.time == 1 { LATER } else { Duration::ZERO };
                let stopped = tokio::time::timeout(patience, places.recv()).await;
                (Some(done), stopped.ok().flatten())
            }
        };
        self.restart(*who, None).await;
        match early {
            Some(done) => (done, stopped.is_some()),
            None => {
                assert_eq!(stopped.as_ref(), Some(place), "{who:?} has ended:\n{}", self.log(*who));
                (done.await, true)
            }
        }
    }

    /// Adds the steps that it has come by so far.
    pub fn steps(&mut self, who: Who, steps: &mut Steps) {
        let places = &mut self.process(who).as_mut().unwrap().places;
        while let Ok(Place { step, time, .. }) = places.try_recv() {
            let times = steps.entry((who, step)).or_default();
            *times = time.max(*times);
        }
    }

    fn process(&mut self, who: Who) -> &mut Option<Process> {
        match who {
            Who::ControlPlane => &mut self.plane,
            Who::Cell => &mut self.cell,
        }
    }

    /// The file of its database.
    pub fn database(&self, who: Who) -> PathBuf {
        match who {
            Who::ControlPlane => plane_home(self.folder.path()).join("control-plane.db"),
            Who::Cell => self.cell_home.join("cell.db"),
        }
    }

    /// Kills it and starts it again. The leases that it had run out at once, as they do in time.
    pub async fn restart(&mut self, who: Who, at: Option<&str>) {
        self.kill(who);
        self.write(who, "UPDATE work SET lease_until = NULL").await;
        if who == Who::Cell {
            self.write(who, "UPDATE link_state SET lease_owner = NULL").await;
        }
        self.start(who, at);
    }

    /// Writes into the database of a process; nothing if there is no such table yet.
    pub async fn write(&self, who: Who, sql: &str) {
        let file = self.database(who);
        if file.exists() {
            let db = Db::connect(&DatabaseConfig::new(format!("sqlite://{}", file.display()))).await.unwrap();
            let _written = db.app().execute_unprepared(sql).await;
            db.close().await.unwrap();
        }
    }

    /// The folders in the cell's bucket.
    pub fn objects(&self) -> Vec<String> {
        let bucket = self.cell_home.join("objects").join("store").join("objects");
        let folders = fs::read_dir(bucket).into_iter().flatten();
        folders.map(|one| one.unwrap().file_name().into_string().unwrap()).collect()
    }

    /// What a query finds, column by column as texts.
    pub async fn rows(&self, who: Who, sql: &str, columns: usize) -> Vec<Vec<String>> {
        query(&self.database(who), sql, columns).await
    }

    /// Declares another cell in the place of the one that was there, with a folder and a join token of its own; its id.
    pub async fn another_cell(&mut self, name: &str) -> String {
        self.kill(Who::Cell);
        let listen = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let (mut config, region) = (self.config(), self.region());
        let cell = config["cell"].as_table_mut().unwrap();
        cell.insert("name".into(), name.into());
        cell.insert("listen".into(), listen.to_string().into());
        cell.insert("public_url".into(), format!("http://{listen}").into());
        let declared = json!({
            "name": name, "jurisdiction": config["cell"]["jurisdiction"].as_str(), "region": region,
            "mode": "sandbox", "capacity": 100,
        });
        let cell = self.caller.post("/v1/cells", declared).await;
        let id = cell["id"].as_str().unwrap().to_owned();
        let token = self.caller.post(&format!("/v1/cells/{id}/join-tokens"), json!({})).await;
        self.cell_home = home(self.folder.path(), name);
        fs::create_dir_all(&self.cell_home).unwrap();
        fs::write(self.cell_home.join("cell.toml"), config.to_string()).unwrap();
        fs::write(self.cell_home.join("join.token"), token["token"].as_str().unwrap()).unwrap();
        id
    }

    fn config(&self) -> toml::Table {
        fs::read_to_string(self.cell_home.join("cell.toml")).unwrap().parse().unwrap()
    }

    /// Where the cell stands.
    pub fn region(&self) -> String {
        self.config()["link"]["region"].as_str().unwrap().to_owned()
    }

    /// The end of what it has said.
    pub fn log(&self, who: Who) -> String {
        let file = self.database(who).with_file_name("log");
        let text = fs::read_to_string(file).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if thread::panicking() {
            for who in [Who::ControlPlane, Who::Cell] {
                eprintln!("{who:?}:\n{}\n", self.log(who));
            }
        }
    }
}

impl Process {
    fn start(program: Option<&Path>, [command, config]: [&str; 2], folder: &Path, at: Option<&str>) -> Self {
        let log = File::options().create(true).append(true).open(folder.join("log")).unwrap();
        let mut program = program.map_or_else(tambo, Command::new);
        program.args([command, "serve", "--until-stdin-ends", config]).current_dir(folder);
        program.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log);
        if command == "cell" {
            // A removal waits for requests that were let in.
            program.env("TAMBO_HTTP__TIMEOUT_MS", "1000");
        }
        if let Some(at) = at {
            program.env(VARIABLE, at);
        }
        let mut child = program.spawn().unwrap();
        let (leash, said) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let (tell, places) = mpsc::unbounded_channel();
        thread::spawn(move || {
            let marks = said.lines().map_while(Result::ok);
            let marks = marks.filter_map(|line| line.strip_prefix(MARK)?.parse().ok());
            marks.for_each(|place| drop(tell.send(place)));
        });
        Self { child, _leash: leash, places }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // `Child::kill` is SIGKILL.
        let _ended = self.child.kill().and_then(|()| self.child.wait());
    }
}

/// An operator, who asks until there is an answer.
#[derive(Clone)]
pub struct Caller {
    egress: Egress,
    url: String,
    credential: Arc<Credential>,
    token: Arc<Mutex<Option<String>>>,
}

impl Caller {
    fn new(folder: &Path) -> Self {
        let operator = fs::read_to_string(plane_home(folder).join("operator.json")).unwrap();
        let config = EgressConfig { allow: vec!["127.0.0.1:*".to_owned()], ..EgressConfig::default() };
        Self {
            egress: Egress::new(&config).unwrap(),
            url: format!("http://{}", plane_address(folder)),
            credential: Arc::new(Credential::read(&operator).unwrap()),
            token: Arc::default(),
        }
    }

    /// A token, if there is an answer.
    async fn token(&self) -> Option<String> {
        let mut held = self.token.lock().await;
        if held.is_none() {
            let form = self.credential.token_form(&self.url, Clock::system().now()).unwrap();
            let request = self.egress.post(&format!("{}{TOKEN_PATH}", self.url)).unwrap();
            let request = request.header("content-type", "application/x-www-form-urlencoded").body(form);
            let answer: Value = Egress::send(request).await.ok()?.json().await.ok()?;
            *held = answer["access_token"].as_str().map(str::to_owned);
        }
        held.clone()
    }

    pub async fn get(&self, path: &str) -> Value {
        self.ask(Method::GET, path, None).await.unwrap_or_else(|refused| panic!("{path}: {refused}"))
    }

    pub async fn post(&self, path: &str, body: Value) -> Value {
        self.try_post(path, body).await.unwrap_or_else(|refused| panic!("{path}: {refused}"))
    }

    /// Or the problem.
    pub async fn try_post(&self, path: &str, body: Value) -> Result<Value, Value> {
        self.ask(Method::POST, path, Some(body)).await
    }

    /// Sends the same request until there is a final answer.
    async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> Result<Value, Value> {
        let key = format!("{:032x}", random::bits());
        loop {
            tokio::time::sleep(PAUSE).await;
            let Some(token) = self.token().await else { continue };
            let request = self.egress.request(method.clone(), &format!("{}{path}", self.url)).unwrap();
            let mut request = request.bearer_auth(token).header("idempotency-key", &key);
            if let Some(body) = &body {
                request = request.json(body);
            }
            if let Ok(answer) = Egress::send(request).await {
                let status = answer.status();
                // A process that was killed does not finish its answers.
                match answer.json::<Value>().await {
                    Ok(body) if status.is_success() => return Ok(body),
                    // It has ended.
                    Ok(_) if status == StatusCode::UNAUTHORIZED => *self.token.lock().await = None,
                    Ok(body) if body["retryable"] != true => return Err(body),
                    _ => {}
                }
            }
        }
    }
}
