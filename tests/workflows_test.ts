/**
 * The workflows of CI and release: what they run is pinned, and what they may do is little.
 * @module
 */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { load } from "js-yaml";
import { ACTIONLINT, run } from "./support/rendering.ts";

/** What these tests read of a workflow. */
interface Workflow {
  readonly permissions: unknown;
  readonly jobs: Readonly<Record<string, Job>>;
}

interface Job {
  readonly "timeout-minutes"?: number;
  readonly permissions?: unknown;
  readonly steps: readonly {
    readonly uses?: string;
    readonly run?: string;
    readonly with?: Readonly<Record<string, unknown>>;
  }[];
}

const FOLDER = new URL("../.github/workflows/", import.meta.url);
const FILES = Array.from(Deno.readDirSync(FOLDER), ({ name }) => name).sort();

for (const file of FILES) {
  const text = Deno.readTextFileSync(new URL(file, FOLDER));
  const { permissions, jobs } = load(text) as Workflow;
  const steps = Object.values(jobs).flatMap((job) => job.steps);

  Deno.test(`workflow ${file} pins each action to a commit, and tells its version`, () => {
    const uses = text.split("\n").filter((line) => /\buses:/.test(line));
    assertEquals(uses.length, steps.filter((step) => step.uses !== undefined).length);
    for (const line of uses) assertMatch(line, /uses: [\w-]+\/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$/);
  });

  Deno.test(`workflow ${file} may read alone, where no job says what else it needs`, () => {
    assertEquals(permissions, { contents: "read" });
  });

  Deno.test(`workflow ${file} leaves no token in its checkout, and has no job without an end`, () => {
    for (const { uses, with: inputs } of steps) {
      if (uses?.startsWith("actions/checkout@")) assertEquals(inputs, { "persist-credentials": false });
    }
    for (const [name, job] of Object.entries(jobs)) assert(job["timeout-minutes"], name);
  });

  Deno.test(`workflow ${file} puts no text from outside into a script`, () => {
    for (const { run: script } of steps) assertEquals(script?.includes("${{") ?? false, false, script);
  });

  Deno.test(`workflow ${file} runs on the Deno that these tests run with`, () => {
    for (const [, version] of text.matchAll(/deno@(\S+)/g)) assertEquals(version, Deno.version.deno);
  });
}

Deno.test("workflows write nothing to the repository but releases, nor to the registry but the image", () => {
  const granted = FILES.flatMap((file) => {
    const { jobs } = load(Deno.readTextFileSync(new URL(file, FOLDER))) as Workflow;
    return Object.entries(jobs).flatMap(([name, job]) =>
      job.permissions === undefined ? [] : [[`${file} ${name}`, job.permissions]]
    );
  });
  assertEquals(Object.fromEntries(granted), {
    "release.yml executables": { contents: "write", "id-token": "write", attestations: "write" },
    "release.yml image": { contents: "read", packages: "write" },
    "release.yml image-for-all": { packages: "write" },
  });
});

Deno.test({
  name: `workflows pass actionlint${ACTIONLINT.hint}`,
  ignore: ACTIONLINT.isMissing,
  fn: async () => {
    const { code, stdout } = await run(ACTIONLINT.path, FILES.map((file) => `.github/workflows/${file}`));
    assertEquals(code, 0, stdout);
  },
});
