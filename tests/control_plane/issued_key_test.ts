import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { IssuedKey, type KeyStore } from "../../lib/control_plane/issued_key.ts";
import { KubernetesError } from "../../lib/common/errors.ts";
import { Secret } from "../../lib/common/secret.ts";
import { FakeTime } from "../support/fake_time.ts";
import { LogCapture } from "../support/log_capture.ts";
import { MemoryKeyStore } from "../support/memory_key_store.ts";

const BOOTSTRAP = new Secret("bootstrap-s3cret");
const never = new AbortController().signal;

const FORBIDDEN = new KubernetesError("Kubernetes refused to read secrets x: no", {
  status: 403,
  reason: "",
});
const UNAVAILABLE = new KubernetesError("Kubernetes did not answer a request: gone", {
  status: 0,
  reason: "",
});

/** A store whose requests fail with this error. */
function failing(error: Error): KeyStore & { reads: number } {
  return {
    reads: 0,
    read() {
      this.reads++;
      return Promise.reject(error);
    },
    write: () => Promise.reject(error),
  };
}

async function restored(store: KeyStore): Promise<IssuedKey> {
  const issued = new IssuedKey(store);
  await issued.restore(never);
  return issued;
}

async function keyOf(issued: IssuedKey, configured?: Secret): Promise<string | undefined> {
  return (await issued.replacementFor(configured))?.reveal();
}

Deno.test("IssuedKey survives a restart, for the configured key that it was issued for", async () => {
  const store = new MemoryKeyStore();
  await (await restored(store)).set("issued", BOOTSTRAP);
  const issued = await restored(store);
  assertEquals(await keyOf(issued, BOOTSTRAP), "issued");
  assertEquals(await keyOf(issued, new Secret("another")), undefined);
  assertEquals(await keyOf(issued), undefined);
});

Deno.test("IssuedKey can replace the absence of a configured key", async () => {
  const store = new MemoryKeyStore();
  await (await restored(store)).set("issued", undefined);
  const issued = await restored(store);
  assertEquals(await keyOf(issued), "issued");
  assertEquals(await keyOf(issued, BOOTSTRAP), undefined);
});

Deno.test("IssuedKey stores a fingerprint of the configured key, not the key", async () => {
  const store = new MemoryKeyStore();
  await (await restored(store)).set("issued", BOOTSTRAP);
  const [text = ""] = store.writes;
  assertEquals(Object.keys(JSON.parse(text)), ["key", "insteadOf"]);
  assertEquals([JSON.parse(text).key, JSON.parse(text).insteadOf.length], ["issued", 64]);
  assert(!text.includes(BOOTSTRAP.reveal()));
});

Deno.test("IssuedKey is stored once when the Control Plane sends it repeatedly", async () => {
  const store = new MemoryKeyStore();
  const issued = await restored(store);
  for (const key of ["issued", "issued", "newer", "newer"]) await issued.set(key, BOOTSTRAP);
  assertEquals(store.writes.map((text) => JSON.parse(text ?? "").key), ["issued", "newer"]);
  const again = await restored(store);
  await again.set("newer", BOOTSTRAP);
  assertEquals(store.writes.length, 2);
});

Deno.test("IssuedKey is not set when the Control Plane sends the configured key", async () => {
  const store = new MemoryKeyStore();
  const issued = await restored(store);
  await issued.set(BOOTSTRAP.reveal(), BOOTSTRAP);
  assertEquals([await keyOf(issued, BOOTSTRAP), store.writes.length], [undefined, 0]);
  await issued.set("issued", BOOTSTRAP);
  await issued.set(BOOTSTRAP.reveal(), BOOTSTRAP);
  assertEquals([await keyOf(issued, BOOTSTRAP), store.writes.at(-1)], [undefined, undefined]);
});

Deno.test("IssuedKey.remove() removes the key from memory and from the store", async () => {
  const store = new MemoryKeyStore();
  const issued = await restored(store);
  await issued.remove();
  assertEquals(store.writes, []);
  await issued.set("issued", BOOTSTRAP);
  await issued.remove();
  assertEquals(await keyOf(issued, BOOTSTRAP), undefined);
  assertEquals(await keyOf(await restored(store), BOOTSTRAP), undefined);
});

for (
  const text of [
    "",
    "s3cret",
    '"s3cret"',
    "{}",
    '{"key":"s3cret"}',
    '{"key":7,"insteadOf":""}',
    '{"key":"","insteadOf":""}',
    '{"key":"s3cret\\r\\nX-Other: 1","insteadOf":""}',
  ]
) {
  Deno.test(`IssuedKey ignores the invalid stored text ${JSON.stringify(text)} and does not log it`, async () => {
    using logs = new LogCapture();
    const issued = await restored(new MemoryKeyStore(text));
    assertEquals(await keyOf(issued), undefined);
    assertEquals(logs.lines.length, 1);
    assertStringIncludes(logs.lines[0] ?? "", "The stored issued key is invalid");
    assert(!logs.lines[0]?.includes("s3cret"));
  });
}

Deno.test("IssuedKey works in memory without access to the store, and logs that once", async () => {
  using logs = new LogCapture();
  const store = failing(FORBIDDEN);
  const issued = await restored(store);
  await issued.restore(never);
  assertEquals([store.reads, logs.lines.length], [1, 1]);
  assertStringIncludes(logs.lines[0] ?? "", "using the configured one (apply k8s/rbac.yaml): ");
  await issued.set("issued-s3cret", BOOTSTRAP);
  assertEquals([await keyOf(issued, BOOTSTRAP), logs.lines.length], ["issued-s3cret", 2]);
  assertStringIncludes(
    logs.lines[1] ?? "",
    "WARN: Cannot store the issued key for the next start (apply k8s/rbac.yaml): ",
  );
  assert(!logs.lines.some((line) => line.includes("s3cret")));
});

Deno.test("IssuedKey reads the store again after a transient error", async () => {
  using logs = new LogCapture();
  const store = new MemoryKeyStore();
  await (await restored(store)).set("issued", BOOTSTRAP);
  const answers = [() => Promise.reject(UNAVAILABLE), () => store.read()];
  const issued = await restored({
    read: () => answers.shift()?.() ?? store.read(),
    write: () => Promise.resolve(),
  });
  assertEquals(await keyOf(issued, BOOTSTRAP), undefined);
  assertStringIncludes(logs.lines[0] ?? "", "using the configured one: Kubernetes did not answer");
  await issued.restore(never);
  assertEquals(await keyOf(issued, BOOTSTRAP), "issued");
});

Deno.test("IssuedKey times out after 5 seconds without a response from the cluster", async () => {
  using time = new FakeTime();
  using logs = new LogCapture();
  const { promise } = Promise.withResolvers<never>();
  const issued = new IssuedKey({ read: () => promise, write: () => promise });
  const restoring = issued.restore(never);
  await time.tickAsync(5000);
  await restoring;
  const taking = issued.set("issued", BOOTSTRAP);
  await time.tickAsync(await time.timer(5000));
  await taking;
  assertEquals(await keyOf(issued, BOOTSTRAP), "issued");
  assertEquals(
    logs.lines.filter((line) => line.includes("no response from the cluster within 5 seconds")).length,
    2,
  );
});

Deno.test("IssuedKey.restore() ends without a log line when it is aborted", async () => {
  using logs = new LogCapture();
  const stop = new AbortController();
  const { promise } = Promise.withResolvers<never>();
  const restoring = new IssuedKey({ read: () => promise, write: () => promise }).restore(stop.signal);
  stop.abort();
  await restoring;
  assertEquals(logs.lines, []);
});
