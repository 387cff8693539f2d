/**
 * Quantities such as `500m`, `2Gi` or `1e3`: parsing, comparison, and the canonical form that the API stores.
 * @module
 */

const BINARY = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
const DECIMAL = ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"];
/** Quantities are computed in billionths, the smallest suffix. */
const UNIT = 10n ** 9n;

interface Quantity {
  readonly nano: bigint;
  readonly isBinary: boolean;
}

function parse(text: string): Quantity | undefined {
  const [, sign, whole = "", fraction = "", suffix = ""] =
    /^([+-]?)(\d*)(?:\.(\d*))?([KMGTPE]i|[numkMGTPE]|[eE][+-]?\d+)?$/.exec(text) ?? [];
  if (whole + fraction === "") return undefined;
  const digits = BigInt(whole + fraction);
  const isBinary = suffix.endsWith("i");
  const multiple = isBinary ? UNIT * 1024n ** BigInt(BINARY.indexOf(suffix)) : decimalMultiple(suffix);
  if (multiple === undefined) return undefined;
  const divisor = 10n ** BigInt(fraction.length);
  const nano = (digits * multiple + divisor - 1n) / divisor;
  return { nano: sign === "-" ? -nano : nano, isBinary };
}

function decimalMultiple(suffix: string): bigint | undefined {
  const index = DECIMAL.indexOf(suffix);
  const exponent = index >= 0 ? index * 3 : Number(suffix.slice(1)) + 9;
  return exponent >= 0 && exponent <= 27 ? 10n ** BigInt(exponent) : undefined;
}

/** Whether `text` is a quantity. */
export function isQuantity(text: string): boolean {
  return parse(text) !== undefined;
}

/** Negative, zero or positive if `a` is less than, equal to or greater than `b`; both must be quantities. */
export function compareQuantities(a: string, b: string): number {
  const difference = (parse(a)?.nano ?? 0n) - (parse(b)?.nano ?? 0n);
  return difference < 0n ? -1 : difference > 0n ? 1 : 0;
}

/** Canonical form of a quantity, with the largest suffix that needs no fraction: `1000m` becomes `1`, `1024Mi` becomes `1Gi`. */
export function canonicalQuantity(text: string): string {
  const quantity = parse(text);
  if (!quantity) return text;
  const { nano, isBinary } = quantity;
  if (nano === 0n) return "0";
  const suffixes = isBinary && nano % UNIT === 0n ? BINARY : DECIMAL;
  const step = suffixes === BINARY ? 1024n : 1000n;
  let value = suffixes === BINARY ? nano / UNIT : nano;
  let index = 0;
  while (value % step === 0n && index < suffixes.length - 1) {
    value /= step;
    index++;
  }
  return `${value}${suffixes[index]}`;
}
