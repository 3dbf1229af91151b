//! Starting and stopping cells, and what their user is told when they do not start.

use std::{fs, net::TcpListener};

use platform::db::{DatabaseConfig, Db};
use sea_orm::ConnectionTrait;
use tempfile::TempDir;

use super::cells::{
    Running, addresses, connect, home, is_free, refused, tambo, tambo_with_files_up_to, used_folder,
    wait_for_end,
};

#[test]
fn cells_end_when_they_are_asked_to() {
    let folder = TempDir::new().unwrap();
    for signal in ["INT", "TERM"] {
        let running = Running::start(tambo().args(["dev", "--data"]).arg(folder.path()));
        let addresses = addresses(folder.path());
        assert!(addresses.iter().all(|address| !is_free(address)));
        running.ask_to_stop(signal);
        assert_eq!(running.end(), 0);
        assert!(addresses.iter().all(is_free), "a cell was left behind");
    }
}

#[test]
fn cells_end_with_a_launcher_that_was_killed() {
    let folder = TempDir::new().unwrap();
    let running = Running::start(tambo().args(["dev", "--data"]).arg(folder.path()));
    let connections: Vec<_> = addresses(folder.path()).iter().map(connect).collect();
    running.ask_to_stop("KILL");
    assert_eq!(running.end(), -1);
    connections.into_iter().for_each(wait_for_end);
}

#[test]
fn a_token_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let folder = TempDir::new().unwrap();
    let running = Running::start(tambo().args(["dev", "--data"]).arg(folder.path()));
    for cell in ["mx-1", "co-1", "br-1"] {
        let token = home(folder.path(), cell).join("token");
        assert_eq!(fs::metadata(&token).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_to_string(&token).unwrap().split('.').count(), 3);
    }
    running.ask_to_stop("INT");
    assert_eq!(running.end(), 0);
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
