import { assertEquals } from "@std/assert";
import { Cluster } from "@streamspace/memory-cluster";
import { type Answer, call, waitFor, watch } from "./cluster_client.ts";

const MAPS = "/api/v1/namespaces/default/configmaps";
const MERGE = { "content-type": "application/merge-patch+json" };

function settings(name: string, labels: Record<string, string> = {}): Answer {
  return { metadata: { name, labels } };
}

Deno.test("a watch starts with the existing objects and continues with changes", async () => {
  await using cluster = Cluster.start();
  await call(cluster, MAPS, { body: settings("one") });
  const seen: unknown[] = [];
  for await (const { type, object } of watch(cluster, MAPS)) {
    seen.push([type, object.metadata.name]);
    if (seen.length === 1) {
      await call(cluster, `${MAPS}/one`, { method: "PATCH", body: { data: { a: "b" } }, headers: MERGE });
    }
    if (seen.length === 2) await call(cluster, `${MAPS}/one`, { method: "DELETE" });
    if (type === "DELETED") break;
  }
  assertEquals(seen, [["ADDED", "one"], ["MODIFIED", "one"], ["DELETED", "one"]]);
});

Deno.test("a watch from a resource version delivers the changes since then", async () => {
  await using cluster = Cluster.start();
  const first = await call(cluster, MAPS, { body: settings("one") });
  await call(cluster, MAPS, { body: settings("two") });
  const path = `${MAPS}?resourceVersion=${first.metadata.resourceVersion}`;
  const { object } = await waitFor(cluster, path, ({ type }) => type === "ADDED");
  assertEquals(object.metadata.name, "two");
});

Deno.test("a watch with a selector reports objects that start to match as added and that stop as deleted", async () => {
  await using cluster = Cluster.start();
  const { metadata } = await call(cluster, MAPS, { body: settings("one") });
  for (const on of ["yes", null]) {
    await call(cluster, `${MAPS}/one`, {
      method: "PATCH",
      body: { metadata: { labels: { on } } },
      headers: MERGE,
    });
  }
  const types: string[] = [];
  for await (
    const { type } of watch(cluster, `${MAPS}?labelSelector=on&resourceVersion=${metadata.resourceVersion}`)
  ) {
    types.push(type);
    if (types.length === 2) break;
  }
  assertEquals(types, ["ADDED", "DELETED"]);
});

Deno.test("a watch that times out ends with a bookmark of the latest revision", async () => {
  await using cluster = Cluster.start();
  const { metadata } = await call(cluster, MAPS);
  const query = `resourceVersion=${metadata.resourceVersion}&allowWatchBookmarks=true&timeoutSeconds=1`;
  const events = await Array.fromAsync(watch(cluster, `${MAPS}?${query}`));
  const { resourceVersion } = (await call(cluster, MAPS)).metadata;
  assertEquals(events.map(({ type, object }) => [type, object.metadata.resourceVersion]), [
    ["BOOKMARK", resourceVersion],
  ]);
});

Deno.test("a watch with initial events marks their end with a bookmark", async () => {
  await using cluster = Cluster.start();
  await call(cluster, MAPS, { body: settings("one") });
  const types: string[] = [];
  const query = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
  await waitFor(cluster, `${MAPS}?${query}`, ({ type, object }) => {
    types.push(type);
    return object.metadata.annotations?.["k8s.io/initial-events-end"] === "true";
  });
  assertEquals(types, ["ADDED", "BOOKMARK"]);
});

Deno.test("closeWatches() ends a watch without an event", async () => {
  await using cluster = Cluster.start();
  await call(cluster, MAPS, { body: settings("one") });
  const events: Answer[] = [];
  for await (const event of watch(cluster, MAPS)) {
    events.push(event);
    cluster.closeWatches();
  }
  assertEquals(events.map(({ type }) => type), ["ADDED"]);
});

Deno.test("expireWatches() ends a watch with error 410 and rejects old resource versions", async () => {
  await using cluster = Cluster.start();
  const { metadata } = await call(cluster, MAPS, { body: settings("one") });
  const events: Answer[] = [];
  for await (const event of watch(cluster, MAPS)) {
    events.push(event);
    cluster.expireWatches();
  }
  assertEquals(events.map(({ type, object }) => [type, object.code]), [["ADDED", undefined], ["ERROR", 410]]);
  const again = await Array.fromAsync(watch(cluster, `${MAPS}?resourceVersion=${metadata.resourceVersion}`));
  assertEquals(again.map(({ type, object }) => [type, object.reason]), [["ERROR", "Expired"]]);
  const list = await call(cluster, MAPS);
  const from = list.metadata.resourceVersion;
  await call(cluster, MAPS, { body: settings("two") });
  const { object } = await waitFor(cluster, `${MAPS}?resourceVersion=${from}`, () => true);
  assertEquals(object.metadata.name, "two");
});

Deno.test("disposing a cluster ends its watches", async () => {
  const cluster = Cluster.start();
  await call(cluster, MAPS, { body: settings("one") });
  const events: string[] = [];
  let disposed: Promise<void> | undefined;
  for await (const { type } of watch(cluster, MAPS)) {
    events.push(type);
    disposed = cluster[Symbol.asyncDispose]();
  }
  await disposed;
  assertEquals(events, ["ADDED"]);
});
