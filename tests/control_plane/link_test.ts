import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { TcpProxy } from "../../dev/faults/tcp_proxy.ts";
import { controlPlaneAddresses } from "../../lib/control_plane/addresses.ts";
import { Credentials } from "../../lib/control_plane/credentials.ts";
import { Link, type LinkOptions, type LinkState } from "../../lib/control_plane/link.ts";
import { Outbox } from "../../lib/control_plane/outbox.ts";
import { LinkError } from "../../lib/common/errors.ts";
import { Secret } from "../../lib/common/secret.ts";
import { DEFAULT_TIMINGS } from "../../lib/model/timings.ts";
import { FakeTime } from "../support/fake_time.ts";
import { FixedRandom } from "../support/fixed_random.ts";
import { LogCapture } from "../support/log_capture.ts";
import { MemoryKeyStore } from "../support/memory_key_store.ts";
import { Queue } from "../support/queue.ts";
import { registered, REGISTRATION, ScriptedControlPlane } from "../support/scripted_control_plane.ts";

type Frame = string | Uint8Array;

/** Credentials without files. */
function keyed(key: string | undefined): Credentials {
  const files = { apiKeyFile: "", caFile: "", clientCert: "", clientKey: "" };
  const apiKey = key === undefined ? undefined : new Secret(key);
  return new Credentials({ ...files, apiKey, proxy: undefined }, new MemoryKeyStore());
}

/** A link that runs in the background until it is disposed. */
class RunningLink implements AsyncDisposable {
  readonly frames = new Queue<Frame>();
  /** A signal for each connection that opens, aborted when it is closed. */
  readonly ups = new Queue<AbortSignal>();
  readonly outbox = new Outbox();
  /** Settles when the link ends. */
  readonly ended: Promise<void>;
  readonly #stop = new AbortController();
  readonly #random = new FixedRandom(0.5);
  #down = new AbortController();

  constructor(controlPlane: ScriptedControlPlane, options: Partial<LinkOptions> = {}) {
    const link = new Link({
      addresses: controlPlane.addresses,
      registration: REGISTRATION,
      credentials: keyed(undefined),
      reconnectAttempts: 5,
      outbox: this.outbox,
      heartbeat: { intervalMs: 600_000, send: () => {} },
      timings: DEFAULT_TIMINGS,
      ...options,
      onState: (state) => {
        this.#setState(state);
        options.onState?.(state);
      },
    });
    this.ended = this.#run(link);
    // Tests that do not await the end must not fail because of it.
    this.ended.catch(() => {});
  }

  stop(): Promise<void> {
    this.#stop.abort();
    return this.ended;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.ended.catch(() => {});
    this.outbox[Symbol.dispose]();
    this.#random[Symbol.dispose]();
  }

  #setState(state: LinkState): void {
    this.#down.abort();
    if (state !== "up") return;
    this.#down = new AbortController();
    this.ups.push(this.#down.signal);
  }

