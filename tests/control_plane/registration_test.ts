import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { register, type RegistrationAnswer } from "../../lib/control_plane/registration.ts";
import { RegistrationError } from "../../lib/common/errors.ts";
import { Secret } from "../../lib/common/secret.ts";
import { FakeTime } from "../support/fake_time.ts";
import { registered, REGISTRATION, ScriptedControlPlane } from "../support/scripted_control_plane.ts";

const KEY = "0123456789abcdef".repeat(4);
const REFUSAL = { error: "Agent refused", details: "not today" };
const never = new AbortController().signal;

function registerAt(
  controlPlane: ScriptedControlPlane,
  options: { apiKey?: Secret; signal?: AbortSignal } = {},
): Promise<RegistrationAnswer> {
  const { apiKey, signal = never } = options;
  return register(REGISTRATION, {
    httpBase: controlPlane.addresses.http,
    credentials: { apiKey, client: undefined },
    signal,
  });
}

Deno.test("register() posts what the agent is, as JSON and with its key", async () => {
  await using controlPlane = new ScriptedControlPlane({ register: () => registered() });
  await registerAt(controlPlane, { apiKey: new Secret(KEY) });
  const [received] = controlPlane.registrations;
  assertEquals(JSON.parse(received?.text ?? ""), REGISTRATION);
  assertEquals(received?.headers.get("content-type"), "application/json");
  assertEquals(received?.headers.get("x-agent-api-key"), KEY);
});

Deno.test("register() sends no header for a key that it does not have", async () => {
  await using controlPlane = new ScriptedControlPlane({ register: () => registered() });
  await registerAt(controlPlane);
  assertEquals(controlPlane.registrations[0]?.headers.has("x-agent-api-key"), false);
});

const ANSWERS: Array<[name: string, response: () => Response, expected: RegistrationAnswer]> = [
  ["200 and the agent", () => registered(), { kind: "registered", status: "online", apiKey: undefined }],
  ["200 and a status", () => registered({ status: "draining" }), {
    kind: "registered",
    status: "draining",
    apiKey: undefined,
  }],
  [
    "201 and the agent beside its approval and key",
    () =>
      Response.json({ agent: { agentId: "a1", status: "online" }, approvalStatus: "approved", apiKey: KEY }, {
        status: 201,
      }),
    { kind: "registered", status: "online", apiKey: KEY },
  ],
  [
    "200 and an agent without a status",
    () => Response.json({ agent: { id: "1" }, apiKey: "" }),
    { kind: "registered", status: "online", apiKey: undefined },
  ],
  [
    "200 and a key that no header takes",
    () => registered({ apiKey: "abc\r\nX-Other: 1" }),
    { kind: "registered", status: "online", apiKey: undefined },
  ],
  ["200 and a key that is no text", () => registered({ apiKey: { a: 1 } }), {
    kind: "registered",
    status: "online",
    apiKey: undefined,
  }],
  [
    "202",
    () => Response.json({ agent: {}, approvalStatus: "pending", message: "Wait" }, { status: 202 }),
    { kind: "pending", message: "Wait", retryAfterMs: undefined },
  ],
  [
    "202 and a time to ask again",
    () => Response.json({ message: "Wait" }, { status: 202, headers: { "Retry-After": "5" } }),
    { kind: "pending", message: "Wait", retryAfterMs: 5000 },
  ],
  ["202 and no JSON", () => new Response("ok", { status: 202 }), {
    kind: "pending",
    message: "",
    retryAfterMs: undefined,
  }],
  [
    "200 and an approval that is pending",
    () => Response.json({ agent: { id: "1" }, approvalStatus: "pending", message: "Wait" }),
    { kind: "pending", message: "Wait", retryAfterMs: undefined },
  ],
  [
    "403 and a rejection",
    () => Response.json({ approvalStatus: "rejected", message: "Unknown cluster" }, { status: 403 }),
    { kind: "rejected", message: "Unknown cluster" },
  ],
];

for (const [name, response, expected] of ANSWERS) {
  Deno.test(`C2 register() understands ${name}`, async () => {
    await using controlPlane = new ScriptedControlPlane({ register: response });
    assertEquals(await registerAt(controlPlane), expected);
  });
}

