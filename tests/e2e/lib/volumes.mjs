// A default StorageClass for clusters without one: a folder on a node, made beforehand.

import { output, until } from "./kube.mjs";

const NAME = "shaddock-e2e";
const DEFAULT = "storageclass.kubernetes.io/is-default-class";
const FOLDER = `/var/lib/${NAME}`;

const kubectl = (...args) => output("kubectl", args, 120);

/** Makes a class and a volume on that node, if there is no default; returns what it did. */
export async function makeDefaultClass(node, image) {
  const { items } = JSON.parse(await kubectl("get", "storageclasses", "--output", "json"));
  const there = items.find(({ metadata }) => metadata.annotations?.[DEFAULT] === "true");
  if (there && there.metadata.name !== NAME) return `${there.metadata.name}, which was there`;
  await removeDefaultClass(node, image);
  await onNode(node, image, `mkdir -p /host/data && chmod 777 /host/data`);
  await apply(
    {
      apiVersion: "storage.k8s.io/v1",
      kind: "StorageClass",
      metadata: { name: NAME, annotations: { [DEFAULT]: "true" } },
      provisioner: "kubernetes.io/no-provisioner",
      volumeBindingMode: "WaitForFirstConsumer",
    },
    {
      apiVersion: "v1",
      kind: "PersistentVolume",
      metadata: { name: NAME },
      spec: {
        capacity: { storage: "8Gi" },
        accessModes: ["ReadWriteOnce"],
        persistentVolumeReclaimPolicy: "Retain",
        storageClassName: NAME,
        hostPath: { path: `${FOLDER}/data` },
        nodeAffinity: {
          required: {
            nodeSelectorTerms: [
              { matchExpressions: [{ key: "kubernetes.io/hostname", operator: "In", values: [node] }] },
            ],
          },
        },
      },
    },
  );
  return `${NAME}, a folder on ${node}`;
}

/** Takes away what `makeDefaultClass` has made, if it has. */
export async function removeDefaultClass(node, image) {
  const names = await kubectl("get", "persistentvolumes,storageclasses", "--output", "name");
  if (!names.includes(`/${NAME}`)) return;
  await kubectl("delete", "persistentvolume", NAME, "--ignore-not-found");
  await onNode(node, image, "rm -rf /host/data");
  await kubectl("delete", "storageclass", NAME, "--ignore-not-found");
}

/** Runs a command of a shell on a node, as root, with the folder as /host. */
async function onNode(node, image, command) {
  const name = `${NAME}-volume`;
  await apply({
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name, namespace: "default" },
    spec: {
      nodeName: node,
      restartPolicy: "Never",
      tolerations: [{ operator: "Exists" }],
      containers: [
        {
          name: "shell",
          image,
          imagePullPolicy: "IfNotPresent",
          command: ["sh", "-c", command],
          securityContext: { runAsUser: 0, runAsNonRoot: false },
          volumeMounts: [{ name: "host", mountPath: "/host" }],
        },
      ],
      volumes: [{ name: "host", hostPath: { path: FOLDER, type: "DirectoryOrCreate" } }],
    },
  });
  try {
    await until(60, `${command} is done on ${node}`, async () => {
      const phase = await kubectl("get", "pod", "-n", "default", name, "--output", "jsonpath={.status.phase}");
      if (phase === "Failed") throw new Error(`${command} failed on ${node}`);
      return phase === "Succeeded";
    });
  } finally {
    await kubectl("delete", "pod", "-n", "default", name, "--now");
  }
}

async function apply(...items) {
  const list = JSON.stringify({ apiVersion: "v1", kind: "List", items });
  await output("sh", ["-c", `printf %s "$LIST" | kubectl apply --filename -`], 60, { LIST: list });
}
