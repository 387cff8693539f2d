import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { ConfigError } from "../../lib/common/errors.ts";
import {
  formatListenAddress,
  type HealthInput,
  type HealthReport,
  HealthServer,
  type HealthSources,
  liveness,
  parseListenAddress,
  readiness,
} from "../../lib/telemetry/health.ts";
import { LogCapture } from "../support/log_capture.ts";

const HEALTHY: HealthInput = {
  leadership: "disabled",
  sinceTickMs: 0,
  link: "up",
  unsynced: [],
  isStopping: false,
};

/** Failing checks and their reasons. */
function failing({ checks }: HealthReport): Record<string, string> {
  const failed = Object.entries(checks).filter(([, { ok }]) => !ok);
  return Object.fromEntries(failed.map(([name, { reason }]) => [name, reason]));
}

const UNREACHABLE = "the Control Plane is unreachable, retrying, see the log";

const CASES: ReadonlyArray<[name: string, input: Partial<HealthInput>, failing: Record<string, string>]> = [
  ["without problems", {}, {}],
  ["that is the leader", { leadership: "leading" }, {}],
  ["that is a standby replica", {
    leadership: "standby",
    link: undefined,
    unsynced: ["pods"],
  }, {}],
  ["that cannot read the lease", { leadership: "unknown", link: undefined, unsynced: ["pods"] }, {
    leadership: "the lease cannot be read, see the log",
    registered: "not started",
    link: "not started",
    watches: "not in sync: pods",
  }],
  ["that is registering", { link: "registering" }, {
    registered: "registering with the Control Plane",
    link: "registering with the Control Plane",
  }],
  ["that is waiting for approval", { link: "pending" }, {
    registered: "waiting for approval by an administrator of the Control Plane",
    link: "waiting for approval by an administrator of the Control Plane",
  }],
  ["that was rejected", { link: "rejected" }, {
    registered: "rejected by an administrator of the Control Plane",
    link: "rejected by an administrator of the Control Plane",
  }],
  ["that is registered and connecting", { link: "connecting" }, { link: "connecting to the Control Plane" }],
  ["that is waiting to reconnect", { link: "waiting" }, { registered: UNREACHABLE, link: UNREACHABLE }],
  ["with watches that are not in sync", { unsynced: ["pods", "services"] }, {
    watches: "not in sync: pods, services",
  }],
  ["that is shutting down", { isStopping: true }, { commands: "shutting down" }],
];

for (const [name, input, expected] of CASES) {
  const isReady = Object.keys(expected).length === 0;
  Deno.test(`readiness() reports an agent ${name} as ${isReady ? "ready" : "not ready"}`, () => {
    const report = readiness({ ...HEALTHY, ...input });
    assertEquals([report.ok, failing(report)], [isReady, expected]);
  });
}

Deno.test("readiness() does not claim that a standby replica accepts commands", () => {
  const standby: HealthInput = { ...HEALTHY, leadership: "standby", link: undefined };
  const reasons = new Set(Object.values(readiness(standby).checks).map(({ reason }) => reason));
  assertEquals([...reasons], ["standby replica"]);
  assertEquals(failing(readiness({ ...standby, isStopping: true })), { commands: "shutting down" });
});

Deno.test("liveness() fails when the election loop makes no progress", () => {
  const late: HealthInput = { ...HEALTHY, leadership: "leading", sinceTickMs: 30_000 };
  assertEquals(liveness(late), {
    ok: true,
    checks: {
      eventLoop: { ok: true, reason: "responsive" },
      leaseLoop: { ok: true, reason: "last iteration 30s ago" },
    },
  });
  const tooLate = liveness({ ...late, sinceTickMs: 45_000 });
  assertEquals([tooLate.ok, failing(tooLate)], [false, { leaseLoop: "no iteration for 45s" }]);
});

Deno.test("liveness() ignores the election loop without leader election", () => {
  assertEquals(failing(liveness({ ...HEALTHY, sinceTickMs: 1_000_000 })), {});
});

const SOURCES: HealthSources = {
  liveness: () => ({ ok: true, checks: {} }),
  readiness: () => ({ ok: true, checks: {} }),
  scrape: () => Promise.resolve("up 1\n"),
};

