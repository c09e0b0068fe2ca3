#!/usr/bin/env node
// The traps of nginx and PostgREST that a request could fall into, and what is answered while the database is gone.

import { rename } from 'node:fs/promises';
import path from 'node:path';

import {
	SECRET, TOKENS, assert, assertCreated, assertNothingOdd, assertNothingStored, assertRefusal, assertStatus, cancelWaiting, chunked, create,
	env, exchange, finish, jsonKeyed, keyed, minimal, poll, requestBytes, rest, run, send, sql, test, useEnv, validate, waiting,
} from './lib.mjs';

useEnv();
const JSON_TYPE = { 'Content-Type': 'application/json' };
const body = () => JSON.stringify(minimal());
const raw = async (bytes, methods = ['POST']) => (await exchange(bytes, methods))[0];

// ---- Pooled connections ---------------------------------------------------------------------------------------------

// What can be asked, and what must come back whatever was asked before on the same connection.
const CLIENT = (await assertCreated(await create())).secret;
const jwt = { Authorization: `Bearer ${env.SQL_JWT}`, ...JSON_TYPE };
const kinds = {
	created: [() => create(), (answer) => assertCreated(answer)],
	'no key': [() => create(minimal(), JSON_TYPE), (answer) => assertRefusal(answer, 401, 'AuthenticationRequired')],
	'not admin': [() => create(minimal(), { Authorization: CLIENT, ...JSON_TYPE }), (answer) => assertRefusal(answer, 403, 'PermissionError')],
	'wrong method': [() => send('PATCH', TOKENS, keyed()), (answer) => assertRefusal(answer, 405, 'MethodNotAllowedError')],
	'bad type': [() => create(minimal({ type: 'x' })), (answer) => assertRefusal(answer, 400, 'BadDataError')],
	health: [() => send('GET', '/health'), (answer) => {
		assertStatus(answer, 200);
		assert.deepEqual([answer.json, answer.headers('Location'), answer.headers('Allow'), answer.headers('WWW-Authenticate')],
			[{ health: 'GOOD' }, [], [], []]);
	}],
	'created by rpc': [() => rest('POST', '/rpc/create_api_token', jwt, body()), (answer) => {
		assertStatus(answer, 201);
		assert.equal(answer.header('Location'), `../api_tokens?selector=eq.${answer.json.secret.match(SECRET)[3]}`);
	}],
	'validated by rpc': [() => rest('POST', '/rpc/validate_api_token', jwt, JSON.stringify({ secret: CLIENT })), (answer) => {
		assertStatus(answer, 200);
		assert.deepEqual([answer.json.type, answer.headers('Location'), answer.headers('Allow')], ['client', [], []]);
	}],
};

for (const [name, [ask, check]] of Object.entries(kinds))
	await test(`the same a hundred times, on every connection: ${name}`, async () => {
		for (let round = 0; round < 10; round++)
			for (const answer of await Promise.all(Array.from({ length: 10 }, ask))) await check(answer);
	});

await test('status and headers of one request do not show in the next: 600 in a mixed order', async () => {
	let seed = 20261123;
	const random = (n) => (seed = (seed * 1103515245 + 12345) % 2147483648) % n;
	const list = Object.values(kinds);
	for (let round = 0; round < 100; round++)
		await Promise.all(Array.from({ length: 6 }, async () => {
			const [ask, check] = list[random(list.length)];
			await check(await ask());
		}));
});

await test('no request leaves a transaction open', async () => {
	await Promise.all(Array.from({ length: 20 }, () => create()));
	assert.equal(await sql(`SELECT count(*) FROM pg_stat_activity WHERE usename = 'unleash_tokens_authenticator' AND state LIKE '%transaction%'`), '0');
});

// ---- HEAD -----------------------------------------------------------------------------------------------------------

