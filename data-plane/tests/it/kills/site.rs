//! A cell as a process of its own on a PostgreSQL of its own, both of which can be killed.

use std::{
    fs::{self, File},
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use platform::{
    ctx::Clock,
    db::{
        DatabaseConfig, Role,
        cluster::{Cluster, Options},
    },
    egress::{Egress, EgressConfig},
    oauth::{Credential, http::TOKEN_PATH},
};
use reqwest::Response;
use serde_json::Value;
use tempfile::TempDir;
use tenants::id::ClientId;
use uuid::Uuid;

use crate::cell::environment;

/// The cell, its database and its files.
pub struct Site {
    cluster: Cluster,
    cell: Option<Child>,
    folder: TempDir,
    filter: &'static str,
    pub database: DatabaseConfig,
    pub url: String,
    pub token: String,
    pub egress: Egress,
}

impl Site {
    pub async fn start() -> Self {
        Self::with("", "error").await
    }

    /// With these further tables in its configuration, and this filter of what it logs.
    pub async fn with(more: &str, filter: &'static str) -> Self {
        let cluster = Cluster::start(Options { fsync: true, ..Options::default() }).unwrap();
        let database = cluster.create_database("cell").await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let at = |name: &str| folder.path().join(name).display().to_string();
        let file = folder.path().join("cell.toml");
        let credential = Credential::make(ClientId::from_uuid(Uuid::from_u128(7))).unwrap();
        let key = credential.public();
        let text = format!(
            "[[environments]]\nid = \"{}\"\nshard = 0\n[[environments.clients]]\nid = \"{}\"\nname = \"test\"\n\
             keys = [{{ kid = \"{}\", x = \"{}\", y = \"{}\" }}]\n[cell]\nname = \"mx-1\"\njurisdiction = \"mx-cnbv\"\n\
             listen = \"127.0.0.1:{port}\"\npublic_url = \"http://127.0.0.1:{port}\"\n[database]\nurl = \"{}\"\n[keys]\nroot_file = \"{}\"\n\
             [objects]\nfolder = \"{}\"\n{more}",
            environment(1),
            credential.id(),
            key.kid,
            key.x,
            key.y,
            cluster.url(Some(Role::App), "cell"),
            at("root.key"),
            at("objects"),
        );
        fs::write(&file, text).unwrap();
        let allow = vec!["127.0.0.1:*".to_owned()];
        let egress = Egress::new(&EgressConfig { allow, ..EgressConfig::default() }).unwrap();
        let url = format!("http://127.0.0.1:{port}");
        let mut site =
            Self { cluster, cell: None, folder, filter, database, url, token: String::new(), egress };
        site.restart();
        site.token = site.first_token(&credential).await;
        site
    }

    /// A token, as soon as there is one.
    async fn first_token(&self, credential: &Credential) -> String {
        loop {
            let form = credential.token_form(&self.url, Clock::system().now()).unwrap();
            let request = self.egress.post(&format!("{}{TOKEN_PATH}", self.url)).unwrap().body(form);
            let request = request.header("content-type", "application/x-www-form-urlencoded");
            if let Ok(answer) = Egress::send(request).await {
                assert_eq!(answer.status().as_u16(), 200);
                let answer: Value = answer.json().await.unwrap();
                return answer["access_token"].as_str().unwrap().to_owned();
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }

    /// What clients were told.
    pub fn log(&self) -> PathBuf {
        self.folder.path().join("answers.log")
    }

    pub fn kill_cell(&mut self) {
        let mut cell = self.cell.take().unwrap();
        // `Child::kill` is SIGKILL.
        cell.kill().unwrap();
        cell.wait().unwrap();
    }

    /// Ends it as operators do.
    pub fn stop_cell(&mut self) {
        let mut cell = self.cell.take().unwrap();
        // The shell's own, as a bare Debian has no other.
        let told = Command::new("/bin/sh").args(["-c", "kill -TERM $0", &cell.id().to_string()]).status();
        assert!(told.unwrap().success());
        assert!(cell.wait().unwrap().success());
    }

    /// What it has logged.
    pub fn said(&self) -> String {
        fs::read_to_string(self.folder.path().join("cell.log")).unwrap_or_default()
    }

    pub fn kill_postgres(&mut self) {
        self.cluster.kill9().unwrap();
    }

    /// Starts what does not run. Clients find out by themselves.
    pub fn restart(&mut self) {
        if self.cluster.pid().is_none() {
            self.cluster.restart().unwrap();
        }
        if self.cell.is_none() {
            let output =
                File::options().create(true).append(true).open(self.folder.path().join("cell.log")).unwrap();
            let mut command = Command::new(env!("CARGO_BIN_EXE_data-plane"));
            command.arg(self.folder.path().join("cell.toml")).env("TAMBO_TELEMETRY__FILTER", self.filter);
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(output);
            self.cell = Some(command.spawn().unwrap());
        }
    }

    /// What is answered to a request with the token, a `POST` of this JSON if there is one, while the cell runs.
    pub async fn ask(&self, path: &str, post: Option<&Value>) -> Response {
        let url = format!("{}{path}", self.url);
        let request = match post {
            Some(body) => self.egress.post(&url).unwrap().header("idempotency-key", "asked").json(body),
            None => self.egress.get(&url).unwrap(),
        };
        Egress::send(request.bearer_auth(&self.token)).await.unwrap()
    }

    /// The JSON that a request which cannot fail any more is answered.
    pub async fn get(&self, path: &str) -> Value {
        let answer = self.ask(path, None).await;
        assert_eq!(answer.status().as_u16(), 200, "{path}");
        answer.json().await.unwrap()
    }

    /// The id and amount of every transfer in the ledger, in order.
    pub async fn transfers(&self) -> Vec<(String, i64)> {
        let mut all = Vec::new();
        let mut from = String::new();
        loop {
            let page = self.get(&format!("/v1/transfers?limit=200{from}")).await;
            for row in page["data"].as_array().unwrap() {
                all.push((row["id"].as_str().unwrap().to_owned(), row["amount"]["amount"].as_i64().unwrap()));
            }
            match page["next_cursor"].as_str() {
                Some(cursor) => from = format!("&cursor={cursor}"),
                None => return all,
            }
        }
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if self.cell.is_some() {
            self.kill_cell();
        }
        if std::thread::panicking() {
            eprintln!("the cell said:\n{}", self.said());
        }
    }
}
