/**
 * Assembles the root folder of the image from files of this machine, as the Dockerfile's final stage does.
 * @module
 */
import type { FinalStage } from "./dockerfile.ts";

/** Replacements for the images that the final stage copies from. */
export interface Sources {
  /** The agent's executable, for copies from the build stage. */
  readonly executable: string;
  /** Returns the file that replaces a path of an image. */
  readonly imageFile: (path: string) => Promise<string>;
}

/** The libraries in gcr.io/distroless/cc: those of glibc, and two of GCC. */
const BASE_LIBRARIES =
  /^(ld-linux-[\w-]+\.so\.\d|lib(c|m|dl|rt|pthread|resolv|util)\.so\.\d|libgcc_s\.so\.1|libstdc\+\+\.so\.6)$/;

/**
 * Fills an empty folder.
 *
 * @throws {Error} when the executable needs a library that the base image does not have
 */
export async function assembleRoot(root: string, stage: FinalStage, sources: Sources): Promise<void> {
  for (const library of await libraries(sources.executable)) {
    if (!BASE_LIBRARIES.test(library.replace(/^.*\//, ""))) {
      throw new Error(`${stage.base} has no ${library}`);
    }
    await copyInto(root, { file: library, path: library });
  }
  for (const { from, sources: paths, target } of stage.copies) {
    for (const path of paths) {
      const file = from === "build" ? sources.executable : await sources.imageFile(path);
      const inImage = target.endsWith("/") ? `${target}${path.replace(/^.*\//, "")}` : target;
      await copyInto(root, { file, path: inImage });
      // The replacement of a static program may need libraries.
      for (const library of await libraries(file)) await copyInto(root, { file: library, path: library });
    }
  }
  await Deno.mkdir(`${root}/proc`);
}

async function copyInto(root: string, { file, path }: { file: string; path: string }): Promise<void> {
  await Deno.mkdir(`${root}${path.replace(/\/[^/]*$/, "")}`, { recursive: true });
  await Deno.copyFile(file, `${root}${path}`);
}

/** The shared libraries of a program as paths; none for a static one. */
async function libraries(file: string): Promise<string[]> {
  const { stdout } = await new Deno.Command("ldd", { args: [file], stderr: "null" }).output();
  const lines = new TextDecoder().decode(stdout).split("\n");
  return lines.map((line) => /(?:=> |^\s+)(\/\S+) \(/.exec(line)?.[1]).filter((path) => path !== undefined);
}