const HTML = "<html><body>Bad Gateway</body></html>";
const SAYS = "(it says: Agent refused: not today)";
const REFUSALS: Array<[name: string, response: () => Response, expected: string[]]> = [
  ["400", () => Response.json(REFUSAL, { status: 400 }), ["answered 400: ", "--agent-id", "--region", SAYS]],
  ["401", () => Response.json(REFUSAL, { status: 401 }), ["answered 401: ", "AGENT_API_KEY", SAYS]],
  ["403", () => Response.json(REFUSAL, { status: 403 }), ["answered 403: ", "API key", SAYS]],
  ["404", () => Response.json(REFUSAL, { status: 404 }), ["answered 404: ", "--control-plane-url", SAYS]],
  ["404 of another server", () => new Response(HTML, { status: 404 }), [
    "answered 404: ",
    "--control-plane-url",
  ]],
  ["429", () => Response.json(REFUSAL, { status: 429 }), ["answered 429", SAYS]],
  ["500", () => Response.json(REFUSAL, { status: 500 }), ["answered 500", SAYS]],
  ["502 in HTML", () => new Response(HTML, { status: 502 }), ["answered 502"]],
  ["503 and nothing", () => new Response(null, { status: 503 }), ["answered 503"]],
  ["200 in HTML", () => new Response(HTML), ["No Control Plane answers at ", "its answer is not JSON"]],
  ["200 and nothing", () => new Response(null), ["its answer is not JSON"]],
  ["204", () => new Response(null, { status: 204 }), ["its answer is not JSON"]],
  ["200 and a list", () => Response.json([]), ["its answer is not JSON"]],
  ["200 and no agent", () => Response.json({ hello: "world" }), ["its answer names no agent"]],
  ["200 and ids of a wrong shape", () => Response.json({ id: 5, agentId: {} }), [
    "its answer names no agent",
  ]],
  [
    "200 and ids in a prototype",
    () => new Response('{"__proto__":{"id":"1","agentId":"a1"}}'),
    ["its answer names no agent"],
  ],
  ["200 and half an answer", () => new Response('{"agentId":"a1"'), ["its answer is not JSON"]],
  ["200 and a huge answer", () => new Response(`{"agentId":"${"x".repeat(2 ** 20)}"}`), [
    "its answer is not JSON",
  ]],
  ["200 and an endless answer", () => new Response(endless()), ["its answer is not JSON"]],
];

for (const [name, response, expected] of REFUSALS) {
  Deno.test(`C2 register() says in a sentence what ${name} means`, async () => {
    await using controlPlane = new ScriptedControlPlane({ register: response });
    const error = await assertRejects(() => registerAt(controlPlane), RegistrationError);
    assertStringIncludes(error.message, `${controlPlane.addresses.http}/api/v1/agents/register`);
    for (const part of expected) assertStringIncludes(error.message, part);
    assertEquals(error.retryAfterMs, 0);
  });
}

Deno.test("C2 register() hands on how long an overloaded Control Plane wants it to wait", async () => {
  const headers = { "Retry-After": "7" };
  await using controlPlane = new ScriptedControlPlane({
    register: () => Response.json(REFUSAL, { status: 429, headers }),
  });
  const error = await assertRejects(() => registerAt(controlPlane), RegistrationError);
  assertEquals(error.retryAfterMs, 7000);
});

Deno.test("C2 register() does not carry its key after a redirect", async () => {
  await using other = new ScriptedControlPlane({ register: () => registered() });
  const location = `${other.addresses.http}/api/v1/agents/register`;
  for (const status of [301, 302, 307, 308]) {
    await using controlPlane = new ScriptedControlPlane({
      register: () => new Response(null, { status, headers: { Location: location } }),
    });
    const apiKey = new Secret(KEY);
    const error = await assertRejects(() => registerAt(controlPlane, { apiKey }), RegistrationError);
    assertStringIncludes(error.message, `answered ${status}: it redirects to ${location}`);
    assert(!error.message.includes(KEY));
  }
  assertEquals(other.registrations, []);
});

Deno.test("register() says that nobody listens", async () => {
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
    `The Control Plane did not answer at ${httpBase}/api/v1/agents/register: `,
  );
  assert(!error.message.includes(KEY));
});

Deno.test("C13 register() says that a name does not resolve", async () => {
  const httpBase = "http://no-such-host.invalid:8000";
  const credentials = { apiKey: undefined, client: undefined };
  const failing = () => register(REGISTRATION, { httpBase, credentials, signal: never });
  const error = await assertRejects(failing, RegistrationError);
  assertStringIncludes(
    error.message,
    `The Control Plane did not answer at ${httpBase}/api/v1/agents/register: `,
  );
  assertStringIncludes(error.message, "dns error");
});

Deno.test("C2 register() gives up on an answer that does not come within 15 seconds", async () => {
  using time = new FakeTime();
  await using controlPlane = new ScriptedControlPlane({ register: (_nth, self) => self.hang() });
  const rejected = assertRejects(
    () => registerAt(controlPlane),
    RegistrationError,
    "no answer within 15 seconds",
  );
  await controlPlane.arrivals.next();
  time.tick(15_000);
  await rejected;
});

Deno.test("C2 register() gives up on an answer that does not end within 15 seconds", async () => {
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
  const rejected = assertRejects(
    () => registerAt(controlPlane),
    RegistrationError,
    "no answer within 15 seconds",
  );
  await reading.promise;
  time.tick(15_000);
  await rejected;
});

Deno.test("register() ends with the signal's reason when it is told to", async () => {
  await using controlPlane = new ScriptedControlPlane({ register: (_nth, self) => self.hang() });
  const stop = new AbortController();
  const rejected = assertRejects(() => registerAt(controlPlane, { signal: stop.signal }), Error, "enough");
  await controlPlane.arrivals.next();
  stop.abort(new Error("enough"));
  await rejected;
});

function endless(): ReadableStream<Uint8Array> {
  const chunk = new TextEncoder().encode("[".repeat(8192));
  return new ReadableStream({ pull: (controller) => controller.enqueue(chunk) });
}

Deno.test("register() shows neither its key nor a query that the Control Plane's words hold", async () => {
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