await test('HEAD runs what GET runs, asks for the key, and has no body', async () => {
	for (const [target, headers] of [['/health', {}], [TOKENS, {}], [TOKENS, { Authorization: 'x' }], [TOKENS, { Authorization: CLIENT }],
		[TOKENS, keyed()], ['/none', {}], ['/none', keyed()]]) {
		const get = await send('GET', target, headers), head = await send('HEAD', target, headers);
		assert.equal(head.status, get.status, `${target} ${head.head}`);
		for (const name of ['Content-Type', 'Cache-Control', 'WWW-Authenticate', 'Allow', 'Location'])
			assert.deepEqual(head.headers(name), get.headers(name), `${name} of ${target}`);
		assert.equal(head.bytes.length, 0);
		assertNothingOdd(head);
	}
	assertStatus(await send('HEAD', TOKENS, {}), 401);
	assertStatus(await send('HEAD', TOKENS, { Authorization: CLIENT }), 403);
});

// ---- Splitting ------------------------------------------------------------------------------------------------------

const INJECTED = 'X-Injected: 1';
function assertOneHead(answer) {
	assert.equal(answer.headers('X-Injected').length, 0, answer.head);
	for (const [name, value] of answer.rawHeaders) {
		assert.match(name, /^[A-Za-z-]+$/);
		assert.doesNotMatch(`${name}${value}`, /[\r\n]/);
	}
}
for (const sent of [`a\r\n${INJECTED}`, `a\n${INJECTED}\n\nbody`, `a\r\n\r\nHTTP/1.1 200 OK\r\n${INJECTED}\r\n\r\n`, `a\u0085${INJECTED}`, `a\u2028${INJECTED}`])
	await test(`CR and LF in what is sent split nothing: ${JSON.stringify(sent).slice(0, 40)}`, async () => {
		for (const field of ['tokenName', 'type', 'environment', 'project', 'expiresAt', 'unknown']) {
			const answer = await create(minimal({ [field]: sent }));
			assertOneHead(answer);
			assert.ok([201, 400].includes(answer.status));
		}
		const coded = encodeURIComponent(sent);
		for (const target of [`${TOKENS}/${coded}`, `/${coded}`, `${TOKENS}?x=${coded}`]) assertOneHead(await send('PUT', target, jsonKeyed(), '{}'));
		for (const [kind, field] of [['22023', 'type'], ['22023', 'environment']])
			assertOneHead(await rest('POST', '/rpc/create_api_token', jwt, JSON.stringify(minimal({ [field]: sent }))));
	});

await test('a line break in a name is refused, not stored', () =>
	assertNothingStored(async () => assertRefusal(await create(minimal({ tokenName: `a\r\n${INJECTED}` })), 400, 'BadDataError')));

await test('a header or key that smuggles another is refused', () => assertNothingStored(async () => {
	for (const headers of [
		[['Authorization', 'x'], ['Authorization', env.ADMIN_TOKEN], ['Content-Type', 'application/json']],
		[['Authorization', env.ADMIN_TOKEN], ['Authorization', env.ADMIN_TOKEN], ['Content-Type', 'application/json']],
		[['Authorization', env.ADMIN_TOKEN], ['Content-Type', 'application/json'], ['Content-Length', '5'], ['Content-Length', '6']],
		[['Authorization', env.ADMIN_TOKEN], ['Content-Type', 'application/json'], ['Content-Length', '5'], ['Transfer-Encoding', 'chunked']],
		[['Authorization', env.ADMIN_TOKEN], ['Content-Type', 'application/json'], ['Content-Length', '-1']],
		[['Authorization', `x\0${env.ADMIN_TOKEN}`], ['Content-Type', 'application/json']],
	])
		assertRefusal(await create(minimal(), headers), 400, 'BadDataError');
}));

await test('headers of the gateway cannot be sent by a client', () => assertNothingStored(async () => {
	const forged = { 'X-Original-Method': 'POST', 'X-Original-URI': TOKENS, 'X-Original-Content-Type': 'application/json' };
	assertRefusal(await send('GET', '/none', keyed(forged)), 404, 'NotFoundError');
	assertRefusal(await send('POST', '/health', keyed({ ...forged, ...JSON_TYPE }), body()), 405, 'MethodNotAllowedError');
	assertRefusal(await send('POST', TOKENS, keyed({ ...forged, 'Content-Type': 'text/plain' }), body()), 415, 'ContentTypeError');
	assertRefusal(await send('PATCH', TOKENS, keyed({ ...forged, 'X-HTTP-Method-Override': 'POST' }), body()), 405, 'MethodNotAllowedError');
}));

