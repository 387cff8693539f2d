import type { V1Container, V1Pod } from "@kubernetes/client-node";
import { assert, assertEquals, assertMatch } from "@std/assert";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import { ControlPlane, type ControlPlaneOptions } from "../../dev/control_plane/control_plane.ts";
import { TcpProxy } from "../../dev/faults/tcp_proxy.ts";
import { IssuedKey } from "../../lib/control_plane/issued_key.ts";
import { loadAccess } from "../../lib/kubernetes/kubeconfig.ts";
import { createIssuedKeyStore } from "../../lib/kubernetes/stores.ts";
import { Transport } from "../../lib/kubernetes/transport.ts";
import { Secret } from "../../lib/common/secret.ts";
import { MEMORY, temporaryFile, type TestCluster } from "../support/clusters.ts";
import {
  AGENT_ID,
  Diagnosis,
  type DiagnosisOptions,
  kubeconfigFor,
  registerAgent,
} from "../support/diagnosis.ts";
import { RecordingProxy } from "../support/recording_proxy.ts";

const TLS = new URL("../fixtures/tls/", import.meta.url);
const CA_FILE = new URL("ca.pem", TLS).pathname;
const EXPIRED = new URL("expired.pem", TLS).pathname;
const KEY = "0123456789abcdef";
const ANSWERS = ["control-plane-key", "control-plane-websocket"] as const;
const UNTESTED = "skip  The WebSocket connection was not tested (the key must be accepted first)";

function pem(name: string): string {
  return Deno.readTextFileSync(new URL(name, TLS));
}

/** Stores an issued key in the cluster, as an agent does. */
async function storeIssuedKey(
  cluster: TestCluster,
  { key, configured }: { key: string; configured: string },
): Promise<void> {
  using transport = new Transport(() => loadAccess(cluster.kubeconfig));
  const store = createIssuedKeyStore(transport, { namespace: cluster.namespace, agent: AGENT_ID });
  await new IssuedKey(store).set(key, new Secret(configured));
}

/** Runs the doctor with a cluster in memory. */
async function examine(
  controlPlaneUrl: string,
  options: Pick<DiagnosisOptions, "args" | "env" | "timeoutMs"> = {},
): Promise<Diagnosis> {
  await using cluster = await MEMORY.open();
  return await Diagnosis.run({ cluster, controlPlaneUrl, ...options });
}

function controlPlaneTest(
  name: string,
  test: (controlPlane: ControlPlane) => Promise<void>,
  options: ControlPlaneOptions = {},
): void {
  Deno.test(name, async () => {
    await using controlPlane = ControlPlane.start(options);
    await test(controlPlane);
  });
}

controlPlaneTest(
  "diagnose() reports a working Control Plane and does not change it",
  async (controlPlane) => {
    await registerAgent(controlPlane, { key: KEY });
    const { lines, about, failures } = await examine(controlPlane.url, { env: { AGENT_API_KEY: KEY } });
    assertEquals(failures, []);
    const { host } = new URL(controlPlane.url);
    assertEquals(lines.slice(0, 4), [
      `ok    The settings of agent ${AGENT_ID} are valid`,
      "ok    Connecting to the Control Plane directly",
      `ok    The Control Plane at ${host} is reachable`,
      "ok    The connection to the Control Plane is not encrypted, which the settings allow",
    ]);
    assertEquals(about(...ANSWERS), [
      `ok    The Control Plane accepts agent ${AGENT_ID} with its key`,
      "ok    The Control Plane accepts a WebSocket connection",
    ]);
    assertEquals(about("control-plane-clock"), [
      "ok    The Control Plane's clock agrees with this machine's",
    ]);
    assertEquals([controlPlane.registrations.length, controlPlane.problems], [1, []]);
    assert(!lines.join().includes(KEY));
  },
  { apiKey: KEY },
);

controlPlaneTest("diagnose() does not register a new agent", async (controlPlane) => {
  const { about, failures } = await examine(controlPlane.url);
  assertEquals([failures, controlPlane.registrations.length], [[], 0]);
  assertEquals(about(...ANSWERS), [
    "skip  The agent's key was not checked (the Control Plane does not know this agent yet: the agent registers at its first start)",
    UNTESTED,
  ]);
});

