//! What the processes of a cluster prove to each other: mutual TLS on gRPC.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::sync::watch;
use tokio_rustls::rustls::{
    self, ClientConfig, RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem, pem::PemObject},
    server::{VerifierBuilderError, WebPkiClientVerifier},
};

use crate::{App, Net, StartError};

/// The name that every process of a cluster has in its certificate. Peers are dialled
/// by address, which no certificate can know.
pub const CLUSTER_NAME: &str = "cluster.shaddock.internal";

pub(crate) fn server_name() -> ServerName<'static> {
    ServerName::try_from(CLUSTER_NAME).expect("a name of DNS")
}

/// Certificates for gRPC: all three, or none.
#[derive(clap::Args, Clone, Debug, Default)]
#[group(id = "grpc_tls")]
pub struct GrpcTlsOptions {
    /// Speak TLS on gRPC, both ways, with this chain of certificates (PEM, one's own
    /// first; it has the name cluster.shaddock.internal and both usages); read again
    /// when it changes
    #[arg(long, env = "SHADDOCK_GRPC_TLS_CERT", value_name = "FILE", requires_all = ["grpc_tls_key", "grpc_tls_ca"])]
    pub grpc_tls_cert: Option<PathBuf>,

    /// The private key of that certificate (PEM, not encrypted); read again when it
    /// changes
    #[arg(long, env = "SHADDOCK_GRPC_TLS_KEY", value_name = "FILE", requires = "grpc_tls_cert")]
    pub grpc_tls_key: Option<PathBuf>,

    /// Who signs the certificates of the cluster (PEM, one or several authorities);
    /// read again when it changes. Who shows such a certificate may call as a process
    /// of the cluster; without one only what is public, or with a token
    #[arg(long, env = "SHADDOCK_GRPC_TLS_CA", value_name = "FILE", requires = "grpc_tls_cert")]
    pub grpc_tls_ca: Option<PathBuf>,
}

/// Why certificates cannot be used. One line that names the file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CertificateError {
    #[error("cannot read {} ({flag})", path.display())]
    Unreadable { path: PathBuf, flag: &'static str, source: pem::Error },
    #[error("there is no certificate in {} ({flag})", path.display())]
    Empty { path: PathBuf, flag: &'static str },
    #[error("cannot use {} (--grpc-tls-cert) with its key", path.display())]
    Unusable { path: PathBuf, source: rustls::Error },
    #[error("cannot use {} (--grpc-tls-ca)", path.display())]
    Authority { path: PathBuf, source: rustls::Error },
    #[error("cannot use {} (--grpc-tls-ca)", path.display())]
    Verifier { path: PathBuf, source: VerifierBuilderError },
}

impl GrpcTlsOptions {
    /// Reads the certificates, and again whenever they change. None if there are none.
    ///
    /// # Errors
    ///
    /// They cannot be read, or do not fit together.
    pub fn load(&self, app: &App) -> Result<Option<GrpcTls>, StartError> {
        let Some(paths) = self.paths() else { return Ok(None) };
        let expiry = app.certificate_expiry("grpc_tls");
        let read = move |paths: &[PathBuf]| {
            let configs = read(paths)?;
            expiry.note(&configs.certificate);
            Ok::<_, CertificateError>(configs)
        };
        app.follow("grpc_tls", paths, read).map(|made| Some(GrpcTls(made)))
    }

    /// Secures the gRPC of `net` with the certificates, if there are any, for a tool
    /// that soon ends: they are read once.
    ///
    /// # Errors
    ///
    /// As of [`GrpcTlsOptions::load`].
    pub fn secure(&self, net: Net) -> Result<Net, StartError> {
        Ok(match self.read()? {
            Some(tls) => net.secured(tls),
            None => net,
        })
    }

    pub(crate) fn read(&self) -> Result<Option<GrpcTls>, StartError> {
        let Some(paths) = self.paths() else { return Ok(None) };
        let configs = read(&paths).map_err(|error| StartError(crate::chain(&error)))?;
        // The receiver keeps the value when its sender has gone.
        Ok(Some(GrpcTls(watch::channel(Arc::new(configs)).1)))
    }

    fn paths(&self) -> Option<Vec<PathBuf>> {
        let all = [&self.grpc_tls_cert, &self.grpc_tls_key, &self.grpc_tls_ca];
        all.into_iter().cloned().collect()
    }
}

/// Mutual TLS for gRPC, as the files say now. Clones share. Connections that are open
/// keep the certificates with which they came.
#[derive(Clone)]
pub struct GrpcTls(watch::Receiver<Arc<Configs>>);

impl fmt::Debug for GrpcTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GrpcTls")
    }
}

struct Configs {
    /// One's own.
    certificate: CertificateDer<'static>,
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

impl GrpcTls {
    pub(crate) fn server(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.0.borrow().server)
    }

    pub(crate) fn client(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.0.borrow().client)
    }
}

fn read(paths: &[PathBuf]) -> Result<Configs, CertificateError> {
    let [cert, key, ca] = paths else { unreachable!("of three options") };
    let chain = certificates(cert, "--grpc-tls-cert")?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(|source| CertificateError::Unreadable {
        path: key.clone(),
        flag: "--grpc-tls-key",
        source,
    })?;
    let mut roots = RootCertStore::empty();
    for authority in certificates(ca, "--grpc-tls-ca")? {
        let added = roots.add(authority);
        added.map_err(|source| CertificateError::Authority { path: ca.clone(), source })?;
    }
    let (roots, provider) = (Arc::new(roots), Arc::new(ring::default_provider()));
    let unusable = |source| CertificateError::Unusable { path: cert.clone(), source };
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider))
            // Health, reflection and the gate's question are for everybody.
            .allow_unauthenticated()
            .build()
            .map_err(|source| CertificateError::Verifier { path: ca.clone(), source })?;
    let certificate = chain[0].clone();
    let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(unusable)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain.clone(), key.clone_key())
        .map_err(unusable)?;
    let mut client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(unusable)?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .map_err(unusable)?;
    server.alpn_protocols = vec![b"h2".to_vec()];
    client.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Configs { certificate, server: Arc::new(server), client: Arc::new(client) })
}

fn certificates(
    path: &Path,
    flag: &'static str,
) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match read {
        Ok(all) if all.is_empty() => Err(CertificateError::Empty { path: path.to_owned(), flag }),
        Ok(all) => Ok(all),
        Err(source) => Err(CertificateError::Unreadable { path: path.to_owned(), flag, source }),
    }
}
