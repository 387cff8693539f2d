/**
 * The memory of a process, from /proc.
 * @module
 */

/** Memory of a process, in MB. */
export interface ProcessMemory {
  /** Resident memory, of which a part is the executable. */
  readonly residentMb: number;
  /** Memory of its own. */
  readonly anonymousMb: number;
}

/** Reads the current memory of a process. */
export async function processMemory(pid: number): Promise<ProcessMemory> {
  const status = await Deno.readTextFile(`/proc/${pid}/status`);
  const megabytes = (name: string) =>
    Number(new RegExp(`^${name}:\\s*(\\d+) kB`, "m").exec(status)?.[1]) / 1024;
  return { residentMb: megabytes("VmRSS"), anonymousMb: megabytes("RssAnon") };
}
