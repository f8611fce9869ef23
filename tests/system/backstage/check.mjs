// Applies Backstage's own rules to the entities of one file: node check.mjs catalog-info.yaml
// Prints `kind:namespace/name` of each entity; ends with an error that says what is refused.
import { readFileSync } from "node:fs";
import {
  DefaultNamespaceEntityPolicy,
  EntityPolicies,
  FieldFormatEntityPolicy,
  NoForeignRootFieldsEntityPolicy,
  SchemaValidEntityPolicy,
  componentEntityV1alpha1Validator,
  stringifyEntityRef,
} from "@backstage/catalog-model";
import { parseAllDocuments } from "yaml";

const policy = EntityPolicies.allOf([
  new SchemaValidEntityPolicy(),
  new DefaultNamespaceEntityPolicy(),
  new NoForeignRootFieldsEntityPolicy(),
  new FieldFormatEntityPolicy(),
]);

for (const document of parseAllDocuments(readFileSync(process.argv[2], "utf8"))) {
  if (document.errors.length > 0) throw document.errors[0];
  const entity = await policy.enforce(document.toJS());
  if (!(await componentEntityV1alpha1Validator.check(entity))) {
    throw new Error(`${stringifyEntityRef(entity)} is no Component`);
  }
  console.log(stringifyEntityRef(entity));
}
