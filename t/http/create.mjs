#!/usr/bin/env node
// POST /api/admin/api-tokens through nginx and PostgREST: what is created, and every refusal.

import zlib from 'node:zlib';

import {
	TOKENS, assert, assertCreated, assertNothingStored, assertRefusal, assertStatus, chunked, create, env, exchange, finish,
	jsonKeyed, keyed, minimal, poll, requestBytes, run, send, setSystem, sql, test, useEnv, validate,
} from './lib.mjs';

useEnv();
const JSON_TYPE = { 'Content-Type': 'application/json' };
const made = async (body, expected) => assertCreated(await create(body), expected);
const refused = (name, status, kind, ask, options) =>
	test(`${status}: ${name}`, () => assertNothingStored(async () => assertRefusal(await ask(), status, kind, options)));

await sql(`INSERT INTO unleash_tokens.project (id) VALUES ('${run} a'), ('${run} b'), ('${run} Ünï:x.y')`);
await sql(`INSERT INTO unleash_tokens.environment (name, enabled) VALUES ('${run} env', true), ('${run} off', false)`);

// ---- 201 ------------------------------------------------------------------------------------------------------------

for (const [form, key] of [['raw key', env.ADMIN_TOKEN], ['Bearer key', `Bearer ${env.ADMIN_TOKEN}`]]) {
	await test(`201: the documented request, ${form}`, async () => {
		const name = `${run} ${form}`;
		const answer = await create({ type: 'frontend', tokenName: name }, { Authorization: key, ...JSON_TYPE });
		const token = await assertCreated(answer, {
			tokenName: name, type: 'frontend', projects: ['*'], project: '*', environment: 'development', expiresAt: null });
		assert.match(token.secret, /^\*:development\.v2_/);
		assert.deepEqual(await validate(token.secret), {
			selector: token.selector, tokenName: name, type: 'frontend', projects: ['*'], environment: 'development', expiresAt: null });
		assert.equal(await validate(token.selector), null, 'the selector alone authenticates');
		assert.equal(await validate(token.secret.slice(0, -1)), null);
	});
}

await test('201: the four types, in any case', async () => {
	for (const type of ['client', 'backend', 'frontend', 'CLIENT', 'BackEnd', 'FRONTEND'])
		await made(minimal({ type }), { type: type.toLowerCase(), environment: 'development', projects: ['*'] });
	for (const scope of [{}, { environment: '*' }, { projects: ['*'] }, { project: '*', environment: '*' }]) {
		const token = await made(minimal({ type: 'Admin', ...scope }), { type: 'admin', environment: '*', projects: ['*'] });
		assert.match(token.secret, /^\*:\*\.v2_/);
	}
});

await test('201: projects and environments', async () => {
	const a = `${run} a`, b = `${run} b`, odd = `${run} Ünï:x.y`;
	for (const [sent, projects] of [
		[{ projects: [a] }, [a]], [{ project: a }, [a]], [{ projects: [b, a] }, [b, a]], [{ projects: [a, b, a] }, [a, b]],
		[{ projects: ['*'] }, ['*']], [{ projects: [a, '*', 'none such'] }, ['*']], [{ project: odd }, [odd]],
	]) {
		const token = await made(minimal(sent), { projects });
		const scope = projects.length > 1 ? '[]' : projects[0];
		assert.ok(token.secret.startsWith(`${scope}:development.v2_`), token.secret);
		assert.deepEqual((await validate(token.secret)).projects, projects);
	}
	for (const environment of [`${run} env`, `${run} off`, 'production'])
		await made(minimal({ environment }), { environment });
});

await test('201: expiry is cut to milliseconds and shown in UTC', async () => {
	for (const [expiresAt, shown] of [
		['2031-05-06T07:08:09.123456Z', '2031-05-06T07:08:09.123Z'], ['2031-05-06t09:08:09+02:00', '2031-05-06T07:08:09.000Z'],
		['2031-05-06 07:08:09', '2031-05-06T07:08:09.000Z'], ['9999-12-31T23:59:59.999Z', '9999-12-31T23:59:59.999Z'],
		['2020-01-01T00:00:00Z', '2020-01-01T00:00:00.000Z'], [null, null],
	]) {
		const token = await made(minimal({ expiresAt }), { expiresAt: shown });
		if (expiresAt?.startsWith('2020')) assert.equal(await validate(token.secret), null, 'born expired, yet valid');
		else assert.equal((await validate(token.secret)).expiresAt, shown);
	}
});

