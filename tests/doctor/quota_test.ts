import { assertEquals } from "@std/assert";
import { loadConfig } from "../../lib/cli/config.ts";
import { usageOf } from "../../lib/doctor/quota.ts";
import { trialObjects } from "../../lib/doctor/trial_session.ts";
import type { Config } from "../../lib/cli/options.ts";

function settings(...args: string[]): Config {
  const required = ["--agent-id=a1", "--control-plane-url=ws://localhost"];
  const invocation = loadConfig({
    args: [...required, ...args],
    env: () => undefined,
    readFile: () => "",
  });
  if (invocation.kind !== "run") {
    throw new Error(`Cannot load a configuration: command is ${invocation.kind}`);
  }
  return invocation.config;
}

/** The built-in template requests 2Gi and one core. */
const POD = {
  "count/deployments.apps": 1,
  "pods": 1,
  "count/pods": 1,
  "count/replicasets.apps": 1,
  "memory": 2 * 2 ** 30,
  "requests.memory": 2 * 2 ** 30,
  "cpu": 1,
  "requests.cpu": 1,
  "limits.memory": 2 * 2 ** 30,
  "limits.cpu": 1,
  "services": 1,
  "count/services": 1,
};
const CLASS = "fast.storageclass.storage.k8s.io";

Deno.test("usageOf() returns everything that a quota counts for a session without a home volume", () => {
  const objects = trialObjects("firefox", settings("--home-strategy=none"));
  assertEquals(Object.fromEntries(usageOf(objects)), POD);
});

Deno.test("usageOf() returns everything that a quota counts for a session with home volume, network policy and GPU", () => {
  const args = [
    "--storage-class=fast",
    "--storage-size=10Gi",
    "--ingress-namespaces=edge",
    "--extended-resources={nvidia.com/gpu: 1}",
  ];
  assertEquals(Object.fromEntries(usageOf(trialObjects("firefox", settings(...args)))), {
    ...POD,
    "nvidia.com/gpu": 1,
    "requests.nvidia.com/gpu": 1,
    "limits.nvidia.com/gpu": 1,
    "persistentvolumeclaims": 1,
    "count/persistentvolumeclaims": 1,
    "requests.storage": 10 * 2 ** 30,
    [`${CLASS}/requests.storage`]: 10 * 2 ** 30,
    [`${CLASS}/persistentvolumeclaims`]: 1,
    "count/networkpolicies.networking.k8s.io": 1,
  });
});
