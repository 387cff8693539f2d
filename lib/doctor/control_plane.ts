/**
 * Checks the connection to the Control Plane step by step: proxy, address, TLS, key, WebSocket. Steps after a failed one are skipped.
 * @module
 */
import { abortable } from "@std/async";
import type { Config } from "../cli/options.ts";
import { connectionProblem, plainReason } from "../common/connection_problem.ts";
import { isTimeout, LinkError, messageOf } from "../common/errors.ts";
import { readCertificates } from "../common/pem.ts";
import { controlPlaneAddresses, hostOf, linkPath } from "../control_plane/addresses.ts";
import { connectionAdvice } from "../control_plane/connection_advice.ts";
import type { ConnectionCredentials, Credentials } from "../control_plane/credentials.ts";
import { Socket } from "../control_plane/socket.ts";
import {
  checkValidity,
  type ClientCertificate,
  compareClocks,
  failedCheck,
  parseCertificate,
  serverCertificate,
} from "./connection.ts";
import {
  fetchAgentRecord,
  keyFinding,
  probeAgent,
  type ProbeOptions,
  type ProbeResult,
} from "./control_plane_probe.ts";
import { type CheckName, type Finding, Findings, runCheck, timeoutMessage } from "./report.ts";

const PASS_WEBSOCKETS = "configure any proxy or ingress in between to pass WebSocket connections";

/** What the checks of the Control Plane need. */
export interface ControlPlaneCheckOptions {
  readonly credentials: Credentials;
  /** Whether no agent of this id is visible in the cluster, so that a test connection cannot disconnect one. */
  readonly isAlone: () => Promise<boolean>;
  /** Timeout of each step. */
  readonly timeoutMs: number;
}

/** Runs all checks of the Control Plane. */
export async function checkControlPlane(
  config: Config,
  options: ControlPlaneCheckOptions,
): Promise<Finding[]> {
  const { timeoutMs } = options;
  const url = new URL(controlPlaneAddresses(config.controlPlaneUrl).http);
  const [address, client] = await Promise.all([
    checkAddress(config, { url, timeoutMs }),
    runCheck(() => checkClientCertificate(config), { timeoutMs, toFinding: unreadableCertificate }),
  ]);
  const first = [proxyFinding(config), ...address, ...client];
  if (address.some(({ status }) => status === "fail")) return [...first, ...skipped("it is not reachable")];
  return [...first, ...await checkResponses(config, { url, ...options })];
}

function proxyFinding({ proxy }: Config): Finding {
  const findings = new Findings("control-plane-proxy");
  return findings.ok(
    proxy
      ? `Connecting to the Control Plane via proxy ${proxy.url}`
      : "Connecting to the Control Plane directly",
  );
}

/** Opens a TCP connection: to the proxy if there is one, because only the proxy can reach the addresses behind it. */
async function checkAddress(
  config: Config,
  { url: controlPlane, timeoutMs }: { url: URL; timeoutMs: number },
): Promise<Finding[]> {
  const findings = new Findings("control-plane-address");
  const { proxy } = config;
  const url = proxy ? new URL(proxy.url) : controlPlane;
  const hostname = hostOf(url);
  const port = Number(url.port || (url.protocol === "https:" ? 443 : 80));
  const target = `${proxy ? "The proxy" : "The Control Plane"} at ${url.hostname}:${port}`;
  const signal = AbortSignal.timeout(timeoutMs);
  try {
    const connection = await abortable(Deno.connect({ hostname, port, signal }), signal);
    connection.close();
    return [findings.ok(`${target} is reachable`)];
  } catch (error) {
    const reason = signal.aborted ? timeoutMessage(timeoutMs) : messageOf(error);
    const advice = proxy ? "check HTTPS_PROXY, HTTP_PROXY and ALL_PROXY" : adviceFor(reason, config);
    return [findings.fail(`${target} is not reachable: ${reason}`, advice)];
  }
}

async function checkClientCertificate({ clientCert }: Config): Promise<Finding[]> {
  if (clientCert === "") return [];
  const certificate = parseCertificate(await Deno.readTextFile(clientCert));
  return [checkValidity("client-certificate", "The agent's certificate", certificate)];
}

