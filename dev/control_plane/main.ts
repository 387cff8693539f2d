/**
 * Runs the development Control Plane until SIGINT or SIGTERM and prints one line per event.
 * @module
 */
import { parseArgs } from "@std/cli";
import { ControlPlane } from "./control_plane.ts";
import { describeQuirks, parseQuirks, type Quirk } from "./quirks.ts";

const HELP = `Control Plane for development: agents connect to it, curl sends commands, nothing is persisted.

  --port PORT          port to listen on (default 8000, 0 for a free one)
  --hostname ADDRESS   address to listen on (default 127.0.0.1)
  --prefix PATH        prefix of all paths, for example /streamspace
  --api-key KEY        key that agents must send in X-Agent-API-Key (default: none required)
  --quirks NAME,…      behave like a real Control Plane in these respects (default: none), see below
  --help               print this help

Quirks:
${describeQuirks()}`;

interface Flags {
  readonly port: number;
  readonly hostname: string;
  readonly prefix: string;
  readonly apiKey: string | undefined;
  readonly quirks: readonly Quirk[];
  readonly help: boolean;
}

/** Reads the flags. Throws a `RangeError` that names the wrong one. */
function readFlags(args: readonly string[]): Flags {
  const flags = parseArgs(args, {
    boolean: ["help"],
    string: ["port", "hostname", "prefix", "api-key", "quirks"],
    unknown: (argument) => {
      throw new RangeError(`Unknown argument ${JSON.stringify(argument)}: --help lists all flags`);
    },
  });
  const { port = "8000", hostname = "127.0.0.1", prefix = "", "api-key": apiKey, quirks = "" } =
    flags as Record<string, string>;
  if (!/^\d{1,5}$/.test(port) || Number(port) > 65_535) {
    throw new RangeError(`--port must be a number from 0 to 65535, not ${JSON.stringify(port)}`);
  }
  if (hostname === "") throw new RangeError("--hostname must not be empty");
  if (apiKey === "") throw new RangeError("--api-key must not be empty");
  if (!/^(\/.*)?$/.test(prefix)) {
    throw new RangeError(`--prefix must begin with a slash, not be ${JSON.stringify(prefix)}`);
  }
  return {
    port: Number(port),
    hostname,
    prefix: prefix.replace(/\/+$/, ""),
    apiKey,
    quirks: parseQuirks(quirks),
    help: Boolean(flags.help),
  };
}

/** Explains the next steps. */
function welcome(url: string): string {
  return `Control Plane for development: ${url}

Start an agent:
  deno task start --agent-id=k8s-dev-local --control-plane-url=${url.replace(/^http/, "ws")}
List the agents:
  curl ${url}/api/v1/agents
Start a session:
  curl -X POST ${url}/api/v1/agents/k8s-dev-local/command -H "Content-Type: application/json" \\
    -d '{"action": "start_session", "sessionId": "test-session-123", "payload": {"sessionId": "test-session-123",
         "user": "testuser", "template": "firefox", "persistentHome": false, "memory": "2Gi", "cpu": "1000m"}}'
See the result (the answer above has the id of the command):
  curl ${url}/api/v1/commands/COMMAND_ID
`;
}

/** Prints a line without control characters, as text from an agent must not control the terminal. */
function print(text: string): void {
  // deno-lint-ignore no-control-regex -- removes them
  const safe = text.replace(/[\x00-\x09\x0b-\x1f\x7f-\x9f]/g, "?");
  Deno.stdout.writeSync(new TextEncoder().encode(`${safe}\n`));
}

function printEvent(line: string): void {
  print(`${new Date().toTimeString().slice(0, 8)} ${line.replaceAll("\n", " ⏎ ")}`);
}

/** Resolves at the first SIGINT or SIGTERM; the next one ends the process immediately. */
async function untilSignal(): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const signals = ["SIGINT", "SIGTERM"] as const;
  const end = () => resolve();
  for (const signal of signals) Deno.addSignalListener(signal, end);
  await promise;
  for (const signal of signals) Deno.removeSignalListener(signal, end);
}

function fail(error: unknown, exitCode: number): void {
  const message = error instanceof Error ? error.message : String(error);
  Deno.stderr.writeSync(new TextEncoder().encode(`${message}\n`));
  Deno.exitCode = exitCode;
}

function start(flags: Flags): ControlPlane {
  try {
    return ControlPlane.start({ ...flags, onEvent: printEvent });
  } catch (error) {
    const { port, hostname } = flags;
    const reason = error instanceof Deno.errors.AddrInUse ? "the port is in use" : (error as Error).message;
    throw new Error(`Cannot listen on ${hostname}:${port}: ${reason}`, { cause: error });
  }
}

async function main(): Promise<void> {
  try {
    const flags = readFlags(Deno.args);
    if (flags.help) return print(HELP);
    await using controlPlane = start(flags);
    print(welcome(controlPlane.url));
    await untilSignal();
  } catch (error) {
    fail(error, error instanceof RangeError ? 2 : 1);
  }
}

await main();
