import { assertEquals } from "@std/assert";
import type { KubernetesObject, V1Role } from "@kubernetes/client-node";
import { loadAll } from "js-yaml";
import { PERMISSIONS } from "../../lib/doctor/permissions.ts";

const FILES = ["rbac.yaml", "components/port-forward/role.yaml"];

Deno.test("PERMISSIONS are exactly those of the shipped Roles", async () => {
  const texts = await Promise.all(
    FILES.map((file) => Deno.readTextFile(new URL(file, new URL("../../k8s/", import.meta.url)))),
  );
  const roles = texts.flatMap((text) => loadAll(text) as KubernetesObject[])
    .filter((object): object is V1Role => object.kind === "Role");
  const granted = roles.flatMap(({ rules = [] }) => rules).flatMap((
    { apiGroups = [], resources = [], resourceNames = [""], verbs },
  ) =>
    apiGroups.flatMap((group) =>
      resources.flatMap((resource) =>
        resourceNames.flatMap((name) => verbs.map((verb) => [verb, group, resource, name].join(" ")))
      )
    )
  );
  const checked = PERMISSIONS.flatMap(({ group = "", resource, name = "", verbs }) =>
    verbs.map((verb) => [verb, group, resource, name].join(" "))
  );
  assertEquals(checked.toSorted(), granted.toSorted());
});