function start(sources: HealthSources): HealthServer {
  const address = { hostname: "127.0.0.1", port: 0 };
  const server = HealthServer.start({ address, isRequired: true }, sources);
  assert(server);
  return server;
}

/** Sends a raw request and returns the first line of the response. */
async function send(server: HealthServer, lines: readonly string[]): Promise<string> {
  const { hostname, port } = new URL(server.url);
  using connection = await Deno.connect({ hostname, port: Number(port) });
  await connection.write(new TextEncoder().encode([...lines, "Connection: close", "", ""].join("\r\n")));
  const answer = await new Response(connection.readable).text();
  return answer.split("\r\n", 1).join();
}

Deno.test("HealthServer answers a request with a malformed host without a log line", async () => {
  using logs = new LogCapture();
  await using server = start(SOURCES);
  for (const host of ["a b", "[", "%"]) {
    assertEquals(await send(server, ["GET /healthz HTTP/1.1", `Host: ${host}`]), "HTTP/1.1 404 Not Found");
  }
  assertEquals(logs.lines.filter((line) => !line.includes("Health and metrics at")), []);
});

Deno.test("HealthServer answers 500 and logs an error when a source fails", async () => {
  using logs = new LogCapture();
  const scrape = () => Promise.reject(new Error("no metrics"));
  await using server = start({ ...SOURCES, scrape });
  const first = await send(server, ["GET /metrics HTTP/1.1", "Host: a"]);
  assertEquals(first, "HTTP/1.1 500 Internal Server Error");
  assertStringIncludes(
    logs.lines.at(-1) ?? "",
    "ERROR: Cannot answer a request for health or metrics: no metrics",
  );
});

Deno.test("HealthServer.start() warns and does not listen when the default address is in use", () => {
  using logs = new LogCapture();
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const address = { hostname: "127.0.0.1", port: listener.addr.port };
  assertEquals(HealthServer.start({ address, isRequired: false }, SOURCES), undefined);
  assertEquals(logs.lines.map((line) => line.slice(line.indexOf("WARN"))), [
    `WARN: Running without health endpoints and metrics: 127.0.0.1:${address.port} is in use by another program, set --health-addr (HEALTH_ADDR) to another address or to off`,
  ]);
});

Deno.test("HealthServer.start() throws when a configured address is in use", () => {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const address = { hostname: "127.0.0.1", port: listener.addr.port };
  assertThrows(
    () => HealthServer.start({ address, isRequired: true }, SOURCES),
    ConfigError,
    `--health-addr (HEALTH_ADDR): cannot listen on 127.0.0.1:${address.port}: it is in use by another program, choose another address or off`,
  );
});

Deno.test("HealthServer.start() throws when it cannot listen on the default address for another reason", () => {
  const address = { hostname: "192.0.2.1", port: 0 };
  const error = assertThrows(() => HealthServer.start({ address, isRequired: false }, SOURCES), ConfigError);
  assertStringIncludes(error.message, "--health-addr (HEALTH_ADDR): cannot listen on 192.0.2.1:0: ");
});

Deno.test("HealthServer.start() does not listen when it is off", () => {
  assertEquals(HealthServer.start({ address: "off", isRequired: true }, SOURCES), undefined);
});

for (
  const [text, hostname, port] of [
    [":8080", "", 8080],
    [":0", "", 0],
    ["127.0.0.1:9000", "127.0.0.1", 9000],
    ["localhost:1", "localhost", 1],
    ["[::]:8080", "::", 8080],
    ["[::1]:65535", "::1", 65_535],
  ] as const
) {
  Deno.test(`parseListenAddress() and formatListenAddress() convert ${text}`, () => {
    const address = parseListenAddress(text);
    assertEquals(address, { hostname, port });
    assertEquals(formatListenAddress({ hostname, port }), text);
  });
}

for (
  const text of [
    "",
    "8080",
    ":",
    ":65536",
    ":-1",
    "::1:80",
    "[::1]",
    "http://a:80",
    "a b:80",
    ":80/",
    "[a]:1",
  ]
) {
  Deno.test(`parseListenAddress() rejects ${JSON.stringify(text)}`, () => {
    assertEquals(parseListenAddress(text), undefined);
  });
}
