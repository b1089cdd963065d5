use std::{io::ErrorKind, path::Path, sync::Arc};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::rustls::{
    ClientConfig, RootCertStore, crypto::ring, pki_types::CertificateDer, pki_types::pem::PemObject,
};

use super::*;
use crate::{CLUSTER_NAME, GrpcTlsOptions, World};

/// The first byte of a TLS record that says what is wrong.
const ALERT: u8 = 0x15;

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// Writes a certificate for `name` that `signer` has signed, and whom to trust.
fn write(folder: &Path, name: &str, signer: &Authority, trusted: &[&Authority]) -> GrpcTlsOptions {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new([name.to_owned()]).unwrap();
    let cert = params.signed_by(&key, signer).unwrap();
    let put = |file: &str, text: String| {
        // By renaming, so that no half of it is ever read.
        std::fs::write(folder.join("new"), text).unwrap();
        std::fs::rename(folder.join("new"), folder.join(file)).unwrap();
        Some(folder.join(file))
    };
    GrpcTlsOptions {
        grpc_tls_ca: put("ca.crt", trusted.iter().map(|ca| ca.pem()).collect()),
        grpc_tls_key: put("tls.key", key.serialize_pem()),
        grpc_tls_cert: put("tls.crt", cert.pem()),
    }
}

/// A network with a certificate of `signer` for `name`.
fn net(name: &str, signer: &Authority, trusted: &[&Authority]) -> Net {
    let folder = tempfile::tempdir().unwrap();
    let options = write(folder.path(), name, signer, trusted);
    Net::real().secured(options.read().unwrap().unwrap())
}

/// Tells each connection in a byte whether it is certified.
#[allow(clippy::disallowed_methods, reason = "it ends with its test")]
async fn serve(net: &Net) -> String {
    let listener = net.listen("127.0.0.1:0".parse().unwrap(), "").await.unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    let mut incoming = net.incoming(listener);
    tokio::spawn(async move {
        while let Some(Ok(mut peer)) = incoming.next().await {
            assert!(peer.info.is_loopback());
            peer.write_u8(peer.info.is_certified.into()).await.unwrap();
            peer.shutdown().await.unwrap();
        }
    });
    addr
}

/// What the server at `addr` says about `client`: certified or not, or why it is not
/// talked to.
async fn ask(client: &Net, addr: &str) -> Result<bool, ErrorKind> {
    let mut stream = client.dial_peer(addr).await.map_err(|error| error.kind())?;
    stream.read_u8().await.map(|said| said == 1).map_err(|error| error.kind())
}

#[tokio::test]
async fn peers_of_one_authority_know_each_other() {
    let ca = authority();
    let addr = serve(&net(CLUSTER_NAME, &ca, &[&ca])).await;
    assert_eq!(ask(&net(CLUSTER_NAME, &ca, &[&ca]), &addr).await, Ok(true));
}

#[tokio::test]
async fn whom_no_authority_of_the_cluster_knows_is_not_talked_to() {
    let (ours, other) = (authority(), authority());
    let server = net(CLUSTER_NAME, &ours, &[&ours]);
    let addr = serve(&server).await;
    // It trusts the server; the server does not trust it. TLS 1.3 tells it after its
    // own handshake.
    let stranger = net(CLUSTER_NAME, &other, &[&ours]);
    assert!(ask(&stranger, &addr).await.is_err());
    // The other way round.
    let addr = serve(&net(CLUSTER_NAME, &other, &[&ours])).await;
    assert_eq!(ask(&server, &addr).await, Err(ErrorKind::InvalidData));
    // A certificate of ours, but for something else.
    let addr = serve(&net("web.example.com", &ours, &[&ours])).await;
    assert_eq!(ask(&server, &addr).await, Err(ErrorKind::InvalidData));
    // And no TLS at all, either way.
    let addr = serve(&server).await;
    let mut plain = Net::real().dial(&addr).await.unwrap();
    plain.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    let mut said = Vec::new();
    plain.read_to_end(&mut said).await.unwrap();
    assert_eq!(said.first(), Some(&ALERT), "{said:?}");
    let addr = serve(&Net::real()).await;
    assert!(ask(&server, &addr).await.is_err());
}

#[tokio::test]
async fn who_shows_no_certificate_is_let_in_and_is_nobody() {
    let ca = authority();
    let addr = serve(&net(CLUSTER_NAME, &ca, &[&ca])).await;
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.pem().as_bytes()).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = Net::real().dial(&addr).await.unwrap();
    let connector = TlsConnector::from(Arc::new(config));
    let mut stream = connector.connect(grpc_tls::server_name(), stream).await.unwrap();
    assert_eq!(stream.read_u8().await.unwrap(), 0);
}

#[tokio::test]
async fn an_authority_is_replaced_while_both_sides_run() {
    let (old, new) = (authority(), authority());
    let folder = tempfile::tempdir().unwrap();
    let options = write(folder.path(), CLUSTER_NAME, &old, &[&old]);
    let app = crate::App::detached(World::real());
    let tls = options.load(&app).unwrap().unwrap();
    let server = Net::real().secured(tls);
    let addr = serve(&server).await;
    let (stays, comes) =
        (net(CLUSTER_NAME, &old, &[&old, &new]), net(CLUSTER_NAME, &new, &[&old, &new]));
    assert_eq!(ask(&stays, &addr).await, Ok(true));
    assert!(ask(&comes, &addr).await.is_err());

    // Both are trusted while certificates change.
    write(folder.path(), CLUSTER_NAME, &new, &[&old, &new]);
    while ask(&comes, &addr).await != Ok(true) {
        // Each attempt is a whole connection; the file is looked at once a second.
        tokio::task::yield_now().await;
    }
    assert_eq!(ask(&stays, &addr).await, Ok(true));
}

#[tokio::test]
async fn files_that_do_not_fit_are_refused_with_their_names() {
    let ca = authority();
    let folder = tempfile::tempdir().unwrap();
    let good = write(folder.path(), CLUSTER_NAME, &ca, &[&ca]);
    let other = tempfile::tempdir().unwrap();
    let key = write(other.path(), CLUSTER_NAME, &ca, &[&ca]).grpc_tls_key;
    let refused = |options: GrpcTlsOptions| options.read().unwrap_err().0;
    let text = refused(GrpcTlsOptions { grpc_tls_key: key, ..good.clone() });
    assert!(text.contains("tls.crt (--grpc-tls-cert) with its key"), "{text}");
    let text = refused(GrpcTlsOptions { grpc_tls_ca: good.grpc_tls_key.clone(), ..good });
    assert!(text.contains("no certificate in") && text.contains("(--grpc-tls-ca)"), "{text}");
}
