//! Who may call what: the one table, and the layer that enforces it.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    sync::Arc,
    task::{Context, Poll},
};

use chassis::{App, PeerInfo, StartError};
use futures::future::{Either, Ready, ready};
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
};
use tower::{Layer, Service};

use crate::refusal;

/// Set on a call that a shard passes on to another, so that it is not passed on again.
pub const FORWARDED: &str = "shaddock-forwarded";

/// Who a call is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Caller {
    /// Anybody.
    Public,
    /// People and back ends: bearer of the admin token; without one, peers on loopback.
    /// Other processes of the cluster may, too.
    Operator,
    /// Processes of the cluster: bearer of the cluster token, or of a certificate of the
    /// cluster; without a token, peers on loopback.
    Service,
}

/// The table. A method that is not here is for operators, so that a forgotten
/// line is safe.
const TABLE: &[(&str, Caller)] = &[
    ("/grpc.health.v1.Health/", Caller::Public),
    ("/grpc.reflection.v1.ServerReflection/", Caller::Public),
    ("/grpc.reflection.v1alpha.ServerReflection/", Caller::Public),
    ("/gate.v1.GateService/QueryEntry", Caller::Public),
    ("/connector.v1.ConnectorService/Announce", Caller::Service),
    ("/chat.v1.ChatService/Link", Caller::Service),
    ("/chat.v1.ChatPeer/", Caller::Service),
];

/// Where tokens and certificates are.
#[derive(clap::Args, Clone, Debug, Default)]
#[command(next_help_heading = "Access")]
#[group(id = "access")]
pub struct AccessOptions {
    /// File with the token that operators' gRPC calls must bear
    /// (`authorization: Bearer …`); without it only peers on loopback may call
    #[arg(long, env = "SHADDOCK_ADMIN_TOKEN_FILE", value_name = "FILE")]
    pub admin_token_file: Option<PathBuf>,

    /// File with the token that the processes of the cluster show to each other;
    /// demanded as soon as --grpc-addr is not on loopback, unless they show
    /// certificates
    #[arg(long, env = "SHADDOCK_CLUSTER_TOKEN_FILE", value_name = "FILE")]
    pub cluster_token_file: Option<PathBuf>,

    #[command(flatten)]
    #[allow(missing_docs, reason = "a doc comment here would become the help text")]
    pub tls: chassis::GrpcTlsOptions,
}

impl AccessOptions {
    /// Reads the tokens and the certificates; with these, all gRPC of the process is
    /// secured from now on.
    ///
    /// # Errors
    ///
    /// One line that names the flag: a file that cannot be read or is empty, or neither
    /// cluster token nor certificate although `grpc_addr` is not on loopback.
    pub fn load(
        &self,
        grpc_addr: std::net::SocketAddr,
        app: &mut App,
    ) -> Result<Access, StartError> {
        if let Some(tls) = self.tls.load(app)? {
            app.secure_grpc(tls);
        }
        self.tokens(grpc_addr).map_err(StartError)
    }

    fn tokens(&self, grpc_addr: std::net::SocketAddr) -> Result<Access, String> {
        let admin =
            self.admin_token_file.as_deref().map(|f| token(f, "--admin-token-file")).transpose()?;
        let cluster = self
            .cluster_token_file
            .as_deref()
            .map(|f| token(f, "--cluster-token-file"))
            .transpose()?;
        let is_provable = cluster.is_some() || self.tls.grpc_tls_cert.is_some();
        if !is_provable && !grpc_addr.ip().is_loopback() {
            return Err(format!(
                "--grpc-addr {grpc_addr} is not on loopback, so --cluster-token-file or --grpc-tls-cert is needed"
            ));
        }
        Ok(Access(Arc::new(Tokens { admin, cluster })))
    }
}

fn token(file: &Path, flag: &str) -> Result<String, String> {
    let text = fs::read_to_string(file)
        .map_err(|error| format!("cannot read {} ({flag}): {error}", file.display()))?;
    match text.trim() {
        "" => Err(format!("{} ({flag}) is empty", file.display())),
        token if token.bytes().all(|b| b.is_ascii_graphic()) => Ok(token.to_owned()),
        _ => Err(format!("{} ({flag}) must be one line of printable ASCII", file.display())),
    }
}

