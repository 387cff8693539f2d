import type { V1Container, V1Pod } from "@kubernetes/client-node";
import { assert, assertEquals, assertMatch } from "@std/assert";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import { ControlPlane, type ControlPlaneOptions } from "../../dev/control_plane/control_plane.ts";
import { TcpProxy } from "../../dev/faults/tcp_proxy.ts";
import { IssuedKey } from "../../lib/control_plane/issued_key.ts";
import { loadKubeConfig } from "../../lib/kubernetes/kubeconfig.ts";
import { createIssuedKeyStore } from "../../lib/kubernetes/stores.ts";
import { Transport } from "../../lib/kubernetes/transport.ts";
import { Secret } from "../../lib/common/secret.ts";
import { MEMORY, temporaryFile, type TestCluster } from "../support/clusters.ts";
import { Diagnosis, makeKnown, PATIENT, type Patient } from "../support/diagnosis.ts";
import { RecordingProxy } from "../support/recording_proxy.ts";

const TLS = new URL("../fixtures/tls/", import.meta.url);
const CA_FILE = new URL("ca.pem", TLS).pathname;
const EXPIRED = new URL("expired.pem", TLS).pathname;
const KEY = "0123456789abcdef";
const ANSWERS = ["control-plane-key", "control-plane-websocket"] as const;
const UNTRIED = "skip  A WebSocket was not tried (the key comes first)";

function pem(name: string): string {
  return Deno.readTextFileSync(new URL(name, TLS));
}

/** Lets the cluster keep an issued key, as an agent keeps it. */
async function keepIssuedKey(
  cluster: TestCluster,
  { key, insteadOf }: { key: string; insteadOf: string },
): Promise<void> {
  using transport = new Transport(() => loadKubeConfig(cluster.kubeconfig));
  const store = createIssuedKeyStore(transport, { namespace: cluster.namespace, agent: PATIENT });
  await new IssuedKey(store).take(key, new Secret(insteadOf));
}

