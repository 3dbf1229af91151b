//! What an authority signs, and what it refuses to.

use chrono::{DateTime, TimeDelta, Utc};
use platform::pki::{self, Ca, CsrError, KeyAndRequest, PkiError, Serial};
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use tempfile::TempDir;
use tenants::id::CellId;
use uuid::Uuid;

const DAY: TimeDelta = TimeDelta::hours(24);

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000, 0).unwrap()
}

fn cell(number: u128) -> CellId {
    CellId::from_uuid(Uuid::from_u128(number))
}

fn open(folder: &Path) -> Result<Ca, PkiError> {
    let [root, issuing, key] = ["root/root.pem", "issuing/issuing.pem", "issuing/issuing.key"];
    Ca::open(&folder.join(root), &folder.join(issuing), &folder.join(key))
}

fn authority() -> (TempDir, Ca) {
    let folder = tempfile::tempdir().unwrap();
    pki::init(folder.path(), now()).unwrap();
    let ca = open(folder.path()).unwrap();
    (folder, ca)
}

fn der(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
}

/// A request with this key that asks for more than anybody gets.
fn greedy(key: &KeyPair) -> String {
    let mut asked = CertificateParams::new(vec![]).unwrap();
    asked.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    asked.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    asked.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::Any];
    asked.serialize_request(key).unwrap().pem().unwrap()
}

#[test]
fn a_certificate_says_what_we_decide_and_nothing_that_was_asked_for() {
    let (_folder, ca) = authority();
    let key = KeyPair::generate().unwrap();
    let issued = ca.sign_cell(&greedy(&key), cell(1), now(), DAY).unwrap();
    let der = der(&issued.certificate_pem);
    let (_, read) = x509_parser::parse_x509_certificate(&der).unwrap();
    let constraints = read.basic_constraints().unwrap().unwrap().value;
    assert!(!constraints.ca);
    let usage = read.key_usage().unwrap().unwrap().value;
    assert!(usage.digital_signature() && !usage.key_cert_sign() && !usage.crl_sign());
    let extended = read.extended_key_usage().unwrap().unwrap().value;
    assert!(extended.client_auth && !extended.server_auth && !extended.any);
    assert_eq!(read.validity().not_before.timestamp(), now().timestamp() - 300);
    assert_eq!(read.validity().not_after.timestamp(), (now() + DAY).timestamp());
    assert_eq!(issued.not_after, now() + DAY);
    let peer = pki::peer(&der).unwrap();
    assert_eq!((peer.cell, peer.serial, peer.not_after), (cell(1), issued.serial, issued.not_after));
    assert_eq!(issued.serial.to_string().parse::<Serial>().unwrap(), issued.serial);
}

#[test]
fn each_certificate_has_a_number_of_its_own() {
    let (_folder, ca) = authority();
    let request = KeyAndRequest::make(cell(1)).unwrap();
    let [one, other] = [(); 2].map(|()| ca.sign_cell(&request.csr_pem, cell(1), now(), DAY).unwrap());
    assert_ne!(one.serial, other.serial);
    assert_eq!(pki::peer(&der(&other.certificate_pem)).unwrap().serial, other.serial);
}

#[test]
fn requests_are_refused_that_are_not_for_the_cell_or_not_of_its_key() {
    let (_folder, ca) = authority();
    let sign = |csr: &str| ca.sign_cell(csr, cell(1), now(), DAY);
    let good = KeyAndRequest::make(cell(1)).unwrap().csr_pem;
    assert!(sign(&good).is_ok());

    let other = KeyAndRequest::make(cell(2)).unwrap().csr_pem;
    assert!(matches!(sign(&other), Err(CsrError::OtherCell)));
    let mut host = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    host.key_usages.clear();
    let host = host.serialize_request(&KeyPair::generate().unwrap()).unwrap().pem().unwrap();
    assert!(matches!(sign(&host), Err(CsrError::OtherCell)));

    let strong = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    assert!(matches!(sign(&greedy(&strong)), Err(CsrError::Key)));

    // The signature is at the end; another text in its place is signed by nobody.
    let lines: Vec<&str> = good.lines().collect();
    let at = good.find(lines[lines.len() - 3]).unwrap();
    let broken: String = good
        .char_indices()
        .map(|(index, char)| if index == at + 5 { if char == 'A' { 'B' } else { 'A' } } else { char })
        .collect();
    assert_ne!(broken, good);
    for text in [broken.as_str(), "", "no PEM", &ca.chain_pem()] {
        assert!(matches!(sign(text), Err(CsrError::Invalid(_))), "{text}");
    }
}

#[test]
fn nothing_outlives_the_issuing_certificate() {
    let (_folder, ca) = authority();
    let request = KeyAndRequest::make(cell(1)).unwrap();
    let late = ca.ends() - TimeDelta::hours(1);
    let issued = ca.sign_cell(&request.csr_pem, cell(1), late, DAY).unwrap();
    assert_eq!(issued.not_after, ca.ends());
    assert_eq!(pki::peer(&der(&issued.certificate_pem)).unwrap().not_after, ca.ends());
}