const KEYS = [
  [
    { AGENT_API_KEY: "wr0ng-k3y" },
    `FAIL  The Control Plane rejects agent ${AGENT_ID} with its key (status 401): check AGENT_API_KEY or --api-key-file (API_KEY_FILE), and --agent-id (AGENT_ID)`,
  ],
  [
    {},
    `FAIL  The Control Plane rejects agent ${AGENT_ID} without a key (status 401): set AGENT_API_KEY or --api-key-file (API_KEY_FILE)`,
  ],
] as const;
for (const [env, expected] of KEYS) {
  controlPlaneTest(
    `diagnose() reports ${"AGENT_API_KEY" in env ? "a wrong" : "a missing"} key`,
    async (controlPlane) => {
      await registerAgent(controlPlane, { key: KEY });
      const { lines, about } = await examine(controlPlane.url, { env });
      assertEquals(about(...ANSWERS), [expected, UNTESTED]);
      assert(!lines.join().includes("wr0ng-k3y"));
    },
    { apiKey: KEY },
  );
}

controlPlaneTest("diagnose() reports an address without a Control Plane", async (controlPlane) => {
  const { about } = await examine(`${controlPlane.url}/elsewhere`);
  assertEquals(about(...ANSWERS), [
    `FAIL  No Control Plane found at ${controlPlane.url}/elsewhere: the agents' endpoint responds with status 404: check --control-plane-url (CONTROL_PLANE_URL), including its path, and any proxy or ingress in front of it`,
    UNTESTED,
  ]);
});

controlPlaneTest("diagnose() reports a Control Plane that is unavailable", async (controlPlane) => {
  controlPlane.answerConnect({ status: 503 });
  const { about } = await examine(controlPlane.url);
  assertEquals(about(...ANSWERS), [
    `FAIL  The Control Plane at ${controlPlane.url} is unavailable: it responds with status 503: try again in a minute, then check its log and any proxy or ingress in front of it`,
    UNTESTED,
  ]);
});

controlPlaneTest(
  "diagnose() reports an agent with the same id in another namespace",
  async (controlPlane) => {
    await registerAgent(controlPlane, { namespace: "elsewhere" });
    await using cluster = await MEMORY.open();
    const { about } = await Diagnosis.run({ cluster, controlPlaneUrl: controlPlane.url });
    assertEquals(
      about("second-agent")[0],
      `warn  Agent ${AGENT_ID} last registered from namespace elsewhere, not from ${cluster.namespace}: if both agents are meant to run, give one of them another --agent-id (AGENT_ID)`,
    );
  },
);

Deno.test("diagnose() ends when all servers accept connections and never respond", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const held: Deno.TcpConn[] = [];
  const holding = (async () => {
    for await (const connection of listener) held.push(connection);
  })();
  const address = `127.0.0.1:${listener.addr.port}`;
  await using kubeconfig = await kubeconfigFor({ server: `https://${address}`, token: "t" });
  const cluster = { kubeconfig: kubeconfig.path, namespace: "streamspace" };
  const { failures } = await Diagnosis.run({
    cluster,
    controlPlaneUrl: `ws://${address}`,
    timeoutMs: 500,
  });
  listener.close();
  for (const connection of held) connection.close();
  await holding;
  assertEquals(failures, [
    `FAIL  Cannot get a response from http://${address}/: no response within 500ms: check for a NetworkPolicy or firewall in between, or set HTTPS_PROXY`,
    `FAIL  Kubernetes at https://${address} does not respond: no response within 500ms: check the server in the kubeconfig, and for a NetworkPolicy or firewall in between`,
  ]);
});

controlPlaneTest("diagnose() reports a certificate file without a certificate", async (controlPlane) => {
  const file = await temporaryFile("nothing");
  const { failures } = await examine(controlPlane.url, {
    args: [`--client-cert=${file}`, `--client-key=${file}`],
  });
  await Deno.remove(file);
  assertEquals(failures, [
    `FAIL  --client-cert (CLIENT_CERT) contains no certificate in PEM format: ${file}`,
    `FAIL  --client-key (CLIENT_KEY) contains no private key in PEM format: ${file}`,
  ]);
});

controlPlaneTest(
  "diagnose() warns when only the issued key is rejected",
  async (controlPlane) => {
    await registerAgent(controlPlane, { key: KEY });
    await using cluster = await MEMORY.open();
    const env = { AGENT_API_KEY: KEY };
    await storeIssuedKey(cluster, { key: "is5ued", configured: KEY });
    const { lines, about } = await Diagnosis.run({ cluster, controlPlaneUrl: controlPlane.url, env });
    assertEquals(about("control-plane-key"), [
      "warn  The Control Plane rejects the key that it issued, but accepts the configured key: no action is needed, the agent falls back to the configured key",
    ]);
    assert(!lines.join().includes("is5ued"));
  },
  { apiKey: KEY },
);