await test('201: any name without control characters, not unique', async () => {
	for (const tokenName of [' ', 'a/b?c#d%e', `"'; DROP TABLE x --`, '<b>', 'näme 你好 🎉', 'x'.repeat(1000), '🎉'.repeat(1000), 'same', 'same'])
		await made(minimal({ tokenName }), { tokenName });
});

await test('201: what a caller cannot choose is ignored', async () => {
	const token = await made(minimal({
		secret: 'x', selector: 'x', createdAt: '2000-01-01T00:00:00Z', seenAt: '2000-01-01T00:00:00Z', alias: 'x', createdBy: 'x',
		secure: false, username: 'x', unknown: [1, { a: null }] }));
	assert.notEqual(token.secret, 'x');
	assert.ok(token.createdAt > '2020');
	const [by, actor] = (await sql(`SELECT t.created_by, e.actor FROM unleash_tokens.api_token t
		JOIN unleash_tokens.api_token_event e USING (selector) WHERE selector = '${token.selector}'`)).split('|');
	assert.deepEqual([by, actor], ['first', 'first']);
});

await test('201: the last of equal keys counts', async () => {
	await made(`{"type":"admin","tokenName":"x","type":"client","tokenName":"${run} last"}`, { type: 'client', tokenName: `${run} last` });
});

await test('201: content types that mean JSON, and identity', async () => {
	for (const type of ['application/json', 'Application/JSON', 'application/json; charset=utf-8', 'application/json;charset="UTF-8"'])
		await assertCreated(await create(minimal(), keyed({ 'Content-Type': type })));
	await assertCreated(await create(minimal(), jsonKeyed({ 'Content-Encoding': 'identity' })));
});

await test('201: an admin token just made can make another', async () => {
	const admin = await made(minimal({ type: 'admin' }));
	await assertCreated(await create(minimal(), { Authorization: admin.secret, ...JSON_TYPE }));
});

await test('201: 102,400 bytes pass', async () => {
	const start = JSON.stringify(minimal()).slice(0, -1) + ',"x":"', body = `${start}${'x'.repeat(102400 - start.length - 2)}"}`;
	assert.equal(Buffer.byteLength(body), 102400);
	await assertCreated(await create(body));
	const [answer] = await exchange([requestBytes('POST', TOKENS, jsonKeyed({ 'Transfer-Encoding': 'chunked' })),
		chunked(Buffer.from(body), 8000)], ['POST']);
	await assertCreated(answer);
});

// ---- 413, before anything else --------------------------------------------------------------------------------------

const large = `{"type":"client","tokenName":"${run}","x":"${'x'.repeat(102401)}`.slice(0, 102399) + '"}';
assert.equal(large.length, 102401);
await refused('102,401 bytes', 413, 'PayloadTooLargeError', () => create(large));
await refused('102,401 bytes without a key', 413, 'PayloadTooLargeError', () => create(large, JSON_TYPE));
await refused('102,401 bytes to no path at all', 413, 'PayloadTooLargeError', () => send('POST', '/none', {}, large));
await refused('102,401 bytes in chunks', 413, 'PayloadTooLargeError', async () => (await exchange(
	[requestBytes('POST', TOKENS, jsonKeyed({ 'Transfer-Encoding': 'chunked' })), chunked(Buffer.from(large), 8000)], ['POST']))[0]);

// ---- 401 ------------------------------------------------------------------------------------------------------------

const admin = await made(minimal({ type: 'admin' }));
const withKey = (key) => () => create(minimal(), { ...(key === undefined ? {} : { Authorization: key }), ...JSON_TYPE });
await refused('no key', 401, 'AuthenticationRequired', withKey(undefined));
await refused('an empty key', 401, 'AuthenticationRequired', withKey(''));
for (const key of ['Bearer', 'Bearer ']) await refused(`${JSON.stringify(key)} without a key`, 401, 'UnauthorizedError', withKey(key));
await refused('an unknown key', 401, 'UnauthorizedError', withKey('*:*.0123456789abcdef0123456789abcdef0123456789abcdef01234567'));
await refused('a mistyped key', 401, 'UnauthorizedError', withKey(admin.secret.replace(/.$/, (c) => (c === '0' ? '1' : '0'))));
await refused('a key with another scope', 401, 'UnauthorizedError', withKey(admin.secret.replace('*:*', '*:development')));
await refused('a selector', 401, 'UnauthorizedError', withKey(admin.selector));
await refused('a very long key', 401, 'UnauthorizedError', withKey('x'.repeat(7000)));
await refused('SQL for a key', 401, 'UnauthorizedError', withKey(`' OR true --`));

