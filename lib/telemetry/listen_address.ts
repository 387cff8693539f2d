/**
 * Where a server listens, as text: `:8080`, `127.0.0.1:8080`, `[::1]:8080`. Pure.
 * @module
 */
import type { ListenAddress } from "../model/settings.ts";

const HIGHEST_PORT = 65_535;

/** Reads an address; `undefined` for text that is none. */
export function parseListenAddress(text: string): ListenAddress | undefined {
  const [, v6, host = "", digits = ""] =
    /^(?:\[([0-9a-f.]*:[0-9a-f:.]*)\]|([a-z0-9.-]*)):(\d{1,5})$/i.exec(text) ?? [];
  const port = digits === "" ? NaN : Number(digits);
  return port <= HIGHEST_PORT ? { hostname: v6 ?? host, port } : undefined;
}

/** Writes an address as {@linkcode parseListenAddress} reads it. */
export function formatListenAddress({ hostname, port }: ListenAddress): string {
  return `${hostname.includes(":") ? `[${hostname}]` : hostname}:${port}`;
}
