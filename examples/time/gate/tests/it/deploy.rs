//! What the manifests tell the programs is what the programs understand.

use clap::Parser;

const MANIFESTS: &str = include_str!("../../../deploy/kubernetes.yaml");

/// The document of this kind, of which there is one.
fn document(kind: &str) -> &'static str {
    let line = format!("\nkind: {kind}\n");
    let mut found = MANIFESTS.split("\n---\n").filter(|document| document.contains(&line));
    let (first, second) = (found.next(), found.next());
    assert!(second.is_none(), "more than one {kind}");
    first.unwrap_or_else(|| panic!("no {kind}"))
}

/// The command line in a document, as its pod would have it.
fn command(document: &str) -> Vec<String> {
    let lines = || document.lines().map(str::trim);
    let program = lines().find_map(|line| line.strip_prefix("command: [")?.strip_suffix(']'));
    let args =
        lines().filter_map(|line| line.strip_prefix("- ")).filter(|line| line.starts_with("--"));
    let command = program.into_iter().chain(args);
    command.map(|word| word.replace("$(POD_NAME)", "time-1")).collect()
}

#[test]
fn the_programs_take_the_flags_of_the_manifests() {
    let (servers, gate) = (document("StatefulSet"), document("Deployment"));
    let time = time_server::Config::try_parse_from(command(servers)).unwrap();
    let gate = time_gate::Config::try_parse_from(command(gate)).unwrap();

    // Each replica is listed, under its own name and at its own address.
    let listed = gate.time_servers.entries();
    assert!(servers.contains(&format!("replicas: {}\n", listed.len())));
    for (i, server) in listed.iter().enumerate() {
        assert_eq!(server.id.as_str(), format!("time-{i}"));
        assert_eq!(server.addr, format!("time-{i}.time:{}", time.grpc_addr.port()));
    }
    assert_eq!(time.server_id, listed[1].id);
    assert_eq!(gate.gate.connectors.entries().len(), 2);
}
