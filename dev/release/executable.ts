/**
 * Builds the agent as one executable. The build is reproducible: the same files give the same bytes.
 * @module
 */
import { RUNTIME_FLAGS } from "../runtime_flags.ts";

const ROOT = new URL("../../", import.meta.url);

/** What to build, and where. */
export interface Build {
  /** A target of `deno compile`, such as `aarch64-unknown-linux-gnu`. */
  readonly target: string;
  readonly output: string;
  /** Modification time of the embedded files. */
  readonly time: Date;
  /** Path of the Deno executable that compiles. */
  readonly deno: string;
}

/**
 * Builds one executable.
 *
 * @throws {Error} with the output of Deno if it fails
 */
export async function buildExecutable({ target, output, time, deno }: Build): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    const bundle = `${folder}/k8s-agent.js`;
    await run(Deno.execPath(), [
      "bundle",
      "--quiet",
      "--platform=deno",
      "--minify",
      "--output",
      bundle,
      "main.ts",
    ]);
    // The executable contains the modification times of its files: the only difference between two builds.
    await Deno.utime(bundle, time, time);
    // The flags replace deno.json, which Deno would look for beside the bundle.
    const plain = ["--quiet", "--no-check", "--no-config", "--no-lock"];
    await run(deno, [
      "compile",
      ...plain,
      ...RUNTIME_FLAGS,
      "--target",
      target,
      "--output",
      output,
      bundle,
    ]);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

async function run(program: string, args: readonly string[]): Promise<void> {
  const { success, stderr } = await new Deno.Command(program, { args: [...args], cwd: ROOT }).output();
  if (!success) throw new Error(new TextDecoder().decode(stderr));
}
