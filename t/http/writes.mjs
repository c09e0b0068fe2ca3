#!/usr/bin/env node
// What was answered as written is kept, what cannot be written is said to be so, and nothing that PostgREST says of itself
// reaches a client.

import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import path from 'node:path';

import {
	TOKENS, assert, assertCreated, assertNothingOdd, assertNothingStored, assertRefusal, assertStatus, create, env, finish, jsonKeyed, keyed,
	logFile, minimal, poll, postgrest, run, send, setSystem, sql, test, useEnv, validate,
} from './lib.mjs';

useEnv();
const JSON_TYPE = { 'Content-Type': 'application/json' };
const client = await assertCreated(await create(minimal({ tokenName: `${run} client` })));
const edge = () => send('POST', '/edge/validate', JSON_TYPE, JSON.stringify({ tokens: [client.secret] }));
const writes = [
	['POST', TOKENS, () => JSON.stringify(minimal())], ['POST', TOKENS, () => '{}'], ['PUT', `${TOKENS}/${client.selector}`, () => '{"expiresAt": null}'],
	['PUT', `${TOKENS}/${client.secret}`, () => '{"expiresAt": null}'], ['DELETE', `${TOKENS}/${client.selector}`, () => undefined], ['DELETE', `${TOKENS}/none`, () => undefined],
];

// PostgREST's own words: 503, in our shape, with the time to come again.
function assertUnavailable(answer, retry = /^\d+$/, says = /./) {
	// nginx hands on the challenge of a 401 whatever becomes of the rest
	assertRefusal(answer, 503, 'UnavailableError', { says, challenged: true });
	assert.match(answer.header('Retry-After') ?? '', retry);
}

// ---- A server that cannot write -------------------------------------------------------------------------------------

await test('/health says whether this server can write, when it is asked for that', async () => {
	for (const query of ['', '?write=1', '?write=0', '?write=', '?other=1&write=1', '?x'])
		for (const method of ['GET', 'HEAD']) assertStatus(await send(method, `/health${query}`), 200);
	assert.deepEqual((await send('GET', '/health?write=1')).json, { health: 'GOOD' });
});

// how often PostgREST has read which functions there are
const loads = () => readFileSync(logFile('postgrest'), 'utf8').split('Schema cache loaded').length;

for (const [what, change] of [
	['default_transaction_read_only of the server', () => setSystem('default_transaction_read_only', 'on')],
	['default_transaction_read_only of the database', async () => {
		// it counts for new connections: PostgREST makes some when these are gone
		const reconnect = async () => {
			const before = loads();
			await sql(`SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = :'db' AND pid <> pg_backend_pid()`, { db: env.PGDATABASE });
			// which functions there are it reads once more, and on each connection of its pool it answers
			await poll('PostgREST has read its schema', 40000, () => loads() > before);
			await poll('PostgREST is back', 40000, async () =>
				(await Promise.all(Array.from({ length: 20 }, () => send('GET', '/health')))).every((answer) => answer.status === 200));
		};
		await sql(`ALTER DATABASE ${env.PGDATABASE} SET default_transaction_read_only = on`);
		await reconnect();
		return async () => {
			await sql(`SET default_transaction_read_only = off; ALTER DATABASE ${env.PGDATABASE} RESET default_transaction_read_only`);
			await reconnect();
		};
	}],
])
	await test(`with ${what}: writing is 503, reading goes on`, async () => {
		const reset = await change();
		try {
			await assertNothingStored(async () => {
				for (const [method, target, body] of writes)
					assertUnavailable(await send(method, target, jsonKeyed(), body()), /^5$/, /only|read/);
				assertRefusal(await create(minimal(), JSON_TYPE), 401, 'AuthenticationRequired');
			});
			assertUnavailable(await send('GET', '/health?write=1'), /^5$/);
			assert.equal((await send('HEAD', '/health?write=1')).status, 503);
			for (const answer of [await send('GET', '/health'), await send('GET', TOKENS, keyed()), await edge()]) assertStatus(answer, 200);
			assertStatus(await send('GET', '/auth', { Authorization: client.secret }), 204);
		} finally {
			await reset();
		}
		assertStatus(await send('GET', '/health?write=1'), 200);
		await assertCreated(await create());
	});

// ---- A library that does not fit --------------------------------------------------------------------------------------

