//! Both planes in live mode, as processes on a PostgreSQL that keeps what it has confirmed, over TLS.

use std::{
    fs::{self, File},
    io::Write,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use platform::{
    ctx::Clock,
    db::{
        Role,
        cluster::{Cluster, Options},
    },
    oauth::Credential,
    pki,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tenants::{id::ClientId, profile::profile};
use uuid::Uuid;

use crate::{cells::tambo, planes::until};

/// A plane of its own, with what the program beside this file has made: keys, certificates, clients.
struct Site {
    _cluster: Cluster,
    folder: TempDir,
    served: Option<Child>,
    url: String,
    listen: String,
    database: String,
    /// The environments of a cell.
    environments: String,
}

impl Site {
    async fn new() -> Self {
        let cluster = Cluster::start(Options { fsync: true, ..Options::default() }).unwrap();
        cluster.create_database("plane").await.unwrap();
        let database = cluster.url(Some(Role::App), "plane");
        let folder = tempfile::tempdir().unwrap();
        let listen = free();
        let url = format!("https://{listen}");
        let environments = python(folder.path(), &["prepare"], None);
        Self { _cluster: cluster, folder, served: None, url, listen, database, environments }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Serves with this configuration, which gets a database, keys and a certificate.
    fn serve(&mut self, plane: &str, config: &str) {
        let at = |name: &str| self.at(name).display().to_string();
        let text = format!(
            "{config}[database]\nurl = \"{}\"\n[keys]\nroot_file = \"{}\"\n[tls]\ncertificate_file = \"{}\"\nkey_file = \"{}\"\n",
            self.database,
            at("wrapping.key"),
            at("server.pem"),
            at("server.key"),
        );
        fs::write(self.at("plane.toml"), text).unwrap();
        let log = File::create(self.at("log")).unwrap();
        let mut command = tambo();
        command.args([plane, "serve"]).arg(self.at("plane.toml"));
        self.served = Some(command.stdout(Stdio::null()).stderr(log).spawn().unwrap());
        let wait = ["--silent", "--retry", "60", "--retry-delay", "1", "--retry-connrefused", "--cacert"];
        let mut curl = Command::new("curl");
        let ready = curl.args(wait).arg(self.at("root.pem")).arg(format!("{}/readyz", self.url)).output();
        assert!(ready.unwrap().status.success());
    }

    /// Serves as a control plane of these operators.
    fn serve_control_plane(&mut self, operators: &str) {
        pki::init(self.folder.path(), Clock::system().now()).unwrap();
        let (at, link) = (|name: &str| self.at(name).display().to_string(), free());
        let config = format!(
            "{operators}[control_plane]\nmode = \"live\"\nlisten = \"{}\"\npublic_url = \"{}\"\n\
             link_listen = \"{link}\"\nlink_url = \"https://{link}\"\n[pki]\nroot_certificate_file = \"{}\"\n\
             issuing_certificate_file = \"{}\"\nissuing_key_file = \"{}\"\n",
            self.listen,
            self.url,
            at("root/root.pem"),
            at("issuing/issuing.pem"),
            at("issuing/issuing.key"),
        );
        self.serve("control-plane", &config);
    }

    /// Serves as a cell, which gets its environments from this configuration.
    fn serve_cell(&mut self, environments: &str) {
        let profile = profile(&"mx-cnbv".parse().unwrap()).unwrap();
        let config = format!(
            "{environments}[cell]\nname = \"mx-1\"\njurisdiction = \"mx-cnbv\"\nmode = \"live\"\nlisten = \"{}\"\n\
             public_url = \"{}\"\n[objects]\nfolder = \"{}\"\n[profile_review]\nversion = \"{}\"\nby = \"a test\"\n\
             on = \"2026-11-20\"\n",
            self.listen,
            self.url,
            self.at("objects").display(),
            profile.version,
        );
        self.serve("cell", &config);
    }

    /// Runs the program as the client whose file this is: what it printed, or what it said.
    async fn run(&self, client: &str, line: &str) -> Result<String, String> {
        let mut command = tambo();
        command.args(line.split_whitespace()).env_clear().env("TAMBO_URL", &self.url);
        command.env("TAMBO_CA_FILE", self.at("root.pem")).env("TAMBO_CLIENT_FILE", self.at(client));
        let done = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        let [out, err] = [done.stdout, done.stderr].map(|text| String::from_utf8(text).unwrap());
        if done.status.success() { Ok(out) } else { Err(err) }
    }

    async fn json(&self, client: &str, line: &str) -> Value {
        serde_json::from_str(&self.run(client, &format!("{line} --json")).await.unwrap()).unwrap()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if let Some(served) = &mut self.served {
            served.kill().unwrap();
            served.wait().unwrap();
        }
        if std::thread::panicking() {
            eprintln!("it said:\n{}", fs::read_to_string(self.at("log")).unwrap_or_default());
        }
    }
}

fn free() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

/// The program beside this file.
fn python(folder: &Path, words: &[&str], url: Option<&str>) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/live.py");
    let mut command = Command::new("python3");
    let Output { status, stdout, stderr } =
        command.arg(script).args(words).arg(folder).args(url).output().unwrap();
    let [out, err] = [stdout, stderr].map(|text| String::from_utf8(text).unwrap());
    assert!(status.success(), "{out}{err}");
    out
}

#[tokio::test]
async fn a_live_cell_takes_bound_tokens_alone_from_clients_of_any_make() {
    let mut site = Site::new().await;
    let environments = site.environments.clone();
    site.serve_cell(&environments);
    let said = python(site.folder.path(), &["check"], Some(&site.url));
    assert!(said.lines().count() >= 28, "{said}");
}

/// An operator of the control plane, whose credential is in a file.
fn operator(site: &Site, file: &str, number: u128, by: impl FnOnce(Credential) -> Credential) -> String {
    let made = by(Credential::make(ClientId::from_uuid(Uuid::from_u128(number))).unwrap());
    fs::write(site.at(file), made.written()).unwrap();
    let (key, binding) = (made.public(), serde_json::to_string(&made.binding()).unwrap());
    let held: Vec<String> = made.thumbprint().into_iter().collect();
    format!(
        "[[operators]]\nid = \"{}\"\nname = \"{file}\"\nkeys = [{{ kid = \"{}\", x = \"{}\", y = \"{}\" }}]\n\
         thumbprints = {held:?}\nbinding = {binding}\n",
        made.id(),
        key.kid,
        key.x,
        key.y,
    )
}

/// The request of these headers, sent by somebody else's program: the status of the answer, after the body if that goes to
/// standard output.
fn curl(site: &Site, headers: &str, url: &str, more: &[&str]) -> String {
    let mut command = Command::new("curl");
    command.args(["--silent", "--write-out", "%{http_code}", "--header", "@-"]).args(more);
    command.arg("--cacert").arg(site.at("root.pem")).arg(url).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(headers.as_bytes()).unwrap();
    String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_control_plane_is_driven_by_who_has_a_key_or_a_certificate() {
    let mut site = Site::new().await;
    let by_key = operator(&site, "key.json", 1, Credential::with_dpop);
    let certified = |made: Credential| made.with_certificate(Clock::system().now()).unwrap();
    let by_certificate = operator(&site, "certificate.json", 2, certified);
    site.serve_control_plane(&format!("{by_key}{by_certificate}"));
    site.json("key.json", "regions put mx-1 --country MX --name Querétaro").await;
    let regions = site.json("certificate.json", "regions list").await;
    assert_eq!(regions[0]["code"], "mx-1", "{regions}");
    let made = "organizations create --name Tianguis --country MX --external-id tianguis";
    let organization = site.json("certificate.json", made).await["id"].as_str().unwrap().to_owned();

    // Its own client: nothing, a key, a certificate.
    let create = |file: &str, binding: &str| {
        let file = site.at(file).display().to_string();
        format!(
            "clients create --organization {organization} --name x --scope clients:read --scope clients:write \
             --binding {binding} --file {file}"
        )
    };
    let refused = site.run("key.json", &create("none.json", "none")).await.unwrap_err();
    assert!(refused.contains("client_unbound") && !site.at("none.json").exists(), "{refused}");
    for binding in ["dpop", "certificate"] {
        let (file, next) = (&format!("own-{binding}.json"), &format!("own-{binding}-2.json"));
        let made = site.json("key.json", &create(file, binding)).await;
        assert_eq!(made["binding"], binding);
        assert_eq!(site.json(file, "clients list").await[0]["organization_id"], organization.as_str());
        let id = made["id"].as_str().unwrap();
        let (place, way) = (site.at(next).display().to_string(), format!("clients get {id}"));
        site.json(file, &format!("clients rotate {id} --file {place} --revoke-tokens")).await;
        assert!(site.run(file, &way).await.unwrap_err().contains("invalid_client"), "{binding}: the old key");
        assert_eq!(site.json(next, &way).await["version"], 2, "{binding}: the new one");
        let update = format!("clients update {id} --name core --scope clients:read");
        let plan = site.json("key.json", &format!("{update} --dry-run")).await;
        assert!(plan["changes"].as_array().is_some_and(|all| !all.is_empty()), "{plan}");
        let changed = site.json("key.json", &update).await;
        assert_eq!((&changed["name"], &changed["version"]), (&"core".into(), &3.into()), "{changed}");
        let more = site.run(next, &format!("clients update {id} --name other")).await.unwrap_err();
        assert!(more.contains("insufficient_scope"), "{more}");
        // Who takes the key alone, without what its tokens are bound to, gets nothing.
        let mut stolen: Value = serde_json::from_str(&fs::read_to_string(site.at(next)).unwrap()).unwrap();
        let fields = stolen.as_object_mut().unwrap();
        fields.retain(|name, _| name == "client_id" || name == "private_key");
        fs::write(site.at("stolen.json"), stolen.to_string()).unwrap();
        let refused = site.run("stolen.json", &way).await.unwrap_err();
        assert!(refused.contains("bound to a"), "{refused}");
        site.json("key.json", &format!("clients revoke {id}")).await;
        assert!(site.run(next, &way).await.unwrap_err().contains("invalid_client"), "{binding}: revoked");
    }

    // What `curl` needs for one request.
    let url = format!("{}/v1/regions?limit=1", site.url);
    for (file, scheme) in [("key.json", "DPoP"), ("certificate.json", "Bearer")] {
        let headers = site.run(file, &format!("token --headers-for GET {url}")).await.unwrap();
        assert!(headers.starts_with(&format!("Authorization: {scheme} ")), "{headers}");
        // A certificate is shown by the connection.
        let expected = if scheme == "DPoP" { "200" } else { "401" };
        let status = || curl(&site, &headers, &url, &["--output", "/dev/null"]);
        assert_eq!(status(), expected, "{file}");
        assert_eq!(status(), "401", "{file}: again");
    }
    let headers =
        site.run("certificate.json", &format!("token --dpop --headers-for GET {url}")).await.unwrap();
    assert!(headers.contains("DPoP: ey"), "{headers}");
    let mut stranger = tambo();
    stranger.args(["regions", "list"]).env_clear().env("TAMBO_URL", &site.url);
    let stranger = stranger.env("TAMBO_CLIENT_FILE", site.at("key.json")).output().unwrap();
    assert!(!stranger.status.success(), "its certificate leads to no root that everybody trusts");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_comes_to_a_live_environment_over_both_planes() {
    let (mut plane, mut cell) = (Site::new().await, Site::new().await);
    let operators = operator(&plane, "key.json", 1, Credential::with_dpop);
    plane.serve_control_plane(&operators);
    let ask = async |line: String| plane.json("key.json", &line).await;
    let id = |answer: &Value| answer["id"].as_str().unwrap().to_owned();

    ask("regions put mx-1 --country MX --name Querétaro".to_owned()).await;
    let declare = "--name mx-1 --jurisdiction mx-cnbv --region mx-1 --mode live --capacity 5";
    let declared = id(&ask(format!("cells create {declare}")).await);
    let token = ask(format!("cells join-token {declared}")).await;
    fs::write(cell.at("join.token"), token["token"].as_str().unwrap()).unwrap();
    let file = cell.at("join.token").display().to_string();
    cell.serve_cell(&format!(
        "[link]\njoin_token_file = \"{file}\"\nregion = \"mx-1\"\n[egress]\nallow = [\"127.0.0.1:*\"]\n"
    ));

    let made = "organizations create --name Tianguis --country MX --external-id tianguis";
    let organization = id(&ask(made.to_owned()).await);
    let draft =
        format!("--organization {organization} --name Tianguis --jurisdiction mx-cnbv --licence IFPE");
    let tenant = id(&ask(format!("tenants create {draft}")).await);
    for verb in ["verify", "approve"] {
        ask(format!("tenants {verb} {tenant} --reason papers_seen")).await;
    }
    let declare = format!("environments create --tenant {tenant} --mode live --region mx-1");
    let moved = plane.run("key.json", &format!("{declare} --clock-offset-ms 1")).await.unwrap_err();
    assert!(moved.contains("clock_live"), "{moved}");
    let done = ask(format!("{declare} --follow")).await;
    assert_eq!(done["state"], "succeeded", "{done}");
    let environment = done["subject_id"].as_str().unwrap();
    assert_eq!(ask(format!("environments get {environment}")).await["cell_url"], cell.url.as_str());
    assert_eq!(ask(format!("tenants get {tenant}")).await["state"], "active");

    let client = |name: &str, binding: &str| {
        format!(
            "clients create --environment {environment} --name core --scope internal-accounts:write \
             --scope transfers:write --binding {binding} --file {}",
            cell.at(name).display()
        )
    };
    let unbound = plane.run("key.json", &client("none.json", "none")).await.unwrap_err();
    assert!(unbound.contains("client_unbound"), "{unbound}");
    ask(client("core.json", "dpop")).await;
    until("the cell knows the client", async || cell.run("core.json", "token").await.is_ok()).await;

    let post = async |path: &str, key: &str, body: Value| {
        let url = format!("{}{path}", cell.url);
        let headers = cell.run("core.json", &format!("token --headers-for POST {url}")).await.unwrap();
        let headers = format!("{headers}Content-Type: application/json\nIdempotency-Key: {key}\n");
        let said = curl(&cell, &headers, &url, &["--data", &body.to_string()]);
        let answer = said.strip_suffix("201").unwrap_or_else(|| panic!("{path}: {said}"));
        serde_json::from_str::<Value>(answer).unwrap()
    };
    let open = async |name: &str, class: &str| {
        let new = json!({"name": name, "class": class, "external_id": name});
        id(&post("/v1/internal-accounts", name, new).await)
    };
    let (debit, credit) = (open("till", "asset").await, open("fees", "income").await);
    let transfer = json!({
        "type": "transfer", "debit_account_id": debit, "credit_account_id": credit,
        "amount": {"amount": 4_711, "currency": "MXN"},
    });
    let posted = post("/v1/transfers", "first", transfer).await;
    assert_eq!(posted["amount"]["amount"], 4_711, "{posted}");
    // The operator of the control plane is nobody here.
    let stranger = plane.at("key.json").display().to_string();
    assert!(cell.run(&stranger, "token").await.unwrap_err().contains("invalid_client"));
}
