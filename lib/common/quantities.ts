/**
 * Parses and formats quantities: Kubernetes quantities of payloads strictly, and settings in the usual notations.
 * @module
 */

const MILLI = 0.001;
const BINARY = { Ki: 2 ** 10, Mi: 2 ** 20, Gi: 2 ** 30, Ti: 2 ** 40, Pi: 2 ** 50 };
const DECIMAL = { k: 1e3, M: 1e6, G: 1e9, T: 1e12, P: 1e15 };
const SUFFIXES: ReadonlyMap<string, number> = new Map(
  Object.entries({ "": 1, m: MILLI, ...DECIMAL, ...BINARY }),
);

/** Memory units in GiB; `128`, `128GB`, `128G` and `128Gi` are equivalent. */
const MEMORY_UNITS: ReadonlyMap<string, number> = new Map(
  [["", 1], ["m", 1 / 1024], ["g", 1], ["t", 1024]],
);

const DURATION_UNITS: ReadonlyMap<string, number> = new Map(
  [["ms", 1], ["", 1000], ["s", 1000], ["m", 60_000], ["h", 3_600_000]],
);

/**
 * Parses a Kubernetes quantity such as `2Gi`, `1000m` or `0.5`, into bytes or cores.
 * Source: https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/, without exponents.
 *
 * @returns `undefined` if the text is not a quantity
 */
export function parseQuantity(text: string): number | undefined {
  const match = /^(\d{1,15}(?:\.\d{1,9})?)(m|[kMGTP]|[KMGTP]i)?$/.exec(text);
  const factor = SUFFIXES.get(match?.[2] ?? "");
  return match && factor !== undefined ? Number(match[1]) * factor : undefined;
}

/** Parses CPU cores (`100`, `64 cores`, `64000m`), rounded down to whole cores; `undefined` if invalid. */
export function parseCores(text: string): number | undefined {
  const match = /^(\d+(?:\.\d+)?)\s*(m|cores?|cpus?)?$/i.exec(text.trim());
  if (!match) return undefined;
  return Math.floor(Number(match[1]) * (match[2]?.toLowerCase() === "m" ? MILLI : 1));
}

/** Parses memory (`128`, `128GB`, `128Gi`, `65536Mi`, `1T`), rounded down to whole GiB; `undefined` if invalid. */
export function parseMemory(text: string): number | undefined {
  const match = /^(\d+(?:\.\d+)?)\s*(?:([mgt])(?:i?b|i)?)?$/i.exec(text.trim());
  const unit = MEMORY_UNITS.get(match?.[2]?.toLowerCase() ?? "");
  return match && unit !== undefined ? Math.floor(Number(match[1]) * unit) : undefined;
}

/** Parses a duration (`10s`, `500ms`, `1h30m`, or `30` for seconds) into milliseconds; `undefined` if invalid. */
export function parseDuration(text: string): number | undefined {
  const trimmed = text.trim();
  const isSeconds = /^\d+(?:\.\d+)?$/.test(trimmed);
  if (!isSeconds && !/^(?:\d+(?:\.\d+)?\s*(?:ms|s|m|h)\s*)+$/.test(trimmed)) return undefined;
  const parts = [...trimmed.matchAll(/(\d+(?:\.\d+)?)\s*(ms|s|m|h)?/g)];
  return Math.round(
    parts.reduce((sum, part) => sum + Number(part[1]) * (DURATION_UNITS.get(part[2] ?? "") ?? NaN), 0),
  );
}

/** Formats milliseconds for display: `8h`, `1m30s`, `500ms`. */
export function formatDuration(ms: number): string {
  if (Math.round(ms) < 1000) return `${Math.round(ms)}ms`;
  // Rounded first, as 119.99 seconds would otherwise become 1m60s.
  const tenths = Math.round(ms / 100);
  const parts = { h: Math.floor(tenths / 36_000), m: Math.floor(tenths / 600) % 60, s: (tenths % 600) / 10 };
  return Object.entries(parts).map(([unit, amount]) => amount === 0 ? "" : `${amount}${unit}`).join("");
}