await test('/health says when library and SQL objects are of versions that do not fit', async () => {
	const version = await sql(`SELECT extversion FROM pg_extension WHERE extname = 'unleash_tokens'`);
	await sql(`UPDATE pg_extension SET extversion = '99.1' WHERE extname = 'unleash_tokens'`);
	try {
		for (const query of ['', '?write=1'])
			assertUnavailable(await send('GET', `/health${query}`), /^5$/, new RegExp(`The library is version ${version}, the SQL objects are version 99.1.`));
	} finally {
		await sql(`UPDATE pg_extension SET extversion = :'version' WHERE extname = 'unleash_tokens'`, { version });
	}
	assertStatus(await send('GET', '/health'), 200);
});

// ---- PostgREST's own words ------------------------------------------------------------------------------------------

// PostgREST reads which functions there are when it has lost its connections, at a time of its own: when that falls between "gone" and
// "back", it has to be told.
async function knowsAgain(ask) {
	if ((await ask()).status < 300) return;
	await sql(`NOTIFY pgrst, 'reload schema'`);
	await poll('PostgREST knows the function again', 20000, async () => (await ask()).status < 300);
}

for (const [entry, ask] of [
	['rest_api(bytea)', () => create()], ['rest_api()', () => send('GET', TOKENS, keyed())], ['rest_api()', () => send('GET', '/auth', { Authorization: client.secret })],
	['rest_api()', () => send('GET', '/health')], ['rest_read(bytea)', edge],
])
	for (const [what, gone, back] of [
		['may not be called', `REVOKE EXECUTE ON FUNCTION unleash_tokens.${entry} FROM unleash_tokens_rest`, `GRANT EXECUTE ON FUNCTION unleash_tokens.${entry} TO unleash_tokens_rest`],
		['is not there', `ALTER FUNCTION unleash_tokens.${entry} RENAME TO gone`, `ALTER FUNCTION unleash_tokens.${entry.replace(/^\w+/, 'gone')} RENAME TO ${entry.replace(/\(.*/, '')}`],
		['fails', `UPDATE pg_proc SET proconfig = proconfig || '{work_mem=none}' WHERE oid = 'unleash_tokens.${entry}'::regprocedure`,
			`ALTER FUNCTION unleash_tokens.${entry} RESET work_mem`],
	])
		await test(`${entry} ${what}: 503, and none of PostgREST's words (${ask.toString().replace(/^.*?=> /, '').slice(0, 30)})`, async () => {
			await sql(gone);
			try {
				await assertNothingStored(async () => assertUnavailable(await ask()));
			} finally {
				await sql(back);
			}
			await knowsAgain(ask);
		});

