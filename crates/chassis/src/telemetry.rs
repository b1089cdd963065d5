//! Log lines and traces of the whole process.

use std::io::IsTerminal;

use anyhow::Context;
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::WithExportConfig;
use opentelemetry_sdk::{
    Resource,
    trace::{Sampler, SdkTracerProvider},
};
use tracing_subscriber::{EnvFilter, Layer, layer::SubscriberExt, util::SubscriberInitExt};

use crate::{Options, options::LogFormat};

/// Sends what is left of the traces when it is dropped.
#[derive(Debug)]
pub(crate) struct Telemetry {
    provider: Option<SdkTracerProvider>,
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        if let Some(provider) = &self.provider
            && let Err(error) = provider.shutdown()
        {
            tracing::warn!(error = %error, "traces lost at exit");
        }
    }
}

/// Installs the process's subscriber and panic hook. Call once, inside the runtime.
pub(crate) fn install(name: &'static str, options: &Options) -> anyhow::Result<Telemetry> {
    // What the transports say at debug drowns everything else; name them to hear it.
    let filter = EnvFilter::try_new(format!("h2=info,hyper_util=info,tower=info,{}", options.log))
        .with_context(|| format!("--log {}", options.log))?;
    let text = match options.log_format {
        LogFormat::Auto => std::io::stderr().is_terminal(),
        LogFormat::Text => true,
        LogFormat::Json => false,
    };
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines = if text { lines.boxed() } else { lines.json().flatten_event(true).boxed() };

    let provider = options
        .otlp_endpoint
        .as_deref()
        .map(|url| exporter(name, url, options.trace_ratio))
        .transpose()?;
    let traces = provider
        .as_ref()
        .map(|provider| tracing_opentelemetry::layer().with_tracer(provider.tracer(name)));

    tracing_subscriber::registry()
        .with(filter)
        .with(lines)
        .with(traces)
        .try_init()
        .context("install subscriber")?;
    std::panic::set_hook(Box::new(|panic| {
        let backtrace = std::backtrace::Backtrace::force_capture();
        tracing::error!(error = %panic, backtrace = %backtrace, "panic");
    }));
    Ok(Telemetry { provider })
}

fn exporter(name: &'static str, url: &str, ratio: f64) -> anyhow::Result<SdkTracerProvider> {
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_tonic()
        .with_endpoint(url)
        .build()
        .with_context(|| format!("--otlp-endpoint {url}"))?;
    Ok(SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(ratio))))
        .with_resource(Resource::builder().with_service_name(name).build())
        .build())
}
