/**
 * The open files and the memory of a process, from /proc.
 * @module
 */

/** The resource usage of a process. */
export interface Footprint {
  readonly openFiles: number;
  readonly memoryMb: number;
}

/** Reads the current usage of a process. */
export async function footprint(pid: number): Promise<Footprint> {
  const status = await Deno.readTextFile(`/proc/${pid}/status`);
  let openFiles = 0;
  for await (const _ of Deno.readDir(`/proc/${pid}/fd`)) openFiles += 1;
  return { openFiles, memoryMb: Math.round(Number(/VmRSS:\s*(\d+) kB/.exec(status)?.[1]) / 1024) };
}
