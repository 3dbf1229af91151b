//! The link, over TLS: who is let in, who is refused and why, what goes down and what comes up.

use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use control_plane::{PLATFORM, cells, links as slice};
use platform::{
    ctx::Clock,
    hash::sha256,
    pki::{self, KeyAndRequest},
};
use serde_json::{Value, json};
use tenants::{
    contract::{
        Body, Desired, Document, Enrol, Enrolled, EnvironmentIntent, EnvironmentObserved, Issued,
        MOST_DOCUMENTS, Taken, digest_text,
    },
    environment::{Desired as Wanted, Mode, Phase},
    id::{CellId, EnvironmentId, OrganizationId, TenantId},
};
use uuid::Uuid;

use crate::{
    link::{Links, declared, join_token},
    plane::Plane,
};

const ORGANIZATION: OrganizationId = OrganizationId::from_uuid(Uuid::from_u128(900));

fn start() -> DateTime<Utc> {
    Clock::system().now().trunc_subsecs(0)
}

async fn shown(plane: &Plane, cell: CellId) -> Value {
    plane.get(&format!("/v1/cells/{cell}")).token(&plane.fresh_token().await).send().await.ok(200)
}

fn other_cell() -> CellId {
    CellId::from_uuid(Uuid::from_u128(77))
}

#[tokio::test]
async fn a_cell_is_let_in_once_per_token_and_a_lost_answer_comes_again() {
    for plane in Plane::both_at(start()).await {
        let cell = declared(&plane, "mx-1", 5).await;
        let links = Links::of(&plane).await;
        let stranger = links.client(None);
        let token = join_token(&plane, cell, json!({})).await;
        let request = KeyAndRequest::make(cell).unwrap();
        let asked = links.enrol(&token, &request.csr_pem, 1);
        let answer = links.post(&stranger, "enrolments", &asked).await;
        assert_eq!(answer.contract, "1");
        let first: Enrolled = answer.ok();
        assert_eq!((first.cell, first.contract), (cell, 1));
        let now = plane.app.clock.now();
        assert_eq!(first.not_after, now + TimeDelta::hours(24));
        assert_eq!(first.renew_at, now + TimeDelta::hours(16));
        plane.app.clock.advance(TimeDelta::hours(2));
        let again: Enrolled = links.post(&stranger, "enrolments", &asked).await.ok();
        assert_eq!(again.certificate_pem, first.certificate_pem, "even after the token's end");
        let another = KeyAndRequest::make(cell).unwrap();
        let refused = links.post(&stranger, "enrolments", &links.enrol(&token, &another.csr_pem, 1)).await;
        refused.is_refused("join_token_used");
        let cell = shown(&plane, cell).await;
        assert_eq!((&cell["state"], &cell["url"]), (&json!("ready"), &json!("https://mx-1.example.com")));
    }
}

#[tokio::test]
async fn who_does_not_fit_is_not_let_in_and_the_token_stays_good() {
    for plane in Plane::both_at(start()).await {
        let cell = declared(&plane, "mx-1", 5).await;
        let links = Links::of(&plane).await;
        let stranger = links.client(None);
        let token = join_token(&plane, cell, json!({"expires_in_s": 600})).await;
        let request = KeyAndRequest::make(cell).unwrap();
        let good = links.enrol(&token, &request.csr_pem, 1);
        let other = KeyAndRequest::make(other_cell()).unwrap().csr_pem;
        let late = good.sent_at + TimeDelta::minutes(6);
        let wrong_secret = {
            let mut join: platform::join::Join = token.parse().unwrap();
            join.secret = platform::join::Join::new_secret();
            join.text()
        };
        let table: [(&str, Enrol); 10] = [
            ("join_token_unknown", Enrol { token: "tambo-join.v1.x".to_owned(), ..good.clone() }),
            ("join_token_unknown", Enrol { token: wrong_secret, ..good.clone() }),
            ("contract_unsupported", Enrol { contract: [3, 9], ..good.clone() }),
            ("clock_skew", Enrol { sent_at: late, ..good.clone() }),
            ("csr_invalid", Enrol { csr_pem: "no PEM".to_owned(), ..good.clone() }),
            ("csr_for_another_cell", Enrol { csr_pem: other, ..good.clone() }),
            ("cell_mismatch", Enrol { jurisdiction: "co-sfc".parse().unwrap(), ..good.clone() }),
            ("cell_mismatch", Enrol { region: "br-1".parse().unwrap(), ..good.clone() }),
            ("cell_mismatch", Enrol { mode: Mode::Live, ..good.clone() }),
            ("message_unusable", Enrol { shards: 0, ..good.clone() }),
        ];
        for (code, asked) in table {
            links.post(&stranger, "enrolments", &asked).await.is_refused(code);
        }
        assert_eq!(shown(&plane, cell).await["state"], "enrolling");
        plane.app.clock.advance(TimeDelta::seconds(600));
        let asked = Enrol { sent_at: plane.app.clock.now(), ..good.clone() };
        links.post(&stranger, "enrolments", &asked).await.is_refused("join_token_expired");
        plane.app.clock.advance(TimeDelta::seconds(-1));
        links.post(&stranger, "enrolments", &asked).await.ok::<Enrolled>();
    }
}

