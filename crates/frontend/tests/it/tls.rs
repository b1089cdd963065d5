//! TLS on the port of those who come without.

use std::{path::Path, sync::Arc};

use bytes::BytesMut;
use chassis::{Stream, World};
use frontend::{CloseReason, Options, Outgoing, TlsOptions};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::{
    TlsConnector,
    rustls::{
        ClientConfig, RootCertStore,
        pki_types::{CertificateDer, ServerName},
    },
};
use tokio_tungstenite::client_async;
use wire::{Kind, Profile, PushRoute};

use crate::fixture::{Client, Fixture, PATIENCE, read_to_end};

/// A folder with a certificate and its key, which can be made anew.
pub(crate) struct Certificate {
    folder: TempDir,
    der: CertificateDer<'static>,
}

impl Certificate {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let der = issue(folder.path());
        Self { folder, der }
    }

    fn renew(&mut self) {
        self.der = issue(self.folder.path());
    }

    pub(crate) fn options(&self) -> TlsOptions {
        let file = |name: &str| Some(self.folder.path().join(name));
        TlsOptions { tls_cert: file("cert.pem"), tls_key: file("key.pem"), tls_only: false }
    }

    /// A connection of somebody who trusts this certificate only.
    async fn dial(&self, fixture: &Fixture) -> std::io::Result<Stream> {
        self.secure(fixture.dial().await).await
    }

    /// Speaks TLS over `stream`, as [`Certificate::dial`] does.
    pub(crate) async fn secure(&self, stream: Stream) -> std::io::Result<Stream> {
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone()).unwrap();
        let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("localhost").unwrap();
        let connector = TlsConnector::from(Arc::new(config));
        let stream = connector.connect(name, stream).await?;
        Ok(Stream::Other(Box::new(stream)))
    }

    async fn client(&self, fixture: &Fixture) -> Client {
        let url = format!("ws://{}/", fixture.addr);
        let (socket, _) = client_async(url, self.dial(fixture).await.unwrap()).await.unwrap();
        let mut client = Client { socket };
        client.handshake().await;
        client
    }
}

fn issue(folder: &Path) -> CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    // As a careful operator does it: nobody reads half a file.
    for (name, text) in
        [("key.pem", made.signing_key.serialize_pem()), ("cert.pem", made.cert.pem())]
    {
        let new = folder.join("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(&new, folder.join(name)).unwrap();
    }
    made.cert.der().clone()
}