/// The tokens in force. Clones share them.
#[derive(Clone, Default)]
pub struct Access(Arc<Tokens>);

#[derive(Default)]
struct Tokens {
    admin: Option<String>,
    cluster: Option<String>,
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Access")
    }
}

/// What an operator's program shows with its calls. Clones share it.
#[derive(Clone, Default)]
pub struct Operator(Option<MetadataValue<Ascii>>);

impl fmt::Debug for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Operator")
    }
}

impl Operator {
    /// Reads the token of `--admin-token-file`, if there is one.
    ///
    /// # Errors
    ///
    /// One line that names the flag: the file cannot be read or is empty.
    pub fn load(admin_token_file: Option<&Path>) -> Result<Self, String> {
        let token = admin_token_file.map(|file| token(file, "--admin-token-file")).transpose()?;
        Ok(Self(token.as_deref().map(bearer)))
    }

    /// Shows the token, if there is one.
    pub fn sign<T>(&self, request: &mut Request<T>) {
        if let Some(bearer) = &self.0 {
            request.metadata_mut().insert("authorization", bearer.clone());
        }
    }
}

fn bearer(token: &str) -> MetadataValue<Ascii> {
    format!("Bearer {token}").parse().expect("a token is printable ASCII")
}

impl Access {
    /// Shows the cluster token on a call of ours to another process of the cluster.
    pub fn sign<T>(&self, request: &mut Request<T>) {
        let Some(token) = &self.0.cluster else { return };
        request.metadata_mut().insert("authorization", bearer(token));
    }

    fn check(
        &self,
        caller: Caller,
        headers: &http::HeaderMap,
        peer: Option<&PeerInfo>,
    ) -> Result<(), Status> {
        if peer.is_some_and(|peer| peer.is_certified) {
            return Ok(());
        }
        let shown = headers.get("authorization").and_then(|value| value.to_str().ok());
        let shown = shown.and_then(|value| value.strip_prefix("Bearer "));
        let bears =
            |token: &Option<String>| matches!((shown, token), (Some(s), Some(t)) if same(s, t));
        let (token, flag) = match caller {
            Caller::Public => return Ok(()),
            Caller::Operator => (&self.0.admin, "--admin-token-file"),
            Caller::Service => (&self.0.cluster, "--cluster-token-file"),
        };
        if bears(&self.0.cluster) || bears(token) {
            return Ok(());
        }
        match token {
            Some(_) => Err(refusal(
                tonic::Code::Unauthenticated,
                "TOKEN_NEEDED",
                format!("this call needs the token of {flag}"),
            )),
            None if peer.is_some_and(PeerInfo::is_loopback) => Ok(()),
            None => Err(refusal(
                tonic::Code::PermissionDenied,
                "LOOPBACK_ONLY",
                format!("without {flag} this call is for peers on loopback only"),
            )),
        }
    }
}

/// Compares in a time that does not tell how much was right.
fn same(one: &str, other: &str) -> bool {
    one.len() == other.len()
        && one.bytes().zip(other.bytes()).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
}

fn caller_of(path: &str) -> Caller {
    let row = TABLE.iter().find(|(prefix, _)| match prefix.ends_with('/') {
        true => path.starts_with(prefix),
        false => path == *prefix,
    });
    row.map_or(Caller::Operator, |(_, caller)| *caller)
}

/// Puts [`Access`] before all services of a server.
#[derive(Clone, Debug)]
pub struct AccessLayer(pub Access);

impl<S> Layer<S> for AccessLayer {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Guarded { inner, access: self.0.clone() }
    }
}

/// A server behind [`AccessLayer`].
#[derive(Clone, Debug)]
pub struct Guarded<S> {
    inner: S,
    access: Access,
}

impl<S, B> Service<http::Request<B>> for Guarded<S>
where
    S: Service<http::Request<B>, Response = http::Response<tonic::body::Body>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Either<S::Future, Ready<Result<S::Response, S::Error>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let peer = request.extensions().get::<PeerInfo>();
        match self.access.check(caller_of(request.uri().path()), request.headers(), peer) {
            Ok(()) => Either::Left(self.inner.call(request)),
            Err(status) => Either::Right(ready(Ok(status.into_http()))),
        }
    }
}

