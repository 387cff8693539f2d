/**
 * The workflows of CI and release: what they run is pinned, and what they may do is little.
 * @module
 */
import type { V1Deployment } from "@kubernetes/client-node";
import { assert, assertEquals, assertMatch } from "@std/assert";
import { load, loadAll } from "js-yaml";
import denoJson from "../../deno.json" with { type: "json" };
import { ACTIONLINT, HELM, run } from "../support/rendering.ts";

/** What these tests read of a workflow. */
interface Workflow {
  readonly permissions: unknown;
  readonly jobs: Readonly<Record<string, Job>>;
}

interface Job {
  readonly "timeout-minutes"?: number;
  readonly permissions?: unknown;
  readonly needs?: string | readonly string[];
  /** Another workflow, in place of steps. */
  readonly uses?: string;
  readonly steps?: readonly {
    readonly name?: string;
    readonly uses?: string;
    readonly run?: string;
    readonly with?: Readonly<Record<string, unknown>>;
  }[];
}

const FOLDER = new URL("../../.github/workflows/", import.meta.url);
const FILES = Array.from(Deno.readDirSync(FOLDER), ({ name }) => name).sort();

for (const file of FILES) {
  const text = Deno.readTextFileSync(new URL(file, FOLDER));
  const { permissions, jobs } = load(text) as Workflow;
  const steps = Object.values(jobs).flatMap((job) => job.steps ?? []);

  Deno.test(`workflow ${file} pins each action to a commit, and tells its version`, () => {
    const uses = text.split("\n").filter((line) => /^ +(?:- )?uses: (?!\.\/)/.test(line));
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
    for (const [name, job] of Object.entries(jobs)) assert(job.uses ?? job["timeout-minutes"], name);
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
    "release.yml image-for-all": { contents: "write", packages: "write" },
  });
});

Deno.test("a release is made of a tag that is the version and passes CI, and is seen once its image is there", () => {
  const { jobs } = workflow("release.yml");
  const order = Object.entries(jobs).map(([name, { needs, uses }]) => [name, needs ?? uses]);
  assertEquals(order, [
    ["ci", "./.github/workflows/ci.yml"],
    ["executables", "ci"],
    ["image", "executables"],
    ["image-for-all", "image"],
  ]);
  assert("workflow_call" in (load(Deno.readTextFileSync(new URL("ci.yml", FOLDER))) as { on: object }).on);
  assertMatch(script(jobs, "The tag is the version"), /^test /);
  assertMatch(script(jobs, "A draft of the release"), /^gh release create .*--draft/);
  assertMatch(script(jobs, "The release"), /^gh release edit .*--draft=false/);
});

Deno.test({
  name: `the chart of a release runs the image of the release${HELM.hint}`,
  ignore: HELM.isMissing,
  fn: async () => {
    const { jobs } = workflow("release.yml");
    const release = { GITHUB_REPOSITORY: "Some-Owner/Agent", GITHUB_REF_NAME: `v${denoJson.version}` };
    const folder = await Deno.makeTempDir();
    try {
      await bash(`cp -a k8s ${folder} && mkdir ${folder}/.ci ${folder}/dist`);
      await bash(`echo 'echo ${HELM.path}' > .ci/go-tool && chmod +x .ci/go-tool`, { cwd: folder });
      await bash(script(jobs, "The chart, for the image of this release"), { cwd: folder, env: release });
      const chart = `dist/k8s-agent-${denoJson.version}.tgz`;
      const values = "--set=agentId=a1,controlPlaneUrl=wss://control.example.com";
      const rendered = await bash(`${HELM.path} template agent ${chart} ${values}`, { cwd: folder });
      const deployment = (loadAll(rendered) as V1Deployment[]).find(({ kind }) => kind === "Deployment");
      const pushed = /^image=.*$/m.exec(script(jobs, "One name for both architectures"))?.[0];
      const image = await bash(`${pushed}; echo -n "$image"`, { env: release });
      assertEquals(image, `ghcr.io/some-owner/agent:v${denoJson.version}`);
      assertEquals(deployment?.spec?.template.spec?.containers[0]?.image, image);
      assertMatch(
        await bash("cat dist/SHA256SUMS", { cwd: folder }),
        new RegExp(`^[0-9a-f]{64}  ${chart.slice(5)}\n$`),
      );
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  },
});

Deno.test({
  name: `workflows pass actionlint${ACTIONLINT.hint}`,
  ignore: ACTIONLINT.isMissing,
  fn: async () => {
    const { code, stdout } = await run(ACTIONLINT.path, FILES.map((file) => `.github/workflows/${file}`));
    assertEquals(code, 0, stdout);
  },
});

function workflow(file: string): Workflow {
  return load(Deno.readTextFileSync(new URL(file, FOLDER))) as Workflow;
}

/** What the step of that name runs. */
function script(jobs: Workflow["jobs"], name: string): string {
  const steps = Object.values(jobs).flatMap((job) => job.steps ?? []);
  return steps.find((step) => step.name === name)?.run ?? "";
}

/** What a script prints, run as the workflows run theirs. */
async function bash(
  script: string,
  options: { cwd?: string; env?: Record<string, string> } = {},
): Promise<string> {
  const args = ["-e", "-o", "pipefail", "-c", script];
  const { code, stdout, stderr } = await new Deno.Command("bash", { args, ...options }).output();
  assertEquals(code, 0, new TextDecoder().decode(stderr));
  return new TextDecoder().decode(stdout);
}