// ---- Bytes that are not text ----------------------------------------------------------------------------------------

const bytes = (text) => Buffer.from(text, 'latin1');
await test('bytes that are not UTF-8 in the key: 401', () => assertNothingStored(async () => {
	for (const key of ['\xff', 'Bearer \xff\xfe', '\xc0\xaf', '\xed\xa0\x80', '\xf4\x90\x80\x80', '\xe2\x82', `${env.ADMIN_TOKEN}\xff`]) {
		const answer = await create(minimal(), { Authorization: bytes(key), ...JSON_TYPE });
		assertStatus(answer, 401);
		assertRefusal(answer, 401, answer.json.name);
		assert.match(answer.json.name, /^(AuthenticationRequired|UnauthorizedError)$/);
	}
}));
await test('UTF-8 in the key: 401', async () => {
	for (const key of ['ünï', '你好', '🎉', `${env.ADMIN_TOKEN}é`]) assertRefusal(await create(minimal(), { Authorization: key, ...JSON_TYPE }), 401, 'UnauthorizedError');
});
await test('bytes that are not UTF-8 in other headers', async () => {
	assertRefusal(await create(minimal(), keyed({ 'Content-Type': bytes('application/json\xff') })), 415, 'ContentTypeError');
	assertRefusal(await create(minimal(), jsonKeyed({ 'Content-Encoding': bytes('\xff') })), 415, 'ContentTypeError');
	await assertCreated(await create(minimal(), jsonKeyed({ 'User-Agent': bytes('\xff\xfe'), 'X-Anything': bytes('\x80'), Cookie: bytes('a=\xff') })));
});
await test('bytes that are not UTF-8 in the target: 400', async () => {
	for (const target of [`${TOKENS}/\xff`, `${TOKENS}?\xff`, '/\xc0\xaf', '/\xed\xa0\x80'])
		for (const method of ['GET', 'POST', 'PUT', 'DELETE'])
			assertRefusal(await send(method, bytes(target), jsonKeyed(), method === 'GET' ? undefined : '{}'), 400, 'BadDataError');
});
await test('a bad % in the target: 400 with and without a key', async () => {
	for (const target of [`${TOKENS}/%`, `${TOKENS}/%z`, `${TOKENS}/%zz`, `${TOKENS}/a%2`, `${TOKENS}/%00`, '/%', '/a%zzb'])
		for (const headers of [jsonKeyed(), {}]) assertRefusal(await send('PUT', target, headers, '{}'), 400, 'BadDataError');
});
await test('a request line that is none: 400', async () => {
	for (const line of ['GARBAGE\r\n\r\n', 'POST\r\n\r\n', 'POST  HTTP/1.1\r\n\r\n', `post ${TOKENS} HTTP/1.1\r\nHost: x\r\n\r\n`, `POST ${TOKENS} HTTP/9.9\r\nHost: x\r\n\r\n`,
		`POST ${TOKENS} HTTP/1.1\r\n\r\n`, 'POST x HTTP/1.1\r\nHost: x\r\n\r\n', `\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n`])
		assertRefusal(await raw(bytes(line)), 400, 'BadDataError');
});
await test('a target or header that is too long: 400', async () => {
	assertRefusal(await send('GET', `/${'x'.repeat(9000)}`), 400, 'BadDataError');
	assertRefusal(await create(minimal(), jsonKeyed({ 'X-Long': 'x'.repeat(9000) })), 400, 'BadDataError');
});

// ---- Forms of a request ---------------------------------------------------------------------------------------------

await test('Bearer in odd cases', async () => {
	const key = env.ADMIN_TOKEN, tab = '\t';
	for (const form of [`Bearer ${key}`, `bearer ${key}`, `BEARER ${key}`, `bEaReR ${key}`, `Bearer   ${key}`, `Bearer${tab}${key}`, `  ${key}`, `${key}  `])
		await assertCreated(await create(minimal(), { Authorization: form, ...JSON_TYPE }));
	for (const form of ['Bearer', 'Bearer ', 'bearer', 'Bearer Bearer', `Bearer bearer ${key}`, `Bearer: ${key}`, `Bearer${key}`, `Basic ${key}`, `Token ${key}`,
		`Bearer ${key} x`, `${key} ${key}`, `"${key}"`, `${key},${key}`])
		await assertNothingStored(async () => {
			const answer = await create(minimal(), { Authorization: form, ...JSON_TYPE });
			assertStatus(answer, 401);
			assertRefusal(answer, 401, answer.json.name);
		});
	// a JWT is no key here, whatever its role
	assertStatus(await create(minimal(), jwt), 401);
});

