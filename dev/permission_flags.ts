// deno-lint-ignore-file no-console -- a program that speaks to whoever started it
/**
 * The permissions that `deno.json` declares for the agent as command-line flags, for tools that take no permission sets; run, it prints them.
 * @module
 */
import denoJson from "../deno.json" with { type: "json" };

const { net, read, env, sys } = denoJson.permissions.default;

/** The flags, as `deno run` and `deno compile` take them. */
export const PERMISSION_FLAGS: readonly string[] = [
  ...(net ? ["--allow-net"] : []),
  ...(read ? ["--allow-read"] : []),
  `--allow-env=${env.allow.join(",")}`,
  ...(env.ignore ? ["--ignore-env"] : []),
  `--allow-sys=${sys.join(",")}`,
];

if (import.meta.main) console.log(PERMISSION_FLAGS.join("\n"));
