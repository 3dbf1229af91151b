//! What a database error means, by SQLSTATE or SQLite's result code; never by text or by a constraint's name.

use std::error::Error;

use sea_orm::{DbErr, RuntimeErr, SqlxError};

/// The database's own code: five characters of SQLSTATE, or SQLite's extended result code in decimal.
pub fn code(err: &DbErr) -> Option<String> {
    match sqlx_error(err)? {
        SqlxError::Database(err) => err.code().map(|code| code.into_owned()),
        _ => None,
    }
}

/// A row with the same unique key exists.
pub fn is_unique_violation(err: &DbErr) -> bool {
    matches!(sqlx_error(err), Some(SqlxError::Database(err)) if err.is_unique_violation())
}

/// The transaction was refused because others ran at the same time (serialisation failure, deadlock, SQLite busy), or
/// refuses itself because a row is not as it read it any more: nothing was written, and running all of it again may
/// succeed.
pub fn is_conflict(err: &DbErr) -> bool {
    if matches!(err, DbErr::RecordNotUpdated) {
        return true;
    }
    let Some(code) = code(err) else { return false };
    matches!(code.as_str(), "40001" | "40P01") || matches!(sqlite_primary(&code), Some(5 | 6))
}

/// The database has no room left: nothing was written, and nothing will be until there is room.
pub fn is_full(err: &DbErr) -> bool {
    code(err).is_some_and(|code| is_full_code(&code))
}

/// SQLite says that the disk is full (13), or that a write failed (778), which is what it makes of a quota and of the
/// largest size that a file may have.
fn is_full_code(code: &str) -> bool {
    code == "53100" || sqlite_primary(code) == Some(13) || code == "778"
}

/// The database cannot be reached, is shutting down, or has run out of connections or space: a matter for the
/// operator, and worth another try later.
pub fn is_unavailable(err: &DbErr) -> bool {
    if matches!(err, DbErr::ConnectionAcquire(_)) {
        return true;
    }
    match sqlx_error(err) {
        Some(SqlxError::Database(err)) => {
            let code = err.code().unwrap_or_default();
            // 08 connection, 53 resources, 57P shutdown and start-up; SQLite: I/O, full, cannot open.
            (code.len() == 5 && (code.starts_with("08") || code.starts_with("53") || code.starts_with("57P")))
                || matches!(sqlite_primary(&code), Some(10 | 13 | 14))
        }
        Some(
            SqlxError::Io(_)
            | SqlxError::Tls(_)
            | SqlxError::PoolTimedOut
            | SqlxError::PoolClosed
            | SqlxError::WorkerCrashed,
        ) => true,
        _ => false,
    }
}

/// The first [`DbErr`] in an error and its causes.
pub fn cause<'a>(err: &'a (dyn Error + 'static)) -> Option<&'a DbErr> {
    let mut next = Some(err);
    while let Some(err) = next {
        if let Some(found) = err.downcast_ref::<DbErr>() {
            return Some(found);
        }
        next = err.source();
    }
    None
}

fn sqlx_error(err: &DbErr) -> Option<&SqlxError> {
    match err {
        DbErr::Conn(RuntimeErr::SqlxError(err))
        | DbErr::Exec(RuntimeErr::SqlxError(err))
        | DbErr::Query(RuntimeErr::SqlxError(err)) => Some(err),
        _ => None,
    }
}

/// SQLite's primary result code; `None` for a SQLSTATE, which is always five characters long.
fn sqlite_primary(code: &str) -> Option<u32> {
    if code.len() >= 5 { None } else { code.parse::<u32>().ok().map(|code| code & 0xff) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sqlite_codes_are_told_from_sqlstates() {
        assert_eq!(sqlite_primary("517"), Some(5));
        assert_eq!(sqlite_primary("40001"), None);
        assert_eq!(sqlite_primary("53100"), None);
    }

    #[test]
    fn a_full_disk_is_told_from_others() {
        assert!(["53100", "13", "269", "778"].map(is_full_code).iter().all(|full| *full));
        assert!(!["53300", "5", "", "266", "40013"].map(is_full_code).iter().any(|full| *full));
    }

    #[test]
    fn a_wrapped_database_error_is_found() {
        #[derive(Debug, thiserror::Error)]
        #[error("wrapped")]
        struct Wrapped(#[source] DbErr);
        let err = Wrapped(DbErr::RecordNotInserted);
        assert!(matches!(cause(&err), Some(DbErr::RecordNotInserted)));
        assert!(cause(&std::io::Error::other("no database here")).is_none());
    }

    #[test]
    fn a_lost_compare_and_set_is_a_conflict() {
        assert!(is_conflict(&DbErr::RecordNotUpdated) && !is_conflict(&DbErr::RecordNotInserted));
    }

    #[test]
    fn a_full_pool_is_unavailability_and_not_a_conflict() {
        let err = DbErr::ConnectionAcquire(sea_orm::ConnAcquireErr::Timeout);
        assert!(is_unavailable(&err) && !is_conflict(&err) && !is_unique_violation(&err));
    }
}
