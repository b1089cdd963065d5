//! TLS on the port of those who come without.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use chassis::{App, StartError, Stream};
use tokio::sync::watch;
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        self, ServerConfig,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject},
    },
};

/// The first byte of every TLS connection: a handshake record. No Pomelo package
/// and no HTTP method begins with it.
const HANDSHAKE_RECORD: u8 = 0x16;

/// The certificate that clients are shown.
#[derive(clap::Args, Clone, Debug, Default)]
#[command(next_help_heading = "Clients")]
#[group(id = "tls")]
pub struct TlsOptions {
    /// Take TLS, too, on the clients' port (wss and TCP over TLS) with this chain of
    /// certificates (PEM, the server's own first); read again when it changes
    #[arg(long, env = "SHADDOCK_TLS_CERT", value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,

    /// The private key of the certificate (PEM, not encrypted); read again when it
    /// changes
    #[arg(long, env = "SHADDOCK_TLS_KEY", value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,

    /// Turn clients without TLS away
    #[arg(long, env = "SHADDOCK_TLS_ONLY", requires = "tls_cert")]
    pub tls_only: bool,
}

/// Why a certificate cannot be used. One line that names the file.
#[derive(Debug, thiserror::Error)]
enum CertificateError {
    #[error("cannot read {} (--tls-cert)", path.display())]
    Certificate { path: PathBuf, source: pem::Error },
    #[error("there is no certificate in {} (--tls-cert)", .0.display())]
    Empty(PathBuf),
    #[error("cannot read {} (--tls-key)", path.display())]
    Key { path: PathBuf, source: pem::Error },
    #[error("cannot use {} (--tls-cert) with its key", path.display())]
    Unusable { path: PathBuf, source: rustls::Error },
}

impl TlsOptions {
    /// Reads the certificate, and again whenever it changes. None if there is none.
    ///
    /// # Errors
    ///
    /// The certificate or its key cannot be read, or they do not match.
    pub fn load(&self, app: &App) -> Result<Option<Tls>, StartError> {
        let (Some(cert), Some(key)) = (&self.tls_cert, &self.tls_key) else { return Ok(None) };
        let expiry = app.certificate_expiry("tls");
        let read = move |paths: &[PathBuf]| {
            let (config, certificate) = server_config(&paths[0], &paths[1])?;
            expiry.note(&certificate);
            Ok::<_, CertificateError>(config)
        };
        let config = app.follow("tls", vec![cert.clone(), key.clone()], read)?;
        Ok(Some(Tls { config, only: self.tls_only }))
    }
}

/// With one's own certificate.
fn server_config(
    cert: &Path,
    key: &Path,
) -> Result<(ServerConfig, CertificateDer<'static>), CertificateError> {
    let path = || cert.to_owned();
    let chain = CertificateDer::pem_file_iter(cert)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|source| CertificateError::Certificate { path: path(), source })?;
    let Some(own) = chain.first().cloned() else { return Err(CertificateError::Empty(path())) };
    let key = PrivateKeyDer::from_pem_file(key)
        .map_err(|source| CertificateError::Key { path: key.to_owned(), source })?;
    let unusable = |source| CertificateError::Unusable { path: path(), source };
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(unusable)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(unusable)?;
    // What a WebSocket upgrade is; raw TCP clients offer nothing.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok((config, own))
}

/// Takes TLS off connections. Those that are open keep the certificate with which
/// they came.
#[derive(Clone, Debug)]
pub struct Tls {
    config: watch::Receiver<Arc<ServerConfig>>,
    only: bool,
}

/// Why a connection did not get through the door.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    /// It ended before it said anything.
    #[error("the client went away")]
    Gone,
    /// It came without TLS.
    #[error("the client speaks no TLS, and --tls-only demands it")]
    Plain,
    /// The TLS handshake failed.
    #[error("TLS handshake")]
    Handshake(#[source] std::io::Error),
}

impl Tls {
    /// Finds out whether a client speaks TLS, and takes it off. Takes as long as the
    /// client does.
    pub(crate) async fn accept(&self, mut stream: Stream) -> Result<Stream, TlsError> {
        let Ok(Some(first)) = stream.peek_first().await else { return Err(TlsError::Gone) };
        if first != HANDSHAKE_RECORD {
            return if self.only { Err(TlsError::Plain) } else { Ok(stream) };
        }
        let config = Arc::clone(&self.config.borrow());
        let secured = TlsAcceptor::from(config).accept(stream).await;
        secured.map(|stream| Stream::Other(Box::new(stream))).map_err(TlsError::Handshake)
    }
}