#[tokio::test]
async fn only_a_cell_with_an_honoured_certificate_is_answered() {
    for plane in Plane::both_at(start()).await {
        let cell = declared(&plane, "mx-1", 5).await;
        let links = Links::of(&plane).await;
        let path = format!("desired?after=0&lineage={}&wait_ms=0", Uuid::nil());
        links.get(&links.client(None), &path).await.is_refused("certificate_missing");
        let fake = links.enrolled(cell).await;
        assert!(!fake.poll(&links, 0, 0).await.ok::<Desired>().documents.is_empty());
        let report = fake.report(&links, 1, vec![]);
        let answer = links.post_as(&fake.client, "observed", &report, "3-4").await;
        answer.is_refused("contract_unsupported");
        assert_eq!(answer.contract, "1-2");

        // A token that replaces revokes what was there.
        let token = join_token(&plane, cell, json!({"replace_instance": true})).await;
        let request = KeyAndRequest::make(cell).unwrap();
        let asked = links.enrol(&token, &request.csr_pem, 2);
        links.post(&links.client(None), "enrolments", &asked).await.ok::<Enrolled>();
        fake.poll(&links, 0, 0).await.is_refused("certificate_revoked");

        let step = async |step: &str| {
            let path = format!("/v1/cells/{cell}/{step}");
            let call = plane.request(axum::http::Method::POST, &path).token(&plane.fresh_token().await);
            call.key(step).send().await.ok(200)
        };
        step("drains").await;
        step("retirements").await;
        fake.poll(&links, 0, 0).await.is_refused("cell_retired");
        links.post(&links.client(None), "enrolments", &asked).await.is_refused("cell_retired");
    }
}

#[tokio::test]
async fn certificates_overlap_and_an_ended_one_is_good_for_renewal_only() {
    for plane in Plane::both_at(start()).await {
        let cell = declared(&plane, "mx-1", 5).await;
        let links = Links::of(&plane).await;
        let fake = links.enrolled(cell).await;
        plane.app.clock.advance(TimeDelta::hours(16));
        let request = KeyAndRequest::make(cell).unwrap();
        links.renew(&fake.client, &request.csr_pem, 9).await.is_refused("cell_identity_taken");
        let foreign = KeyAndRequest::make(other_cell()).unwrap();
        links.renew(&fake.client, &foreign.csr_pem, 1).await.is_refused("csr_for_another_cell");
        let first: Issued = links.renew(&fake.client, &request.csr_pem, 1).await.ok();
        let again: Issued = links.renew(&fake.client, &request.csr_pem, 1).await.ok();
        assert_eq!(first.certificate_pem, again.certificate_pem, "a lost answer comes again");
        let identity = Links::identity(request, first);
        for client in [&fake.client, &links.client(Some(&identity))] {
            let path = format!("desired?after=0&lineage={}&wait_ms=0", fake.enrolled.lineage);
            links.get(client, &path).await.ok::<Desired>();
        }
        plane.app.clock.advance(TimeDelta::days(20));
        let ended = links.client(Some(&identity));
        let path = format!("desired?after=0&lineage={}&wait_ms=0", fake.enrolled.lineage);
        links.get(&ended, &path).await.is_refused("certificate_expired");
        let next = KeyAndRequest::make(cell).unwrap();
        let issued: Issued = links.renew(&ended, &next.csr_pem, 1).await.ok();
        let renewed = links.client(Some(&Links::identity(next, issued)));
        links.get(&renewed, &path).await.ok::<Desired>();
        // Who goes on from the one before, with another request, is a second one.
        let copy = KeyAndRequest::make(cell).unwrap();
        links.renew(&ended, &copy.csr_pem, 1).await.is_refused("cell_forked");
        assert!(shown(&plane, cell).await["forked_at"].is_string());
    }
}

