//! Moving clocks, on both databases.

use chrono::{DateTime, TimeDelta, Utc};
use platform::clock::{ClockError, Offsets, advance_in_tx, offset_in_tx};
use platform::ctx::{Clock, Scope};
use platform::migrations::migrations;
use platform::testing::{TestDb, label};
use tenants::environment::Mode;
use uuid::Uuid;

fn start() -> DateTime<Utc> {
    DateTime::from_timestamp_micros(1_700_000_000_123_456).unwrap()
}

fn scope(number: u128) -> Scope {
    Scope::new(2, Uuid::from_u128(number))
}

async fn advance(db: &TestDb, scope: Scope, to: DateTime<Utc>) -> Result<TimeDelta, ClockError> {
    let tx = db.begin(scope).await?;
    let offset = advance_in_tx(&tx, scope, Mode::Sandbox, start(), to).await?;
    tx.commit().await?;
    Ok(offset)
}

#[tokio::test]
async fn a_sandbox_moves_forward_only() {
    for db in TestDb::both(migrations).await {
        let on = label(db.backend());
        let day = start() + TimeDelta::days(1);
        assert_eq!(advance(&db, scope(1), day).await.unwrap(), TimeDelta::days(1), "{on}");
        assert_eq!(advance(&db, scope(1), day).await.unwrap(), TimeDelta::days(1), "{on}: to where it is");
        for earlier in [day - TimeDelta::seconds(1), start() - TimeDelta::days(1)] {
            let refused = advance(&db, scope(1), earlier).await.unwrap_err();
            assert!(matches!(refused, ClockError::Backwards { now } if now == day), "{on}: {refused}");
        }
        let moved = advance(&db, scope(1), day + TimeDelta::microseconds(1)).await.unwrap();
        assert!(start() + moved >= day + TimeDelta::microseconds(1), "{on}: the target is reached");

        let tx = db.begin_read(scope(2)).await.unwrap();
        assert_eq!(
            offset_in_tx(&*tx, scope(2)).await.unwrap(),
            TimeDelta::zero(),
            "{on}: another environment"
        );
    }
}

#[tokio::test]
async fn a_live_clock_and_the_far_future_are_refused() {
    let db = TestDb::sqlite(migrations).await;
    let tx = db.begin(scope(1)).await.unwrap();
    let live = advance_in_tx(&tx, scope(1), Mode::Live, start(), start() + TimeDelta::days(1)).await;
    assert!(matches!(live, Err(ClockError::Live)));
    let far = advance_in_tx(&tx, scope(1), Mode::Sandbox, start(), start() + TimeDelta::days(40_000)).await;
    assert!(matches!(far, Err(ClockError::TooFar)));
}

#[tokio::test]
async fn offsets_are_known_after_a_move() {
    for db in TestDb::both(migrations).await {
        let on = label(db.backend());
        let offsets = Offsets::new(db.db().clone(), Clock::manual(start()));
        assert_eq!(offsets.clock(scope(1), Mode::Sandbox).await.unwrap().now(), start(), "{on}");
        advance(&db, scope(1), start() + TimeDelta::hours(5)).await.unwrap();
        offsets.forget(scope(1)).await;
        let clock = offsets.clock(scope(1), Mode::Sandbox).await.unwrap();
        assert_eq!(clock.now(), start() + TimeDelta::hours(5), "{on}");
        let live = offsets.clock(scope(1), Mode::Live).await.unwrap();
        assert_eq!(live.now(), start(), "{on}: live mode has the wall clock");
    }
}
