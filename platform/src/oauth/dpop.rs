//! Proofs that come with a token (RFC 9449): of this request, with the token's key, and once only.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};
use oauth_as::dpop::{CLOCK_SKEW_LEEWAY, MAX_PROOF_AGE, verify_proof};
use oauth_as::jwt::{CompactJws, JwsVerifiers};
use ring::digest::{SHA256, digest};
use std::sync::Arc;

use super::keys::Es256;
use crate::hash::sha256_base64url;

/// How many proofs are remembered per window; beyond that they are refused until the window ends.
const REMEMBERED: usize = 4_000_000;
/// How many of them are of one key, so that nobody takes the room of others.
const OF_A_KEY: u32 = 1_000_000;

/// Why a proof is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// There is none, or more than one.
    #[error("a bound token comes with exactly one proof")]
    Absent,
    /// It is not a proof of this request at this time.
    #[error("the proof is not one of this request")]
    Wrong,
    /// It is by another key than the token's.
    #[error("the proof is by another key than the token is bound to")]
    Key,
    /// It is for another token.
    #[error("the proof is for another token")]
    Token,
    /// It was used.
    #[error("the proof was used before")]
    Replayed,
    /// More proofs came than are remembered.
    #[error("too many proofs to remember")]
    Crowded,
}

/// Checks proofs and remembers those that were used, in this process.
///
/// Another replica does not know of them: a proof that was seen on its way can be used once per replica, for the same
/// request with the same token, within its five minutes.
#[derive(Debug)]
pub struct Proofs {
    verifiers: JwsVerifiers,
    seen: Mutex<Seen>,
}

#[derive(Debug)]
struct Seen {
    since: DateTime<Utc>,
    current: HashSet<[u8; 16]>,
    /// How many of them are of each key.
    keys: HashMap<Box<str>, u32>,
    previous: HashSet<[u8; 16]>,
}

impl Default for Proofs {
    fn default() -> Self {
        let mut verifiers = JwsVerifiers::new();
        verifiers.install(Arc::new(Es256));
        let seen = Seen {
            since: DateTime::UNIX_EPOCH,
            current: HashSet::new(),
            keys: HashMap::new(),
            previous: HashSet::new(),
        };
        Self { verifiers, seen: Mutex::new(seen) }
    }
}

impl Proofs {
    /// Accepts the proof for a request of `method` and `url` with `token`, which is bound to the key `jkt`.
    ///
    /// # Errors
    /// Why not.
    pub fn accept(
        &self,
        proof: &str,
        (method, url): (&str, &str),
        token: &str,
        jkt: &str,
        now: DateTime<Utc>,
    ) -> Result<(), ProofError> {
        let verified =
            verify_proof(&self.verifiers, proof, method, url, now.into()).map_err(|_| ProofError::Wrong)?;
        if verified.jkt != jkt {
            return Err(ProofError::Key);
        }
        let parsed = CompactJws::parse(proof).map_err(|_| ProofError::Wrong)?;
        if parsed.claim_str("ath") != Some(&sha256_base64url(token)) {
            return Err(ProofError::Token);
        }
        self.once(&verified.jkt, &verified.jti, now)
    }

