//! Certificates of the cell link: a root, an issuing certificate below it, and the leaves of cells and servers.
//!
//! The root signs issuing certificates and nothing else; its key lies apart, and no serving process opens it. Everybody
//! trusts the root and sends the issuing certificate along, so that it can be replaced without telling anyone. All keys
//! are ECDSA on P-256. What a certificate says is decided here: of a request only the public key is taken.
//!
//! Which cell a certificate is for is its one SAN URI, `tambo://cell/cell_…`. Whether it is still honoured is not in
//! it: who asks looks its [`Serial`] up.

use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, PoisonError, RwLock};

use chrono::{DateTime, TimeDelta, Utc};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData, SanType, SerialNumber,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tenants::id::CellId;
use time::OffsetDateTime;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;

use crate::random;

/// How long a root lives.
const ROOT_LIFE: TimeDelta = TimeDelta::days(3653);
/// How long an issuing certificate lives.
const ISSUING_LIFE: TimeDelta = TimeDelta::days(90);
/// How long a server's certificate lives; its owner issues it itself, well before.
const SERVER_LIFE: TimeDelta = TimeDelta::hours(24);
/// How far the clock of who checks may be behind.
const SKEW: TimeDelta = TimeDelta::minutes(5);
/// What the URI of a cell begins with.
const CELL: &str = "tambo://cell/";

