// deno-lint-ignore-file no-console -- a command-line program
/**
 * The agent's permissions in `deno.json` and the V8 flags of its task `compile` as command-line flags, for tools that cannot read them. Prints them
 * when run as a program.
 * @module
 */
import denoJson from "../deno.json" with { type: "json" };

const { net, read, env, sys } = denoJson.permissions.default;

/** Flags for `deno run` and `deno compile`. */
export const RUNTIME_FLAGS: readonly string[] = [
  ...(net ? ["--allow-net"] : []),
  ...(read ? ["--allow-read"] : []),
  `--allow-env=${env.allow.join(",")}`,
  ...(env.ignore ? ["--ignore-env"] : []),
  `--allow-sys=${sys.join(",")}`,
  ...denoJson.tasks.compile.split(" ").filter((flag) => flag.startsWith("--v8-flags=")),
];

if (import.meta.main) console.log(RUNTIME_FLAGS.join("\n"));