function unreadableCertificate(error: unknown): Finding {
  const message = `Cannot read the agent's certificate: ${messageOf(error)}`;
  return new Findings("client-certificate").fail(message, "check the file of --client-cert (CLIENT_CERT)");
}

async function checkResponses(
  config: Config,
  { url, credentials, isAlone, timeoutMs }: ControlPlaneCheckOptions & { url: URL },
): Promise<Finding[]> {
  const restoreSignal = AbortSignal.timeout(timeoutMs);
  try {
    await credentials.restore(restoreSignal);
    using current = await credentials.read();
    const httpBase = url.href.replace(/\/$/, "");
    const signal = AbortSignal.timeout(timeoutMs);
    const probe = { httpBase, agentId: config.agentId, credentials: current, signal };
    const { result, clock } = await abortable(probeAgent(probe), signal);
    const tls = await checkServerCertificate(config, { url, timeoutMs });
    const date = compareClocks("control-plane-clock", "The Control Plane's clock", clock);
    const key = await checkKey(result, { current, credentials, probe });
    if (result.kind !== "accepted") {
      return [...tls, date, key, websocketSkipped("the key must be accepted first")];
    }
    const check = (signal: AbortSignal) => checkWebSocket(config, { ...probe, signal, isAlone });
    return [...tls, date, key, ...await runCheck(check, { timeoutMs, toFinding: websocketFailed })];
  } catch (error) {
    return await noResponseFindings(error, { url, timeoutMs, config });
  }
}

/** Checks when the certificate expires. That it is trusted is known from the response to the probe. */
async function checkServerCertificate(
  config: Config,
  { url, timeoutMs }: { url: URL; timeoutMs: number },
): Promise<Finding[]> {
  const findings = new Findings("control-plane-tls");
  if (url.protocol !== "https:") {
    return [findings.ok("The connection to the Control Plane is not encrypted, which the settings allow")];
  }
  const trusted = "The Control Plane's certificate is trusted";
  if (config.proxy) return [findings.ok(trusted)];
  const check = async (signal: AbortSignal) => {
    const certificate = await serverCertificate(url, { ...await clientCertificate(config), signal });
    return [checkValidity("control-plane-tls", `${trusted} and`, certificate)];
  };
  const toFinding = (error: unknown) =>
    findings.skip(`${trusted}; its expiry was not checked`, messageOf(error));
  return await runCheck(check, { timeoutMs, toFinding });
}

async function clientCertificate({ clientCert, clientKey }: Config): Promise<ClientCertificate> {
  if (clientCert === "") return {};
  return { cert: await Deno.readTextFile(clientCert), key: await Deno.readTextFile(clientKey) };
}

async function noResponseFindings(
  error: unknown,
  { url, timeoutMs, config }: { url: URL; timeoutMs: number; config: Config },
): Promise<Finding[]> {
  // A credentials file is invalid.
  if (error instanceof LinkError) {
    const check = "control-plane-tls";
    return [new Findings(check).fail(error.message, ""), ...skipped("no request was sent", check)];
  }
  const reason = isTimeout(error) ? timeoutMessage(timeoutMs) : plainReason(messageOf(error));
  const check = failedCheck(reason);
  const message = check === "control-plane-tls"
    ? `Cannot connect securely to ${url.host}: ${reason}${await issuerOf(reason, { url, timeoutMs, config })}`
    : `Cannot get a response from ${url.href}: ${reason}`;
  return [
    new Findings(check).fail(message, adviceFor(reason, config)),
    ...skipped("it does not respond", check),
  ];
}

/** Names the issuer of a certificate that is not trusted, if it can be fetched. */
async function issuerOf(
  reason: string,
  { url, timeoutMs, config }: { url: URL; timeoutMs: number; config: Config },
): Promise<string> {
  if (connectionProblem(reason) !== "unknown-issuer" || config.proxy) return "";
  const signal = AbortSignal.timeout(timeoutMs);
  const certificate = await serverCertificate(url, { signal }).catch(() => undefined);
  return certificate ? `, its issuer is ${certificate.issuer.replaceAll("\n", ", ")}` : "";
}