/// Why certificates could not be made or read.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// A file cannot be read or written.
    #[error("{}: {error}", file.display())]
    File {
        /// Which one.
        file: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// There is an authority already; who wants another one takes another folder.
    #[error("{} is there already, and is not replaced", .0.display())]
    Exists(PathBuf),
    /// A text that should hold a certificate or a key in PEM does not.
    #[error("the {0} is no PEM text of one")]
    Malformed(&'static str),
    /// The files do not belong together.
    #[error("{0}")]
    Mismatch(&'static str),
    /// Making or signing failed.
    #[error("a certificate could not be made: {0}")]
    Making(#[from] rcgen::Error),
}

/// Why a request for a certificate is refused.
#[derive(Debug, thiserror::Error)]
pub enum CsrError {
    /// No PKCS #10, a signature that does not match its key, or extensions that nobody of ours asks for.
    #[error("the request is malformed or not signed with its own key: {0}")]
    Invalid(rcgen::Error),
    /// A key of another kind.
    #[error("the key is not ECDSA on P-256")]
    Key,
    /// It names another cell, or something that is no cell.
    #[error("the request is not for this cell")]
    OtherCell,
    /// Signing failed.
    #[error("the certificate could not be made: {0}")]
    Signing(rcgen::Error),
}

/// A certificate's number: 16 random bytes, as hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Serial([u8; 16]);

impl Serial {
    /// Chosen by chance. Positive and of full length, so that its DER (RFC 5280 §4.1.2.2) is these bytes.
    fn random() -> Self {
        let mut bytes = random::bytes::<16>();
        bytes[0] = 0x40 | (bytes[0] & 0x3f);
        Self(bytes)
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl FromStr for Serial {
    type Err = PkiError;
    fn from_str(text: &str) -> Result<Self, PkiError> {
        let mut bytes = [0; 16];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| PkiError::Malformed("serial number"))?;
        Ok(Self(bytes))
    }
}

/// Who one is on a connection: a key, its certificate, and the issuing certificate above. Printed without the key.
#[derive(Clone)]
pub struct Identity {
    /// PKCS #8, PEM.
    pub key_pem: String,
    /// The certificate, PEM.
    pub certificate_pem: String,
    /// What leads from it to the root, without the root, PEM.
    pub chain_pem: String,
}

impl Identity {
    /// All three as one text, as TLS clients take it.
    #[must_use]
    pub fn pem(&self) -> String {
        format!("{}{}{}", self.key_pem, self.certificate_pem, self.chain_pem)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("certificate_pem", &self.certificate_pem).finish_non_exhaustive()
    }
}

/// A fresh key of a cell, and the request for its certificate. Printed without the key.
#[derive(Clone)]
pub struct KeyAndRequest {
    /// PKCS #8, PEM.
    pub key_pem: String,
    /// PKCS #10, PEM.
    pub csr_pem: String,
}

impl KeyAndRequest {
    /// For this cell.
    ///
    /// # Errors
    /// The system gives no randomness.
    pub fn make(cell: CellId) -> Result<Self, PkiError> {
        let key = KeyPair::generate()?;
        let mut asked = CertificateParams::new(Vec::new())?;
        asked.distinguished_name = common_name(&cell.to_string());
        asked.subject_alt_names = vec![cell_uri(cell)?];
        Ok(Self { csr_pem: asked.serialize_request(&key)?.pem()?, key_pem: key.serialize_pem() })
    }
}

impl fmt::Debug for KeyAndRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyAndRequest").field("csr_pem", &self.csr_pem).finish_non_exhaustive()
    }
}

/// A certificate that was issued to a cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issued {
    /// Its number.
    pub serial: Serial,
    /// The certificate, PEM.
    pub certificate_pem: String,
    /// The issuing certificate that signed it, PEM.
    pub chain_pem: String,
    /// When it ends.
    pub not_after: DateTime<Utc>,
}

/// Makes an authority in this folder: `root/root.{key,pem}` and `issuing/issuing.{key,pem}`, the keys for their owner's
/// eyes only. `root/` belongs elsewhere once that is done.
///
/// # Errors
/// [`PkiError::Exists`] where there is one already, or a file cannot be written.
pub fn init(folder: &Path, now: DateTime<Utc>) -> Result<(), PkiError> {
    let key = KeyPair::generate()?;
    let root = authority("Tambo root", 1, now, ROOT_LIFE)?.self_signed(&key)?;
    let home = folder.join("root");
    make_folder(&home)?;
    create(&home.join("root.key"), &key.serialize_pem(), 0o600)?;
    create(&home.join("root.pem"), &root.pem(), 0o644)?;
    let home = folder.join("issuing");
    issue(&home, &key, &root.pem(), now, create).map(drop)
}

/// Makes the next issuing certificate and its key in the folder `issuing`, in the place of those that are there, and says
/// when it ends. Needs the root's key, in the folder `root`. What the certificate before signed stays good to its end.
///
/// # Errors
/// There is no root, or a file cannot be written.
pub fn reissue(root: &Path, issuing: &Path, now: DateTime<Utc>) -> Result<DateTime<Utc>, PkiError> {
    let [key, root] = ["root.key", "root.pem"].map(|name| read(&root.join(name)));
    let key = KeyPair::from_pem(&key?).map_err(|_| PkiError::Malformed("root's key"))?;
    issue(issuing, &key, &root?, now, replace)
}

type Put = fn(&Path, &str, u32) -> Result<(), PkiError>;

fn issue(
    home: &Path,
    root_key: &KeyPair,
    root_pem: &str,
    now: DateTime<Utc>,
    put: Put,
) -> Result<DateTime<Utc>, PkiError> {
    let root = Issuer::from_ca_cert_pem(root_pem, root_key)?;
    let key = KeyPair::generate()?;
    let issuing = authority("Tambo issuing", 0, now, ISSUING_LIFE)?.signed_by(&key, &root)?;
    make_folder(home)?;
    put(&home.join("issuing.key"), &key.serialize_pem(), 0o600)?;
    put(&home.join("issuing.pem"), &issuing.pem(), 0o644)?;
    Ok(not_after(&parsed(issuing.der(), "issuing certificate")?))
}

fn make_folder(folder: &Path) -> Result<(), PkiError> {
    fs::create_dir_all(folder).map_err(|error| PkiError::File { file: folder.to_owned(), error })
}

fn create(file: &Path, text: &str, mode: u32) -> Result<(), PkiError> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::AlreadyExists => PkiError::Exists(file.to_owned()),
        _ => PkiError::File { file: file.to_owned(), error },
    };
    let mut made =
        fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(file).map_err(failed)?;
    made.write_all(text.as_bytes()).and_then(|()| made.sync_all()).map_err(failed)
}

