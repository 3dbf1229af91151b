//! Running a unit of work again when the database asks for it.

use std::error::Error;
use std::future::Future;
use std::time::Duration;

use sea_orm::DbErr;

use super::error::{cause, is_conflict, is_unavailable};
use crate::random;

const ATTEMPTS: u32 = 8;
const FIRST_MS: f64 = 4.0;
const LONGEST_MS: f64 = 250.0;

/// Runs `unit` until it does not fail with a conflict (SQLSTATE 40001 or 40P01, SQLite busy, or a compare-and-set that
/// was lost, [`DbErr::RecordNotUpdated`]), at most eight times, waiting a little longer and at random in between.
///
/// `unit` must begin its own transaction and do nothing outside it. An unknown commit (connection lost) is not
/// repeated here: the caller must look before it acts again.
///
/// # Errors
/// Whatever the last run failed with.
pub async fn retry<T, E, F>(mut unit: impl FnMut() -> F) -> Result<T, E>
where
    E: Error + 'static,
    F: Future<Output = Result<T, E>>,
{
    let mut attempt = 0;
    loop {
        match unit().await {
            Err(err) if attempt + 1 < ATTEMPTS && cause(&err).is_some_and(is_conflict) => {
                tokio::time::sleep(pause(attempt, random::fraction())).await;
                attempt += 1;
                metrics::counter!("db_retries_total").increment(1);
            }
            done => return done,
        }
    }
}

/// Whether what failed may succeed later, unchanged: the database is away, or was busy with somebody else.
pub fn passes(err: &(dyn Error + 'static)) -> bool {
    cause(err).is_some_and(|err| is_conflict(err) || is_unavailable(err) || matches!(err, DbErr::Conn(_)))
}

/// Full jitter: anything up to the exponential bound.
fn pause(attempt: u32, fraction: f64) -> Duration {
    let bound = (FIRST_MS * f64::from(1_u32 << attempt.min(16))).min(LONGEST_MS);
    Duration::from_secs_f64(bound * fraction / 1_000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound() {
        assert_eq!(pause(0, 1.0), Duration::from_millis(4));
        assert_eq!(pause(3, 0.5), Duration::from_millis(16));
        assert_eq!(pause(40, 1.0), Duration::from_millis(250));
    }

    #[test]
    fn what_passes_is_no_fault_of_the_work() {
        use crate::work::{Cure, Retry};
        let away = DbErr::Conn(sea_orm::RuntimeErr::Internal("away".into()));
        assert_eq!(Retry::from(away).cure, Cure::Time);
        assert_eq!(Retry::from(DbErr::RecordNotInserted).cure, Cure::Attempt);
    }

    #[tokio::test]
    async fn other_errors_are_not_repeated() {
        let mut runs = 0;
        let result: Result<(), sea_orm::DbErr> = retry(|| {
            runs += 1;
            async { Err(sea_orm::DbErr::RecordNotInserted) }
        })
        .await;
        assert!(result.is_err());
        assert_eq!(runs, 1);
    }
}
