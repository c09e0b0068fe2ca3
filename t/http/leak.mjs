#!/usr/bin/env node
// No secret ever comes into a log, nor into the database's files.  Each place that is searched also has a control: something
// that must be found there, or the search would prove nothing.

import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';

import { JSON_TYPE, failBehindTheGateway, failInTheMiddle, reconnect, sendInUrlsOfPostgrest, sendSecretsEverywhere, sendSecretsToPostgrest } from '../leaks/requests.mjs';
import { FORMS, Found, assertAbsent, know, plant, search, secretCount } from '../leaks/secrets.mjs';
import { TOKENS, assert, create, env, finish, logFile, minimal, poll, run, send, setSystem, sql, test, useEnv } from './lib.mjs';

useEnv();
know(env.ADMIN_TOKEN, 'the first admin token');
know(env.SQL_JWT, 'the JWT');

const read = (name) => readFileSync(logFile(name));
const contains = (name, text) => () => read(name).includes(text);
const inLog = (name) => new Found().inFiles(logFile(name));

// ---- Everything the server can log, it logs -------------------------------------------------------------------------

const settings = { log_statement: 'all', log_min_duration_statement: '0', log_parameter_max_length: '-1', log_parameter_max_length_on_error: '-1',
	log_min_error_statement: 'debug5', log_error_verbosity: 'verbose', log_duration: 'on', log_min_messages: 'debug1', debug_print_plan: 'on' };
const undo = [];
for (const [name, value] of Object.entries(settings))
	if ((await sql(`SHOW ${name}`)) !== value) undo.push(await setSystem(name, value));

// Connections of the pool take settings note of a reload at their next statement: until all log, nothing is proven.
await poll('the statements of requests are logged', 10000, async () => {
	const marker = `${run} seen ${Math.random()}`;
	await Promise.all(Array.from({ length: 20 }, () => create(minimal({ tokenName: marker }))));
	return /SELECT "unleash_tokens"\."rest_api"|"rest_api"\(\$1\)|rest_api/.test(read('postgresql').toString('latin1'));
});

const postgrestCanary = plant('the URL of a request that PostgREST could not answer');
await test('requests with secrets in every place are answered', async () => {
	const client = await sendSecretsEverywhere();
	await sendSecretsToPostgrest(client);
	await sendInUrlsOfPostgrest(client);
	await failInTheMiddle();
	await failBehindTheGateway(postgrestCanary);
	assert.ok(secretCount() > 45, `only ${secretCount()} secrets`);
});

// ---- The searches ---------------------------------------------------------------------------------------------------

await test('control: the search finds a canary in each form, and base64 wherever in it the key begins', () => {
	const canary = plant('a text');
	for (const [form, write] of Object.entries(FORMS)) assert.ok(search(`some line ${write(Buffer.from(canary))} more`).canaries.has(canary), form);
	for (const kind of ['base64', 'base64url'])
		for (let shift = 0; shift < 3; shift++) assert.ok(search(Buffer.from(`${'-'.repeat(shift)}${canary}-`).toString(kind)).canaries.has(canary), `${kind} ${shift}`);
	assert.equal(search('some line').canaries.size, 0);
});

await test('PostgreSQL: no secret in the log, though it logs everything', async () => {
	// what the superuser types is logged: the log is the right one and is written with its parameters
	const marker = `${run}-postgresql-control`;
	await sql(`SELECT :'marker'`, { marker });
	await sql('PREPARE leak_control(text) AS SELECT $1');
	await sql(`EXECUTE leak_control(:'marker')`, { marker });
	await poll('the control is logged', 10000, contains('postgresql', marker));
	const log = read('postgresql');
	for (const expected of ['rest_api', 'create_api_token', 'validate_api_token', 'canceling statement due to user request'])
		assert.ok(log.includes(expected), `the log does not hold "${expected}"`);
	assertAbsent(inLog('postgresql'));
});

await test('PostgREST: no secret in its log', async () => {
	await poll('the control is logged', 10000, () => inLog('postgrest').canaries.has(postgrestCanary));
	assertAbsent(inLog('postgrest'));
});

await test('nginx: no secret in the access log', async () => {
	// the id in a refusal of nginx's own is that of its line in the log
	const { id } = (await send('GET', '/%')).json;
	await poll('the control is logged', 10000, contains('nginx.access', id));
	assert.ok(contains('nginx.access', `${TOKENS}/***`)());
	assertAbsent(inLog('nginx.access'));
});

await test('nginx: no secret in the error log', async () => {
	// the end of a worker is logged at the level in force; the master starts another
	const children = (pid) => readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ').filter(Boolean);
	const master = readFileSync(path.join(env.PGHOST, 'nginx.pid'), 'utf8').trim();
	const [worker] = children(master);
	process.kill(Number(worker), 'SIGKILL');
	await poll('the control is logged', 10000, () => ['nginx.error', 'nginx'].some((name) => contains(name, `worker process ${worker} exited on signal 9`)()));
	await poll('another worker answers', 10000, async () => (await create()).status === 201);
	for (const name of ['nginx.error', 'nginx']) assertAbsent(inLog(name));
});

await test('nothing was spooled to disk by nginx', () => {
	const files = (dir) => readdirSync(dir, { withFileTypes: true }).flatMap((e) => (e.isDirectory() ? files(path.join(dir, e.name)) : [path.join(dir, e.name)]));
	assert.deepEqual(files(path.join(env.PGHOST, 'tmp')), []);
});

await test('the files of the database hold no secret: tables, indexes, WAL', async () => {
	const canary = plant('the name of a token');
	await create(minimal({ tokenName: canary }));
	await sql('CHECKPOINT');
	const dir = await sql('SHOW data_directory');
	for (const place of ['base', 'pg_wal']) assert.ok(new Found().inFiles(path.join(dir, place)).canaries.has(canary), `the control is not in ${place}`);
	assertAbsent(new Found().inFiles(dir));
});

await test('control: without the settings of roles.sql the same log would hold the key', async () => {
	const key = `${run}-key-without-roles-sql`;
	assert.ok(!read('postgresql').includes(key));
	await sql('ALTER ROLE unleash_tokens_authenticator RESET log_parameter_max_length');
	await sql('ALTER ROLE unleash_tokens_authenticator RESET log_error_verbosity');
	try {
		await reconnect();
		await poll('the key is logged', 10000, async () => {
			await create(minimal(), { Authorization: key, ...JSON_TYPE });
			return read('postgresql').includes(key);
		});
	} finally {
		await sql('ALTER ROLE unleash_tokens_authenticator SET log_parameter_max_length = 0');
		await sql('ALTER ROLE unleash_tokens_authenticator SET log_error_verbosity = terse');
		await reconnect();
	}
});

for (const back of undo.reverse()) await back();
finish();
