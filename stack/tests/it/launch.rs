//! Starting and stopping both planes, and what their user is told when they do not start.

use std::{fs, net::TcpListener, path::Path};

use platform::db::{DatabaseConfig, Db};
use platform::{
    ctx::Clock,
    egress::{Egress, EgressConfig},
    pki::Ca,
    random,
};
use sea_orm::ConnectionTrait;
use serde_json::{Value, json};
use tempfile::TempDir;
use tenants::id::{Id, TransferId};

use super::{
    cells::{
        Running, addresses, cell_addresses, connect, home, is_free, operate, plane_address, plane_home,
        refused, rows, tambo, tambo_with_files_up_to, used_folder, wait_for_end,
    },
    planes::until,
};

fn dev(folder: &Path) -> Running {
    Running::start(tambo().args(["dev", "--data"]).arg(folder))
}

#[test]
fn both_planes_end_when_they_are_asked_to() {
    let folder = TempDir::new().unwrap();
    for signal in ["INT", "TERM"] {
        let running = dev(folder.path());
        let addresses = addresses(folder.path());
        assert!(addresses.iter().all(|address| !is_free(address)));
        running.ask_to_stop(signal);
        assert_eq!(running.end(), 0);
        assert!(addresses.iter().all(is_free), "a cell was left behind");
    }
}

#[test]
fn both_planes_end_with_a_launcher_that_was_killed() {
    let folder = TempDir::new().unwrap();
    let running = dev(folder.path());
    let connections: Vec<_> = addresses(folder.path()).iter().map(connect).collect();
    running.ask_to_stop("KILL");
    assert_eq!(running.end(), -1);
    connections.into_iter().for_each(wait_for_end);
}

#[test]
fn a_credential_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let folder = TempDir::new().unwrap();
    let running = dev(folder.path());
    let operators = plane_home(folder.path()).join("operator.json");
    let joins = ["mx-1", "co-1", "br-1"].map(|cell| home(folder.path(), cell).join("join.token"));
    for token in joins.iter().chain([&operators]) {
        assert_eq!(fs::metadata(token).unwrap().permissions().mode() & 0o777, 0o600);
    }
    assert!(fs::read_to_string(&operators).unwrap().contains("PRIVATE KEY"));
    running.ask_to_stop("INT");
    assert_eq!(running.end(), 0);
}

#[test]
fn the_issuing_certificate_of_the_link_is_made_anew_with_a_root_from_elsewhere() {
    let folder = TempDir::new().unwrap();
    let [home, elsewhere] = ["home", "elsewhere"].map(|name| folder.path().join(name));
    assert!(tambo().args(["control-plane", "init"]).arg(&home).output().unwrap().status.success());
    let [root, issuing] = ["pki/root", "pki/issuing"].map(|name| home.join(name));
    fs::rename(&root, &elsewhere).unwrap();
    let before = fs::read(issuing.join("issuing.pem")).unwrap();
    let reissue = |root: &Path| {
        let mut command = tambo();
        command.args(["control-plane", "reissue"]).args([root, &issuing]);
        command
    };
    assert!(refused(&mut reissue(&root)).contains("root.key"));
    assert_eq!(fs::read(issuing.join("issuing.pem")).unwrap(), before);
    let said = reissue(&elsewhere).output().unwrap();
    assert!(said.status.success(), "{said:?}");
    assert_ne!(fs::read(issuing.join("issuing.pem")).unwrap(), before);
    let files = [elsewhere.join("root.pem"), issuing.join("issuing.pem"), issuing.join("issuing.key")];
    let ends = Ca::open(&files[0], &files[1], &files[2]).unwrap().ends().to_string();
    assert!(String::from_utf8(said.stderr).unwrap().contains(&ends));
}

#[test]
fn a_log_in_a_file_has_no_colours_and_no_notes_of_migrations() {
    let folder = used_folder();
    let log = fs::read_to_string(home(folder.path(), "mx-1").join("cell.log")).unwrap();
    assert!(log.contains("the cell serves"), "{log}");
    assert!(!log.contains('\u{1b}') && !log.contains("migration"), "{log}");
}

