#!/usr/bin/env node
// No secret ever comes into a log, nor into the database's files.  Each place that is searched also has a control: something
// that must be found there, or the search would prove nothing.

import { readdirSync, readFileSync, statSync } from 'node:fs';
import { rename } from 'node:fs/promises';
import path from 'node:path';

import {
	SECRET, TOKENS, assert, assertCreated, cancelWaiting, create, env, finish, jsonKeyed, keyed, logFile, minimal, poll, requestBytes, exchange, rest,
	run, send, serveDir, setSystem, sql, test, useEnv, waiting,
} from './lib.mjs';

useEnv();
const JSON_TYPE = { 'Content-Type': 'application/json' };
const jwt = { Authorization: `Bearer ${env.SQL_JWT}`, ...JSON_TYPE };
const secrets = new Map([[env.ADMIN_TOKEN, 'the first admin token'], [env.SQL_JWT, 'the JWT']]);
const know = (secret, what) => {
	secrets.set(secret, what);
	return secret;
};
const unknown = (what) => know(`${run}-${what.replace(/\W+/g, '-')}-${Math.random().toString(36).slice(2)}`, what);

// What of a secret must not be found: the part that nobody else knows, in the forms that logs and files could hold.
function formsOf(secret) {
	const key = secret.match(SECRET)?.[4] ?? (secret.split('.').length === 3 && secret.startsWith('eyJ') ? secret.split('.')[2] : secret);
	const bytes = Buffer.from(key);
	const forms = [key, bytes.toString('hex'), encodeURIComponent(key), JSON.stringify(key).slice(1, -1)];
	// base64, wherever in the encoded text the key begins
	for (let shift = 0; shift < 3; shift++)
		forms.push(Buffer.concat([Buffer.alloc(shift), bytes]).toString('base64').slice(shift ? 4 : 0, -4));
	return [...new Set(forms)];
}

function assertAbsent(content, where) {
	for (const [secret, what] of secrets)
		for (const form of formsOf(secret)) {
			const at = content.indexOf(form);
			const line = at < 0 ? '' : content.subarray(content.lastIndexOf(10, at) + 1, at).toString('latin1').slice(-200);
			assert.ok(at < 0, `${what} is in ${where}, behind: ${line}`);
		}
}

const read = (name) => readFileSync(logFile(name));
const contains = (name, text) => () => read(name).includes(text);

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

// ---- Requests that carry secrets in every place ----------------------------------------------------------------------

const made = async (body) => know((await assertCreated(await create(body))).secret, 'a secret of a 201');

async function sendSecretsEverywhere() {
	const admin = await made(minimal({ type: 'admin' })), client = await made(minimal());
	for (const key of [admin, `Bearer ${admin}`, client, `Bearer ${client}`, unknown('an unknown key'), `Bearer ${unknown('an unknown Bearer key')}`,
		`Basic ${unknown('a Basic key')}`, `${admin}${unknown('behind a key')}`]) {
		const answer = await create(minimal(), { Authorization: key, ...JSON_TYPE });
		if (answer.status === 201) know(answer.json.secret, 'a secret of a 201');
	}
	// in the path and the query, in any spelling
	for (const secret of [client, unknown('in a path')])
		for (const target of [`${TOKENS}/${secret}`, `${TOKENS}/${encodeURIComponent(secret)}`, `/api//admin/api-tokens/${secret}`, `/%61pi/admin/api-tokens/${secret}`,
			`${TOKENS}?token=${secret}`, `/${secret}`, `/health?${secret}`, `/edge/validate?${secret}`, `${TOKENS}/${secret}/%`, `/%zz${secret}`, `//${secret}`, `/-refuse?${secret}`])
			for (const method of ['GET', 'HEAD', 'PUT', 'PATCH', 'POST', 'OPTIONS', 'TRACE'])
				await send(method, target, keyed(), method === 'PUT' || method === 'POST' ? '{}' : undefined);
	await send('DELETE', `${TOKENS}/${unknown('in the path of a DELETE')}`, keyed());
	await exchange(`GET /${unknown('in a bad request line')} HTTP/9.9\r\nHost: x\r\n\r\n`, ['GET']);
	await exchange(`GET /${unknown('without a host')} HTTP/1.1\r\n\r\n`, ['GET']);
	await exchange(`${unknown('as a method')} / HTTP/1.1\r\nHost: x\r\n\r\n`, ['GET']);
	await send('GET', `/${unknown('in a long target')}${'x'.repeat(9000)}`);
	await exchange(requestBytes('GET', `http://${unknown('as a host').slice(0, 60)}/${unknown('in an absolute target')}`, { Host: 'x' }), ['GET']);
	// in headers
	await create(minimal(), jsonKeyed({ Cookie: unknown('in a cookie'), 'X-Api-Key': unknown('in X-Api-Key'), Referer: `http://x/${unknown('in Referer')}`, 'User-Agent': unknown('in User-Agent') }));
	await create(minimal(), keyed({ 'Content-Type': unknown('in Content-Type') }));
	await create(minimal(), [['Authorization', unknown('in the first of two keys')], ['Authorization', unknown('in the second of two keys')]]);
	await create(minimal(), { Authorization: Buffer.from(`${unknown('before a bad byte')}\xff`, 'latin1'), ...JSON_TYPE });
	// in bodies, well formed or not
	for (const text of [`{"type":"client","tokenName":"${unknown('in cut JSON')}`, `{"type":"${unknown('as a type')}","tokenName":"x"}`,
		`{"type":"client","tokenName":"x","environment":"${unknown('as an environment')}"}`, `{"type":"client","tokenName":"x","projects":["${unknown('as a project')}"]}`,
		`{"type":"client","tokenName":"x","expiresAt":"${unknown('as an expiry')}"}`, `{"type":"client","tokenName":"x","secret":"${unknown('as a secret')}"}`,
		`"${unknown('as a string body')}"`, unknown('as a body'), `{"type":"client","tokenName":"x","x":"\\u0000${unknown('behind a NUL')}"}`])
		await create(text);
	await create(`${unknown('in a body too large')}${'x'.repeat(102400)}`);
	await create(Buffer.from(`{"tokenName":"${unknown('in a body of bad UTF-8')}\xff"}`, 'latin1'));
	await send('POST', '/edge/validate', JSON_TYPE, JSON.stringify({ tokens: [client, unknown('at /edge/validate')] }));
	return client;
}

