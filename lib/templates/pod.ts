/**
 * The pod of a template: security context, volumes and home. What would give a session more rights than others is rejected by its path, never
 * dropped silently. Pure.
 * @module
 */
import type { V1Volume, V1VolumeMount } from "@kubernetes/client-node";
import * as v from "valibot";
import {
  documented,
  falseOnly,
  fields,
  HIDDEN,
  integer,
  isSet,
  list,
  listOrEmpty,
  matching,
  objectName,
  oneOf,
  type Schema,
  shown,
  text,
  unique,
} from "../common/schema.ts";
import { HOME_VOLUME, type TemplateSecurity, type TemplateStorage } from "../model/template.ts";
import { diskSize, templateQuantity } from "./resources.ts";

/** The names of the home volume: the one that StreamSpace's templates use, and that of the volume in the pod. */
export const HOME_NAMES: readonly string[] = ["user-home", HOME_VOLUME];
const MAX_VOLUMES = 16;
const MAX_GROUPS = 32;
const MAX_CAPABILITIES = 64;
const MAX_ID = 2 ** 31 - 1;
const VOLUME_NAME = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;
const CAPABILITY = /^[A-Z][A-Z_]{0,62}$/;
/** A normalized path, so that paths can be compared as text; Kubernetes allows no colon in it. */
const MOUNT_PATH = /^(?:\/(?!\.{1,2}(?:\/|$))[^:/\u2028\u2029]+)+$/;
const SUB_PATH = /^(?!\/)(?!(?:.*\/)?\.\.(?:\/|$)).+$/;

const ID: Schema<number> = integer(0, MAX_ID);
const BOOLEAN: Schema<boolean> = v.boolean(shown("must be true or false"));

const CAPABILITIES = v.pipe(
  fields({
    add: v.pipe(
      listOrEmpty(v.unknown(), Infinity),
      v.check((added) => added.length === 0, "must be empty: capabilities can only be dropped"),
      v.transform(() => undefined),
      v.metadata(HIDDEN),
    ),
    drop: listOrEmpty(matching(CAPABILITY, 'must be a capability such as "NET_RAW"'), MAX_CAPABILITIES),
  }),
  v.transform(({ drop }) => ({ drop })),
);

/** Accepts the default only, which is what every session has; it is not part of the output. */
const SECCOMP_PROFILE = v.pipe(
  v.unknown(),
  v.transform((profile) => isSet(profile) ? profile : undefined),
  v.optional(fields({ type: oneOf("RuntimeDefault") })),
  v.transform(() => undefined),
  v.metadata(HIDDEN),
);

/** `securityContext`: what a template may say about the rights of a session's processes. */
export const SECURITY: Schema<TemplateSecurity> = v.pipe(
  fields({
    privileged: falseOnly(),
    allowPrivilegeEscalation: falseOnly(),
    procMount: v.optional(v.pipe(oneOf("Default"), v.transform(() => undefined), v.metadata(HIDDEN))),
    seccompProfile: v.optional(SECCOMP_PROFILE),
    runAsUser: v.optional(ID),
    runAsGroup: v.optional(ID),
    runAsNonRoot: v.optional(BOOLEAN),
    readOnlyRootFilesystem: v.optional(BOOLEAN),
    fsGroup: v.optional(ID),
    supplementalGroups: v.optional(list(ID, MAX_GROUPS)),
    capabilities: v.optional(CAPABILITIES),
  }, "must not be set"),
  v.transform((security): TemplateSecurity => security),
);

const VOLUME_NAME_FIELD = v.pipe(
  matching(VOLUME_NAME, "must be 1 to 63 lower-case letters, digits and hyphens"),
  v.maxLength(63),
  v.check((name) => !HOME_NAMES.includes(name), shown("must not be the name of the home volume")),
  v.description("A unique name; not `home` or `user-home`."),
);

const VOLUME = fields({
  name: VOLUME_NAME_FIELD,
  emptyDir: v.pipe(
    fields({
      medium: v.optional(documented(
        oneOf("Memory"),
        "`Memory`: a directory in memory. Default: on the node's disk.",
      )),
      sizeLimit: v.optional(templateQuantity(
        { min: 1, max: 2 ** 50, minText: "1", maxText: "1Pi", example: "1Gi" },
        "The maximum size, such as `1Gi`.",
      )),
    }),
    v.description("An empty directory."),
  ),
}, "must not be set: templates support emptyDir volumes only");

/** The volumes of a template: empty directories. */
export const VOLUMES: Schema<V1Volume[]> = v.pipe(
  list(documented(VOLUME, "A volume; only `emptyDir` is supported."), MAX_VOLUMES),
  unique("name"),
);

const MOUNT = v.pipe(
  fields({
    name: documented(text(), "`user-home` or `home` for the home volume, or one of `volumes`."),
    mountPath: v.pipe(
      text(),
      v.check((path) => MOUNT_PATH.test(path), shown("must be a normalized absolute path below /")),
      v.description("Absolute path in the container, without `//`, `.`, `..`, `:` or a `/` at the end."),
    ),
    mountPropagation: v.optional(v.pipe(
      oneOf("None"),
      v.transform(() => undefined),
      v.metadata(HIDDEN),
    )),
    subPath: v.optional(v.pipe(
      text(),
      v.check((path) => SUB_PATH.test(path), shown('must be a relative path without ".."')),
      v.description("Path below the root of the volume."),
    )),
    readOnly: v.optional(documented(BOOLEAN, "Whether the mount is read-only.")),
  }),
  v.transform(({ name, ...mount }) => ({ name: HOME_NAMES.includes(name) ? HOME_VOLUME : name, ...mount })),
);

/** The mounts of the home and of a template's volumes. */
export const MOUNTS: Schema<V1VolumeMount[]> = v.pipe(
  list(documented(MOUNT, "A mount."), MAX_VOLUMES),
  unique("mountPath"),
);

/** `storage`: the home volume, where it differs from the agent's settings. */
export const STORAGE: Schema<TemplateStorage> = fields({
  size: v.optional(diskSize("The size of a new home volume.")),
  storageClass: v.optional(documented(objectName(), "The storage class of a new home volume.")),
  accessMode: v.optional(documented(
    oneOf("ReadWriteOnce", "ReadWriteOncePod", "ReadWriteMany"),
    "The access mode of a new home volume.",
  )),
});
