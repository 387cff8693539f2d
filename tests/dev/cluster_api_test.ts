import { assert, assertEquals, assertMatch, assertRejects, assertStringIncludes } from "@std/assert";
import { ApiException } from "@kubernetes/client-node";
import { Cluster } from "@streamspace/memory-cluster";
import { type Answer, call, claim, deployment, typedClients } from "./cluster_client.ts";

const APPS = "/apis/apps/v1/namespaces/default/deployments";
const CORE = "/api/v1/namespaces/default";
const MAPS = `${CORE}/configmaps`;
const IDLE = { replicas: 0 };

function patchType(kind: string): Record<string, string> {
  return { "content-type": `application/${kind}` };
}

Deno.test("a missing object or path is answered with 404 and the message of a real server", async () => {
  await using cluster = Cluster.start();
  assertEquals(await call(cluster, `${APPS}/desk`), {
    kind: "Status",
    apiVersion: "v1",
    metadata: {},
    status: "Failure",
    message: 'deployments.apps "desk" not found',
    reason: "NotFound",
    details: { name: "desk", group: "apps", kind: "deployments" },
    code: 404,
  });
});

Deno.test("creating an existing object is rejected", async () => {
  await using cluster = Cluster.start();
  const { apps } = typedClients(cluster);
  const body = deployment("desk", "desk", IDLE);
  await apps.createNamespacedDeployment({ namespace: "default", body });
  const error = await assertRejects(() => apps.createNamespacedDeployment({ namespace: "default", body }));
  assert(error instanceof ApiException);
  assertEquals([error.code, JSON.parse(error.body).message], [409, 'deployments.apps "desk" already exists']);
});

Deno.test("generateName creates a new name each time", async () => {
  await using cluster = Cluster.start();
  const body = { metadata: { generateName: "desk-" } };
  const names = [await call(cluster, MAPS, { body }), await call(cluster, MAPS, { body })]
    .map(({ metadata }) => metadata.name);
  for (const name of names) assertMatch(name, /^desk-[a-z0-9]{5}$/);
  assert(names[0] !== names[1]);
});

Deno.test("an update with an old resource version conflicts", async () => {
  await using cluster = Cluster.start();
  const old = await call(cluster, MAPS, { body: { metadata: { name: "settings" } } });
  const path = `${MAPS}/settings`;
  const first = await call(cluster, path, { method: "PUT", body: { ...old, data: { a: "1" } } });
  assertEquals(first.data, { a: "1" });
  const second = await call(cluster, path, { method: "PUT", body: { ...old, data: { a: "2" } } });
  assertEquals([second.code, second.reason], [409, "Conflict"]);
});

Deno.test("an update without changes creates no new revision", async () => {
  await using cluster = Cluster.start();
  const body = { metadata: { name: "settings" }, data: { a: "1" } };
  const { metadata } = await call(cluster, MAPS, { body });
  const again = await call(cluster, `${MAPS}/settings`, { method: "PUT", body });
  assertEquals(again.metadata.resourceVersion, metadata.resourceVersion);
});

for (
  const { name, type, body, expected } of [
    {
      name: "a merge patch",
      type: "merge-patch+json",
      body: { data: { a: null, c: "3" } },
      expected: { b: "2", c: "3" },
    },
    {
      name: "a JSON patch",
      type: "json-patch+json",
      body: [{ op: "test", path: "/data/a", value: "1" }, { op: "move", from: "/data/a", path: "/data/c" }],
      expected: { b: "2", c: "1" },
    },
    {
      name: "server-side apply",
      type: "apply-patch+yaml",
      body: { data: { b: "4" } },
      expected: { a: "1", b: "4" },
    },
  ]
) {
  Deno.test(`${name} changes the named fields`, async () => {
    await using cluster = Cluster.start();
    await call(cluster, MAPS, { body: { metadata: { name: "settings" }, data: { a: "1", b: "2" } } });
    const options = { method: "PATCH", body, headers: patchType(type) };
    assertEquals((await call(cluster, `${MAPS}/settings`, options)).data, expected);
  });
}

Deno.test("a strategic merge patch changes the named container", async () => {
  await using cluster = Cluster.start();
  await call(cluster, APPS, { body: deployment("desk", "desk:1", IDLE) });
  const containers = [{ name: "desk", env: [{ name: "A", value: "1" }] }, { name: "side", image: "side" }];
  const options = {
    method: "PATCH",
    body: { spec: { template: { spec: { containers } } } },
    headers: patchType("strategic-merge-patch+json"),
  };
  const { spec } = await call(cluster, `${APPS}/desk`, options);
  const patched = spec.template.spec.containers.map(({ name, image, env }: Answer) => ({ name, image, env }));
  assertEquals(patched, [
    { name: "desk", image: "desk:1", env: [{ name: "A", value: "1" }] },
    { name: "side", image: "side", env: undefined },
  ]);
});

Deno.test("a deletion is rejected when its precondition does not match", async () => {
  await using cluster = Cluster.start();
  await call(cluster, MAPS, { body: { metadata: { name: "settings" } } });
  const body = { preconditions: { uid: "another" } };
  const refused = await call(cluster, `${MAPS}/settings`, { method: "DELETE", body });
  assertEquals([refused.code, refused.reason], [409, "Conflict"]);
  assertStringIncludes(refused.message, "the UID in the precondition (another) does not match");
});