/// Under another name first, so that no moment has half a file.
fn replace(file: &Path, text: &str, mode: u32) -> Result<(), PkiError> {
    let failed = |error| PkiError::File { file: file.to_owned(), error };
    let beside = file.with_extension("new");
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    create(&beside, text, mode)?;
    fs::rename(&beside, file).map_err(failed)
}

fn read(file: &Path) -> Result<String, PkiError> {
    fs::read_to_string(file).map_err(|error| PkiError::File { file: file.to_owned(), error })
}

/// What signs the leaves.
pub struct Ca {
    root_pem: String,
    root_der: CertificateDer<'static>,
    issuing: RwLock<Arc<Issuing>>,
}

/// An issuing certificate, and its key.
struct Issuing {
    issuer: Issuer<'static, KeyPair>,
    chain_pem: String,
    ends: DateTime<Utc>,
}

impl Issuing {
    fn load(root_der: &[u8], issuing_pem: &str, issuing_key_pem: &str) -> Result<Self, PkiError> {
        let issuing_der = certificate(issuing_pem, "issuing certificate")?;
        let key = KeyPair::from_pem(issuing_key_pem).map_err(|_| PkiError::Malformed("issuing key"))?;
        let root = parsed(root_der, "root certificate")?;
        let issuing = parsed(&issuing_der, "issuing certificate")?;
        if issuing.verify_signature(Some(root.public_key())).is_err() {
            return Err(PkiError::Mismatch("the issuing certificate was not signed by this root"));
        }
        if issuing.public_key().raw != key.subject_public_key_info() {
            return Err(PkiError::Mismatch("the issuing key is not that of the issuing certificate"));
        }
        let ends = not_after(&issuing);
        let issuer = Issuer::from_ca_cert_der(&issuing_der, key)?;
        Ok(Self { issuer, chain_pem: issuing_pem.to_owned(), ends })
    }
}

impl fmt::Debug for Ca {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ca").field("ends", &self.ends()).finish_non_exhaustive()
    }
}

impl Ca {
    /// From the texts of the three files.
    ///
    /// # Errors
    /// One holds something else, or they do not belong together.
    pub fn load(root_pem: &str, issuing_pem: &str, issuing_key_pem: &str) -> Result<Self, PkiError> {
        let root_der = certificate(root_pem, "root certificate")?;
        let issuing = RwLock::new(Arc::new(Issuing::load(&root_der, issuing_pem, issuing_key_pem)?));
        Ok(Self { root_pem: root_pem.to_owned(), root_der, issuing })
    }

    /// From the three files.
    ///
    /// # Errors
    /// As [`Ca::load`], or one cannot be read.
    pub fn open(root: &Path, issuing: &Path, issuing_key: &Path) -> Result<Self, PkiError> {
        Self::load(&read(root)?, &read(issuing)?, &read(issuing_key)?)
    }

    /// Signs with what is in these two files from now on; whether that is another issuing certificate than before.
    ///
    /// # Errors
    /// One cannot be read, or they do not belong together or below the root; the one before goes on signing.
    pub fn take_up(&self, issuing: &Path, issuing_key: &Path) -> Result<bool, PkiError> {
        let (issuing_pem, issuing_key_pem) = (read(issuing)?, read(issuing_key)?);
        if issuing_pem == self.issuing().chain_pem {
            return Ok(false);
        }
        let next = Arc::new(Issuing::load(&self.root_der, &issuing_pem, &issuing_key_pem)?);
        *self.issuing.write().unwrap_or_else(PoisonError::into_inner) = next;
        Ok(true)
    }