/** Looks at a Control Plane from a cluster in memory. */
async function examine(
  controlPlaneUrl: string,
  settings: Pick<Patient, "args" | "env"> = {},
): Promise<Diagnosis> {
  await using cluster = await MEMORY.open();
  return await Diagnosis.of({ cluster, controlPlaneUrl, ...settings });
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

controlPlaneTest("doctor finds a Control Plane well, and leaves it as it was", async (controlPlane) => {
  await makeKnown(controlPlane, { key: KEY });
  const { lines, about, failures } = await examine(controlPlane.url, { env: { AGENT_API_KEY: KEY } });
  assertEquals(failures, []);
  const { host } = new URL(controlPlane.url);
  assertEquals(lines.slice(0, 4), [
    `ok    The settings of agent ${PATIENT} are valid`,
    "ok    The way to the Control Plane is direct",
    `ok    The Control Plane at ${host} can be reached`,
    "ok    The way to the Control Plane is not encrypted, as is allowed",
  ]);
  assertEquals(about(...ANSWERS), [
    `ok    The Control Plane accepts agent ${PATIENT} and its key`,
    "ok    The Control Plane opens a WebSocket",
  ]);
  assertEquals(about("control-plane-clock"), ["ok    The Control Plane's clock and this machine's agree"]);
  assertEquals([controlPlane.registrations.length, controlPlane.problems], [1, []]);
  assert(!lines.join().includes(KEY));
}, { apiKey: KEY });

controlPlaneTest("doctor never registers an agent that is new", async (controlPlane) => {
  const { about, failures } = await examine(controlPlane.url);
  assertEquals([failures, controlPlane.registrations.length], [[], 0]);
  assertEquals(about(...ANSWERS), [
    "skip  Whether the Control Plane accepts the agent's key is not known (it does not know this agent: its first start registers it, and tells)",
    UNTRIED,
  ]);
});

const KEYS = [
  [
    { AGENT_API_KEY: "wr0ng-k3y" },
    `FAIL  The Control Plane does not accept agent ${PATIENT} and its key (status 401): check AGENT_API_KEY or --api-key-file (API_KEY_FILE), and --agent-id (AGENT_ID)`,
  ],
  [
    {},
    `FAIL  The Control Plane does not accept agent ${PATIENT} without a key (status 401): set AGENT_API_KEY or --api-key-file (API_KEY_FILE)`,
  ],
] as const;
for (const [env, expected] of KEYS) {
  controlPlaneTest(
    `doctor tells of ${"AGENT_API_KEY" in env ? "a wrong" : "a missing"} key`,
    async (controlPlane) => {
      await makeKnown(controlPlane, { key: KEY });
      const { lines, about } = await examine(controlPlane.url, { env });
      assertEquals(about(...ANSWERS), [expected, UNTRIED]);
      assert(!lines.join().includes("wr0ng-k3y"));
    },
    { apiKey: KEY },
  );
}

controlPlaneTest("doctor tells of an address that is not a Control Plane's", async (controlPlane) => {
  const { about } = await examine(`${controlPlane.url}/elsewhere`);
  assertEquals(about(...ANSWERS), [
    `FAIL  No Control Plane answers at ${controlPlane.url}/elsewhere: the link's address has status 404: check --control-plane-url (CONTROL_PLANE_URL), its path included, and what stands between`,
    UNTRIED,
  ]);
});

controlPlaneTest("doctor tells of a Control Plane that cannot say now", async (controlPlane) => {
  controlPlane.answerConnect({ status: 503 });
  const { about } = await examine(controlPlane.url);
  assertEquals(about(...ANSWERS), [
    `FAIL  The Control Plane at ${controlPlane.url} is in trouble: it answers with status 503: try again in a minute, then look at its log and at what stands between`,
    UNTRIED,
  ]);
});

controlPlaneTest("doctor tells of an agent of the same id in another namespace", async (controlPlane) => {
  await makeKnown(controlPlane, { namespace: "elsewhere" });
  await using cluster = await MEMORY.open();
  const { about } = await Diagnosis.of({ cluster, controlPlaneUrl: controlPlane.url });
  assertEquals(
    about("second-agent")[0],
    `warn  Agent ${PATIENT} registered last from namespace elsewhere, and this one is for ${cluster.namespace}: if both are to run, give one another --agent-id (AGENT_ID)`,
  );
});

Deno.test("doctor comes to an end where everything takes connections and nothing answers", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const held: Deno.TcpConn[] = [];
  const holding = (async () => {
    for await (const connection of listener) held.push(connection);
  })();
  const address = `127.0.0.1:${listener.addr.port}`;
  const kubeconfig = await temporaryFile(JSON.stringify({
    clusters: [{ name: "mute", cluster: { server: `https://${address}` } }],
    users: [{ name: "mute", user: {} }],
    contexts: [{ name: "mute", context: { cluster: "mute", user: "mute" } }],
    "current-context": "mute",
  }));
  const cluster = { kubeconfig, namespace: "streamspace" };
  const { failures } = await Diagnosis.of({ cluster, controlPlaneUrl: `ws://${address}` });
  listener.close();
  for (const connection of held) connection.close();
  await holding;
  await Deno.remove(kubeconfig);
  assertEquals(failures, [
    `FAIL  Nothing answers at http://${address}/: no answer within 4 seconds: look for a NetworkPolicy or firewall on the way, or set HTTPS_PROXY`,
    `FAIL  Kubernetes does not answer at https://${address}: no answer within 4 seconds: check the server that the kubeconfig names, and look for a NetworkPolicy or firewall on the way`,
  ]);
});