  async #run(link: Link): Promise<void> {
    try {
      for await (const frame of link.frames(this.#stop.signal)) this.frames.push(frame);
    } finally {
      this.#down.abort();
    }
  }
}

/** Waits until the link backs off, and lets that time pass. */
async function passBackoff(time: FakeTime, seconds: number): Promise<void> {
  await time.tickAsync(await time.timer(waitOf(seconds)));
}

/** Closes a connection once it has lasted long enough not to be retried at once. */
async function closeLater(time: FakeTime, socket: WebSocket, ms = 1000): Promise<void> {
  await time.tickAsync(ms);
  socket.close();
}

/** The pause in milliseconds with the jitter of these tests, which is half of the maximum. */
function waitOf(seconds: number): number {
  return seconds * 1050;
}

Deno.test("C2 Link retries after 2, 4, 8, 16 and 32 seconds and then throws", async () => {
  using time = new FakeTime();
  using logs = new LogCapture();
  await using controlPlane = new ScriptedControlPlane({
    register: () => new Response(null, { status: 500 }),
  });
  await using link = new RunningLink(controlPlane);
  const rejected = assertRejects(
    () => link.ended,
    LinkError,
    "Cannot reach the Control Plane: all attempts failed (--reconnect-attempts=5)",
  );
  for (const seconds of [2, 4, 8, 16, 32]) await passBackoff(time, seconds);
  const error = await rejected;
  assertStringIncludes((error.cause as Error).message, "HTTP 500");
  assertEquals(controlPlane.registrations.length, 6);
  const attempts = logs.lines.flatMap((line) => /\(attempt (\d) of 5\)/.exec(line)?.[1] ?? []);
  assertEquals(attempts, ["1", "2", "3", "4", "5"]);
});

Deno.test("C1 Link without a limit of attempts keeps retrying every 32 seconds", async () => {
  using time = new FakeTime();
  await using controlPlane = new ScriptedControlPlane({
    register: () => new Response(null, { status: 500 }),
  });
  await using link = new RunningLink(controlPlane, { reconnectAttempts: 0 });
  for (const seconds of [2, 4, 8, 16, 32, 32, 32, 32]) await passBackoff(time, seconds);
  for (let nth = 0; nth < 9; nth++) await controlPlane.arrivals.next();
  await link.stop();
});

Deno.test("C2 Link adds the Retry-After of an overloaded Control Plane to its pause", async () => {
  using time = new FakeTime();
  const headers = { "Retry-After": "100" };
  await using controlPlane = new ScriptedControlPlane({
    register: () => new Response(null, { status: 429, headers }),
  });
  await using link = new RunningLink(controlPlane);
  await time.tickAsync(await time.timer(100_000 + waitOf(2)));
  await controlPlane.arrivals.next();
  await controlPlane.arrivals.next();
  await link.stop();
});

for (const status of [401, 403, 404, 429, 502]) {
  Deno.test(`C4 Link backs off when its WebSocket is rejected with ${status}`, async () => {
    using time = new FakeTime();
    using logs = new LogCapture();
    const isUnknown = status < 429;
    const rejections = isUnknown ? 3 : 2;
    await using controlPlane = new ScriptedControlPlane({
      register: () => registered(),
      refuse: (nth) => nth < rejections ? new Response("no", { status }) : undefined,
    });
    await using link = new RunningLink(controlPlane, { credentials: keyed("s3cret") });
    await passBackoff(time, 2);
    await passBackoff(time, 4);
    await link.ups.next();
    // A Control Plane that does not know the agent any more gets a registration; that one connects to it at the third attempt without.
    assertEquals(controlPlane.registrations.length, isUnknown ? 2 : 1);
    assertStringIncludes(await logs.line("Cannot open the WebSocket"), controlPlane.addresses.webSocket);
    assert(!logs.lines.some((line) => line.includes("s3cret")));
  });
}

const REJECTED_UPGRADES: ReadonlyArray<[name: string, response: () => Response, reason: string]> = [
  [
    "401",
    () => Response.json({ error: "Bad key s3cret" }, { status: 401 }),
    "HTTP 401: the API key is not accepted, check AGENT_API_KEY or --api-key-file (message: Bad key [redacted])",
  ],
  [
    "404",
    () => Response.json({ error: "Agent not found", details: "register first" }, { status: 404 }),
    "HTTP 404: the address or the agent is unknown, check --control-plane-url and --agent-id " +
    "(message: Agent not found: register first)",
  ],
  [
    "a redirect",
    () =>
      new Response(null, { status: 302, headers: { Location: "https://cp.example.com/login?to=s3cret" } }),
    "HTTP 302: redirected to https://cp.example.com/login, set --control-plane-url to the new address",
  ],
  ["502 with HTML", () => new Response("<h1>Bad Gateway</h1>", { status: 502 }), "HTTP 502"],
  [
    "a long message",
    () => Response.json({ error: "x".repeat(10_000) }, { status: 503 }),
    `HTTP 503 (message: ${"x".repeat(500)})`,
  ],
  [
    "a status that is expected without an upgrade",
    () => new Response(null, { status: 400 }),
    "Invalid status code: 400",
  ],
];

for (const [name, refuse, reason] of REJECTED_UPGRADES) {
  Deno.test(`C4 Link logs why its WebSocket was rejected: ${name}`, async () => {
    using _time = new FakeTime();
    using logs = new LogCapture();
    await using controlPlane = new ScriptedControlPlane({ register: () => registered(), refuse });
    await using _link = new RunningLink(controlPlane, { credentials: keyed("s3cret") });
    const line = await logs.line("Cannot open the WebSocket");
    const url = `${controlPlane.addresses.webSocket}/api/v1/agents/connect`;
    assertEquals(
      line.replace(/^\S+ /, ""),
      `[K8sAgent] ERROR: Cannot open the WebSocket at ${url}: ${reason}`,
    );
    assertEquals(controlPlane.questions.map(({ url }) => url.search), ["?agent_id=a1"]);
  });
}

Deno.test("C4 Link honors Retry-After when its WebSocket is rejected", async () => {
  using time = new FakeTime();
  const headers = { "Retry-After": "100" };
  await using controlPlane = new ScriptedControlPlane({
    register: () => registered(),
    refuse: (nth) => nth === 0 ? new Response(null, { status: 429, headers }) : undefined,
  });
  await using link = new RunningLink(controlPlane);
  await time.tickAsync(await time.timer(100_000 + waitOf(2)));
  await link.ups.next();
});

/** Credentials with an issued key and a configured one. */
async function issued(): Promise<Credentials> {
  const credentials = keyed("configured");
  await credentials.issue("issued");
  return credentials;
}

for (const status of [401, 403]) {
  Deno.test(`C3 Link falls back to the configured key when its WebSocket with the issued key is rejected with ${status}`, async () => {
    using logs = new LogCapture();
    await using controlPlane = new ScriptedControlPlane({
      register: () => registered(),
      refuse: (_nth, key) => key === "issued" ? new Response(null, { status }) : undefined,
    });
    const credentials = await issued();
    await using link = new RunningLink(controlPlane, { credentials });
    await link.ups.next();
    const keys = controlPlane.connections.map(({ headers }) => headers.get("x-agent-api-key"));
    assertEquals(keys, ["issued", "configured"]);
    using next = await credentials.read();
    assertEquals([next.apiKey?.reveal(), next.isIssued], ["configured", false]);
    await logs.line("The Control Plane rejected the key that it issued, trying the configured key");
  });
}

Deno.test("C3 Link keeps the issued key while the configured key is rejected, too", async () => {
  using time = new FakeTime();
  await using controlPlane = new ScriptedControlPlane({
    register: () => registered(),
    refuse: (nth) => nth < 2 ? new Response(null, { status: 401 }) : undefined,
  });
  await using link = new RunningLink(controlPlane, { credentials: await issued() });
  await passBackoff(time, 2);
  await link.ups.next();
  const keys = controlPlane.connections.map(({ headers }) => headers.get("x-agent-api-key"));
  assertEquals(keys, ["issued", "configured", "issued"]);
});

for (const status of [401, 403, 404]) {
  Deno.test(`Link registers again when its reconnect is rejected with ${status}`, async () => {
    using time = new FakeTime();
    using logs = new LogCapture();
    await using controlPlane = new ScriptedControlPlane({
      register: () => registered(),
      refuse: (nth) => nth === 1 ? new Response(null, { status }) : undefined,
    });
    const states: LinkState[] = [];
    await using link = new RunningLink(controlPlane, { onState: (state) => states.push(state) });
    await link.ups.next();
    await closeLater(time, await controlPlane.sockets.next());
    await passBackoff(time, 2);
    await link.ups.next();
    assertEquals([controlPlane.registrations.length, controlPlane.connections.length], [2, 3]);
    assertEquals(states.slice(3), ["waiting", "connecting", "registering", "connecting", "up"]);
    assertStringIncludes(await logs.line("WARN: Cannot open"), `HTTP ${status}`);
  });
}

Deno.test("Link registers only once if its reconnects are accepted", async () => {
  using time = new FakeTime();
  await using controlPlane = new ScriptedControlPlane({ register: () => registered() });
  await using link = new RunningLink(controlPlane);
  for (const seconds of [2, 4, 8]) {
    await link.ups.next();
    await closeLater(time, await controlPlane.sockets.next());
    await passBackoff(time, seconds);
  }
  await link.ups.next();
  assertEquals([controlPlane.registrations.length, controlPlane.connections.length], [1, 4]);
});

Deno.test("Link retries once at once after a connection that ended within a second, then with the back-off", async () => {
  using time = new FakeTime();
  using logs = new LogCapture();
  await using controlPlane = new ScriptedControlPlane({ register: () => registered() });
  await using link = new RunningLink(controlPlane);
  const closeAfter = async (ms: number) => {
    await link.ups.next();
    await closeLater(time, await controlPlane.sockets.next(), ms);
  };
  await closeAfter(0);
  await closeAfter(999);
  await passBackoff(time, 2);
  await closeAfter(999);
  await passBackoff(time, 4);
  // A connection that lasts longer is followed by the back-off, and the next early end by another retry.
  await closeAfter(1000);
  await passBackoff(time, 8);
  await closeAfter(999);
  await link.ups.next();
  assertEquals(controlPlane.connections.length, 6);
  assertEquals(logs.lines.filter((line) => line.includes("Reconnecting at once")).length, 2);
  assertEquals(logs.lines.filter((line) => line.includes("Reconnecting in")).length, 3);
});

for (const code of [1000, 1001, 1006, 1011, 1012, 1013]) {
  Deno.test(`C7 Link reconnects after close code ${code}`, async () => {
    using time = new FakeTime();
    using logs = new LogCapture();
    await using controlPlane = new ScriptedControlPlane({ register: () => registered() });
    await using link = new RunningLink(controlPlane);
    const down = await link.ups.next();
    link.outbox.send({ type: "failed", payload: { commandId: "c1", error: "no" } });
    await controlPlane.texts.next();
    await time.tickAsync(1000);
    (await controlPlane.sockets.next()).close(code);
    await passBackoff(time, 2);
    await link.ups.next();
    assert(down.aborted);
    assertStringIncludes(await logs.line("Disconnected"), `(code ${code})`);
    // It is sent again, as it may not have arrived.
    assertStringIncludes(await controlPlane.texts.next(), '"commandId":"c1"');
  });
}

Deno.test("C7 Link reconnects after a connection that was reset during the handshake", async () => {
  using time = new FakeTime();
  const breakFirst = (nth: number) => {
    if (nth > 0) return undefined;
    proxy.reset();
    return new Response(null, { status: 500 });
  };
  await using controlPlane = new ScriptedControlPlane({ register: () => registered(), refuse: breakFirst });
  await using proxy = await TcpProxy.start(new URL(controlPlane.addresses.http));
  const addresses = controlPlaneAddresses(`ws://127.0.0.1:${proxy.port}`);
  await using link = new RunningLink(controlPlane, { addresses });
  await passBackoff(time, 2);
  await link.ups.next();
  assertEquals([controlPlane.registrations.length, controlPlane.connections.length], [1, 2]);
});

Deno.test("C8 C9 Link resets its back-off only after a connection of 30 seconds", async () => {
  using time = new FakeTime();
  await using controlPlane = new ScriptedControlPlane({ register: () => registered() });
  await using link = new RunningLink(controlPlane);
  for (const [upMs, waitSeconds] of [[1000, 2], [29_900, 4], [29_900, 8], [30_000, 2], [1000, 4]] as const) {
    const down = await link.ups.next();
    await time.tickAsync(upMs);
    assert(!down.aborted);
    (await controlPlane.sockets.next()).close();
    await passBackoff(time, waitSeconds);
    assert(down.aborted);
  }
  await link.ups.next();
});

Deno.test("C2 Link registers every 5 seconds, after two minutes every 30, while its approval is pending, without using up attempts", async () => {
  using time = new FakeTime();
  using logs = new LogCapture();
  const pending = () => Response.json({ approvalStatus: "pending", message: "Ask Bob" }, { status: 202 });
  await using controlPlane = new ScriptedControlPlane({
    register: (nth) => nth < 30 ? pending() : registered(),
  });
  const pendings = new Queue<LinkState>();
  const onState = (state: LinkState) => state === "pending" && pendings.push(state);
  await using link = new RunningLink(controlPlane, { onState });
  for (let nth = 0; nth < 30; nth++) {
    await pendings.next();
    const delayMs = nth < 24 ? 5000 : 30_000;
    assertEquals(time.pending, [delayMs]);
    await time.tickAsync(delayMs);
  }
  await link.ups.next();
  assertStringIncludes(await logs.line("WARN"), "approve this agent: Ask Bob");
});

Deno.test("C2 Link honors Retry-After while its approval is pending, with a pause of at least 1 second", async () => {
  using time = new FakeTime();
  const pending = (seconds: string) =>
    new Response("{}", { status: 202, headers: { "Retry-After": seconds } });
  await using controlPlane = new ScriptedControlPlane({
    register: (nth) => nth < 2 ? pending(["7", "0"][nth] ?? "") : registered(),
  });
  await using link = new RunningLink(controlPlane);
  await time.tickAsync(await time.timer(7000));
  await time.tickAsync(await time.timer(1000));
  await link.ups.next();
});

Deno.test("C2 Link logs an error when it is rejected, and registers again after 5 minutes", async () => {
  using time = new FakeTime();
  using logs = new LogCapture();
  const rejected = () => Response.json({ approvalStatus: "rejected", message: "No" }, { status: 403 });
  await using controlPlane = new ScriptedControlPlane({
    register: (nth) => nth < 1 ? rejected() : registered(),
  });
  await using link = new RunningLink(controlPlane);
  assertStringIncludes(await logs.line("ERROR"), "rejected this agent: No");
  await time.tickAsync(await time.timer(300_000));
  await link.ups.next();
});

Deno.test("Link uses an issued key from its next request on, and never logs it", async () => {
  using time = new FakeTime();
  using logs = new LogCapture();
  await using controlPlane = new ScriptedControlPlane({
    register: (nth) => registered(nth === 0 ? { apiKey: "issued-s3cret" } : {}),
  });
  await using link = new RunningLink(controlPlane, { credentials: keyed("bootstrap-s3cret") });
  await link.ups.next();
  await closeLater(time, await controlPlane.sockets.next());
  await passBackoff(time, 2);
  await link.ups.next();
  const keys = [...controlPlane.registrations, ...controlPlane.connections].map((one) =>
    one.headers.get("x-agent-api-key")
  );
  assertEquals(keys, ["bootstrap-s3cret", "issued-s3cret", "issued-s3cret"]);
  assert(!logs.lines.some((line) => line.includes("s3cret")));
});

Deno.test("Link ignores an issued key that does not fit into a header", async () => {
  await using controlPlane = new ScriptedControlPlane({
    register: () => registered({ apiKey: "a\r\nb: c" }),
  });
  await using link = new RunningLink(controlPlane, { credentials: keyed("k1") });
  await link.ups.next();
  assertEquals(controlPlane.connections[0]?.headers.get("x-agent-api-key"), "k1");
});

Deno.test("Link connects with the agent's id and logs the documented lines", async () => {
  using logs = new LogCapture();
  await using controlPlane = new ScriptedControlPlane({ register: () => registered() });
  const registration = { ...REGISTRATION, agentId: "a&b=1" };
  await using link = new RunningLink(controlPlane, { registration });
  await link.ups.next();
  const { url, headers } = controlPlane.connections[0] ?? {};
  assertEquals([...url?.searchParams ?? []], [["agent_id", "a&b=1"]]);
  assertEquals(headers?.has("x-agent-api-key"), false);
  assertEquals(logs.lines.map((line) => line.replace(/^\S+ /, "")), [
    "[K8sAgent] Connecting to Control Plane...",
    "[K8sAgent] Registered successfully: a&b=1 (status: online)",
    "[K8sAgent] WebSocket connected",
    `[K8sAgent] Connected to Control Plane: ${controlPlane.addresses.webSocket}`,
    "[K8sAgent] Starting heartbeat sender (interval: 10m)",
  ]);
});

Deno.test("Link yields the frames of all connections in order", async () => {
  using time = new FakeTime();
  await using controlPlane = new ScriptedControlPlane({ register: () => registered() });
  await using link = new RunningLink(controlPlane);
  await link.ups.next();
  const first = await controlPlane.sockets.next();
  first.send("one");
  first.send("two\nthree");
  first.send(new Uint8Array([4]));
  await closeLater(time, first);
  await passBackoff(time, 2);
  (await controlPlane.sockets.next()).send("five");
  const frames: Frame[] = [];
  for (let nth = 0; nth < 4; nth++) frames.push(await link.frames.next());
  assertEquals(frames, ["one", "two\nthree", new Uint8Array([4]), "five"]);
});

Deno.test("C5 Link sends the waiting messages of the outbox when it is up", async () => {
  using time = new FakeTime();
  await using controlPlane = new ScriptedControlPlane({ register: () => registered() });
  await using link = new RunningLink(controlPlane);
  link.outbox.send({ type: "failed", payload: { commandId: "c1", error: "no" } });
  assertStringIncludes(await controlPlane.texts.next(), '"commandId":"c1"');
  await time.tickAsync(61_000);
  (await controlPlane.sockets.next()).close();
  await time.timer(waitOf(2));
  link.outbox.send({ type: "failed", payload: { commandId: "c2", error: "no" } });
  assertEquals(link.outbox.waiting, 1);
  await passBackoff(time, 2);
  assertStringIncludes(await controlPlane.texts.next(), '"commandId":"c2"');
});

Deno.test("Link ends without an error when it is stopped while connected", async () => {
  await using controlPlane = new ScriptedControlPlane({ register: () => registered() });
  await using link = new RunningLink(controlPlane);
  const down = await link.ups.next();
  await link.stop();
  assert(down.aborted);
});

Deno.test("Link ends without an error when it is stopped while registering", async () => {
  await using controlPlane = new ScriptedControlPlane({ register: (_nth, self) => self.hang() });
  await using link = new RunningLink(controlPlane);
  await controlPlane.arrivals.next();
  await link.stop();
});

Deno.test("Link ends without an error when it is stopped while waiting", async () => {
  using time = new FakeTime();
  await using pendingPlane = new ScriptedControlPlane({
    register: () => new Response("{}", { status: 202 }),
  });
  const states = new Queue<LinkState>();
  await using pending = new RunningLink(pendingPlane, { onState: (state) => states.push(state) });
  while (await states.next() !== "pending");
  await pending.stop();
  await using failingPlane = new ScriptedControlPlane({
    register: () => new Response(null, { status: 500 }),
  });
  await using failing = new RunningLink(failingPlane);
  await time.timer(waitOf(2));
  await failing.stop();
});

Deno.test("Link does nothing when its signal is already aborted", async () => {
  await using controlPlane = new ScriptedControlPlane({ register: () => registered() });
  const link = new Link({
    addresses: controlPlane.addresses,
    registration: REGISTRATION,
    credentials: keyed(undefined),
    reconnectAttempts: 5,
    outbox: new Outbox(),
    heartbeat: { intervalMs: 10_000, send: () => {} },
    timings: DEFAULT_TIMINGS,
  });
  assertEquals(await link.frames(AbortSignal.abort()).next(), { done: true, value: undefined });
  assertEquals(controlPlane.registrations, []);
});

Deno.test("Link reports each step of its loop", async () => {
  using time = new FakeTime();
  const answers = [
    new Response(null, { status: 500 }),
    Response.json({ message: "later" }, { status: 202, headers: { "Retry-After": "7" } }),
  ];
  await using controlPlane = new ScriptedControlPlane({ register: () => answers.shift() ?? registered() });
  const states: string[] = [];
  await using link = new RunningLink(controlPlane, { onState: (state) => states.push(state) });
  await passBackoff(time, 2);
  await time.tickAsync(await time.timer(7000));
  await link.ups.next();
  assertEquals(states, ["registering", "waiting", "registering", "pending", "connecting", "up"]);
  await link.stop();
});

Deno.test("Link sends heartbeats at once and then at each interval while it is connected", async () => {
  using time = new FakeTime();
  await using controlPlane = new ScriptedControlPlane({ register: () => registered() });
  const beats: number[] = [];
  const heartbeat = { intervalMs: 10_000, send: () => beats.push(Date.now()) };
  await using link = new RunningLink(controlPlane, { heartbeat });
  await link.ups.next();
  const connectedAt = Date.now();
  await time.tickAsync(9999);
  assertEquals(beats, [connectedAt]);
  await time.tickAsync(20_001);
  assertEquals(beats.map((at) => at - connectedAt), [0, 10_000, 20_000, 30_000]);
  await link.stop();
  await time.tickAsync(60_000);
  assertEquals([beats.length, time.pending], [4, []]);
});

Deno.test("Link measures how late each heartbeat is", async () => {
  using time = new FakeTime();
  await using controlPlane = new ScriptedControlPlane({ register: () => registered() });
  const late: number[] = [];
  const heartbeat = { intervalMs: 10_000, send: (lateMs: number) => late.push(lateMs) };
  await using link = new RunningLink(controlPlane, { heartbeat });
  await link.ups.next();
  await time.tickAsync(10_000);
  time.jump(13_000);
  await time.tickAsync(0);
  assertEquals(late, [0, 0, 3000]);
});