/// A push of 20 kB.
fn much(number: u32) -> BytesMut {
    let body = format!(r#"{{"number":{number},"filler":"{}"}}"#, "x".repeat(20_000));
    let mut push = BytesMut::new();
    wire::encode_push(PushRoute::Name("onMuch"), body.as_bytes(), &mut push).unwrap();
    push
}

async fn next_push(client: &mut Client) -> bytes::Bytes {
    loop {
        let package = client.receive().await;
        if package[..] != wire::HEARTBEAT_PACKAGE {
            return package;
        }
    }
}

async fn start(options: Options, tls: &TlsOptions) -> Fixture {
    Fixture::start_with_tls(World::real(), options, Profile::master_gate(), tls).await
}

#[tokio::test]
async fn all_four_transports_share_a_port() {
    let certificate = Certificate::new();
    let fixture = start(Options::default(), &certificate.options()).await;
    let (mut ws, mut wss) = (fixture.client().await, certificate.client(&fixture).await);
    ws.echo("\"ws\"").await;
    wss.echo("\"wss\"").await;
    for mut stream in [fixture.dial().await, certificate.dial(&fixture).await.unwrap()] {
        let mut hello = BytesMut::new();
        wire::encode_package(Kind::Handshake, b"{}", &mut hello).unwrap();
        stream.write_all(&hello).await.unwrap();
        stream.flush().await.unwrap();
        let mut head = [0; 4];
        stream.read_exact(&mut head).await.unwrap();
        assert_eq!(head[0], Kind::Handshake as u8);
    }
}

#[tokio::test]
async fn a_new_certificate_is_shown_to_those_who_come_and_the_others_stay() {
    let mut certificate = Certificate::new();
    let mut fixture = start(Options::default(), &certificate.options()).await;
    let mut before = certificate.client(&fixture).await;
    let old = Certificate { folder: tempfile::tempdir().unwrap(), der: certificate.der.clone() };
    certificate.renew();
    let is_new = async {
        while certificate.dial(&fixture).await.is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, is_new).await.expect("the new certificate is never shown");
    assert!(old.dial(&fixture).await.is_err(), "the old certificate is still shown");
    before.echo("\"still here\"").await;
    certificate.client(&fixture).await.echo("\"new here\"").await;
    let mut metrics = String::new();
    prometheus_client::encoding::text::encode(&mut metrics, fixture.app.registry()).unwrap();
    let expiry = "\ncertificate_expiry_timestamp_seconds{file=\"tls\"} ";
    assert!(metrics.contains(expiry), "{metrics}");
}

#[tokio::test]
async fn much_arrives_whole_and_in_order() {
    let certificate = Certificate::new();
    let options = Options { outbox_max: (64 << 20).try_into().unwrap(), ..Options::default() };
    let fixture = start(options, &certificate.options()).await;
    let mut client = certificate.client(&fixture).await;
    client.echo("\"here\"").await;
    let session = Arc::clone(&fixture.toy.sessions.lock().unwrap()[0]);
    // More than the socket and TLS hold, while nobody reads.
    let count = 400;
    for number in 0..count {
        session.send(&Outgoing::package(&much(number)));
    }
    for number in 0..count {
        assert_eq!(next_push(&mut client).await, much(number));
    }
}

#[tokio::test]
async fn who_speaks_no_tls_is_turned_away_if_it_is_demanded() {
    let certificate = Certificate::new();
    let options = TlsOptions { tls_only: true, ..certificate.options() };
    let fixture = start(Options::default(), &options).await;
    let mut plain = fixture.dial().await;
    plain.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    assert_eq!(read_to_end(&mut plain).await, "");
    assert_eq!(fixture.metrics.closes(CloseReason::TlsFailed).get(), 1);
    certificate.client(&fixture).await.echo("\"secure\"").await;
}

#[tokio::test]
async fn who_says_nothing_or_nonsense_is_gone_soon() {
    let certificate = Certificate::new();
    let timeout = std::time::Duration::from_millis(200);
    let options = Options { handshake_timeout: timeout, ..Options::default() };
    let fixture = start(options, &certificate.options()).await;
    let mut silent = fixture.dial().await;
    assert_eq!(read_to_end(&mut silent).await, "");
    assert_eq!(fixture.metrics.closes(CloseReason::HandshakeTimeout).get(), 1);
    let mut wild = fixture.dial().await;
    wild.write_all(&[0x16; 600]).await.unwrap();
    // An alert, and the end.
    assert!(read_to_end(&mut wild).await.len() < 100);
    fixture
        .until("it is counted", |fixture| fixture.metrics.closes(CloseReason::TlsFailed).get() == 1)
        .await;
    fixture.until("both are gone", |fixture| fixture.metrics.connections.get() == 0).await;
}

#[tokio::test]
async fn a_certificate_that_cannot_be_used_is_told_in_a_line() {
    let (one, other) = (Certificate::new(), Certificate::new());
    let app = chassis::App::detached(World::real());
    let refused = |options: &TlsOptions| options.load(&app).unwrap_err().to_string();
    let mixed = TlsOptions { tls_key: other.options().tls_key, ..one.options() };
    assert!(
        refused(&mixed).contains("cert.pem (--tls-cert) with its key: "),
        "{}",
        refused(&mixed)
    );
    let none = TlsOptions { tls_cert: Some("/does/not/exist".into()), ..one.options() };
    assert!(refused(&none).starts_with("cannot read /does/not/exist (--tls-cert): "));
    let key = one.options().tls_key;
    let swapped = TlsOptions { tls_cert: key, ..one.options() };
    assert!(refused(&swapped).starts_with("there is no certificate in "), "{}", refused(&swapped));
}
