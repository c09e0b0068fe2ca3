#!/usr/bin/env node
// META.json in an unpacked zip: by PGXN's specification, and by what else is in the zip.  Argument: its directory.

import { existsSync, readFileSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';

const Ajv = createRequire(new URL('../openapi/package.json', import.meta.url))('ajv/dist/2020').default;
const dir = process.argv[2];
const read = (name) => JSON.parse(readFileSync(name, 'utf8'));
const schema = read(new URL('meta.schema.json', import.meta.url));
const validate = new Ajv({ allErrors: true, strict: false }).compile(schema);
const counts = { passed: 0, failed: 0 };

function check(text, problems) {
	console.log(`${problems.length ? 'not ok' : 'ok'} - ${text}`);
	for (const problem of problems) console.log(`    ${problem}`);
	counts[problems.length ? 'failed' : 'passed']++;
}
const faults = (meta) => (validate(meta) ? [] : validate.errors.map((e) => `${e.instancePath} ${e.message}`));

const meta = read(path.join(dir, 'META.json'));
check("META.json is as PGXN's specification has it", faults(meta));

// the judge judges: without each of these, or with something else in its place, it would be refused
const wrong = {
	'without a version': { ...meta, version: undefined },
	'a version of two numbers': { ...meta, version: '2.0' },
	'an unknown license': { ...meta, license: 'ours' },
	'provides nothing': { ...meta, provides: {} },
	'an unknown key': { ...meta, extra: 1 },
	'a requirement that is no version': { ...meta, prereqs: { runtime: { requires: { PostgreSQL: 'new' } } } },
};
check('and what is not is refused', Object.keys(wrong).filter((name) => faults(JSON.parse(JSON.stringify(wrong[name]))).length === 0));

check('the files that it names are in the zip',
	Object.values(meta.provides).flatMap(({ file, docfile }) => [file, docfile]).filter((file) => file && !existsSync(path.join(dir, file))));
check('the directory is named as PGXN wants it', path.basename(path.resolve(dir)) === `${meta.name}-${meta.version}` ? [] : [path.basename(dir)]);
check('README and LICENSE go along, and nothing that is built', [
	...['README.md', 'LICENSE', 'Makefile', 'unleash_tokens.control'].filter((file) => !statSync(path.join(dir, file), { throwIfNoEntry: false })),
	...['.ci', '.gitignore', '.git'].filter((file) => existsSync(path.join(dir, file))),
]);
console.log(`${counts.passed} passed, ${counts.failed} failed`);
process.exit(counts.failed ? 1 : 0);
