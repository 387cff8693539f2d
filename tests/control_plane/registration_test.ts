import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { Credentials } from "../../lib/control_plane/credentials.ts";
import {
  register,
  registerWithKeys,
  type RegistrationResponse,
} from "../../lib/control_plane/registration.ts";
import { RegistrationError } from "../../lib/common/errors.ts";
import { Secret } from "../../lib/common/secret.ts";
import { FakeTime } from "../support/fake_time.ts";
import { LogCapture } from "../support/log_capture.ts";
import { MemoryKeyStore } from "../support/memory_key_store.ts";
import { registered, REGISTRATION, ScriptedControlPlane } from "../support/scripted_control_plane.ts";

const KEY = "0123456789abcdef".repeat(4);
const ERROR_BODY = { error: "Agent refused", details: "not today" };
const never = new AbortController().signal;

function registerAt(
  controlPlane: ScriptedControlPlane,
  options: { apiKey?: Secret; signal?: AbortSignal } = {},
): Promise<RegistrationResponse> {
  const { apiKey, signal = never } = options;
  return register(REGISTRATION, {
    httpBase: controlPlane.addresses.http,
    credentials: { apiKey, client: undefined },
    signal,
  });
}

Deno.test("register() sends the agent's description as JSON, with its key in a header", async () => {
  await using controlPlane = new ScriptedControlPlane({ register: () => registered() });
  await registerAt(controlPlane, { apiKey: new Secret(KEY) });
  const [received] = controlPlane.registrations;
  assertEquals(JSON.parse(received?.text ?? ""), REGISTRATION);
  assertEquals(received?.headers.get("content-type"), "application/json");
  assertEquals(received?.headers.get("x-agent-api-key"), KEY);
});

Deno.test("register() sends no key header without a key", async () => {
  await using controlPlane = new ScriptedControlPlane({ register: () => registered() });
  await registerAt(controlPlane);
  assertEquals(controlPlane.registrations[0]?.headers.has("x-agent-api-key"), false);
});

const RESPONSES: Array<[name: string, response: () => Response, expected: RegistrationResponse]> = [
  ["200 and the agent", () => registered(), {
    kind: "registered",
    status: "online",
    apiKey: undefined,
    features: [],
  }],
  ["200 and features", () => registered({ features: ["tunnel.v1", 5] }), {
    kind: "registered",
    status: "online",
    apiKey: undefined,
    features: ["tunnel.v1", "5"],
  }],
  ["200 and a status", () => registered({ status: "draining" }), {
    kind: "registered",
    status: "draining",
    apiKey: undefined,
    features: [],
  }],
  [
    "201 and the agent next to its approval and key",
    () =>
      Response.json({ agent: { agentId: "a1", status: "online" }, approvalStatus: "approved", apiKey: KEY }, {
        status: 201,
      }),
    { kind: "registered", status: "online", apiKey: KEY, features: [] },
  ],
  [
    "200 and an agent without a status",
    () => Response.json({ agent: { id: "1" }, apiKey: "" }),
    { kind: "registered", status: "online", apiKey: undefined, features: [] },
  ],
  [
    "200 and a key that does not fit into a header",
    () => registered({ apiKey: "abc\r\nX-Other: 1" }),
    { kind: "registered", status: "online", apiKey: undefined, features: [] },
  ],
  ["200 and a key that is not a string", () => registered({ apiKey: { a: 1 } }), {
    kind: "registered",
    status: "online",
    apiKey: undefined,
    features: [],
  }],
  [
    "202",
    () => Response.json({ agent: {}, approvalStatus: "pending", message: "Wait" }, { status: 202 }),
    { kind: "pending", message: "Wait", retryAfterMs: undefined },
  ],
  [
    "202 and Retry-After",
    () => Response.json({ message: "Wait" }, { status: 202, headers: { "Retry-After": "5" } }),
    { kind: "pending", message: "Wait", retryAfterMs: 5000 },
  ],
  ["202 without JSON", () => new Response("ok", { status: 202 }), {
    kind: "pending",
    message: "",
    retryAfterMs: undefined,
  }],
  [
    "200 and a pending approval",
    () => Response.json({ agent: { id: "1" }, approvalStatus: "pending", message: "Wait" }),
    { kind: "pending", message: "Wait", retryAfterMs: undefined },
  ],
  [
    "403 and a rejection",
    () => Response.json({ approvalStatus: "rejected", message: "Unknown cluster" }, { status: 403 }),
    { kind: "rejected", message: "Unknown cluster" },
  ],
];

