//! What a database error is to a caller.

use super::{Problem, codes};
use crate::db;
use sea_orm::DbErr;

impl From<DbErr> for Problem {
    /// Unreachable, busy, full and values that the database cannot hold are told apart, since the caller's remedy differs;
    /// all else is `internal`.
    fn from(error: DbErr) -> Self {
        let code = match kind(&error) {
            Kind::Unavailable => return Self::new(&codes::DATABASE_UNAVAILABLE).retry_after(1).cause(error),
            Kind::Busy => return Self::new(&codes::DATABASE_BUSY).retry_after(1).cause(error),
            Kind::Full => return Self::new(&codes::STORAGE_FULL).retry_after(60).cause(error),
            Kind::Value => &codes::INVALID_PARAMETER,
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
    Value,
    Other,
}

fn kind(error: &DbErr) -> Kind {
    let state = db::error::code(error).unwrap_or_default();
    if db::is_full(error) {
        Kind::Full
    } else if db::is_conflict(error) || state == "55P03" {
        Kind::Busy
    } else if db::is_unavailable(error) {
        Kind::Unavailable
    } else if is_foreign(&state) {
        Kind::Value
    } else {
        Kind::Other
    }
}

/// PostgreSQL has no such value: NUL in a text, an instant outside its years. Such a value can only come from the caller.
/// The rest of class 22, such as an overflow in arithmetic, would be a fault of ours.
fn is_foreign(state: &str) -> bool {
    matches!(state, "22007" | "22008" | "22021" | "22P05")
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse;
    use sea_orm::RuntimeErr;

    use super::*;

    #[test]
    fn values_of_callers_are_told_from_our_arithmetic() {
        assert!(is_foreign("22021") && is_foreign("22008"));
        assert!(!is_foreign("22003") && !is_foreign("22012") && !is_foreign("23505") && !is_foreign(""));
    }

    #[test]
    fn who_is_away_or_busy_is_asked_again_in_a_second() {
        let io = || sea_orm::SqlxError::Io(std::io::ErrorKind::ConnectionReset.into());
        let away = [
            DbErr::ConnectionAcquire(sea_orm::ConnAcquireErr::Timeout),
            DbErr::Conn(RuntimeErr::SqlxError(io().into())),
            DbErr::Query(RuntimeErr::SqlxError(io().into())),
            DbErr::Exec(RuntimeErr::SqlxError(sea_orm::SqlxError::PoolTimedOut.into())),
        ];
        for error in away {
            let said = error.to_string();
            let problem = Problem::from(error);
            assert_eq!(problem.code(), &codes::DATABASE_UNAVAILABLE, "{said}");
            let answer = problem.into_response();
            assert_eq!(answer.status().as_u16(), 503, "{said}");
            assert_eq!(answer.headers()["retry-after"], "1", "{said}");
        }
    }

    #[test]
    fn the_text_of_a_database_error_stays_private() {
        let problem = Problem::from(DbErr::Custom("secret".to_owned()));
        assert_eq!(problem.code(), &codes::INTERNAL);
        assert_eq!(problem.to_string(), "internal");
        assert!(db::error::cause(&problem).is_some(), "retry looks for it there");
        let body = super::super::Carried(std::sync::Arc::from(problem.0)).body(None, None);
        assert!(!String::from_utf8(body).unwrap().contains("secret"));
    }
}
