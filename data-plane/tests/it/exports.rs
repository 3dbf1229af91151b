//! What a tenant takes with it: whole, signed, the same after every death, and nobody else's. That it is so is looked at by
//! a script that shares no code with us.

use std::{collections::BTreeSet, fs, path::Path, process::Command};

use chrono::{TimeZone, Utc};
use data_plane::{
    app::App,
    environments::{self, Converger, HandoverError},
};
use ledger::movements::PlainTransfer;
use platform::{
    ctx::{Actor, Clock, Ctx, EnvironmentClock},
    testing::objects::Trouble,
};
use serde_json::{Value, json};
use tenants::{
    contract::{EnvironmentIntent, EnvironmentObserved},
    environment::{Desired, Mode, Status},
};

use crate::{
    accounts::{because, freeze, fresh, id, path, pesos},
    cell::{Cell, environment, scope},
    convergence::{holds, intent, phased},
    removal::SETTLED,
};

/// What the environment has.
struct World {
    customer: Value,
    cash: Value,
}

impl Cell {
    /// Makes a ready environment of a tenant, and acts in it from then on.
    async fn of_tenant(&mut self, number: u128) {
        self.converges(&intent(number), 1).await;
        self.token = self.token_of(number).await;
    }

    /// One of everything that an export has.
    async fn lived_in(&self) -> World {
        let (customer, other) = (self.customer().await, self.customer().await);
        let cash = self.internal("asset").await;
        let order = |kind: &str, debit: &Value, credit: &Value, amount: i64| {
            json!({
                "type": kind, "debit_account_id": debit["id"], "credit_account_id": credit["id"],
                "amount": pesos(amount), "reference": "Año nuevo \"2026\"",
            })
        };
        for number in 1..=5 {
            self.act("/v1/transfers", &order("deposit", &cash, &customer, 100 * number)).await.ok(201);
        }
        let transfer = self.act("/v1/transfers", &order("transfer", &customer, &other, 30)).await.ok(201);
        let reversal = format!("/v1/transfers/{}/reversals", transfer["id"].as_str().unwrap());
        self.act(&reversal, &json!({})).await.ok(201);
        let mut hold = order("", &customer, &other, 50);
        hold.as_object_mut().unwrap().remove("type");
        let captured = self.act("/v1/holds", &hold).await.ok(201);
        let capture = format!("/v1/holds/{}/captures", captured["id"].as_str().unwrap());
        self.act(&capture, &json!({"amount": pesos(20)})).await.ok(201);
        self.act("/v1/holds", &hold).await.ok(201);
        let mut shown = hold.clone();
        shown["amount"] = json!({"amount": 40, "currency": "MXN"});
        let preview = self.act("/v1/payment-previews", &shown).await.ok(201);
        self.act("/v1/payments", &json!({"preview_id": preview["id"]})).await.ok(202);
        self.works().await;
        self.act(&path(&other, "/freezes"), &freeze("compliance")).await.ok(200);
        self.act(&path(&other, "/unfreezes"), &because("compliance")).await.ok(200);
        World { customer, cash }
    }

    /// Moves money past the interface, as something of the cell's own may.
    async fn moves(&self, number: u128, world: &World) {
        let ctx = Ctx {
            scope: scope(number),
            mode: Mode::Sandbox,
            actor: Actor::System("test"),
            request_id: "test".into(),
            clock: EnvironmentClock::new(self.app.clock.clone(), chrono::TimeDelta::zero()),
        };
        let (debit, credit) = (id(&world.cash), id(&world.customer));
        let transfer = PlainTransfer { id: fresh(), debit, credit, money: pesos(1) };
        assert!(self.app.ledger.post_one(&ctx, transfer).await.unwrap().posted().is_some());
    }

    async fn leaves(&self, number: u128) -> EnvironmentObserved {
        let later = self.ends_as(&kept(number), number).await;
        self.at(later, number).await
    }

    /// Takes up what was left lying.
    async fn goes_on(&self, number: u128) -> EnvironmentObserved {
        self.at(self.app.clock.now() + SETTLED, number).await
    }

    /// The exports that were begun.
    fn begun(&self, number: u128) -> BTreeSet<String> {
        let prefix = format!("{}/export/", environment(number));
        let keys = self.store.keys();
        let names = keys.iter().filter_map(|key| key.strip_prefix(&prefix)?.split('/').next());
        names.map(str::to_owned).collect()
    }

    /// Downloads an export.
    fn download(&self, number: u128, export: &str, to: &Path) {
        let prefix = format!("{}/export/{export}/", environment(number));
        for key in self.store.keys() {
            if let Some(name) = key.strip_prefix(&prefix) {
                fs::write(to.join(name), self.store.bytes(&key).unwrap()).unwrap();
            }
        }
    }

