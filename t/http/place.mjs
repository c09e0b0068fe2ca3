#!/usr/bin/env node
// Does what runs here run with the files of http/?  They are taken as they are; only the files place-* are written anew, with
// other paths and ports, and PostgREST is told of those by its environment.

import { readFileSync, readdirSync } from 'node:fs';
import path from 'node:path';

import { assert, env, finish, postgrest, root, test, useEnv } from './lib.mjs';

useEnv();
const delivered = (name) => readFileSync(path.join(root, 'http', name), 'utf8');
const deployed = (name) => readFileSync(path.join(env.PGHOST, name), 'utf8');
const files = readdirSync(path.join(root, 'http')).filter((name) => name.endsWith('.conf'));

for (const name of files.filter((one) => !one.startsWith('place-')))
	await test(`${name} is the one of http/`, () => assert.equal(deployed(name), delivered(name)));

// What a file says, without what differs from place to place.
const statements = (text) => text.replace(/#.*/g, '').replace(/\s+/g, ' ').split(/(?<=[;{}])/).map((one) => one.trim())
	.filter(Boolean).map((one) => one.replace(/(?<= |unix:)[\w./-]*[./][\w./-]*(?=[; ])/g, (word) => (/^[\d.]+$/.test(word) ? word : 'PLACE')).replace(/127\.0\.0\.1:\d+/, '127.0.0.1:PORT'));
for (const name of files.filter((one) => one.startsWith('place-') && one !== 'place-primary.conf'))
	await test(`${name} says what that of http/ says, for this place`, () => {
		// no nginx of root's here; the console is on; and nginx makes directories that only root can make where they are by default
		const said = statements(delivered(name).replace('# include nginx-console', 'include nginx-console')).filter((one) => !one.startsWith('user '));
		const here = statements(deployed(name)).filter((one) => !/^\w+_temp_path /.test(one));
		assert.ok(said.length > 0);
		assert.deepEqual(here, said);
	});

await test('PostgREST has its file, and only its places from elsewhere', () => {
	const environment = Object.entries(postgrest().environment).map(([name, value]) => [name.replace('PGRST_', ''), value]);
	const file = Object.fromEntries([...delivered('postgrest.conf').matchAll(/^([\w-]+) = "?(.*?)"?$/gm)].map(([, name, value]) => [name.replaceAll('-', '_').toUpperCase(), value]));
	const without = (value) => value.replaceAll(env.PGHOST, '').replace('/run/postgresql', '').replace(/\/(run|etc)\/unleash_tokens/, '');
	assert.deepEqual(environment.map(([name]) => name).sort(), ['DB_URI', 'JWT_SECRET', 'SERVER_UNIX_SOCKET']);
	for (const [name, value] of environment) assert.equal(without(value), without(file[name]), name);
});

finish();
