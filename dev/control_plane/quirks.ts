/**
 * The quirks of real Control Planes that the development Control Plane can imitate, one switch each: `--quirks=NAME,…`. All are off by default.
 * @module
 */

/** What each quirk does, as `--help` shows it. */
export const QUIRKS = {
  "late-sent":
    'Marks each command as "sent" 100 ms after sending it, even if its result has arrived by then.',
  "online-before-link":
    "Fails a command at once if it comes after the agent's registration, but before its WebSocket is open, which takes 300 ms.",
  "early-close": "Closes the first WebSocket after a lost connection within milliseconds.",
  "ignore-draining": 'Sends commands also to agents whose heartbeats say "draining".',
  "ignore-failed-starts":
    'Shows a session whose start failed as "pending" until the agent reports its status.',
  "no-tunnel": "Supports no tunnel for streams, so that nobody can see a desktop.",
  "approval": "Lets new agents wait until somebody approves them: POST /api/v1/agents/AGENT_ID/approve.",
} as const satisfies Readonly<Record<string, string>>;

/** The name of a quirk. */
export type Quirk = keyof typeof QUIRKS;

/** The quirks that are switched on. */
export type Quirks = ReadonlySet<Quirk>;

const NAMES = Object.keys(QUIRKS) as Quirk[];

/** Reads names that are separated by commas. Throws a `RangeError` that names an unknown one. */
export function parseQuirks(text: string): Quirk[] {
  return text.split(",").filter((name) => name !== "").map((name) => {
    const quirk = NAMES.find((known) => known === name);
    if (!quirk) throw new RangeError(`--quirks must be of ${NAMES.join(", ")}, not ${JSON.stringify(name)}`);
    return quirk;
  });
}

/** One line of help for each quirk. */
export function describeQuirks(): string {
  const width = Math.max(...NAMES.map((name) => name.length));
  return NAMES.map((name) => `  ${name.padEnd(width)}  ${QUIRKS[name]}`).join("\n");
}