for (const [name, response, expected] of RESPONSES) {
  Deno.test(`C2 register() parses ${name}`, async () => {
    await using controlPlane = new ScriptedControlPlane({ register: response });
    assertEquals(await registerAt(controlPlane), expected);
  });
}

const HTML = "<html><body>Bad Gateway</body></html>";
const MESSAGE = "(message: Agent refused: not today)";
const REJECTIONS: Array<[name: string, response: () => Response, expected: string[]]> = [
  ["400", () => Response.json(ERROR_BODY, { status: 400 }), [
    "HTTP 400: ",
    "--agent-id",
    "--region",
    MESSAGE,
  ]],
  ["401", () => Response.json(ERROR_BODY, { status: 401 }), ["HTTP 401: ", "AGENT_API_KEY", MESSAGE]],
  ["403", () => Response.json(ERROR_BODY, { status: 403 }), ["HTTP 403: ", "API key", MESSAGE]],
  ["404", () => Response.json(ERROR_BODY, { status: 404 }), ["HTTP 404: ", "--control-plane-url", MESSAGE]],
  ["404 from another server", () => new Response(HTML, { status: 404 }), [
    "HTTP 404: ",
    "--control-plane-url",
  ]],
  ["429", () => Response.json(ERROR_BODY, { status: 429 }), ["HTTP 429", MESSAGE]],
  ["500", () => Response.json(ERROR_BODY, { status: 500 }), ["HTTP 500", MESSAGE]],
  ["502 with HTML", () => new Response(HTML, { status: 502 }), ["HTTP 502"]],
  ["503 without a body", () => new Response(null, { status: 503 }), ["HTTP 503"]],
  ["200 with HTML", () => new Response(HTML), ["the response is not JSON", "--control-plane-url"]],
  ["200 without a body", () => new Response(null), ["the response is not JSON"]],
  ["204", () => new Response(null, { status: 204 }), ["the response is not JSON"]],
  ["200 and a list", () => Response.json([]), ["the response is not JSON"]],
  ["200 without an agent", () => Response.json({ hello: "world" }), ["the response does not name an agent"]],
  ["200 and ids of the wrong type", () => Response.json({ id: 5, agentId: {} }), [
    "the response does not name an agent",
  ]],
  [
    "200 and ids in a prototype",
    () => new Response('{"__proto__":{"id":"1","agentId":"a1"}}'),
    ["the response does not name an agent"],
  ],
  ["200 and a truncated body", () => new Response('{"agentId":"a1"'), ["the response is not JSON"]],
  ["200 and a huge body", () => new Response(`{"agentId":"${"x".repeat(2 ** 20)}"}`), [
    "the response is not JSON",
  ]],
  ["200 and an endless body", () => new Response(endless()), ["the response is not JSON"]],
];

for (const [name, response, expected] of REJECTIONS) {
  Deno.test(`C2 register() throws an error that explains ${name}`, async () => {
    await using controlPlane = new ScriptedControlPlane({ register: response });
    const error = await assertRejects(() => registerAt(controlPlane), RegistrationError);
    const url = `${controlPlane.addresses.http}/api/v1/agents/register`;
    assertStringIncludes(error.message, `Cannot register with the Control Plane at ${url}: `);
    for (const part of expected) assertStringIncludes(error.message, part);
    assertEquals(error.retryAfterMs, 0);
  });
}

Deno.test("C2 register() passes on the Retry-After of an overloaded Control Plane", async () => {
  const headers = { "Retry-After": "7" };
  await using controlPlane = new ScriptedControlPlane({
    register: () => Response.json(ERROR_BODY, { status: 429, headers }),
  });
  const error = await assertRejects(() => registerAt(controlPlane), RegistrationError);
  assertEquals(error.retryAfterMs, 7000);
});

Deno.test("C2 register() does not follow a redirect with its key", async () => {
  await using other = new ScriptedControlPlane({ register: () => registered() });
  const location = `${other.addresses.http}/api/v1/agents/register`;
  for (const status of [301, 302, 307, 308]) {
    await using controlPlane = new ScriptedControlPlane({
      register: () => new Response(null, { status, headers: { Location: location } }),
    });
    const apiKey = new Secret(KEY);
    const error = await assertRejects(() => registerAt(controlPlane, { apiKey }), RegistrationError);
    assertStringIncludes(error.message, `HTTP ${status}: redirected to ${location}`);
    assert(!error.message.includes(KEY));
  }
  assertEquals(other.registrations, []);
});