controlPlaneTest(
  "diagnose() reports a redirect without its query",
  async (controlPlane) => {
    controlPlane.answerConnect({
      status: 308,
      headers: { location: "https://new.example.com/x?token=s3cret" },
    });
    const { about } = await examine(controlPlane.url);
    assertEquals(about("control-plane-key"), [
      "FAIL  The Control Plane redirects to https://new.example.com/x: set --control-plane-url (CONTROL_PLANE_URL) to its new address",
    ]);
  },
);

controlPlaneTest("diagnose() reports that WebSocket connections are blocked", async (controlPlane) => {
  await registerAgent(controlPlane);
  controlPlane.answerConnect({ status: 426 });
  controlPlane.answerConnect({ status: 502 });
  const { about } = await examine(controlPlane.url);
  const [key, link = ""] = about(...ANSWERS);
  assertEquals(key, `ok    The Control Plane accepts agent ${AGENT_ID} without a key`);
  assertMatch(
    link,
    /^FAIL {2}Cannot open the WebSocket at ws:\S+\/connect: .*502.*: configure any proxy or ingress in between to pass WebSocket connections$/,
  );
});

/** A Control Plane that does not report agents; `upgrade` handles WebSocket connections. */
function serveWithoutRecords(upgrade: (request: Request) => Response): Deno.HttpServer<Deno.NetAddr> {
  return Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, (request) => {
    if (request.headers.get("upgrade") === "websocket") return upgrade(request);
    const status = new URL(request.url).pathname.endsWith("/connect") ? 400 : 401;
    return Response.json({ error: "no" }, { status });
  });
}

const UPGRADES = [
  [
    "accepts WebSocket connections",
    (request: Request) => Deno.upgradeWebSocket(request).response,
    /^ok {4}The Control Plane accepts a WebSocket connection$/,
  ],
  [
    "blocks WebSocket connections",
    () => new Response(null, { status: 502 }),
    /^FAIL {2}Cannot open the WebSocket at ws:\S+: .*502.*: configure any proxy or ingress in between .*$/,
  ],
] as const;
for (const [name, upgrade, expected] of UPGRADES) {
  Deno.test(`diagnose() tests a Control Plane that does not report agents and ${name} when no agent is visible`, async () => {
    const server = serveWithoutRecords(upgrade);
    const { about } = await examine(`ws://127.0.0.1:${server.addr.port}`);
    await server.shutdown();
    assertMatch(about("control-plane-websocket").join(), expected);
  });
}

const ANY_AGENT: V1Pod = {
  apiVersion: "v1",
  kind: "Pod",
  metadata: { name: "one", labels: { component: "k8s-agent" } },
  spec: { containers: [{ name: "k8s-agent", image: "example.com/agent:1" }] },
};
const SEEN: ReadonlyArray<[name: string, container: Partial<V1Container>, isTested: boolean]> = [
  ["its own id", { env: [{ name: "AGENT_ID", value: AGENT_ID }] }, false],
  ["an id that is in a ConfigMap", { envFrom: [{ configMapRef: { name: "k8s-agent" } }] }, false],
  ["another id", { args: ["--agent-id", "another"] }, true],
];
for (const [name, container, isTested] of SEEN) {
  Deno.test(`diagnose() ${isTested ? "tests" : "does not test"} the WebSocket when the pod of an agent with ${name} is visible`, async () => {
    let attempts = 0;
    const server = serveWithoutRecords((request) => {
      attempts += 1;
      return Deno.upgradeWebSocket(request).response;
    });
    await using cluster = await MEMORY.open();
    const [agent] = ANY_AGENT.spec?.containers ?? [];
    await cluster.create({ ...ANY_AGENT, spec: { containers: [{ ...agent, ...container }] } });
    const { about } = await Diagnosis.run({
      cluster,
      controlPlaneUrl: `ws://127.0.0.1:${server.addr.port}`,
    });
    await server.shutdown();
    assertEquals(about("control-plane-websocket"), [
      isTested
        ? "ok    The Control Plane accepts a WebSocket connection"
        : 'warn  The WebSocket connection was not tested: an agent may be connected, which the Control Plane does not report: if one is, the log of the leader has the line "WebSocket connected"',
    ]);
    assertEquals(attempts, isTested ? 1 : 0);
  });
}

