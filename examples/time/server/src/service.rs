//! The one call.

use chassis::Clock;
use model::ShardId;
use time_rpc::time::v1::{
    GetCurrentTimeRequest, GetCurrentTimeResponse, time_service_server::TimeService,
};
use tonic::{Code, Request, Response, Status};

use crate::metrics::{Metrics, ResultLabel};

/// What a call needs. Clones share.
#[derive(Clone, Debug)]
pub(crate) struct Time {
    pub(crate) id: ShardId,
    pub(crate) clock: Clock,
    pub(crate) metrics: Metrics,
}

impl Time {
    fn count(&self, result: &'static str) {
        self.metrics.requests.get_or_create(&ResultLabel { result }).inc();
    }
}

#[tonic::async_trait]
impl TimeService for Time {
    async fn get_current_time(
        &self,
        request: Request<GetCurrentTimeRequest>,
    ) -> Result<Response<GetCurrentTimeResponse>, Status> {
        let key = request.into_inner().key;
        if key.is_empty() || key.len() > model::NAME_LEN_MAX {
            self.count("invalid_key");
            let message = format!("key must have 1 to {} bytes", model::NAME_LEN_MAX);
            return Err(rpc::refusal(Code::InvalidArgument, "INVALID_KEY", message));
        }
        self.count("ok");
        let unix_ms = self.clock.unix_ms();
        tracing::debug!(key, unix_ms, "time told");
        Ok(Response::new(GetCurrentTimeResponse { unix_ms, server_id: self.id.to_string() }))
    }
}
