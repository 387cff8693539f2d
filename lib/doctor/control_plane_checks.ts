/**
 * The way to the Control Plane, step by step: what fails at one step leaves those behind it untried.
 * @module
 */
import { abortable } from "@std/async";
import { controlPlaneAddresses, hostOf, linkPath } from "../control_plane/addresses.ts";
import type { ConnectionCredentials, Credentials } from "../control_plane/credentials.ts";
import { Socket } from "../control_plane/socket.ts";
import { isTimeout, LinkError, messageOf } from "../common/errors.ts";
import type { Config } from "../cli/options.ts";
import { judgeValidity, type OwnCertificate, readCertificate, shownCertificate } from "./certificates.ts";
import { judgeClock } from "./clock.ts";
import { plainWords, troubleOf } from "./connection_trouble.ts";
import { askRecord, askStanding, type ProbeOptions } from "./control_plane_probe.ts";
import { type CheckName, type Finding, Findings } from "./finding.ts";
import { CHECK_MS, inTime, NO_ANSWER } from "./in_time.ts";
import { describeStanding, type Standing } from "./standing.ts";

const PASS_ON = "let what stands between, such as an ingress or a proxy, pass WebSockets on";

/** What helps to look at a Control Plane. */
export interface ControlPlaneHelp {
  readonly credentials: Credentials;
  /** Whether no agent of this id is seen in the cluster, so that there is no link that a second one could close. */
  readonly isAlone: () => Promise<boolean>;
}

/** The findings of everything about the Control Plane. */
export async function checkControlPlane(config: Config, help: ControlPlaneHelp): Promise<Finding[]> {
  const url = new URL(controlPlaneAddresses(config.controlPlaneUrl).http);
  const [address, own] = await Promise.all([
    checkAddress(config, url),
    inTime(() => checkOwnCertificate(config), cannotReadCertificate),
  ]);
  const first = [wayOf(config), ...address, ...own];
  if (address.some(({ status }) => status === "fail")) return [...first, ...untried("it cannot be reached")];
  return [...first, ...await checkAnswers(config, { url, ...help })];
}

function wayOf({ proxy }: Config): Finding {
  const findings = new Findings("control-plane-proxy");
  return findings.ok(
    proxy
      ? `The way to the Control Plane leads through ${proxy.url}`
      : "The way to the Control Plane is direct",
  );
}

/** By a proxy only the proxy can be tried: what lies behind it only the proxy reaches. */
async function checkAddress({ proxy }: Config, controlPlane: URL): Promise<Finding[]> {
  const findings = new Findings("control-plane-address");
  const url = proxy ? new URL(proxy.url) : controlPlane;
  const hostname = hostOf(url);
  const port = Number(url.port || (url.protocol === "https:" ? 443 : 80));
  const place = `${proxy ? "The proxy" : "The Control Plane"} at ${url.hostname}:${port}`;
  const deadline = AbortSignal.timeout(CHECK_MS);
  try {
    const connection = await abortable(Deno.connect({ hostname, port, signal: deadline }), deadline);
    connection.close();
    return [findings.ok(`${place} can be reached`)];
  } catch (error) {
    const words = deadline.aborted ? NO_ANSWER : messageOf(error);
    const advice = proxy ? "check HTTPS_PROXY, HTTP_PROXY and ALL_PROXY" : troubleOf(words).advice;
    return [findings.fail(`${place} cannot be reached: ${words}`, advice)];
  }
}

async function checkOwnCertificate({ clientCert }: Config): Promise<Finding[]> {
  if (clientCert === "") return [];
  const certificate = readCertificate(await Deno.readTextFile(clientCert));
  return [judgeValidity("client-certificate", "The agent's certificate", certificate)];
}

function cannotReadCertificate(error: unknown): Finding {
  const message = `Cannot read the agent's certificate: ${messageOf(error)}`;
  return new Findings("client-certificate").fail(message, "check the file of --client-cert (CLIENT_CERT)");
}

async function checkAnswers(
  config: Config,
  { url, credentials, isAlone }: ControlPlaneHelp & { url: URL },
): Promise<Finding[]> {
  const deadline = AbortSignal.timeout(CHECK_MS);
  try {
    await credentials.restore(deadline);
    using read = await credentials.read();
    const options = { httpBase: url.href.replace(/\/$/, ""), agentId: config.agentId, credentials: read };
    const asking = { ...options, signal: AbortSignal.timeout(CHECK_MS) };
    const { standing, clock } = await abortable(askStanding(asking), asking.signal);
    const tls = await checkCertificate(config, url);
    const date = judgeClock("control-plane-clock", "The Control Plane's clock", clock);
    const key = await judgeKey(standing, { read, credentials, asking });
    if (standing.kind !== "accepted") return [...tls, date, key, websocketUntried("the key comes first")];
    const check = (signal: AbortSignal) => checkLink(config, { ...asking, signal, isAlone });
    return [...tls, date, key, ...await inTime(check, noWebSocket)];
  } catch (error) {
    return unanswered(url, error);
  }
}

