// deno-lint-ignore-file no-console -- a program that speaks to whoever started it
/**
 * Prints the permissions that `deno.json` declares for the agent as command-line flags, a line each, for tools that take no permission sets.
 * @module
 */
import denoJson from "../deno.json" with { type: "json" };

const { net, read, env, sys } = denoJson.permissions.default;

const flags = [
  ...(net ? ["--allow-net"] : []),
  ...(read ? ["--allow-read"] : []),
  `--allow-env=${env.allow.join(",")}`,
  ...(env.ignore ? ["--ignore-env"] : []),
  `--allow-sys=${sys.join(",")}`,
];
console.log(flags.join("\n"));