controlPlaneTest("diagnose() does not disconnect a running agent", async (controlPlane) => {
  await registerAgent(controlPlane);
  const link = new WebSocket(`${controlPlane.url}/api/v1/agents/connect?agent_id=${AGENT_ID}`);
  await new Promise((resolve) => link.onopen = resolve);
  const { about } = await examine(controlPlane.url);
  assertEquals(about("control-plane-websocket"), [
    `skip  The WebSocket connection was not tested (agent ${AGENT_ID} is connected, and a second connection would disconnect it)`,
  ]);
  assertEquals([controlPlane.connections.length, link.readyState], [1, WebSocket.OPEN]);
  const closed = new Promise((resolve) => link.onclose = resolve);
  link.close();
  await closed;
});

controlPlaneTest(
  "diagnose() reports a Control Plane that never responds",
  async (controlPlane) => {
    controlPlane.hangConnect();
    const { failures } = await examine(controlPlane.url, { timeoutMs: 500 });
    assertEquals(failures, [
      `FAIL  Cannot get a response from ${controlPlane.url}/: no response within 500ms: check for a NetworkPolicy or firewall in between, or set HTTPS_PROXY`,
    ]);
  },
);

controlPlaneTest("diagnose() reports the clock skew of the Control Plane", async (controlPlane) => {
  const date = new Date(Date.now() - 3_600_000).toUTCString();
  controlPlane.answerConnect({ status: 426, headers: { date } });
  const { about } = await examine(controlPlane.url);
  const [clock = ""] = about("control-plane-clock");
  assertMatch(
    clock,
    /^FAIL {2}The Control Plane's clock is (59m59(\.\d)?s|1h([0-4](\.\d)?s)?) behind this machine's: synchronize both with NTP: /,
  );
});

controlPlaneTest(
  "diagnose() uses the configured proxy and reports it without its password",
  async (controlPlane) => {
    await registerAgent(controlPlane);
    await using proxy = new RecordingProxy();
    const env = { HTTP_PROXY: `http://alice:s3cret@${proxy.host}` };
    const { lines, failures } = await examine(controlPlane.url, { env });
    assertEquals(failures, []);
    assertEquals(lines.slice(1, 3), [
      `ok    Connecting to the Control Plane via proxy http://${proxy.host}`,
      `ok    The proxy at ${proxy.host} is reachable`,
    ]);
    assert(!lines.join().includes("s3cret"));
    assertEquals(
      new Set(proxy.requests.map(({ target }) => target)),
      new Set([new URL(controlPlane.url).host]),
    );
  },
);

const UNREACHABLE = [
  [
    "a host name without an address",
    "wss://control-plane.invalid",
    /^FAIL {2}The Control Plane at control-plane\.invalid:443 is not reachable: failed to lookup address information: .*: check the host name in --control-plane-url \(CONTROL_PLANE_URL\), and the cluster's DNS$/,
  ],
  [
    "a closed port",
    "ws://127.0.0.1:1",
    /^FAIL {2}The Control Plane at 127\.0\.0\.1:1 is not reachable: Connection refused \(os error 111\): check the port in --control-plane-url \(CONTROL_PLANE_URL\), and that the Control Plane is running$/,
  ],
] as const;
for (const [name, url, expected] of UNREACHABLE) {
  Deno.test(`diagnose() reports ${name} and skips further checks`, async () => {
    const { failures, about } = await examine(url);
    assertEquals(failures.length, 1);
    assertMatch(failures[0] ?? "", expected);
    assertEquals(about("control-plane-tls", ...ANSWERS), [
      "skip  The Control Plane's certificate was not checked (it is not reachable)",
      "skip  The agent's key was not checked (it is not reachable)",
      "skip  The WebSocket connection was not tested (it is not reachable)",
    ]);
  });
}

/** A Control Plane behind TLS that does not know the agent. */
function serveTls(certificate: "server" | "expired"): Deno.HttpServer<Deno.NetAddr> {
  const files = { cert: pem(`${certificate}.pem`), key: pem(`${certificate}.key`) };
  const options = { hostname: "0.0.0.0", port: 0, onListen: () => {}, ...files };
  return Deno.serve(options, () => Response.json({ error: "Agent not found" }, { status: 404 }));
}

