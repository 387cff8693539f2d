/**
 * What a process holds of the machine, as Linux tells it. Timers cannot be seen from outside.
 * @module
 */

/** A process's share of the machine. */
export interface Footprint {
  readonly openFiles: number;
  readonly memoryMb: number;
}

/** Reads what a process holds now. */
export async function footprint(pid: number): Promise<Footprint> {
  const status = await Deno.readTextFile(`/proc/${pid}/status`);
  let openFiles = 0;
  for await (const _ of Deno.readDir(`/proc/${pid}/fd`)) openFiles += 1;
  return { openFiles, memoryMb: Math.round(Number(/VmRSS:\s*(\d+) kB/.exec(status)?.[1]) / 1024) };
}
