/**
 * Parses the final stage of a Dockerfile: its base, copies, user and entry point. It supports only the instructions that this project's
 * Dockerfile uses. Pure.
 * @module
 */

/** One `COPY --from=…`: copies files of another stage or image. */
export interface Copy {
  readonly from: string;
  readonly sources: readonly string[];
  /** A folder if it ends in a slash. */
  readonly target: string;
}

/** The stage that becomes the image. */
export interface FinalStage {
  readonly base: string;
  readonly copies: readonly Copy[];
  readonly user: string;
  readonly entrypoint: readonly string[];
}

/** The base images of all stages, in order. */
export function baseImages(dockerfile: string): string[] {
  return instructions(dockerfile).filter(([word]) => word === "FROM").map(([, rest]) =>
    rest.split(/\s+/)[0] ?? ""
  );
}

/**
 * Parses the last stage.
 *
 * @throws {SyntaxError} for an unsupported instruction
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
