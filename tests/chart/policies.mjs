// What must hold of the objects, whatever the values. Each policy takes all objects of one
// rendering and the name of the values file, and gives what is wrong, one line each.

import { NAMESPACE, parse, valuesFile } from "./lib/render.mjs";
import fs from "node:fs";

const WORKLOADS = ["gate", "connector", "chat", "web-server"];

/** Which of them watch the cluster, and so have a token. */
const WATCHERS = ["gate", "connector", "chat"];

const of = (all, ...kinds) => all.filter(({ kind }) => kinds.includes(kind));
const named = (all, kind, name) => of(all, kind).find(({ metadata }) => metadata.name === name);
const title = ({ kind, metadata }) => `${kind}/${metadata.name}`;
const component = ({ metadata }) => metadata.labels?.["app.kubernetes.io/name"];

/** Everything that has a pod: its labels and its spec. */
const pods = (all) => [
  ...of(all, "Deployment", "StatefulSet").map((object) => ({
    object,
    name: title(object),
    labels: object.spec.template.metadata.labels,
    spec: object.spec.template.spec,
  })),
  ...of(all, "Pod").map((object) => ({
    object,
    name: title(object),
    labels: object.metadata.labels,
    spec: object.spec,
  })),
];

const containers = (all) =>
  pods(all).flatMap((pod) =>
    [...(pod.spec.initContainers ?? []), ...pod.spec.containers].map((container) => ({ pod, container })));

/** Whether a label selector takes these labels. */
function selects({ matchLabels = {}, matchExpressions = [] }, labels) {
  return Object.entries(matchLabels).every(([key, value]) => labels[key] === value) &&
    matchExpressions.every(({ key, operator, values }) => operator === "In" && values.includes(labels[key]));
}

/** The ports of the pods that are selected, by name and number. */
const portsOf = (chosen) =>
  chosen.flatMap(({ spec }) => spec.containers.flatMap(({ ports = [] }) => ports));

const env = (container, name) => (container.env ?? []).find((one) => one.name === name)?.value;

const seconds = (text) => Number(/^(\d+)s$/.exec(text ?? "")?.[1]);

/** By what pods are spread: by constraints, then by preferred anti-affinity. */
const spread = ({ topologySpreadConstraints: constraints, affinity }, field = "topologyKey") =>
  [...constraints, ...affinity.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution.map(({ podAffinityTerm }) => podAffinityTerm)]
    .map((one) => one[field]);

/** One line for each of `all` that `test` does not like. */
const unless = (all, test, line) => all.filter((one) => !test(one)).map(line);

