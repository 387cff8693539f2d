// deno-lint-ignore-file no-console -- a command-line program
/**
 * Builds the files of a release into a folder: an executable per target, the software bill of materials (SBOM), and checksums.
 * @module
 */
import { parseArgs } from "@std/cli";
import denoJson from "../../deno.json" with { type: "json" };
import { messageOf } from "../../lib/common/errors.ts";
import { buildExecutable } from "./executable.ts";
import { packagesOf } from "./packages.ts";
import { sbom } from "./sbom.ts";

const TARGETS = "x86_64-unknown-linux-gnu,aarch64-unknown-linux-gnu";

const USAGE = `deno task release [--output=dist] [--targets=${TARGETS}]
Variables: SOURCE_DATE_EPOCH, the release's time in seconds since 1970 (the last commit's);
DENO_COMPILE, the deno that compiles (this one); DENORT_BIN, the runtime that it takes in place of a download.`;

const NAME = "k8s-agent";

if (import.meta.main) Deno.exitCode = await main(Deno.args);

async function main(args: readonly string[]): Promise<number> {
  const unknown: string[] = [];
  const flags = parseArgs([...args], {
    string: ["output", "targets"],
    unknown: (argument) => void unknown.push(argument),
  });
  if (unknown.length > 0) {
    console.error(USAGE);
    return 2;
  }
  const folder = String(flags.output ?? "dist");
  const targets = String(flags.targets ?? TARGETS).split(",");
  try {
    for (const file of await release(folder, { targets, time: await releaseTime() })) {
      console.log(`${folder}/${file}`);
    }
    return 0;
  } catch (error) {
    console.error(messageOf(error));
    return 1;
  }
}

/** Builds all files and returns their names. */
async function release(
  folder: string,
  { targets, time }: { targets: readonly string[]; time: Date },
): Promise<string[]> {
  await Deno.mkdir(folder, { recursive: true });
  const deno = Deno.env.get("DENO_COMPILE") ?? Deno.execPath();
  const executables: string[] = [];
  for (const target of targets) {
    const name = `${NAME}-${target}`;
    await buildExecutable({ target, output: await absolute(folder, name), time, deno });
    executables.push(name);
  }
  const packages = await packagesOf("main.ts");
  const bill = `${NAME}.cdx.json`;
  const text = sbom({ name: NAME, version: denoJson.version, deno: Deno.version.deno, packages, time });
  await Deno.writeTextFile(`${folder}/${bill}`, text);
  await Deno.writeTextFile(`${folder}/SHA256SUMS`, await checksums(folder, [...executables, bill]));
  return [...executables, bill, "SHA256SUMS"];
}

async function absolute(folder: string, name: string): Promise<string> {
  return `${await Deno.realPath(folder)}/${name}`;
}

/** Checksums in the format of `sha256sum --check`. */
async function checksums(folder: string, names: readonly string[]): Promise<string> {
  const lines = names.toSorted().map(async (name) => {
    const digest = await crypto.subtle.digest("SHA-256", await Deno.readFile(`${folder}/${name}`));
    return `${new Uint8Array(digest).toHex()}  ${name}\n`;
  });
  return (await Promise.all(lines)).join("");
}

async function releaseTime(): Promise<Date> {
  const text = Deno.env.get("SOURCE_DATE_EPOCH") ?? await lastCommit();
  if (!/^\d{1,10}$/.test(text)) {
    throw new Error(
      `Cannot date the release: set SOURCE_DATE_EPOCH to seconds since 1970, not ${JSON.stringify(text)}`,
    );
  }
  return new Date(Number(text) * 1000);
}

async function lastCommit(): Promise<string> {
  const { stdout } = await new Deno.Command("git", { args: ["log", "-1", "--format=%ct"] }).output();
  return new TextDecoder().decode(stdout).trim();
}
