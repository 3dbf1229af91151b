//! The listener of callers: whom it lets in, and the files of its own certificate.

use std::fs;
use std::path::{Path, PathBuf};

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{CertificateDer, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, PeerIncompatible, SignatureScheme};
use serde::Deserialize;

use super::{TlsError, TlsServer};
use crate::ctx::Clock;
use crate::pki::Identity;

/// Takes any certificate, or none (RFC 8705 §2.2): the handshake proves that the other side has its key, and nothing
/// else about it is trusted.
#[derive(Debug)]
pub(super) struct AnyCertificate(pub(super) WebPkiSupportedAlgorithms);

impl ClientCertVerifier for AnyCertificate {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        // The listener speaks TLS 1.3 only.
        Err(rustls::Error::PeerIncompatible(PeerIncompatible::Tls12NotOffered))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        // By its key alone: certificates that people sign themselves are often of version 1, which webpki does not read.
        let unusable = rustls::Error::InvalidCertificate(CertificateError::BadEncoding);
        let (_, parsed) = x509_parser::parse_x509_certificate(certificate).map_err(|_| unusable)?;
        let key = SubjectPublicKeyInfoDer::from(parsed.public_key().raw);
        verify_tls13_signature_with_raw_key(message, &key, signed, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

/// The `[tls]` table of a configuration: the certificate that callers are shown. It is read anew while the process runs.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsFiles {
    /// The certificate and what leads from it to a root that callers trust, PEM.
    pub certificate_file: PathBuf,
    /// Its key, PEM.
    pub key_file: PathBuf,
}

impl TlsFiles {
    /// The identity in the files.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn read(&self) -> Result<Identity, TlsError> {
        let read = |file: &Path| {
            fs::read_to_string(file).map_err(|error| TlsError::File { file: file.to_owned(), error })
        };
        let (certificate_pem, key_pem) = (read(&self.certificate_file)?, read(&self.key_file)?);
        Ok(Identity { key_pem, certificate_pem, chain_pem: String::new() })
    }

    /// A listener for callers with the certificate in the files.
    ///
    /// # Errors
    /// A file cannot be read or used.
    pub fn server(&self, clock: Clock) -> Result<TlsServer, TlsError> {
        TlsServer::of_callers(&self.read()?, clock)
    }

    /// Shows new connections what is in the files by now. What cannot be used is logged, and the one before stays.
    pub fn show(&self, server: &TlsServer) {
        if let Err(error) = self.read().and_then(|identity| server.replace(&identity)) {
            tracing::error!(%error, "the certificate that callers are shown could not be read anew");
        }
    }
}