/** The certificate is good, or there would be no answer. */
async function checkCertificate(config: Config, url: URL): Promise<Finding[]> {
  const findings = new Findings("control-plane-tls");
  if (url.protocol !== "https:") {
    return [findings.ok("The way to the Control Plane is not encrypted, as is allowed")];
  }
  const accepted = "The Control Plane's certificate is accepted";
  if (config.proxy) return [findings.ok(accepted)];
  const judge = async (signal: AbortSignal) => {
    const certificate = await shownCertificate(url, { ...await ownCertificate(config), signal });
    return [judgeValidity("control-plane-tls", `${accepted}, and`, certificate)];
  };
  return await inTime(
    judge,
    (error) => findings.skip(`${accepted}, and until when it is valid is not known`, messageOf(error)),
  );
}

async function ownCertificate({ clientCert, clientKey }: Config): Promise<OwnCertificate> {
  if (clientCert === "") return {};
  return { cert: await Deno.readTextFile(clientCert), key: await Deno.readTextFile(clientKey) };
}

function unanswered(url: URL, error: unknown): Finding[] {
  // A file of credentials that cannot be used.
  if (error instanceof LinkError) {
    const check = "control-plane-tls";
    return [new Findings(check).fail(error.message, ""), ...untried("it was not asked", check)];
  }
  const words = isTimeout(error) ? NO_ANSWER : plainWords(messageOf(error));
  const { check, advice } = troubleOf(words);
  const message = check === "control-plane-tls"
    ? `There is no safe connection to ${url.host}: ${words}`
    : `Nothing answers at ${url.href}: ${words}`;
  return [new Findings(check).fail(message, advice), ...untried("it does not answer", check)];
}

/** An issued key that is refused is no harm where the configured one is accepted: the agent tries it by itself. */
async function judgeKey(
  standing: Standing,
  { read, credentials, asking }: {
    read: ConnectionCredentials;
    credentials: Credentials;
    asking: ProbeOptions;
  },
): Promise<Finding> {
  if (standing.kind === "key-refused" && read.isIssued) {
    using configured = await credentials.readConfigured();
    const second = await askStanding({ ...asking, credentials: configured });
    if (second.standing.kind === "accepted") {
      return new Findings("control-plane-key").warn(
        "The Control Plane refuses the key that it issued, and accepts the configured one",
        "nothing to do: the agent uses the configured one, and forgets the other",
      );
    }
  }
  const { agentId, httpBase } = asking;
  return describeStanding(standing, { agentId, httpBase, key: read });
}

/**
 * A Control Plane closes the link of an agent when a second one of its id comes: one is tried only where it says that there is none, or, as most
 * tell agents nothing, where none is seen in the cluster.
 */
async function checkLink(
  config: Config,
  { isAlone, ...asking }: ProbeOptions & Pick<ControlPlaneHelp, "isAlone">,
): Promise<Finding[]> {
  const record = await askRecord(asking);
  if (!record) return [await isAlone() ? await tryLink(config, asking) : mayBeConnected()];
  const { agentId, namespace } = config;
  const link = record.isConnected
    ? websocketUntried(`agent ${agentId} is connected, and a second connection would close its link`)
    : await tryLink(config, asking);
  if (record.namespace === "" || record.namespace === namespace) return [link];
  const elsewhere = new Findings("second-agent").warn(
    `Agent ${agentId} registered last from namespace ${record.namespace}, and this one is for ${namespace}`,
    "if both are to run, give one another --agent-id (AGENT_ID)",
  );
  return [link, elsewhere];
}

async function tryLink(config: Config, { credentials, signal }: ProbeOptions): Promise<Finding> {
  const url = controlPlaneAddresses(config.controlPlaneUrl).webSocket + linkPath(config.agentId);
  try {
    await using _socket = await Socket.connect(url, { credentials, signal });
    return new Findings("control-plane-websocket").ok("The Control Plane opens a WebSocket");
  } catch (error) {
    signal.throwIfAborted();
    return new Findings("control-plane-websocket").fail(messageOf(error), PASS_ON);
  }
}

function noWebSocket(error: unknown): Finding {
  const message = `The Control Plane does not open a WebSocket: ${messageOf(error)}`;
  return new Findings("control-plane-websocket").fail(message, PASS_ON);
}

function mayBeConnected(): Finding {
  return new Findings("control-plane-websocket").warn(
    "A WebSocket was not tried: an agent may be connected, which the Control Plane does not tell",
    'the log of the agent that leads has "WebSocket connected" where it is',
  );
}

function websocketUntried(why: string): Finding {
  return new Findings("control-plane-websocket").skip("A WebSocket was not tried", why);
}

/** What cannot be found out without an answer, but for what has failed. */
function untried(why: string, failed?: CheckName): Finding[] {
  const checks = [
    ["control-plane-tls", "The Control Plane's certificate is not known"],
    ["control-plane-key", "Whether the Control Plane accepts the agent's key is not known"],
    ["control-plane-websocket", "A WebSocket was not tried"],
  ] as const;
  return checks.filter(([check]) => check !== failed).map(([check, words]) =>
    new Findings(check).skip(words, why)
  );
}
