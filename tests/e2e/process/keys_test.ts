/**
 * Keys and passwords: each is sent only where it is needed, and never shown.
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { AgentProcess } from "../../../dev/agent_process.ts";
import { ControlPlane } from "../../../dev/control_plane/control_plane.ts";
import { LocalAgent } from "../../support/local_agent.ts";
import { MEMORY, type TestCluster } from "../../support/clusters.ts";
import { RecordingProxy } from "../../support/recording_proxy.ts";
import { onEachCluster } from "../../support/stage.ts";

const AGENT_ID = "keyed";
const WRONG = "wrong-key-0123456789";
const BOOTSTRAP = "bootstrap-key-0123456789";
const ISSUED = "issued-key-0123456789";
const REVOKED = "revoked-key-0123456789";
const PASSWORD = "proxy-password-0123456789";
const SECRETS = [WRONG, BOOTSTRAP, ISSUED, REVOKED, PASSWORD];
/** Log line of a connected agent. */
const UP = /Starting heartbeat sender/;

/** One or more runs of the agent, and their output. */
class Runs {
  readonly output: string[] = [];
  readonly #args: string[];
  readonly #isLocal: boolean;

  constructor(
    cluster: TestCluster,
    controlPlane: ControlPlane,
    { args = [], isLocal = false }: { args?: string[]; isLocal?: boolean } = {},
  ) {
    this.#isLocal = isLocal;
    this.#args = [
      `--agent-id=${AGENT_ID}`,
      `--control-plane-url=${controlPlane.url}`,
      `--kubeconfig=${cluster.kubeconfig}`,
      `--namespace=${cluster.namespace}`,
      "--log-level=debug",
      ...args,
    ];
  }

  /** Starts the agent, waits for a log line, and stops it. */
  async until(line: RegExp, options: { env: Record<string, string>; args?: string[] }): Promise<void> {
    const all = { ...options, args: [...this.#args, ...options.args ?? []] };
    await using agent = this.#isLocal ? LocalAgent.start(all) : await AgentProcess.start(all);
    await agent.line(line);
    agent.stop();
    await agent.ended();
    this.output.push(...agent.output);
  }

  /** Runs the agent until it ends by itself; returns its exit code. */
  async toEnd(options: { env: Record<string, string>; args?: string[] }): Promise<number> {
    const args = [...this.#args, ...options.args ?? []];
    await using agent = await AgentProcess.start({ args, env: options.env });
    const code = await agent.exit();
    this.output.push(...agent.output);
    return code;
  }
}

/** A secret as plain text, and as headers and Secrets encode it. */
function spellings(secret: string): string[] {
  const encoded = [secret, ` ${secret}`, `  ${secret}`].map((text) => btoa(text).slice(4, -4));
  return [secret, ...encoded];
}

function assertShowsNoSecret(what: string, text: string): void {
  for (const secret of SECRETS) {
    for (const spelling of spellings(secret)) assert(!text.includes(spelling), `${what} shows ${secret}`);
  }
}

function keysOf(requests: ReadonlyArray<{ headers: Headers }>): Array<string | null> {
  return requests.map(({ headers }) => headers.get("x-agent-api-key"));
}

/** Everything that the Control Plane received, except the header with the key. */
function receivedBy(controlPlane: ControlPlane): string {
  const { registrations, connections, messages } = controlPlane;
  const headers = [...registrations, ...connections].map((one) =>
    [...one.headers].filter(([name]) => name !== "x-agent-api-key")
  );
  return JSON.stringify([headers, registrations.map(({ body }) => body), messages]);
}

for (const format of ["text", "json"]) {
  onEachCluster(
    `keys and passwords are in no log, error or message, with --log-format=${format}`,
    async (cluster) => {
      await using controlPlane = ControlPlane.start({ apiKey: BOOTSTRAP });
      await using proxy = new RecordingProxy();
      const runs = new Runs(cluster, controlPlane, {
        args: [`--log-format=${format}`],
        isLocal: format === "json",
      });
      const env = (key: string) => ({
        AGENT_API_KEY: key,
        HTTP_PROXY: `http://alice:${PASSWORD}@${proxy.host}`,
      });

      // A wrong key, which the Control Plane repeats in its response.
      controlPlane.answerRegistration({ status: 401, body: { error: `${WRONG} is no key`, details: WRONG } });
      await runs.until(/HTTP 401.*\[redacted\] is no key/, { env: env(WRONG) });
      // The right key, for which the Control Plane issues another one.
      controlPlane.answerRegistration({
        status: 201,
        body: {
          agent: { agentId: AGENT_ID, status: `online ${ISSUED}` },
          approvalStatus: "approved",
          apiKey: ISSUED,
          message: `Your key is ${ISSUED}`,
        },
      });
      await runs.until(UP, { env: env(BOOTSTRAP) });
      // The issued key is used after a restart.
      await runs.until(UP, { env: env(BOOTSTRAP) });
      // The issued key is revoked.
      controlPlane.answerRegistration({ status: 403, body: { error: `${ISSUED} is revoked` } });
      await runs.until(UP, { env: env(BOOTSTRAP) });
      await runs.until(UP, { env: env(BOOTSTRAP) });
      assertEquals(await runs.toEnd({ env: env(BOOTSTRAP), args: ["--check-config"] }), 0);

      assertEquals(keysOf(controlPlane.registrations), [
        WRONG,
        BOOTSTRAP,
        ISSUED,
        ISSUED,
        BOOTSTRAP,
        BOOTSTRAP,
      ]);
      // A connection uses the key that its registration issued.
      assertEquals(keysOf(controlPlane.connections), [ISSUED, ISSUED, BOOTSTRAP, BOOTSTRAP]);
      const refusals = runs.output.filter((line) => line.includes("rejected the key that it issued"));
      assertEquals(refusals.length, 1);
      assert(runs.output.some((line) => line.includes(`"url": "http://${proxy.host}"`)));
      assertShowsNoSecret("The output of the agent", runs.output.join("\n"));
      assertShowsNoSecret("What the Control Plane received", receivedBy(controlPlane));
      assertEquals([...controlPlane.problems], []);
    },
    [MEMORY],
  );
}

onEachCluster(
  "an issued key is stored in the cluster with a fingerprint of the configured key",
  async (cluster) => {
    await using controlPlane = ControlPlane.start({ apiKey: BOOTSTRAP });
    const runs = new Runs(cluster, controlPlane, { isLocal: true });
    controlPlane.answerRegistration({ status: 200, body: { agent: { agentId: AGENT_ID }, apiKey: ISSUED } });
    await runs.until(UP, { env: { AGENT_API_KEY: BOOTSTRAP } });
    const [secret] = await cluster.list("v1", "Secret") as Array<{ data?: Record<string, string> }>;
    assertEquals(Object.keys(secret?.data ?? {}), [AGENT_ID]);
    const kept = atob(secret?.data?.[AGENT_ID] ?? "");
    assert(kept.includes(ISSUED) && !kept.includes(BOOTSTRAP), kept);

    // Another configured key takes precedence.
    const file = await Deno.makeTempFile();
    await using _removal = { [Symbol.asyncDispose]: () => Deno.remove(file) };
    await Deno.writeTextFile(file, REVOKED);
    await runs.until(/HTTP 401/, { env: {}, args: [`--api-key-file=${file}`] });
    assertEquals(keysOf(controlPlane.registrations), [BOOTSTRAP, REVOKED]);
  },
  [MEMORY],
);

onEachCluster(
  "only requests to the Control Plane use the proxy of the environment",
  async (cluster) => {
    await using controlPlane = ControlPlane.start({ quirks: ["no-tunnel"] });
    await using proxy = new RecordingProxy();
    const runs = new Runs(cluster, controlPlane);
    const url = `http://${proxy.host}`;
    const host = new URL(controlPlane.url).host;
    const names = ["HTTP_PROXY", "http_proxy", "ALL_PROXY"];
    for (const name of names) await runs.until(UP, { env: { [name]: url } });
    await runs.until(UP, {
      env: { HTTP_PROXY: url, ALL_PROXY: url, HTTPS_PROXY: url, NO_PROXY: "127.0.0.0/8" },
    });
    assertEquals(
      proxy.requests.map(({ method, target }) => `${method} ${target}`),
      names.flatMap(() => [`POST ${host}`, `GET ${host}`]),
    );
    assert(runs.output.some((line) => line.endsWith(`Connecting to the Control Plane via proxy ${url}`)));
  },
  [MEMORY],
);

onEachCluster(
  "an invalid proxy ends the program with exit code 2 and the name of the variable",
  async (cluster) => {
    await using controlPlane = ControlPlane.start();
    const runs = new Runs(cluster, controlPlane);
    const env = { HTTP_PROXY: `socks5://alice:${PASSWORD}@proxy` };
    assertEquals(await runs.toEnd({ env }), 2);
    assert(runs.output.some((line) => line.includes("HTTP_PROXY must be a proxy URL")));
    assertShowsNoSecret("The output of the agent", runs.output.join("\n"));
  },
  [MEMORY],
);
