//! `shaddock-admin health`.

use std::{io::Write, time::Duration};

use chassis::{GrpcTlsOptions, Net, World};
use futures::{StreamExt, stream};
use tonic::{Status, Streaming, transport::Channel};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tonic_reflection::pb::{v1, v1alpha};

use crate::{
    ask::{innermost, refused},
    names,
    table::printable,
};

#[derive(clap::Args, Debug)]
pub(crate) struct Options {
    /// gRPC addresses of any services of ours; a name stands for all of its addresses
    #[arg(value_name = "HOST:PORT", required = true)]
    addrs: Vec<String>,

    #[command(flatten)]
    tls: GrpcTlsOptions,
}

/// How long one address may take, connecting included.
const PATIENCE: Duration = Duration::from_secs(5);

/// Addresses that are asked at once.
const PARALLEL: usize = 16;

const HEADS: [&str; 6] = ["name", "address", "health", "v1", "v1alpha", "result"];

/// What came of asking one address.
struct Row {
    name: String,
    addr: String,
    health: Option<String>,
    /// How many services reflection lists, by its version 1 and its older one.
    v1: Option<usize>,
    v1alpha: Option<usize>,
    /// Why it is not well, in one line.
    problem: Option<String>,
}

/// Asks all and prints what they say. True if all are well.
pub(crate) async fn run(options: &Options) -> anyhow::Result<bool> {
    let net = options.tls.secure(World::real().net)?;
    let mut asked = Vec::new();
    for name in &options.addrs {
        match names::addresses(&net, name, PATIENCE).await {
            Ok(addrs) => asked.extend(addrs.into_iter().map(|addr| (name.clone(), Ok(addr)))),
            Err(why) => asked.push((name.clone(), Err(why))),
        }
    }
    let rows = stream::iter(asked).map(async |(name, addr)| match addr {
        Ok(addr) => look(&net, name, addr).await,
        Err(why) => Row { problem: Some(why), ..Row::new(name, String::new()) },
    });
    let rows: Vec<Row> = rows.buffered(PARALLEL).collect().await;
    std::io::stdout().lock().write_all(text(&rows).as_bytes())?;
    Ok(rows.iter().all(|row| row.problem.is_none()))
}

/// Looks at one address, in bounded time.
async fn look(net: &Net, name: String, addr: String) -> Row {
    let mut row = Row::new(name, addr.clone());
    let result = tokio::time::timeout(PATIENCE, ask(net, &addr, &mut row)).await;
    row.problem = result
        .unwrap_or_else(|_| {
            Err(format!("no answer within {}", humantime::format_duration(PATIENCE)))
        })
        .err();
    row
}

async fn ask(net: &Net, addr: &str, row: &mut Row) -> Result<(), String> {
    let channel = net.channel(addr).await;
    let channel = channel.map_err(|error| format!("cannot connect: {}", innermost(&error)))?;
    let in_words =
        |what: &'static str| move |status: Status| format!("{what}: {}", refused(&status));

    let request = HealthCheckRequest { service: String::new() };
    let answer = HealthClient::new(channel.clone()).check(request).await;
    let status = answer.map_err(in_words("health"))?.into_inner().status();
    row.health = Some(status.as_str_name().to_owned());
    let v1 = services_by_v1(channel.clone()).await.map_err(in_words("reflection v1"))?;
    row.v1 = Some(v1);
    let alpha = services_by_v1alpha(channel).await.map_err(in_words("reflection v1alpha"))?;
    row.v1alpha = Some(alpha);
    match (status, v1, alpha) {
        (ServingStatus::Serving, 1.., 1..) => Ok(()),
        (ServingStatus::Serving, ..) => Err("reflection lists no services".into()),
        _ => Err("it does not serve".into()),
    }
}

async fn services_by_v1(channel: Channel) -> Result<usize, Status> {
    use v1::{server_reflection_request as ask, server_reflection_response as said};
    let request = v1::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(ask::MessageRequest::ListServices(String::new())),
    };
    let mut client = v1::server_reflection_client::ServerReflectionClient::new(channel);
    let answers = client.server_reflection_info(stream::iter([request])).await?;
    match first(answers.into_inner()).await?.message_response {
        Some(said::MessageResponse::ListServicesResponse(list)) => Ok(list.service.len()),
        _ => Err(Status::internal("another answer")),
    }
}

async fn services_by_v1alpha(channel: Channel) -> Result<usize, Status> {
    use v1alpha::{server_reflection_request as ask, server_reflection_response as said};
    let request = v1alpha::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(ask::MessageRequest::ListServices(String::new())),
    };
    let mut client = v1alpha::server_reflection_client::ServerReflectionClient::new(channel);
    let answers = client.server_reflection_info(stream::iter([request])).await?;
    match first(answers.into_inner()).await?.message_response {
        Some(said::MessageResponse::ListServicesResponse(list)) => Ok(list.service.len()),
        _ => Err(Status::internal("another answer")),
    }
}

async fn first<T>(mut answers: Streaming<T>) -> Result<T, Status> {
    answers.message().await?.ok_or_else(|| Status::internal("no answer"))
}

impl Row {
    fn new(name: String, addr: String) -> Self {
        Self { name, addr, health: None, v1: None, v1alpha: None, problem: None }
    }
}

/// The table, for people.
fn text(rows: &[Row]) -> String {
    let or_none = |text: Option<String>| match text {
        Some(text) if !text.is_empty() => printable(&text),
        _ => "-".to_owned(),
    };
    let count = |count: Option<usize>| or_none(count.map(|count| count.to_string()));
    let cells = |row: &Row| {
        let result = row.problem.clone().unwrap_or_else(|| "ok".into());
        [
            printable(&row.name),
            or_none(Some(row.addr.clone())),
            or_none(row.health.clone()),
            count(row.v1),
            count(row.v1alpha),
            printable(&result),
        ]
    };
    let lines: Vec<[String; HEADS.len()]> =
        std::iter::once(HEADS.map(str::to_owned)).chain(rows.iter().map(cells)).collect();
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max();
    let widths: Vec<usize> = (0..HEADS.len()).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for line in &lines {
        let padded = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        text.push_str(padded.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_a_line_for_each_address() {
        let well = Row {
            health: Some("SERVING".into()),
            v1: Some(4),
            v1alpha: Some(4),
            ..Row::new("gate:4014".into(), "10.0.0.1:4014".into())
        };
        let lost =
            Row { problem: Some("no\naddress".into()), ..Row::new("chat:1".into(), String::new()) };
        let expected = "\
name       address        health   v1  v1alpha  result
gate:4014  10.0.0.1:4014  SERVING  4   4        ok
chat:1     -              -        -   -        no?address
";
        assert_eq!(text(&[well, lost]), expected);
    }
}