Deno.test("register() throws if the connection is refused", async () => {
  const listener = Deno.listen({ port: 0, hostname: "127.0.0.1" });
  const httpBase = `http://127.0.0.1:${listener.addr.port}`;
  listener.close();
  const error = await assertRejects(
    () =>
      register(REGISTRATION, {
        httpBase,
        credentials: { apiKey: new Secret(KEY), client: undefined },
        signal: never,
      }),
    RegistrationError,
    `Cannot register with the Control Plane at ${httpBase}/api/v1/agents/register: `,
  );
  assert(!error.message.includes(KEY));
});

Deno.test("C13 register() throws if the host name does not resolve", async () => {
  const httpBase = "http://no-such-host.invalid:8000";
  const credentials = { apiKey: undefined, client: undefined };
  const failing = () => register(REGISTRATION, { httpBase, credentials, signal: never });
  const error = await assertRejects(failing, RegistrationError);
  assertStringIncludes(
    error.message,
    `Cannot register with the Control Plane at ${httpBase}/api/v1/agents/register: `,
  );
  assertStringIncludes(error.message, "dns error");
});

Deno.test("C2 register() times out after 15 seconds without a response", async () => {
  using time = new FakeTime();
  await using controlPlane = new ScriptedControlPlane({ register: (_nth, self) => self.hang() });
  const rejection = assertRejects(
    () => registerAt(controlPlane),
    RegistrationError,
    "no response within 15 seconds",
  );
  await controlPlane.arrivals.next();
  time.tick(15_000);
  await rejection;
});

Deno.test("C2 register() times out after 15 seconds when the response does not end", async () => {
  using time = new FakeTime();
  const reading = Promise.withResolvers<void>();
  const stuck = () =>
    new ReadableStream<Uint8Array>({
      pull(controller) {
        if (controller.desiredSize === 1) controller.enqueue(new TextEncoder().encode('{"agentId":'));
        reading.resolve();
        return new Promise(() => {});
      },
    });
  await using controlPlane = new ScriptedControlPlane({ register: () => new Response(stuck()) });
  const rejection = assertRejects(
    () => registerAt(controlPlane),
    RegistrationError,
    "no response within 15 seconds",
  );
  await reading.promise;
  time.tick(15_000);
  await rejection;
});

Deno.test("register() throws the signal's reason when it is aborted", async () => {
  await using controlPlane = new ScriptedControlPlane({ register: (_nth, self) => self.hang() });
  const stop = new AbortController();
  const rejection = assertRejects(() => registerAt(controlPlane, { signal: stop.signal }), Error, "enough");
  await controlPlane.arrivals.next();
  stop.abort(new Error("enough"));
  await rejection;
});

function endless(): ReadableStream<Uint8Array> {
  const chunk = new TextEncoder().encode("[".repeat(8192));
  return new ReadableStream({ pull: (controller) => controller.enqueue(chunk) });
}

Deno.test("register() redacts its key, and drops the query of a redirect, in error messages", async () => {
  const answers = [
    Response.json({ error: `invalid API key ${KEY}` }, { status: 401 }),
    new Response("", { status: 302, headers: { Location: `https://other.example.com/x?token=${KEY}` } }),
  ];
  for (const answer of answers) {
    await using controlPlane = new ScriptedControlPlane({ register: () => answer });
    const failing = () => registerAt(controlPlane, { apiKey: new Secret(KEY) });
    const error = await assertRejects(failing, RegistrationError);
    assert(!error.message.includes(KEY), error.message);
  }
});

const BOOTSTRAP = "bootstrap-s3cret";
const STORED = "stored-s3cret";
const FALLBACK = "The Control Plane rejected the key that it issued, trying the configured key";

function credentialsOver(store: MemoryKeyStore): Credentials {
  const files = { apiKeyFile: "", caFile: "", clientCert: "", clientKey: "" };
  return new Credentials({ ...files, apiKey: new Secret(BOOTSTRAP), proxy: undefined }, store);
}

/** A store with an issued key. */
async function storeWithKey(): Promise<MemoryKeyStore> {
  const store = new MemoryKeyStore();
  await credentialsOver(store).issue(STORED);
  store.writes.length = 0;
  return store;
}

async function attempt(
  controlPlane: ScriptedControlPlane,
  credentials: Credentials,
): Promise<RegistrationResponse> {
  return await registerWithKeys(REGISTRATION, {
    httpBase: controlPlane.addresses.http,
    credentials,
    signal: never,
  });
}