async function sendSecretsToPostgrest(client) {
	const answer = await rest('POST', '/rpc/create_api_token', jwt, JSON.stringify(minimal()));
	know(answer.json.secret, 'a secret made by rpc');
	for (const secret of [client, unknown('to validate by rpc')]) {
		await rest('POST', '/rpc/validate_api_token', jwt, JSON.stringify({ secret }));
		await rest('POST', '/rpc/validate_api_token', JSON_TYPE, JSON.stringify({ secret }));
		await rest('GET', `/rpc/validate_api_token?secret=${encodeURIComponent(secret)}`, jwt);
		await rest('GET', `/rpc/none_such?secret=${encodeURIComponent(secret)}`, jwt);
		await rest('GET', `/api_tokens?token_name=eq.${encodeURIComponent(secret)}`, jwt);
	}
	// A refusal's DETAIL shows what was sent, and is logged: what looks like a secret is masked in it.
	const mistyped = know(client.replace(/.{8}$/, (end) => [...end].reverse().join('')), 'a mistyped secret by rpc');
	for (const sent of [client, mistyped])
		for (const field of ['type', 'environment', 'project', 'expiresAt'])
			await rest('POST', '/rpc/create_api_token', jwt, JSON.stringify(minimal({ [field]: sent })));
	for (const text of [`{"type":"client","tokenName":"${unknown('in cut JSON by rpc')}`, `{"type":"client","tokenName":"x","x":"\\u0000${unknown('behind a NUL by rpc')}"}`])
		await rest('POST', '/rpc/create_api_token', jwt, text);
	await rest('POST', '/rpc/create_api_token', { Authorization: `Bearer ${unknown('as a JWT')}`, ...JSON_TYPE }, '{}');
	await rest('POST', '/rpc/create_api_token', { Authorization: `Bearer ${env.SQL_JWT.slice(0, -3)}`, ...JSON_TYPE }, '{}');
}

// A statement that fails is logged with its parameters, unless the role says no.
async function failInTheMiddle() {
	await sql('BEGIN');
	try {
		await sql('LOCK TABLE unleash_tokens.api_token');
		const key = unknown('in a cancelled request');
		const asked = [create(minimal({ x: unknown('in a cancelled body') })), rest('POST', '/rpc/validate_api_token', jwt, JSON.stringify({ secret: env.ADMIN_TOKEN })),
			send('GET', `${TOKENS}/${key}`, keyed())];
		await poll('requests wait', 10000, async () => (await waiting()) >= 2);
		await poll('requests were cancelled', 10000, async () => {
			await cancelWaiting();
			return (await waiting()) === 0;
		});
		await Promise.all(asked);
	} finally {
		await sql('ROLLBACK');
	}
}

// nginx quotes the request line of what it could not pass on, PostgREST the URL of what it could not answer.
async function failBehindTheGateway() {
	const away = async (file, during) => {
		await rename(file, `${file}.away`);
		try {
			await during();
		} finally {
			await rename(`${file}.away`, file);
		}
	};
	await away(env.PGRST_SOCKET, () => Promise.all(Array.from({ length: 100 }, (_, i) =>
		send(i % 2 ? 'PUT' : 'GET', `${TOKENS}/${secretInPath}`, keyed(), i % 2 ? '{}' : undefined))));
	await away(path.join(env.PGHOST, `.s.PGSQL.${env.PGPORT}`), async () => {
		await sql(`SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = 'authenticator'`);
		await poll('the database is missed', 15000, async () => (await send('GET', '/health')).status === 503);
		for (let i = 0; i < 3; i++) await send('PUT', `${TOKENS}/${secretInPath}`, keyed(), '{}');
		await create();
		// PostgREST logs the URL of what it answers 503 to: what the control looks for
		await rest('GET', `/rpc/validate_api_token?secret=${run}-postgrest-control`, jwt);
	});
	await poll('it works again', 60000, async () => (await create()).status === 201);
}

