//! What a cell needs before it may be for real.

use data_plane::config::CellConfig;
use platform::config;
use sea_orm::ConnectionTrait;
use tenants::profile::profile;

use crate::cell::Cell;

const CELL: &str = "[cell]\nname = \"mx-1\"\njurisdiction = \"mx-cnbv\"\nmode = \"live\"\n";

fn refused(text: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("cell.toml");
    let keys = "\n[keys]\nroot_file = \"root.key\"\n[objects]\nfolder = \"objects\"\n";
    std::fs::write(&file, format!("{text}{keys}")).unwrap();
    config::load::<CellConfig>(Some(&file), []).map_or_else(|error| error.to_string(), |_| String::new())
}

#[test]
fn a_live_cell_says_everything_that_it_lacks() {
    let client = "[[environments]]\nid = \"env_00000000000000000000000001\"\nshard = 0\n[[environments.clients]]\n\
                  id = \"cli_00000000000000000000000001\"\nname = \"a\"\n";
    let tls = "[tls]\ncertificate_file = \"a\"\nkey_file = \"b\"\n";
    let mx = profile(&"mx-cnbv".parse().unwrap()).unwrap();
    let reviewed = |version: &str, by: &str| {
        format!("[profile_review]\nversion = \"{version}\"\nby = \"{by}\"\non = \"2026-11-20\"\n")
    };
    let read = |client: &str, database: &str, url: &str, tls: &str, review: &str| {
        refused(&format!(
            "{client}{CELL}public_url = \"{url}\"\n[database]\nurl = \"{database}\"\n{tls}{review}"
        ))
    };
    let there = |client: &str, database: &str, url: &str, tls: &str| {
        read(client, database, url, tls, &reviewed(&mx.version, "Ruiz y Asociados"))
    };
    let (postgres, https) = ("postgres://tambo_app@h/d", "https://cell.example");
    assert_eq!(there("", postgres, https, tls), "", "it has what it needs");
    for (case, text, named) in [
        ("a database", there("", "sqlite://cell.db", https, tls), &["`database.url`", "PostgreSQL"][..]),
        ("a listener", there("", postgres, https, ""), &["`tls`", "certificate_file"]),
        ("a name", there("", postgres, "http://cell.example", tls), &["`cell.public_url`", "https"]),
        (
            "everything",
            read("", "sqlite://cell.db", "http://cell.example", "", ""),
            &["`database.url`", "`tls`", "`cell.public_url`", "`profile_review`"],
        ),
        ("a review", read("", postgres, https, tls, ""), &["`profile_review`", "calendar.2027", &mx.version]),
        (
            "a review of this version",
            read("", postgres, https, tls, &reviewed("1999.01", "Ruiz y Asociados")),
            &["`profile_review.version`", "calendar.2027", &mx.version],
        ),
        (
            "a review by somebody",
            read("", postgres, https, tls, &reviewed(&mx.version, " ")),
            &["`profile_review.by`"],
        ),
        (
            "a secret",
            there(&format!("{client}secret_sha256 = \"x\"\nbinding = \"dpop\"\n"), postgres, https, tls),
            &["`environments.0.clients.0.secret_sha256`", "only sandboxes"],
        ),
        (
            "an unbound client",
            there(&format!("{client}thumbprints = [\"x\"]\n"), postgres, https, tls),
            &["`environments.0.clients.0.binding`", "in live mode tokens are bound"],
        ),
        (
            "bound to nothing",
            there(
                &format!(
                    "{client}keys = [{{ kid = \"a\", x = \"a\", y = \"a\" }}]\nbinding = \"certificate\"\n"
                ),
                postgres,
                https,
                tls,
            ),
            &["`environments.0.clients.0.thumbprints`"],
        ),
    ] {
        for named in named {
            assert!(text.contains(named), "{case}: {named}: {text}");
        }
    }
}

#[test]
fn only_live_cells_whose_profile_is_unsure_ask_for_a_review() {
    let unread = |id: &str, mode: &str| {
        let live = "public_url = \"https://cell.example\"\n[database]\nurl = \"postgres://tambo_app@h/d\"\n\
                    [tls]\ncertificate_file = \"a\"\nkey_file = \"b\"\n";
        refused(&format!("[cell]\nname = \"a-1\"\njurisdiction = \"{id}\"\nmode = \"{mode}\"\n{live}"))
    };
    for profile in tenants::profile::all() {
        let (id, unsure) = (&profile.jurisdiction.id, profile.needs_legal_review());
        assert_eq!(unread(id.as_str(), "sandbox"), "", "{id}");
        let said = unread(id.as_str(), "live");
        assert_eq!(said.contains("`profile_review`"), !unsure.is_empty(), "{id}: {said}");
        assert!(unsure.iter().all(|value| said.contains(value)), "{id}: {said}");
    }
}

#[tokio::test]
async fn a_cell_never_changes_its_mode() {
    for cell in Cell::both().await {
        let root = cell.root().await;
        root.execute_unprepared("UPDATE environment SET mode = 'live'").await.unwrap();
        let refused = cell.restart().await.err().unwrap().to_string();
        assert!(refused.contains("set `cell.mode` back"), "{refused}");
    }
}