/// Gives the authority of a control plane that serves the next issuing certificate.
fn reissued(plane: &Plane) {
    let files = &plane.config.pki;
    let [root, issuing] =
        [&files.root_certificate_file, &files.issuing_certificate_file].map(|file| file.parent().unwrap());
    pki::reissue(root, issuing, plane.app.clock.now()).unwrap();
    let ca = &plane.app.links.ca;
    assert!(ca.take_up(&files.issuing_certificate_file, &files.issuing_key_file).unwrap());
}

#[tokio::test]
async fn a_cell_renews_under_the_next_issuing_certificate_and_what_the_one_before_signed_stays_good() {
    for plane in Plane::both_at(start()).await {
        let cell = declared(&plane, "mx-1", 5).await;
        let links = Links::of(&plane).await;
        let fake = links.enrolled(cell).await;
        let request = KeyAndRequest::make(cell).unwrap();
        let first: Issued = links.renew(&fake.client, &request.csr_pem, 1).await.ok();
        reissued(&plane);

        // Whoever serves shows itself with the next one by now.
        let links = Links::of(&plane).await;
        let path = format!("desired?after=0&lineage={}&wait_ms=0", fake.enrolled.lineage);
        links.get(&fake.client, &path).await.ok::<Desired>();
        let again: Issued = links.renew(&fake.client, &request.csr_pem, 1).await.ok();
        assert_eq!((&again.certificate_pem, &again.chain_pem), (&first.certificate_pem, &first.chain_pem));
        let renewed = links.client(Some(&Links::identity(request, again)));
        links.get(&renewed, &path).await.ok::<Desired>();
        let request = KeyAndRequest::make(cell).unwrap();
        let next: Issued = links.renew(&renewed, &request.csr_pem, 1).await.ok();
        assert_ne!(next.chain_pem, first.chain_pem);
        assert_eq!(next.chain_pem, plane.app.links.ca.chain_pem());
        links.get(&links.client(Some(&Links::identity(request, next))), &path).await.ok::<Desired>();
    }
}

#[tokio::test]
async fn a_cell_whose_certificate_ended_with_its_issuer_renews_under_the_next_one() {
    for plane in Plane::both_at(start()).await {
        let cell = declared(&plane, "mx-1", 5).await;
        let links = Links::of(&plane).await;
        plane.app.clock.advance(TimeDelta::days(90) - TimeDelta::hours(1));
        let fake = links.enrolled(cell).await;
        assert_eq!(fake.enrolled.not_after, plane.app.links.ca.ends());
        plane.app.clock.advance(TimeDelta::days(20));
        reissued(&plane);
        let request = KeyAndRequest::make(cell).unwrap();
        let next: Issued = links.renew(&fake.client, &request.csr_pem, 1).await.ok();
        let path = format!("desired?after=0&lineage={}&wait_ms=0", fake.enrolled.lineage);
        links.get(&links.client(Some(&Links::identity(request, next))), &path).await.ok::<Desired>();
    }
}

#[tokio::test]
async fn a_second_database_with_the_same_identity_is_refused_until_an_operator_decides() {
    for plane in Plane::both_at(start()).await {
        let cell = declared(&plane, "mx-1", 5).await;
        let links = Links::of(&plane).await;
        let fake = links.enrolled(cell).await;
        let token = join_token(&plane, cell, json!({})).await;
        let request = KeyAndRequest::make(cell).unwrap();
        let asked = links.enrol(&token, &request.csr_pem, 2);
        links.post(&links.client(None), "enrolments", &asked).await.is_refused("cell_identity_taken");
        let send = async |report| links.post(&fake.client, "observed", &report).await;
        let mut other = fake.report(&links, 1, vec![]);
        other.instance = Uuid::from_u128(2);
        send(other).await.is_refused("cell_identity_taken");

        // Numbers may leave some out, since a cell counts before it sends; none comes twice with other content.
        let third = fake.report(&links, 3, vec![]);
        assert_eq!(send(third.clone()).await.ok::<Taken>().seq, 3);
        assert_eq!(send(third).await.ok::<Taken>().seq, 3, "the same again");
        let mut twin = fake.report(&links, 3, vec![]);
        twin.heartbeat.ready = 1;
        send(twin).await.is_refused("cell_forked");
        send(fake.report(&links, 4, vec![])).await.is_refused("cell_forked");

        let token = join_token(&plane, cell, json!({"replace_instance": true})).await;
        let asked = links.enrol(&token, &request.csr_pem, 2);
        links.post(&links.client(None), "enrolments", &asked).await.ok::<Enrolled>();
        assert_eq!(shown(&plane, cell).await["forked_at"], json!(null));
        send(fake.report(&links, 5, vec![])).await.is_refused("certificate_revoked");
    }
}

