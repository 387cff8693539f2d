/**
 * Runs a Control Plane for development: flags come in, a line for each event goes out, until SIGINT or SIGTERM.
 * @module
 */
import { parseArgs } from "@std/cli";
import { ControlPlane } from "./control_plane.ts";

const HELP = `Control Plane for development: agents connect to it, curl talks to it, nothing is kept.

  --port PORT          where to listen (default 8000, 0 for any free one)
  --hostname ADDRESS   the address to listen on (default 127.0.0.1)
  --prefix PATH        a path before all others, for example /streamspace
  --api-key KEY        the key that agents must have in X-Agent-API-Key (default: none is asked for)
  --help               this text`;

interface Flags {
  readonly port: number;
  readonly hostname: string;
  readonly prefix: string;
  readonly apiKey: string | undefined;
  readonly help: boolean;
}

/** Reads the flags. Throws a `RangeError` that says which one is wrong. */
function readFlags(args: readonly string[]): Flags {
  const flags = parseArgs(args, {
    boolean: ["help"],
    string: ["port", "hostname", "prefix", "api-key"],
    unknown: (argument) => {
      throw new RangeError(`Unknown argument ${JSON.stringify(argument)}: --help names all flags`);
    },
  });
  const { port = "8000", hostname = "127.0.0.1", prefix = "", "api-key": apiKey } = flags as Record<
    string,
    string
  >;
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
    help: Boolean(flags.help),
  };
}

/** Says what to do next, for the one who has just started it. */
function welcome(url: string): string {
  return `Control Plane for development: ${url}

Start an agent:
  deno task start --agent-id=k8s-dev-local --control-plane-url=${url.replace(/^http/, "ws")}
See it:
  curl ${url}/api/v1/agents
Start a session:
  curl -X POST ${url}/api/v1/agents/k8s-dev-local/command -H "Content-Type: application/json" \\
    -d '{"action": "start_session", "sessionId": "test-session-123", "payload": {"sessionId": "test-session-123",
         "user": "testuser", "template": "firefox", "persistentHome": false, "memory": "2Gi", "cpu": "1000m"}}'
See what became of it (the answer above names the command):
  curl ${url}/api/v1/commands/COMMAND_ID
`;
}

/** One line on standard output; what an agent wrote must not steer the terminal. */
function print(text: string): void {
  // deno-lint-ignore no-control-regex -- control characters are what it is about
  const safe = text.replace(/[\x00-\x09\x0b-\x1f\x7f-\x9f]/g, "?");
  Deno.stdout.writeSync(new TextEncoder().encode(`${safe}\n`));
}

function printEvent(line: string): void {
  print(`${new Date().toTimeString().slice(0, 8)} ${line.replaceAll("\n", " ⏎ ")}`);
}

/** Resolves at the first signal to end; the next one ends the process at once. */
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
