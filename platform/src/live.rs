//! What a plane needs before it may be for real.

use tenants::environment::Mode;

use crate::config::Faults;
use crate::db::DatabaseConfig;
use crate::tls::TlsFiles;

/// Adds what a plane of this mode lacks; `section` is its table in the file. In a sandbox nothing: in live mode a
/// database that keeps what it has confirmed, a listener that sees the certificates of callers, and a name which they
/// can verify. That its keys are in a file the type of the configuration asks for in every mode.
pub fn check(
    section: &str,
    (mode, public_url): (Mode, &str),
    database: &DatabaseConfig,
    tls: Option<&TlsFiles>,
    faults: &mut Faults,
) {
    if tls.is_some() {
        let reason = "begin with https: there is a [tls] table";
        faults.unless(public_url.starts_with("https://"), &format!("{section}.public_url"), reason);
    }
    if mode == Mode::Sandbox {
        return;
    }
    let postgres = "be that of a PostgreSQL in live mode: postgres://tambo_app:…";
    faults.unless(database.is_postgres(), "database.url", postgres);
    let there = "be there in live mode, with certificate_file and key_file: tokens are bound to certificates and keys";
    faults.unless(tls.is_some(), "tls", there);
    let https = "begin with https in live mode";
    faults.unless(
        tls.is_some() || public_url.starts_with("https://"),
        &format!("{section}.public_url"),
        https,
    );
}