fn intent(number: u128, name: &str) -> EnvironmentIntent {
    EnvironmentIntent {
        id: EnvironmentId::from_uuid(Uuid::from_u128(number)),
        organization: ORGANIZATION,
        tenant: TenantId::from_uuid(Uuid::from_u128(901)),
        tenant_name: name.to_owned(),
        mode: Mode::Sandbox,
        jurisdiction: "mx-cnbv".parse().unwrap(),
        profile_version: "2026.11".to_owned(),
        phase: Wanted::Present,
        hold_until: None,
        clock_offset_ms: 0,
        clients: Vec::new(),
        operation: None,
    }
}

async fn publish(
    plane: &Plane,
    cell: CellId,
    number: u128,
    generation: u64,
    name: &str,
) -> Result<(), slice::Error> {
    let intent = intent(number, name);
    let subject = intent.id.to_string();
    let document = Document { subject, generation, revision: 0, body: Body::Environment(Box::new(intent)) };
    let tx = plane.app.db.begin(PLATFORM).await?;
    slice::publish_in_tx(&tx, cell, ORGANIZATION, &document, plane.app.clock.now()).await?;
    tx.commit().await?;
    plane.app.links.waiters.wake(cell);
    Ok(())
}

#[tokio::test]
async fn a_poll_waits_for_news_and_gets_each_document_once() {
    for plane in Plane::both_at(start()).await {
        let cell = declared(&plane, "mx-1", 5).await;
        let links = Links::of(&plane).await;
        let fake = links.enrolled(cell).await;
        let first: Desired = fake.poll(&links, 0, 50_000).await.ok();
        let [own] = &first.documents[..] else { panic!("{first:?}") };
        assert!(matches!(&own.body, Body::Cell(intent) if intent.capacity == 5 && !intent.draining));
        let nothing: Desired = fake.poll(&links, first.revision, 0).await.ok();
        assert!(nothing.documents.is_empty() && nothing.complete && nothing.revision == first.revision);

        // Whether the poll or the document comes first, the poll ends with it.
        let (news, published) =
            tokio::join!(fake.poll(&links, first.revision, 50_000), publish(&plane, cell, 1, 1, "a"));
        published.unwrap();
        let news: Desired = news.ok();
        assert_eq!((news.documents.len(), news.documents[0].generation), (1, 1));
        assert!(news.revision > first.revision);
        publish(&plane, cell, 1, 1, "a").await.unwrap();
        let same: Desired = fake.poll(&links, news.revision, 0).await.ok();
        assert!(same.documents.is_empty(), "the same again is no news");
        publish(&plane, cell, 1, 3, "b").await.unwrap();
        let older = publish(&plane, cell, 1, 2, "c").await;
        assert!(matches!(older, Err(slice::Error::Older(3))), "{older:?}");
        let last: Desired = fake.poll(&links, news.revision, 0).await.ok();
        assert_eq!((last.documents.len(), last.documents[0].generation), (1, 3));
        let none = publish(&plane, other_cell(), 1, 1, "a").await;
        assert!(matches!(none, Err(slice::Error::NoCell)), "{none:?}");
    }
}

#[tokio::test]
async fn a_drain_ends_a_poll_that_waits() {
    let plane = Plane::sqlite().await;
    let cell = declared(&plane, "mx-1", 5).await;
    let links = Links::of(&plane).await;
    let fake = links.enrolled(cell).await;
    let first: Desired = fake.poll(&links, 0, 0).await.ok();
    let (answer, ()) = tokio::join!(fake.poll(&links, first.revision, 50_000), async { plane.drain.begin() });
    assert!(answer.ok::<Desired>().documents.is_empty());
}