Deno.test("an object with a finalizer is removed with its last finalizer", async () => {
  await using cluster = Cluster.start();
  const path = `${MAPS}/settings`;
  await call(cluster, MAPS, { body: { metadata: { name: "settings", finalizers: ["example.com/hold"] } } });
  const deleted = await call(cluster, path, { method: "DELETE" });
  assert(deleted.metadata.deletionTimestamp);
  const body = { metadata: { finalizers: null } };
  await call(cluster, path, { method: "PATCH", body, headers: patchType("merge-patch+json") });
  assertEquals((await call(cluster, path)).code, 404);
});

Deno.test("a collection deletion removes the selected objects", async () => {
  await using cluster = Cluster.start();
  for (const [name, tier] of [["one", "a"], ["two", "b"], ["three", "c"]]) {
    await call(cluster, MAPS, { body: { metadata: { name, labels: { tier } } } });
  }
  await call(cluster, `${MAPS}?labelSelector=${encodeURIComponent("tier notin (b)")}`, { method: "DELETE" });
  assertEquals((await call(cluster, MAPS)).items.map(({ metadata }: Answer) => metadata.name), ["two"]);
});

for (
  const { name, path, body, code, message } of [
    {
      name: "an object in a namespace that does not exist",
      path: "/api/v1/namespaces/nowhere/configmaps",
      body: { metadata: { name: "settings" } },
      code: 404,
      message: 'namespaces "nowhere" not found',
    },
    {
      name: "a name that is no subdomain",
      path: MAPS,
      body: { metadata: { name: "A_b" } },
      code: 422,
      message:
        'ConfigMap "A_b" is invalid: metadata.name: Invalid value: "A_b": a lowercase RFC 1123 subdomain',
    },
    {
      name: "a service whose name begins with a digit",
      path: `${CORE}/services`,
      body: { metadata: { name: "1desk" }, spec: { ports: [{ port: 80 }] } },
      code: 422,
      message: "a DNS-1035 label must consist of",
    },
    {
      name: "a label that is no text",
      path: MAPS,
      body: { metadata: { name: "settings", labels: { a: 1 } } },
      code: 400,
      message: "json: cannot unmarshal number into Go struct field ObjectMeta.metadata.labels of type string",
    },
    {
      name: "an invalid label value",
      path: MAPS,
      body: { metadata: { name: "settings", labels: { a: "b@c" } } },
      code: 422,
      message: 'metadata.labels: Invalid value: "b@c": a valid label must be',
    },
    {
      name: "a deployment whose selector does not mean its own pods",
      path: APPS,
      body: deployment("desk", "desk", { selector: { matchLabels: { app: "other" } } }),
      code: 422,
      message:
        'Deployment.apps "desk" is invalid: spec.template.metadata.labels: Invalid value: {"app":"desk"}: ' +
        "`selector` does not match template `labels`",
    },
    {
      name: "a malformed quantity",
      path: `${CORE}/persistentvolumeclaims`,
      body: {
        ...claim("home"),
        spec: { accessModes: ["ReadWriteOnce"], resources: { requests: { storage: "2Gx" } } },
      },
      code: 400,
      message: "quantities must match the regular expression",
    },
    {
      name: "a claim that says nothing",
      path: `${CORE}/persistentvolumeclaims`,
      body: { metadata: { name: "home" } },
      code: 422,
      message:
        "[spec.accessModes: Required value: at least 1 access mode is required, spec.resources[storage]: Required",
    },
    {
      name: "a lease whose time has no microseconds",
      path: "/apis/coordination.k8s.io/v1/namespaces/default/leases",
      body: { metadata: { name: "leader" }, spec: { renewTime: "2026-01-01T00:00:00.123Z" } },
      code: 400,
      message: 'parsing time "2026-01-01T00:00:00.123Z"',
    },
  ]
) {
  Deno.test(`${name} is rejected`, async () => {
    await using cluster = Cluster.start();
    const refused = await call(cluster, path, { body });
    assertEquals(refused.code, code);
    assertStringIncludes(refused.message, message);
  });
}

Deno.test("quantities are stored in their canonical form", async () => {
  await using cluster = Cluster.start();
  const body = deployment("desk", "desk", IDLE);
  body.spec.template.spec.containers[0].resources = {
    limits: { cpu: "1000m", memory: "2048Mi" },
    requests: { cpu: "0.5" },
  };
  const { spec } = await call(cluster, APPS, { body });
  assertEquals(spec.template.spec.containers[0].resources, {
    limits: { cpu: "1", memory: "2Gi" },
    requests: { cpu: "500m" },
  });
});

Deno.test("a list is returned as a table if the client requests one", async () => {
  await using cluster = Cluster.start();
  await call(cluster, APPS, { body: deployment("desk", "desk", { ...IDLE, paused: true }) });
  const accept = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
  const table = await call(cluster, APPS, { headers: { accept } });
  assertEquals(table.columnDefinitions.map(({ name }: Answer) => name).slice(0, 4), [
    "Name",
    "Ready",
    "Up-to-date",
    "Available",
  ]);
  assertEquals(table.rows[0].cells.slice(0, 4), ["desk", "0/0", 0, 0]);
});

Deno.test("a log is plain text", async () => {
  await using cluster = Cluster.start();
  const { core } = typedClients(cluster);
  const body = { metadata: { name: "desk" }, spec: { containers: [{ name: "desk", image: "stuck" }] } };
  await core.createNamespacedPod({ namespace: "default", body });
  assertEquals(
    await core.readNamespacedPodLog({ name: "desk", namespace: "default" }),
    "simulated log of desk\n",
  );
});