const CERTIFICATES = [
  {
    name: "a certificate trusted by --ca-file",
    certificate: "server",
    host: "localhost",
    args: [`--ca-file=${CA_FILE}`],
    expected: /^ok {4}The Control Plane's certificate is trusted and is valid until 2126-10-30$/,
  },
  {
    name: "a certificate for an IP address",
    certificate: "server",
    host: "127.0.0.1",
    args: [`--ca-file=${CA_FILE}`],
    expected: /^ok {4}The Control Plane's certificate is trusted and is valid until 2126-10-30$/,
  },
  {
    name: "an untrusted certificate",
    certificate: "server",
    host: "localhost",
    args: [],
    expected:
      /^FAIL {2}Cannot connect securely to localhost:\d+: the server's certificate is not signed by a trusted authority \(invalid peer certificate: UnknownIssuer\), its issuer is CN=test authority: set --ca-file \(CA_FILE\) to a file with its CA certificate$/,
  },
  {
    name: "a certificate for another host name",
    certificate: "server",
    host: "127.0.0.2",
    args: [`--ca-file=${CA_FILE}`],
    expected:
      /^FAIL {2}Cannot connect securely to 127\.0\.0\.2:\d+: the server's certificate is not valid for this host name \(invalid peer certificate: certificate not valid for name "127\.0\.0\.2"; .*\): set --control-plane-url \(CONTROL_PLANE_URL\) to a host name that the certificate is valid for, or add the name to its subjectAltName$/,
  },
  {
    name: "an expired certificate",
    certificate: "expired",
    host: "localhost",
    args: [`--ca-file=${EXPIRED}`],
    expected:
      /^FAIL {2}Cannot connect securely to localhost:\d+: the server's certificate has expired \(invalid peer certificate: certificate expired: .*\): renew the Control Plane's certificate, or synchronize the clocks with NTP$/,
  },
] as const;
for (const { name, certificate, host, args, expected } of CERTIFICATES) {
  Deno.test(`diagnose() reports ${name}`, async () => {
    const server = serveTls(certificate);
    const { about } = await examine(`wss://${host}:${server.addr.port}`, { args });
    assertEquals(about("control-plane-tls").length, 1);
    assertMatch(about("control-plane-tls")[0] ?? "", expected);
    await server.shutdown();
  });
}

Deno.test("diagnose() presents the client certificate to servers that request it", async () => {
  const [cert, key, ca] = ["server.pem", "server.key", "client.pem"].map(pem);
  const requirements = { requestCert: true, rejectUnauthorized: true, maxVersion: "TLSv1.2" } as const;
  const server = createServer({ cert, key, ca, ...requirements }, (_request, response) => {
    response.writeHead(426).end();
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const args = ["ca-file=ca.pem", "client-cert=client.pem", "client-key=client.key"]
    .map((arg) => `--${arg.replace("=", `=${TLS.pathname}`)}`);
  const { about } = await examine(`wss://localhost:${(server.address() as AddressInfo).port}`, { args });
  await new Promise((resolve) => server.close(resolve));
  assertEquals(about("control-plane-tls", "client-certificate"), [
    "ok    The Control Plane's certificate is trusted and is valid until 2126-10-30",
    "ok    The agent's certificate is valid until 2126-10-31",
  ]);
});

Deno.test("diagnose() skips the expiry of a certificate that it cannot fetch", async () => {
  const files = { cert: pem("server.pem"), key: pem("server.key") };
  const options = { hostname: "127.0.0.1", port: 0, onListen: () => {}, ...files };
  const server = Deno.serve(options, () => {
    proxy.mode = { kind: "refuse" };
    return new Response(null, { status: 426 });
  });
  await using proxy = await TcpProxy.start({ hostname: "127.0.0.1", port: server.addr.port });
  const { about } = await examine(`wss://localhost:${proxy.port}`, { args: [`--ca-file=${CA_FILE}`] });
  await server.shutdown();
  const [line = ""] = about("control-plane-tls");
  assertMatch(
    line,
    /^skip {2}The Control Plane's certificate is trusted; its expiry was not checked \(.+\)$/,
  );
});

Deno.test("diagnose() reports when the agent's certificate expires", async () => {
  await using controlPlane = ControlPlane.start();
  const args = [`--client-cert=${EXPIRED}`, `--client-key=${new URL("expired.key", TLS).pathname}`];
  const { about } = await examine(controlPlane.url, { args });
  assertEquals(about("client-certificate"), [
    "FAIL  The agent's certificate expired on 2020-02-01: renew it",
  ]);
});