#[test]
fn a_certificate_without_a_cell_is_no_peer() {
    let (_folder, ca) = authority();
    let server = ca.server(&["localhost".to_owned()], now()).unwrap();
    for pem in [server.certificate_pem.as_str(), &ca.chain_pem(), ca.root_pem()] {
        assert!(pki::peer(&der(pem)).is_err());
    }
    assert!(pki::peer(b"nonsense").is_err());
}

#[test]
fn keys_are_their_owners_and_an_authority_is_not_replaced() {
    let (folder, _) = authority();
    for name in ["root/root.key", "issuing/issuing.key"] {
        let mode = fs::metadata(folder.path().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    let before = fs::read(folder.path().join("root/root.pem")).unwrap();
    assert!(matches!(pki::init(folder.path(), now()), Err(PkiError::Exists(_))));
    assert_eq!(fs::read(folder.path().join("root/root.pem")).unwrap(), before);
}

#[test]
fn the_issuing_certificate_changes_below_the_same_root() {
    let (folder, ca) = authority();
    let later = now() + TimeDelta::days(80);
    // The root is where no server reads it.
    let elsewhere = tempfile::tempdir().unwrap();
    let root = elsewhere.path().join("root");
    fs::create_dir(&root).unwrap();
    for name in ["root.key", "root.pem"] {
        fs::copy(folder.path().join("root").join(name), root.join(name)).unwrap();
    }
    fs::remove_file(folder.path().join("root/root.key")).unwrap();
    let issuing = folder.path().join("issuing");
    let ends = pki::reissue(&root, &issuing, later).unwrap();
    assert_eq!(ends, later + TimeDelta::days(90));
    let next = open(folder.path()).unwrap();
    assert_eq!((next.root_der(), next.ends()), (ca.root_der(), ends));
    assert_ne!(next.chain_pem(), ca.chain_pem());
    let mode = fs::metadata(issuing.join("issuing.key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(matches!(pki::reissue(&folder.path().join("root"), &issuing, later), Err(PkiError::File { .. })));

    // A folder that is to be carried to the servers is made.
    pki::reissue(&root, &elsewhere.path().join("issuing"), later).unwrap();
    assert!(elsewhere.path().join("issuing/issuing.pem").exists());
}

#[test]
fn who_signs_takes_up_another_issuing_certificate_and_nothing_that_does_not_fit() {
    let (folder, ca) = authority();
    let (strange, _) = authority();
    let before = ca.chain_pem();
    let request = KeyAndRequest::make(cell(1)).unwrap();
    let sign = || ca.sign_cell(&request.csr_pem, cell(1), now(), DAY).unwrap();
    let [issuing, key] = ["issuing/issuing.pem", "issuing/issuing.key"].map(|name| folder.path().join(name));
    assert!(!ca.take_up(&issuing, &key).unwrap(), "it is the same");
    let [other, other_key] =
        ["issuing/issuing.pem", "issuing/issuing.key"].map(|name| strange.path().join(name));
    assert!(matches!(ca.take_up(&other, &other_key), Err(PkiError::Mismatch(_))));
    assert!(matches!(ca.take_up(&folder.path().join("none"), &key), Err(PkiError::File { .. })));
    assert_eq!(sign().chain_pem, before);

    let ends =
        pki::reissue(&folder.path().join("root"), &folder.path().join("issuing"), now() + DAY).unwrap();
    assert!(matches!(ca.take_up(&issuing, &other_key), Err(PkiError::Mismatch(_))), "half of it is there");
    assert_eq!(sign().chain_pem, before);
    assert!(ca.take_up(&issuing, &key).unwrap());
    assert_eq!(ca.ends(), ends);
    assert_ne!(ca.chain_pem(), before);
    assert_eq!(sign().chain_pem, ca.chain_pem());
}

#[test]
fn files_that_do_not_belong_together_are_refused() {
    let ((ours, _), (theirs, foreign)) = (authority(), authority());
    let text = |folder: &TempDir, name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
    let [root, issuing, key] =
        ["root/root.pem", "issuing/issuing.pem", "issuing/issuing.key"].map(|name| text(&ours, name));
    let foreign_key = text(&theirs, "issuing/issuing.key");
    assert!(Ca::load(&root, &issuing, &key).is_ok());
    assert!(matches!(Ca::load(foreign.root_pem(), &issuing, &key), Err(PkiError::Mismatch(_))));
    assert!(matches!(Ca::load(&root, &issuing, &foreign_key), Err(PkiError::Mismatch(_))));
    assert!(matches!(Ca::load(&root, &key, &key), Err(PkiError::Malformed(_))));
    assert!(matches!(Ca::load(&root, &issuing, &issuing), Err(PkiError::Malformed(_))));
}

#[test]
fn keys_are_not_printed() {
    let (_folder, ca) = authority();
    let request = KeyAndRequest::make(cell(1)).unwrap();
    let server = ca.server(&["localhost".to_owned()], now()).unwrap();
    for text in [format!("{request:?}"), format!("{server:?}"), format!("{ca:?}")] {
        assert!(!text.contains("PRIVATE KEY"), "{text}");
    }
}