const dead = await made(minimal({ type: 'admin', expiresAt: '2020-01-01T00:00:00Z' }));
await refused('an admin token born expired', 401, 'UnauthorizedError', withKey(dead.secret));

await test('401: an admin token expires to the second', async () => {
	const expires = Date.now() + 1500;
	const token = await made(minimal({ type: 'admin', expiresAt: new Date(expires).toISOString() }));
	assertStatus(await withKey(token.secret)(), 201);
	let asked, answer;
	await poll('the token is refused', 10000, async () => {
		asked = Date.now();
		answer = await withKey(token.secret)();
		if (answer.status === 201) assert.ok(asked < expires, `201 to a request sent ${asked - expires} ms after the expiry`);
		return answer.status !== 201;
	});
	assert.ok(Date.now() >= expires, 'refused too early');
	assertRefusal(answer, 401, 'UnauthorizedError');
});

await test('401: a deleted admin token is refused by the very next call', async () => {
	for (let i = 0; i < 10; i++) {
		const token = await made(minimal({ type: 'admin' }));
		assertStatus(await withKey(token.secret)(), 201);
		await sql(`DELETE FROM unleash_tokens.api_token WHERE selector = '${token.selector}'`);
		assertRefusal(await withKey(token.secret)(), 401, 'UnauthorizedError');
	}
});

// ---- 403 ------------------------------------------------------------------------------------------------------------

for (const type of ['client', 'backend', 'frontend']) {
	const token = await made(minimal({ type }));
	await refused(`a ${type} token`, 403, 'PermissionError', withKey(token.secret));
	await refused(`a ${type} token, with Bearer`, 403, 'PermissionError', withKey(`Bearer ${token.secret}`));
	const old = await made(minimal({ type, expiresAt: '2020-01-01T00:00:00Z' }));
	await refused(`an expired ${type} token`, 401, 'UnauthorizedError', withKey(old.secret));
}

// ---- Order: who asks comes before where, where before the media type, that before the body --------------------------

const client = await made(minimal());
for (const [what, method, target] of [['a wrong path', 'POST', '/api/admin/none'], ['a wrong method', 'PATCH', TOKENS]]) {
	await refused(`${what} without a key`, 401, 'AuthenticationRequired', () => send(method, target, {}, 'x'));
	await refused(`${what} with a client token`, 403, 'PermissionError', () => send(method, target, { Authorization: client.secret }, 'x'));
}
await refused('a wrong media type and bad JSON without a key', 401, 'AuthenticationRequired', () => create('{', { 'Content-Type': 'text/plain' }));
await refused('bad JSON with a client token', 403, 'PermissionError', () => create('{', { Authorization: client.secret, ...JSON_TYPE }));
await refused('a wrong media type and bad JSON', 415, 'ContentTypeError', () => create('{', keyed({ 'Content-Type': 'text/plain' })));
await refused('a wrong path, media type and body', 404, 'NotFoundError', () => send('POST', `${TOKENS}/a/b`, keyed(), '{'));

// ---- 404, 405 -------------------------------------------------------------------------------------------------------

for (const target of ['/', '/api', '/api/admin', '/api/admin/api-token', '/api/admin/api-tokensx', `${TOKENS}//`, `//api/admin/api-tokens`,
	'/x/../api/admin/api-tokens', '/api/admin/api%2Dtokens', '/rpc/create_api_token', '/rpc/rest_api', '/-read', '/-write', '/-validate',
	'/-refuse', '/-refusal', '/api_token', '/?select=*'])
	await refused(`no such path: POST ${target}`, 404, 'NotFoundError', () => send('POST', target, jsonKeyed(), JSON.stringify(minimal())));

