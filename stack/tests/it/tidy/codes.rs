//! Every problem that a caller can get is named in an integration test, as what is expected.
//!
//! That a test names it is read from its text, since what tests get in many processes nobody gathers.

use platform::problem::{Domain, PLATFORM};

const DOMAINS: [&Domain; 4] =
    [&PLATFORM, &ledger::http::DOMAIN, &data_plane::router::DOMAIN, &control_plane::router::DOMAIN];

/// What no test gets yet, and why. This list only shrinks.
const UNMET: [(&str, &str); 3] = [
    ("body_unreadable", "a body that breaks off; routers in a test's process get whole ones"),
    ("client_limit", "takes 2,000 clients of one environment"),
    ("hold_not_expired", "only the cell's own sweep asks for expiries: a reason in the ledger's tests"),
];

/// Codes without a test, and those of the list above that have one or are none.
pub fn unmet<'a>(files: impl Iterator<Item = (&'a str, &'a str)>) -> Vec<String> {
    let tests: Vec<&str> = files.filter(|(path, _)| is_test(path)).map(|(_, text)| text).collect();
    let met = |code: &str| {
        // As it is on the wire, or as the static of its name.
        let (wire, name) = (format!("\"{code}\""), format!("::{}", code.to_ascii_uppercase()));
        tests.iter().any(|text| text.contains(&wire) || text.contains(&name))
    };
    let codes: Vec<&str> = DOMAINS
        .iter()
        .flat_map(|domain| domain.codes.iter().copied().flatten())
        .map(|code| code.name)
        .collect();
    let listed = |code: &str| UNMET.iter().any(|(name, _)| *name == code);
    let mut faults: Vec<String> = codes
        .iter()
        .filter(|code| !met(code) && !listed(code))
        .map(|code| format!("no test in tests/it gets the problem `{code}`"))
        .collect();
    for (code, _) in UNMET {
        if !codes.contains(&code) {
            faults.push(format!("`{code}` is no problem: take it off the list"));
        } else if met(code) {
            faults.push(format!("`{code}` is met in a test: take it off the list"));
        }
    }
    faults
}

/// An integration test of something served; these rules themselves are none.
fn is_test(path: &str) -> bool {
    path.contains("/tests/it/") && path.ends_with(".rs") && !path.contains("/tidy")
}

#[test]
fn a_problem_that_no_test_names_is_found() {
    let faults = unmet([("data-plane/tests/it/a.rs", "is_problem(\"not_found\")")].into_iter());
    let of = |code: &str| faults.iter().any(|fault| fault.contains(&format!("`{code}`")));
    assert!(of("internal") && of("insufficient_funds"), "{faults:?}");
    assert!(!of("not_found") && !of("client_limit"), "{faults:?}");
    let faults = unmet([("a/tests/it/a.rs", "codes::CLIENT_LIMIT")].into_iter());
    assert!(faults.contains(&"`client_limit` is met in a test: take it off the list".to_owned()));
}