controlPlaneTest("doctor tells of a file of certificates that holds none", async (controlPlane) => {
  const file = await temporaryFile("nothing");
  const { failures } = await examine(controlPlane.url, {
    args: [`--client-cert=${file}`, `--client-key=${file}`],
  });
  await Deno.remove(file);
  assertEquals(failures.length, 2);
  assertMatch(
    failures[0] ?? "",
    /^FAIL {2}The certificates of --ca-file, --client-cert and --client-key cannot be used: /,
  );
  assertMatch(failures[1] ?? "", /^FAIL {2}Cannot read the agent's certificate: /);
});

controlPlaneTest(
  "doctor finds out that the key which was issued is refused, and the configured one is not",
  async (controlPlane) => {
    await makeKnown(controlPlane, { key: KEY });
    await using cluster = await MEMORY.open();
    const env = { AGENT_API_KEY: KEY };
    await keepIssuedKey(cluster, { key: "is5ued", insteadOf: KEY });
    const { lines, about } = await Diagnosis.of({ cluster, controlPlaneUrl: controlPlane.url, env });
    assertEquals(about("control-plane-key"), [
      "warn  The Control Plane refuses the key that it issued, and accepts the configured one: nothing to do: the agent uses the configured one, and forgets the other",
    ]);
    assert(!lines.join().includes("is5ued"));
  },
  { apiKey: KEY },
);

controlPlaneTest(
  "doctor tells where a Control Plane has moved to, without what may be secret",
  async (controlPlane) => {
    controlPlane.answerConnect({
      status: 308,
      headers: { location: "https://new.example.com/x?token=s3cret" },
    });
    const { about } = await examine(controlPlane.url);
    assertEquals(about("control-plane-key"), [
      "FAIL  The Control Plane redirects to https://new.example.com/x: set --control-plane-url (CONTROL_PLANE_URL) to where it is",
    ]);
  },
);

controlPlaneTest("doctor tells of what lets no WebSocket through", async (controlPlane) => {
  await makeKnown(controlPlane);
  controlPlane.answerConnect({ status: 426 });
  controlPlane.answerConnect({ status: 502 });
  const { about } = await examine(controlPlane.url);
  const [key, link = ""] = about(...ANSWERS);
  assertEquals(key, `ok    The Control Plane accepts agent ${PATIENT} without a key`);
  assertMatch(
    link,
    /^FAIL {2}The Control Plane refused the WebSocket at ws:\S+\/connect: .*502.*: let what stands between, such as an ingress or a proxy, pass WebSockets on$/,
  );
});

/** A Control Plane that tells nothing of agents, and what comes of an attempt to open a WebSocket. */
function secretive(upgrade: (request: Request) => Response): Deno.HttpServer<Deno.NetAddr> {
  return Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, (request) => {
    if (request.headers.get("upgrade") === "websocket") return upgrade(request);
    const status = new URL(request.url).pathname.endsWith("/connect") ? 400 : 401;
    return Response.json({ error: "no" }, { status });
  });
}

