/**
 * The settings of sessions as they are when an operator sets nothing.
 * @module
 */
import { OPTIONS } from "../lib/cli/options.ts";
import type { Settings } from "../lib/model/settings.ts";

const DEFAULTS = Object.fromEntries(OPTIONS.map(({ key, fallback }) => [key, fallback]));

/** Every default. */
export const SETTINGS = {
  ...DEFAULTS,
  agentId: "a1",
  namespace: "streamspace",
} as unknown as Settings;
