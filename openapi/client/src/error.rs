//! Why a call has no good answer.

use std::fmt;

use serde::Deserialize;

use crate::transport::Lost;

/// Why a call has no good answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No answer, after the last attempt.
    #[error("{request}: {lost}")]
    Lost {
        /// Method and path.
        request: String,
        /// Why.
        lost: Lost,
    },
    /// The server says what is wrong, and what to do about it.
    #[error("{request}: {problem}")]
    Problem {
        /// Method and path.
        request: String,
        /// Its words.
        problem: Box<Problem>,
    },
    /// An answer of another shape than the document says.
    #[error("{request}: the answer is not as documented: {reason}")]
    Shape {
        /// Method and path.
        request: String,
        /// What does not fit.
        reason: String,
    },
    /// What was asked cannot be a request.
    #[error("not a request: {0}")]
    Unusable(String),
}

impl Error {
    /// The problem, if it is one.
    #[must_use]
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Problem { problem, .. } => Some(problem),
            _ => None,
        }
    }

    /// The problem's code, to branch on.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        self.problem().map(|problem| problem.code.as_str())
    }
}

/// A problem (RFC 9457). Its texts are in the language that the client asked for.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Problem {
    /// Where its page is, relative to the server.
    pub r#type: String,
    /// In a few words.
    pub title: String,
    /// HTTP status.
    pub status: u16,
    /// Its stable name, to branch on.
    pub code: String,
    /// What happened.
    pub detail: String,
    /// What to do about it.
    pub remedy: String,
    /// For whoever looks into the server's log.
    pub request_id: String,
    /// Whether the same request may succeed later.
    pub retryable: bool,
    /// What is wrong with single fields.
    #[serde(default, deserialize_with = "null_is_none")]
    pub errors: Vec<Fault>,
}

fn null_is_none<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<Fault>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { status, code, detail, request_id, .. } = self;
        write!(f, "{status} {code}: {detail} (request {request_id})")
    }
}

/// What is wrong with one field.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Fault {
    /// Where the field is: `body`, `query`, `path` or `header`.
    pub r#in: String,
    /// A JSON pointer (RFC 6901) into the body, or the parameter's name.
    pub pointer: String,
    /// Its stable name.
    pub code: String,
    /// What happened.
    pub detail: String,
}
