/**
 * Statistics and tables of the benchmark. Pure.
 * @module
 */

/** The median. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length / 2;
  const low = sorted[Math.ceil(middle) - 1] ?? NaN;
  const high = sorted[Math.floor(middle)] ?? NaN;
  return (low + high) / 2;
}

/** The smallest value that at least the given share of all values does not exceed; the share is between 0 and 1. */
export function quantile(values: readonly number[], share: number): number {
  return values.toSorted((a, b) => a - b)[Math.max(0, Math.ceil(share * values.length) - 1)] ?? NaN;
}

/** One row of the table: the same work done by the floor and by the agent. */
export interface Comparison {
  readonly name: string;
  readonly floorMs: readonly number[];
  readonly agentMs: readonly number[];
  /** The target ratio, if there is one. */
  readonly target?: number;
}

/** A comparison as cells: name, floor, agent, ratio, target. */
export function comparisonCells({ name, floorMs, agentMs, target }: Comparison): string[] {
  const floor = median(floorMs);
  const agent = median(agentMs);
  return [
    name,
    `${Math.round(floor)} ms`,
    `${Math.round(agent)} ms`,
    (agent / floor).toFixed(2),
    target === undefined ? "" : `≤ ${target}`,
  ];
}

/** Formats rows as a Markdown table, padded for terminals. */
export function markdownTable(header: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = header.map((cell, column) =>
    Math.max(cell.length, ...rows.map((row) => row[column]?.length ?? 0))
  );
  const line = (cells: readonly string[]) =>
    `| ${cells.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join(" | ")} |`;
  return [line(header), line(widths.map((width) => "-".repeat(width))), ...rows.map(line)].join("\n");
}