#[test]
fn a_taken_port_is_named() {
    let folder = used_folder();
    let addresses = addresses(folder.path());
    let _taken = TcpListener::bind(addresses[0]).unwrap();
    let said = refused(tambo().args(["dev", "--data"]).arg(folder.path()));
    assert!(said.contains(&format!("cannot listen on {}", addresses[0])), "{said}");
    assert!(addresses[1..].iter().all(is_free), "a cell was left behind");
}

#[test]
fn an_unknown_key_is_named() {
    let folder = used_folder();
    let file = home(folder.path(), "co-1").join("cell.toml");
    let text = fs::read_to_string(&file).unwrap().replace("[drain]", "[drain]\nlimit_s = 5");
    fs::write(&file, text).unwrap();
    let said = refused(tambo().args(["dev", "--data"]).arg(folder.path()));
    assert!(said.contains("unknown key `drain.limit_s`") && said.contains("cell.toml"), "{said}");
}

#[tokio::test]
async fn a_newer_database_is_named() {
    let folder = used_folder();
    let file = home(folder.path(), "br-1").join("cell.db");
    let db = Db::connect(&DatabaseConfig::new(format!("sqlite://{}", file.display()))).await.unwrap();
    let future = "INSERT INTO seaql_migrations (version, applied_at) VALUES ('m9999_future', 0)";
    db.app().execute_unprepared(future).await.unwrap();
    db.close().await.unwrap();
    let said = refused(tambo().args(["dev", "--data"]).arg(folder.path()));
    assert!(said.contains("newer than this program") && said.contains("m9999_future"), "{said}");
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let said = refused(tambo().args(["demo", "--json", "--data"]).arg(file.join("data")));
    assert!(said.contains("cannot write to") && said.contains("--data"), "{said}");
}

#[test]
fn a_disk_that_is_full_at_the_start_is_named() {
    let folder = TempDir::new().unwrap();
    let said = refused(tambo_with_files_up_to(64).args(["dev", "--data"]).arg(folder.path()));
    assert!(said.contains("cannot write to") && said.contains("make room"), "{said}");
}