function adviceFor(reason: string, config: Config): string {
  return connectionAdvice(reason, { ...config, authorities: readAuthorities(config.caFile) }) ??
    "check --control-plane-url (CONTROL_PLANE_URL)";
}

/** The certificates of `--ca-file`; `undefined` if there are none. */
function readAuthorities(caFile: string): string | undefined {
  if (!caFile) return undefined;
  const certificates = readCertificates(Deno.readTextFileSync(caFile));
  return "pem" in certificates ? certificates.pem : undefined;
}

/** A rejected issued key is only a warning if the configured key is accepted, because the agent falls back to that one. */
async function checkKey(
  result: ProbeResult,
  { current, credentials, probe }: {
    current: ConnectionCredentials;
    credentials: Credentials;
    probe: ProbeOptions;
  },
): Promise<Finding> {
  if (result.kind === "key-rejected" && current.isIssued) {
    using configured = credentials.readConfigured();
    const second = await probeAgent({ ...probe, credentials: configured });
    if (second.result.kind === "accepted") {
      return new Findings("control-plane-key").warn(
        "The Control Plane rejects the key that it issued, but accepts the configured key",
        "no action is needed, the agent falls back to the configured key",
      );
    }
  }
  const { agentId, httpBase } = probe;
  return keyFinding(result, { agentId, httpBase, key: current });
}

/**
 * A Control Plane disconnects an agent when a second one connects with its id. So this opens a connection only if the Control Plane reports that
 * no agent is connected, or, where it does not report that, if no agent of this id is visible in the cluster.
 */
async function checkWebSocket(
  config: Config,
  { isAlone, ...probe }: ProbeOptions & Pick<ControlPlaneCheckOptions, "isAlone">,
): Promise<Finding[]> {
  const record = await fetchAgentRecord(probe);
  if (!record) return [await isAlone() ? await openWebSocket(config, probe) : mayBeConnected()];
  const { agentId, namespace } = config;
  const websocket = record.isConnected
    ? websocketSkipped(`agent ${agentId} is connected, and a second connection would disconnect it`)
    : await openWebSocket(config, probe);
  if (record.namespace === "" || record.namespace === namespace) return [websocket];
  const other = new Findings("second-agent").warn(
    `Agent ${agentId} last registered from namespace ${record.namespace}, not from ${namespace}`,
    "if both agents are meant to run, give one of them another --agent-id (AGENT_ID)",
  );
  return [websocket, other];
}

async function openWebSocket(config: Config, { credentials, signal }: ProbeOptions): Promise<Finding> {
  const url = controlPlaneAddresses(config.controlPlaneUrl).webSocket + linkPath(config.agentId);
  try {
    await using _socket = await Socket.connect(url, { credentials, signal });
    return new Findings("control-plane-websocket").ok("The Control Plane accepts a WebSocket connection");
  } catch (error) {
    signal.throwIfAborted();
    return new Findings("control-plane-websocket").fail(messageOf(error), PASS_WEBSOCKETS);
  }
}

function websocketFailed(error: unknown): Finding {
  const message = `Cannot open a WebSocket connection to the Control Plane: ${messageOf(error)}`;
  return new Findings("control-plane-websocket").fail(message, PASS_WEBSOCKETS);
}

function mayBeConnected(): Finding {
  return new Findings("control-plane-websocket").warn(
    "The WebSocket connection was not tested: an agent may be connected, which the Control Plane does not report",
    'if one is, the log of the leader has the line "WebSocket connected"',
  );
}

function websocketSkipped(reason: string): Finding {
  return new Findings("control-plane-websocket").skip("The WebSocket connection was not tested", reason);
}

/** Findings of the checks that need a response, except for the failed check. */
function skipped(reason: string, failed?: CheckName): Finding[] {
  const checks = [
    ["control-plane-tls", "The Control Plane's certificate was not checked"],
    ["control-plane-key", "The agent's key was not checked"],
    ["control-plane-websocket", "The WebSocket connection was not tested"],
  ] as const;
  return checks.filter(([check]) => check !== failed).map(([check, message]) =>
    new Findings(check).skip(message, reason)
  );
}