for (const method of ['PUT', 'DELETE', 'PATCH', 'FOO'])
	await test(`405: ${method} on the collection`, () => assertNothingStored(async () => {
		const answer = await send(method, TOKENS, jsonKeyed(), JSON.stringify(minimal()));
		assertRefusal(answer, 405, 'MethodNotAllowedError');
		const allowed = answer.header('Allow').split(', ');
		assert.ok(allowed.includes('POST') && allowed.includes('OPTIONS') && !allowed.includes(method), answer.header('Allow'));
	}));
await refused('POST /health needs no key to be told', 405, 'MethodNotAllowedError', () => send('POST', '/health', {}, ''));
await refused('TRACE, by nginx', 405, 'MethodNotAllowedError', () => send('TRACE', TOKENS, keyed()));

await test('OPTIONS tells the methods', async () => {
	const answer = await send('OPTIONS', TOKENS, keyed());
	assert.ok([200, 204].includes(answer.status), answer.head);
	assert.match(answer.header('Allow'), /\bPOST\b/);
	assert.equal(answer.bytes.length, 0);
});

// ---- 415 ------------------------------------------------------------------------------------------------------------

for (const type of [undefined, '', 'text/plain', 'text/json', 'application/xml', 'application/jsonp', 'application/vnd.api+json',
	'application/x-www-form-urlencoded', 'multipart/form-data; boundary=x', 'application/octet-stream', 'application/json, text/plain',
	'application/json; charset=latin1', 'application/json; charset=utf-16', 'invalid', 'application/json\x01', 'ünï/json'])
	await refused(`Content-Type ${JSON.stringify(type)}`, 415, 'ContentTypeError', () =>
		create(minimal(), keyed(type === undefined ? {} : { 'Content-Type': type })));
await refused('Content-Encoding gzip', 415, 'ContentTypeError', () =>
	create(zlib.gzipSync(JSON.stringify(minimal())), jsonKeyed({ 'Content-Encoding': 'gzip' })));
for (const encoding of ['deflate', 'br', 'identity, gzip', 'x'])
	await refused(`Content-Encoding ${encoding}`, 415, 'ContentTypeError', () => create(minimal(), jsonKeyed({ 'Content-Encoding': encoding })));

// ---- 400 ------------------------------------------------------------------------------------------------------------

const bad = (name, body, path, says, kind = 'BadDataError') => refused(name, 400, kind, () => create(body), { path, says });

for (const [name, text] of [
	['cut short', '{"type":"client","tokenName":"x"'], ['blanks only', '  '], ['a word', 'nonsense'], ['NaN', '{"type":NaN}'],
	['a comment', '{"type":"client"/**/,"tokenName":"x"}'], ['single quotes', `{'type':'client'}`], ['a comma too many', '{"type":"client","tokenName":"x",}'],
	['two values', '{} {}'], ['a raw NUL', Buffer.from('{"type":"client","tokenName":"x\0"}')],
	['a raw line break in a string', '{"type":"client","tokenName":"a\nb"}'], ['invalid UTF-8', Buffer.from('{"type":"client","tokenName":"\xff"}', 'latin1')],
	['overlong UTF-8', Buffer.from('{"type":"client","tokenName":"\xc0\xaf"}', 'latin1')], ['a surrogate in UTF-8', '{"type":"client","tokenName":"\ud800"}'],
	['an unpaired \\u surrogate', '{"type":"client","tokenName":"\\ud800"}'], ['\\u0000', '{"type":"client","tokenName":"a\\u0000b"}'],
	['a gzip body that is not declared', zlib.gzipSync('{}')], ['deep nesting', `{"type":"client","tokenName":"x","x":${'['.repeat(40000)}${']'.repeat(40000)}}`],
	['a number too large to keep', '{"type":"client","tokenName":"x","x":1e999999}'],
])
	await bad(`JSON: ${name}`, text, '/body');
for (const text of ['[]', '[{}]', '"x"', '5', 'true', 'null', '[{"type":"client","tokenName":"x"}]'])
	await bad(`not an object: ${text}`, text, '/body');

