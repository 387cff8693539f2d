/**
 * The pod of a template: security context, volumes, mounts and home volume. Pure.
 * @module
 */
import type { V1Volume, V1VolumeMount } from "@kubernetes/client-node";
import * as v from "valibot";
import * as s from "../common/schema.ts";
import { HOME_VOLUME, type TemplateSecurity, type TemplateStorage } from "../model/template.ts";
import { diskSize, templateQuantity } from "./resources.ts";

/** The home volume is `user-home` in StreamSpace's templates, and `home` in pods. */
const HOME_NAMES: readonly string[] = ["user-home", HOME_VOLUME];
const MAX_VOLUMES = 16;
const MAX_GROUPS = 32;
const MAX_CAPABILITIES = 64;
const VOLUME_NAME = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;
const CAPABILITY = /^[A-Z][A-Z_]{0,62}$/;
/** A normalized path, so that paths can be compared as text; Kubernetes allows no colon in it. */
const MOUNT_PATH = /^(?:\/(?!\.{1,2}(?:\/|$))[^:/\u2028\u2029]+)+$/;
const SUB_PATH = /^(?!\/)(?!(?:.*\/)?\.\.(?:\/|$)).+$/;
const ID = s.optional(s.integer(0, 2 ** 31 - 1));

const CAPABILITIES = s.fields({
  add: s.dropped(v.pipe(
    s.listOrEmpty(v.unknown(), Infinity),
    v.check((added) => added.length === 0, "must be empty: capabilities can only be dropped"),
  )),
  drop: s.listOrEmpty(s.matching(CAPABILITY, 'must be a capability such as "NET_RAW"'), MAX_CAPABILITIES),
});

/** `securityContext`. Fields that would give a session more rights than others are rejected, never dropped silently. */
export const SECURITY: s.Schema<TemplateSecurity> = v.pipe(
  s.fields({
    privileged: s.falseOnly(),
    allowPrivilegeEscalation: s.falseOnly(),
    procMount: v.optional(s.dropped(s.oneOf("Default"))),
    // Every session has this profile.
    seccompProfile: v.optional(s.dropped(v.pipe(
      v.unknown(),
      v.transform((profile) => s.isSet(profile) ? profile : undefined),
      v.optional(s.fields({ type: s.oneOf("RuntimeDefault") })),
    ))),
    runAsUser: ID,
    runAsGroup: ID,
    runAsNonRoot: s.optional(s.BOOLEAN),
    readOnlyRootFilesystem: s.optional(s.BOOLEAN),
    fsGroup: ID,
    supplementalGroups: s.optional(s.list(s.integer(0, 2 ** 31 - 1), MAX_GROUPS)),
    capabilities: s.optional(CAPABILITIES),
  }, "must not be set"),
  v.transform((security): TemplateSecurity => security),
);

const VOLUME = s.fields({
  name: s.documented(
    v.pipe(
      s.matching(VOLUME_NAME, "must be 1 to 63 lower-case letters, digits and hyphens"),
      v.check((name) => !HOME_NAMES.includes(name), s.shown("must not be the name of the home volume")),
    ),
    "A unique name; not `home` or `user-home`.",
  ),
  emptyDir: s.documented(
    s.fields({
      medium: s.optional(s.oneOf("Memory"), "`Memory`: a directory in memory. Default: on the node's disk."),
      sizeLimit: templateQuantity(
        { min: 1, minText: "1", max: 2 ** 50, maxText: "1Pi", example: "1Gi" },
        "The maximum size, such as `1Gi`.",
      ),
    }),
    "An empty directory.",
  ),
}, "must not be set: templates support emptyDir volumes only");

/** The volumes of a template: empty directories. */
export const VOLUMES: s.Schema<V1Volume[]> = v.pipe(
  s.list(s.documented(VOLUME, "A volume; only `emptyDir` is supported."), MAX_VOLUMES),
  s.unique("name"),
);

const MOUNT = v.pipe(
  s.fields({
    name: s.documented(s.text(), "`user-home` or `home` for the home volume, or one of `volumes`."),
    mountPath: s.documented(
      v.pipe(
        s.text(),
        v.check((path) => MOUNT_PATH.test(path), s.shown("must be a normalized absolute path below /")),
      ),
      "Absolute path in the container, without `//`, `.`, `..`, `:` or a `/` at the end.",
    ),
    mountPropagation: v.optional(s.dropped(s.oneOf("None"))),
    subPath: s.optional(
      v.pipe(
        s.text(),
        v.check((path) => SUB_PATH.test(path), s.shown('must be a relative path without ".."')),
      ),
      "Path below the root of the volume.",
    ),
    readOnly: s.optional(s.BOOLEAN, "Whether the mount is read-only."),
  }),
  v.transform(({ name, ...mount }) => ({ name: HOME_NAMES.includes(name) ? HOME_VOLUME : name, ...mount })),
);

/** The mounts of the home volume and of a template's volumes. */
export const MOUNTS: s.Schema<V1VolumeMount[]> = v.pipe(
  s.list(s.documented(MOUNT, "A mount."), MAX_VOLUMES),
  s.unique("mountPath"),
);

/** The size of `/dev/shm`. */
export const SHM_SIZE = templateQuantity(
  { min: 2 ** 20, minText: "1Mi", max: 2 ** 50, maxText: "1Pi", example: "1Gi" },
  "The size of `/dev/shm`, a directory in memory that browsers need. It counts towards the memory of the session and " +
    "is at most as large. Default: that of the container runtime, usually `64Mi`.",
);

/** `storage`: a new home volume, where it differs from the settings. */
export const STORAGE: s.Schema<TemplateStorage> = s.fields({
  size: diskSize("The size of a new home volume."),
  storageClass: s.optional(s.objectName(), "The storage class of a new home volume."),
  accessMode: s.optional(
    s.oneOf("ReadWriteOnce", "ReadWriteOncePod", "ReadWriteMany"),
    "The access mode of a new home volume.",
  ),
});