export const policies = {
  "workloads are named gate, connector, chat, web-server, behind the prefix": (all, values) => {
    const prefix = parse(fs.readFileSync(valuesFile(values), "utf8"))?.namePrefix ?? "";
    const names = of(all, "Deployment").map(({ metadata }) => metadata.name).sort();
    const wanted = WORKLOADS.map((name) => `${prefix}${name}`).sort();
    const strangers = unless(all, ({ metadata }) => metadata.name.startsWith(prefix) ||
      metadata.name === "chat-extra", title);
    return `${names}` === `${wanted}` ? strangers : [`they are ${names}`];
  },

  "no two objects have one name": (all) => {
    const names = all.map((object) => `${object.apiVersion} ${title(object)}`);
    return names.filter((name, index) => names.indexOf(name) !== index);
  },

  "all objects have the labels that people and tools look for": (all) =>
    unless(all.filter(({ metadata }) => metadata.name !== "chat-extra"), ({ metadata }) =>
      ["name", "instance", "component", "part-of", "version", "managed-by"].every(
        (label) => metadata.labels?.[`app.kubernetes.io/${label}`]) && metadata.labels["helm.sh/chart"], title),

  "pods have no label that changes with the chart's version": (all) =>
    unless(pods(all).filter(({ object }) => object.kind !== "Pod"), ({ labels }) =>
      !labels["helm.sh/chart"] && !labels["app.kubernetes.io/version"], ({ name }) => name),

  "selectors take their own pods, by name and instance alone": (all) =>
    unless(of(all, "Deployment", "StatefulSet"), ({ spec }) =>
      selects(spec.selector, spec.template.metadata.labels) &&
      Object.keys(spec.selector.matchLabels).join() === "app.kubernetes.io/name,app.kubernetes.io/instance", title),

  "every Service selects pods, and its ports are theirs": (all) =>
    of(all, "Service").flatMap((service) => {
      const chosen = pods(all).filter(({ labels }) => selects({ matchLabels: service.spec.selector }, labels));
      if (chosen.length === 0) return [`${title(service)} selects nothing`];
      const names = portsOf(chosen).map(({ name }) => name);
      return unless(service.spec.ports, ({ name, targetPort }) => name && names.includes(targetPort),
        ({ name }) => `${title(service)}: no container has the port ${name}`);
    }),

  "the watched Services are headless and never name pods that are not ready": (all) =>
    ["chat", "connector"].flatMap((name) => {
      const service = of(all, "Service").find((one) => one.metadata.name.endsWith(`${name}-headless`));
      const { clusterIP, publishNotReadyAddresses, ports } = service?.spec ?? {};
      const right = clusterIP === "None" && !publishNotReadyAddresses && ports[0].name === "grpc";
      return right ? [] : [`${name}-headless`];
    }),

  "gRPC is in no Service that is reached from outside": (all) =>
    unless(of(all, "Service"), ({ spec }) => [undefined, "ClusterIP"].includes(spec.type) ||
      spec.ports.every(({ name }) => name !== "grpc" && name !== "admin"), title),

  "what routes lead to is there": (all) => {
    const backends = [
      ...of(all, "HTTPRoute").flatMap(({ spec }) => spec.rules.flatMap(({ backendRefs }) => backendRefs)),
      ...of(all, "Ingress").flatMap(({ spec }) => spec.rules.flatMap(({ http }) =>
        http.paths.map(({ backend: { service } }) => ({ name: service.name, port: service.port.name })))),
    ];
    return unless(backends, ({ name, port }) => named(all, "Service", name)?.spec.ports
      .some((one) => one.port === port || one.name === port), ({ name, port }) => `${name}:${port}`);
  },

  "pods pass Pod Security restricted, but for a hostPort that was asked for": (all, values) => [
    ...unless(pods(all), ({ spec }) => spec.securityContext?.runAsNonRoot === true &&
      spec.securityContext.runAsUser > 0 && spec.securityContext.seccompProfile?.type === "RuntimeDefault" &&
      !spec.hostNetwork && !spec.hostPID && !spec.hostIPC, ({ name }) => name),
    ...unless(pods(all), ({ spec }) => (spec.volumes ?? []).every((volume) =>
      ["emptyDir", "secret", "configMap", "projected"].some((kind) => kind in volume)),
    ({ name }) => `${name}: volumes`),
    ...unless(containers(all), ({ container: { securityContext: context } }) =>
      context?.allowPrivilegeEscalation === false && context.capabilities?.drop?.includes("ALL") &&
      !context.capabilities.add && !context.privileged, ({ pod, container }) => `${pod.name} ${container.name}`),
    ...unless(containers(all), ({ container: { ports = [] } }) => values === "hostport" ||
      ports.every(({ hostPort }) => hostPort === undefined), ({ pod }) => `${pod.name}: hostPort`),
  ],

  "root file systems are read-only": (all) =>
    unless(containers(all), ({ container }) => container.securityContext.readOnlyRootFilesystem === true,
      ({ pod }) => pod.name),

  "memory has a limit, the CPU has none, and both are asked for": (all) =>
    unless(containers(all), ({ container: { resources } }) => resources.limits?.memory &&
      resources.requests?.memory && resources.requests.cpu && !resources.limits.cpu, ({ pod }) => pod.name),

  "images have a tag or a digest, and not latest": (all) =>
    unless(containers(all), ({ container: { image } }) =>
      /(:[\w.-]+|@sha256:[0-9a-f]{64})$/.test(image) && !image.endsWith(":latest"),
    ({ container }) => container.image),

  "only who watches the cluster has a token of the API server": (all) => [
    ...unless(pods(all), ({ object, spec }) =>
      spec.automountServiceAccountToken === WATCHERS.includes(component(object)), ({ name }) => name),
    ...unless(of(all, "ServiceAccount"), (one) => one.automountServiceAccountToken === false, title),
  ],

  "each workload has a service account of its own": (all) =>
    unless(of(all, "Deployment"), (object) => {
      const name = object.spec.template.spec.serviceAccountName;
      return name === object.metadata.name && named(all, "ServiceAccount", name);
    }, title),

  "roles allow to read where the services are, and nothing else": (all) => [
    ...unless(of(all, "Role").flatMap(({ rules }) => rules), ({ apiGroups, resources, verbs, resourceNames }) =>
      (`${verbs}` === "get,list,watch" && `${apiGroups}/${resources}` === "discovery.k8s.io/endpointslices") ||
        (`${verbs}` === "get" && `${apiGroups}/${resources}` === "/services" && resourceNames.length === 1), (rule) => JSON.stringify(rule)),
    ...of(all, "ClusterRole", "ClusterRoleBinding").map(title),
    ...unless(of(all, "RoleBinding"), ({ roleRef, subjects }) => named(all, "Role", roleRef.name) &&
      subjects.every(({ name, namespace }) => namespace === NAMESPACE && !name.endsWith("web-server")), title),
  ],

  "a public name's port is its scheme's, unless another one is said": (all) =>
    unless(containers(all).filter(({ container }) => env(container, "SHADDOCK_ADVERTISE") === "static"), ({ container }) =>
      env(container, "SHADDOCK_ADVERTISE_PORT") !== "3050" || of(all, "HTTPRoute", "Ingress").length === 0, ({ pod }) => pod.name),

  "who has a token may watch": (all) => {
    const allowed = of(all, "RoleBinding").filter(({ roleRef }) => roleRef.name.endsWith("shaddock-discovery"))
      .flatMap(({ subjects }) => subjects.map(({ name }) => name)).sort();
    const wanted = of(all, "Deployment").filter((one) => WATCHERS.includes(component(one)))
      .map(({ spec }) => spec.template.spec.serviceAccountName).sort();
    return `${allowed}` === `${wanted}` ? [] : [`${allowed}`];
  },

  "all volumes that are mounted are there, and all that are there are mounted": (all) =>
    pods(all).flatMap(({ name, spec, object }) => {
      const there = [...(spec.volumes ?? []), ...(object.spec.volumeClaimTemplates ?? [])
        .map(({ metadata }) => metadata)].map((one) => one.name).sort();
      const mounted = [...new Set(spec.containers.flatMap(({ volumeMounts = [] }) =>
        volumeMounts.map((one) => one.name)))].sort();
      return `${there}` === `${mounted}` ? [] : [`${name}: ${there} ≠ ${mounted}`];
    }),

  "Secrets that pods use are the chart's or are named in the values": (all, values) => {
    const given = fs.readFileSync(valuesFile(values), "utf8");
    const made = [
      ...of(all, "Secret").map(({ metadata }) => metadata.name),
      ...of(all, "Certificate").map(({ spec }) => spec.secretName),
    ];
    const used = pods(all).flatMap(({ spec }) => [
      ...(spec.volumes ?? []).flatMap(({ secret }) => secret?.secretName ?? []),
      ...spec.containers.flatMap(({ env = [] }) => env.flatMap((one) => one.valueFrom?.secretKeyRef?.name ?? [])),
    ]);
    return used.filter((name) => !made.includes(name) && !given.includes(name));
  },

  "what is drawn by chance is in Secrets that are kept": (all) =>
    unless(of(all, "Secret"), ({ metadata }) =>
      metadata.annotations?.["helm.sh/resource-policy"] === "keep", title),

  "no container has a variable twice, or a secret in one": (all) =>
    containers(all).flatMap(({ pod, container: { env = [] } }) => {
      const names = env.map(({ name }) => name);
      return [
        ...names.filter((name, index) => names.indexOf(name) !== index),
        ...env.filter(({ name, value }) => value !== undefined && /(TOKEN|PASSWORD|KEY)$/.test(name) &&
          !value.startsWith("/")).map(({ name }) => name),
      ].map((name) => `${pod.name}: ${name}`);
    }),

  "gRPC demands the cluster's token, and certificates when they are there": (all, values) =>
    unless(containers(all).filter(({ pod }) => WATCHERS.includes(component(pod.object))), ({ container }) =>
      env(container, "SHADDOCK_CLUSTER_TOKEN_FILE") && env(container, "SHADDOCK_ADMIN_TOKEN_FILE") &&
      Boolean(env(container, "SHADDOCK_GRPC_TLS_CA")) === values.startsWith("tls"), ({ pod }) => pod.name),

  "a NetworkPolicy is there for each pod, unless switched off, in both directions": (all, values) => {
    const all_ = of(all, "NetworkPolicy");
    if (values === "memory") return all_.map(title);
    return [
      ...unless(pods(all).filter(({ object }) => object.kind !== "Pod"), ({ labels }) =>
        all_.some(({ spec }) => selects(spec.podSelector, labels)), ({ name }) => name),
      ...unless(all_, ({ spec }) => `${spec.policyTypes}` === "Ingress,Egress", title),
    ];
  },

  "policies open exactly the ports that the containers have": (all) =>
    of(all, "NetworkPolicy").flatMap((policy) => {
      const chosen = pods(all).filter(({ labels }) => selects(policy.spec.podSelector, labels));
      const has = [...new Set(portsOf(chosen).map(({ containerPort }) => containerPort))].sort();
      const opened = [...new Set(policy.spec.ingress.flatMap(({ ports }) => ports.map(({ port }) => port)))].sort();
      return `${has}` === `${opened}` ? [] : [`${title(policy)}: ${has} ≠ ${opened}`];
    }),

  "gRPC and the database are open to pods of this release alone": (all) =>
    of(all, "NetworkPolicy").flatMap((policy) =>
      unless(policy.spec.ingress.filter(({ ports }) => ports.some(({ port }) => [4014, 4050, 6050, 5432].includes(port))),
        ({ from }) => from?.length > 0 && from.every(({ podSelector }) => podSelector?.matchLabels?.["app.kubernetes.io/instance"]),
        () => title(policy))),

  "what a policy lets out at one end another lets in at the other": (all) => {
    const policies = of(all, "NetworkPolicy");
    return policies.flatMap((from) => from.spec.egress?.flatMap(({ to = [], ports }) =>
      to.filter(({ podSelector }) => podSelector).flatMap(({ podSelector }) => {
        const target = pods(all).find(({ labels }) => selects(podSelector, labels));
        const caller = pods(all).find(({ labels }) => selects(from.spec.podSelector, labels));
        const open = target && policies.some(({ spec }) => selects(spec.podSelector, target.labels) &&
          spec.ingress.some((rule) => rule.ports.some(({ port }) => port === ports[0].port) &&
            (rule.from === undefined || rule.from.some((peer) => peer.podSelector && selects(peer.podSelector, caller.labels)))));
        return open ? [] : [`${title(from)} → ${JSON.stringify(podSelector.matchExpressions)}`];
      })) ?? []);
  },

  "who watches the cluster reaches the API server, the others do not": (all) =>
    unless(of(all, "NetworkPolicy"), (policy) =>
      WATCHERS.includes(component(policy)) ===
        Boolean(policy.spec.egress?.some(({ ports = [] }) => ports.some(({ port }) => port === 6443))), title),

  "budgets select pods and never hold back the last one": (all) =>
    unless(of(all, "PodDisruptionBudget"), ({ spec }) =>
      pods(all).some(({ labels }) => selects(spec.selector, labels)) && spec.minAvailable === undefined &&
      spec.maxUnavailable >= 1 && spec.unhealthyPodEvictionPolicy === "AlwaysAllow", title),

  "where the load decides, the chart does not": (all) =>
    [...of(all, "HorizontalPodAutoscaler"), ...of(all, "ScaledObject")].flatMap((scaler) => {
      const target = named(all, "Deployment", scaler.spec.scaleTargetRef.name);
      return target && target.spec.replicas === undefined ? [] : [title(scaler)];
    }),

  "where nothing else decides, the count is said and remembered": (all, values) => {
    const scaled = [...of(all, "HorizontalPodAutoscaler"), ...of(all, "ScaledObject")].map(({ metadata }) => metadata.name);
    return unless(of(all, "Deployment").filter(({ metadata }) => !scaled.includes(metadata.name) &&
      !(values === "memory" && metadata.name === "web-server")), ({ metadata, spec }) =>
      spec.replicas >= 1 && metadata.annotations["shaddock/replica-count"] === `${spec.replicas}`, title);
  },

  "the kubelet waits longer than the process, and the process longer than its drain": (all) =>
    containers(all).filter(({ pod }) => pod.object.kind === "Deployment").flatMap(({ pod, container }) => {
      const grace = pod.spec.terminationGracePeriodSeconds;
      const process = seconds(env(container, "SHADDOCK_SHUTDOWN_GRACE"));
      const drain = seconds(env(container, "SHADDOCK_DRAIN_TIME") ?? "0s");
      return grace >= process + 10 && process >= drain + 15 ? [] : [`${pod.name}: ${grace} ${process} ${drain}`];
    }),

  "a roll-out never has fewer pods than before, unless they have ports of their nodes": (all, values) =>
    unless(of(all, "Deployment"), ({ metadata, spec: { strategy } }) => strategy.type === "RollingUpdate" &&
      strategy.rollingUpdate.maxUnavailable === (values === "hostport" && metadata.name === "connector" ? 1 : 0), title),

  "probes are there, on the admin port, and ask for what the programs have": (all) =>
    containers(all).filter(({ pod }) => pod.object.kind === "Deployment").flatMap(({ pod, container }) =>
      Object.entries({ startupProbe: "/startupz", readinessProbe: "/readyz", livenessProbe: "/livez" })
        .filter(([probe, path]) => container[probe]?.httpGet.path !== path || container[probe].httpGet.port !== "admin")
        .map(([probe]) => `${pod.name}: ${probe}`)),

  "pods are spread by their own labels over nodes, and over zones without a constraint that nodes without zones fail": (all, values) => {
    if (values === "memory") return [];
    return unless(pods(all).filter(({ object }) => object.kind === "Deployment"), ({ labels, spec }) =>
      spread(spec).join() === "kubernetes.io/hostname,topology.kubernetes.io/zone" &&
      spread(spec, "labelSelector").every((selector) => selects(selector, labels)), ({ name }) => name);
  },

  "monitors find the pods of all workloads, and no other": (all) =>
    of(all, "PodMonitor", "ServiceMonitor").flatMap((monitor) => {
      const service = of(all, "Service").find(({ metadata }) => selects(monitor.spec.selector, metadata.labels));
      const selector = monitor.kind === "PodMonitor" ? monitor.spec.selector : { matchLabels: service.spec.selector };
      const found = pods(all).filter(({ labels }) => selects(selector, labels)).map(({ object }) => component(object)).sort();
      return `${found}` === `${[...WORKLOADS].sort()}` ? [] : [`${title(monitor)}: ${found}`];
    }),

  "certificates name the Service that peers look for": (all) =>
    unless(of(all, "Certificate").filter(({ spec }) => !spec.isCA), ({ metadata, spec }) =>
      spec.dnsNames.includes(`${metadata.name}.${NAMESPACE}.svc`) &&
      `${spec.usages}`.includes("server auth,client auth"), title),

  "helm test has two pods, which are hooks": (all) => {
    const tests = of(all, "Pod").filter(({ metadata }) => metadata.annotations["helm.sh/hook"] === "test");
    return tests.length === 2 && of(all, "Pod").length === 2 ? [] : [tests.map(title).join()];
  },

  "the bundled database is there with store.kind=bundled only": (all, values) => {
    const kind = parse(fs.readFileSync(valuesFile(values), "utf8"))?.store?.kind ?? "bundled";
    const { container } = containers(all).find(({ pod }) => component(pod.object) === "chat" && pod.object.kind === "Deployment");
    const store = env(container, "SHADDOCK_STORE") ?? "external";
    return (of(all, "StatefulSet").length === 1) === (kind === "bundled") &&
      store.startsWith({ bundled: "postgres://shaddock@", external: "external", memory: "memory" }[kind])
      ? [] : [store];
  },
};
