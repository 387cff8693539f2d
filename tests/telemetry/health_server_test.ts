import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { HealthServer, type HealthSources } from "../../lib/telemetry/health_server.ts";
import { ConfigError } from "../../lib/common/errors.ts";
import { LogCapture } from "../support/log_capture.ts";

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

/** Sends a request as it stands, and gives the first line of the answer. */
async function ask(server: HealthServer, lines: readonly string[]): Promise<string> {
  const { hostname, port } = new URL(server.url);
  using connection = await Deno.connect({ hostname, port: Number(port) });
  await connection.write(new TextEncoder().encode([...lines, "Connection: close", "", ""].join("\r\n")));
  const answer = await new Response(connection.readable).text();
  return answer.split("\r\n", 1).join();
}

Deno.test("a request with a malformed host is answered, and leaves nothing in the log", async () => {
  using logs = new LogCapture();
  await using server = start(SOURCES);
  for (const host of ["a b", "[", "%"]) {
    assertEquals(await ask(server, ["GET /healthz HTTP/1.1", `Host: ${host}`]), "HTTP/1.1 404 Not Found");
  }
  assertEquals(logs.lines.filter((line) => !line.includes("Health and metrics at")), []);
});

Deno.test("a source that fails is an answer of 500, and one line in the log", async () => {
  using logs = new LogCapture();
  const scrape = () => Promise.reject(new Error("no metrics"));
  await using server = start({ ...SOURCES, scrape });
  const first = await ask(server, ["GET /metrics HTTP/1.1", "Host: a"]);
  assertEquals(first, "HTTP/1.1 500 Internal Server Error");
  assertStringIncludes(
    logs.lines.at(-1) ?? "",
    "ERROR: A request for health or metrics could not be answered: no metrics",
  );
});

Deno.test("HealthServer.start() warns and listens nowhere when an address that nobody set is in use", () => {
  using logs = new LogCapture();
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const address = { hostname: "127.0.0.1", port: listener.addr.port };
  assertEquals(HealthServer.start({ address, isRequired: false }, SOURCES), undefined);
  assertEquals(logs.lines.map((line) => line.slice(line.indexOf("WARN"))), [
    `WARN: Running without health endpoints and metrics: 127.0.0.1:${address.port} is in use by another program, set --health-addr (HEALTH_ADDR) to another address or to off`,
  ]);
});

Deno.test("HealthServer.start() throws when an address that is set is in use", () => {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const address = { hostname: "127.0.0.1", port: listener.addr.port };
  assertThrows(
    () => HealthServer.start({ address, isRequired: true }, SOURCES),
    ConfigError,
    `--health-addr (HEALTH_ADDR): cannot listen on 127.0.0.1:${address.port}: it is in use by another program, choose another or off`,
  );
});

Deno.test("HealthServer.start() throws when an address that nobody set cannot be listened on for another reason", () => {
  const address = { hostname: "192.0.2.1", port: 0 };
  const error = assertThrows(() => HealthServer.start({ address, isRequired: false }, SOURCES), ConfigError);
  assertStringIncludes(error.message, "--health-addr (HEALTH_ADDR): cannot listen on 192.0.2.1:0: ");
});

Deno.test("HealthServer.start() listens nowhere when it is off", () => {
  assertEquals(HealthServer.start({ address: "off", isRequired: true }, SOURCES), undefined);
});
