/**
 * The open files and the memory of a process, from /proc.
 * @module
 */
import { processMemory } from "../process_memory.ts";

/** The resource usage of a process. */
export interface Footprint {
  readonly openFiles: number;
  /** Resident memory, of which a part is the executable, in MB. */
  readonly memoryMb: number;
  /** Memory of its own, in MB. */
  readonly anonymousMb: number;
}

/** The footprint of the leader during a run; absent while there is none. */
export interface Sample {
  /** Time since the plan began, in milliseconds. */
  readonly atMs: number;
  readonly leader: { readonly name: string; readonly usage: Footprint } | undefined;
}

/** Reads the current usage of a process. */
export async function footprint(pid: number): Promise<Footprint> {
  const { residentMb, anonymousMb } = await processMemory(pid);
  let openFiles = 0;
  for await (const _ of Deno.readDir(`/proc/${pid}/fd`)) openFiles += 1;
  return {
    openFiles,
    memoryMb: Math.round(residentMb),
    anonymousMb: Math.round(anonymousMb),
  };
}