function keysOf(controlPlane: ScriptedControlPlane): Array<string | null> {
  return controlPlane.registrations.map(({ headers }) => headers.get("x-agent-api-key"));
}

/** A Control Plane that sends these responses in order, and then accepts. */
function responding(...answers: Array<() => Response>): ScriptedControlPlane {
  return new ScriptedControlPlane({ register: (nth) => answers[nth]?.() ?? registered() });
}

const rejected = (status: number) => () => Response.json({ error: `not ${STORED}` }, { status });

Deno.test("C3 registerWithKeys() uses the stored key, and stores a newer one", async () => {
  const store = await storeWithKey();
  await using controlPlane = responding(() => registered({ apiKey: "newer" }));
  const credentials = credentialsOver(store);
  await attempt(controlPlane, credentials);
  await attempt(controlPlane, credentials);
  assertEquals(keysOf(controlPlane), [STORED, "newer"]);
  assertEquals(store.writes.map((text) => JSON.parse(text ?? "").key), ["newer"]);
});

for (const status of [401, 403]) {
  Deno.test(`registerWithKeys() falls back to the configured key when the stored one is rejected with ${status}`, async () => {
    using logs = new LogCapture();
    const store = await storeWithKey();
    await using controlPlane = responding(rejected(status));
    const credentials = credentialsOver(store);
    assertEquals((await attempt(controlPlane, credentials)).kind, "registered");
    await attempt(controlPlane, credentials);
    assertEquals(keysOf(controlPlane), [STORED, BOOTSTRAP, BOOTSTRAP]);
    assertEquals(store.writes, [undefined]);
    assertEquals(logs.lines.map((line) => line.replace(/^\S+ /, "")), [`[K8sAgent] WARN: ${FALLBACK}`]);
  });
}

Deno.test("registerWithKeys() keeps the stored key while the configured key is rejected, too", async () => {
  using logs = new LogCapture();
  const store = await storeWithKey();
  await using controlPlane = responding(rejected(401), rejected(401), () => registered());
  const credentials = credentialsOver(store);
  const error = await assertRejects(
    () => attempt(controlPlane, credentials),
    RegistrationError,
    "HTTP 401",
  );
  assert(error.isKeyRejected());
  await attempt(controlPlane, credentials);
  assertEquals(keysOf(controlPlane), [STORED, BOOTSTRAP, STORED]);
  assertEquals(store.writes, []);
  assert(!logs.lines.some((line) => line.includes("s3cret")), logs.lines.join("\n"));
});

Deno.test("registerWithKeys() keeps the stored key while the approval of the configured one is pending", async () => {
  const store = await storeWithKey();
  await using controlPlane = responding(rejected(401), () => new Response("{}", { status: 202 }));
  assertEquals((await attempt(controlPlane, credentialsOver(store))).kind, "pending");
  assertEquals(store.writes, []);
});

Deno.test("registerWithKeys() stores the key that is issued for the configured one", async () => {
  const store = await storeWithKey();
  await using controlPlane = responding(rejected(401), () => registered({ apiKey: "newer" }));
  const credentials = credentialsOver(store);
  await attempt(controlPlane, credentials);
  await attempt(controlPlane, credentials);
  assertEquals(keysOf(controlPlane), [STORED, BOOTSTRAP, "newer"]);
  assertEquals(JSON.parse(await store.read() ?? "").key, "newer");
});

const OTHER_RESPONSES: Array<[name: string, response: () => Response]> = [
  ["a rejection", () => Response.json({ approvalStatus: "rejected" }, { status: 403 })],
  ["404", rejected(404)],
  ["429", rejected(429)],
  ["503", rejected(503)],
];

for (const [name, response] of OTHER_RESPONSES) {
  Deno.test(`registerWithKeys() does not try another key after ${name}`, async () => {
    await using controlPlane = responding(response);
    const credentials = credentialsOver(await storeWithKey());
    await attempt(controlPlane, credentials).catch(() => {});
    await attempt(controlPlane, credentials);
    assertEquals(keysOf(controlPlane), [STORED, STORED]);
  });
}

Deno.test("registerWithKeys() makes one attempt when there is only the configured key", async () => {
  await using controlPlane = responding(rejected(401));
  await assertRejects(() => attempt(controlPlane, credentialsOver(new MemoryKeyStore())), RegistrationError);
  assertEquals(keysOf(controlPlane), [BOOTSTRAP]);
});