#[tokio::test]
async fn documents_come_in_pages_that_lose_none() {
    let plane = Plane::sqlite().await;
    let cell = declared(&plane, "mx-1", 5).await;
    let links = Links::of(&plane).await;
    let fake = links.enrolled(cell).await;
    let large = "x".repeat(400_000);
    for number in 1..=4 {
        publish(&plane, cell, number, 1, &large).await.unwrap();
    }
    let many = 250;
    for number in 5..5 + many {
        publish(&plane, cell, number, 1, "small").await.unwrap();
    }
    let (mut after, mut seen, mut pages) = (0, Vec::new(), Vec::new());
    loop {
        let page: Desired = fake.poll(&links, after, 0).await.ok();
        assert!(page.documents.len() <= MOST_DOCUMENTS);
        pages.push(page.documents.len());
        seen.extend(page.documents.into_iter().map(|document| document.subject));
        after = page.revision;
        if page.complete {
            break;
        }
    }
    // Those of the cell and two large ones are a MiB.
    assert_eq!(pages[0], 3, "{pages:?}");
    assert_eq!(seen.len(), 1 + 4 + 250);
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 1 + 4 + 250, "none came twice");
}

#[tokio::test]
async fn a_cursor_of_another_history_is_told_to_begin_anew() {
    for plane in Plane::both_at(start()).await {
        let cell = declared(&plane, "mx-1", 5).await;
        let links = Links::of(&plane).await;
        let fake = links.enrolled(cell).await;
        let first: Desired = fake.poll(&links, 0, 0).await.ok();
        let beyond: Desired = fake.poll(&links, first.revision + 1, 50_000).await.ok();
        assert!(beyond.resync && beyond.revision == 0 && beyond.documents.is_empty() && !beyond.complete);
        let path = format!("desired?after=0&lineage={}&wait_ms=50000", Uuid::from_u128(5));
        let foreign: Desired = links.get(&fake.client, &path).await.ok();
        assert!(foreign.resync && foreign.lineage == fake.enrolled.lineage);
        let mut report = fake.report(&links, 1, vec![observed(1, 1, Phase::Ready)]);
        report.lineage = Uuid::from_u128(5);
        let taken: Taken = links.post(&fake.client, "observed", &report).await.ok();
        assert!(taken.resync && taken.acknowledged == 0);
    }
}

fn observed(number: u128, generation: u64, phase: Phase) -> EnvironmentObserved {
    let intent = intent(number, "a");
    EnvironmentObserved {
        id: intent.id,
        organization: intent.organization,
        tenant: intent.tenant,
        generation,
        phase,
        step: None,
        conditions: Vec::new(),
        profile_version: intent.profile_version,
        clients: Vec::new(),
        schema: "m0001".to_owned(),
        exports: Vec::new(),
        hold_until: None,
        intent: None,
    }
}

/// How often each environment is to be looked at.
async fn signals(plane: &Plane) -> Vec<(String, i64)> {
    use sea_orm::ConnectionTrait;
    let statement = "SELECT key, signal FROM work WHERE kind = 'environment.converge' ORDER BY key";
    let root = plane.root().await;
    let rows = root
        .query_all_raw(sea_orm::Statement::from_string(root.get_database_backend(), statement))
        .await
        .unwrap();
    rows.iter().map(|row| (row.try_get_by_index(0).unwrap(), row.try_get_by_index(1).unwrap())).collect()
}

