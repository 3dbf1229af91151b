//! Certificates that clients hold (RFC 8705): which one a connection has proved, if it is good now.
//!
//! Who signed a certificate says nothing here, and names in it do not either: the registered thumbprint decides. Its own
//! dates do count: a certificate that has ended proves nothing, whoever has its key by now.

use chrono::{DateTime, TimeDelta, Utc};

use crate::hash::sha256_base64url;

/// How far the clock of who made a certificate may be ahead of ours.
const SKEW: TimeDelta = TimeDelta::seconds(60);

/// The thumbprint (`x5t#S256`) of a certificate in DER; nothing, if it is none, has ended or is not valid yet.
pub(super) fn held(der: &[u8], now: DateTime<Utc>) -> Option<String> {
    let (rest, parsed) = x509_parser::parse_x509_certificate(der).ok()?;
    let (from, until) = (parsed.validity().not_before.timestamp(), parsed.validity().not_after.timestamp());
    let soon = now.checked_add_signed(SKEW).unwrap_or(now);
    let good = rest.is_empty() && from <= soon.timestamp() && now.timestamp() <= until;
    good.then(|| sha256_base64url(der))
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    #[test]
    fn a_certificate_is_held_from_its_beginning_to_its_end() {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        (params.not_before, params.not_after) = (date_time_ymd(2027, 1, 2), date_time_ymd(2027, 1, 3));
        let made = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let day = |day: i64| DateTime::from_timestamp(1_798_761_600 + day * 86_400, 0).unwrap();
        let held = |at| held(made.der(), at);
        let thumbprint = Some(sha256_base64url(made.der()));
        assert_eq!(held(day(1)), thumbprint);
        assert_eq!(held(day(2)), thumbprint);
        assert_eq!(held(day(2) + TimeDelta::seconds(1)), None, "it has ended");
        assert_eq!(held(day(1) - SKEW), thumbprint);
        assert_eq!(held(day(1) - SKEW - TimeDelta::seconds(1)), None, "it is not valid yet");
        assert_eq!(super::held(b"no certificate", day(1)), None);
        assert_eq!(super::held(&[made.der(), &b"x"[..]].concat(), day(1)), None, "there is more");
    }
}