await test('the name of the header in any case', async () => {
	for (const name of ['authorization', 'AUTHORIZATION'])
		await assertCreated(await create(minimal(), { [name]: env.ADMIN_TOKEN, 'content-TYPE': 'application/json' }));
});

await test('absolute form, HTTP/1.0, and a query: the same answer', async () => {
	for (const target of [`${env.BASE_URL}${TOKENS}`, `http://elsewhere.example${TOKENS}`, `${TOKENS}?select=tokenName`, `${TOKENS}?`, `${TOKENS}?columns=type&limit=0&order=x&id=eq.1`,
		`${TOKENS}?%ff`])
		await assertCreated(await send('POST', target, jsonKeyed(), body()));
	const old = requestBytes('POST', TOKENS, jsonKeyed(), body()).toString().replace('HTTP/1.1', 'HTTP/1.0');
	await assertCreated(await raw(Buffer.from(old)));
});

await test('Prefer, Accept, Range, profiles and the like change nothing', async () => {
	for (const more of [{ Prefer: 'tx=rollback' }, { Prefer: 'return=minimal' }, { Prefer: 'params=single-object, count=exact, handling=strict' }, { Accept: 'text/html' },
		{ Accept: 'application/json;q=0' }, { Accept: 'application/vnd.pgrst.object+json' }, { Accept: '' }, { Range: '0-0' }, { Range: 'bytes=0-5' },
		{ 'Range-Unit': 'items', Range: '5-9' }, { 'Accept-Profile': 'pg_catalog' }, { 'Content-Profile': 'none such' }, { Origin: 'https://elsewhere.example' }, { Cookie: 'a=b' },
		{ Expect: '100-continue' }, { 'If-None-Match': '*' }, { 'X-Forwarded-For': '1.2.3.4' }, { 'Accept-Encoding': 'gzip, br' }, { Connection: 'close' }, { TE: 'trailers' }]) {
		const { secret } = await assertCreated(await create(minimal(), jsonKeyed(more)));
		assert.ok(await validate(secret), `not stored with ${JSON.stringify(more)}`);
	}
});

await test('Prefer: tx=rollback on the SQL door cannot show a secret that is not stored', async () => {
	const answer = await rest('POST', '/rpc/create_api_token', { ...jwt, Prefer: 'tx=rollback' }, body());
	assert.ok(answer.status !== 201 || (await validate(answer.json.secret)), 'a secret was shown, and taken back');
});

await test('an Upgrade is not followed', async () => {
	await assertCreated(await create(minimal(), jsonKeyed({ Connection: 'Upgrade', Upgrade: 'websocket' })));
});

await test('chunked bodies: any size of chunk, extensions, none', async () => {
	const text = Buffer.from(body());
	const headers = jsonKeyed({ 'Transfer-Encoding': 'chunked' });
	for (const size of [1, 7, 1000])
		await assertCreated((await exchange([requestBytes('POST', TOKENS, headers), chunked(text, size)], ['POST']))[0]);
	const withExtension = Buffer.from(`${text.length.toString(16)};a=b\r\n${text}\r\n0\r\nTrailer: x\r\n\r\n`);
	await assertCreated(await raw([requestBytes('POST', TOKENS, headers), withExtension]));
	assertRefusal(await raw([requestBytes('POST', TOKENS, headers), Buffer.from('0\r\n\r\n')]), 400, 'BadDataError', { path: '/body/type' });
	await assertNothingStored(async () => assertRefusal(await raw([requestBytes('POST', TOKENS, headers), Buffer.from('zz\r\n\r\n')]), 400, 'BadDataError'));
});

