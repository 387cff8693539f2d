import { assert, assertEquals, assertRejects } from "@std/assert";
import { Credentials } from "../../lib/control_plane/credentials.ts";
import { enroll } from "../../lib/control_plane/enroll.ts";
import type { RegistrationAnswer } from "../../lib/control_plane/registration.ts";
import { RegistrationError } from "../../lib/common/errors.ts";
import { Secret } from "../../lib/common/secret.ts";
import { LogCapture } from "../support/log_capture.ts";
import { MemoryKeyStore } from "../support/memory_key_store.ts";
import { registered, REGISTRATION, ScriptedControlPlane } from "../support/scripted_control_plane.ts";

const BOOTSTRAP = "bootstrap-s3cret";
const STORED = "stored-s3cret";
const REFUSAL = "The Control Plane refuses the key that it issued: trying the configured one";
const never = new AbortController().signal;

function credentialsOver(store: MemoryKeyStore): Credentials {
  const files = { apiKeyFile: "", caFile: "", clientCert: "", clientKey: "" };
  return new Credentials({ ...files, apiKey: new Secret(BOOTSTRAP), proxy: undefined }, store);
}

/** A store with the key of an earlier run. */
async function storeOfEarlierRun(): Promise<MemoryKeyStore> {
  const store = new MemoryKeyStore();
  await credentialsOver(store).issue(STORED);
  store.writes.length = 0;
  return store;
}

async function attempt(
  controlPlane: ScriptedControlPlane,
  credentials: Credentials,
): Promise<RegistrationAnswer> {
  return await enroll(REGISTRATION, { httpBase: controlPlane.addresses.http, credentials, signal: never });
}

function keysOf(controlPlane: ScriptedControlPlane): Array<string | null> {
  return controlPlane.registrations.map(({ headers }) => headers.get("x-agent-api-key"));
}

/** A Control Plane that gives its answers in turn. */
function answering(...answers: Array<() => Response>): ScriptedControlPlane {
  return new ScriptedControlPlane({ register: (nth) => answers[nth]?.() ?? registered() });
}

const refused = (status: number) => () => Response.json({ error: `not ${STORED}` }, { status });

Deno.test("C3 enroll() comes with the key of an earlier run, and keeps a newer one", async () => {
  const store = await storeOfEarlierRun();
  await using controlPlane = answering(() => registered({ apiKey: "newer" }));
  const credentials = credentialsOver(store);
  await attempt(controlPlane, credentials);
  await attempt(controlPlane, credentials);
  assertEquals(keysOf(controlPlane), [STORED, "newer"]);
  assertEquals(store.writes.map((text) => JSON.parse(text ?? "").key), ["newer"]);
});

for (const status of [401, 403]) {
  Deno.test(`enroll() tries the configured key in the same attempt when ${status} refuses the stored one`, async () => {
    using logs = new LogCapture();
    const store = await storeOfEarlierRun();
    await using controlPlane = answering(refused(status));
    const credentials = credentialsOver(store);
    assertEquals((await attempt(controlPlane, credentials)).kind, "registered");
    await attempt(controlPlane, credentials);
    assertEquals(keysOf(controlPlane), [STORED, BOOTSTRAP, BOOTSTRAP]);
    assertEquals(store.writes, [undefined]);
    assertEquals(logs.lines.map((line) => line.replace(/^\S+ /, "")), [`[K8sAgent] WARN: ${REFUSAL}`]);
  });
}

Deno.test("enroll() keeps the stored key as long as the configured one is not accepted either", async () => {
  using logs = new LogCapture();
  const store = await storeOfEarlierRun();
  await using controlPlane = answering(refused(401), refused(401), () => registered());
  const credentials = credentialsOver(store);
  const error = await assertRejects(
    () => attempt(controlPlane, credentials),
    RegistrationError,
    "answered 401",
  );
  assert(error.isRefusalOfKey());
  await attempt(controlPlane, credentials);
  assertEquals(keysOf(controlPlane), [STORED, BOOTSTRAP, STORED]);
  assertEquals(store.writes, []);
  assert(!logs.lines.some((line) => line.includes("s3cret")), logs.lines.join("\n"));
});

Deno.test("enroll() keeps the stored key while the configured one waits for approval", async () => {
  const store = await storeOfEarlierRun();
  await using controlPlane = answering(refused(401), () => new Response("{}", { status: 202 }));
  assertEquals((await attempt(controlPlane, credentialsOver(store))).kind, "pending");
  assertEquals(store.writes, []);
});

Deno.test("enroll() keeps the key that comes with the acceptance of the configured one", async () => {
  const store = await storeOfEarlierRun();
  await using controlPlane = answering(refused(401), () => registered({ apiKey: "newer" }));
  const credentials = credentialsOver(store);
  await attempt(controlPlane, credentials);
  await attempt(controlPlane, credentials);
  assertEquals(keysOf(controlPlane), [STORED, BOOTSTRAP, "newer"]);
  assertEquals(JSON.parse(await store.read() ?? "").key, "newer");
});

const OTHER_ANSWERS: Array<[name: string, answer: () => Response]> = [
  ["a rejection", () => Response.json({ approvalStatus: "rejected" }, { status: 403 })],
  ["404", refused(404)],
  ["429", refused(429)],
  ["503", refused(503)],
];

for (const [name, answer] of OTHER_ANSWERS) {
  Deno.test(`enroll() stays with the stored key after ${name}`, async () => {
    await using controlPlane = answering(answer);
    const credentials = credentialsOver(await storeOfEarlierRun());
    await attempt(controlPlane, credentials).catch(() => {});
    await attempt(controlPlane, credentials);
    assertEquals(keysOf(controlPlane), [STORED, STORED]);
  });
}

Deno.test("enroll() tries the configured key once where it is the only one", async () => {
  await using controlPlane = answering(refused(401));
  await assertRejects(() => attempt(controlPlane, credentialsOver(new MemoryKeyStore())), RegistrationError);
  assertEquals(keysOf(controlPlane), [BOOTSTRAP]);
});
