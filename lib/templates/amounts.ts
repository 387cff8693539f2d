/**
 * How much cpu and memory one session may have. Pure.
 * @module
 */
import type { QuantityBounds } from "../common/untrusted.ts";

/** What a session gets where neither its request nor its template says. */
export const DEFAULT_MEMORY = "2Gi";
export const DEFAULT_CPU = "1000m";

const GIB = 2 ** 30;
/** Less is a missing unit ("2" is two bytes), and no desktop starts in it. */
const LEAST_MEMORY_BYTES = 16 * 2 ** 20;
const LEAST_CPU_CORES = 0.001;

/** Memory of one session, in bytes. */
export function memoryBounds(maxMemory: number): QuantityBounds {
  return {
    least: LEAST_MEMORY_BYTES,
    most: maxMemory * GIB,
    mostText: `${maxMemory}Gi`,
    example: DEFAULT_MEMORY,
  };
}

/** Cpu of one session, in cores. */
export function cpuBounds(maxCpu: number): QuantityBounds {
  return { least: LEAST_CPU_CORES, most: maxCpu, mostText: `${maxCpu} cores`, example: DEFAULT_CPU };
}
