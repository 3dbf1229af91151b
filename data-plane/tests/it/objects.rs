//! The places of environments' objects, and what becomes of them when the object store does not do its part.

use chrono::TimeDelta;
use platform::testing::objects::Trouble;
use serde_json::Value;
use tenants::environment::{Desired, Phase, Status};

use crate::{
    cell::{Cell, SHARDS, environment},
    convergence::{holds, intent, phased},
};

impl Cell {
    fn marker(&self, number: u128) -> String {
        format!("{}/.tambo", environment(number))
    }

    /// Carries out all work that is due by now, and what waits for something that was not there.
    pub async fn works_later(&self) {
        let mut later = self.app.clock.now();
        for _ in 0..4 {
            later += TimeDelta::seconds(3);
            while self.app.work.tick(later).await.unwrap().taken > 0 {}
        }
    }

    /// Items of work that were given up.
    async fn dead(&self) -> u64 {
        let mut dead = 0;
        for shard in 0..SHARDS {
            dead += platform::work::backlog(&self.app.db, shard).await.unwrap().dead;
        }
        dead
    }
}

#[tokio::test]
async fn a_ready_environment_has_a_folder_that_says_whose_it_is() {
    for cell in Cell::both().await {
        let before = cell.store.keys();
        let seen = cell.converges(&intent(10), 3).await;
        assert_eq!(seen.phase, Phase::Ready);
        assert_eq!(holds(&seen, "ObjectsReady"), Some((Status::True, "Marked".to_owned())));
        let mut keys = cell.store.keys();
        keys.retain(|key| !before.contains(key));
        assert_eq!(keys, [cell.marker(10)]);
        let marker = || cell.store.bytes(&cell.marker(10)).unwrap();
        let first: Value = serde_json::from_slice(&marker()).unwrap();
        assert_eq!(first["environment"], environment(10).to_string());
        assert_eq!(first["generation"], 3);
        cell.converges(&phased(10, Desired::Suspended), 4).await;
        assert_eq!(serde_json::from_slice::<Value>(&marker()).unwrap(), first, "it is put once");
        assert_eq!(cell.app.converger.orphans(10).await.unwrap(), [""; 0]);
    }
}

#[tokio::test]
async fn an_environment_waits_for_the_object_store_and_is_not_lost() {
    for cell in Cell::both().await {
        for (number, trouble, reason) in [
            (10, Trouble::Busy, "Unreachable"),
            (11, Trouble::Denied, "Denied"),
            (12, Trouble::NoBucket, "BucketMissing"),
        ] {
            cell.store.trouble(trouble);
            let seen = cell.converges(&intent(number), 1).await;
            assert_eq!(seen.phase, Phase::Converging, "{trouble:?}");
            assert_eq!(holds(&seen, "ObjectsReady"), Some((Status::False, reason.to_owned())));
            let news = *cell.app.environments.news().borrow();
            cell.works_later().await;
            assert_eq!(*cell.app.environments.news().borrow(), news, "it waits without a word");
            cell.store.trouble(Trouble::None);
            cell.works_later().await;
            assert_eq!(cell.seen(environment(number)).await.phase, Phase::Ready);
            assert_eq!(cell.dead().await, 0);
        }
        // The store has it, and could not say so.
        cell.store.trouble(Trouble::Mute);
        cell.converges(&intent(13), 1).await;
        cell.store.trouble(Trouble::None);
        cell.works_later().await;
        assert_eq!(cell.seen(environment(13)).await.phase, Phase::Ready);
    }
}

#[tokio::test]
async fn no_detail_of_the_store_is_told() {
    let cell = Cell::sqlite().await;
    for trouble in [Trouble::Busy, Trouble::Denied] {
        cell.store.trouble(trouble);
        cell.want(&intent(10), 1).await;
        cell.works().await;
        let seen = serde_json::to_string(&cell.seen(environment(10)).await.conditions).unwrap();
        for secret in ["127.0.0.1", "cell-test", "test-id", "test-secret"] {
            assert!(!seen.contains(secret), "{seen}");
        }
    }
}

