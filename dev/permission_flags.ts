// deno-lint-ignore-file no-console -- a command-line program
/**
 * The agent's permissions in `deno.json` as command-line flags, for tools without permission sets. Prints them when run as a program.
 * @module
 */
import denoJson from "../deno.json" with { type: "json" };

const { net, read, env, sys } = denoJson.permissions.default;

/** Flags for `deno run` and `deno compile`. */
export const PERMISSION_FLAGS: readonly string[] = [
  ...(net ? ["--allow-net"] : []),
  ...(read ? ["--allow-read"] : []),
  `--allow-env=${env.allow.join(",")}`,
  ...(env.ignore ? ["--ignore-env"] : []),
  `--allow-sys=${sys.join(",")}`,
];

if (import.meta.main) console.log(PERMISSION_FLAGS.join("\n"));