    fn once(&self, jkt: &str, jti: &str, now: DateTime<Utc>) -> Result<(), ProofError> {
        let name = digest(&SHA256, format!("{jkt} {jti}").as_bytes());
        let mut short = [0; 16];
        short.copy_from_slice(&name.as_ref()[..16]);
        // As long as a proof can be used at most: made a little in our future, to the end of its age. A name stays for
        // one window at least and two at most.
        let window = TimeDelta::from_std(MAX_PROOF_AGE + CLOCK_SKEW_LEEWAY).unwrap_or(TimeDelta::MAX);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let age = now.signed_duration_since(seen.since);
        if age > window {
            let current = std::mem::take(&mut seen.current);
            seen.previous = if age > window * 2 { HashSet::new() } else { current };
            seen.keys.clear();
            seen.since = now;
        }
        if seen.previous.contains(&short) {
            return Err(ProofError::Replayed);
        }
        if seen.current.contains(&short) {
            return Err(ProofError::Replayed);
        }
        let of_key = seen.keys.get(jkt).copied().unwrap_or_default();
        if seen.current.len() >= REMEMBERED || of_key >= OF_A_KEY {
            return Err(ProofError::Crowded);
        }
        seen.keys.insert(jkt.into(), of_key.saturating_add(1));
        seen.current.insert(short);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oauth::keys::SigningKey;
    use serde_json::json;

    const URL: &str = "https://cell.example/v1/accounts";

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000, 0).unwrap()
    }

    fn proof(key: &SigningKey, claims: &serde_json::Value) -> String {
        let public = key.public();
        let jwk = json!({"kty": "EC", "crv": "P-256", "x": public.x, "y": public.y});
        key.sign_jws(&json!({"typ": "dpop+jwt", "alg": "ES256", "jwk": jwk}), claims).unwrap()
    }

    fn claims(jti: &str) -> serde_json::Value {
        json!({"htm": "GET", "htu": URL, "iat": now().timestamp(), "jti": jti, "ath": sha256_base64url("token")})
    }

    #[test]
    fn a_proof_is_of_this_request_and_token_and_key() {
        let proofs = Proofs::default();
        let (key, _) = SigningKey::make().unwrap();
        let (other, _) = SigningKey::make().unwrap();
        let accept = |proof: &str| proofs.accept(proof, ("GET", URL), "token", key.kid(), now());
        assert_eq!(accept(&proof(&key, &claims("a"))), Ok(()));
        for (change, value, expected) in [
            ("htm", json!("POST"), ProofError::Wrong),
            ("htu", json!("https://cell.example/v1/parties"), ProofError::Wrong),
            ("iat", json!(now().timestamp() - 301), ProofError::Wrong),
            ("iat", json!(now().timestamp() + 61), ProofError::Wrong),
            ("jti", json!(""), ProofError::Wrong),
            ("ath", json!(sha256_base64url("another")), ProofError::Token),
            ("ath", json!(null), ProofError::Token),
        ] {
            let mut claims = claims("b");
            claims[change] = value;
            assert_eq!(accept(&proof(&key, &claims)), Err(expected), "{change}");
        }
        assert_eq!(accept(&proof(&other, &claims("c"))), Err(ProofError::Key));
        assert_eq!(accept("x"), Err(ProofError::Wrong));
        assert_eq!(accept(&proof(&key, &claims("b"))), Ok(()), "what was refused was not used");
    }

    #[test]
    fn nobody_takes_the_room_of_others() {
        let proofs = Proofs::default();
        for number in 0..OF_A_KEY {
            assert_eq!(proofs.once("one", &number.to_string(), now()), Ok(()));
        }
        assert_eq!(proofs.once("one", "more", now()), Err(ProofError::Crowded));
        assert_eq!(proofs.once("one", "7", now()), Err(ProofError::Replayed));
        assert_eq!(proofs.once("other", "7", now()), Ok(()));
        assert_eq!(proofs.once("one", "more", now() + TimeDelta::minutes(7)), Ok(()), "a window later");
    }

    #[test]
    fn a_proof_is_good_once_for_as_long_as_it_lives() {
        let proofs = Proofs::default();
        let (key, _) = SigningKey::make().unwrap();
        // One that is made as late as is accepted lives longest.
        let mut late = claims("late");
        late["iat"] = json!(now().timestamp() + 60);
        let late = proof(&key, &late);
        let at = |seconds: i64| now() + TimeDelta::seconds(seconds);
        let accept =
            |proof: &str, seconds: i64| proofs.accept(proof, ("GET", URL), "token", key.kid(), at(seconds));
        assert_eq!(accept(&late, 0), Ok(()));
        for seconds in [0, 1, 100, 200, 359] {
            assert_eq!(accept(&late, seconds), Err(ProofError::Replayed), "{seconds}");
            let mut fresh = claims(&format!("fresh {seconds}"));
            fresh["iat"] = json!(at(seconds).timestamp());
            assert_eq!(accept(&proof(&key, &fresh), seconds), Ok(()), "{seconds}");
        }
        assert_eq!(accept(&late, 360), Err(ProofError::Wrong), "it has ended");
    }
}