const secretInPath = unknown('in a path without a server');
let client;
await test('requests with secrets in every place are answered', async () => {
	client = await sendSecretsEverywhere();
	await sendSecretsToPostgrest(client);
	await failInTheMiddle();
	await failBehindTheGateway();
	assert.ok(secrets.size > 45, `only ${secrets.size} secrets`);
});

// ---- The searches ---------------------------------------------------------------------------------------------------

await test('control: the search finds a planted secret in each form', () => {
	const [secret] = [...secrets.keys()].filter((one) => SECRET.test(one)).slice(-1);
	const key = secret.match(SECRET)[4];
	for (const planted of [secret, Buffer.from(`{"a":"${secret}"}`).toString('hex'), ...[0, 1, 2].map((n) => Buffer.from(`${'x'.repeat(n)}${key}${key}`).toString('base64'))])
		assert.throws(() => assertAbsent(Buffer.from(`some line ${planted} more`), 'a planted text'), /is in a planted text/);
	assertAbsent(Buffer.from('some line'), 'a text without one');
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
	assertAbsent(log, 'the log of PostgreSQL');
});

await test('PostgREST: no secret in its log', async () => {
	await poll('the control is logged', 10000, contains('postgrest', `${run}-postgrest-control`));
	assertAbsent(read('postgrest'), 'the log of PostgREST');
});

await test('nginx: no secret in the access log', async () => {
	// the id in a refusal of nginx's own is that of its line in the log
	const { id } = (await send('GET', '/%')).json;
	await poll('the control is logged', 10000, contains('nginx.access', id));
	const log = read('nginx.access');
	assert.ok(log.includes(`${TOKENS}/***`));
	assertAbsent(log, 'the access log of nginx');
});

await test('nginx: no secret in the error log', async () => {
	// the end of a worker is logged at the level in force; the master starts another
	const children = (pid) => readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ').filter(Boolean);
	const master = readFileSync(path.join(env.PGHOST, 'nginx.pid'), 'utf8').trim();
	const [worker] = children(master);
	process.kill(Number(worker), 'SIGKILL');
	await poll('the control is logged', 10000, () => ['nginx.error', 'nginx'].some((name) => contains(name, `worker process ${worker} exited on signal 9`)()));
	await poll('another worker answers', 10000, async () => (await create()).status === 201);
	for (const name of ['nginx.error', 'nginx']) assertAbsent(read(name), `the log ${name}`);
});

await test('nothing was spooled to disk by nginx', () => {
	const files = (dir) => readdirSync(dir, { withFileTypes: true }).flatMap((e) => (e.isDirectory() ? files(path.join(dir, e.name)) : [path.join(dir, e.name)]));
	assert.deepEqual(files(path.join(env.PGHOST, 'tmp')), []);
});

await test('the files of the database hold no secret: tables, indexes, WAL', async () => {
	const marker = `${run} files control`;
	await create(minimal({ tokenName: marker }));
	await sql('CHECKPOINT');
	const dir = await sql('SHOW data_directory');
	const found = new Set();
	const walk = (at) => {
		for (const entry of readdirSync(at, { withFileTypes: true })) {
			const file = path.join(at, entry.name);
			if (entry.isDirectory()) walk(file);
			else if (entry.isFile() && statSync(file).size > 0) {
				const content = readFileSync(file);
				if (content.includes(marker)) found.add(path.relative(dir, file).split('/')[0]);
				assertAbsentQuickly(content, file);
			}
		}
	};
	walk(dir);
	assert.ok(found.has('base') && found.has('pg_wal'), `the control is in ${[...found].join(', ') || 'no file'} only`);
});

// Only what was or is a token here, and only as it is: hundreds of megabytes are searched.
function assertAbsentQuickly(content, where) {
	for (const [secret, what] of secrets) {
		const key = secret.match(SECRET)?.[4];
		if (key) assert.ok(!content.includes(key), `${what} is in ${where}`);
	}
}

// New connections take the settings of their role.
async function reconnect() {
	await sql(`SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = 'authenticator'`);
	await poll('it works again', 60000, async () => (await create()).status === 201);
}

await test('control: without the settings of roles.sql the same log would hold the key', async () => {
	const key = `${run}-key-without-roles-sql`;
	assert.ok(!read('postgresql').includes(key));
	await sql('ALTER ROLE authenticator RESET log_parameter_max_length');
	await sql('ALTER ROLE authenticator RESET log_error_verbosity');
	try {
		await reconnect();
		await poll('the key is logged', 10000, async () => {
			await create(minimal(), { Authorization: key, ...JSON_TYPE });
			return read('postgresql').includes(key);
		});
	} finally {
		await sql('ALTER ROLE authenticator SET log_parameter_max_length = 0');
		await sql('ALTER ROLE authenticator SET log_error_verbosity = terse');
		await reconnect();
	}
});

for (const back of undo.reverse()) await back();
finish();
