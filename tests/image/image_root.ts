/**
 * The image's root folder as the Dockerfile's final stage makes it: files of this machine go in, a folder comes out.
 * @module
 */
import type { FinalStage } from "./dockerfile.ts";

/** What stands in for the images that the final stage copies from. */
export interface Sources {
  /** The agent's executable, for a copy from the build stage. */
  readonly executable: string;
  /** Finds a file of an image by its path there. */
  readonly imageFile: (path: string) => Promise<string>;
}

/** The libraries in gcr.io/distroless/cc: glibc's, and the two of GCC. */
const BASE_LIBRARIES =
  /^(ld-linux-[\w-]+\.so\.\d|lib(c|m|dl|rt|pthread|resolv|util)\.so\.\d|libgcc_s\.so\.1|libstdc\+\+\.so\.6)$/;

/**
 * Fills an empty folder.
 *
 * @throws {Error} when the executable needs a library that the base image has not
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
      // What stands in for a static program may need libraries.
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