    fn issuing(&self) -> Arc<Issuing> {
        Arc::clone(&self.issuing.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The root, that everybody trusts.
    #[must_use]
    pub fn root_der(&self) -> &CertificateDer<'static> {
        &self.root_der
    }

    /// The same, PEM.
    #[must_use]
    pub fn root_pem(&self) -> &str {
        &self.root_pem
    }

    /// The issuing certificate, PEM.
    #[must_use]
    pub fn chain_pem(&self) -> String {
        self.issuing().chain_pem.clone()
    }

    /// When the issuing certificate ends; nothing that it signs outlives it.
    #[must_use]
    pub fn ends(&self) -> DateTime<Utc> {
        self.issuing().ends
    }

    /// An identity for a server that is reached by these names or addresses, good for a day.
    ///
    /// # Errors
    /// A name is none, or signing failed.
    pub fn server(&self, names: &[String], now: DateTime<Utc>) -> Result<Identity, PkiError> {
        let key = KeyPair::generate()?;
        let mut leaf = CertificateParams::new(names.to_vec())?;
        let name = names.first().map_or("tambo", String::as_str);
        let by = self.issuing();
        by.leaf(&mut leaf, name, ExtendedKeyUsagePurpose::ServerAuth, now, SERVER_LIFE);
        let certificate_pem = leaf.signed_by(&key, &by.issuer)?.pem();
        Ok(Identity { key_pem: key.serialize_pem(), certificate_pem, chain_pem: by.chain_pem.clone() })
    }

    /// A certificate for this cell, good for `life` and not longer than the issuing one. The request proves that who
    /// asks has the key; everything else that it asks for is ignored.
    ///
    /// # Errors
    /// The request is none, is not signed by its key, or names another cell.
    pub fn sign_cell(
        &self,
        csr_pem: &str,
        cell: CellId,
        now: DateTime<Utc>,
        life: TimeDelta,
    ) -> Result<Issued, CsrError> {
        let mut request = CertificateSigningRequestParams::from_pem(csr_pem).map_err(CsrError::Invalid)?;
        if *request.public_key.algorithm() != rcgen::PKCS_ECDSA_P256_SHA256 {
            return Err(CsrError::Key);
        }
        let own = cell_uri(cell).map_err(CsrError::Signing)?;
        if request.params.subject_alt_names.iter().any(|asked| *asked != own) {
            return Err(CsrError::OtherCell);
        }
        let mut leaf = CertificateParams::new(Vec::new()).map_err(CsrError::Signing)?;
        leaf.subject_alt_names = vec![own];
        let usage = ExtendedKeyUsagePurpose::ClientAuth;
        let by = self.issuing();
        let (serial, not_after) = by.leaf(&mut leaf, &cell.to_string(), usage, now, life);
        request.params = leaf;
        let certificate_pem = request.signed_by(&by.issuer).map_err(CsrError::Signing)?.pem();
        Ok(Issued { serial, certificate_pem, chain_pem: by.chain_pem.clone(), not_after })
    }
}

impl Issuing {
    /// Everything that a leaf says besides whom it is for.
    fn leaf(
        &self,
        leaf: &mut CertificateParams,
        name: &str,
        usage: ExtendedKeyUsagePurpose,
        now: DateTime<Utc>,
        life: TimeDelta,
    ) -> (Serial, DateTime<Utc>) {
        let serial = Serial::random();
        let end = whole(now.checked_add_signed(life).unwrap_or(self.ends).min(self.ends));
        leaf.distinguished_name = common_name(name);
        leaf.is_ca = IsCa::ExplicitNoCa;
        leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        leaf.extended_key_usages = vec![usage];
        leaf.use_authority_key_identifier_extension = true;
        leaf.serial_number = Some(SerialNumber::from_slice(&serial.0));
        leaf.not_before = at(now.checked_sub_signed(SKEW).unwrap_or(now));
        leaf.not_after = at(end);
        (serial, end)
    }
}

/// An authority's certificate. Everything is assigned: the defaults of the library are a name and years of its own.
fn authority(
    name: &str,
    below: u8,
    now: DateTime<Utc>,
    life: TimeDelta,
) -> Result<CertificateParams, PkiError> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name = common_name(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(below));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.use_authority_key_identifier_extension = true;
    params.serial_number = Some(SerialNumber::from_slice(&Serial::random().0));
    params.not_before = at(now.checked_sub_signed(SKEW).unwrap_or(now));
    params.not_after = at(now.checked_add_signed(life).unwrap_or(now));
    Ok(params)
}

