//! One request.

use std::convert::Infallible;

use bytes::Bytes;
use futures::stream;
use http::{Response, header};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use serde_json::{Value, json};

use crate::{FakeApi, watching::Watching};

/// An answer's body: whole, or a line whenever something happens.
pub type Body = UnsyncBoxBody<Bytes, Infallible>;

/// What a request asks for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked {
    pub(crate) namespace: String,
    /// The Service whose slices are meant; none: all.
    pub(crate) service: Option<String>,
    pub(crate) since: u64,
    /// How long a watch may last, in seconds.
    pub(crate) seconds: u64,
    is_watch: bool,
}

impl Asked {
    /// `None` for what this server does not know.
    fn parse(uri: &http::Uri) -> Option<Self> {
        let rest = uri.path().strip_prefix("/apis/discovery.k8s.io/v1/namespaces/")?;
        let namespace = rest.strip_suffix("/endpointslices")?.to_owned();
        let mut asked = Self { namespace, seconds: 290, ..Self::default() };
        for (name, value) in form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()) {
            match &*name {
                "labelSelector" => {
                    let service = value.strip_prefix("kubernetes.io/service-name=")?;
                    asked.service = Some(service.to_owned());
                }
                "resourceVersion" => asked.since = value.parse().ok()?,
                "timeoutSeconds" => asked.seconds = value.parse().ok()?,
                "watch" => asked.is_watch = matches!(&*value, "1" | "true"),
                _ => {}
            }
        }
        Some(asked)
    }

    /// Whether a slice is one that was asked for.
    pub(crate) fn wants(&self, slice: &Value) -> bool {
        let metadata = &slice["metadata"];
        let service = metadata["labels"]["kubernetes.io/service-name"].as_str();
        metadata["namespace"] == *self.namespace
            && self.service.as_deref().is_none_or(|wanted| Some(wanted) == service)
    }
}

impl FakeApi {
    /// Answers a request for `uri`; never, if the server is mute.
    pub async fn answer(&self, uri: &http::Uri) -> Response<Body> {
        let Some(asked) = Asked::parse(uri) else {
            return refuse(404, "the server could not find the requested resource");
        };
        let (fails, is_mute, lists_stall, oldest) = {
            let state = self.state();
            (state.fails, state.is_mute, state.lists_stall, state.oldest)
        };
        if is_mute {
            self.count(|seen| seen.failed += 1);
            return std::future::pending().await;
        }
        if let Some(status) = fails {
            self.count(|seen| seen.failed += 1);
            let verb = if asked.is_watch { "watch" } else { "list" };
            return refuse(status, &why(status, verb, &asked.namespace));
        }
        if !asked.is_watch {
            let list = self.list(&asked);
            self.count(|seen| seen.lists += 1);
            if lists_stall {
                return respond(200, StreamBody::new(stream::pending()).boxed_unsync());
            }
            return respond(200, Full::from(list.to_string()).boxed_unsync());
        }
        if asked.since < oldest {
            self.count(|seen| seen.failed += 1);
            return refuse(410, "too old resource version");
        }
        self.count(|seen| seen.watches += 1);
        let number = self.seen().watches;
        respond(200, Watching::new(self.clone(), asked, number).body())
    }

    fn list(&self, asked: &Asked) -> Value {
        let state = self.state();
        let items: Vec<&Value> = state.slices.values().filter(|slice| asked.wants(slice)).collect();
        json!({
            "kind": "EndpointSliceList",
            "apiVersion": "discovery.k8s.io/v1",
            "metadata": { "resourceVersion": state.version.to_string() },
            "items": items,
        })
    }
}

fn why(status: u16, verb: &str, namespace: &str) -> String {
    match status {
        403 => format!(
            "endpointslices.discovery.k8s.io is forbidden: User \
             \"system:serviceaccount:{namespace}:fake\" cannot {verb} resource \"endpointslices\" \
             in API group \"discovery.k8s.io\" in the namespace \"{namespace}\""
        ),
        429 => "the server has received too many requests and has asked us to try again later"
            .to_owned(),
        _ => "an error on the server has prevented the request from succeeding".to_owned(),
    }
}

/// The object that tells of a failure.
pub(crate) fn failure(code: u16, message: &str) -> Value {
    let reason = match code {
        403 => "Forbidden",
        404 => "NotFound",
        410 => "Expired",
        429 => "TooManyRequests",
        _ => "InternalError",
    };
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": code,
    })
}

fn refuse(code: u16, message: &str) -> Response<Body> {
    respond(code, Full::from(failure(code, message).to_string()).boxed_unsync())
}

fn respond(code: u16, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = http::StatusCode::from_u16(code).expect("a status");
    let json = header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}
