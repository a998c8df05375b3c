// Reads an object from standard input and prints, as a JSON array, what its custom resource's schema has against it. The first
// argument is the folder with node_modules.
//
// The schema lets unknown keys pass, as an API server drops them: so each value is also replaced by one of another type, which a
// schema that knows its key has to refuse.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const described = JSON.parse(readFileSync(0, 'utf8'));
const schemas = join(process.argv[2], 'node_modules/@kubernetes-models/prometheus-operator');
const module = join(schemas, described.apiVersion, `${described.kind}.js`);
const Model = (await import(pathToFileURL(module)))[described.kind];

const complaint = (object) => {
  try {
    new Model(object).validate();
  } catch (error) {
    return error.message;
  }
};

const complaints = [complaint(described)].filter(Boolean);
const visit = (object, path) => {
  for (const [key, value] of Object.entries(object)) {
    // A number in place of what is an object, an object in place of anything else.
    object[key] = typeof value === 'object' ? 1 : {};
    if (!complaint(described)) complaints.push(`${[...path, key].join('.')} is not in the schema`);
    object[key] = value;
    if (typeof value === 'object') visit(value, [...path, key]);
  }
};
if (!complaints.length) visit(described.spec, ['spec']);
console.log(JSON.stringify(complaints));
