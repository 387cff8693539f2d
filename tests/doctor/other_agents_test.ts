import { assertEquals } from "@std/assert";
import type { V1Container } from "@kubernetes/client-node";
import { podSetting } from "../../lib/doctor/other_agents.ts";

const UNSET = { isKnown: true, value: undefined };
const UNKNOWN = { isKnown: false };

function known(value: string) {
  return { isKnown: true, value };
}

const CASES: ReadonlyArray<[name: string, container: Partial<V1Container>, setting: unknown]> = [
  ["is not set", {}, UNSET],
  ["is a variable", { env: [{ name: "LEADER_ELECTION", value: "1" }] }, known("1")],
  ["is an empty variable", { env: [{ name: "LEADER_ELECTION", value: "" }] }, UNSET],
  ["is a switch among the arguments", { args: ["--leader-election"] }, known("true")],
  [
    "is a flag with a value in the command",
    { command: ["k8s-agent", "--leader-election=false"] },
    known("false"),
  ],
  [
    "is a flag and a variable",
    { args: ["--leader-election=true"], env: [{ name: "LEADER_ELECTION", value: "false" }] },
    known("true"),
  ],
  [
    "is a variable beside those of a ConfigMap",
    { env: [{ name: "LEADER_ELECTION", value: "true" }], envFrom: [{ configMapRef: { name: "k8s-agent" } }] },
    known("true"),
  ],
  ["may be in a ConfigMap", { envFrom: [{ configMapRef: { name: "k8s-agent" } }] }, UNKNOWN],
  [
    "is in a ConfigMap",
    { env: [{ name: "LEADER_ELECTION", valueFrom: { configMapKeyRef: { name: "a", key: "b" } } }] },
    UNKNOWN,
  ],
  ["may be in a file of a flag", { args: ["--config", "/etc/agent.yaml"] }, UNKNOWN],
  [
    "may be in a file of a variable",
    { env: [{ name: "CONFIG", value: "/etc/agent.yaml" }] },
    UNKNOWN,
  ],
];

for (const [name, container, expected] of CASES) {
  Deno.test(`podSetting() reads a setting that ${name}`, () => {
    const pod = { spec: { containers: [{ name: "k8s-agent", ...container }] } };
    assertEquals<unknown>(podSetting(pod, "leaderElection"), expected);
  });
}