#[tokio::test]
async fn what_is_new_in_a_report_is_looked_at_once() {
    for plane in Plane::both_at(start()).await {
        let cell = declared(&plane, "mx-1", 5).await;
        let links = Links::of(&plane).await;
        let fake = links.enrolled(cell).await;
        let send = async |report| links.post(&fake.client, "observed", &report).await.ok::<Taken>();
        let ready = observed(1, 1, Phase::Ready);
        let first = fake.report(&links, 1, vec![ready.clone()]);
        assert_eq!(send(first.clone()).await.acknowledged, 1);
        assert_eq!(send(first).await.acknowledged, 1, "the same again");
        let key = ready.id.to_string();
        assert_eq!(signals(&plane).await, [(key.clone(), 0)]);
        send(fake.report(&links, 2, vec![ready])).await;
        assert_eq!(signals(&plane).await, [(key.clone(), 0)], "nothing new");
        send(fake.report(&links, 3, vec![observed(1, 2, Phase::Converging)])).await;
        assert_eq!(signals(&plane).await, [(key, 1)]);

        // A heartbeat says what the cell has; if we have something else, we ask for everything.
        let mut beat = fake.report(&links, 4, vec![]);
        beat.heartbeat.digest = sha256("something else");
        assert!(send(beat).await.resync);
        let mut beat = fake.report(&links, 5, vec![]);
        let own = [(intent(1, "a").id, 2, Phase::Converging)];
        beat.heartbeat.digest = sha256(digest_text(own));
        assert!(!send(beat).await.resync);
        send(fake.report(&links, 6, vec![observed(1, 3, Phase::Removed)])).await;
        let mut beat = fake.report(&links, 7, vec![]);
        beat.heartbeat.digest = sha256(digest_text([]));
        assert!(!send(beat).await.resync, "what is gone is in nobody's digest");

        // A page of a full report speaks for all that lies after the page before.
        let there = [1, 2, 3].map(|number| observed(number, 4, Phase::Ready));
        send(fake.report(&links, 8, there.to_vec())).await;
        let mut page = fake.report(&links, 9, there[2..].to_vec());
        (page.full, page.after) = (true, Some(there[0].id));
        send(page).await;
        let mut beat = fake.report(&links, 10, vec![]);
        let left = [&there[0], &there[2]].map(|one| (one.id, 4, Phase::Ready));
        beat.heartbeat.digest = sha256(digest_text(left));
        assert!(!send(beat).await.resync, "the second one is forgotten");
    }
}

#[tokio::test]
async fn the_view_of_a_silent_cell_is_called_stale() {
    for plane in Plane::both_at(start()).await {
        let cell = declared(&plane, "mx-1", 5).await;
        let links = Links::of(&plane).await;
        let fake = links.enrolled(cell).await;
        let mut report = fake.report(&links, 1, vec![]);
        report.sent_at += TimeDelta::seconds(40);
        links.post(&fake.client, "observed", &report).await.ok::<Taken>();
        let fresh = shown(&plane, cell).await;
        assert_eq!((&fresh["stale"], &fresh["skew_ms"]), (&json!(false), &json!(40_000)));
        plane.app.clock.advance(cells::STALE_AFTER);
        assert_eq!(shown(&plane, cell).await["stale"], false);
        plane.app.clock.advance(TimeDelta::milliseconds(1));
        let stale = shown(&plane, cell).await;
        assert_eq!((&stale["stale"], &stale["silent_for_ms"]), (&json!(true), &json!(90_001)));
    }
}

#[tokio::test]
async fn what_a_heartbeat_says_of_a_cell_is_shown() {
    for plane in Plane::both_at(start()).await {
        let cell = declared(&plane, "mx-1", 5).await;
        let links = Links::of(&plane).await;
        let fake = links.enrolled(cell).await;
        let enrolled = shown(&plane, cell).await;
        assert_eq!((&enrolled["software"], &enrolled["contract"]), (&json!("test"), &json!([1, 1])));
        let unknown = [&enrolled["backlog"], &enrolled["dead"], &enrolled["certificate_not_after"]];
        assert_eq!(unknown, [&json!(null); 3]);

        // It was upgraded, and got another certificate.
        let mut report = fake.report(&links, 1, vec![]);
        let ends = plane.app.clock.now() + TimeDelta::hours(7);
        let heartbeat = &mut report.heartbeat;
        (heartbeat.software, heartbeat.certificate_not_after) = ("test 2".to_owned(), ends);
        (heartbeat.backlog, heartbeat.dead) = (12, 3);
        links.post_as(&fake.client, "observed", &report, "1-2").await.ok::<Taken>();
        let cell = shown(&plane, cell).await;
        assert_eq!((&cell["software"], &cell["contract"]), (&json!("test 2"), &json!([1, 2])));
        assert_eq!(cell["contract_spoken"], 2);
        assert_eq!((&cell["backlog"], &cell["dead"]), (&json!(12), &json!(3)));
        assert_eq!(cell["certificate_not_after"], json!(ends));
        assert_eq!(cell["version"], enrolled["version"], "no operator changed it");
    }
}

#[tokio::test]
async fn the_name_of_the_database_stays() {
    for plane in Plane::both().await {
        let (db, now) = (&plane.app.db, plane.app.clock.now());
        let lineage = slice::lineage(db, now).await.unwrap();
        assert_eq!(lineage, plane.app.links.lineage);
    }
}
