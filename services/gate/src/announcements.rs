//! Keeps one `Announce` stream open to each listed connector.

use std::{collections::HashMap, sync::Arc, time::Duration};

use chassis::{Policy, Tasks, World};
use cluster::{Backoff, Connector, Source};
use rpc::{
    Access,
    connector::v1::{AnnounceRequest, connector_service_client::ConnectorServiceClient},
};
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::Request;

use crate::{
    Metrics,
    directory::{Announcement, Malformed},
    service::Gate,
};

/// A stream that says nothing for this long is given up and opened again: its
/// connector hangs, or something between swallows what it says.
const STREAM_SILENCE_MAX: Duration = Duration::from_secs(3);

/// What is needed to hear a connector. Clones share.
#[derive(Clone, Debug)]
pub(crate) struct Listening {
    pub(crate) gate: Gate,
    pub(crate) access: Access,
    pub(crate) metrics: Metrics,
    pub(crate) world: World,
    pub(crate) tasks: Tasks,
    pub(crate) shutdown: CancellationToken,
}

impl From<tonic::Status> for Lost {
    fn from(status: tonic::Status) -> Self {
        Self::Call(status)
    }
}

/// Why a stream ended; another follows.
#[derive(Debug, thiserror::Error)]
enum Lost {
    #[error("connect")]
    Connect(#[from] tonic::transport::Error),
    // Without its sources: they repeat the message, each in its own words.
    #[error("call: {}", .0.message())]
    Call(tonic::Status),
    #[error("announcement")]
    Malformed(#[from] Malformed),
    #[error("silent for {} s", STREAM_SILENCE_MAX.as_secs())]
    Silent(#[from] tokio::time::error::Elapsed),
    #[error("it has ended the stream")]
    Ended,
}

impl Listening {
    /// Hears all connectors of the list as it is and will be, until shutdown.
    pub(crate) async fn run(self, connectors: Source<Connector>) {
        let (mut listed, follow) = connectors.watch();
        let shutdown = self.shutdown.clone();
        let keep = async {
            let mut heard: HashMap<String, DropGuard> = HashMap::new();
            loop {
                let connectors = Arc::clone(&listed.borrow_and_update());
                self.gate.directory_mut().list(&connectors);
                heard.retain(|addr, _| connectors.iter().any(|c| c.addr == *addr));
                for Connector { addr, .. } in connectors.iter() {
                    if !heard.contains_key(addr) {
                        let stop = shutdown.child_token();
                        let stopped = stop.clone().cancelled_owned();
                        let listening = self.clone().keep_hearing(addr.clone());
                        self.tasks.spawn("announcements", Policy::Critical, async move {
                            tokio::select! {
                                () = stopped => {}
                                () = listening => {}
                            }
                        });
                        heard.insert(addr.clone(), stop.drop_guard());
                    }
                }
                if listed.changed().await.is_err() {
                    return;
                }
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => {}
            ((), ()) = async { tokio::join!(keep, follow) } => {}
        }
    }

    async fn keep_hearing(self, addr: String) {
        let rng = self.world.rng.clone();
        let mut backoff = Backoff::new(Arc::new(move |bound| rng.up_to(bound)));
        let mut heard = true;
        loop {
            let known_to_be_lost = !heard;
            heard = false;
            let lost = self.hear(&addr, &mut heard).await;
            self.gate.directory_mut().lose(&addr);
            self.metrics.announce_failures.inc();
            let error = chassis::chain(&lost);
            if heard || !known_to_be_lost {
                tracing::info!(peer_addr = addr, error, "connector not heard, trying again");
            } else {
                tracing::debug!(peer_addr = addr, error, "connector still not heard");
            }
            if heard {
                backoff.reset();
            }
            self.world.clock.sleep(backoff.wait()).await;
        }
    }

    /// Hears one stream to its end; sets `heard` as soon as something came.
    async fn hear(&self, addr: &str, heard: &mut bool) -> Lost {
        let mut hear = async || -> Result<(), Lost> {
            let channel = self.world.net.channel(addr).await?;
            let mut request = Request::new(AnnounceRequest {});
            self.access.sign(&mut request);
            let mut client = ConnectorServiceClient::new(channel);
            let answer = timeout(STREAM_SILENCE_MAX, client.announce(request)).await??;
            let mut stream = answer.into_inner();
            while let Some(raw) = timeout(STREAM_SILENCE_MAX, stream.message()).await?? {
                let announcement = Announcement::try_from(raw)?;
                *heard = true;
                self.metrics.announcements.inc();
                self.take(addr, announcement);
            }
            Err(Lost::Ended)
        };
        hear().await.expect_err("a stream that ends is lost")
    }

    fn take(&self, addr: &str, announcement: Announcement) {
        let connector_id = announcement.id.clone();
        let draining = announcement.draining;
        if self.gate.directory_mut().hear(addr, announcement, self.world.clock.now()) {
            tracing::info!(%connector_id, peer_addr = addr, draining, "connector announced itself");
        }
    }
}
