//! The server on a socket.

use std::{convert::Infallible, io, net::SocketAddr};

use http::Request;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpListener,
    task::{JoinHandle, JoinSet},
};

use crate::FakeApi;

/// The server on a socket. Its port and all its connections close with this value.
#[derive(Debug)]
pub struct Served {
    addr: SocketAddr,
    serving: JoinHandle<()>,
}

impl FakeApi {
    /// Serves HTTP at `addr` until the returned value is dropped.
    ///
    /// # Errors
    ///
    /// The port cannot be had.
    #[allow(clippy::disallowed_methods, reason = "a test makes its own world")]
    pub async fn serve(&self, addr: SocketAddr) -> io::Result<Served> {
        let listener = TcpListener::bind(addr).await?;
        let (addr, api) = (listener.local_addr()?, self.clone());
        let serving = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let api = api.clone();
                let answer = service_fn(move |request: Request<Incoming>| {
                    let (api, uri) = (api.clone(), request.uri().clone());
                    async move { Ok::<_, Infallible>(api.answer(&uri).await) }
                });
                let connection =
                    http1::Builder::new().serve_connection(TokioIo::new(stream), answer);
                connections.spawn(async move {
                    // A client that goes away is not of interest.
                    let _ = connection.await;
                });
                while connections.try_join_next().is_some() {}
            }
        });
        Ok(Served { addr, serving })
    }
}

impl Served {
    /// Where it is; tells the port if 0 was asked for.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Ends it, and waits until the port is free.
    pub async fn stop(mut self) {
        self.serving.abort();
        // It was aborted, so it fails.
        let _ = (&mut self.serving).await;
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.serving.abort();
    }
}
