/**
 * What a Dockerfile's final stage consists of: its text goes in; copies, user and entry point come out. Pure.
 * It reads the instructions that this project's Dockerfile has, and no others.
 * @module
 */

/** One `COPY --from=…`: files of another stage or image into this one. */
export interface Copy {
  readonly from: string;
  readonly sources: readonly string[];
  /** A path that ends in a slash is a folder. */
  readonly target: string;
}

/** The stage that becomes the image. */
export interface FinalStage {
  readonly base: string;
  readonly copies: readonly Copy[];
  readonly user: string;
  readonly entrypoint: readonly string[];
}

/** The images that a Dockerfile builds upon, stages included, in the order in which they are named. */
export function baseImages(dockerfile: string): string[] {
  return instructions(dockerfile).filter(([word]) => word === "FROM").map(([, rest]) =>
    rest.split(/\s+/)[0] ?? ""
  );
}

/**
 * Reads the last stage.
 *
 * @throws {SyntaxError} at an instruction that would change the image and is not understood here
 */
export function finalStage(dockerfile: string): FinalStage {
  const all = instructions(dockerfile);
  const stage = all.slice(all.findLastIndex(([word]) => word === "FROM"));
  const copies: Copy[] = [];
  const single = new Map<string, string>();
  for (const [word, rest] of stage) {
    if (word === "COPY") copies.push(parseCopy(rest));
    else if (["FROM", "USER", "ENTRYPOINT"].includes(word)) single.set(word, rest);
    else throw new SyntaxError(`Cannot assemble an image from a Dockerfile with the instruction ${word}`);
  }
  return {
    base: single.get("FROM") ?? "",
    copies,
    user: single.get("USER") ?? "",
    entrypoint: JSON.parse(single.get("ENTRYPOINT") ?? "[]"),
  };
}

function instructions(dockerfile: string): Array<[word: string, rest: string]> {
  return dockerfile.replaceAll("\\\n", " ").split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "" && !line.startsWith("#"))
    .map((line) => {
      const [word = ""] = line.split(/\s/, 1);
      return [word.toUpperCase(), line.slice(word.length).trim()];
    });
}

function parseCopy(rest: string): Copy {
  const [option = "", ...paths] = rest.split(/\s+/);
  const target = paths.pop();
  if (!option.startsWith("--from=") || target === undefined || paths.length === 0) {
    throw new SyntaxError(`Cannot assemble an image from: COPY ${rest}`);
  }
  return { from: option.slice("--from=".length), sources: paths, target };
}