#[tokio::test]
async fn a_ready_environment_serves_while_the_object_store_is_down() {
    for cell in Cell::both().await {
        cell.converges(&intent(10), 1).await;
        cell.store.trouble(Trouble::Busy);
        let seen = cell.converges(&phased(10, Desired::Present), 2).await;
        assert_eq!(seen.phase, Phase::Converging);
        assert_eq!(cell.refusal_of(10).await, None);
        let again = cell.restarted().await;
        assert!(again.environments.get(environment(10).uuid()).is_some(), "it starts, too");
        // To be suspended waits for nothing.
        cell.converges(&phased(10, Desired::Suspended), 3).await;
        assert_eq!(cell.refusal_of(10).await.as_deref(), Some("environment_suspended"));
        cell.store.trouble(Trouble::None);
        cell.works_later().await;
        assert_eq!(cell.seen(environment(10)).await.phase, Phase::Suspended);
    }
}

#[tokio::test]
async fn another_ones_marker_is_not_taken_for_ones_own() {
    for cell in Cell::both().await {
        cell.converges(&intent(10), 1).await;
        let own = cell.store.bytes(&cell.marker(10)).unwrap();
        for other in
            [cell.store.bytes(&format!("{}/.tambo", environment(1))).unwrap(), b"{}".to_vec(), vec![]]
        {
            cell.store.replace(&cell.marker(11), &other);
            cell.want(&intent(11), 1).await;
            cell.works().await;
            let seen = cell.seen(environment(11)).await;
            assert_eq!(seen.phase, Phase::Converging);
            assert_eq!(holds(&seen, "ObjectsReady"), Some((Status::False, "MarkerDiffers".to_owned())));
            assert_eq!(cell.store.bytes(&cell.marker(11)), Some(other), "it is left as it is");
        }
        assert_eq!(cell.store.bytes(&cell.marker(10)), Some(own));
    }
}

#[tokio::test]
async fn a_removed_environments_objects_are_removed_and_no_others() {
    for cell in Cell::both().await {
        cell.converges(&intent(10), 1).await;
        cell.converges(&intent(11), 1).await;
        for number in 0..600 {
            cell.store.replace(&format!("{}/x/{number}", environment(10)), b"x");
        }
        let before = cell.store.keys();
        cell.store.trouble(Trouble::Busy);
        let later = cell.ends(10).await;
        let seen = cell.at(later, 10).await;
        assert_eq!(seen.phase, Phase::Removing);
        assert_eq!(holds(&seen, "Exported"), Some((Status::False, "Unreachable".to_owned())));
        // What was never ready has nothing to be exported.
        let seen = cell.converges(&phased(12, Desired::Removed), 1).await;
        assert_eq!(holds(&seen, "ObjectsRemoved"), Some((Status::False, "Unreachable".to_owned())));
        assert_eq!(cell.refusal_of(10).await.as_deref(), Some("unauthenticated"), "its tokens end first");
        cell.store.trouble(Trouble::None);
        assert_eq!(cell.store.keys(), before);
        assert_eq!(cell.at(later, 10).await.phase, Phase::Removed);
        let own = format!("{}/", environment(10));
        let others: Vec<String> = before.into_iter().filter(|key| !key.starts_with(&own)).collect();
        assert_eq!(cell.store.keys(), others);

        // What turns up later is noticed, and left to people.
        cell.store.replace(&format!("{own}late"), b"x");
        cell.store.replace("elsewhere/x", b"x");
        cell.store.replace(".tambo/lock-probes/1", b"x");
        let orphans = cell.app.converger.orphans(10).await.unwrap();
        assert_eq!(orphans, ["elsewhere".to_owned(), environment(10).to_string()]);
    }
}

#[tokio::test]
async fn two_processes_make_one_place() {
    for cell in Cell::both().await {
        let other = cell.restarted().await;
        for number in 20..30 {
            cell.want(&intent(number), 1).await;
        }
        let now = cell.app.clock.now();
        let works = async |app: &data_plane::app::App| while app.work.tick(now).await.unwrap().taken > 0 {};
        tokio::join!(works(&cell.app), works(&other));
        cell.works_later().await;
        for number in 20..30 {
            assert_eq!(cell.seen(environment(number)).await.phase, Phase::Ready);
            assert!(cell.store.bytes(&cell.marker(number)).is_some());
        }
    }
}
