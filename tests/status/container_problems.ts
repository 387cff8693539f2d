/**
 * Sessions with a problem of a container.
 * @module
 */
import {
  container,
  EARLY,
  ended,
  events,
  objects,
  pod,
  type ProblemCase,
  RUNNING,
  SIDECAR,
  time,
  waiting,
} from "./session_fixtures.ts";

export const CONTAINER_PROBLEMS: readonly ProblemCase[] = [
  [
    "an invalid image name",
    objects([pod({ containers: [waiting("InvalidImageName", "bad", { name: "other", image: "A B" })] })]),
    "InvalidImage",
    'image name "A B" is invalid',
  ],
  [
    "an image that must not be pulled",
    objects([pod({ containers: [waiting("ErrImageNeverPull")] })]),
    "ImageNeverPulled",
    'image "x/y:1" is not on the node, and its pull policy is Never',
  ],
  [
    "a missing image, named as in the spec",
    objects([
      pod({
        containers: [
          waiting("ErrImagePull", "rpc error: code = NotFound desc = docker.io/x/y:1: not found", {
            image: "docker.io/x/y:1",
          }),
        ],
      }),
    ]),
    "ImagePull",
    'image "x/y:1" cannot be pulled: not found',
  ],
  [
    "a pull in back-off, with the registry's error in an event",
    objects([pod({ containers: [waiting("ImagePullBackOff", 'Back-off pulling image "x/y:1"')] })], {
      events: events([
        "Failed",
        'Failed to pull image "x/y:1": rpc error: code = Unknown desc = pull access denied',
      ]),
    }),
    "ImagePull",
    'image "x/y:1" cannot be pulled: pull access denied',
  ],
  [
    "a pull in back-off, and an event of another pod",
    objects([pod({ containers: [waiting("ImagePullBackOff", 'Back-off pulling image "x/y:1"')] })], {
      events: events(["Failed", 'Failed to pull image "x/y:1": denied', "uid-other"]),
    }),
    "ImagePull",
    'image "x/y:1" cannot be pulled: ImagePullBackOff',
  ],
  [
    "a failing init container",
    objects([pod({
      initContainers: [
        waiting("ImagePullBackOff", "denied", { name: "init", image: "example.com/init:1" }),
      ],
      containers: [waiting("PodInitializing")],
    })]),
    "ImagePull",
    'image "example.com/init:1" cannot be pulled: denied',
  ],
  [
    "a missing Secret",
    objects([pod({ containers: [waiting("CreateContainerConfigError", 'secret "x" not found')] })]),
    "ContainerConfig",
    'its container cannot be created: secret "x" not found',
  ],
  ...["CreateContainerError", "RunContainerError", "PostStartHookError"].map(
    (reason): ProblemCase => [
      reason,
      objects([pod({ containers: [waiting(reason, "no such file")] })]),
      "CannotRun",
      "its container cannot be started: no such file",
    ],
  ),
  [
    "a missing command, in back-off",
    objects([pod({
      containers: [waiting("CrashLoopBackOff", "back-off", {
        restartCount: 2,
        lastState: ended("StartError", {
          exitCode: 128,
          message: 'exec: "nope": executable file not found',
        }),
      })],
    })]),
    "CannotRun",
    'its container cannot be started: exit code 128: exec: "nope": executable file not found',
  ],
  [
    "a crashing container with a termination message",
    objects([pod({
      containers: [waiting("CrashLoopBackOff", "back-off", {
        restartCount: 3,
        lastState: ended("Error", { exitCode: 1, message: "cannot open display\n" }),
      })],
    })]),
    "CrashLoop",
    "its container crashed: exit code 1: cannot open display",
  ],
  [
    "a container that completed before it was ready",
    objects([pod({ containers: [container({ state: ended("Completed", { exitCode: 0 }) })] })]),
    "CrashLoop",
    "its container ended by itself: exit code 0; its image may not serve a desktop",
  ],
  [
    "a container that completed again and again, with a message",
    objects([pod({
      containers: [waiting("CrashLoopBackOff", "back-off 10s", {
        restartCount: 2,
        lastState: ended("Completed", { exitCode: 0, message: "nothing to do" }),
      })],
    })]),
    "CrashLoop",
    "its container ended by itself: exit code 0: nothing to do; its image may not serve a desktop",
  ],
  [
    "a container that completed after it had served its user",
    objects([pod({
      containers: [waiting("CrashLoopBackOff", "back-off 10s", {
        restartCount: 1,
        lastState: {
          terminated: {
            reason: "Completed",
            exitCode: 0,
            startedAt: time(EARLY),
            finishedAt: time("2026-01-01T08:00:00Z"),
          },
        },
      })],
    })]),
    "CrashLoop",
    "its container ended by itself: exit code 0",
  ],
  [
    "an injected container that completed",
    objects([pod({
      containers: [
        container({ name: "other", state: ended("Completed", { exitCode: 0 }) }),
        container({ state: RUNNING, ready: true }),
      ],
    })]),
    "CrashLoop",
    'its container "other" ended by itself: exit code 0',
  ],
  [
    "a crashing container with the end of its log",
    objects([pod({
      containers: [waiting("CrashLoopBackOff", "back-off", {
        restartCount: 2,
        lastState: ended("Error", {
          exitCode: 1,
          message: `${"[migrations] done\n".repeat(100)}\u001b[31mXvnc: cannot bind\u001b[0m\r\n`,
        }),
      })],
    })]),
    "CrashLoop",
    `its container crashed: exit code 1: …${
      `${"[migrations] done ".repeat(100)}Xvnc: cannot bind`.slice(-800)
    }`,
  ],
  [
    "a crashing container without a termination state",
    objects([pod({ containers: [waiting("CrashLoopBackOff", "back-off 10s", { restartCount: 1 })] })]),
    "CrashLoop",
    "its container crashed: back-off 10s",
  ],
  [
    "a container that runs between two crashes",
    objects([pod({ containers: [container({ state: RUNNING, restartCount: 2 })] })]),
    "CrashLoop",
    "its container crashed",
  ],
  [
    "a container that ran out of memory",
    objects([pod({
      containers: [
        container({ state: RUNNING, restartCount: 2, lastState: ended("OOMKilled", { exitCode: 137 }) }),
      ],
    })]),
    "OOMKilled",
    "its container ran out of memory (OOMKilled): its limit is 512Mi",
  ],
  [
    "a container that was killed because of its startup probe",
    objects([
      pod({
        containers: [
          waiting("CrashLoopBackOff", "back-off", {
            restartCount: 2,
            lastState: ended("Error", { exitCode: 137 }),
          }),
        ],
      }),
    ], { events: events(["Unhealthy", "Startup probe failed: dial tcp 10.0.0.1:3000: connection refused"]) }),
    "CrashLoop",
    "its container crashed: exit code 137: Startup probe failed: dial tcp 10.0.0.1:3000: connection refused",
  ],
  [
    "a container that was killed because of its startup probe, with the end of its log",
    objects([
      pod({
        containers: [
          waiting("CrashLoopBackOff", "back-off", {
            restartCount: 2,
            lastState: ended("Error", { exitCode: 137, message: "waiting for the X server\n" }),
          }),
        ],
      }),
    ], {
      events: events(
        ["Unhealthy", "Startup probe failed: connection refused", "uid-p1", "session"],
        ["Unhealthy", "Startup probe failed: no", "uid-p1", "other"],
      ),
    }),
    "CrashLoop",
    "its container crashed: exit code 137: Startup probe failed: connection refused; waiting for the X server",
  ],
  [
    "a killed container with a failed readiness probe",
    objects([
      pod({
        containers: [
          waiting("CrashLoopBackOff", "back-off", {
            restartCount: 2,
            lastState: ended("Error", { exitCode: 143 }),
          }),
        ],
      }),
    ], { events: events(["Unhealthy", "Readiness probe failed: connection refused"]) }),
    "CrashLoop",
    "its container crashed: exit code 143",
  ],
  [
    "an injected container without a memory limit that ran out of memory",
    objects([
      pod({ containers: [container({ name: "other", state: ended("OOMKilled", { exitCode: 137 }) })] }),
    ]),
    "OOMKilled",
    'its container "other" ran out of memory (OOMKilled): its node has no memory left',
  ],
  [
    "an injected container that keeps crashing",
    objects([pod({
      initContainers: [SIDECAR],
      containers: [
        waiting("CrashLoopBackOff", "back-off", {
          name: "log-shipper",
          restartCount: 2,
          lastState: ended("Error", { exitCode: 1 }),
        }),
        container({ state: RUNNING }),
      ],
    })]),
    "CrashLoop",
    'its container "log-shipper" crashed: exit code 1',
  ],
  [
    "an injected init container with a missing Secret",
    objects([pod({
      initContainers: [
        waiting("CreateContainerConfigError", 'secret "x" not found', { name: "init" }),
      ],
      containers: [waiting("PodInitializing")],
    })]),
    "ContainerConfig",
    'its init container "init" cannot be created: secret "x" not found',
  ],
  [
    "an injected sidecar container that keeps crashing",
    objects([pod({
      sidecars: ["istio-proxy"],
      initContainers: [waiting("CrashLoopBackOff", "back-off", {
        name: "istio-proxy",
        restartCount: 2,
        lastState: ended("Error", { exitCode: 1 }),
      })],
      containers: [waiting("PodInitializing")],
    })]),
    "CrashLoop",
    'its sidecar container "istio-proxy" crashed: exit code 1',
  ],
];