await test('no body: an empty object, if JSON was announced', () => assertNothingStored(async () => {
	assertRefusal(await create('', jsonKeyed()), 400, 'BadDataError', { path: '/body/type' });
	assertRefusal(await raw(requestBytes('POST', TOKENS, jsonKeyed({ 'Content-Length': '0' }))), 400, 'BadDataError', { path: '/body/type' });
	assertRefusal(await create('', keyed()), 415, 'ContentTypeError');
}));

await test('several requests on one connection, also sent at once', async () => {
	const one = requestBytes('POST', TOKENS, jsonKeyed(), body()), none = requestBytes('POST', TOKENS, JSON_TYPE, body());
	const answers = await exchange(Buffer.concat([one, none, one, requestBytes('HEAD', '/health'), none, one]), ['POST', 'POST', 'POST', 'HEAD', 'POST', 'POST']);
	assert.deepEqual(answers.map((answer) => answer.status), [201, 401, 201, 200, 401, 201]);
	assert.equal(new Set([0, 2, 5].map((i) => answers[i].json.secret)).size, 3);
});

await test('a body cut short stores nothing', () => assertNothingStored(async () => {
	const whole = requestBytes('POST', TOKENS, jsonKeyed(), body());
	await assert.rejects(exchange(whole.subarray(0, whole.length - 1), ['POST'], env.BASE_URL, 300), /no answer within/);
}));

await test('answers name neither nginx nor PostgREST nor PostgreSQL', async () => {
	for (const answer of [await create(), await create(minimal(), JSON_TYPE), await send('GET', '/none'), await send('GET', '/%'), await send('GET', '/health')])
		assertNothingOdd(answer);
});

// ---- Without the database -------------------------------------------------------------------------------------------

// Connections are ended and new ones find no socket: what PostgREST sees when the server is down.  psql stays connected.
async function withoutDatabase(during) {
	const socket = path.join(env.PGHOST, `.s.PGSQL.${env.PGPORT}`);
	await sql('SELECT 1');
	await rename(socket, `${socket}.away`);
	try {
		await sql(`SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = 'unleash_tokens_authenticator'`);
		await during();
	} finally {
		await rename(`${socket}.away`, socket);
	}
}

function assertUnavailable(answer) {
	assertRefusal(answer, 503, 'UnavailableError');
	assert.match(answer.header('Retry-After'), /^\d+$/);
	assert.doesNotMatch(answer.text, /socket|connection|psql|PGSQL|upstream|gateway/i);
}

const alive = async () => (await send('GET', '/health')).status === 200 && (await create()).status === 201;

await test('503 while the database is down, then it works again', async () => {
	await withoutDatabase(async () => {
		await poll('the gateway notices', 15000, async () => (await send('GET', '/health')).status === 503);
		for (let i = 0; i < 3; i++) {
			assertUnavailable(await create());
			assertUnavailable(await create(minimal(), JSON_TYPE));
			assertUnavailable(await send('GET', '/health'));
			const head = await send('HEAD', '/health');
			assert.deepEqual([head.status, head.bytes.length], [503, 0]);
		}
		assertRefusal(await create('x'.repeat(102401)), 413, 'PayloadTooLargeError');
	});
	// PostgREST waits longer after each try, up to half a minute
	await poll('it works again', 60000, alive);
});

await test('503 while PostgREST is not there, then it works again', async () => {
	await rename(env.PGRST_SOCKET, `${env.PGRST_SOCKET}.away`);
	try {
		// connections that nginx kept go on to work: more at once than it keeps
		const answers = await Promise.all(Array.from({ length: 100 }, () => create()));
		assert.ok(answers.some((answer) => answer.status === 503));
		for (const answer of answers) await (answer.status === 503 ? assertUnavailable(answer) : assertCreated(answer));
	} finally {
		await rename(`${env.PGRST_SOCKET}.away`, env.PGRST_SOCKET);
	}
	await poll('it works again', 15000, alive);
});

await test('a statement that takes too long is 503, stores nothing, and frees its connection', async () => {
	await sql('BEGIN');
	try {
		await sql('LOCK TABLE unleash_tokens.api_token');
		const asked = create();
		await poll('the request waits', 10000, async () => (await waiting()) === 1);
		await cancelWaiting();
		assertUnavailable(await asked);
	} finally {
		await sql('ROLLBACK');
	}
	await poll('it works again', 15000, alive);
});

finish();