    /// Downloads the one that was reported and lets the script look at it; what it counted.
    fn verified(&self, number: u128, seen: &EnvironmentObserved) -> String {
        assert_eq!(holds(seen, "Exported"), Some((Status::True, "Signed".to_owned())));
        let [export] = seen.exports.as_slice() else { panic!("{:?}", seen.exports) };
        let folder = tempfile::tempdir().unwrap();
        self.download(number, &export.id.to_string(), folder.path());
        let manifest = fs::read(folder.path().join("manifest.json")).unwrap();
        assert_eq!(platform::hash::sha256(manifest), export.sha256);
        let (good, said) = verify(folder.path(), &export.signed_by);
        assert!(good, "{said}");
        said
    }
}

/// The end of an environment of which what is left is kept, with its export.
fn kept(number: u128) -> EnvironmentIntent {
    EnvironmentIntent {
        hold_until: Utc.with_ymd_and_hms(2100, 1, 1, 0, 0, 0).single(),
        ..phased(number, Desired::Removed)
    }
}

fn verify(folder: &Path, key: &str) -> (bool, String) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/verify_export.py");
    let output = Command::new("python3").arg(script).arg(folder).arg(key).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(said).unwrap())
}

#[tokio::test]
async fn an_environment_that_is_removed_leaves_everything_for_its_tenant() {
    for mut cell in Cell::both().await {
        cell.of_tenant(11).await;
        let stranger = cell.lived_in().await;
        cell.of_tenant(10).await;
        let world = cell.lived_in().await;
        let seen = cell.leaves(10).await;
        let said = cell.verified(10, &seen);
        // Five deposits, a transfer and its reversal, two holds, a capture and a void, a payment's hold and capture.
        assert!(said.starts_with("13 transfers, 3 accounts, 13 of 13 batches"), "{said}");
        let folder = tempfile::tempdir().unwrap();
        cell.download(10, &seen.exports[0].id.to_string(), folder.path());
        let mut all = String::new();
        for file in fs::read_dir(folder.path()).unwrap() {
            all += &fs::read_to_string(file.unwrap().path()).unwrap();
        }
        for there in [world.customer["id"].as_str().unwrap(), "Tienda SA de CV", "compliance", "Año nuevo"] {
            assert!(all.contains(there), "{there}");
        }
        for absent in [&stranger.customer, &stranger.cash] {
            assert!(!all.contains(absent["id"].as_str().unwrap()), "another environment's account");
        }
        assert!(!all.contains(&environment(11).to_string()));
        assert_eq!(cell.seen(environment(11)).await.exports, []);
    }
}

#[tokio::test]
async fn whoever_changes_anything_is_found_out() {
    let mut cell = Cell::sqlite().await;
    cell.of_tenant(10).await;
    cell.lived_in().await;
    let seen = cell.leaves(10).await;
    cell.verified(10, &seen);
    let export = &seen.exports[0];
    let folder = tempfile::tempdir().unwrap();
    cell.download(10, &export.id.to_string(), folder.path());
    let files: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().path()).collect();
    for file in &files {
        let bytes = fs::read(file).unwrap();
        let mut changed = bytes.clone();
        let middle = changed.len() / 2;
        changed[middle] ^= 1;
        fs::write(file, changed).unwrap();
        assert!(!verify(folder.path(), &export.signed_by).0, "{file:?} was changed");
        fs::remove_file(file).unwrap();
        assert!(!verify(folder.path(), &export.signed_by).0, "{file:?} was removed");
        fs::write(file, bytes).unwrap();
    }
    assert!(!verify(folder.path(), "another").0, "another key");
    fs::write(folder.path().join("more.jsonl"), "{}").unwrap();
    assert!(!verify(folder.path(), &export.signed_by).0, "a file was added");
}

#[tokio::test]
async fn an_export_that_breaks_off_anywhere_goes_on_with_what_it_has_put() {
    for mut cell in Cell::both().await {
        cell.of_tenant(10).await;
        cell.lived_in().await;
        cell.store.trouble(Trouble::Busy);
        cell.leaves(10).await;
        // After each object that is put, and with each answer lost.
        for _ in 0..12 {
            cell.store.trouble(Trouble::After(1));
            cell.goes_on(10).await;
            cell.store.trouble(Trouble::Mute);
            cell.goes_on(10).await;
        }
        cell.store.trouble(Trouble::None);
        let seen = cell.goes_on(10).await;
        cell.verified(10, &seen);
        assert_eq!(cell.begun(10).len(), 1, "it began once");
        assert_eq!(platform::work::backlog(&cell.app.db, scope(10).shard).await.unwrap().dead, 0);
    }
}