fn common_name(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

fn cell_uri(cell: CellId) -> Result<SanType, rcgen::Error> {
    Ok(SanType::URI(format!("{CELL}{cell}").try_into()?))
}

/// Certificates have whole seconds.
fn whole(at: DateTime<Utc>) -> DateTime<Utc> {
    DateTime::from_timestamp(at.timestamp(), 0).unwrap_or(at)
}

fn at(at: DateTime<Utc>) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(at.timestamp()).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

/// A certificate that this PKCS #8 key on P-256 signs itself, PEM; nobody has to trust who signed it (RFC 8705 §2.2).
///
/// # Errors
/// The key is none, or signing failed.
pub fn self_signed(
    key_der: &[u8],
    name: &str,
    now: DateTime<Utc>,
    until: DateTime<Utc>,
) -> Result<String, PkiError> {
    let key = KeyPair::try_from(key_der)?;
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name = common_name(name);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.serial_number = Some(SerialNumber::from_slice(&Serial::random().0));
    params.not_before = at(now.checked_sub_signed(SKEW).unwrap_or(now));
    params.not_after = at(until);
    Ok(params.self_signed(&key)?.pem())
}

/// The certificate of a PEM text, as bytes.
///
/// # Errors
/// There is none in it.
pub fn der(pem: &str) -> Result<CertificateDer<'static>, PkiError> {
    certificate(pem, "certificate")
}

/// The first certificate of a PEM text.
fn certificate(pem: &str, what: &'static str) -> Result<CertificateDer<'static>, PkiError> {
    CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|_| PkiError::Malformed(what))
}

fn parsed<'a>(der: &'a [u8], what: &'static str) -> Result<X509Certificate<'a>, PkiError> {
    match x509_parser::parse_x509_certificate(der) {
        Ok(([], certificate)) => Ok(certificate),
        _ => Err(PkiError::Malformed(what)),
    }
}

/// When a certificate ends.
pub(crate) fn not_after(certificate: &X509Certificate<'_>) -> DateTime<Utc> {
    DateTime::from_timestamp(certificate.validity().not_after.timestamp(), 0).unwrap_or_default()
}

/// The cell at the other side of a connection, as its certificate says, which the handshake has verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerCell {
    /// The cell.
    pub cell: CellId,
    /// The certificate's number.
    pub serial: Serial,
    /// When it ends, or ended.
    pub not_after: DateTime<Utc>,
}

/// Reads the certificate of a cell.
///
/// # Errors
/// It is none of a cell.
pub fn peer(der: &[u8]) -> Result<PeerCell, PkiError> {
    const OTHER: PkiError = PkiError::Malformed("peer's certificate");
    let certificate = parsed(der, "peer's certificate")?;
    let names = certificate.subject_alternative_name().map_err(|_| OTHER)?.ok_or(OTHER)?;
    let [GeneralName::URI(uri)] = names.value.general_names[..] else { return Err(OTHER) };
    let cell = uri.strip_prefix(CELL).and_then(|id| id.parse().ok()).ok_or(OTHER)?;
    let serial = Serial(certificate.raw_serial().try_into().map_err(|_| OTHER)?);
    Ok(PeerCell { cell, serial, not_after: not_after(&certificate) })
}
