import { assertEquals } from "@std/assert";
import { rejectionCause } from "../../lib/status/causes.ts";
import { cleanMessage, lastWords, oneLine } from "../../lib/status/cluster_messages.ts";

/** Real messages of runtimes and controllers, and the part that says why. */
const MESSAGES: ReadonlyArray<[message: string, clean: string]> = [
  [
    'rpc error: code = NotFound desc = failed to pull and unpack image "docker.io/library/x:1": ' +
    'failed to resolve reference "docker.io/library/x:1": docker.io/library/x:1: not found',
    "not found",
  ],
  [
    'Back-off pulling image "x:1": ErrImagePull: failed to pull and unpack image "docker.io/library/x:1": ' +
    'failed to resolve reference "docker.io/library/x:1": pull access denied, repository does not exist',
    "pull access denied, repository does not exist",
  ],
  [
    'failed to pull and unpack image "r.example/x:1": failed to resolve reference "r.example/x:1": ' +
    'failed to do request: Head "https://r.example/v2/x/manifests/1": dial tcp: lookup r.example: no such host',
    'Head "https://r.example/v2/x/manifests/1": dial tcp: lookup r.example: no such host',
  ],
  [
    "initializing source docker://r.example/x:1: reading manifest 1 in r.example/x: manifest unknown",
    "manifest unknown",
  ],
  ["Error response from daemon: manifest for x:1 not found", "manifest for x:1 not found"],
  ['Failed to pull image "example.com/missing:1": not found', "not found"],
  ["failed to pull image example.com/missing:1: not found", "not found"],
  ['Back-off pulling image "x:1"', ""],
  ["ImagePullBackOff", ""],
  ['pods "s1-5c9d-x7k2p" is forbidden: exceeded quota: small', "exceeded quota: small"],
  [
    'MountVolume.SetUp failed for volume "pvc-1" : mount failed: exit status 32',
    "mount failed: exit status 32",
  ],
  [
    'failed to provision volume with StorageClass "gp3": rpc error: code = Internal desc = out of disks',
    "out of disks",
  ],
  [
    "Readiness probe failed: dial tcp 10.0.0.1:3000: connect: connection refused",
    "dial tcp 10.0.0.1:3000: connect: connection refused",
  ],
  ["  first line\n\tsecond\u0000 line ", "first line second line"],
  ["", ""],
];

for (const [message, clean] of MESSAGES) {
  Deno.test(`cleanMessage() reduces ${JSON.stringify(message.slice(0, 60))} to ${JSON.stringify(clean)}`, () => {
    assertEquals(cleanMessage(message), clean);
  });
}

Deno.test("oneLine() truncates long text of any characters", () => {
  assertEquals(oneLine("x".repeat(1_000_000)), `${"x".repeat(800)}…`);
  assertEquals(oneLine("\n".repeat(1_000_000)), "");
});

const REJECTIONS: ReadonlyArray<[reason: string, text: string]> = [
  ["Quota", "exceeded quota: small, requested: pods=1, used: pods=0, limited: pods=0"],
  ["Quota", "failed quota: small: must specify limits.memory for: session"],
  ["LimitRange", "maximum memory usage per Container is 1Gi, but limit is 2Gi"],
  ["LimitRange", "[minimum cpu usage per Pod is 1, but request is 250m]"],
  ["LimitRange", "memory max limit to request ratio per Container is 2, but provided ratio is 3.000000"],
  ["PodSecurity", 'violates PodSecurity "restricted:latest": runAsNonRoot != true'],
  [
    "AdmissionDown",
    'pods "p" is forbidden: error looking up service account ns/default: serviceaccount "default" not found',
  ],
  [
    "Forbidden",
    'pods is forbidden: User "system:serviceaccount:ns:agent" cannot list resource "pods" in API group "" in the namespace "ns"',
  ],
  [
    "Refused",
    'pods "p" is forbidden: unable to create new content in namespace ns because it is being terminated',
  ],
  ["Refused", "ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no desktops today"],
  ["Refused", 'admission webhook "policy.example.com" denied the request: no'],
  ["Refused", "no PriorityClass with name high was found"],
  ["AdmissionDown", 'Internal error occurred: failed calling webhook "w": connect: connection refused'],
  [
    "AdmissionDown",
    'Operation cannot be fulfilled on resourcequotas "gke-resource-quotas": the object has been modified; ' +
    "please apply your changes to the latest version and try again",
  ],
  ["AdmissionDown", "status unknown for quota: q1, resources: pods"],
  ["AdmissionDown", "not yet ready to handle request"],
];

for (const [reason, text] of REJECTIONS) {
  Deno.test(`rejectionCause() of ${JSON.stringify(text.slice(0, 50))} is ${reason}`, () => {
    assertEquals(rejectionCause(text), reason);
  });
}

Deno.test("lastWords() keeps the end of a log, without line breaks and colors", () => {
  assertEquals(lastWords("\u001b[32mok\u001b[0m\r\n\tbye\n"), "ok bye");
  assertEquals(lastWords(`${"x".repeat(5000)} why`), `…${"x".repeat(796)} why`);
  assertEquals(lastWords(" \n"), "");
});
