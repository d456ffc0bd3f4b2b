//! A peer that keeps no rules: it speaks QUIC and proves a key, and then says whatever it is told to.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use pfs_engine::model::ids::ChunkId;
use pfs_engine::model::keys::Keypair;
use pfs_net::proto::frame::{FrameDecoder, framed};
use pfs_net::proto::limits::FRAME_BYTES_MAX;
use pfs_net::proto::message::{Bye, Hello, Message, PROTOCOL_VERSION, Want};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, Endpoint, RecvStream, SendStream};
use rustls::client::AlwaysResolvesClientRawPublicKeys;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{DigitallySignedStruct, Error, SignatureScheme, version};

/// The DER of an Ed25519 public key up to the key.
const SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// One connection.
pub(crate) struct Raw {
    pub(crate) connection: Connection,
    send: SendStream,
    recv: RecvStream,
    heard: FrameDecoder,
    /// Ends with the connection.
    _endpoint: Endpoint,
}

impl Raw {
    /// Connects and opens the control stream, which the other side sees with the first byte; nothing if the other
    /// side has enough connections.
    pub(crate) async fn connect(keys: &Keypair, to: SocketAddr) -> Option<Self> {
        let provider = Arc::new(ring::default_provider());
        let secret = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(keys.to_pkcs8()));
        let signer = provider.key_provider.load_private_key(secret).expect("an Ed25519 key");
        let public = CertificateDer::from([&SPKI_PREFIX[..], &keys.peer().0].concat());
        let key = Arc::new(CertifiedKey::new(vec![public], signer));
        let mut tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&version::TLS13])
            .expect("TLS 1.3 is there")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anybody))
            .with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(key)));
        tls.alpn_protocols = vec![b"pfs/1".to_vec()];
        let config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).expect("a cipher for QUIC")));
        let endpoint = Endpoint::client(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0)).expect("a free port");
        let connecting = endpoint.connect_with(config, to, "pfs.invalid").expect("a loopback address");
        let connection = connecting.await.expect("anybody may connect");
        let (send, recv) = connection.open_bi().await.ok()?;
        Some(Self { connection, send, recv, heard: FrameDecoder::default(), _endpoint: endpoint })
    }

    /// Sends bytes as they are. Whether anybody takes them is seen by the answer.
    pub(crate) async fn bytes(&mut self, bytes: &[u8]) {
        let _ = self.send.write_all(bytes).await;
    }

    /// Sends a message.
    pub(crate) async fn say(&mut self, message: Message) {
        self.bytes(&framed(&message.encode())).await;
    }

    /// Introduces itself as it should be.
    pub(crate) async fn greet(&mut self) {
        let (name, agent) = ("mallory".to_owned(), "none".to_owned());
        self.say(Message::Hello(Hello { protocol: PROTOCOL_VERSION, name, agent, run: 7, addresses: Vec::new() }))
            .await;
    }

    /// The next message; nothing once the connection is over.
    pub(crate) async fn hear(&mut self) -> Option<Message> {
        loop {
            if let Some(body) = self.heard.next_frame(FRAME_BYTES_MAX).expect("an honest peer keeps to the bounds") {
                return Some(Message::decode(body).expect("an honest peer speaks as agreed"));
            }
            let chunk = self.recv.read_chunk(64 << 10, true).await.ok()??;
            self.heard.push(&chunk.bytes);
        }
    }

    /// Hears until the other side says why it ends the session; nothing if it only went.
    pub(crate) async fn bye(&mut self) -> Option<Bye> {
        loop {
            if let Message::Bye { reason } = self.hear().await? {
                return Some(reason);
            }
        }
    }
}

/// How the other side's requests for chunks are answered.
#[derive(Debug, Clone, Default)]
pub(crate) struct Answers {
    /// Bytes that follow the request, frame and all; nothing for other chunks.
    pub(crate) of: BTreeMap<ChunkId, Vec<u8>>,
    /// They come byte by byte, so long apart.
    pub(crate) pace: Option<Duration>,
    /// How many chunks were asked for.
    pub(crate) asked: Arc<AtomicUsize>,
}

impl Answers {
    /// These chunks, in stored form.
    pub(crate) fn with(chunks: impl IntoIterator<Item = (ChunkId, Vec<u8>)>) -> Self {
        Self { of: chunks.into_iter().map(|(id, stored)| (id, framed(&stored))).collect(), ..Self::default() }
    }
}

impl Raw {
    /// Answers requests for chunks from now on, as long as the connection lasts.
    pub(crate) fn answer(&self, answers: Answers) {
        let connection = self.connection.clone();
        tokio::spawn(async move {
            while let Ok((send, recv)) = connection.accept_bi().await {
                tokio::spawn(answer_one(send, recv, answers.clone()));
            }
        });
    }
}

async fn answer_one(mut send: SendStream, mut recv: RecvStream, answers: Answers) -> Option<()> {
    let request = recv.read_to_end(1 << 20).await.ok()?;
    let want = Want::decode(request.get(4..)?).ok()?;
    for id in want.ids {
        answers.asked.fetch_add(1, Ordering::Relaxed);
        let answer = answers.of.get(&id).cloned().unwrap_or_else(|| framed(&[]));
        match answers.pace {
            None => send.write_all(&answer).await.ok()?,
            Some(pace) => {
                for byte in answer {
                    send.write_all(&[byte]).await.ok()?;
                    tokio::time::sleep(pace).await;
                }
            }
        }
    }
    send.finish().ok()
}

/// Takes any server: it is we who are not to be trusted.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _key: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _key: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _key: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}
