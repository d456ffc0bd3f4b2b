//! A peer's key pair. The public half is the peer's id.

use ed25519_dalek::pkcs8::EncodePrivateKey;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};

use super::ids::PeerId;

/// The secret half. Printing it shows the public half only.
#[derive(Clone)]
pub struct Keypair(SigningKey);

impl Keypair {
    /// From 32 secret bytes, which the caller takes from the operating system's random source.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// The 32 secret bytes, for the peer's own key file.
    pub fn seed(&self) -> [u8; 32] {
        self.0.to_bytes()
    }

    /// The peer that has this key.
    pub fn peer(&self) -> PeerId {
        PeerId(self.0.verifying_key().to_bytes())
    }

    /// An Ed25519 signature.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }

    /// PKCS#8 v2 DER, as TLS libraries take it.
    pub fn to_pkcs8(&self) -> Vec<u8> {
        self.0.to_pkcs8_der().expect("an Ed25519 key always has a PKCS#8 form").as_bytes().to_vec()
    }
}

impl std::fmt::Debug for Keypair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Keypair({})", self.peer().short())
    }
}

impl PeerId {
    /// Whether this peer signed `message`. Strict: no two peers can disagree about it.
    pub fn verifies(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        VerifyingKey::from_bytes(&self.0)
            .is_ok_and(|key| key.verify_strict(message, &Signature::from_bytes(signature)).is_ok())
    }
}