const UPGRADES = [
  [
    "opens a WebSocket",
    (request: Request) => Deno.upgradeWebSocket(request).response,
    /^ok {4}The Control Plane opens a WebSocket$/,
  ],
  [
    "lets no WebSocket through",
    () => new Response(null, { status: 502 }),
    /^FAIL {2}The Control Plane refused the WebSocket at ws:\S+: .*502.*: let what stands between, .*$/,
  ],
] as const;
for (const [name, upgrade, expected] of UPGRADES) {
  Deno.test(`doctor tries a Control Plane that tells nothing of agents and ${name}, where it sees none`, async () => {
    const server = secretive(upgrade);
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
const SEEN: ReadonlyArray<[name: string, container: Partial<V1Container>, isTried: boolean]> = [
  ["its own id", { env: [{ name: "AGENT_ID", value: PATIENT }] }, false],
  ["an id that is in a ConfigMap", { envFrom: [{ configMapRef: { name: "k8s-agent" } }] }, false],
  ["another id", { args: ["--agent-id", "another"] }, true],
];
for (const [name, container, isTried] of SEEN) {
  Deno.test(`doctor ${isTried ? "tries" : "does not try"} a WebSocket where it sees a pod of an agent with ${name}`, async () => {
    let attempts = 0;
    const server = secretive((request) => {
      attempts += 1;
      return Deno.upgradeWebSocket(request).response;
    });
    await using cluster = await MEMORY.open();
    const [agent] = ANY_AGENT.spec?.containers ?? [];
    await cluster.create({ ...ANY_AGENT, spec: { containers: [{ ...agent, ...container }] } });
    const { about } = await Diagnosis.of({
      cluster,
      controlPlaneUrl: `ws://127.0.0.1:${server.addr.port}`,
    });
    await server.shutdown();
    assertEquals(about("control-plane-websocket"), [
      isTried
        ? "ok    The Control Plane opens a WebSocket"
        : 'warn  A WebSocket was not tried: an agent may be connected, which the Control Plane does not tell: the log of the agent that leads has "WebSocket connected" where it is',
    ]);
    assertEquals(attempts, isTried ? 1 : 0);
  });
}

controlPlaneTest("doctor closes no running agent's link", async (controlPlane) => {
  await makeKnown(controlPlane);
  const link = new WebSocket(`${controlPlane.url}/api/v1/agents/connect?agent_id=${PATIENT}`);
  await new Promise((resolve) => link.onopen = resolve);
  const { about } = await examine(controlPlane.url);
  assertEquals(about("control-plane-websocket"), [
    `skip  A WebSocket was not tried (agent ${PATIENT} is connected, and a second connection would close its link)`,
  ]);
  assertEquals([controlPlane.connections.length, link.readyState], [1, WebSocket.OPEN]);
  const closed = new Promise((resolve) => link.onclose = resolve);
  link.close();
  await closed;
});

controlPlaneTest(
  "doctor tells of a Control Plane that takes connections and says nothing",
  async (controlPlane) => {
    controlPlane.hangConnect();
    const { failures } = await examine(controlPlane.url);
    assertEquals(failures, [
      `FAIL  Nothing answers at ${controlPlane.url}/: no answer within 4 seconds: look for a NetworkPolicy or firewall on the way, or set HTTPS_PROXY`,
    ]);
  },
);

controlPlaneTest("doctor tells of a Control Plane's wrong clock", async (controlPlane) => {
  const date = new Date(Date.now() - 3_600_000).toUTCString();
  controlPlane.answerConnect({ status: 426, headers: { date } });
  const { about } = await examine(controlPlane.url);
  const [clock = ""] = about("control-plane-clock");
  assertMatch(
    clock,
    /^FAIL {2}The Control Plane's clock is (59m59(\.\d)?s|1h([0-4](\.\d)?s)?) behind this machine's: set both by NTP: /,
  );
});

controlPlaneTest(
  "doctor goes by the proxy that is set, and names it without its password",
  async (controlPlane) => {
    await makeKnown(controlPlane);
    await using proxy = new RecordingProxy();
    const env = { HTTP_PROXY: `http://alice:s3cret@${proxy.host}` };
    const { lines, failures } = await examine(controlPlane.url, { env });
    assertEquals(failures, []);
    assertEquals(lines.slice(1, 3), [
      `ok    The way to the Control Plane leads through http://${proxy.host}`,
      `ok    The proxy at ${proxy.host} can be reached`,
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
    "a name that nobody knows",
    "wss://control-plane.invalid",
    /^FAIL {2}The Control Plane at control-plane\.invalid:443 cannot be reached: failed to lookup address information: .*: check the name in --control-plane-url \(CONTROL_PLANE_URL\), and the cluster's DNS$/,
  ],
  [
    "a port at which nobody listens",
    "ws://127.0.0.1:1",
    /^FAIL {2}The Control Plane at 127\.0\.0\.1:1 cannot be reached: Connection refused \(os error 111\): check the port in --control-plane-url \(CONTROL_PLANE_URL\), and that the Control Plane runs$/,
  ],
] as const;
for (const [name, url, expected] of UNREACHABLE) {
  Deno.test(`doctor tells of ${name}, and tries no further`, async () => {
    const { failures, about } = await examine(url);
    assertEquals(failures.length, 1);
    assertMatch(failures[0] ?? "", expected);
    assertEquals(about("control-plane-tls", ...ANSWERS), [
      "skip  The Control Plane's certificate is not known (it cannot be reached)",
      "skip  Whether the Control Plane accepts the agent's key is not known (it cannot be reached)",
      "skip  A WebSocket was not tried (it cannot be reached)",
    ]);
  });
}

/** Answers like a Control Plane that has never heard of the agent. */
function serveTls(certificate: "server" | "expired"): Deno.HttpServer<Deno.NetAddr> {
  const files = { cert: pem(`${certificate}.pem`), key: pem(`${certificate}.key`) };
  const options = { hostname: "0.0.0.0", port: 0, onListen: () => {}, ...files };
  return Deno.serve(options, () => Response.json({ error: "Agent not found" }, { status: 404 }));
}

const CERTIFICATES = [
  {
    name: "a certificate that --ca-file vouches for",
    certificate: "server",
    host: "localhost",
    args: [`--ca-file=${CA_FILE}`],
    expected: /^ok {4}The Control Plane's certificate is accepted, and is valid until 2126-10-30$/,
  },
  {
    name: "a certificate for an address",
    certificate: "server",
    host: "127.0.0.1",
    args: [`--ca-file=${CA_FILE}`],
    expected: /^ok {4}The Control Plane's certificate is accepted, and is valid until 2126-10-30$/,
  },
  {
    name: "a certificate that nobody vouches for",
    certificate: "server",
    host: "localhost",
    args: [],
    expected:
      /^FAIL {2}There is no safe connection to localhost:\d+: invalid peer certificate: UnknownIssuer: name its authority's file in --ca-file \(CA_FILE\)$/,
  },
  {
    name: "a certificate of another name",
    certificate: "server",
    host: "127.0.0.2",
    args: [`--ca-file=${CA_FILE}`],
    expected:
      /^FAIL {2}There is no safe connection to 127\.0\.0\.2:\d+: invalid peer certificate: certificate not valid for name "127\.0\.0\.2"; .*: set --control-plane-url \(CONTROL_PLANE_URL\) to a name that the certificate has$/,
  },
  {
    name: "a certificate that has expired",
    certificate: "expired",
    host: "localhost",
    args: [`--ca-file=${EXPIRED}`],
    expected:
      /^FAIL {2}There is no safe connection to localhost:\d+: invalid peer certificate: certificate expired: .*: renew the Control Plane's certificate, or set the clocks by NTP$/,
  },
] as const;
for (const { name, certificate, host, args, expected } of CERTIFICATES) {
  Deno.test(`doctor tells of ${name}`, async () => {
    const server = serveTls(certificate);
    const { about } = await examine(`wss://${host}:${server.addr.port}`, { args });
    assertEquals(about("control-plane-tls").length, 1);
    assertMatch(about("control-plane-tls")[0] ?? "", expected);
    await server.shutdown();
  });
}

Deno.test("doctor shows the agent's certificate to whoever asks for it", async () => {
  const [cert, key, ca] = ["server.pem", "server.key", "client.pem"].map(pem);
  const demands = { requestCert: true, rejectUnauthorized: true, maxVersion: "TLSv1.2" } as const;
  const server = createServer({ cert, key, ca, ...demands }, (_request, response) => {
    response.writeHead(426).end();
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const args = ["ca-file=ca.pem", "client-cert=client.pem", "client-key=client.key"]
    .map((arg) => `--${arg.replace("=", `=${TLS.pathname}`)}`);
  const { about } = await examine(`wss://localhost:${(server.address() as AddressInfo).port}`, { args });
  await new Promise((resolve) => server.close(resolve));
  assertEquals(about("control-plane-tls", "client-certificate"), [
    "ok    The Control Plane's certificate is accepted, and is valid until 2126-10-30",
    "ok    The agent's certificate is valid until 2126-10-31",
  ]);
});

Deno.test("doctor does not call a certificate bad that it could not look at once more", async () => {
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
    /^skip {2}The Control Plane's certificate is accepted, and until when it is valid is not known \(.+\)$/,
  );
});

Deno.test("doctor tells until when the agent's own certificate is valid", async () => {
  await using controlPlane = ControlPlane.start();
  const args = [`--client-cert=${EXPIRED}`, `--client-key=${new URL("expired.key", TLS).pathname}`];
  const { about } = await examine(controlPlane.url, { args });
  assertEquals(about("client-certificate"), [
    "FAIL  The agent's certificate was valid until 2020-02-01: renew it",
  ]);
});