impl<S: tonic::server::NamedService> tonic::server::NamedService for Guarded<S> {
    const NAME: &'static str = S::NAME;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(admin: Option<&str>, cluster: Option<&str>) -> Access {
        Access(Arc::new(Tokens { admin: admin.map(Into::into), cluster: cluster.map(Into::into) }))
    }

    #[track_caller]
    fn check(
        access: &Access,
        path: &str,
        shown: Option<&str>,
        from_loopback: bool,
    ) -> &'static str {
        let addr = if from_loopback { "[::ffff:127.0.0.1]:1" } else { "192.0.2.1:1" };
        let peer = PeerInfo { addr: addr.parse().unwrap(), is_certified: false };
        let mut headers = http::HeaderMap::new();
        if let Some(shown) = shown {
            headers.insert("authorization", format!("Bearer {shown}").parse().unwrap());
        }
        match access.check(caller_of(path), &headers, Some(&peer)).map_err(|status| status.code()) {
            Ok(()) => "ok",
            Err(tonic::Code::Unauthenticated) => "token needed",
            Err(_) => "loopback only",
        }
    }

    const LINK: &str = "/chat.v1.ChatService/Link";
    const ROOMS: &str = "/chat.v1.ChatService/Rooms";
    const ENTRY: &str = "/gate.v1.GateService/QueryEntry";

    #[test]
    fn without_tokens_only_loopback_may_do_more_than_the_public() {
        let open = access(None, None);
        assert_eq!(check(&open, ENTRY, None, false), "ok");
        assert_eq!(check(&open, ROOMS, None, true), "ok");
        assert_eq!(check(&open, ROOMS, None, false), "loopback only");
        assert_eq!(check(&open, LINK, None, false), "loopback only");
        assert_eq!(check(&open, LINK, Some("guess"), false), "loopback only");
    }

    #[test]
    fn a_token_is_demanded_of_everybody_and_opens_its_class_only() {
        let closed = access(Some("admin"), Some("cluster"));
        assert_eq!(check(&closed, ROOMS, None, true), "token needed");
        assert_eq!(check(&closed, ROOMS, Some("admin"), false), "ok");
        assert_eq!(check(&closed, LINK, Some("admin"), false), "token needed");
        assert_eq!(check(&closed, LINK, Some("cluster"), false), "ok");
        assert_eq!(check(&closed, ROOMS, Some("cluster"), false), "ok");
        assert_eq!(check(&closed, ROOMS, Some("cluste"), false), "token needed");
    }

    #[test]
    fn a_certificate_of_the_cluster_opens_everything() {
        let closed = access(Some("admin"), Some("cluster"));
        let addr = "192.0.2.1:1".parse().unwrap();
        let ask = |is_certified| {
            let peer = PeerInfo { addr, is_certified };
            closed.check(Caller::Service, &http::HeaderMap::new(), Some(&peer)).is_ok()
        };
        assert!(ask(true) && !ask(false));
    }

    #[test]
    fn a_method_that_nobody_listed_is_for_operators() {
        assert_eq!(caller_of("/chat.v1.ChatService/Linked"), Caller::Operator);
        assert_eq!(caller_of("/new.v1.NewService/Do"), Caller::Operator);
        assert_eq!(caller_of("/chat.v1.ChatPeer/Superseded"), Caller::Service);
        for service in
            ["gate.v1.GateService", "connector.v1.ConnectorService", "chat.v1.ChatService"]
        {
            assert_eq!(caller_of(&format!("/{service}/Stats")), Caller::Operator);
        }
    }

    #[test]
    fn a_public_listener_needs_the_cluster_token() {
        let public = "0.0.0.0:6050".parse().unwrap();
        let refused = AccessOptions::default().tokens(public).unwrap_err();
        assert!(refused.contains("--cluster-token-file or --grpc-tls-cert is needed"), "{refused}");
        assert!(AccessOptions::default().tokens("127.0.0.1:6050".parse().unwrap()).is_ok());
        let tls = chassis::GrpcTlsOptions { grpc_tls_cert: Some("c".into()), ..Default::default() };
        assert!(AccessOptions { tls, ..Default::default() }.tokens(public).is_ok());
    }
}
