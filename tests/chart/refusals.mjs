// Values that have to be refused, and what the message has to say.

const set = (name, value, ...words) => ({
  name: `${name}=${value}`,
  args: ["--set-json", `${name}=${value}`],
  words,
});

const both = (first, second, ...words) => ({
  name: `${first} with ${second}`,
  args: [first, second].flatMap((one) => ["--set", one]),
  words,
});

export const refusals = [
  // Typing errors, at every level.
  set("conector", '{"replicaCount":3}', "conector"),
  set("connector.replicas", "3", "/connector", "replicas"),
  set("gate.service.nodeport", "30000", "/gate/service", "nodeport"),
  set("connector.advertise.hostname", '"chat.example.com"', "/connector/advertise", "hostname"),
  set("store.external.existingSecretName", '"db"', "/store/external", "existingSecretName"),
  set("chat.autoscaling.targetCPU", "50", "/chat/autoscaling", "targetCPU"),
  set("webServer.resources.limit", '{"memory":"1Gi"}', "/webServer/resources", "limit"),
  set("networkPolicy.apiServer.port", "443", "/networkPolicy/apiServer", "port"),
  // Values of another kind.
  set("chat.replicaCount", '"three"', "/chat/replicaCount", "integer"),
  set("chat.replicaCount", "-1", "/chat/replicaCount"),
  set("store.kind", '"postgres"', "/store/kind", "bundled"),
  set("connector.advertise.mode", '"samehost"', "/connector/advertise/mode", "sameHost"),
  set("connector.service.port", "70000", "/connector/service/port"),
  set("image.digest", '"sha256:1234"', "/image/digest"),
  set("namePrefix", '"Acme_"', "/namePrefix"),
  set("namePrefix", `"${"a".repeat(31)}"`, "/namePrefix"),
  set("connector.advertise.path", '"/gate"', "/connector/advertise/path"),
  set("connector.advertise.path", '"/ws/"', "/connector/advertise/path"),
  set("store.retentionAge", '"a week"', "/store/retentionAge"),
  set("gate.podAnnotations", '{"a":1}', "/gate/podAnnotations/a", "string"),
  set("connector.extraEnv", '[{"nane":"A"}]', "/connector/extraEnv/0", "nane"),
  set("chat.autoscaling.metric", '"connections"', "/chat/autoscaling/metric"),
  // What contradicts itself.
  set("store.kind", '"external"', "store.external.existingSecret"),
  set("connector.advertise.mode", '"static"', "connector.advertise.host"),
  set("connector.advertise.mode", '"loadBalancer"', "connector.service.type"),
  set("connector.service.type", '"NodePort"', "connector.service.nodePort", "connector.advertise.port"),
  set("connector.advertise.mode", '"perPod"', "connector.advertise.perPodTemplate"),
  both("connector.advertise.mode=perPod", "connector.advertise.perPodTemplate=x.example.com",
    "connector.advertise.perPodTemplate", "HOST:PORT"),
  set("gateway.enabled", "true", "gateway.parentRefs"),
  set("ingress.enabled", "true", "ingress.hosts"),
  set("gate.autoscaling.minReplicas", "9", "gate.autoscaling.minReplicas", "gate.autoscaling.maxReplicas"),
  both("monitoring.podMonitor.enabled=true", "monitoring.serviceMonitor.enabled=true",
    "monitoring.podMonitor.enabled", "monitoring.serviceMonitor.enabled"),
  {
    name: "KEDA without a Prometheus",
    args: ["--set-json", 'connector.autoscaling={"enabled":true,"kind":"keda","metric":"connections"}'],
    words: ["keda.prometheusAddress", "connector.autoscaling.kind"],
  },
];
