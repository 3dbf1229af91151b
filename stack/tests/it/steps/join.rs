//! Kills either side at every step of an enrolment and of a renewal.

use platform::failpoint::LIST;

use super::{
    Steps, places,
    site::{Site, Stop, Who},
};
use crate::{cells::query, planes::until};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    Enrol,
    Renew,
}

impl Act {
    const ALL: [Self; 2] = [Self::Enrol, Self::Renew];
}

/// A cell that nobody has joined as enrols, or one that has joined gets its next certificate. Whether the place was
/// reached.
async fn round(site: &mut Site, act: Act, name: &str, at: Option<&Stop>, list: bool) -> bool {
    if act == Act::Enrol {
        site.another_cell(name).await;
    }
    let path = format!("/v1/cells?name={name}");
    site.kill(Who::Cell);
    if act == Act::Renew {
        site.write(Who::Cell, "UPDATE link_identity SET renew_at = '2020-01-01T00:00:00+00:00'").await;
    }
    for who in [Who::ControlPlane, Who::Cell] {
        let place = at.filter(|stop| stop.0 == who).map(|stop| stop.1.to_string());
        if list || place.is_some() || who == Who::Cell {
            site.restart(who, place.as_deref().or(list.then_some(LIST))).await;
        }
    }
    let certificates = if act == Act::Enrol { 1 } else { 2 };
    let (plane, cell) = (site.database(Who::ControlPlane), site.database(Who::Cell));
    let caller = site.caller.clone();
    let done = async || {
        until(&format!("{act:?} of {name}"), async || {
            let shown = caller.get(&path).await["data"][0].clone();
            if shown["state"] != "ready" || shown["stale"] != false {
                return false;
            }
            let issued = "SELECT certificate_pem FROM link_certificate c JOIN cell ON cell.id = c.cell_id \
                          WHERE cell.name = '{name}' ORDER BY c.seq DESC";
            let issued = query(&plane, &issued.replace("{name}", name), 1).await.concat();
            let held = "SELECT slot, coalesce(certificate_pem, '') FROM link_identity";
            let held = query(&cell, held, 2).await;
            // One is issued, in spite of everything, and it is what the cell has; no key is left over.
            issued.len() == certificates && held == [["current".to_owned(), issued[0].clone()]]
        })
        .await;
    };
    let reached = site.through(at, done()).await.1;
    done().await;
    reached
}

/// Walks through places, each with a cell of its own.
async fn walk(choose: impl Fn(&Steps) -> Vec<Stop>) {
    let mut site = Site::new();
    site.start(Who::ControlPlane, None);
    let mut left = Vec::new();
    for act in Act::ALL {
        round(&mut site, act, "mx-listed", None, true).await;
        let mut steps = Steps::new();
        for who in [Who::ControlPlane, Who::Cell] {
            site.steps(who, &mut steps);
        }
        site.restart(Who::ControlPlane, None).await;
        left.push(choose(&steps));
    }
    for number in 0..left[0].len().max(left[1].len()) {
        let name = format!("mx-walk-{number}");
        for (act, places) in Act::ALL.into_iter().zip(&left) {
            let stop = places.get(number);
            let reached = round(&mut site, act, &name, stop, false).await;
            // How often a step is repeated is chance; that it is come to at all is not.
            assert!(reached || stop.is_none_or(|stop| stop.1.time > 1), "{act:?}: {stop:?} was not come to");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_killed_at_a_step_of_an_enrolment_gets_one_certificate() {
    walk(|steps| places(steps).into_iter().skip(1).step_by(3).collect()).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long tier: ./test --full"]
async fn full_kill_at_every_step_of_an_enrolment() {
    walk(places).await;
}