await bad('an empty body is an empty object', '', '/body/type');
await bad('nothing in it', {}, '/body/type');
await bad('type is looked at before the name', { tokenName: '' }, '/body/type');
await bad('no name', { type: 'client' }, '/body/tokenName');
for (const type of ['', 'x', ' client ', 'client\n', 'adminn', '*']) await bad(`type ${JSON.stringify(type)}`, minimal({ type }), '/body/type');
await bad('a refused value is shown', minimal({ type: 'wizard' }), '/body/type', /"wizard"/);
await bad('a long refused value is cut', minimal({ type: 'y'.repeat(50000) }), '/body/type', /^.{0,400}$/);
await bad('control characters of a refused value are escaped', minimal({ type: 'a\r\nX-Injected: 1' }), '/body/type', /a\\r\\nX-Injected/);
for (const [field, path] of [['type'], ['tokenName'], ['environment'], ['project'], ['expiresAt']].map(([f]) => [f, `/body/${f}`]))
	for (const value of [5, true, {}, ['x'], ...(field === 'expiresAt' ? [] : [null])])
		await bad(`${field} is ${JSON.stringify(value)}`, minimal({ [field]: value }), path);
for (const [value, path] of [['x', ''], [null, ''], [7, ''], [{}, ''], [[], ''], [[1], '/0'], [['*', null], '/1'], [[true], '/0'], [[[]], '/0'],
	[['none such'], ''], [[''], ''], [[`${run} A`], ''], [Array(1001).fill('*'), '']])
	await bad(`projects is ${JSON.stringify(value).slice(0, 40)}`, minimal({ projects: value }), `/body/projects${path}`);
await bad('an unknown project is named', minimal({ projects: [`${run} a`, 'none such'] }), '/body/projects', /"none such"/);
await bad('project and projects', minimal({ project: `${run} a`, projects: [`${run} a`] }), '/body/project');
await bad('an empty name', minimal({ tokenName: '' }), '/body/tokenName');
await bad('a name of 1,001 characters', minimal({ tokenName: 'é'.repeat(1001) }), '/body/tokenName', /1001/);
for (const code of [0x01, 0x09, 0x0a, 0x0d, 0x1f, 0x7f, 0x80, 0x85, 0x9f])
	await bad(`a name with U+${code.toString(16).padStart(4, '0')}`, minimal({ tokenName: `a${String.fromCharCode(code)}b` }), '/body/tokenName');
await bad('an empty environment', minimal({ environment: '' }), '/body/environment');
for (const environment of ['none such', 'Development', ' development', 'default']) await bad(`environment ${environment}`, minimal({ environment }), '/body/environment');
for (const type of ['client', 'backend', 'frontend']) await bad(`environment * for ${type}`, minimal({ type, environment: '*' }), '/body/environment');
await bad('admin in one environment', minimal({ type: 'admin', environment: 'development' }), '/body/environment');
await bad('admin in a project that is not there', minimal({ type: 'admin', projects: ['none such'] }), '/body/projects');
await bad('environment is looked at before projects', minimal({ environment: 'none such', projects: ['none such'] }), '/body/environment');
for (const expiresAt of ['', 'tomorrow', '2031-05-06', '2031-05-06T07:08Z', '2031-02-30T00:00:00Z', '2031-13-01T00:00:00Z', '2031-05-06T25:00:00Z',
	'2016-12-31T23:59:60Z', '10000-01-01T00:00:00Z', '-000001-01-01T00:00:00Z', 'infinity', '1900000000'])
	await bad(`expiresAt ${JSON.stringify(expiresAt)}`, minimal({ expiresAt }), '/body/expiresAt');

await test('400: at the limit of tokens, after the environment and before the projects', async () => {
	const now = await sql('SELECT count(*) FROM unleash_tokens.api_token');
	const back = await setSystem('unleash_tokens.max_tokens', now);
	try {
		// each pooled connection takes note of the setting at its next statement
		const answer = await poll('the limit is noticed', 10000, async () => {
			const last = await create();
			return last.status === 400 && last;
		});
		await assertNothingStored(async () => {
			assertRefusal(answer, 400, 'ExceedsLimitError');
			assertRefusal(await create(minimal({ environment: 'none such' })), 400, 'BadDataError', { path: '/body/environment' });
			assertRefusal(await create(minimal({ projects: ['none such'] })), 400, 'ExceedsLimitError');
		});
	} finally {
		await back();
	}
	await poll('tokens can be made again', 10000, async () => (await create()).status === 201);
});

await test('201: eight at once, a hundred times', async () => {
	const secrets = new Set();
	for (let round = 0; round < 100; round += 8)
		for (const answer of await Promise.all(Array.from({ length: 8 }, () => create())))
			secrets.add((await assertCreated(answer)).secret);
	assert.equal(secrets.size, 104);
});

finish();
