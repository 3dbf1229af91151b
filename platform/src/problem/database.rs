//! What a database error is to a caller.

use super::{Problem, codes};
use sea_orm::{DbErr, RuntimeErr};

impl From<DbErr> for Problem {
    /// Unreachable, busy and full are told apart, since the caller's remedy differs; all else is `internal`.
    fn from(error: DbErr) -> Self {
        let code = match kind(&error) {
            Kind::Unavailable => return Self::new(&codes::DATABASE_UNAVAILABLE).retry_after(1).cause(error),
            Kind::Busy => return Self::new(&codes::DATABASE_BUSY).retry_after(1).cause(error),
            Kind::Full => return Self::new(&codes::STORAGE_FULL).retry_after(60).cause(error),
            Kind::Other => &codes::INTERNAL,
        };
        Self::new(code).cause(error)
    }
}

#[derive(Debug, PartialEq)]
enum Kind {
    Unavailable,
    Busy,
    Full,
    Other,
}

fn kind(error: &DbErr) -> Kind {
    match error {
        DbErr::ConnectionAcquire(_) => Kind::Unavailable,
        DbErr::Conn(RuntimeErr::SqlxError(error))
        | DbErr::Exec(RuntimeErr::SqlxError(error))
        | DbErr::Query(RuntimeErr::SqlxError(error)) => of_sqlx(error),
        DbErr::Conn(_) => Kind::Unavailable,
        _ => Kind::Other,
    }
}

fn of_sqlx(error: &sea_orm::SqlxError) -> Kind {
    match error {
        sea_orm::SqlxError::Io(_)
        | sea_orm::SqlxError::Tls(_)
        | sea_orm::SqlxError::PoolTimedOut
        | sea_orm::SqlxError::PoolClosed
        | sea_orm::SqlxError::WorkerCrashed => Kind::Unavailable,
        sea_orm::SqlxError::Database(error) => of_state(error.code().as_deref().unwrap_or_default()),
        _ => Kind::Other,
    }
}

/// By SQLSTATE (PostgreSQL, appendix A) or by SQLite's primary result code, of which extended ones are multiples of 256
/// above.
fn of_state(state: &str) -> Kind {
    match state {
        // Connection exceptions; shutdown, crash, starting up, too many connections.
        state if state.len() == 5 && state.starts_with("08") => Kind::Unavailable,
        "57P01" | "57P02" | "57P03" | "53300" => Kind::Unavailable,
        // Serialisation failure, deadlock, lock not available.
        "40001" | "40P01" | "55P03" => Kind::Busy,
        // Disk full.
        "53100" => Kind::Full,
        state => match state.parse::<u32>().map(|code| code & 0xff) {
            Ok(5 | 6) if state.len() < 5 => Kind::Busy,
            Ok(13) if state.len() < 5 => Kind::Full,
            Ok(14 | 10) if state.len() < 5 => Kind::Unavailable,
            _ => Kind::Other,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_told_apart() {
        for (state, expected) in [
            ("08006", Kind::Unavailable),
            ("57P01", Kind::Unavailable),
            ("40001", Kind::Busy),
            ("53100", Kind::Full),
            ("5", Kind::Busy),
            ("517", Kind::Busy),
            ("13", Kind::Full),
            ("14", Kind::Unavailable),
            ("23505", Kind::Other),
            ("2067", Kind::Other),
            ("", Kind::Other),
        ] {
            assert_eq!(of_state(state), expected, "{state}");
        }
    }

    #[test]
    fn the_text_of_a_database_error_stays_private() {
        let problem = Problem::from(DbErr::Custom("secret".to_owned()));
        assert_eq!(problem.code(), &codes::INTERNAL);
        let body = super::super::Carried(std::sync::Arc::from(problem.0)).body(None, None);
        assert!(!String::from_utf8(body).unwrap().contains("secret"));
    }
}
