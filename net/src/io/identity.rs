//! Who is at the other end: TLS 1.3 with raw Ed25519 public keys on both sides (RFC 7250). No certificates, no
//! names, no resumption: every connection proves both keys anew.

use std::sync::{Arc, OnceLock};

use pfs_engine::model::ids::PeerId;
use pfs_engine::model::keys::Keypair;
use quinn::crypto::rustls::{NoInitialCipherSuite, QuicClientConfig, QuicServerConfig};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{AlwaysResolvesClientRawPublicKeys, Resumption};
use rustls::crypto::{CryptoProvider, ring, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime,
};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{AlwaysResolvesServerRawPublicKeys, NoServerSessionStorage};
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, PeerIncompatible, ServerConfig,
    SignatureScheme, version,
};

/// What both sides must speak.
const ALPN: &[u8] = b"pfs/1";

/// The DER of an Ed25519 `SubjectPublicKeyInfo` up to its key (RFC 8410).
const SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// A key that TLS cannot use.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// The TLS library refused it.
    #[error(transparent)]
    Tls(#[from] Error),
    /// No cipher for the first packets.
    #[error(transparent)]
    Cipher(#[from] NoInitialCipherSuite),
}

/// This peer's key as TLS takes it.
#[derive(Debug, Clone)]
pub(super) struct Identity {
    provider: Arc<CryptoProvider>,
    key: Arc<CertifiedKey>,
}

impl Identity {
    pub(super) fn new(keys: &Keypair) -> Result<Self, IdentityError> {
        let provider = Arc::new(ring::default_provider());
        let secret = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(keys.to_pkcs8()));
        let signer = provider.key_provider.load_private_key(secret)?;
        let public = CertificateDer::from([&SPKI_PREFIX[..], &keys.peer().0].concat());
        Ok(Self { provider, key: Arc::new(CertifiedKey::new(vec![public], signer)) })
    }

    /// Takes whoever proves a key; which key it is, the connection tells.
    pub(super) fn server(&self) -> Result<QuicServerConfig, IdentityError> {
        let verifier = Arc::new(RawKeys { provider: self.provider.clone(), expected: None, met: Arc::default() });
        let mut config = ServerConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&version::TLS13])?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(self.key.clone())));
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(config.try_into()?)
    }

    /// Takes `expected` and no other; whom it met instead is left in `met`.
    pub(super) fn client(
        &self,
        expected: PeerId,
        met: Arc<OnceLock<PeerId>>,
    ) -> Result<QuicClientConfig, IdentityError> {
        let verifier = RawKeys { provider: self.provider.clone(), expected: Some(expected), met };
        let mut config = ClientConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(self.key.clone())));
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.resumption = Resumption::disabled();
        Ok(config.try_into()?)
    }
}

/// The peer whose key a handshake proved.
pub(super) fn proven(connection: &quinn::Connection) -> Option<PeerId> {
    let keys = connection.peer_identity()?.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    peer_of(keys.first()?)
}

fn peer_of(key: &CertificateDer<'_>) -> Option<PeerId> {
    key.as_ref().strip_prefix(&SPKI_PREFIX).and_then(|key| key.try_into().ok()).map(PeerId)
}

/// Accepts raw Ed25519 keys only: any, or the expected one.
#[derive(Debug)]
struct RawKeys {
    provider: Arc<CryptoProvider>,
    expected: Option<PeerId>,
    met: Arc<OnceLock<PeerId>>,
}

impl RawKeys {
    fn check(&self, key: &CertificateDer<'_>) -> Result<(), Error> {
        let peer = peer_of(key).ok_or(Error::InvalidCertificate(CertificateError::BadEncoding))?;
        let met = *self.met.get_or_init(|| peer);
        if self.expected.is_some_and(|expected| expected != met) {
            return Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure));
        }
        Ok(())
    }

    fn check_signature(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let key = SubjectPublicKeyInfoDer::from(key.as_ref());
        verify_tls13_signature_with_raw_key(message, &key, signed, &self.provider.signature_verification_algorithms)
    }
}

impl ServerCertVerifier for RawKeys {
    fn verify_server_cert(
        &self,
        key: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check(key).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _key: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::PeerIncompatible(PeerIncompatible::Tls12NotOffered))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check_signature(message, key, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

impl ClientCertVerifier for RawKeys {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        key: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        peer_of(key).ok_or(Error::InvalidCertificate(CertificateError::BadEncoding))?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _key: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::PeerIncompatible(PeerIncompatible::Tls12NotOffered))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check_signature(message, key, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}