#[tokio::test]
async fn what_was_put_in_the_place_of_a_part_is_not_signed() {
    for longer in [true, false] {
        let mut cell = Cell::sqlite().await;
        cell.of_tenant(10).await;
        cell.lived_in().await;
        cell.store.trouble(Trouble::After(1));
        cell.leaves(10).await;
        let part = cell.store.keys().into_iter().find(|key| key.ends_with("transfers-000001.jsonl")).unwrap();
        let mut bytes = cell.store.bytes(&part).unwrap();
        if longer {
            bytes.push(b' ')
        } else {
            bytes[10] ^= 1
        }
        cell.store.replace(&part, &bytes);
        cell.store.trouble(Trouble::None);
        let seen = cell.goes_on(10).await;
        cell.verified(10, &seen);
        assert_eq!(cell.begun(10).len(), 2, "it began anew");
    }
}

#[tokio::test]
async fn a_signature_that_is_none_of_ours_is_not_taken() {
    let mut cell = Cell::sqlite().await;
    cell.of_tenant(10).await;
    cell.lived_in().await;
    cell.store.trouble(Trouble::Busy);
    cell.leaves(10).await;
    let root = cell.root().await;
    let row = sea_orm::ConnectionTrait::query_one_raw(
        &root,
        sea_orm::Statement::from_string(
            sea_orm::DbBackend::Sqlite,
            "SELECT export FROM environment WHERE export IS NOT NULL",
        ),
    );
    let export: Value = row.await.unwrap().unwrap().try_get("", "export").unwrap();
    let planted = format!("{}/export/{}/manifest.jws", environment(10), export["id"].as_str().unwrap());
    cell.store.replace(&planted, b"e30.e30.AAAA");
    cell.store.trouble(Trouble::None);
    let seen = cell.goes_on(10).await;
    cell.verified(10, &seen);
    assert_eq!(cell.begun(10).len(), 2);
}

#[tokio::test]
async fn what_moves_while_an_export_is_made_is_in_it() {
    for mut cell in Cell::both().await {
        cell.of_tenant(10).await;
        let world = cell.lived_in().await;
        cell.store.trouble(Trouble::After(3));
        cell.leaves(10).await;
        cell.moves(10, &world).await;
        cell.store.trouble(Trouble::None);
        let seen = cell.goes_on(10).await;
        let said = cell.verified(10, &seen);
        assert!(said.starts_with("14 transfers"), "{said}");
    }
}

#[tokio::test]
async fn two_processes_make_one_export() {
    for mut cell in Cell::both().await {
        cell.of_tenant(10).await;
        cell.lived_in().await;
        let other = cell.restarted().await;
        let clock = Clock::manual(cell.ends_as(&kept(10), 10).await);
        // Past the leases, as when one of them was thought dead.
        let converges = async |app: &App| {
            let converger = Converger { clock: clock.clone(), ..app.converger.clone() };
            for _ in 0..20 {
                drop(converger.converge(environment(10)).await);
            }
        };
        tokio::join!(converges(&cell.app), converges(&other));
        let seen = cell.goes_on(10).await;
        cell.verified(10, &seen);
    }
}

#[tokio::test]
async fn who_has_the_cells_configuration_can_hand_an_export_over() {
    let mut cell = Cell::sqlite().await;
    cell.of_tenant(10).await;
    cell.lived_in().await;
    let App { db, converger, clock, .. } = &cell.app;
    let links = async || environments::links(db, &converger.objects, environment(10), clock).await;
    assert!(matches!(links().await, Err(HandoverError::NoExport(_))), "nothing is exported yet");
    cell.store.trouble(Trouble::After(1));
    cell.leaves(10).await;
    assert!(matches!(links().await, Err(HandoverError::NotWhole(_))), "not all of it");
    cell.store.trouble(Trouble::None);
    let seen = cell.goes_on(10).await;
    let folder = tempfile::tempdir().unwrap();
    for link in links().await.unwrap() {
        let request = cell.store.egress().get(&link.url).unwrap();
        let answer = platform::egress::Egress::send(request).await.unwrap();
        assert!(answer.status().is_success(), "{}", link.name);
        fs::write(folder.path().join(link.name), answer.bytes().await.unwrap()).unwrap();
    }
    let (good, said) = verify(folder.path(), &seen.exports[0].signed_by);
    assert!(good, "{said}");
}

#[tokio::test]
async fn an_environment_that_never_was_ready_leaves_nothing() {
    let cell = Cell::sqlite().await;
    cell.converges(&phased(10, Desired::Removed), 1).await;
    let seen = cell.seen(environment(10)).await;
    assert_eq!((seen.phase, seen.exports.len()), (tenants::environment::Phase::Removed, 0));
}