/// What is at a URL, for who has this token.
async fn get(url: &str, token: Option<&str>) -> (u16, Value) {
    let allow = vec!["127.0.0.1:*".to_owned()];
    let egress = Egress::new(&EgressConfig { allow, ..EgressConfig::default() }).unwrap();
    let mut request = egress.get(url).unwrap();
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    let answer = Egress::send(request).await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

/// The names of the keys that tokens of a plane are verified with.
async fn published(origin: &str) -> Vec<String> {
    let (_, keys) = get(&format!("{origin}/v1/oauth/jwks"), None).await;
    let keys = keys["keys"].as_array().unwrap().iter();
    keys.map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
}

fn rotate(plane: &str, folder: &Path, words: &[&str]) {
    let config = format!("{plane}.toml");
    let rotated =
        tambo().current_dir(folder).args([plane, "rotate-keys", &config]).args(words).output().unwrap();
    assert!(rotated.status.success(), "{rotated:?}");
}

#[tokio::test]
async fn keys_that_tokens_are_signed_with_are_replaced_while_both_planes_serve() {
    let folder = TempDir::new().unwrap();
    let running = dev(folder.path());
    let plane = plane_home(folder.path());
    let origin = format!("http://{}", plane_address(folder.path()));
    let operator = plane.join("operator.json");
    let token = tambo().args(["token", "--url", &origin, "--client-file"]).arg(operator).output().unwrap();
    let token = String::from_utf8(token.stdout).unwrap().trim().to_owned();
    let regions = format!("{origin}/v1/regions");
    assert_eq!(get(&regions, Some(&token)).await.0, 200);

    let first = published(&origin).await;
    rotate("control-plane", &plane, &[]);
    until("another key is announced", async || published(&origin).await.len() == 2).await;
    let both = published(&origin).await;
    assert!(both.contains(&first[0]) && get(&regions, Some(&token)).await.0 == 200);
    rotate("control-plane", &plane, &["--retire-old"]);
    until("the old keys are gone", async || published(&origin).await.iter().all(|key| !both.contains(key)))
        .await;
    assert_eq!(published(&origin).await.len(), 1);
    let (status, refused) = get(&regions, Some(&token)).await;
    assert_eq!(status, 401, "{refused}");
    assert_eq!(cells(folder.path()).len(), 3, "with a token of now");

    let origin = format!("http://{}", cell_addresses(folder.path())[0]);
    let first = published(&origin).await;
    rotate("cell", &home(folder.path(), "mx-1"), &["--retire-old"]);
    until("the cell's key is another", async || published(&origin).await != first).await;
    assert_eq!(published(&origin).await.len(), 1);
    running.ask_to_stop("INT");
    assert_eq!(running.end(), 0);
}

/// The control plane's view of the cells: their ids, and when each was heard of last.
fn cells(folder: &Path) -> Vec<(String, String)> {
    let cells = operate(folder, &["cells", "list"]);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    cells.as_array().unwrap().iter().map(|cell| (text(&cell["id"]), text(&cell["seen_at"]))).collect()
}

#[tokio::test]
async fn a_cell_that_was_killed_comes_back_as_the_same_one_and_a_second_start_makes_nothing_twice() {
    let folder = TempDir::new().unwrap();
    let database = plane_home(folder.path()).join("control-plane.db");
    let mut running = dev(folder.path());
    let (before, made) = (cells(folder.path()), rows(&database).await);
    for (table, count) in [("region", "3"), ("cell", "3"), ("join_token", "3"), ("link_certificate", "3")] {
        assert_eq!(made[table], count, "{table}");
    }
    let at = before.iter().position(|(id, _)| *id == cell_of(folder.path(), "mx-1")).unwrap();
    running.kill(&home(folder.path(), "mx-1"));
    let said = running.hear("started again");
    assert!(said.contains("the cell mx-1 has ended (signal: 9"), "{said}");
    until("the cell is heard of again", async || cells(folder.path())[at].1 > before[at].1).await;
    running.ask_to_stop("INT");
    assert_eq!(running.end(), 0);

    let running = dev(folder.path());
    let ids = |cells: &[(String, String)]| cells.iter().map(|cell| cell.0.clone()).collect::<Vec<_>>();
    assert_eq!(ids(&cells(folder.path())), ids(&before));
    assert_eq!(rows(&database).await, made);
    running.ask_to_stop("INT");
    assert_eq!(running.end(), 0);
}

/// The id that the control plane knows a cell by.
fn cell_of(folder: &Path, name: &str) -> String {
    let cells = operate(folder, &["cells", "list", "--name", name]);
    cells[0]["id"].as_str().unwrap().to_owned()
}

/// Somebody who works in a cell, with a token of the client that was made for people.
struct Teller {
    egress: Egress,
    url: String,
    token: String,
}

impl Teller {
    /// One with a token that the cell issues now.
    fn at(folder: &Path, cell: &str) -> Self {
        let config: toml::Table =
            fs::read_to_string(home(folder, cell).join("cell.toml")).unwrap().parse().unwrap();
        let url = format!("http://{}", config["cell"]["listen"].as_str().unwrap());
        let allow = vec!["127.0.0.1:*".to_owned()];
        let egress = Egress::new(&EgressConfig { allow, ..EgressConfig::default() }).unwrap();
        let client =
            fs::read_dir(home(folder, cell).join("clients")).unwrap().next().unwrap().unwrap().path();
        let token = tambo().args(["token", "--url", &url, "--client-file"]).arg(client).output().unwrap();
        assert!(token.status.success(), "{}", String::from_utf8_lossy(&token.stderr));
        let token = String::from_utf8(token.stdout).unwrap().trim().to_owned();
        Self { egress, url, token }
    }

    async fn ask(&self, path: &str, body: Option<&Value>) -> (u16, Value) {
        let url = format!("{}{path}", self.url);
        let request = match body {
            Some(body) => self.egress.post(&url).unwrap().json(body),
            None => self.egress.get(&url).unwrap(),
        };
        let key = format!("{:032x}", random::bits());
        let request = request.bearer_auth(&self.token).header("idempotency-key", key);
        let answer = Egress::send(request).await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    async fn read(&self, path: &str) -> Value {
        let (status, shown) = self.ask(path, None).await;
        assert_eq!(status, 200, "{path}: {shown}");
        shown
    }

    /// Posts these at once.
    async fn pay(&self, payments: &[(&str, &Value, &Value, i64)]) {
        let pay = async |&(kind, debit, credit, amount): &(&str, &Value, &Value, i64)| {
            let payment = json!({
                "id": TransferId::from_parts(Clock::system().now(), random::bits()),
                "type": kind,
                "debit_account_id": debit["id"],
                "credit_account_id": credit["id"],
                "amount": {"amount": amount, "currency": debit["currency"]},
            });
            let (status, answer) = self.ask("/v1/transfers", Some(&payment)).await;
            assert_eq!(status, 201, "{payment}: {answer}");
        };
        futures::future::join_all(payments.iter().map(pay)).await;
    }
}

/// How many are paid on this payday.
const PAID: usize = 20;

/// A payday of a cell: everybody gets a salary, and pays another back. Each half has a token of its own.
async fn payday(folder: &Path, cell: &str) {
    let teller = Teller::at(folder, cell);
    let accounts = teller.read("/v1/accounts?limit=50").await["data"].clone();
    let (own, customers): (Vec<&Value>, Vec<&Value>) =
        accounts.as_array().unwrap().iter().partition(|one| one["external_id"] == "settlement");
    let customers = &customers[..PAID];
    let before = teller.read("/v1/transfers?limit=200").await["data"].as_array().unwrap().len();
    let posted = async |account: &Value| {
        let path = format!("/v1/accounts/{}/balance", account["id"].as_str().unwrap());
        teller.read(&path).await["posted"]["amount"].as_i64().unwrap()
    };
    let mut had = Vec::new();
    for customer in customers {
        had.push(posted(customer).await);
    }
    let salaries: Vec<_> =
        customers.iter().enumerate().map(|(at, to)| ("deposit", own[0], *to, 1_000 + at as i64)).collect();
    teller.pay(&salaries).await;
    let back: Vec<_> =
        (0..PAID).map(|at| ("transfer", customers[at], customers[(at + 1) % PAID], 500)).collect();
    Teller::at(folder, cell).pay(&back).await;

    let after = teller.read("/v1/transfers?limit=200").await["data"].as_array().unwrap().len();
    assert_eq!(after, before + 2 * PAID, "{cell}");
    for (at, customer) in customers.iter().enumerate() {
        assert_eq!(posted(customer).await, had[at] + 1_000 + at as i64, "{cell}: {customer}");
    }
    let trial = teller.read("/v1/trial-balance").await;
    assert_eq!(trial["balanced"], true, "{cell}: {trial}");
}

#[tokio::test]
async fn cells_have_a_payday_without_the_control_plane_which_comes_back_and_converges() {
    let folder = TempDir::new().unwrap();
    let mut demo = tambo();
    demo.args(["demo", "--json", "--customers", "50", "--transfers", "1", "--data"]).arg(folder.path());
    assert!(demo.output().unwrap().status.success());
    let mut running = dev(folder.path());
    let seen = cells(folder.path());

    // Without its configuration it cannot come back yet.
    let file = plane_home(folder.path()).join("control-plane.toml");
    let (url, aside) = (plane_address(folder.path()), file.with_extension("aside"));
    fs::rename(&file, &aside).unwrap();
    running.kill(&plane_home(folder.path()));
    let said = running.hear("started again");
    assert!(said.contains("the control plane has ended (signal: 9"), "{said}");
    assert!(is_free(&url));
    for cell in ["mx-1", "co-1", "br-1"] {
        payday(folder.path(), cell).await;
    }
    assert!(is_free(&url), "all that was without a control plane");
    fs::rename(&aside, &file).unwrap();
    until("the control plane is back", async || !is_free(&url)).await;
    until("it has heard of every cell", async || {
        cells(folder.path()).iter().zip(&seen).all(|(now, before)| now.1 > before.1)
    })
    .await;
    let listed = operate(folder.path(), &["cells", "list"]);
    assert!(listed.as_array().unwrap().iter().all(|cell| cell["stale"] == false), "{listed}");

    // What is wanted now comes to be.
    let region = |one: &&Value| one["region"] == "mx-central-1";
    let environments = operate(folder.path(), &["environments", "list"]);
    let id = environments.as_array().unwrap().iter().find(region).unwrap()["id"].as_str().unwrap();
    let operation = operate(folder.path(), &["environments", "suspend", id, "--follow"]);
    assert_eq!(operation["state"], "succeeded", "{operation}");
    let (status, refused) = Teller::at(folder.path(), "mx-1").ask("/v1/environment", None).await;
    assert_eq!((status, &refused["code"]), (403, &json!("environment_suspended")), "{refused}");
    running.ask_to_stop("INT");
    assert_eq!(running.end(), 0);
}