await test('refusals of ours pass as they are, whatever characters are in them', async () => {
	const named = await create(minimal({ environment: 'ä 你 😀 "\\' }));
	assertRefusal(named, 400, 'BadDataError', { path: '/body/environment', says: /"ä 你 😀 \\"\\\\"/ });
	assert.deepEqual(named.headers('X-Refusal'), []);
	assertRefusal(await send('PATCH', TOKENS, keyed()), 405, 'MethodNotAllowedError');
	assertRefusal(await send('GET', '/%ff', keyed()), 404, 'NotFoundError');
});

await test('for PUT it is read: /auth needs nothing that writes, whatever method it is asked with', async () => {
	await sql('REVOKE EXECUTE ON FUNCTION unleash_tokens.rest_api(bytea) FROM unleash_tokens_rest');
	try {
		for (const method of ['GET', 'POST', 'PUT', 'DELETE', 'OPTIONS', 'PROPFIND'])
			for (const query of ['', '?type=client', '?path=/orders/1']) assertStatus(await send(method, `/auth${query}`, { Authorization: client.secret }), 204);
	} finally {
		await sql('GRANT EXECUTE ON FUNCTION unleash_tokens.rest_api(bytea) TO unleash_tokens_rest');
	}
});

await test('a backend that is killed in the middle of a statement: 503', async () => {
	await sql('BEGIN');
	try {
		await sql('LOCK TABLE unleash_tokens.api_token_event');
		const asked = create();
		const pid = await poll('the request waits', 10000, () => sql(`SELECT max(l.pid) FROM pg_locks l WHERE NOT granted AND relation = 'unleash_tokens.api_token_event'::regclass`));
		await sql(`SELECT pg_terminate_backend(${pid})`);
		assertUnavailable(await asked);
	} finally {
		await sql('ROLLBACK');
	}
	await poll('it works again', 20000, async () => (await create()).status === 201);
});

// ---- The end of the transaction -------------------------------------------------------------------------------------

// A second PostgREST as the first one is run, with another end of its transactions.
async function withPostgrest(environment, during) {
	const { command, environment: running, uid, gid } = postgrest();
	const socket = `${env.PGRST_SOCKET}.other`;
	const child = spawn(command[0], [command[1]],
		{ uid, gid, stdio: 'ignore', env: { ...process.env, ...running, PGRST_SERVER_UNIX_SOCKET: socket, PGRST_DB_CHANNEL_ENABLED: 'false', ...environment } });
	const ask = (method, target, headers, body) => send(method, target, headers, body, socket);
	try {
		await poll('the second PostgREST answers', 20000, async () => (await ask('GET', '/rpc/rest_api', { 'X-Original-Method': 'GET', 'X-Original-URI': '/health' })).status === 200);
		await during(ask);
	} finally {
		child.kill('SIGTERM');
	}
}
// as nginx sends it
const asNginx = (ask, method, target, body, more = {}) => ask('POST', '/rpc/rest_api', { Accept: 'application/octet-stream', 'Content-Type': 'application/octet-stream',
	Authorization: env.ADMIN_TOKEN, 'X-Original-Method': method, 'X-Original-URI': target, 'X-Original-Content-Type': 'application/json', ...more }, body ?? '');
const jwt = { Authorization: `Bearer ${env.SQL_JWT}`, ...JSON_TYPE, Accept: 'application/json' };

for (const [end, prefer] of [['rollback', undefined], ['rollback-allow-override', undefined], ['commit-allow-override', 'tx=rollback']])
	await test(`db-tx-end = ${end}${prefer ? ` and Prefer: ${prefer}` : ''}: what is not kept is not answered as if it were`, () =>
		withPostgrest({ PGRST_DB_TX_END: end }, (ask) => assertNothingStored(async () => {
			const more = { Prefer: prefer };
			for (const answer of [
				await asNginx(ask, 'POST', TOKENS, JSON.stringify(minimal()), more), await asNginx(ask, 'DELETE', `${TOKENS}/${client.selector}`, undefined, more),
				await asNginx(ask, 'PUT', `${TOKENS}/${client.selector}`, '{"expiresAt": "2001-01-01T00:00:00Z"}', more),
				await ask('POST', '/rpc/create_api_token', { ...jwt, ...more }, JSON.stringify(minimal())),
				await ask('POST', '/rpc/create_api_tokens', { ...jwt, ...more }, JSON.stringify([minimal()])),
				await ask('POST', '/rpc/update_api_token', { ...jwt, ...more }, JSON.stringify({ token: client.selector, changes: { expiresAt: null } })),
				await ask('POST', '/rpc/delete_api_token', { ...jwt, ...more }, JSON.stringify({ token: client.selector })),
				await ask('POST', '/rpc/import_api_tokens', { ...jwt, ...more }, JSON.stringify({ tokens: [{ ...minimal(), projects: ['*'], environment: 'development', secret: `${run} imported` }] })),
			])
				assert.ok(answer.status >= 500 && !answer.text.includes('secret'), `${answer.head}\n\n${answer.text}`);
			assert.ok(await validate(client.secret));
		})));
for (const [end, prefer] of [['commit', 'tx=rollback'], ['rollback-allow-override', 'tx=commit'], ['commit-allow-override', undefined]])
	await test(`db-tx-end = ${end}${prefer ? ` and Prefer: ${prefer}` : ''}: what is answered is kept`, () =>
		withPostgrest({ PGRST_DB_TX_END: end }, async (ask) => {
			for (const answer of [await asNginx(ask, 'POST', TOKENS, JSON.stringify(minimal()), { Prefer: prefer }),
				await ask('POST', '/rpc/create_api_token', { ...jwt, Prefer: prefer }, JSON.stringify(minimal()))]) {
				assertStatus(answer, 201);
				assert.ok(await validate(answer.json.secret));
			}
		}));
await test('with rolled back transactions what only reads is answered', () => withPostgrest({ PGRST_DB_TX_END: 'rollback' }, async (ask) => {
	assertStatus(await asNginx(ask, 'GET', TOKENS), 200);
	assertStatus(await ask('POST', '/rpc/validate_api_token', jwt, JSON.stringify({ secret: client.secret })), 200);
	const refused = await asNginx(ask, 'POST', TOKENS, '{}');
	assert.deepEqual([refused.status, refused.json.name], [400, 'BadDataError']);
}));

await test('SET CONSTRAINTS ALL IMMEDIATE is no error to anyone but PostgREST', async () => {
	await sql(`BEGIN; SELECT unleash_tokens.create_api_token('{"type": "client", "tokenName": "constraints"}') \\g /dev/null
SET CONSTRAINTS ALL IMMEDIATE; COMMIT`);
});

finish();
